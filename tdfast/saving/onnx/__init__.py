"""Models as ONNX files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tdfast._version import __version__
from tdfast.compat.calling import spelled
from tdfast.saving.atomic import replacing
from tdfast.saving.exporting import check_model
from tdfast.saving.onnx.converters import convert_model
from tdfast.saving.onnx.graph import OPSETS, Graph
from tdfast.saving.onnx.masks import Mask


@spelled
def export_onnx(model: Any, path: Any, states: Any = False, lengths: bool = False, opset: int = 17) -> None:
    """Write a model to an ONNX file that computes what `predict` does.

    Recurrent layers become LSTM, GRU and RNN nodes. The batch, and each axis of the input whose size the
    model leaves open (None), may have any size. The graph's input is "input" and its output "output"; several
    have the names of their layers, and the second output of a layer "<layer>_1". A `Masking` layer or an
    `Embedding` with mask_zero finds the steps to leave out in the data, wherever they are. A layer that is
    called twice has its weights in the file once.

    Args:
        model: a built model, all of one dtype.
        path: of the file; an older one is replaced when the new one is complete and on the disk.
        states: recurrent layers' first states become inputs, "<layer>_h0" and for an LSTM "<layer>_c0"
            (batch, units), that may be left out (zeros), and their last states outputs, "<layer>_h" and
            "<layer>_c"; those of a layer's second call begin with "<layer>_2". The names of models and
            wrappers around a layer come before its own, with "/"; layers inside TimeDistributed keep theirs.
        lengths: one more input, "lengths", int32 (batch,), as in ``predict(x, lengths=lengths)``: how many
            steps of each row count, for sequences padded on the right.
        opset: the version of ONNX's operators, 17 to 22.

    Raises:
        ValueError: naming the layer, and its option, that ONNX cannot express.
        ImportError: without the package onnx, naming the extra to install.

    Source: https://onnx.ai/onnx/operators/

    >>> import tdfast
    >>> gru = tdfast.layers.GRU(4, stateful=True, name="memory", batch_shape=(1, None, 3))
    >>> model = tdfast.Sequential([gru])
    >>> export_onnx(model, "model.onnx")
    Traceback (most recent call last):
    ...
    ValueError: Layer 'memory' (GRU) is stateful, but a graph keeps nothing from one call to the next: export
        with ...
    """
    check_model(model, "export_onnx")
    if any(tensor.dtype == "string" for tensor in model.inputs):
        raise ValueError(
            f"export_onnx: model '{model.name}' takes strings, which are not exported. Export the part "
            "behind the layer that makes numbers of them."
        )
    if opset not in OPSETS:
        raise ValueError(
            f"export_onnx: opset must be a whole number from {OPSETS[0]} to {OPSETS[-1]}, got {opset!r}."
        )
    graph = _graph_of(model, bool(states), bool(lengths), int(opset))
    proto = graph.to_model(model.name, __version__)
    with replacing(os.fspath(path)) as file:
        file.write(proto.SerializeToString())


def _graph_of(model: Any, states: Any, lengths: Any, opset: Any) -> Any:
    g = Graph(model.dtype, opset, states)
    if len(model.input_shapes) > 1 or len(model.outputs) > 1:
        return _several(g, model, lengths)
    shape = (None, *model.input_shapes[0][1:])
    # Integers where the first layer looks things up, numbers of the model's dtype elsewhere.
    kind = model.as_input(np.zeros([size or 1 for size in shape])).dtype
    x = g.input("input", kind, _dims(shape))
    mask = None
    if lengths:
        if len(shape) < 2 or (len(shape) == 2 and kind == g.dtype):
            raise ValueError(
                f"export_onnx: lengths=True needs a model of sequences, but '{model.name}' takes inputs of "
                "shape "
                f"{shape}."
            )
        mask = given = Mask.of_lengths(g, g.input("lengths", np.int32, ("batch",)), x)
    y, out, _ = convert_model(g, model, x, shape, mask)
    if lengths and not given.used:
        raise ValueError(
            f"export_onnx: lengths=True changes nothing, as no layer of model '{model.name}' uses a mask."
        )
    g.output("output", y, g.dtype, _dims(out, keeps_time=_keeps_time(model)), first=True)
    return g


def _several(g: Any, model: Any, lengths: Any) -> Any:
    """The graph of a model with several inputs or outputs, which have its layers' names."""
    if lengths:
        raise ValueError(
            f"export_onnx: lengths=True is for models with one input and one output, and '{model.name}' has "
            f"{len(model.inputs)} and {len(model.outputs)}."
        )
    names = model.input_names if len(model.inputs) > 1 else ["input"]
    shapes = [(None, *shape[1:]) for shape in model.input_shapes]
    xs = []
    for name, shape, (_, as_input) in zip(names, shapes, model.converters()):
        kind = as_input(np.zeros([size or 1 for size in shape])).dtype
        dims = tuple("batch" if axis == 0 else f"{name}_{axis}" if size is None else size
                     for axis, size in enumerate(shape))
        xs.append(g.input(name, kind, dims))
    masks = [None] * len(xs)
    given = (xs, shapes, masks) if len(xs) > 1 else (xs[0], shapes[0], None)
    made, out, _ = convert_model(g, model, *given)
    made, out = (made, out) if isinstance(made, list) else ([made], [out])
    ends = _numbered(model.head_names) if len(made) > 1 else ["output"]
    for name, y, shape in reversed(list(zip(ends, made, out))):
        dims = tuple("batch" if axis == 0 else f"{name}_{axis}" if size is None else size
                     for axis, size in enumerate(shape))
        g.output(name, y, g.dtype, dims, first=True)
    return g


def _numbered(names: Any) -> list[Any]:
    """Names that differ: of those that are alike the second becomes "<name>_1".

    >>> _numbered(["lstm", "dense", "lstm"])
    ['lstm', 'dense', 'lstm_1']
    """
    return [f"{name}_{names[:i].count(name)}" if name in names[:i] else name for i, name in enumerate(names)]


def _dims(shape: Any, keeps_time: bool = True) -> tuple[Any, ...]:
    """Names for the sizes that are open."""
    names = {0: "batch", **({1: "time"} if keeps_time else {})}
    return tuple(names.get(axis) if size is None else size for axis, size in enumerate(shape))


def _keeps_time(model: Any) -> bool:
    """Whether the output has as many steps as the input, where that number is open."""
    (shape,) = model.input_shapes
    if len(shape) < 2 or shape[1] is not None:
        return False
    for steps in (101, 102):
        out = model.compute_output_shape((None, steps, *shape[2:]))
        out = out[0] if isinstance(out, list) else out
        if len(out) < 2 or out[1] != steps:
            return False
    return True
