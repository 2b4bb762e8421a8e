"""LambdaCallback: a callback made of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.callbacks.base import HOOKS, Callback

if TYPE_CHECKING:
    from collections.abc import Callable


class LambdaCallback(Callback):
    """A callback made of functions: ``LambdaCallback(on_epoch_end=lambda epoch, logs: ...)``.

    Args:
        on_epoch_begin, on_epoch_end: functions of (epoch, logs).
        on_train_begin, on_train_end: functions of (logs).
        on_train_batch_begin, on_train_batch_end: functions of (batch, logs); the second is handed over
            by its name, logs.
        others: any further hook of `Callback`, by name.

    Raises:
        ValueError: for a name that is no hook, or something that cannot be called.

    >>> LambdaCallback(on_train_end=lambda logs: print("done")).on_train_end({})
    done
    """

    def __init__(
        self,
        on_epoch_begin: Any = None,
        on_epoch_end: Callable[..., Any] | int | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        hooks = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **others,
        }
        for name, function in hooks.items():
            if name not in HOOKS:
                raise ValueError(f"LambdaCallback: {name!r} is no hook. The hooks are {', '.join(HOOKS)}.")
            if function is None:
                continue
            if not callable(function):
                raise ValueError(f"LambdaCallback: {name} must be a function, got {function!r}.")
            setattr(self, name, function)
