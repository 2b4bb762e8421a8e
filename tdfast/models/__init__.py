"""Models, as in `keras.models`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.compat import absent
from tdfast.models.cloning import clone_model
from tdfast.models.functional import Functional
from tdfast.models.graph_config import functional_from  # noqa: F401 (for the engine)
from tdfast.models.model import Model
from tdfast.models.sequential import Sequential
from tdfast.models.subclassed import Subclassed

if TYPE_CHECKING:
    from tdfast.saving import load_model as load_model
    from tdfast.saving import model_from_json as model_from_json
    from tdfast.saving import save_model as save_model

__all__ = ["Functional", "Model", "Sequential", "Subclassed", "clone_model"]

_SAVING = ("load_model", "model_from_json", "save_model")


def __dir__() -> list[Any]:
    return sorted([*globals(), *_SAVING])


if not TYPE_CHECKING:             # a checker knows what is not there by itself

    def __getattr__(name: str) -> Any:
        """`tdfast.saving.load_model` and its kin are here too, as in Keras; imported when first used."""
        if name in _SAVING:
            from tdfast import saving

            return getattr(saving, name)
        return absent.lookup(__name__)(name)
