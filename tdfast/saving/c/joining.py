"""Layers that join several inputs, and operations, as stages of C: see `tdfast.saving.c.source`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import activations, layers, ops
from tdfast.saving.c.activations import ACTIVATION
from tdfast.saving.exporting import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

ELEMENTWISE = """\
    int j;

    for (j = 0; j < $N; j++) y[j] = $value;
"""

# NaN stays NaN.
LARGEST = """\
    int j;

    for (j = 0; j < $N; j++) y[j] = $first;
    for (j = 0; j < $N; j++)
        if ($other $than y[j] || $other != $other) y[j] = $other;
"""

CONCATENATE = """\
    int j;

$copies"""

# A slice of the features.
SLICE = """\
    int j;

    for (j = 0; j < $N; j++) y[j] = x[$start + $step * j];
"""


def joined(source: Any, layer: Any, values: Any, shapes: Any) -> Any:
    """The `Value` of a layer that joins several."""
    if type(layer) not in JOINING:
        known = ", ".join(sorted(kind.__name__ for kind in JOINING))
        refuse(layer, f"cannot be exported to C. Of the layers that join inputs these can: {known}.")
    _check_times(layer, values, shapes)
    return JOINING[type(layer)](source, layer, values)


def _check_times(layer: Any, values: Any, shapes: Any) -> None:
    if any(value.ids for value in values):
        refuse(layer, "takes ids, which C code hands to an Embedding alone.")
    if len({value.timed for value in values}) > 1 or len({len(shape) for shape in shapes}) > 1:
        refuse(
            layer,
            f"joins tensors of shapes {shapes}, of which some have time steps and others have none, so it "
            "cannot be exported to C.",
        )
    if len({shape[1] for shape in shapes}) > 1 and len(shapes[0]) == 3:
        refuse(layer, f"joins tensors of shapes {shapes} with different time steps, which C code cannot.")


def names_of(values: Any) -> list[str]:
    """The parameters of a stage that reads these values."""
    return [f"x{k}" for k in range(1, len(values) + 1)] if len(values) > 1 else ["x"]


def _operands(values: Any) -> list[str]:
    """What stands for number j of each value; a single number goes with all."""
    return [f"{x}[0]" if value.size == 1 else f"{x}[j]" for x, value in zip(names_of(values), values)]


def _elementwise(source: Any, layer: Any, values: Any, text: str) -> Any:
    source.add(layer, ELEMENTWISE, max(value.size for value in values), reads=values, value=text)
    return source.value


def _folded(sign: str) -> Callable[..., Any]:
    def convert(source: Any, layer: Any, values: Any) -> Any:
        text = f" {sign} ".join(_operands(values))
        if isinstance(layer, layers.Average):
            text = f"({text}) / {len(values)}"
        return _elementwise(source, layer, values, text)

    return convert


def _largest(than: str) -> Callable[..., Any]:
    def convert(source: Any, layer: Any, values: Any) -> Any:
        made = values[0]
        for other in values[1:]:
            first, second = _operands([made, other])
            size = max(made.size, other.size)
            source.add(layer, LARGEST, size, reads=[made, other], first=first, other=second, than=than)
            made = source.value
        return made

    return convert


def _concatenate(source: Any, layer: Any, values: Any) -> Any:
    if layer.axis not in (-1, 2 if values[0].timed else 1):
        refuse(layer, f"cannot be exported to C with axis={layer.axis}: only along the features, axis=-1.")
    return _in_a_row(source, layer, values)


def _in_a_row(source: Any, layer: Any, values: Any) -> Any:
    copies, at = [], 0
    for name, value in zip(names_of(values), values):
        copies.append(f"    for (j = 0; j < {value.size}; j++) y[{at} + j] = {name}[j];\n")
        at += value.size
    source.add(layer, CONCATENATE, at, reads=values, copies="".join(copies))
    return source.value


def copied(source: Any, layer: Any, value: Any) -> Any:
    """Another `Value` with the same numbers."""
    return _in_a_row(source, layer, [value])


JOINING: dict[Any, Any] = {
    layers.Add: _folded("+"),
    layers.Subtract: _folded("-"),
    layers.Multiply: _folded("*"),
    layers.Average: _folded("+"),
    layers.Maximum: _largest(">"),
    layers.Minimum: _largest("<"),
    layers.Concatenate: _concatenate,
}


# ---------------------------------------------------------------- operations
def operation(source: Any, node: Any, values: Any) -> Any:
    """The `Value` of an operation's call."""
    op, name = node.layer, type(node.layer).__name__
    if type(op) is not ops.CLASSES.get(name) or name not in OPERATIONS:
        refuse(op, f"cannot be exported to C. These operations can: {', '.join(sorted(OPERATIONS))}.")
    _check_times(op, values, [tensor.shape for tensor in node.inputs])
    return OPERATIONS[name](source, node, values, op.filled(node.options["template"], values))


