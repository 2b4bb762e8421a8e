"""Files of weights alone: .weights.h5 in Keras 3's layout, .weights.npz with the same paths, and Keras 2's
.h5."""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, Any

from tdfast.compat.calling import level_of_the_caller, spelled
from tdfast.engine.arguments import flag
from tdfast.errors import FileError
from tdfast.saving.atomic import replacing
from tdfast.saving.keras.archive import Archive
from tdfast.saving.keras.assets import load_own_arrays
from tdfast.saving.keras.legacy_weights import has_legacy_weights, legacy_pairs
from tdfast.saving.keras.places import (
    assign_optimizer,
    groups,
    misfit,
    optimizer_misfit,
    optimizer_paths,
    places,
    read_optimizer,
)
from tdfast.saving.keras.weights import H5Weights, NpzWeights, open_weights, write_h5, write_npz

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.engine.types import Array, PathLike


@spelled
def save_weights(model: Any, filepath: PathLike, overwrite: bool = True) -> None:
    """Write a model's weights, and the state of its optimizer, without the layers.

    The file takes the place of an older one only when it is complete and on the disk.

    Args:
        model: a built `tdfast.Sequential`.
        filepath: a path that ends in ".weights.h5", which Keras 3 reads too and which needs h5py, or in
            ".weights.npz", which `numpy.load` reads too: each array under its path,
            "layers/lstm/cell/vars/0".
        overwrite: False refuses to replace an existing file.

    Raises:
        ValueError: for another ending, or a model without weights yet.
        FileExistsError: with overwrite=False.
        ImportError: without h5py, naming the extra to install.

    Source: https://keras.io/api/models/model_saving_apis/weights_saving_and_loading/

    >>> import os, tempfile
    >>> import numpy as np
    >>> from tdfast import Sequential, layers
    >>> model = Sequential([layers.Dense(2, input_shape=(3,))])
    >>> path = os.path.join(tempfile.mkdtemp(), "m.weights.npz")
    >>> save_weights(model, path)
    >>> sorted(np.load(path))
    ['layers/dense/vars/0', 'layers/dense/vars/1']
    """
    filepath = os.fspath(filepath)
    if not filepath.endswith((".weights.h5", ".weights.npz")):
        raise ValueError(
            f"save_weights: the path must end in '.weights.h5' or '.weights.npz', got {filepath!r}."
        )
    _require_built(model, "save_weights")
    if not flag(overwrite, "overwrite", "save_weights") and os.path.exists(filepath):
        raise FileExistsError(f"save_weights: '{filepath}' exists, and overwrite=False.")
    data = io.BytesIO()
    write = write_h5 if filepath.endswith(".h5") else write_npz
    write(groups(model), data)
    with replacing(filepath) as file:
        file.write(data.getbuffer())


