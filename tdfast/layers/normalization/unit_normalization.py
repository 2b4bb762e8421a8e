"""UnitNormalization: the numbers along an axis to length 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import norms
from tdfast.layers.normalization.base import Length

if TYPE_CHECKING:
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Array, Arrays, Axes, Config, Masks


class UnitNormalization(Length):
    """Each row along ``axis`` to length 1: ``y = x / max(sqrt(sum(x^2)), 1e-12)``.

    Source: https://keras.io/api/layers/normalization_layers/unit_normalization/.

    Args:
        axis: the axis, or a list of several.

    >>> UnitNormalization(dtype="float64")([[3.0, 4.0]]).round(3).tolist()
    [[0.6, 0.8]]
    """

    built_at_once = True

    LEAST = 1e-12

    def __init__(self, axis: Axes = -1, **kwargs: Any) -> None:
        super().__init__(axis, **kwargs)

    def inverse_length(self, squares: Array, x: Array, axes: Any, n: int) -> Array:
        """1 / length in the place of the sum of squares; returns the weight of `back`, 0 where the length was
        not x's."""
        norms.inverse_roots(squares, lambda: norms.squares(x, axes))
        np.minimum(squares, squares.dtype.type(1 / self.LEAST), out=squares)
        return (squares < squares.dtype.type(1 / self.LEAST)).astype(squares.dtype)

    def forward(self, x: Array, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        return self.normalize(tape.push(self), x)

    def backward(self, dy: Array, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        return self.back(rec, dy) if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "axis": self.axis}
