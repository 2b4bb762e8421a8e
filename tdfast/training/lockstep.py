"""Lockstep: the passes of several shards side by side, as far as a layer needs all of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.together import parts_added_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.variable import Parameters


class _Abandoned(Exception):
    """Another shard has failed."""


class ValuesApart:
    """Variables of which each shard has values of its own; in the end they are those of the first.

    Args:
        variables: the `tdfast.engine.variable.Variable` objects.
        n: how many shards.
    """

    def __init__(self, variables: Sequence[Any], n: int) -> None:
        self._variables = variables
        self._values = [[v.value.copy() for v in variables] for _ in range(n)]

    def begin(self, i: int) -> None:
        """Shard i goes on."""
        for v, value in zip(self._variables, self._values[i]):
            v.value[...] = value

    def pause(self, i: int) -> None:
        """Shard i stops for now."""
        self._values[i] = [v.value.copy() for v in self._variables]

    def end(self) -> None:
        """All of them have come to their end."""
        self.begin(0)


class GradientsApart:
    """A flat vector of gradients for each shard, as `ValuesApart`.

    Args:
        parameters: the `tdfast.engine.variable.Parameters`.
        n: how many shards.

    Attributes:
        vectors: those of the shards.
    """

    def __init__(self, parameters: Parameters, n: int) -> None:
        self.parameters = parameters
        self.vectors = [np.zeros_like(parameters.grads) for _ in range(n)]
        self._views = [parameters.views_in(vector) for vector in self.vectors]
        self._home = parameters.views_in(parameters.grads)

    def begin(self, i: int) -> None:
        self.parameters.write_gradients_to(self._views[i])

    def pause(self, i: int) -> None:
        """The gradients stay where they are."""

    def end(self) -> None:
        self.parameters.write_gradients_to(self._home)


class Lockstep:
    """Runs one function for each shard, one after the other, each in a thread of its own: where a function
    asks for a sum over all shards, the next one goes on until it asks too.

    Args:
        add: from [what each shard of this process gives] to the sum over all shards.
    """

    def __init__(self, add: Callable[[Sequence[Any]], Any]) -> None:
        self._add = add
        self._pool: Any = None
        self._apart: Any = None
        self._over: list[bool] = []
        self._changed = threading.Condition()
        self._turn = 0
        self._given: list[Any] = []
        self._sum: Any = None
        self._failed = False

    def run(self, functions: Sequence[Callable[[], Any]], apart: ValuesApart | GradientsApart) -> list[Any]:
        """What the functions return, each of which has what is kept ``apart`` for it."""
        from concurrent.futures import ThreadPoolExecutor  # imported by those who need it alone

        n = len(functions)
        if self._pool is None or self._pool._max_workers < n:
            self._pool = ThreadPoolExecutor(n, "tdfast shard")
        self._turn, self._failed, self._given = 0, False, [None] * n
        self._apart, self._over = apart, [False] * n
        jobs = [self._pool.submit(self._work, i, function) for i, function in enumerate(functions)]
        results = [job.exception() or job.result() for job in jobs]
        apart.end()
        errors = [one for one in results if isinstance(one, BaseException)]
        for error in sorted(errors, key=lambda error: isinstance(error, _Abandoned)):
            raise error
        return results

    def _work(self, i: int, function: Callable[[], Any]) -> Any:
        self._wait(i)
        try:
            with kernel_arithmetic(), parts_added_by(lambda value: self._together(i, value)):
                return function()
        except BaseException:
            self._failed = True
            raise
        finally:
            self._over[i] = True
            self._pass_on(i)

    def _wait(self, i: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn == i)
        self._apart.begin(i)

    def _pass_on(self, i: int) -> None:
        """Let the next one that is not over go on."""
        n = len(self._over)
        self._apart.pause(i)
        left = [(i + k) % n for k in range(1, n + 1) if not self._over[(i + k) % n]]
        with self._changed:
            self._turn = left[0] if left else -1
            self._changed.notify_all()

    def _together(self, i: int, value: Any) -> Any:
        if self._failed:
            raise _Abandoned
        self._given[i] = value
        if i == len(self._given) - 1:
            self._sum = self._add(self._given)
        self._pass_on(i)
        self._wait(i)
        if self._failed:
            raise _Abandoned
        return self._sum
