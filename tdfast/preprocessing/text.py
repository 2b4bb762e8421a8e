"""As in Keras 2's `keras.preprocessing.text`: words as numbers, by a vocabulary or by hashing."""

from __future__ import annotations

import collections
import hashlib
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.compat import absent
from tdfast.compat.calling import level_of_the_caller, spell, spelled
from tdfast.utils.batches import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tdfast.engine.types import Array

__all__ = ["Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json"]

if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"""The signs that separate words as the space does. The apostrophe belongs to a word."""


@spelled
def text_to_word_sequence(input_text: str, filters: str = FILTERS, lower: bool = True,
                          split: str = " ") -> list[str]:
    """The words of a text.

    Args:
        input_text: the text.
        filters: the signs that stand for ``split``.
        lower: write all letters small.
        split: what separates words.

    Raises:
        TypeError: for an object that is not a text.

    >>> text_to_word_sequence("To be, or not to be?")
    ['to', 'be', 'or', 'not', 'to', 'be']
    """
    if not isinstance(input_text, str):
        raise TypeError(
            f"A text must be a string, got {input_text!r:.60} ({type(input_text).__name__}). Leave such "
            "entries out, or give texts.astype(str)."
        )
    text = input_text.lower() if lower else input_text
    text = text.translate({ord(sign): split for sign in filters})
    return [word for word in text.split(split) if word]


@spelled
def one_hot(input_text: str, n: int, filters: str = FILTERS, lower: bool = True, split: str = " ",
            analyzer: Callable[[str], Iterable[str]] | None = None) -> list[int]:
    """The words of a text as numbers from 1 to n - 1, by Python's ``hash``: `hashing_trick` without a
    function.

    Python's ``hash`` gives other numbers in each process: to keep a model, take `hashing_trick` with 'md5'.

    Args:
        input_text: the text.
        n: how many numbers there are, with 0.
        filters, lower, split: as in `text_to_word_sequence`.
        analyzer: a function that gives the words of a text, in place of these.

    >>> numbers = one_hot("to be or not to be", 50)
    >>> len(numbers), numbers[0] == numbers[4], 1 <= min(numbers), max(numbers) < 50
    (6, True, True, True)
    """
    return hashing_trick(input_text, n, hash, filters, lower, split, analyzer)


@spelled
def hashing_trick(text: str, n: int, hash_function: Any = None, filters: str = FILTERS, lower: bool = True,
                  split: str = " ", analyzer: Callable[[str], Iterable[str]] | None = None) -> list[int]:
    """The words of a text as numbers from 1 to n - 1, without a vocabulary: ``hash(word) % (n - 1) + 1``.

    Different words may have the same number. 0 is left for padding.

    Args:
        text: the text.
        n: how many numbers there are, with 0.
        hash_function: 'md5', or a function from a word to a whole number; None: Python's ``hash``, which
            gives other numbers in each process.
        filters, lower, split: as in `text_to_word_sequence`.
        analyzer: a function that gives the words of a text, in place of these.

    Raises:
        ValueError: for an n below 2, or another word as ``hash_function``.

    >>> hashing_trick("to be or not to be", 50, "md5")
    [15, 5, 8, 36, 15, 5]
    """
    whole(n, "hashing_trick: n", 2)
    if isinstance(hash_function, str) and hash_function != "md5":
        raise ValueError(f"hashing_trick: hash_function must be 'md5', a function or None, got "
                         f"{hash_function!r}.")
    number = hash if hash_function is None else _md5 if hash_function == "md5" else hash_function
    words = text_to_word_sequence(text, filters, lower, split) if analyzer is None else analyzer(text)
    return [number(word) % (n - 1) + 1 for word in words]


def _md5(word: str) -> int:
    return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)


