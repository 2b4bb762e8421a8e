"""Callbacks, as in `keras.callbacks`: what runs between the batches and epochs of fit, evaluate and predict.

Each is imported when it is first used. The protocol is that of https://keras.io/api/callbacks/.
"""

from __future__ import annotations

import importlib
from typing import Any

from tdfast.compat import absent

_PLACES = {
    "base": ["Callback"],
    "callback_list": ["CallbackList"],
    "history": ["History"],
    "lambda_callback": ["LambdaCallback"],
    "stopping": ["EarlyStopping", "TerminateOnNaN"],
    "learning_rate_scheduler": ["LearningRateScheduler"],
    "reduce_lr_on_plateau": ["ReduceLROnPlateau"],
    "csv_logger": ["CSVLogger"],
    "swap_ema_weights": ["SwapEMAWeights"],
    "checkpoint": ["ModelCheckpoint"],
    "backup": ["BackupAndRestore"],
    "tensorboard": ["TensorBoard"],
}
_MODULES = {name: f"tdfast.callbacks.{place}" for place, names in _PLACES.items() for name in names}
_MODULES["ProgbarLogger"] = "tdfast.callbacks.progress"

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> type:
    if name not in _MODULES:
        return absent.lookup(__name__)(name)
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[Any]:
    return sorted([*globals(), *__all__])
