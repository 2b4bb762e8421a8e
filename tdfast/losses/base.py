"""What losses share: targets in shape, weights and masks, reductions, and the two ways to a gradient.

A loss gives one value for each row of the outputs, "row" meaning all axes but the last. `KernelLoss` has
value and gradient from src_c/loss.c; any other `Loss` writes them in NumPy, as a user's own does.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tdfast import _kernels
from tdfast.compat.calling import level_of_the_caller
from tdfast.engine import arguments, tracing
from tdfast.engine.arrays import as_contiguous
from tdfast.engine.names import snake_case, unique_name
from tdfast.engine.program import set_attribute
from tdfast.engine.registry import Registry, home

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike

    from tdfast.engine.tape import Record
    from tdfast.engine.types import (
        ActivationSpec,
        Array,
        Config,
        DType,
        Masks,
        Numbers,
        Reduction,
        Shape,
        Sizes,
    )

REGISTRY = Registry("loss", "losses", "keras.losses")
EPSILON = 1e-7
IGNORED = np.iinfo(np.int32).min
REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)

KINDS = _kernels.LOSSES
"""The numbers of tdf_loss_kind (src_c/losses.h) by name."""


class _NewBuffers:
    """Stands in for a tape's record: a new array each time."""

    @staticmethod
    def buffer(name: str, shape: Sizes, dtype: DTypeLike) -> Array:
        return np.empty(shape, dtype)


NEW = _NewBuffers()


# ---------------------------------------------------------------- targets


def fit_target(y_true: Any, y_pred: Any, sparse: bool, buffers: Any, who: str) -> Array:
    """``y_true`` in the shape and dtype the kernel reads: that of y_pred, or int32 labels of its rows."""
    t = y_true if isinstance(y_true, np.ndarray) else np.asarray(y_true)
    want = y_pred.shape[:-1] if sparse else y_pred.shape
    dtype = np.int32 if sparse else y_pred.dtype
    if t.shape != want:
        if t.shape == (*want, 1) or (*t.shape, 1) == want:
            t = t.reshape(want)
        else:
            check_shapes(t.shape, y_pred.shape, sparse, who)
    return cast_target(t, dtype, buffers, who)


def cast_target(t: Array, dtype: DTypeLike, buffers: Any, who: str) -> Array:
    """Targets as a C-contiguous array of ``dtype``; themselves if they are one."""
    if t.dtype == dtype and t.flags.c_contiguous and t.flags.aligned:
        return t
    if t.dtype.kind not in "fiub":
        raise ValueError(f"{who} expects targets that are numbers, got dtype {t.dtype}.")
    return _kernels.call(_cast, t, buffers.buffer("target", t.shape, dtype), who)


def _cast(t: Array, out: Array, who: str) -> Array:
    np.copyto(out, t, casting="unsafe")
    if out.dtype.kind == "i" and not np.array_equal(out, t):
        raise bad_number(t, out != t, who)
    return out


def bad_number(labels: Array, bad: Array, who: str) -> Any:
    """The error for labels that are no whole numbers, or too large ones."""
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    return ValueError(
        f"{who}: labels must be whole numbers, the numbers of classes, but at index {where} there is "
        f"{labels[where]}. For targets that are probabilities there is categorical_crossentropy."
    )


def check_shapes(true_shape: Sequence[Any], pred_shape: Sequence[Any], sparse: bool, who: str) -> None:
    """Raise a ValueError unless targets of this shape fit outputs of that shape; None fits any size."""
    true_shape, pred_shape = tuple(true_shape), tuple(pred_shape)
    want = pred_shape[:-1] if sparse else pred_shape
    for shape in (true_shape, true_shape[:-1] if true_shape and true_shape[-1] == 1 else true_shape,
                  (*true_shape, 1)):
        if same_shape(shape, want):
            return
    hint = ""
    if sparse and same_shape(true_shape, pred_shape):
        hint = " For one-hot targets use categorical_crossentropy."
    elif not sparse and "categorical" in who and len(true_shape) < len(pred_shape):
        hint = " For integer labels use sparse_categorical_crossentropy, or one-hot encode them."
    elif len(true_shape) == len(want) + 1 and len(pred_shape) == 2:
        hint = " For one output a step, the last recurrent layer needs return_sequences=True."
    elif len(true_shape) == len(want) - 1 and len(pred_shape) == 3:
        hint = " For one output a sequence, leave return_sequences out of the last recurrent layer."
    raise ValueError(
        f"{who}: the outputs have shape {pred_shape}, so the targets must have shape {want}, but got "
        f"{true_shape}.{hint}"
    )


