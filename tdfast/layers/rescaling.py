"""Inputs brought to a common scale, by numbers given or learned from data: Rescaling and Normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arrays import as_numbers
from tdfast.engine.layer import Layer

if TYPE_CHECKING:
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Arrays, Config, Masks, Shapes, Sizes

EPSILON = 1e-7
"""The least standard deviation that Normalization divides by, as in Keras."""


class Rescaling(Layer):
    """``y = x scale + offset``.

    Source: https://keras.io/api/layers/preprocessing_layers/image_preprocessing/rescaling/.

    Args:
        scale, offset: numbers, or arrays that broadcast to a sample, such as one number for each feature.

    Raises:
        ValueError: for something else, or an array that does not fit the input.

    >>> Rescaling(1 / 255, dtype="float64")([[0, 51, 255]]).round(3).tolist()
    [[0.0, 0.2, 1.0]]
    """

    def __init__(self, scale: Any, offset: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset
        who = f"Layer '{self.name}' (Rescaling)"
        self._scale, self._offset = (as_numbers(a, who).astype(self.dtype) for a in (scale, offset))

    def check_input_shape(self, input_shape: Shapes) -> None:
        for a in (self._scale, self._offset):
            sizes = a.shape[::-1]
            if len(sizes) >= len(input_shape) or any(n not in (1, m) for n,
                                                     m in zip(sizes, input_shape[::-1]) if m is not None):
                raise ValueError(
                    f"Layer '{self.name}' (Rescaling): a scale or offset of shape {a.shape} does not "
                    "broadcast to samples of "
                    f"shape {tuple(input_shape[1:])}."
                )

    def treats_steps_alone(self, shape: Sizes) -> bool:
        n = len(shape) - 1
        return all(a.ndim < n or a.shape[-n] == 1 for a in (self._scale, self._offset))

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        y = np.multiply(x, self._scale, out=rec.buffer("y", x.shape, x.dtype))
        return np.add(y, self._offset, out=y)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        tape.pop(self)
        return np.multiply(dy, self._scale, out=dy) if need_dx else None

    def get_config(self) -> Config:
        return {**super().get_config(), "scale": _described(self.scale), "offset": _described(self.offset)}

    @classmethod
    def from_config(cls, config: Config) -> Any:
        return cls(**{k: restored(v) if k in ("scale", "offset") else v for k, v in config.items()})


def _described(value: Any) -> Any:
    """Keras's form of a number, a list or an array."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"class_name": "__numpy__", "config": {"value": value.tolist(), "dtype": value.dtype.name}}
    return list(value) if isinstance(value, tuple) else value


def restored(value: Any) -> Any:
    """What `_described` described."""
    if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        return np.array(value["config"]["value"], value["config"].get("dtype"))
    return value


