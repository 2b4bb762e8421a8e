"""Values by the softmax of scores: block by block in one kernel, or with all scores in memory.

`attend` is for dot products, and holds a few scores at a time. `weigh` takes scores of any kind and keeps
all of them, (batch..., T, S): for scores that are no dot products, and where the shares are an output or meet
dropout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels, activations, random
from tdfast.layers.einsum_dense import product_backward

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.tape import Record
    from tdfast.engine.types import Array, Arrays, Sizes


def attend(rec: Record, q: Array, k: Array, v: Array, queries: Any = None, keys: Any = None,
           mask: Array | None = None, **options: Any) -> Array:
    """softmax(scale q k^T) v of every head, (batch, T, heads, width of v).

    Args:
        rec: the record that `attend_backward` gets.
        q, k, v: (batch, T, heads, width), (batch, S, heads of keys, width) and (batch, S, heads of keys, any
            width). Several heads of q, one after the other, share one of k and v.
        queries, keys: booleans (batch, T) and (batch, S); False: sees nothing, is not seen. None: all count.
        mask: which query sees which key, as booleans that are broadcast to (batch, heads, T, S).
        options: scale, causal, window, moved and zero, as in src_c/tdfast.h.
    """
    (B, T, H, D), (_, S, G, E) = q.shape, v.shape
    sizes = _kernels.AttentionSizes(B=B, T=T, S=S, H=H, G=G, D=D, E=E, **options)
    arrays: dict[str, Any] = {
        "q": np.ascontiguousarray(q),
        "k": np.ascontiguousarray(k),
        "v": np.ascontiguousarray(v),
        "queries": None if queries is None else _mask_of(queries, (B, T)),
        "keys": None if keys is None else _mask_of(keys, (B, S)),
        "mask": None if mask is None else np.broadcast_to(np.asarray(mask, bool), (B, H, T, S)),
        "y": rec.buffer("attended", sizes.output, q.dtype),
        "stats": rec.buffer("stats", sizes.stats, q.dtype),
        "scratch": rec.buffer("scratch", (sizes.scratch_size,), q.dtype),
    }
    _kernels.attention_forward(sizes, **arrays)
    rec.attended = sizes, arrays
    y: Array = arrays["y"]
    return y


def _mask_of(mask: Any, shape: Sizes) -> Array:
    return np.ascontiguousarray(np.broadcast_to(np.asarray(mask, bool), shape))


def attend_backward(rec: Record, dy: Arrays) -> tuple[Array, Array, Array]:
    """The gradients by q, k and v of `attend`."""
    sizes, arrays = rec.attended
    arrays["scratch"] = rec.buffer("scratch", (sizes.scratch_size,), dy.dtype)      # threads may have changed
    dq, dk, dv = (rec.buffer(f"d{name}", arrays[name].shape, dy.dtype) for name in "qkv")
    _kernels.attention_backward(sizes, dy=np.ascontiguousarray(dy), dq=dq, dk=dk, dv=dv, **arrays)
    return dq, dk, dv


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
