"""An engine whose processes are threads of one process: to try out and to test what several would do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.distribution.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.types import Array


TIMEOUT = 60.0
"""Seconds after which a thread that waits for others gives up."""


class _Meeting:
    """Where the threads put what they give."""

    def __init__(self, size: int) -> None:
        self.places: list[Any] = [None] * size
        self.barrier = threading.Barrier(size)


class InProcessEngine(Engine):
    """One of several threads. Make all of them by `run`."""

    name = "threads"

    def __init__(self, meeting: _Meeting, rank: int) -> None:
        self._meeting, self.rank = meeting, rank
        self.size = self.local_size = len(meeting.places)

    def _exchanged(self, value: Any, read: Callable[[list[Any]], Any]) -> Any:
        """What ``read`` makes of the values of all threads."""
        meeting = self._meeting
        meeting.places[self.rank] = value
        meeting.barrier.wait(TIMEOUT)
        result = read(meeting.places)
        meeting.barrier.wait(TIMEOUT)
        return result

    def allgather(self, mine: Array, counts: Sequence[int], out: Array | None = None) -> Array:
        found = self._exchanged(mine, np.concatenate)
        if out is None:
            return found
        out[...] = found
        return out

    def alltoall(self, parts: Array, counts: Sequence[int], received: Sequence[int]) -> Array:
        start = [0, *np.cumsum(counts).tolist()]
        cut = [parts[a:b] for a, b in zip(start, start[1:])]
        return self._exchanged(cut, lambda all_cuts: np.concatenate([cuts[self.rank] for cuts in all_cuts]))

    def broadcast(self, array: Array) -> None:
        first = self._exchanged(array, lambda arrays: arrays[0].copy())
        array[...] = first

    def abort(self, code: int) -> None:
        self._meeting.barrier.abort()


def run(size: int, function: Callable[[Engine], Any]) -> list[Any]:
    """What a function of an engine returns in each of so many threads.

    An error in one of them ends the others, and is raised here.

    >>> run(3, lambda engine: engine.allgather_object(engine.rank))
    [[0, 1, 2], [0, 1, 2], [0, 1, 2]]
    """
    meeting, results = _Meeting(size), [None] * size
    errors: list[BaseException] = []

    def work(rank: int) -> None:
        try:
            results[rank] = function(InProcessEngine(meeting, rank))
        except threading.BrokenBarrierError:
            pass                        # the error of another thread is the one to show
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
