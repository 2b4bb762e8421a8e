"""F-scores: precision and recall in one number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.losses.base import EPSILON
from tdfast.metrics.base import REGISTRY, Metric, matched_rows, plain

if TYPE_CHECKING:
    from tdfast.engine.types import Config, DType, Numbers


@REGISTRY.register
class FBetaScore(Metric):
    """(1 + beta^2) precision recall / (beta^2 precision + recall), for each class.

    Outputs (N, T, C) count as N T samples of C classes.

    Args:
        average: None (an array with one score for each class), 'micro' (the score of all classes' counts),
            'macro' (the mean of the scores) or 'weighted' (by the number of targets).
        beta: a float above 0: how much more recall counts than precision.
        threshold: an output above it says yes, a float in (0, 1]. None: the largest of the row does.

    Raises:
        ValueError: for an option that is not among these.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> FBetaScore(beta=2.0, threshold=0.5)([[1, 1], [1, 0]], [[0.2, 0.6], [0.8, 0.6]]).round(4)
    array([0.5556, 0.8333])
    """

    direction = "up"
    state_names = ("true_positives", "false_positives", "false_negatives", "intermediate_weights")

    def __init__(self, average: str | None = None, beta: float = 1.0, threshold: float | None = None,
                 name: str = "fbeta_score", dtype: DType = None) -> None:
        super().__init__(name=name, dtype=dtype)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(
                f"{self.name}: average must be None, 'micro', 'macro' or 'weighted', got {average!r}."
            )
        if not isinstance(beta, float) or not beta > 0:
            raise ValueError(f"{self.name}: beta must be a float above 0, got {beta!r}.")
        if threshold is not None and (not isinstance(threshold, float) or not 0 < threshold <= 1):
            raise ValueError(f"{self.name}: threshold must be None or a float in (0, 1], got {threshold!r}.")
        self.average, self.beta, self.threshold = average, beta, threshold
        self.reset_state()

    def reset_state(self) -> None:
        self.true_positives = self.false_positives = self.false_negatives = self.intermediate_weights = (
            np.zeros(())
        )

    def update_state(self, y_true: Numbers, y_pred: Numbers, sample_weight: Numbers | None = None) -> None:
        t, p, w = matched_rows(y_true, y_pred, sample_weight, self.name)
        if self.threshold is None:
            yes = (p >= p.max(axis=-1, keepdims=True, initial=-np.inf)) & (np.abs(p) > 1e-9)
        else:
            yes = p > self.threshold
        axis = None if self.average == "micro" else 0

        def add(to: Any, values: Any) -> Any:
            return to + np.sum(values if w is None else values * w, axis=axis, dtype=np.float64)

        self.true_positives = add(self.true_positives, yes * t)
        self.false_positives = add(self.false_positives, yes * (1 - t))
        self.false_negatives = add(self.false_negatives, ~yes * t)
        self.intermediate_weights = add(self.intermediate_weights, t)

    def result(self) -> Any:
        precision = self.true_positives / (self.true_positives + self.false_positives + EPSILON)
        recall = self.true_positives / (self.true_positives + self.false_negatives + EPSILON)
        score: Any = precision * recall / (self.beta**2 * precision + recall + EPSILON) * (1 + self.beta**2)
        if self.average == "weighted":
            score = np.sum(score * self.intermediate_weights / (np.sum(self.intermediate_weights) + EPSILON))
        elif self.average is not None:
            score = np.mean(score)
        return plain(score)

    def get_config(self) -> Config:
        return {**super().get_config(), "average": self.average, "beta": self.beta,
                "threshold": self.threshold}


@REGISTRY.register
class F1Score(FBetaScore):
    """2 precision recall / (precision + recall), for each class: `FBetaScore` with beta = 1.

    Args:
        average, threshold: as for `FBetaScore`.

    Source: https://keras.io/api/metrics/classification_metrics/

    >>> F1Score(threshold=0.5)([[1, 1], [1, 0]], [[0.2, 0.6], [0.8, 0.6]]).round(4)
    array([0.6667, 0.6667])
    """

    def __init__(self, average: str | None = None, threshold: float | None = None, name: str = "f1_score",
                 dtype: DType = None) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> Config:
        config = super().get_config()
        del config["beta"]
        return config
