"""The estimators by themselves: what they learn, what they take, and that fits come again."""

import pickle
import threading

import numpy as np
import pytest

base = pytest.importorskip("sklearn.base")

import tdfast  # noqa: E402 -- after the skip
from tdfast.layers import GRU, LSTM, Dense, TimeDistributed  # noqa: E402
from tdfast.sklearn import SequenceClassifier, SequenceRegressor, SeriesScaler  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6, 2))
Y = X[:, -1].sum(axis=1)                                # what came last counts
LABELS = np.where(Y > 0, "up", "down")
RUNNING = np.cumsum(X[..., 0], axis=1)                  # a target for each step
QUICK = {"units": 6, "learning_rate": 0.02, "epochs": 5, "random_state": 0}
LONG = {**QUICK, "epochs": 60}


def build(input_shape, n_outputs, units=4, rate=0.01):
    """A function that makes a model; its keywords are parameters."""
    model = tdfast.Sequential([tdfast.Input(input_shape), GRU(units), Dense(n_outputs)])
    model.compile(tdfast.optimizers.Adam(rate), "mse")
    return model


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a.model_.get_weights(), b.model_.get_weights()))


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_regressors_learn(cell):
    found = SequenceRegressor(cell=cell, **LONG).fit(X, 1000 + 50 * Y)
    assert found.score(X, 1000 + 50 * Y) > 0.9
    assert found.n_iter_ == 60 and len(found.history_["loss"]) == 60 and found.n_features_in_ == 2


def test_classifiers_learn():
    found = SequenceClassifier(**LONG).fit(X, LABELS)
    assert found.score(X, LABELS) > 0.9 and found.classes_.tolist() == ["down", "up"]
    shares = found.predict_proba(X)
    assert shares.shape == (48, 2) and np.allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(found.predict(X), found.classes_[shares.argmax(axis=1)])


def test_deeper_models_are_built_as_asked():
    found = SequenceRegressor(layers=2, bidirectional=True, dropout=0.1, recurrent_dropout=0.2, **QUICK)
    first, second, last = found.fit(X, Y).model_.layers
    assert first.return_sequences and not second.return_sequences and last.units == 1
    assert (first.forward_layer.dropout, first.forward_layer.recurrent_dropout) == (0.1, 0.2)
    assert first.forward_layer.units == 6


def test_a_fit_is_what_one_writes_by_hand():
    with tdfast.random.scope(7):
        model = tdfast.Sequential([tdfast.Input((6, 2)), LSTM(6, dropout=0.2), Dense(1)])
        loss = tdfast.losses.MeanSquaredError(reduction="mean_with_sample_weight")
        model.compile(tdfast.optimizers.Adam(0.02), loss)
        history = model.fit(X, Y[:, None], epochs=5, batch_size=32, verbose=0, validation_split=0.25)
    found = SequenceRegressor(**{**QUICK, "random_state": 7}, dropout=0.2, scale_y=False, early_stopping=True,
                              validation_fraction=0.25).fit(X, Y)
    assert found.history_ == history.history
    assert all(np.array_equal(a, b) for a, b in zip(found.model_.get_weights(), model.get_weights()))
    assert np.array_equal(found.predict(X.astype("float32")).astype("float32"),
                          model.predict(X, verbose=0)[:, 0])


def test_scaled_targets_come_back_in_their_unit():
    plain = SequenceRegressor(**QUICK).fit(X, Y)
    moved = SequenceRegressor(**QUICK).fit(X, 40 * Y + 1000)
    assert np.allclose(moved.predict(X), 40 * plain.predict(X) + 1000, rtol=1e-4)
    for dtype in ("float32", "float64"):
        assert SequenceRegressor(**QUICK).fit(X, Y.astype(dtype)).predict(X).dtype == dtype


def test_losses_that_need_targets_as_they_are_say_so():
    counts = RNG.poisson(3, size=48).astype(float)
    with pytest.raises(ValueError, match="poisson.*scale_y=False"):
        SequenceRegressor(loss="poisson", **QUICK).fit(X, counts)
    relu = tdfast.Sequential([LSTM(4), Dense(1, activation="relu")])
    with pytest.raises(ValueError, match="'relu'.*scale_y=False"):
        SequenceRegressor(relu, **QUICK).fit(X, counts)
    assert SequenceRegressor(relu, scale_y=False, **QUICK).fit(X, counts).predict(X).min() >= 0


