"""Random numbers: one generator for the process, and one counter per random layer.

The streams come from NumPy's SFC64, whose numbers are the same on every machine and for any number
of threads.
"""

import contextlib
import threading

import numpy as np

_generator = None
_own = threading.local()

UINT32 = 0xFFFFFFFF
DROPOUT_PIECE = 4096


def generator():
    """The process's `numpy.random.Generator`, which shuffles batches and seeds what has no seed.

    `tdfast.utils.set_random_seed` starts it again; until then it is seeded by the operating system.
    """
    global _generator
    own = getattr(_own, "generator", None)
    if own is not None:
        return own
    if _generator is None:
        _generator = np.random.Generator(np.random.SFC64())
    return _generator


@contextlib.contextmanager
def aside():
    """For the block, this thread draws from a generator of its own, so that the process's goes on as if nothing was drawn."""
    before = getattr(_own, "generator", None)
    _own.generator = np.random.Generator(np.random.SFC64(0))
    try:
        yield
    finally:
        _own.generator = before


def seed(value):
    """Start the process's generator again from a whole number."""
    global _generator
    _generator = np.random.Generator(np.random.SFC64(value))


def make_default_seed():
    """A seed for something that was given none, drawn from the process's generator."""
    return int(generator().integers(1, 10**9))


class SeedGenerator:
    """A seed and a counter: each `next` gives a seed that was not used before.

    ``state`` is an array (seed, count) of uint32, which is saved with a model, so that training goes
    on with the numbers it would have drawn. See https://keras.io/api/random/seed_generator/.

    Args:
        seed: a whole number; None draws one from the process's generator.

    >>> seeds = SeedGenerator(7)
    >>> seeds.next(), seeds.next()
    ((7, 0), (7, 1))
    """

    def __init__(self, seed=None):
        self.seed = check_seed(seed)
        start = make_default_seed() if seed is None else self.seed
        self.state = np.array([start & UINT32, 0], np.uint32)

    def next(self):
        """The pair (seed, count), and count one further."""
        start, count = (int(n) for n in self.state)
        self.state[1] = (count + 1) & UINT32
        return start, count

    def get_config(self):
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config):
        return cls(config.get("seed"))


def check_seed(value):
    """``value`` as an int or None; anything else is a ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ValueError(f"A seed must be a whole number or None, got {value!r}.")
    return int(value)


def bits(seed):
    """The bit generator that a seed stands for: a whole number or a `SeedGenerator` (its next seed)."""
    start, count = seed.next() if isinstance(seed, SeedGenerator) else (seed & UINT32, 0)
    return np.random.SFC64([start, count])


def dropout_factors(out, rate, seed):
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
        out[...] = 0
        return out
    # Two random words of 32 bits from each of 64; the threshold is exact to 2**-32. In pieces, so that
    # no memory is taken that grows with the batch.
    source, flat = bits(seed), out.reshape(-1)
    threshold = np.uint32(min(round(rate * 2**32), UINT32))
    for start in range(0, flat.size, DROPOUT_PIECE):
        piece = flat[start : start + DROPOUT_PIECE]
        words = source.random_raw((piece.size + 1) // 2).astype("<u8", copy=False).view("<u4")[: piece.size]
        np.greater_equal(words, threshold, out=piece, casting="unsafe")
    out *= 1.0 / (1.0 - rate)
    return out
