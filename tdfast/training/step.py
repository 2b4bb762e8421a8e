"""Step: one batch, with an update or without. `Step.train` is the whole algorithm on one screen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tdfast.engine import program
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.tape import Record, Tape
from tdfast.errors import LossError
from tdfast.training import diagnosis, packing
from tdfast.training.batch import Batch, one_or_list
from tdfast.training.passes import PassesByShape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.training.lock import ModelLock
    from tdfast.training.objective import Objective
    from tdfast.training.passes import Passes


class Step:
    """What `fit` and `evaluate` do with one batch.

    Args:
        model: whose weights learn.
        lock: its `tdfast.training.lock.ModelLock`.

    Attributes:
        peers: the `tdfast.training.peers.Peers` that share each step, or None; known before `prepare`.
    """

    def __init__(self, model: Any, lock: ModelLock) -> None:
        self.model, self.lock = model, lock
        self.tape, self.buffers = Tape(), Record(model)
        self.objective: Any = None
        self.optimizer: Any = None
        self._packing: Any = None
        self._passes: Any = None
        self._prepared_for: Any = None
        self.peers: Any = None
        self.moving: list[Any] = []
        self._regularized: list[Any] = []
        self.has_activity_penalties = self._has_loss = False

    def prepare(self, objective: Objective, optimizer: Any) -> None:
        """Look at the model as it is now: which weights have penalties, what forward changes, what is packed.

        Args:
            objective: the `tdfast.training.objective.Objective` to make small.
            optimizer: whose variables are the model's.
        """
        if self._prepared_for == (objective, optimizer, program.changes(), self.peers):
            return
        model, layers = self.model, list(self.model.walk())[1:]
        self.objective, self.optimizer = objective, optimizer
        self.moving = [v for v in model.weights if not v.trainable]     # moving statistics
        self._regularized = [v for v in model.trainable_weights if v.regularizer is not None]
        self.has_activity_penalties = model.computes_in_call or any(
            layer.activity_regularizer is not None or layer.computes_in_call for layer in layers)
        objective.prepare(model, layers)
        self._has_loss = objective.loss is not None
        self._packing = None
        if not self.has_activity_penalties and len(objective.heads) == 1:
            self._packing = packing.starts_at(model.graph, objective.loss, objective.specs)
        self._passes = PassesByShape(self) if self.peers is None else self._sharded_passes()
        self._prepared_for = objective, optimizer, program.changes(), self.peers

    def _sharded_passes(self) -> Any:
        from tdfast.training.sharded import ShardedPasses  # imported by those who train together alone

        return ShardedPasses(self, self.peers)

    @property
    def is_kernels_alone(self) -> bool:
        """Whether a step, its passes and its update aside, does nothing but count."""
        return (self._has_loss and self.objective.can_be_prepared
                and not (self._regularized or self.has_activity_penalties or self.moving))

    def prepared(self, rows: int) -> Any:
        """The `tdfast.training.passes.PreparedPasses` of so many rows, or None."""
        return None if self._passes is None else self._passes.prepared(rows)

    def reset(self) -> None:
        """Start all running means again."""
        self.objective.reset()

    def logs(self) -> dict[str, Any]:
        """The loss and the metrics of what was counted, by name."""
        return self.objective.logs()

    def train(self, batch: Any, where: str = "") -> float:
        """Forward, loss, backward, update: the loss of this batch before the update."""
        tape, objective = self.tape, self.objective
        before = [v.value.copy() for v in self.moving]
        passes = self._passes.of(batch)
        outputs, counted, value, gradients = passes.forward(batch)
        if not self._has_loss and not any(record.losses for record in tape.records_from()):
            raise ValueError(
                "fit: there is nothing to make small: the model was compiled without a loss, and no "
                "layer called "
                "add_loss. Call compile(optimizer=..., loss=...)."
            )
        if self._regularized or self.has_activity_penalties:
            value += self._penalty(passes, tape)
        passes.count(outputs, counted)
        if not math.isfinite(value):
            self._undo(value, batch, before)
            raise LossError(diagnosis.of_loss(self, batch, value, where))
        passes.backward(gradients)
        for v in self._regularized:
            v.grad[...] += v.regularizer.gradient(v.value)
        bad = self.optimizer.bad_gradient()
        if bad is not None:
            self._undo(math.nan, batch, before)
            raise LossError(diagnosis.of_gradient(self.model, bad, where))
        self.lock.changed_by(self.optimizer.apply)
        rows = passes.rows(batch)
        objective.loss_tracker.add(value * rows, rows)
        return value

    def test(self, batch: Any, tape: Tape) -> float:
        """The loss of this batch, and the metrics, without learning."""
        objective = self.objective
        with kernel_arithmetic():
            passes = self._passes.plain
            outputs, counted = passes.test(batch, tape)
            value, _ = objective.value_and_gradients(outputs, counted, need_gradients=False)
            value += self._penalty(passes, tape)
            objective.count(outputs, counted)
        rows = passes.rows(batch)
        objective.loss_tracker.add(value * rows, rows)
        return value

    def forward(self, batch: Any, tape: Tape, training: bool) -> tuple[Any, ...]:
        """The outputs as a list, and the batch that goes with them: of valid steps alone, where packed."""
        tape.rewind()
        tape.bare = self.objective.bare
        masks = one_or_list(batch.masks) if batch.masks else None
        y = self.model.forward(one_or_list(batch.inputs), tape, training=training, mask=masks,
                               packing=self._packing)
        record = tape.records[0]
        if len(batch.targets) > 1:
            return y, Batch(batch.inputs, batch.targets, batch.weights, record.mask)
        if record.packed is None:
            return [y], Batch(batch.inputs, batch.targets, batch.weights, (record.mask,))
        targets, weights = packing.pack_targets(y, batch.targets[0], batch.weights[0], record.packed,
                                                self.buffers)
        return [y], Batch(batch.inputs, (targets,), (weights,), (None,))

    def _penalty(self, passes: Passes, tape: Tape) -> Any:
        """The regularizers' part of the loss."""
        total = sum(float(v.regularizer(v.value)) for v in self._regularized)
        return total + passes.activity_penalty(tape) if self.has_activity_penalties else total

    def _undo(self, value: Any, batch: Any, before: Sequence[Any]) -> None:
        """No weight is then what it was not before the step; the step counts."""
        for v, held in zip(self.moving, before):
            v.value[...] = held
        rows = self._passes.plain.rows(batch)
        self.objective.loss_tracker.add(value * rows, rows)
