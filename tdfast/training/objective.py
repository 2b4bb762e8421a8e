"""What training makes small and what it counts: the losses, their weights and the metrics, by output."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdfast import losses, metrics
from tdfast.engine import program
from tdfast.engine.tape import Record
from tdfast.training import logits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tdfast.engine.types import Array, Data, Logs, Masks, Numbers, Shape

_counting: set[Any] = set()
"""The ids of the metrics that are in the middle of an epoch or an evaluation, of any model."""


class ValueNote(NamedTuple):
    """Where the kernel of a loss leaves its value.

    Attributes:
        head: the `Head`.
        loss: its loss, or the one of its logits.
        result: the array, of two numbers.
        labels: as `tdfast.losses.base.KernelLoss.check_labels` takes them.
        scale: what the number is multiplied by.
        rows: of the batch.
    """

    head: Head
    loss: Any
    result: Array
    labels: Any
    scale: float
    rows: int


class CountNote(NamedTuple):
    """Where the kernel of a metric leaves its sum.

    Attributes:
        head, place: the metric is ``head.metrics[place]``.
        function: whose rows are summed.
        result, labels: as in `ValueNote`.
        rows: which the sum is of.
    """

    head: Head
    place: int
    function: Any
    result: Array
    labels: Any
    rows: float

    @property
    def metric(self) -> Any:
        """The metric that is there now."""
        return self.head.metrics[self.place][0]


class Notes(NamedTuple):
    """Where the kernels of a batch's losses and metrics leave their numbers."""

    values: Sequence[ValueNote] = ()
    counts: Sequence[CountNote] = ()

    @property
    def hold(self) -> bool:
        """Whether the metrics are of the same functions still."""
        return all([note.metric.function is note.function for note in self.counts])

    def results(self) -> list[Array]:
        """The arrays of the losses, then those of the metrics."""
        return [*[note.result for note in self.values], *[note.result for note in self.counts]]


