"""Layers that change how many steps or pixels there are: ZeroPadding, Cropping, UpSampling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.layer import Layer
from tdfast.layers.convolution import shapes
from tdfast.layers.core import positive_int

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.types import Array, Arrays, Config, Masks, Shapes, Size, Sizes

CACHED = 2**15
"""How many numbers of its input UpSampling works on at a time."""


class _Resizing(Layer):
    """A layer whose axes between batch and channels get other sizes; in one dimension the mask goes along."""

    _new_mask: Any
    _new_size: Any

    rank: Any = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = self.rank == 1

    def check_input_shape(self, input_shape: Shapes) -> None:
        shapes.check_rank(input_shape, self.rank, self)
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        spatial = (None if n is None else self._new_size(n, axis) for axis, n in enumerate(input_shape[1:-1]))
        return (input_shape[0], *spatial, input_shape[-1])

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        mask = super().compute_mask(inputs, mask)
        return mask if mask is None else self._new_mask(mask)


def borders(value: Any, rank: int, name: str, layer: Layer) -> tuple[Any, ...]:
    """A pair (before, behind) for each of ``rank`` axes, from Keras's forms of them.

    Args:
        value: one whole number for all; for one axis a pair; for several a number or a pair for each.
        name: of the argument, for errors.
    """
    if rank == 1:
        return (shapes.sizes_of(value, 2, name, layer, least=0),)
    each = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(each) != rank:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): {name} must be a whole number, or {rank} of "
            f"them, or {rank} "
            f"pairs ({'(front, back), ' if rank == 3 else ''}(top, bottom), (left, right)), got {value!r}."
        )
    return tuple(shapes.sizes_of(pair, 2, name, layer, least=0) for pair in each)


class _Borders(_Resizing):
    """ZeroPadding and Cropping: the smaller of input and output lies inside the larger."""

    def _inside(self, borders: Sequence[Any], larger: Array) -> Array:
        """Where the smaller array lies in ``larger``."""
        cut = (slice(before, size - behind) for (before, behind), size in zip(borders, larger.shape[1:]))
        return larger[(slice(None), *cut)]


class _ZeroPadding(_Borders):
    """ZeroPadding1D, ZeroPadding2D and ZeroPadding3D."""

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = shapes.channels_last(data_format, self)
        self._borders = borders(padding, self.rank, "padding", self)
        self.padding = self._borders if self.rank > 1 else self._borders[0]

    def _new_size(self, n: int, axis: int) -> int:
        return n + sum(self._borders[axis])

    def _new_mask(self, mask: Masks) -> Array:
        out = np.zeros((len(mask), self._new_size(mask.shape[1], 0), *mask.shape[2:]), bool)
        self._inside(self._borders, out)[...] = mask
        return out

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        y = tape.push(self).buffer("y", self.compute_output_shape(x.shape), x.dtype)
        y.fill(0)
        self._inside(self._borders, y)[...] = x
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        inside = self._inside(self._borders, dy)
        dx = rec.buffer("dx", inside.shape, dy.dtype)
        dx[...] = inside
        return dx

    def get_config(self) -> Config:
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and behind the steps of a sequence.

    Source: https://keras.io/api/layers/reshaping_layers/zero_padding1d/.

    Args:
        padding: how many steps of zeros before and behind; one number for both.
        data_format: None or 'channels_last'.

    Raises:
        ValueError: for numbers that are negative or not whole, an input of another rank.

    Input (batch, steps, channels), output (batch, before + steps + behind, channels). A mask goes along: the
    new steps do not count (Keras drops it, with a warning).

    >>> ZeroPadding1D((2, 0))([[[1.0], [3.0]]]).tolist()
    [[[0.0], [0.0], [1.0], [3.0]]]
    """

    rank = 1


class ZeroPadding2D(_ZeroPadding):
    """Zeros around an image.

    Source: https://keras.io/api/layers/reshaping_layers/zero_padding2d/.

    Args:
        padding: how many pixels of zeros: one number for all sides, or (above and below, left and right), or
            ((above, below), (left, right)).
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `ZeroPadding1D`.

    Input (batch, height, width, channels), output (batch, new height, new width, channels).

    >>> import numpy as np
    >>> ZeroPadding2D(((1, 0), (2, 2)))(np.zeros((4, 5, 6, 3))).shape
    (4, 6, 10, 3)
    """

    rank = 2


