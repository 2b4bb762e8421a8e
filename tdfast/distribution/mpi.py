"""The engine of MPI, by mpi4py."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.distribution.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array


class MPIEngine(Engine):
    """The processes that ``mpiexec`` or ``srun`` started.

    Args:
        communicator: of mpi4py; None: MPI.COMM_WORLD.

    Raises:
        ImportError: if mpi4py, or the MPI that it needs, is not installed.
    """

    name = "MPI"

    def __init__(self, communicator: Any = None) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise ImportError(
                "tdfast.distribution: these processes were started as those of MPI, but mpi4py cannot be "
                f"imported: {error}. Install it with an MPI: pip install 'tdfast[mpi]'."
            ) from error
        self._mpi, self._comm = MPI, MPI.COMM_WORLD if communicator is None else communicator
        self.rank, self.size = self._comm.rank, self._comm.size
        node = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_size = node.size
        node.Free()

    def allgather(self, mine: Array, counts: Sequence[int], out: Array | None = None) -> Array:
        out = np.empty(sum(counts), mine.dtype) if out is None else out
        self._comm.Allgatherv([_bytes(mine), mine.nbytes, self._mpi.BYTE],
                              [_bytes(out), _places(counts, out.itemsize), self._mpi.BYTE])
        return out

    def alltoall(self, parts: Array, counts: Sequence[int], received: Sequence[int]) -> Array:
        out = np.empty(sum(received), parts.dtype)
        self._comm.Alltoallv([_bytes(parts), _places(counts, parts.itemsize), self._mpi.BYTE],
                             [_bytes(out), _places(received, parts.itemsize), self._mpi.BYTE])
        return out

    def broadcast(self, array: Array) -> None:
        self._comm.Bcast([_bytes(array), array.nbytes, self._mpi.BYTE], root=0)

    def abort(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(1)               # what the launcher has not passed on by then may be lost
        self._comm.Abort(code)
        super().abort(code)         # MPI may return before it ends this process


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)


def _places(counts: Sequence[int], itemsize: int) -> tuple[list[int], list[int]]:
    """(bytes of each part, where it begins)."""
    sizes = [n * itemsize for n in counts]
    return sizes, [sum(sizes[:i]) for i in range(len(sizes))]
