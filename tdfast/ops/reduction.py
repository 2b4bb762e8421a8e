"""Functions that make one number of many: sums, means, extremes; and those along an axis."""

from __future__ import annotations

import math
import typing
from typing import TYPE_CHECKING

import numpy as np

from tdfast.engine.gradients import in_dtype
from tdfast.engine.operation import Operation
from tdfast.ops.base import LINALG, MATH, NN, NUMPY, axes_of, call, operation

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tdfast.engine.tensor import SymbolicTensor
    from tdfast.engine.types import Array, Axes, DType, Operand


class _Reduction(Operation):
    """Over some axes, which may stay with the size 1.

    A subclass has ``reduced(x, axes)``, whose result keeps the axes, and ``slope(x, y, axes)``, where y
    has them too.
    """

    reduced: Any

    module = NUMPY

    def __init__(self, axis: typing.Any = None, keepdims: bool = False, *, name: str | None = None,
                 **options: typing.Any) -> None:
        super().__init__(name=name, axis=axis, keepdims=keepdims, **options)

    def apply(self, x: typing.Any) -> typing.Any:
        x = np.asarray(x)
        axes = axes_of(self.options["axis"], x.ndim)
        y = self.reduced(x, axes)
        return y if self.options["keepdims"] else np.squeeze(y, axes)

    def pull_back(self, dy: typing.Any, y: typing.Any, x: typing.Any) -> list[typing.Any]:
        axes = axes_of(self.options["axis"], x.ndim)
        if not self.options["keepdims"]:
            dy, y = np.expand_dims(dy, axes), np.expand_dims(y, axes)
        slope = self.slope(x, y, axes)
        return [None if slope is None else in_dtype(np.broadcast_to(dy * slope, x.shape), x.dtype)]

    def slope(self, x: typing.Any, y: typing.Any, axes: typing.Any) -> typing.Any:
        """The derivative of y by x."""
        return None


def _count(x: typing.Any, axes: typing.Any) -> int:
    return math.prod(x.shape[a] for a in axes)


def _float(x: typing.Any) -> Array:
    return x if x.dtype.kind == "f" else x.astype(np.float32)


@operation
class Sum(_Reduction):
    """The sum."""

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        return np.sum(x, axis=axes, keepdims=True, dtype=x.dtype if x.dtype.kind == "f" else None)

    def slope(self, x: typing.Any, y: typing.Any, axes: typing.Any) -> Array:
        return np.ones((), x.dtype)


@operation
class Mean(_Reduction):
    """The sum by the number of summands."""

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        return np.mean(_float(x), axis=axes, keepdims=True)

    def slope(self, x: typing.Any, y: typing.Any, axes: typing.Any) -> Array:
        return np.asarray(1 / _count(x, axes), x.dtype)


@operation
class Prod(_Reduction):
    """The product."""

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        return np.prod(x, axis=axes, keepdims=True, dtype=x.dtype if x.dtype.kind == "f" else None)

    def slope(self, x: typing.Any, y: typing.Any, axes: typing.Any) -> Array:
        """The product of the others, also where one factor is 0."""
        moved = np.moveaxis(x, axes, range(-len(axes), 0))
        flat = moved.reshape(*moved.shape[: moved.ndim - len(axes)], -1)
        before = np.cumprod(np.concatenate([np.ones_like(flat[..., :1]), flat[..., :-1]], -1), -1)
        turned = flat[..., ::-1]
        after = np.cumprod(np.concatenate([np.ones_like(flat[..., :1]), turned[..., :-1]], -1), -1)[..., ::-1]
        return np.moveaxis((before * after).reshape(moved.shape), range(-len(axes), 0), axes)


@operation
class Var(_Reduction):
    """The mean of the squared distances from the mean."""

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        return np.var(_float(x), axis=axes, keepdims=True)

    def slope(self, x: typing.Any, y: typing.Any, axes: typing.Any) -> Array:
        return 2 * (x - x.mean(axis=axes, keepdims=True)) / np.asarray(_count(x, axes), x.dtype)


@operation
class Std(_Reduction):
    """The square root of the variance."""

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        return np.std(_float(x), axis=axes, keepdims=True)

    def slope(self, x: typing.Any, y: typing.Any, axes: typing.Any) -> Array:
        apart = x - x.mean(axis=axes, keepdims=True)
        return apart / np.where(y == 0, 1, y * np.asarray(_count(x, axes), x.dtype))


