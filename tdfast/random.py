"""Random numbers: one generator for the process, one counter per random layer, and the draws of
`keras.random`.

The streams come from NumPy's SFC64, whose numbers are the same on every machine and for any number
of threads.
"""

from __future__ import annotations

import contextlib
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike

    from tdfast.engine.types import Array, Config, Seed, Shape, Sizes

_generator: Any = None
_own = threading.local()

UINT32 = 0xFFFFFFFF


def generator() -> Any:
    """The process's `numpy.random.Generator`, which shuffles batches and seeds what has no seed.

    `tdfast.utils.set_random_seed` starts it again; until then it is seeded by the operating system.

    >>> generator().random((2, 3)).shape
    (2, 3)
    """
    global _generator
    own = getattr(_own, "generator", None)
    if own is not None:
        return own
    if _generator is None:
        _generator = np.random.Generator(np.random.SFC64())
    return _generator


@contextlib.contextmanager
def scope(seed: int) -> Iterator[Any]:
    """For the block, this thread draws from a generator of its own, which begins at a seed.

    All that a seed decides comes again: the order of samples, and the seeds of layers and initializers that
    are made in the block and were given none. Other threads do not see it, so what runs in threads comes
    again, too. Afterwards the process's generator continues as if nothing had been drawn. Python's `random`
    and ``numpy.random`` are not touched.

    Args:
        seed: a whole number of at least 0.

    Yields:
        The `numpy.random.Generator`.

    Raises:
        ValueError: for anything else.

    >>> with scope(7) as draws:
    ...     first = draws.random()
    >>> with scope(7):
    ...     first == generator().random()
    True
    """
    before = getattr(_own, "generator", None)
    _own.generator = np.random.Generator(np.random.SFC64(_whole(seed)))
    try:
        yield _own.generator
    finally:
        _own.generator = before


def _whole(seed: Any) -> int:
    value = check_seed(seed)
    if value is None or value < 0:
        raise ValueError(f"A seed must be a whole number of at least 0 here, got {seed!r}.")
    return value


def seed(value: Any) -> None:
    """Start the process's generator again from a whole number; `tdfast.utils.set_random_seed` does more.

    >>> seed(1)
    >>> first = generator().random()
    >>> seed(1)
    >>> first == generator().random()
    True
    """
    global _generator
    _generator = np.random.Generator(np.random.SFC64(value))


def make_default_seed() -> int:
    """A seed for something that was given none, drawn from the process's generator.

    >>> 0 < make_default_seed() < 10**9
    True
    """
    return int(generator().integers(1, 10**9))


class SeedGenerator:
    """A seed and a counter: each `next` gives a seed that was not used before.

    ``state`` is an array (seed, count) of uint32, which is saved with a model, so that training goes
    on with the numbers it would have drawn. See https://keras.io/api/random/seed_generator/.

    Args:
        seed: a whole number; None draws one from the process's generator.
        name: accepted, as in Keras; nothing depends on it.

    >>> seeds = SeedGenerator(7)
    >>> seeds.next(), seeds.next()
    ((7, 0), (7, 1))
    """

    def __init__(self, seed: Seed = None, name: str | None = None) -> None:
        self.name = name or "seed_generator"
        self.seed: Any = check_seed(seed)
        start: Any = make_default_seed() if seed is None else self.seed
        self.state = np.array([start & UINT32, 0], np.uint32)

    def next(self) -> tuple[Any, ...]:
        """The pair (seed, count), and count one further."""
        start, count = (int(n) for n in self.state)
        self.state[1] = (count + 1) & UINT32
        return start, count

    def restart(self, start: int) -> None:
        """Count from the beginning again: from the own seed, or from ``start`` where there is none.

        >>> seeds = SeedGenerator()
        >>> seeds.restart(5)
        >>> seeds.next()
        (5, 0)
        """
        self.state[:] = (start if self.seed is None else self.seed) & UINT32, 0

    def get_config(self) -> Config:
        """The argument ``seed``, without the count."""
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """A new one that counts from the beginning."""
        return cls(config.get("seed"))


