"""The head of a .npy file, NumPy's own format for one array."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tdfast.engine.types import Sizes

_one_at_a_time = threading.Lock()


def read_header(file: Any) -> tuple[Sizes, bool, np.dtype]:
    """The shape, whether the order is Fortran's, and the dtype; the file stands behind them then.

    NumPy reads it by `ast`, which raises SystemError in CPython 3.11 now and then when several threads are
    in it. Here one goes after the other.

    Raises:
        ValueError: for another format or another version of it than 1.0 and 2.0.

    >>> import io
    >>> file = io.BytesIO()
    >>> np.save(file, np.zeros((2, 3), "float32"))
    >>> read_header(io.BytesIO(file.getvalue()))
    ((2, 3), False, dtype('float32'))
    """
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"format version {version}")
    with _one_at_a_time:
        return readers[version](file)
