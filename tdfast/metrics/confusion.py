"""Counts of right and wrong decisions over thresholds, and what is made of them.

An output above a threshold says yes. For n thresholds the state is n numbers for each of the four counts,
summed in float64, whatever the number of samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.metrics.base import REGISTRY, Metric, matched_rows, plain, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Config, DType, Numbers

LOWEST = -1e10              # below every output; those that are not among the top k get it
COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


def are_even(thresholds: Any) -> bool:
    """Whether 3 or more thresholds lie at equal distances from 0 to 1. Outputs are clipped to 0 .. 1 then, as
    in Keras."""
    n = len(thresholds)
    return n >= 3 and np.allclose(thresholds, np.arange(n) / (n - 1), atol=1e-7)


def exceeded(p: Any, thresholds: Any, even: Any) -> Any:
    """How many of the sorted thresholds each output is greater than; NaN is greater than none."""
    nan = np.isnan(p)
    if even:
        # Rounded down, a place is at most one too low: two comparisons give the exact number, sooner than a
        # search.
        p = np.clip(np.where(nan, 0, p), 0, 1)
        above = (p * (len(thresholds) - 1)).astype(np.intp)
        beyond = np.append(thresholds, np.asarray([np.inf], p.dtype))
        above += (beyond[above] < p).astype(np.intp) + (beyond[above + 1] < p)
    else:
        above = np.searchsorted(thresholds, p, side="left")
    above[nan] = 0
    return above


def counts(t: Any, p: Any, w: Any, thresholds: Any, even: Any,
           by_label: bool = False) -> Any:
    """The four counts of `COUNTS`, each (thresholds,) or (thresholds, labels), for rows (M, C)."""
    n, labels = len(thresholds), p.shape[1] if by_label else 1
    order = np.argsort(thresholds, kind="stable")
    above = exceeded(p, np.asarray(thresholds)[order].astype(p.dtype), even)
    above += (n + 1) * (t != 0)
    if by_label:
        above *= labels
        above += np.arange(labels)
    histogram = np.bincount(above.ravel(), None if w is None else w.ravel(), minlength=2 * (n + 1) * labels)
    histogram = histogram.reshape(2, n + 1, labels).astype(np.float64)
    no = histogram.cumsum(axis=1)[:, :-1]
    yes = histogram[:, ::-1].cumsum(axis=1)[:, -2::-1]
    out = np.empty((4, n, labels))
    out[:, order] = yes[1], yes[0], no[0], no[1]
    return out if by_label else out[..., 0]


class ThresholdMetric(Metric):
    """A metric of the four counts over thresholds: `true_positives`, `false_positives` and so on are
    arrays."""

    false_negatives: Any
    false_positives: Any
    true_negatives: Any
    true_positives: Any

    state_names = COUNTS
    top_k = class_id = None
    thresholds: Sequence[float] = (0.5,)
    even = False

    def start(self, thresholds: Any, class_id: int | None = None,
              top_k: int | None = None) -> None:
        """Keep the options and begin."""
        self.thresholds, self.class_id, self.top_k = [float(t) for t in thresholds], class_id, top_k
        self.even = are_even(self.thresholds)
        self.reset_state()

    def reset_state(self) -> None:
        for name in COUNTS:
            setattr(self, name, np.zeros(len(self.thresholds)))

    def update_state(self, y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None = None) -> None:
        t, p, w = matched_rows(y_true, y_pred, sample_weight, self.name)
        if self.top_k is not None:
            best = np.argsort(-p, axis=-1, kind="stable")[:, : self.top_k]
            kept = np.full_like(p, LOWEST)
            np.put_along_axis(kept, best, np.take_along_axis(p, best, axis=-1), axis=-1)
            p = kept
        if self.class_id is not None:
            if not -p.shape[1] <= self.class_id < p.shape[1]:
                raise ValueError(
                    f"{self.name}: class_id={self.class_id}, but the outputs have {p.shape[1]} classes."
                )
            t, p, w = (None if a is None else a[:, self.class_id, None] for a in (t, p, w))
        self.add(counts(t, p, w, self.thresholds, self.even))

    def add(self, new: Any) -> Any:
        """Add four counts."""
        for name, count in zip(COUNTS, new):
            setattr(self, name, getattr(self, name) + count)

    @property
    def recall(self) -> Any:
        """Of the positives, the part that is found, for each threshold."""
        return ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def precision(self) -> Any:
        """Of the yeses, the part that is right."""
        return ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def specificity(self) -> Any:
        """Of the negatives, the part that is left out."""
        return ratio(self.true_negatives, self.true_negatives + self.false_positives)

    def shaped(self, values: Any) -> Any:
        """One threshold's number, or the array for several."""
        return plain(values[0] if len(self.thresholds) == 1 else values)


