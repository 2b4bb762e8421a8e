"""ShardedPasses: the two passes of a step by several processes, each on its shards of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.distribution import tree
from tdfast.engine.tape import Record, Tape
from tdfast.training.batch import Batch, one_or_list
from tdfast.training.draws import Draws
from tdfast.training.lockstep import GradientsApart, Lockstep, ValuesApart
from tdfast.training.passes import Passes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array
    from tdfast.engine.variable import Parameters
    from tdfast.training.peers import Peers
    from tdfast.training.step import Step


class _Layout:
    """Which rows of a batch are whose.

    Args:
        peers: the `Peers`, who have agreed on the batch.
        n: rows of this process's arrays.
    """

    def __init__(self, peers: Peers, n: int) -> None:
        size, rank = peers.engine.size, peers.engine.rank
        if peers.in_parts:
            asked = [len(run) for run in tree.every_run(peers.engine, peers.shards)]
            counts = [min(most, rows) for most, rows in zip(asked, peers.rows)]
            ends = np.cumsum(counts).tolist()
            self.runs = [range(end - count, end) for count, end in zip(counts, ends)]
            self.rows_by_process = list(peers.rows)
            self.shards, self.own, self.whole = ends[-1], self.runs[rank], sum(peers.rows)
            cuts = [n * k // counts[rank] for k in range(counts[rank] + 1)]
        else:
            self.shards, self.whole = min(peers.shards, n), n
            # Fewer rows than processes: everybody computes all of them, and nothing is to be exchanged.
            self.runs = tree.every_run(peers.engine, self.shards) if n >= size else [range(self.shards)]
            self.own = self.runs[rank if len(self.runs) > 1 else 0]
            ends = [n * c // self.shards for c in range(self.shards + 1)]
            self.rows_by_process = [ends[run.stop] - ends[run.start] for run in self.runs]
            cuts = ends[self.own.start : self.own.stop + 1]
        self.rows = [slice(a, b) for a, b in zip(cuts, cuts[1:])]
        """Those of each of this process's shards, in its arrays."""
        before = sum(self.rows_by_process[:rank]) if peers.in_parts else 0
        self.places = [slice(before + a, before + b) for a, b in zip(cuts, cuts[1:])]
        """The same in the whole batch."""


