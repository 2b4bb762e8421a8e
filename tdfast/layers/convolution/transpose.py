"""Transposed convolutions: what the derivative of a convolution does to its output's gradient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tdfast import _kernels, activations
from tdfast.layers.convolution import shapes
from tdfast.layers.convolution.conv import Convolving
from tdfast.layers.core import positive_int

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def transposed(n: int, window: int, stride: int, padding: str, more: Any) -> tuple[Any, ...]:
    """(the output's size, zeros before it) for which a convolution of the output has n windows.

    Args:
        n: size of the input.
        window: how much of the output a step of the input reaches, dilation included.
        stride: from the place of one step to that of the next.
        padding: 'valid' or 'same'.
        more: Keras's output_padding of this axis, or None.

    >>> transposed(4, 3, 2, "valid", None), transposed(4, 3, 2, "same", None), transposed(4, 5, 2, "same", 1)
    ((9, 0), (8, 0), (8, 1))
    """
    reach = (n - 1) * stride + window
    if padding == "valid":
        return reach + (max(stride - window, 0) if more is None else more), 0
    # below 0: the output reaches farther
    zeros = window - stride if more is None else window - window % 2 - more
    return reach - zeros, max(zeros // 2, 0)


class _ConvTranspose(Convolving):
    """Conv1DTranspose and its like: the kernels of a convolution from the output to the input."""

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        output_padding: int | Sequence[Any] | None = None,
        data_format: str | None = None,
        dilation_rate: Size = 1,
        activation: ActivationSpec = None,
        use_bias: bool = True,
        kernel_initializer: InitializerSpec = "glorot_uniform",
        bias_initializer: InitializerSpec = "zeros",
        kernel_regularizer: RegularizerSpec = None,
        bias_regularizer: RegularizerSpec = None,
        activity_regularizer: RegularizerSpec = None,
        kernel_constraint: ConstraintSpec = None,
        bias_constraint: ConstraintSpec = None,
        **kwargs: Any,
    ) -> None:
        options = locals()
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.filters = positive_int(filters, "filters", self)
        self._set_windows(kernel_size, strides, padding, data_format, dilation_rate, ("valid", "same"))
        self.output_padding: Any = None
        if output_padding is not None:
            self.output_padding = shapes.sizes_of(output_padding, self.rank, "output_padding", self, least=0)
            if any(more >= stride for more, stride in zip(self.output_padding, self.strides)):
                raise ValueError(
                    f"Layer '{self.name}' ({type(self).__name__}): output_padding must be below strides on "
                    "each axis, got "
                    f"output_padding={self.output_padding} and strides={self.strides}."
                )
        self._refuse_strides_with_dilation()
        self.activation = activations.get(activation, own=False)
        self.use_bias = self._flag(use_bias, "use_bias")
        self._set_weights_options(("kernel", "bias"), options)
        self.kernel: Any = None
        self.bias: Any = None

    def _axes(self, spatial: Sequence[Any]) -> list[Any]:
        """For each axis (size of the input or None, window, stride, padding, output_padding)."""
        more = self.output_padding or (None,) * self.rank
        return [(n, span, stride, self.padding, p) for n, span, stride,
                p in zip(spatial, self._window, self.strides, more)]

    def check_input_shape(self, input_shape: Shapes) -> None:
        shapes.check_rank(input_shape, self.rank, self)
        self._check_channels(input_shape)
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        spatial = tuple(None if axis[0] is None else transposed(*axis)[0]
                        for axis in self._axes(input_shape[1:-1]))
        if any(n is not None and n < 1 for n in (*input_shape[1:-1], *spatial)):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): an input of shape {tuple(input_shape)} would "
                "give an output of "
                f"shape {(input_shape[0], *spatial, self.filters)}. Use a larger output_padding, or "
                "padding='valid'."
            )
        return (input_shape[0], *spatial, self.filters)

    def build(self, input_shape: Shapes) -> None:
        self.kernel = self._add_weight("kernel", (*self.kernel_size, self.filters, input_shape[-1]))
        if self.use_bias:
            self.bias = self._add_weight("bias", (self.filters,))

    def _transposed_sizes(self, shape: Sizes) -> Any:
        """The kernels' sizes of the convolution whose windows make an input of this shape, from the
        output."""
        axes = []
        for axis, k, rate in zip(self._axes(shape[1:-1]), self.kernel_size, self.dilation_rate):
            n, span, stride, *_ = axis
            size, before = transposed(*axis)
            axes.append((size, k, stride, rate, n, before, max(before + size, (n - 1) * stride + span)))
        axes = [(1, 1, 1, 1, 1, 0, 1)] * (3 - len(axes)) + axes
        (D, kd, sd, dd, Do, front, Dp), (H, kh, sh, dh, Ho, top, Hp), (W, kw, sw, dw, Wo, left, Wp) = axes
        return _kernels.ConvSizes(
            groups=1, N=shape[0], D=D, H=H, W=W, C=self.filters, F=shape[-1], kd=kd, kh=kh, kw=kw,
            sd=sd, sh=sh, sw=sw, dd=dd, dh=dh, dw=dw, front=front, top=top, left=left, Dp=Dp, Hp=Hp, Wp=Wp,
            Do=Do, Ho=Ho, Wo=Wo,
        )

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec, act = tape.push(self), self.activation
        sizes = self._transposed_sizes(x.shape)
        y = rec.buffer("y", self.compute_output_shape(x.shape), x.dtype)
        z = rec.buffer("z", y.shape, x.dtype) if act.needs_input and tape.keep else None
        scratch = rec.buffer("scratch", (sizes.transpose_size,), x.dtype)
        bias = self.bias.value if self.use_bias else None
        _kernels.conv_transpose(sizes, act=act.kind, x=x, kernel=self.kernel.value, bias=bias, z=z, y=y,
                                scratch=scratch)
        if tape.keep:
            rec.sizes, rec.x, rec.z, rec.y = sizes, x, z, y
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec, act, linear = tape.pop(self), self.activation, activations.linear.kind
        x, sizes, dtype, rows = rec.x, rec.sizes, dy.dtype, (math.prod(dy.shape[:-1]), self.filters)
        if act is not activations.linear:
            _kernels.act_backward(act.kind, *rows, x=rec.z, y=rec.y, dy=dy, dx=dy)
        scratch = rec.buffer("scratch", (sizes.backward_size,), dtype)
        _kernels.conv_backward(sizes, act=linear, x=dy, kernel=self.kernel.value, dy=x,
                               dkernel=self.kernel.grad,
                               scratch=scratch)
        if self.use_bias:
            sums = rec.buffer("sums", (_kernels.sums_scratch_size(self.filters),), dtype)
            _kernels.column_sums(*rows, dy, sums, self.bias.grad)
        if not need_dx:
            return None
        packed, dx = rec.buffer("packed", (sizes.pack_size,), dtype), rec.buffer("dx", x.shape, dtype)
        _kernels.conv_pack(sizes, self.kernel.value, packed)
        scratch = rec.buffer("scratch", (sizes.forward_size,), dtype)
        _kernels.conv_forward(sizes, act=linear, x=dy, packed=packed, y=dx, scratch=scratch)
        return dx

    def get_config(self) -> Config:
        windows_config = self._windows_config()
        after = {name: windows_config.pop(name) for name in ("data_format", "dilation_rate")}
        return {
            **super().get_config(),
            "filters": self.filters,
            **windows_config,
            "output_padding": self.output_padding,
            **after,
            **self._weights_config(("kernel", "bias")),
        }


class Conv1DTranspose(_ConvTranspose):
    """A transposed convolution over time: each step of the input adds its window to the output.

    ``y = activation(bias + z)``, with ``z[t s + v d - b, f] = sum over all t, v, c of x[t, c] kernel[v, f,
    c]``, where b is what padding 'same' takes off the start. Source:
    https://keras.io/api/layers/convolution_layers/convolution1d_transpose/.

    Args:
        filters: channels of the output.
        kernel_size: steps of a window.
        strides: steps of the output from one window to the next.
        padding: 'valid' (the output is as long as the windows reach) or 'same' (as long as the input, times
            strides).
        output_padding: how long the output is, None for that: from 0 to strides - 1 steps more than (steps -
            1) * strides + window ('valid') or, for 'same', + 1 where the window (with its dilation) is odd, +
            0 where it is even.
        data_format: None or 'channels_last'.
        dilation_rate: steps from one element of a window to the next; above 1 only with strides of 1.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer: of the weights, (kernel_size, filters, channels) and (filters,).
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties, or None.
        kernel_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: for sizes that are not positive, output_padding not below strides, strides and
            dilation_rate both above 1, an output without steps, an input of another rank.

    Input (batch, steps, channels), output (batch, new steps, filters). A mask cannot go through.

    >>> import numpy as np
    >>> Conv1DTranspose(8, 3, strides=2, padding="same")(np.zeros((50, 64, 15))).shape
    (50, 128, 8)
    """

    rank = 1


class Conv2DTranspose(_ConvTranspose):
    """A transposed convolution over images: each pixel of the input adds its window to the output.

    ``y = activation(bias + z)``, with ``z[i s + u d - a, j s + v d - b, f] = sum over all i, j, u, v, c of
    x[i, j, c] kernel[u, v, f, c]``, where a and b are what padding 'same' takes off above and on the left.
    Source: https://keras.io/api/layers/convolution_layers/convolution2d_transpose/.

    Args:
        filters: channels of the output.
        kernel_size: height and width of a window; one number for both.
        strides: pixels of the output from one window to the next, down and to the right.
        padding: 'valid' (the output is as large as the windows reach) or 'same' (as large as the input, times
            strides).
        output_padding: how large the output is, as in `Conv1DTranspose`, for each axis; one number for both.
        data_format: None or 'channels_last'.
        dilation_rate: pixels from one element of a window to the next; above 1 only with strides of 1.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer: of the weights, (*kernel_size, filters, channels) and
            (filters,).
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties, or None.
        kernel_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: as `Conv1DTranspose`.

    Input (batch, height, width, channels), output (batch, new height, new width, filters).

    >>> import numpy as np
    >>> Conv2DTranspose(16, 3, strides=2)(np.zeros((4, 7, 7, 3))).shape
    (4, 15, 15, 16)
    """

    rank = 2


class Conv3DTranspose(_ConvTranspose):
    """A transposed convolution over volumes: each element of the input adds its window to the output.

    ``y = activation(bias + z)``, where z is the sum of these windows, as in `Conv2DTranspose` with one axis
    more. Source: https://keras.io/api/layers/convolution_layers/convolution3d_transpose/.

    Args:
        filters: channels of the output.
        kernel_size: depth, height and width of a window; one number for all three.
        strides: elements of the output from one window to the next, along each axis.
        padding: 'valid' (the output is as large as the windows reach) or 'same' (as large as the input, times
            strides).
        data_format: None or 'channels_last'.
        output_padding: how large the output is, as in `Conv1DTranspose`, for each axis; one number for all.
        dilation_rate: elements from one element of a window to the next; above 1 only with strides of 1.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer: of the weights, (*kernel_size, filters, channels) and
            (filters,).
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties, or None.
        kernel_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: as `Conv1DTranspose`.

    Input (batch, depth, height, width, channels), output (batch, new depth, new height, new width, filters).

    >>> import numpy as np
    >>> Conv3DTranspose(16, 3, strides=2)(np.zeros((4, 3, 7, 7, 3))).shape
    (4, 7, 15, 15, 16)
    """

    rank = 3

    def __init__(self, filters: int, kernel_size: Size, strides: Size = 1, padding: str = "valid",
                 data_format: str | None = None, output_padding: int | Sequence[Any] | None = None,
                 dilation_rate: Size = 1, activation: ActivationSpec = None, use_bias: bool = True,
                 kernel_initializer: InitializerSpec = "glorot_uniform",
                 bias_initializer: InitializerSpec = "zeros", kernel_regularizer: RegularizerSpec = None,
                 bias_regularizer: RegularizerSpec = None, activity_regularizer: RegularizerSpec = None,
                 kernel_constraint: ConstraintSpec = None, bias_constraint: ConstraintSpec = None,
                 **kwargs: Any) -> None:
        # Keras has data_format before output_padding here, and behind it in one and two dimensions.
        super().__init__(filters, kernel_size, strides, padding, output_padding, data_format, dilation_rate,
                         activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer,
                         bias_regularizer, activity_regularizer, kernel_constraint, bias_constraint, **kwargs)

Convolution1DTranspose, Convolution2DTranspose = Conv1DTranspose, Conv2DTranspose
Convolution3DTranspose = Conv3DTranspose
