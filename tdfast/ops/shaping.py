"""Functions that move numbers: joining, cutting, turning, repeating."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import tracing
from tdfast.engine.gradients import contiguous
from tdfast.engine.operation import Operation
from tdfast.engine.tensor import SymbolicTensor
from tdfast.ops.base import NUMPY, as_operand, call, operation
from tdfast.ops.elementwise import cast as _cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from tdfast.engine.types import Array, Axes, Operand


class _Moving(Operation):
    module = NUMPY


def call_again(op: Operation, dy: Any) -> Any:
    """What an operation that is its own gradient makes of dy."""
    return op.apply(dy) if isinstance(dy, np.ndarray) else call(type(op), dy, **op.options)


@operation
class GetItem(_Moving):
    """A part of an array, as x[key]."""

    linear = True

    def apply(self, x: Any, key: Any) -> Array:
        return np.asarray(x)[_as_key(key)]

    def pull_back(self, dy: Any, y: Any, x: Any, key: Any) -> list[Any]:
        dx = np.zeros(x.shape, dy.dtype)
        key = _as_key(key)
        if _is_basic(key):
            dx[key] = dy
        else:
            np.add.at(dx, key, dy)
        return [dx, None]


def _as_key(key: Any) -> int | tuple[Any, ...]:
    """A key of slices, whole numbers, ellipses and arrays; files have lists for tuples."""
    if isinstance(key, list) and any(
        part is None or isinstance(part, (slice, type(Ellipsis))) for part in key
    ):
        return tuple(key)
    return key


def _is_basic(key: Any) -> bool:
    return all(
        part is None or isinstance(part, (int, slice, type(Ellipsis)))
        for part in (key if isinstance(key, tuple) else (key,))
    )


@operation
class Concatenate(_Moving):
    """Arrays one after the other along an axis."""

    def __init__(self, axis: Any = 0, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)

    def treats_steps_alone(self, shape: Any) -> bool:
        shapes = shape if isinstance(shape[0], tuple) else [shape]
        return self.options["axis"] is not None and self.options["axis"] % len(shapes[0]) > 1

    def apply(self, xs: Any) -> Array:
        return np.concatenate(xs, axis=self.options["axis"])

    def pull_back(self, dy: Any, y: Any, xs: Any) -> list[Any]:
        axis = self.options["axis"]
        ends = np.cumsum([np.shape(x)[axis] for x in xs])[:-1]
        return [[contiguous(part) for part in np.split(dy, ends, axis=axis)]]


@operation
class Stack(_Moving):
    """Arrays one after the other along a new axis."""

    def __init__(self, axis: Any = 0, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)

    def apply(self, xs: Any) -> Array:
        return np.stack(xs, axis=self.options["axis"])

    def pull_back(self, dy: Any, y: Any, xs: Any) -> list[Any]:
        moved = np.moveaxis(dy, self.options["axis"], 0)
        return [[contiguous(part) for part in moved]]


@operation
class Split(_Moving):
    """An array in pieces along an axis: so many equal ones, or at the given places."""

    def __init__(self, indices_or_sections: int | Sequence[Any], axis: Any = 0, *,
                 name: str | None = None) -> None:
        super().__init__(name=name, indices_or_sections=indices_or_sections, axis=axis)

    def apply(self, x: Any) -> list[Any]:
        places = self.options["indices_or_sections"]
        places = places if isinstance(places, int) else list(places)
        return [
            np.ascontiguousarray(part) for part in np.split(np.asarray(x), places, axis=self.options["axis"])
        ]

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [np.concatenate(dy, axis=self.options["axis"])]


@operation
class Reshape(_Moving):
    """The same numbers in another shape."""

    def __init__(self, newshape: Sequence[Any], *, name: str | None = None) -> None:
        super().__init__(name=name, newshape=newshape)

    def apply(self, x: Any) -> Array:
        shape = [-1 if n is None else n for n in np.atleast_1d(self.options["newshape"]).tolist()]
        return np.reshape(x, shape)

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [dy.reshape(x.shape)]


@operation
class Transpose(_Moving):
    """The axes in another order; None turns it round."""

    def __init__(self, axes: Any = None, *, name: str | None = None) -> None:
        super().__init__(name=name, axes=axes)

    def apply(self, x: Any) -> Array:
        return np.ascontiguousarray(np.transpose(x, self.options["axes"]))

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        axes = self.options["axes"]
        order = None if axes is None else np.argsort([a % x.ndim for a in axes])
        return [contiguous(np.transpose(dy, order))]


@operation
class Swapaxes(_Moving):
    """Two axes change places."""

    def __init__(self, axis1: int, axis2: int, *, name: str | None = None) -> None:
        super().__init__(name=name, axis1=axis1, axis2=axis2)

    def apply(self, x: Any) -> Array:
        return np.ascontiguousarray(np.swapaxes(x, self.options["axis1"], self.options["axis2"]))

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [call_again(self, dy)]


@operation
class Moveaxis(_Moving):
    """Axes at other places."""

    def __init__(self, source: Any, destination: int, *, name: str | None = None) -> None:
        super().__init__(name=name, source=source, destination=destination)

    def apply(self, x: Any) -> Array:
        return np.ascontiguousarray(np.moveaxis(x, self.options["source"], self.options["destination"]))

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [contiguous(np.moveaxis(dy, self.options["destination"], self.options["source"]))]


@operation
class ExpandDims(_Moving):
    """One more axis, of size 1."""

    def __init__(self, axis: Any, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)

    def apply(self, x: Any) -> Array:
        axis = self.options["axis"]
        return np.expand_dims(x, axis if isinstance(axis, int) else tuple(axis))

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [dy.reshape(x.shape)]


@operation
class Squeeze(_Moving):
    """Without axes of size 1."""

    def __init__(self, axis: Any = None, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)

    def apply(self, x: Any) -> Array:
        axis = self.options["axis"]
        return np.squeeze(x, axis if axis is None or isinstance(axis, int) else tuple(axis))

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [dy.reshape(x.shape)]


@operation
class Flip(_Moving):
    """The other way round along some axes."""

    def __init__(self, axis: Any = None, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)

    def apply(self, x: Any) -> Array:
        axis = self.options["axis"]
        return np.ascontiguousarray(
            np.flip(x, axis if axis is None or isinstance(axis, int) else tuple(axis))
        )

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [call_again(self, dy)]


@operation
class Repeat(_Moving):
    """Each entry so many times."""

    def __init__(self, repeats: int | Sequence[Any], axis: Any = None, *, name: str | None = None) -> None:
        super().__init__(name=name, repeats=repeats, axis=axis)

    def apply(self, x: Any) -> Array:
        return np.repeat(x, self.options["repeats"], axis=self.options["axis"])

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        axis = self.options["axis"]
        moved = dy.reshape(-1) if axis is None else np.moveaxis(dy, axis, 0)
        count = x.size if axis is None else x.shape[axis]
        ends = np.cumsum(np.broadcast_to(self.options["repeats"], (count,)))
        dx = np.stack([moved[a:b].sum(axis=0) for a, b in zip([0, *ends[:-1]], ends)])
        return [dx.reshape(x.shape) if axis is None else contiguous(np.moveaxis(dx, 0, axis))]


@operation
class Tile(_Moving):
    """The whole array so many times along each axis."""

    def __init__(self, repeats: int | Sequence[Any], *, name: str | None = None) -> None:
        super().__init__(name=name, repeats=repeats)

    def apply(self, x: Any) -> Array:
        return np.tile(x, self.options["repeats"])

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        repeats = np.atleast_1d(self.options["repeats"]).tolist()
        ndim = max(len(repeats), x.ndim)
        repeats = [1] * (ndim - len(repeats)) + repeats
        shape = (1,) * (ndim - x.ndim) + x.shape
        pairs = [n for pair in zip(repeats, shape) for n in pair]
        return [dy.reshape(pairs).sum(axis=tuple(range(0, 2 * ndim, 2))).reshape(x.shape)]


@operation
class Take(_Moving):
    """The entries at some places along an axis."""

    linear = True

    def __init__(self, axis: Any = None, *, name: str | None = None) -> None:
        super().__init__(name=name, axis=axis)

    def apply(self, x: Any, indices: Any) -> Array:
        return np.take(x, np.asarray(indices).astype(np.intp), axis=self.options["axis"])

    def pull_back(self, dy: Any, y: Any, x: Any, indices: Any) -> list[Any]:
        axis, indices = self.options["axis"], np.asarray(indices).astype(np.intp)
        dx = np.zeros(x.shape, dy.dtype)
        if axis is None:
            np.add.at(dx.reshape(-1), indices, dy)
            return [dx, None]
        axis %= x.ndim
        moved = np.moveaxis(dy, range(axis, axis + indices.ndim), range(indices.ndim))
        np.add.at(np.moveaxis(dx, axis, 0), indices, moved)
        return [dx, None]


@operation
class BroadcastTo(_Moving):
    """The numbers repeated to another shape."""

    def __init__(self, shape: Any, *, name: str | None = None) -> None:
        super().__init__(name=name, shape=shape)

    def apply(self, x: Any) -> Array:
        return np.array(np.broadcast_to(x, self.options["shape"]))

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        dx = dy.sum(axis=tuple(range(dy.ndim - x.ndim)))
        repeated = tuple(i for i, n in enumerate(x.shape) if n == 1 and dx.shape[i] != 1)
        return [dx.sum(axis=repeated, keepdims=True)]


# ---------------------------------------------------------------- the functions


def get_item(x: Operand, key: Any) -> SymbolicTensor:
    """x[key], for whole numbers, slices, ellipses and None.

    >>> get_item(np.array([[1.0, 2.0], [3.0, 4.0]]), (slice(None), -1)).tolist()
    [2.0, 4.0]
    """
    return call(GetItem, x, key)


def concatenate(xs: Sequence[Operand], axis: Axes = 0) -> Any:
    """Arrays one after the other along an axis.

    >>> concatenate([np.array([1.0]), np.array([2.0, 3.0])]).tolist()
    [1.0, 2.0, 3.0]
    """
    return call(Concatenate, list(xs), axis=axis)


def stack(x: Any, axis: Axes = 0) -> Any:
    """Arrays of one shape one after the other along a new axis.

    >>> stack([np.array([1.0]), np.array([2.0])], axis=1).tolist()
    [[1.0, 2.0]]
    """
    return call(Stack, list(x), axis=axis)


def split(x: Operand, indices_or_sections: Any, axis: Axes = 0) -> Any:
    """An array in pieces along an axis: so many equal ones, or cut at the given places. A list.

    >>> [part.tolist() for part in split(np.array([1.0, 2.0, 3.0]), [1])]
    [[1.0], [2.0, 3.0]]
    """
    return call(Split, x, indices_or_sections=indices_or_sections, axis=axis)


def reshape(x: Operand, newshape: Any) -> Any:
    """The same numbers in another shape; -1 stands for the rest.

    >>> reshape(np.array([1.0, 2.0]), (2, 1)).tolist()
    [[1.0], [2.0]]
    """
    return call(Reshape, x, newshape=newshape)


def transpose(x: Operand, axes: Any = None) -> SymbolicTensor:
    """The axes in another order; None turns it round.

    >>> transpose(np.zeros((2, 3, 4)), (0, 2, 1)).shape
    (2, 4, 3)
    """
    return call(Transpose, x, axes=axes)


def swapaxes(x: Operand, axis1: Any, axis2: Any) -> Any:
    """Two axes change places.

    >>> swapaxes(np.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    return call(Swapaxes, x, axis1=axis1, axis2=axis2)


def moveaxis(x: Operand, source: Any, destination: Any) -> Any:
    """Axes at other places; the others keep their order.

    >>> moveaxis(np.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    return call(Moveaxis, x, source=source, destination=destination)


def expand_dims(x: Operand, axis: Any) -> Any:
    """One more axis, of size 1.

    >>> expand_dims(np.zeros((2, 3)), -1).shape
    (2, 3, 1)
    """
    return call(ExpandDims, x, axis=axis)


def squeeze(x: Operand, axis: Axes | None = None) -> Any:
    """Without an axis of size 1; None: without all of them.

    >>> squeeze(np.zeros((2, 1, 3)), 1).shape
    (2, 3)
    """
    return call(Squeeze, x, axis=axis)


def flip(x: Operand, axis: Axes | None = None) -> SymbolicTensor:
    """The other way round along some axes; None: along all.

    >>> flip(np.array([1.0, 2.0])).tolist()
    [2.0, 1.0]
    """
    return call(Flip, x, axis=axis)


def repeat(x: Operand, repeats: Any, axis: Axes | None = None) -> Any:
    """Each entry along an axis so many times; None: of the flat array.

    >>> repeat(np.array([1.0, 2.0]), 2).tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    return call(Repeat, x, repeats=repeats, axis=axis)


def tile(x: Operand, repeats: Any) -> Any:
    """The whole array so many times along each axis.

    >>> tile(np.array([1.0, 2.0]), 2).tolist()
    [1.0, 2.0, 1.0, 2.0]
    """
    return call(Tile, x, repeats=repeats)


def take(x: Operand, indices: Any, axis: Axes | None = None) -> Any:
    """The entries at some places along an axis; None: of the flat array.

    >>> take(np.array([1.0, 2.0, 3.0]), [0, 2]).tolist()
    [1.0, 3.0]
    """
    return call(Take, x, indices, axis=axis)


def broadcast_to(x: Operand, shape: Any) -> Any:
    """The numbers repeated to another shape.

    >>> broadcast_to(np.array([1.0, 2.0]), (2, 2)).tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    return call(BroadcastTo, x, shape=shape)


def shape(x: Any) -> Any:
    """The shape; a symbolic tensor has None for unknown sizes.

    >>> shape(np.zeros((2, 3)))
    (2, 3)
    """
    return x.shape if isinstance(x, SymbolicTensor) else np.shape(as_operand(x))


def convert_to_tensor(x: Operand, dtype: DTypeLike | None = None, sparse: bool | None = None,
                      ragged: bool | None = None) -> Any:
    """An array-like as a NumPy array, of another dtype if one is given.

    >>> convert_to_tensor([1, 2], "float32").dtype.name
    'float32'
    """
    if sparse or ragged:
        raise ValueError("convert_to_tensor: sparse and ragged must be None or False: arrays are NumPy's.")
    if isinstance(x, SymbolicTensor):
        return x if dtype in (None, x.dtype) else _cast(x, dtype)
    x = as_operand(x)
    if tracing.is_recorded(x):
        return x if dtype is None else _cast(x, dtype)
    return np.asarray(x) if dtype is None else np.asarray(x, dtype)


def convert_to_numpy(x: Operand) -> Any:
    """An array-like as a NumPy array; of an array whose steps are recorded the numbers alone.

    >>> convert_to_numpy([1.0]).tolist()
    [1.0]
    """
    found: Any = as_operand(x)
    return found.numpy() if tracing.is_recorded(found) else np.asarray(found)
