"""Reviews of films, praising or not: 25,000 to train and 25,000 to test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat.calling import spelled
from tdfast.datasets import files, sequences

if TYPE_CHECKING:
    from tdfast.engine.types import Array

__all__ = ["get_word_index", "load_data"]


@spelled
def load_data(path: str = "imdb.npz", num_words: int | None = None, skip_top: int = 0,
              maxlen: int | None = None, seed: int = 113, start_char: int | None = 1,
              oov_char: int | None = 2,
              index_from: int = 3) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The reviews as lists of words' numbers, and 1 for praise, 0 for blame: `keras.datasets.imdb`.

    Number n + ``index_from`` is the n-th most frequent word. 0 is left for padding.

    Args:
        path: the file's name in the cache.
        num_words: only numbers below it are kept, so that it is the size of an `Embedding`; None: all.
        skip_top: numbers below it are not kept: the most frequent words, which tell little.
        maxlen: only reviews of fewer words are kept, the mark among them; None: all.
        seed: of the order of the reviews.
        start_char: the mark before each review; None: no mark.
        oov_char: what stands for a word that is not kept; None: nothing does.
        index_from: is added to each word's number.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: arrays of lists, for `tdfast.utils.pad_sequences`, and
        arrays of labels.

    Raises:
        ValueError: if no review is short enough; and what `tdfast.utils.get_file` raises.

    >>> (x, y), (x_test, y_test) = load_data(num_words=10000)           # doctest: +SKIP
    >>> from tdfast.utils import pad_sequences
    >>> pad_sequences(x, maxlen=200).shape                              # doctest: +SKIP
    (25000, 200)
    """
    data = files.arrays_of(files.from_google(
        "imdb.npz", "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f", path))
    draw, parts = np.random.RandomState(seed), []
    for part in ("train", "test"):
        x, y = files.shuffled(draw, data[f"x_{part}"], data[f"y_{part}"])
        parts.append(sequences.shorter(sequences.marked(x, start_char, index_from), y, maxlen,
                                       "imdb.load_data"))
    (x_train, y_train), (x_test, y_test) = parts
    texts = sequences.frequent([*x_train, *x_test], num_words, skip_top, oov_char)
    labels = np.concatenate([y_train, y_test])
    n = len(x_train)
    return (sequences.ragged(texts[:n]), labels[:n]), (sequences.ragged(texts[n:]), labels[n:])


@spelled
def get_word_index(path: str = "imdb_word_index.json") -> dict[Any, int]:
    """The words and their numbers, to which `load_data` adds ``index_from``.

    Args:
        path: the file's name in the cache.

    >>> words = {number + 3: word for word, number in get_word_index().items()}         # doctest: +SKIP
    >>> " ".join(words.get(number, "?") for number in x[0])                             # doctest: +SKIP
    """
    return files.word_index("imdb_word_index.json", "bfafd718b763782e994055a2d397834f", path)
