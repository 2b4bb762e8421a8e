"""Correlations between targets and outputs along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.losses.base import EPSILON, spread
from tdfast.metrics.base import REGISTRY
from tdfast.metrics.reduction import MeanMetricWrapper

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.types import Config, DType, Masks, Numbers


def pearson_correlation(y_true: Numbers, y_pred: Numbers, axis: int = -1) -> Any:
    """mean((t - mean t) (p - mean p)) / (std t std p) along ``axis``, as an array.

    >>> pearson_correlation([[1.0, 2.0, 4.0]], [[2.0, 4.0, 8.0]]).round(4)
    array([1.])
    """
    return _pearson(*_moments(y_true, y_pred, axis, True))


def concordance_correlation(y_true: Numbers, y_pred: Numbers, axis: int = -1) -> Any:
    """2 cov(t, p) / (var t + var p + (mean t - mean p)^2) along ``axis``, as an array.

    >>> concordance_correlation([[0.0, 2.0]], [[1.0, 3.0]]).round(4)
    array([0.6667])
    """
    return _concordance(*_moments(y_true, y_pred, axis, True))


def _moments(y_true: Any, y_pred: Any, axis: int, where: Any) -> tuple[Any, ...]:
    """(means' difference, variances, covariance) along the axis, in float64."""
    p = np.asarray(y_pred, np.float64)
    t = np.asarray(y_true, np.float64).reshape(p.shape)
    with np.errstate(invalid="ignore"):
        means = [np.mean(a, axis=axis, keepdims=True, where=where) for a in (t, p)]
        dt, dp = t - means[0], p - means[1]
        gap = np.squeeze(means[0] - means[1], axis)
        return gap, *(np.mean(a * b, axis=axis, where=where) for a, b in ((dt, dt), (dp, dp), (dt, dp)))


def _pearson(gap: Any, var_t: Any, var_p: Any, cov: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return cov / np.sqrt(var_t * var_p)


def _concordance(gap: Any, var_t: Any, var_p: Any, cov: Any) -> Any:
    return 2 * cov / (var_t + var_p + gap**2 + EPSILON)


class _Correlation(MeanMetricWrapper):
    """The mean of a correlation; where the axis is the one a mask lies along, it is that of the valid
    steps."""

    direction = "up"
    _of_moments: Any = None

    def __init__(self, fn: Callable[..., Any], name: str, dtype: DType, axis: int) -> None:
        super().__init__(fn, name, dtype, axis=axis)
        self.axis = axis

    def update_state(self, y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None = None,  # type: ignore[override]
                     mask: Masks = None) -> Any:
        """Count a batch; ``mask`` leaves steps out."""
        p = np.asarray(y_pred)
        if mask is None or self.axis % p.ndim >= np.ndim(mask):
            return super().update_state(np.reshape(y_true, p.shape), p, sample_weight, mask)
        keep = spread(np.asarray(mask, bool), p.shape, f"metric '{self.name}': mask")
        some = keep.any(axis=self.axis)             # a sample without a valid step has no correlation
        keep = keep | ~np.expand_dims(some, self.axis)
        values = type(self)._of_moments(*_moments(np.where(keep, np.reshape(y_true, p.shape), 0),
                                                  np.where(keep, p, 0), self.axis, keep))
        self.count_values(np.where(some, values, 0), np.ones(values.shape) if sample_weight is None
                          else sample_weight, some)

    def get_config(self) -> Config:
        return {"name": self.name, "dtype": self.dtype, "axis": self.axis}

    @classmethod
    def from_config(cls, config: Config) -> Any:  # type: ignore[override]
        return cls(**config)


@REGISTRY.register
class PearsonCorrelation(_Correlation):
    """The mean of Pearson's correlation along ``axis``: cov(t, p) / (std t std p).

    Args:
        axis: along which; 1 is the time of outputs (N, T, C), where masked steps are left out.

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> round(PearsonCorrelation()([[0.0, 1.0, 0.5], [1.0, 1.0, 0.2]], [[0.1, 0.9, 0.5], [1.0, 0.9, 0.2]]), 4)
    0.9967
    """

    _of_moments = staticmethod(_pearson)

    def __init__(self, name: str = "pearson_correlation", dtype: DType = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name, dtype, axis)


@REGISTRY.register
class ConcordanceCorrelation(_Correlation):
    """The mean of Lin's concordance along ``axis``: 2 cov(t, p) / (var t + var p + (mean t - mean p)^2).

    Args:
        axis: along which; 1 is the time of outputs (N, T, C), where masked steps are left out.

    Source: https://keras.io/api/metrics/regression_metrics/

    >>> round(ConcordanceCorrelation()([[0.0, 2.0]], [[1.0, 3.0]]), 4)
    0.6667
    """

    _of_moments = staticmethod(_concordance)

    def __init__(self, name: str = "concordance_correlation", dtype: DType = None,
                 axis: int = -1) -> None:
        super().__init__(concordance_correlation, name, dtype, axis)
