"""Where the data sets lie, and how their files are read: as arrays of numbers, never as programs."""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.errors import FileError
from tdfast.utils.downloads import get_file
from tdfast.utils.npy import read_header

if TYPE_CHECKING:
    from tdfast.engine.types import Array

GOOGLE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
TORONTO = "https://www.cs.toronto.edu/~kriz/"


def from_google(name: str, file_hash: str | None, fname: Any = None, cache_subdir: str = "datasets") -> str:
    """The path of a file of Keras's own data sets.

    Args:
        name: there.
        file_hash: what it must be.
        fname: the name to keep it under; None: the same.
        cache_subdir: the folder to keep it in.
    """
    return get_file(fname or name, GOOGLE + name, file_hash=file_hash, cache_subdir=cache_subdir)


def word_index(name: str, file_hash: str, fname: Any) -> dict[str, int]:
    """The words of a data set and their numbers, of a file in JSON."""
    with open(from_google(name, file_hash, fname), encoding="utf8") as file:
        return json.load(file)


def arrays_of(path: str) -> dict[str, Array]:
    """The arrays of a .npz file, also arrays of lists, which NumPy keeps as pickles.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/a.npz"
    >>> np.savez(path, x=np.array([[1], [2, 3]], dtype=object))
    >>> arrays_of(path)["x"].tolist()
    [[1], [2, 3]]
    """
    out = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                out[member.removesuffix(".npy")] = _array(archive.read(member), f"{path}: {member}")
    return out


def _array(content: bytes, who: str) -> Array:
    file = io.BytesIO(content)
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        return unpickled(file, who)
    array = np.frombuffer(content, dtype, math.prod(shape), file.tell())
    return array.reshape(shape, order="F" if fortran else "C").copy()


class _Numbers(pickle.Unpickler):
    """Makes arrays of numbers and what Python itself makes of digits and text, and calls nothing else."""

    who = ""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        raise FileError(f"{self.who} asks for {module}.{name}, but a file of a data set holds nothing but "
                        "numbers. It is damaged or forged: delete it.")


def unpickled(file: Any, who: str, encoding: str = "ASCII") -> Any:
    """What a pickle of numbers holds.

    Args:
        file: open, binary.
        who: whom errors name.
        encoding: of the strings of Python 2; 'bytes' leaves them as they are.

    Raises:
        FileError: for a pickle that asks for anything but arrays.
    """
    reader = _Numbers(file, encoding=encoding)
    reader.who = who
    return reader.load()


def shuffled(draw: Any, *arrays: Array) -> list[Array]:
    """Arrays of one first axis in one order, which is Keras's for a RandomState of this seed."""
    order = np.arange(len(arrays[0]))
    draw.shuffle(order)
    return [array[order] for array in arrays]


def split(x: Array, y: Array, test_split: float, seed: Any) -> tuple[Any, ...]:
    """((x_train, y_train), (x_test, y_test)) of samples that are drawn.

    >>> (x, y), (x_test, y_test) = split(np.arange(5), np.arange(5), 0.2, 113)
    >>> len(x), len(x_test), (x == y).all()
    (4, 1, np.True_)
    """
    x, y = shuffled(np.random.RandomState(seed), x, y)
    end = int(len(x) * (1 - test_split))
    return (x[:end].copy(), y[:end].copy()), (x[end:].copy(), y[end:].copy())


def check_split(test_split: float, who: str) -> None:
    """Refuse what is no share of the samples."""
    if not 0 <= test_split < 1:
        raise ValueError(f"{who}: test_split is the share of the samples that test, from 0 to below 1, got "
                         f"{test_split}.")
