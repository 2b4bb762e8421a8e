"""Sizes in layers' arguments: what no array can have is refused where it is given."""

import inspect

import pytest

from tdfast import layers
from tdfast.engine.serialization import deserialize_layer

BEYOND = 2**63
SIZES = {
    "units": 2,
    "input_dim": 3,
    "output_dim": 2,
    "n": 2,
    "target_shape": (2, 2),
    "filters": 2,
    "kernel_size": 2,
    "strides": 2,
    "dilation_rate": 1,
    "groups": 1,
    "pool_size": 2,
    "output_size": 2,
    "size": 2,
    "padding": 1,
    "cropping": 1,
    "depth_multiplier": 1,
    "output_padding": 0,
    "noise_shape": (None, 1),
}


def arguments_of(cls):
    """Valid arguments of a class, the sizes among them."""
    parameters = inspect.signature(cls).parameters
    given = {name: value for name, value in SIZES.items() if name in parameters}
    if cls is not layers.Embedding:
        given.pop("input_dim", None)            # of the features, as every layer takes it
    if isinstance(parameters["padding"].default if "padding" in parameters else None, str):
        del given["padding"]                    # 'valid', 'same'
    if "rate" in parameters:
        given["rate"] = 0.5
    if "dilation_rate" in given and "strides" in given:
        given["strides"] = 1                    # only one of them may be above 1
    return given


def cases():
    for name in layers.__all__:
        cls = getattr(layers, name)
        if (
            inspect.isclass(cls)
            and issubclass(cls, layers.Layer)
            and cls is not layers.Layer
            and name != "GroupNormalization"
        ):
            for size in arguments_of(cls).keys() & SIZES.keys():
                yield pytest.param(cls, size, id=f"{name}-{size}")


@pytest.mark.parametrize("cls, size", sorted(cases(), key=lambda case: case.id))
def test_sizes_beyond_any_array_are_refused_in_the_constructor(cls, size):
    given = arguments_of(cls)
    made = cls(**given)
    value = given[size]
    forms = [BEYOND, 10**30] if isinstance(value, int) else [(*value[:-1], BEYOND)]
    for form in forms:
        with pytest.raises(ValueError, match=f"{size}.*{form if isinstance(form, int) else BEYOND}"):
            cls(**{**given, size: form})
    described = {"class_name": cls.__name__, "config": {**made.get_config(), size: forms[0]}}
    with pytest.raises(ValueError, match=size):
        deserialize_layer(described)


@pytest.mark.parametrize("cls", [layers.MaxPooling1D, layers.AveragePooling2D])
def test_strides_as_large_as_they_may_be(cls):
    """One window, and no overflow in the places that strides lead to."""
    layer = cls(2, strides=2**31 - 1, padding="same")
    assert set(layer.compute_output_shape((None, *[6] * layer.rank, 3))[1:-1]) == {1}
    with pytest.raises(ValueError, match="from 1 to 2147483647"):
        cls(2, strides=2**31)
