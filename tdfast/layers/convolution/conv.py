"""Convolutions of sequences, images and volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast import _kernels, activations, constraints, initializers, regularizers
from tdfast.engine.layer import Layer
from tdfast.layers.convolution import shapes
from tdfast.layers.core import positive_int, weight_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import (
        ActivationSpec,
        Array,
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


def kernel_sizes(shape: Sizes, window: Sequence[Any], filters: int, strides: Any = (1, 1, 1),
                 dilation: Sequence[Any] = (1, 1, 1), padding: str = "valid", groups: int = 1) -> Any:
    """The sizes that the convolution kernels take, for inputs of this shape.

    Args:
        shape: (N, D, H, W, C) of volumes, (N, H, W, C) of images, which are volumes of depth 1, or (N, T, C)
            of sequences, which are images of height 1.
        window, strides, dilation: one number for each axis between batch and channels.
        filters, padding, groups: as in `Conv2D`.
    """
    N, *spatial, C = shape
    axes = [
        (size, k, stride, rate, *shapes.placed(size, (k - 1) * rate + 1, stride, padding))
        for size, k, stride, rate in zip(spatial, window, strides, dilation)
    ]
    axes = [(1, 1, 1, 1, 1, 0, 0)] * (3 - len(axes)) + axes
    (D, kd, sd, dd, Do, front, behind), (H, kh, sh, dh, Ho, top, below), last = axes
    W, kw, sw, dw, Wo, left, right = last
    return _kernels.ConvSizes(
        groups=groups, N=N, D=D, H=H, W=W, C=C, F=filters, kd=kd, kh=kh, kw=kw, sd=sd, sh=sh, sw=sw,
        dd=dd, dh=dh, dw=dw, front=front, top=top, left=left, Dp=front + D + behind, Hp=top + H + below,
        Wp=left + W + right, Do=Do, Ho=Ho, Wo=Wo,
    )


def convolve(rec: Record, tape: Tape, x: Arrays, kernel: Array, sizes: Any, bias: Array | None = None,
             activation: Any = activations.linear) -> Array:
    """The convolution of x with a kernel's value; leaves on the record what `convolve_back` needs.

    Args:
        rec: the record of this convolution alone.
        sizes: what `kernel_sizes` gives.
        bias: its value, or None.
    """
    rec.sizes = sizes
    packed, ready = rec.packed_weights(tape, kernel, (sizes.pack_size,), x.dtype)
    if not ready:
        _kernels.conv_pack(sizes, kernel, packed)
    y = rec.buffer("y", sizes.output(x.ndim), x.dtype)
    z = rec.buffer("z", y.shape, x.dtype) if activation.needs_input and tape.keep else None
    scratch = rec.buffer("scratch", (sizes.forward_size,), x.dtype)
    _kernels.conv_forward(sizes, act=activation.kind, x=x, packed=packed, bias=bias, z=z, y=y,
                          scratch=scratch)
    if tape.keep:
        rec.x, rec.z, rec.y = x, z, y
    return y


def convolve_back(rec: Record, dy: Arrays, kernel: Variable, need_dx: bool, bias: Variable | None = None,
                  activation: Any = activations.linear) -> Any:
    """dx (or None) of `convolve`; writes the gradients of the variables kernel and bias (or None)."""
    dx = rec.buffer("dx", rec.x.shape, dy.dtype) if need_dx else None
    scratch = rec.buffer("scratch", (rec.sizes.backward_size,), dy.dtype)
    _kernels.conv_backward(
        rec.sizes, act=activation.kind, x=rec.x, kernel=kernel.value, z=rec.z, y=rec.y, dy=dy, dx=dx,
        dkernel=kernel.grad, dbias=None if bias is None else bias.grad, scratch=scratch,
    )
    return dx


class Convolving(Layer):
    """What all convolutions share: their windows, and the options of their weights."""

    activation: Any
    filters: int
    use_bias: Any

    rank: Any = None
    supports_masking = False

    def _set_windows(self, kernel_size: Any, strides: Any, padding: Any, data_format: Any,
                     dilation_rate: Size, paddings: Sequence[Any]) -> None:
        self.kernel_size = shapes.sizes_of(kernel_size, self.rank, "kernel_size", self)
        self.strides = shapes.sizes_of(strides, self.rank, "strides", self)
        self.dilation_rate = shapes.sizes_of(dilation_rate, self.rank, "dilation_rate", self)
        self.padding = shapes.one_of(padding, paddings, "padding", self)
        self.data_format = shapes.channels_last(data_format, self)

    def _refuse_strides_with_dilation(self) -> None:
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): strides and dilation_rate cannot both be "
                "above 1, got "
                f"strides={self.strides} and dilation_rate={self.dilation_rate}."
            )

    def _set_weights_options(self, names: Sequence[Any], options: dict[str, Any]) -> None:
        """Initializer, regularizer and constraint of each weight, from keyword arguments."""
        for module, kind in ((initializers, "initializer"), (regularizers, "regularizer"),
                             (constraints, "constraint")):
            for name in names:
                setattr(self, f"{name}_{kind}", module.get(options[f"{name}_{kind}"]))

    def _add_weight(self, name: str, shape: Sizes, options: str | None = None) -> Variable:
        """A weight with the initializer, regularizer and constraint called after it, or after ``options``."""
        options = options or name
        return self.add_weight(
            shape, getattr(self, f"{options}_initializer"), name,
            regularizer=getattr(self, f"{options}_regularizer"),
            constraint=getattr(self, f"{options}_constraint"),
        )

    def check_input_shape(self, input_shape: Shapes) -> None:
        shapes.check_rank(input_shape, self.rank, self)
        shapes.output_sizes(input_shape[1:-1], self._window, self.strides, self.padding, self)
        self._check_channels(input_shape)

    def _check_channels(self, input_shape: Shapes) -> None:
        if self.built and input_shape[-1] != self.input_shape[-1]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) was built for {self.input_shape[-1]} channels "
                "in the "
                f"last axis, but got input of shape {tuple(input_shape)}."
            )

    def treats_steps_alone(self, shape: Sizes) -> bool:
        return len(shape) == 3 and self._window == self.strides == (1,)

    @property
    def _window(self) -> tuple[Any, ...]:
        """What a window spans of each axis."""
        return tuple((k - 1) * rate + 1 for k, rate in zip(self.kernel_size, self.dilation_rate))

    def _output_channels(self, channels: int) -> int:
        return self.filters

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        spatial = shapes.output_sizes(input_shape[1:-1], self._window, self.strides, self.padding, self)
        return (input_shape[0], *spatial, self._output_channels(input_shape[-1]))

    def _sizes(self, shape: Sizes, filters: int, groups: int = 1) -> Any:
        """The kernels' sizes for an input of this shape."""
        return kernel_sizes(shape, self.kernel_size, filters, self.strides, self.dilation_rate, self.padding,
                            groups)

    def _windows_config(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }

    def _weights_config(self, names: Sequence[Any]) -> dict[str, Any]:
        return {
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            **weight_config(self, names, ("initializer", "regularizer")),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            **weight_config(self, names, ("constraint",)),
        }


