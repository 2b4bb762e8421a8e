"""Layers whose new weights are the arrays of a file."""

from tdfast.errors import FileError
from tdfast.saving.places import has_cell, sublayers_by_attribute


class Filler:
    """Gives each new weight its array from the file, in the moment in which the layer makes it.

    The layer asks for a shape; it is compared with the shape in the file before any memory is taken,
    and the array serves in the place of the initializer.

    Args:
        store: the arrays by path.
    """

    def __init__(self, store):
        self.store = store
        self.waiting = set(store.paths())
        self.seen = {}

    def attach(self, layer, path):
        """Watch over a layer whose weights are at ``path``, and over the layers inside it."""
        if id(layer) in self.seen:
            return
        base = path.lstrip("/")
        if has_cell(layer):
            base += "/cell"
        self.seen[id(layer)] = layer, base
        counts = {True: 0, False: 0}

        def add_weight(shape, initializer=None, name="variable", trainable=True, **options):
            # Keras stores the trainable ones first.
            index = counts[trainable] + (0 if trainable else counts[True])
            counts[trainable] += 1
            return type(layer).add_weight(
                layer, shape, initializer=self._reader(layer, base, index, name), name=name, trainable=trainable, **options
            )

        layer.add_weight = add_weight
        for key, inner in sublayers_by_attribute(layer):
            self.attach(inner, f"{path}/{key}")

    def _reader(self, layer, base, index, name):
        path = f"{base}/vars/{index}".lstrip("/")

        def read(shape, dtype=None):
            self._check(layer, path, name, tuple(shape))
            self.waiting.discard(path)
            array = self.store.read(path)
            return array if dtype is None else array.astype(dtype, copy=False)

        return read

    def _check(self, layer, path, name, shape):
        kind = type(layer).__name__
        if path not in self.waiting:
            raise FileError(
                f"The weights of layer '{layer.name}' ({kind}) are not in '{self.store.name}': its {name} of shape "
                f"{shape} should be at '{path}'."
            )
        stored = self.store.shape(path)
        if stored != shape:
            raise FileError(
                f"The weights of layer '{layer.name}' ({kind}) do not fit its config: {name} should have shape {shape}, "
                f"but '{path}' in '{self.store.name}' has shape {stored}."
            )

    def finish(self):
        """Refuse arrays of layers that nothing has asked for: a part of the model would be missing."""
        left = sorted(p for p in self.waiting if p.startswith(("layers/", "vars/")) and "/seed_generator/" not in p)
        if left:
            raise FileError(
                f"'{self.store.name}' has weights that its config has no place for: "
                f"{', '.join(left[:5])}{', ...' if len(left) > 5 else ''}."
            )

    def detach(self):
        """Let the layers go; they build as always from here on."""
        for layer, _ in self.seen.values():
            layer.__dict__.pop("add_weight", None)
