"""LearningRateScheduler: the learning rate of each epoch by a function."""

from __future__ import annotations

import inspect
import numbers
from typing import TYPE_CHECKING, Any

from tdfast.callbacks.base import Callback
from tdfast.engine.console import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.types import Logs


def report_rate(logs: Logs | None, model: Any) -> None:
    """Report the learning rate beside the epoch's metrics, for the callbacks that come after."""
    if logs is not None:
        logs["learning_rate"] = float(model.optimizer.learning_rate)


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of each epoch.

    ``logs`` and the history get a 'learning_rate'. Source:
    https://keras.io/api/callbacks/learning_rate_scheduler/.

    Args:
        schedule: a function of (epoch, learning rate), or of the epoch alone, that returns the new rate.
        verbose: 1 prints each rate.

    Raises:
        ValueError: if the function returns anything but a number.
        TypeError: for an optimizer whose learning rate follows a schedule already.

    >>> LearningRateScheduler(lambda epoch, rate: rate * 0.9).verbose
    0
    """

    def __init__(self, schedule: Callable[..., Any] | float, verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            raise ValueError(
                f"LearningRateScheduler: schedule must be a function of (epoch, rate), got {schedule!r}."
            )
        self.schedule, self.verbose = schedule, verbose
        try:
            inspect.signature(schedule).bind(0, 0.0)
            self._takes_rate = True
        except TypeError:
            self._takes_rate = False
        except ValueError:                      # a built-in function that does not tell
            self._takes_rate = True

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        rate = (
            self.schedule(epoch, float(optimizer.learning_rate)) if self._takes_rate else self.schedule(epoch)
        )
        if isinstance(rate, bool) or not (isinstance(rate, numbers.Real) or getattr(rate, "ndim", None) == 0):
            raise ValueError(
                f"LearningRateScheduler: the schedule must return a number, got {rate!r} for epoch {epoch}."
            )
        optimizer.learning_rate = float(rate)
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {float(rate)}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        report_rate(logs, self.model)
