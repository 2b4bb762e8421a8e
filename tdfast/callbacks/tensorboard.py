"""TensorBoard: the logs as curves in a browser."""

from __future__ import annotations

import json
import os
import time
import warnings
from typing import TYPE_CHECKING, Any

from tdfast.callbacks.base import Callback
from tdfast.callbacks.events import EventFile
from tdfast.callbacks.frequency import Frequency

if TYPE_CHECKING:
    from tdfast.engine.types import Logs


class TensorBoard(Callback):
    """Writes the logs for ``tensorboard --logdir <log_dir>``; training needs no package for it.

    Source: https://keras.io/api/callbacks/tensorboard/. Curves have Keras's names: 'epoch_loss',
    'batch_loss', 'epoch_learning_rate', 'evaluation_loss_vs_iterations'; training and validation are two
    runs.

    Args:
        log_dir: the folder, with 'train' and 'validation' made in it.
        histogram_freq: every so many epochs, how the weights are distributed; 0 for never.
        write_graph: write the model's config, which shows as its graph.
        write_steps_per_second: also how fast training is.
        update_freq: 'epoch', 'batch', or every so many batches.
        write_images, profile_batch, embeddings_freq, embeddings_metadata: not offered; the defaults only.

    Raises:
        ValueError: for options that are not offered.

    >>> TensorBoard("logs", update_freq="batch").update_freq
    1
    """

    state_names: tuple[str, ...] = ("_batches",)

    writes = True

    def __init__(self, log_dir: Any = "logs", histogram_freq: int = 0, write_graph: bool = True,
                 write_images: bool | int = False, write_steps_per_second: bool = False,
                 update_freq: str | int = "epoch", profile_batch: int = 0, embeddings_freq: int = 0,
                 embeddings_metadata: int | None = None) -> None:
        super().__init__()
        for name, value in (("write_images", write_images), ("profile_batch", profile_batch),
                            ("embeddings_freq", embeddings_freq),
                            ("embeddings_metadata", embeddings_metadata)):
            if value:
                raise ValueError(f"TensorBoard: {name}={value!r} is not offered here. Leave it out.")
        self.log_dir, self.histogram_freq = os.fspath(log_dir), histogram_freq
        self.write_graph, self.write_steps_per_second = write_graph, write_steps_per_second
        self.update_freq: Any = 1 if update_freq == "batch" else update_freq
        Frequency(self.update_freq, "TensorBoard: update_freq")
        self._files: dict[Any, Any] = {}
        self._batches = 0
        self._epoch_start, self._batch_start = (0.0, 0), 0.0

    def needs_batches(self, kind: str) -> bool:
        return kind == "train" and self.update_freq != "epoch"

    def _file(self, name: str) -> EventFile:
        if name not in self._files:
            self._files[name] = EventFile(os.path.join(self.log_dir, name))
        return self._files[name]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._batches = 0
        if self.write_graph:
            from tdfast.engine.serialization import serialize_layer

            try:
                text = json.dumps(serialize_layer(self.model))
            except (TypeError, ValueError) as error:
                warnings.warn(
                    f"TensorBoard: the model's config cannot be written, so its graph is left out ({error}).",
                    stacklevel=2,
                )
            else:
                self._file("train").text("keras", text, 0, "graph_keras_model")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch_start = time.perf_counter(), self.model.optimizer.iterations

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        self._batch_start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._batches % self.update_freq:
            return
        logs = dict(logs or {})
        if self.write_steps_per_second:
            logs["steps_per_second"] = 1 / max(time.perf_counter() - self._batch_start, 1e-9)
        self._scalars("train", "batch_{}", logs, self._batches)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if self.model.optimizer is not None:
            self._scalars("validation", "evaluation_{}_vs_iterations", logs or {},
                          self.model.optimizer.iterations)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        train = {k: v for k, v in logs.items() if not k.startswith("val_")}
        rate = getattr(self.model.optimizer, "learning_rate", None)     # of several optimizers there is none
        if rate is not None:
            train["learning_rate"] = float(rate)
        if self.write_steps_per_second:
            start, steps = self._epoch_start
            seconds = max(time.perf_counter() - start, 1e-9)
            train["steps_per_second"] = (self.model.optimizer.iterations - steps) / seconds
        self._scalars("train", "epoch_{}", train, epoch)
        test = {k.removeprefix("val_"): v for k, v in logs.items() if k.startswith("val_")}
        if test:
            self._scalars("validation", "epoch_{}", test, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for weight in self.model.weights:
                self._file("train").histogram(f"{weight.path}/histogram", weight.value, epoch)
            self._file("train").flush()

    def _scalars(self, run: str, name: str, logs: Logs, step: int) -> None:
        file = self._file(run)
        for key, value in logs.items():
            file.scalar(name.format(key), value, step)
        file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.on_abort()

    def on_abort(self) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}
