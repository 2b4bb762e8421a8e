"""Functions of networks: crossentropies, normalizations, attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.ops.base import NN
from tdfast.ops.composed import composed, floats
from tdfast.ops.elementwise import clip, log, rsqrt, softplus, where
from tdfast.ops.products import matmul
from tdfast.ops.reduction import log_softmax, mean, softmax, sum, var
from tdfast.ops.shaping import moveaxis, reshape, swapaxes

if TYPE_CHECKING:
    from tdfast.engine.types import Axes, Masks

EPSILON = 1e-7


@composed(NN, arrays=2)
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """-(t log p + (1 - t) log(1 - p)), number by number; p is clipped by 1e-7, or the sigmoid of logits.

    >>> binary_crossentropy(np.array([1.0]), np.array([0.5])).round(4).tolist()
    [0.6931]
    """
    target, output = floats(target), floats(output)
    if from_logits:
        return softplus(output) - target * output
    p = clip(output, EPSILON, 1 - EPSILON)
    return -(target * log(p) + (1 - target) * log(1 - p))


@composed(NN, arrays=2)
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False,
                             axis: int = -1) -> Any:
    """-sum(t log p) along an axis; p = output / sum(output), clipped by 1e-7, or the softmax of logits.

    >>> categorical_crossentropy(np.array([[0.0, 1.0]]), np.array([[1.0, 3.0]])).round(4).tolist()
    [0.2877]
    """
    target = floats(target)
    return -sum(target * _log_shares(floats(output), from_logits, axis), axis=axis)


def _log_shares(output: Any, from_logits: bool, axis: int) -> Any:
    if from_logits:
        return log_softmax(output, axis=axis)
    return log(clip(output / sum(output, axis=axis, keepdims=True), EPSILON, 1 - EPSILON))


@composed(NN, arrays=2)
def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False,
                                    axis: int = -1) -> Any:
    """-log p of each label's class; p as in `categorical_crossentropy`.

    >>> sparse_categorical_crossentropy(np.array([1]), np.array([[0.25, 0.75]])).round(4).tolist()
    [0.2877]
    """
    from tdfast.ops.making import one_hot

    output = floats(output)
    logs = _log_shares(output, from_logits, axis)
    labels = np.asarray(target)
    labels = labels[..., 0] if labels.ndim == output.ndim and labels.shape[-1] == 1 else labels
    hot = one_hot(labels.astype(np.int64), output.shape[axis], axis=axis % output.ndim, dtype=output.dtype)
    return -sum(hot * logs, axis=axis)


@composed(NN, arrays=3)
def batch_normalization(x: Any, mean: Any, variance: Any, axis: int, offset: Any = None,
                        scale: Any = None, epsilon: float = 1e-3) -> Any:
    """(x - mean) / sqrt(variance + epsilon) scale + offset, with one of each for each entry of an axis.

    >>> batch_normalization(np.array([[3.0]]), np.array([1.0]), np.array([4.0]), -1, epsilon=0.0).tolist()
    [[1.0]]
    """
    shape = [1] * len(x.shape)
    shape[axis] = x.shape[axis]
    factor = rsqrt(reshape(variance, shape) + epsilon)
    if scale is not None:
        factor = factor * reshape(scale, shape)
    y = (x - reshape(mean, shape)) * factor
    return y if offset is None else y + reshape(offset, shape)


@composed(NN)
def layer_normalization(x: Any, gamma: Any = None, beta: Any = None, axis: Axes = -1,
                        epsilon: float | None = None) -> Any:
    """(x - mean) / sqrt(variance + epsilon) gamma + beta, over an axis; epsilon is 1e-7 when None.

    >>> layer_normalization(np.array([[1.0, 3.0]]), epsilon=0.0).tolist()
    [[-1.0, 1.0]]
    """
    x = floats(x)
    y = (x - mean(x, axis=axis, keepdims=True)) * rsqrt(
        var(x, axis=axis, keepdims=True) + (EPSILON if epsilon is None else epsilon))
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


@composed(NN)
def rms_normalization(x: Any, scale: Any = None, axis: Axes = -1, epsilon: float | None = None) -> Any:
    """x / sqrt(mean(x^2) + epsilon) scale, over an axis; epsilon is 1e-7 when None.

    >>> rms_normalization(np.array([[3.0, 3.0]]), epsilon=0.0).tolist()
    [[1.0, 1.0]]
    """
    x = floats(x)
    y = x * rsqrt(mean(x * x, axis=axis, keepdims=True) + (EPSILON if epsilon is None else epsilon))
    return y if scale is None else y * scale


@composed(NN, arrays=3)
def dot_product_attention(query: Any, key: Any, value: Any, bias: Any = None, mask: Masks = None,
                          scale: float | None = None, is_causal: bool = False, flash_attention: Any = None,
                          attn_logits_soft_cap: float | None = None) -> Any:
    """softmax(query key^T scale + bias) value for each head, of arrays (batch, time, heads, size).

    Args:
        query, key, value: as said; key and value may have fewer heads, each for several of query's.
        bias, mask: to add to the scores, and False where a query may not see a key, each of shape
            (batch, heads, time, time).
        scale: 1 / sqrt(size) when None.
        is_causal: whether a step may see those before it alone.
        flash_attention: accepted, without effect.
        attn_logits_soft_cap: c, for scores c tanh(score / c).

    >>> x = np.ones((1, 2, 1, 4))
    >>> dot_product_attention(x, x, x).shape
    (1, 2, 1, 4)
    """
    from tdfast.ops.elementwise import tanh
    from tdfast.ops.shaping import repeat

    heads = query.shape[2]
    if key.shape[2] != heads:
        key, value = (repeat(a, heads // a.shape[2], axis=2) for a in (key, value))
    q, k, v = (moveaxis(a, 2, 1) for a in (query, key, value))
    scores = matmul(q, swapaxes(k, -1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if attn_logits_soft_cap is not None:
        scores = attn_logits_soft_cap * tanh(scores / attn_logits_soft_cap)
    if bias is not None:
        scores = scores + bias
    seen = None if mask is None else np.asarray(mask, bool)
    if is_causal:
        causal = np.tri(scores.shape[-2], scores.shape[-1], dtype=bool)
        seen = causal if seen is None else seen & causal
    if seen is not None:
        scores = where(seen, scores, np.asarray(-0.7 * np.finfo(scores.dtype).max, scores.dtype))
    return moveaxis(matmul(softmax(scores, axis=-1), v), 1, 2)


