"""The .keras file: config.json, metadata.json and the weights, read and written as Keras 3 does."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from typing import TYPE_CHECKING, Any

from tdfast._version import __version__
from tdfast.compat.calling import spelled
from tdfast.engine.arguments import flag
from tdfast.engine.layer import weights_from
from tdfast.engine.network import Network
from tdfast.engine.registry import custom_object_scope
from tdfast.engine.serialization import (
    FUNCTIONAL,
    as_shape,
    deserialize_layer,
    serialize_layer,
    sharing_layers,
)
from tdfast.errors import FileError
from tdfast.saving.atomic import replacing
from tdfast.saving.keras.archive import Archive
from tdfast.saving.keras.assets import assets_of, load_assets, load_own_arrays
from tdfast.saving.keras.compiling import compile_as, compile_config
from tdfast.saving.keras.filling import Filler
from tdfast.saving.keras.hard_sigmoid import keep_hard_sigmoid, warn_of_hard_sigmoid
from tdfast.saving.keras.legacy import is_hdf5, load_legacy
from tdfast.saving.keras.legacy_config import is_old, modern_compile, modern_layer
from tdfast.saving.keras.places import groups
from tdfast.saving.keras.weights import open_weights, write_h5, write_npz

if TYPE_CHECKING:
    from tdfast.engine.types import Config, CustomObjects, PathLike
    from tdfast.models.model import Model

# The Keras whose format is written.
KERAS_VERSION = "3.15.1"


@spelled
def load_model(filepath: PathLike, custom_objects: CustomObjects = None, compile: bool | str = True,
               safe_mode: bool = True) -> Model:
    """Read a model from a .keras file of Keras 3 or of tdfast, or from a whole-model .h5 file of Keras 2 or
    3.

    Weights, and with ``compile`` also loss, metrics, optimizer and its state, come back as they were.
    No code in the file is run, nothing is imported because the file names it, and sizes are checked
    before memory is taken.

    Args:
        filepath: path of the file, or a binary file object.
        custom_objects: dict from names to your own layer classes, losses, activations, ...
        compile: False leaves out loss, optimizer and metrics.
        safe_mode: as in Keras; there is no unsafe mode, so only True is accepted.

    Returns:
        A `tdfast.Sequential`.

    Raises:
        FileError: (a ValueError) if the file is damaged, unsafe, or holds something that tdfast
            lacks; the message names it and the layer.
        ImportError: if the weights are HDF5, as Keras writes them, and h5py is missing.
        OSError: if the file cannot be opened.

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/

    >>> import tempfile
    >>> from tdfast import Sequential, layers
    >>> model = Sequential([layers.Dense(1, input_shape=(3,))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.keras")
    ...     load_model(f"{folder}/model.keras").count_params()
    4
    """
    if safe_mode is not True:
        raise ValueError(
            f"load_model: safe_mode={safe_mode!r} is not supported: tdfast never runs code from a file. "
            "Leave it out."
        )
    compile = flag(compile, "compile", "load_model")
    try:
        if is_hdf5(filepath):
            return load_legacy(filepath, custom_objects or {}, compile)
        with Archive(filepath) as archive:
            config = archive.read_json("config.json")
            metadata = archive.read_json("metadata.json") if "metadata.json" in archive else {}
            version = str(metadata.get("keras_version"))
            store = open_weights(archive)
            try:
                return _load(config, store, custom_objects or {}, compile, version, archive)
            finally:
                store.close()
    except (RecursionError, MemoryError) as error:
        raise FileError(
            f"'{filepath}' asks for more than this machine has: {error or type(error).__name__}."
        ) from error


def _load(config: Config, store: Any, custom_objects: CustomObjects, compile: bool, version: str,
          archive: Archive) -> Model:
    old = version.startswith("2")
    if old:
        config = modern_layer(config)
    filler = Filler(store)
    with weights_from(filler), sharing_layers(), custom_object_scope(custom_objects or {}):
        model = deserialize_layer(config, custom_objects, made=filler.attach)
        _require_model(model, store.name)
        shape = build_shape(config, model.has_layers_as_attributes)
        if shape is not None and not model.built:
            _build(model, shape, store.name)
        load_own_arrays(model, store)
        load_assets(model, archive)
        filler.finish()
    if old:
        keep_hard_sigmoid(model, store.name)
    compiled = config.get("compile_config")
    if compile and compiled:
        if old:
            compiled = modern_compile(compiled)
        compile_as(model, compiled, custom_objects, store.name, store, old, version)
    return model


def build_shape(config: Config, several: bool = False) -> Any:
    """The input's shape with which the model was built, or None; ``several``: it may be a list or a "
    "dict of them."""
    if config["class_name"] in FUNCTIONAL:      # which are built by their calls
        return None
    build = config.get("build_config")
    for found in (build.get("input_shape") if isinstance(build, dict) else None,
                  config["config"].get("build_input_shape")):
        if found is not None:
            return _shapes(found) if several else as_shape(found, "the input_shape of the model")
    return None


def _shapes(found: Any) -> Any:
    """A shape, or several in a list or a dict."""
    if isinstance(found, dict):
        return {key: _shapes(part) for key, part in found.items()}
    if isinstance(found, list) and found and all(isinstance(part, (list, dict)) for part in found):
        return [_shapes(part) for part in found]
    return as_shape(found, "the input_shape of the model")


@spelled
def model_from_json(json_string: str, custom_objects: CustomObjects = None) -> Model:
    """The model that ``to_json`` of tdfast or Keras (3 or 2) described, compiled as it was, with new weights.

    Args:
        json_string: the text.
        custom_objects: dict from names to your own layer classes, losses, activations, ...

    Raises:
        FileError: (a ValueError) for a text that describes no model, or something that tdfast lacks.

    Source: https://keras.io/api/models/model_saving_apis/model_config_serialization/

    >>> from tdfast import Sequential, layers
    >>> model = Sequential([layers.LSTM(4, input_shape=(5, 3)), layers.Dense(1)])
    >>> model_from_json(model.to_json()).get_config() == model.get_config()
    True
    """
    try:
        config = json.loads(json_string)
    except (TypeError, ValueError, RecursionError) as error:
        raise FileError(
            f"model_from_json: the text is not readable JSON ({error or type(error).__name__})."
        ) from error
    name = "the JSON text"
    old = is_old(config)
    try:
        if old:
            config = modern_layer(config)
        with sharing_layers():
            model = deserialize_layer(config, custom_objects or {})
        _require_model(model, name)
        shape = build_shape(config, model.has_layers_as_attributes)
        if shape is not None and not model.built:
            _build(model, shape, name)
        if config.get("compile_config"):
            compile_as(model, config["compile_config"], custom_objects or {}, name)
    except (RecursionError, MemoryError) as error:
        raise FileError(
            f"{name} asks for more than this machine has: {error or type(error).__name__}."
        ) from error
    if old:
        warn_of_hard_sigmoid(model, name)
    return model


def _require_model(model: Any, name: str) -> None:
    if not isinstance(model, Network):
        raise FileError(f"'{name}' holds a single {type(model).__name__} layer, not a model.")


def _build(model: Any, shape: Any, name: str) -> None:
    try:
        model.build(shape)
    except FileError:
        raise
    except Exception as error:
        raise FileError(
            f"The model in '{name}' cannot be built for inputs of shape {shape}: {error}"
        ) from error


# ------------------------------------------------------------------------------------------ writing
def description(model: Any) -> dict[str, Any]:
    """Keras's dict of a model: layers, the input's shape and how it was compiled."""
    with sharing_layers(model):
        return {**serialize_layer(model), "compile_config": compile_config(model)}


@spelled
def save_model(model: Any, filepath: PathLike, overwrite: bool = True, zipped: bool | None = None) -> None:
    """Write a model to a .keras file that Keras 3 and tdfast read.

    The file holds the layers, the weights and, for a compiled model, loss, metrics, optimizer and its
    state. It takes the place of an older one only when it is complete and on the disk.

    Args:
        model: a `tdfast.Sequential`.
        filepath: a path that ends in ".keras".
        overwrite: False refuses to replace an existing file.
        zipped: as in Keras; a folder cannot be replaced in one step, so only one zipped file is written.

    Raises:
        ValueError: for another ending, or zipped=False.
        FileExistsError: with overwrite=False.
        ImportError: without h5py, naming the extra to install.

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/

    >>> import tempfile
    >>> from tdfast import Sequential, layers
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(Sequential([layers.Dense(1, input_shape=(3,))]), f"{folder}/model.keras")
    ...     os.listdir(folder)
    ['model.keras']
    """
    filepath = os.fspath(filepath)
    if zipped not in (None, True):
        raise ValueError(
            f"save_model: zipped={zipped!r} is not supported: tdfast writes one zipped file. Leave it out."
        )
    if filepath.endswith((".h5", ".hdf5")):
        raise ValueError(
            f"save_model: tdfast does not write Keras's legacy HDF5 format, got {filepath!r}. Save as "
            "'.keras', which Keras 3 "
            "reads too; for weights alone there is save_weights('m.weights.h5')."
        )
    if not filepath.endswith(".keras"):
        raise ValueError(f"save_model: the path must end in '.keras', got {filepath!r}.")
    if not flag(overwrite, "overwrite", "save_model") and os.path.exists(filepath):
        raise FileExistsError(f"save_model: '{filepath}' exists, and overwrite=False.")
    weights = io.BytesIO()
    write_h5(groups(model), weights)
    with replacing(filepath) as file:
        _write(model, file, "model.weights.h5", weights)


def as_archive(model: Any) -> bytes:
    """The bytes of a .keras file with the weights as .npz, which needs no HDF5: `load_model` reads it.

    >>> from tdfast import Sequential, layers
    >>> model = Sequential([layers.Dense(1, input_shape=(3,))])
    >>> load_model(io.BytesIO(as_archive(model))).count_params()
    4
    """
    weights, out = io.BytesIO(), io.BytesIO()
    write_npz(groups(model), weights)
    _write(model, out, "model.weights.npz", weights)
    return out.getvalue()


def _write(model: Any, file: Any, name: str, weights: io.BytesIO) -> None:
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S"),
                "tdfast_version": __version__}
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(description(model)))
        archive.writestr(name, weights.getbuffer())
        for place, data in assets_of(model).items():
            archive.writestr(place, data)
