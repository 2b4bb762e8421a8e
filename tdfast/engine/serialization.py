"""Layers and objects of every other kind, to and from Keras's dicts (class_name, config).

What a file may name is looked up in tdfast's own tables and in the caller's ``custom_objects``.
Nothing is imported because a file says so.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import random
from tdfast.engine import registry
from tdfast.engine.layer import Layer
from tdfast.engine.names import kind_name
from tdfast.engine.network import Network
from tdfast.engine.registry import (
    construct,
    custom_of,
    fit_arguments,
    refuse_unknown_module,
    sentence,
    short,
)
from tdfast.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tdfast.engine.registry import Registry
    from tdfast.engine.types import Config, CustomObjects

FUNCTIONAL = ("Functional", "Model")
"""The names under which Keras saves models that are graphs."""

MAX_DEPTH = 64
MAX_SIZE = 2**40


_NUMBERS: contextvars.ContextVar[Any] = contextvars.ContextVar(
    "numbers of shared layers that are written, by id", default=None)
_LAYERS: contextvars.ContextVar[Any] = contextvars.ContextVar(
    "shared layers that were read, by number", default=None)


@contextlib.contextmanager
def sharing_layers(model: Any = None) -> Iterator[Any]:
    """A block in which a layer that stands in several places of a model, such as in a model within it too, is
    one layer again when it is read: each of its configs has the same ``shared_object_id``.

    Args:
        model: what is written in the block; None to read.
    """
    counts: collections.Counter[int] = collections.Counter()
    numbers: dict[int, int] = {}

    def count(layer: Layer) -> None:
        for inner in layer.sublayers():
            counts[id(inner)] += 1
            if counts[id(inner)] == 2:
                numbers[id(inner)] = len(numbers) + 1
            elif counts[id(inner)] == 1:
                count(inner)

    if model is not None:
        count(model)
    variable, value = (_LAYERS, {}) if model is None else (_NUMBERS, numbers)
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)


def serialize_layer(layer: Layer) -> dict[str, Any]:
    """Keras's dict for a layer or a `Sequential`: module, class_name, config, registered_name.

    Args:
        layer: a layer.

    Returns:
        A dict of plain values, without the weights.

    >>> from tdfast.layers import RepeatVector
    >>> serialize_layer(RepeatVector(3, name="again"))["config"]["n"]
    3
    """
    cls = type(layer)
    out = _plain(registry.description(layer, _module_of(cls) if _is_known(cls) else None))
    if layer.built and getattr(layer, "input_shape", None) and cls.__name__ != "InputLayer":
        out["build_config"] = {"input_shape": _plain(getattr(layer, "shape_to_build", layer.input_shape))}
    number = (_NUMBERS.get() or {}).get(id(layer))
    return out if number is None else {**out, "shared_object_id": number}


def _module_of(cls: Any) -> str:
    """Where Keras has a class of tdfast's."""
    if hasattr(cls, "module"):
        return cls.module
    if cls.__name__ == "Functional":
        return "keras.src.models.functional"
    return "keras" if issubclass(cls, Network) else "keras.layers"


def deserialize_layer(config: Config, custom_objects: CustomObjects = None, path: Any = "",
                      made: Callable[..., Any] | None = None) -> Any:
    """The layer that `serialize_layer` (or Keras) described; without its weights.

    Args:
        config: the dict.
        custom_objects: classes and functions by name, for what tdfast does not have.
        path: where the layer's weights are in a .keras file.
        made: called with each new layer and its path, before anything builds it.

    Raises:
        FileError: naming the layer, and the class or the option that tdfast lacks.

    >>> from tdfast.layers import RepeatVector
    >>> deserialize_layer(serialize_layer(RepeatVector(3, name="again")))
    <RepeatVector name=again, built=False>
    """
    number = config.get("shared_object_id") if isinstance(config, dict) else None
    shared = _LAYERS.get()
    if shared is None or type(number) is not int:
        return _deserialized(config, custom_objects, path, made)
    if number not in shared:
        shared[number] = config.get("class_name"), _deserialized(config, custom_objects, path, made)
    class_name, layer = shared[number]
    if class_name != config.get("class_name"):
        raise FileError(
            f"Two objects of the file have the shared_object_id {number}, but one is a {class_name} and the "
            f"other a {config.get('class_name')}."
        )
    return layer


