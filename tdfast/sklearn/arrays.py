"""Rows and arrays of scikit-learn's users as sequences of (time, feature), and what is to be said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Sizes

LAYOUTS = ("time-feature", "feature-time")


def check_layout(n_features: Any, layout: Any, who: str, as_they_are: bool = False) -> None:
    """Raise a ValueError unless the two parameters are what they may be; n_features=None only if as_they_are.

    >>> check_layout(2, "time-feature", "SeriesScaler")
    >>> check_layout(2, "columns", "SeriesScaler")
    Traceback (most recent call last):
    ValueError: SeriesScaler: layout must be 'time-feature' or 'feature-time', got 'columns'.
    """
    whole = isinstance(n_features, (int, np.integer)) and not isinstance(n_features, bool)
    if not (n_features is None and as_they_are) and (not whole or n_features < 1):
        raise ValueError(
            f"{who}: n_features must be a whole number of at least 1, the features of each time step of "
            f"rows, got {n_features!r}."
        )
    if layout not in LAYOUTS:
        raise ValueError(f"{who}: layout must be 'time-feature' or 'feature-time', got {layout!r}.")


def as_sequences(x: Array, n_features: int | None, layout: str, who: str) -> Array:
    """Rows, or arrays of three axes, as (samples, time, feature); a view.

    Args:
        x: (samples, columns), each row a window; or three axes.
        n_features: of each time step, for rows; None leaves rows as they are.
        layout: 'time-feature': all features of the first time step come first, or x is (samples, time,
            feature). 'feature-time': all time steps of the first feature do, or x is (samples, feature,
            time).
        who: whom an error names.

    Raises:
        ValueError: where the columns are no multiple of n_features.

    >>> as_sequences(np.array([[1, 2, 3, 4]]), 2, "time-feature", "")[0].tolist()
    [[1, 2], [3, 4]]
    >>> as_sequences(np.array([[1, 2, 3, 4]]), 2, "feature-time", "")[0].tolist()
    [[1, 3], [2, 4]]
    """
    if x.ndim == 2:
        if n_features is None:
            return x
        if x.shape[1] % n_features:
            raise ValueError(
                f"{who}: X has {x.shape[1]} columns, which are no whole time steps of n_features="
                f"{n_features}. Give n_features, or X of shape (samples, time, feature)."
            )
        steps = x.shape[1] // n_features
        sizes = (steps, n_features) if layout == "time-feature" else (n_features, steps)
        x = x.reshape(len(x), *sizes)
    return x if layout == "time-feature" else x.swapaxes(1, 2)


def reversed_in_time(x: Array, lengths: Any = None) -> Array:
    """The steps of each sequence, (samples, time, ...), in the reverse order; padding stays at the end.

    >>> reversed_in_time(np.array([[3, 2, 1, 0]]), [3]).tolist()
    [[1, 2, 3, 0]]
    """
    if lengths is None:
        return x[:, ::-1]
    steps, ends = np.arange(x.shape[1]), np.asarray(lengths)[:, None]
    order = np.where(steps < ends, ends - 1 - steps, steps)
    return np.take_along_axis(x, order.reshape(*order.shape, *(1,) * (x.ndim - 2)), axis=1)


def valid_steps(lengths: Any, shape: Sizes) -> Array:
    """(samples, time), True where a step is no padding; ``shape`` begins with these sizes.

    >>> valid_steps([1, 2], (2, 2)).tolist()
    [[True, False], [True, True]]
    """
    if lengths is None:
        return np.ones(shape[:2], bool)
    return np.arange(shape[1]) < np.asarray(lengths)[:, None]


def number_of_axes(x: Any, who: str) -> int:
    """Of what NumPy would make of ``x``.

    Raises:
        ValueError: for a list of sequences of different lengths.

    >>> number_of_axes([[1, 2]], "SeriesScaler")
    2
    >>> number_of_axes([[1, 2], [1]], "SeriesScaler")
    Traceback (most recent call last):
    ValueError: SeriesScaler: the sequences of X have different lengths. Pad them on the right...
    """
    shape = getattr(x, "shape", None)
    if shape is not None:
        return len(shape)
    if isinstance(x, (list, tuple)) and len({np.shape(row)[:1] for row in x if hasattr(row, "__len__")}) > 1:
        raise ValueError(
            f"{who}: the sequences of X have different lengths. Pad them on the right, "
            "tdfast.utils.pad_sequences(X, padding='post', dtype='float32'), and give lengths=."
        )
    return np.asarray(x).ndim


def weighted_moments(y: Array, weight: Array | None) -> tuple[Array, Array]:
    """The mean and the standard deviation of each last column over all rows; 1 for a constant one.

    Args:
        y: (..., columns).
        weight: of the rows, of y's shape without the last axis, or None.

    >>> mean, spread = weighted_moments(np.array([[1.0, 5.0], [3.0, 5.0]]), None)
    >>> mean.tolist(), spread.tolist()
    ([2.0, 5.0], [1.0, 1.0])
    """
    rows = np.asarray(y, np.float64).reshape(-1, y.shape[-1])
    flat = None if weight is None else np.asarray(weight, np.float64).reshape(-1)
    if flat is not None and not flat.sum() > 0:
        flat = None                     # nothing counts, and nothing is learnt
    mean = np.average(rows, axis=0, weights=flat)
    spread = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=flat))
    noise = 10 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(spread > noise, spread, 1.0)