# ---------------------------------------------------------------- models


def test_a_function_has_its_keywords_as_parameters():
    found = SequenceRegressor(build, epochs=2, random_state=0)
    assert found.get_params()["model__units"] == 4 and "model__units" not in found.get_params(deep=False)
    found.set_params(model__units=7)
    assert found.get_params(deep=False)["model__units"] == 7 and "model__units=7" in repr(found)
    assert found.fit(X, Y).model_.layers[0].units == 7
    assert base.clone(found).fit(X, Y).model_.layers[0].units == 7
    given = SequenceRegressor(build, epochs=2, random_state=0, model__units=7)
    assert same(found, given.fit(X, Y))
    with pytest.raises(ValueError, match="model__depth.*model__units, model__rate"):
        found.set_params(model__depth=2)
    with pytest.raises(ValueError, match="no function with keywords"):
        SequenceRegressor().set_params(model__units=2)
    with pytest.raises(TypeError, match="no parameter 'unit'.*units"):
        SequenceRegressor(unit=3)
    with pytest.raises(TypeError, match="must return a tdfast model"):
        SequenceRegressor(lambda shape, n: None).fit(X, Y)


def test_a_model_is_cloned():
    model = tdfast.Sequential([tdfast.Input((6, 2)), LSTM(4), Dense(1)])
    before = model.get_weights()
    found = SequenceRegressor(model, epochs=2, random_state=0).fit(X, Y)
    assert found.model_ is not model and not model.compiled
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert same(found, base.clone(found).fit(X, Y))
    end = tdfast.Input((6, 2))
    graph = tdfast.Model(end, Dense(1)(LSTM(4)(end)))
    assert SequenceRegressor(graph, epochs=1).fit(X, Y).predict(X).shape == (48,)
    with pytest.raises(ValueError, match=r"2 target\(s\).*2 units"):
        SequenceRegressor(model, epochs=1).fit(X, np.stack([Y, Y], axis=1))
    for wrong in (LSTM(3), "lstm", 3):
        with pytest.raises(TypeError, match="model must be None"):
            SequenceRegressor(wrong).fit(X, Y)


def test_a_compiled_model_keeps_its_loss():
    model = tdfast.Sequential([tdfast.Input((6, 2)), LSTM(4), Dense(1)])
    model.compile("sgd", "mae")
    found = SequenceRegressor(model, epochs=1, learning_rate=0.5).fit(X, Y)
    assert type(found.model_.optimizer).__name__ == "SGD"
    assert found.model_.loss.name == "mean_absolute_error"
    assert found.model_.optimizer.learning_rate == 0.5 != model.optimizer.learning_rate
    with pytest.raises(ValueError, match="compiled already"):
        SequenceRegressor(model, loss="mse").fit(X, Y)


@pytest.mark.parametrize("units, activation, loss", [
    (2, "softmax", "categorical_crossentropy"), (2, "softmax", "sparse_categorical_crossentropy"),
    (1, "sigmoid", "binary_crossentropy"),
    (1, None, tdfast.losses.BinaryCrossentropy(from_logits=True)),
    (2, None, tdfast.losses.SparseCategoricalCrossentropy(from_logits=True)),
])
def test_classifiers_take_models_as_they_end(units, activation, loss):
    model = tdfast.Sequential([tdfast.Input((6, 2)), LSTM(6), Dense(units, activation=activation)])
    found = SequenceClassifier(model, loss=loss, epochs=60, learning_rate=0.02, random_state=0).fit(X, LABELS)
    shares = found.predict_proba(X)
    assert found.score(X, LABELS) > 0.9 and np.allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert shares.min() >= 0
    with pytest.raises(ValueError, match="3 classes.*3 units"):
        SequenceClassifier(model, loss=loss).fit(X, np.arange(48) % 3)


def test_optimizers_as_parameters_are_not_shared():
    optimizer = tdfast.optimizers.SGD(0.05, momentum=0.9)
    found = SequenceRegressor(optimizer=optimizer, **{**QUICK, "learning_rate": None})
    one, two = found.fit(X, Y).model_.optimizer, base.clone(found).fit(X, Y).model_.optimizer
    assert one is not optimizer and not optimizer.built and (one.learning_rate, two.momentum) == (0.05, 0.9)


