"""The table of `model.summary()`, in Keras's text."""

from __future__ import annotations

import html
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.console import say
from tdfast.engine.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Sizes

WIDTH, GRAPH_WIDTH = 88, 108
COLUMNS = [("Layer (type)", 0.45, "left"), ("Output Shape", 0.80, "left"), ("Param #", 1.0, "right")]
GRAPH_COLUMNS = [("Layer (type)", 0.3, "left"), ("Output Shape", 0.56, "left"), ("Param #", 0.74, "right"),
                 ("Connected to", 1.0, "left")]


def print_summary(model: Any, line_length: int | None = None, print_fn: Any = None,
                  expand_nested: bool = False, show_trainable: bool = False, positions: Any = None,
                  layer_range: Sequence[str] | None = None) -> None:
    """Print a model's layers, their output shapes and their numbers of weights.

    Args:
        model: has ``name``, ``layers`` and weights.
        line_length: characters in a line; None: 88, or 4 fewer than the terminal has.
        print_fn: called once with the whole text instead of printing it.
        expand_nested: also list the layers of models within the model.
        show_trainable: add a column that says whether training changes the layer.
        positions: where each column ends, as parts of the line.
        layer_range: two names, or patterns, of the first and the last layer to list.

    Raises:
        ValueError: if the line is too short for the columns, or a range names no layer.
    """
    text = summary_text(model, line_length, expand_nested, show_trainable, positions, layer_range)
    if print_fn is None:
        say(text, end="")
    else:
        print_fn(text)


def summary_text(model: Any, line_length: int | None = None, expand_nested: bool = False,
                 show_trainable: bool = False, positions: Any = None,
                 layer_range: Sequence[str] | None = None) -> Any:
    """The text that `print_summary` prints."""
    columns = COLUMNS if is_stack(model) else GRAPH_COLUMNS
    header = [name for name, _, _ in columns]
    align = [a for _, _, a in columns]
    positions = list(positions or [p for _, p, _ in columns])
    width = WIDTH if columns is COLUMNS else GRAPH_WIDTH
    if show_trainable:
        header, align = [*header, "Trainable"], [*align, "center"]
        positions = [p * 0.9 for p in positions] + [1.0]
        width += 12
    line_length = line_length or min(width, shutil.get_terminal_size().columns - 4)
    rows = [header, *_all_rows(model, expand_nested, show_trainable, layer_range)]
    lines = [f'Model: "{model.name}"', *_table(rows, _widths(positions, line_length), align)]
    return "\n".join([*lines, *_totals(model)]) + "\n"


def _all_rows(model: Any, expand_nested: bool = False, show_trainable: bool = False,
              layer_range: Sequence[str] | None = None) -> list[Any]:
    """The texts of the table, a row for each layer."""
    connections = None if is_stack(model) else _connections(model)
    by_attribute = getattr(model, "has_layers_as_attributes", False)
    listed = model.layers if by_attribute or getattr(model, "graph", None) is None else model.sublayers()
    return [row for layer in _range(listed, layer_range)
            for row in _rows(layer, expand_nested, show_trainable, connections, 0)]


def summary_html(model: Any) -> str:
    """What `summary_text` says, as HTML, for notebooks.

    >>> from tdfast import Sequential, layers
    >>> text = summary_html(Sequential([layers.LSTM(8, input_shape=(20, 3)), layers.Dense(1)]))
    >>> text.count("<tr>"), "lstm" in text, "Total params: 393" in text
    (3, True, True)
    """
    columns = COLUMNS if is_stack(model) else GRAPH_COLUMNS
    head = "".join(f'<th style="text-align:{align}">{name}</th>' for name, _, align in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:{align}">{html.escape(text)}</td>'
                         for text, (_, _, align) in zip(row, columns)) + "</tr>"
        for row in _all_rows(model))
    totals = "<br>".join(html.escape(line.strip()) for line in _totals(model) if line.strip())
    return (f"<p><b>{html.escape(model.name)}</b> ({html.escape(type(model).__name__)})</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{totals}</p>")


