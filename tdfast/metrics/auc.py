"""The area under a curve of two parts of the confusion counts over the thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.losses.classification import _sigmoid
from tdfast.metrics.base import REGISTRY, matched_rows, plain, ratio
from tdfast.metrics.confusion import COUNTS, ThresholdMetric, are_even, counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Config, DType, Numbers

EPSILON = 1e-7


@REGISTRY.register
class AUC(ThresholdMetric):
    """The area under the ROC curve (recall over the false positives' rate) or another, as a sum over
    thresholds.

    Args:
        num_thresholds: how many, evenly from 0 to 1; more are more exact.
        curve: 'ROC', 'PR' (precision over recall) or 'PRGAIN' (precision gain over recall gain).
        summation_method: 'interpolation' (trapezoids; for 'PR' Davis and Goadrich's interpolation),
            'minoring' (rectangles below the curve) or 'majoring' (above).
        thresholds: those between 0 and 1 to use instead.
        multi_label: an area for each output, then their mean. Outputs (N, T, C) count as N T rows.
        num_labels: how many outputs there are, with multi_label; None: the first batch tells.
        label_weights: a weight for each output: of its samples, or of its area with multi_label.
        from_logits: whether y_pred are logits, of which the sigmoid is taken.

    Raises:
        ValueError: for an option that is not among these.

    Source: https://keras.io/api/metrics/classification_metrics/; Davis and Goadrich, The Relationship Between
    Precision-Recall and ROC Curves (2006); Flach and Kull, Precision-Recall-Gain Curves (2015).

    >>> AUC(num_thresholds=3)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9])
    0.75
    """

    false_negatives: Any
    false_positives: Any
    true_negatives: Any
    true_positives: Any

    direction = "up"

    def __init__(self, num_thresholds: int = 200, curve: str = "ROC", summation_method: str = "interpolation",
                 name: str | None = None, dtype: DType = None,
                 thresholds: Sequence[float] | None = None, multi_label: bool | str = False,
                 num_labels: Any = None, label_weights: Any = None, from_logits: bool = False) -> None:
        super().__init__(name=name, dtype=dtype)
        self.curve = _choice("curve", curve, ("ROC", "PR", "PRGAIN"), str.lower, self.name)
        self.summation_method = _choice("summation_method", summation_method,
                                        ("interpolation", "majoring", "minoring"),
                                        str.capitalize, self.name)
        self._given = thresholds is not None
        if thresholds is not None:
            inner = sorted(thresholds)
            if any(not 0 <= t <= 1 for t in inner):
                raise ValueError(f"{self.name}: thresholds must be numbers from 0 to 1, got {thresholds!r}.")
        elif num_thresholds <= 1:
            raise ValueError(f"{self.name}: num_thresholds must be at least 2, got {num_thresholds}.")
        else:
            inner = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
        if num_labels and not multi_label:
            raise ValueError(f"{self.name}: num_labels goes with multi_label=True only, got {num_labels}.")
        self.num_thresholds = len(inner) + 2
        self.thresholds = [-EPSILON, *(float(t) for t in inner), 1 + EPSILON]
        self.even = not self._given or are_even([0.0, *inner, 1.0])
        self.multi_label, self.num_labels = self._flag(multi_label, "multi_label"), num_labels
        self.from_logits = self._flag(from_logits, "from_logits")
        self.label_weights = None if label_weights is None else np.asarray(label_weights, np.float64)
        self.reset_state()

    def reset_state(self) -> None:
        labels = (self.num_labels or 1,) if self.multi_label else ()
        for name in COUNTS:
            setattr(self, name, np.zeros((self.num_thresholds, *labels)))

    def update_state(self, y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None = None) -> None:
        t, p, w = matched_rows(y_true, y_pred, sample_weight, self.name)
        if self.multi_label and p.shape[1] != (self.num_labels or p.shape[1]):
            raise ValueError(f"{self.name}: num_labels={self.num_labels}, but the outputs are {p.shape[1]}.")
        if self.label_weights is not None:
            if self.label_weights.shape != p.shape[1:]:
                raise ValueError(
                    f"{self.name}: label_weights has shape {self.label_weights.shape}, but there are "
                    f"{p.shape[1]} outputs."
                )
            if not self.multi_label:
                w = np.broadcast_to(self.label_weights, p.shape) if w is None else w * self.label_weights
        self.add(counts(t, _sigmoid(p) if self.from_logits else p, w, self.thresholds, self.even,
                        self.multi_label))

    def result(self) -> Any:
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = self._interpolated()
        else:
            x, y = self._curve()
            combine: dict[str, Any] = {"interpolation": lambda a, b: (a + b) / 2, "minoring": np.minimum,
                                       "majoring": np.maximum}
            areas = ((x[:-1] - x[1:]) * combine[self.summation_method](y[:-1], y[1:])).sum(axis=0)
        if not self.multi_label:
            return float(areas)
        weights = self.label_weights
        return float(areas.mean() if weights is None
                     else plain(ratio((areas * weights).sum(), weights.sum())))

    def _curve(self) -> tuple[Any, ...]:
        """(x, y) of each threshold."""
        if self.curve == "ROC":
            return ratio(self.false_positives, self.false_positives + self.true_negatives), self.recall
        if self.curve == "PR":
            return self.recall, self.precision
        scale = ratio(self.true_positives + self.false_negatives, self.true_negatives + self.false_positives)
        none = self.true_positives == 0
        recall_gain = np.where(none, 0, 1 - scale * ratio(self.false_negatives, self.true_positives))
        precision_gain = np.where(none, 1, 1 - scale * ratio(self.false_positives, self.true_positives))
        return np.maximum(recall_gain, 0), precision_gain

    def _interpolated(self) -> Any:
        """The area under PR: between two thresholds TP grows in a straight line over TP + FP."""
        tp, yes = self.true_positives, self.true_positives + self.false_positives
        dtp, dyes = tp[:-1] - tp[1:], yes[:-1] - yes[1:]
        slope = ratio(dtp, np.maximum(dyes, 0))
        start = tp[1:] - slope * yes[1:]
        both = (yes[:-1] > 0) & (yes[1:] > 0)
        growth = np.where(both, ratio(yes[:-1], yes[1:]), 1)
        return ratio(slope * (dtp + start * np.log(growth)), tp[1:] + self.false_negatives[1:]).sum(axis=0)

    def get_config(self) -> Config:
        weights = None if self.label_weights is None else self.label_weights.tolist()
        config = {
            **super().get_config(), "num_thresholds": self.num_thresholds, "curve": self.curve,
            "summation_method": self.summation_method, "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": weights, "from_logits": self.from_logits,
        }
        return {**config, "thresholds": self.thresholds[1:-1]} if self._given else config


def _choice(what: str, given: Any, known: Sequence[Any], other_spelling: Any, who: str) -> str:
    for name in known:
        if given in (name, other_spelling(name)):
            return name
    raise ValueError(f"{who}: {what} must be one of {', '.join(known)}, got {given!r}.")
