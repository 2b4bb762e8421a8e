"""Pooling: the largest or the mean value of windows, or of whole sequences, images and volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast import _kernels
from tdfast.engine.layer import Layer
from tdfast.layers.convolution import shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Config, Masks, Shapes, Size, Sizes


def kernel_sizes(shape: Sizes, window: Sequence[Any], strides: Any, padding: str) -> Any:
    """The sizes that the pooling kernels take, for inputs of shape (N, D, H, W, C), (N, H, W, C) or (N, T,
    C)."""
    N, *spatial, C = shape
    axes = [
        (size, k, stride, *shapes.placed(size, k, stride, padding)[:2])
        for size, k, stride in zip(spatial, window, strides)
    ]
    axes = [(1, 1, 1, 1, 0)] * (3 - len(axes)) + axes
    (D, kd, sd, Do, front), (H, kh, sh, Ho, top), (W, kw, sw, Wo, left) = axes
    return _kernels.PoolSizes(
        N=N, D=D, H=H, W=W, C=C, kd=kd, kh=kh, kw=kw, sd=sd, sh=sh, sw=sw, front=front, top=top, left=left,
        Do=Do, Ho=Ho, Wo=Wo,
    )


class _Pooling(Layer):
    """The calls of the kernels."""

    built_at_once = True

    rank: Any = None
    mean = False
    supports_masking = False

    def check_input_shape(self, input_shape: Shapes) -> None:
        shapes.check_rank(input_shape, self.rank, self)

    def _pool(self, rec: Record, tape: Tape, x: Arrays, shape: Sizes, sizes: Any,
              mask: Masks = None) -> Array:
        y = rec.buffer("y", shape, x.dtype)
        _kernels.pool_forward(sizes, mean=self.mean, x=x, mask=mask, y=y)
        if tape.keep:
            rec.sizes, rec.shape, rec.mask = sizes, x.shape, mask
            rec.x, rec.y = (None, None) if self.mean else (x, y)
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        dx = rec.buffer("dx", rec.shape, dy.dtype)
        _kernels.pool_backward(rec.sizes, mean=self.mean, x=rec.x, mask=rec.mask, y=rec.y, dy=dy, dx=dx)
        return dx


class _Windows(_Pooling):
    """MaxPooling and AveragePooling."""

    def __init__(self, pool_size: Size = 2, strides: Any | None = None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.pool_size = shapes.sizes_of(pool_size, self.rank, "pool_size", self)
        self.strides = (
            self.pool_size if strides is None else shapes.sizes_of(strides, self.rank, "strides", self)
        )
        self.padding = shapes.one_of(padding, ("valid", "same"), "padding", self)
        self.data_format = shapes.channels_last(data_format, self)

    def check_input_shape(self, input_shape: Shapes) -> None:
        super().check_input_shape(input_shape)
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        spatial = shapes.output_sizes(input_shape[1:-1], self.pool_size, self.strides, self.padding, self,
                                      "pool_size")
        return (input_shape[0], *spatial, input_shape[-1])

    def can_be_prepared(self, training: bool) -> bool:
        return True

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        sizes = kernel_sizes(x.shape, self.pool_size, self.strides, self.padding)
        return self._pool(tape.push(self), tape, x, sizes.output(x.ndim), sizes)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "padding": self.padding,
            "strides": self.strides,
            "data_format": self.data_format,
        }


class MaxPooling1D(_Windows):
    """The largest value of each window of steps, channel by channel.

    The gradient goes to the first of several equal ones. Source:
    https://keras.io/api/layers/pooling_layers/max_pooling1d/.

    Args:
        pool_size: steps of a window.
        strides: steps from one window to the next; None is pool_size.
        padding: 'valid' (windows inside the sequence; steps left over at its end take no part) or 'same'
            (a window for every stride that begins in it; what lies outside takes no part).
        data_format: None or 'channels_last'.

    Raises:
        ValueError: for sizes that are not positive, a window that does not fit, an input of another rank.

    Input (batch, steps, channels), output (batch, new steps, channels). A mask cannot go through.

    >>> MaxPooling1D()([[[1.0], [3.0], [2.0], [0.0]]]).tolist()
    [[[3.0], [2.0]]]
    """

    rank = 1


class MaxPooling2D(_Windows):
    """The largest value of each window of pixels, channel by channel.

    The gradient goes to the first of several equal ones, row by row. Source:
    https://keras.io/api/layers/pooling_layers/max_pooling2d/.

    Args:
        pool_size: height and width of a window; one number for both.
        strides: pixels from one window to the next; None is pool_size.
        padding: 'valid' (windows inside the image; pixels left over take no part) or 'same' (a window for
            every stride that begins in it; what lies outside takes no part).
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `MaxPooling1D`.

    Input (batch, height, width, channels), output (batch, new height, new width, channels).

    >>> import numpy as np
    >>> MaxPooling2D()(np.zeros((4, 15, 15, 3))).shape
    (4, 7, 7, 3)
    """

    rank = 2


class MaxPooling3D(_Windows):
    """The largest value of each window of a volume, channel by channel.

    The gradient goes to the first of several equal ones, plane by plane and row by row. Source:
    https://keras.io/api/layers/pooling_layers/max_pooling3d/.

    Args:
        pool_size: depth, height and width of a window; one number for all three.
        strides: elements from one window to the next, along each axis; None is pool_size.
        padding: 'valid' (windows inside the volume; elements left over take no part) or 'same' (a window for
            every stride that begins in it; what lies outside takes no part).
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `MaxPooling1D`.

    Input (batch, depth, height, width, channels), output (batch, new depth, new height, new width, channels).

    >>> import numpy as np
    >>> MaxPooling3D((1, 2, 2))(np.zeros((4, 6, 15, 15, 3))).shape
    (4, 6, 7, 7, 3)
    """

    rank = 3


class AveragePooling1D(_Windows):
    """The mean of each window of steps, channel by channel; what lies outside the sequence is not counted.

    Source: https://keras.io/api/layers/pooling_layers/average_pooling1d/.

    Args:
        pool_size, strides, padding, data_format: as in `MaxPooling1D`.

    Raises:
        ValueError: as `MaxPooling1D`.

    Input (batch, steps, channels), output (batch, new steps, channels). A mask cannot go through.

    >>> AveragePooling1D(2, padding="same")([[[1.0], [3.0], [5.0]]]).tolist()
    [[[2.0], [5.0]]]
    """

    rank = 1
    mean = True

    def __init__(self, pool_size: Size, strides: Any | None = None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class AveragePooling2D(_Windows):
    """The mean of each window of pixels, channel by channel; what lies outside the image is not counted.

    Source: https://keras.io/api/layers/pooling_layers/average_pooling2d/.

    Args:
        pool_size, strides, padding, data_format: as in `MaxPooling2D`.

    Raises:
        ValueError: as `MaxPooling1D`.

    Input (batch, height, width, channels), output (batch, new height, new width, channels).

    >>> import numpy as np
    >>> AveragePooling2D(3, strides=2, padding="same")(np.zeros((4, 15, 15, 3))).shape
    (4, 8, 8, 3)
    """

    rank = 2
    mean = True

    def __init__(self, pool_size: Size, strides: Any | None = None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class AveragePooling3D(_Windows):
    """The mean of each window of a volume, channel by channel; what lies outside the volume is not counted.

    Source: https://keras.io/api/layers/pooling_layers/average_pooling3d/.

    Args:
        pool_size, strides, padding, data_format: as in `MaxPooling3D`.

    Raises:
        ValueError: as `MaxPooling1D`.

    Input (batch, depth, height, width, channels), output (batch, new depth, new height, new width, channels).

    >>> import numpy as np
    >>> AveragePooling3D(3, strides=2, padding="same")(np.zeros((4, 6, 15, 15, 3))).shape
    (4, 3, 8, 8, 3)
    """

    rank = 3
    mean = True

    def __init__(self, pool_size: Size, strides: Any | None = None, padding: str = "valid",
                 data_format: str | None = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class _Global(_Pooling):
    """GlobalMaxPooling and GlobalAveragePooling: one window."""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = shapes.channels_last(data_format, self)
        self.keepdims = self._flag(keepdims, "keepdims")

    def check_input_shape(self, input_shape: Shapes) -> None:
        super().check_input_shape(input_shape)
        if 0 in input_shape[1:-1]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): nothing to pool in an input of shape "
                f"{tuple(input_shape)}."
            )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return (input_shape[0], *((1,) * self.rank if self.keepdims else ()), input_shape[-1])

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        whole = x.shape[1:-1]
        sizes = kernel_sizes(x.shape, whole, whole, "valid")
        mask = mask if self.supports_masking else None          # `compute_mask` refuses it
        return self._pool(tape.push(self), tape, x, self.compute_output_shape(x.shape), sizes, mask)

    def get_config(self) -> Config:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class GlobalMaxPooling1D(_Global):
    """The largest value of each channel over all steps.

    Source: https://keras.io/api/layers/pooling_layers/global_max_pooling1d/.

    Args:
        data_format: None or 'channels_last'.
        keepdims: keep the axis of steps, with one step.

    Input (batch, steps, channels), output (batch, channels), or (batch, 1, channels) with keepdims. A mask
    cannot go through.

    >>> GlobalMaxPooling1D()([[[1.0, 5.0], [3.0, 2.0]]]).tolist()
    [[3.0, 5.0]]
    """

    rank = 1


class GlobalMaxPooling2D(_Global):
    """The largest value of each channel over the whole image.

    Source: https://keras.io/api/layers/pooling_layers/global_max_pooling2d/.

    Args:
        data_format: None or 'channels_last'.
        keepdims: keep height and width, with one pixel.

    Input (batch, height, width, channels), output (batch, channels), or (batch, 1, 1, channels).

    >>> import numpy as np
    >>> GlobalMaxPooling2D(keepdims=True)(np.zeros((4, 5, 6, 3))).shape
    (4, 1, 1, 3)
    """

    rank = 2


class GlobalMaxPooling3D(_Global):
    """The largest value of each channel over the whole volume.

    Source: https://keras.io/api/layers/pooling_layers/global_max_pooling3d/.

    Args:
        data_format: None or 'channels_last'.
        keepdims: keep depth, height and width, with one element.

    Input (batch, depth, height, width, channels), output (batch, channels), or (batch, 1, 1, 1, channels).

    >>> import numpy as np
    >>> GlobalMaxPooling3D(keepdims=True)(np.zeros((4, 3, 5, 6, 2))).shape
    (4, 1, 1, 1, 2)
    """

    rank = 3


class GlobalAveragePooling1D(_Global):
    """The mean of each channel over all steps, or over those that the mask leaves.

    A row without a single valid step gives 0 (in Keras NaN, from 0 / 0). Source:
    https://keras.io/api/layers/pooling_layers/global_average_pooling1d/.

    Args:
        data_format: None or 'channels_last'.
        keepdims: keep the axis of steps, with one step.

    Input (batch, steps, channels), output (batch, channels), or (batch, 1, channels) with keepdims; the mask
    ends here.

    >>> import numpy as np
    >>> GlobalAveragePooling1D()([[[1.0], [3.0], [8.0]]], mask=np.array([[True, True, False]])).tolist()
    [[2.0]]
    """

    rank = 1
    mean = True
    supports_masking = True

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        """None: the steps are gone."""


class GlobalAveragePooling2D(_Global):
    """The mean of each channel over the whole image.

    Source: https://keras.io/api/layers/pooling_layers/global_average_pooling2d/.

    Args:
        data_format: None or 'channels_last'.
        keepdims: keep height and width, with one pixel.

    Input (batch, height, width, channels), output (batch, channels), or (batch, 1, 1, channels).

    >>> import numpy as np
    >>> GlobalAveragePooling2D()(np.ones((2, 5, 6, 3))).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    rank = 2
    mean = True


