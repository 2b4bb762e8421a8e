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


class _Plan:
    """What is ready for the batches of so many rows.

    Args:
        made_for: what it is of; of anything else there must be another plan.

    Attributes:
        source: the data that the steps are over.
        steps: the `tdfast._kernels.Steps`, or None.
        size: how many steps of a stride take about `QUANTUM`.
    """

    def __init__(self, made_for: Any) -> None:
        self.made_for, self.passes = made_for, made_for[0]
        self.source: Any = None
        self.steps: Any = None
        self.size = 8


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
        self._plans: dict[int, _Plan] = {}      # by the rows of a batch

    def go(self, feed: EpochIterator) -> int:
        """Make some of the next steps of a feed, and tell it: how many."""
        n, rows = feed.ahead() if isinstance(feed.source, ArrayBatches) else (0, 0)
        plan = self._plan(feed.source, rows) if n > 0 else None
        if plan is None or plan.steps is None:
            return 0
        n, steps = min(n, plan.size), plan.steps
        optimizer, start = self._step.optimizer, time.perf_counter()
        numbers = optimizer.numbers_of_steps(n)
        n = len(numbers)
        if not n:
            return 0
        order = np.ascontiguousarray(feed.source.rows_ahead(n), np.int64)
        notes = plan.passes.notes
        values = np.empty((n, len(notes.results())))
        with self._step.lock.writing():
            try:
                steps.run(order, numbers, values, *optimizer.limits_of_steps())
            finally:                # a signal's handler may raise an error as soon as Python runs again
                made = steps.made
                optimizer.count_steps(made)
        feed.skip(made)
        objective = self._step.objective
        for row in values[:made].tolist():
            objective.loss_tracker.add(objective.value_again(notes, row) * rows, rows)
            objective.count_again(notes, row)
        plan.size = min(MOST, math.ceil(n * QUANTUM / (time.perf_counter() - start)))
        return made

    def _plan(self, source: ArrayBatches, rows: int) -> _Plan | None:
        """That of batches of so many rows of these data; None: the steps need Python."""
        passes = self._step.prepared(rows)
        if passes is None or not passes.is_kernels_alone or not self._step.optimizer.runs_in_kernels:
            return None
        made_for = passes, passes.records, self._step.optimizer._whole, program.changes()
        plan = self._plans.get(rows)
        if plan is None or plan.made_for != made_for:
            self._plans[rows] = plan = _Plan(made_for)
        if plan.source is not source:
            plan.source = source
            plan.steps = self._steps(plan.steps, passes, source, rows)
        return plan

    def _steps(self, made: Any, passes: PreparedPasses, source: ArrayBatches, rows: int) -> Any:
        """The `tdfast._kernels.Steps` over some data, made for others before or new ones; None: there are
        none."""
        step, optimizer, data, batch = self._step, self._step.optimizer, source.arrays, passes.batch
        if not step.is_kernels_alone or source.padding is not None:
            return None
        if not (passes.owns or source.gathers_into(batch)):         # the caller's arrays, to be read alone
            return None
        if any([a is not None for a in data.masks]):
            return None
        pairs = [(a, room) for a, room in zip((*data.inputs, *data.targets, *data.weights),
                                              (*batch.inputs, *batch.targets, *batch.weights))
                 if a is not None or room is not None]
        if not all([isinstance(a, np.ndarray) and room is not None and a.flags.c_contiguous
                    and a.dtype == room.dtype and a.shape[1:] == room.shape[1:] and not a.dtype.hasobject
                    for a, room in pairs]):
            return None
        if made is not None:
            made.gather(pairs)
            return made
        return program.Steps(rows, pairs, *passes.programs, passes.notes.results(),
                             len(passes.notes.values), optimizer.pieces_of_steps(),
                             optimizer._whole.grads, optimizer._partial)
