"""What users pass, as the arrays that layers and kernels take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels
from tdfast.compat import foreign
from tdfast.engine.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

    from tdfast.engine.types import Array, Masks


def as_array(x: Any, dtype: DTypeLike, who: str) -> Array:
    """Any array-like as a C-contiguous NumPy array of ``dtype``, refused clearly if it holds no numbers.

    NumPy's protocols are used, so a torch, JAX or TensorFlow tensor on the CPU, or a pandas frame, is
    copied only where its dtype or its memory order needs it.
    """
    x = as_numbers(x, who)
    return as_contiguous(x, dtype)


def as_contiguous(x: Any, dtype: DTypeLike) -> Array:
    """The array in the form that kernels read: of this dtype, C-contiguous, aligned, in this machine's byte
    order."""
    if not x.ndim:
        return x.astype(dtype)
    x = np.ascontiguousarray(x, dtype)
    return x if x.flags.aligned else x.copy()


def as_ids(x: Any, size: int, who: str) -> Array:
    """Whole numbers from 0 to ``size`` - 1 as C-contiguous int32, from integers of any kind or whole floats.

    Raises:
        ValueError: naming the first number that is out of range, not whole, or beyond what its dtype holds
            exactly.

    >>> as_ids([[0.0, 3.0]], 4, "Layer 'words'")
    array([[0, 3]], dtype=int32)
    """
    x = as_numbers(x, who)
    if x.size:
        with np.errstate(invalid="ignore"):
            low, high = x.min(), x.max()
        if not (low >= 0 and high < size):      # NaN too
            _refuse(x, (x >= 0) & (x < size),
                    f"is out of range: input_dim={size} stands for the ids from 0 to {size - 1}", who)
        if x.dtype.kind == "f":
            exact = 2 ** (np.finfo(x.dtype).nmant + 1)
            if high >= exact:
                _refuse(
                    x,
                    x < exact,
                    f"may be rounded, as {x.dtype} holds each whole number only below {exact}; pass integers",
                    who,
                )
            if not np.array_equal(x, np.rint(x)):
                _refuse(x, x == np.rint(x), "is not a whole number", who)
    return as_contiguous(x, np.int32)


def _refuse(x: Any, fine: Any, why: Any, who: str) -> None:
    """Raise a ValueError that names the first id that is not ``fine`` and its place."""
    where = tuple(int(i) for i in np.argwhere(~fine)[0])
    raise ValueError(f"{who}: the id {x[where]} at index {where} {why}.")


def as_numbers(x: Any, who: str) -> Array:
    """Any array-like as a NumPy array of numbers or booleans, of whatever dtype it has."""
    if hasattr(x, "detach") and hasattr(x, "numpy"):
        x = x.detach()                      # torch refuses to hand over a tensor that wants a gradient
    for one in x.flat[:1] if isinstance(x, np.ndarray) and x.dtype == object else [x]:
        if foreign.is_symbolic(one):
            raise ValueError(
                f"{who} expects an array of numbers, got a {type(one).__name__}, a symbolic tensor of Keras: "
                "begin the graph with tdfast.Input."
            )
    try:
        array = np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        hint = ""
        if "inhomogeneous" in str(error):
            hint = " Pad sequences of different lengths to one length first (tdfast.utils.pad_sequences)."
        raise ValueError(
            f"{who} expects an array of numbers, but {type(x).__name__} does not become one: {error}{hint}"
        ) from error
    if array.dtype == object and hasattr(x, "to_numpy") and hasattr(x, "dtypes"):
        array = _numbers_of_frame(x, array)
    if array.dtype == object and array.ndim and array.size == len(array) > 0:
        array = _numbers_of_lists(array, who)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{who} expects an array of numbers, got dtype {array.dtype}{_instead_of_numbers(array)}"
        )
    return array


def as_view(x: Any, convert: Callable[..., Any]) -> Array:
    """``convert(x)``; where ``x`` is a view that shows the same numbers again and again, such as windows of a
    series, only the numbers behind it are converted, and the result is such a view, which is not contiguous.

    Args:
        x: anything.
        convert: makes an array of an array-like, number by number.

    >>> series = np.arange(5.0)
    >>> pairs = as_view(np.lib.stride_tricks.sliding_window_view(series, 2), lambda a: a.astype("float32"))
    >>> pairs.tolist(), pairs.strides
    ([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]], (4, 4))
    """
    behind = numbers_behind(x)
    if behind is None:
        return convert(x)
    try:
        numbers = convert(behind)
    except ValueError:                      # one that is between those of x, perhaps
        return convert(x)
    strides = [step // x.itemsize * numbers.itemsize for step in x.strides]
    return np.lib.stride_tricks.as_strided(numbers, x.shape, strides, writeable=False)


def numbers_behind(x: Any) -> Array | None:
    """The numbers that ``x`` shows again and again, with those between them, as a flat array; None if it does
    not.

    >>> numbers_behind(np.broadcast_to(np.float32(3), (1000, 1000)))
    array([3.], dtype=float32)
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or x.size == 0:
        return None
    size = x.itemsize
    behind = 1 + sum((n - 1) * step for n, step in zip(x.shape, x.strides)) // size
    if x.size <= behind or any(step < 0 or step % size for step in x.strides):
        return None
    return np.lib.stride_tricks.as_strided(x, (behind,), (size,), writeable=False)


