"""The machine: instruction set, threads, memory and versions."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def matmul_precision() -> str:
    """The precision of products in float32 layers: see `tdfast.config.set_float32_matmul_precision`.

    >>> matmul_precision() in ("highest", "high", "medium")
    True
    """
    return _kernels.precision()


def set_matmul_precision(precision: str, asked_by: str = "set_matmul_precision") -> None:
    """Do what `tdfast.config.set_float32_matmul_precision` says.

    Args:
        precision: 'highest', 'high' or 'medium'.
        asked_by: whom an error names.

    Raises:
        ValueError: for another name.

    >>> set_matmul_precision(matmul_precision())
    """
    if not isinstance(precision, str) or precision not in _kernels.PRECISIONS:
        raise ValueError(
            f"{asked_by} expects 'highest' (float32), 'high' (two bfloat16 parts) or 'medium' (bfloat16), "
            f"got {precision!r}."
        )
    _kernels.use_precision(precision)


def set_num_threads(n: int) -> None:
    """Use at most ``n`` threads in every kernel call. Results do not depend on it.

    Args:
        n: at least 1. The default is OMP_NUM_THREADS. Without that it is the smaller of the number of
            processors that the caller may run on and the CPU quota of the process's cgroup, rounded up.

    >>> set_num_threads(2)
    >>> get_num_threads()
    2
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"set_num_threads expects a whole number of at least 1, got {n!r}.")
    global _threads_from
    _kernels.set_threads(int(n))
    _threads_from = f"set_num_threads({n})"


def limit_threads_here(n: int) -> None:
    """Use at most ``n`` threads in kernel calls that this Python thread makes, whatever the others use.

    For threads that share the processors among themselves.

    >>> import threading
    >>> thread = threading.Thread(target=lambda: (limit_threads_here(1), print(get_num_threads())))
    >>> thread.start(); thread.join()
    1
    """
    _kernels.limit_threads_here(n)


def get_num_threads() -> int:
    """The largest number of threads a kernel call made here would use.

    >>> get_num_threads() >= 1
    True
    """
    return _kernels.get_threads()


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """For the block what `set_num_threads` says; afterwards it is as before.

    The number is the process's: where such blocks overlap in Python's threads, each ends with what was before
    the first of them.

    Args:
        n: at least 1.

    >>> before = get_num_threads()
    >>> with threads(1):
    ...     get_num_threads()
    1
    >>> get_num_threads() == before
    True
    """
    global _blocks, _before
    with _lock:
        if not _blocks:
            _before = get_num_threads(), _threads_from
        _blocks += 1
    try:
        set_num_threads(n)
        yield
    finally:
        with _lock:
            _blocks -= 1
            _put_back(*_before)


def _put_back(n: int, told_by: str) -> None:
    """The number of threads, and what decides on it."""
    global _threads_from
    _kernels.set_threads(n)
    _threads_from = told_by
    if not told_by:
        _follow()


def _follow() -> None:
    """As many threads as the processors that the caller may run on, and as the quota lets run."""
    _kernels.grant_threads(2**31 - 1 if _quota is None else max(1, math.ceil(_quota)), True)


