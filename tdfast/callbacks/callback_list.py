"""CallbackList: several callbacks called as one."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from tdfast.callbacks.base import Callback
from tdfast.callbacks.history import History
from tdfast.distribution.current import is_writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.engine.types import Logs


class CallbackList(Callback):
    """Several callbacks called as one, with a `History` among them.

    A batch costs nothing when no callback looks at batches: the loop asks `has_batch_hooks`,
    `has_test_batch_hooks` and `has_predict_batch_hooks` first. ``logs`` of a batch may be a function
    that makes the dict; it is called once, and only if somebody needs it.

    Args:
        callbacks: None, one callback, a list (lists within it too), or a `CallbackList`.
        add_history: add a `History` if there is none; it becomes ``model.history``.
        add_progbar: add a `ProgbarLogger` if there is none.
        model: handed to each.
        **params: 'verbose', 'epochs' and 'steps', handed to each as one dict.

    Attributes:
        history: the `History`, or None.
        handles_nan: whether one of them deals with a loss that is not finite.

    >>> from tdfast.callbacks import LambdaCallback
    >>> calls = CallbackList(LambdaCallback(on_train_begin=lambda logs: print("begin")))
    >>> calls.on_train_begin(), calls.has_batch_hooks
    begin
    (None, False)
    """

    def __init__(self, callbacks: Any = None, add_history: bool = False, add_progbar: bool = False,
                 model: Any = None, **params: Any) -> None:
        super().__init__()
        self.callbacks = _flat(callbacks)
        if not is_writer():
            self.callbacks = [c for c in self.callbacks if not getattr(c, "writes", False)]
        for callback in self.callbacks:
            if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
                raise ValueError(
                    f"callbacks must be objects of classes derived from tdfast.callbacks.Callback, got "
                    f"{callback!r}." + (" Make an object of it: add ()." if isinstance(callback, type)
                                        else "")
                )
        self.history = self._find(History, add_history)
        if add_progbar:
            from tdfast.callbacks.progress import ProgbarLogger

            self._find(ProgbarLogger, True)
        self._sort()
        self.set_model(model)
        self.set_params(params)

    def _find(self, kind: type, add: bool) -> Any:
        """The callback of a class; a new one if there is none and it is wanted, else None."""
        found = next((c for c in self.callbacks if isinstance(c, kind)), None)
        if found is None and add:
            found = kind()
            self.callbacks.append(found)
        return found

    def _sort(self) -> None:
        self.callbacks.sort(key=lambda c: getattr(c, "runs_last", False))

    def append(self, callback: Any) -> None:
        """Add one more, called after the others."""
        callback.set_model(self.model)
        callback.set_params(self.params)
        self.callbacks.append(callback)
        self._sort()
        self._look()

    def set_model(self, model: Any) -> None:
        if model is None:
            return
        self._model = model
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        for callback in self.callbacks if params else ():
            callback.set_params(params)
        self._look()

    def _look(self) -> None:
        """Find out who wants to be called at batches."""
        kinds = ("train", "test", "predict")
        self._batch = {kind: [c for c in self.callbacks if _needs_batches(c, kind)] for kind in kinds}
        self.has_batch_hooks = bool(self._batch["train"])
        self.has_test_batch_hooks = bool(self._batch["test"])
        self.has_predict_batch_hooks = bool(self._batch["predict"])
        self.handles_nan = any(getattr(c, "handles_nan", False) for c in self.callbacks)

    def needs_batches(self, kind: Any) -> bool:
        return bool(self._batch[kind])

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self._batch["train"]:
            callback.on_train_batch_begin(batch, logs=_plain(logs))

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_end("train", batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self._batch["test"]:
            callback.on_test_batch_begin(batch, logs=_plain(logs))

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_end("test", batch, logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        for callback in self._batch["predict"]:
            callback.on_predict_batch_begin(batch, logs=_plain(logs))

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_end("predict", batch, logs)

    def _batch_end(self, kind: str, batch: int, logs: Logs | None) -> None:
        made = None
        for callback in self._batch[kind]:
            # A progress bar that was drawn a moment ago needs no numbers now.
            due = getattr(callback, "due", None)
            if due is not None and not due(kind, batch):
                continue
            made = _plain(logs) if made is None else made
            getattr(callback, f"on_{kind}_batch_end")(batch, logs=made)

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_train_batch_begin(batch, logs)

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_train_batch_end(batch, logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, _plain(logs))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = _plain(logs)
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_begin(_plain(logs))

    def on_train_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_end(_plain(logs))

    def on_test_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_test_begin(_plain(logs))

    def on_test_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_test_end(_plain(logs))

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_begin(_plain(logs))

    def on_predict_end(self, logs: Logs | None = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_end(_plain(logs))


    def on_abort(self) -> None:
        for callback in self.callbacks:
            try:
                getattr(callback, "on_abort", _nothing)()
            except Exception as error:          # must not hide the error that ends it all
                warnings.warn(f"{type(callback).__name__}.on_abort failed: {error}", stacklevel=2)

    def get_state(self) -> Any:
        """The callbacks' states, each under its class's name and number among those of that name."""
        return {key: c.get_state() for key, c in self._by_name() if hasattr(c, "get_state")}

    def set_state(self, state: Any) -> None:
        for key, callback in self._by_name():
            if state.get(key):
                callback.set_state(state[key])

    def _by_name(self) -> Iterator[Any]:
        count: dict[Any, Any] = {}
        for callback in self.callbacks:
            name = type(callback).__name__
            count[name] = count.get(name, 0) + 1
            yield f"{name} {count[name]}", callback


def _nothing() -> None:
    pass


def _needs_batches(callback: Any, kind: str) -> bool:
    # A callback need not derive from Callback, as long as it has the hooks.
    return callback.needs_batches(kind) if hasattr(callback, "needs_batches") else True


def _flat(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    if isinstance(callbacks, CallbackList):
        return list(callbacks.callbacks)
    if isinstance(callbacks, (list, tuple)):
        return [inner for c in callbacks for inner in _flat(c)]
    return [callbacks]


def _plain(logs: Logs | None) -> Logs:
    """A dict of logs, made if it is a function's, with plain floats in it, sorted by name as in Keras."""
    if callable(logs):
        logs = logs()
    out = {}
    for key, value in sorted((logs or {}).items()):
        # Only scalars become floats: predict's logs hold arrays.
        out[key] = float(value) if getattr(value, "ndim", 0) == 0 and hasattr(value, "__float__") else value
    return out
