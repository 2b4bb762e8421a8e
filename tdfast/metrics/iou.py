"""Intersection over union: TP / (TP + FP + FN) of classes, from a matrix of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.losses.base import EPSILON, spread
from tdfast.metrics.base import REGISTRY, Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Config, DType, Numbers


@REGISTRY.register
class IoU(Metric):
    """The mean over some classes of TP / (TP + FP + FN); classes that occur nowhere do not count.

    Labels from 0 to num_classes - 1 count, others do not. Weights count as they are (Keras cuts them to whole
    numbers, unless dtype is a float's).

    Args:
        num_classes: how many.
        target_class_ids: those whose mean is taken.
        ignore_class: a label whose samples do not count, or None.
        sparse_y_true, sparse_y_pred: whether these hold labels; else the largest along ``axis`` is taken.
        axis: that of the classes.

    Raises:
        ValueError: for a target class that is not among the classes, or as many targets as outputs are not
            there.

    Source: https://keras.io/api/metrics/segmentation_metrics/

    >>> round(IoU(num_classes=2, target_class_ids=[0])([0, 0, 1, 1], [0, 1, 0, 1]), 4)
    0.3333
    """

    direction, default_dtype = "up", "int32"
    state_names: tuple[str, ...] = ("total_cm",)
    keys: tuple[str, ...] = (
        "num_classes", "target_class_ids", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis",
    )

    def __init__(self, num_classes: int, target_class_ids: Sequence[int], name: str | None = None,
                 dtype: DType = None, ignore_class: int | None = None, sparse_y_true: bool = True,
                 sparse_y_pred: bool = True, axis: int | None = -1) -> None:
        super().__init__(name=name, dtype=dtype)
        self.num_classes, self.target_class_ids = num_classes, list(target_class_ids)
        if (
            not self.target_class_ids
            or not 0 <= min(self.target_class_ids) <= max(self.target_class_ids) < num_classes
        ):
            raise ValueError(
                f"{self.name}: target_class_ids must be from 0 to {num_classes - 1} "
                f"(num_classes={num_classes}), got "
                f"{self.target_class_ids}."
            )
        self.ignore_class, self.axis = ignore_class, axis
        self.sparse_y_true = self._flag(sparse_y_true, "sparse_y_true")
        self.sparse_y_pred = self._flag(sparse_y_pred, "sparse_y_pred")
        self.reset_state()

    def reset_state(self) -> None:
        self.total_cm = np.zeros((self.num_classes, self.num_classes))

    def update_state(self, y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None = None) -> None:
        t, p, n = (
            self._labels(y_true, self.sparse_y_true),
            self._labels(y_pred, self.sparse_y_pred),
            self.num_classes,
        )
        if t.size != p.size:
            raise ValueError(f"{self.name}: there are targets for {t.shape} but outputs for {p.shape}.")
        w = None
        if sample_weight is not None:
            w = spread(np.asarray(sample_weight, np.float64), p.shape,
                       f"{self.name}: sample_weight").reshape(-1)
        t, p = t.reshape(-1), p.reshape(-1)
        keep = (t >= 0) & (t < n) & (p >= 0) & (p < n)
        if self.ignore_class is not None:
            keep &= t != self.ignore_class
        new = np.bincount(t[keep] * n + p[keep], None if w is None else w[keep], minlength=n * n)
        self.total_cm = self.total_cm + new.reshape(n, n)

    def _labels(self, y: Any, sparse: bool) -> Any:
        if not sparse:
            return np.argmax(y, axis=self.axis)
        with np.errstate(invalid="ignore"):
            return np.asarray(y).astype(np.int64)

    def result(self) -> Any:
        both = np.diag(self.total_cm)[self.target_class_ids]
        either = (self.total_cm.sum(axis=0) + self.total_cm.sum(axis=1))[self.target_class_ids] - both
        there = either > 1e-9
        return float((both / (either + EPSILON))[there].sum() / (there.sum() + EPSILON))

    def get_config(self) -> Config:
        return {**super().get_config(), **{key: getattr(self, key) for key in self.keys}}


@REGISTRY.register
class BinaryIoU(IoU):
    """`IoU` of two classes, 1 where ``y_pred >= threshold``.

    Args:
        target_class_ids: (0, 1), or one of them alone.
        threshold: of the outputs.

    Source: https://keras.io/api/metrics/segmentation_metrics/

    >>> round(BinaryIoU(target_class_ids=[0, 1], threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7]), 4)
    0.3333
    """

    keys: tuple[str, ...] = ("target_class_ids", "threshold")

    def __init__(self, target_class_ids: Sequence[int] = (0, 1), threshold: float | None = 0.5,
                 name: str | None = None, dtype: DType = None) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None = None) -> Any:
        p = np.asarray(y_pred)
        super().update_state(y_true, p >= np.asarray(self.threshold,
                                                     p.dtype if p.dtype.kind == "f" else None), sample_weight)


@REGISTRY.register
class MeanIoU(IoU):
    """`IoU` with the mean over all classes.

    Source: https://keras.io/api/metrics/segmentation_metrics/

    >>> round(MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1]), 4)
    0.3333
    """

    keys: tuple[str, ...] = ("num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")

    def __init__(self, num_classes: int, name: str | None = None, dtype: DType = None,
                 ignore_class: int | None = None, sparse_y_true: bool = True, sparse_y_pred: bool = True,
                 axis: int | None = -1) -> None:
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class, sparse_y_true,
                         sparse_y_pred, axis)


@REGISTRY.register
class OneHotIoU(IoU):
    """`IoU` for one-hot targets; outputs are scores, or labels with sparse_y_pred.

    Source: https://keras.io/api/metrics/segmentation_metrics/

    >>> round(OneHotIoU(2, [1])([[1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8]]), 4)
    1.0
    """

    keys: tuple[str, ...] = ("num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis")

    def __init__(self, num_classes: int, target_class_ids: Sequence[int], name: str | None = None,
                 dtype: DType = None, ignore_class: int | None = None, sparse_y_pred: bool = False,
                 axis: int | None = -1) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


@REGISTRY.register
class OneHotMeanIoU(MeanIoU):
    """`MeanIoU` for one-hot targets; outputs are scores, or labels with sparse_y_pred.

    Source: https://keras.io/api/metrics/segmentation_metrics/

    >>> round(OneHotMeanIoU(2)([[1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8]]), 4)
    1.0
    """

    keys: tuple[str, ...] = ("num_classes", "ignore_class", "sparse_y_pred", "axis")

    def __init__(self, num_classes: int, name: str | None = None, dtype: DType = None,
                 ignore_class: int | None = None, sparse_y_pred: bool = False, axis: int | None = -1) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)
