"""Crossentropies, divergences and hinges as metrics: the means of the losses of the same names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdfast import losses
from tdfast.metrics.base import REGISTRY
from tdfast.metrics.reduction import LossMean

if TYPE_CHECKING:
    from tdfast.engine.types import Config, DType


@REGISTRY.register("bce", "BCE")
class BinaryCrossentropy(LossMean):
    """The mean of -(t log p + (1 - t) log(1 - p)).

    Args:
        from_logits: whether y_pred are logits.
        label_smoothing: targets move this far towards 1/2.

    Source: https://keras.io/api/metrics/probabilistic_metrics/

    >>> round(BinaryCrossentropy()([[1.0]], [[0.5]]), 4)
    0.6931
    """

    direction = "down"

    def __init__(self, name: str = "binary_crossentropy", dtype: DType = None, from_logits: bool = False,
                 label_smoothing: float = 0) -> None:
        self.function = losses.BinaryCrossentropy(from_logits, label_smoothing)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing
        super().__init__(name, dtype)

    def get_config(self) -> Config:
        return {**super().get_config(), "from_logits": self.from_logits,
                "label_smoothing": self.label_smoothing}


@REGISTRY.register
class CategoricalCrossentropy(LossMean):
    """The mean of -sum(y_true log p) for one-hot targets, p = y_pred / sum(y_pred) or the softmax of logits.

    Args:
        from_logits: whether y_pred are logits.
        label_smoothing: the part of the target spread evenly over all classes.
        axis: that of the classes.

    Source: https://keras.io/api/metrics/probabilistic_metrics/

    >>> round(CategoricalCrossentropy()([[0, 1]], [[1.0, 3.0]]), 4)
    0.2877
    """

    direction = "down"

    def __init__(self, name: str = "categorical_crossentropy", dtype: DType = None, from_logits: bool = False,
                 label_smoothing: float = 0, axis: int = -1) -> None:
        self.function = losses.CategoricalCrossentropy(from_logits, label_smoothing, axis)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis
        super().__init__(name, dtype)

    def get_config(self) -> Config:
        return {**super().get_config(), "from_logits": self.from_logits,
                "label_smoothing": self.label_smoothing,
                "axis": self.axis}


@REGISTRY.register
class SparseCategoricalCrossentropy(LossMean):
    """`CategoricalCrossentropy` for integer labels.

    Args:
        from_logits: whether y_pred are logits.
        ignore_class: a label that does not count, or None.
        axis: that of the classes, which must be the last.

    Source: https://keras.io/api/metrics/probabilistic_metrics/

    >>> round(SparseCategoricalCrossentropy()([1], [[1.0, 3.0]]), 4)
    0.2877
    """

    direction = "down"

    def __init__(self, name: str = "sparse_categorical_crossentropy", dtype: DType = None,
                 from_logits: bool = False, ignore_class: int | None = None, axis: int = -1) -> None:
        self.function = losses.SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis)
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis
        super().__init__(name, dtype)

    def get_config(self) -> Config:
        return {**super().get_config(), "from_logits": self.from_logits, "ignore_class": self.ignore_class,
                "axis": self.axis}


@REGISTRY.register("kld", "KLD", "kullback_leibler_divergence")
class KLDivergence(LossMean):
    """The mean of sum(y_true log(y_true / y_pred)), both clipped to 1e-7 .. 1.

    Source: https://keras.io/api/metrics/probabilistic_metrics/

    >>> round(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]]), 4)
    0.1438
    """

    direction, function = "down", losses.KLDivergence()

    def __init__(self, name: str = "kl_divergence", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register
class Poisson(LossMean):
    """The mean of y_pred - y_true log(y_pred + 1e-7).

    Source: https://keras.io/api/metrics/probabilistic_metrics/

    >>> round(Poisson()([[2.0]], [[1.0]]), 4)
    1.0
    """

    direction, function = "down", losses.Poisson()

    def __init__(self, name: str = "poisson", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register
class Hinge(LossMean):
    """The mean of max(1 - y_true y_pred, 0), for targets -1 and 1 (or 0 and 1).

    Source: https://keras.io/api/metrics/hinge_metrics/

    >>> Hinge()([[1.0, -1.0]], [[0.5, 0.5]])
    1.0
    """

    direction, function = "down", losses.Hinge()

    def __init__(self, name: str = "hinge", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register
class SquaredHinge(LossMean):
    """The mean of max(1 - y_true y_pred, 0)^2, for targets -1 and 1 (or 0 and 1).

    Source: https://keras.io/api/metrics/hinge_metrics/

    >>> SquaredHinge()([[1.0, -1.0]], [[0.5, 0.5]])
    1.25
    """

    direction, function = "down", losses.SquaredHinge()

    def __init__(self, name: str = "squared_hinge", dtype: DType = None) -> None:
        super().__init__(name, dtype)


@REGISTRY.register
class CategoricalHinge(LossMean):
    """The mean of max(max((1 - y_true) y_pred) - sum(y_true y_pred) + 1, 0), for one-hot targets.

    Source: https://keras.io/api/metrics/hinge_metrics/

    >>> round(CategoricalHinge()([[0.0, 1.0]], [[0.6, 0.4]]), 4)
    1.2
    """

    direction, function = "down", losses.CategoricalHinge()

    def __init__(self, name: str = "categorical_hinge", dtype: DType = None) -> None:
        super().__init__(name, dtype)
