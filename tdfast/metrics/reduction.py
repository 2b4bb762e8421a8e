"""Sums and means: of values, of a function's values, and of a loss's rows by its kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import losses
from tdfast.engine import registry
from tdfast.engine.names import snake_case
from tdfast.losses import base
from tdfast.metrics.base import REGISTRY, Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.tape import Record
    from tdfast.engine.types import Array, Config, CustomObjects, DType, Masks, Numbers


@REGISTRY.register
class Sum(Metric):
    """The weighted sum of all values given.

    Source: https://keras.io/api/metrics/reduction_metrics/

    >>> Sum()([1.0, 3.0], sample_weight=[1, 2])
    7.0
    """

    state_names: tuple[str, ...] = ("total",)

    def __init__(self, name: str = "sum", dtype: DType = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.reset_state()

    def reset_state(self) -> None:
        self.total = 0.0

    def update_state(self, values: Numbers, sample_weight: Numbers | None = None) -> Any:
        self.total += _weighted(np.asarray(values, np.float64), sample_weight, self.name)[0]

    def result(self) -> Any:
        return self.total


@REGISTRY.register
class Mean(Metric):
    """The weighted mean of all values given; each sample counts once, however many values it has.

    Source: https://keras.io/api/metrics/reduction_metrics/

    >>> m = Mean()
    >>> m.update_state([1.0, 3.0])
    >>> m.result()
    2.0
    """

    state_names: tuple[str, ...] = ("total", "count")

    def __init__(self, name: str | None = "mean", dtype: DType = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.reset_state()

    def reset_state(self) -> None:
        self.total = self.count = 0.0

    def update_state(self, values: Numbers, sample_weight: Numbers | None = None) -> None:
        values = np.asarray(values, np.float64)
        total, count = _weighted(values, sample_weight, self.name)
        each = values.size // len(values) if values.ndim and values.size else 1
        self.add(total / each, count / each)

    def add(self, total: float, count: float) -> None:
        """Count a sum of values and the sum of their weights."""
        self.total += total
        self.count += count

    def result(self) -> Any:
        return float(self.total / self.count) if self.count else 0.0


def _weighted(values: Any, weight: Any, who: str) -> tuple[Any, ...]:
    """(the weighted sum of float64 values, the sum of the weights); weight 0 leaves out even NaN."""
    if weight is None:
        return float(values.sum()), float(values.size)
    weight = np.asarray(weight, np.float64)
    if values.ndim == 0:                    # one number for all: as if each had it
        return float(values * weight.sum()), float(weight.sum())
    weight = base.spread(weight, values.shape, f"metric '{who}': sample_weight")
    return float(np.multiply(values, weight, where=weight != 0,
                             out=np.zeros(values.shape)).sum()), float(weight.sum())


@REGISTRY.register
class MeanMetricWrapper(Mean):
    """The mean of a function's values: ``compile(metrics=[f])`` makes one of each plain function.

    Args:
        fn: ``fn(y_true, y_pred, **kwargs)`` of NumPy arrays, giving a value for each sample (N,), for each
            step (N, T) or more, or one number for the batch. It must not write to its arguments.
        **kwargs: further arguments for fn.

    Raises:
        ValueError: where a mask or weights for steps meet one value a sample.

    Source: https://keras.io/api/metrics/reduction_metrics/

    >>> worst = MeanMetricWrapper(lambda y, p: np.abs(y - p).max(axis=-1), name="worst")
    >>> worst(np.zeros((2, 2)), np.array([[1, 2], [4, 3]]))
    3.0
    """

    takes_any_option = True         # of its function; not so its subclasses

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: DType = None,
                 **kwargs: Any) -> None:
        super().__init__(name=name, dtype=dtype)
        self._fn, self._fn_kwargs = fn, kwargs

    def update_state(self, y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None = None,  # type: ignore[override]
                     mask: Masks = None) -> Any:
        """Count a batch; ``mask`` leaves values out."""
        self.count_values(self._fn(_array(y_true), _array(y_pred), **self._fn_kwargs), sample_weight, mask)

    def count_values(self, values: Any, sample_weight: Numbers | None, mask: Masks) -> None:
        """Count values with their weights."""
        values = np.asarray(values, np.float64)
        if mask is not None:
            if values.ndim < np.ndim(mask):
                raise ValueError(
                    f"Metric '{self.name}': its values have shape {values.shape}, so masked steps (the mask "
                    "has shape "
                    f"{np.shape(mask)}) cannot be left out: give a value for each sample and step, or use a "
                    "model without "
                    "a mask."
                )
            sample_weight = base.row_weights(sample_weight, mask, values.shape, np.float64, "sum")
        self.add(*_weighted(values, sample_weight, self.name))

    def is_plain(self) -> Any:
        """Whether the function alone makes the same metric again."""
        return not self._fn_kwargs and self.name == snake_case(getattr(self._fn, "__name__", ""))

    def get_config(self) -> Config:
        return {**super().get_config(), "fn": _function_config(self._fn, self.name), **self._fn_kwargs}

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        """The metric that `get_config` described; ``custom_objects`` has functions that are not tdfast's."""
        config = dict(config)
        fn = config.get("fn")
        if isinstance(fn, dict):
            fn = fn.get("config")
        if isinstance(fn, str):
            if custom_objects and fn in custom_objects:
                fn = custom_objects[fn]
            else:
                fn = getattr(losses, fn, None) if fn in losses.__all__ else _metric_function(fn)
        if not callable(fn):
            raise ValueError(
                f"The function {config.get('fn')!r} of the metric {config.get('name')!r} is not known: pass "
                "it in custom_objects."
            )
        config["fn"] = fn
        loss = losses._class_of(fn)
        if cls is not MeanMetricWrapper or loss is fn:
            return cls(**config)
        name, dtype = config.pop("name", None), config.pop("dtype", None)
        del config["fn"]
        return LossMetric(loss(**config), name, dtype)


