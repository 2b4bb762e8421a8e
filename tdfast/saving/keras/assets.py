"""What layers keep beside their weights in Keras's files: vocabularies in ``assets/``, arrays by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.errors import FileError
from tdfast.saving.keras.places import places

if TYPE_CHECKING:
    from tdfast.saving.keras.archive import Archive

MAX_ASSET = 2**30


def keepers(model: Any) -> list[Any]:
    """(path, layer) of the layers that keep something beside their weights."""
    return [(path, layer) for path, layer, *_ in places(model) if hasattr(layer, "assets")]


def assets_of(model: Any) -> dict[str, bytes]:
    """The files of all layers, by their places in the archive."""
    return {
        f"assets/{path}/{name}".replace("//", "/"): data
        for path, layer in keepers(model)
        for name, data in layer.assets().items()
    }


def load_assets(model: Any, archive: Archive) -> None:
    """Give each layer the files at its place."""
    for path, layer in keepers(model):
        start = f"assets/{path}/".replace("//", "/")
        files = {
            name[len(start) :]: archive.read(name, limit=MAX_ASSET)
            for name in archive.members
            if name.startswith(start) and "/" not in name[len(start) :] and name != start
        }
        if not files:
            continue
        try:
            layer.load_assets(files)
        except (ValueError, RuntimeError, TypeError) as error:
            raise FileError(f"'{archive.name}', {start}: {error}") from error


def own_paths(path: str, layer: Any, store: Any) -> dict[str, str]:
    """The names of the arrays that a layer keeps by name -> their paths in a file."""
    start = f"{path}/vars/".lstrip("/")
    if not hasattr(layer, "own_arrays"):
        return {}
    return {
        found[len(start) :]: found
        for found in store.paths()
        if found.startswith(start) and not found[len(start) :].isdecimal()
    }


def load_own_arrays(model: Any, store: Any) -> None:
    """Give each layer the arrays that it keeps by name."""
    for path, layer in keepers(model):
        found = own_paths(path, layer, store)
        if found:
            arrays = {name: store.read(place) for name, place in found.items()}
            try:
                layer.set_own_arrays(arrays)
            except ValueError as error:
                raise FileError(f"'{store.name}', {path}: {error}") from error