class _Extreme(_Reduction):
    """The gradient is shared by all that are equal, as in Keras on JAX."""

    def slope(self, x: typing.Any, y: typing.Any, axes: typing.Any) -> Array:
        it = x == y
        return it / np.maximum(it.sum(axis=axes, keepdims=True, dtype=x.dtype), 1)


@operation
class Max(_Extreme):
    """The largest number."""

    def __init__(self, axis: typing.Any = None, keepdims: bool = False, initial: float | None = None, *,
                 name: str | None = None) -> None:
        super().__init__(axis, keepdims, name=name, initial=initial)

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        given = {} if self.options["initial"] is None else {"initial": self.options["initial"]}
        return np.max(x, axis=axes, keepdims=True, **given)


@operation
class Min(_Extreme):
    """The smallest number."""

    def __init__(self, axis: typing.Any = None, keepdims: bool = False, initial: typing.Any = None, *,
                 name: str | None = None) -> None:
        super().__init__(axis, keepdims, name=name, initial=initial)

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        given = {} if self.options["initial"] is None else {"initial": self.options["initial"]}
        return np.min(x, axis=axes, keepdims=True, **given)


@operation
class Amax(_Extreme):
    """The largest number."""

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        return np.max(x, axis=axes, keepdims=True)


@operation
class Amin(_Extreme):
    """The smallest number."""

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        return np.min(x, axis=axes, keepdims=True)


@operation
class Any(_Reduction):
    """Whether one is true."""

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        return np.any(x, axis=axes, keepdims=True)


@operation
class All(_Reduction):
    """Whether all are true."""

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        return np.all(x, axis=axes, keepdims=True)


@operation
class Logsumexp(_Reduction):
    """log(sum(e^x)), without overflow."""

    module = MATH

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        x = _float(x)
        top = np.max(x, axis=axes, keepdims=True)
        top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
        return np.log(np.sum(np.exp(x - top), axis=axes, keepdims=True)) + top

    def slope(self, x: typing.Any, y: typing.Any, axes: typing.Any) -> Array:
        return np.exp(x - y)


@operation
class Norm(_Reduction):
    """The length of vectors along one axis, or of the whole: the root of the sum of the squares."""

    module = LINALG

    def __init__(self, ord: typing.Any = None, axis: typing.Any = None, keepdims: bool = False, *,
                 name: str | None = None) -> None:
        super().__init__(axis, keepdims, name=name, ord=ord)
        if ord not in (None, 1, 2, "fro", math.inf):
            raise ValueError(f"norm: ord must be None, 1, 2, 'fro' or infinity, got {ord!r}.")

    def reduced(self, x: typing.Any, axes: typing.Any) -> Array:  # type: ignore[override]
        x, kind = _float(x), self.options["ord"]
        if len(axes) > 1 and kind not in (None, "fro"):
            raise ValueError(
                f"norm: ord={kind!r} is of vectors: give one axis, got axis={self.options['axis']!r}."
            )
        if kind == 1:
            return np.sum(np.abs(x), axis=axes, keepdims=True)
        if kind == math.inf:
            return np.max(np.abs(x), axis=axes, keepdims=True)
        return np.sqrt(np.sum(x * x, axis=axes, keepdims=True))

    def slope(self, x: typing.Any, y: typing.Any, axes: typing.Any) -> Array:
        kind = self.options["ord"]
        if kind == 1:
            return np.sign(x)
        if kind == math.inf:
            it = np.abs(x) == y
            return np.sign(x) * it / it.sum(axis=axes, keepdims=True, dtype=x.dtype)
        return x / np.where(y == 0, 1, y)


# ---------------------------------------------------------------- along one axis


class _Along(Operation):
    module = NN

    def __init__(self, axis: typing.Any = -1, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)

    def _axes(self, x: typing.Any) -> tuple[int, ...]:
        return axes_of(self.options["axis"], np.ndim(x))

    def treats_steps_alone(self, shape: typing.Any) -> bool:
        return 1 not in axes_of(self.options["axis"], len(shape))


@operation
class Softmax(_Along):
    """e^x by the sum of e^x along the axis."""

    def apply(self, x: typing.Any) -> Array:
        x, axes = _float(np.asarray(x)), self._axes(x)
        e = np.exp(x - x.max(axis=axes, keepdims=True))
        return e / e.sum(axis=axes, keepdims=True)

    def pull_back(self, dy: typing.Any, y: typing.Any, x: typing.Any) -> list[typing.Any]:
        return [y * (dy - (dy * y).sum(axis=self._axes(x), keepdims=True))]


