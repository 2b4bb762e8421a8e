"""Objects of every kind to and from Keras's dicts, for a `get_config` of one's own that holds them."""

import importlib
import inspect

import numpy as np

from tdfast import random, registration
from tdfast.errors import FileError
from tdfast.layers.base import Layer
from tdfast.serialization import deserialize_layer, serialize_layer

# Functions are looked for in this order, as in Keras.
_MODULES = ("activations", "constraints", "initializers", "losses", "metrics", "optimizers", "optimizers.schedules", "regularizers")


def serialize_keras_object(obj):
    """Keras's dict for a layer, an initializer, a loss, an optimizer, a function, ...

    Args:
        obj: the object. A list, a tuple or a dict is serialized by its entries; numbers, strings and None stay.

    Returns:
        Plain values: a dict with module, class_name, config and registered_name.

    Raises:
        ValueError: for an object without a `get_config`.

    Source: https://keras.io/api/models/model_saving_apis/serialization_utils/.

    >>> from tdfast.layers import RepeatVector
    >>> serialize_keras_object([RepeatVector(3), 0.5])[0]["class_name"]
    'RepeatVector'
    """
    if obj is None or isinstance(obj, (str, bytes, bool, int, float)):
        return obj
    if isinstance(obj, (list, tuple)):
        return type(obj)(serialize_keras_object(entry) for entry in obj)
    if isinstance(obj, dict):
        return {key: serialize_keras_object(value) for key, value in obj.items()}
    if isinstance(obj, np.generic) or (isinstance(obj, np.ndarray) and not obj.ndim):
        return obj.item()
    if isinstance(obj, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": obj.tolist(), "dtype": obj.dtype.name}}
    if isinstance(obj, Layer):
        return serialize_layer(obj)
    for name in _MODULES:
        registry = _registry(name)
        if registry.knows(obj):
            found = registry.serialize(obj)
            return _function(found) if isinstance(found, str) else found
    if inspect.isfunction(obj):
        return _function(registration.get_registered_name(obj))
    if hasattr(obj, "get_config") and not inspect.isclass(obj):
        cls = type(obj)
        own = cls is random.SeedGenerator
        return {
            "module": "keras.random" if own else cls.__module__,
            "class_name": cls.__name__,
            "config": obj.get_config(),
            "registered_name": None if own else registration.get_registered_name(cls),
        }
    raise ValueError(f"serialize_keras_object: {obj!r} has no get_config().")


def deserialize_keras_object(config, custom_objects=None, safe_mode=True):
    """The object that `serialize_keras_object` (or Keras) described.

    Args:
        config: the dict. A list, a tuple or another dict is read by its entries; plain values stay.
        custom_objects: classes and functions by name, for those that tdfast does not know.
        safe_mode: accepted; program code is never read from a config.

    Raises:
        ValueError: naming the class or function that nobody knows. Nothing is imported because a config says so.

    >>> from tdfast.initializers import Constant
    >>> deserialize_keras_object(serialize_keras_object(Constant(2.0)))
    Constant(value=2.0)
    """
    if isinstance(config, (list, tuple)):
        return type(config)(deserialize_keras_object(entry, custom_objects, safe_mode) for entry in config)
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or "config" not in config:
        return {key: deserialize_keras_object(value, custom_objects, safe_mode) for key, value in config.items()}
    name, arguments = config["class_name"], config["config"]
    if name == "__numpy__":
        return np.array(arguments["value"], arguments["dtype"])
    if name == "function":
        return _find_function(arguments, custom_objects)
    module = str(config.get("module")).removeprefix("keras.")
    if module in ("layers", "keras"):
        return deserialize_layer(config, custom_objects)
    if module == "random" and name == "SeedGenerator":
        return random.SeedGenerator.from_config(arguments)
    found = registration.find(config.get("registered_name") or name, custom_objects) or registration.find(name, custom_objects)
    if found is not None:
        if inspect.isclass(found) and issubclass(found, Layer):
            return deserialize_layer(config, custom_objects)
        return found.from_config(arguments) if hasattr(found, "from_config") else found(**arguments)
    if module in _MODULES:
        return importlib.import_module(f"tdfast.{module}").deserialize(config, custom_objects)
    raise FileError(f"The class {name!r} of the module {config.get('module')!r} is not known here: pass it in custom_objects.")


def _registry(name):
    return importlib.import_module(f"tdfast.{name}").REGISTRY


def _function(name):
    return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}


def _find_function(name, custom_objects):
    found = registration.find(name, custom_objects)
    for module in _MODULES:
        if found is None and _registry(module).has(name):
            found = getattr(importlib.import_module(f"tdfast.{module}"), name, None)
    if found is None:
        raise FileError(f"The function {name!r} is not known here: pass it in custom_objects.")
    return found
