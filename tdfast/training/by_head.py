"""What users give by output or by input: a list, a dict by name, or one for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Data


def targets(heads: Sequence[Any], names: Sequence[Any], y: Data, who: str) -> list[Any]:
    """The targets of each `tdfast.training.objective.Head`, None for one without."""
    if len(heads) == 1:
        return _named(y, names, "y", "outputs", who) if isinstance(y, dict) else [y]
    if y is None:
        raise ValueError(f"{who} needs targets: pass y with an array for each of the outputs {names}.")
    if isinstance(y, dict):
        return _named(y, names, "y", "outputs", who)
    wanted = [i for i, head in enumerate(heads) if head.loss is not None]
    parts = list(y) if isinstance(y, (list, tuple)) else [y]
    if len(parts) == len(heads):
        return parts
    if len(parts) == len(wanted):  # as in Keras: of the outputs with a loss alone
        out = [None] * len(heads)
        for i, part in zip(wanted, parts):
            out[i] = part
        return out
    raise ValueError(
        f"{who}: the model has {len(heads)} outputs, {names}: give y as a list with the targets of each, "
        "or as "
        f"a dict by their names, got {_described(y)}."
    )


def weights(heads: Sequence[Any], names: Sequence[Any], sample_weight: Data, who: str) -> list[Any]:
    """The sample_weight of each head."""
    if isinstance(sample_weight, dict):
        return _named(sample_weight, names, "sample_weight", "outputs", who)
    if len(heads) == 1 or sample_weight is None:
        return [sample_weight] * len(heads)
    if isinstance(sample_weight, (list, tuple)) and not _is_numbers(sample_weight):
        if len(sample_weight) != len(heads):
            raise ValueError(
                f"{who}: the model has {len(heads)} outputs, {names}, but sample_weight has "
                f"{len(sample_weight)} entries: give one for each, or one array for all."
            )
        return list(sample_weight)
    return [sample_weight] * len(heads)


def lengths(model: Any, given: Any, who: str) -> list[Any]:
    """The lengths of each input of a model."""
    names = getattr(model, "input_names", None)
    if names is None or len(names) == 1:
        return list(given.values()) if isinstance(given, dict) and len(given) == 1 else [given]
    if isinstance(given, dict):
        return _named(given, names, "lengths", "inputs", who)
    if isinstance(given, (list, tuple)) and len(given) == len(names) and not _is_numbers(given):
        return list(given)
    raise ValueError(
        f"{who}: the model has {len(names)} inputs, {names}: give lengths as a dict by their names, got "
        f"{_described(given)}."
    )


def _named(given: Any, names: Any, what: str, ends: str, who: str) -> list[Any]:
    """The entries of a dict in the order of some names, None for those that are missing."""
    unknown = sorted(str(key) for key in given if key not in names)
    if unknown:
        raise ValueError(
            f"{who}: {what} is a dict with {', '.join(map(repr, unknown))}, but the model's {ends} are named "
            f"{list(names)}."
        )
    return [given.get(name) for name in names]


def _is_numbers(values: Any) -> bool:
    return all(isinstance(value, (int, float)) for value in values)


def _described(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"an array of shape {value.shape}" if hasattr(value, "shape") else repr(value)[:60]