@operation
class LogSoftmax(_Along):
    """The logarithm of the softmax."""

    def apply(self, x: typing.Any) -> Array:
        x, axes = _float(np.asarray(x)), self._axes(x)
        x = x - x.max(axis=axes, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=axes, keepdims=True))

    def pull_back(self, dy: typing.Any, y: typing.Any, x: typing.Any) -> list[typing.Any]:
        return [dy - np.exp(y) * dy.sum(axis=self._axes(x), keepdims=True)]


@operation
class Cumsum(Operation):
    """The sum of all numbers up to each one."""

    module = NUMPY

    def __init__(self, axis: typing.Any = None, dtype: DType = None, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis, dtype=dtype)

    def apply(self, x: typing.Any) -> Array:
        x = np.asarray(x)
        return np.cumsum(
            x,
            axis=self.options["axis"],
            dtype=self.options["dtype"] or (x.dtype if x.dtype.kind == "f" else None),
        )

    def pull_back(self, dy: typing.Any, y: typing.Any, x: typing.Any) -> list[typing.Any]:
        axis = self.options["axis"]
        turned = np.flip(np.cumsum(np.flip(dy, axis), axis=axis), 0 if axis is None else axis)
        return [turned.reshape(x.shape)]


class _Place(Operation):
    module = NUMPY

    def __init__(self, axis: typing.Any = None, keepdims: bool = False, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis, keepdims=keepdims)

    def pull_back(self, dy: typing.Any, y: typing.Any, x: typing.Any) -> list[typing.Any]:
        return [None]


@operation
class Argmax(_Place):
    """The place of the largest number."""

    def apply(self, x: typing.Any) -> Array:
        return np.argmax(x, axis=self.options["axis"], keepdims=self.options["keepdims"]).astype(np.int32)


@operation
class Argmin(_Place):
    """The place of the smallest number."""

    def apply(self, x: typing.Any) -> typing.Any:
        return np.argmin(x, axis=self.options["axis"], keepdims=self.options["keepdims"]).astype(np.int32)


@operation
class Average(Operation):
    """The mean, with a weight for each number."""

    module = NUMPY

    def __init__(self, axis: typing.Any = None, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)

    def _spread(self, x: typing.Any, weights: typing.Any) -> Array:
        if weights is None or np.ndim(weights) == np.ndim(x):
            return weights
        shape = [1] * x.ndim
        shape[self.options["axis"]] = -1
        return np.asarray(weights).reshape(shape)

    def apply(self, x: typing.Any, weights: typing.Any = None) -> typing.Any:
        return np.average(_float(np.asarray(x)), axis=self.options["axis"], weights=weights)

    def pull_back(self, dy: typing.Any, y: typing.Any, x: typing.Any,
                  weights: typing.Any = None) -> list[typing.Any]:
        axes = axes_of(self.options["axis"], x.ndim)
        dy, y = np.expand_dims(dy, axes), np.expand_dims(y, axes)
        w = self._spread(x, weights)
        if w is None:
            return [np.array(np.broadcast_to(dy / _count(x, axes), x.shape), x.dtype), None]
        total = np.broadcast_to(w, x.shape).sum(axis=axes, keepdims=True)
        dx = np.array(np.broadcast_to(dy * w / total, x.shape), x.dtype)
        dw = np.broadcast_to(dy * (x - y) / total, x.shape)
        if np.ndim(weights) != x.ndim:
            dw = dw.sum(axis=tuple(i for i in range(x.ndim) if i != axes[0]))
        floats = isinstance(weights, np.ndarray) and weights.dtype.kind == "f"
        return [dx, np.asarray(dw, weights.dtype) if floats else None]


# ---------------------------------------------------------------- the functions


