"""History: the logs of each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.callbacks.base import Callback

if TYPE_CHECKING:
    from tdfast.engine.types import Logs


class History(Callback):
    """Keeps the logs of each epoch; `fit` returns it.

    Attributes:
        history: dict from name to the list of its values, one per epoch, plain floats.
        epoch: the epochs' numbers.

    >>> history = History()
    >>> history.on_train_begin()
    >>> history.on_epoch_end(0, {"loss": 0.5})
    >>> history.history, history.epoch
    ({'loss': [0.5]}, [0])
    """

    state_names: tuple[str, ...] = ("history", "epoch")

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[Any, Any] = {}
        self.epoch: list[Any] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)
        if self.model is not None:
            self.model.history = self

    def _repr_html_(self) -> str:
        from tdfast.utils.curves import history_html

        return history_html(self.history)
