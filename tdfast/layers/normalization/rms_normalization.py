"""RMSNormalization: the numbers along an axis by their root mean square, times a factor."""

import numpy as np

from tdfast.engine import norms
from tdfast.layers.normalization.base import Length


class RMSNormalization(Length):
    """Each row along ``axis`` by its root mean square: ``y = x / sqrt(mean(x^2) + epsilon) scale``.

    Source: https://keras.io/api/layers/normalization_layers/rms_normalization/; Zhang and Sennrich 2019.

    Args:
        axis: the axis, or a list of several; scale has their sizes.
        epsilon: added to the mean.

    >>> RMSNormalization(dtype="float64")([[3.0, 3.0]]).round(3).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, axis=-1, epsilon=1e-6, **kwargs):
        super().__init__(axis, **kwargs)
        if isinstance(epsilon, bool) or not epsilon >= 0:
            raise ValueError(
                f"Layer '{self.name}' (RMSNormalization): epsilon must be a number of at least 0, got "
                f"{epsilon!r}."
            )
        self.epsilon, self.scale = epsilon, None

    def check_input_shape(self, input_shape):
        sizes = tuple(input_shape[a] for a in self.axes(input_shape))
        if None in sizes or (self.built and sizes != self.scale.shape):
            raise ValueError(
                f"Layer '{self.name}' (RMSNormalization) needs a known size of axis {self.axis}"
                + (f", {self.scale.shape}," if self.built
                   else "") + f" got input of shape {tuple(input_shape)}."
            )

    def build(self, input_shape):
        self.scale = self.add_weight(tuple(input_shape[a] for a in self.axes(input_shape)), "ones", "scale")
        # as in Keras, once it is built
        self.axis = sorted(self.axis) if isinstance(self.axis, list) else [self.axis]

    def inverse_length(self, squares, x, axes, n):
        """1 / length in the place of the sum of squares; returns the weight of `back`."""
        squares /= n
        norms.inverse_roots(squares, lambda: norms.squares(x, axes) / n, self.epsilon)
        return 1 / n

    def _scale(self, axes, shape):
        return self.scale.value.reshape([n if a in axes else 1 for a, n in enumerate(shape)])

    def forward(self, x, tape, training=False, mask=None):
        rec = tape.push(self)
        normal = self.normalize(rec, x)
        return np.multiply(normal, self._scale(rec.axes, x.shape), out=rec.buffer("y", x.shape, x.dtype))

    def backward(self, dy, tape, need_dx=True):
        rec = tape.pop(self)
        work = np.multiply(dy, rec.normal, out=rec.buffer("work", dy.shape, dy.dtype))
        np.sum(work, axis=tuple(a for a in range(dy.ndim) if a not in rec.axes), out=self.scale.grad)
        if not need_dx:
            return None
        return self.back(rec, np.multiply(dy, self._scale(rec.axes, dy.shape), out=dy))

    def get_config(self):
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}
