"""Graphs to and from the configs of Keras's functional models.

Each layer's item has ``inbound_nodes``: for each call the arguments as they were written, in which a tensor
stands as [layer, call, output]. At the ends of the graph, input_layers and output_layers, Keras counts the
calls of a functional model from 1, else from 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import registry
from tdfast.engine.serialization import child_keys, deserialize_layer, serialize_layer
from tdfast.engine.structure import mapped
from tdfast.engine.tensor import SymbolicTensor, tensors_of
from tdfast.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.types import Config, CustomObjects, Masks

MAX_LAYERS = 4096
MAX_CALLS = 65536


# ---------------------------------------------------------------- to a config
def functional_config(model: Any) -> dict[str, Any]:
    """The parts layers, input_layers and output_layers of a functional model's config."""
    histories = _histories(model)

    def described(value: Any) -> dict[str, Any] | float:
        if isinstance(value, SymbolicTensor):
            return {
                "class_name": "__keras_tensor__",
                "config": {
                    "shape": list(value.shape),
                    "dtype": value.dtype,
                    "keras_history": list(histories[id(value)]),
                },
            }
        return _plain(value)

    calls: dict[Any, Any] = {}
    for node in model.graph.nodes:
        calls.setdefault(id(node.layer), []).append(node)
    items = []
    for layer in model.sublayers():
        item = serialize_layer(layer)
        item["name"] = layer.name
        item["inbound_nodes"] = [
            {
                "args": [_described(part, described) for part in node.arguments[0]],
                "kwargs": {
                    name: _described(part, described)
                    for name, part in node.arguments[1].items()
                    if part is not None
                },
            }
            for node in sorted(calls.get(id(layer), ()), key=layer._nodes.index)
        ]
        items.append(item)

    inner = {layer.name for layer in model.sublayers() if _begins_at_one(layer)}

    def end(tensor: SymbolicTensor) -> _Leaf:
        name, number, output = histories[id(tensor)]
        return _Leaf((name, number + (name in inner), output))

    def ends(structure: Any) -> _Leaf | list[_Leaf]:
        return mapped(end, structure)

    return {
        "layers": items,
        "input_layers": _unwrapped(ends(model.input_structure)),
        "output_layers": _unwrapped(ends(model.output_structure)),
    }


class _Leaf:
    """Keeps a list from being taken for a part of a structure."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _unwrapped(structure: Any) -> Any:
    if isinstance(structure, dict):
        return {key: _unwrapped(part) for key, part in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_unwrapped(part) for part in structure]
    return list(structure.value)


def _histories(model: Any) -> dict[Any, Any]:
    """[layer, call, output] of each tensor, by its id."""
    found = {id(tensor): (layer.name, 0, 0) for tensor, layer in zip(model.graph.inputs, model.input_layers)}
    counts: dict[Any, Any] = {}
    for node in sorted(model.graph.nodes, key=lambda node: node.layer._nodes.index(node)):
        number = counts.get(id(node.layer), 0)
        counts[id(node.layer)] = number + 1
        for tensor in node.outputs:
            found.setdefault(id(tensor), (node.layer.name, number, tensor.index))
    return found


def _begins_at_one(layer: Any) -> bool:
    return isinstance(layer, registry.home("models").Functional)


def _described(value: Any, described: Callable[..., Any]) -> Any:
    """A call's argument, with all tensors in it described."""
    if isinstance(value, dict):
        return {key: _described(part, described) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_described(part, described) for part in value]
    return described(value)


def _plain(value: Any) -> dict[str, Any] | float:
    if isinstance(value, slice):
        ends = {"start": value.start, "stop": value.stop, "step": value.step}
        return {"class_name": "__slice__", "config": ends}
    if value is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": value.tolist(), "dtype": value.dtype.name}}
    return value


# ---------------------------------------------------------------- from a config
def functional_from(cls: Any, config: Config, custom_objects: CustomObjects = None, path: Any = "",
                    made: Callable[..., Any] | None = None) -> Any:
    """The functional model of a config of Keras's.

    Args:
        cls: `Functional`, or a class of the user's with its constructor.
        config, custom_objects, path, made: as `deserialize_layer` takes them.

    Raises:
        FileError: naming the layer at fault.
    """
    reader = _Reader(config, custom_objects, path, made)
    reader.call_all()
    further = {
        key: value
        for key, value in config.items()
        if key not in ("layers", "input_layers", "output_layers", "name", "trainable", "dtype")
    }
    arguments = {"name": config.get("name"), **further}
    inputs, outputs = reader.ends("input_layers"), reader.ends("output_layers")
    model: Any = registry.construct(
        lambda **given: cls(inputs, outputs, **given), arguments, f"model '{config.get('name')}'"
    )
    if config.get("trainable") is False:
        model.trainable = False
    if made is not None:
        made(model, path)
    return model


