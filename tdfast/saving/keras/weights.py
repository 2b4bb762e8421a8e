"""The arrays of a file by path ('layers/lstm/cell/vars/0'), from HDF5 or .npz, shapes first.

Both stores tell shapes and dtypes without reading data, and check what a file declares against what
it stores before any memory is taken.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.errors import FileError
from tdfast.saving.keras.archive import MAX_EXPANSION, SMALL, Archive
from tdfast.utils.npy import read_header

if TYPE_CHECKING:

    from tdfast.engine.types import Array

# Deflate, shuffle and checksum, which every HDF5 library has. Others could load plug-ins.
_FILTERS = {1, 2, 3}

# The head of a collection of text; eight bytes with its length follow.
_HEAP = re.compile(rb"GCOL\x01\0\0\0")

# Of the text in one attribute: several pointers to the same long text would make it far longer than the file.
MAX_TEXT = 2**28


def import_h5py(why: str) -> Any:
    """The optional package h5py.

    Raises:
        ImportError: naming the extra to install.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{why} needs the package h5py: pip install 'tdfast[keras]'") from error
    return h5py


def _check_dtype(dtype: Any, what: str) -> None:
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise FileError(f"{what} has dtype {dtype}; weights must be plain numbers.")


def _length_of_heap(data: bytes, start: int, name: str) -> int:
    """The bytes of a collection in which HDF5 keeps text of any length.

    It is walked here as HDF5 does it, which goes round for ever where an object says that it takes no room.

    Raises:
        FileError: if its objects do not fill it.
    """
    length = min(int.from_bytes(data[start + 8 : start + 16], "little"), len(data) - start)
    at, end = start + 16, start + length
    while at + 16 <= end:
        number, size = int.from_bytes(data[at : at + 2],
                                      "little"), int.from_bytes(data[at + 8 : at + 16], "little")
        # number 0 is the free rest, with its own head
        room = 16 + -(-size // 8) * 8 if number else size
        if room < 16 or room > end - at:
            raise FileError(
                f"The weights in '{name}' are not a readable HDF5 file (text at byte {at} is damaged)."
            )
        at += room
    return length


class H5Weights:
    """The datasets of an HDF5 file that is in memory.

    Args:
        data: the bytes of the file.
        name: of the file, for messages.
    """

    def __init__(self, data: bytes, name: Any) -> None:
        h5py = import_h5py(f"Reading the weights in '{name}'")
        self.name = name
        self._size = len(data)
        self._datasets: dict[Any, Any] = {}
        self._groups: dict[Any, Any] = {}
        self._longest_text = max((_length_of_heap(data, m.start(), name) for m in _HEAP.finditer(data)),
                                 default=0)

        def visit(path: Any, item: Any) -> None:
            if not isinstance(path, str):
                raise ValueError(f"the name {path!r} is not UTF-8")
            if isinstance(item, h5py.Dataset):
                self._datasets[path] = item
            elif isinstance(item, h5py.Group):
                self._groups[path] = item

        try:
            self._file = self._groups[""] = h5py.File(io.BytesIO(data), "r")
            # Follows neither soft nor external links, and comes to each object once.
            self._file.visititems(visit)
        except Exception as error:
            raise FileError(f"The weights in '{name}' are not a readable HDF5 file ({error}).") from error

    def paths(self) -> Any:
        """The paths of all arrays."""
        return self._datasets.keys()

    def shape(self, path: Any) -> tuple[int, ...]:
        """The shape of an array, of which the file is known to store every element."""
        what = f"'{path}' in '{self.name}'"
        try:
            dataset = self._datasets[path]
            shape, dtype = dataset.shape, dataset.dtype
            plist = dataset.id.get_create_plist()
            filters = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
            elsewhere = dataset.is_virtual or dataset.external
            stored = dataset.id.get_storage_size()
            chunked = dataset.chunks is not None
        except Exception as error:
            raise FileError(f"{what} cannot be read ({error}).") from error
        if elsewhere:
            raise FileError(f"{what} keeps its data in another file; tdfast does not follow that.")
        if shape is None:
            raise FileError(f"{what} is empty.")
        _check_dtype(dtype, what)
        if filters - _FILTERS:
            raise FileError(
                f"{what} is compressed in a way that tdfast does not read (filter {max(filters)})."
            )
        need = math.prod(shape) * dtype.itemsize
        most = max(SMALL, MAX_EXPANSION * min(stored, self._size)) if chunked else stored
        if need > most or stored > self._size:
            raise FileError(
                f"{what} says it has shape {shape}, {need:,} bytes, but {stored:,} bytes are stored."
            )
        return shape

    def read(self, path: Any) -> Array:
        """An array."""
        self.shape(path)
        try:
            return np.asarray(self._datasets[path][()])
        except Exception as error:
            raise FileError(f"'{path}' in '{self.name}' cannot be read ({error}).") from error

    def text(self, path: Any, name: str) -> Any:
        """An attribute of a group ("" is the root): a string, or a list of strings; None if there is none."""
        group, what = self._groups.get(path), f"The attribute '{name}' of '{path}' in '{self.name}'"
        try:
            if group is None or name not in group.attrs:
                return None
            attribute = group.attrs.get_id(name)
            count = 0 if attribute.shape is None else math.prod(attribute.shape)
            if not count:
                return []
            if attribute.get_storage_size() > self._size or count * self._longest_text > MAX_TEXT:
                raise FileError(f"{what} says it holds more text than the file has.")
            value = group.attrs[name]
            texts = [t.decode("utf-8") if isinstance(t, bytes) else t for t in np.ravel(value).tolist()]
            if len(attribute.shape) > 1 or not all(isinstance(t, str) for t in texts):
                raise FileError(f"{what} must be text.")
        except FileError:
            raise
        except Exception as error:
            raise FileError(f"{what} cannot be read ({error}).") from error
        return texts if attribute.shape else texts[0]

    def close(self) -> None:
        self._datasets.clear()
        self._groups.clear()
        self._file.close()


class NpzWeights:
    """The arrays of an .npz file that is in memory, each under its path. Never unpickles.

    Args:
        data: the bytes of the file.
        name: of the file, for messages.
    """

    def __init__(self, data: bytes, name: Any) -> None:
        self.name = name
        file = io.BytesIO(data)
        file.name = name
        self._archive = Archive(file)
        self._arrays: dict[Any, Any] = {}
        for path in self.paths():
            if not re.search(r"(^|/)vars/\d+$", path):
                self._array(path)       # Keras's own .npz holds pickled dicts here: say so at once

    def paths(self) -> list[Any]:
        """The paths of all arrays."""
        return [m[: -len(".npy")] for m in self._archive.members if m.endswith(".npy")]

    def _array(self, path: Any) -> Array:
        if path in self._arrays:
            return self._arrays[path]
        what = f"'{path}' in '{self.name}'"
        data = self._archive.read(f"{path}.npy")
        file = io.BytesIO(data)
        try:
            shape, fortran, dtype = read_header(file)
        except Exception as error:
            raise FileError(f"{what} is not a readable .npy array ({error}).") from error
        if dtype.hasobject:
            raise FileError(
                f"{what} is pickled, which could run code, so tdfast does not read it. "
                "Save the model with HDF5 weights, Keras's default."
            )
        _check_dtype(dtype, what)
        start = file.tell()
        need = math.prod(shape) * dtype.itemsize
        if need != len(data) - start or any(n < 0 for n in shape):
            raise FileError(
                f"{what} says it has shape {shape}, {need:,} bytes, but holds {len(data) - start:,}."
            )
        array = np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
        self._arrays[path] = array
        return array

    def shape(self, path: Any) -> tuple[int, ...]:
        """The shape of an array."""
        return self._array(path).shape

    def read(self, path: Any) -> Array:
        """An array."""
        return self._array(path)

    def close(self) -> None:
        self._arrays.clear()


def open_weights(archive: Archive) -> Any:
    """The arrays in a .keras `Archive`, in whichever of the two forms they are there."""
    if "model.weights.h5" in archive:
        return H5Weights(archive.read("model.weights.h5"), archive.name)
    if "model.weights.npz" in archive:
        return NpzWeights(archive.read("model.weights.npz"), archive.name)
    if any("weights" in m for m in archive.members):
        raise FileError(
            f"'{archive.name}' holds its weights in a form that tdfast does not read: "
            f"{', '.join(m for m in list(archive.members)[:5] if 'weights' in m)}."
        )
    raise FileError(
        f"'{archive.name}' is not a complete .keras archive: 'model.weights.h5' is missing from it."
    )


def write_npz(groups: Any, file: Any) -> None:
    """Write the same arrays as `write_h5` under the same paths to an .npz file, without pickle."""
    with zipfile.ZipFile(file, "w") as archive:
        for path, _, arrays in groups:
            for i, array in arrays.items():
                with archive.open(f"{path}/vars/{i}.npy".lstrip("/"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def write_h5(groups: Any, file: Any) -> None:
    """Write arrays in Keras's layout.

    Args:
        groups: (path, name, arrays by their keys) of each layer: they become ``<path>/vars/<key>``.
        file: a binary file object.
    """
    h5py = import_h5py("Saving weights as HDF5")
    with h5py.File(file, "w") as h5:
        for path, name, arrays in groups:
            group = h5.require_group(f"{path}/vars" if path else "vars")
            group.attrs["name"] = name
            for i, array in arrays.items():
                group[str(i)] = array
