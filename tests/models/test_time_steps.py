"""A model takes any number of time steps that its layers can compute, whatever it was built for."""

import numpy as np
import pytest

from tdfast import Input, Sequential
from tdfast.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    LayerNormalization,
    Masking,
    MaxPooling1D,
    Permute,
    PReLU,
    Reshape,
    TimeDistributed,
    UpSampling1D,
)
from tdfast.models import load_model, model_from_json

STACKS = {
    "lstm": lambda: [LSTM(4, return_sequences=True), Dense(3)],
    "many to one": lambda: [GRU(4), Dense(3)],
    "masking": lambda: [Masking(), Bidirectional(LSTM(3, return_sequences=True)), TimeDistributed(Dense(3))],
    "convolution": lambda: [Conv1D(4, 3), MaxPooling1D(2), UpSampling1D(2), LayerNormalization()],
    "pooling": lambda: [Dropout(0.1, seed=1), GlobalAveragePooling1D(), Dense(3)],
    "a model within": lambda: [TimeDistributed(Sequential([Dense(4), Dense(2)])), Sequential([LSTM(4)])],
    "shared axes": lambda: [PReLU(shared_axes=[1])],
    "features made of features": lambda: [TimeDistributed(Reshape((2, 1))), TimeDistributed(Flatten()),
                                          LSTM(3)],
}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def twins(make, shape):
    """A model that was built for these samples, and one of the same weights that knows no number of steps."""
    fixed, free = Sequential([Input(shape), *make()]), Sequential([Input((None, *shape[1:])), *make()])
    free.set_weights(fixed.get_weights())
    return fixed, free


@pytest.mark.parametrize("steps", [4, 5, 9])
@pytest.mark.parametrize("name", STACKS)
def test_other_numbers_of_steps_compute_the_same_as_an_open_axis(name, steps):
    fixed, free = twins(STACKS[name], (6, 2))
    x = numbers(3, steps, 2)
    want = free.predict(x, verbose=0)
    np.testing.assert_array_equal(fixed.predict(x, verbose=0), want)
    np.testing.assert_array_equal(fixed(x), want)
    for model in (fixed, free):
        model.compile("sgd", "mse")
    y = np.zeros_like(want)
    for method in ("test_on_batch", "train_on_batch"):
        assert getattr(fixed, method)(x, y) == getattr(free, method)(x, y)
    assert fixed.evaluate(x, y, verbose=0) == free.evaluate(x, y, verbose=0)
    assert fixed.fit(x, y, shuffle=False,
                     verbose=0).history == free.fit(x, y, shuffle=False, verbose=0).history


def test_fit_and_predict_with_other_numbers_than_the_first_data():
    model = Sequential([LSTM(4, return_sequences=True), Dense(1)])
    model.compile("sgd", "mse")
    model.fit(numbers(4, 6, 2), numbers(4, 6, 1), verbose=0)
    weights = model.get_weights()
    x = numbers(4, 9, 2, seed=1)
    whole = model.predict(x, verbose=0)
    assert whole.shape == (4, 9, 1)
    # A causal model: the first six outputs know nothing of the other three.
    np.testing.assert_array_equal(model.predict(x[:, :6], verbose=0), whole[:, :6])
    model.fit(x, numbers(4, 9, 1), verbose=0, validation_data=(numbers(2, 3, 2), numbers(2, 3, 1)))
    assert any((a != b).any() for a, b in zip(weights, model.get_weights()))


def test_batches_padded_to_their_own_length():
    model = Sequential([Input((6,)), Embedding(10, 3, mask_zero=True), GRU(4), Dense(1)])
    model.compile("sgd", "mse")
    tokens = np.random.default_rng(0).integers(1, 10, (4, 8))
    batches = [(tokens[:2, :5], np.zeros((2, 1))), (tokens[2:], np.zeros((2, 1)))]
    assert len(model.fit(iter(batches), verbose=0).history["loss"]) == 1
    lone = model.predict(tokens[:1, :5], verbose=0)
    np.testing.assert_array_equal(model.predict(np.pad(tokens[:1, :5], ((0, 0), (0, 4))), verbose=0), lone)


def test_pictures_of_another_size():
    model = Sequential([Input((8, 8, 1)), Conv2D(2, 3, padding="same")])
    assert model.predict(numbers(2, 5, 11, 1), verbose=0).shape == (2, 5, 11, 2)


def test_files_and_json_keep_the_freedom(tmp_path):
    model = Sequential([Input((6, 2)), LSTM(4)])
    x = numbers(2, 11, 2)
    want = model.predict(x, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert loaded.input_shape == (None, 6, 2)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), want)
    assert model_from_json(model.to_json()).predict(x, verbose=0).shape == want.shape


REFUSED = [
    (lambda: [Flatten(), Dense(1)], (3, 9, 2), ["Layer 'flatten", "GlobalAveragePooling1D", "(Dense)", "12",
                                                "18"]),
    (lambda: [Reshape((12,)), Dense(1)], (3, 9, 2), ["Reshape cannot give", "18 numbers"]),
    (lambda: [Permute((2, 1)), LSTM(3)], (3, 9, 2), ["(LSTM)", "6 features", "(Permute)"]),
    (lambda: [PReLU()], (3, 9, 2), ["(PReLU)", "(6, 2)"]),
    (lambda: [LayerNormalization(axis=[1, 2])], (3, 9, 2), ["(LayerNormalization)"]),
    (lambda: [Conv1D(2, 5)], (3, 4, 2), ["(Conv1D)"]),
    (lambda: [LSTM(3)], (3, 9, 3), ["(LSTM)", "2 features"]),
]


@pytest.mark.parametrize("make, shape, words", REFUSED, ids=lambda a: str(a) if isinstance(a, tuple) else "")
def test_the_layer_that_minds_refuses(make, shape, words):
    model = Sequential([Input((6, 2)), *make()], name="memory")
    for call in (model, lambda x: model.predict(x, verbose=0)):
        with pytest.raises(ValueError) as error:
            call(numbers(*shape))
        for word in ["'memory'", "(None, 6, 2)", str(shape), *words]:
            assert word in str(error.value), str(error.value)


def test_a_layer_added_later_is_asked_as_well():
    model = Sequential([Input((6, 2)), LSTM(3, return_sequences=True)])
    assert model(numbers(2, 9, 2)).shape == (2, 9, 3)
    model.add(Flatten())
    model.add(Dense(1))
    with pytest.raises(ValueError, match="GlobalAveragePooling1D"):
        model(numbers(2, 9, 2))
    model.pop()
    assert model(numbers(2, 9, 2)).shape == (2, 27)
