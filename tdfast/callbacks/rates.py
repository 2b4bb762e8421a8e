"""Callbacks that change the learning rate from epoch to epoch."""

import inspect
import numbers
import warnings

from tdfast.callbacks.base import Callback
from tdfast.callbacks.monitor import MonitorCallback
from tdfast.engine.console import say


def _rate_into(logs, model):
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

    def __init__(self, schedule, verbose=0):
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

    def on_epoch_begin(self, epoch, logs=None):
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

    def on_epoch_end(self, epoch, logs=None):
        _rate_into(logs, self.model)


class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by ``factor`` when a number has not improved for some epochs.

    ``logs`` and the history get a 'learning_rate'. Source:
    https://keras.io/api/callbacks/reduce_lr_on_plateau/.

    Args:
        monitor: the number's name in the logs.
        factor: below 1.
        patience: how many epochs without improvement it takes.
        verbose: 1 says when it acts.
        mode: 'min', 'max', or 'auto', which goes by the metric.
        min_delta: an improvement of this much or less is none.
        cooldown: how many epochs after a reduction do not count.
        min_lr: the learning rate never goes below this.

    Raises:
        ValueError: for a factor of 1 or more; in 'auto' mode, for a number whose direction is not known.

    >>> ReduceLROnPlateau(monitor="loss", factor=0.5).patience
    10
    """

    state_names = ("best", "wait", "cooldown_counter")

    def __init__(self, monitor="val_loss", factor=0.1, patience=10, verbose=0, mode="auto", min_delta=1e-4,
                 cooldown=0,
                 min_lr=0.0):
        super().__init__(monitor, mode, min_delta=min_delta)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}.")
        self.factor, self.min_lr, self.patience = factor, min_lr, patience
        self.verbose, self.cooldown = verbose, cooldown
        self._reset()

    def on_train_begin(self, logs=None):
        self._reset()

    def _reset(self):
        self.best, self.wait, self.cooldown_counter = None, 0, 0

    def in_cooldown(self):
        """Whether epochs do not count because of a reduction a moment ago."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch, logs=None):
        # an unknown one is an error in the first epoch, not the second
        self._direction(logs)
        _rate_into(logs, self.model)
        current = (logs or {}).get(self.monitor)
        if current is None:
            warnings.warn(
                f"ReduceLROnPlateau watches '{self.monitor}', which is not among the metrics of this epoch: "
                f"{', '.join(logs or {}) or 'none'}.",
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.is_improvement(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch):
        optimizer = self.model.optimizer
        old = float(optimizer.learning_rate)
        if old <= self.min_lr:
            return
        optimizer.learning_rate = new = max(old * self.factor, self.min_lr)
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {new}.")
