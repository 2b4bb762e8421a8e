"""Crossentropies of logits: a model that ends in a sigmoid or a softmax is trained without it.

The sigmoid of 20 is 1 in float32, and so are those of all larger numbers. A loss that is given outputs alone
cannot tell how wrong a confident model is, and its gradient is 0 there. So where an output of a model is the
activation that belongs to its crossentropy, training and evaluation leave that activation out and take the
crossentropy from the logits. The gradient is then outputs - targets, at any size. Metrics, `predict` and
calls of the model see probabilities as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast import activations
from tdfast.engine.tape import Tape
from tdfast.layers import Activation, Dense, Softmax
from tdfast.metrics import CategoricalAccuracy, SparseCategoricalAccuracy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record
    from tdfast.engine.types import Array, Sizes

KINDS = (Dense, Activation, Softmax)
"""Layers that can leave their activation out. Subclasses may differ, and do not count."""

OF_THE_LARGEST = (CategoricalAccuracy, SparseCategoricalAccuracy)


class Logits:
    """A last layer that leaves its activation out, and the loss of what it gives then.

    Attributes:
        loss: a `tdfast.losses.Loss` of the logits.
        layer: the one that leaves its activation out in a pass with it in `Tape.bare`.
    """

    def __init__(self, loss: Any, layer: Any) -> None:
        self.loss, self.layer = loss, layer
        self._is_softmax = getattr(layer, "activation", None) is activations.softmax
        self._tape = Tape(keep=False)

    @property
    def can_be_prepared(self) -> bool:
        """Whether `outputs` is calls of kernels."""
        return not isinstance(self.layer, Softmax)

    def outputs(self, logits: Array, metrics: Any, buffers: Record) -> Array:
        """The model's outputs, from the logits, for some (metric, weighted).

        The largest logit of a row has the largest probability: metrics of nothing else do without a softmax.
        """
        if self._is_softmax and metrics and all(type(metric) in OF_THE_LARGEST for metric, _ in metrics):
            return logits
        if isinstance(self.layer, Softmax):
            self._tape.rewind()
            return self.layer.forward(logits, self._tape)
        out = buffers.buffer("outputs", logits.shape, logits.dtype)
        self.layer.activation.forward(logits, out)
        return out


def of(layer: Any, layers: Sequence[Any], loss: Any, shape: Sizes) -> Logits | None:
    """The `Logits` of an output; None where its loss is taken of the output itself.

    Args:
        layer: whose output, as it is, is that of the model.
        layers: all calls of layers in the model, inner ones too.
        loss: what the model was compiled with for that output; None: nothing.
        shape: of the output.

    >>> from tdfast import layers, losses
    >>> last = layers.Dense(1, "sigmoid")
    >>> [of(last, [last], losses.get(name), (None, 1)) is None for name in ("bce", "mse")]
    [False, True]
    """
    once = sum(it is layer for it in layers) == 1
    if loss is None or type(layer) not in KINDS or layer.activity_regularizer is not None or not once:
        return None
    activation, axis = (activations.softmax, layer.axis) if type(layer) is Softmax else (layer.activation, -1)
    if activation not in (activations.sigmoid, activations.softmax) or isinstance(axis, list):
        return None
    on_logits = loss.on_logits(activation.name, axis % len(shape), shape)
    return None if on_logits is None else Logits(on_logits, layer)
