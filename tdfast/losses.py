"""Losses, as in `keras.losses`: a number to make small, and its gradient.

A loss is a class with a kernel's name; add one with a case in src_c/loss.c and a class here.
"""

import math

import numpy as np

from tdfast import _kernels
from tdfast.names import snake_case
from tdfast.registry import Registry

REGISTRY = Registry("loss", "losses", "keras.losses")
EPSILON = 1e-7
IGNORED = np.iinfo(np.int32).min
REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)

# The order of tdf_loss_kind in src_c/tdfast.h.
(MSE_ROWS, MAE_ROWS, HUBER_ROWS, BINARY_ROWS, BINARY_LOGITS_ROWS, CATEGORICAL_ROWS, CATEGORICAL_LOGITS_ROWS,
 SPARSE_ROWS, SPARSE_LOGITS_ROWS, MATCH_BINARY, MATCH_CATEGORICAL, MATCH_SPARSE) = range(12)


class _NewBuffers:
    """Stands in for a tape's record: a new array each time."""

    @staticmethod
    def buffer(name, shape, dtype):
        return np.empty(shape, dtype)


NEW = _NewBuffers()


def fit_target(y_true, y_pred, sparse, buffers, who):
    """``y_true`` in the shape and dtype the kernel reads: that of y_pred, or int32 labels of its rows."""
    t = y_true if isinstance(y_true, np.ndarray) else np.asarray(y_true)
    want = y_pred.shape[:-1] if sparse else y_pred.shape
    dtype = np.int32 if sparse else y_pred.dtype
    if t.shape != want:
        if t.shape == (*want, 1) or (*t.shape, 1) == want:
            t = t.reshape(want)
        else:
            check_shapes(t.shape, y_pred.shape, sparse, who)
    if t.dtype == dtype and t.flags.c_contiguous:
        return t
    if t.dtype.kind not in "fiub":
        raise ValueError(f"{who} expects targets that are numbers, got dtype {t.dtype}.")
    out = buffers.buffer("target", t.shape, dtype)
    np.copyto(out, t, casting="unsafe")
    return out


def check_shapes(true_shape, pred_shape, sparse, who):
    """Raise a ValueError unless targets of this shape fit outputs of that shape; None fits any size."""
    true_shape, pred_shape = tuple(true_shape), tuple(pred_shape)
    want = pred_shape[:-1] if sparse else pred_shape
    for shape in (true_shape, true_shape[:-1] if true_shape and true_shape[-1] == 1 else true_shape, (*true_shape, 1)):
        if len(shape) == len(want) and all(a == b or a is None or b is None for a, b in zip(shape, want)):
            return
    hint = ""
    if sparse and len(true_shape) == len(pred_shape):
        hint = " For one-hot targets use categorical_crossentropy."
    elif not sparse and "categorical" in who and len(true_shape) < len(pred_shape):
        hint = " For integer labels use sparse_categorical_crossentropy, or one-hot encode them."
    raise ValueError(
        f"{who}: the outputs have shape {pred_shape}, so the targets must have shape {want}, but got {true_shape}.{hint}"
    )


def row_weights(sample_weight, mask, shape, dtype, reduction):
    """One weight for each row from sample_weight and mask, as Keras 3 folds them; None for ones."""
    weight = None
    if mask is not None:
        mask = np.asarray(mask, bool)
        weight = mask.astype(dtype)
        if reduction in ("mean", "sum_over_batch_size"):
            valid = int(mask.sum())
            weight *= mask.size / valid if valid else 0.0
        weight = _spread(weight, shape, "mask")
    if sample_weight is not None:
        given = _spread(np.asarray(sample_weight, dtype), shape, "sample_weight")
        weight = given if weight is None else weight * given
    return None if weight is None else np.ascontiguousarray(weight, dtype)


def _spread(a, shape, what):
    if a.ndim == len(shape) + 1 and a.shape[-1] == 1:
        a = a[..., 0]
    if a.ndim <= len(shape) and all(p in (q, 1) for p, q in zip(a.shape, shape)):
        return np.broadcast_to(a.reshape(a.shape + (1,) * (len(shape) - a.ndim)), shape)
    raise ValueError(f"{what} has shape {a.shape}, but the loss has one value for each of {shape}.")


