"""What the callbacks that watch one number share."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from tdfast.callbacks.base import Callback
from tdfast.engine.names import snake_case

if TYPE_CHECKING:
    from tdfast.engine.types import Logs


class MonitorCallback(Callback):
    """The part that callbacks watching one number share: is it better than it was?

    Args:
        monitor: its name in the logs.
        mode: 'min', 'max' or 'auto', which goes by the metric.
        baseline: the best value to begin with, or None.
        min_delta: a smaller change is none.
    """

    def __init__(self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None,
                 min_delta: float = 0) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(
                f"{type(self).__name__}: mode {mode!r} is unknown; 'auto' is used instead. "
                "The modes are 'auto', 'min' and 'max'.",
                stacklevel=3,
            )
            mode = "auto"
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best = baseline

    def is_improvement(self, value: Any, reference: float | None) -> bool:
        """Whether ``value`` beats ``reference`` by more than `min_delta`; all beat None, and numbers NaN."""
        if reference is None or math.isnan(reference):
            return reference is None or not math.isnan(value)
        if self._direction() == "min":
            return value + self.min_delta < reference
        return value - self.min_delta > reference

    def _direction(self, logs: Logs | None = None) -> str:
        if self.mode != "auto":
            return self.mode
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return "min"
        for metric in getattr(self.model, "metrics", None) or []:
            if getattr(metric, "name", None) == name:
                direction = getattr(metric, "_direction", None) or _direction_of(name, type(metric).__name__)
                if direction is not None:
                    return {"up": "max", "down": "min"}.get(direction, direction)
        direction = _direction_of(name)
        if direction is None:
            raise ValueError(
                f"{type(self).__name__}: whether '{self.monitor}' should become small or large is not "
                "known. Pass mode='min' or mode='max'."
                + (f" It is not among the metrics of this epoch: {', '.join(logs)}." if logs
                   and self.monitor not in logs else "")
            )
        return direction

    def monitored(self, logs: Logs | None) -> Any:
        """The watched number, or None after a warning."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__} watches '{self.monitor}', which is not among the metrics of this "
                f"epoch: {', '.join(logs or {}) or 'none'}.",
                stacklevel=3,
            )
        elif getattr(value, "ndim", 0):
            raise ValueError(
                f"{type(self).__name__} watches '{self.monitor}', which is {value.size} numbers: give the "
                "metric an average, "
                "or watch another."
            )
        return value


_LARGE_IS_GOOD = ("acc", "auc", "precision", "recall", "specificity", "sensitivity", "f1", "fbeta", "iou",
                  "r2", "cosine_similarity", "true_positives", "true_negatives")
_SMALL_IS_GOOD = ("loss", "error", "mse", "mae", "mape", "msle", "rmse", "entropy", "ce", "hinge", "huber",
                  "log_cosh", "logcosh", "poisson", "divergence", "false_positives", "false_negatives")


def _direction_of(*names: Any) -> str | None:
    """'max' or 'min' for a metric, by its name and its class's; None if neither tells."""
    for name in names:
        words = snake_case(name)
        parts = set(words.split("_"))
        for direction, hints in (("max", _LARGE_IS_GOOD), ("min", _SMALL_IS_GOOD)):
            # Short hints must be whole words: "ce" is in "distance".
            if any(h in parts if len(h) <= 3 and h != "acc" else h in words for h in hints):
                return direction
    return None
