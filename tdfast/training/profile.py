"""profile: where the time of a training step and of a prediction goes, layer by layer."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.network import Network
from tdfast.engine.pickling import seeds_of, stateful_of
from tdfast.training import own_step
from tdfast.training.batch import one_or_list
from tdfast.training.prediction import tape_of
from tdfast.training.resume import random_states, restore_random

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tdfast.training.epochs import EpochIterator
    from tdfast.training.trainer import Trainer

KERNEL, NUMPY, YOURS = "kernel", "NumPy", "Python (yours)"


class Row:
    """One line of a `Profile`: a layer, or another part of a step.

    Attributes:
        name: that of the layer, with those of the models around it before it; else "loss", "metrics",
            "optimizer", "data" or "rest".
        kind: the name of the class.
        output_shape: that of the layer's first call, None for the batch.
        ms: its part of a training step; None for a model that is not compiled.
        forward_ms, backward_ms: of a layer, the two parts of that.
        predict_ms: of one batch of a prediction.
        share: of the training step, or of the prediction where the model is not compiled; from 0 to 1.
        calls: how often a step calls it.
        runs_in: "kernel", "NumPy", or "Python (yours)" for what a class or a function of your own computes.
    """

    __slots__ = ("name", "kind", "output_shape", "ms", "forward_ms", "backward_ms", "predict_ms", "share",
                 "calls", "runs_in")

    def __init__(self, name: str, kind: str = "", output_shape: Any = None, ms: float | None = None,
                 forward_ms: float | None = None, backward_ms: float | None = None,
                 predict_ms: float | None = None, share: float = 0.0, calls: int | None = None,
                 runs_in: str = "") -> None:
        self.name, self.kind, self.output_shape, self.ms = name, kind, output_shape, ms
        self.forward_ms, self.backward_ms, self.predict_ms = forward_ms, backward_ms, predict_ms
        self.share, self.calls, self.runs_in = share, calls, runs_in

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __repr__(self) -> str:
        return f"<Row {self.to_dict()}>"


class Profile:
    """What `Model.profile` found; printed, it is a table, and `plot` draws it.

    Attributes:
        rows: a `Row` for each layer, then those of the loss, the metrics, the optimizer, the data and the
            rest.
        step_ms: a training step, on average; None for a model that is not compiled.
        predict_ms: the forward pass of one batch of a prediction.
        steps: how many of each were measured.
        samples: the rows of a batch, on average.
        note: what was left out, and why.
    """

    def __init__(self, name: str, rows: list[Row], step_ms: float | None, predict_ms: float, steps: int,
                 samples: float, note: str) -> None:
        self.name, self.rows, self.step_ms, self.predict_ms = name, rows, step_ms, predict_ms
        self.steps, self.samples, self.note = steps, samples, note

    def __getitem__(self, name: str) -> Row:
        """The row of this name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"The profile has no row {name!r}; it has {', '.join(row.name for row in self.rows)}.")

    def to_dict(self) -> dict[str, Any]:
        """All numbers, as plain values."""
        keys = ("name", "step_ms", "predict_ms", "steps", "samples", "note")
        return {**{key: getattr(self, key) for key in keys}, "rows": [row.to_dict() for row in self.rows]}

    def plot(self, ax: Any = None, to_file: Any = None, dpi: int = 120) -> Any:
        """The rows as bars: of each layer its forward and its backward pass, then the other parts, with their
        shares. Of a model that is not compiled, a prediction's.

        Args:
            ax: matplotlib's Axes to draw on; None: a new figure.
            to_file: where the picture goes, a path that ends in .png, .pdf or .svg; None: nowhere.
            dpi: dots per inch.

        Returns:
            The matplotlib `Figure`.

        Raises:
            ImportError: without matplotlib; TypeError: for an ``ax`` that is something else.
        """
        from tdfast.utils.charts import plot_profile  # imported by those who ask alone

        return plot_profile(self, ax, to_file, dpi)

    def __repr__(self) -> str:
        times = [f"predict {self.predict_ms:.3g} ms"]
        if self.step_ms is not None:
            times.insert(0, f"training step {self.step_ms:.3g} ms")
        head = (f"Model '{self.name}': {', '.join(times)}; {self.samples:.0f} samples a batch, "
                f"means of {self.steps}")
        titles = ["name", "class", "output shape", "step ms", "forward ms", "backward ms", "predict ms",
                  "share", "calls", "runs in"]
        table = [titles, *map(_cells, self.rows)]
        widths = [max(len(line[k]) for line in table) for k in range(len(table[0]))]
        lines = ["  ".join(_aligned(cell, width, 3 <= k <= 8) for k, (cell, width)
                           in enumerate(zip(line, widths))).rstrip() for line in table]
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([head, *lines, *([self.note] if self.note else [])])


