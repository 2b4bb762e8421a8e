"""Convolutions whose windows see one channel each: DepthwiseConv, and SeparableConv, which mixes the channels
after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast import activations
from tdfast.layers.convolution.conv import Convolving, convolve, convolve_back, kernel_sizes
from tdfast.layers.core import positive_int

if TYPE_CHECKING:
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import (
        ActivationSpec,
        Arrays,
        Config,
        ConstraintSpec,
        InitializerSpec,
        Masks,
        RegularizerSpec,
        Shapes,
        Size,
        Sizes,
    )
    from tdfast.engine.variable import Variable


class _Depthwise(Convolving):
    """What both share: the depthwise kernel, which is that of a convolution with a group for each channel."""

    paddings: tuple[str, ...] = ("valid", "same")
    weight_options: Any = None
    """The names before _initializer, _regularizer and _constraint, in the order of the weights."""

    def _set_options(self, options: dict[str, Any]) -> None:
        """Attributes from the arguments that both have."""
        self.depth_multiplier = positive_int(options["depth_multiplier"], "depth_multiplier", self)
        self._set_windows(*(options[name] for name in ("kernel_size", "strides", "padding", "data_format",  # type: ignore[call-arg]
                                                       "dilation_rate")),
                          self.paddings)
        self.activation = activations.get(options["activation"], own=False)
        self.use_bias = self._flag(options["use_bias"], "use_bias")
        self._set_weights_options(self.weight_options, options)
        self.bias: Any = None

    def _add_depthwise(self, name: str, channels: int) -> Variable:
        return self._add_weight(name, (*self.kernel_size, channels, self.depth_multiplier), "depthwise")

    def _add_bias(self, channels: int) -> None:
        if self.use_bias:
            self.bias = self._add_weight("bias", (channels,))

    def _depthwise_sizes(self, shape: Sizes) -> Any:
        channels = shape[-1]
        return self._sizes(shape, channels * self.depth_multiplier, channels)

    @property
    def _bias_value(self) -> Any:
        return self.bias.value if self.use_bias else None


class _DepthwiseConv(_Depthwise):
    """DepthwiseConv1D and DepthwiseConv2D."""

    weight_options: tuple[str, ...] = ("depthwise", "bias")

    def __init__(
        self,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Size = 1,
        activation: ActivationSpec = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerSpec = "glorot_uniform",
        bias_initializer: InitializerSpec = "zeros",
        depthwise_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        activity_regularizer: RegularizerSpec = None,
        depthwise_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        **kwargs: Any,
    ) -> None:
        options = locals()
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self._set_options(options)
        self.kernel: Any = None

    def build(self, input_shape: Shapes) -> None:
        channels = input_shape[-1]
        self.kernel = self._add_depthwise("kernel", channels)
        self._add_bias(channels * self.depth_multiplier)

    def _output_channels(self, channels: int) -> int:
        return channels * self.depth_multiplier

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        sizes = self._depthwise_sizes(x.shape)
        return convolve(tape.push(self), tape, x, self.kernel.value, sizes, self._bias_value, self.activation)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        return convolve_back(tape.pop(self), dy, self.kernel, need_dx, self.bias, self.activation)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "depth_multiplier": self.depth_multiplier,
            **self._windows_config(),
            **self._weights_config(self.weight_options),
        }


class DepthwiseConv1D(_DepthwiseConv):
    """A convolution over time, of each channel by itself.

    ``y[t, c m + q] = activation(bias[c m + q] + sum over v of x[t s + v d, c] kernel[v, c, q])`` with m =
    depth_multiplier. Source: https://keras.io/api/layers/convolution_layers/depthwise_convolution1d/.

    Args:
        kernel_size: steps of a window.
        strides: steps from one window to the next.
        padding: 'valid' (windows inside the sequence), 'same' (zeros around it, so that with strides of 1
            the output is as long as the input) or 'causal' (all zeros before it: a step sees none after it;
            Keras knows it for Conv1D alone).
        depth_multiplier: channels of the output for each of the input.
        data_format: None or 'channels_last'.
        dilation_rate: steps from one element of a window to the next.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        depthwise_initializer, bias_initializer: of the weights, (kernel_size, channels, depth_multiplier) and
            (channels * depth_multiplier,).
        depthwise_regularizer, bias_regularizer, activity_regularizer: penalties, or None.
        depthwise_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: for sizes that are not positive, a window that does not fit, an input of another rank.

    Input (batch, steps, channels), output (batch, new steps, channels * depth_multiplier). A mask cannot go
    through.

    >>> import numpy as np
    >>> DepthwiseConv1D(3, depth_multiplier=2)(np.zeros((50, 64, 15))).shape
    (50, 62, 30)
    """

    rank = 1
    paddings: tuple[str, ...] = ("valid", "same", "causal")


class DepthwiseConv2D(_DepthwiseConv):
    """A convolution over images, of each channel by itself.

    ``y[i, j, c m + q] = activation(bias[c m + q] + sum over u, v of x[i s + u d, j s + v d, c] kernel[u, v,
    c, q])`` with m = depth_multiplier. Source:
    https://keras.io/api/layers/convolution_layers/depthwise_convolution2d/.

    Args:
        kernel_size: height and width of a window; one number for both.
        strides: pixels from one window to the next, down and to the right.
        padding: 'valid' (windows inside the image) or 'same' (zeros around it, so that with strides of 1 the
            output is as large as the input).
        depth_multiplier: channels of the output for each of the input.
        data_format: None or 'channels_last'.
        dilation_rate: pixels from one element of a window to the next.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        depthwise_initializer, bias_initializer: of the weights, (*kernel_size, channels, depth_multiplier)
            and (channels * depth_multiplier,).
        depthwise_regularizer, bias_regularizer, activity_regularizer: penalties, or None.
        depthwise_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: as `DepthwiseConv1D`.

    Input (batch, height, width, channels), output (batch, new height, new width, channels *
    depth_multiplier).

    >>> import numpy as np
    >>> DepthwiseConv2D(3, padding="same")(np.zeros((4, 32, 32, 3))).shape
    (4, 32, 32, 3)
    """

    rank = 2


class _SeparableConv(_Depthwise):
    """SeparableConv1D and SeparableConv2D: a record on the tape for each of the two convolutions."""

    weight_options: tuple[str, ...] = ("depthwise", "pointwise", "bias")

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Size = 1,
        depth_multiplier: int = 1,
        activation: ActivationSpec = None,
        use_bias: bool = True,
        depthwise_initializer: InitializerSpec = "glorot_uniform",
        pointwise_initializer: InitializerSpec = "glorot_uniform",
        bias_initializer: InitializerSpec = "zeros",
        depthwise_regularizer: RegularizerSpec = None,
        pointwise_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        activity_regularizer: RegularizerSpec = None,
        depthwise_constraint: ConstraintSpec = None,
        pointwise_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        **kwargs: Any,
    ) -> None:
        options = locals()
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self._set_options(options)
        self.filters = positive_int(filters, "filters", self)
        self.depthwise_kernel: Any = None
        self.pointwise_kernel: Any = None

    def build(self, input_shape: Shapes) -> None:
        channels = input_shape[-1]
        self.depthwise_kernel = self._add_depthwise("depthwise_kernel", channels)
        shape = (*(1,) * self.rank, channels * self.depth_multiplier, self.filters)
        self.pointwise_kernel = self._add_weight("pointwise_kernel", shape, "pointwise")
        self._add_bias(self.filters)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        y = convolve(tape.push(self), tape, x, self.depthwise_kernel.value, self._depthwise_sizes(x.shape))
        sizes = kernel_sizes(y.shape, (1,) * self.rank, self.filters)
        return convolve(tape.push(self), tape, y, self.pointwise_kernel.value, sizes, self._bias_value,
                        self.activation)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        dy = convolve_back(tape.pop(self), dy, self.pointwise_kernel, True, self.bias, self.activation)
        return convolve_back(tape.pop(self), dy, self.depthwise_kernel, need_dx)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "depth_multiplier": self.depth_multiplier,
            "filters": self.filters,
            **self._windows_config(),
            **self._weights_config(self.weight_options),
        }


class SeparableConv1D(_SeparableConv):
    """A convolution over time in two: of each channel by itself, then of the channels of each step.

    ``z[t, c m + q] = sum over v of x[t s + v d, c] depthwise_kernel[v, c, q]`` with m = depth_multiplier, and
    ``y[t] = activation(bias + z[t] pointwise_kernel[0])``.
    Source: https://keras.io/api/layers/convolution_layers/separable_convolution1d/.

    Args:
        filters: channels of the output.
        kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier: of the first of the two,
            as in `DepthwiseConv1D`.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        depthwise_initializer, pointwise_initializer, bias_initializer: of the weights, (kernel_size,
            channels, depth_multiplier), (1, channels * depth_multiplier, filters) and (filters,).
        depthwise_regularizer, pointwise_regularizer, bias_regularizer, activity_regularizer:
            penalties, or None.
        depthwise_constraint, pointwise_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: as `DepthwiseConv1D`.

    Input (batch, steps, channels), output (batch, new steps, filters). A mask cannot go through.

    >>> import numpy as np
    >>> SeparableConv1D(8, 3, padding="causal")(np.zeros((50, 64, 15))).shape
    (50, 64, 8)
    """

    rank = 1
    paddings: tuple[str, ...] = ("valid", "same", "causal")


class SeparableConv2D(_SeparableConv):
    """A convolution over images in two: of each channel by itself, then of the channels of each pixel.

    ``z[i, j, c m + q] = sum over u, v of x[i s + u d, j s + v d, c] depthwise_kernel[u, v, c, q]`` with m =
    depth_multiplier, and ``y[i, j] = activation(bias + z[i, j] pointwise_kernel[0, 0])``.
    Source: https://keras.io/api/layers/convolution_layers/separable_convolution2d/.

    Args:
        filters: channels of the output.
        kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier: of the first of the two,
            as in `DepthwiseConv2D`.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        depthwise_initializer, pointwise_initializer, bias_initializer: of the weights, (*kernel_size,
            channels, depth_multiplier), (1, 1, channels * depth_multiplier, filters) and (filters,).
        depthwise_regularizer, pointwise_regularizer, bias_regularizer, activity_regularizer: penalties, or
            None.
        depthwise_constraint, pointwise_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: as `DepthwiseConv1D`.

    Input (batch, height, width, channels), output (batch, new height, new width, filters).

    >>> import numpy as np
    >>> SeparableConv2D(16, 3, activation="relu")(np.zeros((4, 32, 32, 3))).shape
    (4, 30, 30, 16)
    """

    rank = 2


SeparableConvolution1D, SeparableConvolution2D = SeparableConv1D, SeparableConv2D
