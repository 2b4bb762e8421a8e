"""Copies of layers and models from their descriptions."""

from tdfast.engine import registry
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.engine.tensor import SymbolicTensor
from tdfast.layers.core import InputLayer
from tdfast.models.sequential import Sequential


def clone_model(model, input_tensors=None, clone_function=None, call_function=None, recursive=False):
    """The same model with new layers and new weights; compiled in the same way, with a new optimizer.

    ``copy.deepcopy(model)`` keeps the weights and the optimizer's state as well.
    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/#clone_model-function.

    Args:
        model: a `tdfast.Sequential`.
        input_tensors: a `tdfast.Input`, or a list of one, for the copy to be built on; None: as the model.
        clone_function: makes the copy's layer from a layer of the model; None: a new one of the same config.
        call_function: as in Keras, for functional models only, so anything but None is refused.
        recursive: True clones the layers of models inside the model by ``clone_function`` as well, instead of
            calling it with the inner model.

    Returns:
        A `tdfast.Sequential`.

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
    if not isinstance(model, Sequential):
        raise ValueError(f"clone_model expects a Sequential model, got {model!r}.")
    if call_function is not None:
        raise ValueError(
            "clone_model: call_function is for functional models; a Sequential model does not call its "
            "layers."
        )
    if clone_function is not None and not callable(clone_function):
        raise ValueError(
            f"clone_model: clone_function must be a function of a layer, got {clone_function!r}."
        )
    if isinstance(input_tensors, (list, tuple)):
        if len(input_tensors) != 1:
            raise ValueError(
                f"clone_model: a Sequential model has one input, but input_tensors has {len(input_tensors)}."
            )
        input_tensors = input_tensors[0]
    if isinstance(input_tensors, SymbolicTensor) and input_tensors.node is not None:
        input_tensors = input_tensors.node.layer
    if input_tensors is not None and not isinstance(input_tensors, InputLayer):
        raise ValueError(f"clone_model: input_tensors must be a tdfast.Input, got {input_tensors!r}.")

    def clone(layer):
        if recursive and isinstance(layer, Sequential):
            return clone_model(layer, clone_function=clone_function, recursive=True)
        return (clone_function or _made_again)(layer)

    first = [_made_again(layer) for layer in model.input_layers] if input_tensors is None else [input_tensors]
    twin = Sequential(first + [clone(layer) for layer in model.layers], name=model.name,
                      trainable=model.trainable)
    if model.compiled:
        twin.compile_as(model)
    return twin


def _made_again(layer):
    """A layer of the same class and config, also of a class that is known here alone."""
    with registry.collecting_objects() as objects:
        config = serialize_layer(layer)
    with registry.custom_object_scope(objects):
        return deserialize_layer(config, objects)