# ---------------------------------------------------------------- shapes of X


def rows(x, layout):
    """(n, time, feature) as rows of windows."""
    return x.reshape(len(x), -1) if layout == "time-feature" else x.swapaxes(1, 2).reshape(len(x), -1)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("layout", ["time-feature", "feature-time"])
def test_rows_in_any_order_are_the_same_sequences(layout, newest_first):
    want = SequenceRegressor(**QUICK).fit(X, Y)
    given = X[:, ::-1] if newest_first else X
    options = {"layout": layout, "newest_first": newest_first}
    flat = SequenceRegressor(n_features=2, **options, **QUICK).fit(rows(given, layout), Y)
    deep = given if layout == "time-feature" else given.swapaxes(1, 2)
    whole = SequenceRegressor(**options, **QUICK).fit(deep, Y)
    assert same(flat, want) and same(whole, want) and flat.n_features_in_ == 12 and whole.n_features_in_ == 2
    assert np.array_equal(flat.predict(rows(given, layout)), want.predict(X))
    assert np.array_equal(whole.predict(deep), want.predict(X))


def test_a_model_that_reads_time_backwards_is_another():
    """Columns of another order than is said are not found out by shapes, only by numbers."""
    steps = np.arange(6) * np.ones((48, 1)) + RNG.normal(size=(48, 1))
    right = SequenceRegressor(**QUICK).fit(steps, Y)
    assert not same(right, SequenceRegressor(**QUICK).fit(steps[:, ::-1], Y))
    assert same(right, SequenceRegressor(newest_first=True, **QUICK).fit(steps[:, ::-1], Y))


def test_a_row_is_a_series_of_one_feature():
    found = SequenceRegressor(**QUICK).fit(X[..., 0], Y)
    assert found.model_.layers[0].input_shape == (None, None, 1)
    with pytest.raises(ValueError, match="6 columns.*n_features=4"):
        SequenceRegressor(n_features=4).fit(X[..., 0], Y)
    with pytest.raises(ValueError, match="X has 5 features.*expecting 6"):
        found.predict(X[:, :5, 0])
    with pytest.raises(ValueError, match="X of 2 axes, but got X of 3 axes"):
        found.predict(X)


def test_rows_of_words_reach_an_embedding_as_they_are():
    words = RNG.integers(1, 20, size=(120, 7))
    words[np.arange(7) >= RNG.integers(2, 8, size=(120, 1))] = 0
    labels = (words == 3).any(axis=1)

    def reader(input_shape, n_outputs):
        assert input_shape == (7,)
        return tdfast.Sequential([tdfast.Input(input_shape), tdfast.layers.Embedding(20, 8, mask_zero=True),
                                  GRU(8), Dense(n_outputs, activation="softmax")])

    options = {"n_features": None, "epochs": 60, "learning_rate": 0.02, "random_state": 0}
    found = SequenceClassifier(reader, **options).fit(words, labels)
    assert found.score(words, labels) > 0.9
    turned = SequenceClassifier(reader, newest_first=True, **options).fit(words[:, ::-1], labels)
    assert np.array_equal(turned.predict_proba(words[:, ::-1]), found.predict_proba(words))
    with pytest.raises(ValueError, match="n_features=None hands rows.*Give a model"):
        SequenceClassifier(n_features=None).fit(words, labels)
    with pytest.raises(ValueError, match="n_features must be a whole number"):
        SeriesScaler(n_features=None).fit(words)


def test_arrays_may_have_other_numbers_of_steps_but_not_of_features():
    found = SequenceRegressor(**QUICK).fit(X, Y)
    assert found.predict(X[:, :4]).shape == (48,)
    with pytest.raises(ValueError, match="X has 3 features.*expecting 2"):
        found.predict(np.ones((4, 6, 3)))
    with pytest.raises(ValueError, match="different lengths.*pad_sequences.*lengths"):
        SequenceRegressor().fit([X[0], X[1, :3]], Y[:2])
    with pytest.raises(ValueError, match="NaN"):
        SequenceRegressor().fit(np.full((4, 6, 1), np.nan), Y[:4])