def _deserialized(config: Config, custom_objects: CustomObjects, path: Any, made: Any) -> Any:
    if path.count("/") > MAX_DEPTH:
        raise FileError(f"The layers are nested more than {MAX_DEPTH // 2} deep.")
    class_name, arguments = _parts(config, "a layer")
    name = arguments.get("name")
    if name is not None and not isinstance(name, str):
        raise FileError(f"The name of a layer must be a string, got {name!r}.")
    who = f"layer '{name or '(unnamed)'}'"
    custom = custom_of(config, custom_objects or {})
    if class_name in FUNCTIONAL and custom is None:
        refuse_unknown_module(config, f"{who} ({class_name})")
        models = registry.home("models")
        return models.functional_from(models.Functional, arguments, custom_objects, path, made)
    if custom is None and ".ops." in str(config.get("module")):
        return _operation(class_name, arguments, who)
    cls = _layer_class(config, class_name, who, custom_objects)
    if issubclass(cls, Network):
        if isinstance(arguments.get("input_layers"), (list, dict)):
            return registry.home("models").functional_from(cls, arguments, custom_objects, path, made)
        if issubclass(cls, registry.home("models").Sequential):
            return _sequential(cls, arguments, custom_objects, path, made)
    who += f" ({class_name})"
    known = _is_known(cls)
    arguments = dict(arguments)
    for key, value in arguments.items():
        if _describes_layer(value, custom_objects):
            arguments[key] = deserialize_layer(value, custom_objects, f"{path}/{key}", made)
        elif known and isinstance(value, list) and value and all(_describes_layer(v, custom_objects)
                                                                 for v in value):
            places = child_keys([v["class_name"] for v in value])
            arguments[key] = [
                deserialize_layer(v, custom_objects, f"{path}/{key}/{place}", made) for v,
                place in zip(value, places)
            ]
        elif key == "dtype" and class_name != "InputLayer":
            arguments[key] = _dtype(value, who, getattr(cls, "dtypes", ("float32", "float64")))
        elif key.endswith("shape") and value is not None and class_name != "Lambda":
            arguments[key] = as_shape(value, f"'{key}' of {who}")
        elif known:
            kind = _kind_of(key)
            if kind is not None and value is not None:
                arguments[key] = kind.deserialize(value, custom_objects, f"the {key} of {who}")
    if known:
        arguments = fit_arguments(cls, arguments, who)
    layer = construct(cls, arguments, who, custom_objects)
    if made is not None:
        made(layer, path)
    return layer


def _operation(class_name: str, config: Config, who: str) -> Any:
    """A call of a function of `tdfast.ops`."""
    cls = registry.home("ops").CLASSES.get(class_name)
    if cls is None:
        raise FileError(f"{sentence(who)} is the operation {class_name}, which tdfast.ops does not have.")
    return construct(cls, config, f"{who} ({class_name})")


def _sequential(cls: Any, config: Config, custom_objects: CustomObjects, path: Any,
                made: Callable[..., Any] | None, keys: Any = None) -> Any:
    layers = config.get("layers")
    name = config.get("name")
    if not isinstance(layers, list):
        raise FileError(f"The config of Sequential '{name}' has no list of layers.")
    class_names = [_parts(item, "a layer")[0] for item in layers]
    for item, class_name in zip(layers, class_names):
        # A class that is missing is said first: it explains an option of its neighbours'.
        if class_name not in FUNCTIONAL:
            _layer_class(item, class_name, f"layer '{item['config'].get('name')}'", custom_objects)
    keys = keys or child_keys(class_names)
    children = [
        deserialize_layer(item, custom_objects, f"{path}/layers/{key}", made) for key,
        item in zip(keys, layers)
    ]
    arguments = {"layers": children, "name": name, "trainable": config.get("trainable", True)}
    model = construct(lambda **given: cls(**given), arguments, f"Sequential '{name}'")
    if made is not None:
        made(model, path)
    return model


