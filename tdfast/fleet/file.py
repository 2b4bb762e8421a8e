"""A fleet in one file: the model as a .keras archive, the weights as one matrix, the histories."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.errors import FileError
from tdfast.fleet.crew import Worker
from tdfast.fleet.keys import decoded, encoded
from tdfast.saving.keras.file import as_archive, load_model
from tdfast.saving.state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, CustomObjects, PathLike

FORMAT = "tdfast fleet 1"


def write(filepath: PathLike, model: Any, keys: Sequence[Any], weights: Array,
          histories: Sequence[dict[str, Any]], seed: int, failed: dict[Any, str]) -> None:
    """Write what a `tdfast.fleet.Fleet` is made of."""
    names = list(dict.fromkeys(name for history in histories for name in history))
    write_state(filepath, {
        "format": FORMAT,
        "model": np.frombuffer(as_archive(model), np.uint8),
        "keys": [encoded(key) for key in keys],
        "weights": weights,
        "seed": seed,
        "failed": [[encoded(key), why] for key, why in failed.items()],
        "histories": {name: _joined([history.get(name, []) for history in histories]) for name in names},
    })


def _joined(columns: list[Any]) -> dict[str, Any]:
    """The values of one name as one array, and how many each key has."""
    values = [np.asarray(value, np.float64) for column in columns for value in column]
    return {"counts": np.array([len(column) for column in columns], np.int64),
            "values": np.stack(values) if values else np.empty(0)}


def read(filepath: PathLike, custom_objects: CustomObjects = None) -> tuple[Any, ...]:
    """What `write` was given.

    Raises:
        FileError: if the file is damaged or is something else.
    """
    state = read_state(filepath)
    if state.get("format") != FORMAT:
        raise FileError(
            f"'{filepath}' is no fleet: its format is {state.get('format')!r:.40}, not {FORMAT!r}."
        )
    try:
        archive = io.BytesIO(np.asarray(state["model"], np.uint8).tobytes())
        archive.name = f"the model in {filepath}"
        model = load_model(archive, custom_objects)         # type: ignore[arg-type]
        keys = [decoded(key) for key in state["keys"]]
        failed = {decoded(key): str(why) for key, why in state["failed"]}
        weights, seed = state["weights"], state["seed"]
        size = Worker(model).values
        if weights.shape != (len(keys), size.size) or weights.dtype != size.dtype:
            raise ValueError(f"weights of shape {weights.shape}, and {len(keys)} models of {size.size}")
        if len(set(keys)) != len(keys) or not set(failed) <= set(keys) or type(seed) is not int or seed < 0:
            raise ValueError("keys that come twice, failed ones that are not there, or no seed")
        histories = _apart(state["histories"], len(keys))
    except FileError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise FileError(f"'{filepath}' is a damaged fleet: {error or type(error).__name__}.") from error
    return model, keys, weights, histories, seed, failed


def _apart(joined: dict[str, Any], models: int) -> list[dict[str, Any]]:
    """For each key the dict of what `_joined` made of all of them."""
    out: list[dict[str, Any]] = [{} for _ in range(models)]
    for name, column in joined.items():
        counts, values = column["counts"], column["values"]
        if counts.shape != (models,) or counts.min(initial=0) < 0 or counts.sum() != len(values):
            raise ValueError(f"the history of '{name}' does not fit")
        ends = np.cumsum(counts).tolist()
        for history, start, end in zip(out, [0, *ends], ends):
            if end > start:
                rows = values[start:end]
                history[name] = rows.tolist() if rows.ndim == 1 else list(rows)
    return out
