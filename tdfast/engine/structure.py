"""Structures: lists, tuples and dicts, also within each other, with values as their leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence



def flatten(structure: Any) -> list[Any]:
    """The leaves in order; a dict's in the order of its sorted keys.

    >>> flatten({"b": 1, "a": [2, (3,)]})
    [2, 3, 1]
    """
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in flatten(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in flatten(part)]
    return [structure]


def packed_as(structure: Any, leaves: Sequence[Any]) -> Any:
    """The leaves in a structure like another.

    >>> packed_as({"b": 0, "a": [0, (0,)]}, [2, 3, 1])
    {'b': 1, 'a': [2, (3,)]}
    """
    return _packed(structure, iter(leaves))


def _packed(structure: Any, leaves: Any) -> Any:
    if isinstance(structure, dict):
        found = {key: _packed(structure[key], leaves) for key in sorted(structure)}
        return {key: found[key] for key in structure}
    if isinstance(structure, (list, tuple)):
        parts = [_packed(part, leaves) for part in structure]
        if hasattr(structure, "_fields"):
            return type(structure)(*parts)
        return tuple(parts) if isinstance(structure, tuple) else parts
    return next(leaves)


def mapped(function: Callable[..., Any], structure: Any) -> Any:
    """A structure like another, with what a function makes of each leaf."""
    return packed_as(structure, [function(leaf) for leaf in flatten(structure)])
