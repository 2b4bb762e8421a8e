"""Steps of a user's own: what `fit` and `evaluate` do with a model whose class overrides ``train_step`` and
its kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import registry, tracing
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.structure import flatten, packed_as
from tdfast.metrics import Metric
from tdfast.training import by_head
from tdfast.training.batch import Batch, one_or_list
from tdfast.training.data import DataAdapter
from tdfast.training.step import Step

if TYPE_CHECKING:
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Data

STEPS = ("train_step", "test_step", "compute_loss", "compute_metrics")
"""The methods that a class may override to have steps of its own."""


def overrides(model: Any, names: Any = STEPS) -> bool:
    """Whether the class of a model has steps of its own."""
    base = registry.home("models").Model
    return any(getattr(type(model), name) is not getattr(base, name) for name in names)


class OwnData(DataAdapter):
    """Batches in the structures in which the user gave x, y and sample_weight."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._structures: dict[Any, Any] = {}

    def batch(self, x: Data, y: Data, sample_weight: Data, who: str, views: bool = False) -> Batch:
        parts, structures = [], []
        for what, given in (("x", x), ("y", y), ("sample_weight", sample_weight)):
            given = None if given is None else _as_arrays(given, self.model.dtype)
            structures.append(given)
            leaves = [] if given is None else flatten(given)
            for leaf in leaves:
                if leaf.ndim == 0:
                    raise ValueError(f"{who}: {what} must hold arrays with the samples on their first axis.")
            parts.append(tuple(leaves))
        sizes = {len(leaf) for leaves in parts for leaf in leaves}
        if len(sizes) != 1:
            raise ValueError(f"{who}: all arrays must have the same number of samples, got {sorted(sizes)}.")
        self._structures[tuple(map(len, parts))] = structures
        self._build(structures[0])
        return Batch(*parts)

    def _build(self, x: Any) -> None:
        """Make the model's weights, where x is what its call takes."""
        model = self.model
        if model.built or not model.has_call:
            return
        few = packed_as(x, [leaf[:1] for leaf in flatten(x)])
        model(few)

    def data_of(self, batch: Any) -> tuple[Any, ...]:
        """What a step takes: (x,), (x, y) or (x, y, sample_weight)."""
        structures = self._structures[tuple(len(part) for part in batch[:3])]
        parts = [None if structure is None else packed_as(structure, part)
                 for structure, part in zip(structures, batch)]
        while len(parts) > 1 and parts[-1] is None:
            parts.pop()
        return tuple(parts)


def _as_arrays(given: Any, dtype: str) -> Any:
    if isinstance(given, dict):
        return {key: _as_arrays(part, dtype) for key, part in given.items()}
    if isinstance(given, (list, tuple)) and any(getattr(part, "ndim", 0) for part in flatten(list(given))):
        return type(given)(_as_arrays(part, dtype) for part in given)
    array = np.asarray(given)
    return array.astype(dtype) if array.dtype.kind == "f" and array.dtype != dtype else array


class OwnStep(Step):
    """A step by the model's ``train_step`` or ``test_step``.

    Args:
        model, lock: as for `Step`.
        data: the `OwnData` that made the batches.
    """

    def __init__(self, model: Any, lock: Any, data: OwnData) -> None:
        super().__init__(model, lock)
        self._data = data
        self._logs: dict[str, Any] = {}

    def prepare(self, objective: Any, optimizer: Any) -> None:
        self.objective, self.optimizer = objective, optimizer
        self.moving = [None]            # nobody knows what it changes: no prediction runs beside it

    def reset(self) -> None:
        self.objective.reset()
        self._logs = {}
        for metric in metrics_of(self.model):
            metric.reset_state()

    def logs(self) -> dict[str, Any]:
        return dict(self._logs)

    def train(self, batch: Any, where: str = "") -> float:
        return self._taken(self.model.train_step, batch, "train_step")

    def test(self, batch: Any, tape: Tape) -> float:
        with kernel_arithmetic():
            return self._taken(self.model.test_step, batch, "test_step")

    def _taken(self, step: Any, batch: Any, name: str) -> float:
        self._make_metrics(batch)
        logs = step(self._data.data_of(batch))
        if not isinstance(logs, dict):
            raise TypeError(
                f"Model '{self.model.name}' ({type(self.model).__name__}): {name} must return a dict of "
                "numbers by "
                f"name, such as {{'loss': loss}}, got {logs!r:.60} ({type(logs).__name__})."
            )
        self._logs = {key: _number(value) for key, value in logs.items()}
        return self._logs.get("loss", 0.0)


    def _make_metrics(self, batch: Any) -> None:
        """Metrics given by name become objects, where the shapes tell which."""
        heads = [head for head in self.objective.heads if head.metrics is None and head.specs]
        if not heads or not self.model.built or len(batch.targets) != len(self.objective.heads):
            return
        shapes = self.model.output_shapes(one_or_list([x.shape for x in batch.inputs]))
        for head, y, shape in zip(self.objective.heads, batch.targets, shapes):
            if head in heads:
                head.make_metrics(y.shape, shape)


