"""ReduceLROnPlateau: a smaller learning rate when a number no longer improves."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from tdfast.callbacks.learning_rate_scheduler import report_rate
from tdfast.callbacks.monitor import MonitorCallback
from tdfast.engine.console import say

if TYPE_CHECKING:
    from tdfast.engine.types import Logs


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

    state_names: tuple[str, ...] = ("best", "wait", "cooldown_counter")

    def __init__(self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10,
                 verbose: int = 0, mode: str = "auto", min_delta: float = 1e-4, cooldown: int = 0,
                 min_lr: float = 0.0) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}.")
        self.factor, self.min_lr, self.patience = factor, min_lr, patience
        self.verbose, self.cooldown = verbose, cooldown
        self._reset()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def _reset(self) -> None:
        self.best, self.wait, self.cooldown_counter = None, 0, 0

    def in_cooldown(self) -> bool:
        """Whether epochs do not count because of a reduction a moment ago."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        # an unknown one is an error in the first epoch, not the second
        self._direction(logs)
        report_rate(logs, self.model)
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

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        old = float(optimizer.learning_rate)
        if old <= self.min_lr:
            return
        optimizer.learning_rate = new = max(old * self.factor, self.min_lr)
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {new}.")
