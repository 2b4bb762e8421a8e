"""Losses between numbers: squares, absolute values, logarithms, quantiles, angles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import norms
from tdfast.losses.base import (
    EPSILON,
    KINDS,
    REGISTRY,
    AlongAxis,
    KernelLoss,
    cast_target,
    check_shapes,
    same_shape,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from tdfast.engine.types import Array, Config, DType, Numbers, Reduction, Shape
    from tdfast.losses.base import _NewBuffers


@REGISTRY.register("mse", "MSE")
class MeanSquaredError(KernelLoss):
    """mean((y_pred - y_true)^2) over the last axis.

    Source: https://keras.io/api/losses/regression_losses/

    >>> MeanSquaredError()([[0.0, 1.0]], [[1.0, 1.0]])
    0.5
    """

    kind = KINDS["mse"]

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "mean_squared_error",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)


@REGISTRY.register("mae", "MAE")
class MeanAbsoluteError(KernelLoss):
    """mean(|y_pred - y_true|) over the last axis; the slope at 0 is 0.

    Source: https://keras.io/api/losses/regression_losses/

    >>> MeanAbsoluteError()([[0.0, 1.0]], [[1.0, 1.0]])
    0.5
    """

    kind = KINDS["mae"]

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "mean_absolute_error",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)


@REGISTRY.register("mape", "MAPE")
class MeanAbsolutePercentageError(KernelLoss):
    """100 mean(|y_pred - y_true| / max(|y_true|, 1e-7)) over the last axis.

    Source: https://keras.io/api/losses/regression_losses/

    >>> MeanAbsolutePercentageError()([[2.0, 4.0]], [[1.0, 4.0]])
    25.0
    """

    kind = KINDS["mape"]

    def __init__(self, reduction: Reduction = "sum_over_batch_size",
                 name: str = "mean_absolute_percentage_error", dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)


@REGISTRY.register("msle", "MSLE")
class MeanSquaredLogarithmicError(KernelLoss):
    """mean((log(1 + y_pred) - log(1 + y_true))^2) over the last axis; values below 1e-7 count as that.

    Source: https://keras.io/api/losses/regression_losses/

    >>> round(MeanSquaredLogarithmicError()([[0.0]], [[1.0]]), 4)
    0.4805
    """

    kind = KINDS["msle"]

    def __init__(self, reduction: Reduction = "sum_over_batch_size",
                 name: str = "mean_squared_logarithmic_error", dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)


@REGISTRY.register("huber_loss")
class Huber(KernelLoss):
    """e^2 / 2 where |e| <= delta, else delta |e| - delta^2 / 2; the mean over the last axis.

    Source: https://keras.io/api/losses/regression_losses/

    >>> Huber()([[0.0, 0.0]], [[1.0, 3.0]])
    1.5
    """

    kind = KINDS["huber"]

    def __init__(self, delta: float = 1.0, reduction: Reduction = "sum_over_batch_size",
                 name: str = "huber_loss", dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)
        self.delta = float(delta)

    def get_config(self) -> Config:
        # Keras leaves delta out, and so loses it. It is here when it is not the default.
        more = {} if self.delta == 1 else {"delta": self.delta}
        return {**super().get_config(), **more}


@REGISTRY.register("logcosh")
class LogCosh(KernelLoss):
    """mean(log(cosh(y_pred - y_true))) over the last axis: a square near 0, an absolute value far from it.

    Source: https://keras.io/api/losses/regression_losses/

    >>> round(LogCosh()([[0.0]], [[1.0]]), 4)
    0.4338
    """

    kind = KINDS["log_cosh"]

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "log_cosh",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)


@REGISTRY.register
class Poisson(KernelLoss):
    """mean(y_pred - y_true log(y_pred + 1e-7)) over the last axis, for counts.

    Source: https://keras.io/api/losses/probabilistic_losses/

    >>> round(Poisson()([[2.0]], [[1.0]]), 4)
    1.0
    """

    kind = KINDS["poisson"]

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "poisson",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)


@REGISTRY.register("pinball")
class Quantile(KernelLoss):
    """The pinball loss: outputs become quantiles of the target. Keras has no such loss.

    With e = y_true - y_pred: ``max(q e, (q - 1) e)``, averaged over the last axis; the slope at 0 is 0.
    For q = 0.5 it is half the absolute error, and the output becomes the median.

    Args:
        quantiles: one number between 0 and 1, or a list of Q of them. With one, targets and outputs have
            the same shape. With a list, each feature has Q outputs, side by side in the list's order:
            targets (..., F) go with outputs (..., F * Q), as of ``Dense(F * Q)``. A last axis of 1 may be
            missing, and targets (...) go with outputs (..., Q).

    Raises:
        ValueError: for a quantile that is not between 0 and 1, or shapes that do not fit.

    Source: Koenker and Bassett, Regression Quantiles, Econometrica 46 (1978).

    >>> Quantile(0.9)([[1.0]], [[0.0]]), round(Quantile(0.9)([[0.0]], [[1.0]]), 4)
    (0.9, 0.1)
    >>> round(Quantile([0.1, 0.5, 0.9])([[2.0]], [[1.0, 2.0, 4.0]]), 4)
    0.1
    """

    kind = KINDS["quantile"]

    def __init__(self, quantiles: float | Sequence[float] = 0.5, reduction: Reduction = "sum_over_batch_size",
                 name: str = "quantile", dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)
        levels = np.array(quantiles, "float64", ndmin=1)
        if levels.ndim != 1 or not levels.size or not ((levels > 0) & (levels < 1)).all():
            raise ValueError(
                f"{self.name}: quantiles must be a number between 0 and 1 or a list of them, got "
                f"{quantiles!r}."
            )
        self.quantiles = float(levels[0]) if np.ndim(quantiles) == 0 else levels.tolist()
        self.levels = levels
        self._tiled: dict[Any, Any] = {}

    def levels_of(self, n: Any, dtype: DTypeLike) -> Any:
        """The quantile of each of n outputs."""
        key = n, np.dtype(dtype).name
        if key not in self._tiled:
            self._tiled[key] = np.ascontiguousarray(np.tile(self.levels, n // len(self.levels)), dtype)
        return self._tiled[key]

    def check(self, y_true_shape: Shape, y_pred_shape: Shape) -> None:
        self.features(tuple(y_true_shape), tuple(y_pred_shape))

    def features(self, true_shape: Sequence[Any], pred_shape: Sequence[Any]) -> Any:
        """How many features the targets have: the outputs' last axis is that many times the quantiles."""
        many, last = len(self.levels), pred_shape[-1]
        if last is not None and last % many == 0:
            n = last // many
            if same_shape(true_shape,
                          (*pred_shape[:-1], n)) or (n == 1 and same_shape(true_shape, pred_shape[:-1])):
                return n
        if many == 1:
            check_shapes(true_shape, pred_shape, False, self.name)
            return last
        raise ValueError(
            f"{self.name}: the outputs have shape {pred_shape}, their last axis F * {many} (F features, "
            f"{many} quantiles), "
            f"so the targets must have shape ({', '.join(map(str, pred_shape[:-1]))}, F), but got "
            f"{true_shape}."
        )

    def match_rank(self, y_true: Array, y_pred: Array, dy: Any, steps: Any) -> Any:
        return super().match_rank(y_true, y_pred, dy, steps) if len(self.levels) == 1 else (y_pred, dy)

    def prepare(self, y_true: Array, y_pred: Array, buffers: _NewBuffers) -> Any:
        if len(self.levels) == 1:
            return super().prepare(y_true, y_pred, buffers)
        t = np.asarray(y_true)
        n = self.features(t.shape, y_pred.shape)
        t = cast_target(t, y_pred.dtype, buffers, self.name).reshape(*y_pred.shape[:-1], n, 1)
        out = buffers.buffer("repeated", y_pred.shape, y_pred.dtype)
        np.copyto(out.reshape(*t.shape[:-1], len(self.levels)), t)
        return out

    def get_config(self) -> Config:
        return {**super().get_config(), "quantiles": self.quantiles}


