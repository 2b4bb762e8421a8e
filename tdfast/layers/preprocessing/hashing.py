"""Hashing and HashedCrossing: numbers of bins for strings and whole numbers, without a vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arrays import as_numbers
from tdfast.engine.layer import standardize_dtype
from tdfast.engine.strings import Words, as_strings, as_words, is_string
from tdfast.layers.preprocessing.base import MODES, PreprocessingLayer
from tdfast.layers.preprocessing.encoding import encoded, encoded_shape
from tdfast.layers.preprocessing.hashes import buckets, checked_salt, crossed, hashed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Config, Shapes


class _Hashed(PreprocessingLayer):
    """What the two have in common: bins, an integer dtype of their own, input of strings or whole numbers."""

    dtypes = ("float32", "float64", "int32", "int64")
    """Those that a config may name."""

    def __init__(
        self,
        num_bins: int,
        output_mode: str,
        modes: Sequence[str],
        sparse: Any,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        integer = str(getattr(dtype, "name", dtype)) in ("int32", "int64")
        super().__init__(output_mode, modes, sparse, dtype=None if integer else dtype, **kwargs)
        if not hasattr(num_bins, "__index__") or num_bins < 1:
            raise ValueError(f"{self.who}: num_bins must be a whole number of at least 1, got {num_bins!r}.")
        if self.output_mode == "int" and dtype is not None and not integer:
            raise ValueError(
                f"{self.who}: with output_mode='int' dtype must be 'int32' or 'int64', got {dtype!r}."
            )
        self.num_bins = int(num_bins)
        self._ids = np.dtype(getattr(dtype, "name", dtype)).name if integer else "int64"
        if self.output_mode != "int" and not integer:
            self._ids = standardize_dtype(dtype)

    @property
    def output_dtype(self) -> str:
        return self._ids

    def check_dtypes(self, tensors: Sequence[Any]) -> None:
        """It takes strings and numbers."""

    def _bytes_of(self, x: Array) -> Words:
        """The strings of an array, or the digits of its numbers."""
        flat = x.ravel().tolist()
        return as_words(flat if x.dtype == object else list(map(str, flat)), "utf-8")

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "dtype": self._ids,
            "num_bins": self.num_bins,
            "output_mode": self.output_mode,
            "sparse": self.sparse,
        }


class Hashing(_Hashed):
    """The number of a bin for each string or whole number: its hash modulo num_bins, as TensorFlow computes
    it.

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/hashing/.

    Args:
        num_bins: how many bins there are.
        mask_value: a value that gets bin 0 alone, and leaves num_bins - 1 to the others; None: no value.
        salt: None: the hash is FarmHash's fingerprint; a whole number, or two of them: SipHash with this key.
        output_mode: 'int', 'one_hot', 'multi_hot' or 'count': see `StringLookup`.
        sparse: only False, as tdfast has dense arrays alone.
        dtype: of the output: 'int64' or 'int32' in the mode 'int'.

    Input strings, or whole numbers, of which the digits are hashed.

    >>> Hashing(num_bins=3)([["A"], ["B"], ["C"], ["D"], ["E"]]).tolist()
    [[1], [0], [1], [1], [2]]
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: Any = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_bins, output_mode, MODES, sparse, **kwargs)
        self.mask_value, self.salt = mask_value, checked_salt(salt, self.who)
        self._first = "int64"

    def as_input(self, x: Any, who: str | None = None) -> Any:
        x = _strings_or_whole(x, who or self.who)
        if not self.built:                  # a Sequential asks for it now
            self._first = "string" if x.dtype == object else "int64"
        return x

    @property
    def dtype_of_input(self) -> str:
        """The dtype of an Input that a `Sequential` makes for it: that of the first data."""
        return self._first

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        if self.output_mode == "int":
            return tuple(input_shape)
        return encoded_shape(input_shape, self.output_mode, self.num_bins)

    def encode(self, x: Array) -> Array:
        masked = self.mask_value is not None and self.num_bins > 1
        ids = buckets(self._bytes_of(x), self.num_bins - masked, self.salt).reshape(x.shape)
        if masked:
            ids = np.where(self._is_mask(x), 0, ids + 1)
        if self.output_mode == "int":
            return ids.astype(self._ids)
        if ids.ndim == 0:
            made = encoded(ids.reshape(1), self.output_mode, self.num_bins, self._ids)
            return made[0] if self.output_mode == "one_hot" else made
        return encoded(ids, self.output_mode, self.num_bins, self._ids)

    def _is_mask(self, x: Array) -> Array:
        if x.dtype != object:
            return x == self.mask_value
        text = self.mask_value
        values = {text, text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text.encode()}
        return np.array([s in values for s in x.ravel().tolist()], bool).reshape(x.shape)

    def get_config(self) -> Config:
        return {**super().get_config(), "salt": self.salt, "mask_value": self.mask_value}


