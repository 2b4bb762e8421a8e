"""Initializers: what a weight holds before training, as in https://keras.io/api/layers/initializers/.

An initializer is called with a shape and a dtype and returns an array. One that was given a whole
number as its seed, or none, returns the same numbers each time it is called; `utils.set_random_seed`
makes those without a seed repeatable.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import random
from tdfast.compat import absent
from tdfast.engine.registry import Registry, description

if TYPE_CHECKING:

    from numpy.typing import DTypeLike

    from tdfast.engine.types import (
        Array,
        Axes,
        Config,
        CustomObjects,
        Generator,
        InitializerSpec,
        Numbers,
        Seed,
        Sizes,
    )

REGISTRY = Registry("initializer", "initializers", "keras.initializers")


def get(identifier: InitializerSpec) -> Any:
    """The initializer that a name, a class, a dict, an array or a function means; None for None.

    Raises:
        ValueError: for an unknown name, listing the known ones.

    >>> get("glorot_uniform")((2, 3)).shape
    (2, 3)
    """
    if isinstance(identifier, (np.ndarray, np.generic)):
        return _Given(identifier)
    return REGISTRY.get(identifier)


def serialize(initializer: InitializerSpec) -> Any:
    """Keras's dict for an initializer.

    >>> serialize(Zeros())["class_name"]
    'Zeros'
    """
    return REGISTRY.serialize(initializer)


def deserialize(config: Config | str | None, custom_objects: CustomObjects = None) -> Any:
    """The initializer that `serialize` described.

    >>> deserialize(serialize(Constant(0.5)))
    Constant(value=0.5)
    """
    return REGISTRY.deserialize(config, custom_objects)


_absent = absent.lookup(__name__)


def __getattr__(name: str) -> type:
    # initializers.glorot_uniform is initializers.GlorotUniform, as in Keras.
    try:
        return REGISTRY.find(name)
    except ValueError:
        return _absent(name)


def __dir__() -> list[Any]:
    return sorted({*globals(), *REGISTRY.spellings()})


def compute_fans(shape: Sizes, input_axes: Any = None,
                 output_axes: Any = None) -> tuple[int, ...]:
    """How many inputs and outputs one unit of a weight has: (fan_in, fan_out).

    The last axis counts outputs and the one before it inputs; axes before those are a convolution's
    window and multiply both. ``input_axes`` and ``output_axes``, given together, say otherwise.

    >>> compute_fans((15, 32)), compute_fans((3, 3, 16, 8)), compute_fans((7,))
    ((15, 32), (144, 72), (7, 7))
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[i] for i in input_axes), math.prod(shape[i] for i in output_axes)
    if len(shape) < 2:
        return (math.prod(shape),) * 2
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


class Initializer:
    """The base class: override ``__call__(shape, dtype)``, and `get_config` if there are arguments.

    >>> class Halves(Initializer):
    ...     def __call__(self, shape, dtype=None):
    ...         return np.full(shape, 0.5, dtype)
    >>> Halves()((2, 2)).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        raise TypeError(f"{type(self).__name__} must override __call__(shape, dtype).")

    def get_config(self) -> Config:
        """The arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """A new one with the arguments that `get_config` gave."""
        return cls(**config)

    def clone(self) -> Any:
        """Another one with the same arguments; without a seed it draws other numbers."""
        return self.from_config(self.get_config())

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class _Given(Initializer):
    """An array in the place of an initializer: its copy."""

    def __init__(self, value: Numbers) -> None:
        self.value = np.asarray(value)

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        if tuple(shape) != self.value.shape:
            raise ValueError(
                f"An array of shape {self.value.shape} was given as initializer of a weight of shape "
                f"{tuple(shape)}. The two must be the same."
            )
        return np.array(self.value, _dtype(dtype))

    def get_config(self) -> Config:
        return {"value": self.value.tolist()}


