"""The last layers and the loss on the steps that a mask leaves, and on no other.

What comes out at a masked step is nothing to the loss and the metrics. So where a recurrent layer is followed by layers
that see one step at a time, training and evaluation let it hand over the valid steps of the batch alone, as one long
sequence, and take the targets and weights of these. `predict` and calls of the model compute all steps.
"""

from tdfast.layers import (
    ELU,
    Activation,
    Dense,
    Dropout,
    LayerNormalization,
    LeakyReLU,
    ReLU,
    TimeDistributed,
)
from tdfast.losses.base import KernelLoss, spread
from tdfast.metrics.reduction import LossMean

STEPWISE = {Dense, Activation, ReLU, LeakyReLU, ELU, Dropout, LayerNormalization, TimeDistributed}
"""Layers whose output at a step depends on their input at that step. Subclasses may differ, and do not count."""


def starts_at(layers, loss, metrics):
    """The place among ``layers`` of the recurrent layer that can leave masked steps out; None if there is none.

    Args:
        layers: those of a model, none with an activity_regularizer.
        loss: of the model.
        metrics: its metrics, or names that are still to become one.

    >>> from tdfast import layers, losses
    >>> stack = [layers.Masking(), layers.GRU(4, return_sequences=True), layers.Dense(2)]
    >>> starts_at(stack, losses.get("mse"), ["accuracy"]), starts_at(stack, losses.get("dice"), [])
    (1, None)
    """
    if not _by_rows(loss) or not all(isinstance(m, str) or (isinstance(m, LossMean) and _by_rows(m.function)) for m in metrics):
        return None
    i = len(layers) - 1
    while i >= 0 and type(layers[i]) in STEPWISE and _sees_one_step(layers[i]):
        i -= 1
    return i if i >= 0 and getattr(layers[i], "can_be_compact", False) else None


def _by_rows(loss):
    """Whether each row of the outputs has a value of its own."""
    return isinstance(loss, KernelLoss) and getattr(loss, "axis", -1) == -1


def _sees_one_step(layer):
    if isinstance(layer, LayerNormalization):
        return layer.axis in ([-1], [2])
    return not layer.batch_coupled and getattr(layer, "noise_shape", None) is None


def facing(y_pred, y, sample_weight, valid, buffers):
    """(targets, weights) for the outputs of the valid steps.

    Args:
        y_pred: (1, valid steps, ...).
        y, sample_weight: of the whole batch.
        valid: the `ValidSteps` of the recurrent layer.
        buffers: a `tdfast.engine.layer.Record`.
    """
    steps = y.shape[:2]
    if y.ndim == 2 and y_pred.shape[-1] == 1:
        y = y[..., None]
    if sample_weight is not None:
        sample_weight = valid.pick(spread(sample_weight, steps, "sample_weight"), buffers, "valid weights")
    return valid.pick(y, buffers, "valid targets"), sample_weight
