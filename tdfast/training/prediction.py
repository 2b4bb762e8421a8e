"""predict: passes over many rows, as few and as large as suits the cache."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.tape import Record, Tape
from tdfast.training.batch import Batch, one_or_list
from tdfast.training.epochs import ArrayBatches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdfast.engine.types import Array, Data
    from tdfast.training.epochs import EpochIterator
    from tdfast.training.lock import ModelLock
    from tdfast.training.trainer import Trainer

PREDICT_BYTES = 2**24
PREDICT_ROWS = 252
"""What predict works on at once: see `rows_per_pass`. Rows in multiples of the kernels' tile."""

_NOTHING = contextlib.nullcontext()


def inference_tape() -> Tape:
    """A tape for predictions."""
    return Tape(keep=False)


def for_these_weights(tape: Tape) -> Tape:
    """The tape for weights as they are now."""
    tape.rewind()
    tape.version, tape.bare = object(), ()
    return tape


@contextlib.contextmanager
def tape_of(lock: ModelLock) -> Iterator[Any]:
    """A tape of this call's own, and the weights of one moment; its buffers serve a later call."""
    with lock.reading() as reader:
        yield for_these_weights(reader.memory)


class Prediction:
    """One call of `predict`.

    Args:
        trainer: the model's `tdfast.training.trainer.Trainer`.
        calls: the callbacks.
    """

    def __init__(self, trainer: Trainer, calls: Any) -> None:
        self.trainer, self.model, self.lock, self.calls = trainer, trainer.model, trainer.lock, calls

    def of_arrays(self, feed: EpochIterator, at_once: bool) -> list[Array]:
        """The outputs for the arrays of a feed, as a list of arrays (several with return_state).

        Args:
            feed: an `EpochIterator` over `ArrayBatches`.
            at_once: whether no callback is there to see the weights change.
        """
        source, padding = feed.source, feed.source.padding
        source.buffers = Record(self.model)         # not those of a fit beside it
        whole_batches = self.calls.has_predict_batch_hooks or is_stateful(self.model)
        if padding is not None and whole_batches:
            # What callbacks see, and what a state is of, are the caller's batches.
            padding.plan.cut = False
        wanted = source.samples
        if feed.wanted is not None:
            wanted = min(feed.wanted * source.batch_size, wanted)
        if whole_batches:
            return self.of_batches(feed, at_once=at_once)
        inputs = tuple(x[:wanted] for x in source.arrays.inputs)
        rows = rows_per_pass(self.model, inputs, source.batch_size)
        if padding is not None:
            return self._of_padded(inputs, padding, rows)
        if feed.wanted and feed.wanted > source.batches:
            feed.warn(source.batches)
        passes = ArrayBatches(Batch(inputs), rows, source.buffers)
        return self.of_batches(passes.one_pass(), wanted, at_once=True)

    def of_batches(self, batches: Any, samples: int | None = None, at_once: bool = False) -> list[Array]:
        """The outputs of all batches, as a list of arrays.

        Args:
            samples: how many rows there are in all; None: not known.
            at_once: no code of the user's runs between the batches, so that all of them can have the weights
                of one moment; else each batch has those of its own.
        """
        lock, calls, joined, start = self.lock, self.calls, _Joined(samples), 0
        hooks, size, first = calls.has_predict_batch_hooks, self.trainer.steps_per_execution, 0
        held: Any = None
        self.trainer.stop_predicting = False
        with lock.reading() if at_once else lock.reader() as reader:
            tape = for_these_weights(reader.memory)
            try:
                for i, batch in enumerate(batches):
                    if hooks and i % size == 0:
                        first, held = i, _Joined(None)      # what callbacks get, they may keep
                        calls.on_predict_batch_begin(i)
                    joined.expect(start, len(batch.inputs[0]))
                    with kernel_arithmetic(), _NOTHING if at_once else lock.read(reader):
                        tape.rewind()
                        if not at_once:
                            for_these_weights(tape)
                        y = self._forward(batch, tape)
                    joined.add(y, start, tape)
                    start += len(batch.inputs[0])
                    if hooks:
                        held.add(y, 0, tape)
                        if (i + 1) % size:
                            continue
                        calls.on_predict_batch_end(i, {"outputs": one_or_list(held.arrays())})
                        held = None
                    if self.trainer.stop_predicting:
                        break
                if hooks and held is not None:
                    calls.on_predict_batch_end(first + size - 1, {"outputs": one_or_list(held.arrays())})
            finally:
                joined.end()
        return joined.arrays()

    def _forward(self, batch: Any, tape: Tape) -> Array:
        masks = one_or_list(batch.masks) if batch.masks else None
        return self.model.forward(one_or_list(batch.inputs), tape, mask=masks)

    def _of_padded(self, inputs: Any, padding: Any, rows: Any) -> Any:
        """The outputs for sequences padded on the right: the longest first, each batch cut to its longest."""
        plan, n, out = padding.plan, len(inputs[0]), None
        T = inputs[0].shape[1] if plan.cut or plan.follows else 0
        plan.cut = plan.cut and (plan.held or not plan.follows)
        order, buffers = padding.by_length(n), Record(self.model)
        with tape_of(self.lock) as tape:
            for start in range(0, n, rows):
                index = order[start : start + rows]
                # One masked step more than the longest row, whose output is that of all steps cut off.
                batch = padding.gather(Batch(inputs), index, buffers, spare=int(plan.follows))
                tape.rewind()
                with kernel_arithmetic():
                    y = self._forward(batch, tape)
                parts = y if isinstance(y, list) else [y]
                if out is None:
                    timed = [plan.follows and k == 0 for k in range(len(parts))]
                    out = [np.empty((n, *((T, *p.shape[2:]) if t else p.shape[1:])), p.dtype)
                           for p, t in zip(parts, timed)]
                for whole, part, t in zip(out, parts, timed):
                    if t and part.shape[1] < T:
                        steps = part.shape[1]
                        whole[index, :steps] = part
                        whole[index, steps:] = part[:, -1:]
                    else:
                        whole[index] = part
        return out


