"""Hashes of strings and whole numbers, as TensorFlow computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels

if TYPE_CHECKING:
    from tdfast.engine.strings import Words
    from tdfast.engine.types import Array


def hashed(words: Words, salt: Any = None) -> Array:
    """A number of 64 bits for each word: FarmHash's fingerprint; with a salt, two whole numbers, SipHash-2-4.

    >>> from tdfast.engine.strings import as_words
    >>> hashed(as_words(["Hello", "TensorFlow"], "utf-8")).tolist()
    [15404698994557526151, 4265654129848386254]
    """
    out = np.empty(len(words), np.uint64)
    _kernels.text_hash(words.text, words.ends, out, salt)
    return out


def buckets(words: Words, bins: int, salt: Any = None) -> Array:
    """Each word's hash modulo ``bins``."""
    return (hashed(words, salt) % np.uint64(bins)).astype(np.int64)


def checked_salt(salt: Any, who: str) -> list[int] | None:
    """A salt as two whole numbers; None stays."""
    if salt is None:
        return None
    pair = [salt, salt] if hasattr(salt, "__index__") else salt
    if (
        not isinstance(pair, (list, tuple))
        or len(pair) != 2
        or not all(hasattr(n, "__index__") and 0 <= int(n) < 2**63 for n in pair)
    ):
        raise ValueError(
            f"{who}: salt must be a whole number of 0 to 2**63 - 1, or two of them, got {salt!r}."
        )
    return [int(n) for n in pair]


CROSSING_KEY = 956888297470
"""What TensorFlow begins a crossing with."""

_MULTIPLIER = np.uint64(0xC6A4A7935BD1E995)


def crossed(features: list[Array], bins: int) -> Array:
    """The bin of each combination of hashes or numbers of 64 bits, by TensorFlow's FingerprintCat64.

    >>> import numpy as np
    >>> crossed([np.array([1], np.uint64), np.array([3], np.uint64)], 1000003).shape
    (1,)
    """
    with np.errstate(over="ignore"):
        out = np.full(len(features[0]), CROSSING_KEY, np.uint64)
        for feature in features:
            out = (out ^ _MULTIPLIER) ^ (_folded(feature * _MULTIPLIER) * _MULTIPLIER)
            out = _folded(_folded(out * _MULTIPLIER) * _MULTIPLIER)
    return (out % np.uint64(bins)).astype(np.int64)


def _folded(values: Array) -> Array:
    return values ^ (values >> np.uint64(47))
