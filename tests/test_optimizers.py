"""Optimizers: steps against formulas in float64 and against numbers recorded from Keras 3.15."""

import math

import numpy as np
import pytest
from laws import FMA_ISAS

from tdfast import constraints, optimizers, runtime
from tdfast.variables import Parameters, Variable

WEIGHTS = np.array([[0.5, -1.0, 2.0], [0.1, 0.0, -0.3]])
GRADIENTS = [np.array(g) for g in (
    [[1.0, -2.0, 0.5], [0.3, 4.0, -1.0]], [[-1.0, 0.2, 0.5], [0.3, -0.4, 1.0]],
    [[0.1, 0.2, 0.5], [-0.3, 0.4, 1.0]], [[2.0, 0.2, -0.5], [-0.3, 1.4, 1.0]],
)]

# Four steps of Keras 3.15 (JAX, float32) from WEIGHTS along GRADIENTS, one variable.
RECORDED = [
    ("SGD", {}, [0.29, -0.86, 1.9000001, 0.1, -0.54, -0.5]),
    ("SGD", {"momentum": 0.9}, [0.2081, -0.4244, 1.6475501, 0.00253, -1.4832, -0.5171]),
    ("SGD", {"momentum": 0.9, "nesterov": True},
     [0.02729, -0.3419601, 1.582795, 0.012277, -1.87488, -0.69539]),
    ("Adam", {}, [0.3571711, -0.7752184, 1.6581603, -0.1156985, -0.2704114, -0.3030886]),
    ("AdamW", {"weight_decay": 0.02}, [0.3537617, -0.7681565, 1.6434067, -0.1154453, -0.2694719, -0.3011931]),
    ("SGD", {"clipvalue": 0.4}, [0.45, -1.02, 1.9200001, 0.1, -0.08, -0.38]),
    ("SGD", {"clipnorm": 1.0}, [0.4597348, -0.9936813, 1.936343, 0.1099989, -0.1433343, -0.458821]),
    ("SGD", {"global_clipnorm": 1.0}, [0.4597348, -0.9936813, 1.936343, 0.1099989, -0.1433343, -0.458821]),
    ("SGD", {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 2},
     [0.3881, -0.8078, 1.9405001, 0.0757, -0.4176, -0.239]),
    ("Adam", {"gradient_accumulation_steps": 2},
     [0.4255873, -0.8507434, 1.8329966, 0.0052648, -0.193216, -0.3744127]),
    ("SGD", {"gradient_accumulation_steps": 2, "clipvalue": 0.3}, [0.47, -0.99, 1.97, 0.1, -0.06, -0.33]),
]


@pytest.fixture(autouse=True)
def restore_machine():
    isa, threads = runtime.isa(), runtime.get_num_threads()
    yield
    runtime.set_isa(isa)
    runtime.set_num_threads(threads)


def setup(optimizer, values, dtype="float32", **options):
    """Variables with these values that the optimizer is built for."""
    variables = [Variable(np.asarray(v, dtype), path=f"layer/w{i}", **options) for i, v in enumerate(values)]
    optimizer.build(Parameters(variables), variables)
    return variables


def step(optimizer, variables, gradients):
    for v, g in zip(variables, gradients):
        v.grad[...] = g
    optimizer.apply()


def run(optimizer, dtype="float32", values=(WEIGHTS,), gradients=None):
    variables = setup(optimizer, values, dtype)
    for g in gradients or [[g] for g in GRADIENTS]:
        step(optimizer, variables, g)
    return [v.numpy() for v in variables]


@pytest.mark.parametrize("name, options, want", RECORDED)
@pytest.mark.parametrize("dtype, bound", [
    ("float32", 1e-6),
    ("float64", 1e-5),      # Keras rounded 1 - beta^t to float32 in the recording
])
def test_recorded_steps(name, options, want, dtype, bound):
    got, = run(getattr(optimizers, name)(0.1, **options), dtype)
    assert got.dtype == dtype
    assert np.abs(got.ravel() - want).max() < bound


def test_ema_at_the_end():
    optimizer = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9, gradient_accumulation_steps=2)
    v, = setup(optimizer, [WEIGHTS])
    for g in GRADIENTS:
        step(optimizer, [v], [g])
    optimizer.finalize_variable_values()
    assert np.abs(v.numpy().ravel() - [0.4895, -0.9120001, 1.95, 0.073, -0.189, -0.31]).max() < 1e-6


