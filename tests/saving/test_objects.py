"""serialize_keras_object and deserialize_keras_object: every kind of object there and back."""

import numpy as np
import pytest

import tdfast
from tdfast.saving import deserialize_keras_object, register_keras_serializable, serialize_keras_object

OBJECTS = {
    "layer": lambda: tdfast.layers.LSTM(3, activation="relu", kernel_regularizer="l2", name="a"),
    "model": lambda: tdfast.Sequential([tdfast.layers.Dense(2, name="d")], name="m"),
    "initializer": lambda: tdfast.initializers.RandomNormal(stddev=0.3, seed=4),
    "regularizer": lambda: tdfast.regularizers.L1L2(0.1, 0.2),
    "constraint": lambda: tdfast.constraints.MaxNorm(3),
    "loss": lambda: tdfast.losses.CategoricalCrossentropy(label_smoothing=0.25),
    "metric": lambda: tdfast.metrics.AUC(curve="PR"),
    "optimizer": lambda: tdfast.optimizers.Adam(0.25, clipnorm=1.0),
    "schedule": lambda: tdfast.optimizers.schedules.ExponentialDecay(0.5, 10, 0.5),
    "seeds": lambda: tdfast.random.SeedGenerator(7),
    "list": lambda: [tdfast.constraints.NonNeg(), 1, "a", None, [2, 0.5]],
    "dict": lambda: {"inner": tdfast.regularizers.L2(0.5), "n": np.float32(0.5)},
}


@pytest.mark.parametrize("name", OBJECTS)
def test_there_and_back(name):
    config = serialize_keras_object(OBJECTS[name]())
    again = deserialize_keras_object(config)
    assert serialize_keras_object(again) == config
    if hasattr(OBJECTS[name](), "get_config"):
        assert type(again) is type(OBJECTS[name]())


@pytest.mark.parametrize("function", [tdfast.activations.gelu, tdfast.losses.huber,
                                      tdfast.metrics.binary_accuracy])
def test_functions_by_name(function):
    config = serialize_keras_object(function)
    assert config["class_name"] == "function" and deserialize_keras_object(config) is function


def test_tuples_stay_tuples():
    assert deserialize_keras_object(serialize_keras_object((2, tdfast.regularizers.L2(0.5))))[0] == 2


def test_arrays():
    x = np.arange(6, dtype="int16").reshape(2, 3)
    again = deserialize_keras_object(serialize_keras_object(x))
    assert again.dtype == x.dtype and np.array_equal(again, x)


def test_your_own():
    @register_keras_serializable("objects")
    class Mine:
        def __init__(self, n):
            self.n = n

        def get_config(self):
            return {"n": self.n}

        @classmethod
        def from_config(cls, config):
            return cls(**config)

    assert deserialize_keras_object(serialize_keras_object(Mine(3))).n == 3

    class Other(Mine):
        pass

    config = serialize_keras_object(Other(4))
    with pytest.raises(ValueError, match="'Other'.*custom_objects"):
        deserialize_keras_object(config)
    assert deserialize_keras_object(config, {"Other": Other}).n == 4
    with pytest.raises(ValueError, match="'nobody'.*custom_objects"):
        deserialize_keras_object({"class_name": "function", "config": "nobody"})
    with pytest.raises(ValueError, match="get_config"):
        serialize_keras_object(object())


@pytest.mark.parametrize("name", ["initializer", "regularizer", "constraint", "loss", "metric", "optimizer"])
def test_every_kind_is_read_alike(name):
    """Options that do nothing here are left out; others, and classes of another module, are refused."""
    module = getattr(tdfast, "losses" if name == "loss" else f"{name}s")
    config = module.serialize(OBJECTS[name]())
    inner = config["config"]
    same = module.deserialize({**config, "config": {**inner, "shared_object_id": 3}})
    assert module.serialize(same) == config
    for bad, match in [
        ({**config, "config": {**inner, "colour": 1}}, "colour=1"),
        ({**config, "config": [1]}, "must be a dict"),
        ({**config, "class_name": 3}, "class_name"),
        ({**config, "class_name": "Nobody"}, "'Nobody'.*custom_objects"),
        ({**config, "module": "theirs"}, "module 'theirs'"),
        ({"class_name": "function", "config": "nobody"}, "'nobody'.*custom_objects"),
        (3, "a name or a dict"),
    ]:
        with pytest.raises(tdfast.saving.FileError, match=match):
            module.deserialize(bad)
    assert module.deserialize(None) is None


def test_custom_objects_reach_what_is_within():
    def mine(y_true, y_pred):
        return abs(y_true - y_pred).mean(axis=-1)

    class Rate(tdfast.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.25

        def get_config(self):
            return {}

    metric = tdfast.metrics.serialize(tdfast.metrics.MeanMetricWrapper(mine, name="m"))
    assert tdfast.metrics.deserialize(metric, {"mine": mine})([[1.0]], [[3.0]]) == 2
    optimizer = tdfast.optimizers.serialize(tdfast.optimizers.SGD(Rate()))
    assert tdfast.optimizers.deserialize(optimizer, {"Rate": Rate}).learning_rate == 0.25
    with pytest.raises(ValueError, match="[Tt]he learning_rate of the optimizer"):
        tdfast.optimizers.deserialize(optimizer)
