"""Layers of several inputs, held to the laws: attention and the layers that join. And EinsumDense."""

import numpy as np
import pytest
import reference
from laws import LAWS, Case, any_size, checks

from tdfast.engine.layer import Layer
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.layers import (
    Add,
    AdditiveAttention,
    Attention,
    Average,
    Concatenate,
    Dot,
    EinsumDense,
    GroupQueryAttention,
    Maximum,
    Minimum,
    MultiHeadAttention,
    Multiply,
    Subtract,
)
from tdfast.saving import register_keras_serializable


@register_keras_serializable("laws")
class Parts(Layer):
    """Cuts the features of its input in pieces and gives these to a layer of several inputs, so that the
    laws, which know one input, hold such layers too.

    Args:
        layer: that layer.
        widths: of the pieces.
        options: a dict of further arguments of its `forward`.
    """

    def __init__(self, layer, widths, options=None, **kwargs):
        super().__init__(**kwargs)
        self.layer, self.widths, self.options = layer, tuple(widths), options or {}

    def sublayers(self):
        return [self.layer]

    def shapes(self, shape):
        return [(*shape[:-1], width) for width in self.widths]

    def build(self, input_shape):
        self.build_inner(self.layer, self.shapes(input_shape))

    def compute_output_shape(self, input_shape):
        options = {k: v for k, v in self.options.items() if k in getattr(self.layer, "shape_options", ())}
        return self.layer.compute_output_shape(self.shapes(input_shape), **options)

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        ends = np.cumsum(self.widths)
        xs = [np.ascontiguousarray(x[..., end - width : end]) for end, width in zip(ends, self.widths)]
        masks = None if mask is None else [mask] * len(xs)
        return self.layer.forward(xs, tape, training=training, mask=masks, **self.options)

    def backward(self, dy, tape, need_dx=True):
        dxs = self.layer.backward(dy, tape, need_dx)
        tape.pop(self)
        return np.concatenate(dxs, axis=-1) if need_dx else None

    def get_config(self):
        return {**super().get_config(), "layer": serialize_layer(self.layer), "widths": self.widths,
                "options": self.options}

    @classmethod
    def from_config(cls, config):
        layer = config["layer"]
        layer = layer if isinstance(layer, Layer) else deserialize_layer(layer)
        return cls(**{**config, "layer": layer})


def case(name, make, formula, widths=(3, 5), options=None, shape=None, **of_case):
    """A case of make(size, dtype), which is called on pieces of these widths; formula(parts, weights,
    mask=None) gives its output or a tuple of them."""

    def wrapped(size, dtype):
        return Parts(make(size, dtype), widths, options, dtype=dtype)

    def formula_of_parts(x, weights, size, **call):
        return formula(np.split(x, np.cumsum(widths)[:-1], axis=-1), weights, **call)

    return Case(name, wrapped, (*(shape or ("T",)), sum(widths)), formula_of_parts, **of_case)


# ---------------------------------------------------------------- attention


def dot(weights):
    scale = weights[0] if weights else 1.0
    return lambda q, k: scale * (q * k).sum(-1)


def concat(weights):
    scale = weights[0] if len(weights) > 1 else 1.0
    return lambda q, k: weights[-1] * np.tanh(scale * (q + k)).sum(-1)


def additive(weights):
    scale = weights[0] if weights else 1.0
    return lambda q, k: (scale * np.tanh(q + k)).sum(-1)


def scored(name, make, score, call=None, **options):
    call = call or {}

    def formula(parts, weights, mask=None):
        found = reference.scored_attention(*parts, score(weights), mask, "use_causal_mask" in call)
        return found if "return_attention_scores" in call else found[0]

    # the scores of inputs of 1e18 leave the numbers of float32
    return case(name, lambda size, dtype: make(dtype=dtype), formula, (4, 4), call, sizes=(4,), bounded=False,
                **options)


def heads(name, make, call=None, window=None, gate=False, **options):
    call = call or {}

    def formula(parts, weights, mask=None):
        found = reference.multi_head_attention(
            *parts, weights, mask, "use_causal_mask" in call, window, gate, "return_attention_scores" in call)
        return found if "return_attention_scores" in call else found[0]

    return case(name, make, formula, (3, 5), call, bounded=False, **options)


def multi_head(**options):
    return lambda size, dtype: MultiHeadAttention(2, size, dtype=dtype, **options)


def groups(heads, keys, **options):
    return lambda size, dtype: GroupQueryAttention(size, heads, keys, dtype=dtype, **options)


CAUSAL, SHARES = {"use_causal_mask": True}, {"return_attention_scores": True}

