"""Layers that make numbers of tables and of text, beside Keras itself: on JAX those that need no TensorFlow;
with KERAS_BACKEND=tensorflow all of them, and their files in both directions.

What Keras gives on TensorFlow is recorded too: tests/layers/test_text_layers.py.
"""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")
pytest.importorskip(keras.backend.backend())

import tdfast  # noqa: E402

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow",
                                   reason="Keras's layers of strings need TensorFlow")
BOTH = (tdfast, keras)
TEXTS = ["The cat sat, on the mat!", "Hello WORLD the world", "", "na\u00efve \u00dcn\u00efcode \u2014 dash"]


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("shape", [(7,), (7, 1), (7, 4)])
def test_category_encoding(mode, shape):
    x = np.random.default_rng(0).integers(0, 5, shape)
    ours, theirs = (np.asarray(k.layers.CategoryEncoding(num_tokens=5, output_mode=mode)(x)) for k in BOTH)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("batches", [1, 5])
def test_discretization(mode, batches):
    rng = np.random.default_rng(1)
    data, x = rng.normal(size=(1000, 2)).astype("float32"), rng.normal(size=(9, 3)).astype("float32")
    made = [k.layers.Discretization(num_bins=7, epsilon=0.02, output_mode=mode) for k in BOTH]
    for layer in made:
        for batch in np.split(data, batches):           # Keras's adapt needs TensorFlow
            layer.update_state(batch)
        layer.finalize_state()
    np.testing.assert_allclose(made[0].bin_boundaries, made[1].bin_boundaries, rtol=1e-6)
    np.testing.assert_array_equal(made[0](x), np.asarray(made[1](x)))


def text_model(k, mode):
    if mode == "table":
        city, age = k.Input((1,), dtype="string", name="city"), k.Input((1,), name="age")
        look_up = k.layers.StringLookup(output_mode="one_hot", num_oov_indices=2)
        look_up.adapt(["Oslo", "Rome", "Oslo"])
        ranges = k.layers.Discretization(bin_boundaries=[1.0, 2.0], output_mode="one_hot")(age)
        crossed = k.layers.Hashing(num_bins=4, output_mode="one_hot")(city)
        joined = k.layers.Concatenate()([look_up(city), ranges, crossed])
        return k.Model([city, age], k.layers.Dense(2)(joined))
    layer = k.layers.TextVectorization(output_mode=mode, ngrams=2)
    layer.adapt(TEXTS)
    x = k.Input((1,), dtype="string")
    numbers = layer(x)
    if mode == "int":
        numbers = k.layers.GlobalAveragePooling1D()(k.layers.Embedding(40, 3)(numbers))
    return k.Model(x, k.layers.Dense(2)(numbers))


@on_tensorflow
@pytest.mark.parametrize("mode", ["int", "multi_hot", "count", "tf_idf", "table"])
@pytest.mark.parametrize("writer", [0, 1], ids=["from tdfast", "from Keras"])
def test_files_in_both_directions(mode, writer, tmp_path):
    import tensorflow as tf

    def outputs(k, model):
        column = [[text] for text in (["Oslo", "Rome", "Paris", ""] if mode == "table" else TEXTS)]
        ages = np.array([[0.5], [1.5], [2.5], [9.0]], "float32")
        if k is tdfast:
            x = np.array(column)
            return model.predict([x, ages] if mode == "table" else x, verbose=0)
        x = tf.constant(column)
        return np.asarray(model([x, tf.constant(ages)] if mode == "table" else x))

    write, read = BOTH[writer], BOTH[1 - writer]
    model = text_model(write, mode)
    model.save(tmp_path / "m.keras")
    again = read.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(outputs(read, again), outputs(write, model), rtol=1e-5, atol=1e-6)
    again.save(tmp_path / "n.keras")
    back = write.models.load_model(tmp_path / "n.keras")
    np.testing.assert_allclose(outputs(write, back), outputs(write, model), rtol=1e-5, atol=1e-6)
    model.save_weights(tmp_path / "m.weights.h5")
    again.load_weights(tmp_path / "m.weights.h5")


@on_tensorflow
@pytest.mark.parametrize("options", [{}, {"ngrams": 2}, {"split": "character"}, {"output_mode": "tf_idf"},
                                     {"max_tokens": 40}, {"standardize": "lower"}])
def test_random_texts(options):
    rng = np.random.default_rng(3)
    letters = list("aAbBcC.,!' \t-\u00e9\u00dc\u4e16")
    texts = ["".join(rng.choice(letters, rng.integers(0, 60))) for _ in range(300)]
    made = [k.layers.TextVectorization(**options) for k in BOTH]
    for layer in made:
        layer.adapt(texts)
    assert made[0].get_vocabulary() == made[1].get_vocabulary()
    np.testing.assert_allclose(made[0](texts), np.asarray(made[1](texts)), rtol=1e-6)


@on_tensorflow
def test_random_hashes():
    rng = np.random.default_rng(4)
    words = ["".join(map(chr, rng.integers(32, 1200, n))) for n in range(200)]
    for options in ({}, {"salt": 5}, {"salt": [3, 2**60]}):
        ours, theirs = (np.asarray(k.layers.Hashing(num_bins=2**40, **options)(words)) for k in BOTH)
        np.testing.assert_array_equal(ours, theirs)
    columns = [words, rng.integers(-(2**62), 2**62, len(words))]
    ours, theirs = (np.asarray(k.layers.HashedCrossing(num_bins=2**40)(columns)) for k in BOTH)
    np.testing.assert_array_equal(ours, theirs)
