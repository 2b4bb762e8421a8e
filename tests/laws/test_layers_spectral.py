"""SpectralNormalization and Wrapper: their rows for the laws, what training does, and their errors."""

import laws
import numpy as np
import pytest
import reference
from laws import Case

import tdfast
from tdfast import Model, Sequential, layers, saving
from tdfast.engine.layer import Layer
from tdfast.engine.tape import Tape
from tdfast.layers import (
    LSTM,
    Bidirectional,
    Conv2D,
    Conv3D,
    Dense,
    Embedding,
    Input,
    Masking,
    SpectralNormalization,
    TimeDistributed,
    Wrapper,
)


def case(name, inner, shape, formula, **more):
    """Without training the layer is the one inside; its weights are the kernel, vector_u, the bias."""
    return Case(f"SpectralNormalization {name}",
                lambda size, dtype: SpectralNormalization(inner(size, dtype), dtype=dtype), shape,
                lambda x, w, size: formula(x, w[0], *w[2:]), **more)


CASES = [
    case("Dense", lambda size, dtype: Dense(size, activation="tanh", dtype=dtype), ("T", 3),
         lambda x, *w: reference.dense(x, *w, act="tanh")),
    case("Conv2D", lambda size, dtype: Conv2D(size, 3, padding="same", dtype=dtype), (4, 5, 2),
         lambda x, *w: reference.conv(x, *w, padding="same"), bounded=False, sizes=(1, 17)),
    Case("Wrapper", lambda size, dtype: Halved(Dense(size, dtype=dtype)), ("T", 3),
         lambda x, w, size: reference.dense(x, *w) / 2),
]


@tdfast.saving.register_keras_serializable("tests")
class Halved(Wrapper):
    """Half of what the layer inside gives."""

    def forward(self, x, tape, training=False, mask=None):
        rec = tape.push(self)
        y = self.layer.forward(x, tape, training=training, mask=mask)
        return np.multiply(y, y.dtype.type(0.5), out=rec.buffer("y", y.shape, y.dtype))

    def backward(self, dy, tape, need_dx=True):
        dx = self.layer.backward(dy * dy.dtype.type(0.5), tape, need_dx)
        tape.pop(self)
        return dx

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)


@pytest.mark.parametrize("law,case", laws.checks(CASES))
def test_law(law, case):
    law(case)


# ---------------------------------------------------------------- training


def normalized(kernel, u, iterations):
    """(kernel / sigma, u of the next call): Miyato et al. 2018."""
    weights = kernel.reshape(-1, kernel.shape[-1])
    for _ in range(iterations):
        v = weights @ u
        v = v / np.linalg.norm(v)
        u = v @ weights
        u = u / np.linalg.norm(u)
    return kernel / (v @ weights @ u), u, v


def trained(inner, x, iterations=1, seed=0):
    """(layer, dx, gradients of its weights, weights before) of a pass with dy = 1."""
    layer = SpectralNormalization(inner, iterations)
    layer.ensure_built((None, *x.shape[1:]))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    before, tape = layer.get_weights(), Tape()
    y = layer.forward(x, tape, training=True)
    dx = layer.backward(np.ones_like(y), tape).copy()
    return layer, dx, [w.grad.copy() for w in layer.weights], before


@pytest.mark.parametrize("make, formula, shape", [
    (lambda: Dense(3, activation="tanh", dtype="float64"),
     lambda x, *w: reference.dense(x, *w, act="tanh"), (6, 4)),
    (lambda: Conv2D(2, 2, activation="sigmoid", dtype="float64"),
     lambda x, *w: reference.conv(x, *w, act="sigmoid"), (2, 4, 3, 2)),
    (lambda: Conv3D(2, 2, activation="sigmoid", dtype="float64"),
     lambda x, *w: reference.conv(x, *w, act="sigmoid"), (2, 3, 3, 2, 2)),
], ids=["Dense", "Conv2D", "Conv3D"])
@pytest.mark.parametrize("iterations", [1, 3])
def test_gradient_goes_through_the_normalized_kernel(make, formula, shape, iterations):
    """u and v are constants in it."""
    x = np.random.default_rng(1).normal(size=shape)
    layer, dx, grads, (kernel, u, bias) = trained(make(), x, iterations)
    _, new_u, v = normalized(kernel, u[0], iterations)
    np.testing.assert_allclose(layer.vector_u, new_u[None], atol=1e-12)
    assert np.array_equal(layer.kernel, kernel), "training leaves the kernel to the optimizer"

    def loss():
        sigma = v @ kernel.reshape(-1, kernel.shape[-1]) @ new_u
        return float(formula(x, kernel / sigma, bias).sum())

    for array, got in ((x, dx), (kernel, grads[0]), (bias, grads[2])):
        np.testing.assert_allclose(got, laws.differences(loss, array), atol=1e-7)


@laws.on_precision("highest")
def test_a_call_with_training_writes_the_kernel():
    layer, x = SpectralNormalization(Dense(3), 50), np.random.default_rng(0).normal(size=(5, 4))
    raw = layer(x)
    kernel = layer.layer.kernel.numpy()
    y = layer(x, training=True)
    assert np.linalg.norm(layer.layer.kernel.numpy(), 2) == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(y * np.linalg.norm(kernel, 2), raw, rtol=1e-4, atol=1e-5)
    assert np.array_equal(layer(x), y)


def test_a_kernel_of_zeros_stays():
    layer = SpectralNormalization(Dense(3, kernel_initializer="zeros"))
    layer.build((None, 4))
    before = layer.get_weights()
    assert not layer(np.ones((2, 4)), training=True).any()
    assert all(map(np.array_equal, before, layer.get_weights()))