ATTENTION = [
    scored("Attention", Attention, dot),
    scored("Attention scaled", lambda dtype: Attention(use_scale=True, dtype=dtype), dot),
    scored("Attention mask", Attention, dot, mask=True),
    scored("Attention causal mask", Attention, dot, CAUSAL, mask=True),
    scored("Attention shares", Attention, dot, SHARES),
    scored("Attention concat", lambda dtype: Attention(use_scale=True, score_mode="concat", dtype=dtype),
           concat),
    scored("AdditiveAttention", AdditiveAttention, additive),
    # shares of samples of which nothing counts: float32 has no digits for scores that are 1e9 lower
    scored("AdditiveAttention mask shares", AdditiveAttention, additive, SHARES, mask=True,
           laws=tuple(law for law in LAWS if law is not any_size)),
    heads("MultiHeadAttention", multi_head()),
    heads("MultiHeadAttention mask", multi_head(), mask=True),
    heads("MultiHeadAttention causal", multi_head(), CAUSAL),
    heads("MultiHeadAttention causal mask", multi_head(), CAUSAL, mask=True),
    heads("MultiHeadAttention window gate", multi_head(sliding_window=2, use_gate=True, value_dim=3),
          window=2, gate=True),
    heads("MultiHeadAttention shares", multi_head(), {**CAUSAL, **SHARES}, mask=True),
    heads("GroupQueryAttention", groups(4, 2), CAUSAL),
    heads("GroupQueryAttention mask", groups(3, 1), mask=True),
]

# ---------------------------------------------------------------- joining


def joining(name, make, formula, widths=(4, 4, 4), **options):
    return case(name, lambda size, dtype: make(dtype=dtype), lambda parts, weights: formula(parts), widths,
                sizes=(4,), **options)


def cosines(parts):
    a, b = (x / np.maximum(np.sqrt((x**2).sum(-1, keepdims=True)), 1e-7) for x in parts)
    return a @ b.transpose(0, 2, 1)


JOINING = [
    joining("Add", Add, sum),
    joining("Subtract", Subtract, lambda parts: parts[0] - parts[1], (4, 4)),
    joining("Multiply", Multiply, lambda parts: parts[0] * parts[1] * parts[2], bounded=False),
    joining("Average", Average, lambda parts: sum(parts) / 3),
    joining("Maximum", Maximum, lambda parts: np.max(parts, axis=0)),
    joining("Minimum", Minimum, lambda parts: np.min(parts, axis=0)),
    joining("Concatenate", Concatenate, lambda parts: np.concatenate(parts, -1), (3, 1, 4)),
    joining("Concatenate in time", lambda dtype: Concatenate(axis=1, dtype=dtype),
            lambda parts: np.concatenate(parts, 1)),
    joining("Dot", lambda dtype: Dot(axes=2, dtype=dtype),
            lambda parts: parts[0] @ parts[1].transpose(0, 2, 1), (4, 4), bounded=False),
    joining("Dot of time", lambda dtype: Dot(axes=1, dtype=dtype),
            lambda parts: parts[0].transpose(0, 2, 1) @ parts[1], (3, 5), bounded=False),
    joining("Dot normalized", lambda dtype: Dot(axes=2, normalize=True, dtype=dtype), cosines, (4, 4),
            bounded=False),
]


# ---------------------------------------------------------------- EinsumDense


def einsum(equation, shape, output_shape, bias_axes=None, activation=None, sizes=(1, 4, 17, 33)):
    """A case of a layer with the weights of numpy.einsum; output_shape(size) -> a tuple."""

    def formula(x, weights, size):
        y = np.einsum(equation, x, weights[0])
        return reference.activation(activation or "linear", y + (weights[1] if bias_axes else 0))

    return Case(
        f"EinsumDense {equation} {bias_axes} {activation}",
        lambda size, dtype: EinsumDense(equation, output_shape(size), bias_axes=bias_axes,
                                        activation=activation, dtype=dtype),
        shape, formula, sizes=sizes,
    )


EINSUM = [
    einsum("abc,cd->abd", ("T", 3), lambda size: (None, size), "d"),
    einsum("abc,cde->abde", ("T", 3), lambda size: (None, 2, size), "de", "tanh"),
    einsum("abc,cde->abde", ("T", 3), lambda size: (None, 2, size), "e", "gelu"),
    einsum("abcd,cde->abe", ("T", 2, 3), lambda size: (None, size), "e"),
    einsum("abcd,cde->abe", ("T", 2, 3), lambda size: (None, size), activation="relu"),
]

CASES = [*ATTENTION, *JOINING, *EINSUM]


@pytest.mark.parametrize("law, case", checks(CASES))
def test_law(law, case):
    law(case)
