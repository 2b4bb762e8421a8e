"""WordTable: the numbers of words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tdfast import _kernels
from tdfast.engine.strings import Words

if TYPE_CHECKING:
    from tdfast.engine.types import Array


class WordTable:
    """Numbers words in the order in which they come first.

    >>> from tdfast.engine.strings import as_words
    >>> table = WordTable()
    >>> table.add(as_words(["a", "b", "a"], "utf-8")).tolist()
    [0, 1, 0]
    >>> table.find(as_words(["b", "c"], "utf-8")).tolist()
    [1, -1]
    """

    def __init__(self) -> None:
        self._make_room(256, 4096)

    def _make_room(self, words: int, size: int) -> None:
        slots = np.zeros(1 << (2 * words - 1).bit_length(), np.uint64)
        self._known, self._ends = np.empty(size, np.uint8), np.zeros(words + 1, np.int64)
        self._table = _kernels.Vocabulary(slots, self._known, self._ends)

    @property
    def size(self) -> int:
        """How many words there are."""
        return len(self._table)

    @property
    def words(self) -> Words:
        """All words, in their order."""
        return Words(self._known[: self._ends[self.size]], self._ends[: self.size + 1])

    def find(self, words: Words) -> Array:
        """The number of each word, -1 for one that is not there."""
        ids = np.empty(len(words), np.int64)
        self._table.find(False, words.text, words.ends, ids)
        return ids

    def add(self, words: Words) -> Array:
        """The number of each word, a new one for one that was not there."""
        ids = np.empty(len(words), np.int64)
        done = 0
        while done < len(ids):
            done += self._table.find(True, words.text, words.ends[done:], ids[done:])
            if done < len(ids):
                self._grow(int(words.ends[done + 1] - words.ends[done]))
        return ids

    def _grow(self, length: int) -> None:
        """Have twice the room, and some for a word of this length."""
        words = self.words
        self._make_room(2 * (len(self._ends) - 1), 2 * len(self._known) + length)
        self._table.find(True, words.text, words.ends, np.empty(len(words), np.int64))
