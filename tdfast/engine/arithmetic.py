"""How NumPy computes while a layer or a model runs: as the kernels do."""

from __future__ import annotations

from typing import Any

import numpy as np

from tdfast import _kernels

# NumPy 1 works these out on first use, and warns where denormals are 0
for _dtype in (np.float32, np.float64):
    np.finfo(_dtype)


def kernel_arithmetic() -> Any:
    """A context for a block: NumPy overflows to infinity without a warning and takes denormals as 0, as the
    kernels do.

    Many processors take a hundred times as long for a denormal as for another number.

    >>> with kernel_arithmetic():
    ...     (np.float32(1e-30) * np.float32(1e-15)).item(), (np.float32(1e30) * np.float32(1e30)).item()
    (0.0, inf)
    """
    return _kernels.Flushing(np.errstate(all="ignore"))
