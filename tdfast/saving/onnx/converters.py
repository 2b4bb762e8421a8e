"""What each layer becomes in a graph: one function for a class, in `CONVERTERS`.

A converter takes the graph, the layer, the name of its input's value, the input's shape (None where any size
will do) and its `Mask` (or None). It returns the name of the output, or (output, mask) where the mask is not
simply handed on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import layers
from tdfast.engine.layer import Layer
from tdfast.engine.network import Network
from tdfast.engine.operation import Operation
from tdfast.saving.exporting import IDLE, changed, check_dtype, converter_of, refuse
from tdfast.saving.onnx.activations import activate
from tdfast.saving.onnx.attention import ATTENDING, attention, einsum_dense
from tdfast.saving.onnx.conv import WINDOWS
from tdfast.saving.onnx.masks import Mask
from tdfast.saving.onnx.merging import JOINING, operation
from tdfast.saving.onnx.recurrent import bidirectional, recurrent, run_with_states

if TYPE_CHECKING:
    from tdfast.engine.types import Masks


def convert(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    """Add a layer to the graph, under its name: (output, its shape, its mask)."""
    with g.inside(layer):
        return convert_model(g, layer, x, shape, mask)


def convert_model(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
    """`convert` for the model itself, whose name is no part of the names inside."""
    to_nodes = converter_of(layer, CONVERTERS, "ONNX")
    check_dtype(layer, g.dtype)
    # a layer that says itself what becomes of a mask
    ends = type(layer).compute_mask is not Layer.compute_mask
    if isinstance(x, list) and not isinstance(layer, Network):
        y, mask = to_nodes(g, layer, x, shape, mask)
        return y, tuple(layer.compute_output_shape(shape)), mask
    if mask is not None and not layer.supports_masking and not (ends and not mask.right):
        refuse(layer, "does not pass on the mask of its input" + (", which lengths=True makes" if mask.right
                                                                  else "")
               + ". Put it before the layer that makes the mask, or after a recurrent layer with "
                 "return_sequences=False.")
    y = to_nodes(g, layer, x, shape, mask)
    y, mask = y if isinstance(y, tuple) else (y, mask if layer.supports_masking else None)
    shape = layer.compute_output_shape(shape)
    if isinstance(y, list):             # of a model with several outputs
        return y, shape, mask
    return y, tuple(shape[0] if isinstance(shape, list) else shape), mask


# ---------------------------------------------------------------- shapes
def _reshaped(g: Any, x: Any, head: Any, tail: Any, like: Any) -> Any:
    """x with the axes ``head`` (a vector's value) and then ``tail``; an unknown size is that of the same
    axis, counted from the end, of the value ``like``."""
    if None not in tail:
        tail = g.integers(*tail)
    else:
        parts = [g.sizes(like, i, i + 1 or None) if size is None else g.integers(size)
                 for i, size in enumerate(tail, -len(tail))]
        tail = g.node("Concat", *parts, axis=0)
    return g.node("Reshape", x, g.node("Concat", head, tail, axis=0))


def _flatten(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    if layer.data_format == "channels_first" and len(shape) > 2:
        x = g.node("Transpose", x, perm=(0, *range(2, len(shape)), 1))
    rest = layer.compute_output_shape(shape)[1]
    return g.node("Reshape", x, g.integers(0, -1 if rest is None else rest))


def _reshape(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    target = layer.target_shape if None in shape[1:] else layer.compute_output_shape(shape)[1:]
    if 0 in target:
        refuse(layer, "cannot be exported to ONNX with a size of 0.")
    return g.node("Reshape", x, g.integers(0, *target))


def _permute(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    return g.node("Transpose", x, perm=(0, *layer.dims))


def _repeat_vector(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    return g.node("Expand", g.add_axis(x, 1), g.integers(1, layer.n, 1))


# ---------------------------------------------------------------- layers inside others
def _network(g: Any, model: Any, x: Any, shape: Any, mask: Masks) -> Any:
    """The calls of a model's graph: a list of (value, mask) for several outputs."""
    several = len(model.graph.inputs) > 1
    values = list(zip(x, shape, mask)) if several else [(x, shape, mask)]
    made = model.graph.walk(values, lambda *call: _call(g, *call), keywords=True)
    made = [(y, m) for y, _, m in made]
    return made[0] if len(made) == 1 else ([y for y, _ in made], [m for _, m in made])


def _call(g: Any, node: Any, value: Any, keywords: Any) -> Any:
    """(output, its shape, its mask) of a call in a graph; a list of them for several outputs."""
    layer = node.layer
    several = len(node.inputs) > 1
    x, shape, mask = map(list, zip(*value)) if several else value
    if isinstance(layer, Operation):
        shapes = shape if several else [shape]
        args = layer.filled(node.options["template"], x if several else [x])
        with g.inside(layer):
            return operation(g, node, args, shapes), layer.compute_output_shape(
                shape, **node.shape_options), None
    if node.masks:
        refuse(layer, "is called with a mask of its own, but in an ONNX file masks come from the layers that "
                      "make them: Masking, and Embedding with mask_zero.")
    if type(layer) in ATTENDING:
        return attention(g, node, value, keywords)
    if keywords or (len(node.outputs) > 1 and not isinstance(layer, Network)):
        return _call_with_states(g, node, value, keywords)
    made = convert(g, layer, x, shape, mask)
    return list(zip(*made)) if len(node.outputs) > 1 else made


def _call_with_states(g: Any, node: Any, value: Any, keywords: Any) -> Any:
    """A call of a recurrent layer that takes first states from other layers, or gives its last ones to
    them."""
    layer, (x, shape, mask) = node.layer, value
    if converter_of(layer, CONVERTERS, "ONNX") not in (recurrent, bidirectional):
        what = ", ".join(keywords) if keywords else "several outputs"
        refuse(layer, f"cannot be exported to ONNX with {what}.")
    check_dtype(layer, g.dtype)
    first = [state for state, _, _ in keywords.get("initial_state", [])]
    with g.inside(layer):
        heeded = None if first and layer.drops_mask_beside_tensors else mask
        made = run_with_states(g, layer, x, heeded, first, inner=True)[: len(node.outputs)]
    shapes = layer.compute_output_shape(shape)
    masks = [mask if layer.return_sequences else None] + [None] * len(made)
    made = [(y, tuple(s), m) for y, s, m in zip(made, shapes if len(made) > 1 else [shapes], masks)]
    return made if len(made) > 1 else made[0]


def _time_distributed(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
    """(B, T, ...) as (B T, ...), the inner layer, and back."""
    inner = layer.layer
    if inner.makes_mask:
        refuse(
            layer,
            f"would lose the mask that '{inner.name}' makes within each step. Wrap a Sequential of it and "
            "the layers that use its mask.",
        )

    def folded(value: Any, tail: Any) -> Any:
        rows = g.node("Mul", g.sizes(value, 0, 1), g.sizes(value, 1, 2))
        return _reshaped(g, value, rows, tail, value)

    inner_mask = None
    if mask is not None and mask.rank > 2:
        inner_mask = Mask(g, folded(mask.valid, (None,) * (mask.rank - 2)), mask.rank - 1)
    with changed(g, states=False):
        y, inner_shape, _ = convert(g, inner, folded(x, shape[2:]), (None, *shape[2:]), inner_mask)
    return _reshaped(g, y, g.sizes(x, 0, 2), inner_shape[1:], y), mask


def _spectral_normalization(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
    """The layer inside: outside of training nothing is normalized."""
    y, _, inner_mask = convert(g, layer.layer, x, shape, mask)
    return y, inner_mask


def _nothing(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    return x


# ---------------------------------------------------------------- products
def _dense(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    x = g.node("MatMul", x, g.weight("kernel", layer.kernel.value))
    if layer.use_bias:
        x = g.node("Add", x, g.weight("bias", layer.bias.value))
    return activate(g, layer, x)


def _activation(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    return activate(g, layer, x)


def _prelu(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    return g.node("PRelu", x, g.weight("alpha", layer.alpha.value))


def _softmax(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    if mask is not None:
        refuse(layer, "cannot be exported to ONNX behind a mask: use Activation('softmax').")
    axes = layer._axes(len(shape))
    if len(axes) == 1:
        return g.node("Softmax", x, axis=axes[0])
    y = g.node("Exp", g.node("Sub", x, g.reduce("ReduceMax", x, axes)))
    return g.node("Div", y, g.reduce("ReduceSum", y, axes))


def _embedding(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    y = g.node("Gather", g.weight("embeddings", layer.embeddings.value), g.cast(x, np.int64), axis=0)
    if not layer.mask_zero:
        return y
    zero = g.node("Equal", g.cast(x, np.int64), g.constant(np.int64(0)))
    return y, Mask(g, g.node("Not", zero), len(shape))


# ---------------------------------------------------------------- normalization and masks
def _scaled(g: Any, layer: Any, x: Any, gamma: Any, beta: Any) -> Any:
    """x gamma + beta, with those that are not None."""
    if gamma is not None:
        x = g.node("Mul", x, g.weight("gamma", gamma))
    return x if beta is None else g.node("Add", x, g.weight("beta", beta))


def _normal(g: Any, x: Any, axes: Any, epsilon: float) -> Any:
    """x with mean 0 and variance 1 along some axes."""
    centred = g.node("Sub", x, g.reduce("ReduceMean", x, axes))
    variance = g.reduce("ReduceMean", g.node("Mul", centred, centred), axes)
    return g.node("Div", centred, g.node("Sqrt", g.node("Add", variance, g.number(epsilon))))


def _batch_normalization(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    along = [1] * len(shape)
    along[layer.axis] = -1
    centred = g.node("Sub", x, g.weight("moving_mean", layer.moving_mean.value.reshape(along)))
    gamma = 1 / np.sqrt(layer.moving_variance.value.astype(np.float64) + layer.epsilon)
    if layer.scale:
        gamma = gamma * layer.gamma.value
    return _scaled(g, layer, centred, gamma.reshape(along), layer.beta.value.reshape(along) if layer.center
                   else None)


def _layer_normalization(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    axes = layer.axes_in(layer.axis, shape)
    along = [size if a in axes else 1 for a, size in enumerate(shape)]
    gamma, beta = (None if w is None else w.value.reshape(along) for w in (layer.gamma, layer.beta))
    if axes == list(range(axes[0], len(shape))):
        sizes = [shape[a] for a in axes]
        weights = [g.weight("gamma", np.ones(sizes) if gamma is None else gamma.reshape(sizes))]
        if beta is not None:
            weights.append(g.weight("beta", beta.reshape(sizes)))
        return g.node("LayerNormalization", x, *weights, axis=axes[0], epsilon=layer.epsilon)
    return _scaled(g, layer, _normal(g, x, axes, layer.epsilon), gamma, beta)


def _rescaling(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    return _scaled(g, layer, x, layer._scale, layer._offset)


def _normalization(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    mean, deviation = layer._statistics(shape)
    if layer.invert:
        return _scaled(g, layer, x, deviation, mean)
    return g.node("Div", g.node("Sub", x, g.weight("mean", mean)), g.weight("deviation", deviation))


def _unit_normalization(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    length = g.node("Sqrt", g.reduce("ReduceSum", g.node("Mul", x, x), layer.axes(shape)))
    return g.node("Div", x, g.node("Max", length, g.number(layer.LEAST)))


def _rms_normalization(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    axes = layer.axes(shape)
    mean = g.reduce("ReduceMean", g.node("Mul", x, x), axes)
    y = g.node("Div", x, g.node("Sqrt", g.node("Add", mean, g.number(layer.epsilon))))
    return _scaled(g, layer, y, layer._scale(axes, shape), None)


def _group_normalization(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    """The features to axis 1, each group as one row; and back."""
    axis, n = layer.axis % len(shape), len(shape)
    order = [0, axis, *(a for a in range(1, n) if a != axis)]
    moved = g.node("Transpose", x, perm=order)
    y = _normal(g, g.node("Reshape", moved, g.integers(0, layer.groups, -1)), [2], layer.epsilon)
    y = g.node("Transpose", g.node("Reshape", y, g.sizes(moved, 0)), perm=np.argsort(order).tolist())
    along = [shape[axis] if a == axis else 1 for a in range(n)]
    return _scaled(g, layer, y,
                   *(None if w is None else w.value.reshape(along) for w in (layer.gamma, layer.beta)))


def _masking(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
    differs = g.node("Not", g.node("Equal", x, g.number(layer.mask_value)))
    found = g.reduce("ReduceMax", g.cast(differs, np.int32), [-1], keepdims=False)
    mask = Mask(g, g.cast(found, np.bool_), len(shape) - 1)
    return g.node("Where", mask.each, x, g.number(0)), mask


CONVERTERS = {
    Network: _network,
    **JOINING,
    layers.TimeDistributed: _time_distributed,
    layers.SpectralNormalization: _spectral_normalization,
    layers.Bidirectional: bidirectional,
    layers.LSTM: recurrent,
    layers.GRU: recurrent,
    layers.SimpleRNN: recurrent,
    layers.Dense: _dense,
    layers.EinsumDense: einsum_dense,
    layers.Activation: _activation,
    layers.Embedding: _embedding,
    **WINDOWS,
    layers.BatchNormalization: _batch_normalization,
    layers.LayerNormalization: _layer_normalization,
    layers.Masking: _masking,
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.Permute: _permute,
    layers.RepeatVector: _repeat_vector,
    layers.ReLU: _activation,
    layers.LeakyReLU: _activation,
    layers.ELU: _activation,
    layers.PReLU: _prelu,
    layers.Softmax: _softmax,
    layers.Rescaling: _rescaling,
    layers.Normalization: _normalization,
    layers.UnitNormalization: _unit_normalization,
    layers.RMSNormalization: _rms_normalization,
    layers.GroupNormalization: _group_normalization,
    **dict.fromkeys(IDLE, _nothing),
}
