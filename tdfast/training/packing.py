"""The last layers and the loss on the steps that a mask leaves, and on no other.

What comes out at a masked step is nothing to the loss and the metrics. So where a recurrent layer is followed
by layers that see one step at a time, training and evaluation let it hand over the valid steps of the batch
alone, as one long sequence, and take the targets and weights of these. `predict` and calls of the model
compute all steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.losses.base import KernelLoss, spread
from tdfast.metrics.reduction import LossMean

if TYPE_CHECKING:
    from tdfast.engine.tape import Record
    from tdfast.engine.types import Data
    from tdfast.layers.recurrent.packed import PackedSteps


def starts_at(graph: Any, loss: Any, metrics: Any) -> int | None:
    """The number of the recurrent layer's call that can leave masked steps out; None if there is none.

    Args:
        graph: the `tdfast.engine.graph.Graph` of a model, with no activity_regularizer in it.
        loss: of the model.
        metrics: its metrics, or names that are still to become one.

    >>> from tdfast import layers, losses
    >>> from tdfast.engine.graph import Graph
    >>> graph = Graph.chain([layers.Masking(), layers.GRU(4, return_sequences=True), layers.Dense(2)])
    >>> starts_at(graph, losses.get("mse"), ["accuracy"]), starts_at(graph, losses.get("dice"), [])
    (1, None)
    """
    if not _by_rows(loss) or not all(isinstance(m, str) or (isinstance(m, LossMean) and _by_rows(m.function))
                                     for m in metrics):
        return None
    if len(graph.outputs) != 1:
        return None
    node = graph.outputs[0].node
    while (
        node is not None
        and is_per_step(node.layer)
        and len(node.inputs) == 1
        and graph.reads(node.inputs[0]) == 1
    ):
        node = node.inputs[0].node
    return graph.nodes.index(node) if node is not None and getattr(node.layer, "can_be_packed",
                                                                   False) else None


def is_per_step(layer: Any) -> bool:
    """Whether a layer says so itself: a subclass with another `forward` may differ from what its base
    says."""
    for cls in type(layer).__mro__:
        if "per_step" in vars(cls):
            return bool(layer.per_step)
        if "forward" in vars(cls):
            return False
    return False


def _by_rows(loss: Any) -> bool:
    """Whether each row of the outputs has a value of its own."""
    return isinstance(loss, KernelLoss) and getattr(loss, "axis", -1) == -1


def pack_targets(y_pred: Any, y: Data, sample_weight: Data, valid: PackedSteps,
                 buffers: Record) -> tuple[Any, ...]:
    """(targets, weights) for the outputs of the valid steps.

    Args:
        y_pred: (1, valid steps, ...).
        y, sample_weight: of the whole batch.
        valid: the `PackedSteps` of the recurrent layer.
        buffers: a `tdfast.engine.layer.Record`.
    """
    steps = y.shape[:2]
    if y.ndim == 2 and y_pred.shape[-1] == 1:
        y = y[..., None]
    if sample_weight is not None:
        sample_weight = valid.pick(spread(sample_weight, steps, "sample_weight"), buffers, "valid weights")
    return valid.pick(y, buffers, "valid targets"), sample_weight
