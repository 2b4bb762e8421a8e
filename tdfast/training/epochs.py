"""Batches for many epochs: from arrays, and from whatever yields batches."""

from __future__ import annotations

import collections
import itertools
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import random
from tdfast.compat.calling import level_of_the_caller
from tdfast.engine.arrays import gather
from tdfast.engine.stored import Stored
from tdfast.training.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tdfast.engine.tape import Record
    from tdfast.engine.types import Array


class EpochIterator:
    """Cuts the passes over a source of batches into epochs, as Keras does.

    Without ``steps`` an epoch is one pass. With ``steps`` an epoch takes that many batches from where the
    one before ended, and begins anew when a pass is through. Data that end before they should are
    reported by a warning.

    Args:
        source: `ArrayBatches` or `StreamBatches`.
        steps: batches of an epoch; None: one pass.
        who: the method's name, for the warning.
    """

    def __init__(self, source: Any, steps: int | None = None, who: str = "fit") -> None:
        if steps is None and getattr(source, "endless", False):
            raise ValueError(
                f"{who}: the batches never end, as repeat() says: give the number of steps, or repeat(count)."
            )
        self.source, self.wanted, self.who = source, steps, who
        self._pass: Any = None
        self._taken = 0             # from this pass
        self._done = 0              # of the epoch to come
        self._count = 0             # of the epoch that runs
        self._epoch_open = False    # whether the source knows that the epoch has begun
        self._peeked = False        # whether the next batch has left the source already

    @property
    def size(self) -> list[Any]:
        """Numbers that tell these data from others: samples, those of a batch, batches of an epoch; None: not
        known."""
        return [getattr(self.source, "total", None), getattr(self.source, "batch_size", None), self.wanted]

    def state(self) -> dict[str, Any]:
        """Where the data are, for `restore`."""
        taken = self._taken if self._pass is not None else 0
        return {"size": self.size, "taken": taken, "order": self.source.order if taken else None}

    def restore(self, state: Any, done: Any) -> None:
        """Go on where `state` was called, with ``done`` batches of the epoch behind.

        What can be read only once is read from its beginning, and the batches that were taken are left out.
        """
        taken = state["taken"]
        if self.source.again:
            self._pass = self.source.one_pass(state["order"], taken) if taken else None
            self._peeked = False
        else:
            self._begin_epoch()
            self._begin(done - taken)
            for _ in range(taken - self._taken):
                next(self._pass, None)
        self._taken, self._done = taken, done

    @property
    def steps(self) -> int:
        """Batches in an epoch, None while nobody knows."""
        return self.wanted or self.source.batches

    def peek(self) -> Any:
        """The first batch to come, which comes all the same; None if there is none."""
        self._begin_epoch()
        self._begin(self._done)
        first = next(self._pass, None)
        self._pass = iter(()) if first is None else itertools.chain([first], self._pass)
        self._peeked = first is not None
        return first

    def rewind(self) -> None:
        """Begin the next epoch with a new pass, where the source can be read again."""
        if self.source.again:
            self._pass = None

    def __iter__(self) -> Iterator[Any]:
        """The batches of one epoch."""
        return self.between(_nothing)

    def between(self, take: Callable[[], Any]) -> Iterator[Any]:
        """The batches of one epoch, but for those that ``take``, called before each, takes in another way, by
        `skip`."""
        self._begin_epoch()
        self._count, self._done = self._done, 0
        self._epoch_open = False                # the next call is of the next epoch
        while self.wanted is None or self._count < self.wanted:
            self._begin(self._count)
            if not self._peeked:
                take()
                if self._count == self.wanted:
                    break
            batch, self._peeked = next(self._pass, None), False
            if batch is None:
                if self._count == 0 and self._taken and self.source.again:
                    self._pass = None           # the epoch before took the last one
                    continue
                if self._count == 0 or self.wanted is not None:
                    self.warn(self._count)
                if self.source.again:
                    self._pass = None
                break
            self._count += 1
            self._taken += 1
            yield batch
        self.source.on_epoch_end()

    def ahead(self) -> tuple[int, int]:
        """How many batches of this epoch come next that have as many rows, and how many rows: where `between`
        asks, of an `ArrayBatches`."""
        n, rows = self.source.ahead()
        return (n if self.wanted is None else min(n, self.wanted - self._count)), rows

    def skip(self, n: int) -> None:
        """The next n batches have been taken in another way."""
        self.source.at += n
        self._count += n
        self._taken += n

    def _begin_epoch(self) -> None:
        """Tell the source, before it is asked for the first batch of an epoch."""
        if not self._epoch_open:
            self._epoch_open = True
            self.source.on_epoch_begin()

    def _begin(self, count: int) -> None:
        """Have a pass, with ``count`` batches of the epoch behind."""
        if self._pass is None:
            self._pass = self.source.one_pass()
            self._taken, self._peeked = 0, False
        # Batches of the next epoch are not to be fetched before the source knows of it.
        self.source.limit = math.inf if self.wanted is None else self._taken + self.wanted - count

    def warn(self, count: Any) -> None:
        """Say that only ``count`` batches came."""
        wanted = f"{count} of {self.wanted} batches came" if self.wanted else "no batch is left"
        warnings.warn(
            f"{self.who}: the input ran out of data: {wanted}. "
            + (
                "Ask for fewer steps, or give more data."
                if self.source.again
                else "A generator can be read only once: make it endless and pass the number of steps, or "
                     "pass an object "
                "that can be read again, such as arrays, a PyDataset or a DataLoader."
            ),
            stacklevel=level_of_the_caller(),
        )


