"""Masks, normalization, noise and activation layers against Keras itself, where it is installed."""

import importlib.util
import os

import numpy as np
import pytest

# Torch runs at once what JAX compiles first.
os.environ.setdefault("KERAS_BACKEND", "torch" if importlib.util.find_spec("torch") else "jax")
keras = pytest.importorskip("keras")

from tdfast import Sequential, layers, losses, optimizers  # noqa: E402

TOLERANCE = 2e-5


def pair(recipe, shape, dtype="float32"):
    """The same model in both libraries, with random weights: recipe(layers) -> a list of layers."""
    ours = Sequential([layers.Input(shape, dtype=dtype), *recipe(layers)])
    theirs = keras.Sequential([keras.layers.Input(shape, dtype=dtype), *recipe(keras.layers)])
    rng = np.random.default_rng(len(shape) + ours.count_params())
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]
    weights = [np.abs(rng.normal(size=w.shape)) + 0.1 if "variance" in w.name
               else rng.normal(size=w.shape) * 0.5
               for w in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def compare(recipe, x, y, steps=2, loss="mse", sample_weight=None, tolerance=TOLERANCE):
    """Predictions, losses, metrics, all weights after some SGD steps and predictions again."""
    ours, theirs = pair(recipe, x.shape[1:], x.dtype.name)
    metric = ["mae"] if np.issubdtype(y.dtype, np.floating) else ["accuracy"]
    ours.compile(optimizers.SGD(0.1), losses.get(loss), metrics=metric)
    theirs.compile(keras.optimizers.SGD(0.1), keras.losses.get(loss), metrics=metric)

    def near(a, b, what):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance, err_msg=what)

    near(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), "predictions before")
    near(ours.evaluate(x, y, verbose=0, sample_weight=sample_weight, batch_size=3),
         theirs.evaluate(x, y, verbose=0, sample_weight=sample_weight, batch_size=3), "evaluate")
    for i in range(steps):
        got = [model.train_on_batch(x, y, sample_weight=sample_weight) for model in (ours, theirs)]
        # On JAX the metrics of Keras's training step do not see masks; those of its evaluate do.
        n = 1 if keras.backend.backend() == "jax" else 2
        near(got[0][:n], got[1][:n], f"loss and metric of step {i}")
    for a, b in zip(ours.weights, theirs.weights):
        near(a.numpy(), b.numpy(), f"{b.path} after training")
    near(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), "predictions after")


def padded(features, value=0.0, seed=0):
    """Right, left, interior and no padding, one valid step, and a row of nothing else."""
    mask = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0],
                     [0, 0, 0, 0, 0]], bool)
    x = np.random.default_rng(seed).normal(size=(*mask.shape, features)).astype("float32")
    x[~mask] = value
    return x


CARRIERS = {
    "LSTM": lambda L: L.LSTM(4, return_sequences=True),
    "GRU": lambda L: L.GRU(4, return_sequences=True),
    "SimpleRNN": lambda L: L.SimpleRNN(4, return_sequences=True),
    "TimeDistributed": lambda L: L.TimeDistributed(L.Dense(4, activation="tanh")),
    "Dropout": lambda L: L.Dropout(0.0),
    "Dense": lambda L: L.Dense(4),
    "Activation": lambda L: L.Activation("tanh"),
}


@pytest.mark.parametrize("name", CARRIERS)
def test_masks_reach_the_loss(name):
    x = padded(3)
    y = np.random.default_rng(1).normal(size=(6, 5, 2)).astype("float32")
    compare(lambda L: [L.Masking(), CARRIERS[name](L), L.Dense(2)], x, y)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_masks_end_in_the_last_output(name):
    x = padded(3, value=-1.0)
    y = np.random.default_rng(1).normal(size=(6, 2)).astype("float32")
    compare(lambda L: [L.Masking(-1.0), getattr(L, name)(4), L.Dense(2)], x, y)


def test_masks_and_sample_weights():
    x = padded(3)
    rng = np.random.default_rng(1)
    y, w = rng.normal(size=(6, 5, 2)).astype("float32"), rng.random((6, 5)).astype("float32")
    compare(lambda L: [L.Masking(), L.LSTM(4, return_sequences=True), L.Dense(2)], x, y, sample_weight=w)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
@pytest.mark.parametrize("mask_zero", [True, False])
@pytest.mark.parametrize("sequences", [True, False])
def test_embedding(dtype, mask_zero, sequences):
    ids = np.random.default_rng(3).integers(1, 7, (6, 5))
    ids = np.where(padded(1)[..., 0] == 0, 0, ids).astype(dtype)
    y = np.random.default_rng(2).integers(0, 3, (6, 5) if sequences else (6,))
    compare(lambda L: [L.Embedding(7, 4, mask_zero=mask_zero), L.LSTM(4, return_sequences=sequences),
                       L.Dense(3, activation="softmax")], ids, y, loss="sparse_categorical_crossentropy")


def test_time_distributed_embedding():
    ids = np.random.default_rng(3).integers(0, 7, (4, 5, 3)).astype("int32")
    y = np.random.default_rng(2).normal(size=(4, 5, 2)).astype("float32")
    compare(lambda L: [L.TimeDistributed(L.Embedding(7, 4)), L.TimeDistributed(L.LSTM(3)), L.Dense(2)], ids,
            y)


def layers_without_defaults():
    yield "Masking", {}, (None, 5, 3)
    yield "Embedding", {"input_dim": 5, "output_dim": 3}, (None, 4)


@pytest.mark.parametrize("name, options, shape", list(layers_without_defaults()))
def test_config_has_keras_keys_and_defaults(name, options, shape):
    """Keys and values, in Keras's order."""
    ours, theirs = getattr(layers, name)(**options), getattr(keras.layers, name)(**options)
    ours.build(shape)
    theirs.build(shape)
    mine, other = ours.get_config(), theirs.get_config()
    for config in (mine, other):
        for key in ("dtype", "name"):
            config.pop(key)
    assert list(mine) == list(other)
    assert {k: _plain(v) for k, v in mine.items()} == {k: _plain(v) for k, v in other.items()}
    assert [(w.path.split("/", 1)[1], w.shape, w.trainable) for w in ours.weights] == [
        (w.path.split("/", 1)[1], tuple(w.shape), w.trainable) for w in theirs.weights]


def _plain(value):
    return list(value) if isinstance(value, (tuple, list)) else value
