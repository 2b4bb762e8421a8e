"""A layer or a model in memory: what a .keras file would hold, as a dict and arrays by their places."""

from tdfast.saving.keras_file import _groups, rebuild


def arrays_of(layer):
    """The arrays of a layer or a model by their places in a .keras file; without the optimizer's."""
    return {f"{path}/vars/{i}".lstrip("/"): array
            for path, _, arrays in _groups(layer) if path != "optimizer" for i, array in enumerate(arrays)}


def from_arrays(config, arrays, name, custom_objects=None):
    """The layer or the model of Keras's dict, with its weights, not compiled.

    Args:
        config: what `tdfast.serialization.serialize_layer` gave.
        arrays: what `arrays_of` gave.
        name: of the source, for messages.
        custom_objects: classes and functions by name.

    Raises:
        FileError: (a ValueError) if they do not belong together.
    """
    return rebuild(config, _Arrays(arrays, name), custom_objects or {})


class _Arrays:
    """Arrays in memory, with the methods of the other stores."""

    def __init__(self, arrays, name):
        self.arrays, self.name = arrays, name

    def paths(self):
        return self.arrays.keys()

    def shape(self, path):
        return self.arrays[path].shape

    def read(self, path):
        return self.arrays[path]
