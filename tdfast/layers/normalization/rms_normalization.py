"""RMSNormalization: the numbers along an axis by their root mean square, times a factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import norms
from tdfast.layers.normalization.base import Length

if TYPE_CHECKING:
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Array, Arrays, Axes, Config, Masks, Shapes, Sizes


class RMSNormalization(Length):
    """Each row along ``axis`` by its root mean square: ``y = x / sqrt(mean(x^2) + epsilon) scale``.

    Source: https://keras.io/api/layers/normalization_layers/rms_normalization/; Zhang and Sennrich 2019.

    Args:
        axis: the axis, or a list of several; scale has their sizes.
        epsilon: added to the mean.

    >>> RMSNormalization(dtype="float64")([[3.0, 3.0]]).round(3).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, axis: Axes = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(axis, **kwargs)
        if isinstance(epsilon, bool) or not epsilon >= 0:
            raise ValueError(
                f"Layer '{self.name}' (RMSNormalization): epsilon must be a number of at least 0, got "
                f"{epsilon!r}."
            )
        self.epsilon = epsilon
        self.scale: Any = None

    def check_input_shape(self, input_shape: Shapes) -> None:
        sizes = tuple(input_shape[a] for a in self.axes(input_shape))
        if None in sizes or (self.built and sizes != self.scale.shape):
            raise ValueError(
                f"Layer '{self.name}' (RMSNormalization) needs a known size of axis {self.axis}"
                + (f", {self.scale.shape}," if self.built
                   else "") + f" got input of shape {tuple(input_shape)}."
            )

    def build(self, input_shape: Shapes) -> None:
        self.scale = self.add_weight(tuple(input_shape[a] for a in self.axes(input_shape)), "ones", "scale")
        # as in Keras, once it is built
        self.axis = sorted(self.axis) if isinstance(self.axis, list) else [self.axis]

    def inverse_length(self, squares: Array, x: Array, axes: Any, n: int) -> float:
        """1 / length in the place of the sum of squares; returns the weight of `back`."""
        squares /= n
        norms.inverse_roots(squares, lambda: norms.squares(x, axes) / n, self.epsilon)
        return 1 / n

    def _scale(self, axes: Any, shape: Sizes) -> Array:
        return self.scale.value.reshape([n if a in axes else 1 for a, n in enumerate(shape)])

    def forward(self, x: Array, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        normal = self.normalize(rec, x)
        return np.multiply(normal, self._scale(rec.axes, x.shape), out=rec.buffer("y", x.shape, x.dtype))

    def backward(self, dy: Array, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        work = np.multiply(dy, rec.normal, out=rec.buffer("work", dy.shape, dy.dtype))
        np.sum(work, axis=tuple(a for a in range(dy.ndim) if a not in rec.axes), out=self.scale.grad)
        if not need_dx:
            return None
        return self.back(rec, np.multiply(dy, self._scale(rec.axes, dy.shape), out=dy))

    def get_config(self) -> Config:
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}
