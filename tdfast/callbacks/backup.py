"""BackupAndRestore: a training that was killed continues as if nothing had happened."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from typing import TYPE_CHECKING, Any

from tdfast.callbacks.base import Callback
from tdfast.callbacks.frequency import Frequency
from tdfast.distribution import current
from tdfast.errors import FileError

if TYPE_CHECKING:
    from tdfast.engine.types import Logs


class BackupAndRestore(Callback):
    """Keeps all of a training in one file; the same script, run again, continues with the same bits.

    The file carries the weights, the optimizer (all slots, averages, accumulated gradients), the epoch and
    the batch, the order of the samples, all random states (tdfast's, the layers', NumPy's and Python's global
    ones), the metrics' sums, stateful layers' states, and the other callbacks' own numbers
    (`Callback.get_state`). So weights and history come out with the same bits as without interruption,
    provided that the script makes the same model, data and callbacks. In the middle of an epoch
    ``on_epoch_begin`` is called once more before the numbers are put back.

    Of arrays and of a PyDataset (or any object with ``__getitem__`` and a length) the batches that were done
    are not read again. An iterable, such as a DataLoader, begins its epoch anew and the batches done are
    skipped: it must give them in the same order by itself. A generator is read from its beginning and all
    batches done are skipped. Random numbers that a PyDataset with several workers draws ahead of time cannot
    come again.

    Where several processes train together, the first one reads and writes the file. The training may
    continue with more processes or fewer.

    The file is replaced only by a complete new one: a kill or a full disk while it is written leaves the last
    one.
    Source: https://keras.io/api/callbacks/backup_and_restore/, which continues from the epoch's beginning.

    Args:
        backup_dir: the folder for the file, made if it is not there. One for each training.
        save_freq: 'epoch', or save every so many batches, counted over all epochs.
        double_checkpoint: True keeps the backup before the last as well, for when the last cannot be read.
        delete_checkpoint: False leaves the backup when training has ended; `fit` then has nothing left to do
            when it is called again with as many epochs, and continues when it is called with more.

    Raises:
        ValueError: for an empty backup_dir, another save_freq, or a backup of another model or other data.
        FileError: (a ValueError) if the file is damaged and there is no second one.
        OSError: if the file cannot be written; the older one is still there, and the model as it was.

    >>> BackupAndRestore("backup", save_freq=100).save_freq
    100
    """

    runs_last = True

    def __init__(self, backup_dir: Any, save_freq: int | str = "epoch", double_checkpoint: bool = False,
                 delete_checkpoint: bool = True) -> None:
        super().__init__()
        if not backup_dir:
            raise ValueError("BackupAndRestore: backup_dir is empty; give it the path of a folder.")
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq, self.double_checkpoint = save_freq, double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._frequency = Frequency(save_freq, "BackupAndRestore: save_freq")
        self._path = os.path.join(self.backup_dir, "latest.backup")
        self._previous = f"{self._path}.bkp"
        self._state: Any = None

    def needs_batches(self, kind: str) -> bool:
        return kind == "train" and self.save_freq != "epoch"

    def get_state(self) -> Any:
        return {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._frequency.seen = 0
        # Of several processes that train together the first one has the file.
        self._state = current.engine().from_first(self._read) if current.distribution() else self._read()
        if self._state is not None:
            self.model._trainer.run.restore(self._state)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        # What other callbacks did at the beginning of this epoch, such as a new learning rate, was done
        # before.
        if self._state is not None and self._state["batch"]:
            self.model._trainer.run.restore(self._state)
        self._state = None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._frequency.batch_is_due(getattr(self.model, "steps_per_execution", 1)):
            self._write()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._write()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._state = None
        if self.delete_checkpoint and current.is_writer():
            half_written = glob.glob(os.path.join(glob.escape(self.backup_dir), ".latest.backup*.part"))
            for path in (self._path, self._previous, *half_written):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            with contextlib.suppress(OSError):      # something else lies there
                os.rmdir(self.backup_dir)

    def _read(self) -> Any:
        """The last state that can be read; None if there is none."""
        from tdfast.saving.state import read_state

        paths = [path for path in (self._path, self._previous) if os.path.exists(path)]
        for path in paths:
            try:
                return read_state(path)
            except FileError as error:
                if path == paths[-1]:
                    raise FileError(
                        f"BackupAndRestore: {error} Delete '{path}' to train from the beginning."
                    ) from error

    def _write(self) -> None:
        from tdfast.saving.atomic import replacing
        from tdfast.saving.state import write_state

        if not current.is_writer():
            return
        os.makedirs(self.backup_dir, exist_ok=True)
        if self.double_checkpoint and os.path.exists(self._path):
            with open(self._path, "rb") as old, replacing(self._previous) as file:
                shutil.copyfileobj(old, file)
        write_state(self._path, self.model._trainer.run.state())
