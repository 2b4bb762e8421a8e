"""IntegerLookup: numbers from 0 for whole numbers of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.strings import as_words
from tdfast.layers.preprocessing.hashes import buckets
from tdfast.layers.preprocessing.index_lookup import IndexLookup, as_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Config


class IntegerLookup(IndexLookup):
    """A whole number from 0 for each whole number of a vocabulary, which is given or learned by `adapt`.

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/integer_lookup/.

    Args:
        max_tokens, num_oov_indices, vocabulary, idf_weights, invert, output_mode, pad_to_max_tokens, sparse:
            as those of `StringLookup`, with whole numbers as tokens.
        mask_token, oov_token: whole numbers; -1 stands for numbers outside the vocabulary.
        vocabulary_dtype: 'int64'.
        oov_method: which of several num_oov_indices a number has that is not in the vocabulary: 'floormod':
            the number modulo num_oov_indices; 'farmhash': the hash of its digits.
        salt: for 'farmhash': a whole number, or two of them.

    Input whole numbers of any shape; output int64 in the mode 'int', else of the layer's dtype.

    Raises:
        ValueError: for options that do not fit each other, and for numbers that are not in the vocabulary
            where num_oov_indices is 0.

    >>> layer = IntegerLookup(vocabulary=[12, 36, 1138])
    >>> layer([[36, 7, 12]]).tolist(), layer.get_vocabulary()
    ([[2, 0, 1]], [-1, 12, 36, 1138])
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int | None = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: Any = False,
        output_mode: str = "int",
        sparse: Any = False,
        pad_to_max_tokens: Any = False,
        oov_method: str = "floormod",
        salt: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if vocabulary_dtype != "int64":
            raise ValueError(f"IntegerLookup: vocabulary_dtype must be 'int64', got {vocabulary_dtype!r}.")
        if salt is not None and oov_method != "farmhash":
            raise ValueError(f"IntegerLookup: salt belongs to oov_method='farmhash', got {oov_method!r}.")
        self._sorted = self._places = np.zeros(0, np.int64)
        self._numbers: dict[int, int] = {}
        super().__init__(
            max_tokens=max_tokens,
            num_oov_indices=num_oov_indices,
            mask_token=mask_token,
            oov_token=oov_token,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            sparse=sparse,
            pad_to_max_tokens=pad_to_max_tokens,
            oov_method=oov_method,
            salt=salt,
            name=name,
            **kwargs,
        )

    # ---------------------------------------------------------------- tokens
    def as_input(self, x: Any, who: str | None = None) -> Any:
        return as_whole(x, who or self.who)

    def _clean(self, vocabulary: Any) -> list[Any]:
        tokens = as_whole(vocabulary, f"{self.who}: vocabulary")
        if tokens.ndim != 1:
            raise ValueError(
                f"{self.who}: vocabulary must be a flat list, got an array of shape {tokens.shape}."
            )
        return tokens.tolist()

    def _of_lines(self, lines: Sequence[str]) -> list[Any]:
        try:
            return [int(line) for line in lines]
        except ValueError as error:
            raise ValueError(
                f"{self.who}: the vocabulary file must have one whole number in each line: {error}."
            ) from None

    def _set_tokens(self, tokens: Sequence[Any]) -> None:
        values = np.array(tokens, np.int64)
        self._places = np.argsort(values, kind="stable")
        self._sorted = values[self._places]

    def _tokens(self) -> list[Any]:
        out = np.empty_like(self._sorted)
        out[self._places] = self._sorted
        return out.tolist()

    def _count_tokens(self) -> int:
        return len(self._sorted)

    def _find(self, flat: Array) -> Array:
        if not len(self._sorted):
            return np.full(len(flat), -1, np.int64)
        at = np.minimum(np.searchsorted(self._sorted, flat), len(self._sorted) - 1)
        return np.where(self._sorted[at] == flat, self._places[at], -1)

    def _is_mask(self, flat: Array) -> Array | None:
        """Which entries are the mask_token; None: none is."""
        return None if self.mask_token is None else flat == self.mask_token

    def _buckets(self, flat: Array, where: Array) -> Array:
        unknown = flat[where]
        if self.oov_method == "floormod":
            return unknown % self.num_oov_indices
        return buckets(as_words(list(map(str, unknown.tolist())), "utf-8"), self.num_oov_indices, self.salt)

    # ---------------------------------------------------------------- learning
    def reset_state(self) -> None:
        super().reset_state()
        self._numbers = {}

    def _number(self, flat: Array) -> Array:
        found, where = np.unique(flat, return_inverse=True)
        numbers = self._numbers
        return np.array([numbers.setdefault(n, len(numbers)) for n in found.tolist()], np.int64)[where]

    def _ordered(self) -> tuple[list[Any], Array]:
        counts = self._counted.tolist()
        found = sorted(
            (
                (counts[i], n, i)
                for n, i in self._numbers.items()
                if n not in (self.mask_token, self.oov_token)
            ),
            reverse=True,
        )
        return [n for _, n, _ in found], np.array([i for *_, i in found], np.int64)

    def _inverted(self, flat: Array) -> Array:
        return super()._inverted(flat).astype(np.int64)

    def get_config(self) -> Config:
        config = super().get_config()
        for name in ("oov_token", "mask_token"):
            config[name] = None if config[name] is None else int(config[name])
        return config
