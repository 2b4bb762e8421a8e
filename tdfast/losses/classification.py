"""Losses between probabilities or scores and classes: crossentropies, divergences, hinges."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.losses.base import (
    EPSILON,
    IGNORED,
    KINDS,
    REGISTRY,
    AlongAxis,
    BuiltIn,
    KernelLoss,
    check_labels,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    from tdfast.losses.base import _NewBuffers


class _FromProbabilities:
    """What can be taken from logits as well: from_logits=True says so."""

    axis: Any
    from_logits: Any
    get_config: Any

    activation = ""                     # that which makes the probabilities

    def on_logits(self, activation: ActivationSpec, axis: int, shape: Sizes) -> Any:
        """This loss with from_logits=True, where the activation is that of its probabilities; else None."""
        cls: Any = type(self)
        fits = activation == self.activation
        if activation == "softmax":         # a row of one could be joined to others by `match_rank`
            fits = fits and axis == self.axis % len(shape) and shape[axis] != 1
        if not fits or self.from_logits or cls.__module__ != __name__:
            return None
        return cls.from_config({**self.get_config(), "from_logits": True})


class _OfBits:
    """Losses whose targets are from 0 to 1."""

    name: str

    def look_at(self, y_true: Array, y_pred_shape: Shape, who: str) -> None:
        """Warn of targets beyond 0 and 1."""
        low, high = (float(f(y_true)) for f in (np.min, np.max)) if y_true.size else (0.0, 1.0)
        if low < 0 or high > 1:
            warnings.warn(
                f"{who}: y holds numbers from {low:g} to {high:g}, but {self.name} is for targets from 0 to "
                "1, and has no minimum for others. Bring labels to 0 and 1. Numbers to be met are a case for "
                "'mse', labels of several classes for 'sparse_categorical_crossentropy'.",
                stacklevel=5,
            )


class _Crossentropy(_FromProbabilities, AlongAxis, KernelLoss):
    kinds: tuple[Any, ...] = ()                          # from probabilities, from logits

    def __init__(self, from_logits: bool, label_smoothing: float, axis: int, reduction: Reduction, name: str,
                 dtype: DType) -> None:
        super().__init__(name, reduction, dtype)
        self.set_axis(axis)
        self.label_smoothing = check_smoothing(label_smoothing, self.name)
        self.from_logits = self._flag(from_logits, "from_logits")
        self.smoothing, self.kind = float(label_smoothing), self.kinds[self.from_logits]

    def get_config(self) -> Config:
        return {**super().get_config(), "from_logits": self.from_logits,
                "label_smoothing": self.label_smoothing, "axis": self.axis}


def check_smoothing(label_smoothing: float, who: str) -> float:
    """The label smoothing, which must be from 0 to 1."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{who}: label_smoothing must be from 0 to 1, got {label_smoothing}.")
    return label_smoothing


@REGISTRY.register
class CategoricalCrossentropy(_Crossentropy):
    """-sum(y_true log p) for one-hot targets, with p = clip(y_pred / sum(y_pred)), or softmax of logits.

    Args:
        from_logits: whether y_pred are logits.
        label_smoothing: the part of the target spread evenly over all classes.
        axis: that of the classes.

    Source: https://keras.io/api/losses/probabilistic_losses/

    >>> round(CategoricalCrossentropy()([[0, 1]], [[1.0, 3.0]]), 4)
    0.2877
    """

    activation, kinds = "softmax", (KINDS["categorical"], KINDS["categorical_logits"])

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction: Reduction = "sum_over_batch_size", name: str = "categorical_crossentropy",
                 dtype: DType = None) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)


@REGISTRY.register("bce", "BCE")
class BinaryCrossentropy(_OfBits, _Crossentropy):
    """-mean(t log p + (1 - t) log(1 - p)) over ``axis``, p clipped, or the sigmoid of logits.

    Args:
        from_logits: whether y_pred are logits.
        label_smoothing: targets move this far towards 1/2.
        axis: that of the mean.

    Source: https://keras.io/api/losses/probabilistic_losses/

    >>> round(BinaryCrossentropy()([[1.0]], [[0.5]]), 4)
    0.6931
    """

    activation, kinds = "sigmoid", (KINDS["binary"], KINDS["binary_logits"])

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction: Reduction = "sum_over_batch_size", name: str = "binary_crossentropy",
                 dtype: DType = None) -> None:
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)


