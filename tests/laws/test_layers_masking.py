"""Masking, Embedding, normalization, noise and activation layers: the laws, and what is special to one
layer."""

import laws
import numpy as np
import pytest
import reference
from laws import Case

import tdfast
from tdfast import Sequential, layers
from tdfast.engine.tape import Tape
from tdfast.layers import (
    GRU,
    LSTM,
    Activation,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    Masking,
    TimeDistributed,
)

# Laws about numbers between the whole ones, and about NaN, say nothing about ids.
ID_LAWS = tuple(law for law in laws.LAWS if law is not laws.saturation_and_nan)


def masking_formula(value):
    return lambda x, w, size: np.where((x != value).any(axis=-1, keepdims=True), x, 0)


CASES = [
    Case("Embedding", lambda size, dtype: Embedding(7, size, dtype=dtype), ("T",),
         lambda x, w, size: w[0][x], ids=7, laws=ID_LAWS),
    Case("Embedding mask_zero rank 3", lambda size, dtype: Embedding(3, size, mask_zero=True, dtype=dtype),
         ("T", 4),
         lambda x, w, size: w[0][x], ids=3, laws=ID_LAWS),
    Case("TimeDistributed Embedding", lambda size,
         dtype: TimeDistributed(Embedding(5, size, dtype=dtype), dtype=dtype),
         ("T", 3), lambda x, w, size: w[0][x], ids=5, laws=ID_LAWS),
    Case("Sequential Embedding",
         lambda size,
         dtype: Sequential([Embedding(5, 3, mask_zero=True, dtype=dtype), Dense(size, dtype=dtype)]),
         ("T",), lambda x, w, size: reference.dense(w[0][x], *w[1:]), ids=5, laws=ID_LAWS),
    Case("Masking", lambda size, dtype: Masking(0.5, dtype=dtype), ("T", 7), masking_formula(0.5),
         sizes=(4,)),
    Case("Masking rank 4", lambda size, dtype: Masking(dtype=dtype), ("T", 2, 17), masking_formula(0),
         sizes=(4,)),
]


@pytest.mark.parametrize("law,case", laws.checks(CASES))
def test_law(law, case):
    law(case)


# ---------------------------------------------------------------- Embedding


def test_embedding_takes_ids_of_every_dtype():
    layer = Embedding(100, 3)
    ids = np.array([[0, 99, 7], [8, 7, 7]])
    want = layer(ids)
    assert want.shape == (2, 3, 3) and np.array_equal(want, layer.embeddings.numpy()[ids])
    for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32",
                  "float64"):
        assert np.array_equal(layer(ids.astype(dtype)), want), dtype
    assert np.array_equal(layer(ids.tolist()), want)
    assert np.array_equal(layer(np.asfortranarray(ids)), want)
    assert np.array_equal(layer(ids == 0), layer.embeddings.numpy()[(ids == 0).astype(int)])


@pytest.mark.parametrize("value, why", [
    (5, "the id 5 at index \\(1, 0\\) is out of range: input_dim=5 stands for the ids from 0 to 4"),
    (-1, "the id -1 at index \\(1, 0\\) is out of range"),
    (2**40, "out of range"),
    (0.5, "0.5 at index \\(1, 0\\) is not a whole number"),
    (np.nan, "out of range"),
    (np.inf, "out of range"),
], ids=str)
def test_embedding_refuses_what_is_no_id(value, why):
    """Before anything changes: in the layer, in a model, in fit."""
    layer = Embedding(5, 2, name="words")
    x = np.array([[0, 1], [value, 3]])
    with pytest.raises(ValueError, match=f"Layer 'words' \\(Embedding\\): .*{why}"):
        layer(x)
    model = Sequential([Embedding(5, 2, name="words"), LSTM(2)])
    model.compile("sgd", "mse")
    for call in (lambda: model.fit(x, np.zeros((2, 2)), verbose=0), lambda: model.predict(x, verbose=0)):
        with pytest.raises(ValueError, match="(fit|predict), layer 'words'.*"):
            call()
    assert model.built is False


