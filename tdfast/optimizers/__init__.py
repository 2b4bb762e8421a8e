"""Optimizers, as in `keras.optimizers`: one step on the flat parameter vector of a model.

An optimizer of your own derives from `Optimizer`; learning rates that change are in `schedules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.compat import absent
from tdfast.optimizers import schedules
from tdfast.optimizers.adafactor import Adafactor
from tdfast.optimizers.base import Optimizer
from tdfast.optimizers.methods import REGISTRY as REGISTRY
from tdfast.optimizers.methods import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Ftrl,
    Lamb,
    Lion,
    Nadam,
    RMSprop,
    ScheduleFreeAdamW,
)
from tdfast.optimizers.multi import MultiOptimizer, OptimizerMap
from tdfast.optimizers.muon import Muon

if TYPE_CHECKING:
    from tdfast.engine.types import Config, CustomObjects, OptimizerSpec

if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = ["SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion",
           "MultiOptimizer", "Muon", "Nadam", "Optimizer", "OptimizerMap", "RMSprop", "ScheduleFreeAdamW",
           "deserialize", "get", "schedules", "serialize"]


def get(identifier: OptimizerSpec) -> Any:
    """The optimizer that a name, a class, an object or Keras's dict means.

    Raises:
        ValueError: for an unknown name, listing the known ones.

    >>> get("adam").beta_1
    0.9
    """
    if isinstance(identifier, str) and identifier.lower() in REGISTRY.names():
        identifier = identifier.lower()
    found = REGISTRY.get(identifier)
    if found is not None and not isinstance(found, Optimizer):
        raise ValueError(f"Expected an optimizer (a name or an Optimizer), got {identifier!r}.")
    return found


def serialize(optimizer: Any) -> Any:
    """Keras's dict for an optimizer.

    >>> serialize(Adam(0.25))["config"]["learning_rate"]
    0.25
    """
    return REGISTRY.serialize(optimizer)


def deserialize(config: Config | str | None, custom_objects: CustomObjects = None) -> Any:
    """The optimizer of a serialized dict.

    Raises:
        ValueError: for an unknown class, or arguments that it does not take.

    >>> deserialize(serialize(Adam(0.25))).get_config()["learning_rate"]
    0.25
    """
    return REGISTRY.deserialize(config, custom_objects)