def child_keys(class_names: Sequence[Any]) -> list[str]:
    """Where a model's layers keep their weights: by class, counted in order, whatever their names are.

    >>> child_keys(["LSTM", "Dense", "LSTM"])
    ['lstm', 'dense', 'lstm_1']
    """
    counts: dict[str, int] = {}
    keys: list[str] = []
    for kind in map(kind_name, class_names):
        n = counts.get(kind, 0)
        counts[kind] = n + 1
        keys.append(kind if n == 0 else f"{kind}_{n}")
    return keys


def _layer_class(spec: Any, class_name: str, who: str, custom_objects: CustomObjects) -> type:
    custom = custom_of(spec, custom_objects or {})
    if custom is not None:
        if not inspect.isclass(custom):
            raise FileError(f"custom_objects has no class for {who} ({class_name}), but {custom!r}.")
        return custom
    refuse_unknown_module(spec, f"{who} ({class_name})")
    place = registry.home("models" if class_name == "Sequential" else "layers")
    known = class_name[:1] != "_" and (class_name in vars(place) or class_name in place.__all__)
    found = getattr(place, class_name) if known else None
    if not inspect.isclass(found) or not issubclass(found, Layer) or found is Layer:
        raise FileError(
            f"{sentence(who)} is a {class_name}, which tdfast does not have. tdfast has "
            f"{', '.join(_layer_names())}. "
            "If it is your own class, pass it in custom_objects."
        )
    return found


def _layer_names() -> list[Any]:
    layers = registry.home("layers")
    found = [getattr(layers, name) for name in dir(layers)]
    return sorted({c.__name__ for c in found if inspect.isclass(c) and issubclass(c, Layer)
                   and c is not Layer} | {"Sequential"})


def _is_known(cls: Any) -> bool:
    return cls.__module__.split(".")[0] == "tdfast"


def _parts(spec: Any, what: str) -> tuple[Any, ...]:
    """The class_name and the config of a dict, known to be a string and a dict."""
    if not isinstance(spec, dict) or not isinstance(spec.get("class_name"), str):
        raise FileError(
            f"The description of {what} must be a dict with 'class_name' and 'config', got {short(spec)}."
        )
    config = spec.get("config")
    if not isinstance(config, dict) or not all(isinstance(k, str) for k in config):
        raise FileError(f"The config of {what} ({spec['class_name']}) must be a dict, got {short(config)}.")
    return spec["class_name"], config


def _describes_layer(value: Any, custom_objects: CustomObjects = None) -> bool:
    """Whether a value in a config is itself a layer's dict (the ``layer`` of TimeDistributed)."""
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict) or "class_name" not in value:
        return False
    if value["class_name"] in ("Sequential", *FUNCTIONAL):
        return True
    custom = custom_of(value, custom_objects or {})
    if inspect.isclass(custom) and issubclass(custom, Layer):
        return True
    module = value.get("module")
    return isinstance(module, str) and (module.endswith("keras.layers") or ".layers." in module)


def _kind_of(key: Any) -> Registry | None:
    """The registry of what this key of a layer's config holds, or None."""
    for kind in ("activation", "initializer", "regularizer", "constraint"):
        if key == kind or key.endswith("_" + kind):
            return registry.home(kind + "s").REGISTRY
    return None