class ArrayBatches:
    """Batches of some arrays with one first axis, in order or in a random order of the samples.

    In order, a batch of contiguous arrays is a view. Otherwise its rows are gathered into buffers that serve
    every batch again; the data set is never copied.

    Args:
        arrays: a `tdfast.training.batch.Batch` of all samples, None in the place of an array that is not
            there.
        batch_size: rows of every batch but, perhaps, the last.
        buffers: a `tdfast.engine.tape.Record`.
        shuffle: True draws a new order of the samples for each pass; 'batch' only within each batch.
        padding: a `tdfast.training.lengths.Padding` of sequences of different lengths, or None.

    Attributes:
        samples: how many there are; ``total``: in all processes that train together.
        at: the number of the batch that the pass gives next.
    """

    again = True

    def __init__(self, arrays: Batch, batch_size: int, buffers: Record, shuffle: bool | str = False,
                 padding: Any = None) -> None:
        self.arrays, self.batch_size, self.buffers = arrays, batch_size, buffers
        self.shuffle, self.padding = shuffle, padding
        self.samples = self.total = len(arrays.inputs[0])
        self.batches = -(-self.samples // batch_size)
        self.order: Any = None
        self.at = 0
        self._rooms: dict[int, tuple[Any, ...]] = {}
        self._rooms_of: Any = None

    def on_epoch_begin(self) -> None:
        """Nothing to do."""

    def on_epoch_end(self) -> None:
        """Nothing to do."""

    def one_pass(self, order: Array | None = None, start: int = 0) -> Iterator[Any]:
        """All batches once, each a `Batch`. Or, to go on with one, those from ``start`` in its order."""
        self.order = self._order() if order is None else order
        self.at = start
        return self._left(self.order)

    def _left(self, order: Array | None) -> Iterator[Any]:
        """The batches from `at` on."""
        while self.at < self.batches:
            i, self.at = self.at, self.at + 1
            rows = self._rows(i)
            if self.padding is not None:
                index = np.arange(rows.start, rows.stop) if order is None else order[rows]
                yield self.padding.gather(self.arrays, index, self.buffers)
            elif order is None:
                yield self._each(self._slice, rows)
            else:
                yield self._gathered(order[rows])

    def _rows(self, i: int) -> slice:
        """Those of a batch."""
        return slice(i * self.batch_size, min((i + 1) * self.batch_size, self.samples))

    def ahead(self) -> tuple[int, int]:
        """How many batches of as many rows the pass gives next, and how many rows."""
        whole = self.samples // self.batch_size - self.at
        if whole > 0:
            return whole, self.batch_size
        return self.batches - self.at, self.samples % self.batch_size

    def rows_ahead(self, n: int) -> Array:
        """The numbers of the rows of the next n of these."""
        rows = slice(self.at * self.batch_size, min((self.at + n) * self.batch_size, self.samples))
        return np.arange(rows.start, rows.stop) if self.order is None else self.order[rows]

    def gathers_into(self, batch: Batch) -> bool:
        """Whether the arrays of a batch are those that serve every batch of as many rows."""
        room, _ = self._room(len(batch.inputs[0]))
        return room is not None and all([a is b for mine, given in zip(room, batch)
                                         for a, b in zip(mine, given)])

    def _gathered(self, index: Array) -> Batch:
        """The rows of these numbers: the same `Batch`, of the same arrays, for each of as many rows."""
        batch, pairs = self._room(len(index))
        if batch is None:
            return self._each(self._gather, index)
        for a, out in pairs:
            gather(a, index, out)
        return batch

    def _room(self, rows: int) -> tuple[Any, ...]:
        """(the `Batch` that so many rows are gathered into, pairs (array, its part of it)); None for it where
        they are strings."""
        if self._rooms_of is not self.buffers:
            self._rooms, self._rooms_of = {}, self.buffers
        if rows not in self._rooms:
            if any([a is not None and a.dtype.hasobject for part in self.arrays for a in part]):
                self._rooms[rows] = None, []
            else:
                batch = self._each(self._place, range(rows))
                self._rooms[rows] = batch, [
                    (a, out) for arrays, outs in zip(self.arrays, batch) for a, out in zip(arrays, outs)
                    if a is not None]
        return self._rooms[rows]

    def _each(self, take: Callable[..., Any], rows: Array | slice | range) -> Batch:
        return Batch(*[
            tuple([None if a is None else take((part, k), a, rows) for k, a in enumerate(arrays)])
            for part, arrays in enumerate(self.arrays)
        ])

    def _order(self) -> Array | None:
        if not self.shuffle:
            return None
        draw = random.generator().permutation
        if self.shuffle != "batch":
            return draw(self.samples)
        starts = range(0, self.samples, self.batch_size)
        return np.concatenate([start + draw(min(self.batch_size, self.samples - start)) for start in starts])

    def _place(self, k: Any, a: Array, index: Any) -> Array:
        return self.buffers.buffer(k, (len(index), *a.shape[1:]), a.dtype)

    def _gather(self, k: Any, a: Array, index: Array) -> Array:
        if a.dtype.hasobject:                   # strings, of any length
            return a[index]
        return gather(a, index, self._place(k, a, index))

    def _slice(self, k: int, a: Array, rows: slice) -> Array:
        part = a.read(rows) if isinstance(a, Stored) else a[rows]
        if isinstance(a, Stored) or not part.flags.c_contiguous:        # windows that overlap
            out = self.buffers.buffer(k, part.shape, part.dtype)
            out[...] = part
            return out
        return part


class StreamBatches:
    """Batches that something yields: a generator, any iterable, or a `tdfast.utils.PyDataset`.

    Args:
        data: what the user passed. An iterator is read once; an iterable anew in each pass; of an object
            with ``__getitem__`` and a number of batches, batch i is ``data[i]``.
        prepare: what makes a `Batch` of each.
        shuffle: whether to take the batches of a PyDataset in a random order.

    Attributes:
        limit: how many batches of a pass may be fetched by now.
    """

    limit = math.inf

    def __init__(self, data: Any, prepare: Callable[..., Any], shuffle: bool | str = False) -> None:
        self.data, self.prepare, self.shuffle = data, prepare, shuffle
        self.again = not hasattr(data, "__next__")
        self.indexed = hasattr(data, "__getitem__") and (hasattr(data, "num_batches")
                                                         or not hasattr(data, "__iter__"))
        if any(c.__name__ == "Dataset" and c.__module__.startswith("torch.utils.data")
               for c in type(data).__mro__):
            raise ValueError(
                f"{type(data).__name__} is a torch Dataset, which yields single samples: wrap it in a "
                "torch.utils.data.DataLoader, which makes batches of them."
            )
        self.batches = self._count()
        cardinality = getattr(data, "cardinality", None)        # of a data set of TensorFlow's, too
        self.endless = callable(cardinality) and int(cardinality()) == -1
        self.order: Any = None

    def _count(self) -> int | None:
        if self.indexed and hasattr(self.data, "num_batches"):
            count = self.data.num_batches
            return None if count is None else int(count)
        try:
            return len(self.data)
        except TypeError:               # no length, or an endless one
            return None

    def on_epoch_begin(self) -> None:
        """Tell a PyDataset that an epoch begins, for which it may have another number of batches."""
        getattr(self.data, "on_epoch_begin", _nothing)()
        self.batches = self._count()

    def on_epoch_end(self) -> None:
        """Tell a PyDataset that an epoch has ended, after which it may have another number of batches."""
        getattr(self.data, "on_epoch_end", _nothing)()
        self.batches = self._count()

    def one_pass(self, order: Any = None, start: int = 0) -> Any:
        """All batches once, prepared. Or, to go on with a pass, those from ``start`` in its order."""
        return map(self.prepare, self._items(order, start) if self.indexed
                   else itertools.islice(self.data, start, None))

    def _items(self, order: Any, start: Any) -> Any:
        count = self.batches
        if order is None and self.shuffle and count is not None:
            order = random.generator().permutation(count)
        self.order = order
        if order is None:
            order = itertools.count(start) if count is None else range(start, count)
        else:
            order = order[start:].tolist()
        workers = getattr(self.data, "workers", 1)
        if workers > 1 or (workers > 0 and getattr(self.data, "use_multiprocessing", False)):
            size = max(getattr(self.data, "max_queue_size", 10), 1)
            return _ahead(self.data.__getitem__, order, workers, size, lambda: self.limit - start)
        return map(self.data.__getitem__, order)


def _nothing() -> None:
    pass


def _ahead(get: Any, order: Any, workers: Any, size: Any, limit: Any) -> Iterator[Any]:
    """``get(i)`` for each i in order, made by threads while earlier ones are in use.

    Args:
        get, order: as said.
        workers: how many threads.
        size: how many results may wait.
        limit: a function that tells how many may be asked for by now.
    """
    import concurrent.futures  # here alone: it would be a sixth of what importing tdfast costs

    queue: collections.deque[Any] = collections.deque()
    asked, order = 0, iter(order)
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        while True:
            while len(queue) <= size and (asked < limit() or not queue):
                i = next(order, None)
                if i is None:
                    break
                queue.append(pool.submit(get, i))
                asked += 1
            if not queue:
                return
            yield queue.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
