"""Arrays that lie in files: their rows are read, and converted, when a batch wants them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tdfast.engine.types import Array

PIECE = 2**24
"""Bytes that `Stored.pieces` reads at once, roughly."""


class Stored:
    """Rows in a file, as an array of the dtype and the shape that ``convert`` gives them.

    A slice of it is such an array again. `read` and `take` give NumPy arrays, of some rows; ``np.asarray``
    gives one of all.

    Args:
        rows: a `numpy.memmap`, an h5py dataset or a zarr array, with at least one row.
        convert: makes an array of some of them, row by row.
        start, stop: which rows it is about.

    Attributes:
        shape, dtype: of the array.
        is_whole: whether the file holds whole numbers, none of which is NaN.

    >>> column = Stored(np.arange(6.0), lambda rows: np.asarray(rows, "float32")[:, None])
    >>> column.shape, column.dtype, column[2:].take(np.array([3, 0])).tolist()
    ((6, 1), dtype('float32'), [[5.0], [2.0]])
    """

    def __init__(self, rows: Any, convert: Callable[..., Any], start: int = 0,
                 stop: int | None = None) -> None:
        self._rows, self._convert, self._start = rows, convert, start
        stop = rows.shape[0] if stop is None else stop
        self.is_whole = np.dtype(rows.dtype).kind in "iub"
        first = convert(np.asarray(rows[:1]))
        self.shape: tuple[int, ...] = (stop - start, *first.shape[1:])
        self.dtype: np.dtype[Any] = first.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of a value."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all of it, once it is read."""
        return self.size * self.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Stored:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"a part of stored rows is a slice without a step, got {rows}.")
        return Stored(self._rows, self._convert, self._start + start, self._start + max(start, stop))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.read(slice(None)), dtype)

    def read(self, rows: slice) -> Array:
        """A slice of the rows, as an array."""
        start, stop, _ = rows.indices(len(self))
        return self._convert(np.asarray(self._rows[self._start + start : self._start + stop]))

    def take(self, index: Array) -> Array:
        """The rows of these numbers, as an array."""
        index = np.asarray(index) + self._start
        if isinstance(self._rows, np.ndarray):
            return self._convert(np.asarray(self._rows[index]))
        wanted, places = np.unique(index, return_inverse=True)      # h5py wants them in order, each once
        return self._convert(np.asarray(getattr(self._rows, "oindex", self._rows)[wanted]))[places]

    def pieces(self) -> Iterator[tuple[int, Array]]:
        """(the number of its first row, the array) of pieces that follow each other."""
        step = max(1, PIECE * len(self) // max(self.nbytes, 1))
        for start in range(0, len(self), step):
            yield start, self.read(slice(start, start + step))


def lies_in_a_file(x: Any) -> bool:
    """Whether ``x`` is an array of rows that are read when they are asked for.

    >>> lies_in_a_file(np.arange(3))
    False
    """
    if isinstance(x, np.ndarray):
        return isinstance(x, np.memmap) and x.ndim > 0 and len(x) > 0
    names = ("chunks", "shape", "dtype", "ndim", "__getitem__")     # of h5py's datasets and zarr's arrays
    return all([hasattr(x, name) for name in names]) and x.ndim > 0 and x.shape[0] > 0


def stored(x: Any, convert: Callable[..., Any]) -> Stored | None:
    """``x`` as a `Stored`; None where it does not lie in a file, or can be used as it is."""
    if not lies_in_a_file(x):
        return None
    out = Stored(x, convert)
    mapped = isinstance(x, np.ndarray) and out.dtype == x.dtype and out.shape == x.shape
    return None if mapped and x.flags.c_contiguous and x.flags.aligned else out