def multiply(x: Array, factors: Array, out: Array) -> Array:
    """``x * factors`` in ``out``, by a kernel where the factors have x's shape, or one row for all steps."""
    B, T, N = len(x), 1, x.size // max(len(x), 1)
    if x.ndim == 3 and factors.shape == (B, 1, x.shape[2]):
        T, N = x.shape[1:]
    elif factors.shape != x.shape:
        return _kernels.call(np.multiply, x, factors, out)
    _kernels.multiply(B, T, N, x, factors, out)
    return out


def gather(a: Array | Stored, index: Array, out: Array) -> Array:
    """``a[index]`` in ``out``, also where ``a`` is a view that is not contiguous, or in a file."""
    if isinstance(a, Stored):
        np.copyto(out, a.take(index))
        return out
    if a.flags.c_contiguous:
        return a.take(index, axis=0, out=out, mode="clip")
    for row, i in zip(out, index):
        row[...] = a[i]
    return out


def _instead_of_numbers(array: Any) -> str:
    """What an array that holds no numbers has in their place, and what to do then."""
    if array.dtype.kind in "US" and array.size:
        return (
            f": words such as {str(array.reshape(-1)[0])[:40]!r}. Convert numbers that are text with "
            ".astype('float32'); for labels that are words, np.unique(y, return_inverse=True)[1] gives "
            "their numbers."
        )
    if array.dtype != object:
        return ". Convert it to numbers first, for example with .astype('float32')."
    numbers = (bool, int, float, np.number, np.bool_)
    wrong = next((i for i in np.ndindex(array.shape) if not isinstance(array[i], numbers)), None)
    if wrong is None:
        return ": numbers that Python holds as objects. Convert it with .astype('float32')."
    if np.ndim(array[wrong]):
        return (
            ". Sequences of different lengths must be padded to one length first "
            "(tdfast.utils.pad_sequences)."
        )
    found = array[wrong]
    return (
        f": at index {wrong} there is {str(found)[:40]!r}, a {type(found).__name__}. Put a number there or "
        "leave that sample out, then convert the array with .astype('float32')."
    )


def _numbers_of_frame(x: Any, array: Any) -> Any:
    """A pandas frame whose columns are all numbers, each of a dtype of its own; else ``array``."""
    kinds = [getattr(dtype, "kind", "O") for dtype in np.ravel(np.asarray(x.dtypes, object))]
    return x.to_numpy(dtype=np.float64) if all(kind in "fiub" for kind in kinds) else array


def _numbers_of_lists(array: Any, who: str) -> Array:
    """A column of lists, as pandas, polars and pyarrow have them: an axis more, if all are equally long; else
    ``array``."""
    lists = [np.asarray(one) for one in array.reshape(-1)]
    if not all([one.ndim and one.dtype.kind in "fiub" for one in lists]):
        return array
    shapes = sorted({one.shape for one in lists})
    if len(shapes) > 1:
        raise ValueError(
            f"{who} expects an array of numbers, got rows of different shapes, such as {shapes[0]} and "
            f"{shapes[-1]}. Pad them to one length first (tdfast.utils.pad_sequences), and give lengths."
        )
    return np.stack(lists)


def as_mask(mask: Masks, x: Any, who: str) -> Array | None:
    """A mask as contiguous booleans of shape (batch, time), or None."""
    if mask is None:
        return None
    mask = np.ascontiguousarray(mask, dtype=bool)
    least = 2 if x.ndim > 2 else 1                  # an input (batch, features) has no time steps
    if mask.ndim < least or mask.shape != x.shape[: mask.ndim]:
        raise ValueError(
            f"Layer '{who}': a mask must have the input's first dimensions, {x.shape[:2]}, got shape "
            f"{mask.shape}."
        )
    return mask


def join_masks(made: Any, mask: Masks) -> Any:
    """The steps that count in both of two masks, the second of which may be None or have fewer axes.

    >>> join_masks(np.array([[[True, False]]]), np.array([[True]])).tolist()
    [[[True, False]]]
    """
    return made if mask is None else made & mask.reshape(*mask.shape, *(1,) * (made.ndim - mask.ndim))