class Head:
    """One output of a model with what `compile` gave it.

    Args:
        loss: a `tdfast.losses.Loss`, or None.
        weight: what the loss is multiplied by in the sum of all losses.
        specs: (metric or a name that becomes one, whether sample weights count) for each metric.
        name: of the output, in the logs of a model with several; None for the only one.
    """

    def __init__(self, loss: Any, weight: float = 1.0, specs: Sequence[Any] = (),
                 name: str | None = None) -> None:
        self.loss, self.weight, self.specs, self.name = loss, weight, list(specs), name
        self.metrics: Any = None  # (metric, weighted), once the shapes are known
        self.tracker = metrics.Mean(name=None if name is None else f"{name}_loss")
        self.logits: Any = None  # the `tdfast.training.logits.Logits`, while there are some
        self.buffers = Record(None)
        self._counts: list[Any] = []        # a `Record` for each metric

    def __getstate__(self) -> dict[str, Any]:
        return {
            "loss": self.loss,
            "weight": self.weight,
            "specs": self.specs,
            "name": self.name,
            "metrics": self.metrics,
            "tracker": self.tracker,
        }

    def __setstate__(self, state: Any) -> None:
        self.__init__(state["loss"], state["weight"], state["specs"], state["name"])  # type: ignore[misc]
        self.metrics, self.tracker = state["metrics"], state["tracker"]

    def value_and_gradient(self, y: Data, y_pred: Numbers, sample_weight: Data, mask: Masks,
                           need_gradient: bool) -> tuple[Any, ...]:
        """The loss of a batch, not weighted, and its weighted gradient."""
        loss = self.loss if self.logits is None else self.logits.loss
        value, dy = loss.value_and_grad(
            y, y_pred, sample_weight, mask, workspace=self.buffers, need_grad=need_gradient
        )
        if need_gradient and self.weight != 1:
            program.call(np.multiply, dy, dy.dtype.type(self.weight), dy)
        return value, dy

    @property
    def can_be_prepared(self) -> bool:
        """Whether the value and the gradient, without masks, are calls of kernels."""
        return self.loss is None or (self.loss if self.logits is None else self.logits.loss).can_be_prepared

    @property
    def takes_weights(self) -> bool:
        """Whether the loss is divided by the same number, whatever the weights of a batch."""
        return self.loss is None or self.loss.reduction != "mean_with_sample_weight"

    def counts_in_kernels(self, weight: Data) -> bool:
        """Whether `count`, with these weights and without masks, is calls of kernels."""
        if not self.specs:
            return True
        if weight is not None and any([weighted for _, weighted in self.specs]):
            return False                # it is divided by the sum of the weights
        return self.metrics is not None and (self.logits is None or self.logits.can_be_prepared) and all(
            [metric.can_be_prepared for metric, _ in self.metrics])

    def value_note(self, rows: int) -> ValueNote:
        """Of the last `value_and_gradient`, of a batch with so many rows."""
        loss, buffers = self.loss if self.logits is None else self.logits.loss, self.buffers
        return ValueNote(self, loss, buffers.result, buffers.labels, buffers.scale, rows)

    def count_notes(self) -> list[CountNote]:
        """Of the last `count`, of kernels."""
        return [CountNote(self, k, metric.function, record.result, record.labels, record.count)
                for k, ((metric, _), record) in enumerate(zip(self.metrics, self._counts))]

    def count(self, y: Data, y_pred: Any, sample_weight: Data, mask: Masks) -> None:
        """Tell the metrics of a batch."""
        if self.metrics is None:
            self.make_metrics(y.shape, y_pred.shape)
        if self.logits is not None:
            y_pred = self.logits.outputs(y_pred, self.metrics, self.buffers)
        if len(self._counts) < len(self.metrics):
            self._counts = [Record(None) for _ in self.metrics]
        try:
            for (metric, weighted), record in zip(self.metrics, self._counts):
                metric.update_batch(y, y_pred, sample_weight if weighted else None, mask, record)
        except Exception as error:
            _say_whose(error, metric)
            raise

    def make_metrics(self, y_shape: Sequence[Any], y_pred_shape: Shape) -> None:
        """Names into objects, now that the shapes are known."""
        self.metrics = [
            (
                metrics.for_loss(spec, self.loss, y_shape, y_pred_shape) if isinstance(spec, str) else spec,
                weighted,
            )
            for spec, weighted in self.specs
        ]

    def counters(self) -> list[Any]:
        """The objects that count; metrics given by name are among them once the shapes are known."""
        counting = self.specs if self.metrics is None else self.metrics
        return [self.tracker, *(metric for metric, _ in counting if not isinstance(metric, str))]


