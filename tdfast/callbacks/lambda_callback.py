"""LambdaCallback: a callback made of functions."""

from tdfast.callbacks.base import HOOKS, Callback


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

    def __init__(self, on_epoch_begin=None, on_epoch_end=None, on_train_begin=None, on_train_end=None,
                 on_train_batch_begin=None, on_train_batch_end=None, **others):
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
