"""Callbacks that end `fit`: without progress, or when the loss is no longer a number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tdfast.callbacks.base import Callback
from tdfast.callbacks.monitor import MonitorCallback
from tdfast.engine.console import say

if TYPE_CHECKING:
    from tdfast.engine.types import Logs


class EarlyStopping(MonitorCallback):
    """Ends `fit` when a number has not improved for some epochs.

    Source: https://keras.io/api/callbacks/early_stopping/.

    Args:
        monitor: the number's name in the logs, default 'val_loss'.
        min_delta: an improvement of this much or less is none. Default 0.
        patience: how many epochs without improvement end the training. Default 0.
        verbose: 1 says when it acts.
        mode: 'min', 'max', or 'auto' (default), which goes by the metric.
        baseline: only improvements over this value start the count of epochs again.
        restore_best_weights: True gives the model the weights of its best epoch at the end.
        start_from_epoch: the epochs before this one do not count.

    Raises:
        ValueError: in 'auto' mode, for a number whose direction is not known.

    >>> EarlyStopping(monitor="loss", patience=3).patience
    3
    """

    state_names: tuple[str, ...] = ("wait", "stopped_epoch", "best", "best_weights", "best_epoch")

    def __init__(self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0,
                 verbose: int = 0, mode: str = "auto", baseline: float | None = None,
                 restore_best_weights: bool = False, start_from_epoch: int = 0) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._reset()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_weights = None
        self.best_epoch = 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._direction(logs)  # an unknown one is an error in the first epoch, not the second
        current = self.monitored(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self.wait += 1
        if self.is_improvement(current, self.best):
            self.best = current
            self._keep(epoch)
            if self.baseline is None or self.is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                say(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class TerminateOnNaN(Callback):
    """Ends `fit` when the loss of a batch is NaN or infinite.

    The update of that batch is left out, so the weights are those of the step before. Without this callback
    such a loss is a FloatingPointError. Source: https://keras.io/api/callbacks/terminate_on_nan/.

    Args:
        raise_error: True raises a RuntimeError instead of ending quietly.

    >>> TerminateOnNaN().raise_error
    False
    """

    handles_nan = True

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"The loss became {loss} at batch {batch}: training ends here (TerminateOnNaN)."
            )
        say(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
