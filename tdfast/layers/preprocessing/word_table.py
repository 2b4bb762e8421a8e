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
        self.size = 0
        self._slots, self._known, self._ends = _room(512, 4096)

    @property
    def words(self) -> Words:
        """All words, in their order."""
        return Words(self._known[: self._ends[self.size]], self._ends[: self.size + 1])

    def find(self, words: Words) -> Array:
        """The number of each word, -1 for one that is not there."""
        ids = np.empty(len(words), np.int64)
        self._run(False, words, ids)
        return ids

    def add(self, words: Words) -> Array:
        """The number of each word, a new one for one that was not there."""
        ids = np.empty(len(words), np.int64)
        done = 0
        while done < len(ids):
            done += self._run(True, Words(words.text, words.ends[done:]), ids[done:])
            if done < len(ids):
                self._grow(int(words.ends[done + 1] - words.ends[done]))
        return ids

    def _run(self, grow: bool, words: Words, ids: Array) -> int:
        self.size, done = _kernels.text_find(
            grow,
            words.text,
            words.ends,
            ids,
            table=self._slots,
            known=self._known,
            known_ends=self._ends,
            size=self.size,
        )
        return done

    def _grow(self, length: int) -> None:
        """Have twice the room, and some for a word of this length."""
        words = self.words
        room = _room(2 * (len(self._ends) - 1), 2 * len(self._known) + length)
        self._slots, self._known, self._ends = room
        self.size = 0
        self._run(True, words, np.empty(len(words), np.int64))


def _room(words: int, size: int) -> tuple[Array, Array, Array]:
    slots = np.zeros(1 << (2 * words - 1).bit_length(), np.uint64)
    return slots, np.empty(size, np.uint8), np.zeros(words + 1, np.int64)
