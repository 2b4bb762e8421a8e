"""Keras 2's hard_sigmoid, clip(0.2 x + 0.5), by Keras 3's, clip(x / 6 + 0.5): the latter of 1.2 x."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat.calling import level_of_the_caller
from tdfast.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTOR = 1.2
NAME = "hard_sigmoid"


def keep_hard_sigmoid(model: Any, file: Any) -> None:
    """Multiply the weights in front of each hard_sigmoid, so that a model of Keras 2 predicts what it did
    there.

    Args:
        model: with the weights of Keras 2.
        file: its name, for messages.

    Raises:
        FileError: naming a layer in which weights cannot do it.
    """
    names = sorted({layer.name for layer in _layers(model) if _scale(layer)})
    if names:
        warnings.warn(
            f"'{file}' is of Keras 2, whose hard_sigmoid is steeper than Keras 3's. The weights in front of "
            "it in layer "
            f"{', '.join(map(repr, names))} were multiplied by {FACTOR}: predictions are the same, steps of "
            "training are not.",
            stacklevel=level_of_the_caller(),
        )


def warn_of_hard_sigmoid(model: Any, file: Any) -> None:
    """Say which layers of a model without its weights yet have a hard_sigmoid of Keras 2."""
    names = sorted({layer.name for layer in _layers(model)
                    if _is_hard(layer, "recurrent_activation") or _is_hard(layer, "activation")})
    if names:
        warnings.warn(
            f"{file[:1].upper()}{file[1:]} is of Keras 2, whose hard_sigmoid, clip(0.2 x + 0.5), is steeper "
            f"than Keras 3's, clip(x / 6 + 0.5), which layer {', '.join(map(repr, names))} will compute: "
            "weights of Keras 2 give other predictions there. Load a file of the whole model, whose weights "
            "are made to fit.",
            stacklevel=level_of_the_caller(),
        )


def _layers(layer: Any) -> Iterator[Any]:
    yield layer
    for inner in layer.sublayers():
        yield from _layers(inner)


def _scale(layer: Any) -> bool:
    """Whether the layer had a hard_sigmoid, which its weights now make up for."""
    gates, recurrent = _is_hard(layer, "recurrent_activation"), _is_hard(layer, "activation")
    if not gates and not recurrent:
        return False
    count = getattr(layer, "gates", 1)
    weights = {w.name: w for w in layer._weights}
    if not weights.keys() <= {"kernel", "recurrent_kernel",
                              "bias"} or not weights or (recurrent and count == 4):
        raise FileError(
            f"Layer '{layer.name}' ({type(layer).__name__}) has Keras 2's hard_sigmoid, clip(0.2 x + 0.5), "
            "as its activation. "
            "Keras 3's is another function, and tdfast follows Keras 3."
        )
    # LSTM: i, f, c, o; GRU: z, r, h. The part that is no gate goes through the other activation.
    parts = np.array({4: [gates, gates, recurrent, gates], 3: [gates, gates,
                                                               recurrent]}.get(count, [recurrent]))
    factors = np.where(parts, FACTOR, 1.0)
    for w in weights.values():
        w.assign(w.value * np.repeat(factors, w.shape[-1] // count).astype(w.dtype))
    return True


def _is_hard(layer: Any, attribute: Any) -> Any:
    found = getattr(layer, attribute, None)
    return getattr(found, "name", None) == NAME and getattr(found, "kind", None) is not None
