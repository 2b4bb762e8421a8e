"""The engine of torch.distributed with gloo, which torchrun, Ray Train and Kubernetes' PyTorchJob start."""

from __future__ import annotations

import atexit
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.distribution.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array


class GlooEngine(Engine):
    """The default process group of torch.distributed, which is made where there is none yet.

    Args:
        address: "host:port" of the first process; None: what MASTER_ADDR and MASTER_PORT say.
        size, rank: how many processes there are, and which one this is; None: what WORLD_SIZE and RANK say.

    Raises:
        ImportError: if torch is not installed.
        ValueError: if the group that is there is not of gloo.
    """

    name = "torch.distributed"

    def __init__(self, address: str | None = None, size: int | None = None, rank: int | None = None) -> None:
        try:
            import torch
            import torch.distributed as group
        except ImportError as error:
            raise ImportError(
                "tdfast.distribution: engine='torch' needs the package torch: pip install torch."
            ) from error
        self._torch, self._group = torch, group
        if not group.is_initialized():
            where = {} if address is None else {"init_method": f"tcp://{address}"}
            group.init_process_group("gloo", world_size=-1 if size is None else size,
                                     rank=-1 if rank is None else rank, **where)
            atexit.register(_end, group)
        if "gloo" not in str(group.get_backend()):
            raise ValueError(
                "tdfast.distribution: torch.distributed runs with its backend "
                f"'{group.get_backend()}', which does not move a CPU's arrays: init_process_group('gloo')."
            )
        self.rank, self.size = group.get_rank(), group.get_world_size()
        self.local_size = self.allgather_object(socket.gethostname()).count(socket.gethostname())

    def allgather(self, mine: Array, counts: Sequence[int], out: Array | None = None) -> Array:
        out = np.empty(sum(counts), mine.dtype) if out is None else out
        most = max(counts) * mine.itemsize              # gloo gathers parts of one size
        padded = np.zeros(most, np.uint8)
        padded[: mine.nbytes] = mine.reshape(-1).view(np.uint8)
        found = [self._torch.empty(most, dtype=self._torch.uint8) for _ in counts]
        self._group.all_gather(found, self._torch.from_numpy(padded))
        parts = [part.numpy()[: n * mine.itemsize] for part, n in zip(found, counts)]
        np.concatenate(parts, out=out.reshape(-1).view(np.uint8))
        return out

    def alltoall(self, parts: Array, counts: Sequence[int], received: Sequence[int]) -> Array:
        out, size = np.empty(sum(received), parts.dtype), parts.itemsize
        given = self._torch.from_numpy(np.ascontiguousarray(parts).view(np.uint8))
        self._group.all_to_all_single(self._torch.from_numpy(out.view(np.uint8)), given,
                                      [n * size for n in received], [n * size for n in counts])
        return out

    def broadcast(self, array: Array) -> None:
        self._group.broadcast(self._torch.from_numpy(array.reshape(-1).view(np.uint8)), 0)


def _end(group: Any) -> None:
    """Join the group's threads, which torch leaves running."""
    if group.is_initialized():
        group.destroy_process_group()


def is_started() -> bool:
    """Whether a launcher such as torchrun has started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def group_is_there() -> bool:
    """Whether the program has made a process group already."""
    group: Any = sys.modules.get("torch.distributed")
    return group is not None and group.is_available() and group.is_initialized()
