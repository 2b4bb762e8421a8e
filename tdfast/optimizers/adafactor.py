"""Adafactor: the squares of the gradients by their rows and columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.optimizers.base import Optimizer
from tdfast.optimizers.methods import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from tdfast.engine.types import Array, Config, Rate
    from tdfast.optimizers.options import DecayOptions


@REGISTRY.register("adafactor")
class Adafactor(Optimizer):
    """Steps as long as the weights, divided by the root of a mean square that is a product of the means over
    rows and over columns (Shazeer and Stern, 2018)::

        b = 1 - t^beta_2_decay;  s = g^2 + epsilon_1
        r = b r + (1 - b) mean(s, axis=-1);  c = b c + (1 - b) mean(s, axis=-2);  v = r c / mean(r)
        u = g / sqrt(v);  u = u / max(1, rms(u) / clip_threshold)
        w -= max(epsilon_2, rms(w)) min(lr, 1 / sqrt(t)) u

    A vector has no r and c, but ``v = b v + (1 - b) s``. rms is the root of the mean square over one
    variable.

    Args:
        learning_rate: default 0.001.
        beta_2_decay: default -0.8.
        epsilon_1: added to the squares, default 1e-30.
        epsilon_2: the least length of weights, default 1e-3.
        clip_threshold: default 1.
        relative_step: kept in the config; the rate is never over ``1 / sqrt(t)``, as in Keras.
        **kwargs: those of `Optimizer`.

    See https://keras.io/api/optimizers/adafactor/ and https://arxiv.org/abs/1804.04235.

    >>> Adafactor().beta_2_decay
    -0.8
    """

    beta_2_decay: Any
    clip_threshold: Any
    epsilon_1: Any
    epsilon_2: Any

    def __init__(self, learning_rate: Rate = 0.001, beta_2_decay: float = -0.8, epsilon_1: float = 1e-30,
                 epsilon_2: float = 1e-3, clip_threshold: float = 1.0, relative_step: bool = True,
                 **kwargs: Unpack[DecayOptions]) -> None:
        super().__init__(learning_rate, **kwargs)
        self.take_numbers(beta_2_decay=beta_2_decay, epsilon_1=epsilon_1, epsilon_2=epsilon_2,
                          clip_threshold=clip_threshold)
        self.relative_step = self._flag(relative_step, "relative_step")

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)
        self._rows, self._columns, self._squares = [], [], []
        for v in self.trainable_variables:
            # Keras keeps two idle numbers of a vector
            rows, columns = ((), ()) if v.ndim < 2 else (v.shape[:-1], (*v.shape[:-2], v.shape[-1]))
            self._rows.append(self.add_for(v, rows, "rows"))
            self._columns.append(self.add_for(v, columns, "columns"))
            self._squares.append(self.add_for(v, v.shape, "velocity"))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        i, dtype = self._get_variable_index(variable), variable.value.dtype.type
        t = self._updates + 1
        old = 1 - t**self.beta_2_decay
        squares, v = np.square(gradient) + dtype(self.epsilon_1), self._squares[i].value
        if variable.ndim < 2:
            _mix(v, squares, old)
        else:
            r, c = self._rows[i].value, self._columns[i].value
            _mix(r, np.mean(squares, axis=-1), old)
            _mix(c, np.mean(squares, axis=-2), old)
            np.multiply((r / np.mean(r, axis=-1, keepdims=True))[..., None], c[..., None, :], out=v)
        step = gradient / np.sqrt(v)
        length = max(self.epsilon_2, self._rms(variable.value)) * min(learning_rate, 1 / math.sqrt(t))
        over = np.maximum(1.0, self._rms(step) / self.clip_threshold)      # NaN stays
        step *= dtype(length / over)
        variable.value[...] -= step

    def _rms(self, array: Array) -> float:
        return self.norm(np.ascontiguousarray(array).reshape(-1)) / math.sqrt(array.size)

    def get_config(self) -> Config:
        keys = ("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step")
        return {**super().get_config(), **{key: getattr(self, key) for key in keys}}


def _mix(mean: Array, new: Array, old: float) -> None:
    """mean = old mean + (1 - old) new"""
    dtype = mean.dtype.type
    mean *= dtype(old)
    mean += dtype(1 - old) * new
