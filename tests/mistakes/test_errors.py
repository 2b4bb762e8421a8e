"""A mistake gets one clear error: what was expected, what came, which layer. The model works on."""

import numpy as np
import pytest

import tdfast
from tdfast import Sequential, layers, losses, optimizers, utils
from tdfast.layers import LSTM, RNN, Dense, Flatten, GRUCell, Reshape, TimeDistributed

rng = np.random.default_rng(0)
X = rng.random((10, 6, 3)).astype("float32")
Y = rng.random((10, 6, 2)).astype("float32")


@pytest.fixture
def model():
    """A compiled model, which must still train after the test's mistake."""
    model = Sequential([LSTM(4, return_sequences=True, input_shape=(6, 3), name="memory"),
                        TimeDistributed(Dense(2), name="every_step")])
    model.compile("adam", "mse")
    before = model.get_weights()
    yield model
    for a, b in zip(model.get_weights(), before):
        assert np.array_equal(a, b), "the mistake changed the weights"
    history = model.fit(X, Y, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert model.predict(X, verbose=0).shape == (10, 6, 2)


def refused(words, call, *args, kind=ValueError, **kwargs):
    """The call raises, and the text holds all the words."""
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    return text


WAYS = [
    lambda m, x, y: m.fit(x, y, verbose=0),
    lambda m, x, y: m.evaluate(x, y, verbose=0),
    lambda m, x, y: m.train_on_batch(x, y),
    lambda m, x, y: m.test_on_batch(x, y),
    lambda m, x, y: m.predict(x, verbose=0),
    lambda m, x, y: m.predict_on_batch(x),
    lambda m, x, y: m(x),
]
WAY_NAMES = ["fit", "evaluate", "train_on_batch", "test_on_batch", "predict", "predict_on_batch", "call"]
each_way = pytest.mark.parametrize("way", WAYS, ids=WAY_NAMES)
with_targets = pytest.mark.parametrize("way", WAYS[:4], ids=WAY_NAMES[:4])


@each_way
def test_wrong_rank(model, way):
    refused(["memory", "(None, 6, 3)", "(10, 3)"], way, model, X[:, 0], Y)


@each_way
def test_one_sample_without_its_batch(model, way):
    refused(["(None, 6, 3)", "(6, 3)", "x[None]"], way, model, X[0], Y[:6])


def test_one_sample_of_any_length_without_its_batch():
    refused(["(None, None, 3)", "(6, 3)", "x[None]"], Sequential([LSTM(4, input_shape=(None, 3))]).predict,
            X[0], verbose=0)


@pytest.mark.parametrize("second", [lambda: LSTM(4), lambda: RNN(GRUCell(4)),
                                    lambda: TimeDistributed(Dense(2))])
def test_stacked_without_return_sequences(second):
    refused(["(None, 5)", "return_sequences=True"], Sequential, [LSTM(5, input_shape=(6, 3)), second()])


@each_way
def test_wrong_feature_size(model, way):
    refused(["memory", "(None, 6, 3)", "(10, 6, 5)"], way, model, np.zeros((10, 6, 5)), Y)


@each_way
def test_object_array(model, way):
    ragged = np.empty(10, object)
    ragged[:] = [[1.0] * (n + 1) for n in range(10)]
    refused(["rows of different shapes, such as (1,) and (10,)", "pad_sequences"], way, model, ragged, Y)
    ragged[:] = [{} for _ in range(10)]
    refused(["object", "number"], way, model, ragged, Y)


@each_way
def test_string_array(model, way):
    refused(["number", "<U"], way, model, X.astype(str), Y)


@with_targets
def test_x_and_y_of_different_lengths(model, way):
    refused(["10", "7"], way, model, X, Y[:7])


@pytest.mark.parametrize("way", [WAYS[0], WAYS[1]], ids=["fit", "evaluate"])
def test_empty_arrays(model, way):
    refused(["empty"], way, model, X[:0], Y[:0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("way", [WAYS[0], WAYS[1], WAYS[4]], ids=["fit", "evaluate", "predict"])
def test_nan_or_infinity_in_x_is_named_by_position(model, way, bad):
    x = X.copy()
    x[4, 5, 1] = bad
    refused(["4", "5", "1", "nan" if np.isnan(bad) else "inf"], way, model, x, Y)


@with_targets
def test_loss_that_does_not_fit_the_output(model, way):
    refused(["(10, 6, 2)", "(10, 6, 5)"], way, model, X, np.zeros((10, 6, 5)))


def test_label_out_of_range():
    model = Sequential([Dense(3, activation="softmax", input_shape=(4,), name="classes")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.ones((5, 4))
    for label, word in ((3, "3"), (-1, "-1")):
        labels = np.array([0, 1, label, 2, 0])
        refused([word, "2"], model.fit, x, labels, verbose=0)
        refused([word], model.train_on_batch, x, labels)
    model.fit(x, [0, 1, 2, 2, 0], verbose=0)


def test_fit_before_compile():
    model = Sequential([Dense(2, input_shape=(3,))])
    x, y = np.ones((4, 3)), np.ones((4, 2))
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        refused(["compile"], call, x, y)
    assert model.predict(x, verbose=0).shape == (4, 2)
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)


def test_set_weights_with_wrong_shapes(model):
    weights = model.get_weights()
    weights[1] = np.zeros((4, 15))
    refused(["(4, 16)", "(4, 15)", "recurrent_kernel"], model.set_weights, weights)
    refused(["5", "4"], model.set_weights, model.get_weights()[:4])


def test_time_distributed_on_2d_input():
    layer = TimeDistributed(Dense(2), name="each")
    refused(["each", "3 dimensions", "(4, 5)"], layer, np.ones((4, 5)))
    assert layer(np.ones((4, 5, 6))).shape == (4, 5, 2)


@pytest.mark.parametrize("thing", [3, "dense", None, np.ones(3), Dense])
def test_time_distributed_around_a_non_layer(thing):
    refused(["TimeDistributed", "ayer"], TimeDistributed, thing, kind=(ValueError, TypeError))


def test_add_a_non_layer():
    refused(["ayer"], Sequential().add, 3, kind=(ValueError, TypeError))


@pytest.mark.parametrize("bad", [0, -1, 2.5, "4", None])
def test_units_must_be_a_positive_number(bad):
    for cls in (LSTM, Dense):
        refused(["units", repr(bad)], cls, bad, kind=(ValueError, TypeError))


def test_unknown_argument():
    refused(["unitz"], LSTM, 4, unitz=3, kind=(ValueError, TypeError))


@pytest.mark.parametrize("what,known", [("optimizer", "adam"), ("loss", "mean_squared_error"),
                                        ("metrics", "accuracy")])
def test_unknown_names_list_the_known(model, what, known):
    good = {"optimizer": "adam", "loss": "mse", "metrics": ["mae"]}
    bad = ["no_such_thing"] if what == "metrics" else "no_such_thing"
    text = refused(["no_such_thing"], model.compile, **{**good, what: bad})
    assert known in text or known.replace("_", "") in text.lower(), text
    model.compile("adam", "mse")


def test_unknown_activation_and_initializer():
    refused(["no_such", "relu"], Dense, 2, activation="no_such")
    refused(["no_such", "glorot_uniform"], Dense, 2, kernel_initializer="no_such")


def test_mask_of_the_wrong_shape():
    layer = LSTM(4, name="memory")
    refused(["memory", "(10, 6)", "(10, 5)"], layer, X, mask=np.ones((10, 5), bool))
    assert layer(X).shape == (10, 4)


def test_initial_state_of_the_wrong_shape():
    layer = LSTM(4, name="memory")
    layer(X)
    refused(["memory", "(10, 4)", "(10, 5)"], layer, X, initial_state=[np.zeros((10, 4)), np.zeros((10, 5))])
    refused(["memory", "2"], layer, X, initial_state=[np.zeros((10, 4))])


def test_reshape_that_does_not_fit():
    layer = Reshape((4, 5), name="fold")
    refused(["fold", "4, 5", "18", "20"], layer, np.zeros((2, 18)))


def test_model_without_layers():
    with pytest.raises(ValueError, match="layer"):
        Sequential()(X)


def test_model_of_unknown_input_shape_says_so():
    model = Sequential([Flatten(), Dense(2)])
    with pytest.raises(ValueError, match="build|input_shape|call"):
        model.count_params()
    model.build((None, 3, 2))
    assert model.count_params() == 14


def test_bad_numbers_to_fit(model):
    for options in ({"batch_size": 0}, {"batch_size": -2}, {"validation_split": 1.5}):
        name, value = next(iter(options.items()))
        refused([name, str(value)], model.fit, X, Y, verbose=0, **options)


def test_loss_turned_nan_stops_and_names_where():
    model = Sequential([Dense(4, input_shape=(3,), name="first"), Dense(1, name="second")])
    model.compile(tdfast.optimizers.SGD(1e30), "mse")
    with np.errstate(all="ignore"), pytest.raises((ValueError, FloatingPointError, RuntimeError)) as caught:
        model.fit(np.ones((8, 3)), np.ones((8, 1)), batch_size=4, epochs=50, verbose=0)
    text = str(caught.value).lower()
    assert "epoch" in text and "batch" in text and ("first" in text or "second" in text), text


def test_nan_in_targets_is_named(model):
    y = Y.copy()
    y[3, 0, 1] = np.nan
    with pytest.raises((ValueError, FloatingPointError, RuntimeError)) as caught:
        model.fit(X, y, epochs=1, verbose=0, batch_size=10)
    assert "nan" in str(caught.value).lower()


@pytest.mark.parametrize("make, words", [
    (lambda: layers.LSTM(8, return_sequence=True), "'return_sequence'. Did you mean 'return_sequences'"),
    (lambda: layers.Dense(8, kernel_regulariser="l2"), "Did you mean 'kernel_regularizer'"),
    (lambda: optimizers.Adam(lr=0.1), "'lr'. Did you mean 'learning_rate'"),
    (lambda: optimizers.SGD(decays=0.1), "'decays'"),
    (lambda: Sequential(layers.Dense(1)), "list of layers"),
    (lambda: utils.pad_sequences([[1]], maxlen=-1), "maxlen"),
    (lambda: utils.pad_sequences([[1]], maxlen="3"), "maxlen"),
    (lambda: utils.to_categorical([-1]), "0 or more"),
    (lambda: utils.to_categorical([1], num_classes="3"), "num_classes"),
    (lambda: losses.Quantile([0.1, 0.9])(np.zeros((6, 4, 1)), np.zeros((6, 4, 3))), r"shape \(6, 4, F\)"),
    (lambda: LSTM(2)(np.zeros((2, 5, 4, 4, 1))), r"put TimeDistributed\(Flatten\(\)\) before"),
    (lambda: RNN(GRUCell(2))(np.zeros((2, 5))), "Add the time axis"),
    (lambda: layers.ConvLSTM2D(2, 3)(np.zeros((2, 5, 8, 8))), r"add it: x\[\.\.\., None\]"),
    (lambda: losses.MeanSquaredError()(np.zeros((6, 4, 1)), np.zeros((6, 1))), "needs return_sequences=True"),
    (lambda: losses.MeanAbsoluteError()(np.zeros(6), np.zeros((6, 3))), r"but got \(6,\)\.$"),
    (lambda: losses.MeanSquaredError()(np.zeros((6, 2)), np.zeros((6, 4, 2))), "leave return_sequences out"),
])
def test_small_mistakes(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def with_one(value):
    """The inputs as objects, one of which is something else."""
    x = X.astype(object)
    x[3, 2, 1] = value
    return x


@pytest.mark.parametrize("x, words", [
    (with_one(None), ("(3, 2, 1)", "None", "leave that sample out")),
    (with_one("n/a"), ("(3, 2, 1)", "'n/a'", "a str")),
    (X.astype(object), ("objects", "astype('float32')")),
    (X.astype(str), ("words such as", "astype('float32')")),
    ([row[:3 + i % 2].tolist() for i, row in enumerate(X)], ("pad_sequences",)),
    (list(X), ("np.stack", "pad_sequences")),
])
def test_inputs_that_are_no_numbers(model, x, words):
    refused(words, model.fit, x, Y, verbose=0)


def test_labels_that_are_words():
    model = Sequential([LSTM(4, input_shape=(6, 3)), Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    labels = np.array(["yes", "no"] * 5)
    refused(["'yes'", "np.unique"], model.fit, X, labels, verbose=0)
    model.fit(X, np.unique(labels, return_inverse=True)[1], verbose=0)