class GlobalAveragePooling3D(_Global):
    """The mean of each channel over the whole volume.

    Source: https://keras.io/api/layers/pooling_layers/global_average_pooling3d/.

    Args:
        data_format: None or 'channels_last'.
        keepdims: keep depth, height and width, with one element.

    Input (batch, depth, height, width, channels), output (batch, channels), or (batch, 1, 1, 1, channels).

    >>> import numpy as np
    >>> GlobalAveragePooling3D()(np.ones((2, 3, 5, 6, 2))).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    rank = 3
    mean = True


class _Adaptive(_Pooling):
    """AdaptiveMaxPooling and AdaptiveAveragePooling: a given number of windows, whatever the input's size."""

    built_at_once = False               # as in Keras

    def __init__(self, output_size: Size, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_size = shapes.sizes_of(output_size, self.rank, "output_size", self)
        self.data_format = shapes.channels_last(data_format, self)

    def check_input_shape(self, input_shape: Shapes) -> None:
        super().check_input_shape(input_shape)
        if 0 in input_shape[1:-1]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): nothing to pool in an input of shape "
                f"{tuple(input_shape)}."
            )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return (input_shape[0], *self.output_size, input_shape[-1])

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        D, H, W = [1] * (5 - x.ndim) + list(x.shape[1:-1])
        Do, Ho, Wo = [1] * (5 - x.ndim) + list(self.output_size)
        sizes = _kernels.PoolSizes(
            N=x.shape[0], D=D, H=H, W=W, C=x.shape[-1], kd=1, kh=1, kw=1, sd=1, sh=1, sw=1, front=0, top=0,
            left=0, Do=Do, Ho=Ho, Wo=Wo, adaptive=True,
        )
        return self._pool(tape.push(self), tape, x, sizes.output(x.ndim), sizes)

    def get_config(self) -> Config:
        return {**super().get_config(), "output_size": self.output_size, "data_format": self.data_format}