def same_shape(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two shapes are equal where both are known."""
    return len(a) == len(b) and all(p == q or p is None or q is None for p, q in zip(a, b))


def check_labels(labels: Array, classes: int, who: str) -> None:
    """Raise a ValueError that names the first label outside 0 .. classes - 1."""
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        raise bad_label(labels, int(np.flatnonzero(bad)[0]), classes, who)


def bad_label(labels: Array, row: int, classes: int, who: str) -> Any:
    """The error for the label of this row."""
    return ValueError(
        f"{who}: label {labels.reshape(-1)[row]} at position {row} is out of range: the outputs have "
        f"{classes} classes, so labels must be from 0 to {classes - 1}."
    )


def as_outputs(y_pred: Any) -> Array:
    """Outputs as the kernels take them: C-contiguous float32 or float64 with at least one axis."""
    y_pred = np.asarray(y_pred)
    if y_pred.dtype.kind not in "fiub":
        raise ValueError(f"expected outputs that are numbers, got dtype {y_pred.dtype}.")
    return as_contiguous(y_pred, np.float64 if y_pred.dtype == np.float64 else np.float32)


# ---------------------------------------------------------------- weights


def row_weights(sample_weight: Numbers | None, mask: Masks, shape: Sizes, dtype: DTypeLike,
                reduction: Reduction) -> Any:
    """One weight for each row from sample_weight and mask, as Keras 3 folds them; None for ones."""
    weight = None
    if mask is not None:
        mask = np.asarray(mask, bool)
        weight = mask.astype(dtype)
        if reduction in ("mean", "sum_over_batch_size"):
            valid = int(mask.sum())
            weight *= mask.size / valid if valid else 0.0
        weight = spread(weight, shape, "mask")
    if sample_weight is not None:
        given = spread(np.asarray(sample_weight, dtype), shape, "sample_weight")
        weight = given if weight is None else weight * given
    return None if weight is None else as_contiguous(weight, dtype)


def spread(a: Array, shape: Sizes, what: str) -> Array:
    """``a``, which has one value for each sample or step, broadcast to all of ``shape``."""
    if a.ndim == len(shape) + 1 and a.shape[-1] == 1:
        a = a[..., 0]
    if a.ndim <= len(shape) and all(p in (q, 1) for p, q in zip(a.shape, shape)):
        return np.broadcast_to(a.reshape(a.shape + (1,) * (len(shape) - a.ndim)), shape)
    raise ValueError(
        f"{what} has shape {a.shape}, but the loss has the shape {tuple(shape)}: give {what} that shape."
    )


def weights_and_scale(sample_weight: Numbers | None, mask: Masks, shape: Sizes, dtype: DTypeLike,
                      reduction: Reduction) -> tuple[Any, ...]:
    """(weight of each value or None, what their weighted sum is multiplied by)."""
    weight = None
    if sample_weight is not None or mask is not None:
        weight = row_weights(sample_weight, mask, shape, dtype, reduction)
    if reduction in ("sum", "none", None):
        return weight, 1.0
    if reduction == "mean_with_sample_weight" and weight is not None:
        divisor = float(weight.sum(dtype=np.float64))
    else:
        divisor = float(math.prod(shape))
    return weight, 1.0 / divisor if divisor else 0.0


# ---------------------------------------------------------------- losses


class Loss:
    """A loss: ``loss(y_true, y_pred)`` is a float, `value_and_grad` gives the gradient as well.

    For a loss of your own, subclass it with ``call(y_true, y_pred)``: the loss of each sample, (N,), of each
    step, (N, T), of each number, or one number for the batch. It computes with `tdfast.ops`, NumPy's
    functions or operators, and its derivative is found. (A second method, ``gradient(y_true, y_pred)``,
    gives the derivative by y_pred, of y_pred's shape; then call is plain NumPy. So does `custom`.) Weights,
    masks and the reduction are applied to both. A function of (y_true, y_pred) is a loss too.

    Args:
        name: made from the class when None.
        reduction: 'sum_over_batch_size' or 'mean' (the default: the sum over the values by their
            number), 'sum', 'mean_with_sample_weight' (by the sum of the weights), or None: no sum.
        dtype: accepted, as in Keras; the outputs' dtype is used.

    >>> class Cubic(Loss):
    ...     def call(self, y_true, y_pred):
    ...         return np.mean(np.abs(y_pred - y_true) ** 3, axis=-1)
    >>> value, gradient = Cubic().value_and_grad([[0.0, 0.0]], np.array([[1.0, 2.0]]))
    >>> value, gradient.tolist()
    (4.5, [[1.5, 6.0]])
    """

    sparse = False              # whether targets are labels, kept as whole numbers
    matches_rank = False        # whether a last axis of 1 may be missing in targets or outputs

    def __init__(self, name: str | None = None, reduction: Reduction = "sum_over_batch_size",
                 dtype: DType = None) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}.")
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.reduction, self.dtype = reduction, dtype

    def _flag(self, value: Any, name: str) -> bool:
        """``value``, of the argument ``name``, as a bool; a ValueError for a word such as "False"."""
        return arguments.flag(value, name, type(self).__name__)

    passive: frozenset[str] = frozenset()
    __setattr__ = set_attribute

    # -------------------------------------------------- what a loss of one's own overrides
    def call(self, y_true: Any, y_pred: Any) -> Array:
        """The loss of each row, not weighted, as an array."""
        raise ValueError(
            f"Loss '{self.name}' ({type(self).__name__}) has no values: override call(y_true, y_pred)."
        )

    def gradient(self, y_true: Any, y_pred: Any) -> Array:
        """The derivative of each row's loss by y_pred, of y_pred's shape: found from `call`."""
        values, back = self._recorded(y_true, y_pred)
        return back(np.ones(values.shape, y_pred.dtype))

    def on_logits(self, activation: ActivationSpec, axis: int, shape: Sizes) -> Loss | None:
        """The same loss for what an activation makes y_pred of, or None.

        Args:
            activation: 'sigmoid' or 'softmax'.
            axis: along which, from the front.
            shape: of y_pred.
        """
        return None

    @property
    def can_be_prepared(self) -> bool:
        """Whether value and gradient, without weights and a mask, are the same calls of kernels each time."""
        return False

    def look_at(self, y_true: Any, y_pred_shape: Shape, who: str) -> None:
        """Warn of targets that are likely a mistake; called for all of them, before training."""

    def check(self, y_true_shape: Shape, y_pred_shape: Shape) -> None:
        """Raise a ValueError naming both shapes if targets of this shape do not fit the outputs."""

    # -------------------------------------------------- what works for all
    def prepare(self, y_true: Any, y_pred: Any, buffers: Any) -> Any:
        """The targets as `call` gets them."""
        return cast_target(np.asarray(y_true), np.int32 if self.sparse else y_pred.dtype, buffers, self.name)

    def match_rank(self, y_true: Any, y_pred: Any, dy: Any, steps: bool) -> tuple[Any, ...]:
        """y_pred and dy as Keras brings them to the rank of y_true.

        Outputs (N, T, 1) for targets (N, T) count as (N, T): one value a sample. With weights or a mask
        for ``steps`` they do not, since then a value is needed for each step.
        """
        have, want = np.ndim(y_true), y_pred.ndim
        if want == have + 1 and have > 1 and y_pred.shape[-1] == 1 and not steps:
            shape = y_pred.shape[:-1]
        elif want == 1 and have == 2 and np.shape(y_true)[-1] == 1:
            shape = (*y_pred.shape, 1)
        else:
            return y_pred, dy
        return y_pred.reshape(shape), None if dy is None else dy.reshape(shape)

    def value_and_grad(self, y_true: Any, y_pred: Any, sample_weight: Any = None,
                       mask: Masks = None, dy: Any = None, workspace: Record | None = None,
                       need_grad: bool = True) -> tuple[Any, ...]:
        """The loss as a float, and its gradient with respect to y_pred.

        Args:
            y_true: targets of y_pred's shape (a last axis of 1 may be missing), or labels.
            y_pred: outputs, C-contiguous float32 or float64, (N, ...).
            sample_weight: a factor for each sample, or for each value of the loss.
            mask: False where a value does not count.
            dy: where the gradient goes; made when None.
            workspace: a tape's record, whose buffers are used.
            need_grad: False leaves the gradient out.
        """
        buffers = NEW if workspace is None else workspace
        if need_grad and dy is None:
            dy = buffers.buffer("dy", y_pred.shape, y_pred.dtype)
        out = dy if need_grad else None
        if self.matches_rank and not self.sparse and np.ndim(y_true) != y_pred.ndim:
            steps = np.ndim(mask) > 1 or np.ndim(sample_weight) > 1
            y_pred, out = self.match_rank(y_true, y_pred, out, steps)
        return self.reduced(y_true, y_pred, sample_weight, mask, out, buffers), dy

    def reduced(self, y_true: Any, y_pred: Any, sample_weight: Numbers | None, mask: Masks, dy: Any,
                buffers: Record | _NewBuffers) -> float:
        """The value; the gradient goes to dy unless that is None."""
        t, back = self.prepare(y_true, y_pred, buffers), None
        if dy is not None and type(self).gradient is Loss.gradient:
            values, back = self._recorded(t, y_pred)
        else:
            values = self.checked_values(t, y_pred)
        one, shape = values.ndim == 0, values.shape
        if one and mask is not None:
            warnings.warn(
                f"Loss '{self.name}' gives one number for the whole batch, so the masked steps are in "
                "it, as in "
                "Keras. To leave them out, return a value for each sample and step.",
                stacklevel=level_of_the_caller(),
            )
            mask = None
        if one and sample_weight is not None:
            shape = np.shape(sample_weight)     # as in Keras: the number counts as if each sample had it
        weight, scale = weights_and_scale(sample_weight, mask, shape, y_pred.dtype, self.reduction)
        factor = scale if weight is None else scale * (weight.sum() if one else weight)
        if back is not None:
            factor = np.broadcast_to(np.asarray(factor, values.dtype), values.shape)
            np.copyto(dy, back(factor), casting="unsafe")
        elif dy is not None:
            self.pull_back(t, y_pred, factor, dy)
        return float((values * factor).sum(dtype=np.float64))

    def _recorded(self, y_true: Any, y_pred: Any) -> tuple[Any, ...]:
        """(`call`'s values, the function from a gradient by them to that by y_pred)."""
        from tdfast.engine import derivatives

        try:
            values, back = derivatives.pullback(lambda p: self.call(y_true, p), y_pred)
        except TypeError as error:
            raise TypeError(f"Loss '{self.name}' ({type(self).__name__}): {error}") from error
        if not isinstance(values, derivatives.Traced):
            self._refuse_constant(values)
        return self._as_values(derivatives.raw(values), y_pred), lambda g: back(g)[0]

    def _refuse_constant(self, values: Any) -> NoReturn:
        kind = f"{type(values).__module__}.{type(values).__name__}".removeprefix("builtins.")
        what = ("None, so a return is missing" if values is None
                else f"{'an array' if isinstance(values, np.ndarray) else kind} that does not depend on "
                "y_pred in a "
                "way that has a derivative")
        raise TypeError(
            f"Loss '{self.name}' ({type(self).__name__}): it returned {what}. Compute from y_pred with "
            "tdfast.ops, "
            "NumPy's functions or operators, without functions that round, compare or count, nor those "
            "of another "
            "framework."
        )

    def pull_back(self, y_true: Any, y_pred: Any, factor: Any, dy: Any) -> None:
        """The gradient times one factor for all rows or one for each, into dy."""
        slope = np.asarray(self.gradient(y_true, y_pred))
        if slope.shape != y_pred.shape:
            raise ValueError(
                f"Loss '{self.name}': gradient gave the shape {slope.shape}, but the outputs have "
                f"{y_pred.shape}."
            )
        factor = np.asarray(factor, dy.dtype)
        np.multiply(slope, factor.reshape(factor.shape + (1,) * (dy.ndim - factor.ndim)), out=dy,
                    casting="unsafe")

    def checked_values(self, y_true: Any, y_pred: Any) -> Array:
        """`call`'s values as an array."""
        return self._as_values(self.call(y_true, y_pred), y_pred)

    def _as_values(self, values: Any, y_pred: Any) -> Array:
        values = np.asarray(values)
        if values.dtype.kind not in "fiub":
            raise TypeError(f"Loss '{self.name}': it returned no numbers, but {values!r:.60}.")
        own = type(self).gradient is not Loss.gradient
        if own and values.shape != y_pred.shape[: values.ndim]:
            raise ValueError(
                f"Loss '{self.name}': call gave values of shape {values.shape} for outputs of shape "
                f"{y_pred.shape}; "
                "expected one number, one for each sample, or one for each sample and step."
            )
        return values.astype(y_pred.dtype, copy=False)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each row, not weighted, for any array-likes; recorded where their derivative is "
        "wanted."""
        if tracing.level() and not (isinstance(y_pred, np.ndarray) and isinstance(y_true, np.ndarray)):
            recorded = home("losses.recorded")
            found = recorded.values(self, y_true, y_pred)
            if found is not None:
                return found
        return self.plain_values(y_true, y_pred)

    def plain_values(self, y_true: Any, y_pred: Any) -> Array:
        """The loss of each row, not weighted, for any array-likes."""
        y_pred = as_outputs(y_pred)
        if self.matches_rank and not self.sparse:
            y_pred, _ = self.match_rank(y_true, y_pred, None, False)
        return np.asarray(self.call(self.prepare(y_true, y_pred, NEW), y_pred))

    def __call__(self, y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None = None) -> Any:
        if tracing.level():
            recorded = home("losses.recorded")
            if recorded.concerns(y_true, y_pred, sample_weight):
                return recorded.reduced(self, y_true, y_pred, sample_weight)
        y_pred = as_outputs(y_pred)
        if self.reduction in (None, "none"):
            values = self.values(y_true, y_pred)
            weight = row_weights(sample_weight, None, values.shape, values.dtype, None)
            return values if weight is None else values * weight
        return self.value_and_grad(y_true, y_pred, sample_weight, need_grad=False)[0]

    def get_config(self) -> Config:
        """The arguments of the constructor."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """The loss that `get_config` described."""
        return cls(**config)


class BuiltIn(Loss):
    """A loss of this package: targets must have the shape of the outputs, or be labels of their rows."""

    matches_rank = True

    def check(self, y_true_shape: Shape, y_pred_shape: Shape) -> None:
        check_shapes(y_true_shape, y_pred_shape, self.sparse, self.name)

    def prepare(self, y_true: Any, y_pred: Any, buffers: Any) -> Array:
        return fit_target(y_true, y_pred, self.sparse, buffers, self.name)


class KernelLoss(BuiltIn):
    """A loss, or an accuracy, whose rows and gradient come from src_c/loss.c in one pass."""

    levels_of: Any

    kind = -1
    delta = 0.0
    smoothing = 0.0
    levels: Any = None

    def rows(self, y_true: Any, y_pred: Any, weight: Any, scale: float, dy: Any,
             buffers: Record | _NewBuffers) -> tuple[Any, ...]:
        """(weighted sum, value of each row); the gradient goes to dy unless that is None."""
        sparse, shape = self.sparse, y_pred.shape
        N = shape[-1]
        M = y_pred.size // N if N else 0
        t = self.prepare(y_true, y_pred, buffers)
        rows = buffers.buffer("rows", shape[:-1], y_pred.dtype)
        result = buffers.buffer("result", (2,), np.float64)
        levels = None if self.levels is None else self.levels_of(N, y_pred.dtype)
        total = _kernels.loss(
            loss=self.kind, M=M, N=N, target=None if sparse else t, labels=t if sparse else None, p=y_pred,
            weight=weight, level=levels, scale=scale, delta=self.delta, epsilon=EPSILON,
            smoothing=self.smoothing,
            rows=rows, dp=dy, result=result,
        )
        if not isinstance(buffers, _NewBuffers):
            buffers.result, buffers.labels = result, (t, N) if sparse else None
        if sparse:
            self.check_labels(result, (t, N))
        return total, rows

    def check_labels(self, result: Array, labels: Any) -> None:
        """Raise an error where the kernel has found a label that is no class.

        Args:
            result: what the kernel left, the number of the row.
            labels: (the labels, the number of classes) that it was given, or None.
        """
        if labels is not None and result.item(1) >= 0:
            raise bad_label(labels[0], int(result[1]), labels[1], self.name)

    @property
    def can_be_prepared(self) -> bool:
        cls = type(self)
        plain = cls.prepare is BuiltIn.prepare and cls.reduced in (KernelLoss.reduced, AlongAxis.reduced)
        return cls.__module__.startswith("tdfast.") and plain and getattr(self, "axis", -1) == -1

    def reduced(self, y_true: Any, y_pred: Any, sample_weight: Numbers | None, mask: Masks, dy: Any,
                buffers: Record | _NewBuffers) -> float:
        shape = y_pred.shape[:-1]
        weight, scale = weights_and_scale(sample_weight, mask, shape, y_pred.dtype, self.reduction)
        if not isinstance(buffers, _NewBuffers):
            buffers.scale = scale
            if weight is not None and mask is None and _kernels.is_recording():
                weight = self._weights_again(sample_weight, weight, buffers)
        return self.rows(y_true, y_pred, weight, scale, dy, buffers)[0] * scale

    def _weights_again(self, given: Any, weight: Array, buffers: Record) -> Array:
        """The weights of the rows where each run of the program finds them: in ``given`` itself, or made of
        it."""
        if np.may_share_memory(given, weight):
            return weight
        room = buffers.buffer("weight", weight.shape, weight.dtype)
        _kernels.call(np.copyto, room, spread(given, weight.shape, "sample_weight"), casting="unsafe")
        return room

    def call(self, y_true: Any, y_pred: Any) -> Array:
        return self.rows(y_true, as_outputs(y_pred), None, 1.0, None, NEW)[1]

    def plain_values(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = as_outputs(y_pred)
        if not self.sparse:
            y_pred, _ = self.match_rank(y_true, y_pred, None, False)
        return self.call(y_true, y_pred)            # which prepares the targets, once


class AlongAxis(BuiltIn):
    """A loss whose rows may lie along another axis than the last: it is moved there, and dy back."""

    axis = -1

    def set_axis(self, axis: int) -> None:
        """Keep ``axis``, which must be a whole number."""
        if isinstance(axis, bool) or not hasattr(axis, "__index__"):
            raise ValueError(f"{self.name}: axis must be a whole number, got {axis!r}.")
        self.axis = int(axis)

    def axis_in(self, ndim: int) -> int:
        """The axis from the front, of outputs with so many axes."""
        if not -ndim <= self.axis < ndim:
            raise ValueError(f"{self.name}: axis={self.axis} is not an axis of outputs with {ndim} axes.")
        return self.axis % ndim

    def moved(self, y_true: Any, y_pred: Any) -> tuple[Any, ...]:
        """Both with their axis last, C-contiguous."""
        axis = self.axis_in(y_pred.ndim)
        y_true = np.asarray(y_true)
        self.check(y_true.shape, y_pred.shape)
        y_true = np.moveaxis(y_true.reshape(y_pred.shape), axis, -1)
        return np.ascontiguousarray(y_true), np.ascontiguousarray(np.moveaxis(y_pred, axis, -1))

    def reduced(self, y_true: Any, y_pred: Any, sample_weight: Any, mask: Masks, dy: Any,
                buffers: Record | _NewBuffers) -> float:
        axis = self.axis_in(y_pred.ndim)
        if axis == y_pred.ndim - 1:
            return super().reduced(y_true, y_pred, sample_weight, mask, dy, buffers)
        for what, a in (("sample_weight", sample_weight), ("the mask", mask)):
            if any(size != 1 for size in np.shape(a)[axis:]):
                raise ValueError(
                    f"{self.name}: {what} has shape {np.shape(a)}, but axis={self.axis} makes one value of "
                    "all that "
                    f"lies along axis {axis}, so single entries of it cannot be weighted."
                )
        t, p = self.moved(y_true, y_pred)
        slope: Any = None if dy is None else buffers.buffer("moved", p.shape, p.dtype)
        value = super().reduced(t, p, sample_weight, mask, slope, buffers)
        if dy is not None:
            np.copyto(dy, np.moveaxis(slope, -1, axis))
        return value

    def plain_values(self, y_true: Any, y_pred: Any) -> Array:
        y_pred = as_outputs(y_pred)
        y_pred, _ = self.match_rank(y_true, y_pred, None, False)
        return super().plain_values(*self.moved(y_true, y_pred))


class _OfFunction(Loss):
    """A plain function of (y_true, y_pred) as a loss.

    Args:
        function: what `Loss.call` is; targets and outputs have one rank, as Keras makes it.

    >>> loss = _OfFunction(lambda y_true, y_pred: np.sqrt(np.mean((y_pred - y_true) ** 2)))
    >>> loss.value_and_grad(np.zeros(2), np.array([3.0, 3.0]))
    (3.0, array([0.5, 0.5]))
    """

    matches_rank = True

    def __init__(self, function: Callable[..., Any], reduction: Reduction = "sum_over_batch_size",
                 name: str | None = None) -> None:
        given = getattr(function, "__name__", type(function).__name__)
        super().__init__(name or ("lambda" if given == "<lambda>" else given), reduction)
        self.function = function

    def prepare(self, y_true: Any, y_pred: Any, buffers: Any) -> Any:
        t = super().prepare(y_true, y_pred, buffers)
        if t.ndim == 1 and y_pred.ndim == 2 and y_pred.shape[-1] == 1:
            return t[:, None]
        return t[..., 0] if t.ndim == y_pred.ndim + 1 and t.shape[-1] == 1 and y_pred.ndim > 1 else t

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.function(y_true, y_pred)

    def get_config(self) -> Config:
        return {**super().get_config(), "fn": REGISTRY.serialize(self.function)}


class _Custom(Loss):
    """A loss of two functions: see `custom`."""

    matches_rank = True

    def __init__(self, value: Any, gradient: Callable[..., Any], name: str, reduction: Reduction) -> None:
        super().__init__(name, reduction)
        self.functions = value, gradient

    def prepare(self, y_true: Any, y_pred: Any, buffers: Any) -> Any:
        t = super().prepare(y_true, y_pred, buffers)
        return t.reshape(y_pred.shape) if t.size == y_pred.size else t

    def call(self, y_true: Any, y_pred: Any) -> Array:
        return self.functions[0](y_true, y_pred)

    def gradient(self, y_true: Any, y_pred: Any) -> Array:
        return self.functions[1](y_true, y_pred)

    def get_config(self) -> Config:
        raise ValueError(
            f"Loss '{self.name}' is made of functions, which a file cannot hold: compile without it before "
            "saving, "
            "or subclass tdfast.losses.Loss with a get_config."
        )


def custom(value: Any, gradient: Callable[..., Any], name: str | None = None,
           reduction: Reduction = "sum_over_batch_size") -> Loss:
    """A loss from two functions in NumPy: a value for each sample, and its derivative.

    Args:
        value: ``value(y_true, y_pred)``, the loss of each sample (N,), of each step (N, T), or one number.
        gradient: ``gradient(y_true, y_pred)``, the derivative of those by y_pred, of y_pred's shape.
        name: value's name when None.
        reduction: as for `Loss`.

    Raises:
        ValueError: if either is no function; in training, if their results do not have those shapes.

    >>> quartic = custom(lambda y, p: np.mean((p - y) ** 4, axis=-1),
    ...                  lambda y, p: 4 * (p - y) ** 3 / p.shape[-1], name="quartic")
    >>> quartic([[0.0, 1.0]], [[1.0, 3.0]])
    8.5
    """
    for what, function in (("value", value), ("gradient", gradient)):
        if not callable(function):
            raise ValueError(
                f"losses.custom: {what} must be a function of (y_true, y_pred), got {function!r}."
            )
    given = getattr(value, "__name__", "custom")
    return _Custom(value, gradient, name or ("custom" if given == "<lambda>" else given), reduction)
