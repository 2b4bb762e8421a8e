"""DataParallel: all processes train one model, each on its rows of every batch."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tdfast.distribution import current

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class DataParallel:
    """Training of one model by several processes, with the same bits for any number of them.

    A batch is cut into ``shards`` parts of equal size. Each process computes the gradients of its shards, and
    all gradients are added in one fixed order, along a balanced binary tree. So weights, logs and predictions
    do not depend on how many processes there are: a laptop's one process gives the numbers of a cluster, and
    a training that was stopped continues with more processes or fewer. The loss, its weights, the metrics and
    the statistics of `BatchNormalization` are those of the whole batch.

    Args:
        device_mesh: None; a mesh would be for other kinds of distribution.
        devices: None, or `list_devices()`: all processes train.
        auto_shard_dataset: True: every process passes the same data to `fit`, ``batch_size`` is that of all
            of them together, and tdfast takes each process's rows. False: each process passes data of its
            own; the parts may be of different lengths. Then bits depend on the number of processes, since the
            batches do.
        shards: how many parts a batch is cut into: at least as many as there are processes, and at most
            batch_size. Other shards give other bits, so it belongs to the training as its seed does, and a
            backup knows it.

    Raises:
        ValueError: for a mesh, other devices, or fewer shards than processes.

    Source: https://keras.io/api/distribution/, of which ``shards`` is not a part.

    >>> from tdfast import distribution
    >>> with distribution.DataParallel(shards=4).scope():
    ...     distribution.distribution().shards
    4
    """

    batch_dim_name = "batch"

    def __init__(self, device_mesh: Any = None, devices: Sequence[str] | None = None,
                 auto_shard_dataset: bool = True, *, shards: int = 8) -> None:
        if device_mesh is not None:
            raise ValueError(
                "DataParallel: device_mesh must be None: all processes that `initialize` found train "
                "together, and a model is not cut into parts."
            )
        if devices is not None and list(devices) != current.list_devices():
            raise ValueError(
                f"DataParallel: devices must be None or list_devices(), {current.list_devices()}, got "
                f"{list(devices)}."
            )
        if isinstance(shards, bool) or not hasattr(shards, "__index__") or int(shards) < 1:
            raise ValueError(f"DataParallel: shards must be a whole number of at least 1, got {shards!r}.")
        if not isinstance(auto_shard_dataset, bool):
            raise ValueError(
                f"DataParallel: auto_shard_dataset must be True or False, got {auto_shard_dataset!r}."
            )
        self.device_mesh, self.devices = None, current.list_devices()
        self.auto_shard_dataset, self.shards = auto_shard_dataset, int(shards)
        self.check(current.engine())

    def check(self, engine: Any) -> None:
        """Raise a ValueError unless each process of an engine can have a shard."""
        if engine.size > self.shards:
            raise ValueError(
                f"DataParallel: {self.shards} shards cannot keep {engine.size} processes at work: each needs "
                f"one at least. Give shards={engine.size} or more, and a batch_size of at least as many rows."
            )

    @property
    def num_model_replicas(self) -> int:
        """How many processes hold the model."""
        return current.num_processes()

    @property
    def num_processes(self) -> int:
        """How many processes there are."""
        return current.num_processes()

    @property
    def data_shard_id(self) -> int:
        """The number of this process."""
        return current.process_id()

    @contextlib.contextmanager
    def scope(self) -> Iterator[Any]:
        """For the block, and in this thread, train by this distribution."""
        with current.within(self):
            yield self

    def __repr__(self) -> str:
        return (f"<DataParallel shards={self.shards}, processes={current.num_processes()}, "
                f"auto_shard_dataset={self.auto_shard_dataset}>")
