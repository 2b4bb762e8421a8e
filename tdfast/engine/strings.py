"""Arrays of strings: what users pass as text, and the bytes that the kernels read."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array

REFUSE = object()
"""For `as_strings`: rows of different lengths are an error."""


class Words(NamedTuple):
    """Strings as bytes: those of word m are ``text[ends[m] : ends[m + 1]]``."""

    text: Array
    ends: Array

    def __len__(self) -> int:
        return len(self.ends) - 1

    def tolist(self) -> list[bytes]:
        """Each word's bytes.

        >>> as_words(["one", "two"], "utf-8").tolist()
        [b'one', b'two']
        """
        data, ends = self.text.tobytes(), self.ends.tolist()
        return [data[a:b] for a, b in zip(ends, ends[1:])]


def is_string(x: Any) -> bool:
    """Whether ``x`` is one string, and not an array of them."""
    return isinstance(x, (str, bytes)) or (
        isinstance(x, np.ndarray) and x.ndim == 0 and x.dtype.kind in "OSUT"
    )


def as_strings(x: Any, who: str, pad: Any = REFUSE) -> Array:
    """Any array-like of strings as an array of objects, each a str or bytes.

    Args:
        x: nested lists, or an array of NumPy, pandas, torch's or TensorFlow's, of str or bytes.
        who: whom errors name.
        pad: what fills up rows that are shorter than others; `REFUSE`: they are an error.

    Raises:
        ValueError: naming the first entry that is no string.

    >>> as_strings([["a", "b"], ["c"]], "me", pad="").tolist()
    [['a', 'b'], ['c', '']]
    """
    array = _objects(x, who)
    ragged = array.size and isinstance(array.flat[0], (list, tuple, np.ndarray))
    flat = [entry for row in array.flat for entry in row] if ragged else array.ravel().tolist()
    if not all(issubclass(kind, (str, bytes)) for kind in set(map(type, flat))):
        _refuse(array, who)
    return np.asarray(_filled_up(array, who, pad) if ragged else array, order="C")


def _objects(x: Any, who: str) -> Array:
    """``x`` as an array of objects; a list of rows of different lengths as one of rows."""
    if hasattr(x, "detach") and hasattr(x, "numpy"):
        x = x.detach()
    if not isinstance(x, np.ndarray) and hasattr(x, "__array__"):
        x = np.asarray(x)
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "OSUT":
            raise ValueError(
                f"{who} expects strings, got an array of dtype {x.dtype}. For whole numbers there is "
                "IntegerLookup; .astype(str) makes strings of them."
            )
        return x.astype(object)
    if isinstance(x, (str, bytes)) or not isinstance(x, (list, tuple)):
        if not isinstance(x, (str, bytes)):
            raise ValueError(f"{who} expects an array or a list of strings, got {type(x).__name__}.")
        return np.array(x, object)
    try:
        return np.array(x, object)
    except ValueError:  # rows that are lists of lists of different lengths
        rows = np.empty(len(x), object)
        rows[:] = [list(row) for row in x]
        return rows


def _filled_up(rows: Array, who: str, pad: Any) -> Array:
    """Rows of different lengths as an array with an axis more."""
    if pad is REFUSE or rows.ndim > 1:
        raise ValueError(
            f"{who} got rows of different lengths, from {min(map(len, rows.flat))} to "
            f"{max(map(len, rows.flat))} strings. Fill them up with '' to one length; a layer with a "
            "mask_token does so by itself."
        )
    out = np.full((len(rows), max(map(len, rows))), pad, object)
    for row, strings in zip(out, rows):
        row[: len(strings)] = [str(s) if isinstance(s, np.str_) else s for s in strings]
    return out


def _refuse(array: Array, who: str) -> None:
    entries = (((*where, i) if isinstance(row, (list, tuple)) else where, entry)
               for where, row in np.ndenumerate(array)
               for i, entry in enumerate(row if isinstance(row, (list, tuple)) else [row]))
    where, entry = next(found for found in entries if not isinstance(found[1], (str, bytes)))
    missing = " Fill in what is missing, for example with ''." if entry is None or entry != entry else ""
    raise ValueError(
        f"{who} expects strings, but the entry at index {where[0] if len(where) == 1 else where} is "
        f"{entry!r:.60} ({type(entry).__name__}).{missing}"
    )


def as_words(strings: Sequence[Any], encoding: str) -> Words:
    """A flat list of str and bytes as `Words`; a str becomes the bytes of this encoding."""
    kinds = set(map(type, strings))
    if kinds <= {str}:
        joined = "".join(strings)
        if joined.isascii():
            return Words(np.frombuffer(joined.encode(), np.uint8), _ends(strings))
    encoded = [s if isinstance(s, bytes) else s.encode(encoding, "surrogateescape") for s in strings]
    return Words(np.frombuffer(b"".join(encoded), np.uint8), _ends(encoded))


def _ends(strings: Sequence[Any]) -> Array:
    ends = np.zeros(len(strings) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, strings), np.int64, len(strings)), out=ends[1:])
    return ends


def as_text(token: bytes, encoding: str) -> str:
    """The str of a word's bytes; bytes that are none in this encoding come back when it is encoded again."""
    return token.decode(encoding, "surrogateescape")


def checked_encoding(encoding: str) -> str:
    """The name of an encoding, if Python knows it."""
    try:
        codecs.lookup(encoding)
    except (LookupError, TypeError):
        raise ValueError(
            f"encoding must be one that Python knows, such as 'utf-8' or 'latin-1', got {encoding!r}."
        ) from None
    return encoding
