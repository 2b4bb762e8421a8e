"""Models, as in `keras.models`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.compat import absent
from tdfast.models.cloning import clone_model
from tdfast.models.functional import Functional
from tdfast.models.graph_config import functional_from  # noqa: F401 (for the engine)
from tdfast.models.model import Model
from tdfast.models.sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Functional", "Model", "Sequential", "clone_model"]

_SAVING = ("load_model", "model_from_json", "save_model")


def __dir__() -> list[Any]:
    return sorted([*globals(), *_SAVING])


def __getattr__(name: str) -> Callable[..., Any]:
    """`tdfast.saving.load_model` and its kin are here too, as in Keras; imported when they are first used."""
    if name in _SAVING:
        from tdfast import saving

        return getattr(saving, name)
    return absent.lookup(__name__)(name)
