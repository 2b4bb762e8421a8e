"""Recurrent layers as ONNX's LSTM, GRU and RNN nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.layers import GRU, LSTM, Bidirectional
from tdfast.saving.exporting import refuse
from tdfast.saving.onnx.activations import cell_attributes

if TYPE_CHECKING:
    from tdfast.engine.types import Masks

# Where ONNX's gates stand in Keras's weights: ONNX has LSTM i o f c and GRU z r h, Keras LSTM i f c o and GRU
# z r h.
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2), "RNN": (0,)}


def recurrent(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
    """LSTM, GRU and SimpleRNN."""
    return run_with_states(g, layer, x, mask)[0], mask if layer.return_sequences else None


def bidirectional(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> tuple[Any, ...]:
    """Bidirectional: one node for both directions where the two layers are alike but for their weights."""
    return run_with_states(g, layer, x, mask)[0], mask if layer.return_sequences else None


def run_with_states(g: Any, layer: Any, x: Any, mask: Masks, first: Any = None,
                    inner: bool = False) -> list[Any]:
    """The output of a layer, and then its last states.

    Args:
        first: values of the states to begin with, in the layer's order; None: zeros, or inputs of the graph.
        inner: whether the last states are values for other layers, and so no outputs of the graph for
            return_state's sake.
    """
    cells = layer.sublayers() if isinstance(layer, Bidirectional) else [layer]
    given = iter(first or [])
    begin = {cell: [next(given) for _ in range(cell.n_states)] for cell in cells} if first else {}
    ys, states = _run(g, layer, cells, x, mask, begin, inner)
    y = _merged(g, layer, *ys) if isinstance(layer, Bidirectional) else ys[0]
    return [y, *(state for cell in cells for state in states[cell])]


def _merged(g: Any, layer: Any, y: Any, y_rev: Any) -> Any:
    """The outputs of both directions as one."""
    if layer.merge_mode is None:
        refuse(layer, "cannot be exported: with merge_mode=None it has two outputs.")
    if layer.return_sequences:
        y_rev = g.reversed(y_rev, 1)
    if layer.merge_mode == "concat":
        y = g.node("Concat", y, y_rev, axis=-1)
    else:
        y = g.node("Mul" if layer.merge_mode == "mul" else "Add", y, y_rev)
        if layer.merge_mode == "ave":
            y = g.node("Mul", y, g.number(0.5))
    return y


def _run(g: Any, layer: Any, cells: Any, x: Any, mask: Masks, begin: Any, inner: Any) -> tuple[Any, ...]:
    """(outputs of recurrent layers over one input, each in the order of its run; their last states)."""
    if layer.stateful and not g.states:
        refuse(
            layer,
            "is stateful, but a graph keeps nothing from one call to the next: export with states=True, "
            "and hand the states on yourself (not possible inside TimeDistributed).",
        )
    compact = x if mask is None else mask.compact(x)
    time_first = g.node("Transpose", compact, perm=(1, 0, 2))
    groups = [cells] if len({_likeness(cell) for cell in cells}) == 1 else [[cell] for cell in cells]
    outputs: dict[Any, Any] = {}
    states: dict[Any, Any] = {}
    for group in groups:
        _node(g, group, x, time_first, mask, begin, inner, outputs, states)
    return [outputs[cell] for cell in cells], states


def _likeness(cell: Any) -> tuple[Any, ...]:
    return _kind(cell), cell.units, getattr(cell, "reset_after", None), cell.return_sequences


def _kind(cell: Any) -> Any:
    return "LSTM" if isinstance(cell, LSTM) else "GRU" if isinstance(cell, GRU) else "RNN"


def _node(g: Any, cells: Any, x: Any, time_first: Any, mask: Masks, begin: Any, inner: Any, outputs: Any,
          ends: Any) -> None:
    """One node for one layer, or for two of opposite directions; adds their outputs, each in the order of
    its run, and their last states."""
    kind, sequences = _kind(cells[0]), cells[0].return_sequences
    # In a node of two directions, the one that begins at the end is the second.
    ordered = sorted(cells, key=lambda cell: cell.go_backwards)
    attributes = {"hidden_size": cells[0].units, **_activations(ordered)}
    if len(cells) == 2:
        attributes["direction"] = "bidirectional"
    elif cells[0].go_backwards:
        attributes["direction"] = "reverse"
    if kind == "GRU":
        attributes["linear_before_reset"] = int(cells[0].reset_after)
    weights = [g.weight(name, np.stack(parts)) for name, parts in zip("WRB", zip(*map(_weights, ordered)))]
    names = {cell: g.public_name(cell) for cell in ordered}
    first = [
        [g.add_axis(state, 0) for state in begin[cell]] if begin else _first_states(g, cell, x, names[cell])
        for cell in ordered
    ]
    starts = [g.node("Concat", *states, axis=0) for states in zip(*first)]
    lengths = "" if mask is None else mask.lengths
    y, *last = g.node(kind, time_first, *weights, lengths, *starts,
                      outputs=[sequences, *[True] * cells[0].n_states], **attributes)
    for d, cell in enumerate(ordered):
        states = [_direction(g, s, d, len(cells), axis=0) for s in last]
        end = states[0]
        if mask is not None:
            end = g.node("Where", mask.some, end, g.number(0))
            states = [g.node("Where", mask.some, s, g.node("Squeeze", before, g.integers(0)) if before
                             else g.number(0))
                      for s, before in zip(states, first[d] or [None] * len(states))]
        if sequences:
            out = g.node("Transpose", _direction(g, y, d, len(cells), axis=1), perm=(1, 0, 2))
            if mask is not None:
                out = g.node("Where", mask.front, out, g.number(0))
                out = mask.expand(out, cell.go_backwards, cell.zero_output_for_mask)
            outputs[cell] = g.reversed(out, 1) if cell.go_backwards else out
        else:
            outputs[cell] = end
            if mask is not None and cell.zero_output_for_mask:
                outputs[cell] = g.node("Where", mask.at_end(cell.go_backwards), end, g.number(0))
        ends[cell] = states
        if g.states or (cell.return_state and not inner):
            for letter, state in zip("hc", states):
                g.output(f"{names[cell]}_{letter}", state, g.dtype, ("batch", cell.units))


def _direction(g: Any, value: Any, d: Any, n: Any, axis: int) -> Any:
    """One direction's part of a node's output."""
    if n == 1:
        return g.node("Squeeze", value, g.integers(axis))
    return g.node("Gather", value, g.constant(np.int64(d)), axis=axis)


def _activations(cells: Any) -> dict[str, Any]:
    """The functions of the gates, the input and the output, for each direction."""
    names: list[Any] = []
    alphas: list[Any] = []
    betas: list[Any] = []
    for cell in cells:
        functions = {"LSTM": lambda c: (c.recurrent_activation, c.activation, c.activation),
                     "GRU": lambda c: (c.recurrent_activation, c.activation),
                     "RNN": lambda c: (c.activation,)}[_kind(cell)](cell)
        for total, part in zip((names, alphas, betas), cell_attributes(cell, functions)):
            total += part
    return {"activations": names, **({"activation_alpha": alphas} if alphas else {}),
            **({"activation_beta": betas} if betas else {})}


def _weights(cell: Any) -> tuple[Any, ...]:
    """(W, R, B) of one direction: Keras's kernel, recurrent kernel and bias with ONNX's gates."""
    order = GATES[_kind(cell)]

    def gates(w: Any) -> Any:
        return np.concatenate([np.split(w, len(order), axis=-1)[i] for i in order], axis=-1)

    width = len(order) * cell.units
    inputs, state = np.zeros(width), np.zeros(width)
    if cell.use_bias:
        bias = cell.bias.value
        inputs, state = bias if bias.ndim == 2 else (bias, state)
    bias = np.concatenate([gates(inputs), gates(state)])
    return gates(cell.kernel.value).T, gates(cell.recurrent_kernel.value).T, bias


def _first_states(g: Any, cell: Any, x: Any, public: Any) -> Any:
    """The states to begin with, (1, batch, units) each: inputs of the graph, 0 when left out; [] without
    states."""
    if not g.states:
        return []
    shape = g.node("Concat", g.sizes(x, 0, 1), g.integers(cell.units), axis=0)
    made = []
    for letter in "hc"[: cell.n_states]:
        name = f"{public}_{letter}0"
        # A default has to have a size: one row, which stands for all.
        given = g.input(name, g.dtype, (f"{name}_batch", cell.units),
                        default=np.zeros((1, cell.units), g.dtype))
        made.append(g.add_axis(g.node("Expand", given, shape), 0))
    return made
