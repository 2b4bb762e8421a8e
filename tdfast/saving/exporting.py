"""What every export of a model to another format shares: which models, and which converter a layer has."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tdfast import activations, layers
from tdfast.engine.network import Network
from tdfast.engine.parametric import Parametric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike

IDLE = (
    layers.ActivityRegularization, layers.AlphaDropout, layers.Dropout, layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D,
)
"""The layers that hand their input on when nothing is trained."""


def check_model(model: Any, who: str) -> None:
    """Refuse what is no built model."""
    if not isinstance(model, Network):
        raise ValueError(f"{who} expects a tdfast model, got {model!r} ({type(model).__name__}).")
    if not model.built:
        raise ValueError(
            f"{who}: model '{model.name}' has no weights yet. Call build(input_shape), or predict once, "
            "before."
        )


def converter_of(layer: Any, table: Any, what: str) -> Any:
    """The entry of ``table`` (layer class -> converter) for a layer.

    A class of the user's own may compute something else than its base; only a `Sequential` of another class,
    as one writes it to train in another way, is taken for what it is.

    Raises:
        ValueError: naming the layer, where there is none.
    """
    kind = type(layer)
    if kind not in table and kind.forward is Network.forward:
        kind = Network
    if kind in table:
        return table[kind]
    raise ValueError(
        f"Layer '{layer.name}' ({type(layer).__name__}) cannot be exported to {what}. These can: "
        f"{', '.join(sorted('Sequential' if kind is Network else kind.__name__ for kind in table))}."
    )


def refuse(layer: Any, why: Any) -> None:
    """Raise a ValueError that names the layer."""
    raise ValueError(f"Layer '{layer.name}' ({type(layer).__name__}) {why}")


def check_dtype(layer: Any, dtype: DTypeLike) -> None:
    """Refuse a layer that computes in another dtype than the model."""
    if layer.dtype != dtype:
        refuse(
            layer,
            f"has dtype {layer.dtype}, but the model has {dtype}: all layers of an export need the same.",
        )


def activation_entry(layer: Any, activation: Any, table: Any, what: str) -> Any:
    """The entry of ``table`` (name -> ...) for one of a layer's activations, which must be tdfast's own of
    that name; or for one with parameters, whose name in the table is "<name> with" them.

    Raises:
        ValueError: naming the layer, where there is none.
    """
    name = f"{activation.name} with" if type(activation) is Parametric else activation.name
    if name in table and (type(activation) is Parametric or getattr(activations, name, None) is activation):
        return table[name]
    refuse(
        layer,
        f"cannot be exported to {what} with the activation {activation!r}. These can be: {', '.join(table)}.",
    )


@contextlib.contextmanager
def changed(target: Any, **attributes: Any) -> Iterator[Any]:
    """Attributes of an object with other values inside the block.

    >>> from types import SimpleNamespace
    >>> graph = SimpleNamespace(states=True)
    >>> with changed(graph, states=False):
    ...     graph.states
    False
    >>> graph.states
    True
    """
    before = {name: getattr(target, name) for name in attributes}
    vars(target).update(attributes)
    try:
        yield
    finally:
        vars(target).update(before)