def sum(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """The sum over some axes; None: all.

    >>> sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=1).tolist()
    [3.0, 7.0]
    """
    return call(Sum, x, axis=axis, keepdims=keepdims)


def mean(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> SymbolicTensor:
    """The mean over some axes; None: all.

    >>> mean(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=1).tolist()
    [1.5, 3.5]
    """
    return call(Mean, x, axis=axis, keepdims=keepdims)


def prod(x: Operand, axis: Axes | None = None, keepdims: bool = False,
         dtype: typing.Any = None) -> typing.Any:
    """The product over some axes; None: all. With a dtype, of the numbers in that.

    >>> prod(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=1).tolist()
    [2.0, 12.0]
    """
    from tdfast.ops.elementwise import cast

    return call(Prod, x if dtype is None else cast(x, dtype), axis=axis, keepdims=keepdims)


def var(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """The variance over some axes: the mean of the squared distances from the mean.

    >>> var(np.array([1.0, 3.0])).item()
    1.0
    """
    return call(Var, x, axis=axis, keepdims=keepdims)


def std(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """The standard deviation over some axes: the root of the variance.

    >>> std(np.array([1.0, 5.0])).item()
    2.0
    """
    return call(Std, x, axis=axis, keepdims=keepdims)


def max(x: Operand, axis: Axes | None = None, keepdims: bool = False,
        initial: typing.Any = None) -> typing.Any:
    """The largest number over some axes; ``initial`` counts as one of them.

    >>> max(np.array([1.0, 3.0])).item()
    3.0
    """
    return call(Max, x, axis=axis, keepdims=keepdims, initial=initial)


def min(x: Operand, axis: Axes | None = None, keepdims: bool = False,
        initial: typing.Any = None) -> typing.Any:
    """The smallest number over some axes; ``initial`` counts as one of them.

    >>> min(np.array([1.0, 3.0])).item()
    1.0
    """
    return call(Min, x, axis=axis, keepdims=keepdims, initial=initial)


def amax(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """The largest number over some axes.

    >>> amax(np.array([1.0, 3.0])).item()
    3.0
    """
    return call(Amax, x, axis=axis, keepdims=keepdims)


def amin(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """The smallest number over some axes.

    >>> amin(np.array([1.0, 3.0])).item()
    1.0
    """
    return call(Amin, x, axis=axis, keepdims=keepdims)


def any(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """Whether one number over some axes is true.

    >>> any(np.array([[True, False], [False, False]]), axis=1).tolist()
    [True, False]
    """
    return call(Any, x, axis=axis, keepdims=keepdims)


def all(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """Whether all numbers over some axes are true.

    >>> all(np.array([[True, False], [True, True]]), axis=1).tolist()
    [False, True]
    """
    return call(All, x, axis=axis, keepdims=keepdims)


def logsumexp(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """log(sum(e^x)) over some axes, without overflow.

    >>> round(logsumexp(np.array([1000.0, 1000.0])).item(), 4)
    1000.6931
    """
    return call(Logsumexp, x, axis=axis, keepdims=keepdims)


def norm(x: Operand, ord: typing.Any = None, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """The length of vectors along an axis: of ``ord`` 2 (the default), 1 or infinity.

    >>> norm(np.array([[3.0, 4.0]]), axis=1).tolist()
    [5.0]
    """
    return call(Norm, x, ord=ord, axis=axis, keepdims=keepdims)


def softmax(x: Operand, axis: Axes = -1) -> SymbolicTensor:
    """e^x by the sum of e^x along the axis.

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    return call(Softmax, x, axis=axis)


def log_softmax(x: Operand, axis: Axes = -1) -> typing.Any:
    """The logarithm of the softmax along the axis.

    >>> log_softmax(np.array([0.0, 0.0])).round(4).tolist()
    [-0.6931, -0.6931]
    """
    return call(LogSoftmax, x, axis=axis)


def cumsum(x: Operand, axis: Axes | None = None, dtype: DTypeLike | None = None) -> typing.Any:
    """The sum of all numbers up to each one, along the axis.

    >>> cumsum(np.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 3.0, 6.0]
    """
    return call(Cumsum, x, axis=axis, dtype=dtype)


def argmax(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """The place of the largest number along the axis, as int32.

    >>> argmax(np.array([1.0, 3.0, 2.0])).item()
    1
    """
    return call(Argmax, x, axis=axis, keepdims=keepdims)


def argmin(x: Operand, axis: Axes | None = None, keepdims: bool = False) -> typing.Any:
    """The place of the smallest number along the axis, as int32.

    >>> argmin(np.array([1.0, 3.0, 2.0])).item()
    0
    """
    return call(Argmin, x, axis=axis, keepdims=keepdims)


def average(x: Operand, axis: Axes | None = None, weights: typing.Any = None) -> typing.Any:
    """The mean along the axis, with a weight for each number.

    >>> average(np.array([1.0, 5.0]), weights=np.array([3.0, 1.0])).item()
    2.0
    """
    return call(Average, x, weights, axis=axis)
