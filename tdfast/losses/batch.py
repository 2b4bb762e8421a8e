"""Losses that look at many outputs at once: the overlap of regions, and the pairs within a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat.calling import spelled
from tdfast.losses.base import EPSILON, REGISTRY, BuiltIn, spread, weights_and_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record
    from tdfast.engine.types import Array, Config, DType, Masks, Numbers, Reduction, Shape


class _Overlap(BuiltIn):
    """One value for all that lies along ``axis``; with None for the whole batch.

    What a mask leaves out counts neither as target nor as output.
    """

    overlap: Any

    def __init__(self, axis: int | None, reduction: Reduction, name: str, dtype: DType) -> None:
        super().__init__(name, reduction, dtype)
        if axis is not None and any(isinstance(a, bool) or not hasattr(a, "__index__")
                                    for a in np.ravel(axis)):
            raise ValueError(
                f"{self.name}: axis must be None, a whole number or a tuple of them, got {axis!r}."
            )
        self.axis = tuple(axis) if isinstance(axis, (list, tuple)) else axis

    def axes(self, ndim: int) -> tuple[Any, ...]:
        """The axes that become one value, from the front."""
        if self.axis is None:
            return tuple(range(ndim))
        given = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        if any(not -ndim <= a < ndim for a in given):
            raise ValueError(f"{self.name}: axis={self.axis} does not fit outputs with {ndim} axes.")
        return tuple(a % ndim for a in given)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return self.overlap(y_true, y_pred, self.axes(y_pred.ndim), False)[0]

    def checked_values(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(self.call(y_true, y_pred))

    def pull_back(self, y_true: Array, y_pred: Array, factor: Any, dy: Any) -> None:
        axes = self.axes(y_pred.ndim)
        factor = np.asarray(factor, dy.dtype)
        if factor.ndim:
            factor = np.expand_dims(factor, axes)
        np.multiply(self.overlap(y_true, y_pred, axes, True)[1], factor, out=dy)

    def reduced(self, y_true: Array, y_pred: Array, sample_weight: Numbers | None, mask: Masks, dy: Any,
                buffers: Record) -> float:  # type: ignore[override]
        if mask is None:
            return super().reduced(y_true, y_pred, sample_weight, None, dy, buffers)
        keep = spread(np.asarray(mask, bool), y_pred.shape, "mask")
        t = self.prepare(y_true, y_pred, buffers)
        value = super().reduced(np.where(keep, t, 0), np.where(keep, y_pred, 0), sample_weight, None, dy,
                                buffers)
        if dy is not None:
            dy *= keep
        return value

    def get_config(self) -> Config:
        return {**super().get_config(), "axis": self.axis}


@REGISTRY.register
class Dice(_Overlap):
    """1 - 2 sum(y_true y_pred) / (sum(y_true) + sum(y_pred) + 1e-7): 0 where they overlap wholly.

    Args:
        axis: what a sum goes over; None is everything, the batch included, which gives one value.
            ``axis=(1, 2)`` gives one for each sample of shape (T, F).

    Source: https://keras.io/api/losses/segmentation_losses/

    >>> round(Dice()([[0.0, 1.0]], [[0.5, 0.5]]), 4)
    0.5
    """

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "dice",
                 axis: int | None = None, dtype: DType = None) -> None:
        super().__init__(axis, reduction, name, dtype)

    def overlap(self, t: Array, p: Array, axes: Sequence[Any], need_slope: bool) -> tuple[Any, ...]:
        """(the values, their derivatives by p)."""
        both, epsilon = np.sum(t * p, axis=axes, keepdims=True), np.asarray(EPSILON, p.dtype)
        size = np.sum(t, axis=axes, keepdims=True) + np.sum(p, axis=axes, keepdims=True) + epsilon
        apart = np.sum(t * (1 - p) + (1 - t) * p, axis=axes, keepdims=True) + epsilon       # size - 2 both
        value = np.squeeze(apart / size, axes)
        return value, 2 * (both / size - t) / size if need_slope else None


@REGISTRY.register
class Tversky(_Overlap):
    """1 - TP / (TP + alpha FP + beta FN + 1e-7): TP = sum(t p), FP = sum((1 - t) p), FN = sum(t (1 - p)).

    alpha = beta = 0.5 is `Dice`.

    Args:
        alpha, beta: what false positives and false negatives cost.
        axis: what a sum goes over, as for `Dice`.

    Source: Salehi et al., Tversky loss function (2017), https://arxiv.org/abs/1706.05721

    >>> round(Tversky()([[0.0, 1.0]], [[0.5, 0.5]]), 4)
    0.5
    """

    def __init__(self, alpha: float = 0.5, beta: float = 0.5, reduction: Reduction = "sum_over_batch_size",
                 name: str = "tversky", axis: int | None = None, dtype: DType = None) -> None:
        super().__init__(axis, reduction, name, dtype)
        self.alpha, self.beta = alpha, beta

    def overlap(self, t: Any, p: Any, axes: Any, need_slope: Any) -> tuple[Any, ...]:
        """(the values, their derivatives by p)."""
        both = np.sum(t * p, axis=axes, keepdims=True)
        apart = self.alpha * np.sum((1 - t) * p, axis=axes, keepdims=True)
        apart += self.beta * np.sum(t * (1 - p), axis=axes, keepdims=True) + np.asarray(EPSILON, p.dtype)
        size = both + apart
        value = np.squeeze(apart / size, axes)
        if not need_slope:
            return value, None
        return value, (both / size * ((1 - self.beta) * t + self.alpha * (1 - t)) - t) / size

    def get_config(self) -> Config:
        config = super().get_config()
        axis = config.pop("axis")
        return {**config, "alpha": self.alpha, "beta": self.beta, "axis": axis}


@REGISTRY.register
class Circle(BuiltIn):
    """The circle loss: embeddings of one class are drawn together, those of others pushed apart.

    With d_ij = max(1 - y_pred_i . y_pred_j, 0) over the pairs of the batch and m = margin:
    ``softplus(logsumexp_j gamma (d^2 - m^2) + logsumexp_k gamma max(1 + m - d, 0) (1 - m - d))``, j of i's
    class, k of others. Samples whose loss is 0, such as those without a partner, do not count in the mean.

    Args:
        gamma: the scale.
        margin: how far apart the classes should be.
        remove_diagonal: whether a sample is no partner of itself.

    y_true holds a label for each sample, (N,) or (N, 1); y_pred (N, D) vectors of length 1.

    Source: Sun et al., Circle Loss (2020), https://arxiv.org/abs/2002.10857

    >>> loss = Circle(gamma=1.0)
    >>> round(loss([0, 0, 1], np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])), 4)
    0.6484
    """

    sparse = True

    def __init__(self, gamma: float = 80.0, margin: float = 0.4, remove_diagonal: bool | str = True,
                 reduction: Reduction = "sum_over_batch_size", name: str = "circle",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)
        self.gamma, self.margin = gamma, margin
        self.remove_diagonal = self._flag(remove_diagonal, "remove_diagonal")

    def check(self, y_true_shape: Shape, y_pred_shape: Shape) -> None:
        super().check(y_true_shape, y_pred_shape)
        if len(y_pred_shape) != 2:
            raise ValueError(
                f"{self.name}: the outputs must be vectors, (N, D), but have shape {tuple(y_pred_shape)}."
            )

    def _pairs(self, y_true: Array, y_pred: Array) -> tuple[Any, ...]:
        """(losses, distances before the cut at 0, and the softmax weights of like and unlike pairs)."""
        gap = 1 - y_pred @ y_pred.T
        d, m = np.maximum(gap, 0), self.margin
        like = y_true[:, None] == y_true[None, :]
        unlike = ~like
        if self.remove_diagonal:
            like = like & ~np.eye(len(y_true), dtype=bool)
        near, near_weights = _log_sum_exp(self.gamma * (d * d - m * m), like)
        far, far_weights = _log_sum_exp(self.gamma * np.maximum(1 + m - d, 0) * (1 - m - d), unlike)
        return near + far, gap, near_weights, far_weights

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return np.logaddexp(0, self._pairs(y_true, y_pred)[0])

    def reduced(self, y_true: Array, y_pred: Array, sample_weight: Numbers | None, mask: Masks, dy: Any,
                buffers: Any) -> Any:
        self.check(np.shape(y_true), y_pred.shape)
        t = self.prepare(y_true, y_pred, buffers)
        z, gap, near, far = self._pairs(t, y_pred)
        values = np.logaddexp(0, z)
        keep = values > 0 if mask is None else (values > 0) & spread(np.asarray(mask, bool), values.shape,
                                                                     "mask")
        weight, scale = weights_and_scale(sample_weight, keep, values.shape, y_pred.dtype, self.reduction)
        if dy is not None:
            d, m = np.maximum(gap, 0), self.margin
            room = np.maximum(1 + m - d, 0)
            # max(gap, 0) has half a slope where the gap is 0; so has max(1 + m - d, 0), where nothing comes
            # of it.
            slope = near * (2 * self.gamma * d)
            slope -= far * self.gamma * (room + (1 - m - d) * np.heaviside(1 + m - d, 0.5))
            slope *= (weight * scale * np.exp(-np.logaddexp(0, -z)))[:, None] * np.heaviside(gap, 0.5)
            np.copyto(dy, -(slope + slope.T) @ y_pred)
        return float((values * weight).sum(dtype=np.float64)) * scale

    def get_config(self) -> Config:
        return {**super().get_config(), "gamma": self.gamma, "margin": self.margin,
                "remove_diagonal": self.remove_diagonal}


def _log_sum_exp(x: Any, where: Any) -> tuple[Any, ...]:
    """(log(sum(exp(x))) over the last axis where ``where`` holds, the softmax there); -inf and 0 for none."""
    x = np.where(where, x, -np.inf)
    top = x.max(axis=-1, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return (np.log(total) + top)[..., 0], e / np.where(total, total, 1)


# ---------------------------------------------------------------- the same as functions


def dice(y_true: Numbers, y_pred: Numbers, axis: int | None = None) -> Any:
    """1 - 2 sum(y_true y_pred) / (sum(y_true) + sum(y_pred)): `Dice` as an array.

    Args:
        y_true, y_pred: arrays of one shape.
        axis: the axes that the sums go over; None: all, for one number.

    >>> round(float(dice([[0.0, 1.0]], [[0.0, 1.0]])), 4)
    0.0
    """
    return Dice(axis=axis).values(y_true, y_pred)


def tversky(y_true: Numbers, y_pred: Numbers, alpha: float = 0.5, beta: float = 0.5,
            axis: int | None = None) -> Any:
    """1 - TP / (TP + alpha FP + beta FN), of sums of products: `Tversky` as an array.

    Args:
        y_true, y_pred: arrays of one shape.
        alpha, beta: the weights of false positives and of false negatives.
        axis: the axes that the sums go over; None: all, for one number.

    >>> round(float(tversky([[0.0, 1.0]], [[1.0, 1.0]])), 4)
    0.3333
    """
    return Tversky(alpha, beta, axis=axis).values(y_true, y_pred)


@spelled
def circle(y_true: Numbers, y_pred: Numbers, remove_diagonal: bool = True, gamma: float = 80,
           margin: float = 0.4) -> Any:
    """The circle loss of each sample's embedding among those of its batch: `Circle`.

    Args:
        y_true: labels, (batch,).
        y_pred: embeddings of length 1, (batch, features).
        remove_diagonal: whether a sample is no partner of itself.
        gamma, margin: the scale, and how far apart similarities of equal and of other labels should be.

    Returns:
        An array (batch,).

    >>> circle([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).round(2)
    array([0., 0., 0.])
    """
    return Circle(gamma, margin, remove_diagonal).values(y_true, y_pred)