def is_stack(model: Any) -> Any:
    """Whether each layer is called once, on one output of the layer before; any may give outputs."""
    if getattr(model, "has_layers_as_attributes", False):
        return True
    graph = getattr(model, "graph", None)
    if graph is None:
        return True
    given, layers = graph.inputs, {id(node.layer) for node in graph.nodes}
    for node in graph.nodes:
        if len(node.needs) != 1 or not any(node.needs[0] is tensor for tensor in given):
            return False
        given = node.outputs
    return len(graph.inputs) == 1 and len(layers) == len(graph.nodes)


def _connections(model: Any) -> Any:
    """What each layer is called on, by the layer's id: "lstm[0][0], dense[1][0]" for call 0 and call 1."""
    numbers: dict[Any, Any] = {}
    for node in model.graph.nodes:
        numbers[node] = sum(other.layer is node.layer for other in numbers)
    found: dict[Any, Any] = {}
    for node, _ in numbers.items():
        for tensor in node.needs:
            call = numbers.get(tensor.node, 0)
            found.setdefault(id(node.layer), []).append(f"{tensor.node.layer.name}[{call}][{tensor.index}]")
    return {layer: ", ".join(names) for layer, names in found.items()}


def _rows(layer: Any, expand_nested: bool, show_trainable: bool, connections: Any, depth: Any) -> Any:
    prefix = "   " * depth + "└ " if depth else ""
    row = [f"{prefix}{layer.name} ({type(layer).__name__})", shape_text(layer), _params_text(layer)]
    if connections is not None:
        row.append("-" if depth else connections.get(id(layer), "-"))
    if show_trainable:
        row.append(("Y" if layer.trainable else "N") if layer.weights else "-")
    rows = [row]
    if expand_nested:
        for inner in getattr(layer, "layers", None) or []:
            rows += _rows(inner, expand_nested, show_trainable, connections, depth + 1)
    return rows


def shape_text(layer: Any) -> Any:
    """``(None, 64, 8)``, or ``?`` before the layer is built."""
    if not layer.built or (getattr(layer, "built_at_once", False) and layer.input_shape is None):
        return "?"
    return _shapes(layer, "output")


def input_shape_text(layer: Any) -> Any:
    """What `shape_text` says of the output, of the input."""
    return _shapes(layer, "input")


def _shapes(layer: Any, end: Any) -> Any:
    """The text of one end of a layer's first call in a graph; of a layer without calls, of its shape."""
    if getattr(layer, "_nodes", None):
        shapes = [tensor.shape for tensor in getattr(layer._nodes[0], f"{end}s")]
        shape = shapes[0] if len(shapes) == 1 else shapes
    else:
        shape = getattr(layer, f"{end}_shape")
    if shape and isinstance(shape[0], (tuple, list)):
        return "[" + ", ".join(_shape(s) for s in shape) + "]"
    return _shape(shape)


def _shape(shape: Sizes) -> str:
    return f"({', '.join(map(str, shape))})"


def _params_text(layer: Any) -> Any:
    return f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"


def _range(layers: Any, names: Any) -> Any:
    """The layers from the first that matches ``names[0]`` to the last that matches ``names[1]``."""
    if names is None:
        return layers
    if len(names) != 2 or not all(isinstance(n, str) for n in names):
        raise ValueError(f"layer_range must be two names or patterns, got {names!r}.")
    first, last = ([i for i, layer in enumerate(layers) if re.match(n, layer.name)] for n in names)
    if not first or not last:
        known = ", ".join(layer.name for layer in layers)
        raise ValueError(f"layer_range={names!r} names no layer of the model. Its layers: {known}.")
    if first[0] > last[-1]:
        first, last = last, first
    return layers[first[0] : last[-1] + 1]


