"""What users pass to fit, evaluate and predict, as arrays that fit the model: checks, splits, weights."""

from __future__ import annotations

import collections.abc
import math
import numbers
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import config
from tdfast.compat.calling import level_of_the_caller
from tdfast.engine.arrays import as_array, as_contiguous, as_numbers, as_view, numbers_behind
from tdfast.engine.program import all_finite
from tdfast.engine.stored import Stored, stored
from tdfast.losses.base import bad_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import DTypeLike

    from tdfast.engine.types import Array, Data, Shapes

SMALL = 2**16
"""Bytes of an array up to which a loop is faster than NumPy, for what NumPy takes to begin."""


def is_stream(x: Data) -> bool:
    """Whether ``x`` yields batches (a generator, a DataLoader, a PyDataset) instead of being one array."""
    if x is None or np.isscalar(x) or isinstance(x, (np.ndarray, collections.abc.Sequence, dict)):
        return False
    if any(hasattr(x, name) for name in ("__array__", "__array_interface__", "toarray")):
        return False
    return hasattr(x, "__next__") or hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and _has_batches(x))


def _has_batches(x: Data) -> Any:
    return hasattr(x, "__len__") or hasattr(x, "num_batches")


def unpack(batch: Any, who: str) -> Any:
    """(x, y, sample_weight) of what a stream yields: ``x``, ``(x,)``, ``(x, y)`` or ``(x, y,
    sample_weight)``."""
    if not isinstance(batch, (tuple, list)) or (batch and isinstance(batch[0], (str, bytes))):      # texts
        return batch, None, None
    if not 1 <= len(batch) <= 3:
        raise ValueError(
            f"{who}: a batch must be (x,), (x, y) or (x, y, sample_weight), got a {type(batch).__name__} of "
            f"{len(batch)} entries."
        )
    return (*batch, None, None)[:3]


def _is_array(x: Data) -> bool:
    return hasattr(x, "__array__") and np.ndim(x) > 0


def check_inputs(x: Data, as_input: Callable[..., Any], who: str, input_shape: Shapes = None,
                 views: bool = False) -> Array:
    """The inputs as the array that ``as_input(x, who)`` gives, refused if empty or not finite.

    Args:
        input_shape: the model's, or None; as in Keras a last axis of 1 may be missing, or one too many.
        views: whether overlapping windows of a series may stay a view of it, which is not contiguous, and
            what lies in a file a `tdfast.engine.stored.Stored`.
    """
    if isinstance(x, (list, tuple)) and x and all(isinstance(a, (list, tuple))
                                                  and any(map(_is_array, a)) for a in x):
        raise ValueError(
            f"{who}: x is a {type(x).__name__} of {type(x[0]).__name__}s of arrays. If each is a batch (x, "
            "y), pass "
            "iter(x), which yields them."
        )
    if isinstance(x, (list, tuple)) and x and all(_is_array(a) and np.ndim(a) > 1 for a in x):
        if len(x) > 1:
            raise ValueError(
                f"{who}: got a {type(x).__name__} of {len(x)} arrays, but a Sequential model has one input: "
                "pass one array. np.stack makes one of samples of one shape; tdfast.utils.pad_sequences "
                "gives sequences of different lengths one length."
            )
        x = x[0]
    if isinstance(x, dict):
        raise ValueError(
            f"{who}: got a dict with {sorted(map(str, x))}, but a Sequential model has one input: pass one "
            "array."
        )
    if hasattr(x, "toarray"):
        raise ValueError(
            f"{who}: x is a sparse {type(x).__name__}; pass x.toarray(), tdfast computes on dense arrays."
        )
    if x is None or isinstance(x, (str, bytes)) or is_stream(x):
        one = " One text stands in a list, [x]." if isinstance(x, (str, bytes)) else ""
        raise ValueError(f"{who} expects x as an array of numbers, got {type(x).__name__}.{one}")
    in_file = None
    if views and numbers_behind(x) is None:
        in_file = stored(x, lambda rows: _of_rank(as_input(rows, who), input_shape))
    if in_file is not None:
        x = in_file
    else:
        x = _of_rank(as_view(x, lambda a: as_input(a, who)) if views else as_input(x, who), input_shape)
    if x.ndim == 0:
        raise ValueError(f"{who} expects x with the samples on its first axis, got a single number.")
    if x.size == 0:
        raise ValueError(f"{who} got an empty x of shape {x.shape}: there is nothing to work on.")
    check_finite(x, f"{who}: x")
    return x


