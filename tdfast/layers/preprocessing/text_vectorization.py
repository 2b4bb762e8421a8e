"""TextVectorization: texts as the numbers of their words."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels
from tdfast.engine.serialization import deserialize_keras_object, serialize_keras_object
from tdfast.engine.strings import Words, as_strings, as_text, as_words, checked_encoding
from tdfast.layers.preprocessing.base import TOKENS, PreprocessingLayer, batches_of
from tdfast.layers.preprocessing.index_lookup import listed, refuse_path
from tdfast.layers.preprocessing.string_lookup import StringLookup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tdfast.engine.types import Array, Config, Shapes

STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
SPLIT = ("whitespace", "character")
PUNCTUATION = b"!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
PIECE = 2**21
"""How many characters are split at once, or one text."""


class TextVectorization(PreprocessingLayer):
    """Each text as the numbers of its words: it is standardized, split, and its words are looked up.

    The vocabulary is given or learned by `adapt`. It begins with '' (padding, number 0) and '[UNK]' (words
    that are not in it, number 1); in the other modes than 'int' with '[UNK]' alone.
    Source: https://keras.io/api/layers/preprocessing_layers/text/text_vectorization/.

    Args:
        max_tokens: the most words that the vocabulary has, with those two; None: any number.
        standardize: 'lower_and_strip_punctuation', 'lower' or 'strip_punctuation' (of ASCII, as in Keras),
            None, or a function of an array of str that gives one of the same shape.
        split: 'whitespace', 'character', None (each text is a word), or a function of an array of str that
            gives a list of words for each text.
        ngrams: n: also the groups of 2 to n words; a tuple: groups of these sizes alone; None: words.
        output_mode: 'int': (texts, words), the shorter ones filled up with 0; 'multi_hot', 'count', 'tf_idf':
            (texts, tokens), as `StringLookup` says.
        output_sequence_length: of the mode 'int': so many words of each text always.
        pad_to_max_tokens, vocabulary, idf_weights, sparse, vocabulary_size, has_input_vocabulary: as those of
            `StringLookup`.
        ragged: only False: the output is an array.
        encoding: of texts that come as bytes.

    Input strings of shape (texts,) or (texts, 1).

    Raises:
        ValueError: for options that do not fit each other.

    >>> layer = TextVectorization(vocabulary=["the", "sun", "shines"])
    >>> layer(["The sun!", "Here the sun shines."]).tolist()
    [[2, 3, 0, 0], [1, 2, 3, 4]]
    """

    dtypes = TOKENS
    takes_strings = True

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Callable[[Array], Any] | None = "lower_and_strip_punctuation",
        split: str | Callable[[Array], Any] | None = "whitespace",
        ngrams: int | tuple[int, ...] | None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: Any = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: Any = False,
        ragged: Any = False,
        encoding: str = "utf-8",
        name: str | None = None,
        vocabulary_size: int | None = None,
        has_input_vocabulary: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            output_mode, ("int", "one_hot", "multi_hot", "count", "tf_idf"), sparse, name=name, **kwargs
        )
        for what, value, allowed in (("standardize", standardize, STANDARDIZE), ("split", split, SPLIT)):
            if value is not None and not callable(value):
                self._one_of(value, what, allowed)
        if self._flag(ragged, "ragged"):
            raise ValueError(
                f"{self.who}: ragged=True is not supported, as tdfast computes on arrays. Leave it out: "
                "shorter texts are then filled up with 0, which Embedding(mask_zero=True) leaves out."
            )
        self.standardize, self.split, self.ngrams = standardize, split, self._checked_ngrams(ngrams)
        self.output_sequence_length = self._checked_length(output_sequence_length)
        self.encoding = checked_encoding(encoding)
        self._lookup_layer = StringLookup(
            max_tokens=max_tokens,
            vocabulary=vocabulary,
            idf_weights=idf_weights,
            pad_to_max_tokens=pad_to_max_tokens,
            mask_token="",
            output_mode=self.output_mode,
            encoding=encoding,
            vocabulary_size=vocabulary_size,
            has_input_vocabulary=has_input_vocabulary,
            dtype=self.dtype,
            name=self.name,
        )

    def _checked_ngrams(self, ngrams: Any) -> Any:
        sizes = ngrams if isinstance(ngrams, (tuple, list)) else () if ngrams is None else (ngrams,)
        if not all(hasattr(n, "__index__") and not isinstance(n, bool) and n >= 1 for n in sizes):
            raise ValueError(
                f"{self.who}: ngrams must be None, a whole number or a tuple of them, got {ngrams!r}."
            )
        return tuple(ngrams) if isinstance(ngrams, list) else ngrams

    def _checked_length(self, length: Any) -> Any:
        if length is None:
            return None
        if self.output_mode != "int":
            raise ValueError(
                f"{self.who}: output_sequence_length belongs to output_mode='int', got {self.output_mode!r}."
            )
        if not hasattr(length, "__index__") or isinstance(length, bool) or length < 1:
            raise ValueError(
                f"{self.who}: output_sequence_length must be None or a whole number of at least 1, got "
                f"{length!r}."
            )
        return int(length)

    # ---------------------------------------------------------------- the vocabulary
    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words as a list: a word's place is its number.

        Args:
            include_special_tokens: False leaves out '' and '[UNK]' at its beginning.
        """
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """How many words there are, with '' and '[UNK]'."""
        return self._lookup_layer.vocabulary_size()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take a vocabulary in place of that of before: see `StringLookup.set_vocabulary`."""
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights)

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Learn the vocabulary from texts: their words by their number, the most frequent first.

        Args:
            data: an array or a list of texts, or something that yields batches of them.
            batch_size: does nothing, as in Keras.
            steps: how many batches to take; None: all.
        """
        self.reset_state()
        batches = batches_of(data, steps)
        if batches is None:
            x = as_strings(data, f"adapt of layer '{self.name}' (TextVectorization)")
            self.update_state(x[:, None] if x.ndim == 1 else x)
        else:
            for batch in batches:
                self.update_state(batch)
        self.finalize_state()

    def update_state(self, data: Any) -> None:
        """Count the words of a batch of texts."""
        self._lookup_layer._refuse_if_given()
        x = as_strings(data, f"adapt of layer '{self.name}' (TextVectorization)")
        if self.split is None:
            x = x.reshape(1, -1) if x.ndim < 2 else x
        texts, _ = self._squeezed(x)
        for words, lengths in self._words_of(texts):
            self._lookup_layer.update_state((words, lengths))

    def finalize_state(self) -> None:
        """Make the vocabulary of what was counted, if anything was."""
        self._lookup_layer.finalize_state()

    def reset_state(self) -> None:
        """Forget what `update_state` has counted; the vocabulary stays."""
        self._lookup_layer.reset_state()

    # ---------------------------------------------------------------- texts as words
    def _squeezed(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        """(the texts, of which each becomes words, the shape of these): where nothing is split, the last
        axis is that of the words."""
        if self.split is None:
            return x, x.shape[:-1]
        if x.ndim > 1:
            if x.shape[-1] != 1:
                raise ValueError(
                    f"{self.who} splits texts, so its input must have the shape (texts,) or (texts, 1), got "
                    f"{x.shape}. For words that are split already there is split=None."
                )
            x = x[..., 0]
        return x, x.shape

    def _words_of(self, texts: Array, most: int | None = None) -> Iterator[tuple[Words, Array]]:
        """(the words, how many each text has) of some texts after the other."""
        flat = texts.ravel() if self.split is not None else texts.reshape(-1, texts.shape[-1])
        plain = self.split == "whitespace" and not callable(self.standardize) and self.ngrams is None
        for piece in _pieces(flat):
            yield self._plain(piece.tolist(), most) if plain else self._any(piece, most)

    def _plain(self, texts: list[Any], most: int | None) -> tuple[Words, Array]:
        """What the kernel does: ASCII letters and punctuation, and white space between words."""
        kind = self.standardize if isinstance(self.standardize, str) else ""
        text, ends = as_words(texts, self.encoding)
        words, counts = np.empty(len(text), np.uint8), np.empty(len(texts), np.int64)
        word_ends = np.empty((len(text) + len(texts)) // 2 + 1, np.int64)
        _kernels.text_words(
            "lower" in kind,
            "punctuation" in kind,
            most or sys.maxsize,
            text,
            ends,
            words,
            word_ends,
            counts,
        )
        return Words(words, word_ends[: int(counts.sum()) + 1]), counts

    def _any(self, piece: Array, most: int | None) -> tuple[Words, Array]:
        rows = self._rows(self._standardized(piece))
        if self.ngrams is not None:
            sizes = self.ngrams if isinstance(self.ngrams, tuple) else range(1, self.ngrams + 1)
            rows = [_ngrams(row, sizes) for row in rows]
        if most is not None:
            rows = [row[:most] for row in rows]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return as_words(list(itertools.chain.from_iterable(rows)), self.encoding), lengths

    def _standardized(self, piece: Array) -> Array:
        if self.standardize is None:
            return piece
        if callable(self.standardize):
            made = self.standardize(self._as_str(piece))
            made = as_strings(
                made, f"{self.who}: what the function standardize={_name(self.standardize)} gives"
            )
            if made.shape != piece.shape:
                raise ValueError(
                    f"{self.who}: the function standardize={_name(self.standardize)} must give an array of "
                    f"the shape that it gets, {piece.shape}, but gave {made.shape}."
                )
            return made
        letters = bytes(range(256)).lower() if "lower" in self.standardize else None
        left_out = PUNCTUATION if "punctuation" in self.standardize else b""
        out = np.empty(piece.size, object)
        out[:] = [self._encoded(text).translate(letters, left_out) for text in piece.ravel().tolist()]
        return out.reshape(piece.shape)

    def _rows(self, piece: Array) -> list[Any]:
        """The words of each text, as lists."""
        if self.split is None:
            return piece.tolist()
        if self.split == "whitespace":
            return [self._encoded(text).split() for text in piece.tolist()]
        if self.split == "character":
            return [
                list(text.decode(self.encoding, "replace") if isinstance(text, bytes) else text)
                for text in piece.tolist()
            ]
        made = self.split(self._as_str(piece))  # type: ignore[operator]
        rows = [list(row) for row in made]
        if len(rows) != len(piece) or any(isinstance(row, (str, bytes)) for row in made):
            raise ValueError(
                f"{self.who}: the function split={_name(self.split)} must give a list of words for each of "
                f"the {len(piece)} texts that it gets, but gave {made!r:.80}."
            )
        for row in rows:
            if not all(isinstance(word, (str, bytes)) for word in row):
                as_strings(row, f"{self.who}: what the function split={_name(self.split)} gives")
        return [[str(w) if isinstance(w, str) else bytes(w) for w in row] for row in rows]

    def _encoded(self, text: Any) -> bytes:
        return text if isinstance(text, bytes) else text.encode(self.encoding, "surrogateescape")

    def _as_str(self, piece: Array) -> Array:
        """An array of str, which a user's function is given."""
        return np.array(
            [as_text(t, self.encoding) if isinstance(t, bytes) else t for t in piece.ravel().tolist()], str
        ).reshape(piece.shape)

    # ---------------------------------------------------------------- as a layer
    def as_input(self, x: Any, who: str | None = None) -> Any:
        return as_strings(x, who or self.who)

    def check_input_shape(self, input_shape: Shapes) -> None:
        if self.split is not None and len(input_shape) > 1 and input_shape[-1] not in (1, None):
            raise ValueError(
                f"{self.who} splits texts, so its input must have the shape (texts,) or (texts, 1), got "
                f"{tuple(input_shape)}. For words that are split already there is split=None."
            )
        if self.split is None:
            if len(input_shape) == 1 and self.output_sequence_length is not None:
                raise ValueError(
                    f"{self.who} splits nothing (split=None), so output_sequence_length needs input of shape "
                    f"(texts, words), got {tuple(input_shape)}."
                )
            super().check_input_shape(input_shape)

    def ensure_built(self, input_shape: Shapes, seen: Sequence[Any] | None = None) -> None:
        self._lookup_layer.ensure_built((None, None))
        super().ensure_built(input_shape, seen)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        shape = tuple(input_shape)
        if self.split is not None:
            shape = (*(shape[:-1] if len(shape) > 1 else shape), None)
        if self.output_mode == "int" and (self.split is not None or len(shape) > 1):
            last = shape[-1] if self.ngrams is None and self.split is None else None
            shape = (*shape[:-1], self.output_sequence_length or last)
        return self._lookup_layer.compute_output_shape(shape)

    def encode(self, x: Array) -> Array:
        if x.ndim == 0:
            if self.split is None:
                return self._lookup_layer.encode(self._standardized(x.reshape(1))[0:1].reshape(()))
            return self.encode(x.reshape(1))[0]
        self.check_input_shape(x.shape)
        self._lookup_layer._require_vocabulary()
        flat = self.split is None and x.ndim == 1
        texts, shape = self._squeezed(x)
        found = [
            (self._lookup_layer.look_up(words), lengths)
            for words, lengths in self._words_of(texts, self.output_sequence_length)
        ]
        ids = _table(found, self.output_sequence_length, 0 if self.output_mode == "int" else -1)
        ids = ids.reshape(ids.shape[1:] if flat else (*shape, ids.shape[1]))
        return self._lookup_layer.encoded_ids(ids)

    # ---------------------------------------------------------------- files and configs
    def kept_state(self) -> Any:
        """What was learned or set and is not in the config, as plain values; None if there is nothing."""
        return self._lookup_layer.kept_state()

    def set_kept_state(self, state: Any) -> None:
        """Take what `kept_state` gave."""
        self._lookup_layer.set_kept_state(state)

    def assets(self) -> dict[str, bytes]:
        """The files that Keras keeps beside the weights, by name."""
        return self._lookup_layer.assets()

    def load_assets(self, files: dict[str, bytes]) -> None:
        """Take the vocabulary of a file of Keras's or tdfast's, by its name."""
        self._lookup_layer.load_assets(files)

    def own_arrays(self) -> dict[str, Array]:
        """The arrays that Keras keeps by name among the weights."""
        return self._lookup_layer.own_arrays()

    def set_own_arrays(self, arrays: dict[str, Array]) -> None:
        """Take those of a file, by name."""
        self._lookup_layer.set_own_arrays(arrays)

    def get_config(self) -> Config:
        lookup = self._lookup_layer
        return {
            **super().get_config(),
            "max_tokens": lookup.max_tokens,
            "standardize": serialize_keras_object(self.standardize),
            "split": serialize_keras_object(self.split),
            "ngrams": self.ngrams,
            "output_mode": self.output_mode,
            "output_sequence_length": self.output_sequence_length,
            "pad_to_max_tokens": lookup.pad_to_max_tokens,
            "sparse": False,
            "ragged": False,
            "vocabulary": listed(lookup.input_vocabulary),
            "idf_weights": listed(lookup.input_idf_weights),
            "encoding": self.encoding,
            "vocabulary_size": lookup._frozen_size,
        }

    @classmethod
    def from_config(cls, config: Config, custom_objects: Any = None) -> Any:
        """The layer that `get_config` described."""
        refuse_path(config)
        config = dict(config)
        for name in ("standardize", "split"):
            if isinstance(config.get(name), dict):
                config[name] = deserialize_keras_object(config[name], custom_objects)
        if isinstance(config.get("ngrams"), list):
            config["ngrams"] = tuple(config["ngrams"])
        return cls(**config)


def _pieces(flat: Array) -> Iterator[Array]:
    """Texts, or rows of words, in groups of some `PIECE` characters."""
    lengths = [len(text) for text in flat.tolist()]
    start, size = 0, 0
    for i, length in enumerate(lengths):
        if size and size + length > PIECE:
            yield flat[start:i]
            start, size = i, 0
        size += length + 1
    if start < len(flat):
        yield flat[start:]


def _name(function: Any) -> str:
    return getattr(function, "__name__", repr(function))


def _ngrams(row: Sequence[Any], sizes: Any) -> list[Any]:
    """The groups of neighbours, a blank between them, those of one size after those of the one before."""
    blank = b" " if row and isinstance(row[0], bytes) else " "
    return [blank.join(row[i : i + n]) for n in sizes for i in range(len(row) - n + 1)]


def _table(found: Sequence[Any], length: int | None, fill: int) -> Array:
    """Numbers of words as an array with a row for each text, the shorter ones filled up."""
    lengths = np.concatenate([part for _, part in found]) if found else np.zeros(0, np.int64)
    width = int(lengths.max(initial=0)) if length is None else length
    out = np.full((len(lengths), width), fill, np.int64)
    start = 0
    for ids, part in found:
        rows = out[start : start + len(part)]
        rows[np.arange(width) < part[:, None]] = ids
        start += len(part)
    return out
