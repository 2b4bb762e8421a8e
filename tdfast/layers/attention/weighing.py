"""Weights from scores, and values by weights: what all attention layers do after they have scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, activations, random
from tdfast.layers.einsum_dense import product_backward

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.tape import Record
    from tdfast.engine.types import Array, Arrays


def product(rec: Record, x: Arrays, kernel: Array, out: Array) -> Array:
    """``x @ kernel`` for stacks of matrices (..., M, K) and (..., K, N), each by the kernel of `Dense`: the
    bits depend neither on threads nor on the other matrices."""
    (M, K), N = x.shape[-2:], kernel.shape[-1]
    packed = rec.buffer("product", (_kernels.dense_pack_size(K, N),), x.dtype)
    for place in np.ndindex(x.shape[:-2]):
        _kernels.dense_pack(K, N, kernel[place], packed)
        _kernels.dense_forward(
            act=activations.linear.kind,
            M=M,
            K=K,
            N=N,
            x=x[place],
            packed=packed,
            bias=None,
            z=None,
            y=out[place],
        )
    return out


def products_backward(rec: Record, x: Arrays, kernel: Array, dy: Arrays, dx: Array, dkernel: Array) -> None:
    """The gradients of `product`."""
    for place in np.ndindex(x.shape[:-2]):
        product_backward(rec, x[place], kernel[place], dy[place], dx[place], dkernel[place])


def weigh(rec: Record, scores: Array, values: Any, counts: Array | None, drop: Any, fill: Callable[..., Any],
          zero: bool = False) -> Array:
    """The values by the softmax of their scores: (batch..., T, width).

    Args:
        rec: the record that `weigh_backward` gets.
        scores: (batch..., T, S). Overwritten.
        values: (batch..., S, width), C-contiguous.
        counts: which scores count, broadcast to them; None: all.
        drop: None, or a function that fills an array with the factors of dropout.
        fill: what a score that does not count becomes: a function of the scores.
        zero: whether it has no share even where none of a row counts; else all of that row have the same.
    """
    if counts is not None:
        np.copyto(scores, fill(scores), where=~np.asarray(counts, bool))
    rec.scores, rec.counts, rec.values = scores, counts, values
    rec.shares = rec.buffer("shares", scores.shape, scores.dtype)
    activations.softmax.forward(scores, rec.shares)
    if zero and counts is not None:
        rec.shares *= counts
    rec.dropped, rec.factors = rec.shares, None
    if drop is not None:
        rec.factors = drop(rec.buffer("factors", scores.shape, scores.dtype))
        rec.dropped = np.multiply(
            rec.shares, rec.factors, out=rec.buffer("dropped", scores.shape, scores.dtype)
        )
    out = rec.buffer("weighed", (*scores.shape[:-1], values.shape[-1]), scores.dtype)
    return product(rec, rec.dropped, values, out)


def weigh_backward(rec: Record, dy: Arrays, dshares: Array | None = None,
                   keeps_slope: bool = False) -> tuple[Any, ...]:
    """(the gradient by the scores, by the values).

    Args:
        dy: by the weighed values, C-contiguous. May be overwritten.
        dshares: by the shares themselves, where they are an output; None: none.
        keeps_slope: whether a score that does not count still has a slope (it was only moved).
    """
    shares = rec.shares
    d = rec.buffer("d shares", shares.shape, shares.dtype)
    dvalues = rec.buffer("d values", rec.values.shape, shares.dtype)
    products_backward(rec, rec.dropped, rec.values, dy, d, dvalues)
    if rec.factors is not None:
        d *= rec.factors
    if dshares is not None:
        d += dshares
    activations.softmax.backward(rec.scores, shares, d, d)
    if rec.counts is not None and not keeps_slope:
        d *= rec.counts
    return d, dvalues


def causal(T: int, S: int) -> Array:
    """Booleans (1, T, S): a step sees those up to itself."""
    return (np.arange(T)[:, None] >= np.arange(S))[None]


def dropping(rate: float, seed_generator: Any, training: bool) -> Any:
    """The function that draws the factors of dropout, or None."""
    if not training or not rate:
        return None
    return lambda factors: random.dropout_factors(factors, rate, seed_generator)
