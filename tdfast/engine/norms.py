"""Lengths of vectors whose squares leave their dtype.

The square of 2e19 is no float32 any more, and that of 1e-23 is 0 there, though the length is a number like
any other. Sums of squares that went wrong in this way are taken once more in float64.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.types import Array


def length(array: Array, squares: float) -> float:
    """The length of all of ``array`` as a float.

    Args:
        array: floats.
        squares: the sum of their squares in their own dtype.

    >>> f"{length(np.array([3e20, 4e20], np.float32), np.inf):.4g}"
    '5e+20'
    """
    limits = np.finfo(array.dtype)
    if not array.size or float(limits.tiny / limits.eps) <= squares < math.inf:
        return math.sqrt(squares)
    largest = float(np.abs(array).max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(np.sum(np.square(array / np.float64(largest))))


def squares(x: Any, axis: Any) -> Array:
    """The sums of squares along one axis or several, in float64, with these axes kept.

    >>> f"{squares(np.array([[3e20], [4e20]], np.float32), 0).item():.4g}"
    '2.5e+41'
    """
    return np.sum(np.square(x, dtype=np.float64), axis=axis, keepdims=True)


def inverse_roots(sums: Array, again: Callable[..., Any], epsilon: float = 0) -> Array:
    """1 / sqrt(sums + epsilon), written over ``sums`` and returned.

    Args:
        sums: of squares.
        again: gives the same sums in float64, for those that overflowed.
    """
    over = ~np.isfinite(sums)
    sums += epsilon
    with np.errstate(divide="ignore"):
        np.divide(1, np.sqrt(sums, out=sums), out=sums)
    if over.any():
        np.copyto(sums, 1 / np.sqrt(again() + epsilon), where=over, casting="same_kind")
    return sums