class _Reader:
    """Makes the layers of a config, and calls them as their inbound_nodes say."""

    def __init__(self, config: Config, custom_objects: CustomObjects, path: Any,
                 made: Callable[..., Any] | None) -> None:
        self.config, self.name = config, config.get("name")
        self.items = self._checked(config.get("layers"))
        places = child_keys([item["class_name"] for item in self.items.values() if not _is_operation(item)])
        keys = iter(places)
        self.layers: dict[Any, Any] = {}
        self.outputs: dict[Any, Any] = {}
        for name, item in self.items.items():
            place = f"{path}/layers/{name if _is_operation(item) else next(keys)}"
            layer = self.layers[name] = deserialize_layer(item, custom_objects, place, made)
            if not _is_operation(item):
                layer.name = name

    def refuse(self, why: Any) -> Any:
        raise FileError(f"Functional model '{self.name}' cannot be made: {why}.")

    def _checked(self, layers: Any) -> dict[str, Any]:
        if not isinstance(layers, list):
            self.refuse("its config has no list of layers")
        if len(layers) > MAX_LAYERS:
            self.refuse(f"it has {len(layers)} layers, more than {MAX_LAYERS}")
        items = {}
        for item in layers:
            inner: Any = item.get("config") if isinstance(item, dict) else None
            if not isinstance(inner, dict) or not isinstance(item.get("class_name"), str):
                self.refuse("the description of one of its layers lacks a name, a class_name or a config")
            name = item.get("name") or inner.get("name")
            if not isinstance(name, str):
                self.refuse("the description of one of its layers lacks a name, a class_name or a config")
            if name in items:
                self.refuse(f"it has two layers called '{name}'")
            if not isinstance(item.get("inbound_nodes", []), list):
                self.refuse(f"the inbound_nodes of layer '{name}' are no list")
            items[name] = item
        calls = sum(len(item.get("inbound_nodes", [])) for item in items.values())
        if calls > MAX_CALLS:
            self.refuse(f"it has {calls} calls of layers, more than {MAX_CALLS}")
        return items

    def call_all(self) -> None:
        """Make all calls, each when what it is called on is there."""
        waiting = {}
        for name, item in self.items.items():
            layer = self.layers[name]
            if item["class_name"] == "InputLayer":
                self.outputs[name, 0] = list(layer._nodes[0].outputs)
            elif item.get("inbound_nodes"):
                waiting[name] = [self._call(name, node) for node in item["inbound_nodes"]]
        turned = True
        while waiting:
            before = sum(map(len, waiting.values()))
            turned = not turned         # a list in the worst order is not the worst one from its end
            for name in list(reversed(waiting) if turned else waiting):
                while waiting[name] and self._is_ready(waiting[name][0]):
                    self._make(name, *waiting[name].pop(0))
                if not waiting[name]:
                    del waiting[name]
            if sum(map(len, waiting.values())) == before:
                self.refuse(
                    f"the calls of {', '.join(map(repr, waiting))} wait for each other, or for a layer "
                    "that is not there"
                )

    def _call(self, name: str, node: Any) -> tuple[Any, ...]:
        """(args, kwargs) of a call, with `_Leaf`s of histories for tensors."""
        if isinstance(node, list):  # Keras 2: [[layer, call, output, options], ...]
            return self._older_call(name, node)
        if (
            not isinstance(node, dict)
            or not isinstance(node.get("args"), list)
            or not isinstance(node.get("kwargs"), dict)
        ):
            self.refuse(f"a call of layer '{name}' has no args and kwargs")
        return [self._read(part) for part in node["args"]], {
            key: self._read(part) for key, part in node["kwargs"].items()
        }

    def _older_call(self, name: str, node: Any) -> tuple[Any, ...]:
        if node and isinstance(node[0], str):  # of one input, not in a list
            node = [node]
        tensors, kwargs = [], {}
        for entry in node:
            if not _is_history(entry):
                self.refuse(f"a call of layer '{name}' is not described as [layer, call, output]")
            tensors.append(_Leaf(tuple(entry[:3])))
            if len(entry) > 3 and isinstance(entry[3], dict):
                kwargs.update({key: self._older_value(value) for key, value in entry[3].items()})
        return [tensors[0] if len(tensors) == 1 else tensors], kwargs

    def _older_value(self, value: Any) -> Any:
        if _is_history(value) and value[0] in self.items:
            return _Leaf(tuple(value[:3]))
        if isinstance(value, list):
            return [self._older_value(part) for part in value]
        return value

    def _read(self, value: Any) -> Any:
        """A value of a config, with `_Leaf`s of histories for tensors."""
        if isinstance(value, list):
            return [self._read(part) for part in value]
        if not isinstance(value, dict):
            return value
        kind, config = value.get("class_name"), value.get("config")
        if kind is None or not isinstance(config, dict):
            return {key: self._read(part) for key, part in value.items()}
        if kind == "__keras_tensor__":
            history: Any = config.get("keras_history")
            if not _is_history(history):
                self.refuse("a tensor is not described as [layer, call, output]")
            return _Leaf(tuple(history[:3]))
        if kind == "__slice__":
            return slice(*(self._read(config.get(end)) for end in ("start", "stop", "step")))
        if kind == "__ellipsis__":
            return Ellipsis
        if kind in ("__numpy__", "__tensor__"):
            return np.array(config.get("value"), config.get("dtype"))
        if kind == "__tuple__":
            return tuple(self._read(part) for part in config.get("value", []))
        self.refuse(f"a call is described with a {kind!r:.60}, which tdfast does not know")

    def _is_ready(self, call: Sequence[Any]) -> bool:
        return all(self._known(leaf) for leaf in _leaves(call))

    def _known(self, leaf: _Leaf) -> bool:
        name, number, _ = leaf.value
        if name not in self.items:
            self.refuse(f"a call needs layer '{name}', which is not there")
        return (name, number) in self.outputs

    def _tensor(self, leaf: _Leaf) -> SymbolicTensor:
        name, number, output = leaf.value
        made = self.outputs[name, number]
        if not 0 <= output < len(made):
            self.refuse(f"a call needs output {output} of layer '{name}', which has {len(made)}")
        return made[output]

    def _make(self, name: str, args: Sequence[Any], kwargs: Any) -> None:
        layer = self.layers[name]
        args, kwargs = _filled(args, self._tensor), _filled(kwargs, self._tensor)
        for key in ("mask", "query_mask", "value_mask", "key_mask"):
            if kwargs.get(key) is not None and self._is_implied(kwargs[key]):
                del kwargs[key]
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        try:
            made = layer(*args, **kwargs)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(
                f"Functional model '{self.name}': layer '{name}' ({type(layer).__name__}) cannot be "
                "called as "
                f"the file says: {error}"
            ) from error
        if not tensors_of(made):
            self.refuse(f"layer '{name}' is called on no tensor")
        number = sum(1 for known, _ in self.outputs if known == name)
        self.outputs[name, number] = list(layer._nodes[-1].outputs)

    def _is_implied(self, masks: Any) -> Any:
        """Whether masks are those that Embedding and Masking layers of this model make: the layers here make
        them again, and hand them on by themselves."""
        made = [tensor for mask in tensors_of(masks) for tensor in _compared(mask)]
        return bool(made) and all(self._has_mask_maker(*compared) for compared in made)

    def _has_mask_maker(self, tensor: Any, value: Any) -> bool:
        for name, item in self.items.items():
            layer = self.layers[name]
            makes = (
                item["config"].get("mask_zero") is True and value == 0
                if item["class_name"] == "Embedding"
                else item["class_name"] == "Masking" and item["config"].get("mask_value") == value
            )
            if makes and any(tensor in node.inputs for node in layer._nodes):
                return True
        return False

    def ends(self, key: Any) -> SymbolicTensor | list[SymbolicTensor]:
        """The structure of tensors at one end."""

        def read(value: Any) -> Any:
            if _is_history(value):
                name, number, output = value[:3]
                inner = name in self.layers and _begins_at_one(self.layers[name])
                leaf = _Leaf((name, number - inner, output))
                if not self._known(leaf):
                    self.refuse(f"its {key} need a call of layer '{name}' that is not there")
                return self._tensor(leaf)
            if isinstance(value, dict):
                return {name: read(part) for name, part in value.items()}
            if isinstance(value, list):
                return [read(part) for part in value]
            self.refuse(f"its {key} are not described as [layer, call, output]")

        found = read(self.config.get(key))
        if isinstance(found, list) and len(found) == 1:
            return found[0]  # as Keras 2 writes the only one
        return found


def _is_operation(item: Any) -> bool:
    module = item.get("module")
    return isinstance(module, str) and ".ops." in module


def _is_history(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) >= 3
        and isinstance(value[0], str)
        and type(value[1]) is int
        and type(value[2]) is int
    )


def _leaves(value: Any) -> list[_Leaf]:
    if isinstance(value, _Leaf):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, (list, tuple)) else []


def _filled(value: Any, tensor_of: Callable[..., Any]) -> Any:
    if isinstance(value, _Leaf):
        return tensor_of(value)
    if isinstance(value, dict):
        return {key: _filled(part, tensor_of) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_filled(part, tensor_of) for part in value)
    return value


def _compared(mask: Masks) -> Any:
    """(tensor, number) of each comparison with a number that a mask is made of by operations."""
    found, waiting = [], [mask]
    while waiting:
        tensor = waiting.pop()
        node = tensor.node
        if node is None or not node.inputs:
            continue
        if type(node.layer).__name__ == "NotEqual":
            args = node.arguments[0]
            found += [
                (part, args[1 - i])
                for i, part in enumerate(args[:2])
                if isinstance(part, SymbolicTensor) and not isinstance(args[1 - i], SymbolicTensor)
            ]
        else:
            waiting.extend(node.inputs)
    return found
