"""Callbacks, as in `keras.callbacks`: what runs between the batches and epochs of fit, evaluate and predict.

Each is imported when it is first used. The protocol is that of https://keras.io/api/callbacks/.
"""

import importlib

from tdfast.compat import absent

_PLACES = {
    "base": ["Callback"],
    "calls": ["CallbackList"],
    "history": ["History"],
    "functions": ["LambdaCallback"],
    "stopping": ["EarlyStopping", "TerminateOnNaN"],
    "rates": ["LearningRateScheduler", "ReduceLROnPlateau"],
    "logs": ["CSVLogger"],
    "averages": ["SwapEMAWeights"],
    "checkpoint": ["ModelCheckpoint"],
    "backup": ["BackupAndRestore"],
    "tensorboard": ["TensorBoard"],
}
_MODULES = {name: f"tdfast.callbacks.{place}" for place, names in _PLACES.items() for name in names}
_MODULES["ProgbarLogger"] = "tdfast.callbacks.progress"

__all__ = sorted(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        return absent.lookup(__name__)(name)
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__():
    return sorted([*globals(), *__all__])