@REGISTRY.register("cosine_proximity")
class CosineSimilarity(AlongAxis):
    """-sum(a b) over ``axis``, a and b being y_true and y_pred divided by their lengths: -1 for one
    direction.

    Outputs shorter than 1e-7 have no direction: they are divided by that, and their gradient is 0.

    Args:
        axis: along which the vectors lie.

    Source: https://keras.io/api/losses/regression_losses/

    >>> round(CosineSimilarity()([[1.0, 0.0]], [[3.0, 4.0]]), 4)
    -0.6
    """

    def __init__(self, axis: int = -1, reduction: Reduction = "sum_over_batch_size",
                 name: str = "cosine_similarity", dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)
        self.set_axis(axis)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return -np.einsum("...i,...i->...", unit(y_true)[0], unit(y_pred)[0])

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        a = unit(y_true)[0]
        b, factor = unit(y_pred)
        along = np.einsum("...i,...i->...", a, b)[..., None]
        return np.where(factor < 1 / EPSILON, (along * b - a) * factor, 0)

    def get_config(self) -> Config:
        # Keras leaves axis out, and so loses it. It is here when it is not the default.
        more = {} if self.axis == -1 else {"axis": self.axis}
        return {**super().get_config(), **more}


def unit(x: Any) -> tuple[Any, ...]:
    """(vectors of the last axis divided by their length, the factor that did it: at most 1e7)."""
    factor = norms.inverse_roots(np.einsum("...i,...i->...", x, x)[..., None], lambda: norms.squares(x, -1))
    np.minimum(factor, np.asarray(1 / EPSILON, x.dtype), out=factor)
    return x * factor, factor