def _cells(row: Row) -> list[str]:
    times = ["" if ms is None else f"{ms:.3f}"
             for ms in (row.ms, row.forward_ms, row.backward_ms, row.predict_ms)]
    shape = "" if row.output_shape is None else str(row.output_shape)
    calls = "" if row.calls is None else str(row.calls)
    return [row.name, row.kind, shape, *times, f"{row.share:.1%}", calls, row.runs_in]


def _aligned(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


# ---------------------------------------------------------------- measuring


class _Clock:
    """The seconds and the calls of one function, of one thread."""

    def __init__(self) -> None:
        self.seconds, self.calls, self.shape = 0.0, 0, None
        self._thread = threading.get_ident()

    def around(self, function: Callable[..., Any], look: bool = False) -> Callable[..., Any]:
        """The function, measured; ``look``: keep the shape of what it gives."""

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*args, **kwargs)
            start = time.perf_counter()
            try:
                result = function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start
                self.calls += 1
            if look and self.shape is None:
                self.shape = _shape_of(result)
            return result

        return measured

    def take(self) -> tuple[float, int]:
        """What was measured since the last call."""
        taken = self.seconds, self.calls
        self.seconds, self.calls = 0.0, 0
        return taken


def _shape_of(y: Any) -> Any:
    if isinstance(y, (list, tuple)):
        return [_shape_of(part) for part in y]
    return (None, *np.shape(y)[1:])


@contextlib.contextmanager
def _measuring(places: Sequence[tuple[Any, str, _Clock, bool]]) -> Iterator[None]:
    """For the block, methods of objects are measured: (object, method, clock, whether shapes are looked
    at)."""
    try:
        for owner, name, clock, look in places:
            vars(owner)[name] = clock.around(getattr(owner, name), look)
        yield
    finally:
        for owner, name, _, _ in places:
            vars(owner).pop(name, None)


@contextlib.contextmanager
def as_before(trainer: Trainer) -> Iterator[None]:
    """After the block, all is as it was: weights, the optimizer, the random state, states and metrics."""
    model, optimizer, objective = trainer.model, trainer.optimizer, trainer.objective
    layers = list(model.walk())
    weights = [(w, w.numpy()) for w in model.weights]
    seeds = [(seed, np.array(seed.state)) for seed in seeds_of(layers)]
    states = [(layer, layer.states) for layer in stateful_of(layers)]
    counted = [(metric, copy.deepcopy(metric.get_state()))
               for metric in own_step.metrics_of(model) if metric not in model.metrics]
    numbers = [] if optimizer is None else [(v, v.numpy()) for v in optimizer.variables]
    attributes = [(one, {key: _copied(value) for key, value in vars(one).items()})
                  for one in ([] if optimizer is None else [optimizer, *optimizer.inner])]
    random = random_states()
    try:
        with objective.counting_apart():
            yield
    finally:
        for one, held in attributes:
            vars(one).clear()
            vars(one).update(held)
        for v, value in [*numbers, *weights]:
            v.assign(value)
        for seed, state in seeds:
            seed.state[...] = state
        for layer, held in states:
            layer.states = held
        for metric, held in counted:
            metric.set_state(held)
        restore_random(random)


def _copied(value: Any) -> Any:
    """A list or a dict that is there is another one afterwards; what is in it is the same."""
    return type(value)(value) if type(value) in (list, dict) else value


