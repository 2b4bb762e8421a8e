"""fit: one model for each key, trained side by side."""

from __future__ import annotations

import copy
import hashlib
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdfast import random
from tdfast.callbacks.stopping import EarlyStopping
from tdfast.compat.calling import level_of_the_caller
from tdfast.engine.arguments import flag
from tdfast.engine.console import is_terminal, say
from tdfast.engine.variable import Parameters
from tdfast.fleet.crew import Crew, Worker
from tdfast.fleet.engines import engine_of, portable
from tdfast.fleet.keys import by_key, encoded, seed_of
from tdfast.fleet.trained import Fleet, of_key, unpacked
from tdfast.models.cloning import clone_model
from tdfast.training import adapters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tdfast.engine.types import Array

INTERVAL = 0.2
"""Seconds between two drawings of the line that says how far it is."""


def fit(
    model: Any,
    data: Any,
    *,
    epochs: int = 1,
    batch_size: int | None = None,
    seed: int | None = None,
    validation: Any = None,
    early_stopping: Any = None,
    shuffle: bool | str = True,
    lengths: Any = None,
    validation_lengths: Any = None,
    prepare: Callable[[Any], Any] | None = None,
    initialize: bool = False,
    on_error: str = "keep",
    threads: int | None = None,
    engine: Any = None,
    verbose: int = 0,
) -> Fleet:
    """Train one model for each key.

    The models learn side by side, one a thread. Each is, to the bit, what a fit of its own gives, for any
    number of threads and in any order of the keys::

        twin = copy.deepcopy(model)
        twin.fit(x, y, epochs=epochs, batch_size=batch_size, seed=fleet.seed_of(key), verbose=0)

    Args:
        model: a model that is built and compiled. It is a template and does not change: each key begins with
            its weights and with its optimizer as it is.
        data: a dict from keys to (x, y) or (x, y, sample_weight); pairs of a key and such data; or a list of
            such data, whose keys are 0, 1, ... Numbers of rows may differ, and lengths where the model takes
            any.
        epochs, batch_size, shuffle: as in ``model.fit``.
        seed: a whole number of at least 0, from which the seed of each key follows; None draws one.
        validation: this last share of each key's samples is kept apart and measured each epoch; or a dict
            from keys to data.
        early_stopping: a `tdfast.callbacks.EarlyStopping`, of which each key has a copy. A number is a
            patience: the fit of a key ends after so many epochs in which val_loss, or loss without
            validation, has not become better, and its best weights are put back.
        lengths, validation_lengths: dicts from keys to the ``lengths`` of ``model.fit``.
        prepare: a function that makes (x, y) of what stands in ``data`` and ``validation`` for a key, as of a
            group of a frame or of the name of a file. It runs in the threads, when a key's turn comes.
        initialize: True draws new weights for each key, by its seed, instead of the model's; its optimizer
            is new, too: ``with tdfast.random.scope(seed): twin = tdfast.models.clone_model(model)``.
        on_error: 'keep' continues with the other keys when the fit of one fails, with a warning at the end:
            ``fleet.failed`` says why, and its weights are those before the step that failed. 'raise' ends it
            all with that error.
        threads: how many models learn at a time; None: as many as `tdfast.get_num_threads` says. With an
            engine: how many in each of its workers, and None is a worker's share of its machine.
        engine: None, threads of this process; 'joblib', workers of the backend that
            ``joblib.parallel_config`` names: processes, Dask, Ray. Or the processes of a group, all of which
            make this call and get the whole fleet: 'mpi' or 'torch', which `tdfast.distribution.initialize`
            finds, or an object with ``rank``, ``size`` and ``allgather_object(obj)``, a list of what each
            rank gave. The bits are the same.
        verbose: 1 shows how far it is, in one line.

    Returns:
        A `Fleet`.

    Raises:
        ValueError: for arguments, keys or a model that do not fit, before anything is done.
        ImportError: for an engine whose package is not there.
        RuntimeError: if a worker of an engine died, or cannot be given the model or the data.

    After Ctrl-C, and after an error with on_error='raise', the exception's ``fleet`` holds the keys that were
    done.

    >>> import numpy as np, tdfast
    >>> model = tdfast.Sequential([tdfast.Input((5, 1)), tdfast.layers.LSTM(4), tdfast.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> shops = {"north": (np.ones((8, 5, 1)), np.ones(8)), "south": (np.ones((12, 5, 1)), np.zeros(12))}
    >>> fleet = fit(model, shops, epochs=2, seed=0)
    >>> fleet.history["key"].tolist(), fleet.history["epoch"].tolist()
    (['north', 'north', 'south', 'south'], [0, 1, 0, 1])
    """
    spread = engine_of(engine, "fleet.fit")

    def made() -> _Work:
        _check_model(model)
        work = _Work(model, by_key(data, "fleet.fit"), _start(seed), prepare, on_error, initialize)
        work.options = {"epochs": adapters.check_count(epochs, "fleet.fit: epochs"), "shuffle": shuffle,
                        "batch_size": None if batch_size is None
                        else adapters.check_batch_size(batch_size, "fleet.fit"), "verbose": 0}
        work.take_validation(validation, lengths, validation_lengths)
        work.early_stopping = _early_stopping(early_stopping, validation is not None)
        if threads is not None and adapters.check_count(threads, "fleet.fit: threads") < 1:
            raise ValueError("fleet.fit: threads must be at least 1, got 0.")
        return work

    work = made() if spread is None else spread.agreed(made, seed)
    shows = spread is None or spread.shows
    line = _Line(len(work.keys), work.failed) if verbose and shows else None
    show = line.show if line else lambda done: None
    try:
        if spread is None:
            work.train(threads, show)
        else:
            parts = spread.parts(len(work.keys))
            spread.run(map(work.part, parts), threads, lambda done: show(work.take(done)), show)
    except BaseException as error:
        error.fleet = work.fleet()          # type: ignore[attr-defined]
        raise
    finally:
        if line:
            line.end(len(work.histories))
    fleet = work.fleet()
    if fleet.failed and shows:
        first, why = next(iter(fleet.failed.items()))
        warnings.warn(
            f"fleet.fit: {len(fleet.failed)} of {len(fleet)} keys failed, which fleet.failed lists; the "
            f"first is {first!r}: {why}", stacklevel=level_of_the_caller())
    return fleet


