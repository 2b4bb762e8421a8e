"""Lengths of vectors whose squares overflow or vanish in float32, against float64."""

import numpy as np
import pytest

import tdfast
from tdfast import constraints, layers, losses, optimizers, regularizers
from tdfast.engine import norms
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.tape import Tape
from tdfast.engine.variable import Variable
from tdfast.layers import Dense

SIZES = [1e-35, 1e-22, 1.0, 1e18, 2e19, 1e20, 3e37, 3e38]
CLIPPING = [{"clipnorm": 1.0}, {"global_clipnorm": 1.0}]


def one_step(optimizer, value, grad):
    """The change of a weight by one update."""
    v = Variable(np.asarray(value, np.float32))
    optimizer.build([v])
    v.grad[...] = grad
    optimizer.apply()
    return v.numpy() - np.asarray(value, np.float32)


@pytest.mark.parametrize("options", CLIPPING)
@pytest.mark.parametrize("size", SIZES)
def test_clipping_by_norm_at_any_size(options, size):
    grad = np.array([3, -4, 0.5, 0, 1], np.float32) * np.float32(size / 4)
    length = np.sqrt(np.sum(grad.astype(np.float64) ** 2))
    want = -grad / max(length, 1.0)
    moved = one_step(optimizers.SGD(1.0, **options), np.zeros(5), grad)
    assert np.allclose(moved, want, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("options", CLIPPING)
def test_a_kernel_with_a_gradient_of_2e19_moves_by_one(options):
    model = tdfast.Sequential([layers.Input((1,)), Dense(1, use_bias=False, kernel_initializer="ones")])
    model.compile(optimizers.SGD(1.0, **options), "mae")
    model.fit(np.array([[2e19]]), np.zeros((1, 1)), verbose=0)
    assert model.get_weights()[0].item() == 0.0


def test_lamb_at_any_size():
    for size in SIZES:
        w = np.array([3, 4], np.float32) * np.float32(size / 4)
        moved = one_step(optimizers.Lamb(0.5), w, [1.0, 1.0])
        assert np.allclose(moved, -0.5 * np.hypot(*w.astype(np.float64)) / np.sqrt(2), rtol=1e-5), size


@pytest.mark.parametrize("size", SIZES[2:])
@pytest.mark.parametrize("make", [
    lambda: constraints.MaxNorm(2), lambda: constraints.UnitNorm(), lambda: constraints.MinMaxNorm(0.5, 2.0),
    lambda: constraints.MinMaxNorm(0.5, 2.0, rate=0.25),
])
def test_constraints_at_any_size(make, size):
    w = np.array([[1, -0.5], [1, 1], [0, 0.25]], np.float32) * np.float32(size)
    got = make()(w)
    assert got.dtype == np.float32
    assert np.allclose(got, make()(w.astype(np.float64)), rtol=1e-6)
    if size == 1e20:
        assert np.allclose(constraints.MaxNorm(2)(np.full((2, 1), 1e20, "f")), 2**0.5)
        assert np.allclose(constraints.UnitNorm()(np.full((2, 1), 1e20, "f")), 0.5**0.5)


@pytest.mark.parametrize("size", [1e20, 1e38])
@pytest.mark.parametrize("make", [
    layers.UnitNormalization, layers.RMSNormalization,
    lambda **kw: layers.UnitNormalization(axis=[1, 2], **kw),
    layers.LayerNormalization, lambda **kw: layers.GroupNormalization(2, **kw),
])
def test_normalizing_layers_at_any_size(make, size):
    """Values and gradients are those of float64; rows that do not overflow keep their bits. Denormals are
    zeros."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (3, 5, 4)).astype(np.float32)
    plain = make()(x)
    x[1] *= np.float32(size)
    layer, exact = make(), make(dtype="float64")
    assert np.allclose(layer(x), exact(x), rtol=1e-5, atol=1e-6)
    assert (layer(x)[[0, 2]] == plain[[0, 2]]).all()
    dx = []
    for it, dtype in ((layer, np.float32), (exact, np.float64)):
        tape = Tape()
        with kernel_arithmetic():
            it.forward(x.astype(dtype), tape, training=True)
            dx.append(it.backward(np.cos(np.arange(60)).reshape(3, 5, 4).astype(dtype), tape))
    assert np.allclose(dx[0][1] * size, dx[1][1] * size, rtol=1e-4,
                       atol=max(1e-4, np.finfo(np.float32).tiny * size))


def test_cosines_at_any_size():
    a, b = np.array([[1, 2, 0], [1, 1, 1]]), np.array([[2, 1, 1], [0, 1, 0]])
    want = losses.CosineSimilarity()(a, b.astype(np.float64))
    for size in (1e20, 1e38):
        value, slope = losses.CosineSimilarity().value_and_grad(a * size, (b * size).astype(np.float32))
        assert np.isclose(value, want, rtol=1e-6)
        exact = losses.CosineSimilarity().value_and_grad(a * 1.0, b * 1.0)[1]
        assert np.allclose(slope * size, exact, rtol=1e-5, atol=1e-6)
        unit = tdfast.utils.normalize((b * size).astype(np.float32))
        assert np.allclose(unit, tdfast.utils.normalize(b), rtol=1e-6)


def test_orthogonal_regularizer_of_large_weights():
    w = np.array([[1, 2], [2, 1]], np.float32) * np.float32(1e30)
    assert np.isclose(regularizers.OrthogonalRegularizer(1.0)(w), 0.8)


def test_length_of_nothing_zeros_and_no_numbers():
    for values in ([], [0.0, 0.0]):
        assert norms.length(np.array(values, np.float32), 0.0) == 0
    assert norms.length(np.array([1, np.inf], np.float32), np.inf) == np.inf
    assert np.isnan(norms.length(np.array([1, np.nan], np.float32), np.nan))
    assert np.isclose(norms.length(np.array([3e200, 4e200]), np.inf), 5e200)


# ---------------------------------------------------------------- a step that cannot be made


class Kink(layers.Layer):
    """Hands its input on; its gradient is one number everywhere."""

    slope = 1.0

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        return x

    def backward(self, dy, tape, need_dx=True):
        tape.pop(self)
        return np.full_like(dy, self.slope)


OPTIMIZERS = [
    lambda: optimizers.SGD(0.1), lambda: optimizers.SGD(0.1, global_clipnorm=1.0),
    lambda: optimizers.Adam(clipnorm=1.0), lambda: optimizers.Lion(),
    lambda: optimizers.SGD(0.1, gradient_accumulation_steps=2),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("slope", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_leaves_everything_as_it_was(make, slope):
    kink = Kink()
    model = tdfast.Sequential([layers.Input((2,)), layers.BatchNormalization(), Dense(2), kink])
    model.compile(make(), "mse")
    x, y = np.random.default_rng(0).normal(size=(8, 2)), np.ones((8, 2))
    model.train_on_batch(x, y)
    before, steps = model.get_weights(), model.optimizer.iterations
    kink.slope = slope
    with pytest.raises(FloatingPointError, match="gradient of weight 'gamma' of .*those of the step before"):
        model.train_on_batch(x, y)
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))
    assert model.optimizer.iterations == steps
    ending = tdfast.callbacks.TerminateOnNaN()
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[ending]).history["loss"]
    assert len(history) == 1 and np.isnan(history[0])
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))
    kink.slope = 1.0
    model.train_on_batch(x, y)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_clipvalue_cuts_infinity_off():
    kink = Kink()
    kink.slope = np.inf
    model = tdfast.Sequential([layers.Input((1,)), Dense(1, kernel_initializer="zeros"), kink])
    model.compile(optimizers.SGD(1.0, clipvalue=0.5), "mse")
    model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
    assert [w.item() for w in model.get_weights()] == [-0.5, -0.5]


@pytest.mark.parametrize("options", [{}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"clipvalue": 1.0}])
def test_a_loss_that_is_no_number_leaves_everything_as_it_was(options):
    model = tdfast.Sequential([layers.Input((2,)), layers.BatchNormalization(), Dense(2)])
    model.compile(optimizers.SGD(0.1, **options), "mse")
    x, y = np.random.default_rng(0).normal(size=(8, 2)), np.ones((8, 2))
    model.train_on_batch(x, y)
    before = model.get_weights()
    with pytest.raises(FloatingPointError, match="those of the step before"):
        model.train_on_batch(x, y * 1e30)
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))


def test_the_advice_of_the_error_works():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)) * 100
    y = x @ np.ones((3, 1))

    def train(**options):
        model = tdfast.Sequential([layers.Input((3,)), Dense(1, kernel_initializer="zeros")])
        model.compile(optimizers.SGD(0.01, **options), "mse")
        return model.fit(x, y, epochs=30, verbose=0, shuffle=False).history["loss"]

    with pytest.raises(FloatingPointError, match="smaller learning_rate or clipnorm=1"):
        train()
    losses_of_epochs = train(clipnorm=1)
    assert losses_of_epochs[-1] < losses_of_epochs[0]
    with pytest.raises(FloatingPointError) as error:
        train(clipvalue=1e30)
    assert "clipnorm" not in str(error.value)


def test_weights_that_were_no_numbers_before_are_named_as_such():
    model = tdfast.Sequential([layers.Input((1,)), Dense(1, name="last", kernel_initializer="ones")])
    model.compile(optimizers.SGD(1e30), "mae")
    began = "in epoch 2, batch 1. It began before that step: weight 'kernel' of layer 'last'"
    with pytest.raises(FloatingPointError, match=began):
        model.fit(np.full((1, 1), 1e20), np.zeros((1, 1)), epochs=2, verbose=0)


@pytest.mark.parametrize("build", [
    lambda x, state: Dense(1, name="last")(Dense(4)(x)[:, 0] * 2 + 1),
    lambda x, state: Dense(1, name="last")(layers.SimpleRNN(4)(x, initial_state=state)),
    lambda x, state: Dense(1, name="last")(layers.GRU(4)(x, mask=tdfast.ops.any(x > 0, axis=-1))),
], ids=["operations", "initial_state", "mask"])
def test_the_first_layer_at_fault_is_named_in_graphs_too(build):
    x, state = layers.Input((5, 3)), layers.Input((4,))
    model = tdfast.Model([x, state], build(x, state))
    model.compile(optimizers.SGD(1e30), "mse")
    data = [np.ones((8, 5, 3)), np.ones((8, 4))]
    with pytest.raises(FloatingPointError, match="It began in layer 'last'|weight .* was not finite"):
        model.fit(data, np.full((8, 1), 1e10), epochs=9, verbose=0)