def test_feature_names_of_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[..., 0], columns=[f"lag{i}" for i in range(6)])
    found = SequenceRegressor(**QUICK).fit(frame, pd.Series(Y))
    assert found.feature_names_in_.tolist() == list(frame.columns) and found.predict(frame).shape == (48,)
    with pytest.raises(ValueError, match="feature names"):
        found.predict(frame[frame.columns[::-1]])


# ---------------------------------------------------------------- targets


def test_several_targets():
    y = np.stack([Y, 10 * Y + 5, -Y], axis=1)
    found = SequenceRegressor(**LONG).fit(X, y)
    assert found.predict(X).shape == (48, 3) and found.n_outputs_ == 3 and found.score(X, y) > 0.9


@pytest.mark.parametrize("shape", [(48, 6), (48, 6, 1), (48, 6, 2)])
def test_a_target_for_each_step(shape):
    y = RUNNING if len(shape) == 2 else np.stack([RUNNING] * shape[2], axis=2)
    found = SequenceRegressor(return_sequences=True, **LONG).fit(X, y)
    assert found.predict(X).shape == shape and found.score(X, y) > 0.7
    weights = np.ones((48, 6))
    assert np.isclose(found.score(X, y, sample_weight=weights), found.score(X, y))


def test_models_say_whether_there_is_a_target_for_each_step():
    many = tdfast.Sequential([tdfast.Input((6, 2)), LSTM(4, return_sequences=True),
                              TimeDistributed(Dense(1))])
    assert SequenceRegressor(many, epochs=1).fit(X, RUNNING).predict(X).shape == (48, 6)
    with pytest.raises(ValueError, match="each of 6 time steps"):
        SequenceRegressor(many, epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match="return_sequences=True"):
        SequenceRegressor(build, return_sequences=True).fit(X, RUNNING)


@pytest.mark.parametrize("lengths", [None, np.arange(48) % 5 + 2])
def test_steps_newest_first_have_their_targets_newest_first(lengths):
    from tdfast.sklearn.arrays import reversed_in_time

    options = {"return_sequences": True, **QUICK}
    weight = RNG.uniform(size=(48, 6))
    want = SequenceRegressor(**options).fit(X, RUNNING, sample_weight=weight, lengths=lengths)
    x, y, w = (reversed_in_time(a, lengths) for a in (X, RUNNING, weight))
    found = SequenceRegressor(newest_first=True, **options).fit(x, y, sample_weight=w, lengths=lengths)
    assert same(want, found)
    assert np.allclose(found.predict(x, lengths=lengths),       # the mean of y is a sum in another order
                       reversed_in_time(want.predict(X, lengths=lengths), lengths), atol=1e-12)
    assert np.isclose(found.score(x, y, lengths=lengths), want.score(X, RUNNING, lengths=lengths))


def test_labels_for_each_step():
    labels = np.where(RUNNING > 0, "above", "below")
    found = SequenceClassifier(return_sequences=True, **LONG).fit(X, labels)
    assert found.predict(X).shape == (48, 6) and found.predict_proba(X).shape == (48, 6, 2)
    assert found.score(X, labels) > 0.8


def test_quantiles():
    x = RNG.normal(size=(400, 4, 1))
    y = x[:, -1, 0] + RNG.exponential(size=400)
    levels = (0.9, 0.1, 0.5)
    found = SequenceRegressor(quantiles=levels, units=8, learning_rate=0.02, epochs=40, random_state=0)
    bands = found.fit(x, y).predict_quantiles(x)
    assert bands.shape == (400, 3) and np.array_equal(found.predict(x), bands[:, 2])
    assert np.allclose((y[:, None] < bands).mean(axis=0), levels, atol=0.07)
    assert (bands[:, 0] >= bands[:, 2]).all() and (bands[:, 2] >= bands[:, 1]).all()
    rough = base.clone(found).set_params(epochs=1, learning_rate=1e-6).fit(x, y)
    crossed = rough.model_.predict(x, verbose=0)
    assert (crossed[:, 0] < crossed[:, 1]).any()                    # each level was learned by itself
    assert (np.diff(rough.predict_quantiles(x)[:, [1, 2, 0]], axis=1) >= 0).all()
    two = found.fit(x, np.stack([y, -y], axis=1))
    assert two.predict(x).shape == (400, 2) and two.predict_quantiles(x).shape == (400, 2, 3)
    found.set_params(return_sequences=True, epochs=2).fit(x, x[..., 0])
    assert found.predict(x).shape == (400, 4) and found.predict_quantiles(x).shape == (400, 4, 3)
    with pytest.raises(ValueError, match="loss must be None, got 'mae'"):
        SequenceRegressor(quantiles=levels, loss="mae").fit(x, y)
    with pytest.raises(ValueError, match="between 0 and 1"):
        SequenceRegressor(quantiles=(10, 90)).fit(x, y)
    with pytest.raises(ValueError, match="quantiles="):
        SequenceRegressor(**QUICK).fit(x, y).predict_quantiles(x)
    with pytest.raises(ValueError, match=r"losses.Quantile\(\[0.9"):
        SequenceRegressor(build, quantiles=levels).fit(x, y)


