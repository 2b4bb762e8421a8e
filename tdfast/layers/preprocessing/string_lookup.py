"""StringLookup: numbers for strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.strings import REFUSE, Words, as_strings, as_text, as_words, checked_encoding
from tdfast.layers.preprocessing.hashes import buckets
from tdfast.layers.preprocessing.index_lookup import IndexLookup, as_whole
from tdfast.layers.preprocessing.word_table import WordTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Config


class StringLookup(IndexLookup):
    """A whole number for each string of a vocabulary, which is given or learned by `adapt`.

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/string_lookup/.

    Args:
        max_tokens: the most tokens that the vocabulary has, with those that stand for others; None: any
            number.
        num_oov_indices: how many numbers there are for strings that are not in the vocabulary. Of several, a
            string's hash says which. 0: such a string is an error.
        mask_token: what stands for nothing: it has the number 0 in the mode 'int' and is left out in the
            others. Rows of different lengths are filled up with it. None: there is none.
        oov_token: what stands for strings that are not in the vocabulary.
        vocabulary: a list or an array of strings, or the path of a file with one in each line.
        idf_weights: of the mode 'tf_idf': a number for each token of the vocabulary.
        invert: True gives the strings of numbers.
        output_mode: 'int': the numbers, of the input's shape; 'one_hot': a 1 at each number's place, along an
            axis more (in place of a last axis of 1); 'multi_hot': the same for all strings of a sample,
            (batch, strings) to (batch, tokens); 'count': how often each is in the sample; 'tf_idf': that
            times its weight.
        pad_to_max_tokens: whether the outputs of the other modes than 'int' have max_tokens places always.
        sparse: only False, as tdfast has dense arrays alone.
        encoding: of strings that come as bytes.
        salt: of the hash, for several num_oov_indices: a whole number, or two of them.

    Input strings of any shape; output int64 in the mode 'int', else of the layer's dtype.

    Raises:
        ValueError: for options that do not fit each other, and for strings that are not in the vocabulary
            where num_oov_indices is 0.

    >>> layer = StringLookup(vocabulary=["a", "b"])
    >>> layer([["b", "a", "z"]]).tolist(), layer.get_vocabulary()
    ([[2, 1, 0]], ['[UNK]', 'a', 'b'])
    >>> StringLookup(vocabulary=["a", "b"], output_mode="count")([["b", "b", "z"]]).tolist()
    [[1.0, 0.0, 2.0]]
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str | None = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: Any = False,
        output_mode: str = "int",
        pad_to_max_tokens: Any = False,
        sparse: Any = False,
        encoding: str = "utf-8",
        name: str | None = None,
        salt: Any = None,
        **kwargs: Any,
    ) -> None:
        self.encoding = checked_encoding(encoding)
        self._table, self._counting = WordTable(), WordTable()
        self.takes_strings = not invert
        super().__init__(
            max_tokens=max_tokens,
            num_oov_indices=num_oov_indices,
            mask_token=mask_token,
            oov_token=oov_token,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            invert=invert,
            output_mode=output_mode,
            pad_to_max_tokens=pad_to_max_tokens,
            sparse=sparse,
            name=name,
            salt=salt,
            **kwargs,
        )

    # ---------------------------------------------------------------- tokens
    def as_input(self, x: Any, who: str | None = None) -> Any:
        who = who or self.who
        if self.invert:
            return as_whole(x, who)
        pad = (
            self.mask_token if self.mask_token is not None else None if self.output_mode != "int" else REFUSE
        )
        return as_strings(x, who, pad)

    def _bytes(self, token: Any) -> bytes:
        return token if isinstance(token, bytes) else str(token).encode(self.encoding, "surrogateescape")

    def _words(self, flat: Any) -> Words:
        if isinstance(flat, Words):
            return flat
        return as_words(["" if s is None else s for s in flat.tolist()], self.encoding)

    def _clean(self, vocabulary: Any) -> list[Any]:
        strings = as_strings(vocabulary, f"{self.who}: vocabulary")
        if strings.ndim != 1:
            raise ValueError(
                f"{self.who}: vocabulary must be a flat list, got an array of shape {strings.shape}."
            )
        return [as_text(s, self.encoding) if isinstance(s, bytes) else str(s) for s in strings.tolist()]

    def _of_lines(self, lines: Sequence[str]) -> list[Any]:
        return list(lines)

    def _set_tokens(self, tokens: Sequence[Any]) -> None:
        table = WordTable()
        table.add(as_words([self._bytes(token) for token in tokens], self.encoding))
        self._table = table

    def _tokens(self) -> list[Any]:
        return [as_text(word, self.encoding) for word in self._table.words.tolist()]

    def _count_tokens(self) -> int:
        return self._table.size

    def _find(self, flat: Any) -> Array:
        return self._table.find(self._words(flat))

    def _is_mask(self, flat: Any) -> Array | None:
        """Which entries are the mask_token, or were filled up; None: none is."""
        if isinstance(flat, Words):
            return None if self.mask_token is None else _equal(flat, self._bytes(self.mask_token))
        marks = {None} if self.mask_token is None else {None, self.mask_token, self._bytes(self.mask_token)}
        found = np.fromiter((s in marks for s in flat.tolist()), bool, len(flat))
        return found if found.any() else None

    def _buckets(self, flat: Any, where: Array) -> Array:
        words = self._words(flat).tolist()
        unknown = as_words([words[i] for i in np.flatnonzero(where)], self.encoding)
        return buckets(unknown, self.num_oov_indices, self.salt)

    # ---------------------------------------------------------------- learning
    def reset_state(self) -> None:
        super().reset_state()
        self._counting = WordTable()

    def update_state(self, data: Any) -> None:
        self._refuse_if_given()
        if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Words):
            self._count(*data)
            return
        super().update_state(data)

    def _as_samples(self, data: Any) -> Any:
        return as_strings(data, f"adapt of {self.who[0].lower()}{self.who[1:]}", None)

    def _number(self, flat: Any) -> Array:
        if isinstance(flat, Words):
            return self._counting.add(flat)
        there = np.fromiter((s is not None for s in flat.tolist()), bool, len(flat))
        ids = np.full(len(flat), -1, np.int64)
        ids[there] = self._counting.add(self._words(flat[there]))
        return ids

    def _ordered(self) -> tuple[list[Any], Array]:
        special = {self._bytes(t) for t in (self.mask_token, self.oov_token) if t is not None}
        words, counts = self._counting.words.tolist(), self._counted.tolist()
        found = sorted(
            ((n, w, i) for i, (w, n) in enumerate(zip(words, counts)) if n and w not in special), reverse=True
        )
        tokens = [as_text(word, self.encoding) for _, word, _ in found]
        return tokens, np.array([i for *_, i in found], np.int64)

    @property
    def output_dtype(self) -> str:
        return "string" if self.invert else super().output_dtype

    def get_config(self) -> Config:
        config = {**super().get_config(), "encoding": self.encoding}
        del config["vocabulary_dtype"]
        return config


def _equal(words: Words, token: bytes) -> Array | None:
    """Which words are a token; None: none is."""
    found = np.diff(words.ends) == len(token)
    if token and found.any():
        for i in np.flatnonzero(found):
            found[i] = words.text[words.ends[i] : words.ends[i + 1]].tobytes() == token
    return found if found.any() else None