def share_processors(processes: int) -> None:
    """Use the share of one of so many processes on this machine, unless OMP_NUM_THREADS or the affinity says
    less.

    >>> share_processors(1)
    """
    global _threads_from
    if _threads_from or processes < 2:
        return
    there = os.cpu_count() or 1 if _quota is None else math.ceil(_quota)
    _kernels.grant_threads(max(1, there // processes), True)
    _threads_from = f"the share of one of {processes} processes on this machine"


def threads_from() -> str:
    """What decides on `get_num_threads`: OMP_NUM_THREADS, `set_num_threads`, processors or a quota of them.

    >>> set_num_threads(2)
    >>> threads_from()
    'set_num_threads(2)'
    """
    if not _kernels.openmp_version():
        return "a build without OpenMP"
    if _threads_from:
        return _threads_from
    n, processors = get_num_threads(), _usable()
    if _quota is not None and n == math.ceil(_quota) and n < processors:
        return f"the cgroup's quota of {_quota:g} of {processors} processors"
    return "the processors that this thread may run on" if n == processors else "a limit of OpenMP's"


def cpu_quota(root: str = "/") -> float | None:
    """How many processors' time the cgroups of this process grant it; None where none of them limits it.

    The smallest quota of the process's own cgroup and those around it, as far as they are mounted: cpu.max
    (v2), cpu.cfs_quota_us / cpu.cfs_period_us (v1). What cannot be read or understood limits nothing.

    Args:
        root: the folder that holds /proc and the mounts.

    >>> cpu_quota("/no such folder") is None
    True
    """
    quotas = [quota for top, own, kind in _cgroups(root) for quota in _quotas(root, top, own, kind)]
    return min(quotas, default=None)


def _cgroups(root: str) -> list[tuple[str, str, str]]:
    """(mount point, the process's own folder within, "v1" or "v2") of each hierarchy with CPU time."""
    paths = {}
    for line in _lines(root, "/proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers or "cpu" in controllers.split(","):
            paths["v1" if controllers else "v2"] = path
    found = []
    for line in _lines(root, "/proc/self/mountinfo"):
        place, _, kind = line.partition(" - ")
        if not kind.startswith("cgroup"):
            continue
        fields, words = place.split(" "), kind.split(" ")
        version = "v2" if words[0] == "cgroup2" else "v1"
        if len(fields) < 5 or version not in paths or version == "v1" and "cpu" not in words[-1].split(","):
            continue
        within, top = (re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), one) for one in fields[3:5])
        inside = paths[version] == within or paths[version].startswith(within.rstrip("/") + "/")
        found.append((top, paths[version][len(within.rstrip("/")) :] if inside else "", version))
    return found


def _quotas(root: str, top: str, own: str, version: str) -> Iterator[float]:
    """Those of a cgroup and of each around it, up to the mount."""
    names = [name for name in own.split("/") if name and name != ".."]
    for depth in range(len(names), -1, -1):
        folder = "/".join([top.rstrip("/"), *names[:depth]])
        if version == "v2":
            words = " ".join(_lines(root, f"{folder}/cpu.max")).split()
        else:
            words = [word for name in ("quota", "period")
                     for word in _lines(root, f"{folder}/cpu.cfs_{name}_us")]
        try:
            quota, period = (int(word) for word in words)
        except ValueError:              # "max" among others
            continue
        if quota > 0 and period > 0:
            yield quota / period


def _lines(root: str, path: str) -> list[str]:
    """Of a file, or none."""
    try:
        with open(root.rstrip("/") + path, errors="replace") as file:
            return file.read().splitlines()
    except (OSError, ValueError):
        return []


def _usable() -> int:
    """Processors."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        "matmul precision": matmul_precision(),
        "products by": _kernels.products_by(),
        "threads": get_num_threads(),
        "threads from": threads_from(),
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
        print(f"{key:16s} {value}")


def _openmp_runtime() -> Any:
    """The file name of the OpenMP library that this process has loaded."""
    try:
        with open("/proc/self/maps") as maps:
            names = {os.path.basename(line.split()[-1]) for line in maps if line.strip()}
    except OSError:
        names = set()
    return ", ".join(sorted(filter(_is_openmp, names))) or "runtime unknown"


def _is_openmp(name: str) -> bool:
    """Whether a file of this name is a library of OpenMP: GCC's, Clang's, Intel's, or one from a wheel."""
    return re.match(r"lib[gi]?omp\d?\b.*\.so\b", name) is not None


def _processor() -> Any:
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _asked(variable: str | None) -> int | None:
    """The first number of OMP_NUM_THREADS, "4" or "4,2"; None where OpenMP ignores it too."""
    first = (variable or "").split(",")[0].strip()
    return int(first) if first.isdecimal() and len(first) < 10 and int(first) > 0 else None


_quota: float | None = None
_threads_from = ""
_lock, _blocks, _before = threading.Lock(), 0, (1, "")

if (_n := _asked(os.environ.get("OMP_NUM_THREADS"))) is not None:
    _threads_from = "OMP_NUM_THREADS"
    _kernels.grant_threads(_n, False)
else:
    _quota = cpu_quota()
    _follow()

_PATIENCE = {"passive": 0, "active": 10**9}        # nanoseconds

if os.environ.get("OMP_WAIT_POLICY", "").lower() in _PATIENCE:
    _kernels.set_patience(_PATIENCE[os.environ["OMP_WAIT_POLICY"].lower()])

if os.environ.get("TDFAST_ISA"):
    set_isa(os.environ["TDFAST_ISA"])

if os.environ.get("TDFAST_MATMUL_PRECISION"):
    set_matmul_precision(os.environ["TDFAST_MATMUL_PRECISION"], "TDFAST_MATMUL_PRECISION")
