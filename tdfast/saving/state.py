"""A tree of plain values and arrays in one file: JSON and .npy in a zip archive, written atomically, no
pickle."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.saving.atomic import replacing
from tdfast.saving.keras.archive import MAX_JSON, MAX_MEMBERS, Archive
from tdfast.saving.keras.weights import NpzWeights

if TYPE_CHECKING:
    pass

# Keys that stand for an array, and for a NumPy scalar, by its number in the archive.
_ARRAY, _SCALAR = "__array__", "__scalar__"


def write_state(path: Any, state: Any) -> None:
    """Write a dict of numbers, strings, None, booleans, arrays, and lists and dicts of these.

    Raises:
        ValueError: for anything else, named by its place, or for too much to be read again.
        OSError: if it cannot be written; the old file stays.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a")
    >>> write_state(path, {"best": 0.1, "weights": [np.arange(2)], "none": None})
    >>> read_state(path)
    {'best': 0.1, 'weights': [array([0, 1])], 'none': None}
    """
    with replacing(path) as file:
        _write(file, state)


def read_state(path: Any) -> Any:
    """What `write_state` wrote; tuples have become lists.

    Raises:
        FileError: if the file is damaged or is something else.
        OSError: if it cannot be opened.
    """
    with open(path, "rb") as file:
        data = file.read()
    copy: Any = io.BytesIO(data)
    copy.name = str(path)
    with Archive(copy) as archive:
        packed = archive.read_json("state.json")
    store = NpzWeights(data, str(path))
    try:
        return _unpack(packed, store)
    finally:
        store.close()


def _write(file: Any, state: Any) -> None:
    arrays: list[Any] = []
    text = json.dumps(_pack(state, arrays, "state"))
    if len(arrays) >= MAX_MEMBERS or len(text) > MAX_JSON:
        raise ValueError(
            f"The state has {len(arrays)} arrays and {len(text):,} bytes of numbers and text, more than the "
            f"{MAX_MEMBERS - 1} "
            f"and {MAX_JSON:,} that can be read again. Join lists of numbers and of small arrays into one "
            "array."
        )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("state.json", text)
        for i, array in enumerate(arrays):
            with archive.open(f"vars/{i}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _pack(value: Any, arrays: list[Any], where: str) -> Any:
    if value is None or isinstance(value, (str, bool)) or type(value) in (int, float):
        return value
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key in (_ARRAY, _SCALAR):
                raise ValueError(f"The keys of {where} must be names, got {key!r}.")
        return {key: _pack(inner, arrays, f"{where}[{key!r}]") for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(inner, arrays, f"{where}[{i}]") for i, inner in enumerate(value)]
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "fiub" and value.itemsize <= 8:
        arrays.append(np.asarray(value))
        return {_SCALAR if isinstance(value, np.generic) else _ARRAY: len(arrays) - 1}
    raise ValueError(
        f"{where} is a {type(value).__name__}, which a file of state cannot hold: it takes numbers, strings, "
        "None, arrays of "
        "numbers, and lists and dicts of these."
    )


def _unpack(value: Any, store: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(inner, store) for inner in value]
    if not isinstance(value, dict):
        return value
    for key in (_ARRAY, _SCALAR):
        if key in value:
            array = store.read(f"vars/{value[key]}")
            return array[()] if key == _SCALAR else array.copy()
    return {key: _unpack(inner, store) for key, inner in value.items()}
