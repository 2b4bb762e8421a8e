"""Windows of a signal's frames, by name or by value: hann, hamming, and SciPy's where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tdfast.engine.types import Array

_RAISED = {"hann": 0.5, "hamming": 0.54}


def window(name: str, length: int, periodic: bool, who: str) -> Array:
    """The window of this name, float64.

    Args:
        name: 'hann', 'hamming', or another of ``scipy.signal.get_window``.
        length: how many numbers.
        periodic: True: as if the number after the last were the first; False: the last is the first.
        who: whom errors name.

    Raises:
        ValueError: for a name that nobody knows.
        ImportError: for one that SciPy may know, where it is not installed.

    >>> window("hann", 4, True, "doc").round(6).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    if name not in _RAISED:
        return _from_scipy(name, length, periodic, who)
    steps = length if periodic else length - 1
    turn = 2 * np.pi * np.arange(length) / max(steps, 1)
    return _RAISED[name] - (1 - _RAISED[name]) * np.cos(turn) if length > 1 else np.ones(length)


def _from_scipy(name: str, length: int, periodic: bool, who: str) -> Array:
    try:
        from scipy import signal
    except ImportError as error:
        raise ImportError(
            f"{who}: window={name!r} needs the package scipy: pip install scipy. 'hann' and 'hamming' do not."
        ) from error
    try:
        return np.asarray(signal.get_window(name, length, periodic), np.float64)
    except ValueError as error:
        raise ValueError(
            f"{who}: window={name!r} is no window that is known by this name alone ({error}). Give 'hann', "
            "'hamming', or the numbers."
        ) from None


def values(given: Any, length: int, periodic: bool, who: str) -> Any:
    """The numbers of a window that is given as a name or as its numbers; None for None.

    Raises:
        ValueError: for numbers of another shape.

    >>> values([1, 2], 2, False, "doc").tolist()
    [1.0, 2.0]
    """
    if given is None:
        return None
    if isinstance(given, str):
        return window(given, length, periodic, who)
    numbers = np.asarray(given, np.float64)
    if numbers.shape != (length,):
        raise ValueError(f"{who}: window must have {length} numbers, one for each sample of a frame, got an "
                         f"array of shape {numbers.shape}.")
    return numbers
