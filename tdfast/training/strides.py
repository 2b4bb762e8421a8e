"""Strides: many steps of a fit in a row, without Python in between."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import program
from tdfast.training.epochs import ArrayBatches

if TYPE_CHECKING:
    from tdfast.training.epochs import EpochIterator
    from tdfast.training.passes import PreparedPasses
    from tdfast.training.step import Step

QUANTUM = 0.002
"""Seconds after which Python has a look again: at Ctrl-C, and at who waits for the weights."""

MOST = 4096
"""Steps of a stride."""


class Strides:
    """The steps that follow one that ran prepared, where all that they do is calls of kernels.

    The rows are gathered, both passes made and the weights updated in one loop of C without the GIL, step
    after step with the bits of `Step.train`. It ends before a step whose loss or gradient is not finite, so
    that `Step.train` can say why.

    Args:
        step: the `tdfast.training.step.Step`.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._made_for: Any = None
        self._steps: Any = None
        self._passes: Any = None
        self._size = 8

    def go(self, feed: EpochIterator) -> int:
        """Make some of the next steps of a feed, and tell it: how many."""
        n = feed.ahead() if isinstance(feed.source, ArrayBatches) else 0
        if n < 2:
            return 0
        steps = self._steps_for(feed.source)
        n = min(n, self._size)
        if steps is None:
            return 0
        optimizer, start = self._step.optimizer, time.perf_counter()
        numbers = optimizer.numbers_of_steps(n)
        n = len(numbers)
        if not n:
            return 0
        order = np.ascontiguousarray(feed.source.rows_ahead(n), np.int64)
        notes = self._passes.notes
        values = np.empty((n, len(notes.results())))
        with self._step.lock.writing():
            try:
                steps.run(order, numbers, values, optimizer.clipvalue or 0.0)
            finally:                # a signal's handler may raise an error as soon as Python runs again
                made = steps.made
                optimizer.steps += made
        feed.skip(made)
        objective, rows = self._step.objective, feed.source.batch_size
        for row in values[:made].tolist():
            objective.loss_tracker.add(objective.value_again(notes, row) * rows, rows)
            objective.count_again(notes, row)
        self._size = min(MOST, math.ceil(n * QUANTUM / (time.perf_counter() - start)))
        return made

    def _steps_for(self, source: ArrayBatches) -> Any:
        """The `tdfast._kernels.Steps` over these data; None: the steps need Python."""
        passes = self._step.prepared(source.batch_size)
        if passes is None or not passes.is_kernels_alone or not self._step.optimizer.runs_in_kernels:
            return None
        key = passes, passes.records, source, self._step.optimizer._whole, program.changes()
        if self._made_for != key:
            self._made_for, self._passes, self._size = key, passes, 8
            self._steps = self._make(passes, source)
        return self._steps

    def _make(self, passes: PreparedPasses, source: ArrayBatches) -> Any:
        step, optimizer, data, batch = self._step, self._step.optimizer, source.arrays, passes.batch
        if not step.is_kernels_alone or source.padding is not None:
            return None
        if not (passes.owns or source.gathers_into(batch)):         # the caller's arrays, to be read alone
            return None
        if any([a is not None for a in (*data.weights, *data.masks)]):
            return None
        pairs = [(a, room) for a, room in zip((*data.inputs, *data.targets), (*batch.inputs, *batch.targets))
                 if a is not None]
        if not all([a.flags.c_contiguous and a.dtype == room.dtype and a.shape[1:] == room.shape[1:]
                    and not a.dtype.hasobject for a, room in pairs]):
            return None
        return program.Steps(source.batch_size, pairs, *passes.programs, passes.notes.results(),
                             len(passes.notes.values), optimizer.pieces_of_steps(), optimizer._partial)
