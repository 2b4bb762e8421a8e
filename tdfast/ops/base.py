"""How the functions of `tdfast.ops` become calls: each has a class of `Operation`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tdfast.engine import tracing
from tdfast.engine.structure import flatten
from tdfast.engine.tensor import is_symbolic
from tdfast.engine.variable import Variable

CLASSES: dict[Any, Any] = {}
"""The classes of operations by their name."""

NUMPY, NN, CORE, MATH, LINALG = (
    f"keras.src.ops.{name}" for name in ("numpy", "nn", "core", "math", "linalg")
)


def operation(cls: Any) -> Any:
    """A class decorator: files may name the class."""
    CLASSES[cls.__name__] = cls
    return cls


def call(cls: Any, *args: Any, **options: Any) -> Any:
    """What the operation gives for these arguments: an array; a symbolic tensor, or one whose steps are
    recorded, if there is such a one among them."""
    op = cls(**options)
    if is_symbolic(args):
        _refuse_variables(cls, args)
        return op(*args)
    args = tuple(map(as_operand, args))
    with np.errstate(all="ignore"):
        if tracing.level():
            from tdfast.engine import derivatives

            if derivatives.is_traced(args):
                return derivatives.apply(op, args)
        return op.apply(*args)


def _refuse_variables(cls: Any, args: Any) -> None:
    for leaf in flatten(list(args)):
        if isinstance(leaf, Variable):
            raise ValueError(
                f"{cls.__name__} was called on a symbolic tensor and on the weight '{leaf.path}': a "
                "graph has weights "
                "in layers alone. Write a Layer whose call does this (docs/layers.md)."
            )


def as_operand(value: Any) -> Any:
    """An argument as NumPy takes it: arrays of other packages become NumPy's, numbers stay."""
    if isinstance(value, (list, tuple)):
        return type(value)(np.asarray(part) if isinstance(part, np.generic) else as_operand(part)
                           for part in value)
    if isinstance(value, np.generic):
        return value.item()             # a number, which changes no dtype
    if value is None or isinstance(value, _AS_THEY_ARE):
        return value
    if isinstance(value, Variable):
        return tracing.value_of(value)
    if tracing.is_recorded(value):
        return value
    return np.asarray(value)


_AS_THEY_ARE = (bool, int, float, str, slice, np.ndarray, type(Ellipsis))


def axes_of(axis: Any, ndim: int) -> tuple[Any, ...]:
    """An axis, several, or None for all, as a tuple counted from the front.

    >>> axes_of(-1, 3), axes_of(None, 2), axes_of([0, -1], 2)
    ((2,), (0, 1), (0, 1))
    """
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, (list, tuple)) else [axis]))