def check_seed(value: Any) -> int | None:
    """``value`` as an int or None.

    Raises:
        ValueError: for anything else.

    >>> check_seed(np.int64(7)), check_seed(None)
    (7, None)
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"A seed must be a whole number or None, got {value!r}.")
    return int(value)


def bits(seed: Any) -> Any:
    """NumPy's bit generator that a seed stands for: a whole number or a `SeedGenerator` (its next seed).

    >>> int(bits(1).random_raw()) == int(bits(1).random_raw())
    True
    """
    start, count = seed.next() if isinstance(seed, SeedGenerator) else (seed & UINT32, 0)
    return np.random.SFC64([start, count])


def dropout_factors(out: Array, rate: float, seed: Any) -> Array:
    """Fill ``out`` with the factors of dropout: 0 with probability ``rate``, else 1 / (1 - rate).

    Args:
        out: a C-contiguous float array, overwritten.
        rate: from 0 to 1.
        seed: a whole number or a `SeedGenerator`.

    >>> import numpy as np
    >>> sorted({float(f) for f in dropout_factors(np.empty(100), 0.5, 1)})
    [0.0, 2.0]
    """
    if rate >= 1:
        return _kernels.call(_zeros, out)
    if out.dtype not in (np.float32, np.float64):
        out[...] = dropout_factors(np.empty(out.shape, np.float32), rate, seed)
        return out
    state = seed.state if isinstance(seed, SeedGenerator) else np.array([seed & UINT32, 0], np.uint32)
    _kernels.dropout(state, min(round(rate * 2**32), UINT32), 1.0 / (1.0 - rate), out)
    return out


def _zeros(out: Array) -> Array:
    out[...] = 0
    return out


# ---------------------------------------------------------------- arrays of random numbers, as in
# `keras.random`
def _source(seed: Seed) -> Any:
    """The NumPy generator that the argument ``seed`` of the functions below means."""
    if seed is None:
        return generator()
    return np.random.Generator(bits(seed if isinstance(seed, SeedGenerator) else check_seed(seed)))


def _float(dtype: DTypeLike | None, who: str) -> Any:
    dtype = np.dtype(config.floatx() if dtype is None else dtype)
    if dtype.kind != "f":
        raise ValueError(f"random.{who} gives floating-point numbers, got dtype={dtype.name!r}.")
    return dtype


def normal(shape: Sizes, mean: float = 0.0, stddev: float = 1.0, dtype: DTypeLike | None = None,
           seed: Seed = None) -> Any:
    """Normally distributed numbers.

    Args:
        shape: of the array.
        mean: default 0.
        stddev: the standard deviation, default 1.
        dtype: a float type; None: `config.floatx()`.
        seed: a whole number gives the same numbers each time; a `SeedGenerator` others each time; None draws
            from the process's generator, which `utils.set_random_seed` starts again.

    >>> normal((2, 3), seed=1).shape
    (2, 3)
    """
    return (mean + stddev * _source(seed).standard_normal(shape)).astype(_float(dtype, "normal"))


def uniform(shape: Sizes, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None,
            seed: Seed = None) -> Any:
    """Numbers from ``minval`` up to but without ``maxval``, each as likely as the other.

    Args:
        shape: of the array.
        minval, maxval: the bounds, default 0 and 1.
        dtype: a float type, or an integer one, as for `randint`; None: `config.floatx()`.
        seed: as in `normal`.

    Raises:
        ValueError: if minval is above maxval.

    >>> numbers = uniform((1000,), -1, 1, seed=1)
    >>> bool(numbers.min() >= -1 and numbers.max() < 1)
    True
    """
    if dtype is not None and np.dtype(dtype).kind in "iu":
        return randint(shape, minval, maxval, dtype, seed)
    dtype = _float(dtype, "uniform")
    if minval > maxval:
        raise ValueError(f"random.uniform: minval must not be above maxval, got {minval} and {maxval}.")
    draws = (minval + (maxval - minval) * _source(seed).random(shape)).astype(dtype)
    # Rounding to the dtype may reach the upper bound, which does not belong to them.
    return np.minimum(draws, np.nextafter(dtype.type(maxval), dtype.type(minval)))


def truncated_normal(shape: Sizes, mean: float = 0.0, stddev: float = 1.0, dtype: DTypeLike | None = None,
                     seed: Seed = None) -> Any:
    """Normally distributed numbers, drawn again while they are over two standard deviations away.

    Args:
        shape, mean, stddev, dtype, seed: as in `normal`; ``stddev`` is that before the truncation.

    >>> bool(abs(truncated_normal((1000,), seed=1)).max() <= 2)
    True
    """
    dtype = _float(dtype, "truncated_normal")
    return (mean + stddev * truncated_draws(_source(seed), shape, np.dtype("float64"))).astype(dtype)


def truncated_draws(source: Any, shape: Sizes, dtype: DTypeLike) -> Array:
    """Standard normal numbers of a NumPy generator, drawn again while they are beyond 2.

    >>> truncated_draws(generator(), (2, 3), "float32").shape
    (2, 3)
    """
    flat = source.standard_normal(math.prod(np.atleast_1d(shape).tolist()), dtype=dtype)
    far = np.flatnonzero(np.abs(flat) > 2)
    while far.size:
        flat[far] = source.standard_normal(far.size, dtype=flat.dtype)
        far = far[np.abs(flat[far]) > 2]
    return flat.reshape(shape)


def randint(shape: Sizes, minval: float, maxval: float, dtype: DTypeLike = "int32", seed: Seed = None) -> Any:
    """Whole numbers from ``minval`` up to but without ``maxval``.

    Args:
        shape, seed: as in `normal`.
        minval, maxval: the bounds.
        dtype: an integer type.

    Raises:
        ValueError: for another dtype, or where no number is in the range.

    >>> sorted(set(randint((100,), 0, 3, seed=1).tolist()))
    [0, 1, 2]
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu":
        raise ValueError(f"random.randint gives whole numbers, got dtype={dtype.name!r}.")
    return _source(seed).integers(minval, maxval, shape, np.int64).astype(dtype)


