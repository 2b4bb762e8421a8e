"""Attention layers as nodes: the scores of all steps, their softmax, and the values by it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import layers
from tdfast.layers.attention.multi_head import Heads
from tdfast.saving.exporting import check_dtype, refuse
from tdfast.saving.onnx.activations import activate
from tdfast.saving.onnx.masks import steps_of

if TYPE_CHECKING:
    from tdfast.engine.types import Masks

FAR = 1e9
"""How far down the scores are that do not count."""


def einsum_dense(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    """The product as Einsum, whatever its equation."""
    x = g.node("Einsum", x, g.weight("kernel", layer.kernel.value), equation=layer.equation_for(len(shape)))
    if layer.bias is not None:
        x = g.node("Add", x, g.weight("bias", layer.bias.value))
    return activate(g, layer, x)


def attention(g: Any, node: Any, values: Any, keywords: Any) -> Any:
    """A call of an attention layer: (output, its shape, its mask), or a list with the shares besides.

    Args:
        values: of the query, the value and, if it is given, the key: (name, shape, `Mask` or None).
        keywords: values by the names of other arguments.
    """
    layer = node.layer
    check_dtype(layer, g.dtype)
    if any(len(shape) != 3 for _, shape, _ in values):
        refuse(layer, "can be exported to ONNX for inputs of shape (batch, time, features) only.")
    shapes = [shape for _, shape, _ in values]
    with g.inside(layer):
        make = _heads if isinstance(layer, Heads) else _scored
        y, shares = make(g, node, values, keywords)
    out = layer.compute_output_shape(shapes, **node.shape_options)
    if len(node.outputs) == 1:
        return y, tuple(out), values[0][2]
    return [(y, tuple(out[0]), values[0][2]), (shares, tuple(out[1]), None)]


def _valid(mask: Any) -> Any:
    return mask.changed(lambda value, rank: value).valid


def _all_of(g: Any, parts: Any) -> Any:
    """Where all of some booleans are True; None where there are none."""
    counts = None
    for part in parts:
        counts = part if counts is None else g.node("And", counts, part)
    return counts


def _steps(g: Any, query: Any, key: Any) -> tuple[Any, Any]:
    """The numbers of the query's steps, (T, 1), and those of the keys', (1, S)."""
    return g.add_axis(steps_of(g, query), 1), g.add_axis(steps_of(g, key), 0)


def _softened(g: Any, scores: Any, counts: Any, zero: bool) -> Any:
    shares = g.node("Softmax", scores, axis=-1)
    return g.node("Mul", shares, g.cast(counts, g.dtype)) if zero and counts is not None else shares


# ---------------------------------------------------------------- several heads
def _heads(g: Any, node: Any, values: Any, keywords: Any) -> tuple[Any, Any]:
    layer = node.layer
    (query, shape, _), (value, value_shape, _) = values[:2]
    key, key_shape, _ = values[2] if len(values) > 2 else values[1]

    def projected(part: Any, x: Any, shape: Any) -> Any:
        with g.inside(part):
            return einsum_dense(g, part, x, shape, None)

    q = projected(layer.query_dense, query, shape)
    k = _repeated(g, projected(layer.key_dense, key, key_shape), layer.repeats)
    v = _repeated(g, projected(layer.value_dense, value, value_shape), layer.repeats)
    q = g.node("Mul", q, g.number(1 / math.sqrt(layer.query_dense.kernel.shape[-1])))
    scores = g.node("MatMul", g.node("Transpose", q, perm=(0, 2, 1, 3)),
                    g.node("Transpose", k, perm=(0, 2, 3, 1)))
    counts = _all_of(g, _seen(g, node, values, query, key, keywords))
    if counts is not None:
        scores = g.node("Where", counts, scores, g.number(-FAR))
    shares = _softened(g, scores, counts, len(node.outputs) > 1 or layer.dropout > 0)
    context = g.node("MatMul", shares, g.node("Transpose", v, perm=(0, 2, 1, 3)))
    context = g.node("Transpose", context, perm=(0, 2, 1, 3))
    heads, width = layer.output_dense.kernel.shape[:2]
    if layer._gate_dense is not None:
        context = g.node("Mul", context, projected(layer._gate_dense, query, shape))
    return projected(layer.output_dense, context, (*shape[:2], heads, width)), shares


def _repeated(g: Any, x: Any, times: int) -> Any:
    """Keys or values (batch, time, heads, width) for each head of the query."""
    if times == 1:
        return x
    wide = g.node("Expand", g.add_axis(x, 3), g.integers(1, 1, 1, times, 1))
    return g.node("Reshape", wide, g.node("Concat", g.sizes(x, 0, 2), g.integers(-1), g.sizes(x, 3), axis=0))


def _seen(g: Any, node: Any, values: Any, query: Any, key: Any, keywords: Any) -> Any:
    """Booleans that are broadcast to (batch, heads, T, S)."""
    layer = node.layer
    for (_, _, mask), axes in zip(values, ((1, 3), (1, 2), (1, 2))):
        if mask is not None:
            yield g.node("Unsqueeze", _valid(mask), g.integers(*axes))
    if node.options.get("use_causal_mask"):
        yield g.node("Not", g.node("Less", *_steps(g, query, key)))
    if layer.sliding_window is not None:
        apart = g.node("Abs", g.node("Sub", *_steps(g, query, key)))
        yield g.node("Less", apart, g.constant(np.int64(layer.sliding_window)))
    for given, shape, _ in keywords.get("attention_mask", []):
        given = g.cast(given, np.bool_)
        yield g.add_axis(given, 1) if len(shape) == 3 else given


# ---------------------------------------------------------------- without heads
def _scored(g: Any, node: Any, values: Any, keywords: Any) -> tuple[Any, Any]:
    layer = node.layer
    query, value = values[0][0], values[1][0]
    key = values[2][0] if len(values) > 2 else value
    scores = _scores(g, layer, query, key)
    parts = []
    if values[1][2] is not None:
        parts.append(g.add_axis(_valid(values[1][2]), 1))
    if node.options.get("use_causal_mask"):
        parts.append(g.node("Not", g.node("Less", *_steps(g, query, key))))
    counts = _all_of(g, parts)
    if counts is not None:
        down = g.node("Mul", g.cast(g.node("Not", counts), g.dtype), g.number(FAR))
        scores = g.node("Sub", scores, down)
    shares = _softened(g, scores, counts, zero=False)
    y = g.node("MatMul", shares, value)
    if values[0][2] is not None:
        y = g.node("Mul", y, g.cast(g.add_axis(_valid(values[0][2]), -1), g.dtype))
    return y, shares


def _scores(g: Any, layer: Any, query: Any, key: Any) -> Any:
    def weighed(x: Any, weight: Any, name: str) -> Any:
        return x if weight is None else g.node("Mul", x, g.weight(name, weight.value))

    additive = isinstance(layer, layers.AdditiveAttention)
    if not additive and layer.score_mode == "dot":
        dots = g.node("MatMul", query, g.node("Transpose", key, perm=(0, 2, 1)))
        return weighed(dots, layer.scale, "scale")
    sums = g.node("Add", g.add_axis(query, 2), g.add_axis(key, 1))
    if additive:
        each = weighed(g.node("Tanh", sums), layer.scale, "scale")
        return g.reduce("ReduceSum", each, [-1], keepdims=False)
    each = g.node("Tanh", weighed(sums, layer.scale, "scale"))
    return weighed(g.reduce("ReduceSum", each, [-1], keepdims=False), layer.concat_score_weight,
                   "concat_score_weight")


ATTENDING = (layers.Attention, layers.AdditiveAttention, layers.MultiHeadAttention,
             layers.GroupQueryAttention)
