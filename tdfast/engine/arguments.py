"""Checks of single arguments that many classes share."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np


def flag(value: Any, name: str, who: str) -> bool:
    """``value`` as a bool: True and False, 1 and 0, and None, which is False.

    Raises:
        ValueError: for anything else, a word such as "False" above all, which Python takes as true.

    >>> flag(1, "use_bias", "Layer 'dense' (Dense)")
    True
    >>> flag("False", "use_bias", "Layer 'dense' (Dense)")
    Traceback (most recent call last):
    ValueError: Layer 'dense' (Dense): use_bias must be True or False, got 'False'.
    """
    if value is True or value is False:
        return value
    if value is None or (np.ndim(value) == 0 and hasattr(value, "__bool__") and (value == 0 or value == 1)):
        return bool(value)
    raise ValueError(f"{who}: {name} must be True or False, got {value!r:.80}.")


def number(value: Any, name: str, who: str, optional: bool = False) -> Any:
    """``value``, which must be a real number, and no bool.

    Args:
        optional: True lets None and False stand for "without", and gives None for them.

    Raises:
        ValueError: for anything else.

    >>> number(0.9, "momentum", "SGD")
    0.9
    >>> number(None, "momentum", "SGD")
    Traceback (most recent call last):
    ValueError: SGD: momentum must be a number, got None.
    """
    if optional and (value is None or value is False):
        return None
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiu":
        return float(value)
    raise ValueError(f"{who}: {name} must be a number{' or None' if optional else ''}, got {value!r:.80}.")
