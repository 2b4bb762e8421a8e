"""Quantiles, counts, and sums that leave NaN out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.ops.base import MATH, NN, axes_of
from tdfast.ops.composed import composed, floats

if TYPE_CHECKING:
    pass


@composed()
def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest minus the smallest number.

    >>> float(ptp(np.array([1.0, 4.0])))
    3.0
    """
    from tdfast.ops.reduction import max, min

    return max(x, axis=axis, keepdims=keepdims) - min(x, axis=axis, keepdims=keepdims)


@composed(derivative=False)
def count_nonzero(x: Any, axis: Any = None) -> Any:
    """How many numbers are not 0.

    >>> int(count_nonzero(np.array([0, 5, 6])))
    2
    """
    return np.count_nonzero(np.asarray(x), axis=tuple(axis) if isinstance(axis, list) else axis)


@composed()
def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The product of all numbers up to each one.

    >>> cumprod(np.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0, 6.0]
    """
    from tdfast.ops.elementwise import cast
    from tdfast.ops.shaping import reshape, stack

    x = reshape(x, (-1,)) if axis is None else x
    x = cast(x, dtype) if dtype is not None else x
    axis = 0 if axis is None else axis % len(x.shape)
    parts, product = [], 1
    for i in range(x.shape[axis]):
        product = product * np.moveaxis(x, axis, 0)[i]
        parts.append(product)
    return stack(parts, axis=axis)


@composed()
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The number in the middle, or the mean of the two there.

    >>> float(median(np.array([3.0, 1.0, 2.0])))
    2.0
    """
    return quantile(x, 0.5, axis=axis, keepdims=keepdims)


@composed()
def quantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """The number below which a share q of the numbers lies.

    Args:
        x: the array.
        q: a share from 0 to 1, or several, along a new first axis of the result.
        axis: one axis, several, or None for all.
        method: 'linear', 'lower', 'higher', 'midpoint' or 'nearest': the value between two numbers.
        keepdims: whether the axes stay, with the size 1.

    >>> quantile(np.array([0.0, 1.0, 2.0]), [0.5, 0.25]).tolist()
    [1.0, 0.5]
    """
    from tdfast.ops.arranging import sort
    from tdfast.ops.shaping import reshape, stack

    x = floats(x)
    axes = axes_of(axis, x.ndim)
    kept = [n for a, n in enumerate(x.shape) if a not in axes]
    ordered = sort(reshape(np.moveaxis(x, axes, range(-len(axes), 0)), (*kept, -1)), axis=-1)
    found = [_at_share(ordered, float(share), method) for share in np.ravel(q)]
    if keepdims:
        found = [reshape(part, [1 if a in axes else n for a, n in enumerate(x.shape)]) for part in found]
    return stack(found) if np.ndim(q) else found[0]


def _at_share(ordered: Any, share: float, method: str) -> Any:
    place = share * (ordered.shape[-1] - 1)
    low, high = int(np.floor(place)), int(np.ceil(place))
    shares = {"linear": place - low, "lower": 0.0, "higher": float(high > low),
              "midpoint": 0.5 * (high > low), "nearest": float(np.round(place) - low)}
    if method not in shares:
        raise ValueError(f"quantile: method must be one of {', '.join(shares)}, got {method!r}.")
    part = shares[method]
    return ordered[..., low] * (1 - part) + ordered[..., high] * part


