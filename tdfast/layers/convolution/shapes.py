"""Windows that slide over sequences, images and volumes: the arguments of convolutions and pooling, and their
sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.layer import Layer
    from tdfast.engine.types import Shapes

AXES = {1: ("steps",), 2: ("height", "width"), 3: ("depth", "height", "width")}
LARGEST = 2**31 - 1
"""The largest size of a window: the product of two is still one of C's whole numbers."""


def sizes_of(value: Any, n: int, name: str, layer: Layer, least: int = 1) -> tuple[Any, ...]:
    """``value`` as n whole numbers from ``least`` to `LARGEST`; a single number stands for n equal ones."""
    values = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else (value,) * n
    if len(values) != n or not all(_is_whole(v) and least <= v <= LARGEST for v in values):
        large = any(_is_whole(v) and v > LARGEST for v in values)
        what = f"a whole number {f'from {least} to {LARGEST}' if large else f'of at least {least}'}"
        what += f" or {n} of them" if n > 1 else ""
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): {name} must be {what}, got {value!r}."
        )
    return tuple(int(v) for v in values)


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def one_of(value: Any, known: Sequence[Any], name: str, layer: Layer) -> str:
    """``value`` in lower case, which must be one of ``known``."""
    text = value.lower() if isinstance(value, str) else value
    if text not in known:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): {name} must be one of "
            f"{', '.join(map(repr, known))}, "
            f"got {value!r}."
        )
    return text


def channels_last(data_format: str | None, layer: Layer) -> str:
    """'channels_last' for it and for None; everything else is refused."""
    if one_of(data_format or "channels_last", ("channels_last", "channels_first"), "data_format",
              layer) != "channels_last":
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): data_format='channels_first' is not supported, "
            "the channels "
            "must be the last axis. Move them there with np.moveaxis(x, 1, -1), or put a Permute layer "
            "before this one."
        )
    return "channels_last"


def check_rank(input_shape: Shapes, rank: int, layer: Layer) -> None:
    """Refuse an input that has not ``rank`` axes between batch and channels, or no known number of
    channels."""
    if len(input_shape) == rank + 2 and input_shape[-1] is not None:
        return
    expected = ", ".join(("batch", *AXES[rank], "channels"))
    hint = ""
    if len(input_shape) == rank + 3:
        hint = f" For one more axis of time, use TimeDistributed({type(layer).__name__}(...))."
    elif len(input_shape) == rank + 1:
        hint = " If the axis of channels is missing, add it: x[..., None]."
    raise ValueError(
        f"Layer '{layer.name}' ({type(layer).__name__}) expects input of shape ({expected}), got "
        f"{tuple(input_shape)}.{hint}"
    )


def placed(size: int, window: int, stride: int, padding: str) -> tuple[Any, ...]:
    """(how many windows fit on an axis, zeros before it, zeros behind it); the first is 0 if none fits.

    Args:
        size: of the axis.
        window: how much of it a window spans, its dilation included.
        stride: from one window to the next.
        padding: 'valid' (no zeros), 'same' (as many windows as strides begin on the axis; an odd zero goes
            behind) or 'causal' (all zeros before, so that no window sees what comes after it).

    >>> placed(5, 3, 1, "same"), placed(5, 3, 2, "valid"), placed(5, 3, 1, "causal")
    ((5, 1, 1), (2, 0, 0), (5, 2, 0))
    """
    if padding == "causal":
        return -(-size // stride), window - 1, 0
    if padding == "same":
        n = -(-size // stride)
        zeros = max((n - 1) * stride + window - size, 0)
        return n, zeros // 2, zeros - zeros // 2
    return max((size - window) // stride + 1, 0), 0, 0


def output_sizes(sizes: Sequence[Any], windows: Sequence[Any], strides: Any, padding: str, layer: Layer,
                 what: str = "kernel_size") -> tuple[Any, ...]:
    """How many windows fit on each axis; None where the axis' size is not known.

    Raises:
        ValueError: where none fits.
    """
    out = []
    for size, window, stride in zip(sizes, windows, strides):
        n = None if size is None else placed(size, window, stride, padding)[0]
        if n == 0:
            raise ValueError(
                f"Layer '{layer.name}' ({type(layer).__name__}): a window of {' x '.join(map(str, windows))} "
                f"({what}{', with dilation_rate' if what == 'kernel_size' else ''}) does not fit into an "
                "input of "
                f"{' x '.join(map(str, sizes))}. Use padding='same', or a smaller {what}."
            )
        out.append(n)
    return tuple(out)
