"""Convolutions, pooling, and layers that change how many steps or pixels there are, in ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import layers
from tdfast.layers.convolution import shapes
from tdfast.layers.convolution.transpose import transposed
from tdfast.saving.exporting import refuse
from tdfast.saving.onnx.activations import activate

if TYPE_CHECKING:
    from tdfast.engine.types import Masks


def _channels_first(g: Any, rank: int, x: Any, change: Any) -> Any:
    """``change`` of x with its channels in axis 1."""
    spatial = range(1, rank + 1)
    y = change(g.node("Transpose", x, perm=(0, rank + 1, *spatial)))
    return g.node("Transpose", y, perm=(0, *(a + 1 for a in spatial), 1))


def _window_attributes(layer: Any, shape: Any, window: Any, span: Any) -> dict[str, Any]:
    """kernel_shape, strides and the zeros around the input; ``span`` is the window with its dilation."""
    attributes = {"kernel_shape": window, "strides": layer.strides}
    sizes = shape[1:-1]
    if layer.padding == "same" and None in sizes and max(layer.strides) > 1:
        if tuple(span) != tuple(window):
            refuse(
                layer,
                "cannot be exported to ONNX with padding='same' for sizes left open and both strides and "
                f"dilation_rate above 1: build the model for a size, not for {shape[1:]}.",
            )
        return {**attributes, "auto_pad": "SAME_UPPER"}
    # With strides of 1 the zeros depend on the window alone.
    places = [shapes.placed(size or 1, *rest, layer.padding) for size,  # type: ignore[call-arg]
              *rest in zip(sizes, span, layer.strides)]
    return {**attributes,
            "pads": [p[1] for p in places] + [p[2] if layer.padding != "valid" else 0 for p in places]}


# ---------------------------------------------------------------- convolutions
def _weights(g: Any, name: str, kernel: Any, bias: Any) -> Any:
    """A kernel of Keras's, with the channels last, and a bias that may be None."""
    weights = [g.weight(name, np.moveaxis(kernel, (-1, -2), (0, 1)))]
    return weights if bias is None else [*weights, g.weight("bias", bias.value)]


def _convolved(g: Any, layer: Any, x: Any, shape: Any, name: str, kernel: Any, groups: int, bias: Any) -> Any:
    """The convolution of x, which has its channels in axis 1; ``shape`` is the layer's input's."""
    span = [(k - 1) * rate + 1 for k, rate in zip(layer.kernel_size, layer.dilation_rate)]
    attributes = _window_attributes(layer, shape, layer.kernel_size, span)
    return g.node("Conv", x, *_weights(g, name, kernel, bias), dilations=layer.dilation_rate, group=groups,
                  **attributes)