# ---------------------------------------------------------------- lengths and weights


def test_padding_counts_for_nothing():
    lengths = RNG.integers(1, 7, size=48)
    padded = np.where(np.arange(6)[None, :, None] < lengths[:, None, None], X, 0)
    dirty = np.where(np.arange(6)[None, :, None] < lengths[:, None, None], X, 99)
    y = padded.sum(axis=(1, 2))
    clean = SequenceRegressor(**QUICK).fit(padded, y, lengths=lengths)
    assert same(clean, SequenceRegressor(**QUICK).fit(dirty, y, lengths=lengths))
    assert np.array_equal(clean.predict(padded, lengths=lengths), clean.predict(dirty, lengths=lengths))
    assert clean.score(padded, y, lengths=lengths) == clean.score(dirty, y, lengths=lengths)
    valid = np.arange(6) < lengths[:, None]
    steps = SequenceRegressor(return_sequences=True, **QUICK)
    first = base.clone(steps).fit(X, np.where(valid, RUNNING, 0), lengths=lengths)
    assert same(first, steps.fit(X, np.where(valid, RUNNING, 99), lengths=lengths))
    assert np.isclose(first.score(X, np.where(valid, RUNNING, 0), lengths=lengths),
                      steps.score(X, np.where(valid, RUNNING, 99), lengths=lengths))
    alone = clean.predict(X[:1, : lengths[0]])
    assert np.array_equal(alone, clean.predict(dirty[:1], lengths=lengths[:1]))
    for wrong in (lengths[:5], lengths + 6, lengths - 9, lengths / 2):
        for backwards in (False, True):
            with pytest.raises(ValueError, match="whole number from 0 to 6 for each of 48 samples"):
                SequenceRegressor(newest_first=backwards, **QUICK).fit(X, Y, lengths=wrong)
        with pytest.raises(ValueError, match="whole number from 0 to 6 for each of 48 samples"):
            SeriesScaler().fit(X, lengths=wrong)


def test_a_weight_of_two_is_the_row_twice():
    weight = np.arange(48) % 3
    options = {**QUICK, "batch_size": 1000, "shuffle": False, "optimizer": "sgd"}
    a = SequenceRegressor(**options).fit(X, Y, sample_weight=weight)
    b = SequenceRegressor(**options).fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight))
    assert np.allclose(a.predict(X), b.predict(X), atol=1e-5)


# ---------------------------------------------------------------- training on


def test_early_stopping_keeps_the_best_weights():
    y = RNG.normal(size=48)                             # nothing to learn
    found = SequenceRegressor(early_stopping=True, validation_fraction=0.25, n_iter_no_change=3, epochs=200,
                              units=16, learning_rate=0.05, random_state=0).fit(X, y)
    losses = found.history_["val_loss"]
    assert found.n_iter_ == len(losses) < 100 and losses.index(min(losses)) == found.n_iter_ - 4
    spread = y[:36].std()
    best = np.mean((found.predict(X[36:]) - y[36:]) ** 2) / spread**2
    assert np.isclose(best, min(losses), rtol=1e-4)
    with pytest.raises(ValueError, match="of 1 samples 1, which leaves 0 to train on"):
        found.fit(X[:1], Y[:1])


def test_classifiers_keep_some_of_each_class_apart():
    order = np.argsort(LABELS)                          # sorted labels: the last rows are of one class
    found = SequenceClassifier(early_stopping=True, validation_fraction=0.25, **LONG)
    assert found.fit(X[order], LABELS[order]).score(X, LABELS) > 0.8