class _Done(NamedTuple):
    """What a part gives back: the keys that it has done, as `_Work` has them, and the error that ended it."""

    keys: list[Any]
    weights: Any
    histories: dict[Any, dict[str, Any]]
    failed: dict[Any, str]
    error: BaseException | None


class _Work:
    """What each worker does with each key.

    Args:
        model: the template.
        data: by key.
        seed: of the fleet.
        prepare, on_error, initialize: as `fit` takes them.

    Raises:
        ValueError: for an on_error or an initialize that is none.
    """

    def __init__(self, model: Any, data: dict[Any, Any], seed: int, prepare: Any, on_error: str,
                 initialize: Any) -> None:
        if on_error not in ("keep", "raise"):
            raise ValueError(f"fleet.fit: on_error must be 'keep' or 'raise', got {on_error!r}.")
        self.initialize = flag(initialize, "initialize", "fleet.fit")
        self.model = clone_model(model) if self.initialize else model
        self.data, self.seed, self.prepare, self.keeps = data, seed, prepare, on_error == "keep"
        self.keys = list(data)
        self.options: dict[str, Any] = {}
        self.early_stopping: Any = None
        self.weights: Any = None
        self.histories: dict[Any, dict[str, Any]] = {}
        self.failed: dict[Any, str] = {}
        self.lengths: dict[Any, Any] = {}
        self.validation: dict[Any, Any] = {}
        self.validation_lengths: dict[Any, Any] = {}

    def take_validation(self, validation: Any, lengths: Any, validation_lengths: Any) -> None:
        """Take what `fit` was given beside the data, each with all keys."""
        if isinstance(validation, (float, int)) and not isinstance(validation, bool):
            if not 0 < validation < 1:
                raise ValueError(
                    f"fleet.fit: validation must be a share between 0 and 1, or a dict from keys to data, "
                    f"got {validation}."
                )
            self.options["validation_split"] = validation
            validation = None
        for name, given in (("validation", validation), ("lengths", lengths),
                            ("validation_lengths", validation_lengths)):
            if given is None:
                continue
            found = by_key(given, f"fleet.fit: {name}")
            missing = [key for key in self.keys if key not in found]
            if missing:
                raise ValueError(
                    f"fleet.fit: {name} has nothing for {len(missing)} of the {len(self.keys)} keys, the "
                    f"first of which is {missing[0]!r}. Give it for each key."
                )
            setattr(self, name, found)

    def identity(self) -> dict[str, Any]:
        """What the processes of a group must have in common, by its name."""
        values = [] if self.initialize else [weight.value.tobytes() for weight in self.model.weights]
        return {"keys": [encoded(key) for key in self.keys], "arguments": repr(self.options),
                "weights of the model": hashlib.blake2b(b"".join(values)).hexdigest()}

    def part(self, numbers: Iterable[int]) -> _Work:
        """The same for some of the keys, with nothing of the others."""
        out = copy.copy(self)
        out.keys = [self.keys[i] for i in numbers]
        for name in ("data", "lengths", "validation", "validation_lengths"):
            given = getattr(self, name)
            setattr(out, name, {key: given[key] for key in out.keys if key in given})
        out.weights, out.histories, out.failed = None, {}, {}
        return out

    def run(self, threads: int, tell: Callable[[int], None]) -> _Done:
        """Train a part and say what came of it; an error is in it."""
        error: BaseException | None = None
        try:
            self.train(threads, tell)
        except Exception as caught:
            error = portable(caught)
        keys, weights = self._done()
        return _Done(keys, weights, self.histories, self.failed, error)

    def take(self, done: _Done) -> int:
        """Take what a part has given, and say how many keys are done.

        Raises:
            Exception: the one that ended it.
        """
        if self.weights is None and done.keys:
            self.weights = np.empty((len(self.keys), done.weights.shape[1]), done.weights.dtype)
            self.rows = {key: i for i, key in enumerate(self.keys)}
        for key, row in zip(done.keys, done.weights):
            self.weights[self.rows[key]] = row
        self.histories.update(done.histories)
        self.failed.update(done.failed)
        if done.error is not None:
            raise done.error
        return len(self.histories)

    def train(self, threads: int | None, tell: Callable[[int], None]) -> None:
        """Train all keys in threads of this process; ``tell`` is called with how many are done."""
        crew = Crew(self.model, threads, len(self.keys))
        values = crew.workers[0].values
        self.weights = np.empty((len(self.keys), values.size), values.dtype)
        for row, key in zip(self.weights, self.keys):
            row[:] = values if not self.initialize else _drawn(self.model, seed_of(self.seed, key))
        crew.run(self.do, len(self.keys), tell)

    def do(self, worker: Worker, i: int) -> None:
        """Train the model of the key with this number."""
        key, row = self.keys[i], self.weights[i]
        worker.become(row)
        try:
            arguments = self._arguments(key)
            worker.expect(arguments["y"])
            worker.model.fit(**arguments)
        except Exception as error:
            if not self.keeps:
                raise of_key(error, "fleet.fit", key) from error
            self.failed[key] = f"{type(error).__name__}: {error}"
        row[:] = worker.values
        history = worker.model.history
        self.histories[key] = {} if history is None else history.history

    def _arguments(self, key: Any) -> dict[str, Any]:
        x, y, weight = self._of(self.data[key])
        out = {"x": x, "y": y, "sample_weight": weight, "seed": seed_of(self.seed, key), **self.options}
        if self.early_stopping is not None:
            out["callbacks"] = [copy.deepcopy(self.early_stopping)]
        if key in self.lengths:
            out["lengths"] = self.lengths[key]
        if key in self.validation:
            x, y, weight = self._of(self.validation[key])
            out["validation_data"] = (x, y) if weight is None else (x, y, weight)
            out["validation_lengths"] = self.validation_lengths.get(key)
        return out

    def _of(self, given: Any) -> tuple[Any, ...]:
        return unpacked(given if self.prepare is None else self.prepare(given))

    def _done(self) -> tuple[list[Any], Any]:
        """The keys that are done, and their weights."""
        rows = [i for i, key in enumerate(self.keys) if key in self.histories]
        if self.weights is None:
            return [], np.empty((0, Worker(self.model).values.size), Worker(self.model).values.dtype)
        return ([self.keys[i] for i in rows],
                self.weights if len(rows) == len(self.keys) else self.weights[rows])

    def fleet(self) -> Fleet:
        """Of the keys that are done."""
        keys, weights = self._done()
        failed = {key: self.failed[key] for key in keys if key in self.failed}
        histories = [self.histories[key] for key in keys]
        return Fleet(copy.deepcopy(self.model), keys, weights, histories, self.seed, failed)


