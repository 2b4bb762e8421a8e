"""Connectionist temporal classification: the loss of outputs that no label is aligned with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.losses.base import NEW, REGISTRY, Loss, cast_target, weights_and_scale

if TYPE_CHECKING:
    from tdfast.engine.types import Array, DType, Masks, Numbers, Reduction, Shape

BLANK = 0
NEVER = -1e30               # the logarithm of a probability of 0


@REGISTRY.register
class CTC(Loss):
    """-log of the probability that the outputs spell the labels, over all ways to spread them over the time
    steps.

    A way is a class for each step. It spells what is left when first repeated classes count once, and then
    the blank,
    class 0, is taken out: 0 1 1 0 1 spells 1 1. Its probability is the product of the steps' softmax(logits).

    y_true: (batch, most labels), whole numbers from 1 to classes - 1, filled up with 0 behind the last.
    y_pred: (batch, time, classes), logits. Where the model has a mask, the masked steps are left out.
    One value a sample; sample_weight (batch,).

    Raises:
        ValueError: for a label that is no class, one behind a 0, and labels that the steps are too few for:
            each needs a step, and one more stands between two equal ones.

    Source: Graves et al., Connectionist Temporal Classification (2006);
        https://keras.io/api/losses/probabilistic_losses/

    >>> logits = np.log([[[0.5, 0.5], [0.5, 0.5]]])         # 1 1, 0 1 and 1 0 of four ways spell 1
    >>> round(CTC()([[1]], logits), 4), round(float(-np.log(3 / 4)), 4)
    (0.2877, 0.2877)
    """

    sparse = True

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "ctc",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)

    def check(self, y_true_shape: Shape, y_pred_shape: Shape) -> None:
        if len(y_pred_shape) != 3 or len(y_true_shape) != 2:
            raise ValueError(
                f"{self.name}: needs outputs of shape (batch, time, classes) and targets of shape (batch, "
                "most labels), got "
                f"outputs of shape {tuple(y_pred_shape)} and targets of shape {tuple(y_true_shape)}."
            )

    def prepare(self, y_true: Any, y_pred: Array, buffers: Any) -> Any:
        y_true = np.asarray(y_true)
        self.check(y_true.shape, y_pred.shape)
        return cast_target(y_true, np.int32, buffers, self.name)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return self.paths(y_true, y_pred, None)[0]

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        return self.paths(y_true, y_pred, None, need_grad=True)[1]

    def reduced(self, y_true: Array, y_pred: Array, sample_weight: Numbers | None, mask: Masks, dy: Any,
                buffers: Any) -> float:
        labels = self.prepare(y_true, y_pred, buffers)
        values, slope = self.paths(labels, y_pred, mask, need_grad=dy is not None)
        weight, scale = weights_and_scale(sample_weight, None, values.shape, np.float64, self.reduction)
        factor = np.full(len(values), scale) if weight is None else weight * scale
        if dy is not None:
            np.multiply(slope, factor[:, None, None], out=dy, casting="unsafe")
        return float((values * factor).sum())

    def paths(self, labels: Array, logits: Any, mask: Masks, need_grad: bool = False) -> tuple[Any, ...]:
        """(the loss of each sample in float64, its derivative by the logits or None), with a mask (batch,
        time) or None."""
        B, T, C = logits.shape
        count, places = self._counted(labels, C), None
        steps = np.full(B, T)
        if mask is not None and not mask.all():
            mask = np.asarray(mask, bool).reshape(B, T)
            # valid ones first
            steps, places = mask.sum(axis=1), np.argsort(~mask, axis=1, kind="stable")[..., None]
            logits = np.take_along_axis(logits, places, axis=1)
        self._check_room(labels, count, steps)
        logits = logits.astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True, initial=NEVER)
        logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        way = _Ways(labels, count, steps, logits)
        if not need_grad:
            return way.losses(), None
        slope = way.slope()
        if places is not None:
            np.put_along_axis(logits, places, slope, axis=1)        # the memory serves again
            slope = logits
        return way.losses(), slope

    def _counted(self, labels: Array, classes: int) -> Any:
        """How many labels each sample has."""
        there = labels != BLANK
        bad = (labels < 0) | (labels >= classes)
        if bad.any():
            sample, place = np.argwhere(bad)[0]
            raise ValueError(
                f"{self.name}: label {labels[sample, place]} of sample {sample} is out of range: the outputs "
                f"have {classes} "
                f"classes, so labels are from 1 to {classes - 1}, and 0 behind the last."
            )
        late = there[:, 1:] & ~there[:, :-1]
        if late.any():
            sample = int(np.flatnonzero(late.any(axis=1))[0])
            raise ValueError(
                f"{self.name}: the targets of sample {sample} have a 0, which is the blank, before a label: "
                f"{labels[sample].tolist()}. Put the labels first and the zeros behind them."
            )
        return there.sum(axis=1)

    def _check_room(self, labels: Array, count: Any, steps: Any) -> None:
        twice = ((labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != BLANK)).sum(axis=1)
        short = np.flatnonzero(count + twice > steps)
        if len(short):
            i = int(short[0])
            raise ValueError(
                f"{self.name}: the {count[i]} labels of sample {i} need {count[i] + twice[i]} time steps, "
                "one each and one "
                f"between equal neighbours, but there are {steps[i]}. Give the model more steps, or leave "
                "the sample out."
            )


class _Ways:
    """The ways through blank, label, blank, label ... blank, all samples of a batch at once.

    Args:
        labels, count, steps: (B, L), and how many labels and time steps each sample has.
        log_p: (B, T, C).
    """

    def __init__(self, labels: Array, count: Any, steps: Any, log_p: Any) -> None:
        B, L = labels.shape
        self.count, self.steps, self.log_p = count, steps, log_p
        self.states = np.full((B, 2 * L + 1), BLANK)
        self.states[:, 1::2] = labels
        self.jumps = np.full((B, 2 * L + 1), NEVER)         # to a label from the one before, past the blank
        self.jumps[:, 3::2][labels[:, 1:] != labels[:, :-1]] = 0
        self.emitted = np.ascontiguousarray(np.take_along_axis(log_p, self.states[:, None],
                                                               axis=2).swapaxes(0, 1))
        self.to = self._to()
        self.total = self._total()

    def _to(self) -> Any:
        """(T, B, states) log of the probability of all beginnings that end in a state, its step included."""
        to = np.full(self.emitted.shape, NEVER)
        to[:1, :, :2] = self.emitted[:1, :, :2]
        for t in range(1, len(to)):
            one, two = _shifted(to[t - 1], 1), _shifted(to[t - 1], 2) + self.jumps
            to[t] = _log_sum(to[t - 1], one, two) + self.emitted[t]
        return to

    def _total(self) -> Any:
        """(B) log of the probability of all ways."""
        rows, last = np.arange(len(self.steps)), 2 * self.count
        if not len(self.to):
            return np.zeros(len(rows))
        end = self.to[self.steps - 1, rows]
        with_label = np.where(last > 0, end[rows, last - 1], NEVER)
        return np.where(self.steps > 0, np.logaddexp(end[rows, last], with_label), 0.0)

    def losses(self) -> Any:
        return -self.total

    def slope(self) -> Any:
        """(B, T, C) the derivative of the losses by the logits: softmax less the share of the ways that are
        there."""
        to, emitted, (B, T, C) = self.to, self.emitted, self.log_p.shape
        beyond = np.full(to.shape[1:], NEVER)               # of all endings behind a state
        place = np.arange(beyond.shape[1])
        ends = (place == 2 * self.count[:, None]) | (place == 2 * self.count[:, None] - 1)
        for t in range(T - 1, -1, -1):
            if t < T - 1:
                back = beyond + emitted[t + 1]
                beyond = _log_sum(back, _shifted(back, -1), _shifted(back + self.jumps, -2))
            last = self.steps - 1 == t
            beyond[last] = np.where(ends[last], 0.0, NEVER)
            to[t] += beyond - self.total[:, None]
        there = np.exp(to, out=to).swapaxes(0, 1)           # (B, T, states)
        slope = np.exp(self.log_p, out=self.log_p)
        at = np.arange(B * T).reshape(B, T, 1) * C + self.states[:, None]
        slope -= np.bincount(at.ravel(), there.ravel(), minlength=slope.size).reshape(slope.shape)
        slope[np.arange(T) >= self.steps[:, None]] = 0
        return slope


def _shifted(a: Any, n: Any) -> Any:
    """``a`` moved by n states, to later ones if n > 0."""
    out = np.full(a.shape, NEVER)
    if n > 0:
        out[:, n:] = a[:, :-n]
    else:
        out[:, :n] = a[:, -n:]
    return out


def _log_sum(a: Any, b: Any, c: Any) -> Any:
    top = np.maximum(np.maximum(a, b), c)
    return top + np.log(np.exp(a - top) + np.exp(b - top) + np.exp(c - top))


def ctc(y_true: Numbers, y_pred: Numbers) -> Any:
    """`CTC` of each sample, as an array.

    >>> ctc([[1], [0]], np.zeros((2, 2, 2))).round(4).tolist()
    [0.2877, 1.3863]
    """
    loss = CTC()
    y_pred = np.asarray(y_pred)
    return loss.call(loss.prepare(y_true, y_pred, NEW), y_pred)