def _number(value: Any) -> Any:
    value = np.asarray(value)
    return float(value) if value.ndim == 0 else value


def metrics_of(model: Any) -> list[Any]:
    """The model's metrics, and those among its attributes."""
    found = [*model.metrics, *(value for value in vars(model).values() if isinstance(value, Metric))]
    return list({id(metric): metric for metric in found}.values())


# ---------------------------------------------------------------- what Model's methods do


def train_step(model: Any, data: Any) -> dict[str, Any]:
    """Forward, loss, backward, update: what `Model.train_step` does unless a class overrides it."""
    from tdfast import ops
    from tdfast.utils import unpack_x_y_sample_weight

    x, y, sample_weight = unpack_x_y_sample_weight(data)
    variables = model.trainable_variables

    def loss_of() -> Any:
        y_pred = model(x, training=True)
        loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
        return loss, y_pred

    (loss, y_pred), gradients = ops.value_and_grad(loss_of, variables, has_aux=True)()
    model.optimizer.apply(gradients, variables)
    return _counted(model, loss, x, y, y_pred, sample_weight)


def test_step(model: Any, data: Any) -> dict[str, Any]:
    """What `Model.test_step` does unless a class overrides it."""
    from tdfast.utils import unpack_x_y_sample_weight

    x, y, sample_weight = unpack_x_y_sample_weight(data)
    with tracing.Frame(training=False):
        y_pred = model(x, training=False)
        loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
    return _counted(model, loss, x, y, y_pred, sample_weight)


def _counted(model: Any, loss: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
    rows = len(flatten(x)[0])
    model._trainer.objective.loss_tracker.add(float(loss) * rows, rows)
    return model.compute_metrics(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)


def compute_loss(model: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """The weighted sum of the losses of `compile` and of `Layer.losses`."""
    objective, names = model._trainer.objective, model.head_names
    outputs = flatten(y_pred)
    total: Any = 0.0
    if objective.loss is not None:
        targets = by_head.targets(objective.heads, names, y, "compute_loss")
        weights = by_head.weights(objective.heads, names, sample_weight, "compute_loss")
        frame = tracing.innermost()
        for head, target, weight, output in zip(objective.heads, targets, weights, outputs):
            if head.loss is not None:
                mask = None if frame is None else frame.mask_of(output)
                total = total + _value(head.loss, target, output, weight, mask) * head.weight
    for loss in model.losses:
        total = total + loss.sum() if hasattr(loss, "sum") else total + loss
    return total


def _value(loss: Any, y: Any, y_pred: Any, sample_weight: Any, mask: Any) -> Any:
    from tdfast.losses import recorded

    if recorded.concerns(y_pred, y):
        return recorded.reduced(loss, y, y_pred, sample_weight, mask)
    return loss.value_and_grad(np.asarray(y), np.asarray(y_pred), sample_weight, mask, need_grad=False)[0]


def compute_metrics(model: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
    """Tell the metrics of `compile` of a batch; gives all numbers by name."""
    objective, names = model._trainer.objective, model.head_names
    outputs = [np.ascontiguousarray(part) for part in flatten(y_pred)]
    if any(head.specs for head in objective.heads):
        targets = by_head.targets(objective.heads, names, y, "compute_metrics")
        weights = by_head.weights(objective.heads, names, sample_weight, "compute_metrics")
        targets = [None if target is None else np.asarray(target) for target in targets]
        objective.count(outputs, Batch((), tuple(targets), tuple(weights), (None,) * len(targets)))
    return model.get_metrics_result()


def get_metrics_result(model: Any) -> dict[str, Any]:
    """All numbers of the metrics by name."""
    logs = model._trainer.objective.logs() if model._trainer.objective.heads else {}
    own = type(model).metrics is not registry.home("models").Model.metrics
    if own:
        logs = {}
    for metric in metrics_of(model) if own else [v for v in vars(model).values() if isinstance(v, Metric)]:
        result = metric.result()
        logs.update(result if isinstance(result, dict) else {metric.name: _number(result)})
    return logs