class ShardedPasses(Passes):
    """Forward and backward of a batch in shards, of which each process has some.

    The outputs of all shards are gathered. So every process computes the loss, the metrics and the loss's
    gradient from the whole batch, whatever the loss is. Then each goes back through its shards, and the
    gradients of the weights are added in the order of `tdfast.distribution.tree`.

    Args:
        step: as for `Passes`.
        peers: the `Peers`.
    """

    def __init__(self, step: Step, peers: Peers) -> None:
        super().__init__(step)
        self.peers = peers
        layers = list(step.model.walk())
        self._draws = Draws(layers)
        self._tapes: list[Tape] = []
        self._whole = Record(None)
        self._rooms: list[Array] = []
        self._lockstep = Lockstep(self._sum) if any(layer.batch_coupled for layer in layers) else None
        self._layout: Any = None
        self._apart: Any = None
        self.plain = self               # as of `PassesByShape`

    def of(self, batch: Batch) -> Passes:
        """These passes, as `PassesByShape.of`."""
        return self

    def prepared(self, rows: int) -> None:
        """No step of theirs is without Python."""

    # ---------------------------------------------------------------- forward
    def forward(self, batch: Batch) -> tuple[Any, ...]:
        outputs, counted = self.outputs(batch, True)
        return (outputs, counted, *self.step.objective.value_and_gradients(outputs, counted))

    def outputs(self, batch: Batch, training: bool) -> tuple[Any, ...]:
        """The outputs of the whole batch as a list, and the batch that goes with them."""
        self._layout = layout = _Layout(self.peers, len(batch.inputs[0]))
        while len(self._tapes) < len(layout.own):
            self._tapes.append(Tape())
        found = self._of_shards(batch, training)
        outputs = self._gathered([[y for y, _ in found], [m for _, m in found]])
        if self.step.has_activity_penalties:
            for tape, rows in zip(self._tapes, layout.rows):
                self._scale_activities(tape, rows)
        targets, weights = batch.targets, batch.weights
        if self.peers.in_parts:
            targets = self._of_all("targets", batch.targets)
            weights = self._of_all("weights", batch.weights)
        return outputs[0], Batch(batch.inputs, targets, weights, tuple(outputs[1]))

    def _of_shards(self, batch: Batch, training: bool) -> list[Any]:
        """[(outputs, their masks)] of this process's shards."""
        layout, moving = self._layout, self.step.moving if training else []
        calls = [lambda k=k: self._of_shard(batch, k, training) for k in range(len(layout.own))]
        if training:
            self._draws.begin()
        if self._lockstep is not None and training:
            found = self._lockstep.run(calls, ValuesApart(moving, len(calls)))
        else:
            found = self._one_by_one(calls, moving)
        if training:
            self._draws.end()
        return found

    def _one_by_one(self, calls: Sequence[Any], moving: Sequence[Any]) -> list[Any]:
        """What the calls return. Each begins with the same ``moving`` variables."""
        before, found = [v.value.copy() for v in moving], []
        after: list[Array] = []
        for call in calls:
            for v, value in zip(moving, before):
                v.value[...] = value
            found.append(call())
            after = after or [v.value.copy() for v in moving]
        for v, value in zip(moving, after):
            v.value[...] = value
        return found

    def _of_shard(self, batch: Batch, k: int, training: bool) -> tuple[Any, ...]:
        step, tape, rows = self.step, self._tapes[k], self._layout.rows[k]
        if training:
            self._draws.of_shard(self._layout.own[k])
        tape.rewind()
        tape.bare = step.objective.bare
        inputs = [x[rows] for x in batch.inputs]
        masks = one_or_list([None if m is None else m[rows] for m in batch.masks]) if batch.masks else None
        y = step.model.forward(one_or_list(inputs), tape, training=training, mask=masks, packing=None)
        record = tape.records[0]
        if len(step.objective.heads) > 1:
            return list(y), list(record.mask)
        return [y], [record.mask]

    def _scale_activities(self, tape: Tape, rows: slice) -> None:
        """The penalties of a shard's activities as parts of the mean over the whole batch."""
        for record in tape.records_from():
            if record.losses or record.added:
                raise ValueError(
                    f"Layer '{record.layer.name}' ({type(record.layer).__name__}) calls add_loss, which "
                    "DataParallel cannot cut into shards: nobody knows whether it is a sum or a mean of "
                    "rows. Write it as an activity_regularizer or as a loss, or train in one process: "
                    "tdfast.distribution.set_distribution(None)."
                )
            if record.activities:
                record.rows = record.rows * self._layout.whole / (rows.stop - rows.start)

    # ---------------------------------------------------------------- what goes around
    def _gathered(self, parts: list[Any]) -> list[Any]:
        """Of [[the arrays of a shard]], one list for outputs and one for masks, the arrays of all rows."""
        kinds = [list(zip(*kind)) for kind in parts]
        flat = [column for columns in kinds for column in columns if column[0] is not None]
        whole = iter(self._joined("outputs", flat))
        return [[None if column[0] is None else next(whole) for column in columns] for columns in kinds]

    def _of_all(self, what: str, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Arrays of this process's rows, as those of all processes."""
        whole = iter(self._joined(what, [(a,) for a in arrays if a is not None]))
        return tuple([None if a is None else next(whole) for a in arrays])

    def _joined(self, what: str, columns: Sequence[Any]) -> list[Array]:
        """For each column of arrays, one of this process's shards each, the array of all rows.

        ``what`` they are has memory of its own.
        """
        layout, engine = self._layout, self.peers.engine
        outs = [self._whole.buffer((what, i), (layout.whole, *column[0].shape[1:]), column[0].dtype)
                for i, column in enumerate(columns)]
        if len(layout.runs) == 1 or not columns:
            for column, out in zip(columns, outs):
                np.concatenate(column, out=out)
            return outs
        widths = [out.itemsize * out[0].size for out in outs]
        mine = np.concatenate([np.ascontiguousarray(a).reshape(-1).view(np.uint8) for column in columns
                               for a in column])
        came = engine.allgather(mine, [rows * sum(widths) for rows in layout.rows_by_process])
        start = row = 0
        for rows in layout.rows_by_process:
            for out, width in zip(outs, widths):
                place = out[row : row + rows].reshape(-1).view(np.uint8)
                place[...] = came[start : start + rows * width]
                start += rows * width
            row += rows
        return outs

    def _sum(self, values: Sequence[Any]) -> Any:
        """The sum of a number or an array over all shards."""
        layout, total = self._layout, tree.TreeSum(self._layout.shards)
        first = np.asarray(values[0])
        for shard, value in zip(layout.own, values):
            total.add(shard, np.asarray(value, first.dtype).reshape(-1))
        whole = tree.summed_small(self.peers.engine, layout.shards, layout.runs, total)
        return whole.reshape(first.shape) if first.ndim else whole[0]

    # ---------------------------------------------------------------- backward
    def backward(self, gradients: Any) -> None:
        layout, parameters = self._layout, self.step.optimizer.parameters
        total = tree.TreeSum(layout.shards, self._rooms)
        calls = [lambda k=k: self._back(gradients, k) for k in range(len(layout.own))]
        parameters.grads[...] = 0       # those of frozen weights, which nobody writes
        if self._lockstep is None:
            for shard, call in zip(layout.own, calls):
                call()
                total.add(shard, parameters.grads)
        else:
            apart = self._gradients_apart(parameters, len(calls))
            self._lockstep.run(calls, apart)
            for shard, vector in zip(layout.own, apart.vectors):
                total.add(shard, vector)
        tree.summed(self.peers.engine, layout.shards, layout.runs, total, parameters.grads)

    def _gradients_apart(self, parameters: Parameters, n: int) -> GradientsApart:
        if self._apart is None or self._apart.parameters is not parameters or len(self._apart.vectors) != n:
            self._apart = GradientsApart(parameters, n)
        return self._apart

    def _back(self, gradients: Any, k: int) -> None:
        place = self._layout.places[k]
        dy = [None if g is None else g[place] for g in gradients]
        self.step.model.backward(one_or_list(dy), self._tapes[k], need_dx=False)

    # ---------------------------------------------------------------- what a step asks for
    def test(self, batch: Batch, tape: Any) -> tuple[Any, ...]:
        return self.outputs(batch, False)

    def activity_penalty(self, tape: Any) -> float:
        layout, model, total = self._layout, self.step.model, tree.TreeSum(self._layout.shards)
        for shard, own in zip(layout.own, self._tapes):
            total.add(shard, np.array([float(model.activity_penalty(own))]))
        return float(tree.summed_small(self.peers.engine, layout.shards, layout.runs, total)[0])

    def rows(self, batch: Batch) -> int:
        return self._layout.whole