@REGISTRY.register
class SparseCategoricalCrossentropy(_FromProbabilities, KernelLoss):
    """`CategoricalCrossentropy` for integer labels from 0 to the number of classes - 1.

    Args:
        from_logits: whether y_pred are logits.
        ignore_class: a label that does not count, or None.
        axis: that of the classes, which must be the last.

    Source: https://keras.io/api/losses/probabilistic_losses/

    >>> round(SparseCategoricalCrossentropy()([1], [[1.0, 3.0]]), 4)
    0.2877
    """

    sparse, activation = True, "softmax"

    def __init__(self, from_logits: bool = False, ignore_class: int | None = None,
                 reduction: Reduction = "sum_over_batch_size", axis: int = -1,
                 name: str = "sparse_categorical_crossentropy", dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)
        if axis != -1:
            raise ValueError(f"{self.name}: the classes must be on the last axis (axis=-1), got axis={axis}.")
        self.from_logits = self._flag(from_logits, "from_logits")
        self.ignore_class, self.axis = ignore_class, axis
        self.kind = KINDS["sparse_logits"] if from_logits else KINDS["sparse"]

    def prepare(self, y_true: Array, y_pred: Array, buffers: Record | _NewBuffers) -> Array | None:  # type: ignore[override]
        t = super().prepare(y_true, y_pred, buffers)
        return t if self.ignore_class is None else np.where(t == self.ignore_class, np.int32(IGNORED), t)

    def reduced(self, y_true: Array, y_pred: Array, sample_weight: Numbers | None, mask: Masks, dy: Any,
                buffers: Record | _NewBuffers) -> float:
        return super().reduced(y_true, y_pred, sample_weight, self.kept(y_true, y_pred, mask), dy, buffers)

    @property
    def can_be_prepared(self) -> bool:
        return type(self).__module__ == __name__ and self.ignore_class is None

    def kept(self, y_true: Array, y_pred: Array, mask: Masks) -> Array | None:
        """The mask without the rows of the ignored class."""
        if self.ignore_class is None:
            return mask
        kept = np.asarray(y_true).reshape(y_pred.shape[:-1]) != self.ignore_class
        return kept if mask is None else kept & np.asarray(mask, bool).reshape(kept.shape)

    def get_config(self) -> Config:
        return {**super().get_config(), "from_logits": self.from_logits, "ignore_class": self.ignore_class}


