"""Layers that act in training alone: Dropout."""

import numpy as np

from tdfast import random
from tdfast.layers.base import Layer


class Dropout(Layer):
    """In training, sets numbers to 0 with probability ``rate`` and scales the others by 1 / (1 - rate).

    Otherwise it hands its input on as it is. Each layer counts its own random numbers, which do not
    depend on the number of threads; `utils.set_random_seed` before the layer is made repeats them.
    Source: https://keras.io/api/layers/regularization_layers/dropout/.

    Args:
        rate: from 0 to 1.
        noise_shape: the shape of the pattern, the batch included; None in it means the input's size,
            1 that all share one pattern: ``(None, 1, None)`` drops the same features at all time steps.
        seed: a whole number, or None.

    Raises:
        ValueError: for a rate outside 0 to 1, or a noise_shape that does not fit the input.

    >>> import numpy as np
    >>> layer = Dropout(0.5, seed=1)
    >>> sorted({float(v) for v in layer(np.ones((10, 10)), training=True).flat})
    [0.0, 2.0]
    >>> float(layer(np.ones((10, 10))).min())
    1.0
    """

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(rate, (bool, str)) or not 0 <= rate <= 1:
            raise ValueError(f"Dropout: rate must be a number from 0 to 1, got {rate!r}.")
        self.rate = rate
        self.seed = random.check_seed(seed)
        self.noise_shape = _noise_shape(noise_shape)
        self.seed_generator = random.SeedGenerator(self.seed) if rate > 0 else None

    def forward(self, x, tape, training=False, mask=None):
        rec = tape.push(self)
        rec.factors = None
        if not training or self.rate == 0:
            return x
        factors = rec.buffer("factors", self._pattern_shape(x.shape), self.dtype)
        rec.factors = random.dropout_factors(factors, self.rate, self.seed_generator)
        return np.multiply(x, factors, out=rec.buffer("y", x.shape, self.dtype))

    def backward(self, dy, tape, need_dx=True):
        rec = tape.pop(self)
        if not need_dx:
            return None
        if rec.factors is None:
            return dy
        return np.multiply(dy, rec.factors, out=rec.buffer("dx", dy.shape, self.dtype))

    def _pattern_shape(self, shape):
        if self.noise_shape is None:
            return shape
        if len(self.noise_shape) == len(shape):
            pattern = tuple(size if n is None else n for n, size in zip(self.noise_shape, shape))
            if all(n in (1, size) for n, size in zip(pattern, shape)):
                return pattern
        raise ValueError(
            f"Layer '{self.name}': noise_shape={self.noise_shape} does not fit an input of shape {shape}. It "
            "needs as many axes, each the input's size, 1 or None."
        )

    def add_to_stream(self, stream, x):
        return x

    def get_config(self):
        return {
            **super().get_config(),
            "rate": self.rate,
            "seed": self.seed,
            "noise_shape": self.noise_shape,
        }


def _noise_shape(shape):
    if shape is None:
        return None
    if isinstance(shape, (tuple, list, np.ndarray)):
        sizes = tuple(None if n is None else n for n in shape)
        if all(n is None or (isinstance(n, (int, np.integer)) and n > 0) for n in sizes):
            return tuple(None if n is None else int(n) for n in sizes)
    raise ValueError(f"Dropout: noise_shape must be a tuple of positive numbers or None, got {shape!r}.")
