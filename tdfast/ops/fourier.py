"""Fourier transforms; complex numbers are pairs of arrays, the real and the imaginary parts, as in Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

from tdfast.ops.base import MATH
from tdfast.ops.composed import composed, floats


def _linear(function: Any, transposed: Any, *parts: Any) -> Any:
    """A linear function of some real arrays, which gives one, with its transpose as its derivative."""
    from tdfast.engine import derivatives

    return derivatives.step(function, lambda g, y, *plain: transposed(g), *parts)


def _pair(found: Any, dtype: Any) -> Any:
    """A complex array as the real parts above the imaginary ones."""
    return np.stack([found.real, found.imag]).astype(dtype)


def _of_pairs(transform: Any, back: Any, x: Any) -> Any:
    """A complex linear transform of a pair; ``back`` is its conjugate transpose."""
    if not isinstance(x, (list, tuple)) or len(x) != 2:
        raise ValueError("The transform is of a pair of arrays: the real and the imaginary parts.")
    re, im = floats(x[0]), floats(x[1])

    def transposed(g: Any) -> list[Any]:
        found = back(g[0] + 1j * g[1])
        return [found.real, found.imag]

    made = _linear(lambda a, b: _pair(transform(a + 1j * b), a.dtype), transposed, re, im)
    return [made[0], made[1]]


@composed(MATH)
def fft(x: Any) -> Any:
    """The discrete Fourier transform of a pair (real, imaginary) along the last axis, as such a pair.

    >>> [part.tolist() for part in fft((np.array([1.0, 1.0]), np.zeros(2)))]
    [[2.0, 0.0], [0.0, 0.0]]
    """
    return _of_pairs(np.fft.fft, lambda g: np.fft.ifft(g) * g.shape[-1], x)


@composed(MATH)
def fft2(x: Any) -> Any:
    """`fft` along the last two axes.

    >>> [part.shape for part in fft2((np.ones((2, 3)), np.zeros((2, 3))))]
    [(2, 3), (2, 3)]
    """
    return _of_pairs(np.fft.fft2, lambda g: np.fft.ifft2(g) * (g.shape[-1] * g.shape[-2]), x)


@composed(MATH)
def ifft2(x: Any) -> Any:
    """The inverse of `fft2`.

    >>> ifft2(fft2((np.ones((1, 2)), np.zeros((1, 2)))))[0].tolist()
    [[1.0, 1.0]]
    """
    return _of_pairs(np.fft.ifft2, lambda g: np.fft.fft2(g) / (g.shape[-1] * g.shape[-2]), x)


@composed(MATH)
def rfft(x: Any, fft_length: int | None = None) -> Any:
    """The first half of the Fourier transform of real numbers along the last axis, as a pair.

    Args:
        x: an array of real numbers.
        fft_length: to which x is cut, or filled up with zeros; its own length when None.

    >>> [part.tolist() for part in rfft(np.array([1.0, 1.0]))]
    [[2.0, 0.0], [0.0, 0.0]]
    """
    x = floats(x)
    size, length = x.shape[-1], fft_length or x.shape[-1]

    def transposed(g: Any) -> list[Any]:
        whole = np.zeros((*g.shape[1:-1], length), complex)
        whole[..., : g.shape[-1]] = g[0] + 1j * g[1]
        found = np.fft.ifft(whole).real[..., :size] * length
        return [np.pad(found, [(0, 0)] * (found.ndim - 1) + [(0, size - found.shape[-1])])]

    made = _linear(lambda a: _pair(np.fft.rfft(a, length), a.dtype), transposed, x)
    return [made[0], made[1]]


@composed(MATH)
def irfft(x: Any, fft_length: int | None = None) -> Any:
    """The inverse of `rfft`: real numbers from a pair (real, imaginary).

    Args:
        x: the pair.
        fft_length: how many numbers; 2 (n - 1) of n when None.

    >>> irfft(rfft(np.array([1.0, 3.0]))).tolist()
    [1.0, 3.0]
    """
    re, im = floats(x[0]), floats(x[1])
    bins = re.shape[-1]
    length = fft_length or 2 * (bins - 1)
    used = length // 2 + 1

    def transposed(g: Any) -> list[Any]:
        found = np.fft.rfft(g) / length
        twice = np.full(used, 2.0)
        twice[0] = 1.0
        if length % 2 == 0:
            twice[-1] = 1.0
        whole = np.zeros((*g.shape[:-1], bins), complex)
        kept = min(bins, used)
        whole[..., :kept] = (found * twice)[..., :kept]
        return [whole.real, whole.imag]

    return _linear(lambda a, b: np.fft.irfft(a + 1j * b, length).astype(a.dtype), transposed, re, im)
