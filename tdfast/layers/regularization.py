"""Layers against overfitting: random ones that act in training alone, and a penalty on numbers that pass."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, random, regularizers
from tdfast.engine.arrays import multiply
from tdfast.engine.layer import Layer
from tdfast.layers.convolution.shapes import one_of
from tdfast.layers.core import Identity

if TYPE_CHECKING:
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Array, Arrays, Config, DType, Masks, Seed, Shape, Shapes, Sizes

# SELU's limit for large negative inputs, -alpha scale: what AlphaDropout puts in the place of a number.
SELU_FLOOR = -1.6732632423543772 * 1.0507009873554805


class Randomized(Layer):
    """What the random layers share: a seed of their own, and that they do nothing but in training.

    A subclass has an `amount`, and `draw` fills an array with what to multiply the input by.
    """

    built_at_once = True

    amount_name = "rate"
    rowwise = True
    draws_in_kernel = False

    def __init__(self, amount: float | str, seed: Seed = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(amount, (bool, str)) or not 0 <= amount <= 1:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): {self.amount_name} must be a number from 0 to "
                f"1, got {amount!r}."
            )
        setattr(self, self.amount_name, amount)
        self.seed = random.check_seed(seed)
        self.seed_generator = random.SeedGenerator(self.seed) if amount > 0 else None

    def draw(self, factors: Any) -> Any:
        """Fill ``factors`` with random numbers of mean 1; returns it."""
        raise TypeError(f"{type(self).__name__} must override draw(factors).")

    def pattern_shape(self, shape: Sizes) -> Any:
        """The shape of the random numbers for an input of this shape."""
        return shape

    def can_be_prepared(self, training: bool) -> bool:
        return type(self).forward is Randomized.forward

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        rec.factors = None
        if not training or self.seed_generator is None:
            return x
        factors = rec.buffer("factors", self.pattern_shape(x.shape), x.dtype)
        rec.factors = self.draw(factors) if self.draws_in_kernel else _kernels.call(self.draw, factors)
        return multiply(x, factors, rec.buffer("y", x.shape, x.dtype))

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        if rec.factors is None:
            return dy
        return multiply(dy, rec.factors, rec.buffer("dx", dy.shape, dy.dtype))

    def normal(self, out: Any, mean: float, stddev: float) -> Any:
        """Fill ``out`` with normally distributed numbers from this layer's next seed."""
        np.random.Generator(random.bits(self.seed_generator)).standard_normal(out=out, dtype=out.dtype)
        out *= stddev
        out += mean
        return out

    def get_config(self) -> Config:
        return {**super().get_config(), self.amount_name: getattr(self, self.amount_name), "seed": self.seed}


