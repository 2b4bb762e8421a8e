"""Functional: a model of the calls of layers between some symbolic tensors."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from tdfast.compat.calling import level_of_the_caller
from tdfast.engine.graph import Graph
from tdfast.engine.operation import Operation
from tdfast.engine.structure import flatten, packed_as
from tdfast.engine.tensor import SymbolicTensor, is_symbolic
from tdfast.layers.core import InputLayer
from tdfast.models.graph_config import functional_config, functional_from
from tdfast.models.model import Model
from tdfast.training.batch import one_or_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.layer import Layer
    from tdfast.engine.types import Array, Config, CustomObjects, Masks, Shapes, Sizes


class Functional(Model):
    """What ``Model(inputs, outputs)`` gives: see `Model`.

    Args:
        inputs: the symbolic tensors that the model takes, as `Input` gives them: one, or a list, a tuple or a
            dict of them, also within each other.
        outputs: those that it gives, in the same way.
        name: made from the class when None.
        trainable: False freezes all layers.

    >>> import tdfast
    >>> x = tdfast.Input((5,))
    >>> type(tdfast.Model(x, tdfast.layers.Dense(2)(x))).__name__
    'Functional'
    """

    def __init__(self, inputs: Any, outputs: Any = None, name: str | None = None,
                 trainable: bool | None = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        if outputs is None:
            raise TypeError(
                "Model is made of inputs and outputs, Model(inputs, outputs): the outputs are missing. They "
                "are the tensors that layers give when they are called."
            )
        for what, structure in (("inputs", inputs), ("outputs", outputs)):
            for tensor in flatten(structure) or [None]:
                if not isinstance(tensor, SymbolicTensor):
                    raise ValueError(
                        f"Model: {what} must be symbolic tensors, as Input(...) and layers called on it give "
                        f"them, got {tensor!r:.80} ({type(tensor).__name__})."
                    )
        if isinstance(inputs, dict):
            _warn_of_other_names(inputs)
        self.input_structure, self.output_structure = inputs, outputs
        self._graph = Graph(flatten(inputs), flatten(outputs), strict=False)
        self._fitting: set[Any] = set()
        self._first = [_input_layer_of(tensor) for tensor in self._graph.inputs]
        self._stack = _in_keras_order(self._graph, self._first)
        self._refuse_double_names()
        if kwargs.get("dtype") is None:
            self.dtype = self._dtype_of_layers()
        self.input_shape = one_or_list([tensor.shape for tensor in self._graph.inputs])
        self.built = True
        if trainable is not None:
            self.trainable = trainable

    def _dtype_of_layers(self) -> str:
        """The dtype of its weights; of the outputs, if it has none."""
        found = [layer.dtype for layer in self._stack if layer.weights]
        found += [tensor.dtype for tensor in self._graph.outputs if tensor.dtype in ("float32", "float64")]
        return found[0] if found else self.dtype

    def _refuse_double_names(self) -> None:
        names: dict[Any, Any] = {}
        for layer in self._stack:
            if names.setdefault(layer.name, layer) is not layer:
                raise ValueError(
                    f"Model '{self.name}': two layers are named '{layer.name}'. Layers' names must differ: "
                    "pass another name=."
                )

    @property
    def graph(self) -> Graph:
        """The calls between the inputs and the outputs as a `tdfast.engine.graph.Graph`."""
        return self._graph

    def sublayers(self) -> list[Any]:
        return self._stack

    @property
    def layers(self) -> list[Any]:
        """The layers, each once, in Keras's order: from the inputs to the outputs, by depth."""
        return [layer for layer in self._stack if not isinstance(layer, Operation)]

    @property
    def several_inputs(self) -> bool:  # type: ignore[override]
        """Whether it takes more than one."""
        return len(self._graph.inputs) > 1

    @property
    def input_layers(self) -> list[Layer]:
        """The `InputLayer` of each input."""
        return self._first

    @property
    def input_names(self) -> list[Any]:
        """The name of each input."""
        return [layer.name for layer in self._first]

    def build(self, input_shape: Shapes = None) -> None:
        """Nothing is left to do: all layers were built when they were called."""

    # ---------------------------------------------------------------- what goes in and out
    def as_inputs(self, x: Any, who: str) -> list[Array]:
        """The inputs of a call as a list, one for each input of the model."""
        names, many, wanted = self.input_names, len(self._first), self.input_structure
        if isinstance(x, dict):
            keys = sorted(wanted) if isinstance(wanted, dict) and set(wanted) <= set(x) else names
            missing = [key for key in keys if key not in x]
            if missing:
                raise ValueError(
                    f"{who}: model '{self.name}' has the inputs {names}, but the dict given has only "
                    f"{sorted(map(str, x))}: {', '.join(map(repr, missing))} is missing."
                )
            unused = sorted(str(key) for key in x if key not in keys)
            if unused:
                warnings.warn(
                    f"{who}: the dict of inputs has {', '.join(map(repr, unused))}, which model "
                    f"'{self.name}' does not use; its inputs are {names}.",
                    stacklevel=level_of_the_caller(),
                )
            return [
                array for key in keys for array in (_arrays_in(x[key]) if _holds_arrays(x[key]) else [x[key]])
            ]
        if not isinstance(wanted, (list, tuple, dict)) and not _holds_arrays(x):
            return [x]
        if many == 1 and not _holds_arrays(x):
            return [x]
        parts = _arrays_in(x)
        if len(parts) != many:
            got = f"{len(parts)} arrays" if isinstance(x, (list, tuple)) else f"one {type(x).__name__}"
            raise ValueError(
                f"{who}: model '{self.name}' has {many} input{'s' * (many > 1)}, {names}: give an array for "
                f"each, in a list or in a dict by their names, got {got}."
            )
        return parts

    def converters(self) -> list[Any]:
        many = self.several_inputs
        return [(f", input '{layer.name}'" if many else "", layer.as_input) for layer in self._first]

    @property
    def has_named_outputs(self) -> bool:  # type: ignore[override]
        """Whether the outputs are a dict, with nothing nested in it."""
        structure = self.output_structure
        return isinstance(structure, dict) and len(structure) == len(self._graph.outputs)

    @property
    def head_names(self) -> list[str]:
        return sorted(self.output_structure) if self.has_named_outputs else self.output_names

    @property
    def input_shapes(self) -> list[Any]:
        return [layer.batch_shape for layer in self._first]

    @property
    def input(self) -> Any:
        """The symbolic tensors of the inputs, in the structure that `Model` was given."""
        return self.input_structure

    @property
    def output(self) -> Any:
        """The symbolic tensors of the outputs, in the structure that `Model` was given."""
        return self.output_structure

    def as_input(self, x: Any, who: str | None = None) -> Array | list[Array]:
        who = who or f"Model '{self.name}'"
        arrays = [
            layer.as_input(part, f"{who}, input '{layer.name}'" if self.several_inputs else who)
            for layer, part in zip(self._first, self.as_inputs(x, who))
        ]
        return one_or_list(arrays)

    def bind(self, x: Any, training: bool | None = None, mask: Masks = None, **kwargs: Any) -> Any:
        if isinstance(x, dict):
            x = self.as_inputs(x, f"Model '{self.name}'")
        return super().bind(x, training=training, mask=mask, **kwargs)

    def pack_outputs(self, outputs: Any) -> Any:
        packed = packed_as(self.output_structure, flatten(outputs))
        # As in Keras, where a list of one output stays a list of symbolic tensors alone.
        lone = isinstance(packed, (list, tuple)) and len(packed) == 1 and not is_symbolic(packed)
        return packed[0] if lone else packed

    def output_dtypes(self, node: Any, number: Any) -> list[Any]:
        return [tensor.dtype for tensor in self._graph.outputs]

    def __call__(self, x: Any, training: bool | None = None, mask: Masks = None, **kwargs: Any) -> Any:
        made = super().__call__(x, training=training, mask=mask, **kwargs)
        return made if is_symbolic(made) else self.pack_outputs(made)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return one_or_list(self.output_shapes(input_shape))

    def check_input_shape(self, input_shape: Shapes) -> None:
        """Raise a ValueError that names the layer which cannot take these shapes."""
        given = [tuple(shape) for shape in (input_shape if self.several_inputs else [input_shape])]
        key = tuple(shape[1:] for shape in given)
        if not self.built or key in self._fitting:
            return
        for layer, shape in zip(self._first, given):
            if len(shape) != len(layer.batch_shape):  # type: ignore[arg-type]
                raise ValueError(
                    f"Model '{self.name}' expects input '{layer.name}' of shape {layer.batch_shape}, got "
                    f"{shape}."
                )

        def check(node: Any, shape: Sizes) -> tuple[int, ...] | list[Any]:
            try:
                node.layer.check_input_shape(shape)
                return node.output_shape(shape)
            except ValueError as error:
                want = one_or_list([layer.batch_shape for layer in self._first])
                raise ValueError(
                    f"Model '{self.name}' was built for input of shape {want}, and cannot take "
                    f"{one_or_list(given)}. {error}"
                ) from None

        self._graph.walk(given, check)
        if len(self._fitting) > 1000:
            self._fitting.clear()
        self._fitting.add(key)

    # ---------------------------------------------------------------- config
    def get_config(self) -> Config:
        return {"name": self.name, "trainable": self.trainable, **functional_config(self)}

    @classmethod
    def from_config(cls, config: Config, custom_objects: CustomObjects = None) -> Any:
        """The model that `get_config` described, with new weights."""
        return functional_from(cls, config, custom_objects)


