"""Many models that learn one after the other: a loop, as a user of a library without fleets writes it."""

from __future__ import annotations

from typing import Any


class Fleet:
    """Models of one implementation that are asked as one; they have the same weights and see the same rows.

    Args:
        models: those of a with_*.py.
    """

    def __init__(self, models: list[Any]) -> None:
        self.models = models

    def set_weights(self, weights: Any) -> None:
        """The same for each."""
        for model in self.models:
            model.set_weights(weights)

    def first_epoch(self) -> float:
        """The mean of all losses."""
        return sum(model.first_epoch() for model in self.models) / len(self.models)

    def fit(self, epochs: int) -> None:
        """Epochs of each, shuffled."""
        for model in self.models:
            model.fit(epochs)

    def predict(self, x: Any) -> Any:
        """The outputs of the last one."""
        return self.models[-1].predict(x)