class HashedCrossing(_Hashed):
    """The number of a bin for each combination of two or more features, as TensorFlow computes it.

    Source: https://keras.io/api/layers/preprocessing_layers/categorical/hashed_crossing/.

    Args:
        num_bins: how many bins there are.
        output_mode: 'int' or 'one_hot'.
        sparse: only False, as tdfast has dense arrays alone.
        dtype: of the output: 'int64' or 'int32' in the mode 'int'.

    It is called on a list of arrays of strings or whole numbers, all of the shape (batch,) or (batch, 1).

    >>> HashedCrossing(num_bins=5)([["A", "B", "A", "B", "A"], [101, 101, 101, 102, 102]]).tolist()
    [1, 4, 1, 1, 3]
    """

    several_inputs = True

    def __init__(
        self,
        num_bins: int,
        output_mode: str = "int",
        sparse: Any = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_bins, output_mode, MODES[:2], sparse, **kwargs)

    def as_input(self, x: Any, who: str | None = None) -> Any:
        who = who or self.who
        if (
            not isinstance(x, (list, tuple))
            or len(x) < 2
            or any(is_string(part) for part in x)
            and not all(np.ndim(part) == 0 for part in x)
        ):
            raise ValueError(
                f"{who} crosses features, so it is called on a list of two or more arrays, got "
                f"{type(x).__name__}{f' of {len(x)}' if isinstance(x, (list, tuple)) else ''}."
            )
        arrays = [_strings_or_whole(part, who) for part in x]
        self.check_input_shape([a.shape for a in arrays])
        return arrays

    def check_input_shape(self, input_shape: Shapes) -> None:
        shapes = (
            [tuple(shape) for shape in input_shape]
            if input_shape and isinstance(input_shape[0], (tuple, list))
            else [tuple(input_shape)]
        )
        first = shapes[0]
        if (
            len(shapes) < 2
            or any(shape != first for shape in shapes)
            or len(first) > 2
            or (len(first) == 2 and first[1] != 1)
        ):
            raise ValueError(
                f"{self.who} takes two or more inputs of one shape, (batch,) or (batch, 1), got "
                f"{', '.join(map(str, shapes))}."
            )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        shape = tuple(input_shape[0])
        return shape if self.output_mode == "int" else encoded_shape(shape, "one_hot", self.num_bins)

    def encode(self, x: Sequence[Array]) -> Array:  # type: ignore[override]
        shape = x[0].shape
        numbers = [
            hashed(self._bytes_of(part)) if part.dtype == object else part.ravel().astype(np.uint64)
            for part in x
        ]
        ids = crossed(numbers, self.num_bins).reshape(shape)
        if self.output_mode == "int":
            return ids.astype(self._ids)
        made = encoded(ids.reshape(1) if ids.ndim == 0 else ids, "one_hot", self.num_bins, self._ids)
        return made[0] if ids.ndim == 0 else made


def _strings_or_whole(x: Any, who: str) -> Array:
    """Strings as an array of objects, numbers as int64; floats lose what is behind the point, as in Keras."""
    if hasattr(x, "detach") and hasattr(x, "numpy"):
        x = x.detach()
    kind = np.asarray(x).dtype.kind if not isinstance(x, (list, tuple)) else _kind_of(x)
    if kind in "OSUT":
        return as_strings(x, who)
    return as_numbers(x, who).astype(np.int64)


def _kind_of(x: Any) -> str:
    """The kind of dtype that the first entry of nested lists has."""
    while isinstance(x, (list, tuple)) and len(x):
        x = x[0]
    return np.asarray(x).dtype.kind
