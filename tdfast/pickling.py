"""pickle and copy.deepcopy of layers and models: what a .keras file says of them, in memory and without HDF5.

A pickle holds the description and the arrays as bytes. Besides these there are the users' own classes and functions, which
pickle knows by their module and name, and, of a compiled model, its optimizer, loss and metrics. joblib,
multiprocessing and scikit-learn's ``clone`` need no more.
"""

import sys

from tdfast import registration
from tdfast.resume import seeds_of, stateful_of


def reduced(layer):
    """What ``layer.__reduce__`` gives: `restored` and its arguments.

    Raises:
        ValueError: for a layer whose get_config holds more than numbers, text, arrays, lists and dicts.
    """
    from tdfast.saving.memory import arrays_of
    from tdfast.saving.state import state_to_bytes
    from tdfast.serialization import serialize_layer

    with registration.noting() as objects:
        config = serialize_layer(layer)
    layers = list(_with_inner(layer))
    state = {
        "config": config,
        "arrays": arrays_of(layer),
        "frozen": [i for i, w in enumerate(layer.weights) if w.made_trainable and not w.trainable],
        "seeds": [seed.state for seed in seeds_of(layers)],
        "states": [inner.states for inner in stateful_of(layers)],
    }
    objects = {name: item for name, item in objects.items() if not _only_registered(item)}
    compiled = layer.compiled_state() if getattr(layer, "compiled", False) else None
    return restored, (state_to_bytes(state), objects, compiled)


def restored(data, objects, compiled=None):
    """The layer or model of a pickle.

    Args:
        data: the bytes of the description and the arrays.
        objects: dict from names in the description to classes and functions that are not tdfast's.
        compiled: the dict of `Trainer.compiled_state`, or None.

    Raises:
        FileError: (a ValueError) for a class of the user's that cannot be made again from its get_config.
    """
    from tdfast import random
    from tdfast.saving.memory import from_arrays
    from tdfast.saving.state import state_from_bytes

    state = state_from_bytes(data, "the pickle")
    with random.aside(), registration.custom_object_scope(objects):
        layer = from_arrays(state["config"], state["arrays"], "the pickle", objects)
    weights = layer.weights
    for i in state["frozen"]:
        weights[i].trainable = False
    layers = list(_with_inner(layer))
    for seed, saved in zip(seeds_of(layers), state["seeds"]):
        seed.state[...] = saved
    for inner, saved in zip(stateful_of(layers), state["states"]):
        inner.states = saved
    if compiled is not None:
        layer.set_compiled_state(compiled)
    return layer


def _with_inner(layer):
    yield layer
    for inner in layer.sublayers():
        yield from _with_inner(inner)


def _only_registered(item):
    """Whether a registered name is the only way to an item, as to a class made in a function."""
    if registration.registered_name(item) is None:
        return False
    found = sys.modules.get(item.__module__)
    for name in item.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is not item