class AdaptiveMaxPooling1D(_Adaptive):
    """The largest value of each of a given number of windows of steps, channel by channel.

    Window i of n goes from ``floor(i * steps / n)`` to ``ceil((i + 1) * steps / n)``: where n divides steps,
    the windows lie side by side; elsewhere some overlap by a step. The gradient goes to the first of several
    equal values. Source:
    https://keras.io/api/layers/pooling_layers/adaptive_max_pooling1d/.

    Args:
        output_size: the number of windows.
        data_format: None or 'channels_last'.

    Raises:
        ValueError: for sizes that are not positive whole numbers, an input of another rank or without steps.

    Input (batch, steps, channels), output (batch, output_size, channels). A mask cannot go through.

    >>> AdaptiveMaxPooling1D(2)([[[1.0], [3.0], [2.0], [0.0], [1.0]]]).tolist()
    [[[3.0], [2.0]]]
    """

    rank = 1


class AdaptiveMaxPooling2D(_Adaptive):
    """The largest value of each of a given number of windows of pixels, channel by channel.

    The windows are those of `AdaptiveMaxPooling1D`, along each axis. Source:
    https://keras.io/api/layers/pooling_layers/adaptive_max_pooling2d/.

    Args:
        output_size: how many windows along the height and the width; one number for both.
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `AdaptiveMaxPooling1D`.

    Input (batch, height, width, channels), output (batch, *output_size, channels).

    >>> import numpy as np
    >>> AdaptiveMaxPooling2D((3, 2))(np.zeros((4, 9, 7, 3))).shape
    (4, 3, 2, 3)
    """

    rank = 2


