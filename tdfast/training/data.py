"""DataAdapter: what users pass to fit, evaluate and predict, as batches that fit their model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.engine.stored import Stored
from tdfast.engine.tape import Record
from tdfast.training import adapters, by_head
from tdfast.training import lengths as ragged
from tdfast.training.batch import Batch, one_or_list
from tdfast.training.epochs import ArrayBatches, EpochIterator, StreamBatches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tdfast.engine.types import Array, Data, Sizes
    from tdfast.training.objective import Head, Objective


class DataAdapter:
    """Checks data against a model, builds it if need be, and makes batches.

    Args:
        model: the model.
        buffers: the `tdfast.engine.tape.Record` that batches are gathered in.
        objective: the `tdfast.training.objective.Objective` whose targets are checked.
    """

    def __init__(self, model: Any, buffers: Record, objective: Objective) -> None:
        self.model, self.buffers, self.objective = model, buffers, objective

    # ---------------------------------------------------------------- checks
    def inputs(self, x: Data, who: str, views: bool = False) -> tuple[Any, ...]:
        """Inputs as a tuple of arrays that fit the model. ``views`` as in `adapters.check_inputs`."""
        model = self.model
        arrays = tuple(
            [
                adapters.check_inputs(part, as_input, who + name, shape, views)
                for part, (name, as_input), shape in zip(
                    model.as_inputs(x, who), model.converters(), model.input_shapes
                )
            ]
        )
        if len({len(a) for a in arrays}) > 1:
            raise ValueError(
                f"{who}: all inputs must have the same number of samples, got "
                f"{dict(zip(model.input_names, map(len, arrays)))}."
            )
        model.ensure_built(
            one_or_list([(None, *a.shape[1:]) for a in arrays]), one_or_list([a.shape for a in arrays])
        )
        return arrays

    def batch(self, x: Data, y: Data, sample_weight: Data, who: str, views: bool = False) -> Batch:
        """Inputs, targets and weights as a `Batch` that fits the model."""
        x = self.inputs(x, who, views)
        n, dtype, heads = len(x[0]), self.model.dtype, self.objective.heads
        names = self.model.head_names
        shapes = self.model.output_shapes(one_or_list([a.shape for a in x]))
        targets, weights = [], []
        given = by_head.targets(heads, names, y, who)
        weigh = by_head.weights(heads, names, sample_weight, who)
        for head, target, weight, shape in zip(heads, given, weigh, shapes):
            what = who if head.name is None else f"{who}, output '{head.name}'"
            targets.append(self._target(head, target, n, shape, what, views))
            weights.append(adapters.check_sample_weight(weight, n, dtype, what))
        return Batch(x, tuple(targets), tuple(weights))

    def _target(self, head: Head, y: Data, n: int, shape: Sizes, who: str, views: bool) -> Array | None:
        """The targets of one output; None where nothing is counted."""
        if head.loss is None and (y is None or not head.specs):
            return None
        sparse = head.loss is not None and head.loss.sparse
        if y is None and head.name is not None:
            raise ValueError(
                f"{who}, has a loss or metrics, but y has no targets for it: give y[{head.name!r}]."
            )
        y = adapters.check_targets(y, n, self.model.dtype, sparse, who, views)
        if head.loss is not None:
            try:
                head.loss.check(y.shape, shape)
            except ValueError as error:
                raise error if head.name is None else ValueError(f"{who}: {error}") from None
            head.loss.look_at(y.read(slice(4096)) if isinstance(y, Stored) else y, shape, who)
        return y

    def weigh_classes(self, batch: Any, class_weight: Mapping[int, float] | None, who: str) -> Batch:
        """The batch, with the weights that class_weight makes of its targets."""
        if class_weight is None:
            return batch
        if len(batch.targets) > 1:
            raise ValueError(
                f"{who}: class_weight is for models with one output, and '{self.model.name}' has "
                f"{len(batch.targets)}. Give sample_weight by output."
            )
        if any(weight is not None for weight in batch.weights):
            raise ValueError(f"{who}: give sample_weight or class_weight, not both.")
        (outputs,) = self.model.output_shapes(one_or_list([a.shape for a in batch.inputs]))
        weight = adapters.class_weight_to_sample_weight(
            class_weight, batch.targets[0], self.model.dtype, len(outputs)
        )
        return batch._replace(weights=(weight,))

    def lengths(self, lengths: Any, inputs: Any, who: str) -> tuple[Any, ...] | None:
        """The valid steps of each sample, for each input an array or None; None where there are none."""
        if lengths is None:
            return None
        return tuple(
            [
                None
                if given is None
                else adapters.check_lengths(given, len(x), x.shape[1] if x.ndim > 1 else None, who)
                for given, x in zip(by_head.lengths(self.model, lengths, who), inputs)
            ]
        )

    # ---------------------------------------------------------------- sources
    def arrays(self, batch: Any, lengths: Any, batch_size: int | None, steps: int | None, who: str,
               shuffle: bool | str = False) -> EpochIterator:
        """An `EpochIterator` over a `Batch` of all samples."""
        n = len(batch.inputs[0])
        steps = adapters.check_steps(steps, f"{who}: the number of steps")
        if batch_size is None and steps:
            batch_size = -(-n // steps)
        size = adapters.check_batch_size(batch_size, who)
        padding = None
        if lengths is not None:
            plan = ragged.plan(self.model.graph, [a.shape for a in batch.inputs], who)
            padding = ragged.Padding(lengths, plan)
        # In the middle of an epoch, which a callback is in, the model's own buffers may hold the batch to
        # come.
        buffers = Record(self.model) if self.objective.is_counting else self.buffers
        return EpochIterator(ArrayBatches(batch, size, buffers, shuffle, padding), steps, who)

    def stream(self, x: Data, steps: int | None, who: str, shuffle: bool | str = False,
               class_weight: Mapping[int, float] | None = None, batch_size: int | None = None,
               **others: Any) -> EpochIterator:
        """An `EpochIterator` of what yields batches; ``others`` belong into the batches and must be None."""
        adapters.note_batch_size(batch_size, x, who)
        for name, value in others.items():
            if value is not None:
                raise ValueError(
                    f"{who}: x is a {type(x).__name__}, which yields batches (x, y) or (x, y, "
                    f"sample_weight), so {name} "
                    "cannot be given beside it."
                )

        def prepare(batch: Any) -> Batch:
            return self.weigh_classes(self.batch(*adapters.unpack(batch, who), who), class_weight, who)  # type: ignore[call-arg]

        return EpochIterator(
            StreamBatches(x, prepare, shuffle),
            adapters.check_steps(steps, f"{who}: the number of steps"),
            who,
        )

    def stream_of_inputs(self, x: Data, steps: Any, who: str) -> EpochIterator:
        """An `EpochIterator` of what yields batches, for predictions."""

        def prepare(batch: Any) -> Batch:
            return Batch(self.inputs(adapters.unpack(batch, who)[0], who))

        return _not_empty(
            EpochIterator(StreamBatches(x, prepare), adapters.check_steps(steps, f"{who}: steps"), who), x
        )

    # ---------------------------------------------------------------- what fit and evaluate take
    def for_evaluation(self, x: Data, y: Data, sample_weight: Data, lengths: Any, batch_size: int | None,
                       steps: Any, who: str) -> EpochIterator:
        """The `EpochIterator` of `evaluate`."""
        if adapters.is_stream(x):
            return _not_empty(
                self.stream(
                    x, steps, who, y=y, sample_weight=sample_weight, batch_size=batch_size, lengths=lengths
                ),
                x,
            )
        batch = self.batch(x, y, sample_weight, who, views=True)
        return self.arrays(batch, self.lengths(lengths, batch.inputs, who), batch_size, steps, who)

    def for_training(
        self,
        x: Data,
        y: Data,
        sample_weight: Data,
        lengths: Any,
        class_weight: Mapping[int, float] | None,
        batch_size: int | None,
        steps: int | None,
        shuffle: bool | str,
        split: float,
        validation: dict[str, Any],
    ) -> tuple[Any, ...]:
        """What fit trains on and what it validates on (or None), both checked and the model built.

        Args:
            x, y, sample_weight, lengths, class_weight, batch_size, steps, shuffle: as `fit` takes them.
            split: `fit`'s validation_split.
            validation: a dict with `fit`'s validation_data, and its lengths, batch_size and steps.
        """
        held_out = None
        if adapters.is_stream(x):
            if split and validation["data"] is None:
                raise ValueError(
                    "fit: validation_split needs x and y as arrays; pass validation_data instead."
                )
            train = _not_empty(
                self.stream(
                    x,
                    steps,
                    "fit",
                    shuffle,
                    class_weight,
                    y=y,
                    sample_weight=sample_weight,
                    batch_size=batch_size,
                    lengths=lengths,
                ),
                x,
            )
        else:
            batch = self.batch(x, y, sample_weight, "fit", views=True)
            lengths = self.lengths(lengths, batch.inputs, "fit")
            if split and validation["data"] is None:
                batch, lengths, *held_out = _split(batch, lengths, split)
            batch = self.weigh_classes(batch, class_weight, "fit")
            train = self.arrays(batch, lengths, batch_size, steps, "fit", shuffle)
        size = validation["batch_size"] or batch_size
        if validation["data"] is not None:
            return train, self._validation(validation, lengths is not None, size)
        if validation["lengths"] is not None:
            raise ValueError("fit: validation_lengths belongs to validation_data, which was not given.")
        return train, held_out and self.arrays(*held_out, size, validation["steps"], "fit's validation")  # type: ignore[call-arg]

    def _validation(self, validation: dict[str, Any], needs_lengths: bool, batch_size: Any) -> EpochIterator:
        who, given = "fit's validation_data", validation["data"]
        steps, lengths = validation["steps"], validation["lengths"]
        if adapters.is_stream(given):
            return self.stream(given, steps, who, validation_lengths=lengths)
        if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
            raise ValueError(
                "validation_data must be (x, y) or (x, y, sample_weight), or something that yields such "
                "batches, got "
                f"{type(given).__name__}"
                + (f" of {len(given)} entries." if isinstance(given, (tuple, list)) else ".")
            )
        x, y, weight = adapters.unpack(given, who)
        if adapters.is_stream(x):
            return self.stream(x, steps, who, y=y, sample_weight=weight, validation_lengths=lengths)
        batch = self.batch(x, y, weight, who, views=True)
        if lengths is None and needs_lengths:
            raise ValueError(
                "fit: with lengths, give validation_lengths for the arrays of validation_data as well."
            )
        return self.arrays(batch, self.lengths(lengths, batch.inputs, who), batch_size, steps, who)


def _not_empty(feed: EpochIterator, x: Data) -> EpochIterator:
    """``feed``, refused if it has no batch."""
    if feed.peek() is None:
        raise ValueError(f"{feed.who}: x is a {type(x).__name__} that yields no batch.")
    return feed


def _split(batch: Any, lengths: Any, fraction: float) -> Any:
    """(the batch and the lengths to train on, those to validate on): the last samples validate."""
    groups = [*batch[:3], lengths or ()]
    halves = adapters.split_validation([a for group in groups for a in group], fraction)
    out = []
    for arrays in halves:
        arrays, parts = iter(arrays), []
        for group in groups:
            parts.append(tuple([next(arrays) for _ in group]))
        out += [Batch(*parts[:3]), parts[3] or None]
    return out
