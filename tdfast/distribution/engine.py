"""Engine: the processes of one training, and how they exchange arrays."""

from __future__ import annotations

import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.types import Array


class Engine:
    """One process among several. This class itself is the engine of a process that is alone.

    A subclass gives four methods that every process calls at the same place of its program: `allgather`,
    `alltoall`, `broadcast` and, to end all processes at once, `abort`. No result may depend on how the
    messages travel: an engine moves bytes, and tdfast adds.

    Attributes:
        name: for messages.
        rank: the number of this process, from 0.
        size: how many there are.
        local_size: how many of them run on this machine.

    >>> import numpy as np
    >>> alone = Engine()
    >>> alone.allgather(np.arange(3), [3]).tolist(), alone.allgather_object("here")
    ([0, 1, 2], ['here'])
    """

    name = "one process"
    rank, size, local_size = 0, 1, 1

    def allgather(self, mine: Array, counts: Sequence[int], out: Array | None = None) -> Array:
        """The arrays of all processes, one after the other.

        Args:
            mine: one axis, contiguous.
            counts: how many numbers each process gives.
            out: where they go; None: a new array.
        """
        if out is None:
            return mine.copy()
        out[...] = mine
        return out

    def alltoall(self, parts: Array, counts: Sequence[int], received: Sequence[int]) -> Array:
        """Give each process its part of an array, and get one of each.

        Args:
            parts: one axis, contiguous: the part of process 0, that of process 1, and so on.
            counts: how many numbers each of them has.
            received: how many numbers come from each process.

        Returns:
            What came, in the order of the processes.
        """
        return parts

    def broadcast(self, array: Array) -> None:
        """Fill a contiguous array with that of process 0."""

    def abort(self, code: int) -> None:
        """End all processes."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    # ---------------------------------------------------------------- by these
    def allgather_object(self, value: Any) -> list[Any]:
        """A value of each process, in their order; it must be one that pickle knows."""
        if self.size == 1:
            return [value]
        mine = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = self.allgather(np.array([mine.size], np.int64), [1] * self.size).tolist()
        data, ends = self.allgather(mine, sizes).tobytes(), np.cumsum(sizes)
        return [pickle.loads(data[end - size : end]) for size, end in zip(sizes, ends.tolist())]

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What a function returns in process 0, which alone calls it; or the error that it raises there."""
        if self.size == 1:
            return make()
        result: Any = None
        error: Exception | None = None
        if self.rank == 0:
            try:
                result = make()
            except Exception as raised:
                error = raised
        data = np.frombuffer(pickle.dumps((result, error)), np.uint8) if self.rank == 0 else None
        size = np.array([0 if data is None else data.size], np.int64)
        self.broadcast(size)
        room = np.empty(int(size[0]), np.uint8) if data is None else data.copy()
        self.broadcast(room)
        result, error = pickle.loads(room.tobytes())
        if error is not None:
            raise error
        return result