def test_embedding_keeps_large_ids_exact():
    layer = Embedding(2**24 + 3, 1, embeddings_initializer="zeros")
    layer.build()
    layer.embeddings.value[2**24 + 1] = 1
    assert layer(np.array([2**24, 2**24 + 1, 2**24 + 2])).ravel().tolist() == [0, 1, 0]
    assert layer(np.array([2**24 + 1], "float64")).item() == 1
    with pytest.raises(ValueError, match="may be rounded"):
        layer(np.array([2**24], "float32"))
    behind = Sequential([Input((2,)), Dropout(0.1), layer])
    with pytest.raises(ValueError, match="may be rounded"):
        behind(np.array([[1, 2**24 + 1]]))


def test_embedding_behind_another_layer():
    words = Embedding(6, 2)
    model = Sequential([Input((2, 3), dtype="int32"), Flatten(), words])
    x = np.arange(6).reshape(1, 2, 3)
    assert np.array_equal(model(x), words.embeddings.numpy()[x.reshape(1, 6)])


def test_embedding_weights_argument():
    table = np.arange(6.0).reshape(3, 2)
    for weights in (table, [table]):
        layer = Embedding(3, 2, weights=weights, name="words")
        assert layer.built and [w.path for w in layer.weights] == ["words/embeddings"]
        assert layer([2]).tolist() == [[4.0, 5.0]]
        assert layer.output_shape == (None, 2)
    with pytest.raises(ValueError, match="shape"):
        Embedding(3, 2, weights=table.T)
    with pytest.warns(UserWarning, match="input_length"):
        Embedding(3, 2, input_length=4)


def test_embedding_gradient_is_summed_over_repeated_ids():
    layer = Embedding(4, 17)
    ids = np.array([[1, 1, 3], [1, 0, 3]], "int32")
    tape, dy = Tape(), np.random.default_rng(0).normal(size=(2, 3, 17)).astype("float32")
    layer.build()
    layer.embeddings.grad[...] = 7
    layer.forward(ids, tape, training=True)
    assert layer.backward(dy.copy(), tape, need_dx=False) is None
    want = np.zeros((4, 17), "float32")
    for i, row in zip(ids.ravel(), dy.reshape(-1, 17)):
        want[i] += row
    assert np.array_equal(layer.embeddings.grad, want)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "float32", "float64"])
def test_models_of_ids_train_predict_and_are_saved(dtype, tmp_path):
    pytest.importorskip("h5py")
    x = np.random.default_rng(0).integers(0, 9, (40, 6)).astype(dtype)
    y = (x == 3).sum(axis=1, keepdims=True).astype("float32")
    kind = dtype if dtype[0] in "iu" else "float32"
    model = Sequential([Input((6,), dtype=kind), Embedding(9, 4), LSTM(8), Dense(1)])
    model.compile("adam", "mse")
    loss = model.fit(x, y, epochs=30, batch_size=7, verbose=0).history["loss"]
    assert loss[-1] < 0.5 * loss[0]
    assert model.evaluate(x, y, verbose=0) < 0.5 * loss[0]
    want = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    twin = tdfast.saving.load_model(tmp_path / "model.keras")
    assert twin.inputs[0].dtype == kind
    assert np.array_equal(twin.predict(x, verbose=0), want)
    assert np.array_equal(twin.predict(x.astype("int64"), verbose=0), want)


def test_input_dtype_is_checked():
    for dtype in ("int7", "complex64", "float16", "bytes", object):
        with pytest.raises(ValueError, match="Input: dtype"):
            Input((2,), dtype=dtype)


# ---------------------------------------------------------------- masks go on

PADDINGS = {
    "right": [1, 1, 1, 0, 0],
    "left": [0, 0, 1, 1, 1],
    "interior": [1, 0, 1, 0, 1],
    "none": [1, 1, 1, 1, 1],
    "all": [0, 0, 0, 0, 0],
}


def padded(rng, features=3):
    mask = np.array(list(PADDINGS.values()), bool)
    x = rng.normal(size=(*mask.shape, features)).astype("float32")
    x[~mask] = 0
    return x, mask