class Loss:
    """A loss: ``loss(y_true, y_pred)`` is a float, `value_and_grad` gives the gradient as well.

    Args:
        name: made from the class when None.
        reduction: 'sum_over_batch_size' or 'mean' (the default: the sum over the values by their
            number), 'sum', 'mean_with_sample_weight' (by the sum of the weights), or None: no sum.
        dtype: kept for Keras's sake; the outputs' dtype counts.
    """

    sparse = False
    delta = 0.0
    smoothing = 0.0
    ignore_class = None

    def __init__(self, name=None, reduction="sum_over_batch_size", dtype=None):
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {REDUCTIONS}, got {reduction!r}.")
        self.name = name or snake_case(type(self).__name__)
        self.reduction, self.dtype = reduction, dtype

    kind = -1

    def check(self, y_true_shape, y_pred_shape):
        """Raise a ValueError naming both shapes if targets of this shape do not fit the outputs."""
        check_shapes(y_true_shape, y_pred_shape, self.sparse, self.name)

    def rows(self, y_true, y_pred, weight, scale, dy, buffers):
        """(weighted sum, value of each row); the gradient goes to dy unless that is None."""
        sparse, shape = self.sparse, y_pred.shape
        N = shape[-1]
        M = y_pred.size // N if N else 0
        t = fit_target(y_true, y_pred, sparse, buffers, self.name)
        if self.ignore_class is not None:
            t = np.where(t == self.ignore_class, np.int32(IGNORED), t)
        rows = buffers.buffer("rows", shape[:-1], y_pred.dtype)
        result = buffers.buffer("result", (2,), np.float64)
        total = _kernels.loss(self.kind, M, N, None if sparse else t, t if sparse else None, y_pred, weight, rows,
                              dy, result, scale, self.delta, EPSILON, self.smoothing)
        if sparse and result[1] >= 0:
            row = int(result[1])
            raise ValueError(
                f"{self.name}: label {t.reshape(-1)[row]} at position {row} is out of range: the outputs have "
                f"{N} classes, so labels must be from 0 to {N - 1}."
            )
        return total, rows

    def value_and_grad(self, y_true, y_pred, sample_weight=None, mask=None, dy=None, workspace=None,
                       need_grad=True):
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
        shape = y_pred.shape[:-1]
        if self.ignore_class is not None:
            kept = np.asarray(y_true).reshape(shape) != self.ignore_class
            mask = kept if mask is None else kept & np.asarray(mask, bool).reshape(shape)
        reduction = self.reduction
        if sample_weight is None and mask is None:
            weight = None
        else:
            weight = row_weights(sample_weight, mask, shape, y_pred.dtype, reduction)
        if reduction == "sum" or reduction is None or reduction == "none":
            divisor = 1.0
        elif reduction == "mean_with_sample_weight" and weight is not None:
            divisor = float(weight.sum(dtype=np.float64))
        else:
            divisor = float(math.prod(shape))
        scale = 1.0 / divisor if divisor else 0.0
        if need_grad and dy is None:
            dy = buffers.buffer("dy", y_pred.shape, y_pred.dtype)
        total, _ = self.rows(y_true, y_pred, weight, scale, dy if need_grad else None, buffers)
        return total * scale, dy

    def call(self, y_true, y_pred):
        """The loss of each row, not weighted, as an array."""
        y_pred = as_outputs(y_pred)
        return self.rows(y_true, y_pred, None, 1.0, None, NEW)[1]

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred = as_outputs(y_pred)
        if self.reduction in (None, "none"):
            values = self.call(y_true, y_pred)
            weight = row_weights(sample_weight, None, values.shape, values.dtype, None)
            return values if weight is None else values * weight
        return self.value_and_grad(y_true, y_pred, sample_weight, need_grad=False)[0]

    def get_config(self):
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config):
        """The loss that `get_config` described."""
        return cls(**config)


def as_outputs(y_pred):
    """Outputs as the kernels take them: C-contiguous float32 or float64 with at least one axis."""
    y_pred = np.asarray(y_pred)
    if y_pred.dtype.kind not in "fiub":
        raise ValueError(f"expected outputs that are numbers, got dtype {y_pred.dtype}.")
    return np.ascontiguousarray(y_pred, np.float64 if y_pred.dtype == np.float64 else np.float32)


@REGISTRY.register("mse", "MSE")
class MeanSquaredError(Loss):
    """mean((y_pred - y_true)^2) over the last axis.

    >>> MeanSquaredError()([[0.0, 1.0]], [[1.0, 1.0]])
    0.5
    """

    kind = MSE_ROWS

    def __init__(self, reduction="sum_over_batch_size", name="mean_squared_error", dtype=None):
        super().__init__(name, reduction, dtype)


@REGISTRY.register("mae", "MAE")
class MeanAbsoluteError(Loss):
    """mean(|y_pred - y_true|) over the last axis; the slope at 0 is 0.

    >>> MeanAbsoluteError()([[0.0, 1.0]], [[1.0, 1.0]])
    0.5
    """

    kind = MAE_ROWS

    def __init__(self, reduction="sum_over_batch_size", name="mean_absolute_error", dtype=None):
        super().__init__(name, reduction, dtype)


@REGISTRY.register("huber_loss")
class Huber(Loss):
    """e^2 / 2 where |e| <= delta, else delta |e| - delta^2 / 2; the mean over the last axis.

    >>> Huber()([[0.0, 0.0]], [[1.0, 3.0]])
    1.5
    """

    kind = HUBER_ROWS

    def __init__(self, delta=1.0, reduction="sum_over_batch_size", name="huber_loss", dtype=None):
        super().__init__(name, reduction, dtype)
        self.delta = float(delta)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta}