class Tokenizer:
    """Texts as numbers: the most frequent word is 1, the next 2, and so on; 0 is left for padding.

    `fit_on_texts` counts the words, then `texts_to_sequences` gives lists of numbers, for
    `tdfast.utils.pad_sequences` and an `Embedding`, and `texts_to_matrix` a row for each text. A text is a
    string, or a list of words. Everything but ``analyzer`` goes into `to_json` and into pickles.

    Args:
        num_words: only numbers below it are given, so that it is the size of an `Embedding`; None: all.
        filters: the signs that stand for ``split``.
        lower: write all letters small.
        split: what separates words.
        char_level: letters in the place of words.
        oov_token: a word, number 1, that stands for all words that are not known or not given; None: these
            are left out.
        analyzer: a function that gives the words of a text, in place of ``filters``, ``lower`` and ``split``.
        document_count: of how many texts there were before.

    Attributes:
        word_index, index_word: dicts from words to numbers, and back: of all words, also of those from
            ``num_words`` on.
        word_counts: how often each word was seen.
        word_docs, index_docs: in how many texts, by word and by number.

    >>> tokenizer = Tokenizer(oov_token="?")
    >>> tokenizer.fit_on_texts(["To be, or not to be", "to have"])
    >>> tokenizer.word_index
    {'?': 1, 'to': 2, 'be': 3, 'or': 4, 'not': 5, 'have': 6}
    >>> tokenizer.texts_to_sequences(["not to sleep"])
    [[5, 2, 1]]
    >>> tokenizer.texts_to_matrix(["to be or to have"], mode="count").tolist()
    [[0.0, 0.0, 2.0, 1.0, 1.0, 0.0, 1.0]]
    """

    def __init__(self, num_words: int | None = None, filters: str = FILTERS, lower: bool = True,
                 split: str = " ", char_level: bool = False, oov_token: str | None = None,
                 analyzer: Callable[[str], Iterable[str]] | None = None, document_count: int = 0) -> None:
        self.num_words, self.filters, self.lower, self.split = num_words, filters, lower, split
        self.char_level, self.oov_token, self.analyzer = char_level, oov_token, analyzer
        self.document_count = document_count
        self.word_counts: dict[str, int] = collections.OrderedDict()
        self.word_docs: dict[str, int] = collections.defaultdict(int)
        self.index_docs: dict[int, int] = collections.defaultdict(int)
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    # ---------------------------------------------------------------- learning
    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Count the words of texts, also beside those of an earlier call, and number them anew.

        Args:
            texts: strings, or lists of words; a generator will do.
        """
        for text in self._texts(texts, "fit_on_texts"):
            words = self._words(text)
            self.document_count += 1
            for word in words:
                self.word_counts[word] = self.word_counts.get(word, 0) + 1
            for word in set(words):
                self.word_docs[word] = self.word_docs.get(word, 0) + 1
        # The sort is stable: of equally frequent words the one that was seen first comes first.
        words = sorted(self.word_counts, key=self.word_counts.__getitem__, reverse=True)
        if self.oov_token is not None:
            words.insert(0, self.oov_token)
        self.word_index = {word: i for i, word in enumerate(words, 1)}
        self.index_word = {i: word for word, i in self.word_index.items()}
        for word, count in self.word_docs.items():
            self.index_docs[self.word_index[word]] = count

    def fit_on_sequences(self, sequences: Any) -> None:
        """Count in how many lists of numbers each is, for the mode 'tfidf' of `sequences_to_matrix`."""
        self.document_count += len(sequences)
        for sequence in sequences:
            for i in set(sequence):
                self.index_docs[i] = self.index_docs.get(i, 0) + 1

    # ---------------------------------------------------------------- numbers and back
    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """A list of numbers for each text."""
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[Any]) -> Iterator[list[int]]:
        """The lists of `texts_to_sequences`, one after the other."""
        # A word that is no key of its own is not known, whether there is an oov_token or not.
        unknown = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        for text in self._texts(texts, "texts_to_sequences"):
            numbers = (self._given(self.word_index.get(word), unknown) for word in self._words(text))
            yield [i for i in numbers if i is not None]

    def sequences_to_texts(self, sequences: Iterable[Any]) -> list[str]:
        """The words of each list of numbers, joined by spaces."""
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Any]) -> Iterator[str]:
        """The texts of `sequences_to_texts`, one after the other."""
        unknown = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        for sequence in sequences:
            numbers = (self._given(i if i in self.index_word else None, unknown) for i in sequence)
            yield " ".join(self.index_word[i] for i in numbers if i is not None)

    def _given(self, i: Any, unknown: int | None) -> Any:
        """The number of a word, or of the oov_token (None: there is none) for one that is not given."""
        return unknown if i is None or (self.num_words and i >= self.num_words) else i

    def _texts(self, texts: Iterable[Any], who: str) -> Iterable[Any]:
        if isinstance(texts, str) and not self.char_level:
            warnings.warn(f"Tokenizer.{who} takes a list of texts, got one string, of which each letter is "
                          "taken for a text. Give [text].", stacklevel=level_of_the_caller())
        return texts

    def _words(self, text: Any) -> Any:
        """The words, or letters, of a text."""
        if isinstance(text, list):
            if not all(isinstance(word, str) for word in text):
                raise TypeError(f"Tokenizer: a list that stands for a text holds words, got {text!r:.60}. "
                                "Lists of "
                                "numbers are for the methods that begin with sequences_.")
            return [word.lower() for word in text] if self.lower else text
        if self.char_level and isinstance(text, str):
            return text.lower() if self.lower else text
        if self.analyzer is not None and not self.char_level:
            return list(self.analyzer(text))
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    # ---------------------------------------------------------------- a row for each text
    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> Array:
        """A row for each text and a column for each number, (texts, num_words): see `sequences_to_matrix`."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Iterable[Any], mode: str = "binary") -> Array:
        """A row for each list of numbers and a column for each number, float64.

        Args:
            sequences: lists of numbers.
            mode: 'binary': 1 for a number that is there. 'count': how often it is there, c. 'freq': c divided
                by the length of the list. 'tfidf': ``(1 + log(c)) log(1 + texts / (1 + texts with it))``.

        Raises:
            ValueError: for another mode; where there is neither ``num_words`` nor a text yet; or for 'tfidf'
                before any text was counted.
        """
        if mode not in ("binary", "count", "freq", "tfidf"):
            raise ValueError(f"Tokenizer: mode must be 'binary', 'count', 'freq' or 'tfidf', got {mode!r}.")
        if not self.num_words and not self.word_index:
            raise ValueError("Tokenizer: how many columns the matrix has is not known. Give num_words, or "
                             "call "
                             "fit_on_texts first.")
        if mode == "tfidf" and not self.document_count:
            raise ValueError("Tokenizer: mode='tfidf' needs counts of texts. Call fit_on_texts or "
                             "fit_on_sequences first.")
        rows = list(sequences)
        out = np.zeros((len(rows), self.num_words or len(self.word_index) + 1))
        for row, sequence in zip(out, rows):
            for i, count in collections.Counter(i for i in sequence if i < len(row)).items():
                row[i] = self._weight(i, count, len(sequence), mode)
        return out

    def _weight(self, i: int, count: int, length: int, mode: str) -> Any:
        if mode == "binary":
            return 1
        if mode == "count":
            return count
        if mode == "freq":
            return count / length
        return (1 + np.log(count)) * np.log(1 + self.document_count / (1 + self.index_docs.get(i, 0)))

    # ---------------------------------------------------------------- config
    def get_config(self) -> dict[str, Any]:
        """What `to_json` writes: the options, and the counts and numbers as JSON."""
        return {
            "num_words": self.num_words, "filters": self.filters, "lower": self.lower, "split": self.split,
            "char_level": self.char_level, "oov_token": self.oov_token, "document_count": self.document_count,
            **{name: json.dumps(getattr(self, name)) for name in _COUNTS},
        }

    def to_json(self, **kwargs: Any) -> str:
        """A text from which `tokenizer_from_json` makes this tokenizer again, and Keras's too.

        Args:
            kwargs: for ``json.dumps``.
        """
        return json.dumps({"class_name": type(self).__name__, "config": self.get_config()}, **kwargs)


spell(Tokenizer, "__init__")

_COUNTS = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")


@spelled
def tokenizer_from_json(json_string: str) -> Tokenizer:
    """The `Tokenizer` that `Tokenizer.to_json` described, here or in Keras.

    Raises:
        ValueError: for anything else.

    >>> tokenizer = Tokenizer()
    >>> tokenizer.fit_on_texts(["to be or not to be"])
    >>> tokenizer_from_json(tokenizer.to_json()).texts_to_sequences(["be not"])
    [[2, 4]]
    """
    try:
        config = dict(json.loads(json_string)["config"])
        counts = {name: json.loads(config.pop(name)) for name in _COUNTS}
        for name in ("index_docs", "index_word"):
            counts[name] = {int(i): value for i, value in counts[name].items()}
        tokenizer = Tokenizer(**config)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"tokenizer_from_json expects what Tokenizer.to_json gives, got {json_string!r:.60} "
                         f"({type(error).__name__}: {error}).") from None
    vars(tokenizer).update(counts)
    return tokenizer
