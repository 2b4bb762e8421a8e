"""Time series as windows: for forecasts, for batches of Keras's `timeseries_dataset_from_array`, and split by
time.

Windows overlap, so arrays of them would hold every number many times. Here they are views of the series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import random
from tdfast.compat.calling import spelled
from tdfast.engine.arrays import as_numbers
from tdfast.utils.batches import Batches, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.engine.types import Array


def sliding(series: Array, length: int, stride: int = 1, rate: int = 1) -> Array:
    """All windows of a series, (windows, length, ...), as a read-only view: nothing is copied.

    Args:
        series: (steps, ...).
        length: steps of a window.
        stride: from the begin of one window to that of the next.
        rate: from one step of a window to its next.

    >>> sliding(np.arange(6), 2, stride=2, rate=3).tolist()
    [[0, 3], [2, 5]]
    """
    span = (length - 1) * rate + 1
    if len(series) < span:
        return np.empty((0, length, *series.shape[1:]), series.dtype)
    every = np.lib.stride_tricks.sliding_window_view(series, span, axis=0)
    return np.moveaxis(every[::stride, ..., ::rate], -1, 1)


@spelled
def windows(x: Any, lookback: int, horizon: int = 1, many_to_many: bool = False, stride: int = 1,
            targets: Any = None) -> tuple[Any, ...]:
    """Windows of a series and what follows each, (X, Y), to train a forecast with.

    Window i reads the steps from i * stride on, ``lookback`` of them; its targets are the ``horizon`` steps
    after those, or with ``many_to_many`` the ``horizon`` steps after each step that it reads. Both arrays are
    views of the series, which `fit`, `evaluate` and `predict` take as they are: nothing is copied.

    Args:
        x: (steps,) or (steps, features).
        lookback: steps that a window reads.
        horizon: steps to forecast.
        many_to_many: False: targets after the last step read. True: after every step read, for models with
            return_sequences=True.
        stride: steps from one window to the next.
        targets: (steps,) or (steps, K), what to forecast if it is not ``x`` itself, at the same steps as x.

    Returns:
        X, (n, lookback, features), with 1 feature for a plain series, and Y:

        ================  ======================  ==================================
        targets           many-to-one             many-to-many
        ================  ======================  ==================================
        (steps,)          (n, horizon)            (n, lookback, horizon)
        (steps, K)        (n, horizon, K)         (n, lookback, horizon, K)
        the same, H = 1   (n, K)                  (n, lookback, K)
        ================  ======================  ==================================

        with n = (steps - lookback - horizon) // stride + 1.

    Raises:
        ValueError: for a series that is too short for one window, or numbers below 1.

    >>> X, Y = windows(np.arange(6), lookback=3, horizon=2)
    >>> X[..., 0].tolist(), Y.tolist()
    ([[0, 1, 2], [1, 2, 3]], [[3, 4], [4, 5]])
    >>> windows(np.arange(6), 3, 2, many_to_many=True)[1][0].tolist()
    [[1, 2], [2, 3], [3, 4]]
    """
    x = as_numbers(x, "windows: x")
    targets = x if targets is None else as_numbers(targets, "windows: targets")
    for name, value in (("lookback", lookback), ("horizon", horizon), ("stride", stride)):
        whole(value, f"windows: {name}", 1)
    for name, array in (("x", x), ("targets", targets)):
        if array.ndim not in (1, 2):
            raise ValueError(
                f"windows: {name} must have the shape (steps,) or (steps, features), got {array.shape}."
            )
    if len(targets) != len(x):
        raise ValueError(f"windows: targets must have x's {len(x)} steps, got {len(targets)}.")
    if len(x) < lookback + horizon:
        raise ValueError(
            f"windows: lookback={lookback} and horizon={horizon} need {lookback + horizon} steps, but x has "
            f"{len(x)}."
        )
    count = (len(x) - lookback - horizon) // stride + 1
    X = sliding(x[:, None] if x.ndim == 1 else x, lookback, stride)[:count]
    if not many_to_many:
        Y = sliding(targets[lookback:], horizon, stride)[:count]
    else:
        Y = sliding(sliding(targets[1:], horizon), lookback, stride)[:count]
    if targets.ndim == 2 and horizon == 1:
        Y = Y[..., 0, :]
    return X, Y


@spelled
def temporal_split(x: Any, y: Any, validation: float = 0.2, gap: int = 0) -> tuple[Any, ...]:
    """((x_train, y_train), (x_val, y_val)): the last samples validate, and a gap before them is used by
    neither.

    Samples in the order of time, split at random, or next to each other where they are overlapping windows,
    show the validation's numbers to the training. Windows of ``lookback`` and ``horizon`` with a stride share
    no step over a gap of ``-(-(lookback + horizon) // stride) - 1`` samples.

    Args:
        x, y: arrays with one first axis, in the order of time.
        validation: the part of the samples that validates, between 0 and 1, rounded up; or their number.
        gap: samples to leave out between the two.

    Returns:
        Views; nothing is copied.

    Raises:
        ValueError: if no sample is left to train or to validate.

    >>> (x, y), (x_val, y_val) = temporal_split(np.arange(10), np.arange(10), validation=0.3, gap=2)
    >>> x.tolist(), x_val.tolist()
    ([0, 1, 2, 3, 4], [7, 8, 9])
    """
    n = len(x)
    if len(y) != n:
        raise ValueError(
            f"temporal_split: x and y must have the same number of samples, got {n} and {len(y)}."
        )
    whole(gap, "temporal_split: gap", 0)
    if isinstance(validation, (float, np.floating)) and 0 < validation < 1:
        held = n - int(np.floor(n * (1 - validation)))
    else:
        held = whole(validation, "temporal_split: validation, if it is not a part between 0 and 1,", 1)
    end = n - held - gap
    if end < 1:
        raise ValueError(
            f"temporal_split: of {n} samples, {held} validate and {gap} are the gap, so none is left to "
            "train on."
        )
    return (x[:end], y[:end]), (x[n - held :], y[n - held :])


@spelled
def split_dataset(dataset: Any, left_size: Any = None, right_size: Any = None, shuffle: bool = False,
                  seed: int | None = None) -> tuple[Any, ...]:
    """Two parts of some arrays, as `keras.utils.split_dataset`, but as NumPy arrays.

    Args:
        dataset: an array, or a tuple or list of arrays with one first axis.
        left_size, right_size: the number of samples of a part (int), or its share (float); None: what the
            other leaves. At least one is given.
        shuffle: True draws which samples go where.
        seed: a whole number for that draw; None: from the process's generator.

    Returns:
        (left, right), each of the kind that ``dataset`` is; views without shuffle. ``model.fit(*left)``.

    Raises:
        ValueError: for sizes that do not fit; TypeError: for sizes that are no numbers, or no arrays.

    >>> left, right = split_dataset(np.arange(5), left_size=0.6)
    >>> left.tolist(), right.tolist()
    ([0, 1, 2], [3, 4])
    """
    if not isinstance(dataset, (tuple, list)) and not hasattr(dataset, "__array__"):
        raise TypeError(
            f"split_dataset expects an array, or a tuple or list of arrays, got {type(dataset).__name__}."
        )
    several = isinstance(dataset, (tuple, list))
    arrays = [np.asarray(a) for a in dataset] if several else [np.asarray(dataset)]
    counts = sorted({len(a) for a in arrays})
    if len(counts) != 1:
        raise ValueError(f"split_dataset: all arrays must have the same number of samples, got {counts}.")
    left, right = _sizes(left_size, right_size, counts[0])
    if shuffle:
        draw = random.generator() if seed is None else np.random.Generator(np.random.SFC64(seed))
        order = draw.permutation(counts[0])
        parts = [[a[order[:left]] for a in arrays], [a[order[counts[0] - right :]] for a in arrays]]
    else:
        parts = [[a[:left] for a in arrays], [a[counts[0] - right :] for a in arrays]]
    return tuple(type(dataset)(part) if several else part[0] for part in parts)


def _sizes(left: Any, right: Any, n: Any) -> tuple[Any, ...]:
    """Both numbers of samples, from what the user gave for ``n`` samples."""
    if left is None and right is None:
        raise ValueError("split_dataset: give left_size, right_size or both.")
    counts: list[Any] = []
    for name, size in (("left_size", left), ("right_size", right)):
        if size is None:
            counts.append(None)
            continue
        if type(size) not in (int, float):
            raise TypeError(
                f"split_dataset: {name} must be an int, a float or None, got {type(size).__name__}."
            )
        if not 0 < size < (1 if type(size) is float else n):
            raise ValueError(
                f"split_dataset: {name} must be a part between 0 and 1, or a whole number from 1 to {n - 1}, "
                f"got {size}."
            )
        counts.append(round(size * n) if type(size) is float else size)
    left = n - counts[1] if counts[0] is None else counts[0]
    right = n - counts[0] if counts[1] is None else counts[1]
    if left + right > n:
        raise ValueError(
            f"split_dataset: left_size={left} and right_size={right} together exceed the {n} samples."
        )
    if left < 1 or right < 1:
        raise ValueError(
            f"split_dataset: {n} samples would make parts of {left} and {right}: each needs one."
        )
    return left, right


@spelled
def timeseries_dataset_from_array(data: Array, targets: Array | None, sequence_length: int,
                                  sequence_stride: int = 1, sampling_rate: int = 1, batch_size: int = 128,
                                  shuffle: bool = False, seed: int | None = None, start_index: Any = None,
                                  end_index: Any = None) -> WindowBatches:
    """Windows of a series by the batch, for `fit`, `evaluate` and `predict`.

    Window i reads ``sequence_length`` steps from i * sequence_stride on, each ``sampling_rate`` after the one
    before; its target is ``targets[i * sequence_stride]``. Counts and contents are those of
    https://keras.io/api/data_loading/timeseries/.

    Args:
        data: (steps, ...), equally spaced in time.
        targets: (steps, ...), ``targets[i]`` belongs to the window that begins at step i, so shift them:
            ``timeseries_dataset_from_array(x[:-n], y[n:], n)`` forecasts the step after each window. None:
            the batches hold the windows alone.
        sequence_length: steps of a window.
        sequence_stride: steps from one window to the next.
        sampling_rate: steps between two of a window.
        batch_size: windows of a batch (the last may have fewer); None: one window after the other, no
            batches.
        shuffle: True draws a new order of all windows for each pass.
        seed: a whole number, which makes the orders repeat; None: from the process's generator.
        start_index, end_index: only the steps from start_index up to end_index (exclusive) are used.

    Returns:
        A `WindowBatches`, with tf.data's methods: take, skip, map, filter, shuffle, repeat, batch, unbatch,
        cache, prefetch, ...

    Raises:
        ValueError: for numbers that do not fit the data, or too few targets.

    >>> x = np.arange(10)
    >>> batches = timeseries_dataset_from_array(x, x, 4, sequence_stride=3, batch_size=2)
    >>> [(x.tolist(), y.tolist()) for x, y in batches]
    [([[0, 1, 2, 3], [3, 4, 5, 6]], [0, 3]), ([[6, 7, 8, 9]], [6])]
    """
    who = "timeseries_dataset_from_array"
    data = as_numbers(data, f"{who}: data")
    targets = None if targets is None else as_numbers(targets, f"{who}: targets")
    n = len(data)
    whole(sequence_length, f"{who}: sequence_length", 1)
    for name, value in (("sampling_rate", sampling_rate), ("sequence_stride", sequence_stride)):
        if whole(value, f"{who}: {name}", 1) >= n:
            raise ValueError(f"{who}: {name} must be below the {n} steps of data, got {value}.")
    if batch_size is not None:
        whole(batch_size, f"{who}: batch_size", 1)
    start = 0 if start_index is None else whole(start_index, f"{who}: start_index", 0)
    end = n if end_index is None else whole(end_index, f"{who}: end_index", 1)
    if start >= n or (end_index is not None and not start < end < n):
        raise ValueError(
            f"{who}: start_index and end_index must be below the {n} steps of data, the first below the "
            "second, got "
            f"start_index={start_index} and end_index={end_index}."
        )
    count = end - start - (sequence_length - 1) * sampling_rate
    if targets is not None:
        # As in Keras, where all targets, those before start_index too, bound the number of windows.
        count = min(count, len(targets))
    count = -(-max(count, 0) // sequence_stride)
    X = sliding(data[start:end], sequence_length, sequence_stride, sampling_rate)[:count]
    if targets is None:
        return WindowBatches(X, None, batch_size, shuffle, seed)
    Y = targets[start:end:sequence_stride][:count]
    if len(Y) < count:
        raise ValueError(
            f"{who}: {count} windows need as many targets, but from start_index={start} on there are "
            f"{len(Y)}. Give "
            "targets for all steps of data at which a window begins."
        )
    return WindowBatches(X, Y, batch_size, shuffle, seed)


class WindowBatches(Batches):
    """Batches (x, y) of windows, or x alone, made as they are asked for: a view of the series, or a shuffled
    copy.

    It can be read again and again, ``len`` is the number of batches, and `fit` (also as validation_data),
    `evaluate` and `predict` take it. `timeseries_dataset_from_array` makes it. It has the methods of
    `tdfast.utils.batches.Batches`.

    >>> batches = timeseries_dataset_from_array(np.arange(9), None, 3, batch_size=4)
    >>> len(batches), [x.shape for x in batches]
    (2, [(4, 3), (3, 3)])
    """

    def __init__(self, x: Any, y: Any = None, batch_size: int = 128, shuffle: bool = False,
                 seed: int | None = None) -> None:
        self.x, self.y, self.batch_size, self.shuffled = x, y, batch_size, shuffle
        self._draw = None if seed is None else np.random.Generator(np.random.SFC64(random.check_seed(seed)))

    @property
    def batched(self) -> bool:  # type: ignore[override]
        """Whether an element is a batch of windows."""
        return self.batch_size is not None

    def _count(self) -> int:
        return len(self.x) if self.batch_size is None else -(-len(self.x) // self.batch_size)

    def example(self) -> Array | tuple[Any, ...]:
        """The first element in the order of time, for `element_spec`."""
        rows: Any = 0 if self.batch_size is None else slice(0, self.batch_size)
        return self.x[rows] if self.y is None else (self.x[rows], self.y[rows])

    def __iter__(self) -> Iterator[Any]:
        order = (self._draw or random.generator()).permutation(len(self.x)) if self.shuffled else None
        for i in range(len(self)):
            size = self.batch_size
            rows: Any = i if size is None else slice(i * size, (i + 1) * size)
            rows = rows if order is None else order[rows]
            yield self.x[rows] if self.y is None else (self.x[rows], self.y[rows])
