"""Losses within functions whose derivative is wanted: in a layer's or a loss's own ``call``, or in a loop of
one's own."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import tracing
from tdfast.engine.variable import Variable
from tdfast.losses.base import Loss, as_outputs, row_weights
from tdfast.losses.classification import BinaryCrossentropy, CategoricalCrossentropy
from tdfast.losses.regression import Huber, LogCosh, MeanAbsoluteError, MeanSquaredError

if TYPE_CHECKING:
    from tdfast.engine.types import Array

_OF_THE_DIFFERENCE = (MeanSquaredError, MeanAbsoluteError, Huber, LogCosh)
"""Losses of y_pred - y_true alone."""


def concerns(*values: Any) -> bool:
    """Whether a derivative by one of these is wanted."""
    from tdfast.engine import derivatives

    return derivatives.is_traced([_here(value) for value in values])


def _here(value: Any) -> Any:
    return tracing.value_of(value) if isinstance(value, Variable) else value


def values(loss: Loss, y_true: Any, y_pred: Any) -> Any:
    """The values of each row, with their derivative; None where none is wanted."""
    from tdfast.engine import derivatives

    y_true, y_pred = _here(y_true), _here(y_pred)
    if not derivatives.is_traced([y_true, y_pred]):
        return None
    if type(loss).gradient is Loss.gradient and not type(loss).__module__.startswith("tdfast."):
        return loss.call(y_true, y_pred)

    def slopes(g: Array, y: Array, t: Array, p: Array) -> list[Any]:
        twin = copy.copy(loss)
        twin.reduction = "sum"
        p = as_outputs(p)
        dy = twin.value_and_grad(t, p, g)[1]
        return [_by_target(loss, g, t, p, dy) if derivatives.is_traced([y_true]) else None, dy]

    return derivatives.step(loss.values, slopes, y_true if derivatives.is_traced([y_true]) else
                            np.asarray(y_true), y_pred)


def _by_target(loss: Loss, g: Array, t: Array, p: Array, dy: Array) -> Array:
    """The derivative by the targets."""
    if isinstance(loss, _OF_THE_DIFFERENCE):
        return -dy.reshape(t.shape)
    if isinstance(loss, (BinaryCrossentropy, CategoricalCrossentropy)) and t.shape == p.shape:
        axis = loss.axis_in(p.ndim)
        kept = 1 - loss.label_smoothing
        g = np.expand_dims(g, axis)
        clipped = np.clip(p, 1e-7, 1 - 1e-7)
        if isinstance(loss, BinaryCrossentropy):
            odds = p if loss.from_logits else np.log(clipped) - np.log1p(-clipped)
            return -g * odds * (kept / p.shape[axis])
        if loss.from_logits:
            top = p - p.max(axis=axis, keepdims=True)
            return -g * (top - np.log(np.exp(top).sum(axis=axis, keepdims=True))) * kept
        shares = np.clip(p / p.sum(axis=axis, keepdims=True), 1e-7, 1 - 1e-7)
        return -g * np.log(shares) * kept
    raise TypeError(
        f"Loss '{loss.name}' ({type(loss).__name__}) has a derivative by y_pred alone, but here y_true "
        "depends on "
        "weights or inputs too. Where no derivative by it is wanted, say so: "
        "tdfast.ops.stop_gradient(y_true); "
        "else write the loss with tdfast.ops."
    )


def reduced(loss: Loss, y_true: Any, y_pred: Any, sample_weight: Any, mask: Any = None) -> Any:
    """What a loss gives when it is called: its values, weighted and reduced."""
    from tdfast import ops

    found = loss.values(y_true, y_pred)
    weight = None
    if found.shape and (sample_weight is not None or mask is not None):
        weight = row_weights(sample_weight, mask, found.shape, found.dtype, loss.reduction)
        found = found * weight
    if loss.reduction in (None, "none"):
        return found
    total = ops.sum(found)
    if loss.reduction == "sum":
        return total
    if loss.reduction == "mean_with_sample_weight" and weight is not None:
        return total / float(np.sum(weight)) if np.any(weight) else total * 0
    return total / max(found.size, 1)
