"""UnitNormalization: the numbers along an axis to length 1."""

import numpy as np

from tdfast.engine import norms
from tdfast.layers.normalization.base import Length


class UnitNormalization(Length):
    """Each row along ``axis`` to length 1: ``y = x / max(sqrt(sum(x^2)), 1e-12)``.

    Source: https://keras.io/api/layers/normalization_layers/unit_normalization/.

    Args:
        axis: the axis, or a list of several.

    >>> UnitNormalization(dtype="float64")([[3.0, 4.0]]).round(3).tolist()
    [[0.6, 0.8]]
    """

    LEAST = 1e-12

    def __init__(self, axis=-1, **kwargs):
        super().__init__(axis, **kwargs)

    def inverse_length(self, squares, x, axes, n):
        """1 / length in the place of the sum of squares; returns the weight of `back`, 0 where the length was
        not x's."""
        norms.inverse_roots(squares, lambda: norms.squares(x, axes))
        np.minimum(squares, squares.dtype.type(1 / self.LEAST), out=squares)
        return (squares < squares.dtype.type(1 / self.LEAST)).astype(squares.dtype)

    def forward(self, x, tape, training=False, mask=None):
        return self.normalize(tape.push(self), x)

    def backward(self, dy, tape, need_dx=True):
        rec = tape.pop(self)
        return self.back(rec, dy) if need_dx else None

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}