def _dtype(value: Any, who: str, known: Sequence[str]) -> str:
    """The dtype's name, from a name or from Keras's dict for a policy."""
    if isinstance(value, dict):
        config = value.get("config")
        value = config.get("name") if isinstance(config, dict) else None
    if value is not None and value not in known:
        raise FileError(
            f"The dtype {short(value)} of {who} does not exist in tdfast: it computes in float32 or float64."
        )
    return value


def as_shape(value: Any, who: str) -> tuple[Any, ...]:
    """A tuple of sizes, None standing for any.

    Raises:
        FileError: if it is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    ok = isinstance(value, (list, tuple)) and len(value) <= 32 and all(
        n is None or (type(n) is int and -1 <= n < MAX_SIZE) for n in value
    )
    if not ok:
        raise FileError(f"{sentence(who)} must be a list of sizes, got {short(value)}.")
    return tuple(value)


def _plain(value: Any) -> Any:
    """A config of values that JSON knows."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


# ---------------------------------------------------------------- objects of every kind
def serialize_keras_object(obj: Any) -> Any:
    """Keras's dict for a layer, an initializer, a loss, an optimizer, a function, ...

    Args:
        obj: the object. A list, a tuple or a dict is serialized by its entries; numbers, strings and None
            stay.

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
    for name in registry.KINDS:
        known = registry.home(name).REGISTRY
        if known.knows(obj):
            found = known.serialize(obj)
            return _function(found) if isinstance(found, str) else found
    if inspect.isfunction(obj):
        return _function(registry.get_registered_name(obj))
    if hasattr(obj, "get_config") and not inspect.isclass(obj):
        return registry.description(obj, "keras.random" if type(obj) is random.SeedGenerator else None)
    raise ValueError(f"serialize_keras_object: {obj!r} has no get_config().")


def deserialize_keras_object(config: Config, custom_objects: CustomObjects = None,
                             safe_mode: bool = True) -> Any:
    """The object that `serialize_keras_object` (or Keras) described.

    Args:
        config: the dict. A list, a tuple or another dict is read by its entries; plain values stay.
        custom_objects: classes and functions by name, for those that tdfast does not know.
        safe_mode: accepted; program code is never read from a config.

    Raises:
        ValueError: naming the class or function that nobody knows. Nothing is imported because a config says
            so.

    >>> from tdfast.initializers import Constant
    >>> deserialize_keras_object(serialize_keras_object(Constant(2.0)))
    Constant(value=2.0)
    """
    if isinstance(config, (list, tuple)):
        return type(config)(deserialize_keras_object(entry, custom_objects, safe_mode) for entry in config)
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or "config" not in config:
        return {key: deserialize_keras_object(value, custom_objects, safe_mode) for key,
                value in config.items()}
    name, arguments = config["class_name"], config["config"]
    if name == "__numpy__":
        return np.array(arguments["value"], arguments["dtype"])
    if name == "function":
        return _find_function(arguments, custom_objects)
    module = str(config.get("module")).removeprefix("keras.")
    own = custom_of(config, custom_objects)
    if module in ("layers", "keras") or (inspect.isclass(own) and issubclass(own, Layer)):
        return deserialize_layer(config, custom_objects)
    if own is not None:
        return construct(own, arguments, f"the object of the class {name!r}", custom_objects)
    if module == "random" and name == "SeedGenerator":
        return random.SeedGenerator.from_config(arguments)
    if module in registry.KINDS:
        return registry.home(module).deserialize(config, custom_objects)
    raise FileError(
        f"The class {name!r} of the module {config.get('module')!r} is not known here: pass it in "
        "custom_objects."
    )


def _function(name: str) -> dict[str, Any]:
    return {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}


def _find_function(name: str, custom_objects: CustomObjects) -> Any:
    found = registry.find(name, custom_objects)
    for module in registry.KINDS:
        if found is None and registry.home(module).REGISTRY.has(name):
            found = getattr(registry.home(module), name, None)
    if found is None:
        raise FileError(f"The function {name!r} is not known here: pass it in custom_objects.")
    return found