def _of_rank(x: Array, input_shape: Shapes) -> Array:
    """Inputs with the last axis of 1 that the model's shape has, or without the one that it has not."""
    if input_shape is not None:
        if x.ndim == len(input_shape) - 1 and input_shape[-1] == 1:
            return x[..., None]
        if x.ndim == len(input_shape) + 1 and x.shape[-1] == 1:
            return x[..., 0]
    return x


def check_finite(x: Data, what: str) -> None:
    """Raise a ValueError that names the place of the first NaN or infinity (see `tdfast.config`)."""
    if not config.check_finite() or x.dtype.kind != "f":
        return
    if isinstance(x, Stored):
        for start, piece in () if x.is_whole else x.pieces():
            check_finite(piece, f"{what}[{start}:{start + len(piece)}]" if len(piece) < len(x) else what)
        return
    if x.nbytes <= SMALL and x.dtype in (np.float32, np.float64) and x.flags.c_contiguous and all_finite(x):
        return
    with np.errstate(all="ignore"):
        behind = numbers_behind(x)
        if np.isfinite((x if behind is None else behind).sum()):
            return
    bad = ~np.isfinite(x)
    if not bad.any():
        return
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    raise ValueError(
        f"{what} holds {int(bad.sum())} value(s) that are NaN or infinite, the first at index {where}: "
        f"{x[where]}. "
        "Clean the data (np.nan_to_num, or drop those samples), or allow it with "
        "tdfast.config.set_check_finite(False)."
    )


def check_targets(y: Data, n: int, dtype: DTypeLike, sparse: bool, who: str, views: bool = False) -> Array:
    """The targets as an array with ``n`` samples; numbers become ``dtype`` unless they are labels, and labels
    in memory int32, as the kernels read them, if they fit.

    ``views`` as in `check_inputs`.
    """
    if y is None:
        raise ValueError(f"{who} needs targets: pass y as the second argument.")
    if isinstance(y, dict) or (isinstance(y, (list, tuple)) and len(y) > 1 and all(np.ndim(a) > 1 for a in y)
                               and len(y) != n):
        raise ValueError(
            f"{who}: got a {type(y).__name__} of {len(y)} targets, but a Sequential model has one output."
        )
    if isinstance(y, (list, tuple)) and len(y) == 1 != n and np.ndim(y[0]) and len(y[0]) == n:
        y = y[0]                        # as in Keras: the targets of a model of one output, in a list
    in_file = None
    if views and not sparse and numbers_behind(y) is None:
        in_file = stored(y, lambda rows: as_contiguous(as_numbers(rows, f"{who}: y"), dtype))
    y = as_numbers(y, f"{who}: y") if in_file is None else in_file
    if y.ndim == 0 or len(y) != n:
        raise ValueError(
            f"{who}: x and y must have the same number of samples, got {n} in x and "
            f"{'a single number' if y.ndim == 0 else len(y)} in y."
        )
    if not sparse and in_file is None:
        y = as_view(y, lambda a: as_contiguous(a, dtype)) if views else as_contiguous(y, dtype)
    check_finite(y, f"{who}: y")
    if sparse and y.dtype.kind == "f":
        bad = y != np.rint(y)
        if bad.any():
            raise bad_number(y, bad, f"{who}: y")
    if sparse and views and y.dtype.kind in "iu" and y.dtype != np.int32 and not isinstance(y, np.memmap):
        labels = y.astype(np.int32)
        return labels if np.array_equal(labels, y) else y
    return y


def check_sample_weight(weight: Any, n: int, dtype: DTypeLike, who: str) -> Array | None:
    """One weight for each sample, or for each sample and step; None stays None."""
    if weight is None:
        return None
    listed = isinstance(weight, (list, tuple)) and len(weight) == 1 != n
    if listed and np.ndim(weight[0]) and len(weight[0]) == n:
        weight = weight[0]              # as in Keras: the weights of a model of one output, in a list
    weight = as_array(weight, dtype, f"{who}: sample_weight")
    if weight.ndim == 0 or len(weight) != n:
        raise ValueError(
            f"{who}: sample_weight must have one entry for each of the {n} samples, got shape {weight.shape}."
        )
    check_finite(weight, f"{who}: sample_weight")
    return weight