class Objective:
    """The losses and the metrics of a model.

    Args:
        heads: a `Head` for each output.
        listed: the same in the order in which their losses are listed; None: as they come.

    Attributes:
        bare: the layers that leave their activation out in training, see `tdfast.training.logits`.
    """

    def __init__(self, heads: Sequence[Any] = (), listed: Any = None) -> None:
        self.heads = list(heads)
        self.listed = self.heads if listed is None else listed
        self.loss_tracker = metrics.Mean(name="loss")
        self.bare = ()
        self._has_several_losses = sum(head.loss is not None for head in self.heads) > 1

    def __getstate__(self) -> dict[str, Any]:
        return {"heads": self.heads, "listed": self.listed, "loss_tracker": self.loss_tracker}

    def __setstate__(self, state: Any) -> None:
        self.__init__(state["heads"], state["listed"])  # type: ignore[misc]
        self.loss_tracker = state["loss_tracker"]

    def anew(self) -> Any:
        """A copy that has counted nothing."""
        heads = [Head(*copy.deepcopy((head.loss, head.weight, head.specs)), head.name) for head in self.heads]
        twin = Objective(heads, [heads[self.heads.index(head)] for head in self.listed])
        twin.reset()
        return twin

    @property
    def loss(self) -> Any:
        """The loss of the only output; a list of several, with None for an output without one."""
        found = [head.loss for head in self.heads]
        return found[0] if len(found) == 1 else found if any(found) else None

    @property
    def specs(self) -> list[Any]:
        """All metrics, as objects or as names that are to become one."""
        return [spec for head in self.heads for spec, _ in head.specs]

    def prepare(self, model: Any, layers: Sequence[Any]) -> None:
        """Find the outputs whose loss is taken of logits.

        Args:
            model: the model, built.
            layers: all calls of layers in it, inner ones too.
        """
        shapes = model.output_shapes(model.input_shape)
        for head, layer, shape in zip(self.heads, model.output_layers(), shapes):
            head.logits = layer and logits.of(layer, layers, head.loss, shape)
        self.bare = tuple(head.logits.layer for head in self.heads if head.logits is not None)
        self.can_be_prepared = all(head.can_be_prepared for head in self.heads)
        self.takes_weights = all(head.takes_weights for head in self.heads)

    # ---------------------------------------------------------------- a batch
    def value_and_gradients(self, outputs: Any, batch: Any, need_gradients: bool = True) -> tuple[Any, ...]:
        """The weighted sum of the losses of a batch, and its gradient by each output (None: no loss)."""
        total, several = 0.0, self._has_several_losses
        gradients: list[Any] = []
        for head, y_pred, y, weight, mask in zip(
            self.heads, outputs, batch.targets, batch.weights, batch.masks
        ):
            if head.loss is None:
                gradients.append(None)
                continue
            value, dy = head.value_and_gradient(y, y_pred, weight, mask, need_gradients)
            if several:
                head.tracker.add(value * len(y_pred), len(y_pred))
            total += value * head.weight
            gradients.append(dy)
        return total, gradients

    def counts_in_kernels(self, batch: Any) -> bool:
        """Whether `count`, of batches as this one, is calls of kernels."""
        return all([head.counts_in_kernels(weight) for head, weight in zip(self.heads, batch.weights)])

    def notes(self, batch: Any) -> Notes:
        """What `value_again` and `count_again` need of the last `value_and_gradients` and, where that is
        kernels, `count`."""
        values = [head.value_note(len(batch.inputs[0])) for head in self.heads if head.loss is not None]
        if not self.counts_in_kernels(batch):
            return Notes(values)
        counting = [head for head, y in zip(self.heads, batch.targets) if head.specs and y is not None]
        return Notes(values, [note for head in counting for note in head.count_notes()])

    def value_again(self, notes: Notes, numbers: Sequence[float] | None = None) -> float:
        """The value of the `value_and_gradients` of these `notes`, of what its kernels have left now, or of
        ``numbers`` that they had left, with labels that are good."""
        total = 0.0
        for k, (head, loss, result, labels, scale, rows) in enumerate(notes.values):
            if numbers is None:
                loss.check_labels(result, labels)
            value = (result.item(0) if numbers is None else numbers[k]) * scale
            if self._has_several_losses:
                head.tracker.add(value * rows, rows)
            total += value * head.weight
        return total

    def count_again(self, notes: Notes, numbers: Sequence[float] | None = None) -> None:
        """The `count` of these `notes`, as `value_again`; ``numbers`` are behind those of the losses."""
        for k, note in enumerate(notes.counts, len(notes.values)):
            if numbers is None:
                note.function.check_labels(note.result, note.labels)
            note.metric.add(note.result.item(0) if numbers is None else numbers[k], note.rows)

    def count(self, outputs: Any, batch: Any) -> None:
        """Tell the metrics of a batch."""
        for head, y_pred, y, weight, mask in zip(
            self.heads, outputs, batch.targets, batch.weights, batch.masks
        ):
            if head.specs and y is not None:
                head.count(y, y_pred, weight, mask)

    # ---------------------------------------------------------------- what was counted
    def entries(self) -> list[Any]:
        """(name in the logs, metric) of all: the loss, the metrics, the losses of several outputs.

        A second metric of one name is 'weighted_' + name, or gets a number.
        """
        out, taken, several = [("loss", self.loss_tracker)], {"loss"}, len(self.heads) > 1
        for wanted in (False, True):
            for head in self.heads:
                prefix = f"{head.name}_" if several else ""
                for metric, weighted in head.metrics or []:
                    if weighted == wanted:
                        out.append((_untaken(prefix, metric.name, weighted, taken), metric))
        if self._has_several_losses:
            out += [(head.tracker.name, head.tracker) for head in self.listed if head.loss is not None]
        return out

    def logs(self) -> dict[str, Any]:
        """What all of them say, by name: a float for one number; an array where a metric has several."""
        logs = {}
        for name, metric in self.entries():
            try:
                result = metric.result()
            except Exception as error:
                _say_whose(error, metric)
                raise
            logs.update(result if isinstance(result, dict) else {name: result})
        return {name: float(v) if np.ndim(v) == 0 else np.array(v) for name, v in logs.items()}

    def in_order(self, logs: Logs) -> float | list[float]:
        """The values of logs as Keras lists them: the loss, the metrics, the losses of several outputs by the
        names that they have of themselves; then what has another name in the logs, by that. The only one by
        itself."""
        names = ["loss", *(metric.name for head in self.heads for metric, _ in head.metrics or ())]
        names += [head.tracker.name for head in self.listed] if self._has_several_losses else []
        values = [logs[name] for name in names if name in logs]
        values += [logs[name] for name in sorted(set(logs) - set(names))]
        return values[0] if len(values) == 1 else values

    def reset(self) -> None:
        """Start all running means again, also those of metrics that another model or loop has used."""
        for metric in self._counters():
            metric.reset_state()

    def _counters(self) -> list[Any]:
        return [self.loss_tracker, *(metric for head in self.heads for metric in head.counters())]

    @property
    def is_counting(self) -> bool:
        """Whether an epoch or an evaluation is under way."""
        return id(self.loss_tracker) in _counting

    @contextlib.contextmanager
    def counting_alone(self) -> Iterator[Any]:
        """For the block, metrics that count for this call alone.

        A callback may evaluate in the middle of an epoch, with this model or with another one that shares a
        metric. The numbers of that epoch must not change by it, so such a call counts in copies.
        """
        held, copies = self._counted(), None
        if not _counting.isdisjoint(map(id, self._counters())):
            copies = copy.deepcopy(held)
            self._set_counted(copies)
        ids = {id(counter) for counter in self._counters()}
        _counting.update(ids)
        try:
            yield
        finally:
            _counting.difference_update(ids)
            if copies:
                self._set_counted(held)

    @contextlib.contextmanager
    def counting_apart(self) -> Iterator[Any]:
        """For the block, copies of the metrics count; afterwards those that are there have counted
        nothing."""
        held = self._counted()
        self._set_counted(copy.deepcopy(held))
        try:
            yield
        finally:
            self._set_counted(held)

    def _counted(self) -> tuple[Any, ...]:
        return self.loss_tracker, [(head.specs, head.metrics, head.tracker) for head in self.heads]

    def _set_counted(self, counted: Any) -> None:
        self.loss_tracker, parts = counted
        for head, part in zip(self.heads, parts):
            head.specs, head.metrics, head.tracker = part


