"""Sums over a batch that is computed in parts: as BatchNormalization needs them."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_here = threading.local()


def sum_of_parts(value: Any) -> Any:
    """The sum of a number or an array over all parts of the batch; the value itself where there is one part.

    >>> sum_of_parts(3)
    3
    """
    add = getattr(_here, "add", None)
    return value if add is None else add(value)


@contextlib.contextmanager
def parts_added_by(add: Callable[[Any], Any]) -> Iterator[None]:
    """For the block, and in this thread, `sum_of_parts` is this function."""
    before = getattr(_here, "add", None)
    _here.add = add
    try:
        yield
    finally:
        _here.add = before
