"""11,228 news of Reuters' in 46 topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat.calling import spelled
from tdfast.datasets import files, sequences

if TYPE_CHECKING:
    from tdfast.engine.types import Array

__all__ = ["get_label_names", "get_word_index", "load_data"]


@spelled
def load_data(path: str = "reuters.npz", num_words: int | None = None, skip_top: int = 0,
              maxlen: int | None = None, test_split: float = 0.2, seed: int = 113,
              start_char: int | None = 1, oov_char: int | None = 2,
              index_from: int = 3) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The news as lists of words' numbers, and the numbers of their topics: `keras.datasets.reuters`.

    Number n + ``index_from`` is the n-th most frequent word. 0 is left for padding.

    Args:
        path: the file's name in the cache.
        num_words: only numbers below it are kept, so that it is the size of an `Embedding`; None: all.
        skip_top: numbers below it are not kept: the most frequent words, which tell little.
        maxlen: only news of fewer words are kept, the mark among them; None: all.
        test_split: the share of the news that tests.
        seed: of the order of the news.
        start_char: the mark before each text; None: no mark.
        oov_char: what stands for a word that is not kept; None: nothing does.
        index_from: is added to each word's number.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: arrays of lists, for `tdfast.utils.pad_sequences`, and
        arrays of labels from 0 to 45.

    Raises:
        ValueError: if no text is short enough; and what `tdfast.utils.get_file` raises.

    >>> (x, y), (x_test, y_test) = load_data(num_words=10000)           # doctest: +SKIP
    >>> get_label_names()[y[0]]                                         # doctest: +SKIP
    'earn'
    """
    data = files.arrays_of(files.from_google(
        "reuters.npz", "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916", path))
    x, y = files.shuffled(np.random.RandomState(seed), data["x"], data["y"])
    texts, labels = sequences.shorter(sequences.marked(x, start_char, index_from), y, maxlen,
                                      "reuters.load_data")
    texts = sequences.frequent(texts, num_words, skip_top, oov_char)
    end = int(len(texts) * (1 - test_split))
    return ((sequences.ragged(texts[:end]), np.array(labels[:end])),
            (sequences.ragged(texts[end:]), np.array(labels[end:])))


@spelled
def get_word_index(path: str = "reuters_word_index.json") -> dict[Any, int]:
    """The words and their numbers, to which `load_data` adds ``index_from``.

    Args:
        path: the file's name in the cache.

    >>> words = {number + 3: word for word, number in get_word_index().items()}         # doctest: +SKIP
    >>> " ".join(words.get(number, "?") for number in x[0])                             # doctest: +SKIP
    """
    return files.word_index("reuters_word_index.json", "4d44cc38712099c9e383dc6e5f11a921", path)


_TOPICS = (
    "cocoa", "grain", "veg-oil", "earn", "acq", "wheat", "copper", "housing", "money-supply", "coffee",
    "sugar", "trade", "reserves", "ship", "cotton", "carcass", "crude", "nat-gas", "cpi", "money-fx",
    "interest", "gnp", "meal-feed", "alum", "oilseed", "gold", "tin", "strategic-metal", "livestock",
    "retail", "ipi", "iron-steel", "rubber", "heat", "jobs", "lei", "bop", "zinc", "orange", "pet-chem",
    "dlr", "gas", "silver", "wpi", "hog", "lead",
)


@spelled
def get_label_names() -> tuple[str, ...]:
    """The topics' names, in the order of their numbers.

    >>> get_label_names()[:3], len(get_label_names())
    (('cocoa', 'grain', 'veg-oil'), 46)
    """
    return _TOPICS
