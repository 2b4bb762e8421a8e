"""Products of vectors, and decompositions of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.ops.base import LINALG, MATH, NN
from tdfast.ops.composed import composed, floats

if TYPE_CHECKING:
    pass

_NP: Any = np
"""NumPy, for calls whose overloads a checker cannot tell apart."""


@composed(arrays=2)
def outer(x1: Any, x2: Any) -> Any:
    """Each number of x1 times each of x2.

    >>> outer(np.array([1.0, 2.0]), np.array([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    from tdfast.ops.shaping import reshape

    return reshape(x1, (-1, 1)) * reshape(x2, (1, -1))


@composed(arrays=2)
def inner(x1: Any, x2: Any) -> Any:
    """The sums of products over the last axis of both.

    >>> float(inner(np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    11.0
    """
    from tdfast.ops.products import tensordot

    if np.ndim(x1) == 0 or np.ndim(x2) == 0:
        return x1 * x2
    return tensordot(x1, x2, axes=[[-1], [-1]])


@composed(arrays=2)
def vdot(x1: Any, x2: Any) -> Any:
    """The sum of products of all numbers.

    >>> float(vdot(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])))
    11.0
    """
    from tdfast.ops.reduction import sum
    from tdfast.ops.shaping import reshape

    return sum(reshape(x1, (-1,)) * reshape(x2, (-1,)))


@composed(arrays=2)
def kron(x1: Any, x2: Any) -> Any:
    """The Kronecker product.

    >>> kron(np.array([1.0, 2.0]), np.array([1.0, 1.0])).tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    from tdfast.ops.shaping import reshape

    ndim = max(np.ndim(x1), np.ndim(x2))
    a, b = ((1,) * (ndim - np.ndim(x)) + np.shape(x) for x in (x1, x2))
    first = reshape(x1, [n for size in a for n in (size, 1)])
    spread = first * reshape(x2, [n for size in b for n in (1, size)])
    return reshape(spread, [m * n for m, n in zip(a, b)])


@composed(arrays=2)
def cross(x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1,
          axis: int | None = None) -> Any:
    """The vectors that stand upright on two others, of three numbers each.

    >>> cross(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    from tdfast.ops.shaping import stack

    axisa, axisb, axisc = (axis, axis, axis) if axis is not None else (axisa, axisb, axisc)
    a, b = np.moveaxis(x1, axisa, -1), np.moveaxis(x2, axisb, -1)
    if {a.shape[-1], b.shape[-1]} == {2}:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    if {a.shape[-1], b.shape[-1]} != {3}:
        raise ValueError(f"cross is of vectors of 2 or 3 numbers, got {a.shape[-1]} and {b.shape[-1]}.")
    parts = [a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.moveaxis(stack(parts, axis=-1), -1, axisc)


@composed(arrays=2)
def correlate(x1: Any, x2: Any, mode: str = "valid") -> Any:
    """The sums of products of x1 and x2 moved along it.

    >>> correlate(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0])).tolist()
    [3.0, 5.0]
    """
    from tdfast.ops.arranging import pad
    from tdfast.ops.shaping import take

    x1, x2 = floats(x1), floats(x2)
    n, m = len(x1), len(x2)
    if m > n and mode != "full":
        return correlate(x2, x1, mode)[::-1]
    whole = pad(x1, (m - 1, m - 1))
    places = np.arange(n + m - 1)[:, None] + np.arange(m)
    found = (take(whole, places, axis=0) * x2).sum(axis=-1)
    size = {"full": n + m - 1, "same": n, "valid": n - m + 1}[mode]
    start = {"full": 0, "same": (m - 1) // 2, "valid": m - 1}[mode]
    return found[start : start + size]


@composed(NN)
def normalize(x: Any, axis: Any = -1, order: int = 2, epsilon: float | None = None) -> Any:
    """x by its length along an axis; a length below epsilon (1e-7 when None) counts as epsilon.

    >>> normalize(np.array([3.0, 4.0])).round(4).tolist()
    [0.6, 0.8]
    """
    from tdfast.ops.elementwise import maximum, rsqrt
    from tdfast.ops.reduction import norm, sum

    x, epsilon = floats(x), 1e-7 if epsilon is None else epsilon
    if order == 2:
        return x * rsqrt(maximum(sum(x * x, axis=axis, keepdims=True), epsilon * epsilon))
    return x / maximum(norm(x, order, axis=axis, keepdims=True), epsilon)


@composed(LINALG)
def det(x: Any) -> Any:
    """The determinants of square matrices.

    >>> float(det(np.array([[2.0, 0.0], [0.0, 3.0]])).round(4))
    6.0
    """
    return np.linalg.det(floats(x))


@composed(LINALG)
def slogdet(x: Any) -> Any:
    """[The sign of the determinant, the logarithm of its size.]

    >>> [float(part) for part in slogdet(np.eye(2))]
    [1.0, 0.0]
    """
    sign, size = np.linalg.slogdet(floats(x))
    return [sign, size]


@composed(MATH)
def logdet(x: Any) -> Any:
    """The logarithm of the determinant of a matrix that is positive definite.

    >>> float(logdet(np.eye(2)))
    0.0
    """
    return np.linalg.slogdet(floats(x))[1]


@composed(LINALG)
def inv(x: Any) -> Any:
    """The inverse of square matrices.

    >>> inv(np.array([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return np.linalg.inv(floats(x))


@composed(LINALG)
def pinv(x: Any, rcond: float | None = None) -> Any:
    """The pseudo-inverse of matrices.

    >>> pinv(np.array([[2.0], [0.0]])).tolist()
    [[0.5, 0.0]]
    """
    return np.linalg.pinv(floats(x)) if rcond is None else np.linalg.pinv(floats(x), rcond)


@composed(LINALG, arrays=2)
def solve(a: Any, b: Any) -> Any:
    """The x with a x = b.

    >>> solve(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([[2.0], [4.0]])).tolist()
    [[1.0], [1.0]]
    """
    return np.linalg.solve(floats(a), floats(b))


@composed(LINALG, arrays=2)
def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """The x with a x = b, of which the part above (lower=True) or below the diagonal of a counts as 0.

    >>> solve_triangular(np.array([[1.0, 9.0], [1.0, 2.0]]), np.array([[1.0], [3.0]]), lower=True).tolist()
    [[1.0], [1.0]]
    """
    from tdfast.ops.arranging import tril, triu

    return np.linalg.solve(tril(floats(a)) if lower else triu(floats(a)), floats(b))


@composed(LINALG)
def cholesky(x: Any, upper: bool = False) -> Any:
    """The lower triangular L with L L^T = x; L^T with upper.

    >>> cholesky(np.array([[4.0]])).tolist()
    [[2.0]]
    """
    found = np.linalg.cholesky(floats(x))
    return np.swapaxes(found, -1, -2) if upper else found


@composed(LINALG)
def eigh(x: Any) -> Any:
    """[The eigenvalues of symmetric matrices, in order, and their eigenvectors in columns.]

    >>> eigh(np.array([[2.0, 0.0], [0.0, 3.0]]))[0].tolist()
    [2.0, 3.0]
    """
    x = floats(x)
    return list(np.linalg.eigh((x + np.swapaxes(x, -1, -2)) / 2))


@composed(LINALG)
def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """[u, s, v^T], the singular value decomposition; s alone without compute_uv.

    >>> svd(np.array([[3.0, 0.0], [0.0, 4.0]]), compute_uv=False).tolist()
    [4.0, 3.0]
    """
    found = _NP.linalg.svd(floats(x), full_matrices, compute_uv)
    return list(found) if compute_uv else found


@composed(LINALG, derivative=False)
def qr(x: Any, mode: str = "reduced") -> Any:
    """[q, r]: orthogonal columns and an upper triangular matrix whose product is x.

    >>> [part.shape for part in qr(np.ones((3, 2)))]
    [(3, 2), (2, 2)]
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode must be 'reduced' or 'complete', got {mode!r}.")
    return list(_NP.linalg.qr(floats(x), mode))


@composed(LINALG, arrays=2)
def lstsq(a: Any, b: Any, rcond: float | None = None) -> Any:
    """The x for which a x is nearest to b.

    >>> lstsq(np.array([[1.0], [1.0]]), np.array([1.0, 3.0])).round(4).tolist()
    [2.0]
    """
    from tdfast.ops.products import matmul

    return matmul(pinv(a, rcond), floats(b))


@composed(LINALG, derivative=False)
def matrix_rank(x: Any, tol: float | None = None) -> Any:
    """How many rows of a matrix do not depend on the others.

    >>> int(matrix_rank(np.ones((2, 2))))
    1
    """
    return np.asarray(np.linalg.matrix_rank(floats(x), tol), np.int32)
