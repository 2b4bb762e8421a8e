"""Models to and from files.

>>> from tdfast import saving
>>> callable(saving.load_model)
True
"""

from tdfast.errors import FileError
from tdfast.registration import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from tdfast.saving.keras_file import load_model, save_model
from tdfast.serialization import deserialize_layer, serialize_layer

__all__ = [
    "CustomObjectScope",
    "FileError",
    "custom_object_scope",
    "deserialize_layer",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "register_keras_serializable",
    "save_model",
    "serialize_layer",
]
