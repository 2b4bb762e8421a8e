"""Layers that join inputs, and operations, as nodes: converters as in `tdfast.saving.onnx.converters`, with
lists of inputs, shapes and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import layers, ops
from tdfast.saving.exporting import refuse
from tdfast.saving.onnx.masks import Mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.types import Masks


def _widened(g: Any, xs: Any, shapes: Any) -> Any:
    """The inputs with as many axes each: ones are put in after the batch."""
    ndim = max(map(len, shapes))
    out = []
    for x, shape in zip(xs, shapes):
        missing = ndim - len(shape)
        out.append(g.node("Unsqueeze", x, g.integers(*range(1, 1 + missing))) if missing else x)
    return out


def _joined_mask(g: Any, masks: Any) -> Any:
    """A step counts where it does in one of the inputs, if all have a mask."""
    if any(mask is None for mask in masks):
        return None
    valid = masks[0].changed(lambda value, rank: value).valid
    for mask in masks[1:]:
        valid = g.node("Or", valid, mask.changed(lambda value, rank: value).valid)
    return Mask(g, valid, masks[0].rank)


def _folded(kind: str) -> Callable[..., Any]:
    def convert(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
        xs = _widened(g, x, shape)
        y = xs[0]
        for other in xs[1:]:
            y = g.node(kind, y, other)
        if isinstance(layer, layers.Average):
            y = g.node("Div", y, g.number(len(xs)))
        return y, _joined_mask(g, mask)

    return convert


def _for_features(g: Any, mask: Any, ndim: int) -> Any:
    """The booleans of a mask with ones for the axes that they lack."""
    missing = ndim - mask.rank
    valid = mask.changed(lambda value, rank: value).valid
    return g.node("Unsqueeze", valid, g.integers(*range(-missing, 0))) if missing else valid


def _multiplied(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
    """A masked step of one input counts as 1; where all are masked, the product is 0."""
    ndim, xs = max(map(len, shape)), _widened(g, x, shape)
    factors = [x if m is None else g.node("Where", _for_features(g, m, ndim), x, g.number(1))
               for x, m in zip(xs, mask)]
    y = factors[0]
    for other in factors[1:]:
        y = g.node("Mul", y, other)
    joined = _joined_mask(g, mask)
    if joined is not None:
        y = g.node("Mul", y, g.cast(_for_features(g, joined, ndim), g.dtype))
    return y, joined


def _chosen(kind: str) -> Callable[..., Any]:
    """The largest or the smallest of the inputs that no mask leaves out."""
    def convert(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
        ndim, xs = max(map(len, shape)), _widened(g, x, shape)
        masks = [None if m is None else _for_features(g, m, ndim) for m in mask]
        best, counts = xs[0], masks[0]
        for other, m in zip(xs[1:], masks[1:]):
            new = other if m is None else g.node("Where", m, other, best)
            old = best if counts is None else g.node("Where", counts, best, new)
            best = g.node(kind, old, new)
            counts = None if counts is None or m is None else g.node("Or", counts, m)
        return best, _joined_mask(g, mask)

    return convert


def _concatenate(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    ndim = len(shape[0])
    axis = layer.axis % ndim
    y = g.node("Concat", *x, axis=axis)
    if all(m is None for m in mask):
        return y, None
    # Without a mask all steps of an input count.
    wholes = [g.sizes(value, 0, ndim - 1) for value in x]
    parts = [
        g.node("Expand", g.constant(np.ones((1,) * (ndim - 1), bool)) if m is None else _for_features(
            g, m, ndim - 1), whole)
        for m, whole in zip(mask, wholes)
    ]
    if axis < ndim - 1:
        return y, Mask(g, g.node("Concat", *parts, axis=axis), ndim - 1)
    valid = parts[0]
    for part in parts[1:]:
        valid = g.node("Or", valid, part)
    return y, Mask(g, valid, ndim - 1)


def _dot(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
    if any(len(s) > 3 for s in shape):
        refuse(layer, "can be exported to ONNX for inputs of two or three axes only.")
    axes = [layer.axes] * 2 if isinstance(layer.axes, int) else layer.axes
    sides = []
    for k, (value, s, axis) in enumerate(zip(x, shape, axes)):
        axis %= len(s)
        if layer.normalize:
            square = g.reduce("ReduceSum", g.node("Mul", value, value), [axis])
            length = g.node("Max", g.node("Sqrt", square), g.number(1e-7))
            value = g.node("Div", value, length)
        if len(s) == 2:
            value = g.node("Unsqueeze", value, g.integers(1 if k == 0 else 2))
        elif axis != (2 if k == 0 else 1):
            value = g.node("Transpose", value, perm=(0, 2, 1))
        sides.append(value)
    y = g.node("MatMul", *sides)
    out = layer.compute_output_shape(shape)
    if len(out) == 3:
        return y, None
    lost = [1 + k for k, s in enumerate(shape) if len(s) == 2]
    if len(lost) == 2:
        lost = [1]
    return g.node("Squeeze", y, g.integers(*lost)), None


JOINING = {
    layers.Add: _folded("Add"),
    layers.Subtract: _folded("Sub"),
    layers.Average: _folded("Add"),
    layers.Multiply: _multiplied,
    layers.Maximum: _chosen("Max"),
    layers.Minimum: _chosen("Min"),
    layers.Concatenate: _concatenate,
    layers.Dot: _dot,
}


# ---------------------------------------------------------------- operations
def _operand(g: Any, value: Any) -> Any:
    return g.number(value) if isinstance(value, (int, float)) else value


def _of_kind(kind: str) -> Callable[..., Any]:
    def convert(g: Any, op: Any, args: Any) -> Any:
        return g.node(kind, *[_operand(g, arg) for arg in args])

    return convert


def _reduced(kind: str) -> Callable[..., Any]:
    def convert(g: Any, op: Any, args: Any, rank: int) -> Any:
        axis = op.options["axis"]
        axes = range(rank) if axis is None else [axis] if isinstance(axis, int) else axis
        return g.reduce(kind, args[0], [a % rank for a in axes], keepdims=op.options["keepdims"])

    return convert


def _get_item(g: Any, op: Any, args: Any) -> Any:
    x, key = args
    key = key if isinstance(key, tuple) else tuple(key) if isinstance(key, list) else (key,)
    if not all(isinstance(part, (int, slice)) for part in key):
        refuse(op, "can be exported to ONNX with whole numbers and slices only.")
    lost = []
    for axis, part in enumerate(key):
        if isinstance(part, int):
            lost.append(axis)
            part = slice(part, part + 1 or None)
        if part == slice(None):
            continue
        step = part.step or 1
        limits = np.iinfo(np.int64)
        start = part.start if part.start is not None else (0 if step > 0 else -1)
        stop = part.stop if part.stop is not None else (limits.max if step > 0 else limits.min)
        x = g.node("Slice", x, g.integers(start), g.integers(stop), g.integers(axis), g.integers(step))
    return g.node("Squeeze", x, g.integers(*lost)) if lost else x


def _axes(kind: str) -> Callable[..., Any]:
    def convert(g: Any, op: Any, args: Any) -> Any:
        axis = op.options["axis"]
        if axis is None:
            refuse(op, "needs an axis to be exported to ONNX.")
        return g.node(kind, args[0], g.integers(*([axis] if isinstance(axis, int) else axis)))

    return convert


def _joined(g: Any, op: Any, args: Any) -> Any:
    return g.node("Concat", *args[0], axis=op.options["axis"])


def _transposed(g: Any, op: Any, args: Any, rank: int) -> Any:
    axes = op.options["axes"]
    order = tuple(a % rank for a in axes) if axes else tuple(range(rank))[::-1]
    return g.node("Transpose", args[0], perm=order)


def _softmax(g: Any, op: Any, args: Any) -> Any:
    if not isinstance(op.options["axis"], int):
        refuse(op, "can be exported to ONNX along one axis only.")
    return g.node("Softmax", args[0], axis=op.options["axis"])


def _square(g: Any, op: Any, args: Any) -> Any:
    return g.node("Mul", args[0], args[0])


_BY_NAME = {
    **{name: _of_kind(kind) for name, kind in {
        "Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div", "TrueDivide": "Div",
        "Matmul": "MatMul", "Maximum": "Max", "Minimum": "Min", "Negative": "Neg", "Absolute": "Abs",
        "Exp": "Exp", "Log": "Log", "Sqrt": "Sqrt", "Tanh": "Tanh", "Sigmoid": "Sigmoid", "Relu": "Relu",
    }.items()},
    "Square": _square, "Softmax": _softmax, "GetItem": _get_item, "Concatenate": _joined,
    "ExpandDims": _axes("Unsqueeze"), "Squeeze": _axes("Squeeze"),
}
_BY_RANK = {"Mean": _reduced("ReduceMean"), "Sum": _reduced("ReduceSum"), "Max": _reduced("ReduceMax"),
            "Min": _reduced("ReduceMin"), "Transpose": _transposed}


def operation(g: Any, node: Any, args: Any, shapes: Any) -> Any:
    """The value of an `Operation`'s call.

    Args:
        args: of the call, with the names of values in the place of tensors.
        shapes: of its tensors.
    """
    op = node.layer
    name = type(op).__name__
    if type(op) is not ops.CLASSES.get(name) or name not in {**_BY_NAME, **_BY_RANK}:
        known = ", ".join(sorted({**_BY_NAME, **_BY_RANK}))
        refuse(op, f"cannot be exported to ONNX. These operations can: {known}.")
    if name in _BY_NAME:
        return _BY_NAME[name](g, op, args)
    return _BY_RANK[name](g, op, args, len(shapes[0]))
