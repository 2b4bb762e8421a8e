"""The two passes of a training step: as the layers make them, or prepared, without the layers' Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.program import Program, is_of_tdfast
from tdfast.training.batch import one_or_list

if TYPE_CHECKING:
    from tdfast.training.batch import Batch
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

    def backward(self, gradients: Any) -> None:
        """Write the gradients of the weights."""
        self.step.model.backward(one_or_list(gradients), self.step.tape, need_dx=False)


class PreparedPasses(Passes):
    """The same for batches that lie in the same arrays each time: recorded once, and then only run.

    Args:
        step: as for `Passes`.
        batch: the first such batch.

    Attributes:
        given_up: whether they cannot be recorded, or have been in vain too often.
    """

    MOST = 4
    """How often they are recorded without a run, as when a callback changes a layer with each batch."""

    def __init__(self, step: Step, batch: Batch) -> None:
        super().__init__(step)
        self.batch, self.given_up = batch, False
        self._forward, self._backward = Program(), Program()
        self._made: Any = None
        self._notes: list[Any] = []
        self._records = 0
        self._runs = False

    def fits(self, batch: Batch) -> bool:
        """Whether a batch lies where the first one did."""
        return batch is self.batch or all([a is b for mine, given in zip(self.batch, batch)
                                           for a, b in zip(mine, given)])

    def forward(self, batch: Batch) -> tuple[Any, ...]:
        self._runs = self._backward.ready and self._forward.run()
        return self._again() if self._runs else self._record(batch)

    def _again(self) -> tuple[Any, ...]:
        outputs, counted, gradients = self._made
        self._records, objective = 0, self.step.objective
        if objective.can_be_prepared:
            return outputs, counted, objective.value_again(self._notes), gradients
        value, found = objective.value_and_gradients(outputs, counted)
        for to, gradient in zip(gradients, found):
            if gradient is not to:
                np.copyto(to, gradient)
        return outputs, counted, value, gradients

    def _record(self, batch: Batch) -> tuple[Any, ...]:
        step = self.step
        with self._forward:
            outputs, counted = step.forward(batch, step.tape, training=True)
            if step.objective.can_be_prepared:
                value, gradients = step.objective.value_and_gradients(outputs, counted)
                self._notes = step.objective.notes(len(batch.inputs[0]))
        if not step.objective.can_be_prepared:
            value, gradients = step.objective.value_and_gradients(outputs, counted)
        self._made = outputs, counted, gradients
        self._records += 1
        return outputs, counted, value, gradients

    def backward(self, gradients: Any) -> None:
        if self._runs:
            self._backward.run(True)
            return
        with self._backward:
            super().backward(gradients)
        self.given_up = not (self._forward.ready and self._backward.ready) or self._records == self.MOST


class PassesByShape:
    """The passes for each batch that comes.

    A batch that comes in the same arrays as an earlier one is prepared: its rows were gathered into memory
    that serves again. One with weights or masks is not, since what they leave out changes.
    """

    MOST = 4
    """Numbers of rows that are told apart."""

    def __init__(self, step: Step) -> None:
        self._plain = Passes(step)
        self._by_rows: dict[int, PreparedPasses] = {}
        self._possible = is_of_tdfast(step.model) and not step.has_activity_penalties

    def of(self, batch: Batch) -> Passes:
        """The passes for this batch."""
        rows = len(batch.inputs[0])
        known = self._by_rows.get(rows)
        if known is not None and known.fits(batch):
            return self._plain if known.given_up else known
        if not self._possible or any([a is not None for a in (*batch.weights, *batch.masks)]):
            return self._plain
        if known is not None or len(self._by_rows) < self.MOST:
            self._by_rows[rows] = PreparedPasses(self._plain.step, batch)
        return self._plain