class ZeroPadding3D(_ZeroPadding):
    """Zeros around a volume.

    Source: https://keras.io/api/layers/reshaping_layers/zero_padding3d/.

    Args:
        padding: how many elements of zeros: one number for all sides, or three, for depth, height and width,
            or ((front, back), (above, below), (left, right)).
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `ZeroPadding1D`.

    Input (batch, depth, height, width, channels), output (batch, new depth, new height, new width, channels).

    >>> import numpy as np
    >>> ZeroPadding3D(((0, 1), (1, 0), (2, 2)))(np.zeros((4, 3, 5, 6, 2))).shape
    (4, 4, 6, 10, 2)
    """

    rank = 3

    def __init__(self, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None,
                 **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)


class _Cropping(_Borders):
    """Cropping1D, Cropping2D and Cropping3D."""

    def __init__(self, cropping: Size | Sequence[Sequence[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._borders = borders(cropping, self.rank, "cropping", self)
        self.cropping = self._borders if self.rank > 1 else self._borders[0]

    def _new_size(self, n: int, axis: int) -> int:
        cut = sum(self._borders[axis])
        if cut >= n:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): cropping={self.cropping} leaves nothing of "
                f"{n} {shapes.AXES[self.rank][axis]}."
            )
        return n - cut

    def _new_mask(self, mask: Masks) -> Array:
        self._new_size(mask.shape[1], 0)
        return np.ascontiguousarray(self._inside(self._borders, mask))

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        rec.shape = x.shape
        y = rec.buffer("y", self.compute_output_shape(x.shape), x.dtype)
        y[...] = self._inside(self._borders, x)
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        dx = rec.buffer("dx", rec.shape, dy.dtype)
        dx.fill(0)
        self._inside(self._borders, dx)[...] = dy
        return dx


class Cropping1D(_Cropping):
    """A sequence without its first and last steps.

    Source: https://keras.io/api/layers/reshaping_layers/cropping1d/.

    Args:
        cropping: how many steps to leave out at the start and at the end; one number for both.

    Raises:
        ValueError: for numbers that are negative or not whole, an input of another rank, or one of which
            nothing would be left.

    Input (batch, steps, channels), output (batch, steps that are left, channels). A mask goes along, cropped
    as the steps are (Keras drops it, with a warning).

    >>> Cropping1D((1, 0))([[[1.0], [3.0], [5.0]]]).tolist()
    [[[3.0], [5.0]]]
    """

    rank = 1

    def __init__(self, cropping: Size | Sequence[Sequence[int]] = (1, 1), **kwargs: Any) -> None:
        super().__init__(cropping, **kwargs)

    def get_config(self) -> Config:
        return {**super().get_config(), "cropping": self.cropping}


class Cropping2D(_Cropping):
    """An image without its outermost pixels.

    Source: https://keras.io/api/layers/reshaping_layers/cropping2d/.

    Args:
        cropping: how many pixels to leave out: one number for all sides, or (above and below, left and
            right), or ((above, below), (left, right)).
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `Cropping1D`.

    Input (batch, height, width, channels), output (batch, new height, new width, channels).

    >>> import numpy as np
    >>> Cropping2D(((1, 0), (2, 2)))(np.zeros((4, 5, 6, 3))).shape
    (4, 4, 2, 3)
    """

    rank = 2

    def __init__(self, cropping: Size | Sequence[Sequence[int]] = ((0, 0), (0, 0)),
                 data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, **kwargs)
        self.data_format = shapes.channels_last(data_format, self)

    def get_config(self) -> Config:
        return {**super().get_config(), "cropping": self.cropping, "data_format": self.data_format}


class Cropping3D(Cropping2D):
    """A volume without its outermost elements.

    Source: https://keras.io/api/layers/reshaping_layers/cropping3d/.

    Args:
        cropping: how many elements to leave out: one number for all sides, or three, for depth, height and
            width, or ((front, back), (above, below), (left, right)).
        data_format: None or 'channels_last'.

    Raises:
        ValueError: as `Cropping1D`.

    Input (batch, depth, height, width, channels), output (batch, new depth, new height, new width, channels).

    >>> import numpy as np
    >>> Cropping3D(((0, 0), (1, 0), (2, 2)))(np.zeros((4, 3, 5, 6, 2))).shape
    (4, 3, 4, 2, 2)
    """

    rank = 3

    def __init__(self, cropping: Size | Sequence[Sequence[int]] = ((1, 1), (1, 1), (1, 1)),
                 data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


def repeated(x: Arrays, y: Array, sizes: Sequence[Any]) -> None:
    """Fill y with each element of x as often as ``sizes`` says for its axes after the batch."""
    shape = [x.shape[0]]
    view: list[Any] = [slice(None)]
    for n, size in zip(x.shape[1:], sizes):
        shape += [n, size]
        view += [slice(None), None]
    y.reshape(*shape, x.shape[-1])[...] = x[tuple(view)]


def repeated_back(dy: Arrays, dx: Array, sizes: Sequence[Any]) -> None:
    """Undoes `repeated`: sums of dy in one order, copy after copy."""
    shape = [dx.shape[0]]
    for n, size in zip(dx.shape[1:], sizes):
        shape += [n, size]
    dy = dy.reshape(*shape, dx.shape[-1])
    for i, place in enumerate(np.ndindex(*sizes)):
        copy = dy[(slice(None), *(index for at in place for index in (slice(None), at)))]
        if i:
            dx += copy
        else:
            dx[...] = copy


def phases(size: Any, dtype: Any) -> Iterator[Any]:
    """(phase, weight of the element itself, weight of its neighbour, -1 or 1 for the neighbour's side) of
    each of the ``size`` new elements for one old one, whose centres are spread evenly over its place."""
    for p in range(size):
        distance = (p + 0.5) / size - 0.5
        yield p, dtype.type(1 - abs(distance)), dtype.type(abs(distance)), -1 if distance < 0 else 1


def between(x: Arrays, y: Array, size: Any, axis: int, work: Any) -> None:
    """Fill y with ``size`` elements along an axis for each of x, on straight lines between x's neighbours.

    An element beyond the outermost of x is equal to it. What has no weight is not touched: an infinity
    spreads no farther than its lines go. ``work``: two arrays like x.
    """
    first, n = (slice(None),) * axis, x.shape[axis]
    y = y.reshape(*x.shape[: axis + 1], size, *x.shape[axis + 1 :])
    for p, own, other, side in phases(size, x.dtype):
        to = y[(*first, slice(None), p)]
        if not other:
            to[...] = x
            continue
        edge, inner, near = ((*first, part) for part in _neighbours(n, side))
        to[edge] = x[edge]
        one, two = np.multiply(x[inner], own,
                               out=work[0][inner]), np.multiply(x[near], other, out=work[1][inner])
        np.add(one, two, out=to[inner])


def between_back(dy: Arrays, dx: Any, size: Any, axis: int, work: Any) -> None:
    """Undoes `between`."""
    first, n = (slice(None),) * axis, dx.shape[axis]
    dy = dy.reshape(*dx.shape[: axis + 1], size, *dx.shape[axis + 1 :])
    dx.fill(0)
    for p, own, other, side in phases(size, dx.dtype):
        d = dy[(*first, slice(None), p)]
        if not other:
            dx += d
            continue
        edge, inner, near = ((*first, part) for part in _neighbours(n, side))
        dx[edge] += d[edge]
        dx[inner] += np.multiply(d[inner], own, out=work[0][inner])
        dx[near] += np.multiply(d[inner], other, out=work[0][inner])


def _neighbours(n: Any, side: Any) -> tuple[Any, ...]:
    """The element of n without a neighbour on that side, those with one, and these neighbours."""
    if side < 0:
        return slice(0, 1), slice(1, None), slice(0, n - 1)
    return slice(n - 1, n), slice(0, n - 1), slice(1, None)


class _UpSampling(_Resizing):
    """UpSampling1D, UpSampling2D and UpSampling3D."""

    _sizes: Any

    interpolation = "nearest"

    def _new_size(self, n: int, axis: int) -> int:
        return n * self._sizes[axis]

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        rec.shape = x.shape
        y = rec.buffer("y", self.compute_output_shape(x.shape), x.dtype)
        for part in self._parts(x.shape):
            if self.interpolation == "nearest":
                repeated(x[part], y[part], self._sizes)
            else:
                wide, work, more = self._wide(rec, x[part])
                between(x[part], wide, self._sizes[1], 2, work)
                between(wide, y[part], self._sizes[0], 1, more)
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        dx = rec.buffer("dx", rec.shape, dy.dtype)
        for part in self._parts(rec.shape):
            if self.interpolation == "nearest":
                repeated_back(dy[part], dx[part], self._sizes)
            else:
                wide, work, more = self._wide(rec, dx[part])
                between_back(dy[part], wide, self._sizes[0], 1, more)
                between_back(wide, dx[part], self._sizes[1], 2, work)
        return dx

    def _parts(self, shape: Sizes) -> list[Any]:
        """Slices of the batch whose numbers stay in the cache from one step of the work to the next."""
        step = max(1, CACHED // max(1, math.prod(shape[1:])))
        return [slice(i, i + step) for i in range(0, shape[0], step)]

    def _wide(self, rec: Record, x: Arrays) -> tuple[Any, ...]:
        """(images like x with all their columns but not yet their rows, two work arrays like x, two like
        those images)."""
        shape = (*x.shape[:2], x.shape[2] * self._sizes[1], x.shape[3])
        wide, *more = (rec.buffer(f"wide {i}", shape, x.dtype) for i in range(3))
        return wide, [rec.buffer(f"work {i}", x.shape, x.dtype) for i in range(2)], more


class UpSampling1D(_UpSampling):
    """Each step of a sequence several times.

    Source: https://keras.io/api/layers/reshaping_layers/up_sampling1d/.

    Args:
        size: how often, at least 1.

    Raises:
        ValueError: if size is not a whole number of at least 1, for an input of another rank.

    Input (batch, steps, channels), output (batch, steps * size, channels). A mask goes along, repeated as the
    steps are (Keras drops it, with a warning).

    >>> UpSampling1D(2)([[[1.0], [3.0]]]).tolist()
    [[[1.0], [1.0], [3.0], [3.0]]]
    """

    rank = 1

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._sizes = (positive_int(size, "size", self),)
        self.size = self._sizes[0]

    def _new_mask(self, mask: Masks) -> Array:
        return np.repeat(mask, self.size, axis=1)

    def get_config(self) -> Config:
        return {**super().get_config(), "size": self.size}


class UpSampling2D(_UpSampling):
    """Larger images: each pixel several times, or pixels on the lines between the old ones.

    With 'bilinear', the new pixels' centres are spread evenly over the old pixels, and those beyond the
    centres of the outermost have their values. Source:
    https://keras.io/api/layers/reshaping_layers/up_sampling2d/.

    Args:
        size: how many rows for one, and how many columns; one number for both.
        data_format: None or 'channels_last'.
        interpolation: 'nearest' or 'bilinear'.

    Raises:
        ValueError: for sizes that are not whole numbers of at least 1, another interpolation, an input of
            another rank.

    Input (batch, height, width, channels), output (batch, height * size[0], width * size[1], channels).

    >>> UpSampling2D((1, 2), interpolation="bilinear")([[[[0.0], [4.0]]]]).tolist()
    [[[[0.0], [1.0], [3.0], [4.0]]]]
    """

    rank = 2

    def __init__(self, size: int | Sequence[Any] = (2, 2), data_format: str | None = None,
                 interpolation: str = "nearest", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = shapes.channels_last(data_format, self)
        self.size = self._sizes = shapes.sizes_of(size, 2, "size", self)
        self.interpolation = shapes.one_of(interpolation, ("nearest", "bilinear"), "interpolation", self)

    def get_config(self) -> Config:
        return {**super().get_config(), "size": self.size, "data_format": self.data_format,
                "interpolation": self.interpolation}


class UpSampling3D(_UpSampling):
    """Larger volumes: each element several times.

    Source: https://keras.io/api/layers/reshaping_layers/up_sampling3d/.

    Args:
        size: how many planes, rows and columns for one; one number for all three.
        data_format: None or 'channels_last'.

    Raises:
        ValueError: for sizes that are not whole numbers of at least 1, an input of another rank.

    Input (batch, depth, height, width, channels), output (batch, depth * size[0], height * size[1], width *
    size[2], channels).

    >>> UpSampling3D((1, 1, 2))([[[[[1.0], [3.0]]]]]).tolist()
    [[[[[1.0], [1.0], [3.0], [3.0]]]]]
    """

    rank = 3

    def __init__(self, size: int | Sequence[Any] = (2, 2, 2), data_format: str | None = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = shapes.channels_last(data_format, self)
        self.size = self._sizes = shapes.sizes_of(size, 3, "size", self)

    def get_config(self) -> Config:
        return {**super().get_config(), "size": self.size, "data_format": self.data_format}
