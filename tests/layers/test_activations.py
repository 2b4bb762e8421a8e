"""Activations: values against float64 formulas, derivatives against differences, bits on every ISA."""

import pickle

import numpy as np
import pytest
import reference
from laws import FMA_ISAS

from tdfast import _kernels, activations, runtime
from tdfast.engine.activation_table import TABLE

NAMES = sorted(reference.ACTIVATIONS)
KINKS = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0])


@pytest.fixture(autouse=True)
def restore_machine():
    isa, threads = runtime.isa(), runtime.get_num_threads()
    yield
    runtime.set_isa(isa)
    runtime.set_num_threads(threads)


def sample(shape, seed=0, spread=3.0):
    """Random numbers that stay away from every kink."""
    x = np.random.default_rng(seed).normal(size=shape) * spread
    near = np.abs(x[..., None] - KINKS).min(axis=-1) < 1e-3
    return np.where(near, x + 2e-3, x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype, bound", [("float32", 2e-6), ("float64", 1e-14)])
def test_value(name, dtype, bound):
    for shape in [(7,), (3, 5), (2, 3, 17), (4, 65), (1, 1)]:
        x = sample(shape).astype(dtype)
        want = reference.activation(name, x)
        got = activations.get(name)(x)
        assert got.dtype == dtype and got.shape == shape
        assert np.abs(got - want).max() <= bound * max(1, np.abs(want).max())


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_difference_quotient(name):
    rng, act, step = np.random.default_rng(1), activations.get(name), 1e-6
    for n in (1, 5, 19):
        x, dy = sample((4, n), seed=n), rng.normal(size=(4, n))
        want = np.empty_like(x)
        for j in range(n):
            d = np.zeros(n)
            d[j] = step
            moved = reference.activation(name, x + d) - reference.activation(name, x - d)
            want[:, j] = (moved * dy).sum(axis=-1) / (2 * step)
        got = act.gradient(x, dy)
        assert np.abs(got - want).max() < 2e-8 * max(1, np.abs(want).max())
        single = act.gradient(x.astype("float32"), dy.astype("float32"))
        assert np.abs(single - want).max() < 2e-5 * max(1, np.abs(want).max())


@pytest.mark.parametrize("name", [*NAMES, "gelu_tanh"])
def test_bits_do_not_depend_on_isa_threads_or_place(name):
    act, x = activations.get(name), sample((130, 37)).astype("float32")
    dy = np.random.default_rng(2).normal(size=x.shape).astype("float32")
    seen = set()
    for isa in runtime.available_isas():
        runtime.set_isa(isa)
        results = set()
        for threads in (1, 2):
            runtime.set_num_threads(threads)
            results.add((act(x).tobytes(), act.gradient(x, dy).tobytes()))
        assert len(results) == 1
        if isa in FMA_ISAS:
            seen |= results
        assert act(x[5:6].copy()).tobytes() == act(x)[5].tobytes()
    assert len(seen) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_and_large_numbers_are_harmless(name):
    act = activations.get(name)
    assert np.isnan(act(np.array([np.nan], "float32"))).all()
    x = np.array([-80.0, 80.0], "float32")
    assert np.isfinite(act(x)).all() and np.isfinite(act.gradient(x, np.ones(2, "float32"))).all()


@pytest.mark.parametrize("name, at, slope", [
    ("relu", 0, 0), ("relu6", 0, 0), ("leaky_relu", 0, 1), ("hard_tanh", 1, 1), ("sparse_sigmoid", 1, 0.25),
])
def test_slope_at_a_kink(name, at, slope):
    assert activations.get(name).gradient(np.array([at], "float32"), np.ones(1, "float32"))[0] == slope


def test_axis():
    x = sample((3, 4, 5))
    for name in reference.ROW_ACTIVATIONS:
        rows = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        want = np.moveaxis(reference.activation(name, rows), -1, 1)
        assert np.allclose(activations.get(name)(x, axis=1), want, atol=1e-12)
    with pytest.raises(ValueError, match="at least one dimension"):
        activations.softmax(1.0)


def test_empty_and_lists():
    assert activations.relu(np.zeros((0, 4))).shape == (0, 4)
    assert activations.softmax(np.zeros((3, 0), "float32")).shape == (3, 0)
    assert activations.relu([1, -1]).dtype == np.float32
    with pytest.raises(ValueError, match="relu expects an array of numbers"):
        activations.relu(["a"])


def test_get_and_serialize():
    assert activations.get(None).name == "linear"
    assert (
        activations.get("swish") is activations.silu
        and activations.get("hard_swish") is activations.hard_silu
    )
    for name in NAMES:
        act = activations.get(name)
        assert activations.serialize(act) == name and activations.deserialize(name) is act
        assert pickle.loads(pickle.dumps(act)) is act
    with pytest.raises(ValueError, match="Did you mean 'sigmoid'.*softmax"):
        activations.get("sigmoidd")
    with pytest.raises(ValueError, match="kernels cannot call"):
        activations.get(np.sin, own=False)
    sine = activations.get(np.sin, own=True)
    assert np.allclose(sine.gradient([0.5, 2.0], [1.0, 3.0]), np.cos([0.5, 2.0]) * [1, 3])


def test_functions():
    x = sample((2, 6))
    assert np.allclose(activations.glu(x), x[:, :3] * reference.sigmoid(x[:, 3:]), atol=1e-12)
    with pytest.raises(ValueError, match="two halves"):
        activations.glu(np.zeros((2, 3)))
    assert activations.threshold([1.0, 2.0, 3.0], 2.0, 0.0).tolist() == [0.0, 0.0, 3.0]


def test_every_activation_of_the_kernels_has_its_row():
    assert sorted(TABLE) == sorted(_kernels.ACTIVATIONS)
