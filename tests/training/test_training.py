"""Training: it learns what has a known answer, and fit does what Keras's fit does, step for step."""

import numpy as np
import pytest
import reference

import tdfast
from tdfast import Sequential, optimizers
from tdfast.callbacks import Callback, EarlyStopping
from tdfast.layers import LSTM, Dense, Dropout, RepeatVector, TimeDistributed
from tdfast.utils import set_random_seed


def sequences(n=64, T=8, features=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, T, features)).astype("float32")


def small_model(dropout=0.0):
    model = Sequential([
        LSTM(6, return_sequences=True, input_shape=(8, 2)),
        Dropout(dropout),
        TimeDistributed(Dense(1)),
    ])
    model.compile("adam", "mse")
    return model


# ---------------------------------------------------------------- known answers


def test_linear_regression_finds_the_weights():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(256, 5))
    kernel, bias = rng.normal(size=(5, 3)), rng.normal(size=3)
    model = Sequential([Dense(3, input_shape=(5,))])
    model.compile(optimizers.SGD(0.1), "mse")
    model.fit(x, x @ kernel + bias, batch_size=32, epochs=100, verbose=0)
    assert np.allclose(model.layers[0].kernel, kernel, atol=1e-4)
    assert np.allclose(model.layers[0].bias, bias, atol=1e-4)


def test_softmax_regression_finds_the_frequencies():
    """Without features the best guess is how often each class comes."""
    counts = np.array([10, 30, 60])
    labels = np.repeat([0, 1, 2], counts)
    model = Sequential([Dense(3, activation="softmax", input_shape=(1,))])
    model.compile(optimizers.SGD(0.5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(np.zeros((100, 1)), labels, batch_size=100, epochs=300, verbose=0)
    assert np.allclose(model.predict(np.zeros((1, 1)), verbose=0), counts / 100, atol=1e-3)
    entropy = -np.sum(counts / 100 * np.log(counts / 100))
    assert abs(history.history["loss"][-1] - entropy) < 1e-4
    assert abs(history.history["accuracy"][-1] - 0.6) < 1e-6


def test_lstm_learns_a_running_sum():
    """Many-to-many: the sum of all inputs so far, which needs a memory."""
    set_random_seed(0)
    x = sequences(256, 10, 1) * 0.3
    y = np.cumsum(x, axis=1)
    model = Sequential([LSTM(16, return_sequences=True, input_shape=(10, 1)), TimeDistributed(Dense(1))])
    model.compile(optimizers.Adam(0.01), "mse")
    model.fit(x, y, batch_size=32, epochs=60, verbose=0)
    x_new = sequences(100, 10, 1, seed=9) * 0.3
    error = np.mean((model.predict(x_new, verbose=0) - np.cumsum(x_new, axis=1)) ** 2)
    assert error < 0.02 * np.cumsum(x_new, axis=1).var()


def test_lstm_learns_a_delayed_echo():
    """The bit of three steps ago: no single step tells it."""
    set_random_seed(1)
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, size=(200, 16, 1)).astype("float32")
    y = np.zeros_like(x)
    y[:, 3:] = x[:, :-3]
    model = Sequential([LSTM(24, return_sequences=True, input_shape=(16, 1)),
                        TimeDistributed(Dense(1, activation="sigmoid"))])
    model.compile(optimizers.Adam(0.02), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=20, epochs=60, verbose=0)
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert accuracy > 0.99 and loss < 0.05


def test_one_to_many_learns_a_sequence():
    set_random_seed(0)
    model = Sequential([RepeatVector(6, input_shape=(2,)), LSTM(12, return_sequences=True),
                        TimeDistributed(Dense(1))])
    model.compile(optimizers.Adam(0.02), "mse")
    y = np.array([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]], "float32")[..., None] / 5
    history = model.fit(np.eye(2), y, epochs=300, verbose=0)
    assert history.history["loss"][-1] < 1e-3


# ---------------------------------------------------------------- fit, step for step


def test_fit_is_a_loop_of_train_on_batch():
    x, y = sequences(50), sequences(50)[..., :1]
    set_random_seed(3)
    by_fit, by_hand = small_model(), small_model()
    by_hand.set_weights(by_fit.get_weights())
    history = by_fit.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    for epoch in range(3):
        losses = []
        for i in range(0, 50, 16):
            before = by_hand.predict(x[i : i + 16], verbose=0)
            losses.append(
                reference.reduced(reference.mean_squared_error(y[i : i + 16], before.astype("float64")))
            )
            by_hand.train_on_batch(x[i : i + 16], y[i : i + 16])
        mean = np.average(losses, weights=[16, 16, 16, 2])
        assert abs(history.history["loss"][epoch] - mean) < 1e-5, "the loss shown is the mean over samples"
    for a, b in zip(by_fit.get_weights(), by_hand.get_weights()):
        assert np.array_equal(a, b)


