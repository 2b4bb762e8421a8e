"""Products of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.gradients import in_dtype, learns, unbroadcast
from tdfast.engine.operation import Operation
from tdfast.ops.base import NUMPY, call, operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tensor import SymbolicTensor
    from tdfast.engine.types import Array, Operand


@operation
class Matmul(Operation):
    """The matrix product, over the last two axes."""

    module = NUMPY

    def apply(self, a: Any, b: Any) -> Any:
        return np.matmul(a, b)

    def pull_back(self, dy: Any, y: Any, a: Any, b: Any) -> list[Any]:
        x, z = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
        if a.ndim == 1:
            dy = np.expand_dims(dy, -2 if b.ndim > 1 else -1)
        if b.ndim == 1:
            dy = dy[..., None]
        da, db = np.matmul(dy, np.swapaxes(z, -1, -2)), np.matmul(np.swapaxes(x, -1, -2), dy)
        return [unbroadcast(da, x.shape).reshape(a.shape), unbroadcast(db, z.shape).reshape(b.shape)]


@operation
class Dot(Operation):
    """The sum of products over the last axis of the first and the last but one of the second array."""

    module = NUMPY

    def apply(self, a: Any, b: Any) -> Any:
        return np.dot(a, b)

    def pull_back(self, dy: Any, y: Any, a: Any, b: Any) -> list[Any]:
        if np.ndim(a) == 0 or np.ndim(b) == 0:
            return [
                in_dtype(np.sum(dy * b) if np.ndim(a) == 0 else dy * b, a.dtype) if learns(a) else None,
                in_dtype(np.sum(dy * a) if np.ndim(b) == 0 else dy * a, b.dtype) if learns(b) else None,
            ]
        axis = b.ndim - 2 if b.ndim > 1 else 0
        rest = [i for i in range(b.ndim) if i != axis]
        kept = a.ndim - 1
        da = np.tensordot(dy, np.transpose(b, [*rest, axis]), (range(kept, dy.ndim), range(len(rest))))
        db = np.tensordot(a, dy, (range(kept), range(kept)))
        return [da, np.moveaxis(db, 0, axis)]


@operation
class Tensordot(Operation):
    """The sum of products over the given axes."""

    module = NUMPY

    def __init__(self, axes: Any = 2, *, name: str | None = None) -> None:
        super().__init__(name=name, axes=axes)

    def apply(self, a: Any, b: Any) -> Array:
        return np.tensordot(a, b, axes=_as_axes(self.options["axes"]))

    def pull_back(self, dy: Any, y: Any, a: Any, b: Any) -> list[Any]:
        axes = self.options["axes"]
        if isinstance(axes, int):
            first, second = list(range(a.ndim - axes, a.ndim)), list(range(axes))
        else:
            first, second = ([part] if isinstance(part, int) else list(part) for part in axes)
            first, second = [i % a.ndim for i in first], [i % b.ndim for i in second]
        rest_a = [i for i in range(a.ndim) if i not in first]
        rest_b = [i for i in range(b.ndim) if i not in second]
        n = len(rest_a)
        by_b = np.tensordot(dy, np.transpose(b, [*rest_b, *second]), (range(n, dy.ndim), range(len(rest_b))))
        by_a = np.tensordot(np.transpose(a, [*first, *rest_a]), dy, (range(len(first), a.ndim), range(n)))
        da = np.transpose(by_b, np.argsort([*rest_a, *first]))
        return [da, np.transpose(by_a, np.argsort([*second, *rest_b]))]


def _as_axes(axes: Any) -> Any:
    return axes if isinstance(axes, int) else [part if isinstance(part, int) else list(part) for part in axes]


@operation
class Einsum(Operation):
    """The sum of products that subscripts such as "bij,bjk->bik" describe."""

    module = NUMPY

    def __init__(self, subscripts: str, *, name: str | None = None) -> None:
        super().__init__(name=name, subscripts=subscripts)

    def apply(self, *operands: Any) -> Array:
        return np.einsum(self.options["subscripts"], *operands, optimize=True)

    def pull_back(self, dy: Any, y: Any, *operands: Any) -> list[Any]:
        names, out = _names_of(self.options["subscripts"], operands)
        return [self._by(k, dy, names, out, operands) for k in range(len(operands))]

    @staticmethod
    def _by(k: int, dy: Any, names: Sequence[Any], out: str, operands: Sequence[Any]) -> Array:
        """The gradient by one operand: the product of dy and the others."""
        mine = names[k]
        others = [name for i, name in enumerate(names) if i != k]
        known = set(out).union(*others) if others else set(out)
        unique = "".join(dict.fromkeys(c for c in mine if c in known))
        parts = [x for i, x in enumerate(operands) if i != k]
        found = np.einsum(f"{','.join([out, *others])}->{unique}", dy, *parts, optimize=True)
        x = operands[k]
        if unique == mine:
            return in_dtype(found, x.dtype)
        if len(set(mine)) == len(mine):  # axes that were summed away
            where = [mine.index(c) for c in unique]
            shape = [x.shape[i] if i in where else 1 for i in range(x.ndim)]
            found = np.transpose(found, np.argsort(where)).reshape(shape)
            return in_dtype(np.broadcast_to(found, x.shape), x.dtype)
        raise ValueError(f"einsum: an axis that stands twice in one operand ('{mine}') has no gradient.")


def _names_of(subscripts: str, operands: Sequence[Any]) -> tuple[Any, ...]:
    """(the letters of each operand, those of the result), with letters in the place of an ellipsis."""
    text = subscripts.replace(" ", "")
    left, arrow, out = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise ValueError(f"einsum: '{subscripts}' is of {len(parts)} operands, got {len(operands)}.")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in text]
    widths = [x.ndim - len(part.replace("...", "")) for part, x in zip(parts, operands) if "..." in part]
    wide = "".join(free[: max(widths, default=0)])
    names = [
        part.replace("...", wide[len(wide) - (x.ndim - len(part.replace("...", ""))) :])
        for part, x in zip(parts, operands)
    ]
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        out = "..." * ("..." in left) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    return names, out.replace("...", wide)


# ---------------------------------------------------------------- the functions


def matmul(x1: Operand, x2: Operand) -> SymbolicTensor:
    """The matrix product over the last two axes; the axes before are broadcast.

    >>> matmul(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    return call(Matmul, x1, x2)


def dot(x1: Operand, x2: Operand) -> Any:
    """The sum of products over the last axis of x1 and the last but one of x2 (its only one, if it has one).

    >>> dot(np.array([1.0, 2.0]), np.array([3.0, 4.0])).item()
    11.0
    """
    return call(Dot, x1, x2)


def tensordot(x1: Operand, x2: Operand, axes: Any = 2) -> Any:
    """The sum of products over some axes: the last ``axes`` of x1 and first of x2, or a pair of lists.

    >>> tensordot(np.ones((2, 3)), np.ones((3, 4)), axes=1).shape
    (2, 4)
    """
    return call(Tensordot, x1, x2, axes=axes)


def einsum(subscripts: Any, *operands: Any, **kwargs: Any) -> Any:
    """The sum of products that subscripts describe.

    >>> einsum("bij,bjk->bik", np.ones((5, 2, 3)), np.ones((5, 3, 4))).shape
    (5, 2, 4)
    """
    return call(Einsum, *operands, subscripts=subscripts)