def _warn_of_other_names(inputs: Any) -> None:
    for key, tensor in inputs.items():
        if isinstance(tensor, SymbolicTensor) and key != tensor.name:
            warnings.warn(
                f"Model: the keys of a dict of inputs should be the names of its tensors, but '{key}' is "
                "that of "
                f"'{tensor.name}'. Write Input(..., name='{key}').",
                stacklevel=level_of_the_caller(),
            )


def _input_layer_of(tensor: SymbolicTensor) -> Layer:
    """The `InputLayer` of an input; one that looks the same, where another layer made the tensor."""
    if tensor.node is not None and isinstance(tensor.node.layer, InputLayer):
        return tensor.node.layer
    return InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype)


def _holds_arrays(x: Any) -> bool:
    """Whether a list or tuple holds arrays, each of which is an input, and not the numbers of one."""
    return (
        isinstance(x, (list, tuple))
        and len(x) > 0
        and all(
            _holds_arrays(part)
            or hasattr(part, "__array__")
            and getattr(part, "ndim", 1) > 0
            or isinstance(part, SymbolicTensor)
            for part in x
        )
    )


def _arrays_in(x: Any) -> list[Array]:
    """The arrays in nested lists of them; of anything else itself in a list, or the entries of a list."""
    if _holds_arrays(x):
        return [
            array for part in x for array in (_arrays_in(part) if isinstance(part, (list, tuple)) else [part])
        ]
    return list(x) if isinstance(x, (list, tuple)) else [x]