@composed()
def percentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` of q / 100.

    >>> float(percentile(np.array([0.0, 1.0, 2.0]), 50))
    1.0
    """
    return quantile(x, np.asarray(q) / 100, axis=axis, method=method, keepdims=keepdims)


# ---------------------------------------------------------------- without NaN


def _filled(x: Any, value: float) -> tuple[Any, Any]:
    """(x with a number in the place of NaN, where there is none)."""
    there = ~np.isnan(x)
    return np.where(there, x, np.asarray(value, x.dtype)), there


@composed()
def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum without NaN.

    >>> float(nansum(np.array([1.0, np.nan])))
    1.0
    """
    from tdfast.ops.reduction import sum

    return sum(_filled(x, 0)[0], axis=axis, keepdims=keepdims)


@composed()
def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The product without NaN.

    >>> float(nanprod(np.array([3.0, np.nan])))
    3.0
    """
    from tdfast.ops.reduction import prod

    return prod(_filled(x, 1)[0], axis=axis, keepdims=keepdims)


@composed()
def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean without NaN.

    >>> float(nanmean(np.array([1.0, np.nan, 3.0])))
    2.0
    """
    from tdfast.ops.reduction import sum

    filled, there = _filled(floats(x), 0)
    count = np.sum(there, axis=_axis(axis), keepdims=keepdims)
    return sum(filled, axis=axis, keepdims=keepdims) / np.asarray(count, filled.dtype)


def _axis(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


@composed()
def nanvar(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The variance without NaN.

    >>> float(nanvar(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    from tdfast.ops.reduction import sum

    filled, there = _filled(floats(x), 0)
    apart = (filled - nanmean(x, axis, True)) * np.asarray(there, filled.dtype)
    count = np.sum(there, axis=_axis(axis), keepdims=keepdims)
    return sum(apart * apart, axis=axis, keepdims=keepdims) / np.asarray(count, filled.dtype)


@composed()
def nanstd(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The standard deviation without NaN.

    >>> float(nanstd(np.array([1.0, np.nan, 3.0])))
    1.0
    """
    from tdfast.ops.elementwise import sqrt

    return sqrt(nanvar(x, axis, keepdims))


@composed()
def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest number without NaN; NaN where there is none.

    >>> float(nanmax(np.array([1.0, np.nan])))
    1.0
    """
    from tdfast.ops.reduction import max

    return _unless_all(x, axis, keepdims, max(_filled(x, -np.inf)[0], axis=axis, keepdims=keepdims))


@composed()
def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest number without NaN; NaN where there is none.

    >>> float(nanmin(np.array([1.0, np.nan])))
    1.0
    """
    from tdfast.ops.reduction import min

    return _unless_all(x, axis, keepdims, min(_filled(x, np.inf)[0], axis=axis, keepdims=keepdims))


def _unless_all(x: Any, axis: Any, keepdims: bool, found: Any) -> Any:
    none = np.all(np.isnan(x), axis=_axis(axis), keepdims=keepdims)
    return np.where(none, np.asarray(np.nan, found.dtype), found) if np.any(none) else found


@composed(derivative=False)
def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The place of the largest number without NaN; -1 where there is none.

    >>> int(nanargmax(np.array([np.nan, 1.0])))
    1
    """
    none = np.all(np.isnan(x), axis=axis, keepdims=keepdims)
    places = np.argmax(_filled(x, -np.inf)[0], axis=axis, keepdims=keepdims)
    return np.where(none, -1, places).astype(np.int32)


@composed(derivative=False)
def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The place of the smallest number without NaN; -1 where there is none.

    >>> int(nanargmin(np.array([np.nan, 1.0])))
    1
    """
    none = np.all(np.isnan(x), axis=axis, keepdims=keepdims)
    places = np.argmin(_filled(x, np.inf)[0], axis=axis, keepdims=keepdims)
    return np.where(none, -1, places).astype(np.int32)


@composed()
def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The sum of all numbers up to each one, NaN counting as 0.

    >>> nancumsum(np.array([1.0, np.nan, 2.0])).tolist()
    [1.0, 1.0, 3.0]
    """
    from tdfast.ops.reduction import cumsum

    return cumsum(_filled(x, 0)[0], axis=axis, dtype=dtype)


@composed()
def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The product of all numbers up to each one, NaN counting as 1.

    >>> nancumprod(np.array([2.0, np.nan, 3.0])).tolist()
    [2.0, 2.0, 6.0]
    """
    return cumprod(_filled(x, 1)[0], axis=axis, dtype=dtype)


# ---------------------------------------------------------------- counts


@composed(derivative=False)
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """How often each whole number comes, or the sum of its weights.

    >>> bincount(np.array([0, 2, 2])).tolist()
    [1, 0, 2]
    """
    if sparse:
        raise ValueError("bincount: sparse must be False: arrays are NumPy's.")
    x, w = np.asarray(x), None if weights is None else np.asarray(weights)
    if x.ndim > 1:
        rows = [np.bincount(r, None if w is None else w[i]) for i, r in enumerate(x.reshape(-1, x.shape[-1]))]
        size = max([minlength, *map(len, rows)])
        found = np.stack([np.pad(r, (0, size - len(r))) for r in rows]).reshape(*x.shape[:-1], size)
    else:
        found = np.bincount(x, w, minlength)
    return found.astype(np.int32 if w is None else w.dtype)


@composed(derivative=False)
def histogram(x: Any, bins: Any = 10, range: Any = None) -> Any:
    """[How many numbers lie in each bin, the ends of the bins.]

    >>> counts, ends = histogram(np.array([0.0, 1.0, 1.0]), bins=2)
    >>> counts.tolist(), ends.tolist()
    ([1.0, 2.0], [0.0, 0.5, 1.0])
    """
    counts, ends = np.histogram(np.asarray(x), bins, range)
    return [counts.astype(floats(x).dtype), ends.astype(floats(x).dtype)]


# ---------------------------------------------------------------- means and distances


@composed(NN)
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> Any:
    """[The mean, the variance.]

    >>> [float(part) for part in moments(np.array([1.0, 3.0]), axes=[0])]
    [2.0, 1.0]
    """
    from tdfast.ops.reduction import mean, var

    if synchronized:
        raise ValueError("moments: synchronized must be False: it takes the moments of this process alone.")
    return [mean(x, axis=axes, keepdims=keepdims), var(x, axis=axes, keepdims=keepdims)]


@composed()
def corrcoef(x: Any) -> Any:
    """The correlations between the rows of x.

    >>> corrcoef(np.array([[1.0, 2.0], [2.0, 4.0]])).round(4).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    from tdfast.ops.elementwise import sqrt
    from tdfast.ops.products import matmul
    from tdfast.ops.reduction import mean
    from tdfast.ops.shaping import transpose

    x = floats(x)
    apart = x - mean(x, axis=-1, keepdims=True)
    both = matmul(apart, transpose(apart))
    own = sqrt(np.diagonal(both)) if isinstance(both, np.ndarray) else sqrt(_diagonal(both))
    return both / own[:, None] / own[None, :]


def _diagonal(x: Any) -> Any:
    from tdfast.ops.arranging import diagonal

    return diagonal(x)


@composed(MATH)
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """The integral of y along an axis, by the trapezoidal rule.

    >>> float(trapezoid(np.array([1.0, 3.0])))
    2.0
    """
    from tdfast.ops.reduction import sum

    y = np.moveaxis(floats(y), axis, -1)
    width = dx if x is None else np.diff(np.asarray(x, y.dtype))
    return sum((y[..., 1:] + y[..., :-1]) * 0.5 * width, axis=-1)


@composed(MATH, arrays=2)
def cdist(x: Any, y: Any) -> Any:
    """The distances between the rows of x and those of y.

    >>> cdist(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
    [[5.0]]
    """
    from tdfast.ops.elementwise import sqrt
    from tdfast.ops.reduction import sum

    return sqrt(sum((x[..., :, None, :] - y[..., None, :, :]) ** 2, axis=-1))


@composed(NN, arrays=2)
def psnr(x1: Any, x2: Any, max_val: float) -> Any:
    """20 log10(max_val) - 10 log10(mean((x1 - x2)^2)), in decibels.

    >>> float(psnr(np.array([0.0]), np.array([0.1]), 1.0).round(3))
    20.0
    """
    from tdfast.ops.reduction import mean

    difference = floats(x1) - floats(x2)
    return 20 * np.log10(max_val).item() - 10 * _log10(mean(difference * difference))


def _log10(x: Any) -> Any:
    from tdfast.ops.each import log10

    return log10(x)


@composed()
def nanquantile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` without NaN.

    >>> float(nanquantile(np.array([1.0, np.nan, 3.0]), 0.5))
    2.0
    """
    from tdfast.ops.arranging import sort
    from tdfast.ops.shaping import reshape, stack, take

    x = floats(x)
    axes = axes_of(axis, x.ndim)
    kept = [n for a, n in enumerate(x.shape) if a not in axes]
    rows = reshape(np.moveaxis(x, axes, range(-len(axes), 0)), (-1, int(np.prod(x.shape)) // max(
        int(np.prod(kept)), 1)))
    there = ~np.isnan(rows)
    ordered = sort(np.where(there, rows, np.asarray(np.inf, x.dtype)), axis=-1)
    counts = there.sum(axis=-1)
    found = []
    for share in np.ravel(q):
        each = [_at_share(take(ordered[i], np.arange(n), axis=0), float(share), method) if n
                else np.asarray(np.nan, x.dtype) for i, n in enumerate(counts)]
        shape = [1 if a in axes else n for a, n in enumerate(x.shape)] if keepdims else kept
        found.append(reshape(stack(each), shape))
    return stack(found) if np.ndim(q) else found[0]


@composed()
def nanpercentile(x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`nanquantile` of q / 100.

    >>> float(nanpercentile(np.array([1.0, np.nan, 3.0]), 50))
    2.0
    """
    return nanquantile(x, np.asarray(q) / 100, axis=axis, method=method, keepdims=keepdims)


@composed()
def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The median without NaN.

    >>> float(nanmedian(np.array([1.0, np.nan, 3.0])))
    2.0
    """
    return nanquantile(x, 0.5, axis=axis, keepdims=keepdims)
