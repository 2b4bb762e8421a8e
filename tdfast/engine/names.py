"""Names in Keras's way: LSTM -> 'lstm', then 'lstm_1'; TimeDistributed -> 'time_distributed'."""

from __future__ import annotations

import difflib
import inspect
import re
from typing import TYPE_CHECKING, Any

from tdfast.compat import keras_table

if TYPE_CHECKING:
    from collections.abc import Sequence

_counts: dict[Any, Any] = {}


def snake_case(name: str) -> str:
    """``TimeDistributed`` -> ``time_distributed``; ``LSTM`` -> ``lstm``; ``Conv2D`` -> ``conv2d``.

    >>> snake_case("TimeDistributed"), snake_case("Conv2D"), snake_case("GlobalMaxPooling1D")
    ('time_distributed', 'conv2d', 'global_max_pooling1d')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


OTHERWISE_IN_KERAS = {"group_query_attention": "grouped_query_attention"}
"""Classes of Keras's with another name inside than outside: layers and their weights are called after the
former."""


def kind_name(class_name: Any) -> Any:
    """What layers of a class are called, with a number behind it from the second on.

    >>> kind_name("LSTM"), kind_name("GroupQueryAttention")
    ('lstm', 'grouped_query_attention')
    """
    name = snake_case(class_name)
    return OTHERWISE_IN_KERAS.get(name, name)


def unique_name(prefix: str) -> str:
    """``prefix`` the first time, then ``prefix_1``, ``prefix_2``, ..."""
    n = _counts.get(prefix, 0)
    _counts[prefix] = n + 1
    return prefix if n == 0 else f"{prefix}_{n}"


def unknown_arguments(cls: Any, unknown: dict[str, Any] | Sequence[Any]) -> str:
    """The text of the error for arguments that a class does not take, with what they may mean.

    >>> class Layer:
    ...     def __init__(self, return_sequences=False): ...
    >>> unknown_arguments(Layer, ["return_sequence"])
    "Layer does not know the argument(s) 'return_sequence'. Did you mean 'return_sequences'?"
    """
    known: dict[Any, Any] = {}
    for base in cls.__mro__[:-1]:
        parameters = inspect.signature(base.__init__).parameters.values()
        known |= {p.name: p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
                  and p.name != "self"}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    if "learning_rate" in known:
        known["lr"] = "learning_rate"       # its name in older versions of Keras
    names = sorted(unknown)
    hint = keras_table.of_argument([base.__name__ for base in cls.__mro__], names) or (
        did_you_mean(names, known) or f" It takes {', '.join(known)}.")
    return f"{cls.__name__} does not know the argument(s) {', '.join(map(repr, names))}.{hint}"


def did_you_mean(unknown: Sequence[Any], known: dict[str, Any]) -> str:
    """What the end of an error says of names that may be misspelled; nothing if none is near.

    Args:
        unknown: the names.
        known: dict from names to those to show.

    >>> did_you_mean(["epoch"], {"epochs": "epochs"})
    " Did you mean 'epochs'?"
    """
    close = dict.fromkeys(known[c] for name in unknown for c in difflib.get_close_matches(name, known, n=1))
    return f" Did you mean {', '.join(map(repr, close))}?" if close else ""


def reset() -> None:
    """Count from the beginning again (``tdfast.utils.clear_session``)."""
    _counts.clear()
