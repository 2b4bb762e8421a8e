"""Batches of which each process has its own part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdfast import random
from tdfast.training.epochs import ArrayBatches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array


class PartBatches(ArrayBatches):
    """This process's rows of each batch, from arrays that are its own part of the data.

    Each batch has of every part the share that the part has of all, so that all of them end together.

    Args:
        whole: the `ArrayBatches` of this process's arrays; its batch_size is that of all processes.
        counts: how many rows each process has.
        rank: which of them this process is.
    """

    def __init__(self, whole: ArrayBatches, counts: Sequence[int], rank: int) -> None:
        super().__init__(whole.arrays, whole.batch_size, whole.buffers, whole.shuffle, whole.padding)
        self.total = sum(counts)
        self.batches = -(-self.total // self.batch_size)
        self._rank = rank

    def _rows(self, i: int) -> slice:
        return slice(self.samples * i // self.batches, self.samples * (i + 1) // self.batches)

    def _order(self) -> Array | None:
        """An order of this part alone; all processes draw one number for it."""
        if not self.shuffle:
            return None
        start = int(random.generator().integers(2**63))
        draw = np.random.Generator(np.random.SFC64([start, self._rank])).permutation
        if self.shuffle != "batch":
            return draw(self.samples)
        rows = [self._rows(i) for i in range(self.batches)]
        return np.concatenate([one.start + draw(one.stop - one.start) for one in rows])
