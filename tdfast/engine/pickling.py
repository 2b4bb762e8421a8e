"""pickle and copy.deepcopy of layers and models, without a file and without HDF5.

A pickle holds what a model file says of a layer, its arrays, and the users' own classes and functions, which
pickle knows by their module and name; of a compiled model also its optimizer, loss and metrics. joblib,
multiprocessing and scikit-learn's ``clone`` need no more.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import random
from tdfast.engine import registry
from tdfast.engine.layer import Layer, weights_from
from tdfast.engine.serialization import deserialize_layer, serialize_layer, sharing_layers
from tdfast.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Sizes


def reduced(layer: Any) -> tuple[Any, ...]:
    """What ``layer.__reduce__`` gives: `restored` and its arguments.

    Raises:
        ValueError: for a layer whose get_config holds more than numbers, text, arrays, lists and dicts.
    """
    with registry.collecting_objects() as objects, sharing_layers(layer):
        config = serialize_layer(layer)
    _check_plain(config, f"The config of layer '{layer.name}' ({type(layer).__name__})")
    layers = list(layer.walk())
    frozen = [i for i, w in enumerate(layer.weights) if w.made_trainable and not w.trainable]
    arrays = {
        "weights": [w.value for w in layer.weights],
        "seeds": [seed.state for seed in seeds_of(layers)],
        "states": [a for inner in stateful_of(layers) for a in _flat(inner.states or ())],
    }
    kept = [inner.kept_state() for inner in keeping(layers)]
    counts = [None if inner.states is None else len(_flat(inner.states)) for inner in stateful_of(layers)]
    state = _as_bytes({"config": config, "frozen": frozen, "states": counts, "kept": kept}, arrays)
    objects = {name: item for name, item in objects.items() if not _only_registered(item)}
    compiled = layer.compiled_state() if getattr(layer, "compiled", False) else None
    return restored, (state, objects, compiled)


def restored(state: Any, objects: dict[str, Any], compiled: Any = None) -> Layer:
    """The layer or model of a pickle.

    Args:
        state: the bytes of the description and the arrays.
        objects: dict from names in the description to classes and functions that are not tdfast's.
        compiled: the dict of `Trainer.compiled_state`, or None.

    Raises:
        FileError: (a ValueError) for a class of the user's that cannot be made again from its get_config.
    """
    described, arrays = _from_bytes(state)
    config = described["config"]
    with random.scope(0), registry.custom_object_scope(objects), weights_from(_unfilled):
        with sharing_layers():
            layer = deserialize_layer(config, objects)
        shape = (config.get("build_config") or {}).get("input_shape")
        if shape is not None and layer.input_shape is None:
            layer.ensure_built(tuple(shape))
    weights = layer.weights
    if [w.shape for w in weights] != [a.shape for a in arrays["weights"]]:
        raise FileError(
            f"Layer '{layer.name}' ({type(layer).__name__}) cannot be made again from its config: its "
            "weights have the shapes "
            f"{[a.shape for a in arrays['weights']]}, but the layer of that config has "
            f"{[w.shape for w in weights]}."
        )
    for weight, array in zip(weights, arrays["weights"]):
        weight.value[...] = array
    for inner, state in zip(keeping(list(layer.walk())), described["kept"]):
        if state is not None:
            inner.set_kept_state(state)
    for i in described["frozen"]:
        weights[i].trainable = False
    layers = list(layer.walk())
    for seed, saved in zip(seeds_of(layers), arrays["seeds"]):
        seed.state[...] = saved
    states = iter(arrays["states"])
    for inner, count in zip(stateful_of(layers), described["states"]):
        inner.states = None if count is None else [next(states).copy() for _ in range(count)]
    if compiled is not None:
        layer.set_compiled_state(compiled)
    return layer


setattr(Layer, "__reduce__", reduced)       # noqa: B010 -- a checker allows no new method


def seeds_of(layers: Sequence[Any]) -> list[Any]:
    """The `SeedGenerator`s of layers, in order."""
    return [value for layer in layers for value in vars(layer).values()
            if isinstance(value, random.SeedGenerator)]


def keeping(layers: Sequence[Any]) -> list[Any]:
    """Those that have learned something that is no weight, such as a vocabulary."""
    return [layer for layer in layers if hasattr(layer, "kept_state")]


def stateful_of(layers: Sequence[Any]) -> list[Any]:
    """Those that keep states from batch to batch by themselves: not what only shows its inner layers'
    states."""

    def shows_alone(layer: Layer) -> Any:
        states = getattr(type(layer), "states", None)
        return isinstance(states, property) and states.fset is None

    return [
        layer for layer in layers
        if getattr(layer, "stateful", False) and hasattr(layer, "states") and not shows_alone(layer)
    ]


def _flat(states: Any) -> list[Any]:
    return [a for one in states for a in (_flat(one) if isinstance(one, (list, tuple)) else [one])]


def _as_bytes(described: dict[str, Any], arrays: dict[str, Any]) -> bytes:
    """Plain values and lists of arrays by name: a checksum, the length of a JSON text, the text, the arrays.

    NumPy's .npy is not used: reading its header calls `ast`, which fails now and then where several threads
    read at a time.
    """
    kinds = {name: [(array.dtype.str, array.shape) for array in some] for name, some in arrays.items()}
    text = json.dumps({"described": described, "arrays": kinds}).encode()
    rest = b"".join([len(text).to_bytes(8, "little"), text,
                     *(array.tobytes() for some in arrays.values() for array in some)])
    return zlib.crc32(rest).to_bytes(4, "little") + rest


def _from_bytes(data: bytes) -> tuple[Any, ...]:
    try:
        if zlib.crc32(memoryview(data)[4:]) != int.from_bytes(data[:4], "little"):
            raise ValueError("their checksum is another one")
        start = 12 + int.from_bytes(data[4:12], "little")
        content = json.loads(data[12:start])
        arrays: dict[str, Any] = {}
        for name, kinds in content["arrays"].items():
            arrays[name] = []
            for dtype, shape in kinds:
                count = math.prod(shape)
                arrays[name].append(np.frombuffer(data, dtype, count, start).reshape(shape))
                start += count * arrays[name][-1].itemsize
        return content["described"], arrays
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"Bytes of the pickle are damaged: {error or type(error).__name__}.") from error


def _unfilled(layer: Layer, shape: Sizes, **_: Any) -> Array:
    return np.empty(shape, layer.dtype)


def _check_plain(value: Any, who: str) -> None:
    if isinstance(value, dict):
        for key, entry in value.items():
            _check_plain(entry, f"{who}, '{key}'")
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _check_plain(entry, who)
    elif not (value is None or isinstance(value, (str, bytes, bool, int, float, np.ndarray, np.generic))):
        raise ValueError(
            f"{who} holds {value!r} ({type(value).__name__}). get_config must give numbers, text, arrays, "
            "lists and dicts of "
            "them, so that the layer can be copied, pickled and saved."
        )


def _only_registered(item: Any) -> bool:
    """Whether a registered name is the only way to an item, as to a class made in a function."""
    if registry.registered_name(item) is None:
        return False
    found = sys.modules.get(item.__module__)
    for name in item.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is not item