def class_weight_to_sample_weight(class_weight: Mapping[int, float], y: Data, dtype: DTypeLike,
                                  rank: int) -> Array:
    """The weight of each target's class; classes that are not named weigh 1.

    Args:
        class_weight: a dict from class number to weight.
        y: labels (N,) or (N, T), with or without a last axis of 1, or one-hot targets (N, C) or (N, T, C).
        rank: the number of the outputs' axes, which tells labels (N, T) from one-hot targets.

    Raises:
        ValueError: for anything but a dict with class numbers as keys and finite numbers as values, and for
            targets that are no class numbers.

    >>> class_weight_to_sample_weight({1: 2.0}, np.array([0, 1, 1]), "float32", rank=2).tolist()
    [1.0, 2.0, 2.0]
    >>> class_weight_to_sample_weight({1: 2.0}, np.array([[0, 1, 1]]), "float32", rank=3).tolist()
    [[1.0, 2.0, 2.0]]
    """
    if not isinstance(class_weight, dict):
        raise ValueError(f"class_weight must be a dict such as {{0: 1.0, 1: 5.0}}, got {class_weight!r}.")
    if y.ndim >= rank and y.shape[-1] > 1:
        labels = np.argmax(y, axis=-1)
    else:
        labels = y if y.ndim < rank else y[..., 0]
        fine = labels == np.rint(labels)
        if not fine.all():
            raise ValueError(
                f"class_weight needs targets that are class numbers, but y holds {labels[~fine].flat[0]}. "
                "Weigh such targets "
                "with sample_weight."
            )
    out = np.ones(labels.shape, dtype)
    for label, weight in class_weight.items():
        if isinstance(label, str) or label != int(label):
            raise ValueError(
                f"class_weight has the key {label!r}, but its keys must be class numbers, such as {{0: 1.0, "
                f"1: 5.0}}."
            )
        if not isinstance(weight, numbers.Real) or not math.isfinite(weight):
            raise ValueError(f"class_weight[{label!r}] must be a finite number, got {weight!r}.")
        out[labels == int(label)] = weight
    return out


def split_validation(arrays: Sequence[Any], fraction: float) -> tuple[Any, ...]:
    """(training part, validation part) of each array: the last ``fraction`` of the samples validates.

    >>> split_validation([np.arange(5), None], 0.4)
    ([array([0, 1, 2]), None], [array([3, 4]), None])
    """
    n = len(arrays[0])
    if not 0 < fraction < 1:
        raise ValueError(f"validation_split must be between 0 and 1, got {fraction}.")
    at = math.floor(n * (1 - fraction))
    if at == 0 or at == n:
        raise ValueError(f"validation_split={fraction} of {n} samples leaves one part empty.")
    return [a if a is None else a[:at] for a in arrays], [a if a is None else a[at:] for a in arrays]


def check_batch_size(batch_size: int | None, who: str) -> int:
    """The batch size as an int; None is Keras's 32."""
    if batch_size is None:
        return 32
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or int(batch_size) < 1:
        raise ValueError(f"{who}: batch_size must be a whole number of at least 1, got {batch_size!r}.")
    return int(batch_size)


def note_batch_size(batch_size: int | None, x: Data, who: str) -> None:
    """Warn that a batch_size does nothing for what yields batches, where Keras says nothing."""
    if batch_size is not None and check_batch_size(batch_size, who) != getattr(x, "batch_size", None):
        warnings.warn(
            f"{who}: x is a {type(x).__name__}, which yields batches; they stay as they are, whatever "
            f"batch_size={batch_size} says.",
            stacklevel=level_of_the_caller(),
        )


def check_count(value: Any, what: str) -> int:
    """``value`` as an int of at least 0."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0:
        raise ValueError(f"{what} must be a whole number of at least 0, got {value!r}.")
    return int(value)


def check_steps(value: Any, what: str) -> int | None:
    """``value`` as an int of at least 1, or None, which 0 means as well."""
    return None if value is None else check_count(value, what) or None


def check_lengths(lengths: Any, n: int, T: Any, who: str) -> Array:
    """The number of valid steps of each sample, (N,) whole numbers from 0 to T, as an int64 array."""
    if T is None:
        raise ValueError(f"{who}: lengths needs x of shape (samples, time, ...).")
    lengths = as_numbers(lengths, f"{who}: lengths")
    if lengths.shape != (n,):
        raise ValueError(
            f"{who}: lengths must have one entry for each of the {n} samples, shape ({n},), got "
            f"{lengths.shape}."
        )
    if lengths.dtype.kind not in "iu":
        raise ValueError(
            f"{who}: lengths must be whole numbers, got dtype {lengths.dtype}. Use .astype(int)."
        )
    lengths = lengths.astype(np.int64)
    low, high = int(lengths.min()), int(lengths.max())
    if low < 0 or high > T:
        at = int(lengths.argmin() if low < 0 else lengths.argmax())
        raise ValueError(
            f"{who}: lengths must be from 0 to {T}, the number of x's time steps, but lengths[{at}] is "
            f"{lengths[at]}."
        )
    return lengths
