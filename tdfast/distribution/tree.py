"""Sums whose bits do not depend on how many processes add: shards in one balanced binary tree.

The shards 0, 1, 2, ... are added in pairs, the sums in pairs again, and so on; one without a partner goes up
a level as it is. A process adds what it can of its own run of shards, and gives the rest away as it is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.distribution.engine import Engine
    from tdfast.engine.types import Array


def run_of(shards: int, size: int, rank: int) -> range:
    """The shards of one process.

    >>> [list(run_of(8, 3, rank)) for rank in range(3)]
    [[0, 1], [2, 3, 4], [5, 6, 7]]
    """
    return range(shards * rank // size, shards * (rank + 1) // size)


class TreeSum:
    """The sum of the arrays of some shards, as far as they are there.

    Args:
        shards: how many shards the whole tree has.
        rooms: a list of arrays that may be written over; what is no longer needed is put there.

    Attributes:
        pieces: [(level, number, array)] of what cannot be added yet.

    >>> total = TreeSum(3)
    >>> for shard in range(3):
    ...     total.add(shard, np.array([1.0 + shard]))
    >>> [(level, number, float(array[0])) for level, number, array in total.pieces]
    [(2, 0, 6.0)]
    """

    def __init__(self, shards: int, rooms: list[Array] | None = None) -> None:
        self._widths = [shards]
        while self._widths[-1] > 1:
            self._widths.append((self._widths[-1] + 1) // 2)
        self._rooms = [] if rooms is None else rooms
        self.pieces: list[tuple[int, int, Array]] = []

    def add(self, shard: int, array: Array) -> None:
        """Add that of a shard, which comes in their order and is only read."""
        self.add_piece(0, shard, array, False)

    def add_piece(self, level: int, number: int, array: Array, owned: bool = True) -> None:
        """Add a piece of another `TreeSum`.

        Args:
            level, number: its place in the tree.
            array: its sum.
            owned: whether the array may be kept and written to.
        """
        while True:
            if number % 2 and self.pieces and self.pieces[-1][:2] == (level, number - 1):
                _, _, left = self.pieces.pop()
                np.add(left, array, out=left)
                if owned:
                    self._rooms.append(array)
                level, number, array, owned = level + 1, number // 2, left, True
            elif level + 1 < len(self._widths) and number % 2 == 0 and number + 1 == self._widths[level]:
                level, number = level + 1, number // 2
            else:
                break
        self.pieces.append((level, number, array if owned else self._kept(array)))

    def _kept(self, array: Array) -> Array:
        room = self._rooms.pop() if self._rooms else np.empty_like(array)
        room[...] = array
        return room

    def end(self) -> None:
        """Nobody needs the pieces any more."""
        self._rooms += [array for _, _, array in self.pieces]
        self.pieces = []


@functools.lru_cache(maxsize=4096)
def places(shards: int, own: range) -> list[tuple[int, int]]:
    """(level, number) of the pieces that remain of a run of shards.

    >>> places(8, range(2, 5))
    [(1, 1), (0, 4)]
    """
    total = TreeSum(shards)
    for shard in own:
        total.add(shard, np.empty(0))
    return [(level, number) for level, number, _ in total.pieces]


def summed(engine: Engine, shards: int, runs: Sequence[range], mine: TreeSum, out: Array) -> None:
    """The sum over all shards, written to ``out`` in every process.

    Each process adds one slice of the vector: it gets that slice of everybody's pieces, and gives everybody
    its sum. So a process sends no more than in a ring.

    Args:
        engine: the processes.
        shards: how many shards there are.
        runs: those of each process.
        mine: the sum of this process's own; it is empty afterwards.
        out: one axis, contiguous.
    """
    if engine.size == 1 or len(runs) == 1:
        ((_, _, total),) = mine.pieces
        out[...] = total
        mine.end()
        return
    n, size = len(out), engine.size
    cuts = [n * rank // size for rank in range(size + 1)]
    widths = [b - a for a, b in zip(cuts, cuts[1:])]
    pieces = [array for _, _, array in mine.pieces]
    if len(pieces) == 1:
        parts = pieces[0]
    else:
        parts = np.concatenate([piece[a:b] for a, b in zip(cuts, cuts[1:]) for piece in pieces])
    there, width = [places(shards, run) for run in runs], widths[engine.rank]
    came = engine.alltoall(parts, [len(pieces) * w for w in widths], [len(found) * width for found in there])
    mine.end()
    engine.allgather(_whole(shards, there, came, width), widths, out)


def summed_small(engine: Engine, shards: int, runs: Sequence[range], mine: TreeSum) -> Array:
    """The same sum of a few numbers: everybody gets everybody's pieces, and adds them."""
    if engine.size == 1 or len(runs) == 1:
        ((_, _, total),) = mine.pieces
        return total
    pieces = [array for _, _, array in mine.pieces]
    width, there = len(pieces[0]), [places(shards, run) for run in runs]
    came = engine.allgather(np.concatenate(pieces), [len(found) * width for found in there])
    return _whole(shards, there, came, width)


def _whole(shards: int, there: Sequence[Any], came: Array, width: int) -> Array:
    """The sum of everybody's pieces.

    Args:
        shards: how many shards there are.
        there: for each process the `places` of its pieces.
        came: the pieces, one after the other.
        width: how many numbers each has.
    """
    total = TreeSum(shards)
    for i, (level, number) in enumerate([place for found in there for place in found]):
        total.add_piece(level, number, came[i * width : (i + 1) * width])
    ((_, _, whole),) = total.pieces
    return whole


def every_run(engine: Engine, shards: int) -> list[range]:
    """The shards of each process."""
    return [run_of(shards, engine.size, rank) for rank in range(engine.size)]