def shuffle(x: Any, axis: int = 0, seed: Seed = None) -> Any:
    """A copy of ``x`` with the entries along an axis in random order; rows stay whole.

    Args:
        x: an array.
        axis: default 0.
        seed: as in `normal`.

    >>> sorted(shuffle([1, 2, 3], seed=1).tolist())
    [1, 2, 3]
    """
    return _source(seed).permutation(np.asarray(x), axis=axis)


def categorical(logits: Any, num_samples: Any, dtype: DTypeLike = "int32", seed: Seed = None) -> Any:
    """Classes drawn with the probabilities softmax(logits): (batch, classes) to (batch, num_samples).

    Args:
        logits: (batch, classes), logarithms of probabilities up to a number that is the same for a row.
        num_samples: how many classes are drawn for each row.
        dtype: of the result.
        seed: as in `normal`.

    Raises:
        ValueError: for logits of another rank.

    >>> categorical([[0.0, -np.inf], [-np.inf, 0.0]], 3, seed=1).tolist()
    [[0, 0, 0], [1, 1, 1]]
    """
    logits = np.asarray(logits, "float64")
    if logits.ndim != 2:
        raise ValueError(
            f"random.categorical expects logits of shape (batch, classes), got shape {logits.shape}."
        )
    # The largest of logits + Gumbel noise is distributed as softmax(logits).
    noise = _source(seed).gumbel(size=(len(logits), num_samples, logits.shape[1]))
    return np.argmax(logits[:, None] + noise, axis=-1).astype(dtype)


def binomial(shape: Sizes, counts: Any, probabilities: Any, dtype: DTypeLike | None = None,
             seed: Seed = None) -> Any:
    """How many of ``counts`` trials succeed, each with the probability ``probabilities``.

    Args:
        shape, dtype, seed: as in `normal`.
        counts, probabilities: numbers or arrays that fit the shape.

    >>> binomial((3,), 5, [0.0, 1.0, 1.0], seed=1).tolist()
    [0.0, 5.0, 5.0]
    """
    return _source(seed).binomial(np.asarray(counts, np.int64), probabilities,
                                  shape).astype(_float(dtype, "binomial"))


def beta(shape: Sizes, alpha: float, beta: float, dtype: DTypeLike | None = None, seed: Seed = None) -> Any:
    """Numbers of the Beta distribution, whose density is proportional to x^(alpha - 1) (1 - x)^(beta - 1).

    Args:
        shape, dtype, seed: as in `normal`.
        alpha, beta: positive numbers or arrays that fit the shape.

    >>> numbers = beta((1000,), 2.0, 2.0, seed=1)
    >>> bool(numbers.min() > 0 and numbers.max() < 1)
    True
    """
    return _source(seed).beta(alpha, beta, shape).astype(_float(dtype, "beta"))


def gamma(shape: Sizes, alpha: float, dtype: DTypeLike | None = None, seed: Seed = None) -> Any:
    """Numbers of the Gamma distribution of scale 1, whose density is proportional to x^(alpha - 1) exp(-x).

    Args:
        shape, dtype, seed: as in `normal`.
        alpha: positive numbers or arrays that fit the shape.

    >>> bool(gamma((1000,), 3.0, seed=1).min() > 0)
    True
    """
    return _source(seed).standard_gamma(alpha, shape).astype(_float(dtype, "gamma"))


def dropout(inputs: Any, rate: float, noise_shape: Shape | None = None, seed: Seed = None) -> Any:
    """``inputs`` with a share ``rate`` of the numbers set to 0 and the others divided by 1 - rate.

    Args:
        inputs: an array of floats.
        rate: from 0 to below 1.
        noise_shape: 1 for an axis whose entries are kept or left out together; None: each by itself.
        seed: as in `normal`.

    Raises:
        ValueError: for another rate.

    >>> sorted(set(dropout(np.ones(100), 0.5, seed=1).tolist()))
    [0.0, 2.0]
    """
    x = np.asarray(inputs)
    if not 0 <= rate < 1:
        raise ValueError(f"random.dropout: rate must be from 0 to below 1, got {rate!r}.")
    shape = x.shape if noise_shape is None else [n if m is None else m for n, m in zip(x.shape, noise_shape)]
    factors = np.empty(shape, _float(x.dtype, "dropout"))
    return x * dropout_factors(factors, rate, make_default_seed() if seed is None else seed)
