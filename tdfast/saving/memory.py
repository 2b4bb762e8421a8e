"""A layer or a model in memory: what a .keras file would hold, as a dict and arrays by their places."""

from tdfast.saving.filling import Filler
from tdfast.saving.keras_file import build_shape
from tdfast.saving.places import places
from tdfast.serialization import deserialize_layer


def arrays_of(layer):
    """The arrays of a layer or a model by their places in a .keras file; without the optimizer's.

    >>> from tdfast.layers import LSTM
    >>> layer = LSTM(2)
    >>> layer.build((None, 5, 3))
    >>> {path: array.shape for path, array in arrays_of(layer).items()}
    {'cell/vars/0': (3, 8), 'cell/vars/1': (2, 8), 'cell/vars/2': (8,)}
    """
    return {f"{path}/vars/{i}".lstrip("/"): variable.value
            for path, _, _, variables in places(layer) for i, variable in enumerate(variables)}


def from_arrays(config, arrays, name, custom_objects=None):
    """The layer or the model of Keras's dict, with its weights, not compiled.

    Args:
        config: what `tdfast.serialization.serialize_layer` gave.
        arrays: what `arrays_of` gave.
        name: of the source, for messages.
        custom_objects: classes and functions by name.

    Raises:
        FileError: (a ValueError) if they do not belong together.

    >>> from tdfast.layers import Dense
    >>> from tdfast.serialization import serialize_layer
    >>> layer = Dense(2)
    >>> layer.build((None, 3))
    >>> twin = from_arrays(serialize_layer(layer), arrays_of(layer), "the example")
    >>> (twin.kernel.value == layer.kernel.value).all().item()
    True
    """
    filler = Filler(_Arrays(arrays, name))
    try:
        layer = deserialize_layer(config, custom_objects, made=filler.attach)
        shape = build_shape(config)
        if shape is not None and not layer.built:
            layer.ensure_built(shape)
        filler.finish()
    finally:
        filler.detach()
    return layer


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