class _Joined:
    """Batches' outputs, on their way into one array for each output.

    Where the number of rows is known, the last layer writes where the result belongs.
    """

    def __init__(self, samples: int | None) -> None:
        self._samples = samples
        self._pieces: list[Any] = []
        self._out: Any = None
        self._redirect: Any = None

    def expect(self, start: int, rows: int) -> None:
        """Let the next batch, of so many rows, write to its place."""
        if self._redirect is not None:
            self._redirect.to(self._out[0][start : start + rows])

    def add(self, y: Data, start: int, tape: Tape) -> None:
        """Take a batch's outputs."""
        parts = y if isinstance(y, list) else [y]
        if any(part.ndim == 0 for part in parts):
            raise ValueError(
                "predict: an output is a single number for the whole batch, so those of several batches "
                "cannot be joined. Call the model on an array, model(x), or keep the axis of the samples, as "
                "in ops.sum(x, axis=-1)."
            )
        if self._samples is None:
            self._pieces.append([part.copy() for part in parts])
            return
        if self._out is None:
            self._out = [np.empty((self._samples, *part.shape[1:]), part.dtype) for part in parts]
            self._redirect = tape.redirect_of(y) if len(parts) == 1 else None
        for rows, part in zip(self._out, parts):
            if rows.shape[1:] != part.shape[1:]:
                raise _of_different_shapes({rows.shape[1:], part.shape[1:]})
            place = rows[start : start + len(part)]
            if not np.may_share_memory(place, part):
                place[...] = part

    def end(self) -> None:
        """The last layer has its own memory again."""
        if self._redirect is not None:
            self._redirect.end()

    def arrays(self) -> list[Array]:
        """All outputs."""
        return self._out if self._samples is not None else [_joined(parts) for parts in zip(*self._pieces)]


def _joined(parts: Sequence[Any]) -> Array:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise _of_different_shapes(shapes)
    return np.concatenate(parts)


def _of_different_shapes(shapes: Any) -> ValueError:
    return ValueError(
        f"predict: the batches' outputs have different shapes, {sorted(shapes)}, and cannot be joined. "
        "Predict "
        "them one by one with predict_on_batch."
    )


def is_stateful(model: Any) -> bool:
    """Whether a layer keeps states from batch to batch."""
    return any(getattr(layer, "stateful", False) for layer in model.walk())


def rows_per_pass(model: Any, inputs: Any, batch_size: int) -> int:
    """How many rows predict takes at once: no result depends on it, so it is chosen for the cache.

    Small batches are joined and large ones cut, such that all layers' outputs take some 16 MB.
    """
    values = model.graph.values_of_a_row(tuple([x.shape[1:] for x in inputs]))
    if not values:                  # texts are filled up to the longest of their batch: those of the caller
        return batch_size
    fitting = PREDICT_BYTES // (values * inputs[0].itemsize)
    return max(min(batch_size, 12), min(PREDICT_ROWS, fitting // 12 * 12))
