"""DataAdapter: what users pass to fit, evaluate and predict, as batches that fit their model."""

from tdfast.engine.tape import Record
from tdfast.training import adapters
from tdfast.training import lengths as ragged
from tdfast.training.batch import Batch
from tdfast.training.epochs import ArrayBatches, EpochIterator, StreamBatches


class DataAdapter:
    """Checks data against a model, builds it if need be, and makes batches.

    Args:
        model: the model.
        buffers: the `tdfast.engine.tape.Record` that batches are gathered in.
        objective: the `tdfast.training.objective.Objective` whose targets are checked.
    """

    def __init__(self, model, buffers, objective):
        self.model, self.buffers, self.objective = model, buffers, objective

    # ---------------------------------------------------------------- checks
    def inputs(self, x, who, views=False):
        """Inputs as a tuple of arrays that fit the model. ``views`` as in `adapters.check_inputs`."""
        model = self.model
        x = adapters.check_inputs(x, model.as_input, who, model.input_shape, views)
        model.ensure_built((None, *x.shape[1:]), x.shape)
        return (x,)

    def batch(self, x, y, sample_weight, who, views=False):
        """Inputs, targets and weights as a `Batch` that fits the model."""
        x = self.inputs(x, who, views)
        n, dtype, loss = len(x[0]), self.model.dtype, self.objective.loss
        y = adapters.check_targets(y, n, dtype, loss.sparse, who, views)
        (outputs,) = self.model.output_shapes(x[0].shape)
        loss.check(y.shape, outputs)
        loss.look_at(y, outputs, who)
        return Batch(x, (y,), (adapters.check_sample_weight(sample_weight, n, dtype, who),))

    def weigh_classes(self, batch, class_weight, who):
        """The batch, with the weights that class_weight makes of its targets."""
        if class_weight is None:
            return batch
        if any(weight is not None for weight in batch.weights):
            raise ValueError(f"{who}: give sample_weight or class_weight, not both.")
        (outputs,) = self.model.output_shapes(batch.inputs[0].shape)
        weight = adapters.class_weight_to_sample_weight(class_weight, batch.targets[0], self.model.dtype,
                                                        len(outputs))
        return batch._replace(weights=(weight,))

    def lengths(self, lengths, inputs, who):
        """The valid steps of each sample as an array, or None."""
        if lengths is None:
            return None
        (x,) = inputs
        return adapters.check_lengths(lengths, len(x), x.shape[1] if x.ndim > 1 else None, who)

    # ---------------------------------------------------------------- sources
    def arrays(self, batch, lengths, batch_size, steps, who, shuffle=False):
        """An `EpochIterator` over a `Batch` of all samples."""
        n = len(batch.inputs[0])
        steps = adapters.check_steps(steps, f"{who}: the number of steps")
        if batch_size is None and steps:
            batch_size = -(-n // steps)
        size = adapters.check_batch_size(batch_size, who)
        padding = None
        if lengths is not None:
            padding = ragged.Padding(lengths, ragged.plan(self.model.graph, batch.inputs[0].shape, who))
        # In the middle of an epoch, which a callback is in, the model's own buffers may hold the batch to
        # come.
        buffers = Record(self.model) if self.objective.is_counting else self.buffers
        return EpochIterator(ArrayBatches(batch, size, buffers, shuffle, padding), steps, who)

    def stream(self, x, steps, who, shuffle=False, class_weight=None, batch_size=None, **others):
        """An `EpochIterator` of what yields batches; ``others`` belong into the batches and must be None."""
        adapters.note_batch_size(batch_size, x, who)
        for name, value in others.items():
            if value is not None:
                raise ValueError(
                    f"{who}: x is a {type(x).__name__}, which yields batches (x, y) or (x, y, "
                    f"sample_weight), so {name} "
                    "cannot be given beside it."
                )

        def prepare(batch):
            return self.weigh_classes(self.batch(*adapters.unpack(batch, who), who), class_weight, who)

        return EpochIterator(StreamBatches(x, prepare, shuffle),
                             adapters.check_steps(steps, f"{who}: the number of steps"), who)

    def stream_of_inputs(self, x, steps, who):
        """An `EpochIterator` of what yields batches, for predictions."""

        def prepare(batch):
            return Batch(self.inputs(adapters.unpack(batch, who)[0], who))

        return _not_empty(EpochIterator(StreamBatches(x, prepare),
                                        adapters.check_steps(steps, f"{who}: steps"), who), x)

    # ---------------------------------------------------------------- what fit and evaluate take
    def for_evaluation(self, x, y, sample_weight, lengths, batch_size, steps, who):
        """The `EpochIterator` of `evaluate`."""
        if adapters.is_stream(x):
            return _not_empty(self.stream(x, steps, who, y=y, sample_weight=sample_weight,
                                          batch_size=batch_size, lengths=lengths), x)
        batch = self.batch(x, y, sample_weight, who, views=True)
        return self.arrays(batch, self.lengths(lengths, batch.inputs, who), batch_size, steps, who)

    def for_training(self, x, y, sample_weight, lengths, class_weight, batch_size, steps, shuffle, split,
                     validation):
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
            train = _not_empty(self.stream(x, steps, "fit", shuffle, class_weight, y=y,
                                           sample_weight=sample_weight, batch_size=batch_size,
                                           lengths=lengths), x)
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
        return train, held_out and self.arrays(*held_out, size, validation["steps"], "fit's validation")

    def _validation(self, validation, needs_lengths, batch_size):
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


def _not_empty(feed, x):
    """``feed``, refused if it has no batch."""
    if feed.peek() is None:
        raise ValueError(f"{feed.who}: x is a {type(x).__name__} that yields no batch.")
    return feed


def _split(batch, lengths, fraction):
    """(the batch and the lengths to train on, those to validate on): the last samples validate."""
    flat = adapters.split_validation([*batch.inputs, *batch.targets, *batch.weights, lengths], fraction)
    out = []
    for arrays in flat:
        arrays, parts = iter(arrays), []
        for part in batch[:3]:
            parts.append(tuple(next(arrays) for _ in part))
        out += [Batch(*parts), next(arrays)]
    return out
