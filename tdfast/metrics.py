"""Metrics, as in `keras.metrics`: numbers averaged over the samples seen. One class each."""

import math

import numpy as np

from tdfast import losses
from tdfast.losses import base
from tdfast.names import snake_case
from tdfast.registry import Registry

REGISTRY = Registry("metric", "metrics", "keras.metrics")


class Metric:
    """A number over many batches: `update_state`, `result` and `reset_state`."""

    def __init__(self, name=None, dtype=None):
        self.name, self.dtype = name or snake_case(type(self).__name__), dtype
        self.reset_state()

    def __call__(self, *args, **kwargs):
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config):
        """The metric that `get_config` described."""
        return cls(**config)


@REGISTRY.register
class Mean(Metric):
    """The weighted mean of all values given.

    >>> m = Mean()
    >>> m.update_state([1.0, 3.0])
    >>> m.result()
    2.0
    """

    def reset_state(self):
        self.total = self.count = 0.0

    def update_state(self, values, sample_weight=None):
        values = np.asarray(values, np.float64)
        if sample_weight is None:
            self.add(float(values.sum()), values.size)
        else:
            weight = base.row_weights(sample_weight, None, values.shape, np.float64, "sum")
            self.add(float((values * weight).sum()), float(weight.sum()))

    def add(self, total, count):
        """Count a sum of values and the sum of their weights."""
        self.total += total
        self.count += count

    def result(self):
        return self.total / self.count if self.count else 0.0


class MeanMetricWrapper(Mean):
    """The mean over rows of a kernel of src_c/loss.c; a metric of this kind is one small class."""

    function = base.KernelLoss()            # whose rows are averaged

    def update_state(self, y_true, y_pred, sample_weight=None, mask=None, workspace=None):
        """Count a batch. ``mask`` leaves values out; ``workspace`` is a tape's record."""
        y_pred = base.as_outputs(y_pred)
        buffers = base.NEW if workspace is None else workspace
        weight, count = None, y_pred.size // max(y_pred.shape[-1], 1)
        if sample_weight is not None or mask is not None:
            weight = base.row_weights(sample_weight, mask, y_pred.shape[:-1], y_pred.dtype, "sum")
            count = float(weight.sum(dtype=np.float64))
        total, _ = self.function.rows(y_true, y_pred, weight, 1.0, None, buffers)
        self.add(total, count)


class _Match(base.KernelLoss):
    """The rows of an accuracy: 1 where output and target agree."""

    def __init__(self, kind, sparse=False, threshold=0.0):
        super().__init__("accuracy")
        self.kind, self.sparse, self.delta = kind, sparse, threshold


@REGISTRY.register
class BinaryAccuracy(MeanMetricWrapper):
    """How often ``y_pred > threshold`` equals y_true.

    >>> BinaryAccuracy()([[1], [0]], [[0.9], [0.8]])
    0.5
    """

    def __init__(self, name="binary_accuracy", dtype=None, threshold=0.5):
        super().__init__(name, dtype)
        self.threshold = threshold
        self.function = _Match(base.MATCH_BINARY, threshold=float(threshold))

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@REGISTRY.register
class CategoricalAccuracy(MeanMetricWrapper):
    """How often the largest output is where the one-hot target is.

    >>> CategoricalAccuracy()([[0, 1]], [[0.1, 0.9]])
    1.0
    """

    function = _Match(base.MATCH_CATEGORICAL)

    def __init__(self, name="categorical_accuracy", dtype=None):
        super().__init__(name, dtype)


@REGISTRY.register
class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest output is at the label.

    >>> SparseCategoricalAccuracy()([1], [[0.1, 0.9]])
    1.0
    """

    function = _Match(base.MATCH_SPARSE, sparse=True)

    def __init__(self, name="sparse_categorical_accuracy", dtype=None):
        super().__init__(name, dtype)


@REGISTRY.register("mse", "MSE")
class MeanSquaredError(MeanMetricWrapper):
    """The mean of (y_pred - y_true)^2."""

    function = losses.MeanSquaredError()

    def __init__(self, name="mean_squared_error", dtype=None):
        super().__init__(name, dtype)


@REGISTRY.register("rmse", "RMSE")
class RootMeanSquaredError(MeanSquaredError):
    """The square root of the mean of (y_pred - y_true)^2.

    >>> RootMeanSquaredError()([[0.0]], [[2.0]])
    2.0
    """

    def __init__(self, name="root_mean_squared_error", dtype=None):
        super().__init__(name, dtype)

    def result(self):
        return math.sqrt(super().result())


@REGISTRY.register("mae", "MAE")
class MeanAbsoluteError(MeanMetricWrapper):
    """The mean of |y_pred - y_true|."""

    function = losses.MeanAbsoluteError()

    def __init__(self, name="mean_absolute_error", dtype=None):
        super().__init__(name, dtype)


class LossMetric(MeanMetricWrapper):
    """The mean of a loss as a metric."""

    def __init__(self, loss, name=None, dtype=None):
        self.function = loss
        super().__init__(name or loss.name, dtype)


def get(identifier):
    """The `Metric` that a name, a class, an object or Keras's dict means; losses count as metrics.

    Raises:
        ValueError: for an unknown name, listing the known ones.

    >>> get("mae").name
    'mean_absolute_error'
    """
    if isinstance(identifier, losses.Loss):
        return LossMetric(identifier)
    if isinstance(identifier, str) and identifier not in REGISTRY._known:
        try:
            return LossMetric(losses.get(identifier), identifier)
        except ValueError:
            pass                        # the metrics' own message is the useful one
    found = REGISTRY.get(identifier)
    if found is not None and not isinstance(found, Metric):
        raise ValueError(f"{identifier!r} cannot be a metric: give a name or a tdfast.metrics.Metric.")
    return found


def for_loss(name, loss, y_true_shape, y_pred_shape):
    """The metric that 'accuracy' ('acc') or 'crossentropy' ('ce') means for these shapes, as in Keras."""
    true_shape, pred_shape = tuple(y_true_shape), tuple(y_pred_shape)
    binary = pred_shape[-1] == 1
    sparse = len(true_shape) < len(pred_shape) or (true_shape[-1] == 1 and pred_shape[-1] > 1)
    key = str(name).lower()
    if key in ("accuracy", "acc"):
        cls = BinaryAccuracy if binary else SparseCategoricalAccuracy if sparse else CategoricalAccuracy
        return cls(name=name)
    if key in ("crossentropy", "ce"):
        return LossMetric(losses.get("binary_crossentropy" if binary else "sparse_categorical_crossentropy"
                                     if sparse else "categorical_crossentropy"), name)
    metric = get(name)
    metric.name = name if isinstance(name, str) else metric.name
    return metric


def serialize(metric):
    """Keras's dict for a metric."""
    return REGISTRY.serialize(metric)


def deserialize(config, custom_objects=None):
    """The metric of a serialized dict or name."""
    return get(REGISTRY.deserialize(config, custom_objects))
