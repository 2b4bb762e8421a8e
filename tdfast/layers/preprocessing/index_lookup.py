"""IndexLookup: what StringLookup and IntegerLookup share."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arrays import as_numbers
from tdfast.layers.preprocessing.base import MODES, TOKENS, PreprocessingLayer, batches_of
from tdfast.layers.preprocessing.encoding import DROPPED, encoded, encoded_shape
from tdfast.layers.preprocessing.hashes import checked_salt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Config, Shapes

VOCABULARY_FILE = "vocabulary.txt"
"""Keras's: a token in each line."""

EXACT_FILE = "vocabulary.json"
"""tdfast's, beside it, for tokens that have ends of lines in them."""


class IndexLookup(PreprocessingLayer):
    """A number for each entry of a vocabulary. A subclass says what tokens are: strings or whole numbers.

    The vocabulary begins, in the mode 'int', with the mask_token if there is one, then with num_oov_indices
    places for tokens that are not in it. Arguments are those of `StringLookup`.
    """

    dtypes = TOKENS

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: Any = None,
        oov_token: Any = None,
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: Any = False,
        output_mode: str = "int",
        pad_to_max_tokens: Any = False,
        sparse: Any = False,
        oov_method: str = "floormod",
        salt: Any = None,
        vocabulary_size: int | None = None,
        has_input_vocabulary: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_mode, (*MODES, "tf_idf"), sparse, **kwargs)
        self.invert = self._flag(invert, "invert")
        self.max_tokens, self.num_oov_indices = max_tokens, num_oov_indices
        self.mask_token, self.oov_token = mask_token, oov_token
        self.pad_to_max_tokens = self._flag(pad_to_max_tokens, "pad_to_max_tokens")
        self.oov_method = self._one_of(oov_method, "oov_method", ("floormod", "farmhash"))
        self.salt = checked_salt(salt, self.who)
        self._check_options(idf_weights)
        self.input_vocabulary = None if isinstance(vocabulary, (str, os.PathLike)) else vocabulary
        self.input_idf_weights = idf_weights
        self._frozen_size = vocabulary_size
        self._has_input_vocabulary = (
            vocabulary is not None if has_input_vocabulary is None else bool(has_input_vocabulary)
        )
        self.idf_weights: Any = None
        self._has_vocabulary = False
        if self.output_mode == "tf_idf" and vocabulary is not None and idf_weights is None:
            raise ValueError(
                f"{self.who}: with output_mode='tf_idf' a vocabulary needs idf_weights, one number for each "
                "token."
            )
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)
        self.reset_state()

    def _check_options(self, idf_weights: Any) -> None:
        size, places, mode = self.max_tokens, self.num_oov_indices, self.output_mode
        if size is not None and (not hasattr(size, "__index__") or size <= 1):
            raise ValueError(f"{self.who}: max_tokens must be None or at least 2, got {size!r}.")
        if self.pad_to_max_tokens and size is None:
            raise ValueError(f"{self.who}: pad_to_max_tokens=True needs max_tokens, got None.")
        if not hasattr(places, "__index__") or places < 0:
            raise ValueError(
                f"{self.who}: num_oov_indices must be a whole number of at least 0, got {places!r}."
            )
        if self.invert and mode != "int":
            raise ValueError(f"{self.who}: invert=True needs output_mode='int', got {mode!r}.")
        if idf_weights is not None and mode != "tf_idf":
            raise ValueError(f"{self.who}: idf_weights belong to output_mode='tf_idf', got {mode!r}.")

    # ---------------------------------------------------------------- to override
    def _clean(self, vocabulary: Any) -> list[Any]:
        """The tokens of a vocabulary that a user gave, as Python's objects."""
        raise TypeError(f"{type(self).__name__} must override _clean(vocabulary).")

    def _of_lines(self, lines: Sequence[str]) -> list[Any]:
        """The tokens of a file's lines."""
        raise TypeError(f"{type(self).__name__} must override _of_lines(lines).")

    def _set_tokens(self, tokens: Sequence[Any]) -> None:
        """Keep these tokens, without those that stand for others, for `_find` and `_tokens`."""
        raise TypeError(f"{type(self).__name__} must override _set_tokens(tokens).")

    def _tokens(self) -> list[Any]:
        """The tokens that were set."""
        raise TypeError(f"{type(self).__name__} must override _tokens().")

    def _count_tokens(self) -> int:
        """How many tokens were set."""
        raise TypeError(f"{type(self).__name__} must override _count_tokens().")

    def _find(self, flat: Any) -> Array:
        """For each entry of a flat input its token's number, from 0; -1 for what is no token."""
        raise TypeError(f"{type(self).__name__} must override _find(flat).")

    def _is_mask(self, flat: Any) -> Array | None:
        """Which entries are the mask_token, or were filled up; None: none is."""
        raise TypeError(f"{type(self).__name__} must override _is_mask(flat).")

    def _buckets(self, flat: Any, where: Array) -> Array:
        """The place, from 0, of entries that are no token, where there are several places for them."""
        raise TypeError(f"{type(self).__name__} must override _buckets(flat, where).")

    # ---------------------------------------------------------------- the vocabulary
    @property
    def _oov_start(self) -> int:
        return int(self.mask_token is not None and self.output_mode == "int")

    @property
    def _token_start(self) -> int:
        return self._oov_start + self.num_oov_indices

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens as a list: a token's place is its number.

        Args:
            include_special_tokens: False leaves out the mask_token and the oov_token at its beginning.
        """
        tokens = self._tokens() if self._has_vocabulary else []
        if not include_special_tokens:
            return tokens
        return [self.mask_token] * self._oov_start + [self.oov_token] * self.num_oov_indices + tokens

    def vocabulary_size(self) -> int:
        """How many tokens there are, with the mask_token and the places for unknown ones."""
        return self._token_start + (self._count_tokens() if self._has_vocabulary else 0)

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take a vocabulary, and in the mode 'tf_idf' the weights of its tokens, in place of those of before.

        Args:
            vocabulary: a list or an array of tokens, or the path of a text file with one in each line. It may
                begin with the mask_token and the oov_token, as `get_vocabulary` gives it.
            idf_weights: one number for each token of the list; those of the mode 'tf_idf' alone.

        Raises:
            ValueError: for an empty vocabulary, one with a token twice, or larger than max_tokens.
        """
        if self.output_mode == "tf_idf" and idf_weights is None:
            raise ValueError(
                f"{self.who}: with output_mode='tf_idf' set_vocabulary needs idf_weights, one number for "
                "each token."
            )
        if self.output_mode != "tf_idf" and idf_weights is not None:
            raise ValueError(
                f"{self.who}: idf_weights belong to output_mode='tf_idf', got {self.output_mode!r}."
            )
        if isinstance(vocabulary, (str, os.PathLike)):
            if self.output_mode == "tf_idf":
                raise ValueError(
                    f"{self.who}: output_mode='tf_idf' takes a vocabulary as a list, not as a file."
                )
            tokens, special = self._of_file(vocabulary), 0
        else:
            tokens = self._clean(vocabulary)
            if not tokens:
                raise ValueError(f"{self.who}: the vocabulary is empty, so there is nothing to look up.")
            front = [self.mask_token] * self._oov_start + [self.oov_token] * self.num_oov_indices
            special = len(front) if front and tokens[: len(front)] == front else 0
        weights = self._checked_weights(idf_weights, len(tokens))
        self._take(self._checked_tokens(tokens[special:]))
        if weights is not None:
            self.idf_weights = self._padded(weights, 0 if special else self._token_start, np.average(weights))

    def _checked_tokens(self, tokens: list[Any]) -> list[Any]:
        if len(set(tokens)) < len(tokens):
            seen: set[Any] = set()
            twice = [t for t in tokens if t in seen or seen.add(t)]  # type: ignore[func-returns-value]
            raise ValueError(
                f"{self.who}: the vocabulary has tokens more than once: "
                f"{', '.join(map(repr, twice[:5]))}{', ...' if len(twice) > 5 else ''}. Each must be there "
                "once: dict.fromkeys(vocabulary)."
            )
        for kind, token in (("mask", self.mask_token), ("oov", self.oov_token if self.invert else None)):
            if token is not None and token in tokens:
                raise ValueError(
                    f"{self.who}: the vocabulary has the {kind}_token {token!r} at a place that is not its "
                    "own. It need not be there at all; where it is, the vocabulary must begin with "
                    f"{[self.mask_token] * self._oov_start + [self.oov_token] * self.num_oov_indices}."
                )
        size = self._token_start + len(tokens)
        if self.max_tokens is not None and size > self.max_tokens:
            raise ValueError(
                f"{self.who}: the vocabulary has {size} tokens, with those that stand for others, and "
                f"max_tokens={self.max_tokens} is the most."
            )
        return tokens

    def _checked_weights(self, weights: Any, count: int) -> Any:
        if weights is None:
            return None
        weights = np.asarray(weights, self.dtype)
        if weights.ndim != 1 or len(weights) != count:
            raise ValueError(
                f"{self.who}: idf_weights must have one number for each of the {count} tokens of the "
                f"vocabulary, got shape {weights.shape}."
            )
        return weights

    def _padded(self, weights: Array, front: int, mean: Any) -> Array:
        """The weights of all places: the mean for those that stand for others, 0 for those to come."""
        weights = np.concatenate([np.full(front, mean, self.dtype), weights]).astype(self.dtype)
        back = self.max_tokens - len(weights) if self.pad_to_max_tokens and self.max_tokens else 0
        return np.concatenate([weights, np.zeros(back, self.dtype)])

    def _of_file(self, path: Any) -> list[Any]:
        try:
            with open(
                path, encoding=getattr(self, "encoding", "utf-8"), errors="surrogateescape", newline="\n"
            ) as f:
                lines = f.read().replace("\r", "").split("\n")
        except OSError as error:
            raise ValueError(
                f"{self.who}: the vocabulary file {os.fspath(path)!r} cannot be read: {error}. A vocabulary "
                "is a list of tokens, or the path of a file with one in each line."
            ) from error
        return self._of_lines(lines[:-1] if lines[-1] == "" else lines)

    def _take(self, tokens: Sequence[Any]) -> None:
        """Have these tokens; refused where the size of an output would change."""
        size = self._token_start + len(tokens)
        fixed = self.output_mode != "int" and not self.pad_to_max_tokens and bool(self._nodes or self.built)
        if fixed and self._frozen_size not in (None, size):
            raise RuntimeError(
                f"{self.who}: the vocabulary has {size} tokens, but had {self._frozen_size} when the layer "
                f"was put into a model, whose layers fit that size with output_mode='{self.output_mode}'. "
                "Give max_tokens and pad_to_max_tokens=True, or make the model after adapt()."
            )
        self._set_tokens(tokens)
        self._has_vocabulary, self._frozen_size = True, size

    # ---------------------------------------------------------------- learning
    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Learn the vocabulary from data: the tokens by their number, the most frequent first; of equally
        frequent ones the last in the order of their bytes first.

        Args:
            data: an array or a list of samples, or something that yields batches.
            steps: how many batches to take; None: all.
        """
        self.reset_state()
        batches = batches_of(data, steps)
        if batches is None:
            self._refuse_if_given()
            x = self._as_samples(data)
            self._update(x[:, None] if x.ndim == 1 else x)      # a flat list is one of samples
        else:
            for batch in batches:
                self.update_state(batch)
        self.finalize_state()

    def _as_samples(self, data: Any) -> Any:
        """What `adapt` was given as an array, in which None fills up shorter rows."""
        return self.as_input(data)

    def reset_state(self) -> None:
        """Forget what `update_state` has counted; the vocabulary stays."""
        self._counted: Any = None
        self._document_counts: Any = None
        self._documents = 0

    def update_state(self, data: Any) -> None:
        """Count the tokens of a batch, (samples, tokens); a flat one is a single sample."""
        self._refuse_if_given()
        self._update(self._as_samples(data))

    def _update(self, x: Array) -> None:
        x = x.reshape(1, -1) if x.ndim < 2 else x.reshape(len(x), -1)
        self._count(x.ravel(), np.full(len(x), x.shape[1], np.int64))

    def _refuse_if_given(self) -> None:
        if self._has_input_vocabulary:
            raise ValueError(
                f"{self.who} was given its vocabulary when it was made, so adapt() cannot learn another. "
                "Make it without vocabulary=, or call set_vocabulary()."
            )

    def _number(self, flat: Any) -> Array:
        """Numbers of tokens in the order in which they were first counted; -1 for what was filled up."""
        raise TypeError(f"{type(self).__name__} must override _number(flat).")

    def _count(self, flat: Any, lengths: Array) -> None:
        """Count flat tokens of samples of these lengths."""
        ids = self._number(flat)
        there = ids >= 0
        self._counted = _sum_of(self._counted, np.bincount(ids[there]))
        if self.output_mode == "tf_idf" and len(ids):
            samples = np.repeat(np.arange(len(lengths)), lengths)[there]
            pairs = np.unique(samples * (int(ids.max()) + 1) + ids[there])
            self._document_counts = _sum_of(self._document_counts, np.bincount(pairs % (int(ids.max()) + 1)))
        self._documents += len(lengths)

    def finalize_state(self) -> None:
        """Make the vocabulary of what was counted, if anything was."""
        if self._has_input_vocabulary or self._counted is None or not self._counted.any():
            self.reset_state()
            return
        tokens, order = self._ordered()
        most = len(tokens) if self.max_tokens is None else max(self.max_tokens - self._token_start, 0)
        if tokens and not most:
            raise ValueError(
                f"{self.who}: max_tokens={self.max_tokens} leaves no place for tokens beside the "
                f"{self._token_start} that stand for others: give a larger number."
            )
        self._take(tokens[:most])
        if self.output_mode == "tf_idf":
            found = self._document_counts[order[:most]]
            weights = np.log(1 + self._documents / (1 + found)).astype(self.dtype)
            self.idf_weights = self._padded(weights, self._token_start, weights.mean())
        self.reset_state()

    def _ordered(self) -> tuple[list[Any], Array]:
        """The tokens that were counted, without those that stand for others, and their numbers; the most
        frequent first."""
        raise TypeError(f"{type(self).__name__} must override _ordered().")

    # ---------------------------------------------------------------- looking up
    @property
    def _depth(self) -> int | None:
        return self.max_tokens if self.pad_to_max_tokens else self._frozen_size

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        if self.output_mode == "int":
            return tuple(input_shape)
        return encoded_shape(input_shape, self.output_mode, self._depth)

    def ensure_built(self, input_shape: Shapes, seen: Sequence[Any] | None = None) -> None:
        if self.output_mode != "int" and self._depth is None:
            raise RuntimeError(
                f"{self.who} has no vocabulary yet, so the size of its output is unknown "
                f"(output_mode='{self.output_mode}'). Call adapt() or pass vocabulary= before you put it "
                "into a model, or give max_tokens and pad_to_max_tokens=True."
            )
        super().ensure_built(input_shape, seen)

    def encode(self, x: Array) -> Array:
        if x.ndim == 0:  # a sample of one token
            made = self.encode(x.reshape(1))
            return made[0] if self.output_mode == "int" else made
        return self.encode_flat(x.ravel(), x.shape)

    def encode_flat(self, flat: Any, shape: tuple[int, ...]) -> Array:
        """The output for a flat input that stands for one of this shape."""
        self._require_vocabulary()
        if self.invert:
            return self._inverted(flat).reshape(shape)
        return self.encoded_ids(self.look_up(flat).reshape(shape))

    def encoded_ids(self, ids: Array) -> Array:
        """What numbers of tokens become in the output mode."""
        if self.output_mode == "int":
            return ids
        mode = "count" if self.output_mode == "tf_idf" else self.output_mode
        out = encoded(ids, mode, self._depth, self.dtype)  # type: ignore[arg-type]
        return out * self.idf_weights if self.output_mode == "tf_idf" else out

    def _require_vocabulary(self) -> None:
        if not self._has_vocabulary:
            raise RuntimeError(
                f"{self.who} has no vocabulary yet: call adapt(data), or pass vocabulary= or "
                "set_vocabulary()."
            )

    def look_up(self, flat: Any) -> Array:
        """The number of each entry; `DROPPED` for the mask_token where it has none."""
        ids = self._find(flat)
        unknown = ids < 0
        ids += self._token_start
        if unknown.any():
            if self.num_oov_indices == 1:
                ids[unknown] = self._oov_start
            elif self.num_oov_indices > 1:
                ids[unknown] = self._buckets(flat, unknown) + self._oov_start
        masked = self._is_mask(flat)
        if masked is not None:
            ids[masked] = 0 if self.output_mode == "int" and self.mask_token is not None else DROPPED
            unknown &= ~masked
        if self.num_oov_indices == 0 and unknown.any():
            self._refuse_unknown([flat[i] for i in np.flatnonzero(unknown)[:5]], int(unknown.sum()))
        return ids

    def _refuse_unknown(self, found: list[Any], count: int) -> None:
        raise ValueError(
            f"{self.who}: with num_oov_indices=0 everything must be in the vocabulary, but "
            f"{', '.join(map(repr, found))}{', ...' if count > 5 else ''} {'is' if count == 1 else 'are'} "
            "not. num_oov_indices=1 gives unknown tokens a number of their own."
        )

    def _inverted(self, flat: Array) -> Array:
        table = np.array([*self.get_vocabulary(), self.oov_token], object)
        ids = np.where((flat >= 0) & (flat < len(table) - 1), flat, len(table) - 1)
        return table[ids]

    # ---------------------------------------------------------------- files, copies and configs
    def kept_state(self) -> Any:
        """What was learned or set and is not in the config, as plain values; None if there is nothing."""
        if not self._has_vocabulary or self.input_vocabulary is not None:
            return None
        weights = None if self.idf_weights is None else self.idf_weights.tolist()
        return {"vocabulary": self.get_vocabulary(include_special_tokens=False), "idf_weights": weights}

    def set_kept_state(self, state: Any) -> None:
        """Take what `kept_state` gave."""
        self._take(self._clean(state["vocabulary"]))
        if state["idf_weights"] is not None:
            self.idf_weights = np.array(state["idf_weights"], self.dtype)

    def assets(self) -> dict[str, bytes]:
        """The files that Keras keeps beside the weights, by name."""
        if self.input_vocabulary is not None or not self._has_vocabulary:
            return {}
        tokens = self.get_vocabulary()
        text = "\n".join(map(str, tokens))
        files = {VOCABULARY_FILE: text.encode("utf-8", "surrogateescape")}
        if text.count("\n") + 1 != len(tokens) or "\r" in text:  # ends of lines in tokens
            files[EXACT_FILE] = json.dumps(tokens).encode()
        return files

    def load_assets(self, files: dict[str, bytes]) -> None:
        """Take the vocabulary of a file of Keras's or tdfast's, by its name."""
        if self.input_vocabulary is not None or VOCABULARY_FILE not in files:
            return
        if EXACT_FILE in files:
            tokens = self._clean(json.loads(files[EXACT_FILE])[self._token_start :])
        else:
            lines = (
                files[VOCABULARY_FILE].decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
            )
            while len(lines) > (self._frozen_size or self._token_start) and lines[-1] == "":
                lines.pop()
            tokens = self._of_lines(lines[self._token_start :])
        if tokens:
            self._take(self._checked_tokens(tokens))
        elif self._frozen_size is not None and self._frozen_size > self._token_start:
            raise ValueError(f"{self.who}: its file has no token, but its config has {self._frozen_size}.")

    def own_arrays(self) -> dict[str, Array]:
        """The arrays that Keras keeps by name among the weights."""
        if self.output_mode != "tf_idf" or self.idf_weights is None:
            return {}
        return {"idf_weights": self.idf_weights}

    def set_own_arrays(self, arrays: dict[str, Array]) -> None:
        """Take those of a file, by name."""
        if self.output_mode == "tf_idf" and "idf_weights" in arrays:
            weights = np.asarray(arrays["idf_weights"], self.dtype)
            if weights.ndim != 1 or (self._depth is not None and len(weights) != self._depth):
                raise ValueError(
                    f"{self.who}: the file has idf_weights of shape {weights.shape}, but the layer has "
                    f"{self._depth} tokens."
                )
            self.idf_weights = weights

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "invert": self.invert,
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "oov_token": self.oov_token,
            "mask_token": self.mask_token,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
            "pad_to_max_tokens": self.pad_to_max_tokens,
            "vocabulary_dtype": "int64",
            "idf_weights": listed(self.input_idf_weights),
            "vocabulary": listed(self.input_vocabulary),
            "vocabulary_size": self._frozen_size,
            "oov_method": self.oov_method,
            "salt": self.salt,
        }

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """The layer that `get_config` described."""
        refuse_path(config)
        return cls(**config)


def refuse_path(config: Config) -> None:
    """A config of a stranger's must not have a file of this machine read."""
    if isinstance(config.get("vocabulary"), str):
        raise ValueError(
            f"its config names the file {config['vocabulary']!r} as the vocabulary. A config that was read "
            "is not allowed to open files: make the layer with vocabulary=, or call set_vocabulary()."
        )


def listed(values: Any) -> Any:
    """An array or a tuple as a list of Python's values; None stays."""
    if values is None:
        return None
    return [v.decode("utf-8") if isinstance(v, bytes) else v for v in np.asarray(values).tolist()]


def as_whole(x: Any, who: str) -> Array:
    """Whole numbers as int64, from integers of any kind or whole floats.

    >>> as_whole([1.0, 2.0], "me").tolist()
    [1, 2]
    """
    x = as_numbers(x, who)
    if x.dtype.kind == "f" and not np.array_equal(x, np.rint(x)):
        raise ValueError(f"{who} expects whole numbers, got {x[x != np.rint(x)].flat[0]}.")
    return np.asarray(x, np.int64, order="C")


def _sum_of(before: Any, counts: Array) -> Array:
    if before is None:
        return counts
    if len(before) > len(counts):
        before, counts = counts, before
    out = counts.copy()
    out[: len(before)] += before
    return out
