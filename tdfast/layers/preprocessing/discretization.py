"""Discretization: in which of several ranges each number is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arrays import as_array, as_numbers
from tdfast.layers.preprocessing.base import MODES, PreprocessingLayer, batches_of
from tdfast.layers.preprocessing.encoding import encoded, encoded_shape

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Config, Shapes


class Discretization(PreprocessingLayer):
    """The number of the range that each number is in: from minus infinity to below the first boundary, and so
    on.

    Source: https://keras.io/api/layers/preprocessing_layers/numerical/discretization/.

    Args:
        bin_boundaries: the boundaries, in rising order.
        num_bins: instead: how many ranges `adapt` finds, with equally many numbers in each.
        epsilon: how exactly, as a part of all numbers; smaller takes longer.
        output_mode: 'int', 'one_hot', 'multi_hot' or 'count': see `StringLookup`.
        sparse: only False, as tdfast has dense arrays alone.

    Output int64 in the mode 'int', of the input's shape; else of the layer's dtype.

    Raises:
        ValueError: unless one of bin_boundaries and num_bins is given, or for boundaries out of order.

    >>> Discretization(bin_boundaries=[0.0, 1.0, 2.0])([[-1.5, 1.0, 3.4, 0.5]]).tolist()
    [[0, 2, 3, 1]]
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: Any = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_mode, MODES, sparse, **kwargs)
        if (bin_boundaries is None) == (num_bins is None):
            raise ValueError(
                f"{self.who}: give either bin_boundaries or num_bins, which adapt() finds boundaries for; "
                f"got bin_boundaries={bin_boundaries!r} and num_bins={num_bins!r}."
            )
        if num_bins is not None and (not hasattr(num_bins, "__index__") or num_bins < 1):
            raise ValueError(f"{self.who}: num_bins must be a whole number of at least 1, got {num_bins!r}.")
        if not isinstance(epsilon, (int, float)) or not 0 < epsilon <= 1:
            raise ValueError(f"{self.who}: epsilon must be above 0 and at most 1, got {epsilon!r}.")
        self.num_bins, self.epsilon = num_bins, epsilon
        self.bin_boundaries = None if bin_boundaries is None else self._checked(bin_boundaries)
        self.reset_state()

    def _checked(self, boundaries: Any) -> list[float]:
        found = as_numbers(boundaries, f"{self.who}: bin_boundaries")
        if found.ndim != 1 or np.isnan(found).any() or (np.diff(found) < 0).any():
            raise ValueError(
                f"{self.who}: bin_boundaries must be a list of rising numbers, got {boundaries!r:.80}."
            )
        return found.tolist()

    # ---------------------------------------------------------------- learning
    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Learn the boundaries of num_bins ranges from data, in place of those of before.

        Args:
            data: an array, or something that yields batches, such as a list of arrays.
            steps: how many batches to take; None: all.
        """
        if self.num_bins is None:
            raise ValueError(
                f"{self.who} was given its bin_boundaries, so adapt() cannot learn others. Make it with "
                "num_bins=."
            )
        self.reset_state()
        batches = iter(data[:steps]) if isinstance(data, (list, tuple)) else batches_of(data, steps)
        for batch in [data] if batches is None else batches:
            self.update_state(batch)
        self.finalize_state()

    def reset_state(self) -> None:
        """Forget what `update_state` has seen; the boundaries stay."""
        self._summary = np.zeros((2, 0), np.float32)

    def update_state(self, data: Any) -> None:
        """Take a batch of numbers into account."""
        values = as_array(data, np.float32, f"adapt of {self.who}")
        if np.isnan(values).any():
            raise ValueError(
                f"adapt of {self.who}: the data hold NaN, which is in no range. Leave such rows out."
            )
        if values.size:
            merged = np.concatenate([_summary_of(values.ravel(), self.epsilon), self._summary], axis=1)
            self._summary = _compressed(merged[:, np.argsort(merged[0])], self.epsilon)

    def finalize_state(self) -> None:
        """Make the boundaries of what was seen, if anything was."""
        if self.num_bins is not None and self._summary.size:
            found = _compressed(self._summary, 1.0 / self.num_bins)[0, :-1].tolist()
            if (
                self._nodes
                and self.bin_boundaries is not None
                and self.output_mode != "int"
                and (len(found) != len(self.bin_boundaries))
            ):
                raise RuntimeError(
                    f"{self.who}: the data give {len(found) + 1} ranges, but the model that it is in has "
                    f"{len(self.bin_boundaries) + 1}. Make the model after adapt()."
                )
            self.bin_boundaries = found
        self.reset_state()

    # ---------------------------------------------------------------- as a layer
    def as_input(self, x: Any, who: str | None = None) -> Any:
        return as_array(x, self.dtype, who or self.who)

    @property
    def _depth(self) -> int:
        return len(self.bin_boundaries) + 1 if self.bin_boundaries is not None else self.num_bins  # type: ignore[return-value]

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        if self.output_mode == "int":
            return tuple(input_shape)
        return encoded_shape(input_shape, self.output_mode, self._depth)

    def encode(self, x: Array) -> Array:
        if self.bin_boundaries is None:
            raise RuntimeError(
                f"{self.who} has no boundaries yet: call adapt(data), or give bin_boundaries=."
            )
        ids = np.asarray(np.searchsorted(np.asarray(self.bin_boundaries, x.dtype), x, side="right"), np.int64)
        if self.output_mode == "int":
            return ids
        if ids.ndim == 0:
            made = encoded(ids.reshape(1), self.output_mode, self._depth, self.dtype)
            return made[0] if self.output_mode == "one_hot" else made
        return encoded(ids, self.output_mode, self._depth, self.dtype)

    def get_config(self) -> Config:
        config = {
            **super().get_config(),
            "bin_boundaries": self.bin_boundaries,
            "num_bins": self.num_bins,
            "epsilon": self.epsilon,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
        }
        del config["trainable"]                 # Keras's class does not take it
        return config

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """The layer that `get_config` described."""
        config = dict(config)
        learned = config.pop("bin_boundaries", None) if config.get("num_bins") is not None else None
        layer = cls(**config)
        if learned is not None:
            layer.bin_boundaries = layer._checked(learned)
        return layer


def _summary_of(values: Array, epsilon: float) -> Array:
    """Some of the sorted values, and how many numbers each stands for, as Keras chooses them."""
    step = max(len(values) * epsilon, 1)
    chosen = np.sort(values)[int(step - 1) :: int(step)]
    return np.stack([chosen, np.ones_like(chosen) * step])


def _compressed(summary: Array, epsilon: float) -> Array:
    """A summary of at most 1 / epsilon values, between those of another, as Keras finds them."""
    if summary.shape[1] * epsilon < 1:
        return summary
    parts = epsilon + np.arange(0.0, 1.0, epsilon)
    sums = summary[1].cumsum()
    share = sums / sums[-1]
    values, sums = np.interp(parts, share, summary[0]), np.interp(parts, share, sums)
    return np.stack([values, np.diff(sums, prepend=0)]).astype(np.float32)
