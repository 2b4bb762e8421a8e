"""ModelCheckpoint: the model in a file, after each epoch or every so many batches."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from tdfast.callbacks.frequency import Frequency
from tdfast.callbacks.monitor import MonitorCallback
from tdfast.distribution.current import is_writer
from tdfast.engine.console import say

if TYPE_CHECKING:
    from tdfast.engine.types import Logs, PathLike


class ModelCheckpoint(MonitorCallback):
    """Saves the model while it trains; a file is replaced only by a complete new one.

    Source: https://keras.io/api/callbacks/model_checkpoint/.

    Args:
        filepath: where to, which may hold the epoch (from 1), with save_freq a number the batch, and the
            logs: ``"{epoch:02d}-{val_loss:.2f}.keras"``. Folders that are not there are made. It ends in
            '.keras', or, with save_weights_only, in '.weights.h5' or '.weights.npz'.
        monitor: the number that save_best_only goes by.
        verbose: 1 says when it acts.
        save_best_only: True saves only when that number is better than it ever was, for this model.
        save_weights_only: True writes by ``model.save_weights``, False by ``model.save``.
        mode: 'min', 'max', or 'auto', which goes by the metric.
        save_freq: 'epoch', or save every so many batches, counted over all epochs.
        initial_value_threshold: with save_best_only, the value to be beaten first.

    Raises:
        ValueError: for another ending, or another save_freq.
        KeyError: if filepath asks for a number that the logs do not have.
        OSError: if the file cannot be written; the older one is still there, and the model as it was.

    >>> ModelCheckpoint("best.keras", monitor="loss", save_best_only=True).monitor
    'loss'
    """

    state_names: tuple[str, ...] = ("best",)

    def __init__(self, filepath: PathLike, monitor: str = "val_loss", verbose: int = 0,
                 save_best_only: bool = False, save_weights_only: bool = False, mode: str = "auto",
                 save_freq: str | int = "epoch", initial_value_threshold: float | None = None) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self._threshold = initial_value_threshold
        self.filepath, self.verbose = os.fspath(filepath), verbose
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.save_freq = save_freq
        self._frequency = Frequency(save_freq, "ModelCheckpoint: save_freq")
        self._epoch = 0
        endings = (".weights.h5", ".weights.npz") if save_weights_only else (".keras",)
        if not self.filepath.endswith(endings):
            raise ValueError(
                f"ModelCheckpoint: with save_weights_only={bool(save_weights_only)} the filepath must end in "
                f"{' or '.join(map(repr, endings))}, got {self.filepath!r}."
            )

    def set_model(self, model: Any) -> None:
        if self.model is not None and model is not self.model:      # another model's best is nothing to beat
            self.best, self._epoch, self._frequency.seen = self._threshold, 0, 0
        super().set_model(model)

    def needs_batches(self, kind: str) -> bool:
        return kind == "train" and self.save_freq != "epoch"

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._frequency.batch_is_due(getattr(self.model, "steps_per_execution", 1)):
            self._save(self._epoch, logs or {}, batch=batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def get_state(self) -> Any:
        return {**super().get_state(), "batches": self._frequency.seen}

    def set_state(self, state: Any) -> None:
        self.best, self._frequency.seen = state["best"], state["batches"]

    def _save(self, epoch: int, logs: Logs, **batch: Any) -> None:
        path = self._path(epoch, logs, batch)
        if not self._is_wanted(epoch, logs, path) or not is_writer():
            return
        if os.path.isdir(path):
            raise IsADirectoryError(
                f"ModelCheckpoint: '{path}' is a directory. Give filepath the name of a file."
            )
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if not self.save_weights_only:
            self.model.save(path, overwrite=True)
        elif hasattr(self.model, "save_weights"):
            self.model.save_weights(path, overwrite=True)
        else:
            raise ValueError(
                f"ModelCheckpoint: a {type(self.model).__name__} has no save_weights. Use "
                "save_weights_only=False and a "
                "path that ends in '.keras'."
            )
        self._say(epoch, f"finished saving model to {path}")

    def _path(self, epoch: int, logs: Logs, batch: Any) -> str:
        try:
            return self.filepath.format(epoch=epoch + 1, **{**batch, **logs})
        except KeyError as error:
            raise KeyError(
                f"ModelCheckpoint: filepath '{self.filepath}' asks for {error}, but there are epoch, "
                f"{', '.join({**batch, **logs})}."
            ) from error

    def _is_wanted(self, epoch: int, logs: Logs, path: Any) -> bool:
        if not self.save_best_only:
            self._say(epoch, f"saving model to {path}")
            return True
        current = logs.get(self.monitor)
        if current is None or getattr(current, "ndim", 0):  # type: ignore[arg-type]
            warnings.warn(
                f"ModelCheckpoint goes by '{self.monitor}', which is "
                + (f"not among {', '.join(logs) or 'none'}" if current is None else "not a single number")
                + ": saving anyway.",
                stacklevel=4,
            )
            return True
        best = "None" if self.best is None else f"{self.best:.5f}"
        if not self.is_improvement(current, self.best):
            self._say(epoch, f"{self.monitor} did not improve from {best}")
            return False
        self._say(epoch, f"{self.monitor} improved from {best} to {current:.5f}, saving model to {path}")
        self.best = current
        return True

    def _say(self, epoch: int, text: str) -> None:
        if self.verbose > 0:
            say(f"\nEpoch {epoch + 1}: {text}")