def _untaken(prefix: str, name: str, weighted: bool, taken: set[Any]) -> str:
    """A name for the logs that no other metric has, which is taken from now on."""
    first = prefix + name
    if weighted and first in taken:
        first = f"{prefix}weighted_{name}"
    out, n = first, 0
    while out in taken:
        n += 1
        out = f"{first}_{n}"
    taken.add(out)
    return out


def _say_whose(error: Any, metric: Any) -> None:
    """Raise an error once more, as one that says which metric it is of; leave it where it does so itself."""
    if metric.name in str(error):
        return
    text = f"Metric '{metric.name}' ({type(metric).__name__}): {error}"
    try:
        told = type(error)(text)
    except Exception:  # a class of errors that takes more than a text
        told = RuntimeError(text)
    raise told from error


# ---------------------------------------------------------------- what compile was given


def objective_of(names: Sequence[Any], loss: Any, loss_weights: Any, plain: Sequence[Any] | None,
                 weighted: Sequence[Any] | None, named: bool = False) -> Objective:
    """The `Objective` that the arguments of `compile` describe.

    Args:
        names: of the outputs.
        loss, loss_weights, plain, weighted: loss, loss_weights, metrics and weighted_metrics as `compile`
            takes them.
        named: whether the outputs are a dict, whose losses are listed in the order of the dict of losses.

    Raises:
        ValueError: for a name that is not known, or a structure that does not fit the outputs.
    """
    several = len(names) > 1
    given = _by_output(loss, names, "loss")
    found = [None if one is None else losses.get(one) for one in given]
    for one in found:
        if one is not None and one.reduction in (None, "none"):
            raise ValueError(
                f"Loss '{one.name}' has reduction=None, but training needs one number: use "
                "'sum_over_batch_size'."
            )
    weights = _weights(loss_weights, names, several and not isinstance(loss, (list, tuple, dict)))
    specs = _each_its_own(
        *_specs_by_output(plain, names, "metrics"), *_specs_by_output(weighted, names, "weighted_metrics")
    )
    heads = []
    for i, name in enumerate(names):
        both = [(spec, False) for spec in specs[i]] + [(spec, True) for spec in specs[len(names) + i]]
        heads.append(Head(found[i], weights[i], both, name if several else None))
    if named and several and isinstance(loss, dict):
        return Objective(heads, sorted(heads, key=lambda head: [*loss, head.name].index(head.name)))
    return Objective(heads)


