"""Which processes there are, and how they train together now."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from tdfast import runtime
from tdfast.distribution.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.distribution.data_parallel import DataParallel

_engine: Engine | None = None
_distribution: Any = None
_here = threading.local()

_MPI_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
"""Environment variables by which launchers of MPI tell how many processes they started."""


def initialize(job_addresses: str | None = None, num_processes: int | None = None,
               process_id: int | None = None, engine: Any = None) -> None:
    """Find the processes that train together. Call it at the beginning of a script, before there is a model.

    They are those that ``mpiexec``, ``srun``, ``torchrun`` or Ray Train started; a script that was started
    alone is one process, and runs as it would without this call. Each process gets its share of the
    processors of its machine, unless OMP_NUM_THREADS or its affinity leaves it less. An error that ends one
    of them ends them all.

    Args:
        job_addresses: "host:port" of each process, separated by commas, as in Keras. The first is where those
            of engine 'torch' meet. None: the environment variable KERAS_DISTRIBUTION_JOB_ADDRESSES.
        num_processes, process_id: how many there are, and which one this is. With MPI they must be what MPI
            says. None: KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID.
        engine: 'mpi', 'torch' (torch.distributed with gloo), an object of `tdfast.distribution.Engine`, or
            None: the program that has started this process.

    Raises:
        ImportError: if the engine's package is not installed.
        ValueError: for an unknown engine, or numbers that are not those of the engine.
        RuntimeError: if another engine is at work already.

    Source: https://keras.io/api/distribution/, whose names these are.

    >>> initialize()
    >>> num_processes()
    1
    """
    global _engine
    given = os.environ.get
    job_addresses = job_addresses or given("KERAS_DISTRIBUTION_JOB_ADDRESSES")
    size = _number(num_processes, "num_processes", given("KERAS_DISTRIBUTION_NUM_PROCESSES"))
    rank = _number(process_id, "process_id", given("KERAS_DISTRIBUTION_PROCESS_ID"))
    if _engine is not None and engine in (None, _engine.name, _NAMES.get(_engine.name)):
        found = _engine
    elif _engine is not None and _engine.size > 1:
        raise RuntimeError(
            f"tdfast.distribution.initialize: this process is one of {_engine.size} of {_engine.name} "
            "already. Call it once, at the beginning."
        )
    else:
        found = _found(engine, job_addresses, size, rank)
    for what, wanted, there in (("num_processes", size, found.size), ("process_id", rank, found.rank)):
        if wanted is not None and wanted != there:
            raise ValueError(
                f"tdfast.distribution.initialize: {what} is {wanted}, but {found.name} says {there}. Start "
                "as many processes as you ask for, such as mpiexec -n 4 python train.py, or leave it out."
            )
    if found is not _engine:
        _engine = found
        if found.size > 1:
            runtime.share_processors(found.local_size)
            _end_all_by_an_error(found)


_NAMES = {"MPI": "mpi", "torch.distributed": "torch"}


def _number(given: Any, what: str, told: str | None) -> int | None:
    value = told if given is None else given
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise ValueError(
            f"tdfast.distribution.initialize: {what} must be a whole number, got {value!r}."
        ) from None


def _found(engine: Any, addresses: str | None, size: int | None, rank: int | None) -> Engine:
    """The engine that is asked for, or the one that has started this process."""
    from tdfast.distribution import gloo, mpi

    if isinstance(engine, Engine):
        return engine
    if engine not in (None, "mpi", "torch"):
        raise ValueError(
            f"tdfast.distribution.initialize: engine must be 'mpi', 'torch' or None, got {engine!r}."
        )
    if engine == "mpi" or (engine is None and _started_by_mpi()):
        return mpi.MPIEngine()
    if engine == "torch" or gloo.is_started() or gloo.group_is_there():
        return gloo.GlooEngine(addresses and addresses.split(",")[0], size, rank)
    if size not in (None, 1):
        raise ValueError(
            f"tdfast.distribution.initialize: num_processes is {size}, but this process was started alone. "
            "Start them by MPI, mpiexec -n 4 python train.py, or give engine='torch', job_addresses, "
            "num_processes and process_id."
        )
    return Engine()


def _started_by_mpi() -> bool:
    """Whether an MPI launcher has started several processes."""
    if "PMIX_RANK" in os.environ or any(os.environ.get(name, "1") not in ("", "1") for name in _MPI_SIZES):
        return True
    return "mpi4py.MPI" in sys.modules and sys.modules["mpi4py.MPI"].COMM_WORLD.size > 1


def _end_all_by_an_error(found: Engine) -> None:
    """Have an error that nobody catches end the other processes too, which wait for this one."""
    before = sys.excepthook

    def hook(kind: Any, error: Any, trace: Any) -> None:
        sys.excepthook = before
        report(found, kind, error, trace)
        found.abort(1)

    sys.excepthook = hook


def report(found: Engine, kind: Any, error: Any, trace: Any) -> None:
    """Print the traceback of an error that ends a process, with its number."""
    import time
    import traceback

    # Where all of them fail at once, the first one says why and ends the others before they do.
    time.sleep(min(2 * found.rank, 6))
    text = "".join(traceback.format_exception(kind, error, trace))
    print(f"Process {found.rank} of {found.size} ended by an error, and so ends all of them:\n{text}",
          end="", file=sys.stderr, flush=True)


def engine() -> Engine:
    """The `Engine` of this process: that of `initialize`, or of what has started it."""
    own = getattr(_here, "engine", None)
    if own is not None:
        return own
    if _engine is None:
        initialize()
    return _engine or Engine()


def num_processes() -> int:
    """How many processes train together.

    >>> num_processes()
    1
    """
    return engine().size


def process_id() -> int:
    """The number of this process, from 0.

    >>> process_id()
    0
    """
    return engine().rank


def is_writer() -> bool:
    """Whether this process is the one that prints and writes files."""
    own = getattr(_here, "engine", None)
    if own is not None:
        return own.rank == 0
    return _engine is None or _engine.rank == 0 or distribution() is None


def list_devices(device_type: str | None = None) -> list[str]:
    """A name for each process: ``["cpu:0", "cpu:1"]``.

    Args:
        device_type: 'cpu' or None.

    Raises:
        ValueError: for another type; tdfast computes on CPUs.

    >>> list_devices()
    ['cpu:0']
    """
    if device_type is not None and str(device_type).lower() != "cpu":
        raise ValueError(f"list_devices: tdfast computes on CPUs, got device_type={device_type!r}.")
    return [f"cpu:{i}" for i in range(num_processes())]


def get_device_count(device_type: str | None = None) -> int:
    """The number of `list_devices`.

    >>> get_device_count("cpu")
    1
    """
    return len(list_devices(device_type))


def distribution() -> DataParallel | None:
    """How models are trained now: what `set_distribution` or the ``scope`` around this call said, or None.

    >>> distribution() is None
    True
    """
    return getattr(_here, "distribution", None) or _distribution


def set_distribution(value: DataParallel | None) -> None:
    """Train all models from now on by the processes together; None: each process by itself.

    Args:
        value: a `DataParallel`, or None.

    Raises:
        ValueError: for anything else.

    >>> from tdfast.distribution import DataParallel
    >>> set_distribution(DataParallel(shards=4))
    >>> distribution().shards
    4
    >>> set_distribution(None)
    """
    global _distribution
    if value is not None and not hasattr(value, "shards"):
        raise ValueError(
            f"set_distribution expects a tdfast.distribution.DataParallel or None, got {value!r}."
        )
    _distribution = value


@contextlib.contextmanager
def within(value: DataParallel, by: Engine | None = None) -> Iterator[None]:
    """For the block, and in this thread, what `set_distribution` says; or with processes of an engine of its
    own."""
    before = getattr(_here, "distribution", None), getattr(_here, "engine", None)
    _here.distribution = value
    if by is not None:
        _here.engine = by
    try:
        yield
    finally:
        _here.distribution, _here.engine = before
