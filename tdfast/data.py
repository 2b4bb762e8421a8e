"""Arrays into batches: checks, splits, class weights and the gathering of rows."""

import numpy as np

from tdfast import config
from tdfast.arrays import as_array


def check_inputs(x, as_input, who):
    """The inputs as the array that ``as_input(x, who)`` gives, refused if empty or not finite."""
    if isinstance(x, (list, tuple)) and x and all(isinstance(a, np.ndarray) and a.ndim > 1 for a in x):
        if len(x) > 1:
            raise ValueError(f"{who}: got a list of {len(x)} arrays, but a Sequential model has one input.")
        x = x[0]
    if x is None or isinstance(x, (str, bytes, dict)) or (hasattr(x, "__next__") and not hasattr(x, "__array__")):
        raise ValueError(f"{who} expects x as an array of numbers, got {type(x).__name__}.")
    x = as_input(x, who)
    if x.ndim == 0:
        raise ValueError(f"{who} expects x with the samples on its first axis, got a single number.")
    if x.size == 0:
        raise ValueError(f"{who} got an empty x of shape {x.shape}: there is nothing to work on.")
    check_finite(x, f"{who}: x")
    return x


def check_finite(x, what):
    """Raise a ValueError that names the place of the first NaN or infinity (see `tdfast.config`)."""
    if not config.check_finite() or x.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        if np.isfinite(x.sum()):
            return
    bad = ~np.isfinite(x)
    if not bad.any():
        return
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    raise ValueError(
        f"{what} holds {int(bad.sum())} value(s) that are NaN or infinite, the first at index {where}: {x[where]}. "
        "Clean the data (np.nan_to_num, or drop those samples), or allow it with "
        "tdfast.config.set_check_finite(False)."
    )


def check_targets(y, n, dtype, sparse, who):
    """The targets as an array with ``n`` samples; numbers become ``dtype`` unless they are labels."""
    if y is None:
        raise ValueError(f"{who} needs targets: pass y as the second argument.")
    y = np.asarray(y)
    if y.dtype.kind not in "fiub":
        raise ValueError(f"{who} expects y as an array of numbers, got dtype {y.dtype}.")
    if y.ndim == 0 or len(y) != n:
        raise ValueError(
            f"{who}: x and y must have the same number of samples, got {n} in x and "
            f"{'a single number' if y.ndim == 0 else len(y)} in y."
        )
    if not sparse:
        y = np.ascontiguousarray(y, dtype)
    check_finite(y, f"{who}: y")
    return y


def check_sample_weight(weight, n, dtype, who):
    """One weight for each sample, or for each sample and step; None stays None."""
    if weight is None:
        return None
    weight = as_array(weight, dtype, f"{who}: sample_weight")
    if weight.ndim == 0 or len(weight) != n:
        raise ValueError(
            f"{who}: sample_weight must have one entry for each of the {n} samples, got shape {weight.shape}."
        )
    return weight


def class_weight_to_sample_weight(class_weight, y, dtype):
    """The weight of each target's class; classes that are not named weigh 1.

    Args:
        class_weight: a dict from class number to weight.
        y: labels, or one-hot targets on the last axis.

    >>> class_weight_to_sample_weight({1: 2.0}, np.array([0, 1, 1]), "float32").tolist()
    [1.0, 2.0, 2.0]
    """
    if not isinstance(class_weight, dict):
        raise ValueError(f"class_weight must be a dict such as {{0: 1.0, 1: 5.0}}, got {class_weight!r}.")
    if y.ndim > 1 and y.shape[-1] > 1:
        labels = np.argmax(y, axis=-1)
    else:
        labels = np.rint(y[..., 0] if y.ndim > 1 else y).astype(np.int64)
    out = np.ones(labels.shape, dtype)
    for label, weight in class_weight.items():
        out[labels == int(label)] = weight
    return out


def split_validation(arrays, fraction):
    """(training part, validation part) of each array: the last ``fraction`` of the samples validates.

    >>> split_validation([np.arange(5), None], 0.4)
    ([array([0, 1, 2]), None], [array([3, 4]), None])
    """
    n = len(arrays[0])
    if not 0 < fraction < 1:
        raise ValueError(f"validation_split must be between 0 and 1, got {fraction}.")
    at = int(n * (1 - fraction))
    if at == 0 or at == n:
        raise ValueError(f"validation_split={fraction} of {n} samples leaves one part empty.")
    return [a if a is None else a[:at] for a in arrays], [a if a is None else a[at:] for a in arrays]


class Batches:
    """Batches of some arrays with one first axis, in order or in a random order of the samples.

    In order, a batch is a view. In a random order its rows are gathered into buffers that serve every
    batch again; the data set is never copied.

    Args:
        arrays: a list of arrays, or None in the place of one that is not there.
        batch_size: rows of every batch but, perhaps, the last.
        buffers: a `tdfast.layers.base.Record`.
        steps: at most this many batches; None: all of them.
    """

    def __init__(self, arrays, batch_size, buffers, steps=None):
        self.arrays = arrays
        self.batch_size = batch_size
        self.buffers = buffers
        self.samples = len(arrays[0])
        every = -(-self.samples // batch_size)
        self.steps = every if steps is None else min(int(steps), every)

    def __call__(self, order=None):
        """The batches of one epoch; ``order`` is a permutation of the samples, or None."""
        for i in range(self.steps):
            rows = slice(i * self.batch_size, min((i + 1) * self.batch_size, self.samples))
            if order is None:
                yield [a if a is None else a[rows] for a in self.arrays]
            else:
                yield [None if a is None else self._gather(k, a, order[rows]) for k, a in enumerate(self.arrays)]

    def _gather(self, k, a, index):
        out = self.buffers.buffer(("rows", k), (len(index), *a.shape[1:]), a.dtype)
        return a.take(index, axis=0, out=out, mode="clip")


def check_batch_size(batch_size, who):
    """The batch size as an int; None is Keras's 32."""
    if batch_size is None:
        return 32
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or int(batch_size) < 1:
        raise ValueError(f"{who}: batch_size must be a whole number of at least 1, got {batch_size!r}.")
    return int(batch_size)


def check_count(value, what):
    """``value`` as an int of at least 0."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0:
        raise ValueError(f"{what} must be a whole number of at least 0, got {value!r}.")
    return int(value)
