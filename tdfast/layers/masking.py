"""Masking: time steps to leave out, found by their value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels
from tdfast.engine.layer import Layer

if TYPE_CHECKING:
    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Arrays, Config, Masks, Shapes


class Masking(Layer):
    """Leaves out the time steps all of whose features equal ``mask_value``, and sets them to 0.

    The following layers hand the mask on to the loss and the metrics, which count the other steps
    only. It takes the place of a mask that comes in. Padding may stand left, right or in between, and a row
    may be all padding.
    Source: https://keras.io/api/layers/core_layers/masking/.

    Args:
        mask_value: what the features of such a step equal.

    Input (batch, time, ..., features); output the same. The mask has all axes but the last.

    >>> layer = Masking(-1.0)
    >>> x = np.array([[[1.0, -1.0], [-1.0, -1.0]]])
    >>> layer(x).tolist(), layer.compute_mask(x).tolist()
    ([[[1.0, -1.0], [0.0, 0.0]]], [[True, False]])
    """

    built_at_once = True

    makes_mask = replaces_mask = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(mask_value, bool) or not isinstance(mask_value, (int, float, np.integer, np.floating)):
            raise ValueError(
                f"Layer '{self.name}' (Masking): mask_value must be a number, got {mask_value!r}."
            )
        self.mask_value = mask_value

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        inputs = self.as_input(inputs)
        return np.any(inputs != inputs.dtype.type(self.mask_value), axis=-1)

    def passed_mask(self, x: Arrays, mask: Masks, record: Record) -> Masks:
        return record.mask

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) < 2:
            raise ValueError(
                f"Layer '{self.name}' (Masking) expects input of shape (batch, time, ..., features), got "
                f"{tuple(input_shape)}."
            )

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        rec.mask = rec.buffer("mask", x.shape[:-1], np.dtype(bool))
        y = rec.buffer("y", x.shape, x.dtype)
        _kernels.masking_forward(self.mask_value, math.prod(x.shape[:-1]), x.shape[-1], x, rec.mask, y)
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        _kernels.masking_backward(rec.mask.size, dy.shape[-1], rec.mask, dy)
        return dy

    def get_config(self) -> Config:
        return {**super().get_config(), "mask_value": self.mask_value}
