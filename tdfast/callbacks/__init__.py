"""Callbacks, as in `keras.callbacks`: what runs between the batches and epochs of fit, evaluate and predict.

Each is imported when it is first used. The protocol is that of https://keras.io/api/callbacks/.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tdfast.compat import absent

if TYPE_CHECKING:                       # what `__getattr__` imports
    from tdfast.callbacks.backup import BackupAndRestore
    from tdfast.callbacks.base import Callback
    from tdfast.callbacks.callback_list import CallbackList
    from tdfast.callbacks.checkpoint import ModelCheckpoint
    from tdfast.callbacks.csv_logger import CSVLogger
    from tdfast.callbacks.history import History
    from tdfast.callbacks.lambda_callback import LambdaCallback
    from tdfast.callbacks.learning_rate_scheduler import LearningRateScheduler
    from tdfast.callbacks.optuna_pruning import OptunaPruning
    from tdfast.callbacks.progress import ProgbarLogger
    from tdfast.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
    from tdfast.callbacks.stopping import EarlyStopping, TerminateOnNaN
    from tdfast.callbacks.swap_ema_weights import SwapEMAWeights
    from tdfast.callbacks.tensorboard import TensorBoard

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
    "optuna_pruning": ["OptunaPruning"],
}
_MODULES = {name: f"tdfast.callbacks.{place}" for place, names in _PLACES.items() for name in names}
_MODULES["ProgbarLogger"] = "tdfast.callbacks.progress"

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "OptunaPruning",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]


if not TYPE_CHECKING:             # a checker knows what is not there by itself

    def __getattr__(name: str) -> type:
        if name not in _MODULES:
            return absent.lookup(__name__)(name)
        value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[Any]:
    return sorted([*globals(), *__all__])
