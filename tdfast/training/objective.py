"""What training makes small: the loss of a model's outputs, or of the logits under its last activation.

The sigmoid of 20 is 1 in float32, and so are those of all larger numbers. A loss that is given outputs alone
cannot tell how wrong a confident model is, and its gradient is 0 there. So where a model ends in the
activation that belongs to its crossentropy, training and evaluation leave that activation out and take the
crossentropy from the logits. The gradient is then outputs - targets, at any size. Metrics, `predict` and
calls of the model see probabilities as ever.
"""

from tdfast import activations
from tdfast.engine.tape import Tape
from tdfast.layers import Activation, Dense, Softmax
from tdfast.metrics import CategoricalAccuracy, SparseCategoricalAccuracy

KINDS = (Dense, Activation, Softmax)
"""Layers that can leave their activation out. Subclasses may differ, and do not count."""


OF_THE_LARGEST = (CategoricalAccuracy, SparseCategoricalAccuracy)


class Objective:
    """The loss of a model, and what it is taken of.

    Attributes:
        loss: a `tdfast.losses.Loss` of what the model gives in a pass whose `Tape.bare` is ``layer``.
        layer: the one that leaves its activation out; None: none does.
    """

    def __init__(self, loss, layer=None):
        self.loss, self.layer = loss, layer
        self._is_softmax = getattr(layer, "activation", None) is activations.softmax
        self._tape = Tape(keep=False)

    def outputs(self, given, metrics, buffers):
        """The model's outputs, from what the loss was given, for some (metric, weighted), or None: any.

        The largest logit of a row has the largest probability: metrics of nothing else do without a softmax.
        """
        if self.layer is None:
            return given
        if self._is_softmax and metrics and all(type(metric) in OF_THE_LARGEST for metric, _ in metrics):
            return given
        if isinstance(self.layer, Softmax):
            self._tape.rewind()
            return self.layer.forward(given, self._tape)
        out = buffers.buffer("outputs", given.shape, given.dtype)
        self.layer.activation.forward(given, out)
        return out


def of(model, layers, loss):
    """The `Objective` of a model that is built.

    Args:
        model: a `Sequential`.
        layers: all of its layers, inner ones too.
        loss: what it was compiled with.

    >>> from tdfast import Sequential, layers, losses
    >>> model = Sequential([layers.Input((2,)), layers.Dense(1, "sigmoid")])
    >>> [of(model, model.layers, losses.get(name)).layer is None for name in ("bce", "mse")]
    [False, True]
    """
    layer = model.output_layer()
    once = sum(it is layer for it in layers) == 1
    if type(layer) not in KINDS or layer.activity_regularizer is not None or not once:
        return Objective(loss)
    activation, axis = (activations.softmax, layer.axis) if type(layer) is Softmax else (layer.activation, -1)
    if activation not in (activations.sigmoid, activations.softmax) or isinstance(axis, list):
        return Objective(loss)
    shape = model.compute_output_shape(model.input_shape)
    on_logits = loss.on_logits(activation.name, axis % len(shape), shape)
    return Objective(loss) if on_logits is None else Objective(on_logits, layer)
