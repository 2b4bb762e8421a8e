"""Peers: the processes that train a model together, and what they must agree on before each step."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import tdfast
from tdfast import random, runtime
from tdfast.distribution import current
from tdfast.engine.pickling import seeds_of
from tdfast.errors import DistributionError
from tdfast.training.epochs import ArrayBatches
from tdfast.training.parts import PartBatches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.training.batch import Batch
    from tdfast.training.epochs import EpochIterator
    from tdfast.training.resume import Run

BATCH, NO_BATCH, EPOCH_END = 1, 2, 3
_WHAT = {BATCH: "has a batch for {who}", NO_BATCH: "has no more data for {who}",
         EPOCH_END: "is at the end of an epoch"}


class _Said(NamedTuple):
    """What a process tells the others before a step, as whole numbers."""

    state: int
    who: int
    rows: int
    mark: int
    stop: int
    interrupted: int


class Peers:
    """The processes of one call of fit or evaluate. All of them make the same calls of these methods.

    Args:
        model: the model.
        shared: the `tdfast.distribution.DataParallel`.

    Attributes:
        engine: the `tdfast.distribution.Engine`.
        shards: how many shards a batch has.
        rows: of the next batch, those of each process: all of them where each has the whole batch.
    """

    def __init__(self, model: Any, shared: Any) -> None:
        self.model, self.shared, self.engine = model, shared, current.engine()
        self.shards, self.in_parts = shared.shards, not shared.auto_shard_dataset
        shared.check(self.engine)
        self.rows: list[int] = []
        self.wants_stop = False             # what a callback of this process asks for
        self.interrupts: Any = None

    # ---------------------------------------------------------------- data
    def share(self, feed: EpochIterator) -> EpochIterator:
        """A feed of what this process passed, whose batches are those of all of them."""
        if not isinstance(feed.source, ArrayBatches):
            return feed
        source = feed.source
        if self.in_parts:
            if source.padding is not None:
                source.padding.plan.cut = False         # all parts have the same number of steps
            counts = self.engine.allgather_object(source.samples)
            feed.source = source = PartBatches(source, counts, self.engine.rank)
        if source.batch_size < self.shards <= source.total:
            raise ValueError(
                f"{feed.who}: batch_size={source.batch_size} is less than the {self.shards} shards that each "
                f"batch is cut into. Give a batch_size of at least {self.shards}, or DataParallel(shards="
                f"{source.batch_size})."
            )
        return feed

    def agreed(self, batches: Iterator[Any], who: str, interrupts: Any = None) -> Iterator[Any]:
        """The batches, while all processes have one and none wants to stop.

        Args:
            batches: this process's.
            who: the method.
            interrupts: the `Interrupts` of a fit: Ctrl-C ends all processes before the same batch.
        """
        if interrupts is not None:
            self.interrupts, interrupts.holding = interrupts, True
        while True:
            batch = next(batches, None)
            self._exchange(BATCH if batch is not None else NO_BATCH, who, batch)
            if batch is None or self.wants_stop:
                self.wants_stop = False
                return
            yield batch

    def agree_on(self, batch: Batch, who: str) -> None:
        """Have all processes ready for a batch."""
        self._exchange(BATCH, who, batch)

    def _exchange(self, state: int, who: str, batch: Any = None, mark: int = 0) -> None:
        """Tell the others where this process is, and see that they are there, too."""
        rows = 0 if batch is None else len(batch.inputs[0])
        pending, size = self.interrupts is not None and self.interrupts.pending, self.engine.size
        if batch is not None and size > 1:
            mark = _mark(batch, self.in_parts)
        mine = _Said(state, zlib.crc32(who.encode()), rows, mark, int(self.wants_stop), int(pending))
        told = self.engine.allgather(np.array(mine, np.int64), [len(mine)] * size).reshape(size, len(mine))
        said = [_Said(*row) for row in told.tolist()]
        if any(one.interrupted for one in said):
            if self.interrupts is not None:
                self.interrupts.pending = False
            raise KeyboardInterrupt
        self.wants_stop = any(one.stop for one in said)
        for rank, one in enumerate(said):
            if one[:2] != said[0][:2]:
                raise DistributionError(_of_places(said[0], rank, one, who))
            if one.mark != said[0].mark or (not self.in_parts and one.rows != said[0].rows):
                raise DistributionError(self._of_contents(state, rank, who))
        self.rows = [one.rows for one in said]
        if state == BATCH and self.in_parts and not all(self.rows):
            raise DistributionError(
                f"{who}: process {self.rows.index(0)} has no row in this batch, but each process needs one: "
                f"the rows by process are {self.rows}. Give a larger batch_size, or more equal parts."
            )

    def _of_contents(self, state: int, rank: int, who: str) -> str:
        if state == EPOCH_END:
            return (
                f"{who}: after this epoch process {rank} has other weights, or another random state, than "
                "process 0. Something acts in one process alone: a callback that goes by the clock or by the "
                "number of the process, random numbers drawn in one process alone, or another processor."
            )
        if self.in_parts:
            return (
                f"{who}: the batch of process {rank} has arrays of other shapes or dtypes than that of "
                "process 0. With auto_shard_dataset=False each process passes rows of its own, but all other "
                "axes must agree."
            )
        return (
            f"{who}: process {rank} has other data in this batch than process 0. Every process must pass the "
            "same data in the same order; for parts of them there is DataParallel(auto_shard_dataset=False)."
        )

    # ---------------------------------------------------------------- a fit
    def begin(self, run: Run, epochs: int) -> None:
        """At the beginning of a fit: the processes have the same model, and begin where process 0 is."""
        facts = {**_facts(self), "the number of epochs": (run.epoch, epochs),
                 "the data (samples, batch size, steps)": run.train.size,
                 "the validation data (samples, batch size, steps)": run.test and run.test.size}
        for rank, theirs in enumerate(self.engine.allgather_object(facts)):
            for what, mine in facts.items():
                if theirs.get(what) != mine:
                    raise DistributionError(
                        f"fit: {what} of process {rank} is {theirs.get(what)}, that of process "
                        f"{self.engine.rank} is {mine}. All processes must run the same script with the "
                        "same versions on the same data."
                    )
        if self.engine.size > 1 and len(set(self.engine.allgather_object(self._digest()))) > 1:
            numbers = random.generator().bit_generator
            state, numbers.state = self.engine.from_first(lambda: (run.model_state(), numbers.state))
            run.restore_model(state)

    def end_epoch(self, stop: bool) -> bool:
        """At the end of an epoch: whether one of them wants to stop. All have the same weights."""
        self.wants_stop = stop
        self._exchange(EPOCH_END, "fit", mark=self._digest() if self.engine.size > 1 else 0)
        stop, self.wants_stop = self.wants_stop, False
        return stop

    def _digest(self) -> int:
        """A number that stands for all that goes from step to step."""
        found, model = 0, self.model
        for array in [*[v.value for v in (*model.weights, *model.optimizer.variables)],
                      *[seed.state for seed in seeds_of(list(model.walk()))]]:
            found = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, found)
        return zlib.crc32(repr(random.generator().bit_generator.state).encode(), found)


def _mark(batch: Batch, shapes_alone: bool) -> int:
    """A number that tells a batch from another one: by its shapes, and by its first and its last row."""
    found = 0
    for a in [a for part in batch for a in part if a is not None]:
        found = zlib.crc32(f"{a.shape[1:]}{a.dtype}".encode(), found)
        if not shapes_alone:
            for row in (a[:1], a[-1:]):
                text = repr(row.tolist()).encode() if row.dtype.hasobject else row.tobytes()
                found = zlib.crc32(text, found)
    given = repr([[a is None for a in part] for part in batch]).encode()
    return zlib.crc32(given, found)


def _of_places(first: _Said, rank: int, other: _Said, who: str) -> str:
    def told(rank: int, said: _Said) -> str:
        call = who if said.who == zlib.crc32(who.encode()) else "another call"
        return f"process {rank} {_WHAT[said.state].format(who=call)}"

    return (
        f"{who}: {told(0, first)}, but {told(rank, other)}. All processes must make the same calls of fit, "
        "evaluate and predict, with as many batches. For what one process computes alone there is "
        "predict_on_batch."
    )


def _facts(peers: Peers) -> dict[str, Any]:
    """What must be the same in all processes."""
    model, optimizer = peers.model, peers.model.optimizer
    return {
        "the version of tdfast": tdfast.__version__,
        "the instruction set (TDFAST_ISA)": runtime.isa(),
        "the precision of products": runtime.matmul_precision(),
        "the number of shards": peers.shards,
        "auto_shard_dataset": peers.shared.auto_shard_dataset,
        "the layers": [type(layer).__name__ for layer in model.walk()][1:],
        "the shapes of the weights": [w.shape for w in model.weights],
        "the optimizer": type(optimizer).__name__,
        "the metrics": [name for name, _ in model._trainer.objective.entries()],
    }
