"""Small helpers of `keras.utils`: seeds, a fresh start, one-hot labels, padding, unit length, data by the
batch."""

from __future__ import annotations

import itertools
import random as python_random
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import random
from tdfast.callbacks.progress import Progbar
from tdfast.compat import absent
from tdfast.compat.calling import level_of_the_caller, spelled
from tdfast.config import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
)
from tdfast.engine import names
from tdfast.engine.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from tdfast.engine.serialization import deserialize_keras_object, serialize_keras_object
from tdfast.models.plots import plot_model
from tdfast.utils.charts import plot_attention, plot_confusion, plot_forecast, plot_history
from tdfast.utils.downloads import get_file
from tdfast.utils.text_folders import text_dataset_from_directory
from tdfast.utils.timeseries import (
    split_dataset,
    temporal_split,
    timeseries_dataset_from_array,
    windows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from tdfast.engine.types import Array, Numbers, Seed


@spelled
def set_random_seed(seed: Seed) -> None:
    """Seed Python's `random`, NumPy and tdfast, so that a run repeats to the bit.

    Args:
        seed: a whole number from 0 to 2**32 - 1.

    Raises:
        ValueError: for anything else.

    >>> set_random_seed(1)
    >>> first = random.generator().random()
    >>> set_random_seed(1)
    >>> first == random.generator().random()
    True
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise ValueError(f"set_random_seed expects a whole number from 0 to 2**32 - 1, got {seed!r}.")
    seed = int(seed)
    python_random.seed(seed)
    np.random.seed(seed)
    random.seed(seed)


@spelled
def clear_session(free_memory: bool = True) -> None:
    """Count the automatic names of layers and models from the beginning again.

    Args:
        free_memory: accepted; a model's memory goes with the model.

    >>> clear_session()
    """
    names.reset()


@spelled
def to_categorical(x: Any, num_classes: int | None = None) -> Any:
    """Labels as rows of one 1 among zeros: (...) or (..., 1) whole numbers to (..., num_classes).

    Args:
        x: whole numbers from 0 to num_classes - 1.
        num_classes: None means the largest label + 1.

    Returns:
        A float64 array, as in Keras.

    Raises:
        ValueError: for labels that are no whole numbers or out of range.

    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    labels = np.asarray(x)
    kind = labels.dtype.kind
    if kind not in "iub" and not (kind == "f" and np.all(labels == np.floor(labels))):
        raise ValueError(f"to_categorical expects whole numbers, got an array of dtype {labels.dtype}.")
    labels = labels.astype(np.int64)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is not None and not isinstance(num_classes, (int, np.integer)):
        raise ValueError(f"to_categorical: num_classes must be a whole number or None, got {num_classes!r}.")
    if labels.size and labels.min() < 0:
        raise ValueError(f"to_categorical: labels must be 0 or more, got {labels.min()}.")
    if not num_classes:
        if not labels.size:
            raise ValueError("to_categorical: give num_classes, it cannot be told from an empty array.")
        num_classes = int(labels.max()) + 1
    if labels.size and labels.max() >= num_classes:
        raise ValueError(f"to_categorical: labels must be from 0 to {num_classes - 1}, got {labels.max()}.")
    out = np.zeros((*labels.shape, num_classes))
    np.put_along_axis(out, labels[..., None], 1.0, axis=-1)
    return out


@spelled
def pad_sequences(sequences: Sequence[Any], maxlen: int | str | None = None, dtype: DTypeLike = "int32",
                  padding: str = "pre", truncating: str = "pre", value: Any = 0.0) -> Array:
    """Sequences of different lengths as one array, (N, maxlen, ...), filled up with ``value``.

    Source: https://keras.io/api/utils/python_utils/#pad_sequences-function.

    Args:
        sequences: a list of sequences, each a list of numbers or an array (steps, ...).
        maxlen: the number of steps; None: that of the longest.
        dtype: of the result.
        padding: 'pre' fills up in front, 'post' behind. `fit`'s ``lengths`` wants 'post'.
        truncating: 'pre' cuts the first steps of sequences that are too long, 'post' the last.
        value: what to fill up with.

    Raises:
        ValueError: for anything that is no sequence, steps of different shapes, an unknown option, or what
            the dtype cannot hold: words, NaN or too large a number as whole numbers.

    Warns where whole numbers cut off what lies behind the point of the sequences' numbers, or of ``value``.

    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2).tolist()
    [[0, 1], [2, 3], [5, 6]]
    >>> pad_sequences([[1], [2, 3]], padding="post", value=-1).tolist()
    [[1, -1], [2, 3]]
    """
    for name, option in (("padding", padding), ("truncating", truncating)):
        if option not in ("pre", "post"):
            raise ValueError(f"pad_sequences: {name} must be 'pre' or 'post', got {option!r}.")
    if not hasattr(sequences, "__len__") or any(not hasattr(s, "__len__") for s in sequences):
        raise ValueError("pad_sequences expects a list of sequences, such as [[1], [2, 3]].")
    parts = [np.asarray(s) for s in sequences]
    steps = {part.shape[1:] for part in parts if len(part)}
    if len(steps) > 1:
        raise ValueError(
            f"pad_sequences: the steps of all sequences must have one shape, got {sorted(steps)}."
        )
    if maxlen is not None and (not isinstance(maxlen, (int, np.integer)) or maxlen < 0):
        raise ValueError(
            f"pad_sequences: maxlen must be a whole number of at least 0 or None, got {maxlen!r}."
        )
    maxlen = max(map(len, parts), default=0) if maxlen is None else int(maxlen)
    _check_fits([np.asarray(value)], dtype, f"value={value!r}")
    _check_fits(parts, dtype, "the sequences")
    out = np.full((len(parts), maxlen, *(steps.pop() if steps else ())), value, dtype=dtype)
    for row, part in zip(out, parts):
        kept = part[max(len(part) - maxlen, 0) :] if truncating == "pre" else part[:maxlen]
        if len(kept):
            row[(slice(-len(kept), None) if padding == "pre" else slice(len(kept)))] = kept
    return out


def _check_fits(parts: Sequence[Any], dtype: DTypeLike, what: str) -> None:
    """Refuse, or warn of, what numbers of this dtype would not be."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "iuf":
        return
    cut = False
    for part in parts:
        if part.dtype.kind not in "iufb":
            raise ValueError(
                f"pad_sequences: {what} cannot become {dtype.name}: {part.dtype} holds no numbers. Give "
                "numbers, or dtype=object for words."
            )
        if dtype.kind == "f" or part.dtype.kind == "b" or not part.size:
            continue
        low, high = part.min(), part.max()
        if not (low >= np.iinfo(dtype).min and high <= np.iinfo(dtype).max):        # NaN too
            raise ValueError(
                f"pad_sequences: {what} cannot become {dtype.name}, which holds whole numbers from "
                f"{np.iinfo(dtype).min} to {np.iinfo(dtype).max}: there is "
                f"{high if low >= np.iinfo(dtype).min else low}. Give another dtype, such as 'float32'."
            )
        cut = cut or (part.dtype.kind == "f" and bool((part != np.rint(part)).any()))
    if cut:
        warnings.warn(
            f"pad_sequences: {what} will be cut to whole numbers, since dtype={dtype.name!r}. Give "
            "dtype='float32' to keep them.",
            stacklevel=level_of_the_caller(),
        )


@spelled
def normalize(x: Any, axis: int = -1, order: int = 2) -> Array:
    """``x`` divided by its norm along an axis; zeros stay zeros.

    Args:
        x: an array.
        axis: the axis that gets norm 1.
        order: of the norm: 2 is Euclid's, 1 the sum of magnitudes, np.inf the largest magnitude.

    >>> normalize([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    x = np.asarray(x)
    wide = np.asarray(x, np.float64)            # where the squares of float32 do not overflow
    norm = np.atleast_1d(np.linalg.norm(wide, order, axis))
    norm[norm == 0] = 1
    out = wide / np.expand_dims(norm, axis)
    return out.astype(x.dtype) if x.dtype.kind == "f" else out


@spelled
def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Numbers | None = None) -> Any:
    """What a generator or a data set gives for one batch: (x, y, sample_weight) without those that are None.

    >>> pack_x_y_sample_weight(1, 2)
    (1, 2)
    """
    if y is None:
        return (x,) if isinstance(x, (tuple, list)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


@spelled
def unpack_x_y_sample_weight(data: Any) -> Any:
    """(x, y, sample_weight) of a batch x, (x,), (x, y) or (x, y, sample_weight), with None for missing
    parts.

    Raises:
        ValueError: for a tuple of more entries.

    >>> unpack_x_y_sample_weight((1, 2))
    (1, 2, None)
    """
    parts = tuple(data) if isinstance(data, (tuple, list)) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"A batch must be (x,), (x, y) or (x, y, sample_weight), got a tuple of {len(parts)} entries."
        )
    return (*parts, None, None)[:3]


class PyDataset:
    """Data that come batch by batch, for `fit`, `evaluate` and `predict`: subclass it.

    Override ``__getitem__(i)``, which returns batch i as (x, y), (x, y, sample_weight) or (x,), and
    ``__len__``, the number of batches (or the property ``num_batches``, where None means endless). See
    https://keras.io/api/utils/python_utils/#pydataset-class.

    Args:
        workers: from 2 on, so many threads make batches ahead of their use; batches and results are the same.
        use_multiprocessing: accepted; threads do the work, which suits files and NumPy.
        max_queue_size: how many batches are made ahead at most.

    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 2
    ...     def __getitem__(self, i):
    ...         x = np.arange(3.0)[:, None] + 3 * i
    ...         return x, x**2
    >>> [len(x) for x, y in Squares()]
    [3, 3]
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers, self.use_multiprocessing, self.max_queue_size = (
            workers,
            use_multiprocessing,
            max_queue_size,
        )

    workers, use_multiprocessing, max_queue_size = 1, False, 10     # where a subclass does not call __init__

    def __getitem__(self, index: Any) -> Any:
        raise TypeError(
            f"{type(self).__name__} must override __getitem__(index), which returns a batch (x, y)."
        )

    def __iter__(self) -> Any:
        count = self.num_batches
        return map(self.__getitem__, itertools.count() if count is None else range(count))

    @property
    def num_batches(self) -> int:
        """The number of batches; None: endless."""
        if not hasattr(self, "__len__"):
            raise TypeError(
                f"{type(self).__name__} must override __len__ or num_batches, the number of batches."
            )
        return len(self)

    def on_epoch_begin(self) -> None:
        """Called before each epoch."""

    def on_epoch_end(self) -> None:
        """Called after each epoch: the place to shuffle."""


Sequence = PyDataset  # type: ignore[assignment, misc]

if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = [
    "CustomObjectScope", "Progbar", "PyDataset", "Sequence", "clear_session", "custom_object_scope",
    "deserialize_keras_object", "disable_interactive_logging", "enable_interactive_logging",
    "get_custom_objects", "get_file",
    "get_registered_name", "get_registered_object", "is_interactive_logging_enabled", "normalize",
    "pack_x_y_sample_weight", "pad_sequences", "plot_attention", "plot_confusion", "plot_forecast",
    "plot_history", "plot_model", "register_keras_serializable",
    "serialize_keras_object", "set_random_seed", "split_dataset", "temporal_split",
    "text_dataset_from_directory", "timeseries_dataset_from_array",
    "to_categorical", "unpack_x_y_sample_weight", "windows",
]