class _Line:
    """The line that says how far a fit is; where the output is no terminal, one at its end alone.

    Args:
        tasks: how many keys there are.
        failed: those that failed so far.
    """

    def __init__(self, tasks: int, failed: dict[Any, str]) -> None:
        self.tasks, self.failed = tasks, failed
        self._begun = self._drawn = time.perf_counter()
        self._live = is_terminal()

    def show(self, done: int) -> None:
        """Draw it again, if it is time."""
        now = time.perf_counter()
        if self._live and now - self._drawn >= INTERVAL:
            self._drawn = now
            sys.stdout.write("\r" + self._text(done))
            sys.stdout.flush()

    def end(self, done: int) -> None:
        """The last one."""
        say(("\r" if self._live else "") + self._text(done))

    def _text(self, done: int) -> str:
        seconds = time.perf_counter() - self._begun
        failed = f", {len(self.failed)} failed" if self.failed else ""
        each = f"{1e3 * seconds / max(done, 1):.1f}ms/model"
        return f"{done}/{self.tasks} models{failed} - {seconds:.0f}s - {each}"


def _check_model(model: Any) -> None:
    if not hasattr(model, "compile") or not hasattr(model, "compiled_state"):
        raise ValueError(
            f"fleet.fit expects a tdfast model as its first argument, got a {type(model).__name__}."
        )
    if not model.compiled or not model._trainer.trains:
        raise ValueError(
            f"fleet.fit: call compile(optimizer=..., loss=...) of model '{model.name}' before fleet.fit."
        )
    if not model.built or not model.weights:
        raise ValueError(
            f"fleet.fit: model '{model.name}' has no weights yet, with which each key is to begin. Give it "
            "an Input, as in Sequential([Input((None, 3)), ...]), or call model.build(input_shape)."
        )


def _start(seed: Any) -> int:
    """The seed of the fleet, drawn if there is none."""
    start = random.make_default_seed() if seed is None else random.check_seed(seed)
    if start is None or start < 0:
        raise ValueError(f"fleet.fit: seed must be a whole number of at least 0, got {seed!r}.")
    return start


def _early_stopping(given: Any, validates: bool) -> Any:
    """The callback that each key has a copy of, or None."""
    if given is None or isinstance(given, EarlyStopping):
        return given
    if isinstance(given, bool) or not hasattr(given, "__index__") or int(given) < 0:
        raise ValueError(
            f"fleet.fit: early_stopping must be a number of epochs or an EarlyStopping, got {given!r}."
        )
    return EarlyStopping("val_loss" if validates else "loss", patience=int(given), restore_best_weights=True)


def _drawn(model: Any, seed: int) -> Array:
    """The flat vector of the weights that a clone of the model has by a seed."""
    with random.scope(seed):
        return Parameters(clone_model(model).weights).values
