"""Activation as a layer of its own."""

from tdfast import _kernels, activations
from tdfast.layers.base import Layer


class Activation(Layer):
    """``y = f(x)``, with x of any shape.

    Args:
        activation: a name or object of `tdfast.activations`; softmax acts on the last axis.

    See https://keras.io/api/layers/core_layers/activation/.

    >>> Activation("relu")([[-1.0, 2.0]]).tolist()
    [[0.0, 2.0]]
    """

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def forward(self, x, tape, training=False, mask=None):
        rec = tape.push(self)
        y = rec.buffer("y", x.shape, x.dtype)
        _kernels.act_forward(self.activation.kind, *activations.rows_of(x), x, y)
        if tape.keep:
            rec.x = x if self.activation.needs_input else None
            rec.y = y
        return y

    def backward(self, dy, tape, need_dx=True):
        rec = tape.pop(self)
        if not need_dx:
            return None
        dx = rec.buffer("dx", dy.shape, dy.dtype)
        _kernels.act_backward(self.activation.kind, *activations.rows_of(dy), rec.x, rec.y, dy, dx)
        return dx

    def add_to_stream(self, stream, x):
        y = stream.array(x.shape)
        stream.kernels.act(self.activation.kind, *x.shape, x, y)
        return y

    def get_config(self):
        return {**super().get_config(), "activation": activations.serialize(self.activation)}
