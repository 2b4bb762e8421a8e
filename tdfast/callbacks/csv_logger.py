"""CSVLogger: the logs of each epoch in a file."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING, Any

from tdfast.callbacks.base import Callback

if TYPE_CHECKING:

    from tdfast.engine.types import Logs


class CSVLogger(Callback):
    """Writes the logs of each epoch as a line of a CSV file, which is on its way to the disk at once.

    The columns are 'epoch' and the names of the first epoch's logs in alphabetic order, with a 'val_' column
    for each if `fit` validates, but not in the first epoch. What an epoch lacks is 'NA'. A training that is
    resumed exactly (`BackupAndRestore`) leaves the file that it would have written without interruption.

    Source: https://keras.io/api/callbacks/csv_logger/.

    Args:
        filename: the file's path.
        separator: between the columns.
        append: True writes behind what the file holds already, in its columns; False begins it anew.

    Raises:
        ValueError: with append, at the end of the first epoch, if the file lacks a column for its numbers.

    >>> CSVLogger("training.log").sep
    ','
    """

    writes = True

    def __init__(self, filename: Any, separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename, self.sep, self.append = os.fspath(filename), separator, append
        self.keys: Any = None
        self.csv_file: Any = None
        self.writer: Any = None
        self._start = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.on_abort()
        self.csv_file = open(self.filename, "a+" if self.append else "w+", newline="", encoding="utf-8")
        self._start = self.csv_file.seek(0, os.SEEK_END)
        self.keys = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        fresh = self.keys is None
        if fresh:
            self.keys = self._columns(sorted(logs))
        self._open_writer()
        if fresh and self._start == 0:
            self.writer.writeheader()
        self.writer.writerow({"epoch": epoch, **{key: _cell(logs.get(key, "NA")) for key in self.keys}})
        self.csv_file.flush()

    def _columns(self, names: list[str]) -> Any:
        """The columns behind 'epoch': those of the file, if it has any, else these names."""
        if getattr(self.model, "validates", True) and not any(name.startswith("val_") for name in names):
            names += [f"val_{name}" for name in names]
        if self._start == 0:
            return names
        self.csv_file.seek(0)
        there = next(csv.reader(self.csv_file, dialect="excel", delimiter=self.sep), [])
        self.csv_file.seek(0, os.SEEK_END)
        missing = [name for name in ["epoch", *names] if name not in there]
        if missing or there[0] != "epoch":
            raise ValueError(
                f"CSVLogger: '{self.filename}' has the columns {there}, so this training, which logs "
                f"{['epoch', *names]}, cannot be appended to it. Give another filename, its separator, or "
                "append=False."
            )
        return there[1:]

    def _open_writer(self) -> None:
        if self.writer is None:
            self.writer = csv.DictWriter(self.csv_file, ["epoch", *self.keys], dialect="excel",
                                         delimiter=self.sep)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.on_abort()

    def on_abort(self) -> None:
        file, self.csv_file, self.writer = self.csv_file, None, None
        if file is not None:
            file.close()

    def get_state(self) -> Any:
        self.csv_file.flush()
        self.csv_file.seek(self._start)
        text = self.csv_file.read()             # which ends where the next line belongs
        return {"start": self._start, "keys": self.keys, "text": text}

    def set_state(self, state: Any) -> None:
        self._start, self.keys, self.writer = state["start"], state["keys"], None
        self.csv_file.seek(self._start)
        self.csv_file.truncate()
        self.csv_file.write(state["text"])
        self.csv_file.flush()


def _cell(value: Any) -> float | str:
    """A number or text as it is; several values as Keras writes them."""
    if hasattr(value, "__iter__") and not isinstance(value, str) and getattr(value, "ndim", 1):  # type: ignore[arg-type]
        return f'"[{", ".join(map(str, value))}]"'
    return value