class AdaptiveMaxPooling3D(_Adaptive):
    """The largest value of each of a given number of windows of a volume, channel by channel.

    The windows are those of `AdaptiveMaxPooling1D`, along each axis. Source:
    https://keras.io/api/layers/pooling_layers/adaptive_max_pooling3d/.

    Args:
        output_size: how many windows along depth, height and width; one number for all three.
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `AdaptiveMaxPooling1D`.

    Input (batch, depth, height, width, channels), output (batch, *output_size, channels).

    >>> import numpy as np
    >>> AdaptiveMaxPooling3D(2)(np.zeros((4, 5, 9, 7, 3))).shape
    (4, 2, 2, 2, 3)
    """

    rank = 3


class AdaptiveAveragePooling1D(_Adaptive):
    """The mean of each of a given number of windows of steps, channel by channel.

    The windows are those of `AdaptiveMaxPooling1D`. Source:
    https://keras.io/api/layers/pooling_layers/adaptive_average_pooling1d/.

    Args:
        output_size: the number of windows.
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `AdaptiveMaxPooling1D`.

    Input (batch, steps, channels), output (batch, output_size, channels). A mask cannot go through.

    >>> AdaptiveAveragePooling1D(2)([[[1.0], [3.0], [2.0], [0.0], [1.0]]]).tolist()
    [[[2.0], [1.0]]]
    """

    rank = 1
    mean = True


class AdaptiveAveragePooling2D(_Adaptive):
    """The mean of each of a given number of windows of pixels, channel by channel.

    The windows are those of `AdaptiveMaxPooling1D`, along each axis. Source:
    https://keras.io/api/layers/pooling_layers/adaptive_average_pooling2d/.

    Args:
        output_size: how many windows along the height and the width; one number for both.
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `AdaptiveMaxPooling1D`.

    Input (batch, height, width, channels), output (batch, *output_size, channels).

    >>> import numpy as np
    >>> AdaptiveAveragePooling2D((3, 2))(np.zeros((4, 9, 7, 3))).shape
    (4, 3, 2, 3)
    """

    rank = 2
    mean = True


class AdaptiveAveragePooling3D(_Adaptive):
    """The mean of each of a given number of windows of a volume, channel by channel.

    The windows are those of `AdaptiveMaxPooling1D`, along each axis. Source:
    https://keras.io/api/layers/pooling_layers/adaptive_average_pooling3d/.

    Args:
        output_size: how many windows along depth, height and width; one number for all three.
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `AdaptiveMaxPooling1D`.

    Input (batch, depth, height, width, channels), output (batch, *output_size, channels).

    >>> import numpy as np
    >>> AdaptiveAveragePooling3D(2)(np.zeros((4, 5, 9, 7, 3))).shape
    (4, 2, 2, 2, 3)
    """

    rank = 3
    mean = True


MaxPool1D, MaxPool2D, MaxPool3D = MaxPooling1D, MaxPooling2D, MaxPooling3D
AvgPool1D, AvgPool2D, AvgPool3D = AveragePooling1D, AveragePooling2D, AveragePooling3D
GlobalMaxPool1D, GlobalMaxPool2D, GlobalMaxPool3D = GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
