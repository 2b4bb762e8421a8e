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


# Keras divides by beta_1 in ScheduleFreeAdamW, which gives NaN for 0.
@pytest.mark.parametrize("name, options", [*(row for row in FORMULAS if row[1].get("beta_1") != 0.0),
                                           ("AdamW", {})])
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
        for mine, other in zip(ours, others):
            assert mine.shape == other.shape, mine.name
            np.testing.assert_allclose(mine.value, np.asarray(other.value), rtol=1e-4, atol=2e-6,
                                       err_msg=f"{mine.name} {shared}")
        optimizer.finalize_variable_values()
        atol = 2e-5 if name == "ScheduleFreeAdamW" else 4e-6       # that division magnifies rounding
        for v, w in zip(variables, want):
            np.testing.assert_allclose(v.value, w, rtol=1e-5, atol=atol, err_msg=f"{shared} {rate}")


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
    optimizer.build(variables)
    for gs in gradients:
        step(optimizer, variables, gs)
    return [v.numpy() for v in variables]


@pytest.mark.parametrize("name, options", [
    ("RMSprop", {"momentum": 0.5, "centered": True}), ("Adagrad", {}), ("Adadelta", {"weight_decay": 0.01}),
    ("Adamax", {"use_ema": True}), ("Nadam", {}), ("Ftrl", {"l1_regularization_strength": 0.001}),
    ("Lion", {"gradient_accumulation_steps": 2, "use_ema": True}), ("Lamb", {}),
    ("Adam", {"learning_rate": optimizers.schedules.CosineDecay(0.1, 10)}),
    ("Muon", {"exclude_layers": ["dense_1"]}), ("Adafactor", {"gradient_accumulation_steps": 2}),
    ("ScheduleFreeAdamW", {"warmup_steps": 3}), ("ScheduleFreeAdamW", {"use_ema": True}),
    ("MultiOptimizer", {}),
])
def test_files_go_both_ways(tmp_path, name, options):
    """Train, save, load in the other library, train on: as if nothing had happened."""
    pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype("f"), rng.normal(size=(8, 2)).astype("f")
    model = tdfast.Sequential([layers.Dense(4, activation="tanh", input_shape=(3,)), layers.Dense(2)])
    if name == "MultiOptimizer":
        optimizer = optimizers.MultiOptimizer(optimizers.OptimizerMap(
            optimizers.SGD(0.02, momentum=0.5), {".*bias": optimizers.Adam(0.01)}))
    else:
        optimizer = getattr(optimizers, name)(**{"learning_rate": 0.02, **options})
    model.compile(optimizer, "mse")
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


def of_library(library, name, **options):
    """An optimizer of one library, made in the same way."""
    home = library.optimizers
    if name == "MultiOptimizer":
        return home.MultiOptimizer(home.OptimizerMap(home.SGD(0.1, momentum=0.5, clipnorm=0.5),
                                                     {"w.": home.Adam(0.05), "w2": home.Muon(0.1)}))
    if name == "Own":

        class Own(home.Optimizer):
            def build(self, variables):
                if self.built:
                    return
                super().build(variables)
                self.speeds = [self.add_variable_from_reference(v, "speed") for v in variables]
                self.total = self.add_variable((), name="total")

            def update_step(self, gradient, variable, learning_rate):
                ops = library.ops
                speed = self.speeds[self._get_variable_index(variable)]
                rate = ops.cast(learning_rate, variable.dtype)
                self.assign(speed, ops.subtract(speed * 0.9, ops.multiply(gradient, rate)))
                self.assign_add(self.total, ops.sum(ops.square(speed)))
                self.assign_add(variable, speed * 0.5 - 0.25 * (speed - 1.0) * rate)

        return Own(learning_rate=0.1, **options)
    return getattr(home, name)(learning_rate=0.1, **options)


@pytest.mark.parametrize("more", [{}, {"weight_decay": 0.1, "clipnorm": 0.6}, {"loss_scale_factor": 4.0},
                                  {"use_ema": True, "ema_overwrite_frequency": 2,
                                   "gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("name", [*sorted({name for name, _ in FORMULAS} | {"AdamW"}), "Own",
                                  "MultiOptimizer"])
def test_a_loop_of_ones_own(name, more):
    """The same script: apply, apply_gradients, a subset, missing gradients, assign; with matrices too."""
    rng = np.random.default_rng(3)
    values = [rng.normal(size=shape).astype("f") for shape in ((6, 4), (4,), (4, 9), (2, 3, 3))]
    gradients = [[rng.normal(size=v.shape).astype("f") for v in values] for _ in range(6)]
    found = []
    if name == "MultiOptimizer" and more:
        return                          # has no such options
    for library in (tdfast, keras):
        as_tensor = np.asarray if library is tdfast else keras.ops.convert_to_tensor
        variables = [library.Variable(v, name=f"w{i}") for i, v in enumerate(values)]
        optimizer = of_library(library, name, **more)
        optimizer.build(variables)
        seen = []
        for k, gs in enumerate(gradients):
            gs = [as_tensor(g) for g in gs]
            if k == 1:
                seen.append(int(optimizer.apply_gradients(zip(gs, variables))))
            elif k == 2 and name != "MultiOptimizer":
                optimizer.apply(gs[1:3], variables[1:3])
            elif k == 3 and name != "MultiOptimizer" and not more.get("gradient_accumulation_steps"):
                with pytest.warns(UserWarning):
                    optimizer.apply([None, *gs[1:]])
            else:
                optimizer.apply(gs)
            if k == 4 and name != "MultiOptimizer":
                optimizer.learning_rate = 0.05
                variables[0].assign_add(as_tensor(np.full((6, 4), 0.125, "f")))
                variables[1].assign_sub(as_tensor(np.full((4,), 0.125, "f")))
                optimizer.exclude_from_weight_decay(var_names=["w1"])
        seen.append(int(optimizer.iterations))
        arrays = [np.asarray(v.value) for v in [*variables, *optimizer.variables]]
        found.append((seen, arrays, [v.path.split("/")[-1] for v in optimizer.variables]))
    (ours, arrays, names), (theirs_, others, other_names) = found
    assert ours == theirs_ and len(arrays) == len(others)
    if name not in ("Adafactor", "Nadam"):      # some of whose variables Keras gives no name of their own
        assert names == other_names
    for a, b in zip(arrays, others):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=3e-4, atol=1e-5)


@pytest.mark.parametrize("cls, arguments, want", CASES)
def test_schedules(cls, arguments, want):
    theirs, ours = getattr(keras.optimizers.schedules, cls.__name__)(**arguments), cls(**arguments)
    assert list(ours.get_config().items()) == list(theirs.get_config().items())
    for t in (0, 1, 3, 4, 7, 9, 10, 13, 16, 31):
        assert ours(t) == pytest.approx(float(theirs(t)), rel=1e-5, abs=1e-8), t