class _Conv(Convolving):
    """Conv1D, Conv2D and Conv3D."""

    paddings: tuple[str, ...] = ("valid", "same")

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Size = 1,
        groups: int = 1,
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
        self.groups = positive_int(groups, "groups", self)
        self._set_windows(kernel_size, strides, padding, data_format, dilation_rate, self.paddings)
        self.activation = activations.get(activation, own=False)
        self.use_bias = self._flag(use_bias, "use_bias")
        self._set_weights_options(("kernel", "bias"), options)
        self.kernel: Any = None
        self.bias: Any = None
        if self.filters % self.groups:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): groups must divide filters, got "
                f"filters={self.filters} "
                f"and groups={self.groups}."
            )
        self._refuse_strides_with_dilation()

    def build(self, input_shape: Shapes) -> None:
        channels = input_shape[-1]
        if channels % self.groups:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): groups must divide the input's channels, got "
                f"groups={self.groups} and input of shape {tuple(input_shape)}, with {channels} channels."
            )
        self.kernel = self._add_weight("kernel", (*self.kernel_size, channels // self.groups, self.filters))
        if self.use_bias:
            self.bias = self._add_weight("bias", (self.filters,))

    def can_be_prepared(self, training: bool) -> bool:
        return True

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        sizes = self._sizes(x.shape, self.filters, self.groups)
        bias = self.bias.value if self.use_bias else None
        return convolve(tape.push(self), tape, x, self.kernel.value, sizes, bias, self.activation)

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        return convolve_back(tape.pop(self), dy, self.kernel, need_dx, self.bias, self.activation)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            **self._windows_config(),
            "groups": self.groups,
            **self._weights_config(("kernel", "bias")),
        }


class Conv1D(_Conv):
    """A convolution over time: ``y[t, f] = activation(bias[f] + sum over v, c of x[t s + v d, c] kernel[v, c,
    f])``.

    Source: https://keras.io/api/layers/convolution_layers/convolution1d/.

    Args:
        filters: channels of the output.
        kernel_size: steps of a window.
        strides: steps from one window to the next.
        padding: 'valid' (windows inside the sequence), 'same' (zeros around it, so that with strides of 1
            the output is as long as the input) or 'causal' (all zeros before it: a step sees none after it).
        data_format: None or 'channels_last'.
        dilation_rate: steps from one element of a window to the next; above 1 only with strides of 1.
        groups: parts into which channels and filters fall; each group of filters sees its own channels.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer: of the weights, (kernel_size, channels / groups, filters) and
            (filters,).
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties, or None.
        kernel_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: for sizes that are not positive, filters or channels that groups does not divide, strides
            and dilation_rate both above 1, a window that does not fit, an input of another rank.

    Input (batch, steps, channels), output (batch, new steps, filters). A mask cannot go through.

    >>> import numpy as np
    >>> Conv1D(8, 3, padding="causal")(np.zeros((50, 64, 15))).shape
    (50, 64, 8)
    """

    rank = 1
    paddings: tuple[str, ...] = ("valid", "same", "causal")


class Conv2D(_Conv):
    """A convolution over images: each output pixel is a weighted sum of the window around it.

    ``y[i, j, f] = activation(bias[f] + sum over u, v, c of x[i s + u d, j s + v d, c] kernel[u, v, c, f])``.
    Source: https://keras.io/api/layers/convolution_layers/convolution2d/.

    Args:
        filters: channels of the output.
        kernel_size: height and width of a window; one number for both.
        strides: pixels from one window to the next, down and to the right.
        padding: 'valid' (windows inside the image) or 'same' (zeros around it, so that with strides of 1 the
            output is as large as the input).
        data_format: None or 'channels_last'.
        dilation_rate: pixels from one element of a window to the next; above 1 only with strides of 1.
        groups: parts into which channels and filters fall; each group of filters sees its own channels.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer: of the weights, (*kernel_size, channels / groups, filters) and
            (filters,).
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties, or None.
        kernel_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: as `Conv1D`.

    Input (batch, height, width, channels), output (batch, new height, new width, filters).

    >>> import numpy as np
    >>> Conv2D(16, 3, activation="relu")(np.zeros((4, 32, 32, 3))).shape
    (4, 30, 30, 16)
    """

    rank = 2


class Conv3D(_Conv):
    """A convolution over volumes: each output element is a weighted sum of the window around it.

    ``y[h, i, j, f] = activation(bias[f] + sum over t, u, v, c of x[h s + t d, i s + u d, j s + v d, c]
    kernel[t, u, v, c, f])``. Source: https://keras.io/api/layers/convolution_layers/convolution3d/.

    Args:
        filters: channels of the output.
        kernel_size: depth, height and width of a window; one number for all three.
        strides: elements from one window to the next, along each axis; one number for all three.
        padding: 'valid' (windows inside the volume) or 'same' (zeros around it, so that with strides of 1 the
            output is as large as the input).
        data_format: None or 'channels_last'.
        dilation_rate: elements from one element of a window to the next; above 1 only with strides of 1.
        groups: parts into which channels and filters fall; each group of filters sees its own channels.
        activation: a name or object of `tdfast.activations`; None is linear.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer: of the weights, (*kernel_size, channels / groups, filters) and
            (filters,).
        kernel_regularizer, bias_regularizer, activity_regularizer: penalties, or None.
        kernel_constraint, bias_constraint: projections after each update, or None.

    Raises:
        ValueError: as `Conv1D`.

    Input (batch, depth, height, width, channels), output (batch, new depth, new height, new width, filters).

    >>> import numpy as np
    >>> Conv3D(16, 3, activation="relu")(np.zeros((4, 16, 32, 32, 3))).shape
    (4, 14, 30, 30, 16)
    """

    rank = 3


Convolution1D, Convolution2D, Convolution3D = Conv1D, Conv2D, Conv3D