def _array(x: Any) -> Array:
    return x if isinstance(x, np.ndarray) else np.asarray(x)


def _metric_function(name: str) -> Any:
    return registry.home("metrics").FUNCTIONS.get(name)


def _function_config(fn: Any, who: str) -> dict[str, Any]:
    """Keras's description of a function: its name."""
    name = registry.registered_name(fn) or getattr(fn, "__name__", None)
    if name is None or name == "<lambda>":
        raise ValueError(
            f"Metric '{who}' is made of {fn!r}, which has no name to be saved by: use a named function or a "
            "Metric class."
        )
    return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}


class LossMean(MeanMetricWrapper):
    """The mean over the rows of a loss, or of an accuracy, by its kernel; a metric of this kind is a small
    class."""

    function: Any = base.KernelLoss()            # whose rows are averaged
    elementwise = False                     # whether Keras weighs each output by itself

    def __init__(self, name: str | None = None, dtype: DType = None) -> None:
        super().__init__(self.function.values, name, dtype)

    def update_state(self, y_true: Numbers, y_pred: Any, sample_weight: Any = None,  # type: ignore[override]
                     mask: Masks = None, workspace: Record | None = None) -> None:
        """Count a batch. ``mask`` leaves values out; ``workspace`` is a tape's record."""
        y_pred, f = base.as_outputs(y_pred), self.function
        steps = np.ndim(mask) > 1 or np.ndim(sample_weight) > 1
        if self.elementwise and (y_pred.ndim == 1 or _has_weight_each(sample_weight, y_pred)):
            y_pred = y_pred[..., None]
            y_true = np.reshape(y_true, y_pred.shape) if np.size(y_true) == y_pred.size else y_true
        if getattr(f, "ignore_class", None) is not None:
            mask = f.kept(y_true, y_pred, mask)
        if not isinstance(f, base.KernelLoss) or getattr(f, "axis", -1) not in (-1, y_pred.ndim - 1):
            if steps and not f.sparse and (*np.shape(y_true), 1) == y_pred.shape:
                y_true = np.reshape(y_true, y_pred.shape)
            self.count_values(f.values(y_true, y_pred), sample_weight, mask)
            return
        if not f.sparse and np.ndim(y_true) != y_pred.ndim:
            y_pred, _ = f.match_rank(y_true, y_pred, None, steps)
        buffers = base.NEW if workspace is None else workspace
        weight, count = None, float(y_pred.size // max(y_pred.shape[-1], 1))
        if sample_weight is not None or mask is not None:
            weight = base.row_weights(sample_weight, mask, y_pred.shape[:-1], y_pred.dtype, "sum")
            count = float(weight.sum(dtype=np.float64))
        total, values = f.rows(y_true, y_pred, weight, 1.0, None, buffers)
        # the kernel's 0 times NaN of a row that does not count
        if weight is not None and math.isnan(total):
            total = _weighted(values.astype(np.float64), weight, self.name)[0]
        if workspace is not None:
            workspace.count = count
        self.add(total, count)

    @property
    def can_be_prepared(self) -> bool:  # type: ignore[override]
        return type(self).__module__.startswith("tdfast.") and self.function.can_be_prepared

    def get_config(self) -> Config:
        return Metric.get_config(self)

    @classmethod
    def from_config(cls, config: Config) -> Any:  # type: ignore[override]
        return cls(**config)


def _has_weight_each(sample_weight: Any, y_pred: Any) -> Any:
    shape = np.shape(sample_weight)
    return shape == y_pred.shape and shape[-1] != 1


class LossMetric(LossMean):
    """The mean of a loss as a metric.

    >>> LossMetric(losses.Huber(delta=2.0))([[0.0]], [[3.0]])
    4.0
    """

    direction = "down"

    def __init__(self, loss: Any, name: str | None = None, dtype: DType = None) -> None:
        self.function = loss
        super().__init__(name or loss.name, dtype)

    def get_config(self) -> Config:
        """Keras's config of a `MeanMetricWrapper` around the loss's function."""
        loss = type(self.function)
        found = [f for f, c in losses._CLASS_OF.items() if c is loss]
        if not found:
            raise ValueError(
                f"save_model: the metric '{self.name}' is the loss {loss.__name__} with options of its own "
                "or a class of "
                "yours, which a file cannot say. Use a metric class, or compile without it before saving."
            )
        options = {k: v for k, v in self.function.get_config().items() if k not in ("name", "reduction")}
        return {"name": self.name, "dtype": self.dtype, "fn": _function_config(found[0], self.name),
                **options}

    @classmethod
    def from_config(cls, config: Config) -> Any:  # type: ignore[override]
        return MeanMetricWrapper.from_config(config)


def of_function(fn: Callable[..., Any]) -> Metric:
    """The metric of a plain function, named as Keras does."""
    name = getattr(fn, "name", None) or snake_case(getattr(fn, "__name__", type(fn).__name__))
    loss = losses._class_of(fn)
    return MeanMetricWrapper(fn, name) if loss is fn else LossMetric(loss(), name)
