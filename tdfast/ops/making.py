"""Functions that make arrays, and that tell what an array is like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import config
from tdfast.engine import tracing
from tdfast.engine.tensor import SymbolicTensor
from tdfast.engine.variable import Variable
from tdfast.ops.base import NN, as_operand
from tdfast.ops.composed import composed

if TYPE_CHECKING:
    from tdfast.engine.types import Array

_NP: Any = np
"""NumPy, for calls whose overloads a checker cannot tell apart."""


def _dtype(dtype: Any, *values: Any) -> Any:
    """The dtype that is given; that of the values when None: floats are of the default dtype."""
    if dtype is not None:
        return np.dtype({"float": config.floatx(), "int": "int32"}.get(dtype, dtype) if isinstance(dtype, str)
                        else dtype)
    found = np.result_type(*values) if values else np.dtype(float)
    if found.kind == "f" and not any(isinstance(v, np.ndarray) and v.dtype.kind == "f" for v in values):
        return np.dtype(config.floatx())
    return np.dtype("int32") if found == np.int64 else found


def zeros(shape: Any, dtype: Any = None) -> Array:
    """An array of zeros.

    >>> zeros((2,)).tolist()
    [0.0, 0.0]
    """
    return np.zeros(shape, _dtype(dtype))


def ones(shape: Any, dtype: Any = None) -> Array:
    """An array of ones.

    >>> ones((2,)).tolist()
    [1.0, 1.0]
    """
    return np.ones(shape, _dtype(dtype))


def empty(shape: Any, dtype: Any = None) -> Array:
    """An array whose numbers mean nothing; here zeros.

    >>> empty((2, 3)).shape
    (2, 3)
    """
    return np.zeros(shape, _dtype(dtype))


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Array:
    """An array of one number.

    >>> full((2,), 7.0).tolist()
    [7.0, 7.0]
    """
    return np.full(shape, fill_value, _dtype(dtype))


@composed()
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of one number in the shape and dtype of x.

    >>> full_like(np.zeros(2), 7).tolist()
    [7.0, 7.0]
    """
    return np.full(x.shape, fill_value, dtype or x.dtype)


def empty_like(x: Any, dtype: Any = None) -> Any:
    """An array in the shape and dtype of x whose numbers mean nothing; here zeros.

    >>> empty_like(np.ones(2)).shape
    (2,)
    """
    return full_like(x, 0, dtype)


def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Array:
    """The numbers from start to stop, without stop; from 0 to start when stop is None.

    >>> arange(3).tolist(), arange(1, 6, 2).tolist()
    ([0, 1, 2], [1, 3, 5])
    """
    start, stop, step = (None if v is None else as_operand(v) for v in (start, stop, step))
    given = [v for v in (start, stop, step) if v is not None]
    start, stop = (0, start) if stop is None else (start, stop)
    return _NP.arange(start, stop, 1 if step is None else step, _dtype(dtype, *given))


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False,
             dtype: Any = None, axis: int = 0) -> Any:
    """So many numbers from start to stop at equal distances; with retstep also the distance.

    >>> linspace(0, 1, 3).tolist()
    [0.0, 0.5, 1.0]
    """
    found = _NP.linspace(start, stop, num, endpoint, retstep, axis=axis)
    kind = _dtype(dtype or config.floatx())
    return (found[0].astype(kind), found[1]) if retstep else found.astype(kind)


def logspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: float = 10,
             dtype: Any = None, axis: int = 0) -> Array:
    """So many powers of the base, from that of start to that of stop, at equal ratios.

    >>> logspace(0, 2, 3).tolist()
    [1.0, 10.0, 100.0]
    """
    return np.logspace(start, stop, num, endpoint, base, axis=axis).astype(_dtype(dtype or config.floatx()))


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None,
              axis: int = 0) -> Array:
    """So many numbers from start to stop at equal ratios.

    >>> geomspace(1, 100, 3).tolist()
    [1.0, 10.0, 100.0]
    """
    return np.geomspace(start, stop, num, endpoint, axis=axis).astype(_dtype(dtype or config.floatx()))


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Array:
    """A matrix with ones on a diagonal.

    >>> eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return np.eye(N, M, k, _dtype(dtype))


def identity(n: int, dtype: Any = None) -> Array:
    """A square matrix with ones on its diagonal.

    >>> identity(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return np.eye(n, dtype=_dtype(dtype))


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Array:
    """A matrix with ones on and below a diagonal.

    >>> tri(2).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return np.tri(N, M, k, _dtype(dtype))


def meshgrid(*x: Any, indexing: str = "xy") -> list[Any]:
    """The coordinates of the points of a grid, an array for each of its axes.

    >>> [a.tolist() for a in meshgrid(np.array([1, 2]), np.array([3]))]
    [[[1, 2]], [[3, 3]]]
    """
    from tdfast.ops.shaping import broadcast_to, reshape, swapaxes

    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}.")
    sizes = [part.shape[0] for part in x]
    found = [broadcast_to(reshape(part, [n if j == i else 1 for j, n in enumerate(sizes)]), sizes)
             for i, part in enumerate(x)]
    return [swapaxes(part, 0, 1) for part in found] if indexing == "xy" and len(x) > 1 else found


def bartlett(x: int) -> Array:
    """Bartlett's window of so many points.

    >>> bartlett(3).tolist()
    [0.0, 1.0, 0.0]
    """
    return np.bartlett(int(x)).astype(config.floatx())


def blackman(x: int) -> Array:
    """Blackman's window of so many points.

    >>> blackman(3).round(4).tolist()
    [-0.0, 1.0, -0.0]
    """
    return np.blackman(int(x)).astype(config.floatx())


def hamming(x: int) -> Array:
    """Hamming's window of so many points.

    >>> hamming(3).round(2).tolist()
    [0.07999999821186066, 1.0, 0.07999999821186066]
    """
    return np.hamming(int(x)).astype(config.floatx())


def hanning(x: int) -> Array:
    """Hann's window of so many points.

    >>> hanning(3).tolist()
    [0.0, 1.0, 0.0]
    """
    return np.hanning(int(x)).astype(config.floatx())


def kaiser(x: int, beta: float) -> Array:
    """Kaiser's window of so many points.

    >>> kaiser(3, 0.0).tolist()
    [1.0, 1.0, 1.0]
    """
    return np.kaiser(int(x), float(beta)).astype(config.floatx())


def array(x: Any, dtype: Any = None) -> Any:
    """An array of the argument; Python's floats get the default dtype.

    >>> array([1.0, 2.0]).dtype.name, array([1, 2]).dtype.name
    ('float32', 'int32')
    """
    from tdfast.ops.shaping import convert_to_tensor

    if isinstance(x, (list, tuple, int, float)) and dtype is None:
        dtype = _dtype(None, np.asarray(x).dtype) if np.asarray(x).dtype.kind in "fiu" else None
    return convert_to_tensor(x, dtype)


def copy(x: Any) -> Any:
    """A copy of an array.

    >>> copy(np.array([1.0])).tolist()
    [1.0]
    """
    from tdfast.ops.shaping import convert_to_tensor

    if isinstance(x, SymbolicTensor):
        return convert_to_tensor(x)
    x = as_operand(x)
    return x.copy() if hasattr(x, "copy") else np.array(x)


# ---------------------------------------------------------------- what an array is like


def is_tensor(x: Any) -> bool:
    """Whether x is an array, also a symbolic or a recorded one, or a variable.

    >>> is_tensor(np.zeros(2)), is_tensor([0.0])
    (True, False)
    """
    return isinstance(x, (np.ndarray, SymbolicTensor, Variable)) or tracing.is_recorded(x)


def dtype(x: Any) -> str:
    """The name of an array's dtype.

    >>> dtype(np.zeros(2, "float32"))
    'float32'
    """
    found = as_operand(x) if not isinstance(x, SymbolicTensor) else x
    return found if isinstance(found, str) else np.dtype(getattr(found, "dtype", type(found))).name


def ndim(x: Any) -> int:
    """The number of axes.

    >>> ndim(np.zeros((2, 3)))
    2
    """
    return len(getattr(x, "shape", np.shape(x) if not hasattr(x, "shape") else x.shape))


def size(x: Any) -> int | None:
    """How many numbers there are; None where a symbolic tensor's sizes are not known.

    >>> size(np.zeros((2, 3)))
    6
    """
    shape = getattr(x, "shape", None)
    shape = np.shape(x) if shape is None else shape
    return None if None in shape else int(np.prod(shape))


@composed(NN, derivative=False)
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    """A 1 at each class's place and 0 elsewhere; all 0 for a class that is not there.

    >>> one_hot(np.array([1, 0]), 3).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    _refuse_sparse(sparse, "one_hot")
    x = np.asarray(x)
    found = (x[..., None] == np.arange(num_classes)).astype(_dtype(dtype))
    return found if axis in (-1, x.ndim) else np.moveaxis(found, -1, axis)


@composed(NN, derivative=False)
def multi_hot(inputs: Any, num_classes: int | None = None, axis: int = -1, dtype: Any = None,
              sparse: bool = False) -> Any:
    """A 1 at the place of each class that there is, along an axis.

    >>> multi_hot(np.array([[0, 2], [1, 1]]), 3).tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    _refuse_sparse(sparse, "multi_hot")
    x = np.asarray(inputs)
    if num_classes is None:
        raise ValueError("multi_hot needs num_classes.")
    found = (x[..., None] == np.arange(num_classes)).astype(_dtype(dtype))
    return found.max(axis=1 if x.ndim > 1 else 0) if axis == -1 else np.moveaxis(found, -1, axis).max(axis=-1)


def _refuse_sparse(sparse: bool, who: str) -> None:
    if sparse:
        raise ValueError(f"{who}: sparse must be False: arrays are NumPy's.")