class Normalization(Layer):
    """Each feature to mean 0 and variance 1: ``y = (x - mean) / max(sqrt(variance), 1e-7)``.

    Mean and variance are given, or learned by `adapt` before training; training does not change them.
    Source: https://keras.io/api/layers/preprocessing_layers/numerical/normalization/.

    Args:
        axis: the axis or axes with a mean and a variance for each of their places; None: one for all numbers.
        mean, variance: numbers or arrays, both or neither.
        invert: True undoes it: ``y = mean + x max(sqrt(variance), 1e-7)``.

    Raises:
        ValueError: if one of mean and variance is missing, or they do not fit each other or the input.

    >>> import numpy as np
    >>> layer = Normalization()
    >>> layer.adapt(np.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> layer([[1.0, 30.0]]).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, axis: int = -1, mean: float | None = None, variance: float | None = None,
                 invert: Any = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        axes = () if axis is None else tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
        if not all(isinstance(a, (int, np.integer)) and not isinstance(a, bool) for a in axes):
            raise ValueError(
                f"Layer '{self.name}' (Normalization): axis must be a whole number, several or None, got "
                f"{axis!r}."
            )
        self.axis = tuple(int(a) for a in axes)
        self.input_mean, self.input_variance, self.invert = mean, variance, self._flag(invert, "invert")
        if (mean is None) != (variance is None):
            raise ValueError(
                f"Layer '{self.name}' (Normalization): mean and variance must both be given, or neither, got "
                f"mean={mean} and "
                f"variance={variance}."
            )
        if mean is not None:
            who = f"Layer '{self.name}' (Normalization)"
            shapes = [as_numbers(a, who).shape for a in (mean, variance)]
            if shapes[0] != shapes[1] or len(shapes[0]) > len(self.axis):
                raise ValueError(
                    f"{who}: mean and variance must have one shape, of at most {len(self.axis)} axes (as "
                    f"axis={self.axis}), got "
                    f"{shapes[0]} and {shapes[1]}."
                )
        self.adapt_mean: Any = None
        self.adapt_variance: Any = None
        self.count: Any = None

    def _kept(self, n: int) -> list[Any]:
        """The axes with statistics of their own, from 0, in order, for inputs of n axes."""
        return sorted({a % n for a in self.axis})

    def check_input_shape(self, input_shape: Shapes) -> None:
        shape, n = tuple(input_shape), len(input_shape)
        if any(not -n <= a < n for a in self.axis):
            raise ValueError(
                f"Layer '{self.name}' (Normalization): axis={self.axis} does not fit input of shape {shape}."
            )
        kept = self._kept(n)
        if not self.built and any(shape[a] is None for a in kept):
            raise ValueError(
                f"Layer '{self.name}' (Normalization) has statistics for each place of axis {kept}, so it "
                "needs their size, got "
                f"input of shape {shape}."
            )
        if self.built and [shape[a] for a in kept] != [self.input_shape[a]
                                                       for a in self._kept(len(self.input_shape))]:
            raise ValueError(
                f"Layer '{self.name}' (Normalization) was built for input of shape {self.input_shape}, got "
                f"{shape}."
            )
        if self.input_mean is not None:
            self._given(np.asarray(self.input_mean), shape)

    def build(self, input_shape: Shapes) -> None:
        if self.input_mean is not None:
            return
        sizes = tuple(input_shape[a] for a in self._kept(len(input_shape)))
        self.adapt_mean = self.add_weight(sizes, "zeros", "mean", trainable=False)
        self.adapt_variance = self.add_weight(sizes, "ones", "variance", trainable=False)
        # Keras's files have it; nothing reads it
        self.count = self.add_weight((), "zeros", "count", trainable=False)

    def treats_steps_alone(self, shape: Sizes) -> bool:
        return 1 not in self._kept(len(shape))

    def _given(self, value: Any, shape: Sizes) -> Any:
        """A mean or a variance that was given, its axes being the last of the kept ones."""
        kept = self._kept(len(shape))[len(self.axis) - value.ndim:]
        where = [1] * len(shape)
        for a, n in zip(kept, value.shape):
            where[a] = n
            if n not in (1, shape[a]):
                raise ValueError(
                    f"Layer '{self.name}' (Normalization): a mean of shape {value.shape} does not fit axis "
                    f"{a} of input of shape "
                    f"{shape}."
                )
        return value.astype(self.dtype).reshape(where)

    def _statistics(self, shape: Sizes) -> tuple[Any, ...]:
        """Mean and standard deviation as arrays that broadcast to an input of this shape."""
        if self.input_mean is not None:
            mean, variance = (self._given(np.asarray(a), shape)
                              for a in (self.input_mean, self.input_variance))
        else:
            kept = self._kept(len(shape))
            where = [n if a in kept else 1 for a, n in enumerate(shape)]
            mean, variance = (w.value.reshape(where) for w in (self.adapt_mean, self.adapt_variance))
        return mean, np.maximum(np.sqrt(variance), mean.dtype.type(EPSILON))

    def adapt(self, data: Any) -> None:
        """Learn mean and variance from data, in place of those learned before.

        Args:
            data: an array (samples, ...), or an iterable of batches (also (x, y) tuples): a list, a
                generator, a `PyDataset`.

        Raises:
            ValueError: without any data, for batches that do not fit, or if mean and variance were given.

        The batches are weighed by their size, and summed in float64.
        """
        if self.input_mean is not None:
            raise ValueError(
                f"Layer '{self.name}' (Normalization) was given its mean and variance; adapt() would change "
                "them."
            )
        count = 0
        mean: Any = 0.0
        variance: Any = 0.0
        for batch in _batches(data):
            batch = batch[0] if isinstance(batch, tuple) else batch
            if not hasattr(batch, "__array__"):
                raise TypeError(
                    f"adapt of layer '{self.name}' (Normalization) takes an array, or an iterable of arrays, "
                    "each a batch; got one "
                    f"that holds {type(batch).__name__}."
                )
            x = as_numbers(batch, f"adapt of layer '{self.name}'")
            self.ensure_built((None, *x.shape[1:]), x.shape)
            reduced = tuple(a for a in range(x.ndim) if a not in self._kept(x.ndim))
            n = int(np.prod([x.shape[a] for a in reduced], dtype=np.int64))
            if n == 0:
                continue
            ours = np.mean(x, axis=reduced, dtype=np.float64)
            spread = np.var(x, axis=reduced, dtype=np.float64)
            # Of two groups: the mean of their variances, and what their means differ by.
            count += n
            part = n / count
            variance = variance * (1 - part) + spread * part + (ours - mean) ** 2 * part * (1 - part)
            mean = mean * (1 - part) + ours * part
        if count == 0:
            raise ValueError(
                f"adapt of layer '{self.name}' (Normalization) got no data: it needs at least one batch."
            )
        self.adapt_mean.assign(mean)
        self.adapt_variance.assign(variance)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        mean, rec.deviation = self._statistics(x.shape)
        y = rec.buffer("y", x.shape, x.dtype)
        if self.invert:
            return np.add(np.multiply(x, rec.deviation, out=y), mean, out=y)
        return np.divide(np.subtract(x, mean, out=y), rec.deviation, out=y)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        return (np.multiply if self.invert else np.divide)(dy, rec.deviation, out=dy)

    @property
    def mean(self) -> Any:
        """The mean in use, with an axis of 1 wherever it is the same."""
        self._require_built("mean")
        return self._statistics(self.input_shape)[0].copy()

    @property
    def variance(self) -> Any:
        """The variance in use, likewise."""
        self._require_built("variance")
        if self.input_mean is not None:
            return self._given(np.asarray(self.input_variance), self.input_shape)
        return self.adapt_variance.numpy().reshape(self.mean.shape)

    def get_config(self) -> Config:
        return {**super().get_config(), "axis": self.axis, "invert": self.invert,
                "mean": np.array(self.input_mean).tolist(),
                "variance": np.array(self.input_variance).tolist()}


def _batches(data: Any) -> Any:
    """The batches of what `Normalization.adapt` takes; an array is one."""
    if isinstance(data, (list, tuple)) or not (hasattr(data, "__array__") or hasattr(data, "__iter__")):
        if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
            raise TypeError(f"adapt expects an array or an iterable of batches, got {data!r}.")
        return (data[i] for i in range(len(data)))
    if hasattr(data, "__array__"):
        # In pieces, so that the float64 copies of a large array stay small.
        array = as_numbers(data, "adapt")
        return (array[i : i + 4096] for i in range(0, len(array), 4096))
    return iter(data)