# -------------------------------------------------------------------------------------------- table
def _widths(positions: Any, line_length: int) -> Any:
    """The columns' widths between the lines, one space at each side included.

    Each column wants its part of the line and two spaces; what is too much then is taken from all
    of them evenly.
    """
    ends = [int(p * line_length) for p in positions]
    widths = [end - start + 2 for start, end in zip([0, *ends], ends)]
    if min(widths) < 6:
        raise ValueError(f"summary: a line of {line_length} characters is too short for the columns.")
    excess = sum(widths) - (line_length - len(widths) - 1)
    for i, width in enumerate(widths):
        share = min(round(excess / (len(widths) - i)), width)
        widths[i] -= share
        excess -= share
    return widths


def _table(rows: Any, widths: Any, align: Any) -> Any:
    def line(left: Any, middle: Any, right: Any, stroke: Any) -> Any:
        return left + middle.join(stroke * w for w in widths) + right

    out = [line("┏", "┳", "┓", "━")]
    for i, row in enumerate(rows):
        cells = [wrap(text, w - 2) for text, w in zip(row, widths)]
        height = max(map(len, cells))
        edge = "┃" if i == 0 else "│"
        for cell in cells:
            # The header stands at the bottom of its row, all else at the top.
            blank = [""] * (height - len(cell))
            cell[:] = blank + cell if i == 0 else cell + blank
        for k in range(height):
            parts = [f" {_aligned(cell[k], w - 2, a)} " for cell, w, a in zip(cells, widths, align)]
            out.append(edge + edge.join(parts) + edge)
        if i == 0:
            out.append(line("┡", "╇", "┩", "━"))
        elif i < len(rows) - 1:
            out.append(line("├", "┼", "┤", "─"))
    out.append(line("└", "┴", "┘", "─"))
    return out


def _aligned(text: str, width: int, how: Any) -> Any:
    return {"left": text.ljust, "right": text.rjust, "center": lambda w: _center(text, w)}[how](width)


def _center(text: str, width: int) -> Any:
    left = (width - len(text)) // 2
    return " " * left + text + " " * (width - len(text) - left)


def wrap(text: str, width: int) -> list[Any]:
    """``text`` in lines of at most ``width``, broken at spaces; what is too long ends in an ellipsis.

    >>> wrap("time_distributed (TimeDistributed)", 20), wrap("time_distributed", 8)
    (['time_distributed', '(TimeDistributed)'], ['time_di…'])
    """
    lines, line = [], ""
    for word in re.findall(r"\s*\S+\s*", text):
        if line and len(line) + len(word.rstrip()) > width:
            lines.append(line)
            line = ""
        line += word
    lines = [each.rstrip() for each in [*lines, line]]
    return [each if len(each) <= width else each[: width - 1] + "…" for each in lines]


# -------------------------------------------------------------------------------------------- totals
def _totals(model: Any) -> list[Any]:
    trainable = _unique(model.trainable_weights)
    others = _unique(model.non_trainable_weights)
    counts = [_count(trainable), _count(others)]
    names = ["Trainable params", "Non-trainable params"]
    optimizer = getattr(model, "optimizer", None)
    slots = getattr(optimizer, "variables", None)
    if slots and getattr(optimizer, "built", True):
        names.append("Optimizer params")
        counts.append(_count(slots))
    counts.insert(0, (sum(n for n, _ in counts), sum(size for _, size in counts)))
    names.insert(0, "Total params")
    return [f" {name}: {n:,} ({memory(size)})" for name, (n, size) in zip(names, counts)]


def _unique(weights: Any) -> list[Any]:
    return list({id(w): w for w in weights}.values())


def _count(arrays: Any) -> tuple[Any, ...]:
    """(elements, bytes) of some variables or arrays; whole numbers count 4 bytes, as in a saved file."""
    elements = size = 0
    for array in arrays:
        array = array.value if isinstance(array, Variable) else np.asarray(array)
        elements += array.size
        size += array.size * (array.dtype.itemsize if array.dtype.kind == "f" else 4)
    return elements, size


def memory(size: Any) -> str:
    """``26.28 KB`` for a number of bytes.

    >>> memory(100), memory(26912)
    ('100.00 B', '26.28 KB')
    """
    units = ["B", "KB", "MB", "GB", "TB", "PB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.2f} {units[0]}"
