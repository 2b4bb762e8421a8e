"""Callback: the hooks that run between the batches and epochs of fit, evaluate and predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.compat.calling import spell_constructor

if TYPE_CHECKING:
    from tdfast.engine.types import Logs

HOOKS = (
    "on_epoch_begin", "on_epoch_end",
    "on_train_begin", "on_train_end", "on_train_batch_begin", "on_train_batch_end",
    "on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end",
    "on_predict_begin", "on_predict_end", "on_predict_batch_begin", "on_predict_batch_end",
    "on_batch_begin", "on_batch_end",
)


class Callback:
    """The base class: override the hooks you need.

    ``self.model`` is the model; setting ``self.model.stop_training = True`` ends `fit` after the epoch.
    ``self.params`` is a dict with 'verbose', 'epochs' and 'steps'. ``logs`` maps the names of the loss
    and metrics to floats; those of a batch are the means since the epoch began.

    A callback with numbers of its own survives an exact resume (see `BackupAndRestore`) when it says which:
    list their names in ``state_names``, or override `get_state` and `set_state`.

    >>> class Printer(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, sorted(logs))
    >>> Printer().on_epoch_end(0, {"loss": 0.5})
    0 ['loss']
    """

    state_names: tuple[Any, ...] = ()
    """The attributes that `get_state` and `set_state` carry over to a resumed training."""

    runs_last = False
    """Whether its hooks run after those of all others, to see what they have done."""

    writes = False
    """Whether it does nothing but print or write: of several processes that train together, the first one
    alone has it."""

    handles_nan = False
    """Whether it deals with a loss that is not finite, which ends `fit` with an error otherwise."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("tdfast."):
            spell_constructor(cls)

    def __init__(self) -> None:
        self.params: Any = None
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The model that is trained."""
        return self._model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called once with a dict: verbose, epochs and steps."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called once with the model, before the first hook."""
        self._model = model

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """The same as `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The same as `on_train_batch_end`."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch of `fit`; epochs count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation, whose names begin with 'val_'."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of `fit`; batches count from 0 in each epoch."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of `fit`."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of `evaluate` or of the validation in `fit`."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a batch of `evaluate` or of the validation in `fit`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of `predict`; ``logs["outputs"]`` is its result."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """When `fit` begins."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """When `fit` ends; ``logs`` are those of the last epoch."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """When `evaluate`, or a validation in `fit`, begins."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """When `evaluate`, or a validation in `fit`, ends."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """When `predict` begins."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """When `predict` ends."""

    def on_abort(self) -> None:
        """When `fit`, `evaluate` or `predict` ends by an error or Ctrl-C, instead of its other end (not in
        Keras)."""

    def get_state(self) -> Any:
        """What a resumed training needs, a dict from names to numbers, strings, None, arrays, lists and dicts
        of these."""
        return {name: getattr(self, name) for name in self.state_names}

    def set_state(self, state: Any) -> None:
        """Take over what `get_state` gave; called after `on_train_begin`, and tuples have become lists."""
        for name, value in state.items():
            setattr(self, name, value)

    def needs_batches(self, kind: str) -> bool:
        """Whether the batch hooks of 'train', 'test' or 'predict' have to be called."""
        names = [f"on_{kind}_batch_begin", f"on_{kind}_batch_end"]
        if kind == "train":
            names += ["on_batch_begin", "on_batch_end"]
        return any(_overrides(self, name) for name in names)


def _overrides(callback: Any, name: str) -> bool:
    """Whether a class or an object defines a hook of its own; objects of other classes count as they do."""
    method = getattr(callback, name, None)
    return method is not None and getattr(method, "__func__", method) is not getattr(Callback, name)
