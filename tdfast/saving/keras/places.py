"""Where a model's arrays are in Keras's files: at a layer's place in the model, not under its name.

``layers/<class in snake_case>[_n]/vars/<i>``, counted per class; an RNN's at ``.../cell/vars``, those of the
layer inside a wrapper at ``.../layer/vars``; the optimizer's at ``optimizer/vars``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.layer import Layer
from tdfast.engine.network import Network
from tdfast.engine.serialization import child_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdfast.engine.types import Array


def places(model: Any) -> Iterator[Any]:
    """(path, layer, name, variables) of the model and of each layer in it, in Keras's order.

    The variables are those at ``<path>/vars/0``, ``1``, ...; the name is what Keras calls their owner.
    """
    seen = set()

    def walk(layer: Any, path: Any) -> Iterator[Any]:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        variables = [w for kind in (True, False) for w in layer._weights if w.made_trainable is kind]
        if has_cell(layer):
            yield path, layer, layer.name, []
            yield f"{path}/cell", layer, layer.cell_name, variables
        else:
            yield path, layer, layer.name, variables
        if isinstance(layer, Network) and not layer.has_layers_as_attributes:
            keys = child_keys([type(inner).__name__ for inner in layer.layers])  # type: ignore[attr-defined]
            for key, inner in zip(keys, layer.layers):  # type: ignore[attr-defined]
                yield from walk(inner, f"{path}/layers/{key}".lstrip("/"))
        for key, inner in sublayers_by_attribute(layer):
            yield from walk(inner, f"{path}/{key}".lstrip("/"))

    yield from walk(model, "")


def groups(model: Any) -> Iterator[Any]:
    """(path, name, arrays by their keys) of each layer and of the optimizer, for a writer of weights."""
    for path, layer, name, variables in places(model):
        own = layer.own_arrays() if hasattr(layer, "own_arrays") else {}
        yield path, name, {**dict(enumerate(w.value for w in variables)), **own}
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        yield from _of_optimizer("optimizer", optimizer)


def misfit(layer: Any, variables: Sequence[Any], paths: Sequence[Any], store: Any) -> str:
    """What of a file's arrays does not fit one layer's weights, as a sentence; "" if all do."""
    who = f"Layer '{layer.name}' ({type(layer).__name__})"
    stored = [store.shape(path) for path in paths]
    if len(variables) != len(paths):
        return (
            f"{who} has {len(variables)} weights{_listed(v.shape for v in variables)}, but '{store.name}' "
            f"has {len(paths)} "
            f"arrays for it{_listed(stored)}."
        )
    for variable, path, shape in zip(variables, paths, stored):
        if shape != variable.shape:
            return (
                f"{who}: its {variable.name} has shape {variable.shape}, but '{path}' in '{store.name}' has "
                f"shape {shape}."
            )
    return ""


def _listed(shapes: Any) -> Any:
    shapes = list(shapes)
    return f" of shapes {', '.join(map(str, shapes))}" if shapes else ""


def sublayers_by_attribute(layer: Any) -> list[Any]:
    """Pairs (attribute, layer) in Keras's order, which decides where the inner layers' weights are."""
    attributes = vars(layer)
    if isinstance(layer, Network):
        if not layer.has_layers_as_attributes:
            return []   # its layers have places of their own, see `child_keys`
        attributes = {**attributes, "layers": layer.sublayers()}
    found, named = [], getattr(layer, "names_in_files", {})
    for name, value in sorted(attributes.items(), key=lambda item: (item[0].startswith("_"), item[0])):
        if isinstance(value, Layer):
            found.append((named.get(name, name), value))
        elif isinstance(value, (list, tuple, dict)) and not name.startswith("_"):
            parts = value.values() if isinstance(value, dict) else value
            inner = [v for v in parts if isinstance(v, Layer)]
            found += [(f"{name}/{key}", v) for key, v in zip(child_keys([type(v).__name__ for v in inner]),
                                                             inner)]
    seen: set[int] = set()
    return [(key, inner) for key, inner in found if not (id(inner) in seen or seen.add(id(inner)))]  # type: ignore[func-returns-value]


def has_cell(layer: Any) -> bool:
    """Whether Keras keeps the weights of such a layer one level deeper, in its cell."""
    return getattr(layer, "cell_name", None) is not None


# ------------------------------------------------------------------------------------------ the optimizer's
# state
def optimizer_paths(store: Any) -> list[Any]:
    """The paths of the arrays of an optimizer's state, in its order."""
    numbers = sorted(int(p.rsplit("/", 1)[1]) for p in store.paths()
                     if re.fullmatch(r"optimizer/vars/\d{1,9}", p))
    return [f"optimizer/vars/{n}" for n in numbers]


def optimizer_misfit(optimizer: Any, store: Any, paths: Sequence[Any]) -> str:
    """What of the arrays at these paths does not fit ``optimizer.variables``, as a sentence; "" if all do.

    A path None stands for the learning rate that the optimizer has.
    """
    who = f"The state of optimizer '{optimizer.name}' ({type(optimizer).__name__})"
    if len(paths) != len(optimizer.variables):
        return (
            f"{who} in '{store.name}' has {len(paths)} arrays, but {len(optimizer.variables)} are expected."
        )
    for path, v in zip(paths, optimizer.variables):
        stored = v.shape if path is None else store.shape(path)
        if stored != v.shape:
            return (
                f"{who} does not fit the model: {v.name} should have shape {v.shape}, but in "
                f"'{store.name}' it has "
                f"shape {stored}."
            )
    return ""


def read_optimizer(optimizer: Any, store: Any, paths: Sequence[Any]) -> list[Any]:
    """The arrays at paths that have no `optimizer_misfit`."""
    return [np.float32(optimizer.learning_rate) if path is None else store.read(path) for path in paths]


def assign_optimizer(optimizer: Any, values: Any) -> None:
    """Overwrite the optimizer's state with arrays in the order of ``optimizer.variables``."""
    for v, value in zip(optimizer.variables, values):
        v.assign(value)


def _of_optimizer(path: str, optimizer: Any) -> Iterator[Any]:
    """(path, name, arrays) of an optimizer; Keras keeps those within it once more, at places of their own."""
    yield path, optimizer.name, dict(enumerate(_as_keras(v.value) for v in optimizer.variables))
    inner = optimizer.inner
    for key, one in zip(child_keys([type(one).__name__ for one in inner]), inner):
        yield from _of_optimizer(f"{path}/optimizers/{key}", one)


def _as_keras(array: Array) -> Array:
    """Keras counts steps in 32 bits."""
    return np.asarray(array, np.int32) if array.dtype.kind == "i" else array