# ---------------------------------------------------------------- the same as functions, one value for each
# row


def mean_squared_error(y_true: Numbers, y_pred: Numbers) -> Any:
    """mean((y_pred - y_true)^2) over the last axis: `MeanSquaredError` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> mean_squared_error([[0.0, 1.0], [2.0, 2.0]], [[1.0, 1.0], [2.0, 4.0]])
    array([0.5, 2. ])
    """
    return MeanSquaredError().values(y_true, y_pred)


def mean_absolute_error(y_true: Numbers, y_pred: Numbers) -> Any:
    """mean(|y_pred - y_true|) over the last axis: `MeanAbsoluteError` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> mean_absolute_error([[0.0, 1.0], [2.0, 2.0]], [[1.0, 1.0], [2.0, 4.0]])
    array([0.5, 1. ])
    """
    return MeanAbsoluteError().values(y_true, y_pred)


def mean_absolute_percentage_error(y_true: Numbers, y_pred: Numbers) -> Any:
    """100 mean(|y_true - y_pred| / max(|y_true|, 1e-7)): `MeanAbsolutePercentageError` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> mean_absolute_percentage_error([[2.0, 4.0]], [[1.0, 4.0]])
    array([25.])
    """
    return MeanAbsolutePercentageError().values(y_true, y_pred)


def mean_squared_logarithmic_error(y_true: Numbers, y_pred: Numbers) -> Any:
    """mean((log(1 + y_pred) - log(1 + y_true))^2): `MeanSquaredLogarithmicError` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> mean_squared_logarithmic_error([[0.0, 3.0]], [[0.0, 3.0]])
    array([0.])
    """
    return MeanSquaredLogarithmicError().values(y_true, y_pred)


def huber(y_true: Numbers, y_pred: Numbers, delta: float = 1.0) -> Any:
    """0.5 e^2 for errors |e| up to delta, delta |e| - 0.5 delta^2 beyond, averaged: `Huber` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.
        delta: where the parabola goes over into lines.

    Returns:
        An array (...), one value for each row.

    >>> huber([[0.0, 0.0]], [[0.5, 2.0]])
    array([0.8125])
    """
    return Huber(delta).values(y_true, y_pred)


def log_cosh(y_true: Numbers, y_pred: Numbers) -> Any:
    """mean(log(cosh(y_pred - y_true))): `LogCosh` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> log_cosh([[1.0, 2.0]], [[1.0, 2.0]])
    array([0.])
    """
    return LogCosh().values(y_true, y_pred)


def poisson(y_true: Numbers, y_pred: Numbers) -> Any:
    """mean(y_pred - y_true log(y_pred + 1e-7)): `Poisson` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> poisson([[1.0, 2.0]], [[1.0, 1.0]]).round(4)
    array([1.])
    """
    return Poisson().values(y_true, y_pred)


def pinball(y_true: Numbers, y_pred: Numbers, quantiles: float | Sequence[float] = 0.5) -> Any:
    """mean(max(q e, (q - 1) e)) with e = y_true - y_pred: `Quantile` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape. Of several quantiles one output each.
        quantiles: a number between 0 and 1, or a list of them.

    Returns:
        An array (...), one value for each row.

    >>> pinball([[1.0], [1.0]], [[0.0], [2.0]], quantiles=0.9).round(4)
    array([0.9, 0.1])
    """
    return Quantile(quantiles).values(y_true, y_pred)


def cosine_similarity(y_true: Numbers, y_pred: Numbers, axis: int = -1) -> Any:
    """-sum(l2(y_true) l2(y_pred)), l2 being a vector divided by its length: `CosineSimilarity` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.
        axis: that of the vectors.

    Returns:
        An array (...), one value for each row.

    >>> cosine_similarity([[1.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 3.0]])
    array([-1., -0.])
    """
    return CosineSimilarity(axis).values(y_true, y_pred)
