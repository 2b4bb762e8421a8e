"""Convolutions and pooling as functions of arrays, of any number of dimensions, with the channels last.

They gather windows and multiply them in NumPy. The layers of these names have kernels, and may be called
within a function of your own: they are the fast way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.ops.arranging import pad
from tdfast.ops.base import NN
from tdfast.ops.composed import composed, floats
from tdfast.ops.making import ones, zeros
from tdfast.ops.products import tensordot
from tdfast.ops.reduction import max, sum
from tdfast.ops.shaping import concatenate, flip, moveaxis, reshape, split, take

if TYPE_CHECKING:
    from collections.abc import Sequence


def _each_axis(value: Any, count: int, what: str) -> list[int]:
    """A whole number for each axis of space."""
    found = [value] * count if isinstance(value, int) else list(value)
    if len(found) != count:
        raise ValueError(f"{what} must be a whole number or {count} of them, got {value!r}.")
    return found


def _refuse_channels_first(data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise ValueError(
            f"data_format must be 'channels_last', got {data_format!r}: move the axis with np.moveaxis."
        )


def _margins(sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int], padding: str) -> list[Any]:
    """How much is added before and after each axis of space."""
    if padding == "valid":
        return [(0, 0)] * len(sizes)
    if padding == "causal" and len(sizes) == 1:
        return [(reach[0] - 1, 0)]
    if padding != "same":
        raise ValueError(f"padding must be 'valid' or 'same', got {padding!r}.")
    out = []
    for n, k, s in zip(sizes, reach, strides):
        more = np.maximum((-(-n // s) - 1) * s + k - n, 0).item()
        out.append((more // 2, more - more // 2))
    return out


def _gathered(x: Any, size: Sequence[int], strides: Sequence[int], dilation: Sequence[int], padding: str,
              value: float) -> Any:
    """The windows of x, (batch, place, offset, place, offset, ..., channels)."""
    reach = [d * (k - 1) + 1 for k, d in zip(size, dilation)]
    margins = _margins(x.shape[1:-1], reach, strides, padding)
    if any(before or after for before, after in margins):
        x = pad(x, [(0, 0), *margins, (0, 0)], constant_values=value)
    for i, (k, r, s, d) in enumerate(zip(size, reach, strides, dilation)):
        axis = 1 + 2 * i
        starts = np.arange(0, x.shape[axis] - r + 1, s)
        x = take(x, starts[:, None] + d * np.arange(k), axis=axis)
    return x


def _pool(x: Any, pool_size: Any, strides: Any, padding: str, data_format: Any, value: float) -> tuple[Any,
          Any]:
    """(the windows, their axes of offsets)."""
    _refuse_channels_first(data_format)
    count = len(x.shape) - 2
    size = _each_axis(pool_size, count, "pool_size")
    steps = size if strides is None else _each_axis(strides, count, "strides")
    return _gathered(x, size, steps, [1] * count, padding, value), tuple(range(2, 2 + 2 * count, 2))


@composed(NN)
def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid",
             data_format: str | None = None) -> Any:
    """The largest number of each window.

    Args:
        inputs: (batch, ..., channels).
        pool_size, strides: whole numbers, or one for each axis of space; strides as pool_size when None.
        padding: 'valid' or 'same'.
        data_format: None or 'channels_last'.

    >>> max_pool(np.arange(4.0).reshape(1, 4, 1), 2).reshape(-1).tolist()
    [1.0, 3.0]
    """
    windows, axes = _pool(floats(inputs), pool_size, strides, padding, data_format, -np.inf)
    return max(windows, axis=axes)


@composed(NN)
def average_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid",
                 data_format: str | None = None) -> Any:
    """The mean of each window, without what padding added.

    Args:
        inputs, pool_size, strides, padding, data_format: as for `max_pool`.

    >>> average_pool(np.arange(4.0).reshape(1, 4, 1), 2).reshape(-1).tolist()
    [0.5, 2.5]
    """
    x = floats(inputs)
    windows, axes = _pool(x, pool_size, strides, padding, data_format, 0.0)
    there, _ = _pool(ones((1, *x.shape[1:-1], 1), x.dtype), pool_size, strides, padding, data_format, 0.0)
    return sum(windows, axis=axes) / there.sum(axis=axes)


@composed(NN, arrays=2)
def conv(inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: str | None = None,
         dilation_rate: Any = 1) -> Any:
    """The sums of products of a kernel and each window, for each filter.

    Args:
        inputs: (batch, ..., channels).
        kernel: (..., channels of a group, filters); there are as many groups as its channels go into the
            inputs'.
        strides, dilation_rate: whole numbers, or one for each axis of space.
        padding: 'valid', 'same', or 'causal' with one axis of space.
        data_format: None or 'channels_last'.

    >>> conv(np.ones((1, 5, 2)), np.ones((3, 2, 4))).shape
    (1, 3, 4)
    """
    _refuse_channels_first(data_format)
    x, kernel = floats(inputs), floats(kernel)
    count, channels = len(x.shape) - 2, x.shape[-1]
    size, own = kernel.shape[:-2], kernel.shape[-2]
    if len(size) != count or channels % own:
        raise ValueError(f"conv: a kernel of shape {kernel.shape} does not fit inputs of shape {x.shape}.")
    windows = _gathered(x, size, _each_axis(strides, count, "strides"),
                        _each_axis(dilation_rate, count, "dilation_rate"), padding, 0.0)
    axes = [*range(2, 2 + 2 * count, 2), 1 + 2 * count]
    groups = channels // own
    if groups == 1:
        return tensordot(windows, kernel, axes=[axes, list(range(count + 1))])
    parts = zip(split(windows, groups, axis=-1), split(kernel, groups, axis=-1))
    return concatenate([tensordot(a, b, axes=[axes, list(range(count + 1))]) for a, b in parts], axis=-1)


@composed(NN, arrays=2)
def depthwise_conv(inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid",
                   data_format: str | None = None, dilation_rate: Any = 1) -> Any:
    """`conv` of each channel by itself, with a kernel (..., channels, multiplier).

    >>> depthwise_conv(np.ones((1, 5, 2)), np.ones((3, 2, 1))).shape
    (1, 3, 2)
    """
    kernel = floats(kernel)
    *size, channels, multiplier = kernel.shape
    return conv(inputs, reshape(kernel, (*size, 1, channels * multiplier)), strides, padding, data_format,
                dilation_rate)


@composed(NN, arrays=3)
def separable_conv(inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1,
                   padding: str = "valid", data_format: str | None = None, dilation_rate: Any = 1) -> Any:
    """`depthwise_conv`, then a `conv` with a kernel of size 1.

    >>> separable_conv(np.ones((1, 5, 2)), np.ones((3, 2, 1)), np.ones((1, 2, 4))).shape
    (1, 3, 4)
    """
    inner = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(inner, pointwise_kernel, 1, "valid", data_format)


@composed(NN, arrays=2)
def conv_transpose(inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid",
                   output_padding: Any = None,
                   data_format: str | None = None, dilation_rate: Any = 1) -> Any:
    """The transpose of `conv`: each number spread by a kernel (..., filters, channels).

    Args:
        inputs, kernel, strides, padding, data_format, dilation_rate: as for `conv`.
        output_padding: None, so that the output is as long as Keras makes it.

    >>> conv_transpose(np.ones((1, 4, 2)), np.ones((3, 5, 2)), strides=2).shape
    (1, 9, 5)
    """
    _refuse_channels_first(data_format)
    if output_padding is not None:
        raise ValueError(
            "conv_transpose: output_padding must be None; the layers Conv1DTranspose and kin have it."
        )
    x, kernel = floats(inputs), floats(kernel)
    count = len(x.shape) - 2
    steps, dilation = _each_axis(strides, count, "strides"), _each_axis(dilation_rate, count, "dilation_rate")
    reach = [d * (k - 1) + 1 for k, d in zip(kernel.shape[:count], dilation)]
    for i, (s, r) in enumerate(zip(steps, reach)):
        n = x.shape[1 + i]
        x = _spread(x, 1 + i, s)
        if padding == "same":
            whole = (n - 1) * s + r
            before = np.maximum(whole - n * s, 0).item() // 2
            margins = r - 1 - before, n * s - (n - 1) * s - 1 + before
        else:
            margins = r - 1, r - 1 + np.maximum(s - r, 0).item()
        x = pad(x, [(0, 0)] * (1 + i) + [margins] + [(0, 0)] * (count - i))
    turned = moveaxis(flip(kernel, list(range(count))), -1, -2)
    return conv(x, turned, 1, "valid", None, dilation_rate)


def _spread(x: Any, axis: int, stride: int) -> Any:
    """x with stride - 1 zeros between its entries along an axis."""
    n = x.shape[axis]
    if stride == 1 or n == 0:
        return x
    nothing = zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype)
    places = np.full((n - 1) * stride + 1, n)
    places[::stride] = np.arange(n)
    return take(concatenate([x, nothing], axis=axis), places, axis=axis)
