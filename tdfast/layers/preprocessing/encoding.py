"""Numbers of classes as one-hot, multi-hot and count arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tdfast.engine.types import Array, Sizes

DROPPED = np.iinfo(np.int64).max
"""A number that no class has: it leaves no trace."""


def encoded(ids: Array, mode: str, depth: int, dtype: DTypeLike, weights: Any = None) -> Array:
    """What ids become in an output mode of Keras's preprocessing layers; ids outside of 0 to depth - 1 leave
    no trace.

    Args:
        ids: whole numbers; in the modes of samples their second axis, or the only one, is that of a sample.
        mode: 'one_hot', 'multi_hot' or 'count'.
        depth: how many classes there are.
        dtype: of the result.
        weights: of each id in the mode 'count', or None.

    >>> encoded(np.array([[0, 2, 2]]), "count", 3, "float32").tolist()
    [[1.0, 0.0, 2.0]]
    """
    if mode == "one_hot":
        return _one_hot(ids[..., 0] if ids.ndim > 1 and ids.shape[-1] == 1 else ids, depth, dtype)
    axis = min(1, ids.ndim - 1)
    samples = np.moveaxis(ids, axis, -1)
    rows, n = samples.reshape(-1, samples.shape[-1]), samples.shape[-1]
    there = (rows >= 0) & (rows < depth)
    flat = (rows + np.arange(len(rows))[:, None] * depth)[there]
    if mode == "multi_hot":
        out = np.zeros(len(rows) * depth, dtype)
        out[flat] = 1
    else:
        if weights is not None:
            weights = np.moveaxis(np.asarray(weights), axis, -1).reshape(-1, n)[there]
        out = np.bincount(flat, weights, len(rows) * depth).astype(dtype)
    return out.reshape(*samples.shape[:-1], depth)


def _one_hot(ids: Array, depth: int, dtype: DTypeLike) -> Array:
    out = np.zeros((ids.size, depth), dtype)
    flat = ids.ravel()
    there = np.flatnonzero((flat >= 0) & (flat < depth))
    out[there, flat[there]] = 1
    return out.reshape(*ids.shape, depth)


def encoded_shape(shape: Sizes, mode: str, depth: int | None) -> tuple[int | None, ...]:
    """The shape of what `encoded` makes of an array of this shape.

    >>> encoded_shape((None, 7), "count", 3), encoded_shape((None, 7), "one_hot", 3)
    ((None, 3), (None, 7, 3))
    """
    shape = tuple(shape)
    if mode == "one_hot":
        return (*(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape), depth)
    axis = min(1, len(shape) - 1)
    return (*shape[:axis], *shape[axis + 1 :], depth)