@spelled
def load_weights(model: Any, filepath: PathLike, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """Overwrite a model's weights with those of a file.

    Layers get the arrays at their places in the model, whatever their names are. An optimizer that has as
    many arrays as the file gets its state too; else a warning says that it keeps its own. All is checked, and
    read, before the first weight changes.

    Args:
        model: a built `tdfast.Sequential`.
        filepath: a path that ends in ".weights.h5", ".weights.npz", ".keras", or in ".h5" or ".hdf5" for
            weights or a whole model of Keras 2.
        skip_mismatch: True keeps the weights of a layer that the file's arrays do not fit, or of which it has
            none, with a warning for each, and leaves out arrays that the model has no layer for. False
            raises.
        by_name: for Keras 2's files: layers get the arrays stored under their names; other layers keep
            theirs.

    Raises:
        FileError: (a ValueError) naming the layer, the shape expected and the shape found, if they do not
            fit, or if the file is damaged. No weight was changed.
        ValueError: for another ending, or a model without weights yet.
        ImportError: for HDF5 without h5py, naming the extra to install.

    Source: https://keras.io/api/models/model_saving_apis/weights_saving_and_loading/

    >>> import tempfile
    >>> from tdfast import Sequential, layers
    >>> a, b = (Sequential([layers.Dense(1, input_shape=(3,))]) for _ in range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     a.save_weights(f"{folder}/my.weights.h5")
    ...     load_weights(b, f"{folder}/my.weights.h5")
    >>> (a.get_weights()[0] == b.get_weights()[0]).all().item()
    True
    """
    filepath = os.fspath(filepath)
    if not filepath.endswith((".h5", ".hdf5", ".weights.npz", ".keras")):
        raise ValueError(
            "load_weights: the path must end in '.weights.h5', '.weights.npz', '.keras', or '.h5' for a file "
            "of Keras 2, "
            f"got {filepath!r}."
        )
    _require_built(model, "load_weights")
    skip_mismatch = flag(skip_mismatch, "skip_mismatch", "load_weights")
    by_name = flag(by_name, "by_name", "load_weights")
    try:
        store = _open(filepath)
        try:
            _load(model, store, skip_mismatch, by_name)
        finally:
            store.close()
    except MemoryError as error:
        raise FileError(
            f"'{filepath}' asks for more memory than this machine has. No weight was changed."
        ) from error


def _require_built(model: Any, what: str) -> None:
    if not model.built:
        raise ValueError(
            f"{what}: model '{model.name}' has no weights yet. Call it on an array first, or call "
            "build(input_shape)."
        )


def _open(filepath: Any) -> NpzWeights | H5Weights:
    if filepath.endswith(".keras"):
        with Archive(filepath) as archive:
            return open_weights(archive)
    with open(filepath, "rb") as file:
        data = file.read()
    return (NpzWeights if filepath.endswith(".npz") else H5Weights)(data, filepath)


def _load(model: Any, store: Any, skip_mismatch: bool, by_name: bool) -> None:
    legacy = has_legacy_weights(store)
    if by_name and not legacy:
        raise ValueError(
            f"load_weights: '{store.name}' has no names of layers (those are in Keras 2's .h5 files), so "
            "by_name=True "
            "cannot be done. Leave it out: layers get the arrays at their places."
        )
    pairs = legacy_pairs(model, store, skip_mismatch,
                         by_name) if legacy else _pairs(model, store, skip_mismatch)
    chosen: list[Any] = []
    skipped: list[Any] = []
    for layer, variables, paths in pairs:
        text = misfit(layer, variables, paths, store)
        if not text:
            chosen += zip(variables, paths)
        elif skip_mismatch:
            skipped.append(f"{text} It keeps the weights that it has.")
        else:
            raise FileError(f"{text} No weight was changed.")
    values = [store.read(path) for _, path in chosen]
    state = [] if legacy else _state(model, store, skipped)
    load_own_arrays(model, store)
    for (variable, _), value in zip(chosen, values):
        variable.assign(value)
    if state:
        assign_optimizer(model.optimizer, state)
    for text in skipped:
        warnings.warn(text, stacklevel=level_of_the_caller())


def _pairs(model: Any, store: Any, skip_mismatch: bool) -> Iterator[Any]:
    """(layer, variables, paths of their arrays) in the layout of Keras 3."""
    found: dict[Any, Any] = {}
    for path in store.paths():
        base, _, number = path.rpartition("/")
        if number.isdecimal() and (base == "vars"
                                   or base.endswith("/vars")) and not base.startswith("optimizer/"):
            found.setdefault(base[: -len("vars")].rstrip("/"), []).append(path)
    for path, layer, _, variables in places(model):
        paths = sorted(found.pop(path, ()), key=lambda p: int(p.rpartition("/")[2]))
        if variables or paths:
            yield layer, variables, paths
    left = sorted(base for base in found if not base.endswith("seed_generator"))
    if left and not skip_mismatch:
        raise FileError(
            f"'{store.name}' has weights that model '{model.name}' has no layer for: {', '.join(left[:5])}"
            f"{', ...' if len(left) > 5 else ''}. No weight was changed. skip_mismatch=True leaves them out."
        )


def _state(model: Any, store: Any, skipped: list[Any]) -> list[Array]:
    """The arrays of the optimizer's state; none, with a note of the reason, where they do not fit."""
    paths, optimizer = optimizer_paths(store), getattr(model, "optimizer", None)
    if not paths or optimizer is None:
        return []
    text = optimizer_misfit(optimizer, store, paths)
    if text:
        skipped.append(f"{text} The optimizer keeps the state that it has.")
        return []
    return read_optimizer(optimizer, store, paths)