def test_sgd_step_is_the_formula():
    x, y = np.array([[1.0, 2.0]]), np.array([[3.0]])
    model = Sequential([Dense(1, input_shape=(2,), kernel_initializer="ones")])
    model.compile(optimizers.SGD(0.1), "mse")
    model.train_on_batch(x, y)      # prediction 3, error 0: nothing changes
    assert np.array_equal(model.get_weights()[0], [[1], [1]])
    model.train_on_batch(x, y - 1)  # error 1: gradient 2 x error x input
    assert np.allclose(model.get_weights()[0], [[0.8], [0.6]])
    assert np.allclose(model.get_weights()[1], [-0.2])


def test_history_has_plain_floats():
    model = small_model()
    x = sequences()
    history = model.fit(x, x[..., :1], epochs=2, validation_split=0.25, verbose=0)
    assert set(history.history) == {"loss", "val_loss"}
    assert history.epoch == [0, 1]
    assert all(type(v) is float for values in history.history.values() for v in values)
    assert model.history is history


def test_validation_split_takes_the_last_fraction():
    x = sequences(20)
    y = np.zeros((20, 8, 1))
    y[15:] = 100        # only the last quarter is far off
    model = small_model()
    history = model.fit(x, y, validation_split=0.25, epochs=1, verbose=0)
    assert history.history["loss"][0] < 10 < 9000 < history.history["val_loss"][0]
    other = model.evaluate(x[15:], y[15:], verbose=0)
    assert abs(other - history.history["val_loss"][0]) < 1e-2


def test_validation_data():
    x = sequences(20)
    model = small_model()
    history = model.fit(x, x[..., :1], validation_data=(x[:5], x[:5, :, :1]), epochs=2, verbose=0)
    assert abs(history.history["val_loss"][-1] - model.evaluate(x[:5], x[:5, :, :1], verbose=0)) < 1e-6


def test_shuffle_draws_a_new_order_each_epoch():
    seen = []

    class Spy(Dense):
        def forward(self, x, tape, training=False, mask=None):
            if training:
                seen.append(x[:, 0].astype(int).tolist())
            return super().forward(x, tape, training=training, mask=mask)

    x = np.arange(10.0)[:, None]
    model = Sequential([Spy(1)])
    model.compile(optimizers.SGD(0.0), "mse")
    model.fit(x, x, batch_size=4, epochs=2, verbose=0)
    first, second = sum(seen[:3], []), sum(seen[3:], [])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second and first != list(range(10))
    seen.clear()
    model.fit(x, x, batch_size=4, epochs=1, verbose=0, shuffle=False)
    assert sum(seen, []) == list(range(10)) and [len(s) for s in seen] == [4, 4, 2]


def test_a_seed_gives_the_same_bits_twice():
    x = sequences()
    results = []
    for _ in range(2):
        set_random_seed(5)
        model = small_model(dropout=0.3)
        history = model.fit(x, x[..., :1], epochs=3, batch_size=10, verbose=0)
        results.append((history.history["loss"], model.get_weights()))
    assert results[0][0] == results[1][0]
    assert all(np.array_equal(a, b) for a, b in zip(results[0][1], results[1][1]))


def test_threads_change_no_bit_of_a_training_run():
    x = np.random.default_rng(0).normal(size=(70, 20, 9)).astype("float32")
    before, results = tdfast.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            tdfast.set_num_threads(n)
            set_random_seed(5)
            model = Sequential([LSTM(33, return_sequences=True, input_shape=(20, 9)),
                                TimeDistributed(Dense(5))])
            model.compile("adam", "mse")
            model.fit(x, x[..., :5], epochs=2, verbose=0)
            results.append(model.get_weights())
    finally:
        tdfast.set_num_threads(before)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other))


def test_initial_epoch_and_more_fits_go_on():
    x = sequences(16)
    model = small_model()
    model.fit(x, x[..., :1], epochs=2, verbose=0)
    history = model.fit(x, x[..., :1], initial_epoch=2, epochs=5, verbose=0)
    assert history.epoch == [2, 3, 4]
    assert model.optimizer.iterations == 5


def test_frozen_layer_stays():
    x = sequences(16)
    model = small_model()
    model.layers[0].trainable = False
    model.compile("adam", "mse")
    before = model.get_weights()
    model.fit(x, x[..., :1], verbose=0)
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before[:3], after[:3]))
    assert not np.array_equal(before[3], after[3])


def test_two_models_share_a_layer():
    """The weights live in one of the models' vectors; training either one trains the shared layer."""
    x = np.random.default_rng(0).normal(size=(32, 3))
    shared = Dense(3, name="shared")
    one = Sequential([shared, Dense(1)])
    two = Sequential([shared, Dense(2)])
    one.compile("sgd", "mse")
    two.compile("sgd", "mse")
    for model, width in ((one, 1), (two, 2), (one, 1)):
        before = shared(x).copy()
        model.fit(x, np.ones((32, width)), verbose=0)
        assert not np.array_equal(shared(x), before)
        assert np.array_equal(model.layers[0](x), shared(x))