def profile(trainer: Trainer, feed: EpochIterator, steps: int) -> Profile:
    """Make some training steps and some forward passes on a feed, and put everything back.

    Args:
        trainer: the model's, compiled or not.
        feed: the `EpochIterator` of the data.
        steps: how many to measure; one more goes before them, in which memory is made.
    """
    model, training = trainer.model, trainer.trains
    own = own_step.overrides(model) or getattr(model, "runs_in_python", None) is not None
    named = _layers_of(model)
    batches = _endless(feed)
    with as_before(trainer):
        shapes, predicted, predict_s, samples = _of_predictions(trainer, named, batches, steps)
        trained: Any = None
        if training:
            trainer.ready_to_train()
            trained = _of_steps(trainer, named, batches, steps)
        parts = _parts(trainer, trained) if trained else []
    rows, whole = [], trained["step"] if trained else predict_s
    for name, layer in named:
        seconds, calls = predicted[name]
        row = Row(name, type(layer).__name__, shapes[name], predict_ms=1e3 * seconds, runs_in=runs_in(layer),
                  calls=calls)
        spent = seconds
        if trained:
            (forward, row.calls), (backward, _) = trained[name]
            row.forward_ms, row.backward_ms, spent = 1e3 * forward, 1e3 * backward, forward + backward
            row.ms = 1e3 * spent
        row.share = spent / whole
        rows.append(row)
    rows += parts
    rest = max(0.0, 1 - sum(row.share for row in rows))
    rows.append(Row("rest", ms=1e3 * rest * whole if trained else None,
                    predict_ms=1e3 * max(0.0, predict_s - sum(s for s, _ in predicted.values())), share=rest,
                    runs_in=YOURS if own and trained else ""))
    note = "" if training else (
        "Only predictions were measured: " + ("compile has no loss." if trainer.compiled
                                              else "the model is not compiled."))
    return Profile(model.name, rows, 1e3 * whole if trained else None, 1e3 * predict_s, steps, samples, note)


def _parts(trainer: Trainer, trained: dict[str, Any]) -> list[Row]:
    """The rows of what a step does besides its layers."""
    heads, whole = trainer.objective.heads, trained["step"]
    losses = [head.loss for head in heads if head.loss is not None]
    metrics = [metric for head in heads for metric, _ in head.metrics or ()]
    out = []
    for name, objects in (("loss", losses), ("metrics", metrics), ("optimizer", [trainer.optimizer]),
                          ("data", [])):
        seconds, calls = trained[name]
        out.append(Row(name, ", ".join(type(one).__name__ for one in objects), ms=1e3 * seconds,
                       share=seconds / whole, calls=calls, runs_in=_most(list(map(runs_in, objects)))))
    return out


def _endless(feed: EpochIterator) -> Iterator[Any]:
    """The batches of a feed, epoch after epoch, while there are any."""
    while True:
        some = False
        for batch in feed:
            some = True
            yield batch
        if not some or not feed.source.again:
            return


def _next(batches: Iterator[Any], steps: int) -> Any:
    batch = next(batches, None)
    if batch is None:
        raise ValueError(
            f"profile: the data ended too early: it takes {2 * (steps + 1)} batches with steps={steps}. Give "
            "arrays, an endless generator, or fewer steps."
        )
    return batch


def _of_predictions(trainer: Trainer, named: Sequence[Any], batches: Iterator[Any],
                    steps: int) -> tuple[Any, ...]:
    """The layers' output shapes, (seconds, calls) of each, the seconds of a pass, the samples of a batch."""
    model, clocks = trainer.model, {name: _Clock() for name, _ in named}
    seconds, samples = 0.0, 0
    with tape_of(trainer.lock) as tape:
        with _measuring([(layer, "forward", clocks[name], True) for name, layer in named]):
            for k in range(steps + 1):
                batch = _next(batches, steps)
                masks = one_or_list(batch.masks) if batch.masks else None
                start = time.perf_counter()
                with kernel_arithmetic():
                    tape.rewind()
                    model.forward(one_or_list(batch.inputs), tape, mask=masks)
                if k == 0:
                    _all_taken(clocks)
                    continue
                seconds += time.perf_counter() - start
                samples += len(batch.inputs[0])
    found = {name: _mean(clock.take(), steps) for name, clock in clocks.items()}
    return {name: clock.shape for name, clock in clocks.items()}, found, seconds / steps, samples / steps


