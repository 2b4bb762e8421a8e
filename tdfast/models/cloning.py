"""Copies of layers and models from their descriptions."""

from __future__ import annotations

from typing import Any

from tdfast.engine import registry
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.engine.structure import flatten, mapped
from tdfast.engine.tensor import SymbolicTensor
from tdfast.layers.core import InputLayer
from tdfast.models.functional import Functional
from tdfast.models.sequential import Sequential


def clone_model(model: Any, input_tensors: Any = None, clone_function: Any = None, call_function: Any = None,
                recursive: bool = False) -> Any:
    """The same model with new layers and new weights; compiled in the same way, with a new optimizer.

    ``copy.deepcopy(model)`` keeps the weights and the optimizer's state as well.
    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/#clone_model-function.

    Args:
        model: a `tdfast.Sequential`, or a `tdfast.Model` of a graph.
        input_tensors: a `tdfast.Input`, or a list of one for each input, for the copy to be built on; None:
            as the model.
        clone_function: makes the copy's layer from a layer of the model; None: a new one of the same config.
        call_function: of graphs, ``call_function(layer, *args, **kwargs)`` calls the copy's layers; None: a
            plain call.
        recursive: True clones the layers of models inside the model by ``clone_function`` as well, instead of
            calling it with the inner model.

    Returns:
        A model of the same kind.

    Raises:
        ValueError: for arguments that Keras refuses, or a clone_function that returns something else than a
            layer.

    >>> import tdfast
    >>> from tdfast.layers import GRU, LSTM, Dense
    >>> model = tdfast.Sequential([tdfast.Input((5, 2)), LSTM(4, name="first"), Dense(1)])
    >>> twin = clone_model(model, clone_function=lambda layer: GRU(4) if isinstance(layer, LSTM) else layer)
    >>> [type(layer).__name__ for layer in twin.layers], twin.layers[1] is model.layers[1]
    (['GRU', 'Dense'], True)
    """
    if not isinstance(model, (Sequential, Functional)):
        raise ValueError(f"clone_model expects a Sequential or functional model, got {model!r}.")
    if call_function is not None and isinstance(model, Sequential):
        raise ValueError(
            "clone_model: call_function is for functional models; a Sequential model does not call its "
            "layers."
        )
    if clone_function is not None and not callable(clone_function):
        raise ValueError(
            f"clone_model: clone_function must be a function of a layer, got {clone_function!r}."
        )
    inputs = _input_layers(model, input_tensors)

    def clone(layer: Any) -> Any:
        if recursive and isinstance(layer, (Sequential, Functional)):
            return clone_model(layer, clone_function=clone_function, recursive=True)
        return (clone_function or _made_again)(layer)

    if isinstance(model, Functional):
        twin = _graph_again(model, inputs, clone, call_function)
    else:
        first = [_made_again(layer) for layer in model.input_layers] if inputs is None else inputs
        twin = Sequential(first + [clone(layer) for layer in model.layers], name=model.name,
                          trainable=model.trainable)
    if model.compiled:
        twin.compile_as(model)
    return twin


def _input_layers(model: Any, given: Any) -> Any:
    """The `InputLayer` objects of input_tensors; None for None."""
    if given is None:
        return None
    wanted, found = len(model.graph.inputs), []
    for tensor in flatten(given):
        layer = tensor.node.layer if isinstance(tensor, SymbolicTensor) and tensor.node else tensor
        if not isinstance(layer, InputLayer):
            raise ValueError(f"clone_model: input_tensors must be a tdfast.Input, got {tensor!r}.")
        found.append(layer)
    if len(found) != wanted:
        raise ValueError(
            f"clone_model: the model has {'one input' if wanted == 1 else f'{wanted} inputs'}, but "
            f"input_tensors has {len(found)}."
        )
    return found


def _graph_again(model: Any, inputs: Any, clone: Any, call_function: Any) -> Any:
    """A functional model with the calls of another, of copies of its layers."""
    inputs = [_made_again(layer) for layer in model.input_layers] if inputs is None else inputs
    tensors = {id(old): layer.output for old, layer in zip(model.graph.inputs, inputs)}
    copies = {}

    def mine(leaf: Any) -> Any:
        return tensors[id(leaf)] if isinstance(leaf, SymbolicTensor) else leaf

    for node in model.graph.nodes:
        if id(node.layer) not in copies:
            copies[id(node.layer)] = clone(node.layer)
        layer = copies[id(node.layer)]
        args, kwargs = mapped(mine, list(node.arguments))
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        made = layer(*args, **kwargs) if call_function is None else call_function(layer, *args, **kwargs)
        tensors.update((id(old), new) for old, new in zip(node.outputs, flatten(made)))
    ends = (mapped(mine, structure) for structure in (model.input_structure, model.output_structure))
    twin = Functional(*ends, name=model.name)  # type: ignore[misc]
    if not model.trainable:
        twin.trainable = False
    return twin


def _made_again(layer: Any) -> Any:
    """A layer of the same class and config, also of a class that is known here alone."""
    with registry.collecting_objects() as objects:
        config = serialize_layer(layer)
    with registry.custom_object_scope(objects):
        return deserialize_layer(config, objects)