def test_partial_fit_trains_an_epoch():
    found = SequenceRegressor(**QUICK)
    for n in range(1, 4):
        assert found.partial_fit(X, Y) is found and found.n_iter_ == len(found.history_["loss"]) == n
    again = SequenceRegressor(**QUICK)
    for _ in range(3):
        again.partial_fit(X, Y)
    assert same(found, again) and found.history_["loss"][2] < found.history_["loss"][0]
    drawn = []
    look = tdfast.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: drawn.append(tdfast.random.generator().integers(2**40)))
    for _ in range(2):
        seen = SequenceRegressor(callbacks=[look], **QUICK)
        seen.partial_fit(X, Y).partial_fit(X, Y).partial_fit(X, Y)
    assert drawn[:3] == drawn[3:] and len(set(drawn)) == 3          # each epoch has an order of its own
    labels = SequenceClassifier(**QUICK)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        labels.partial_fit(X, LABELS)
    labels.partial_fit(X[:3], LABELS[:3], classes=["up", "down", "level"])
    assert labels.partial_fit(X, LABELS).predict_proba(X).shape == (48, 3)
    with pytest.raises(ValueError, match="'sideways'"):
        labels.partial_fit(X[:2], np.array(["sideways", "up"]))


def test_a_warm_start_goes_on():
    cold = SequenceRegressor(**QUICK).fit(X, Y)
    warm = SequenceRegressor(warm_start=True, **QUICK).fit(X, Y)
    assert same(cold, warm) and same(cold.fit(X, Y), warm)
    first = warm.history_["loss"][-1]
    assert warm.fit(X, Y).history_["loss"][-1] < first and not same(cold, warm)
    with pytest.raises(ValueError, match="3 features"):
        warm.fit(np.ones((48, 6, 3)), Y)


# ---------------------------------------------------------------- random numbers, threads, copies


def test_a_fit_leaves_other_random_numbers_alone():
    tdfast.utils.set_random_seed(3)
    want = tdfast.random.generator().random(), np.random.random()
    tdfast.utils.set_random_seed(3)
    SequenceRegressor(dropout=0.2, **QUICK).fit(X, Y)
    assert (tdfast.random.generator().random(), np.random.random()) == want


def test_fits_in_threads_come_again():
    options = {**QUICK, "dropout": 0.3, "epochs": 15}
    alone = [SequenceRegressor(**{**options, "random_state": seed}).fit(X, Y) for seed in range(4)]
    together = [SequenceRegressor(n_threads=1, **{**options, "random_state": seed}) for seed in range(4)]
    threads = [threading.Thread(target=one.fit, args=(X, Y)) for one in together]
    before = tdfast.get_num_threads(), tdfast.runtime.threads_from()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(same, alone, together)) and not same(alone[0], alone[1])
    assert (tdfast.get_num_threads(), tdfast.runtime.threads_from()) == before


def test_seeds_of_every_kind():
    state = {**QUICK, "random_state": np.random.RandomState(1)}
    again = {**QUICK, "random_state": np.random.RandomState(1)}
    assert same(SequenceRegressor(**state).fit(X, Y), SequenceRegressor(**again).fit(X, Y))
    assert not same(SequenceRegressor(**state).fit(X, Y), SequenceRegressor(**state).fit(X, Y))
    free = {**QUICK, "random_state": None}
    assert not same(SequenceRegressor(**free).fit(X, Y), SequenceRegressor(**free).fit(X, Y))


@pytest.mark.parametrize("threads", [1, 2])
def test_n_threads_is_for_the_block(threads):
    seen, before = [], tdfast.get_num_threads()
    look = tdfast.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append(tdfast.get_num_threads()))
    found = SequenceRegressor(n_threads=threads, callbacks=[look], **QUICK).fit(X, Y)
    assert set(seen) == {threads} and tdfast.get_num_threads() == before
    assert same(found, SequenceRegressor(**QUICK).fit(X, Y))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        SequenceRegressor(n_threads=0, **QUICK).fit(X, Y)
    assert tdfast.get_num_threads() == before


