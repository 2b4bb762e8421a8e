"""Models to and from files.

>>> from tdfast import saving
>>> callable(saving.load_model)
True
"""

from tdfast.errors import FileError
from tdfast.saving.keras_file import load_model, save_model
from tdfast.serialization import deserialize_layer, serialize_layer

__all__ = ["FileError", "deserialize_layer", "load_model", "save_model", "serialize_layer"]
