"""Metrics, as in `keras.metrics`: numbers over all batches seen.

``reduction`` holds sums and means, ``accuracy``, ``regression``, ``classification`` and ``correlation`` means
of values; ``confusion``, ``auc``, ``fscore`` and ``iou`` count decisions; ``base`` is what they share. State
is float64 and does not grow with the samples; masked steps never count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast import losses
from tdfast.compat import absent
from tdfast.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from tdfast.losses.classification import crossentropy_of
from tdfast.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from tdfast.metrics.auc import AUC
from tdfast.metrics.base import REGISTRY, Metric
from tdfast.metrics.classification import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    Hinge,
    KLDivergence,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from tdfast.metrics.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from tdfast.metrics.correlation import (
    ConcordanceCorrelation,
    PearsonCorrelation,
    concordance_correlation,
    pearson_correlation,
)
from tdfast.metrics.fscore import F1Score, FBetaScore
from tdfast.metrics.iou import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from tdfast.metrics.reduction import LossMetric, Mean, MeanMetricWrapper, Sum, of_function
from tdfast.metrics.regression import (
    CosineSimilarity,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    R2Score,
    RootMeanSquaredError,
)

if TYPE_CHECKING:
    from tdfast.engine.types import Config, CustomObjects, MetricSpec, Shape

FUNCTIONS = {
    f.__name__: f
    for f in (
        binary_accuracy, categorical_accuracy, sparse_categorical_accuracy, top_k_categorical_accuracy,
        sparse_top_k_categorical_accuracy, pearson_correlation, concordance_correlation, binary_crossentropy,
        binary_focal_crossentropy, categorical_crossentropy, categorical_focal_crossentropy,
        categorical_hinge, hinge,
        huber, kl_divergence, log_cosh, mean_absolute_error, mean_absolute_percentage_error,
        mean_squared_error,
        mean_squared_logarithmic_error, poisson, sparse_categorical_crossentropy, squared_hinge,
    )
}
"""The metrics that are plain functions of arrays, by name."""


def get(identifier: MetricSpec) -> Any:
    """The `Metric` that a name, a class, an object, a function or Keras's dict means; losses count as
    metrics.

    Raises:
        ValueError: for an unknown name, listing the known ones, and for a class that needs arguments.

    >>> get("mae").name
    'mean_absolute_error'
    >>> get(lambda y_true, y_pred: y_pred.max(axis=-1)).name
    'lambda'
    """
    found = identifier if isinstance(identifier, (str, dict)) else REGISTRY.taken(identifier)
    if isinstance(found, str) and not REGISTRY.has(found):
        try:
            return LossMetric(losses.get(found), found)
        except ValueError:
            pass                        # the metrics' own message is the useful one
    if isinstance(found, dict):
        return deserialize(found)
    if isinstance(found, str):
        found = REGISTRY.find(found)
    if isinstance(found, type):
        try:
            found = found()
        except TypeError as error:
            raise ValueError(
                f"The metric {identifier!r} needs arguments, so give an object: {error}."
            ) from error
    if isinstance(found, losses.Loss):
        return LossMetric(found)
    if found is None or isinstance(found, Metric):
        return found
    if not callable(found) or hasattr(found, "update_state"):
        raise ValueError(
            f"{identifier!r} cannot be a metric: give a name, a tdfast.metrics.Metric or a function "
            "f(y_true, y_pred)."
        )
    return of_function(found)


def follows_the_loss(spec: Any) -> bool:
    """Whether `for_loss` decides what this means: 'accuracy', 'acc', 'crossentropy' and 'ce', in any case."""
    return isinstance(spec, str) and spec.lower() in ("accuracy", "acc", "crossentropy", "ce")


def for_loss(name: str, loss: Any, y_true_shape: Shape, y_pred_shape: Shape) -> Metric:
    """The metric that 'accuracy' ('acc') or 'crossentropy' ('ce') means for these shapes, as in Keras.

    One output means `BinaryAccuracy`, labels mean `SparseCategoricalAccuracy`, one-hot targets
    `CategoricalAccuracy`; any other name means the same for all shapes.

    >>> type(for_loss("accuracy", None, (None,), (None, 3))).__name__
    'SparseCategoricalAccuracy'
    """
    if follows_the_loss(name):
        if name.lower() in ("accuracy", "acc"):
            cls = crossentropy_of(y_true_shape, y_pred_shape, BinaryAccuracy, SparseCategoricalAccuracy,
                                  CategoricalAccuracy)
        else:
            cls = crossentropy_of(y_true_shape, y_pred_shape, BinaryCrossentropy,
                                  SparseCategoricalCrossentropy,
                                  CategoricalCrossentropy)
        return cls(name=name)
    metric = get(name)
    metric.name = name if isinstance(name, str) else metric.name
    return metric


def serialize(metric: Any) -> Any:
    """Keras's dict for a metric; a loss as a metric is a `MeanMetricWrapper` of its function there.

    A function that `compile` was given is one there too: by its name, which custom_objects must have on
    loading.

    >>> serialize(AUC(curve="PR"))["config"]["curve"]
    'PR'
    """
    if type(metric) is MeanMetricWrapper and metric.is_plain():
        return metric.get_config()["fn"]
    if isinstance(metric, LossMetric):
        return {"module": "keras.metrics", "class_name": "MeanMetricWrapper", "config": metric.get_config(),
                "registered_name": None}
    return REGISTRY.serialize(metric)


def deserialize(config: Config | str | None, custom_objects: CustomObjects = None) -> Any:
    """The metric of a serialized dict or name; ``custom_objects`` has your own classes and functions by name.

    Raises:
        ValueError: for an unknown one.

    >>> deserialize(serialize(AUC(curve="PR"))).get_config()["curve"]
    'PR'
    """
    return get(REGISTRY.deserialize(config, custom_objects))


if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = [  # noqa: PLE0604 -- functions are listed above
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU", "CategoricalAccuracy",
    "CategoricalCrossentropy", "CategoricalHinge", "ConcordanceCorrelation", "CosineSimilarity", "F1Score",
    "FBetaScore",
    "FalseNegatives", "FalsePositives", "Hinge", "IoU", "KLDivergence", "LogCoshError", "LossMetric", "Mean",
    "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanIoU", "MeanMetricWrapper", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Metric", "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation", "Poisson",
    "Precision",
    "PrecisionAtRecall", "R2Score", "Recall", "RecallAtPrecision", "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity", "SquaredHinge", "Sum", "TopKCategoricalAccuracy", "TrueNegatives",
    "TruePositives",
    "deserialize", "for_loss", "get", "serialize", *FUNCTIONS,
]
