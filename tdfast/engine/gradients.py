"""What the gradients of operations are made of; arrays whose steps are recorded pass through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.structure import flatten

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Sizes


def learns(x: Any) -> bool:
    """Whether a gradient by an argument can be had: by an array of floats."""
    return hasattr(x, "shape") and x.dtype.kind == "f"


def in_dtype(x: Any, dtype: Any) -> Any:
    """An array of its own in a dtype; one whose steps are recorded as it is."""
    return x if _is_recorded(x) else np.array(x, dtype)


def contiguous(x: Any) -> Any:
    """A C-contiguous array; one whose steps are recorded as it is."""
    return x if _is_recorded(x) else np.ascontiguousarray(x)


def _is_recorded(x: Any) -> bool:
    return not isinstance(x, (np.ndarray, np.generic)) and hasattr(x, "shape")


def leaf_gradients(given: Any, gradients: Any) -> list[Any]:
    """The gradient by each leaf of some arguments, from what `Operation.pull_back` gave.

    >>> leaf_gradients([[1.0, 2.0], 3.0], [[10.0, 20.0], None])
    [10.0, 20.0, None]
    """
    out = []
    for value, gradient in zip(given, gradients):
        inner = flatten(value)
        split = isinstance(value, (list, tuple)) and gradient is not None
        out += flatten(gradient) if split else [gradient] * len(inner)
    return out


def unbroadcast(gradient: Array, shape: Sizes) -> Array:
    """The sum of a gradient over the axes along which an array of this shape was repeated.

    >>> unbroadcast(np.ones((4, 3)), (1, 3)).tolist()
    [[4.0, 4.0, 4.0]]
    """
    if gradient.shape == shape:
        return gradient
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=repeated, keepdims=True) if repeated else gradient
