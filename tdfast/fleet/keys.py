"""The keys of a fleet: what may be one, the data that belong to each, and the seed that follows from it."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_PLAIN = (str, bool, int, type(None))


def plain_key(key: Any) -> Any:
    """A key as Python's own numbers, strings, bytes, dates, None, or tuples of these.

    Raises:
        ValueError: for anything else, and for NaN, which is no key since it is not equal to itself.

    >>> plain_key((np.int64(3), "north"))
    (3, 'north')
    """
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, tuple):
        return tuple(plain_key(part) for part in key)
    if isinstance(key, datetime.datetime):
        return datetime.datetime.fromisoformat(key.isoformat())         # pandas has a class of its own
    if isinstance(key, (*_PLAIN, bytes, datetime.date)) or (isinstance(key, float) and not math.isnan(key)):
        return key
    raise ValueError(
        f"fleet: a key must be a string, a number, bytes, a date, None or a tuple of these, got {key!r} "
        f"({type(key).__name__})."
    )


def encoded(key: Any) -> Any:
    """A key as JSON has it; different keys differ there.

    >>> encoded(("a", 1, 0.5)), encoded(b"a")
    ({'tuple': ['a', 1, {'float': '0.5'}]}, {'bytes': '61'})
    """
    if isinstance(key, _PLAIN):
        return key
    if isinstance(key, tuple):
        return {"tuple": [encoded(part) for part in key]}
    if isinstance(key, bytes):
        return {"bytes": key.hex()}
    if isinstance(key, float):
        return {"float": repr(key)}
    return {"datetime" if isinstance(key, datetime.datetime) else "date": key.isoformat()}


_DECODE: dict[str, Any] = {
    "tuple": lambda parts: tuple(map(decoded, parts)), "bytes": bytes.fromhex, "float": float,
    "datetime": datetime.datetime.fromisoformat, "date": datetime.date.fromisoformat,
}


def decoded(value: Any) -> Any:
    """The key that `encoded` made this of.

    Raises:
        ValueError, TypeError: for what it made of no key.

    >>> decoded(encoded(("a", 1, 0.5, b"a", None)))
    ('a', 1, 0.5, b'a', None)
    """
    if isinstance(value, _PLAIN):
        return value
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _DECODE:
        raise ValueError(f"{value!r:.80} is no key")
    (kind, text), = value.items()
    return plain_key(_DECODE[kind](text))


def seed_of(seed: int, key: Any) -> int:
    """The seed of the model of one key, from that of the fleet: the same on every machine, in any order.

    >>> seed_of(0, "a"), seed_of(0, "b") == seed_of(1, "b")
    (6050640092585098156, False)
    """
    text = json.dumps([int(seed), encoded(key)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def by_key(data: Any, who: str) -> dict[Any, Any]:
    """Data by their keys, in order.

    Args:
        data: a mapping; what yields pairs (key, data), such as a grouped frame of pandas; or a list of data
            whose keys are then 0, 1, ...
        who: what the data are, for messages.

    Raises:
        ValueError: for anything else, for what is no key, and for a key that comes twice.

    >>> by_key([("a", 1), ("b", 2)], "fleet.fit"), by_key(["x", "y"], "fleet.fit")
    ({'a': 1, 'b': 2}, {0: 'x', 1: 'y'})
    """
    if isinstance(data, Mapping):
        pairs = list(data.items())
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes, np.ndarray)):
        items = list(data)
        pairs = items if items and all(map(_has_key, items)) else list(enumerate(items))
    else:
        raise ValueError(
            f"{who} expects a dict from keys to data, pairs (key, data) or a list of data, got a "
            f"{type(data).__name__}."
        )
    out: dict[Any, Any] = {}
    for key, given in pairs:
        key = plain_key(key)
        if key in out:
            raise ValueError(f"{who}: the key {key!r} comes twice. Join its data, or give them other keys.")
        out[key] = given
    return out


def _has_key(item: Any) -> bool:
    """Whether something is a pair that begins with a key, and not with numbers to learn from."""
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        return False
    try:
        plain_key(item[0])
    except ValueError:
        return False
    return True