def _in_keras_order(graph: Any, first: Sequence[Any]) -> list[Any]:
    """The layers of a graph by their depth, that is the longest way to an output; of one depth in the order
    in which a search from the outputs meets them."""
    inputs = {id(tensor): layer for tensor, layer in zip(graph.inputs, first)}
    nodes, met = _searched(graph, inputs)
    depth_of_node: dict[Any, int] = {}
    depth_of: dict[Any, int] = {}
    for node in reversed(nodes):
        depth = max(depth_of_node.get(node, 0), depth_of.get(node.layer, 0))
        depth_of[node.layer] = depth_of_node[node] = depth
        for tensor in node.needs:
            if id(tensor) in inputs:
                layer = inputs[id(tensor)]
                depth_of[layer] = max(depth_of.get(layer, 0), depth + 1)
            else:
                depth_of_node[tensor.node] = max(depth_of_node.get(tensor.node, 0), depth + 1)
    for layer in first:  # those that no output depends on, and outputs that are inputs
        depth_of.setdefault(layer, 0)
        met.setdefault(layer, -1)
    return sorted(depth_of, key=lambda layer: (-depth_of[layer], met[layer]))


def _searched(graph: Any, inputs: Any) -> tuple[Any, ...]:
    """(the nodes, each after all that it needs, layer -> number in the order in which they are met)."""
    order: list[Any] = []
    met: dict[Any, Any] = {}
    waiting = [(tensor, False) for tensor in reversed(graph.outputs)]
    done = set()
    while waiting:
        tensor, ready = waiting.pop()
        if id(tensor) in inputs:
            met.setdefault(inputs[id(tensor)], len(met))
        elif ready and tensor.node not in done:
            done.add(tensor.node)
            order.append(tensor.node)
        elif tensor.node not in done:
            met.setdefault(tensor.node.layer, len(met))
            waiting.append((tensor, True))
            waiting.extend((source, False) for source in reversed(tensor.node.needs))
    return order, met