class Dropout(Randomized):
    """In training, sets numbers to 0 with probability ``rate`` and scales the others by 1 / (1 - rate).

    Otherwise it returns its input. Each layer counts its own random numbers, which do not
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

    rate: Any

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return self.noise_shape is None

    def __init__(self, rate: float, noise_shape: Shape | None = None, seed: Seed = None,
                 **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = self._checked(noise_shape)

    def draw(self, factors: Array) -> Array:
        return random.dropout_factors(factors, self.rate, self.seed_generator)

    @property
    def draws_in_kernel(self) -> bool:  # type: ignore[override]
        return type(self).draw is Dropout.draw

    def _checked(self, shape: Any) -> tuple[Any, ...] | None:
        if shape is None:
            return None
        if isinstance(shape, (tuple, list, np.ndarray)):
            if all(n is None or (isinstance(n, (int, np.integer)) and 0 < n <= sys.maxsize) for n in shape):
                return tuple(None if n is None else int(n) for n in shape)
        raise ValueError(
            f"{type(self).__name__}: noise_shape must be a tuple of positive numbers or None, got {shape!r}."
        )

    def pattern_shape(self, shape: Sizes) -> Any:
        if self.noise_shape is None:
            return shape
        if len(self.noise_shape) == len(shape):
            pattern = tuple(size if n is None else n for n, size in zip(self.noise_shape, shape))
            if all(n in (1, size) or size is None for n, size in zip(pattern, shape)):
                return pattern
        raise ValueError(
            f"Layer '{self.name}': noise_shape={self.noise_shape} does not fit an input of shape {shape}. It "
            "needs as many axes, each the input's size, 1 or None."
        )

    def check_input_shape(self, input_shape: Shapes) -> None:
        # The batch's size matters in training alone: the last one may be smaller.
        if self.noise_shape is not None:
            self.pattern_shape((self.noise_shape[0], *input_shape[1:]))

    def get_config(self) -> Config:
        return {**super().get_config(), "noise_shape": self.noise_shape}


class SpatialDropout1D(Dropout):
    """`Dropout` that drops whole features: the same ones at all time steps of a sample.

    Source: https://keras.io/api/layers/regularization_layers/spatial_dropout1d/.

    Args:
        rate: from 0 to 1.
        seed: a whole number, or None.
        name, dtype: of the layer; other arguments are those of every layer.

    Input (batch, time, features).

    >>> import numpy as np
    >>> y = SpatialDropout1D(0.5, seed=1)(np.ones((4, 3, 5)), training=True)
    >>> bool((y == y[:, :1]).all())
    True
    """

    axes = "(batch, time, features)"
    ndim = 3

    per_step = False

    def __init__(self, rate: float, seed: Seed = None, name: str | None = None, dtype: DType = None,
                 **kwargs: Any) -> None:
        if kwargs.get("noise_shape") is not None:
            raise ValueError(
                f"{type(self).__name__}: noise_shape={kwargs['noise_shape']!r} is not supported: the layer's "
                "own is that whole features are dropped. Use Dropout for another one."
            )
        super().__init__(rate, seed=seed, name=name, dtype=dtype, **kwargs)

    def pattern_shape(self, shape: Sizes) -> tuple[Any, ...]:
        return (shape[0], *(1,) * (self.ndim - 2), shape[-1])

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) != self.ndim:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) expects input of shape {self.axes}, got "
                f"{tuple(input_shape)}."
            )

    def get_config(self) -> Config:
        # Keras's has no `trainable`, which its constructor would refuse.
        config = super().get_config()
        first = {key: config.pop(key) for key in ("rate", "seed", "name", "dtype")}
        return {**first, **{key: config[key] for key in config if key not in ("trainable", "noise_shape")}}


class SpatialDropout2D(SpatialDropout1D):
    """`Dropout` that drops whole channels of pictures.

    Source: https://keras.io/api/layers/regularization_layers/spatial_dropout2d/.

    Args:
        rate: from 0 to 1.
        data_format: 'channels_last' (default, also None) or 'channels_first'.
        seed: a whole number, or None.
        name, dtype: of the layer.

    Input (batch, rows, columns, channels), or (batch, channels, rows, columns).

    >>> import numpy as np
    >>> y = SpatialDropout2D(0.5, seed=1)(np.ones((4, 3, 5, 2)), training=True)
    >>> bool((y == y[:, :1, :1]).all())
    True
    """

    ndim = 4

    def __init__(self, rate: float, data_format: str | None = None, seed: Seed = None,
                 name: str | None = None, dtype: DType = None, **kwargs: Any) -> None:
        super().__init__(rate, seed=seed, name=name, dtype=dtype, **kwargs)
        self.data_format = one_of(data_format or "channels_last", ("channels_last", "channels_first"),
                                  "data_format", self)
        first = self.data_format == "channels_first"
        places = ("depth", "rows", "columns")[-self.ndim + 2:]
        self.axes = "(batch, " + ", ".join(("channels", *places) if first else (*places, "channels")) + ")"

    def pattern_shape(self, shape: Sizes) -> Any:
        return (
            (*shape[:2], *(1,) * (self.ndim - 2))
            if self.data_format == "channels_first"
            else super().pattern_shape(shape)
        )

    def get_config(self) -> Config:
        return {**super().get_config(), "data_format": self.data_format}


class SpatialDropout3D(SpatialDropout2D):
    """`Dropout` that drops whole channels of volumes, or of films (`TimeDistributed` pictures).

    Source: https://keras.io/api/layers/regularization_layers/spatial_dropout3d/.

    Args:
        rate, data_format, seed, name, dtype: as in `SpatialDropout2D`.

    Input (batch, depth, rows, columns, channels), or (batch, channels, depth, rows, columns).

    >>> import numpy as np
    >>> y = SpatialDropout3D(0.5, seed=1)(np.ones((4, 3, 2, 5, 2)), training=True)
    >>> bool((y == y[:, :1, :1, :1]).all())
    True
    """

    ndim = 5


class GaussianDropout(Randomized):
    """In training, multiplies by normally distributed numbers of mean 1 and variance rate / (1 - rate).

    Source: https://keras.io/api/layers/regularization_layers/gaussian_dropout/; Srivastava et al. 2014.

    Args:
        rate: from 0 to below 1.
        seed: a whole number, or None.

    Raises:
        ValueError: for another rate; at 1 the variance would be infinite.

    >>> import numpy as np
    >>> y = GaussianDropout(0.2, seed=1)(np.ones((100, 100)), training=True)
    >>> round(float(y.mean()), 1), round(float(y.std()), 1)
    (1.0, 0.5)
    """

    rate: Any

    def __init__(self, rate: float, seed: Seed = None, **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)
        if rate == 1:
            raise ValueError(
                f"Layer '{self.name}' (GaussianDropout): rate must be below 1, where its noise is infinite."
            )

    def draw(self, factors: Any) -> Any:
        return self.normal(factors, 1.0, math.sqrt(self.rate / (1 - self.rate)))


class GaussianNoise(Randomized):
    """In training, adds normally distributed numbers of mean 0.

    Source: https://keras.io/api/layers/regularization_layers/gaussian_noise/.

    Args:
        stddev: their standard deviation, from 0 to 1.
        seed: a whole number, or None.

    Raises:
        ValueError: for another stddev.

    >>> import numpy as np
    >>> y = GaussianNoise(0.5, seed=1)(np.zeros((100, 100)), training=True)
    >>> round(float(y.std()), 1)
    0.5
    """

    stddev: Any

    amount_name = "stddev"

    def __init__(self, stddev: float, seed: Seed = None, **kwargs: Any) -> None:
        super().__init__(stddev, seed, **kwargs)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        if not training or self.seed_generator is None:
            return x
        noise = self.normal(rec.buffer("y", x.shape, x.dtype), 0.0, self.stddev)
        return np.add(x, noise, out=noise)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        tape.pop(self)
        return dy if need_dx else None


class AlphaDropout(Dropout):
    """`Dropout` for layers with SELU: dropped numbers become SELU's floor, and mean and variance stay::

        y = a (x kept + floor (1 - kept)) + b,   a = ((1 - rate) (1 + rate floor^2))^-1/2,   b = -a floor rate

    Source: https://keras.io/api/layers/regularization_layers/alpha_dropout/; Klambauer et al. 2017.

    Args:
        rate: from 0 to below 1.
        noise_shape: as in `Dropout`.
        seed: a whole number, or None.

    Raises:
        ValueError: for another rate; at 1 the factor a would be infinite.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(100, 100))
    >>> y = AlphaDropout(0.2, seed=1)(x, training=True)
    >>> abs(round(float(y.mean()), 1)), round(float(y.std()), 1)
    (0.0, 1.0)
    """

    rate: Any

    per_step = False

    def __init__(self, rate: float, noise_shape: Shape | None = None, seed: Seed = None,
                 **kwargs: Any) -> None:
        super().__init__(rate, noise_shape, seed, **kwargs)
        if rate == 1:
            raise ValueError(
                f"Layer '{self.name}' (AlphaDropout): rate must be below 1, where its factor is infinite."
            )

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        y = super().forward(x, tape, training, mask)
        factors = tape.peek(self).factors
        if factors is None:
            return y
        # factors is a where x was kept, else 0: the others get a floor + b, the kept ones b.
        a, b = self._line()
        fill = np.multiply(factors, -SELU_FLOOR, out=tape.peek(self).buffer("fill", factors.shape, x.dtype))
        fill += a * SELU_FLOOR + b
        return np.add(y, fill, out=y)

    def draw(self, factors: Array) -> Array:
        super().draw(factors)
        factors *= self._line()[0] * (1 - self.rate)
        return factors

    def _line(self) -> tuple[Any, ...]:
        a = ((1 - self.rate) * (1 + self.rate * SELU_FLOOR**2)) ** -0.5
        return a, -a * SELU_FLOOR * self.rate


class ActivityRegularization(Identity):
    """Hands its input on, and adds l1 sum(|x|) + l2 sum(x^2), as a mean over the batch, to the loss.

    Source: https://keras.io/api/layers/regularization_layers/activity_regularization/.

    Args:
        l1, l2: not negative, default 0.

    >>> ActivityRegularization(l2=0.1)([[1.0, 2.0]]).tolist()
    [[1.0, 2.0]]
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.l1, self.l2 = l1, l2

    def get_config(self) -> Config:
        config = super().get_config()
        config.pop("activity_regularizer", None)
        return {**config, "l1": self.l1, "l2": self.l2}
