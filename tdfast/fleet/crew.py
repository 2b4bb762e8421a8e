"""The threads of a fleet: each has one copy of the model, and takes the next key when it has done one."""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING, Any

from tdfast import runtime
from tdfast.engine.variable import Parameters
from tdfast.training.interrupts import Interrupts
from tdfast.training.start import Start

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.types import Array, Data

_copying = threading.Lock()

LOOK = 0.1
"""Seconds between two looks of the caller at how far the threads are."""


class Worker:
    """A copy of the model whose weights can be those of any key.

    Args:
        template: the model, which is built.

    Attributes:
        model: the copy.
        values: the flat vector of its weights.
    """

    def __init__(self, template: Any) -> None:
        self.model = copy.deepcopy(template)
        self._start: Any = None
        if self.model.compiled:
            self._start = Start(self.model._trainer)
            self.values = self._start.values
        else:
            self.values = Parameters(self.model.weights).values

    def become(self, weights: Array) -> None:
        """Have these weights, a flat vector, and everything else as it was in the beginning."""
        if self._start is not None:
            self._start.put_back(weights)
        else:
            self.values[...] = weights

    def expect(self, y: Data) -> None:
        """The next targets are these."""
        if self._start is not None:
            self._start.expect(y)

    def interrupt(self) -> None:
        """End the fit that is under way, after its step."""
        self.model._trainer.interrupt()


class Crew:
    """Some workers, each for a thread of its own.

    Args:
        template: the model.
        threads: how many there may be; None: as many as kernels would use.
        tasks: how many there are to do.
    """

    def __init__(self, template: Any, threads: int | None, tasks: int) -> None:
        count = runtime.get_num_threads() if threads is None else threads
        with _copying:
            self.workers = [Worker(template) for _ in range(max(1, min(count, tasks)))]
        self._done: list[int] = []
        self._stopping = False
        self._error: BaseException | None = None

    @property
    def done(self) -> int:
        """How many tasks are done."""
        return len(self._done)

    def run(self, do: Callable[[Worker, int], None], tasks: int, tell: Callable[[int], None]) -> None:
        """Do all tasks, and tell the caller's function how many are done while they are.

        An error ends it, when the tasks that are under way have ended; so does Ctrl-C, after the steps that
        run.

        Args:
            do: called with a worker and a number of a task, in a thread whose kernels use no other.
            tasks: how many there are.
            tell: called in the caller's thread.
        """
        self._done, self._stopping, self._error = [], False, None
        waiting = iter(range(tasks))
        # Thread.join takes a thread for ended when Ctrl-C comes while it waits; an event does not.
        ended = [threading.Event() for _ in self.workers]
        threads = [threading.Thread(target=self._work, args=(worker, waiting, do, event), daemon=True,
                                    name=f"fleet-{i}")
                   for i, (worker, event) in enumerate(zip(self.workers, ended))]
        try:
            with Interrupts() as interrupts:
                with interrupts.held():             # so that no thread is half started
                    for thread in threads:
                        thread.start()
                for event in ended:
                    while not event.wait(LOOK):
                        tell(self.done)
            tell(self.done)
        except BaseException:
            self._stopping = True
            for worker in self.workers:
                worker.interrupt()
            for thread, event in zip(threads, ended):
                if thread.ident is not None:
                    event.wait()
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self._error is not None:
            raise self._error

    def _work(self, worker: Worker, waiting: Any, do: Callable[[Worker, int], None],
              ended: threading.Event) -> None:
        try:
            runtime.limit_threads_here(1)
            for i in waiting:
                if self._stopping:
                    return
                do(worker, i)
                self._done.append(i)
        except BaseException as error:
            if not self._stopping:
                self._error, self._stopping = error, True
        finally:
            ended.set()
