"""The two passes of a training step: as the layers make them, or prepared, without the layers' Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.program import Program, is_of_tdfast
from tdfast.runtime import aligned
from tdfast.training.batch import Batch, one_or_list
from tdfast.training.objective import Notes

if TYPE_CHECKING:
    from tdfast.engine.types import Array
    from tdfast.training.step import Step


class Passes:
    """Forward and backward by the layers.

    Args:
        step: the `tdfast.training.step.Step`.
    """

    def __init__(self, step: Step) -> None:
        self.step = step

    def forward(self, batch: Batch) -> tuple[Any, ...]:
        """(the outputs, the batch that goes with them, the loss, its gradients by the outputs)."""
        step = self.step
        outputs, counted = step.forward(batch, step.tape, training=True)
        return (outputs, counted, *step.objective.value_and_gradients(outputs, counted))

    def count(self, outputs: Any, batch: Batch) -> None:
        """Tell the metrics of the batch that `forward` took; with what it gave."""
        self.step.objective.count(outputs, batch)

    def test(self, batch: Batch, tape: Any) -> tuple[Any, ...]:
        """(the outputs, the batch that goes with them), not in training."""
        return self.step.forward(batch, tape, training=False)

    def activity_penalty(self, tape: Any) -> Any:
        """The sum of the activity regularizers' penalties of the last forward pass, on this tape."""
        return self.step.model.activity_penalty(tape)

    def rows(self, batch: Batch) -> int:
        """Of the batch, of all processes together."""
        return len(batch.inputs[0])

    def backward(self, gradients: Any) -> None:
        """Write the gradients of the weights."""
        self.step.model.backward(one_or_list(gradients), self.step.tape, need_dx=False)


class PreparedPasses(Passes):
    """The same for batches that lie in the same arrays each time: recorded once, and then only run.

    Args:
        step: as for `Passes`.
        batch: the first such batch.
        owns: whether its arrays are for these passes alone, so that others can be copied there.

    Attributes:
        given_up: whether they cannot be recorded, or have been in vain too often.
        notes: the `tdfast.training.objective.Notes` of the loss and the metrics.
        records: how often they were recorded.
    """

    MOST = 4
    """How often they are recorded without a run, as when a callback changes a layer with each batch."""

    def __init__(self, step: Step, batch: Batch, owns: bool = False) -> None:
        super().__init__(step)
        self.batch, self.owns, self.given_up = batch, owns, False
        self._forward, self._backward = Program(), Program()
        self.notes = Notes()
        self._counts = False                # the program does what `count` does
        self.records = 0
        self._made: Any = None
        self._vain = 0
        self._runs = False

    def takes(self, batch: Batch) -> bool:
        """Whether a batch, of ones without masks, lies where the first one did; one of the same shapes is
        copied there if it may be."""
        if batch is self.batch:
            return True
        pairs = [*zip(self.batch.inputs, batch.inputs), *zip(self.batch.targets, batch.targets),
                 *zip(self.batch.weights, batch.weights)]
        if self.owns and all([a is b if a is None or b is None else a.shape == b.shape and a.dtype == b.dtype
                              for a, b in pairs]):
            for a, b in pairs:
                if a is not None:
                    np.copyto(a, b)
            return True
        return all([a is b for a, b in pairs])

    @property
    def programs(self) -> tuple[Program, Program]:
        """That of forward and loss, and that of backward."""
        return self._forward, self._backward

    @property
    def is_kernels_alone(self) -> bool:
        """Whether the last step ran prepared, and without a function of Python."""
        return (self._runs and self._counts and self.notes.hold
                and self._forward.ready and self._backward.ready
                and not self._forward.has_functions and not self._backward.has_functions)

    def forward(self, batch: Batch) -> tuple[Any, ...]:
        """As `Passes.forward`, of a batch that these passes take."""
        self._runs = self._backward.ready and self.notes.hold and self._forward.run()
        return self._again() if self._runs else self._record()

    def _again(self) -> tuple[Any, ...]:
        outputs, counted, gradients = self._made
        self._vain, objective = 0, self.step.objective
        if objective.can_be_prepared:
            return outputs, counted, objective.value_again(self.notes), gradients
        value, found = objective.value_and_gradients(outputs, counted)
        for to, gradient in zip(gradients, found):
            if gradient is not to:
                np.copyto(to, gradient)
        return outputs, counted, value, gradients

    def _record(self) -> tuple[Any, ...]:
        step, objective, self._counts = self.step, self.step.objective, False
        with self._forward:
            outputs, counted = step.forward(self.batch, step.tape, training=True)
            if objective.can_be_prepared:
                value, gradients = objective.value_and_gradients(outputs, counted)
                self._counts = objective.counts_in_kernels(self.batch)
                if self._counts:
                    objective.count(outputs, counted)
                self.notes = objective.notes(self.batch)
        if not objective.can_be_prepared:
            value, gradients = objective.value_and_gradients(outputs, counted)
        self._made = outputs, counted, gradients
        self.records += 1
        self._vain += 1
        return outputs, counted, value, gradients

    def count(self, outputs: Any, batch: Batch) -> None:
        if not self._counts:
            super().count(outputs, batch)
        elif self._runs:
            self.step.objective.count_again(self.notes)

    def backward(self, gradients: Any) -> None:
        if self._runs:
            self._backward.run(True)
            return
        with self._backward:
            super().backward(gradients)
        self.given_up = not (self._forward.ready and self._backward.ready) or self._vain == self.MOST


class PassesByShape:
    """The passes for each batch that comes.

    Those of so many rows are prepared from the second batch on: where they all are in the same arrays, as a
    shuffled fit gathers them, and where they are small, in a copy. One with masks is not, since what they
    leave out changes.
    """

    MOST = 4
    """Numbers of rows that are told apart."""

    SMALL = 2**18
    """Bytes of a batch that is worth a copy."""

    def __init__(self, step: Step) -> None:
        self.plain = Passes(step)
        self._by_rows: dict[int, PreparedPasses] = {}
        self._possible = not step.has_activity_penalties and all(map(is_of_tdfast, step.model.walk()))

    def of(self, batch: Batch) -> Passes:
        """The passes for this batch."""
        if not self._possible or any([a is not None for a in batch.masks]):
            return self.plain
        if not self.plain.step.objective.takes_weights and any([a is not None for a in batch.weights]):
            return self.plain
        rows = len(batch.inputs[0])
        known = self._by_rows.get(rows)
        if known is not None and known.given_up:
            return self.plain
        if known is not None and known.takes(batch):
            return known
        if known is not None and _size(batch) <= self.SMALL:
            copy = Batch(*[tuple([None if a is None else _copied(a) for a in part]) for part in batch])
            self._by_rows[rows] = PreparedPasses(self.plain.step, copy, owns=True)
        elif known is not None or len(self._by_rows) < self.MOST:
            self._by_rows[rows] = PreparedPasses(self.plain.step, batch)
        return self.plain

    def prepared(self, rows: int) -> PreparedPasses | None:
        """Those of so many rows."""
        return self._by_rows.get(rows)


def _size(batch: Batch) -> int:
    """Bytes of a batch; beyond all bounds where it holds anything but numbers."""
    arrays = [a for part in batch for a in part if a is not None]
    return sum([2**62 if a.dtype.hasobject else a.nbytes for a in arrays])


def _copied(a: Array) -> Array:
    out = aligned(a.shape, a.dtype)
    out[...] = a
    return out
