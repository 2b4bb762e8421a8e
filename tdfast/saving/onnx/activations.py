"""Activations in ONNX: as nodes of their own, and inside recurrent nodes."""

from __future__ import annotations

from typing import Any

from tdfast.engine.activation_table import TABLE
from tdfast.saving.exporting import activation_entry

NODES = {name: row.onnx for name, row in TABLE.items()}
NODES.update({f"{name} with": row.onnx_with for name, row in TABLE.items() if row.onnx_with})
"""By name: a function of the graph and a value that adds f(value); those "with" parameters take them too, by
name."""

IN_CELLS = {name: row.cell for name, row in TABLE.items() if row.cell}
"""By name: what a recurrent node calls it, its alpha and its beta, as far as it has them."""


def activate(g: Any, layer: Any, x: Any) -> Any:
    """f(x) for the layer's activation."""
    to_nodes = activation_entry(layer, layer.activation, NODES, "ONNX")
    return to_nodes(g, x, **getattr(layer.activation, "parameters", {}))


def cell_attributes(layer: Any, activations: Any) -> tuple[Any, ...]:
    """(names, alphas, betas) for a recurrent node; alphas and betas of those functions alone that have
    one."""
    entries = [activation_entry(layer, f, IN_CELLS, "ONNX, in whose recurrent nodes it is,")
               for f in activations]
    names, alphas, betas = zip(*entries)
    return list(names), sum(alphas, []), sum(betas, [])
