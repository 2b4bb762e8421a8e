"""The steps of a batch that a mask leaves, as the recurrent kernels take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tdfast.engine.tape import Record
    from tdfast.engine.types import Array, Masks


class PackedSteps:
    """A mask (batch, time) as lists: a kernel runs through the steps that count, and no other.

    The rows with most steps come first, so that at every step those that still have one are the first ones.
    The lists follow from the mask alone, so no result depends on the number of threads.

    Args:
        mask: booleans (batch, time), True at steps that count; None: all of them.
        reverse: the kernels run from the last step to the first.

    Attributes:
        lists: (row, starts, steps, rows_before) as in tdf_rnn (src_c/tdfast.h); None when all steps count.

    >>> valid = PackedSteps(np.array([[False, True], [True, True]]), False)
    >>> [a.tolist() for a in valid.lists]
    [[1, 0], [0, 2, 3], [0, 1, 1], [0, 2, 3, 3]]
    >>> valid.pick(np.array([["a", "b"], ["c", "d"]])).tolist()
    [['c', 'd', 'b']]
    """

    def __init__(self, mask: Masks, reverse: bool) -> None:
        self.lists: Any = None
        if mask is None or mask.all():
            return
        B, T = mask.shape
        counts = np.einsum("bt->b", mask.view(np.uint8), dtype=np.intp)
        row = np.argsort(-counts, kind="stable")
        counts = counts[row]
        starts = np.zeros(B + 1, np.intp)
        np.cumsum(counts, out=starts[1:])
        places = np.flatnonzero((mask[:, ::-1] if reverse else mask)[row])
        before = np.zeros(T + 2, np.intp)
        np.cumsum(B - np.cumsum(np.bincount(counts, minlength=T + 1)), out=before[1:])
        self.lists = row, starts, places - np.repeat(np.arange(0, B * T, T), counts), before

    def __len__(self) -> int:
        return len(self.lists[2])

    def pick(self, array: Array, buffers: Record | None = None, name: str = "") -> Array:
        """The entries of ``array`` (batch, time, ...) at the steps that count, (1, steps, ...), in the
        kernels' order."""
        row, starts, steps, _ = self.lists
        at = np.repeat(row * array.shape[1], np.diff(starts)) + steps
        shape, rows = (1, len(steps), *array.shape[2:]), array.reshape(-1, *array.shape[2:])
        if buffers is None:
            return rows[at].reshape(shape)
        out = buffers.buffer(name, shape, array.dtype)
        rows.take(at, axis=0, out=out[0], mode="clip")
        return out