def _text_of(source: Any, op: Any, argument: Any, value_names: dict[int, str]) -> str:
    """What stands for number j of an argument: of a `Value`, a number or a vector."""
    if id(argument) in value_names:
        return value_names[id(argument)]
    array = np.asarray(argument, source.dtype)
    if array.ndim > 1 or (array.ndim == 1 and array.size != 1):
        refuse(op, f"takes an array of shape {array.shape}, and can be exported to C with numbers alone.")
    return source.number(array.ravel()[0])


def _calculated(text: str) -> Callable[..., Any]:
    """An operation that a formula in C does for each number; {0} and {1} are its arguments."""
    def convert(source: Any, node: Any, values: Any, arguments: Any) -> Any:
        each: list[Any] = []
        for value in values:        # one that is given twice counts once
            if not any(value is other for other in each):
                each.append(value)
        names = dict(zip(map(id, each), _operands(each)))
        texts = [_text_of(source, node.layer, argument, names) for argument in arguments]
        return _elementwise(source, node.layer, each, text.format(*texts, f=source.f))

    return convert


def _extreme(than: str) -> Callable[..., Any]:
    def convert(source: Any, node: Any, values: Any, arguments: Any) -> Any:
        if len(values) != 2:
            number = next(a for a in arguments if not any(a is value for value in values))
            text = f"({{0}} {than} {{1}} || {{0}} != {{0}} ? {{0}} : {{1}})"
            x, other = _operands(values)[0], _text_of(source, node.layer, number, {})
            return _elementwise(source, node.layer, values, text.format(x, other))
        return _largest(than)(source, node.layer, values)

    return convert


def _activated(activation: Any) -> Callable[..., Any]:
    def convert(source: Any, node: Any, values: Any, arguments: Any) -> Any:
        if node.layer.options.get("axis", -1) not in (-1, len(node.inputs[0].shape) - 1):
            refuse(node.layer, "can be exported to C along the features, axis=-1, only.")
        source.value, n = values[0], values[0].size
        source.add(node.layer, ACTIVATION, n, activation=source.apply(node.layer, activation, n, "y"))
        return source.value

    return convert


def _joined_features(source: Any, node: Any, values: Any, arguments: Any) -> Any:
    if node.layer.options["axis"] not in (-1, len(node.inputs[0].shape) - 1):
        refuse(node.layer, "can be exported to C along the features, axis=-1, only.")
    return _in_a_row(source, node.layer, values)


def _get_item(source: Any, node: Any, values: Any, arguments: Any) -> Any:
    """The last step, x[:, -1], or a slice of the features, x[..., a:b]."""
    op, value, ndim, key = node.layer, values[0], len(node.inputs[0].shape), arguments[1]
    key = list(key) if isinstance(key, (tuple, list)) else [key]
    if Ellipsis in [part for part in key if not isinstance(part, slice)]:
        at = next(i for i, part in enumerate(key) if part is Ellipsis)
        key[at : at + 1] = [slice(None)] * (ndim - len(key) + 1)
    key += [slice(None)] * (ndim - len(key))
    *before, features = key
    time = before[1] if value.timed and ndim == 3 else slice(None)
    whole = slice(None)
    if before[0] != whole or not (time == whole or _is_last(time)) or not isinstance(features, slice):
        refuse(op, "can be exported to C as the last step, x[:, -1], or as a slice of the features only.")
    part = range(value.size)[features]
    if not len(part):
        refuse(op, "takes none of the features, which cannot be exported to C.")
    source.value = value
    source.add(op, SLICE, len(part), ends_time=_is_last(time), start=part.start, step=part.step)
    return source.value


def _is_last(part: Any) -> bool:
    return not isinstance(part, slice) and part == -1


OPERATIONS: dict[str, Any] = {
    "Add": _calculated("{0} + {1}"),
    "Subtract": _calculated("{0} - {1}"),
    "Multiply": _calculated("{0} * {1}"),
    "Divide": _calculated("{0} / {1}"),
    "TrueDivide": _calculated("{0} / {1}"),
    "Negative": _calculated("-{0}"),
    "Square": _calculated("{0} * {0}"),
    "Absolute": _calculated("fabs{f}({0})"),
    "Exp": _calculated("exp{f}({0})"),
    "Log": _calculated("log{f}({0})"),
    "Sqrt": _calculated("sqrt{f}({0})"),
    "Maximum": _extreme(">"),
    "Minimum": _extreme("<"),
    "Tanh": _activated(activations.tanh),
    "Sigmoid": _activated(activations.sigmoid),
    "Relu": _activated(activations.relu),
    "Softmax": _activated(activations.softmax),
    "Concatenate": _joined_features,
    "GetItem": _get_item,
}
