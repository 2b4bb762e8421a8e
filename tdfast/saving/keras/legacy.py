"""The whole-model HDF5 file of Keras 2 and tf.keras, which Keras 3 still writes for
``model.save("m.h5")``."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat.calling import level_of_the_caller
from tdfast.engine.layer import weights_from
from tdfast.engine.network import Network
from tdfast.engine.serialization import deserialize_layer
from tdfast.errors import FileError
from tdfast.saving.keras.archive import MAX_JSON
from tdfast.saving.keras.compiling import compile_as
from tdfast.saving.keras.filling import Filler
from tdfast.saving.keras.hard_sigmoid import keep_hard_sigmoid
from tdfast.saving.keras.legacy_config import modern_compile, modern_layer
from tdfast.saving.keras.legacy_weights import (
    has_legacy_weights,
    legacy_pairs,
    legacy_state,
    names_of,
    version_of,
)
from tdfast.saving.keras.places import assign_optimizer, misfit, optimizer_misfit, read_optimizer
from tdfast.saving.keras.weights import H5Weights

if TYPE_CHECKING:
    from tdfast.engine.types import Config, CustomObjects, Sizes

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(file: Any) -> bool:
    """Whether a path or a file object begins like an HDF5 file."""
    if hasattr(file, "read"):
        file.seek(0)
        return file.read(8) == _SIGNATURE
    with open(file, "rb") as opened:
        return opened.read(8) == _SIGNATURE


def load_legacy(file: Any, custom_objects: CustomObjects, compile: Any) -> Any:
    """The model in a legacy file, with its weights and, with ``compile``, as it was compiled.

    Args:
        file: a path or a binary file object.
        custom_objects: dict of classes and functions by name.
        compile: as in `tdfast.saving.load_model`.

    Raises:
        FileError: as `tdfast.saving.load_model`.
    """
    if hasattr(file, "read"):
        file.seek(0)
        data, name = file.read(), str(getattr(file, "name", "the file object"))
    else:
        name = os.fspath(file)
        with open(file, "rb") as opened:
            data = opened.read()
    store = H5Weights(data, name)
    try:
        config = _json(store, "model_config")
        if config is None:
            what = (
                "weights alone: make the model and call its load_weights"
                if _holds_weights(store)
                else "no model"
            )
            raise FileError(f"'{name}' is an HDF5 file that holds {what}.")
        model = _model(config, store, custom_objects)
        if compile:
            _compile(model, store, custom_objects)
        return model
    finally:
        store.close()


def _holds_weights(store: Any) -> Any:
    return has_legacy_weights(store) or any("/vars/" in f"/{path}" for path in store.paths())


def _json(store: Any, name: str) -> Any:
    text = store.text("", name)
    if text is None:
        return None
    try:
        if not isinstance(text, str) or len(text) > MAX_JSON:
            raise ValueError("not one text, or too long")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"The {name} of '{store.name}' is not readable JSON ({error or type(error).__name__})."
        ) from error


def _model(config: Config, store: Any, custom_objects: CustomObjects) -> Any:
    old = not version_of(store).startswith("3")
    filler = _FromStoredShapes(store)
    with weights_from(filler):
        model = deserialize_layer(modern_layer(config), custom_objects, made=filler.attach)
        if not isinstance(model, Network):
            raise FileError(f"'{store.name}' holds a single {type(model).__name__} layer, not a model.")
        pairs = []
        if model.built:
            pairs = legacy_pairs(model, store)
        elif any(names_of(store, group, "weight_names") for group in _layer_groups(store)):
            raise FileError(
                f"'{store.name}' has weights, but not the shape of the model's input, which they need. Make "
                "the model, "
                "build it, and call its load_weights."
            )
    values = []
    for layer, variables, paths in pairs:
        text = misfit(layer, variables, paths, store)
        if text:
            raise FileError(text)
        values += [(variable, store.read(path)) for variable, path in zip(variables, paths)]
    for variable, value in values:
        variable.assign(value)
    if old:
        keep_hard_sigmoid(model, store.name)
    return model


def _layer_groups(store: Any) -> list[Any]:
    return [f"model_weights/{name}" for name in names_of(store, "model_weights", "layer_names") or []]


class _FromStoredShapes(Filler):
    """Lets layers make only weights of shapes that the file has, so that no memory is taken for others.

    Which array is whose is known only when all are there; until then they are zeros.
    """

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.shapes = Counter(store.shape(p) for p in store.paths() if p.startswith("model_weights/"))

    def array(self, layer: Any, path: Any, name: str, shape: Sizes) -> Any:
        if not self.shapes[shape]:
            group = f"model_weights/{layer.name}/"
            there = [str(self.store.shape(p)) for p in self.store.paths() if p.startswith(group)]
            raise FileError(
                f"The weights of layer '{layer.name}' ({type(layer).__name__}) do not fit its config: {name} "
                "should have "
                f"shape {shape}, but '{self.store.name}' has "
                + (f"{', '.join(there)} under its name." if there else "no such array left.")
            )
        self.shapes[shape] -= 1
        return np.zeros(shape, layer.dtype)


def _compile(model: Any, store: Any, custom_objects: CustomObjects) -> None:
    config = _json(store, "training_config")
    if config is None:
        return
    compile_as(model, modern_compile(config), custom_objects, store.name, version=version_of(store))
    if model.optimizer is None or not names_of(store, "optimizer_weights", "weight_names"):
        return
    text = _load_optimizer(model, store, config.get("optimizer_config") is not None)
    if text:
        warnings.warn(f"The optimizer starts afresh: {text}", stacklevel=level_of_the_caller())


def _load_optimizer(model: Any, store: Any, named: Any) -> Any:
    """Give the optimizer its state; a sentence that says why not, if it does not fit."""
    optimizer = model.optimizer
    if not named:
        return f"'{store.name}' does not say which optimizer its state is of."
    if not model.built:
        return f"'{store.name}' has a state of the optimizer, but the model is not built."
    if len(names_of(store, "optimizer_weights", "weight_names")) > 1:
        model._trainer.ready_to_train()
    paths, text = legacy_state(optimizer, store)
    text = text or optimizer_misfit(optimizer, store, paths)
    if not text:
        assign_optimizer(optimizer, read_optimizer(optimizer, store, paths))
    return text
