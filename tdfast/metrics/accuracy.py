"""Accuracies: how often outputs and targets agree. The common three run in src_c/loss.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.losses import base
from tdfast.metrics.base import REGISTRY
from tdfast.metrics.reduction import LossMean, MeanMetricWrapper

if TYPE_CHECKING:
    from tdfast.engine.types import Config, DType, Numbers

# ---------------------------------------------------------------- functions


def _pair(y_true: Any, y_pred: Any) -> tuple[Any, ...]:
    """Both as arrays of one shape; a last axis of 1 may be missing in either."""
    t, p = np.asarray(y_true), np.asarray(y_pred)
    if t.shape != p.shape:
        if not ((*t.shape, 1) == p.shape or t.shape == (*p.shape, 1)):
            base.check_shapes(t.shape, p.shape, False, "accuracy")
        shape = max(t.shape, p.shape, key=len)
        shape = shape if len(shape) == 2 else shape[:-1]
        t, p = t.reshape(shape), p.reshape(shape)
    return t, p


def accuracy(y_true: Numbers, y_pred: Numbers) -> Any:
    """1.0 where an output equals its target, else 0.0."""
    t, p = _pair(y_true, y_pred)
    return (t.astype(p.dtype) == p).astype(np.float64)


def binary_accuracy(y_true: Numbers, y_pred: Numbers, threshold: float | None = 0.5) -> Any:
    """1.0 where ``y_pred > threshold`` equals y_true, else 0.0, as for NaN; one number for each output.

    >>> binary_accuracy([[1, 0]], [[0.9, 0.8]])
    array([[1., 0.]])
    """
    t, p = _pair(y_true, y_pred)
    return ((t == (p > np.asarray(threshold, p.dtype))) & (p == p)).astype(np.float64)


def categorical_accuracy(y_true: Numbers, y_pred: Numbers) -> Any:
    """1.0 for each row whose largest output is where its one-hot target is, else 0.0, as for a row with NaN.

    Args:
        y_true, y_pred: (..., classes).

    Returns:
        An array (...).

    >>> categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])
    array([1., 0.])
    """
    return _hits(np.argmax(y_true, axis=-1), np.asarray(y_pred))


def sparse_categorical_accuracy(y_true: Numbers, y_pred: Numbers) -> Any:
    """1.0 for each row whose largest output is at its label, else 0.0, as for a row with NaN.

    Args:
        y_true: labels, (...) or (..., 1).
        y_pred: (..., classes).

    Returns:
        An array (...).

    >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.4, 0.6]])
    array([1., 0.])
    """
    p = np.asarray(y_pred)
    return _hits(_labels(y_true, p, "sparse_categorical_accuracy"), p)


def _hits(labels: Any, p: Any) -> Any:
    """Whether the largest output is at the label; a row with NaN has no largest."""
    return ((labels == np.argmax(p, axis=-1)) & ~np.isnan(p).any(axis=-1)).astype(np.float64)


def top_k_categorical_accuracy(y_true: Numbers, y_pred: Numbers, k: int = 5) -> Any:
    """1.0 for each row whose target's output is among the k largest, else 0.0; equal outputs count as one.

    The output NaN is never among them, and counts as larger than any other.

    Args:
        y_true: one-hot, (..., classes).
        y_pred: (..., classes).
        k: how many.

    Returns:
        An array (...).

    >>> top_k_categorical_accuracy([[0, 0, 1], [0, 1, 0]], [[0.1, 0.5, 0.4], [0.6, 0.1, 0.3]], k=2)
    array([1., 0.])
    """
    return sparse_top_k_categorical_accuracy(np.argmax(y_true, axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Numbers, y_pred: Numbers, k: int = 5,
                                      from_sorted_ids: bool = False) -> Any:
    """`top_k_categorical_accuracy` for labels; with from_sorted_ids, y_pred holds labels, the best first.

    >>> sparse_top_k_categorical_accuracy([2, 1], [[0.1, 0.5, 0.4], [0.6, 0.1, 0.3]], k=2)
    array([1., 0.])
    """
    p = np.asarray(y_pred)
    t = _labels(y_true, p, "sparse_top_k_categorical_accuracy")
    if from_sorted_ids:
        return (p[..., :k] == t[..., None]).any(axis=-1).astype(np.float64)
    t = t.astype(np.int64)
    base.check_labels(t, p.shape[-1], "sparse_top_k_categorical_accuracy")
    at = np.take_along_axis(p, t[..., None], axis=-1)
    larger = ~(p <= at)             # NaN, too
    return ((larger.sum(axis=-1) < k) & (at == at)[..., 0]).astype(np.float64)


def _labels(y_true: Any, p: Any, who: str) -> Any:
    t = np.asarray(y_true)
    if t.shape == (*p.shape[:-1], 1):
        t = t[..., 0]
    if t.shape != p.shape[:-1]:
        base.check_shapes(t.shape, p.shape, True, who)
    return t


# ---------------------------------------------------------------- metrics


class _Match(base.KernelLoss):
    """The rows of an accuracy: 1 where output and target agree."""

    def __init__(self, kind: int, sparse: bool = False, threshold: float = 0.0) -> None:
        super().__init__("accuracy")
        self.kind, self.sparse, self.delta = kind, sparse, threshold


class _Wrapped(MeanMetricWrapper):
    """A metric of one of the functions above, whose options are its config."""

    direction = "up"

    def get_config(self) -> Config:
        return {"name": self.name, "dtype": self.dtype, **self._fn_kwargs}

    @classmethod
    def from_config(cls, config: Config) -> Any:  # type: ignore[override]
        return cls(**config)


@REGISTRY.register
class Accuracy(_Wrapped):
    """How often y_pred equals y_true.

    Source: https://keras.io/api/metrics/accuracy_metrics/

    >>> Accuracy()([[1], [2]], [[1], [0]])
    0.5
    """

    def __init__(self, name: str = "accuracy", dtype: DType = None) -> None:
        super().__init__(accuracy, name, dtype)


@REGISTRY.register
class BinaryAccuracy(LossMean):
    """How often ``y_pred > threshold`` equals y_true.

    Source: https://keras.io/api/metrics/accuracy_metrics/

    >>> BinaryAccuracy()([[1], [0]], [[0.9], [0.8]])
    0.5
    """

    direction, elementwise = "up", True

    def __init__(self, name: str = "binary_accuracy", dtype: DType = None,
                 threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.function = _Match(base.KINDS["match_binary"], threshold=float(threshold))
        super().__init__(name, dtype)

    def get_config(self) -> Config:
        return {**super().get_config(), "threshold": self.threshold}


@REGISTRY.register
class CategoricalAccuracy(LossMean):
    """How often the largest output is where the one-hot target is.

    Source: https://keras.io/api/metrics/accuracy_metrics/

    >>> CategoricalAccuracy()([[0, 1]], [[0.1, 0.9]])
    1.0
    """

    direction, function = "up", _Match(base.KINDS["match_categorical"])

    def __init__(self, name: str = "categorical_accuracy", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register
class SparseCategoricalAccuracy(LossMean):
    """How often the largest output is at the label.

    Source: https://keras.io/api/metrics/accuracy_metrics/

    >>> SparseCategoricalAccuracy()([1], [[0.1, 0.9]])
    1.0
    """

    direction, function = "up", _Match(base.KINDS["match_sparse"], sparse=True)

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register
class TopKCategoricalAccuracy(_Wrapped):
    """How often the one-hot target's output is among the k largest.

    Source: https://keras.io/api/metrics/accuracy_metrics/

    >>> TopKCategoricalAccuracy(k=2)([[0, 0, 1], [0, 1, 0]], [[0.1, 0.5, 0.4], [0.6, 0.1, 0.3]])
    0.5
    """

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: DType = None) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


@REGISTRY.register
class SparseTopKCategoricalAccuracy(_Wrapped):
    """How often the label's output is among the k largest.

    Args:
        k: how many.
        from_sorted_ids: y_pred holds labels, the best first, instead of scores.

    Source: https://keras.io/api/metrics/accuracy_metrics/

    >>> SparseTopKCategoricalAccuracy(k=2)([2, 1], [[0.1, 0.5, 0.4], [0.6, 0.1, 0.3]])
    0.5
    """

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: DType = None,
                 from_sorted_ids: bool | str = False) -> None:
        options = {"from_sorted_ids": True} if from_sorted_ids else {}
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k, **options)
        self.k = k
        self.from_sorted_ids = self._flag(from_sorted_ids, "from_sorted_ids")
