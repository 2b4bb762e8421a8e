"""Models to and from files.

>>> from tdfast import saving
>>> callable(saving.load_model)
True
"""

from tdfast.errors import FileError
from tdfast.saving.c_file import export_c
from tdfast.saving.keras_file import load_model, save_model
from tdfast.saving.onnx import export_onnx
from tdfast.serialization import deserialize_layer, serialize_layer

__all__ = ["FileError", "deserialize_layer", "export_c", "export_onnx", "load_model", "save_model", "serialize_layer"]
