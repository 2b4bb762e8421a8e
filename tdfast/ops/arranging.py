"""More functions that move numbers: padding, sorting, cutting, choosing."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.ops.base import CORE, MATH, NUMPY
from tdfast.ops.composed import composed, floats

if TYPE_CHECKING:
    from collections.abc import Sequence

_NP: Any = np
"""NumPy, for calls whose overloads a checker cannot tell apart."""



@composed()
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float | None = None) -> Any:
    """The array with more numbers around it.

    Args:
        x: the array.
        pad_width: a number, or a pair (before, after), for all axes, or a pair for each.
        mode: 'constant', or 'reflect', 'symmetric' or 'edge', which repeat numbers of x.
        constant_values: the number for 'constant'; 0 when None.

    >>> pad(np.array([1.0, 2.0]), 1).tolist()
    [0.0, 1.0, 2.0, 0.0]
    """
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    if mode == "constant":
        return _padded_by(x, widths, constant_values or 0)
    if constant_values is not None:
        raise ValueError(f"pad: constant_values belongs to mode='constant', got mode={mode!r}.")
    for axis, (before, after) in enumerate(widths.tolist()):
        places = _NP.pad(np.arange(x.shape[axis]), (before, after), mode=mode)
        x = _take(x, places, axis)
    return x


def _padded_by(x: Any, widths: Any, value: Any) -> Any:
    from tdfast.ops.shaping import concatenate

    for axis, (before, after) in enumerate(widths.tolist()):
        parts = [np.full((*x.shape[:axis], n, *x.shape[axis + 1 :]), value, x.dtype) for n in (before, after)]
        x = concatenate([parts[0], x, parts[1]], axis=axis)
    return x


def _take(x: Any, places: Any, axis: Any) -> Any:
    from tdfast.ops.shaping import take

    return take(x, places, axis=axis)


@composed()
def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """The numbers moved along an axis; what falls off the end comes in at the beginning.

    >>> roll(np.array([1.0, 2.0, 3.0]), 1).tolist()
    [3.0, 1.0, 2.0]
    """
    if axis is None:
        places = np.roll(np.arange(x.size), shift)
        return _take(np.reshape(x, (-1,)), places, 0).reshape(x.shape)
    axes, shifts = np.broadcast_arrays(np.atleast_1d(axis), np.atleast_1d(shift))
    for a, s in zip(axes.tolist(), shifts.tolist()):
        x = _take(x, np.roll(np.arange(x.shape[a]), s), a)
    return x


@composed()
def rot90(array: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """The array turned k times by 90 degrees, from the first axis towards the second.

    >>> rot90(np.array([[1, 2], [3, 4]])).tolist()
    [[2, 4], [1, 3]]
    """
    from tdfast.ops.shaping import flip, swapaxes

    first, second = axes
    for _ in range(k % 4):
        array = swapaxes(flip(array, second), first, second)
    return array


@composed()
def fliplr(x: Any) -> Any:
    """The second axis the other way round.

    >>> fliplr(np.array([[1, 2]])).tolist()
    [[2, 1]]
    """
    return x[:, ::-1]


@composed()
def flipud(x: Any) -> Any:
    """The first axis the other way round.

    >>> flipud(np.array([1, 2])).tolist()
    [2, 1]
    """
    return x[::-1]


@composed()
def ravel(x: Any) -> Any:
    """The numbers along one axis.

    >>> ravel(np.array([[1, 2], [3, 4]])).tolist()
    [1, 2, 3, 4]
    """
    return np.reshape(x, (-1,))


@composed(arrays=2)
def append(x1: Any, x2: Any, axis: int | None = None) -> Any:
    """Both arrays, one after the other along an axis; as one row of numbers when None.

    >>> append(np.array([1]), np.array([2, 3])).tolist()
    [1, 2, 3]
    """
    from tdfast.ops.shaping import concatenate, reshape

    return concatenate([reshape(x1, (-1,)), reshape(x2, (-1,))] if axis is None else [x1, x2], axis=axis or 0)


@composed()
def hstack(xs: Sequence[Any]) -> Any:
    """Arrays one after the other along their second axis; those of one axis along that.

    >>> hstack([np.array([1]), np.array([2])]).tolist()
    [1, 2]
    """
    from tdfast.ops.shaping import concatenate

    return concatenate(list(xs), axis=0 if np.ndim(xs[0]) < 2 else 1)


@composed()
def vstack(xs: Sequence[Any]) -> Any:
    """Arrays one after the other along the first axis; those of one axis are rows.

    >>> vstack([np.array([1, 2]), np.array([3, 4])]).tolist()
    [[1, 2], [3, 4]]
    """
    from tdfast.ops.shaping import concatenate

    return concatenate([x if np.ndim(x) > 1 else np.reshape(x, (1, -1)) for x in xs], axis=0)


@composed()
def dstack(xs: Sequence[Any]) -> Any:
    """Arrays one after the other along the third axis.

    >>> dstack([np.array([1, 2]), np.array([3, 4])]).tolist()
    [[[1, 3], [2, 4]]]
    """
    from tdfast.ops.shaping import concatenate

    def with_three(x: Any) -> Any:
        return np.reshape(x, {0: (1, 1, 1), 1: (1, -1, 1)}.get(np.ndim(x), (*np.shape(x), 1)[:3]))

    return concatenate([x if np.ndim(x) > 2 else with_three(x) for x in xs], axis=2)


def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Any]:
    """The parts of an array along an axis, as a list.

    >>> [part.tolist() for part in unstack(np.array([[1, 2], [3, 4]]))]
    [[1, 2], [3, 4]]
    """
    from tdfast.ops.shaping import split, squeeze

    count = x.shape[axis] if num is None else num
    if count is None:
        raise ValueError(f"unstack: the size of axis {axis} is not known: give num.")
    return [squeeze(part, axis) for part in split(x, count, axis=axis)]


def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """An array in so many pieces of about equal size along an axis.

    >>> [part.tolist() for part in array_split(np.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    from tdfast.ops.shaping import split

    if not isinstance(indices_or_sections, int):
        return list(split(x, indices_or_sections, axis=axis))
    sizes = [len(part) for part in np.array_split(np.arange(x.shape[axis]), indices_or_sections)]
    return list(split(x, np.cumsum(sizes)[:-1].tolist(), axis=axis))


def hsplit(x: Any, indices_or_sections: Any) -> list[Any]:
    """An array in pieces along its second axis; one of one axis along that.

    >>> [part.tolist() for part in hsplit(np.array([[1, 2]]), 2)]
    [[[1]], [[2]]]
    """
    from tdfast.ops.shaping import split

    return list(split(x, indices_or_sections, axis=0 if len(x.shape) < 2 else 1))


def vsplit(x: Any, indices_or_sections: Any) -> list[Any]:
    """An array in pieces along its first axis.

    >>> [part.tolist() for part in vsplit(np.array([[1], [2]]), 2)]
    [[[1]], [[2]]]
    """
    from tdfast.ops.shaping import split

    return list(split(x, indices_or_sections, axis=0))


def dsplit(x: Any, indices_or_sections: Any) -> list[Any]:
    """An array in pieces along its third axis.

    >>> [part.shape for part in dsplit(np.zeros((1, 1, 4)), 2)]
    [(1, 1, 2), (1, 1, 2)]
    """
    from tdfast.ops.shaping import split

    return list(split(x, indices_or_sections, axis=2))


# ---------------------------------------------------------------- diagonals and triangles


@composed()
def diag(x: Any, k: int = 0) -> Any:
    """A matrix with x on a diagonal, or the diagonal of the matrix x.

    >>> diag(np.array([1.0, 2.0])).tolist(), diag(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    ([[1.0, 0.0], [0.0, 2.0]], [1.0, 4.0])
    """
    if len(x.shape) == 2:
        rows, columns = _places_of_diagonal(x.shape, k)
        return x[rows, columns]
    n = x.shape[0] + abs(k)
    places = np.full((n, n), x.shape[0])
    rows, columns = _places_of_diagonal((n, n), k)
    places[rows, columns] = np.arange(x.shape[0])
    return _take(_padded_by(x, np.array([[0, 1]]), 0), places, 0)


def _places_of_diagonal(shape: Any, k: int) -> tuple[Any, Any]:
    rows = np.arange(max(0, -k), max(max(0, -k), min(shape[0], shape[1] - k)))
    return rows, rows + k


@composed()
def diagflat(x: Any, k: int = 0) -> Any:
    """A matrix with all numbers of x on a diagonal.

    >>> diagflat(np.array([[1.0, 2.0]])).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    return diag(np.reshape(x, (-1,)), k)


@composed()
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The numbers on a diagonal of two axes, along a new last axis.

    >>> diagonal(np.array([[1, 2], [3, 4]])).tolist()
    [1, 4]
    """
    moved = np.moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = _places_of_diagonal(moved.shape[-2:], offset)
    return moved[..., rows, columns]


@composed()
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of the numbers on a diagonal of two axes.

    >>> int(trace(np.array([[1, 2], [3, 4]])))
    5
    """
    from tdfast.ops.reduction import sum

    return sum(diagonal(x, offset, axis1, axis2), axis=-1)


@composed()
def tril(x: Any, k: int = 0) -> Any:
    """The matrix with 0 above a diagonal.

    >>> tril(np.ones((2, 2))).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return np.where(_NP.tri(*x.shape[-2:], k=k, dtype=bool), x, np.zeros((), x.dtype))


@composed()
def triu(x: Any, k: int = 0) -> Any:
    """The matrix with 0 below a diagonal.

    >>> triu(np.ones((2, 2))).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    return np.where(_NP.tri(*x.shape[-2:], k=k - 1, dtype=bool), np.zeros((), x.dtype), x)


# ---------------------------------------------------------------- choosing


@composed()
def sort(x: Any, axis: int = -1) -> Any:
    """The numbers in order along an axis.

    >>> sort(np.array([3.0, 1.0, 2.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    return take_along_axis(x, argsort(x, axis), axis)


@composed(derivative=False)
def argsort(x: Any, axis: int = -1) -> Any:
    """The places of the numbers in their order, equal ones as they come.

    >>> argsort(np.array([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    return np.argsort(x, axis=axis, kind="stable").astype(np.int32)


@composed(derivative=False)
def argpartition(x: Any, kth: int, axis: int = -1) -> Any:
    """Places such that the kth is where it is in the order, with smaller numbers before it.

    >>> int(argpartition(np.array([3.0, 1.0, 2.0]), 0)[0])
    1
    """
    return np.argpartition(x, kth, axis=axis).astype(np.int32)


@composed(arrays=2)
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """For each place of indices, the number of x at that place along an axis.

    >>> take_along_axis(np.array([[10, 20, 30]]), np.array([[2, 0]]), axis=1).tolist()
    [[30, 10]]
    """
    indices = np.asarray(indices).astype(np.intp)
    if axis is None:
        return _take(np.reshape(x, (-1,)), indices.reshape(-1), 0)
    axis %= x.ndim
    shape = np.broadcast_shapes((*x.shape[:axis], 1, *x.shape[axis + 1 :]),
                                (*indices.shape[:axis], 1, *indices.shape[axis + 1 :]))
    shape = (*shape[:axis], indices.shape[axis], *shape[axis + 1 :])
    key = list(np.ogrid[tuple(builtins.slice(n) for n in shape)])
    key[axis] = np.broadcast_to(indices, shape)
    return x[tuple(key)]


@composed(MATH)
def top_k(x: Any, k: int, sorted: bool = True) -> Any:
    """(The k largest numbers along the last axis, their places.)

    >>> values, places = top_k(np.array([1.0, 3.0, 2.0]), 2)
    >>> values.tolist(), places.tolist()
    ([3.0, 2.0], [1, 2])
    """
    from tdfast.ops.elementwise import stop_gradient

    places = np.argsort(-np.asarray(stop_gradient(x)), axis=-1, kind="stable")[..., :k].astype(np.int32)
    return [take_along_axis(x, places, -1), places]


@composed(MATH, arrays=2, derivative=False)
def in_top_k(targets: Any, predictions: Any, k: int) -> Any:
    """Whether each target class is among the k with the largest predictions.

    >>> in_top_k(np.array([1]), np.array([[0.1, 0.9]]), 1).tolist()
    [True]
    """
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    mine = np.take_along_axis(predictions, targets[..., None].astype(np.intp), -1)
    return (predictions > mine).sum(axis=-1) < k


@composed(derivative=False)
def nonzero(x: Any) -> Any:
    """The places of the numbers that are not 0, an array for each axis.

    >>> [places.tolist() for places in nonzero(np.array([0, 5, 6]))]
    [[1, 2]]
    """
    return [places.astype(np.int32) for places in np.nonzero(x)]


@composed(derivative=False)
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> Any:
    """Where each value belongs in an array that is in order.

    >>> searchsorted(np.array([1.0, 3.0]), np.array([2.0])).tolist()
    [1]
    """
    return _NP.searchsorted(sorted_sequence, values, side=side).astype(np.int32)


@composed(derivative=False)
def digitize(x: Any, bins: Any) -> Any:
    """The number of the bin in which each number lies.

    >>> digitize(np.array([0.5, 5.0]), np.array([1.0, 2.0])).tolist()
    [0, 2]
    """
    return np.digitize(x, bins).astype(np.int32)


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """For each place the number of the first choice whose condition holds; default where none does.

    >>> select([np.array([True, False])], [np.array([1.0, 2.0])], 9.0).tolist()
    [1.0, 9.0]
    """
    from tdfast.ops.elementwise import where

    found = default
    for condition, choice in reversed(list(zip(condlist, choicelist))):
        found = where(condition, choice, found)
    return found


@composed(derivative=False)
def unique(x: Any, sorted: bool = True, return_index: bool = False, return_inverse: bool = False,
           return_counts: bool = False, axis: int | None = None, size: int | None = None,
           fill_value: Any = None) -> Any:
    """The numbers that there are, each once, in order; with the options also where they are and how often.

    >>> unique(np.array([3, 1, 3])).tolist()
    [1, 3]
    """
    if size is not None or fill_value is not None:
        raise ValueError("unique: size and fill_value must be None: arrays have the size they have.")
    found = _NP.unique(np.asarray(x), return_index, return_inverse, return_counts, axis=axis)
    return list(found) if isinstance(found, tuple) else found


@composed(derivative=False)
def unravel_index(indices: Any, shape: Any) -> Any:
    """The places in an array of a shape, an array for each axis, of places in the row of all its numbers.

    >>> [part.tolist() for part in unravel_index(np.array([5]), (2, 3))]
    [[1], [2]]
    """
    return [np.asarray(part, np.int32) for part in np.unravel_index(np.asarray(indices), shape)]


# ---------------------------------------------------------------- parts


@composed(CORE)
def slice(inputs: Any, start_indices: Any, shape: Any) -> Any:
    """The part of an array that begins at some place and has some shape.

    >>> slice(np.arange(5), [1], [3]).tolist()
    [1, 2, 3]
    """
    return inputs[_part(start_indices, shape)]


def _part(start: Any, shape: Any) -> Any:
    start, shape = np.asarray(start).tolist(), list(shape)
    return tuple(builtins.slice(a, None if n == -1 else a + n) for a, n in zip(start, shape))


@composed(CORE)
def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """The array with other numbers from some place on; a new one, the old one stays.

    >>> slice_update(np.zeros(3), [1], np.array([5.0])).tolist()
    [0.0, 5.0, 0.0]
    """
    places = np.arange(inputs.size).reshape(inputs.shape)[_part(start_indices, updates.shape)]
    return _replaced(inputs, places.reshape(-1), np.reshape(updates, (-1,)))


def _replaced(x: Any, places: Any, values: Any) -> Any:
    """x with values at some places in the row of its numbers."""
    from tdfast.ops.shaping import concatenate, reshape

    order = np.arange(x.size)
    order[places] = x.size + np.arange(len(places))
    return reshape(_take(concatenate([reshape(x, (-1,)), values], axis=0), order, 0), x.shape)


@composed(CORE, arrays=2)
def scatter(indices: Any, values: Any, shape: Any) -> Any:
    """An array of zeros, with values added at some places; indices (..., k) has a place in each row.

    >>> scatter(np.array([[1], [1]]), np.array([2.0, 3.0]), (3,)).tolist()
    [0.0, 5.0, 0.0]
    """
    from tdfast.ops.reduction import sum

    values = values if hasattr(values, "shape") else np.asarray(values)
    places = _rows(indices, shape)
    depth = np.shape(indices)[-1]
    inner = tuple(shape[depth:])
    count = int(np.prod(shape[:depth]))
    hot = (places[None, :] == np.arange(count)[:, None]).astype(values.dtype)
    flat = np.reshape(values, (len(places), -1))
    return np.reshape(sum(hot[:, :, None] * flat[None], axis=1), (*shape[:depth], *inner))


def _rows(indices: Any, shape: Any) -> Any:
    indices = np.asarray(indices)
    depth = indices.shape[-1]
    return np.ravel_multi_index(tuple(indices.reshape(-1, depth).T), tuple(shape[:depth]))


@composed(CORE, arrays=1)
def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Any:
    """The array with other numbers at some places; indices (..., k) has a place in each row.

    Args:
        inputs, indices, updates: as said.
        reduction: None replaces, 'add' adds, 'max', 'min' and 'mul' take the maximum, minimum or product.

    >>> scatter_update(np.zeros(3), np.array([[1]]), np.array([5.0])).tolist()
    [0.0, 5.0, 0.0]
    """
    from tdfast.ops.elementwise import maximum, minimum, multiply

    shape = inputs.shape
    indices = np.asarray(indices)
    inner = shape[indices.shape[-1] :]
    rows, size = _rows(indices, shape), int(np.prod(inner))
    if reduction == "add":
        return inputs + scatter(indices, updates, shape)
    places = (rows[:, None] * size + np.arange(size)).reshape(-1)
    values = np.reshape(updates, (-1,))
    if reduction is not None:
        joined = {"max": maximum, "min": minimum, "mul": multiply}.get(reduction)
        if joined is None:
            raise ValueError(
                f"scatter_update: reduction must be None, 'add', 'max', 'min' or 'mul', got {reduction!r}."
            )
        if len(set(places.tolist())) < len(places):
            raise ValueError(f"scatter_update: with reduction={reduction!r} no place may come twice.")
        values = joined(_take(np.reshape(inputs, (-1,)), places, 0), values)
    return _replaced(inputs, places, values)


@composed(MATH)
def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None,
                sorted: bool = False) -> Any:
    """The sums of the rows that have one segment's number.

    >>> segment_sum(np.array([1.0, 2.0, 4.0]), np.array([0, 0, 1])).tolist()
    [3.0, 4.0]
    """
    ids = np.asarray(segment_ids)
    count = int(ids.max()) + 1 if num_segments is None else num_segments
    return scatter(ids[:, None], data, (count, *data.shape[1:]))


def _segment_extreme(name: str, text: str, example: str) -> Any:
    def extreme(data: Any, segment_ids: Any, num_segments: int | None = None,
                sorted: bool = False) -> Any:
        from tdfast.ops import reduction
        from tdfast.ops.elementwise import where
        from tdfast.ops.shaping import stack

        ids = np.asarray(segment_ids)
        count = int(ids.max()) + 1 if num_segments is None else num_segments
        info = np.finfo(data.dtype) if data.dtype.kind == "f" else np.iinfo(data.dtype)
        none = {"max": -np.inf if data.dtype.kind == "f" else info.min,
                "min": np.inf if data.dtype.kind == "f" else info.max, "prod": 1}[name]
        shape = (len(ids),) + (1,) * (len(data.shape) - 1)
        rows = [where((ids == i).reshape(shape), data, np.asarray(none, data.dtype)) for i in range(count)]
        return getattr(reduction, name)(stack(rows), axis=1)

    extreme.__name__ = extreme.__qualname__ = f"segment_{name}"
    extreme.__doc__ = f"""The {text} of the rows that have one segment's number.

    >>> segment_{name}(np.array([1.0, 2.0, 4.0]), np.array([0, 0, 1])).tolist()
    {example}
    """
    return composed(MATH)(extreme)


segment_max = _segment_extreme("max", "largest numbers", "[2.0, 4.0]")
segment_min = _segment_extreme("min", "smallest numbers", "[1.0, 4.0]")
segment_prod = _segment_extreme("prod", "products", "[2.0, 4.0]")


@composed(MATH)
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Any:
    """Windows along the last axis, each so many steps long and so many steps after the one before.

    >>> extract_sequences(np.arange(5), 3, 2).tolist()
    [[0, 1, 2], [2, 3, 4]]
    """
    starts = np.arange(0, x.shape[-1] - sequence_length + 1, sequence_stride)
    return _take(x, starts[:, None] + np.arange(sequence_length), -1)


@composed(NUMPY)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The powers of each number, in the columns of a matrix.

    >>> vander(np.array([2.0, 3.0]), 3).tolist()
    [[4.0, 2.0, 1.0], [9.0, 3.0, 1.0]]
    """
    from tdfast.ops.shaping import stack

    powers = list(range(len(x) if N is None else N))
    columns = [floats(x) ** p for p in (powers if increasing else powers[::-1])]
    return stack(columns, axis=-1)


@composed()
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """Each number minus the one before along an axis, n times.

    >>> diff(np.array([1.0, 4.0, 9.0])).tolist()
    [3.0, 5.0]
    """
    for _ in range(n):
        size = a.shape[axis]
        a = _take(a, np.arange(1, size), axis) - _take(a, np.arange(size - 1), axis)
    return a
