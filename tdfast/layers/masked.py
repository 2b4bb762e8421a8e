"""The rows of a masked batch in the order in which the recurrent kernels are fastest."""

import numpy as np


class MaskedRows:
    """A mask (batch, time) for the kernels: rows of like length side by side, the longest first.

    The kernels skip a step of a tile of rows when none of them has it, so their work is that of the
    steps that count. The order is the rows' alone, so no result depends on the number of threads.

    Args:
        mask: booleans (batch, time), True at steps that count; None: all of them.
        reverse: the kernels run from the last step to the first.

    Attributes:
        order: the caller's row of each of the kernels' rows; None when they are the same.
        mask: the mask of the kernels' rows; None when all steps count.
        valid: t * batch + row of every step that counts, t in running order; None when all do.

    >>> rows = MaskedRows(np.array([[True, False], [True, True]]), False)
    >>> rows.order.tolist(), rows.mask.tolist(), rows.valid.tolist()
    ([1, 0], [[True, True], [True, False]], [0, 1, 2])
    """

    def __init__(self, mask, reverse):
        self.order = self.mask = self.valid = None
        if mask is None or mask.all():
            return
        order = np.argsort(-mask.sum(axis=1), kind="stable")
        if (order[1:] < order[:-1]).any():
            self.order, mask = order, mask[order]
        self.mask = np.ascontiguousarray(mask)
        steps = self.mask.T[::-1] if reverse else self.mask.T
        self.valid = np.flatnonzero(steps)

    def buffer(self, rec, name, shape, dtype):
        """Memory of ``rec`` for what the kernels write, before `unsort`."""
        return rec.buffer(name if self.order is None else f"sorted {name}", shape, dtype)

    def sort(self, rec, name, array):
        """``array`` in the kernels' order of rows; None stays None."""
        if array is None or self.order is None:
            return array
        out = rec.buffer(f"sorted {name}", array.shape, array.dtype)
        return array.take(self.order, axis=0, out=out, mode="clip")

    def unsort(self, rec, name, array):
        """What the kernels wrote, in the caller's order of rows; None stays None. Without ``rec`` in new memory."""
        if array is None or self.order is None:
            return array
        out = np.empty_like(array) if rec is None else rec.buffer(name, array.shape, array.dtype)
        out[self.order] = array
        return out
