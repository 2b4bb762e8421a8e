"""Layers that only move numbers: Flatten, Reshape, Permute, RepeatVector."""

from __future__ import annotations

import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.layer import Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Arrays, Config, Masks, Shapes, Sizes


class _Shaping(Layer):
    """A layer whose output holds the input's numbers elsewhere; time may be gone, and a mask with it."""

    supports_masking = False

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        """None: a mask ends here, with a warning, as in Keras."""
        if mask is not None:
            warnings.warn(
                f"Layer '{self.name}' ({type(self).__name__}) does not hand on the mask of its input: the "
                "layers after it compute with all time steps.",
                stacklevel=2,
            )


class Flatten(_Shaping):
    """All axes but the batch as one: (B, ...) to (B, product).

    Source: https://keras.io/api/layers/reshaping_layers/flatten/.

    Args:
        data_format: 'channels_last' (default, also None), or 'channels_first', which moves axis 1 to the
            end first.

    >>> import numpy as np
    >>> Flatten()(np.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        data_format = "channels_last" if data_format is None else str(data_format).lower()
        if data_format not in ("channels_last", "channels_first"):
            raise ValueError(
                f"Flatten: data_format must be 'channels_last' or 'channels_first', got {data_format!r}."
            )
        self.data_format = data_format

    def can_be_prepared(self, training: bool) -> bool:
        return self.data_format != "channels_first"

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        rec.shape = x.shape
        if self.data_format == "channels_first" and x.ndim > 2:
            moved = np.moveaxis(x, 1, -1)
            rec.moved = moved.shape
            y = rec.buffer("y", moved.shape, self.dtype)
            y[...] = moved
            x = y
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        if self.data_format == "channels_first" and len(rec.shape) > 2:
            dx = rec.buffer("dx", rec.shape, self.dtype)
            dx[...] = np.moveaxis(dy.reshape(rec.moved), -1, 1)
            return dx
        return dy.reshape(rec.shape)

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        rest = input_shape[1:]
        return (input_shape[0], None if None in rest else math.prod(rest))

    def get_config(self) -> Config:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(_Shaping):
    """The axes after the batch in another shape: (B, ...) to (B, *target_shape).

    Source: https://keras.io/api/layers/reshaping_layers/reshape/.

    Args:
        target_shape: sizes without the batch; one of them may be -1, the rest.

    Raises:
        ValueError: for sizes below -1 or two of -1; when called, if the sizes do not multiply to the input's.

    >>> import numpy as np
    >>> Reshape((-1, 2))(np.zeros((5, 3, 4))).shape
    (5, 6, 2)
    """

    built_at_once = True

    def __init__(self, target_shape: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        target = tuple(target_shape) if isinstance(target_shape, (tuple, list)) else (target_shape,)
        if not all(_is_whole(n) and -1 <= n <= sys.maxsize for n in target) or target.count(-1) > 1:
            raise ValueError(
                f"Reshape: target_shape must hold whole numbers from 0 to {sys.maxsize}, of which one may be "
                f"-1, got {target_shape!r}."
            )
        self.target_shape = tuple(int(n) for n in target)

    def can_be_prepared(self, training: bool) -> bool:
        return True

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        tape.push(self).shape = x.shape
        return x.reshape(x.shape[0], *self._target(x.shape[1:]))

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        return dy.reshape(rec.shape) if need_dx else None

    def check_input_shape(self, input_shape: Shapes) -> None:
        self._target(input_shape[1:])

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        return (input_shape[0], *self._target(input_shape[1:]))

    def _target(self, shape: Sizes) -> tuple[Any, ...]:
        """The target with -1 replaced, for an input of this shape without its batch."""
        target = self.target_shape
        if None in shape:
            return tuple(None if n == -1 else n for n in target)
        size, known = math.prod(shape), math.prod(n for n in target if n != -1)
        fits = size == known if -1 not in target else known > 0 and size % known == 0
        if not fits:
            raise ValueError(
                f"Layer '{self.name}': Reshape cannot give an input of shape {(None, *shape)} the shape "
                f"{(None, *target)}: the input has {size} numbers a sample, the target "
                + (f"a multiple of {known}." if -1 in target else f"{known}.")
            )
        return tuple(size // known if n == -1 else n for n in target)

    def get_config(self) -> Config:
        return {**super().get_config(), "target_shape": self.target_shape}


class Permute(_Shaping):
    """The axes after the batch in another order.

    Source: https://keras.io/api/layers/reshaping_layers/permute/.

    Args:
        dims: the input's axes in the output's order; the first after the batch is 1.

    Raises:
        ValueError: if dims are not the numbers from 1 to their count.

    >>> import numpy as np
    >>> Permute((2, 1))(np.zeros((5, 3, 4))).shape
    (5, 4, 3)
    """

    def __init__(self, dims: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dims = tuple(dims) if isinstance(dims, (tuple, list)) else (dims,)
        if not all(_is_whole(n) for n in dims) or sorted(dims) != list(range(1, len(dims) + 1)):
            raise ValueError(
                f"Permute: dims must be the whole numbers from 1 to {len(dims)} in some order, got {dims!r}."
            )
        self.dims = tuple(int(n) for n in dims)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        moved = x.transpose(0, *self.dims)
        y = rec.buffer("y", moved.shape, self.dtype)
        y[...] = moved
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        back = dy.transpose(np.argsort((0, *self.dims)))
        dx = rec.buffer("dx", back.shape, self.dtype)
        dx[...] = back
        return dx

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) != len(self.dims) + 1:
            raise ValueError(
                f"Layer '{self.name}': Permute with dims={self.dims} expects an input of "
                f"{len(self.dims) + 1} axes, the batch included, got shape {tuple(input_shape)}."
            )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        self.check_input_shape(input_shape)
        return (input_shape[0], *(input_shape[i] for i in self.dims))

    def get_config(self) -> Config:
        return {**super().get_config(), "dims": self.dims}


class RepeatVector(_Shaping):
    """Each row ``n`` times, as time steps: (B, F) to (B, n, F).

    Source: https://keras.io/api/layers/reshaping_layers/repeat_vector/.

    Args:
        n: how often, at least 1.

    Raises:
        TypeError: if n is not a whole number. ValueError: if it is below 1, or the input has not two axes.

    >>> import numpy as np
    >>> RepeatVector(3)(np.zeros((5, 4))).shape
    (5, 3, 4)
    """

    def __init__(self, n: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not _is_whole(n):
            raise TypeError(f"RepeatVector: n must be a whole number, got {n!r}.")
        if not 1 <= n <= sys.maxsize:
            raise ValueError(f"RepeatVector: n must be at least 1 and at most {sys.maxsize}, got {n!r}.")
        self.n = int(n)

    def forward(self, x: Arrays, tape: Tape, training: bool = False, mask: Masks = None) -> Arrays:
        rec = tape.push(self)
        y = rec.buffer("y", (x.shape[0], self.n, x.shape[1]), self.dtype)
        y[...] = x[:, None, :]
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        if not need_dx:
            return None
        dx = rec.buffer("dx", (dy.shape[0], dy.shape[2]), self.dtype)
        # Step by step: the order of the sum does not depend on the batch.
        dx[...] = dy[:, 0]
        for t in range(1, self.n):
            dx += dy[:, t]
        return dx

    def check_input_shape(self, input_shape: Shapes) -> None:
        if len(input_shape) != 2:
            raise ValueError(
                f"Layer '{self.name}': RepeatVector expects an input of shape (batch, features), got shape "
                f"{tuple(input_shape)}. An LSTM before it needs return_sequences=False."
            )

    def compute_output_shape(self, input_shape: Shapes) -> Shapes:
        self.check_input_shape(input_shape)
        return (input_shape[0], self.n, input_shape[1])

    def get_config(self) -> Config:
        return {**super().get_config(), "n": self.n}


def _is_whole(n: float) -> bool:
    return isinstance(n, (int, np.integer)) and not isinstance(n, bool)