def test_copies_predict_the_same(tmp_path):
    joblib = pytest.importorskip("joblib")
    for found in (SequenceRegressor(**QUICK).fit(X, Y), SequenceClassifier(**QUICK).fit(X, LABELS)):
        joblib.dump(found, tmp_path / "found.joblib")
        for again in (pickle.loads(pickle.dumps(found)), joblib.load(tmp_path / "found.joblib")):
            assert np.array_equal(again.predict(X), found.predict(X)) and same(again, found)
            found.set_params(warm_start=True)
            assert same(again.set_params(warm_start=True).fit(X, found.predict(X)),
                        pickle.loads(pickle.dumps(found)).fit(X, found.predict(X)))


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("options, text", [
    ({"cell": "transformer"}, "cell must be one of 'lstm', 'gru', 'rnn', got 'transformer'"),
    ({"units": 0}, "units must be a whole number of at least 1, got 0"),
    ({"epochs": 2.5}, "epochs must be a whole number"),
    ({"layout": "columns"}, "layout must be 'time-feature' or 'feature-time', got 'columns'"),
    ({"n_features": 0}, "n_features must be a whole number"),
    ({"early_stopping": True, "validation_fraction": 1.5}, "validation_fraction must be between 0 and 1"),
    ({"loss": "msee"}, "msee"), ({"optimizer": "adamm"}, "adamm"), ({"batch_size": 0}, "batch_size"),
])
def test_parameters_are_checked_when_it_fits(options, text):
    estimator = SequenceRegressor(**options)
    with pytest.raises(ValueError, match=text):
        estimator.fit(X, Y)


@pytest.mark.parametrize("y, text", [
    (Y[:5], "inconsistent numbers of samples"), (None, "requires y to be passed"),
    (np.ones((48, 5, 2)), "each of 6 time steps.*got \\(48, 5, 2\\)"), (np.full(48, np.nan), "NaN"),
])
def test_targets_are_checked(y, text):
    with pytest.raises(ValueError, match=text):
        SequenceRegressor(**QUICK).fit(X, y)


def test_a_fit_that_is_refused_leaves_no_model():
    from sklearn.exceptions import NotFittedError

    found = SequenceRegressor(loss="poisson", **QUICK)
    for fit in (found.fit, found.partial_fit):
        with pytest.raises(ValueError, match="scale_y"):
            fit(X, Y)
        with pytest.raises(NotFittedError):
            found.predict(X)
    assert found.set_params(loss=None).partial_fit(X, Y).n_iter_ == 1


def test_one_class_is_not_enough():
    with pytest.raises(ValueError, match="two classes or more"):
        SequenceClassifier().fit(X, np.ones(48, int))
    with pytest.raises(ValueError, match="return_sequences=True.*argmax"):
        SequenceClassifier().fit(X, np.eye(3)[np.arange(48) % 3])
    with pytest.raises(ValueError, match="discrete classes on a regression target"):
        SequenceClassifier().fit(X, Y)


# ---------------------------------------------------------------- SeriesScaler


@pytest.mark.parametrize("layout", ["time-feature", "feature-time"])
def test_the_scaler_measures_features_over_samples_and_steps(layout):
    x = X * [3.0, 0.5] + [10.0, -2.0]
    want = (x - x.mean(axis=(0, 1))) / x.std(axis=(0, 1))
    deep = x if layout == "time-feature" else x.swapaxes(1, 2)
    scaler = SeriesScaler(n_features=2, layout=layout)
    found = scaler.fit_transform(deep)
    assert np.allclose(found if layout == "time-feature" else found.swapaxes(1, 2), want)
    assert np.allclose(scaler.inverse_transform(found), deep)
    flat = scaler.fit_transform(rows(x, layout))
    assert np.allclose(flat, rows(want, layout))
    assert np.allclose(scaler.inverse_transform(flat), rows(x, layout))
    assert np.allclose(scaler.mean_, x.mean(axis=(0, 1)))
    assert scaler.fit_transform(deep.astype("float32")).dtype == "float32"


def test_the_scaler_leaves_padding_out():
    lengths = np.arange(48) % 6 + 1
    valid = np.arange(6) < lengths[:, None]
    scaler = SeriesScaler().fit(np.where(valid[..., None], X, 99), lengths=lengths)
    assert np.allclose(scaler.mean_, X[valid].mean(axis=0))
    assert np.allclose(scaler.scale_, X[valid].std(axis=0))
    plain = SeriesScaler(with_mean=False, with_std=False).fit(X)
    assert np.array_equal(plain.transform(X), X)
