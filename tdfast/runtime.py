"""The machine: instruction set, threads, memory and versions."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tdfast.engine.types import Array

# A free-threaded Python turns its GIL on for _kernels, and warns, unless it was told not to.
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    raise ImportError(
        "tdfast needs Python's global interpreter lock (GIL), which PYTHON_GIL=0 or -X gil=0 keeps off here. "
        "Start Python "
        "without them: a free-threaded Python then turns the lock on when tdfast is imported, and kernels "
        "run in threads all the same."
    )

ALIGNMENT = 64


def aligned(shape: Any, dtype: DTypeLike = "float32") -> Array:
    """An uninitialised C-contiguous array that starts on a 64-byte boundary.

    Args:
        shape: a tuple, or a whole number.
        dtype: default float32.

    Raises:
        MemoryError: naming the size, if the memory cannot be had.

    >>> aligned((3, 5)).ctypes.data % 64
    0
    """
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    size = dtype.itemsize
    for n in shape:
        size *= int(n)
    try:
        raw = np.empty(size + ALIGNMENT, np.uint8)
    except (MemoryError, ValueError, OverflowError):
        raise MemoryError(
            f"cannot allocate {size:,} bytes for an array of shape {shape} and dtype {dtype.name}"
        ) from None
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def available_isas() -> list[str]:
    """The instruction sets that this build has and this processor runs, the fastest last.

    >>> available_isas()[0]
    'baseline'
    """
    return _kernels.isas()


def isa() -> str:
    """The instruction set in use: 'baseline', 'avx2', 'avx512' or 'neon'.

    >>> isa() in available_isas()
    True
    """
    return _kernels.isa()


def set_isa(name: str) -> None:
    """Use another of `available_isas`, for all that follows in this process.

    The environment variable TDFAST_ISA does so from the start.

    Raises:
        ValueError: for one that is not available, listing those that are.

    >>> set_isa(isa())
    """
    if name not in available_isas():
        raise ValueError(
            f"TDFAST_ISA: the instruction set '{name}' is unknown here. Available on this machine: "
            f"{', '.join(available_isas())}. Unset TDFAST_ISA to let tdfast choose."
        )
    _kernels.use_isa(name)


def set_num_threads(n: int) -> None:
    """Use at most ``n`` threads in every kernel call. Results do not depend on it.

    Args:
        n: at least 1. The default is OMP_NUM_THREADS, or one thread a core.

    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"set_num_threads expects a whole number of at least 1, got {n!r}.")
    _kernels.set_threads(int(n))


def get_num_threads() -> int:
    """The largest number of threads a kernel call made here would use.

    >>> get_num_threads() >= 1
    True
    """
    return _kernels.get_threads()


def config() -> dict[str, Any]:
    """What `show_config` prints, as a dict.

    >>> config()["isa"] == isa()
    True
    """
    import tdfast

    version = _kernels.openmp_version()
    return {
        "tdfast": tdfast.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "isa": isa(),
        "isas available": ", ".join(available_isas()),
        "threads": get_num_threads(),
        "openmp": f"{version} ({_openmp_runtime()})" if version else "not built in: tdfast runs serially",
    }


def show_config() -> None:
    """Print the versions, the instruction set, the threads and the OpenMP runtime, for a report of a fault.

    >>> import contextlib, io
    >>> with contextlib.redirect_stdout(io.StringIO()) as text:
    ...     show_config()
    >>> text.getvalue().split()[0]
    'tdfast'
    """
    for key, value in config().items():
        print(f"{key:15s} {value}")


def _openmp_runtime() -> Any:
    """The file name of the OpenMP library that this process has loaded."""
    try:
        with open("/proc/self/maps") as maps:
            names = {os.path.basename(line.split()[-1]) for line in maps if "omp" in line}
    except OSError:
        names = set()
    return ", ".join(sorted(n for n in names if ".so" in n)) or "runtime unknown"


def _processor() -> Any:
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


_PATIENCE = {"passive": 0, "active": 10**9}        # nanoseconds

if os.environ.get("OMP_WAIT_POLICY", "").lower() in _PATIENCE:
    _kernels.set_patience(_PATIENCE[os.environ["OMP_WAIT_POLICY"].lower()])

if os.environ.get("TDFAST_ISA"):
    set_isa(os.environ["TDFAST_ISA"])