def adam(w, gradients, lr, b1, b2, epsilon, amsgrad, decay):
    """Keras's Adam in float64."""
    w, m, v, top = w.copy(), 0 * w, 0 * w, 0 * w
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        top = np.maximum(top, v) if amsgrad else v
        rate = lr * math.sqrt(1 - b2**t) / (1 - b1**t)
        w = w - lr * decay * w - rate * m / (np.sqrt(top) + epsilon)
    return w


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("size", [1, 17, 5000])
def test_adam_formula(amsgrad, decay, size):
    rng = np.random.default_rng(size)
    w, gradients = rng.normal(size=size), [rng.normal(size=size) * 0.5**k for k in range(12)]
    for dtype, bound in (("float64", 1e-13), ("float32", 2e-5)):
        optimizer = optimizers.Adam(0.01, 0.8, 0.9, 1e-5, amsgrad, weight_decay=decay or None)
        got, = run(optimizer, dtype, [w], [[g] for g in gradients])
        assert np.abs(got - adam(w, gradients, 0.01, 0.8, 0.9, 1e-5, amsgrad, decay)).max() < bound
        assert optimizer.iterations == 12
    if size > 1:
        assert not np.allclose(adam(w, gradients, 0.01, 0.8, 0.9, 1e-5, True, 0),
                               adam(w, gradients, 0.01, 0.8, 0.9, 1e-5, False, 0))


def test_clipnorm_is_per_variable_and_global_clipnorm_is_not():
    values = [np.zeros(3), np.zeros((2, 2))]
    gradients = [np.array([3.0, 0.0, 4.0]), np.full((2, 2), 0.25)]
    a, b = run(optimizers.SGD(1.0, clipnorm=1.0), "float64", values, [gradients])
    assert np.allclose(a, [-0.6, 0, -0.8]) and np.allclose(b, -0.25)
    norm = math.sqrt(25.25)
    a, b = run(optimizers.SGD(1.0, global_clipnorm=1.0), "float64", values, [gradients])
    assert np.allclose(a, -gradients[0] / norm) and np.allclose(b, -0.25 / norm)
    a, b = run(optimizers.SGD(1.0, global_clipnorm=100.0), "float64", values, [gradients])
    assert np.allclose(a, -gradients[0]) and np.allclose(b, -0.25)
    a, b = run(optimizers.SGD(1.0, clipvalue=0.5), "float64", values, [gradients])
    assert np.allclose(a, [-0.5, 0, -0.5]) and np.allclose(b, -0.25)


def test_decay_of_sgd():
    got, = run(optimizers.SGD(0.1, weight_decay=0.5), "float64", [np.array([2.0])], [[np.array([1.0])]])
    assert np.allclose(got, 2 - 0.1 * 0.5 * 2 - 0.1)


def test_constraint_follows_the_step():
    optimizer = optimizers.SGD(1.0)
    v, = setup(optimizer, [[1.0, 1.0]], constraint=constraints.NonNeg())
    step(optimizer, [v], [[3.0, 0.5]])
    assert v.numpy().tolist() == [0, 0.5]


def test_untrainable_pieces_stay():
    variables = [Variable(np.ones(n, "float32"), path=f"w{n}") for n in (3, 20, 5)]
    parameters = Parameters(variables)
    parameters.grads[...] = 1
    optimizer = optimizers.Adam(0.1)
    optimizer.build(parameters, [variables[0], variables[2]])
    optimizer.apply()
    assert (variables[1].value == 1).all() and (variables[0].value < 1).all() and (variables[2].value < 1).all()


def test_bits_do_not_depend_on_isa_or_threads():
    rng = np.random.default_rng(0)
    w, gradients = rng.normal(size=70001), [[rng.normal(size=70001)] for _ in range(3)]
    for make in (lambda: optimizers.Adam(0.01, amsgrad=True, weight_decay=0.1, clipvalue=0.9),
                 lambda: optimizers.SGD(0.01, momentum=0.9, nesterov=True, global_clipnorm=1.0),
                 lambda: optimizers.SGD(0.01, clipnorm=1.0)):
        seen = set()
        for isa in runtime.available_isas():
            runtime.set_isa(isa)
            results = set()
            for threads in (1, 2):
                runtime.set_num_threads(threads)
                results.add(run(make(), values=[w], gradients=gradients)[0].tobytes())
            assert len(results) == 1
            if isa in FMA_ISAS:
                seen |= results
        assert len(seen) <= 1