def _of_steps(trainer: Trainer, named: Sequence[Any], batches: Iterator[Any], steps: int) -> dict[str, Any]:
    """Name -> (seconds, calls) of a step, of a layer those of forward and of backward; "step": its
    seconds."""
    forward, backward, parts = ({name: _Clock() for name in names} for names in (
        [name for name, _ in named], [name for name, _ in named], ["loss", "metrics", "optimizer", "data"]))
    places = [(layer, "forward", forward[name], False) for name, layer in named]
    places += [(layer, "backward", backward[name], False) for name, layer in named]
    places += [(trainer.objective, "value_and_gradients", parts["loss"], False),
               (trainer.objective, "count", parts["metrics"], False),
               (trainer.optimizer, "apply", parts["optimizer"], False),
               (trainer.optimizer, "bad_gradient", parts["optimizer"], False)]
    fetch, seconds = parts["data"].around(_next), 0.0
    with _measuring(places):
        for k in range(steps + 1):
            start = time.perf_counter()
            trainer.step_on(fetch(batches, steps))
            if k == 0:
                for clocks in (forward, backward, parts):
                    _all_taken(clocks)
                continue
            seconds += time.perf_counter() - start
    found: dict[str, Any] = {name: _mean(clock.take(), steps) for name, clock in parts.items()}
    found["optimizer"] = found["optimizer"][0], 1
    for name in forward:
        found[name] = _mean(forward[name].take(), steps), _mean(backward[name].take(), steps)
    return {**found, "step": seconds / steps}


def _all_taken(clocks: dict[str, _Clock]) -> None:
    for clock in clocks.values():
        clock.take()


def _mean(taken: tuple[float, int], steps: int) -> tuple[float, int]:
    return taken[0] / steps, round(taken[1] / steps)


# ---------------------------------------------------------------- what a layer is


def _layers_of(model: Any) -> list[tuple[str, Any]]:
    """(name, layer) of all layers, each once; those of a model within the model have its name before
    theirs."""
    out: list[tuple[str, Any]] = []
    seen: set[int] = set()

    def add(network: Any, prefix: str) -> None:
        for layer in network.sublayers():
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if isinstance(layer, Network) and type(layer).forward is Network.forward:
                add(layer, f"{prefix}{layer.name}/")
            elif type(layer).__name__ != "InputLayer":
                out.append((f"{prefix}{layer.name}", layer))

    add(model, "")
    return out


def runs_in(obj: Any) -> str:
    """Whether a layer, a loss, a metric or an optimizer computes in kernels, in NumPy, or in Python code of
    the user's, also within it.

    >>> from tdfast.layers import Dense, Flatten
    >>> runs_in(Dense(3)), runs_in(Flatten())
    ('kernel', 'NumPy')
    """
    inner = [layer for layer in obj.walk() if layer is not obj] if hasattr(obj, "walk") else []
    return _most([_runs_alone(one) for one in [obj, *inner]])


def _runs_alone(obj: Any, depth: int = 2) -> str:
    cls = type(obj)
    if not _is_ours(cls.__module__):
        return YOURS
    for value in vars(obj).values() if depth and hasattr(obj, "__dict__") else ():
        if inspect.isfunction(value) and not _is_ours(value.__module__):
            return YOURS
        known = getattr(type(value), "__module__", "").split(".")[:2]
        if known[:1] == ["tdfast"] and known[1:] in (["activations"], ["engine"], ["losses"], ["metrics"]):
            if _runs_alone(value, depth - 1) == YOURS:
                return YOURS
    modules = [sys.modules[base.__module__] for base in cls.__mro__ if _is_ours(base.__module__)]
    return KERNEL if any(hasattr(module, "_kernels") for module in modules) else NUMPY


def _is_ours(module: str) -> bool:
    return module == "tdfast" or module.startswith("tdfast.")


def _most(found: Sequence[str]) -> str:
    """What a user can change comes first."""
    return next((one for one in (YOURS, KERNEL, NUMPY) if one in found), "")