def _conv(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    y = _channels_first(g, layer.rank, x, lambda x: _convolved(
        g, layer, x, shape, "kernel", layer.kernel.value, layer.groups, layer.bias))
    return activate(g, layer, y)


def _by_channel(kernel: Any) -> Any:
    """A depthwise kernel as that of a convolution with a group for each channel."""
    return kernel.reshape(*kernel.shape[:-2], 1, -1)


def _depthwise_conv(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    y = _channels_first(g, layer.rank, x, lambda x: _convolved(
        g, layer, x, shape, "kernel", _by_channel(layer.kernel.value), shape[-1], layer.bias))
    return activate(g, layer, y)


def _separable_conv(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    def both(x: Any) -> Any:
        y = _convolved(g, layer, x, shape, "depthwise_kernel", _by_channel(layer.depthwise_kernel.value),
                       shape[-1], None)
        return g.node("Conv", y, *_weights(g, "pointwise_kernel", layer.pointwise_kernel.value, layer.bias))

    return activate(g, layer, _channels_first(g, layer.rank, x, both))


def _conv_transpose(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    """Where the windows reach beyond the output they are cut (pads), where the output reaches farther it is
    padded."""
    # the same for any number of steps
    places = [transposed(1, *axis[1:]) for axis in layer._axes(shape[1:-1])]
    behind = [span - size - before for span, (size, before) in zip(layer._window, places)]
    attributes = {"kernel_shape": layer.kernel_size, "strides": layer.strides,
                  "dilations": layer.dilation_rate,
                  "pads": [before for _, before in places] + [max(n, 0) for n in behind],
                  "output_padding": [max(-n, 0) for n in behind]}
    weights = _weights(g, "kernel", layer.kernel.value, layer.bias)
    y = _channels_first(g, layer.rank, x, lambda x: g.node("ConvTranspose", x, *weights, **attributes))
    return activate(g, layer, y)


# ---------------------------------------------------------------- pooling
def _pool(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    attributes = _window_attributes(layer, shape, layer.pool_size, layer.pool_size)
    if layer.mean:
        attributes["count_include_pad"] = 0
    kind = "AveragePool" if layer.mean else "MaxPool"
    return _channels_first(g, layer.rank, x, lambda x: g.node(kind, x, **attributes))


def _adaptive_pool(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    sizes = shape[1:-1]
    if None in sizes or any(size % n for size, n in zip(sizes, layer.output_size)):
        refuse(layer, f"with output_size={layer.output_size} cannot be exported to ONNX for an input whose "
                      f"sizes are {sizes}: output_size must divide them. Use a pooling with a pool_size.")
    window = [size // n for size, n in zip(sizes, layer.output_size)]
    kind = "AveragePool" if layer.mean else "MaxPool"
    return _channels_first(g, layer.rank, x, lambda x: g.node(kind, x, kernel_shape=window, strides=window))


def _global_pool(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    axes = range(1, layer.rank + 1)
    if mask is None:
        return g.reduce("ReduceMean" if layer.mean else "ReduceMax", x, axes, layer.keepdims)
    each = mask.each
    total = g.reduce("ReduceSum", g.node("Where", each, x, g.number(0)), axes, layer.keepdims)
    count = g.reduce("ReduceSum", g.cast(each, g.dtype), axes, layer.keepdims)
    return g.node("Div", total, g.node("Max", count, g.number(1))), None


# ---------------------------------------------------------------- more or fewer steps and pixels
def _with_mask(change: Any, layer: Any, x: Any, mask: Masks) -> tuple[Any, ...]:
    """``change(value, number of its axes)`` of x, and of its mask where there is one."""
    return change(x, layer.rank + 2), None if mask is None else mask.changed(change)


def _zero_padding(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    def padded(value: Any, axes: Any) -> Any:
        before, behind = zip((0, 0), *layer._borders, *[(0, 0)] * (axes - 1 - layer.rank))
        return g.node("Pad", value, g.integers(*before, *behind))

    return _with_mask(padded, layer, x, mask)


def _cropping(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    starts, ends = zip(*((before, -behind or np.iinfo(np.int64).max) for before, behind in layer._borders))

    def cropped(value: Any, axes: Any) -> Any:
        return g.node("Slice", value, g.integers(*starts), g.integers(*ends),
                      g.integers(*range(1, layer.rank + 1)))

    return _with_mask(cropped, layer, x, mask)


def _repeated_steps(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    def repeated(value: Any, axes: Any) -> Any:
        apart = g.node("Expand", g.add_axis(value, 2), g.integers(1, 1, layer.size, *(1,) * (axes - 2)))
        sizes = g.node("Concat", g.integers(0, -1), g.sizes(value, 2), axis=0)
        return g.node("Reshape", apart, sizes)

    return _with_mask(repeated, layer, x, mask)


def _resized(g: Any, layer: Any, x: Any, shape: Any, mask: Masks) -> Any:
    options = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    if layer.interpolation == "bilinear":
        options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    scales = g.constant(np.array([1, 1, *layer.size], np.float32))
    return _channels_first(g, layer.rank, x, lambda x: g.node("Resize", x, "", scales, **options))


WINDOWS = {
    layers.Conv1D: _conv,
    layers.Conv2D: _conv,
    layers.Conv3D: _conv,
    layers.DepthwiseConv1D: _depthwise_conv,
    layers.DepthwiseConv2D: _depthwise_conv,
    layers.SeparableConv1D: _separable_conv,
    layers.SeparableConv2D: _separable_conv,
    layers.Conv1DTranspose: _conv_transpose,
    layers.Conv2DTranspose: _conv_transpose,
    layers.Conv3DTranspose: _conv_transpose,
    layers.MaxPooling1D: _pool,
    layers.MaxPooling2D: _pool,
    layers.MaxPooling3D: _pool,
    layers.AveragePooling1D: _pool,
    layers.AveragePooling2D: _pool,
    layers.AveragePooling3D: _pool,
    layers.AdaptiveMaxPooling1D: _adaptive_pool,
    layers.AdaptiveMaxPooling2D: _adaptive_pool,
    layers.AdaptiveMaxPooling3D: _adaptive_pool,
    layers.AdaptiveAveragePooling1D: _adaptive_pool,
    layers.AdaptiveAveragePooling2D: _adaptive_pool,
    layers.AdaptiveAveragePooling3D: _adaptive_pool,
    layers.GlobalMaxPooling1D: _global_pool,
    layers.GlobalMaxPooling2D: _global_pool,
    layers.GlobalMaxPooling3D: _global_pool,
    layers.GlobalAveragePooling1D: _global_pool,
    layers.GlobalAveragePooling2D: _global_pool,
    layers.GlobalAveragePooling3D: _global_pool,
    layers.ZeroPadding1D: _zero_padding,
    layers.ZeroPadding2D: _zero_padding,
    layers.ZeroPadding3D: _zero_padding,
    layers.Cropping1D: _cropping,
    layers.Cropping2D: _cropping,
    layers.Cropping3D: _cropping,
    layers.UpSampling1D: _repeated_steps,
    layers.UpSampling2D: _resized,
    layers.UpSampling3D: _resized,
}
"""What `tdfast.saving.onnx.converters.CONVERTERS` has of these."""