def test_variables_in_keras_order():
    optimizer = optimizers.Adam(amsgrad=True)
    setup(optimizer, [np.ones((2, 3)), np.ones(3)])
    names = [name for name, _ in optimizer.variables]
    assert names == ["iteration", "learning_rate", "layer_w0_momentum", "layer_w0_velocity", "layer_w1_momentum",
                     "layer_w1_velocity", "layer_w0_velocity_hat", "layer_w1_velocity_hat"]
    assert dict(optimizer.variables)["layer_w0_velocity"].shape == (2, 3)
    assert [n for n, _ in optimizers.SGD().variables] == ["iteration", "learning_rate"]


def test_learning_rate_and_iterations():
    optimizer = optimizers.SGD(0.5)
    v, = setup(optimizer, [np.array([1.0])])
    step(optimizer, [v], [[1.0]])
    optimizer.learning_rate = 0.25
    step(optimizer, [v], [[1.0]])
    assert v.numpy().tolist() == [0.25] and optimizer.iterations == 2
    optimizer = optimizers.SGD(gradient_accumulation_steps=3)
    v, = setup(optimizer, [np.array([1.0])])
    counts = []
    for _ in range(6):
        step(optimizer, [v], [[1.0]])
        counts.append(optimizer.iterations)
    assert counts == [0, 0, 1, 1, 1, 2]


def test_nan_gradients_show():
    for options in ({}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"clipvalue": 1.0}):
        got, = run(optimizers.SGD(0.1, **options), values=[np.ones(20)], gradients=[[np.full(20, np.nan)]])
        assert np.isnan(got).all()


def test_config_round_trip():
    for optimizer in [optimizers.SGD(0.2, 0.9, True, clipnorm=2.0), optimizers.Adam(0.01, 0.8, 0.9, amsgrad=True),
                      optimizers.AdamW(weight_decay=0.1, use_ema=True, ema_overwrite_frequency=5),
                      optimizers.Adam(gradient_accumulation_steps=4, global_clipnorm=1.0, name="mine")]:
        saved = optimizers.serialize(optimizer)
        assert saved["module"] == "keras.optimizers" and saved["class_name"] == type(optimizer).__name__
        again = optimizers.deserialize(saved)
        assert type(again) is type(optimizer) and again.get_config() == optimizer.get_config()
    for spec in ("adam", "Adam", "ADAM", optimizers.Adam):
        assert type(optimizers.get(spec)) is optimizers.Adam


@pytest.mark.parametrize("make, message", [
    (lambda: optimizers.SGD(clipnorm=1, clipvalue=1), "Only one of clipnorm, clipvalue and global_clipnorm"),
    (lambda: optimizers.SGD(momentum=2), "momentum must be a number from 0 to 1, got 2"),
    (lambda: optimizers.SGD("fast"), "learning_rate must be a number, got 'fast'"),
    (lambda: optimizers.Adam(beta1=0.9), r"Adam does not know the argument\(s\) beta1"),
    (lambda: optimizers.Adam(gradient_accumulation_steps=1), "at least 2, got 1"),
    (lambda: optimizers.Adam(use_ema=True, ema_momentum=2), "ema_momentum must be between 0 and 1, got 2"),
    (lambda: optimizers.AdamW(weight_decay=None), "AdamW needs a weight_decay"),
    (lambda: optimizers.SGD().apply(), "has no variables yet"),
    (lambda: optimizers.get("adamm"), "Unknown optimizer 'adamm'.*Did you mean 'adam'"),
    (lambda: optimizers.get(print), "Expected an optimizer"),
])
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name, options", [case[:2] for case in RECORDED])
def test_live_keras(name, options):
    pytest.importorskip("jax")
    keras = pytest.importorskip("keras")
    theirs, v = getattr(keras.optimizers, name)(0.1, **options), keras.Variable(WEIGHTS.astype("float32"))
    theirs.build([v])
    for g in GRADIENTS:
        theirs.apply([keras.ops.convert_to_tensor(g.astype("float32"))], [v])
    got, = run(getattr(optimizers, name)(0.1, **options))
    assert np.abs(got - keras.ops.convert_to_numpy(v.value)).max() < 2e-6