class _Crossentropy(Loss):
    kinds = ()                          # from probabilities, from logits

    def __init__(self, from_logits, label_smoothing, axis, reduction, name, dtype):
        super().__init__(name, reduction, dtype)
        if axis != -1:
            raise ValueError(f"{self.name}: the classes must be on the last axis (axis=-1), got axis={axis}.")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"{self.name}: label_smoothing must be from 0 to 1, got {label_smoothing}.")
        self.from_logits, self.label_smoothing, self.axis = bool(from_logits), label_smoothing, axis
        self.smoothing, self.kind = float(label_smoothing), self.kinds[bool(from_logits)]

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing,
                "axis": self.axis}


@REGISTRY.register
class CategoricalCrossentropy(_Crossentropy):
    """-sum(y_true log p) for one-hot targets, with p = clip(y_pred / sum(y_pred)), or softmax of logits.

    Args:
        from_logits: whether y_pred are logits.
        label_smoothing: the part of the target spread evenly over all classes.
        axis: -1.

    >>> round(CategoricalCrossentropy()([[0, 1]], [[1.0, 3.0]]), 4)
    0.2877
    """

    kinds = (CATEGORICAL_ROWS, CATEGORICAL_LOGITS_ROWS)

    def __init__(self, from_logits=False, label_smoothing=0.0, axis=-1, reduction="sum_over_batch_size",
                 name="categorical_crossentropy", dtype=None):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)


@REGISTRY.register("bce", "BCE")
class BinaryCrossentropy(_Crossentropy):
    """-mean(t log p + (1 - t) log(1 - p)) over the last axis, p clipped, or the sigmoid of logits.

    >>> round(BinaryCrossentropy()([[1.0]], [[0.5]]), 4)
    0.6931
    """

    kinds = (BINARY_ROWS, BINARY_LOGITS_ROWS)

    def __init__(self, from_logits=False, label_smoothing=0.0, axis=-1, reduction="sum_over_batch_size",
                 name="binary_crossentropy", dtype=None):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)


@REGISTRY.register
class SparseCategoricalCrossentropy(_Crossentropy):
    """`CategoricalCrossentropy` for integer labels from 0 to the number of classes - 1.

    Args:
        from_logits: whether y_pred are logits.
        ignore_class: a label that does not count, or None.

    >>> round(SparseCategoricalCrossentropy()([1], [[1.0, 3.0]]), 4)
    0.2877
    """

    kinds = (SPARSE_ROWS, SPARSE_LOGITS_ROWS)
    sparse = True

    def __init__(self, from_logits=False, ignore_class=None, reduction="sum_over_batch_size", axis=-1,
                 name="sparse_categorical_crossentropy", dtype=None):
        super().__init__(from_logits, 0.0, axis, reduction, name, dtype)
        self.ignore_class = ignore_class

    def get_config(self):
        return {**Loss.get_config(self), "from_logits": self.from_logits, "ignore_class": self.ignore_class}


def mean_squared_error(y_true, y_pred):
    """`MeanSquaredError` of each row, as an array."""
    return MeanSquaredError().call(y_true, y_pred)


def mean_absolute_error(y_true, y_pred):
    """`MeanAbsoluteError` of each row, as an array."""
    return MeanAbsoluteError().call(y_true, y_pred)


def huber(y_true, y_pred, delta=1.0):
    """`Huber` of each row, as an array."""
    return Huber(delta).call(y_true, y_pred)


def categorical_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """`CategoricalCrossentropy` of each row, as an array."""
    return CategoricalCrossentropy(from_logits, label_smoothing, axis).call(y_true, y_pred)


def sparse_categorical_crossentropy(y_true, y_pred, from_logits=False, ignore_class=None, axis=-1):
    """`SparseCategoricalCrossentropy` of each row, as an array."""
    return SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis).call(y_true, y_pred)


def binary_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """`BinaryCrossentropy` of each row, as an array."""
    return BinaryCrossentropy(from_logits, label_smoothing, axis).call(y_true, y_pred)


mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
bce = BCE = binary_crossentropy
_CLASS_OF = {
    mean_squared_error: MeanSquaredError, mean_absolute_error: MeanAbsoluteError, huber: Huber,
    categorical_crossentropy: CategoricalCrossentropy, binary_crossentropy: BinaryCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
}


def get(identifier):
    """The `Loss` that a name, a class, an object, one of this module's functions or Keras's dict means.

    Raises:
        ValueError: for an unknown name, and for a plain function, which has no gradient here.

    >>> get("mse").name
    'mean_squared_error'
    """
    if not isinstance(identifier, (str, dict)) and callable(identifier):
        identifier = _CLASS_OF.get(identifier, identifier) if not isinstance(identifier, Loss) else identifier
    found = REGISTRY.get(identifier)
    if found is not None and not isinstance(found, Loss):
        raise ValueError(
            f"{identifier!r} cannot be a loss: tdfast needs its gradient. Subclass tdfast.losses.Loss and "
            "override value_and_grad."
        )
    return found


def serialize(loss):
    """Keras's dict for a loss; a bare name stays one."""
    return REGISTRY.serialize(_CLASS_OF.get(loss, loss) if callable(loss) and not isinstance(loss, Loss) else loss)


def deserialize(config, custom_objects=None):
    """The loss of a serialized dict or name."""
    return get(REGISTRY.deserialize(config, custom_objects))
