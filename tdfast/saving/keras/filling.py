"""Layers whose new weights are the arrays of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.engine.network import Network
from tdfast.engine.serialization import child_keys
from tdfast.errors import FileError
from tdfast.saving.keras.assets import own_paths
from tdfast.saving.keras.places import has_cell, sublayers_by_attribute

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Sizes


class Filler:
    """Gives each new weight its array from the file, in the moment in which the layer makes it.

    The layer asks for a shape; it is compared with the shape in the file before any memory is taken,
    and the array serves in the place of the initializer.

    Args:
        store: the arrays by path.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self.waiting = set(store.paths())
        self.seen: dict[Any, Any] = {}
        self.paths: list[Any] = []

    def attach(self, layer: Any, path: Any) -> None:
        """Watch over a layer whose weights are at ``path``, and over the layers inside it."""
        if id(layer) in self.seen:
            return
        base = path.lstrip("/")
        if has_cell(layer):
            base += "/cell"
        self.seen[id(layer)] = layer, base
        self.paths.append((layer, path))
        self._fill(layer, base)
        self._attach_inner(layer, path)

    def _fill(self, layer: Any, base: str) -> None:
        """Give the weights that a layer's ``__init__`` has made their arrays."""
        for index, weight in enumerate(sorted(layer._weights, key=lambda w: not w.made_trainable)):
            path = f"{base}/vars/{index}".lstrip("/")
            weight.value[...] = self.array(layer, path, weight.name, weight.shape)

    def _attach_inner(self, layer: Any, path: Any) -> None:
        if isinstance(layer, Network) and not layer.has_layers_as_attributes:
            inside = layer.sublayers()
            for key, inner in zip(child_keys([type(part).__name__ for part in inside]), inside):
                self.attach(inner, f"{path}/layers/{key}")
        for key, inner in sublayers_by_attribute(layer):
            self.attach(inner, f"{path}/{key}")

    def __call__(self, layer: Any, shape: Sizes, name: str, trainable: bool) -> Any:
        """The array of a new weight, as `tdfast.engine.layer.weights_from` asks for it; None for a layer of
        no file."""
        if id(layer) not in self.seen:          # made in the build of another, perhaps
            for outer, path in list(self.paths):
                self._attach_inner(outer, path)
            if id(layer) not in self.seen:
                return None
        _, base = self.seen[id(layer)]
        # Keras stores the trainable ones first.
        before = [weight.made_trainable for weight in layer._weights]
        index = before.count(trainable) + (0 if trainable else before.count(True))
        path = f"{base}/vars/{index}".lstrip("/")
        return self.array(layer, path, name, shape).astype(layer.dtype, copy=False)

    def array(self, layer: Any, path: Any, name: str, shape: Sizes) -> Array:
        """What belongs at a path."""
        self._check(layer, path, name, shape)
        self.waiting.discard(path)
        return self.store.read(path)

    def _check(self, layer: Any, path: Any, name: str, shape: Sizes) -> None:
        kind = type(layer).__name__
        if path not in self.waiting:
            raise FileError(
                f"The weights of layer '{layer.name}' ({kind}) are not in '{self.store.name}': its {name} of "
                "shape "
                f"{shape} should be at '{path}'."
            )
        stored = self.store.shape(path)
        if stored != shape:
            raise FileError(
                f"The weights of layer '{layer.name}' ({kind}) do not fit its config: {name} should have "
                f"shape {shape}, "
                f"but '{path}' in '{self.store.name}' has shape {stored}."
            )

    def finish(self) -> None:
        """Refuse arrays of layers that nothing has asked for: a part of the model would be missing."""
        for layer, base in self.seen.values():
            # A wrapper may have a weight of the layer inside among its own: it was read there.
            self.waiting -= {f"{base}/vars/{i}".lstrip("/") for i in range(len(layer._weights))}
            self.waiting -= set(own_paths(base.lstrip("/"), layer, self.store).values())
        left = sorted(p for p in self.waiting if (p.startswith(("layers/", "vars/")) or "/layers/" in p)
                      and "/seed_generator/" not in p)
        if left:
            raise FileError(
                f"'{self.store.name}' has weights that its config has no place for: "
                f"{', '.join(left[:5])}{', ...' if len(left) > 5 else ''}."
            )