def _is_by_output(given: Any) -> bool:
    return isinstance(given, (list, tuple)) or (isinstance(given, dict) and "class_name" not in given)


def _by_output(given: Any, names: Sequence[Any], what: str) -> list[Any]:
    """One entry for each output, from one for all, a list, or a dict by the outputs' names."""
    if not _is_by_output(given):
        return [given] * len(names)
    if len(names) == 1 != len(given):
        raise ValueError(f"The model has one output, but {what} has {len(given)} entries.")
    if isinstance(given, dict):
        unknown = sorted(map(str, set(given) - set(names)))
        if unknown:
            raise ValueError(
                f"{what} has {', '.join(map(repr, unknown))}, but the model's outputs are named "
                f"{list(names)}."
            )
        return [given.get(name) for name in names]
    if len(given) != len(names):
        raise ValueError(
            f"{what} has {len(given)} entries, but the model has {len(names)} outputs, {list(names)}: give "
            "one for each, None where there is none."
        )
    return list(given)


def _weights(given: Any, names: Sequence[Any], one_loss: bool) -> list[float]:
    """The weight of each output's loss."""
    if given is None:
        return [1.0] * len(names)
    if _is_by_output(given) and one_loss:
        raise ValueError(
            f"loss_weights has {len(given)} entries, but loss is one for all outputs: give a loss for each, "
            "in a list or by the outputs' names."
        )
    weights = [1.0 if weight is None else weight for weight in _by_output(given, names, "loss_weights")]
    for weight in weights:
        if isinstance(weight, (bool, str)) or not hasattr(weight, "__float__"):
            raise ValueError(f"loss_weights must hold numbers, got {weight!r}.")
    return [float(weight) for weight in weights]


def _specs_by_output(given: Any, names: Sequence[Any], what: str) -> list[Any]:
    """A list of metrics for each output: names that `metrics.for_loss` decides on stay names."""
    if given is None:
        return [[] for _ in names]
    if not _is_by_output(given):
        raise ValueError(f"{what} must be a list, such as ['accuracy'], got {given!r}.")
    if len(names) == 1:
        if isinstance(given, dict):
            (given,) = _by_output(given, names, what)
        return [_specs(given, what)]
    return [_specs(one, what) if one is not None else [] for one in _by_output(given, names, what)]


def _specs(given: Any, what: str) -> list[Any]:
    out = []
    for spec in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(spec, (list, tuple)):
            out += _specs(spec, what)
            continue
        if spec is None:
            raise ValueError(f"{what} holds None: give names, metrics or functions, such as ['accuracy'].")
        metric = spec if metrics.follows_the_loss(spec) else metrics.get(spec)
        if isinstance(spec, str) and not isinstance(metric, str):
            metric.name = spec
        out.append(metric)
    return out


def _each_its_own(*lists: Any) -> list[Any]:
    """Lists of metrics in which an object that comes again is a copy, since each counts for itself."""
    seen: set[Any] = set()
    out: list[Any] = []
    for specs in lists:
        out.append([])
        for spec in specs:
            again = id(spec) in seen and not isinstance(spec, str)
            out[-1].append(copy.deepcopy(spec) if again else spec)
            seen.add(id(spec))
    return out