# ------------------------------------------------------------------------------------------ constant
@REGISTRY.register("zero")
class Zeros(Initializer):
    """All zeros.

    >>> Zeros()((2, 2)).tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        return np.zeros(shape, _dtype(dtype))


@REGISTRY.register("one")
class Ones(Initializer):
    """All ones.

    >>> Ones()((2,)).tolist()
    [1.0, 1.0]
    """

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        return np.ones(shape, _dtype(dtype))


@REGISTRY.register
class Constant(Initializer):
    """One number everywhere.

    Args:
        value: the number, or an array that broadcasts to the shape. Default 0.

    >>> Constant(2)((3,)).tolist()
    [2.0, 2.0, 2.0]
    """

    def __init__(self, value: Numbers = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        return np.full(shape, self.value, _dtype(dtype))

    def get_config(self) -> Config:
        value = self.value
        return {"value": value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value}

    @classmethod
    def from_config(cls, config: Config) -> Any:
        value = config.get("value", 0.0)
        if isinstance(value, dict):
            # Keras's form of an array.
            value = np.array(value["config"]["value"], value["config"].get("dtype"))
        return cls(value)


@REGISTRY.register("IdentityInitializer")
class Identity(Initializer):
    """The identity matrix, times ``gain``; for weights of two axes.

    Args:
        gain: the number on the diagonal. Default 1.

    Raises:
        ValueError: for a shape that has not two axes.

    >>> Identity()((2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        if len(shape) != 2:
            raise ValueError(f"Identity makes matrices only: expected a shape of 2 axes, got {tuple(shape)}.")
        return np.eye(*shape, dtype=_dtype(dtype)) * _dtype(dtype).type(self.gain)

    def get_config(self) -> Config:
        return {"gain": self.gain}


@REGISTRY.register("STFTInitializer", "stft")
class STFT(Initializer):
    """Waves under a window, one for each frequency: the weights of `tdfast.layers.STFTSpectrogram`.

    ``w[t, 0, k] = window[t] cos(-2 pi t k / n) / s`` with n = 2 (bins - 1), or sin in the place of cos. For
    the scaling 'density' s is the root of the sum of the window's squares, for 'spectrum' the sum of its
    magnitudes, and else 1.

    Args:
        side: 'real' for cos, 'imag' for sin.
        window: 'hann', 'hamming', another name of ``scipy.signal.get_window``, the numbers, or None: all
            ones, with s = 1.
        scaling: 'density', 'spectrum' or None.
        periodic: of a window by its name: as if the number after the last were the first.

    Raises:
        ValueError: for something else, or a shape that is not (samples of a frame, 1, bins).

    >>> STFT("imag", None)((3, 1, 3), "float64").round(3)[:, 0].tolist()
    [[-0.0, -0.0, -0.0], [-0.0, -1.0, -0.0], [-0.0, -0.0, 0.0]]
    """

    def __init__(self, side: str = "real", window: Any = "hann", scaling: str | None = "density",
                 periodic: bool = False) -> None:
        if side not in ("real", "imag"):
            raise ValueError(f"STFT: side must be 'real' or 'imag', got {side!r}.")
        if scaling not in ("density", "spectrum", None):
            raise ValueError(f"STFT: scaling must be 'density', 'spectrum' or None, got {scaling!r}.")
        self.side, self.window, self.scaling, self.periodic = side, window, scaling, periodic
        if isinstance(window, str):
            _windows().window(window, 1, False, "STFT")         # is it known?

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        if len(shape) != 3 or shape[1] != 1:
            raise ValueError(
                f"STFT makes weights of shape (samples of a frame, 1, bins), not {tuple(shape)}."
            )
        length, _, bins = shape
        kind = _dtype(dtype)
        # In this dtype from the beginning, so that the numbers are Keras's.
        time = np.arange(length, dtype=kind)[:, None, None]
        frequency = np.arange(bins, dtype=kind) / kind.type(max(2 * (bins - 1), 1))
        turn = -2 * time * frequency * kind.type(np.pi)
        wave = np.cos(turn) if self.side == "real" else np.sin(turn)
        window = _windows().values(self.window, length, self.periodic, "STFT")
        if window is None:
            return wave
        window = window.astype(kind)[:, None, None]
        wave *= window
        if self.scaling == "density":
            wave /= np.sqrt(np.sum(np.square(window)))
        elif self.scaling == "spectrum":
            wave /= np.sum(np.abs(window))
        return wave

    def get_config(self) -> Config:
        window = self.window.tolist() if isinstance(self.window, np.ndarray) else self.window
        return {"side": self.side, "window": window, "periodic": self.periodic, "scaling": self.scaling}


# -------------------------------------------------------------------------------------------- random
class RandomInitializer(Initializer):
    """The base class of those with random numbers.

    Args:
        seed: a whole number: the same numbers in each call. A `tdfast.random.SeedGenerator`: others in each
            call. None: a seed drawn from the process's generator, which `utils.set_random_seed` starts again.

    >>> float(RandomUniform(seed=1)((1,))[0]) == float(RandomUniform(seed=1)((1,))[0])
    True
    """

    def __init__(self, seed: Seed = None) -> None:
        if isinstance(seed, dict):
            seed = random.SeedGenerator.from_config(seed.get("config", {}))
        if not isinstance(seed, random.SeedGenerator):
            seed = random.check_seed(seed)
        self._given_seed = seed
        self.seed = random.make_default_seed() if seed is None else seed

    def get_config(self) -> Config:
        seed: Any = self._given_seed
        if isinstance(seed, random.SeedGenerator):
            seed = description(seed, "keras.random")
        return {"seed": seed}

    def generator(self) -> Generator:
        """A NumPy generator at the start of this initializer's numbers."""
        return np.random.Generator(random.bits(self.seed))


@REGISTRY.register("normal")
class RandomNormal(RandomInitializer):
    """Normally distributed numbers.

    Args:
        mean: default 0.
        stddev: the standard deviation, default 0.05.
        seed: see `RandomInitializer`.

    >>> RandomNormal(stddev=1.0, seed=1)((2, 3)).dtype.name
    'float32'
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Seed = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        return _normal(self.generator(), shape, self.mean, self.stddev, dtype)

    def get_config(self) -> Config:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


@REGISTRY.register
class TruncatedNormal(RandomInitializer):
    """Normally distributed numbers, drawn again while they are over two standard deviations away.

    Args:
        mean: default 0.
        stddev: the standard deviation before the truncation, default 0.05.
        seed: see `RandomInitializer`.

    >>> bool(abs(TruncatedNormal(stddev=1.0, seed=1)((1000,))).max() <= 2)
    True
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Seed = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        return _truncated_normal(self.generator(), shape, self.mean, self.stddev, dtype)

    def get_config(self) -> Config:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


@REGISTRY.register("uniform")
class RandomUniform(RandomInitializer):
    """Uniformly distributed numbers.

    Args:
        minval, maxval: the range, default -0.05 to 0.05.
        seed: see `RandomInitializer`.

    >>> bool(RandomUniform(2.0, 3.0, seed=1)((100,)).min() >= 2)
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Seed = None) -> None:
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        return _uniform(self.generator(), shape, self.minval, self.maxval, dtype)

    def get_config(self) -> Config:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


@REGISTRY.register
class VarianceScaling(RandomInitializer):
    """Numbers of mean 0 and variance scale / n, where n comes from the weight's shape (`compute_fans`).

    Args:
        scale: positive, default 1.
        mode: n is the 'fan_in' (default), the 'fan_out' or, 'fan_avg', their mean.
        distribution: 'truncated_normal' (default; 'normal' is the same), 'untruncated_normal' or
            'uniform', which is in +- sqrt(3 scale / n).
        seed: see `RandomInitializer`.
        input_axes, output_axes: the axes that count inputs and outputs; None: as `compute_fans` says.

    Raises:
        ValueError: for a scale not positive, or an unknown mode or distribution.

    >>> weight = VarianceScaling(scale=2.0, mode="fan_out", seed=1)((50, 200))
    >>> abs(float(weight.var()) - 0.01) < 0.001
    True
    """

    MODES: tuple[str, ...] = ("fan_in", "fan_out", "fan_avg")
    DISTRIBUTIONS: tuple[str, ...] = ("truncated_normal", "untruncated_normal", "uniform")

    def __init__(self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal",
                 seed: Seed = None, input_axes: Axes | None = None, output_axes: Axes | None = None) -> None:
        super().__init__(seed)
        mode, distribution = str(mode).lower(), str(distribution).lower()
        if distribution == "normal":
            distribution = "truncated_normal"
        if not scale > 0:
            raise ValueError(f"VarianceScaling: scale must be positive, got {scale!r}.")
        if mode not in self.MODES:
            raise ValueError(f"VarianceScaling: mode must be one of {self.MODES}, got {mode!r}.")
        if distribution not in self.DISTRIBUTIONS:
            raise ValueError(
                f"VarianceScaling: distribution must be one of {self.DISTRIBUTIONS}, got {distribution!r}."
            )
        self.scale, self.mode, self.distribution = scale, mode, distribution
        self.input_axes, self.output_axes = input_axes, output_axes

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return _uniform(self.generator(), shape, -limit, limit, dtype)
        if self.distribution == "untruncated_normal":
            return _normal(self.generator(), shape, 0.0, math.sqrt(variance), dtype)
        return _truncated_normal(self.generator(), shape, 0.0, math.sqrt(variance) / TRUNCATED_STDDEV, dtype)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class _Scaled(VarianceScaling):
    """A `VarianceScaling` with a name of its own; subclasses set the three attributes."""

    SCALE, MODE, DISTRIBUTION = 1.0, "fan_in", "truncated_normal"

    def __init__(self, seed: Seed = None, input_axes: Axes | None = None,
                 output_axes: Axes | None = None) -> None:
        super().__init__(self.SCALE, self.MODE, self.DISTRIBUTION, seed, input_axes, output_axes)

    def get_config(self) -> Config:
        full = super().get_config()
        return {key: full[key] for key in ("seed", "input_axes", "output_axes")}


@REGISTRY.register
class GlorotUniform(_Scaled):
    """Uniform in +- sqrt(6 / (fan_in + fan_out)); the default of most layers' kernels.

    Source: Glorot and Bengio, 2010, https://proceedings.mlr.press/v9/glorot10a.html.

    >>> bool(abs(GlorotUniform(seed=1)((20, 34))).max() <= (6 / 54) ** 0.5)
    True
    """

    SCALE, MODE, DISTRIBUTION = 1.0, "fan_avg", "uniform"


@REGISTRY.register
class GlorotNormal(_Scaled):
    """Truncated normal of variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).

    >>> GlorotNormal(seed=1)((4, 4)).shape
    (4, 4)
    """

    SCALE, MODE, DISTRIBUTION = 1.0, "fan_avg", "truncated_normal"


@REGISTRY.register
class HeNormal(_Scaled):
    """Truncated normal of variance 2 / fan_in (He et al., 2015, https://arxiv.org/abs/1502.01852).

    >>> HeNormal(seed=1)((4, 4)).shape
    (4, 4)
    """

    SCALE, MODE, DISTRIBUTION = 2.0, "fan_in", "truncated_normal"


@REGISTRY.register
class HeUniform(_Scaled):
    """Uniform in +- sqrt(6 / fan_in) (He et al., 2015, https://arxiv.org/abs/1502.01852).

    >>> HeUniform(seed=1)((4, 4)).shape
    (4, 4)
    """

    SCALE, MODE, DISTRIBUTION = 2.0, "fan_in", "uniform"


@REGISTRY.register
class LecunNormal(_Scaled):
    """Truncated normal of variance 1 / fan_in (Klambauer et al., 2017, https://arxiv.org/abs/1706.02515).

    >>> LecunNormal(seed=1)((4, 4)).shape
    (4, 4)
    """

    SCALE, MODE, DISTRIBUTION = 1.0, "fan_in", "truncated_normal"


@REGISTRY.register
class LecunUniform(_Scaled):
    """Uniform in +- sqrt(3 / fan_in) (Klambauer et al., 2017, https://arxiv.org/abs/1706.02515).

    >>> LecunUniform(seed=1)((4, 4)).shape
    (4, 4)
    """

    SCALE, MODE, DISTRIBUTION = 1.0, "fan_in", "uniform"


@REGISTRY.register("OrthogonalInitializer")
class Orthogonal(RandomInitializer):
    """A random matrix with orthonormal columns (rows, if it is wider than high), times ``gain``.

    All axes but the last make the rows. The default of recurrent kernels.
    Source: Saxe et al., 2014, https://arxiv.org/abs/1312.6120.

    Args:
        gain: default 1.
        seed: see `RandomInitializer`.

    Raises:
        ValueError: for a shape of fewer than two axes.

    >>> w = Orthogonal(seed=1)((5, 3), "float64")
    >>> np.allclose(w.T @ w, np.eye(3))
    True
    """

    def __init__(self, gain: float = 1.0, seed: Seed = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sizes, dtype: DTypeLike | None = None) -> Array:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of at least 2 axes, got {tuple(shape)}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        normal = self.generator().standard_normal((max(rows, columns), min(rows, columns)))
        # NumPy's QR crashes where memory ends within it: if there is not enough, that is said here.
        np.empty(4 * normal.size + 128 * sum(normal.shape) + 2**15)
        q, r = np.linalg.qr(normal)
        # QR leaves the signs of the columns open; these make q uniform over all such matrices.
        q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
        if rows < columns:
            q = q.T
        return np.ascontiguousarray((self.gain * q).reshape(shape), _dtype(dtype))

    def get_config(self) -> Config:
        return {**super().get_config(), "gain": self.gain}


# -------------------------------------------------------------------------------------------- draws
TRUNCATED_STDDEV = 0.87962566103423978
"""The standard deviation of a unit normal truncated at +-2."""


def _dtype(dtype: DTypeLike | None) -> Any:
    if dtype is None:
        from tdfast.config import floatx

        dtype = floatx()
    return np.dtype(dtype)


def _drawn(dtype: DTypeLike | None) -> type:
    """The float type to draw in: NumPy draws float32 and float64."""
    return np.float64 if _dtype(dtype) == np.float64 else np.float32


def _uniform(generator: Generator, shape: Sizes, low: float, high: float, dtype: DTypeLike | None) -> Array:
    out = generator.random(shape, dtype=_drawn(dtype))
    out *= high - low
    out += low
    return out.astype(_dtype(dtype), copy=False)


def _normal(generator: Generator, shape: Sizes, mean: float, stddev: float, dtype: DTypeLike | None) -> Array:
    out = generator.standard_normal(shape, dtype=_drawn(dtype))
    out *= stddev
    out += mean
    return out.astype(_dtype(dtype), copy=False)


def _truncated_normal(generator: Generator, shape: Sizes, mean: float, stddev: float,
                      dtype: DTypeLike | None) -> Array:
    out = random.truncated_draws(generator, shape, _drawn(dtype))
    out *= stddev
    out += mean
    return out.astype(_dtype(dtype), copy=False)


def _windows() -> Any:
    """The module of window functions, imported by those who need one alone."""
    from tdfast.engine import window_functions

    return window_functions
