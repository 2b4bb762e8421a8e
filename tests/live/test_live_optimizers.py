"""Optimizers and schedules against Keras itself: the same gradients, random options, and files in both
directions."""

import os
import random

import numpy as np
import pytest
from test_optimizers import FORMULAS, setup, step
from test_schedules import CASES

import tdfast
from tdfast import layers, optimizers

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")

SHARED = [
    {}, {"weight_decay": 0.1}, {"clipnorm": 0.7}, {"clipvalue": 0.3}, {"global_clipnorm": 0.8},
    {"use_ema": True, "ema_momentum": 0.7}, {"use_ema": True, "ema_overwrite_frequency": 2},
    {"gradient_accumulation_steps": 2}, {"gradient_accumulation_steps": 3, "use_ema": True,
                                         "global_clipnorm": 0.5},
    {"gradient_accumulation_steps": 2, "clipnorm": 0.5, "weight_decay": 0.05},
]


def theirs(optimizer, values, gradients):
    variables = [keras.Variable(v.astype("float32"), name=f"w{i}") for i, v in enumerate(values)]
    optimizer.build(variables)
    for gs in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g.astype("float32")) for g in gs], variables)
    optimizer.finalize_variable_values(variables)
    return [keras.ops.convert_to_numpy(v.value) for v in variables]


@pytest.mark.parametrize("name, options", [*FORMULAS, ("AdamW", {})])
def test_five_steps(name, options):
    rng, pick = np.random.default_rng(len(name)), random.Random(f"{name}{options}")
    for shared in [{}, *pick.sample(SHARED, 3)]:
        if "weight_decay" in shared and name == "AdamW":
            shared = {**shared, "weight_decay": 0.2}
        rate = pick.choice([0.3, 0.05, optimizers.schedules.ExponentialDecay(0.2, 3, 0.5)])
        values = [rng.normal(size=(7, 5)), rng.normal(size=5), rng.normal(size=(2, 3, 4))]
        gradients = [[rng.normal(size=v.shape) * 10 ** rng.uniform(-1, 0.5) for v in values]
                     for _ in range(5)]
        optimizer = getattr(optimizers, name)(rate, **options, **shared)
        same = keras.saving.deserialize_keras_object(optimizers.serialize(optimizer))
        want = theirs(same, values, gradients)
        variables = setup(optimizer, values)
        for gs in gradients:
            step(optimizer, variables, gs)
        ours, others = optimizer.variables, same.variables
        assert len(ours) == len(others)
        for (key, array), other in zip(ours, others):
            assert array.shape == other.shape, key
            np.testing.assert_allclose(array, np.asarray(other.value), rtol=1e-4, atol=2e-6,
                                       err_msg=f"{key} {shared}")
        optimizer.finalize_variable_values()
        for v, w in zip(variables, want):
            np.testing.assert_allclose(v.value, w, rtol=1e-5, atol=4e-6, err_msg=f"{shared} {rate}")


@pytest.mark.parametrize("name", sorted({name for name, _ in FORMULAS} | {"AdamW"}))
def test_defaults_and_config(name):
    ours, other = getattr(optimizers, name)().get_config(), getattr(keras.optimizers, name)().get_config()
    assert list(ours) == list(other)
    del ours["name"], other["name"]
    assert np.float32(ours.pop("learning_rate")) == np.float32(other.pop("learning_rate"))
    assert ours == other
    assert type(optimizers.get(name.lower())) is type(optimizers.get(name)) is getattr(optimizers, name)


def test_excluded_from_decay():
    values, gradients = [np.ones((2, 3)), np.ones(3)], [[np.zeros((2, 3)), np.zeros(3)]]
    other = keras.optimizers.AdamW(0.1)
    other.exclude_from_weight_decay(var_names=["w1"])
    ours = optimizers.AdamW(0.1)
    ours.exclude_from_weight_decay(var_names=["w1"])
    for a, b in zip(theirs(other, values, gradients), run_named(ours, values, gradients)):
        assert np.allclose(a, b, rtol=0, atol=1e-7)


def run_named(optimizer, values, gradients):
    variables = [tdfast.Variable(np.asarray(v, "float32"), name=f"w{i}", path=f"w{i}") for i,
                 v in enumerate(values)]
    optimizer.build(tdfast.engine.variable.Parameters(variables), variables)
    for gs in gradients:
        step(optimizer, variables, gs)
    return [v.numpy() for v in variables]


@pytest.mark.parametrize("name, options", [
    ("RMSprop", {"momentum": 0.5, "centered": True}), ("Adagrad", {}), ("Adadelta", {"weight_decay": 0.01}),
    ("Adamax", {"use_ema": True}), ("Nadam", {}), ("Ftrl", {"l1_regularization_strength": 0.001}),
    ("Lion", {"gradient_accumulation_steps": 2, "use_ema": True}), ("Lamb", {}),
    ("Adam", {"learning_rate": optimizers.schedules.CosineDecay(0.1, 10)}),
])
def test_files_go_both_ways(tmp_path, name, options):
    """Train, save, load in the other library, train on: as if nothing had happened."""
    pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype("f"), rng.normal(size=(8, 2)).astype("f")
    model = tdfast.Sequential([layers.Dense(4, activation="tanh", input_shape=(3,)), layers.Dense(2)])
    model.compile(getattr(optimizers, name)(**{"learning_rate": 0.02, **options}), "mse")
    for _ in range(3):
        model.train_on_batch(x, y)
    model.save(tmp_path / "a.keras")
    twin = keras.saving.load_model(tmp_path / "a.keras")
    twin.jit_compile = False
    for _ in range(3):
        np.testing.assert_allclose(twin.train_on_batch(x, y), model.train_on_batch(x, y), rtol=1e-5)
    twin.save(tmp_path / "b.keras")
    again = tdfast.saving.load_model(tmp_path / "b.keras")
    assert again.optimizer.steps == 6
    for _ in range(3):
        want = model.train_on_batch(x, y)
        np.testing.assert_allclose(twin.train_on_batch(x, y), want, rtol=1e-5)
        np.testing.assert_allclose(again.train_on_batch(x, y), want, rtol=1e-5)


@pytest.mark.parametrize("cls, arguments, want", CASES)
def test_schedules(cls, arguments, want):
    theirs, ours = getattr(keras.optimizers.schedules, cls.__name__)(**arguments), cls(**arguments)
    assert list(ours.get_config().items()) == list(theirs.get_config().items())
    for t in (0, 1, 3, 4, 7, 9, 10, 13, 16, 31):
        assert ours(t) == pytest.approx(float(theirs(t)), rel=1e-5, abs=1e-8), t
