"""Sequences of different lengths, padded on the right: masks, and batches cut to their longest row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arrays import gather
from tdfast.engine.network import Network
from tdfast.engine.stored import Stored
from tdfast.training.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record
    from tdfast.engine.types import Array, Masks, Sizes


class Plan:
    """What may be done with the time axis of a model's inputs, when all steps after a row's length are
    masked.

    Attributes:
        cut: whether a batch may be cut to its longest row, with the same numbers for the steps that are left.
        follows: whether the outputs have the inputs' time axis.
        held: whether outputs after a row's length are all alike, as a recurrent layer makes them.
    """

    def __init__(self, cut: bool, follows: bool, held: bool) -> None:
        self.cut, self.follows, self.held = cut, follows, held


class _Steps:
    """What is known of the time axis at one place in a model.

    Attributes:
        whole, short: the shape with all steps, and with one step less.
        mask: of one sample, or None.
        cut, held: as in `Plan`.
        plan: the result, once the mask has been used up.
    """

    def __init__(self, whole: Sequence[Any], short: Sequence[Any], mask: Masks, cut: bool, held: bool = False,
                 plan: Any = None) -> None:
        self.whole, self.short, self.mask, self.cut, self.held, self.plan = (
            whole,
            short,
            mask,
            cut,
            held,
            plan,
        )


def plan(graph: Any, shapes: Sequence[Any], who: str) -> Plan:
    """The `Plan` for a model's graph, on inputs of these shapes (batch, time, ...).

    Only batches of a chain of layers are cut.

    Raises:
        ValueError: naming the first layer of a chain that cannot carry a mask.
    """
    if not _is_plain_chain(graph):
        return Plan(False, False, False)
    ((batch, T, *rest),) = shapes
    first = _Steps((batch, T, *rest), (batch, max(T - 1, 1), *rest), np.ones((1, T), bool), T > 1)
    (last,) = graph.walk([first], lambda node, steps: _after(node.layer, steps, T, who))
    return last.plan or Plan(last.cut, len(last.whole) > 1 and last.whole[1] == T, last.held)


def _is_plain_chain(graph: Any) -> bool:
    """Whether a graph is a chain of layers that are called on their input alone."""
    return graph.is_chain and not any(node.options for node in graph.nodes)


def _after(layer: Any, steps: _Steps, T: int, who: str) -> _Steps:
    """What is known behind a layer."""
    if steps.plan is not None:
        return steps
    if isinstance(layer, Network) and _is_plain_chain(layer.graph):
        return layer.graph.walk([steps], lambda node, inner: _after(node.layer, inner, T, who))[0]
    cut, short = steps.cut, steps.short
    mask = _mask_after(layer, steps.whole, steps.mask, who)
    whole = _first(layer.compute_output_shape(steps.whole))
    if cut:
        cut = _may_be_cut(layer, short)
        short = _first(layer.compute_output_shape(short)) if cut else short
        cut = cut and (whole == short or (whole[1] == T and short[1] == T - 1))
    held = steps.held or bool(getattr(layer, "return_sequences", False))
    if mask is not None:
        return _Steps(whole, short, mask, cut, held)
    # Whatever took the mask in has used it: nothing after it knows of time, or it is a fault.
    if len(whole) > 2 and whole[1] == T and whole != short and not hasattr(layer, "return_sequences"):
        raise ValueError(
            f"{who}: lengths cannot be kept beyond layer '{layer.name}' ({type(layer).__name__}), which "
            "passes "
            "no mask on. Take it out, or do without lengths."
        )
    return _Steps(whole, short, mask, cut, held, Plan(cut and whole == short, False, held))


def _mask_after(layer: Any, shape: Sizes, mask: Masks, who: str) -> Array:
    if layer.replaces_mask:
        raise ValueError(
            f"{who}: lengths makes a mask, in the place of which layer '{layer.name}' "
            f"({type(layer).__name__}) makes another. "
            "Take that layer out, or do without lengths."
        )
    if not layer.supports_masking:
        raise ValueError(
            f"{who}: lengths makes a mask, which layer '{layer.name}' ({type(layer).__name__}) cannot carry. "
            "Put it after "
            "a recurrent layer with return_sequences=False, or take it out."
        )
    blank = np.broadcast_to(np.zeros((), layer.dtype), (1, *shape[1:]))
    mask = layer.compute_mask(blank, mask)
    return mask[0] if isinstance(mask, list) else mask


def _may_be_cut(layer: Any, shape: Sizes) -> bool:
    """Whether a layer takes fewer steps than it was built for, and computes the same at each of them."""
    if layer.batch_coupled or layer.reads_masked_steps or layer.activity_regularizer is not None:
        return False
    if getattr(layer, "return_sequences", False) and getattr(layer, "go_backwards", False):
        return False                    # its outputs come in the reverse order: the first are the padding's
    try:
        layer.check_input_shape(shape)
    except ValueError:
        return False
    return True


def _first(shape: Sizes) -> tuple[Any, ...]:
    return tuple(shape[0] if isinstance(shape, list) else shape)


class Padding:
    """Gathers batches of sequences padded on the right.

    Args:
        lengths: for each input (N,) valid steps of each sample, or None.
        plan: the model's `Plan`.
    """

    def __init__(self, lengths: Any, plan: Plan) -> None:
        self.lengths, self.plan = lengths, plan

    def by_length(self, n: Any) -> Any:
        """The first ``n`` samples, the longest before the others."""
        first = next(lengths for lengths in self.lengths if lengths is not None)
        return np.argsort(-first[:n], kind="stable")

    def gather(self, arrays: Batch, index: Array, buffers: Record, spare: int = 0) -> Batch:
        """The `Batch` of some rows, cut to the longest of them and ``spare`` steps more."""
        T, steps = arrays.inputs[0].shape[1] if arrays.inputs[0].ndim > 1 else 0, None
        if self.plan.cut:
            steps = min(max(int(self.lengths[0][index].max()), 1) + spare, T)

        def rows(name: Any, a: Array | None, timed: bool) -> Array | None:
            return None if a is None else _rows(buffers, name, a, index, steps if timed else None)

        def follows(a: Array | None) -> bool:
            return a is not None and self.plan.follows and a.ndim > 1 and a.shape[1] == T

        masks = []
        for k, (lengths, x) in enumerate(zip(self.lengths, arrays.inputs)):
            mask = None
            if lengths is not None:
                mask = buffers.buffer(("lengths", k), (len(index), steps or x.shape[1]), np.bool_)
                np.less(np.arange(mask.shape[1]), lengths[index][:, None], out=mask)
            masks.append(mask)
        return Batch(
            tuple(rows(("x", k), a, True) for k, a in enumerate(arrays.inputs)),
            tuple(rows(("y", k), a, follows(a)) for k, a in enumerate(arrays.targets)),
            tuple(rows(("weight", k), a, follows(a)) for k, a in enumerate(arrays.weights)),
            tuple(masks),
        )


def _rows(buffers: Record, name: Any, a: Array, index: Array, steps: int | None) -> Array:
    """The rows ``a[index, :steps]`` in reused memory."""
    if steps is None or steps == a.shape[1]:
        out = buffers.buffer(name, (len(index), *a.shape[1:]), a.dtype)
        return gather(a, index, out)
    out = buffers.buffer(name, (len(index), steps, *a.shape[2:]), a.dtype)
    if isinstance(a, Stored):
        np.copyto(out, a.take(index)[:, :steps])
        return out
    for row, i in zip(out, index):
        row[...] = a[i, :steps]
    return out
