"""What imdb and reuters have in common: texts as lists of the numbers of their words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array


def marked(texts: Any, start_char: int | None, index_from: int) -> list[list[int]]:
    """Words' numbers raised by ``index_from``, behind a mark of the begin.

    >>> marked([[1, 2]], 1, 3)
    [[1, 4, 5]]
    """
    start = [] if start_char is None else [start_char]
    raised = index_from or 0
    return [start + [word + raised for word in text] for text in texts]


def shorter(texts: Sequence[Any], labels: Any, maxlen: int | None, who: str) -> tuple[Any, Any]:
    """The texts of fewer words than ``maxlen``, and their labels; all where it is None or 0."""
    if not maxlen:
        return texts, labels
    kept = [i for i, text in enumerate(texts) if len(text) < maxlen]
    if not kept:
        shortest = min(map(len, texts), default=0)
        raise ValueError(f"{who}: maxlen={maxlen} keeps the texts of fewer words, marks among them, but each "
                         f"has {shortest} or more. Give a larger maxlen.")
    return [texts[i] for i in kept], [labels[i] for i in kept]


def frequent(texts: list[list[int]], num_words: int | None, skip_top: int,
             oov_char: int | None) -> list[list[int]]:
    """The words from ``skip_top`` up to ``num_words`` alone; ``oov_char`` stands for others.

    >>> frequent([[1, 5, 9]], 9, 2, 2)
    [[2, 5, 2]]
    """
    if not num_words:
        num_words = max(max(text) for text in texts)
    if oov_char is None:
        return [[word for word in text if skip_top <= word < num_words] for text in texts]
    return [[word if skip_top <= word < num_words else oov_char for word in text] for text in texts]


def ragged(texts: list[list[int]]) -> Array:
    """Lists as an array of objects."""
    return np.array(texts, dtype="object")
