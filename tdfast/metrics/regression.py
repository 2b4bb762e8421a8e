"""Metrics between numbers: errors, as the losses of the same names, the angle, and R^2."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import losses
from tdfast.metrics.base import REGISTRY, Metric, matched_rows, plain, ratio
from tdfast.metrics.reduction import LossMean

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Config, DType, Numbers


@REGISTRY.register("mse", "MSE")
class MeanSquaredError(LossMean):
    """The mean of (y_pred - y_true)^2.

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> MeanSquaredError()([[0.0, 1.0]], [[1.0, 1.0]])
    0.5
    """

    direction, function = "down", losses.MeanSquaredError()

    def __init__(self, name: str = "mean_squared_error", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register("rmse", "RMSE")
class RootMeanSquaredError(LossMean):
    """The square root of the mean of (y_pred - y_true)^2.

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> RootMeanSquaredError()([[0.0]], [[2.0]])
    2.0
    """

    direction, function, elementwise = "down", losses.MeanSquaredError(), True

    def __init__(self, name: str = "root_mean_squared_error", dtype: DType = None) -> None:
        super().__init__(name, dtype)

    def result(self) -> Any:
        return math.sqrt(super().result())


@REGISTRY.register("mae", "MAE")
class MeanAbsoluteError(LossMean):
    """The mean of |y_pred - y_true|.

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> MeanAbsoluteError()([[0.0, 1.0]], [[1.0, 1.0]])
    0.5
    """

    direction, function = "down", losses.MeanAbsoluteError()

    def __init__(self, name: str = "mean_absolute_error", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register("mape", "MAPE")
class MeanAbsolutePercentageError(LossMean):
    """The mean of 100 |y_pred - y_true| / max(|y_true|, 1e-7).

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> MeanAbsolutePercentageError()([[2.0, 4.0]], [[1.0, 4.0]])
    25.0
    """

    direction, function = "down", losses.MeanAbsolutePercentageError()

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register("msle", "MSLE")
class MeanSquaredLogarithmicError(LossMean):
    """The mean of (log(1 + y_pred) - log(1 + y_true))^2; values below 1e-7 count as that.

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> round(MeanSquaredLogarithmicError()([[0.0]], [[1.0]]), 4)
    0.4805
    """

    direction, function = "down", losses.MeanSquaredLogarithmicError()

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register("logcosh", "log_cosh")
class LogCoshError(LossMean):
    """The mean of log(cosh(y_pred - y_true)).

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> round(LogCoshError()([[0.0]], [[1.0]]), 4)
    0.4338
    """

    direction, function = "down", losses.LogCosh()

    def __init__(self, name: str = "logcosh", dtype: DType = None) -> None:
        super().__init__(name, dtype)


class _Cosine(losses.CosineSimilarity):
    def values(self, y_true: Any, y_pred: Any) -> Array:
        return -super().values(y_true, y_pred)


@REGISTRY.register("cosine_proximity")
class CosineSimilarity(LossMean):
    """The mean of sum(a b) over ``axis``, a and b being y_true and y_pred divided by their lengths: 1 for one
    direction.

    Args:
        axis: along which the vectors lie.

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> round(CosineSimilarity()([[1.0, 0.0]], [[3.0, 4.0]]), 4)
    0.6
    """

    direction = "up"

    def __init__(self, name: str = "cosine_similarity", dtype: DType = None, axis: int = -1) -> None:
        self.function: Any = _Cosine(axis)
        self.axis = axis
        super().__init__(name, dtype)

    def get_config(self) -> Config:
        # Keras leaves axis out, and so loses it. It is here when it is not the default.
        more = {} if self.axis == -1 else {"axis": self.axis}
        return {**super().get_config(), **more}


@REGISTRY.register
class R2Score(Metric):
    """1 - sum((y_true - y_pred)^2) / sum((y_true - mean(y_true))^2), for each output.

    Outputs (N, T, C) count as N T samples of C outputs.

    Args:
        class_aggregation: 'uniform_average' (the mean over the outputs), 'variance_weighted_average', or
            None: an array with one score for each output.
        num_regressors: of the adjusted score ``1 - (1 - R2) (n - 1) / (n - num_regressors - 1)``, n being the
            number of samples with a weight, however many outputs they have; 0: not adjusted. Too few samples
            warn, and the score is not adjusted.

    Raises:
        ValueError: for another class_aggregation or num_regressors < 0.

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> round(R2Score()([[1.0], [2.0], [3.0]], [[1.0], [2.0], [2.0]]), 4)
    0.5
    """

    direction = "up"
    state_names: tuple[str, ...] = ("num_samples", "count", "mean", "spread", "residual")

    def __init__(self, class_aggregation: str = "uniform_average", num_regressors: int = 0,
                 name: str = "r2_score", dtype: DType = None) -> None:
        super().__init__(name=name, dtype=dtype)
        if class_aggregation not in (None, "uniform_average", "variance_weighted_average"):
            raise ValueError(
                f"{self.name}: class_aggregation must be None, 'uniform_average' or "
                "'variance_weighted_average', got "
                f"{class_aggregation!r}."
            )
        if num_regressors < 0:
            raise ValueError(f"{self.name}: num_regressors must be 0 or more, got {num_regressors}.")
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors
        self.reset_state()

    def reset_state(self) -> None:
        self.num_samples = 0
        # Of the targets of each output: weight, mean, sum of squares about the mean; and that of the errors.
        self.count = self.mean = self.spread = self.residual = np.zeros(())

    def update_state(self, y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None = None) -> None:
        t, p, w = matched_rows(y_true, y_pred, sample_weight, self.name)
        t, w = t.astype(np.float64), np.ones(t.shape) if w is None else w
        new = w.sum(axis=0)
        mean = ratio((w * t).sum(axis=0), new)
        both, gap = self.count + new, mean - self.mean
        self.residual = self.residual + (w * (t - p) ** 2).sum(axis=0)
        self.spread = self.spread + (w * (t - mean) ** 2).sum(axis=0) + gap**2 * ratio(self.count * new, both)
        self.mean = self.mean + gap * ratio(new, both)
        self.count, self.num_samples = both, self.num_samples + len(t)

    def result(self) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            score: Any = 1 - self.residual / self.spread
            score = np.where(np.isinf(score), 0.0, score)
            if self.class_aggregation == "uniform_average":
                score = np.mean(score)
            elif self.class_aggregation == "variance_weighted_average":
                score = np.sum(self.spread * score) / np.sum(self.spread)
        free = self.num_samples - self.num_regressors - 1
        if self.num_regressors:
            if free <= 0:
                warnings.warn(
                    f"{self.name}: num_regressors={self.num_regressors} is too many for {self.num_samples} "
                    "samples, so the score is not adjusted.", stacklevel=2,
                )
            else:
                score = 1 - (1 - score) * (self.num_samples - 1) / free
        return plain(score)

    def get_config(self) -> Config:
        return {**super().get_config(), "class_aggregation": self.class_aggregation,
                "num_regressors": self.num_regressors}
