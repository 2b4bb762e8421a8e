"""Fleet: the models that `tdfast.fleet.fit` has trained."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.fleet import file
from tdfast.fleet.crew import Crew, Worker
from tdfast.fleet.engines import engine_of, portable
from tdfast.fleet.keys import by_key, encoded, plain_key, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tdfast.engine.types import Array, Arrays, CustomObjects, Data, PathLike


class Fleet(Mapping[Any, Any]):
    """Models of one kind, each under its key; `tdfast.fleet.fit` and `tdfast.fleet.load` make one.

    ``fleet["shop1"]`` is a model of its own with the weights of that key, a new one each time: what you do
    to it does not change the fleet. It has the loss and the metrics of the model that the fleet was made of,
    and its optimizer as it was before the fit.

    Args:
        model: the model that all began as.
        keys: as many as there are models.
        weights: (models, P), the weights of each as one row.
        histories: for each the dict from names to the values of its epochs.
        seed: that of the fit.
        failed: dict from the keys whose fit failed to why.

    Attributes:
        weights: as given.
        seed: that of the fit, from which those of the keys follow: see `seed_of`.
        failed: as given. A key that failed has the weights that it had then.

    >>> import numpy as np, tdfast
    >>> model = tdfast.Sequential([tdfast.Input((5, 1)), tdfast.layers.LSTM(4), tdfast.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> shops = {name: (np.ones((8, 5, 1)), np.ones((8, 1))) for name in ("north", "south")}
    >>> fleet = tdfast.fleet.fit(model, shops, epochs=2, seed=0)
    >>> list(fleet), fleet["north"].predict(np.ones((3, 5, 1)), verbose=0).shape
    (['north', 'south'], (3, 1))
    """

    def __init__(self, model: Any, keys: Sequence[Any], weights: Array, histories: Sequence[dict[str, Any]],
                 seed: int, failed: dict[Any, str]) -> None:
        self._model = model
        self._place = {key: i for i, key in enumerate(keys)}
        self._histories = list(histories)
        self.weights, self.seed, self.failed = weights, seed, failed

    # ---------------------------------------------------------------- a mapping
    def __len__(self) -> int:
        return len(self._place)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._place)

    def __contains__(self, key: Any) -> bool:
        try:
            return plain_key(key) in self._place
        except ValueError:
            return False

    def __getitem__(self, key: Any) -> Any:
        worker = Worker(self._model)
        worker.become(self.weights[self._at(key)])
        return worker.model

    def __eq__(self, other: Any) -> Any:
        return self is other

    __hash__ = object.__hash__

    def _at(self, key: Any) -> int:
        """The row of a key."""
        if key not in self:
            known = ", ".join(map(repr, list(self)[:5])) + (", ..." if len(self) > 5 else "")
            raise KeyError(
                f"no model of the fleet has the key {key!r}; there are {len(self)}: {known or 'none'}"
            )
        return self._place[plain_key(key)]

    def seed_of(self, key: Any) -> int:
        """The seed of the fit of one key: ``model.fit(..., seed=fleet.seed_of(key))`` learns them again."""
        self._at(key)
        return seed_of(self.seed, plain_key(key))

    # ---------------------------------------------------------------- what was learned
    @property
    def history(self) -> dict[str, Any]:
        """The loss and the metrics of all keys and epochs as columns: 'key', 'epoch' (from 0), 'loss', ...

        ``pandas.DataFrame(fleet.history)`` is a frame of it. NaN stands for a missing number. A
        metric of several numbers has a column for each, 'f1_score_0', 'f1_score_1', ...
        """
        tables = [_columns(history) for history in self._histories]
        rows = [max(map(len, table.values()), default=0) for table in tables]
        keys = np.empty(sum(rows), object)
        keys[:] = [key for key, n in zip(self, rows) for _ in range(n)]
        out = {"key": keys, "epoch": np.concatenate([np.arange(0), *map(np.arange, rows)])}
        for name in dict.fromkeys(name for table in tables for name in table):
            columns = [table.get(name, np.full(n, np.nan)) for table, n in zip(tables, rows)]
            out[name] = np.concatenate(columns)
        return out

    def history_of(self, key: Any) -> dict[str, list[Any]]:
        """What ``history.history`` is after the fit of one model: a dict from names to lists of numbers."""
        return copy.deepcopy(self._histories[self._at(key)])

    # ---------------------------------------------------------------- all models
    def predict(self, x: Any, batch_size: int | None = None, lengths: Any = None,
                threads: int | None = None, engine: Any = None) -> dict[Any, Arrays]:
        """The outputs of the models of some keys.

        Args:
            x: a dict from keys to inputs; or, where the keys are 0, 1, ..., a list of inputs.
            batch_size: as in ``model.predict``.
            lengths: a dict from keys to the ``lengths`` of ``model.predict``, or None.
            threads, engine: as in `tdfast.fleet.fit`.

        Returns:
            A dict from keys to what ``model.predict`` gives.

        Raises:
            KeyError: for a key of no model, before anything is done.
            ValueError: for inputs that do not fit; the text names the key.
        """
        return self._ask(_predict, x, batch_size, lengths, threads, engine, "fleet.predict")

    def evaluate(self, data: Any, batch_size: int | None = None, lengths: Any = None,
                 threads: int | None = None, engine: Any = None) -> dict[Any, dict[str, Any]]:
        """The loss and the metrics of the models of some keys.

        Args:
            data: a dict from keys to (x, y) or (x, y, sample_weight); or, where the keys are 0, 1, ..., a
                list.
            batch_size, lengths, threads, engine: as in `predict`.

        Returns:
            A dict from keys to dicts from names to numbers.

        Raises:
            KeyError, ValueError: as `predict`.
        """
        return self._ask(_evaluate, data, batch_size, lengths, threads, engine, "fleet.evaluate")

    def _ask(self, ask: Callable[..., Any], data: Any, batch_size: int | None, lengths: Any,
             threads: int | None, engine: Any, who: str) -> dict[Any, Any]:
        """``ask(model, data, batch_size=..., lengths=...)`` of each key, as a dict."""
        spread = engine_of(engine, who)

        def made() -> _Question:
            given = by_key(data, who)
            rows = {key: self._at(key) for key in given}
            return _Question(ask, who, self._model, self.weights, rows, given, None if lengths is None
                             else by_key(lengths, f"{who}: lengths"), batch_size)

        if spread is None:
            question = made()
            question.answer(threads, lambda done: None)
        else:
            question = spread.agreed(made, self.seed)
            parts = map(question.part, spread.parts(len(question.data)))
            spread.run(parts, threads, question.take, lambda done: None)
        return {key: question.answers[key] for key in question.data}

    # ---------------------------------------------------------------- files
    def save(self, filepath: PathLike) -> None:
        """Write all of it to one file, for `tdfast.fleet.load`; an older one is replaced when it is whole.

        Raises:
            OSError: if it cannot be written; the old file stays.
        """
        file.write(filepath, self._model, list(self), self.weights, self._histories, self.seed, self.failed)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"<Fleet of {len(self)} models '{self._model.name}'{failed}>"


def load(filepath: PathLike, custom_objects: CustomObjects = None) -> Fleet:
    """Read a fleet that `Fleet.save` wrote.

    No code in the file is run, and sizes are checked before memory is taken.

    Args:
        filepath: a path.
        custom_objects: as in `tdfast.saving.load_model`.

    Raises:
        FileError: (a ValueError) if the file is damaged or is something else.
        OSError: if it cannot be opened.

    >>> import os, tempfile, numpy as np, tdfast
    >>> model = tdfast.Sequential([tdfast.Input((5, 1)), tdfast.layers.LSTM(4), tdfast.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> fleet = tdfast.fleet.fit(model, {"north": (np.ones((8, 5, 1)), np.ones(8))}, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fleet.save(os.path.join(folder, "shops.fleet"))
    ...     again = load(os.path.join(folder, "shops.fleet"))
    >>> list(again), bool((again.weights == fleet.weights).all())
    (['north'], True)
    """
    return Fleet(*file.read(filepath, custom_objects))


class _Question:
    """What is asked of the models of some keys, and their answers.

    Args:
        ask: called with a model, its data, batch_size and lengths.
        who: whom errors name.
        model: the template.
        weights: a row a model.
        rows: dict from keys to rows.
        data: by key.
        lengths: by key, or None.
        batch_size: of each.
    """

    def __init__(self, ask: Callable[..., Any], who: str, model: Any, weights: Array, rows: dict[Any, int],
                 data: dict[Any, Any], lengths: dict[Any, Any] | None, batch_size: int | None) -> None:
        self.ask, self.who, self.model, self.weights, self.rows = ask, who, model, weights, rows
        self.data, self.lengths, self.batch_size = data, lengths, batch_size
        self.seed = 0
        self.answers: dict[Any, Any] = {}

    def identity(self) -> dict[str, Any]:
        """What the processes of a group must have in common, by its name."""
        return {"keys": [encoded(key) for key in self.data],
                "weights": hashlib.blake2b(self.weights[list(self.rows.values())].tobytes()).hexdigest()}

    def part(self, numbers: Sequence[int]) -> _Question:
        """The same of some keys."""
        names = list(self.data)
        keys = [names[i] for i in numbers]
        lengths = self.lengths and {key: self.lengths[key] for key in keys if key in self.lengths}
        rows = {key: i for i, key in enumerate(keys)}
        return _Question(self.ask, self.who, self.model, self.weights[[self.rows[key] for key in keys]], rows,
                         {key: self.data[key] for key in keys}, lengths, self.batch_size)

    def run(self, threads: int, tell: Callable[[int], None]) -> tuple[dict[Any, Any], Any]:
        """The answers of a part, and the error that ended it."""
        try:
            self.answer(threads, tell)
        except Exception as error:
            return {}, portable(error)
        return self.answers, None

    def take(self, result: tuple[dict[Any, Any], Any]) -> None:
        """Take what a part has given.

        Raises:
            Exception: the one that ended it.
        """
        answers, error = result
        if error is not None:
            raise error
        self.answers.update(answers)

    def answer(self, threads: int | None, tell: Callable[[int], None]) -> None:
        """Ask all of them in threads of this process."""
        keys = list(self.data)

        def do(worker: Worker, i: int) -> None:
            key = keys[i]
            worker.become(self.weights[self.rows[key]])
            try:
                self.answers[key] = self.ask(worker, self.data[key], batch_size=self.batch_size, verbose=0,
                                             lengths=self.lengths and self.lengths.get(key))
            except Exception as error:
                raise of_key(error, self.who, key) from error

        Crew(self.model, threads, len(keys)).run(do, len(keys), tell)


def _predict(worker: Worker, x: Data, **options: Any) -> Arrays:
    return worker.model.predict(x, **options)


def _evaluate(worker: Worker, given: Any, **options: Any) -> dict[str, Any]:
    x, y, weight = unpacked(given)
    worker.expect(y)
    return worker.model.evaluate(x, y, sample_weight=weight, return_dict=True, **options)


def _columns(history: dict[str, Any]) -> dict[str, Array]:
    """The columns of one key."""
    out = {}
    for name, values in history.items():
        numbers = np.asarray(values, np.float64)
        if numbers.ndim == 1:
            out[name] = numbers
        else:
            parts = numbers.reshape(len(numbers), -1).T
            out.update((f"{name}_{i}", part) for i, part in enumerate(parts))
    return out


def unpacked(given: Any) -> tuple[Any, ...]:
    """(x, y, sample_weight) of the data of one key.

    Raises:
        ValueError: for anything but two or three things.

    >>> unpacked(("x", "y"))
    ('x', 'y', None)
    """
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        what = type(given).__name__
        many = f" of {len(given)}" if isinstance(given, (tuple, list, dict, str)) else ""
        raise ValueError(f"the data must be (x, y) or (x, y, sample_weight), got a {what}{many}.")
    return (*given, None)[:3]


def of_key(error: Exception, who: str, key: Any) -> Exception:
    """An error like another one that says which key it is of.

    >>> of_key(ValueError("x is empty"), "fleet.fit", "a")
    ValueError("fleet.fit, key 'a': x is empty")
    """
    text = f"{who}, key {key!r}: {error or type(error).__name__}"
    try:
        return type(error)(text)
    except Exception:       # a class of errors that takes more than a text
        return RuntimeError(f"{text} ({type(error).__name__})")