# ---------------------------------------------------------------- stopping


class StopAt(Callback):
    """Raises KeyboardInterrupt at the end of one batch, as Ctrl-C may."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch, self.weights = (epoch, batch), 0, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            self.weights = self.model.get_weights()
            raise KeyboardInterrupt


def test_ctrl_c_leaves_history_and_the_last_steps_weights():
    x = sequences(40)
    model = small_model()
    stop = StopAt(epoch=2, batch=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, x[..., :1], batch_size=10, epochs=9, verbose=0, callbacks=[stop])
    assert model.history.epoch == [0, 1]
    assert len(model.history.history["loss"]) == 2
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), stop.weights))
    assert model.optimizer.iterations == 2 * 4 + 2
    model.fit(x, x[..., :1], verbose=0)


def test_early_stopping_restores_the_best():
    class Worsen(Callback):
        """Spoils the weights after epoch 1, so that the loss can only rise."""

        def on_epoch_begin(self, epoch, logs=None):
            if epoch >= 2:
                self.model.set_weights([w + 10 for w in self.model.get_weights()])

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.best = self.model.get_weights()

    x = sequences(32)
    model = small_model()
    worsen = Worsen()
    stop = EarlyStopping(monitor="loss", patience=2, restore_best_weights=True)
    history = model.fit(x, x[..., :1], epochs=20, verbose=0, callbacks=[worsen, stop])
    assert history.epoch == [0, 1, 2, 3]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), worsen.best))


def test_stop_training_ends_after_the_epoch():
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    x = sequences(32)
    history = small_model().fit(x, x[..., :1], batch_size=8, epochs=5, verbose=0, callbacks=[Stop()])
    assert len(history.epoch) == 1


# ---------------------------------------------------------------- evaluate and predict


def test_evaluate_is_the_formula():
    x, y = sequences(50), sequences(50, seed=3)[..., :1]
    model = small_model()
    p = model.predict(x, batch_size=7, verbose=0)
    want = reference.reduced(reference.mean_squared_error(y.astype("float64"), p.astype("float64")))
    assert abs(model.evaluate(x, y, batch_size=16, verbose=0) - want) < 1e-5
    assert abs(model.evaluate(x, y, batch_size=50, verbose=0, return_dict=True)["loss"] - want) < 1e-5
    assert abs(float(np.ravel(model.test_on_batch(x, y))[0]) - want) < 1e-5


def test_predict_does_not_depend_on_the_batch_size():
    x = sequences(50)
    model = small_model()
    want = model.predict(x, verbose=0)
    for batch_size in (1, 3, 50, 1000):
        assert np.array_equal(model.predict(x, batch_size=batch_size, verbose=0), want)
    assert np.array_equal(model.predict_on_batch(x), want)
    assert np.array_equal(model(x), want)


def test_predictions_are_the_callers():
    """A second predict must not write into the first one's result."""
    x = sequences(8)
    model = small_model()
    first = model.predict(x, verbose=0)
    kept = first.copy()
    called = model(x)
    model.predict(x * 2, verbose=0)
    model(x * 2)
    model.train_on_batch(x, x[..., :1])
    assert np.array_equal(first, kept) and np.array_equal(called, kept)


def test_float64_model():
    x = sequences(32).astype("float64")
    model = Sequential([LSTM(4, dtype="float64", input_shape=(8, 2)), Dense(1, dtype="float64")])
    model.compile("adam", "mse")
    history = model.fit(x, x[:, -1, :1], epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.predict(x, verbose=0).dtype == "float64"


def test_fit_never_writes_to_its_arrays():
    x, y = sequences(20), sequences(20)[..., :1].copy()
    x.flags.writeable = y.flags.writeable = False
    kept = x.copy(), y.copy()
    small_model().fit(x, y, epochs=2, verbose=0)
    assert np.array_equal(x, kept[0]) and np.array_equal(y, kept[1])


def test_crossentropy_on_unnormalised_outputs_stays_finite():
    """The tutorial's model: linear outputs of any sign under categorical_crossentropy.

    Normalised and clipped, no term of -y log p is above log(1e7). Whether the loss falls is chance: no
    gradient comes back from where it was clipped, in Keras as here.
    """
    set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.random((50, 16, 15)), rng.random((50, 16, 8))
    model = Sequential([LSTM(32, return_sequences=True, input_shape=(16, 15)), TimeDistributed(Dense(8))])
    model.compile("adam", "categorical_crossentropy")
    loss = model.fit(x, y, epochs=60, verbose=0).history["loss"]
    assert np.isfinite(loss).all() and max(loss) < 8 * np.log(1e7)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert min(loss) < loss[0]
