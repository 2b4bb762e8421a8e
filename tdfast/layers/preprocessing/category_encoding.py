"""CategoryEncoding: class numbers as one-hot, multi-hot or count arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.layers.preprocessing.base import MODES, PreprocessingLayer
from tdfast.layers.preprocessing.encoding import encoded, encoded_shape
from tdfast.layers.preprocessing.index_lookup import as_whole

if TYPE_CHECKING:
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Array, Arrays, Config, Masks, Shapes


class CategoryEncoding(PreprocessingLayer):
    """Class numbers as arrays with a place for each class.

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/category_encoding/.

    Args:
        num_tokens: how many classes there are; the numbers are from 0 to num_tokens - 1.
        output_mode: 'one_hot', 'multi_hot' or 'count': see `StringLookup`.
        sparse: only False, as tdfast has dense arrays alone.

    Input whole numbers; in a call also ``count_weights``, an array of the same shape: in the mode 'count'
    each number counts as much as its weight. Output of the layer's dtype.

    Raises:
        ValueError: for a number that is out of range, naming it.

    >>> CategoryEncoding(num_tokens=4)([[0, 1], [3, 3]]).tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """

    def __init__(
        self,
        num_tokens: int | None = None,
        output_mode: str = "multi_hot",
        sparse: Any = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_mode, MODES[1:], sparse, **kwargs)
        if num_tokens is None or not hasattr(num_tokens, "__index__") or num_tokens < 1:
            raise ValueError(
                f"{self.who}: num_tokens, the number of classes, must be a whole number of at least 1, got "
                f"{num_tokens!r}. Where it is not known, take IntegerLookup."
            )
        self.num_tokens = int(num_tokens)

    def as_input(self, x: Any, who: str | None = None) -> Any:
        x = as_whole(x, who or self.who)
        bad = (x < 0) | (x >= self.num_tokens)
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"{who or self.who}: the number {x[where]} at index {where} is out of range: "
                f"num_tokens={self.num_tokens} stands for 0 to {self.num_tokens - 1}."
            )
        return x

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return encoded_shape(input_shape, self.output_mode, self.num_tokens)

    def forward(
        self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None, count_weights: Any = None
    ) -> Arrays:
        tape.push(self)
        return self.encode(self.as_input(x), count_weights)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        tape.pop(self)
        return None

    def encode(self, x: Array, count_weights: Any = None) -> Array:
        if (
            isinstance(count_weights, list)
            and len(count_weights) == 1
            and isinstance(count_weights[0], np.ndarray)
        ):
            (count_weights,) = count_weights  # of a call on symbolic tensors
        if count_weights is not None:
            count_weights = np.asarray(count_weights, self.dtype)
            if self.output_mode != "count" or count_weights.shape != x.shape:
                raise ValueError(
                    f"{self.who}: count_weights belong to output_mode='count' and have the input's shape, "
                    f"{x.shape}, got shape {count_weights.shape} with output_mode={self.output_mode!r}."
                )
        if x.ndim == 0:
            made = self.encode(x.reshape(1), None if count_weights is None else count_weights.reshape(1))
            return made[0] if self.output_mode == "one_hot" else made
        return encoded(x, self.output_mode, self.num_tokens, self.dtype, count_weights)

    def get_config(self) -> Config:
        return {**super().get_config(), "num_tokens": self.num_tokens, "output_mode": self.output_mode}