def test_called_twice_in_one_pass():
    """The second call goes on with the first one's u; the gradients add up."""
    shared, x = SpectralNormalization(Dense(4, use_bias=False, dtype="float64")), Input((4,), dtype="float64")
    model = Model(x, shared(shared(x)))
    model.compile(tdfast.optimizers.SGD(1.0), "mse")
    rng = np.random.default_rng(0)
    kernel, u = rng.normal(size=(4, 4)), rng.normal(size=(1, 4))
    model.set_weights([kernel, u])
    data, targets = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    model.train_on_batch(data, targets)
    _, first, v1 = normalized(kernel, u[0], 1)
    _, second, v2 = normalized(kernel, first, 1)
    np.testing.assert_allclose(model.get_weights()[1][0], second, atol=1e-12)
    start = kernel.copy()

    def loss():
        one, two = kernel / (v1 @ kernel @ first), kernel / (v2 @ kernel @ second)
        return float(np.mean((data @ one @ two - targets) ** 2))

    np.testing.assert_allclose(start - model.get_weights()[0], laws.differences(loss, kernel), atol=1e-7)


def test_frozen_inside_or_as_a_whole():
    for freeze in (lambda layer: setattr(layer, "trainable", False),
                   lambda layer: setattr(layer.layer, "trainable", False)):
        layer = SpectralNormalization(Dense(3))
        layer.build((None, 4))
        assert [w.name for w in layer.trainable_weights] == ["kernel", "bias"] and layer.learns
        freeze(layer)
        assert layer.trainable_weights == [] and not layer.learns


def test_embeddings_and_masks():
    model = Sequential([Input((5,)), SpectralNormalization(Embedding(7, 3, mask_zero=True)),
                        SpectralNormalization(Dense(4)), LSTM(2)])
    plain = Sequential([Input((5,)), Embedding(7, 3, mask_zero=True), Dense(4), LSTM(2)])
    ids = np.random.default_rng(0).integers(0, 7, (3, 5))
    plain.set_weights([w for w in model.get_weights() if w.shape[0] != 1])
    assert np.array_equal(model.predict(ids, verbose=0), plain.predict(ids, verbose=0))
    model.compile("adam", "mse")
    before = model.get_weights()
    model.fit(ids, np.ones((3, 2)), verbose=0)
    assert all(np.isfinite(w).all() and not np.array_equal(w, b) for w, b in zip(model.get_weights(), before))
    streamed = Sequential([Input((5, 3)), SpectralNormalization(Dense(4)), LSTM(2)])
    x = np.random.default_rng(1).normal(size=(1, 5, 3)).astype("float32")
    stream = streamed.streamer()
    last = [np.array(stream.step(x[:, t])) for t in range(5)][-1]
    np.testing.assert_allclose(last.ravel(), streamed.predict(x, verbose=0)[0], atol=1e-6)


def test_training_goes_on_after_a_file(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6, 6, 2)).astype("float32"), rng.normal(size=(8, 1)).astype("float32")
    model = Sequential([Input((6, 6, 2)), SpectralNormalization(Conv2D(3, 3)), layers.Flatten(),
                        Halved(Dense(1))])
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    again = saving.load_model(tmp_path / "m.keras")
    assert type(again.layers[2]) is Halved
    first, second = (m.fit(x, y, epochs=2, shuffle=False, verbose=0).history["loss"] for m in (model, again))
    assert first == second
    again.load_weights(tmp_path / "m.weights.h5")
    config = SpectralNormalization(Dense(3), 4).get_config()
    assert SpectralNormalization.from_config(config).get_config() == config


# ---------------------------------------------------------------- classes and errors


def test_who_is_a_wrapper():
    """As in Keras 3.15, where Bidirectional is none."""
    for layer in (TimeDistributed(Dense(2)), SpectralNormalization(Dense(2)), Halved(Dense(2))):
        assert isinstance(layer, Wrapper) and isinstance(layer, Layer)
    assert not isinstance(Bidirectional(LSTM(2)), Wrapper)


@pytest.mark.parametrize("make, words", [
    (lambda: Wrapper(3), "Wrapper needs a layer to wrap, such as Wrapper(Dense(8)), got 3 (int)"),
    (lambda: SpectralNormalization("Dense"), "SpectralNormalization needs a layer to wrap"),
    (lambda: Halved(Dense(2, dtype="float64"), dtype="float32"), "give both the same dtype="),
    (lambda: SpectralNormalization(Dense(2), 0), "power_iterations must be a whole number of at least 1"),
    (lambda: SpectralNormalization(Dense(2), power_iterations=1.5), "power_iterations must be"),
    (lambda: SpectralNormalization(layers.Add()), "which takes several inputs"),
    (lambda: SpectralNormalization(LSTM(2, name="memory"))(np.ones((1, 3, 2))),
     "cannot wrap 'memory' (LSTM), which has neither one kernel nor embeddings"),
    (lambda: SpectralNormalization(layers.SeparableConv1D(2, 2))(np.ones((1, 3, 2))), "neither one kernel"),
])
def test_refuses(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)


def test_a_mask_that_the_layer_inside_cannot_carry():
    with pytest.raises(TypeError, match="cannot carry a mask"):
        Sequential([Input((5, 3)), Masking(), SpectralNormalization(layers.Conv1D(2, 2))]).predict(
            np.zeros((2, 5, 3)), verbose=0)