def test_masking_tells_the_steps_of_every_padding():
    x, mask = padded(np.random.default_rng(0))
    x[3, 2, :2] = 0     # one feature that differs is enough
    layer = Masking()
    assert np.array_equal(layer.compute_mask(x), mask)
    assert np.array_equal(layer(x), x)
    x[0, 4] = np.nan
    assert layer.compute_mask(x)[0].tolist() == [True, True, True, False, True]


def test_embedding_makes_a_mask_of_zeros_or_none():
    assert Embedding(3, 2, mask_zero=True).compute_mask([[0, 2]]).tolist() == [[False, True]]
    assert Embedding(3, 2).compute_mask([[0, 2]]) is None
    with pytest.raises(TypeError, match="'words'"):
        Embedding(3, 2, name="words").compute_mask([[0, 2]], mask=np.ones((1, 2), bool))


CARRIERS = [
    lambda: LSTM(4, return_sequences=True),
    lambda: GRU(4, return_sequences=True),
    lambda: TimeDistributed(Dense(4)),
    lambda: Dropout(0.0),
    lambda: Dense(4),
    lambda: Activation("tanh"),
    lambda: Sequential([Dense(4), Activation("tanh")]),
    lambda: Sequential([Masking(), Dense(4)]),
]


@pytest.mark.parametrize("i", range(len(CARRIERS)))
@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_the_loss_and_the_metrics_count_valid_steps_only(i, loss):
    """The mean over the valid steps of all rows, as in Keras; what stands at the others is of no account."""
    rng = np.random.default_rng(i)
    x, mask = padded(rng)
    y = rng.normal(size=(5, 5, 2)).astype("float32")
    model = Sequential([Masking(), CARRIERS[i](), Dense(2)])
    model.compile("sgd", loss, metrics=["mae"])
    got = model.evaluate(x, y, verbose=0)
    p = model.predict(x, verbose=0)
    error = np.abs(p - y) if loss == "mae" else (p - y) ** 2
    valid = error.mean(axis=-1)[mask]
    assert abs(got[0] - valid.mean()) < 1e-5
    assert abs(got[1] - np.abs(p - y).mean(axis=-1)[mask].mean()) < 1e-5
    y[~mask] = 100
    assert np.allclose(model.evaluate(x, y, verbose=0), got, atol=1e-6)


def test_nested_models_make_their_masks():
    x, mask = padded(np.random.default_rng(1))
    inner = Sequential([Dense(3, use_bias=False), Masking(), Dense(2)])
    assert np.array_equal(inner.compute_mask(x), mask)
    tape = Tape(keep=False)
    outer = Sequential([inner, LSTM(2, return_sequences=True)])
    outer(x)
    outer.forward(x, tape)
    assert np.array_equal(tape.records[0].mask, mask)


@pytest.mark.parametrize("layer", [Embedding(4, 2, mask_zero=True, name="inner"), Masking(name="inner")],
                         ids=str)
def test_time_distributed_does_not_lose_a_mask_made_within(layer):
    x = np.ones((2, 3, 2, 2)[: 3 + isinstance(layer, Masking)])
    model = Sequential([TimeDistributed(layer), Dense(1)])
    with pytest.raises(TypeError, match="'inner'"):
        model(x)
    inside = Sequential([TimeDistributed(Sequential([Embedding(4, 2, mask_zero=True), LSTM(2)])), LSTM(1)])
    ids = np.array([[[1, 2, 0], [3, 0, 0]]])
    assert np.array_equal(inside(ids), inside(np.array([[[1, 2, 0], [0, 3, 0]]])))


@pytest.mark.parametrize("layer", [Flatten(name="end"), layers.Reshape((15,), name="end"),
                                   layers.Permute((2, 1), name="end")],
                         ids=lambda layer: type(layer).__name__)
def test_layers_that_end_a_mask_say_so(layer):
    with pytest.warns(UserWarning, match="'end'"):
        Sequential([Masking(), layer])(np.ones((2, 5, 3)))