def check_thresholds(thresholds: Any, default: float, who: str) -> Any:
    """The thresholds as a list: from a number, a list, or None for the default."""
    if thresholds is None:
        return [default]
    given = list(thresholds) if isinstance(thresholds, (list, tuple, np.ndarray)) else [thresholds]
    if not given or any(t is None or not 0 <= t <= 1 for t in given):
        raise ValueError(
            f"{who}: thresholds must be a number from 0 to 1 or a list of them, got {thresholds!r}."
        )
    return given


# ---------------------------------------------------------------- the counts


class _Count(ThresholdMetric):
    count: Any = None

    def __init__(self, thresholds: float | Sequence[float] | None = None, name: str | None = None,
                 dtype: DType = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.init_thresholds = thresholds
        self.start(check_thresholds(thresholds, 0.5, self.name))

    def result(self) -> Any:
        return self.shaped(getattr(self, self.count))

    def get_config(self) -> Config:
        return {**super().get_config(), "thresholds": self.init_thresholds}


@REGISTRY.register
class TruePositives(_Count):
    """The (weighted) number of outputs above the threshold whose target is 1.

    Args:
        thresholds: a number from 0 to 1, default 0.5, or a list, which gives an array.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> TruePositives()([0, 1, 1], [1.0, 0.8, 0.2])
    1.0
    """

    count = "true_positives"


@REGISTRY.register
class TrueNegatives(_Count):
    """The (weighted) number of outputs not above the threshold whose target is 0; thresholds as in
    `TruePositives`.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> TrueNegatives()([0, 1, 0], [0.1, 0.8, 0.5])
    2.0
    """

    count = "true_negatives"


@REGISTRY.register
class FalsePositives(_Count):
    """The (weighted) number of outputs above the threshold whose target is 0; thresholds as in
    `TruePositives`.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> FalsePositives()([0, 1, 0], [0.9, 0.8, 0.5])
    1.0
    """

    count = "false_positives"


@REGISTRY.register
class FalseNegatives(_Count):
    """The (weighted) number of outputs not above the threshold whose target is 1; thresholds as in
    `TruePositives`.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> FalseNegatives()([1, 1, 0], [0.1, 0.8, 0.5])
    1.0
    """

    count = "false_negatives"


# ---------------------------------------------------------------- parts of them


class _Part(ThresholdMetric):
    direction = "up"

    def __init__(self, thresholds: float | Sequence[float] | None = None, top_k: int | None = None,
                 class_id: int | None = None, name: str | None = None, dtype: DType = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.init_thresholds = thresholds
        if top_k is not None and (isinstance(top_k, bool) or top_k < 1):
            raise ValueError(f"{self.name}: top_k must be a whole number of at least 1, got {top_k!r}.")
        self.start(check_thresholds(thresholds, 0.5 if top_k is None else LOWEST, self.name), class_id, top_k)

    def get_config(self) -> Config:
        return {**super().get_config(), "thresholds": self.init_thresholds, "top_k": self.top_k,
                "class_id": self.class_id}


@REGISTRY.register
class Precision(_Part):
    """TP / (TP + FP): of the outputs above the threshold, the part whose target is 1; 0 where there is none.

    Args:
        thresholds: a number from 0 to 1, default 0.5, or a list, which gives an array.
        top_k: only the k largest outputs of a row can say yes; without thresholds each of them does.
        class_id: count this class only.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> Precision()([0, 1, 1, 1], [1.0, 0.0, 1.0, 1.0], sample_weight=[0, 0, 1, 0])
    1.0
    """

    def result(self) -> Any:
        return self.shaped(self.precision)


@REGISTRY.register
class Recall(_Part):
    """TP / (TP + FN): of the targets that are 1, the part whose output is above the threshold; 0 where there
    is none.

    Args:
        thresholds, top_k, class_id: as for `Precision`.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> Recall()([0, 1, 1, 1], [1.0, 0.0, 1.0, 0.7], sample_weight=[0, 1, 1, 0])
    0.5
    """

    def result(self) -> Any:
        return self.shaped(self.recall)


# ---------------------------------------------------------------- one part at a bound of another


class _At(ThresholdMetric):
    """The largest ``best`` over those thresholds where ``bound`` is at least the value given under that
    name."""

    direction = "up"
    best: Any = None
    bound: Any = None

    def at(self, value: Any, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any) -> None:
        """What the constructors share."""
        Metric.__init__(self, name=name, dtype=dtype)
        if not 0 <= value <= 1:
            raise ValueError(f"{self.name}: {self.bound} must be from 0 to 1, got {value}.")
        if num_thresholds <= 0:
            raise ValueError(f"{self.name}: num_thresholds must be at least 1, got {num_thresholds}.")
        self.value, self.num_thresholds = value, num_thresholds
        self.start([0.5] if num_thresholds == 1 else np.arange(num_thresholds) / (num_thresholds - 1),
                   class_id)
        self.even = num_thresholds > 1

    def result(self) -> Any:
        best, bound = getattr(ThresholdMetric, self.best), getattr(ThresholdMetric,
                                                                   _PART.get(self.bound, self.bound))
        return float(np.max(np.where(bound.fget(self) >= self.value, best.fget(self), 0), initial=0))

    def get_config(self) -> Config:
        return {**super().get_config(), "class_id": self.class_id, "num_thresholds": self.num_thresholds,
                self.bound: self.value}


_PART = {"sensitivity": "recall"}       # two names of one thing


@REGISTRY.register
class SensitivityAtSpecificity(_At):
    """The largest TP / (TP + FN) over the thresholds where TN / (TN + FP) >= specificity.

    Args:
        specificity: from 0 to 1.
        num_thresholds: how many, evenly from 0 to 1.
        class_id: count this class only.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])
    0.5
    """

    best, bound = "recall", "specificity"

    def __init__(self, specificity: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: DType = None) -> None:
        self.at(specificity, num_thresholds, class_id, name, dtype)


@REGISTRY.register
class SpecificityAtSensitivity(_At):
    """The largest TN / (TN + FP) over the thresholds where TP / (TP + FN) >= sensitivity.

    Args:
        sensitivity: from 0 to 1.
        num_thresholds, class_id: as for `SensitivityAtSpecificity`.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> round(SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8]), 4)
    0.6667
    """

    best, bound = "specificity", "sensitivity"

    def __init__(self, sensitivity: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: DType = None) -> None:
        self.at(sensitivity, num_thresholds, class_id, name, dtype)


@REGISTRY.register
class PrecisionAtRecall(_At):
    """The largest TP / (TP + FP) over the thresholds where TP / (TP + FN) >= recall.

    Args:
        recall: from 0 to 1.
        num_thresholds, class_id: as for `SensitivityAtSpecificity`.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])
    0.5
    """

    best, bound = "precision", "recall"

    def __init__(self, recall: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: DType = None) -> None:
        self.at(recall, num_thresholds, class_id, name, dtype)


@REGISTRY.register
class RecallAtPrecision(_At):
    """The largest TP / (TP + FN) over the thresholds where TP / (TP + FP) >= precision.

    Args:
        precision: from 0 to 1.
        num_thresholds, class_id: as for `SensitivityAtSpecificity`.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> RecallAtPrecision(0.8)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9])
    0.5
    """

    best, bound = "recall", "precision"

    def __init__(self, precision: float, num_thresholds: int = 200, class_id: int | None = None,
                 name: str | None = None, dtype: DType = None) -> None:
        self.at(precision, num_thresholds, class_id, name, dtype)