@REGISTRY.register("ce")
class Crossentropy(BuiltIn):
    """The crossentropy that fits the shapes, which ``compile(loss="crossentropy")`` means.

    One output: `BinaryCrossentropy`. Labels, with the classes' axis missing or of size 1:
    `SparseCategoricalCrossentropy`. One-hot targets: `CategoricalCrossentropy`.

    >>> round(Crossentropy()([1], [[0.25, 0.75]]), 4), round(Crossentropy()([[0, 1]], [[0.25, 0.75]]), 4)
    (0.2877, 0.2877)
    """

    from_logits = False                 # what `fitting` gives takes

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "crossentropy",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)

    def fitting(self, true_shape: Sequence[Any], pred_shape: Sequence[Any]) -> Any:
        """The loss for these shapes."""
        cls = crossentropy_of(true_shape, pred_shape, BinaryCrossentropy, SparseCategoricalCrossentropy,
                              CategoricalCrossentropy)
        return cls(self.from_logits, reduction=self.reduction, name=self.name)

    def on_logits(self, activation: ActivationSpec, axis: int, shape: Sizes) -> Any:
        fits = (activation == "sigmoid") == (shape[-1] == 1) and axis == len(shape) - 1
        if not fits or type(self) is not Crossentropy:
            return None
        loss = Crossentropy(self.reduction, self.name)
        loss.from_logits = True
        return loss

    def check(self, y_true_shape: Shape, y_pred_shape: Shape) -> None:
        self.fitting(y_true_shape, y_pred_shape).check(y_true_shape, y_pred_shape)

    def look_at(self, y_true: Array, y_pred_shape: Shape, who: str) -> None:
        self.fitting(y_true.shape, y_pred_shape).look_at(y_true, y_pred_shape, who)

    def value_and_grad(self, y_true: Array, y_pred: Array, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return self.fitting(np.shape(y_true), y_pred.shape).value_and_grad(y_true, y_pred, *args, **kwargs)

    def values(self, y_true: Array, y_pred: Array) -> Any:
        return self.fitting(np.shape(y_true), np.shape(y_pred)).values(y_true, y_pred)


def crossentropy_of(true_shape: Sequence[Any], pred_shape: Sequence[Any], binary: type, sparse: Any,
                    categorical: type) -> Any:
    """One of three things, by the shapes of targets and outputs, as Keras decides."""
    true_shape, pred_shape = tuple(true_shape), tuple(pred_shape)
    if pred_shape[-1] == 1:
        return binary
    if len(true_shape) < len(pred_shape) or (true_shape[-1] == 1 and pred_shape[-1] > 1):
        return sparse
    return categorical


@REGISTRY.register
class BinaryFocalCrossentropy(_OfBits, _FromProbabilities, AlongAxis):
    """`BinaryCrossentropy` with each value times (1 - p_t)^gamma, so that values it has learned count
    little.

    p_t = t p + (1 - t) (1 - p) is the probability given to the truth.

    Args:
        apply_class_balancing: weigh class 1 with alpha and class 0 with 1 - alpha.
        alpha: that weight.
        gamma: the focusing exponent; 0 gives `BinaryCrossentropy`.
        from_logits, label_smoothing, axis: as for `BinaryCrossentropy`.

    Source: Lin et al., Focal Loss for Dense Object Detection (2017), https://arxiv.org/abs/1708.02002

    >>> round(BinaryFocalCrossentropy()([[1.0]], [[0.5]]), 4)
    0.1733
    """

    def __init__(self, apply_class_balancing: bool | str = False, alpha: float = 0.25, gamma: float = 2.0,
                 from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
                 reduction: Reduction = "sum_over_batch_size", name: str = "binary_focal_crossentropy",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)
        self.set_axis(axis)
        self.label_smoothing = check_smoothing(label_smoothing, self.name)
        self.from_logits = self._flag(from_logits, "from_logits")
        self.apply_class_balancing = self._flag(apply_class_balancing, "apply_class_balancing")
        self.alpha, self.gamma = alpha, gamma

    activation = "sigmoid"

    def _parts(self, y_true: Array, y_pred: Array) -> tuple[Any, ...]:
        """(targets, p, 1 - p, crossentropies, their slopes, weights, 1 - p_t) of each output."""
        t = y_true * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else y_true
        if self.from_logits:
            p, q = _sigmoid(y_pred), _sigmoid(-y_pred)
            entropy = t * np.maximum(-y_pred, 0) + (1 - t) * np.maximum(y_pred, 0)
            entropy += np.log1p(np.exp(-np.abs(y_pred)))
            slope = (1 - t) * p - t * q
        else:
            p, q, c = y_pred, 1 - y_pred, _clip(y_pred)
            entropy = -(t * np.log(c) + (1 - t) * np.log(1 - c))
            slope = ((1 - t) / (1 - c) - t / c) * _clip_slope(p)
        weight = t * self.alpha + (1 - t) * (1 - self.alpha) if self.apply_class_balancing else 1
        return t, p, q, entropy, slope, weight, t * q + (1 - t) * p

    def call(self, y_true: Array, y_pred: Array) -> Array:
        _, _, _, entropy, _, weight, wrong = self._parts(y_true, y_pred)
        return np.mean(weight * wrong**self.gamma * entropy, axis=-1)

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        t, p, q, entropy, slope, weight, wrong = self._parts(y_true, y_pred)
        through = (1 - 2 * t) * p * q if self.from_logits else 1 - 2 * t        # the derivative of ``wrong``
        slope = wrong**self.gamma * slope + _power_slope(wrong, self.gamma) * through * entropy
        return slope * (weight / y_pred.shape[-1])

    def get_config(self) -> Config:
        return {**super().get_config(), "from_logits": self.from_logits,
                "label_smoothing": self.label_smoothing, "axis": self.axis,
                "apply_class_balancing": self.apply_class_balancing, "alpha": self.alpha, "gamma": self.gamma}


@REGISTRY.register
class CategoricalFocalCrossentropy(_FromProbabilities, AlongAxis):
    """-sum(alpha (1 - p)^gamma y_true log p) for one-hot targets, p as for `CategoricalCrossentropy`.

    Args:
        alpha: a factor, or a list of one for each class.
        gamma: the focusing exponent; 0 gives alpha times `CategoricalCrossentropy`.
        from_logits, label_smoothing, axis: as for `CategoricalCrossentropy`.

    Source: Lin et al., Focal Loss for Dense Object Detection (2017), https://arxiv.org/abs/1708.02002

    >>> round(CategoricalFocalCrossentropy()([[0, 1]], [[0.5, 0.5]]), 4)
    0.0433
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False,
                 label_smoothing: float = 0.0, axis: int = -1, reduction: Reduction = "sum_over_batch_size",
                 name: str = "categorical_focal_crossentropy", dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)
        self.set_axis(axis)
        self.label_smoothing = check_smoothing(label_smoothing, self.name)
        self.from_logits = self._flag(from_logits, "from_logits")
        self.alpha, self.gamma = alpha, gamma

    activation = "softmax"

    def _targets(self, y_true: Array, y_pred: Array) -> Any:
        """The targets after smoothing, times alpha."""
        share = self.label_smoothing / y_pred.shape[-1]
        t = y_true * (1 - self.label_smoothing) + share if self.label_smoothing else y_true
        return np.asarray(self.alpha, y_pred.dtype) * t

    def _shares(self, y_pred: Array) -> tuple[Any, ...]:
        """(the sum of the outputs, the outputs divided by it, these clipped)."""
        whole = y_pred.sum(axis=-1, keepdims=True)
        whole = np.where(whole == 0, np.asarray(1e-30, y_pred.dtype), whole)     # as in src_c/loss.c
        q = y_pred / whole
        return whole, q, _clip(q)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        if self.from_logits:
            log, wrong = _log_softmax(y_pred)
        else:
            c = self._shares(y_pred)[2]
            log, wrong = np.log(c), 1 - c
        t = self._targets(y_true, y_pred)
        return -np.sum(t * wrong**self.gamma * np.where(t == 0, 0, log), axis=-1)

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        t = self._targets(y_true, y_pred)
        if self.from_logits:
            log, wrong = _log_softmax(y_pred)
            p, log = np.exp(log), np.where(t == 0, 0, log)
            slope = t * (_power_slope(wrong, self.gamma) * p * log - wrong**self.gamma)     # by log p
            return slope * wrong - p * (np.sum(slope, axis=-1, keepdims=True) - slope)
        whole, q, c = self._shares(y_pred)
        slope = _power_slope(1 - c, self.gamma) * np.log(c) - (1 - c) ** self.gamma / c
        slope *= t * _clip_slope(q)
        slope -= np.sum(slope * c, axis=-1, keepdims=True)
        return slope / whole

    def get_config(self) -> Config:
        return {**super().get_config(), "from_logits": self.from_logits,
                "label_smoothing": self.label_smoothing, "axis": self.axis, "alpha": self.alpha,
                "gamma": self.gamma}


@REGISTRY.register
class CategoricalGeneralizedCrossEntropy(BuiltIn):
    """(1 - p^q) / q with p the output of the labelled class: between crossentropy and absolute error.

    Wrong labels do it less harm than the crossentropy.

    Args:
        q: between 0 (crossentropy) and 1 (absolute error).

    Source: Zhang and Sabuncu, Generalized Cross Entropy Loss (2018), https://arxiv.org/abs/1805.07836

    >>> CategoricalGeneralizedCrossEntropy()([1], [[0.75, 0.25]])
    1.0
    """

    sparse = True

    def __init__(self, q: float = 0.5, reduction: Reduction = "sum_over_batch_size",
                 name: str = "categorical_generalized_cross_entropy", dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)
        if not 0 < q < 1:
            raise ValueError(f"{self.name}: q must be between 0 and 1, got {q}.")
        self.q = q

    def call(self, y_true: Array, y_pred: Array) -> Array:
        check_labels(y_true, y_pred.shape[-1], self.name)
        p = np.take_along_axis(y_pred, y_true[..., None], axis=-1)[..., 0]
        with np.errstate(divide="ignore"):
            return -np.expm1(self.q * np.log(p)) / self.q       # (1 - p^q) / q, also for p near 1

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        p = np.take_along_axis(y_pred, y_true[..., None], axis=-1)
        slope = np.zeros_like(y_pred)
        # A softmax that has come to 0 stays where it is: its slope is large but no infinity.
        np.put_along_axis(slope, y_true[..., None], -np.maximum(p, 1e-30) ** (self.q - 1), axis=-1)
        return slope

    def get_config(self) -> Config:
        return {**super().get_config(), "q": self.q}


@REGISTRY.register("kld", "KLD", "kullback_leibler_divergence")
class KLDivergence(KernelLoss):
    """sum(y_true log(y_true / y_pred)) over the last axis, both clipped to 1e-7 .. 1.

    Source: https://keras.io/api/losses/probabilistic_losses/

    >>> round(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]]), 4)
    0.1438
    """

    kind = KINDS["kl"]

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "kl_divergence",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)


class _Hinge(KernelLoss):
    """Targets are -1 and 1; if all of them are 0 or 1, 0 stands for -1."""

    def prepare(self, y_true: Array, y_pred: Array, buffers: Any) -> Any:
        t = super().prepare(y_true, y_pred, buffers)
        if not ((t == 0) | (t == 1)).all():
            return t
        signs = buffers.buffer("signs", t.shape, t.dtype)
        np.multiply(t, 2, out=signs)
        return np.subtract(signs, 1, out=signs)


@REGISTRY.register
class Hinge(_Hinge):
    """mean(max(1 - y_true y_pred, 0)) over the last axis, for targets -1 and 1 (or 0 and 1).

    Source: https://keras.io/api/losses/hinge_losses/

    >>> Hinge()([[1.0, -1.0]], [[0.5, 0.5]])
    1.0
    """

    kind = KINDS["hinge"]

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "hinge",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)


@REGISTRY.register
class SquaredHinge(_Hinge):
    """mean(max(1 - y_true y_pred, 0)^2) over the last axis, for targets -1 and 1 (or 0 and 1).

    Source: https://keras.io/api/losses/hinge_losses/

    >>> SquaredHinge()([[1.0, -1.0]], [[0.5, 0.5]])
    1.25
    """

    kind = KINDS["squared_hinge"]

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "squared_hinge",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)


@REGISTRY.register
class CategoricalHinge(BuiltIn):
    """max(max((1 - y_true) y_pred) - sum(y_true y_pred) + 1, 0) over the last axis, for one-hot targets.

    Source: https://keras.io/api/losses/hinge_losses/

    >>> round(CategoricalHinge()([[0.0, 1.0]], [[0.6, 0.4]]), 4)
    1.2
    """

    def __init__(self, reduction: Reduction = "sum_over_batch_size", name: str = "categorical_hinge",
                 dtype: DType = None) -> None:
        super().__init__(name, reduction, dtype)

    @staticmethod
    def _miss(y_true: Array, y_pred: Array) -> tuple[Any, ...]:
        others = (1 - y_true) * y_pred
        best = others.max(axis=-1)
        return best - np.einsum("...i,...i->...", y_true, y_pred) + 1, others == best[..., None]

    def call(self, y_true: Array, y_pred: Array) -> Array:
        return np.maximum(self._miss(y_true, y_pred)[0], 0)

    def gradient(self, y_true: Array, y_pred: Array) -> Array:
        miss, largest = self._miss(y_true, y_pred)
        share = largest / largest.sum(axis=-1, keepdims=True)       # several largest share the slope
        return ((1 - y_true) * share - y_true) * np.heaviside(miss, 0.5)[..., None]


# ---------------------------------------------------------------- pieces


def _clip(p: Any) -> Any:
    return np.clip(p, np.asarray(EPSILON, p.dtype), np.asarray(1 - EPSILON, p.dtype))


def _clip_slope(p: Any) -> Any:
    """The derivative of the clip: half at its ends."""
    return np.heaviside(p - np.asarray(EPSILON, p.dtype),
                        0.5) * np.heaviside(np.asarray(1 - EPSILON, p.dtype) - p, 0.5)


def _power_slope(x: Any, exponent: float) -> Array:
    """The derivative of x^exponent for x >= 0."""
    # A 0 is taken as tiny: with an exponent below 1 the slope is large there but no infinity.
    if not exponent:
        return np.zeros_like(x)
    return exponent * np.where(x == 0, x.dtype.type(1e-30), x) ** (exponent - 1)


def _sigmoid(x: Any) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _log_softmax(x: Any) -> tuple[Any, ...]:
    """(the logarithm of softmax, 1 - softmax), both to full accuracy also where softmax is nearly 1."""
    x = x - x.max(axis=-1, keepdims=True)
    e = np.exp(x)
    largest = np.arange(x.shape[-1]) == x.argmax(axis=-1)[..., None]
    rest = np.sum(np.where(largest, 0, e), axis=-1, keepdims=True)
    return x - np.log1p(rest), np.where(largest, rest, 1 + rest - e) / (1 + rest)


# ---------------------------------------------------------------- the same as functions, one value for each
# row


def categorical_crossentropy(y_true: Numbers, y_pred: Numbers, from_logits: bool = False,
                             label_smoothing: float = 0.0, axis: int = -1) -> Any:
    """-sum(y_true log p) for one-hot targets: `CategoricalCrossentropy` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.
        from_logits: whether y_pred are logits instead of probabilities.
        label_smoothing: the part of the target spread evenly over all classes.
        axis: that of the classes.

    Returns:
        An array (...), one value for each row.

    >>> categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    array([0.6931])
    """
    return CategoricalCrossentropy(from_logits, label_smoothing, axis).values(y_true, y_pred)


def sparse_categorical_crossentropy(y_true: Numbers, y_pred: Numbers, from_logits: bool = False,
                                    ignore_class: int | None = None, axis: int = -1) -> Any:
    """-log p[label]: `SparseCategoricalCrossentropy` of each row.

    Args:
        y_true: labels, (...) or (..., 1).
        y_pred: (..., classes).
        from_logits: whether y_pred are logits instead of probabilities.
        ignore_class: a label whose rows give 0, or None.
        axis: that of the classes, the last.

    Returns:
        An array (...), one value for each row.

    >>> sparse_categorical_crossentropy([1, 0], [[0.5, 0.5], [1.0, 0.0]]).round(4)
    array([0.6931, 0.    ])
    """
    return SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis).values(y_true, y_pred)


def binary_crossentropy(y_true: Numbers, y_pred: Numbers, from_logits: bool = False,
                        label_smoothing: float = 0.0, axis: int = -1) -> Any:
    """-mean(y_true log p + (1 - y_true) log(1 - p)): `BinaryCrossentropy` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.
        from_logits: whether y_pred are logits instead of probabilities.
        label_smoothing: the part of the target replaced by 0.5.
        axis: that over which the mean goes.

    Returns:
        An array (...), one value for each row.

    >>> binary_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    array([0.6931])
    """
    return BinaryCrossentropy(from_logits, label_smoothing, axis).values(y_true, y_pred)


def binary_focal_crossentropy(y_true: Numbers, y_pred: Numbers, apply_class_balancing: bool = False,
                              alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False,
                              label_smoothing: float = 0.0, axis: int = -1) -> Any:
    """-mean((1 - p_t)^gamma log p_t), p_t the probability of the truth: `BinaryFocalCrossentropy` of each
    row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.
        apply_class_balancing: whether ones are weighed by alpha, and zeros by 1 - alpha.
        alpha, gamma: the weight and the exponent.
        from_logits, label_smoothing, axis: as for `binary_crossentropy`.

    Returns:
        An array (...), one value for each row.

    >>> binary_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    array([0.1733])
    """
    return BinaryFocalCrossentropy(apply_class_balancing, alpha, gamma, from_logits, label_smoothing,
                                   axis).values(y_true, y_pred)


def categorical_focal_crossentropy(y_true: Numbers, y_pred: Numbers, alpha: float = 0.25, gamma: float = 2.0,
                                   from_logits: bool = False, label_smoothing: float = 0.0,
                                   axis: int = -1) -> Any:
    """-sum(alpha (1 - p)^gamma y_true log p): `CategoricalFocalCrossentropy` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.
        alpha, gamma: the weight and the exponent.
        from_logits, label_smoothing, axis: as for `categorical_crossentropy`.

    Returns:
        An array (...), one value for each row.

    >>> categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    array([0.0433])
    """
    return CategoricalFocalCrossentropy(alpha, gamma, from_logits, label_smoothing,
                                        axis).values(y_true, y_pred)


def categorical_generalized_cross_entropy(y_true: Numbers, y_pred: Numbers, q: Any) -> Any:
    """(1 - p[label]^q) / q, robust against wrong labels: `CategoricalGeneralizedCrossEntropy` of each row.

    Args:
        y_true: labels, (...) or (..., 1).
        y_pred: probabilities, (..., classes).
        q: above 0, where it is the crossentropy, and below 1, where it is 1 - p[label].

    Returns:
        An array (...), one value for each row.

    >>> categorical_generalized_cross_entropy([1], [[0.5, 0.5]], q=0.5).round(4)
    array([0.5858])
    """
    return CategoricalGeneralizedCrossEntropy(q).values(y_true, y_pred)


def kl_divergence(y_true: Numbers, y_pred: Numbers) -> Any:
    """sum(y_true log(y_true / y_pred)): `KLDivergence` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> kl_divergence([[0.5, 0.5]], [[0.5, 0.5]])
    array([0.])
    """
    return KLDivergence().values(y_true, y_pred)


def hinge(y_true: Numbers, y_pred: Numbers) -> Any:
    """mean(max(1 - y_true y_pred, 0)) for targets -1 and 1, or 0 and 1: `Hinge` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> hinge([[-1.0, 1.0]], [[-2.0, 0.5]])
    array([0.25])
    """
    return Hinge().values(y_true, y_pred)


def squared_hinge(y_true: Numbers, y_pred: Numbers) -> Any:
    """mean(max(1 - y_true y_pred, 0)^2) for targets -1 and 1, or 0 and 1: `SquaredHinge` of each row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> squared_hinge([[-1.0, 1.0]], [[-2.0, 0.5]])
    array([0.125])
    """
    return SquaredHinge().values(y_true, y_pred)


def categorical_hinge(y_true: Numbers, y_pred: Numbers) -> Any:
    """max(neg - pos + 1, 0), pos the output of the truth, neg the largest other: `CategoricalHinge` of each
    row.

    Args:
        y_true: targets, (..., features).
        y_pred: outputs of the same shape.

    Returns:
        An array (...), one value for each row.

    >>> categorical_hinge([[0.0, 1.0]], [[0.25, 0.75]])
    array([0.5])
    """
    return CategoricalHinge().values(y_true, y_pred)
