"""Models to and from files.

>>> from tdfast import saving
>>> callable(saving.load_model)
True
"""

from typing import TYPE_CHECKING

from tdfast.compat import absent
from tdfast.engine.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from tdfast.engine.serialization import (
    deserialize_keras_object,
    deserialize_layer,
    serialize_keras_object,
    serialize_layer,
)
from tdfast.errors import FileError
from tdfast.saving.c.file import export_c
from tdfast.saving.keras.file import load_model, model_from_json, save_model
from tdfast.saving.keras.weights_file import load_weights, save_weights
from tdfast.saving.onnx import export_onnx
from tdfast.saving.torch import load_torch_state_dict, torch_state_dict

if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = [
    "CustomObjectScope",
    "FileError",
    "custom_object_scope",
    "deserialize_keras_object",
    "deserialize_layer",
    "export_c",
    "export_onnx",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "load_torch_state_dict",
    "load_weights",
    "model_from_json",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
    "serialize_layer",
    "torch_state_dict",
]
