"""fleet.fit: each model has the bits of a fit of its own, whatever the threads, the order and the data."""

import copy
import datetime
import os
import pickle
import signal
import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest

import tdfast
from tdfast import fleet, layers, optimizers, random
from tdfast.callbacks import EarlyStopping
from tdfast.fleet.keys import seed_of
from tdfast.layers import GRU, LSTM, BatchNormalization, Dense, Dropout, GaussianNoise, Input

RNG = np.random.default_rng(0)
F = 2


def series(rows, T=6, features=F):
    x = RNG.normal(size=(rows, T, features)).astype("float32")
    return x, x.sum((1, 2)).reshape(-1, 1)


DATA = {"a": series(40), "b": series(33), ("c", 1): series(7), 4: series(64), "e": series(50)}


def compiled(*inner, optimizer="adam", loss="mse", T=6, **options):
    model = tdfast.Sequential([Input((T, F)), *inner])
    model.compile(optimizer, loss, **options)
    return model


def plain(**options):
    return compiled(LSTM(5), Dense(1), **options)


def two_inputs():
    left, right = Input((6, F), name="left"), Input((F,), name="right")
    joined = layers.Concatenate()([GRU(4)(left), Dense(3, "relu")(right)])
    model = tdfast.Model([left, right], [Dense(1, name="one")(joined), Dense(2, name="two")(joined)])
    model.compile("adam", ["mse", "mae"], metrics={"one": ["mae"]})
    return model


def alone(model, given, seed, initialize=False, **options):
    """(weights, history) of a fit of its own."""
    if initialize:
        with random.scope(seed):
            twin = tdfast.models.clone_model(model)
    else:
        twin = copy.deepcopy(model)
    x, y, weight = (*given, None)[:3]
    history = twin.fit(x, y, sample_weight=weight, seed=seed, verbose=0, **options).history
    return [w.tobytes() for w in twin.get_weights()], history


def check(model, data, trained, validation=None, **options):
    """The law."""
    assert list(trained) == list(data)
    for key, given in data.items():
        if validation is not None:
            options["validation_data"] = validation[key]
        if "lengths_by_key" in options:
            options = {**options, "lengths": options["lengths_by_key"][key]}
        own = {name: value for name, value in options.items() if name != "lengths_by_key"}
        callbacks = own.pop("stopping", None)
        if callbacks is not None:
            own["callbacks"] = [copy.deepcopy(callbacks)]
        weights, history = alone(model, given, trained.seed_of(key), **own)
        assert [w.tobytes() for w in trained[key].get_weights()] == weights, key
        assert trained.history_of(key) == history, key


# ---------------------------------------------------------------- the law


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_fleet_has_the_bits_of_fits_of_their_own(threads):
    model = plain(metrics=["mae"])
    before = [w.tobytes() for w in model.get_weights()]
    trained = fleet.fit(model, DATA, epochs=3, batch_size=16, seed=7, threads=threads)
    check(model, DATA, trained, epochs=3, batch_size=16)
    assert [w.tobytes() for w in model.get_weights()] == before and not trained.failed
    assert model.optimizer.iterations == 0


MODELS = {
    "dropout": lambda: compiled(LSTM(4, dropout=0.2, recurrent_dropout=0.1), Dropout(0.5), Dense(1)),
    "an own seed": lambda: compiled(LSTM(4), Dropout(0.5, seed=3), GaussianNoise(0.1), Dense(1)),
    "batch norm": lambda: compiled(BatchNormalization(), GRU(4), BatchNormalization(), Dense(1)),
    "penalties": lambda: compiled(LSTM(4, kernel_regularizer="l2", kernel_constraint="max_norm"), Dense(1)),
    "any length": lambda: compiled(LSTM(4, return_sequences=True), layers.GlobalMaxPooling1D(), Dense(1),
                                   T=None),
    "frozen": lambda: compiled(LSTM(4, trainable=False), Dense(1)),
    "float64": lambda: compiled(LSTM(4, dtype="float64"), Dense(1, dtype="float64")),
    "stateful metrics": lambda: compiled(LSTM(4), Dense(1), metrics=["r2_score", "mae"]),
    "a metric by name": lambda: compiled(LSTM(4), Dense(1, "sigmoid"), loss="bce",
                                                       metrics=["accuracy", tdfast.metrics.AUC()]),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_kind_of_model(name):
    model = MODELS[name]()
    data = DATA
    if name == "any length":
        data = {T: series(20 + T, T) for T in (5, 6, 9, 6, 3)}
    if "by name" in name:
        data = {key: (x, (y > 0).astype("float32")) for key, (x, y) in DATA.items()}
    trained = fleet.fit(model, data, epochs=2, batch_size=16, seed=1, threads=2)
    assert not trained.failed
    check(model, data, trained, epochs=2, batch_size=16)


def first_column(y_true, y_pred):
    return tdfast.ops.square(y_pred[:, 0] - y_true[:, 0])


def test_metrics_by_name_follow_the_targets_of_each_key():
    model = compiled(LSTM(4), Dense(2, "softmax"), loss=first_column, metrics=["accuracy"])
    x, labels = DATA["a"][0], RNG.integers(2, size=(40, 1)).astype("float32")
    one_hot = np.concatenate([1 - labels, labels], 1)
    data = {"one": (x, labels), "two": (x, one_hot), "three": (x, one_hot), "four": (x, labels)}
    trained = fleet.fit(model, data, epochs=3, batch_size=8, seed=1, threads=1)
    check(model, data, trained, epochs=3, batch_size=8)
    alone = trained["two"].evaluate(*data["two"], return_dict=True, verbose=0)
    assert trained.evaluate(data, threads=1)["two"] == alone


def test_stateful_layers_begin_as_the_model_does():
    model = compiled(LSTM(4, stateful=True), Dense(1))
    data = {i: series(16) for i in range(3)}
    model.fit(*data[0], batch_size=8, verbose=0, seed=0)
    assert model.layers[0].states is not None
    options = {"epochs": 2, "batch_size": 8, "shuffle": False}
    check(model, data, fleet.fit(model, data, seed=1, threads=1, **options), **options)


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "amsgrad": lambda: optimizers.Adam(amsgrad=True, weight_decay=0.01),
    "rmsprop": lambda: optimizers.RMSprop(centered=True, momentum=0.1),
    "nadam": lambda: optimizers.Nadam(0.01),
    "adafactor": lambda: optimizers.Adafactor(0.01),
    "ftrl": lambda: optimizers.Ftrl(0.1),
    "muon": lambda: optimizers.Muon(0.01),
    "schedule free": lambda: optimizers.ScheduleFreeAdamW(0.01),
    "averages": lambda: optimizers.Adam(use_ema=True, ema_overwrite_frequency=3),
    "accumulated": lambda: optimizers.Adam(gradient_accumulation_steps=2),
    "clipped": lambda: optimizers.Adam(global_clipnorm=0.1),
    "a schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)),
    "several": lambda: optimizers.MultiOptimizer(optimizers.multi.OptimizerMap(
        optimizers.SGD(0.1), {".*lstm.*": optimizers.Nadam(0.01)})),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_begins_as_the_models_does(name):
    """Also where it has trained: its state is a part of where each key begins."""
    model = plain(optimizer=OPTIMIZERS[name]())
    data = {key: DATA[key] for key in ("a", "b", "e")}
    for trains in (False, True):
        if trains:
            model.fit(*DATA["a"], epochs=2, verbose=0, seed=3)
        trained = fleet.fit(model, data, epochs=2, batch_size=16, seed=1, threads=1)
        check(model, data, trained, epochs=2, batch_size=16)


def test_graphs_of_two_inputs_and_outputs():
    data = {key: ([x, x[:, 0]], [y, np.concatenate([y, -y], 1)]) for key, (x, y) in DATA.items()}
    model = two_inputs()
    trained = fleet.fit(model, data, epochs=2, batch_size=16, seed=1)
    check(model, data, trained, epochs=2, batch_size=16)
    assert {"loss", "one_loss", "two_loss", "one_mae"} < set(trained.history)
    x = {"a": data["a"][0]}
    made, one = trained.predict(x)["a"], trained["a"].predict(x["a"], verbose=0)
    assert all((p == q).all() for p, q in zip(made, one))


def test_the_order_of_the_keys_changes_nothing():
    model = plain()
    turned = dict(reversed(DATA.items()))
    one, other = (fleet.fit(model, data, epochs=2, seed=1, threads=2) for data in (DATA, turned))
    assert list(other) == list(turned)
    for key in DATA:
        assert one.weights[one._at(key)].tobytes() == other.weights[other._at(key)].tobytes()
        assert one.history_of(key) == other.history_of(key)


def test_weights_lengths_and_order():
    model = compiled(LSTM(4), Dense(1))
    data = {key: (*given, RNG.random(len(given[0]))) for key, given in DATA.items()}
    trained = fleet.fit(model, data, epochs=2, seed=1, shuffle=False)
    check(model, data, trained, epochs=2, shuffle=False)
    lengths = {key: RNG.integers(1, 7, len(given[0])) for key, given in DATA.items()}
    trained = fleet.fit(model, DATA, epochs=2, seed=1, lengths=lengths)
    check(model, DATA, trained, epochs=2, lengths_by_key=lengths)


def test_new_weights_by_the_seed_of_each_key():
    model = compiled(LSTM(4), Dropout(0.2), Dense(1))
    model.fit(*DATA["a"], verbose=0)
    trained = fleet.fit(model, DATA, epochs=2, seed=1, initialize=True)
    check(model, DATA, trained, epochs=2, initialize=True)
    untrained = fleet.fit(model, DATA, epochs=0, seed=1, initialize=True)
    assert len({row.tobytes() for row in untrained.weights}) == len(DATA)


# ---------------------------------------------------------------- validation and early stopping


def test_validation_by_a_share_and_by_key():
    model = plain(metrics=["mae"])
    trained = fleet.fit(model, DATA, epochs=2, seed=1, validation=0.25)
    check(model, DATA, trained, epochs=2, validation_split=0.25)
    assert {"val_loss", "val_mae"} < set(trained.history)
    held_out = {key: series(10) for key in DATA}
    trained = fleet.fit(model, DATA, epochs=2, seed=1, validation=held_out)
    check(model, DATA, trained, held_out, epochs=2)


def test_early_stopping_by_key():
    model = plain(optimizer=optimizers.Adam(0.2))
    data = {i: series(24) for i in range(6)}
    stopping = EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    for given in (2, stopping):
        trained = fleet.fit(model, data, epochs=20, seed=1, validation=0.3, early_stopping=given)
        check(model, data, trained, epochs=20, validation_split=0.3, stopping=stopping)
        epochs = {len(trained.history_of(key)["loss"]) for key in data}
        assert len(epochs) > 1 and max(epochs) <= 20
    assert stopping.best is None            # copies alone were used
    trained = fleet.fit(model, data, epochs=9, seed=1, early_stopping=1)
    stopping = EarlyStopping("loss", patience=1, restore_best_weights=True)
    check(model, data, trained, epochs=9, stopping=stopping)


# ---------------------------------------------------------------- what fails


def bad():
    """Data of which some cannot be learned, and what the reasons say."""
    data = dict(DATA)
    data["nan"] = (np.full((20, 6, F), np.nan, "float32"), np.ones(20))
    data["explodes"] = (DATA["a"][0], np.concatenate([DATA["a"][1][:35], np.full((5, 1), 1e30, "float32")]))
    data["features"] = series(20, features=3)
    data["rows"] = (DATA["a"][0], DATA["b"][1])
    data["text"] = "x"
    why = {"nan": "NaN", "explodes": "LossError", "features": "2 features", "rows": "40", "text": "(x, y)"}
    return data, why


@pytest.mark.parametrize("threads", [1, 2])
def test_a_key_that_fails_fails_alone(threads):
    data, why = bad()
    order = ["nan", "a", "explodes", "b", "features", ("c", 1), "rows", 4, "text", "e"]
    model = plain(optimizer="sgd")
    with pytest.warns(UserWarning, match="5 of 10 keys failed.*'nan'"):
        trained = fleet.fit(model, {key: data[key] for key in order}, epochs=3, batch_size=16, seed=1,
                            threads=threads, shuffle=False)
    assert set(trained.failed) == set(why) and list(trained) == order
    for key, words in why.items():
        assert words in trained.failed[key], trained.failed[key]
    for key in DATA:
        weights, history = alone(model, DATA[key], trained.seed_of(key), epochs=3, batch_size=16,
                                 shuffle=False)
        assert [w.tobytes() for w in trained[key].get_weights()] == weights
        assert trained.history_of(key) == history
    for key in ("nan", "features", "rows", "text"):            # never begun
        assert trained.history_of(key) == {}
        assert all((v == w).all() for v, w in zip(trained[key].get_weights(), model.get_weights()))
    twin = copy.deepcopy(model)
    with pytest.raises(FloatingPointError):
        twin.fit(*data["explodes"], epochs=3, batch_size=16, seed=trained.seed_of("explodes"), verbose=0,
                 shuffle=False)
    assert [w.tobytes() for w in trained["explodes"].get_weights()] == [
        w.tobytes() for w in twin.get_weights()]
    assert trained.history_of("explodes") == twin.history.history


def test_an_error_can_end_it_all():
    data, _ = bad()
    model = plain()
    with pytest.raises(ValueError, match="fleet.fit, key 'features': .*2 features") as caught:
        fleet.fit(model, {key: data[key] for key in ("a", "b", "features")}, seed=1, threads=1,
                  on_error="raise")
    done = caught.value.fleet
    assert list(done) == ["a", "b"]
    check(model, {key: DATA[key] for key in ("a", "b")}, done)


def test_ctrl_c_keeps_what_is_done():
    def prepare(given):
        if isinstance(given, str):
            raise KeyboardInterrupt
        return given

    model = plain()
    with pytest.raises(KeyboardInterrupt) as caught:
        fleet.fit(model, {**DATA, "stop": "here", "never": series(9)}, epochs=2, seed=1, threads=1,
                  prepare=prepare)
    done = caught.value.fleet
    assert list(done) == list(DATA) and not done.failed
    check(model, DATA, done, epochs=2)


def test_a_signal_ends_the_fits_after_their_steps():
    """The keys that run are not in the fleet then."""
    model, begun = plain(), threading.Event()

    def prepare(given):
        begun.set()
        return given

    def press():
        begun.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        fleet.fit(model, {"e": DATA["e"], "a": DATA["a"]}, epochs=10**6, seed=1, threads=2, prepare=prepare)
    presser.join()
    assert len(caught.value.fleet) == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fleet-")]


def test_a_signal_waits_for_the_threads():
    """However long what a thread does takes: it would write to models that the caller takes for finished."""
    order = []

    def prepare(given):
        order.append("begun")
        first = len(order) == 1
        time.sleep(0.3)                 # the caller waits for the threads by now
        if first:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.6)
        order.append("done")
        return given

    with pytest.raises(KeyboardInterrupt):
        fleet.fit(plain(), DATA, epochs=1, seed=1, threads=2, prepare=prepare)
    assert order.count("begun") == order.count("done")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fleet-")]


def test_an_empty_fleet():
    trained = fleet.fit(plain(), {}, epochs=2, seed=1)
    assert len(trained) == 0 and list(trained) == [] and trained.predict({}) == {}
    assert len(trained.history["key"]) == 0
    with pytest.raises(KeyError, match="no model of the fleet has the key 'a'; there are 0"):
        trained["a"]


@pytest.mark.parametrize("options, words", [
    ({"data": {1.5: 1, float("nan"): 2}}, "a key must be a string, a number"),
    ({"data": [("a", series(9)), ("a", series(9))]}, "the key 'a' comes twice"),
    ({"data": 5}, "expects a dict from keys to data, pairs .* got a int"),
    ({"validation": {"a": DATA["a"]}}, "validation has nothing for 4 of the 5 keys, .* 'b'"),
    ({"validation": 1.0}, "a share between 0 and 1"),
    ({"early_stopping": "yes"}, "early_stopping must be a number of epochs or an EarlyStopping"),
    ({"on_error": "ignore"}, "on_error must be 'keep' or 'raise', got 'ignore'"),
    ({"threads": 0}, "threads must be at least 1"),
    ({"seed": -1}, "seed must be a whole number of at least 0"),
    ({"seed": "a"}, "must be a whole number"),
    ({"epochs": -1}, "epochs must be a whole number"),
    ({"model": tdfast.Sequential([LSTM(3), Dense(1)])}, "call compile"),
    ({"model": "model"}, "expects a tdfast model as its first argument, got a str"),
])
def test_what_does_not_fit_is_said_before_anything_is_done(options, words):
    options = {"model": plain(), "data": DATA, **options}
    with pytest.raises(ValueError, match=words):
        fleet.fit(options.pop("model"), options.pop("data"), **options)


def test_a_model_must_be_built():
    model = tdfast.Sequential([LSTM(3), Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="has no weights yet.*Give it an Input"):
        fleet.fit(model, DATA)


# ---------------------------------------------------------------- keys and data


def test_lists_pairs_and_numbers_of_numpy():
    model = plain()
    for data in ([DATA["a"], DATA["b"]], ((k, DATA[n]) for k, n in ((0, "a"), (1, "b"))),
                 {np.int64(0): DATA["a"], np.int32(1): DATA["b"]}):
        trained = fleet.fit(model, data, seed=1)
        assert list(trained) == [0, 1] and np.int64(1) in trained and [1] not in trained
        check(model, {0: DATA["a"], 1: DATA["b"]}, trained)


def test_groups_of_a_frame():
    pd = pytest.importorskip("pandas")
    n, T = 30, 6
    frame = pd.DataFrame({"shop": np.repeat(["b", "a"], n), "sold": RNG.random(2 * n)})

    def windows(group):
        values = group["sold"].to_numpy("float32")
        cut = np.lib.stride_tricks.sliding_window_view(values, T + 1)
        return cut[:, :T, None], cut[:, T]

    model = tdfast.Sequential([Input((T, 1)), LSTM(3), Dense(1)])
    model.compile("adam", "mse")
    trained = fleet.fit(model, frame.groupby("shop"), prepare=windows, epochs=2, seed=1)
    check(model, {key: windows(group) for key, group in frame.groupby("shop")}, trained, epochs=2)
    assert list(pd.DataFrame(trained.history).columns) == ["key", "epoch", "loss"]


def test_seeds_are_the_same_everywhere():
    """Written down, for the next version and another machine."""
    assert [seed_of(3, key) for key in ("a", 1, ("a", 1), b"a", None, 0.5)] == [
        1657412074069678952, 3408004645140243655, 8292545080819814213, 8601560870053722903,
        1596775912428679980, 7242130372666516254]


def test_no_seed_is_another_one_each_time_and_can_be_had():
    model = plain()
    with random.scope(1):
        trained = fleet.fit(model, DATA)
    again = fleet.fit(model, DATA, seed=trained.seed)
    assert (trained.weights == again.weights).all()
    assert (trained.weights != fleet.fit(model, DATA).weights).any()


# ---------------------------------------------------------------- a fleet


def test_predictions_and_measures_of_all():
    model = plain(metrics=["mae"])
    trained = fleet.fit(model, DATA, epochs=2, seed=1)
    x = {key: given[0] for key, given in DATA.items()}
    for threads in (1, 2):
        made, measured = trained.predict(x, threads=threads), trained.evaluate(DATA, threads=threads)
        assert list(made) == list(measured) == list(DATA)
        for key in DATA:
            assert (made[key] == trained[key].predict(x[key], verbose=0)).all()
            assert measured[key] == trained[key].evaluate(*DATA[key], return_dict=True, verbose=0)
    assert list(trained.predict({"b": x["b"]})) == ["b"]
    with pytest.raises(KeyError, match="no model of the fleet has the key 'z'; there are 5: 'a', 'b', "):
        trained.predict({"a": x["a"], "z": x["a"]})
    with pytest.raises(ValueError, match="fleet.predict, key 'b': "):
        trained.predict({"a": x["a"], "b": x["b"][..., :1]})


def test_a_model_of_a_fleet_is_ones_own():
    trained = fleet.fit(plain(), DATA, seed=1)
    model, before = trained["a"], trained.weights.copy()
    model.fit(*DATA["a"], epochs=2, verbose=0)
    assert (trained.weights == before).all() and trained["a"] is not trained["a"]
    assert (trained["a"].get_weights()[0] != model.get_weights()[0]).any()
    assert repr(trained) == f"<Fleet of 5 models '{model.name}'>"


def test_the_history_is_a_table():
    model = plain(optimizer=optimizers.Adam(0.2), metrics=["mae"])
    data = {i: series(24) for i in range(4)}
    trained = fleet.fit(model, data, epochs=12, seed=1, validation=0.3, early_stopping=1)
    table = trained.history
    assert list(table) == ["key", "epoch", "loss", "mae", "val_loss", "val_mae"]
    assert len({len(column) for column in table.values()}) == 1
    for key in data:
        mine = table["key"] == key
        assert table["epoch"][mine].tolist() == list(range(mine.sum()))
        assert table["val_mae"][mine].tolist() == trained.history_of(key)["val_mae"]


def test_metrics_of_several_numbers_have_several_columns(tmp_path):
    y = {key: np.eye(3)[RNG.integers(3, size=len(given[0]))] for key, given in DATA.items()}
    model = compiled(LSTM(4), Dense(3, "softmax"), loss="categorical_crossentropy",
                     metrics=[tdfast.metrics.F1Score()])
    trained = fleet.fit(model, {key: (DATA[key][0], y[key]) for key in DATA}, epochs=2, seed=1)
    assert list(trained.history) == ["key", "epoch", "f1_score_0", "f1_score_1", "f1_score_2", "loss"]
    trained.save(tmp_path / "a")
    again = fleet.load(tmp_path / "a")
    assert all((p == q).all() for p, q in zip(again.history.values(), trained.history.values()))


def test_pickle_and_copies():
    trained = fleet.fit(plain(), DATA, epochs=2, seed=1)
    trained.predict({"a": DATA["a"][0]})
    for twin in (pickle.loads(pickle.dumps(trained)), copy.deepcopy(trained)):
        assert list(twin) == list(trained) and (twin.weights == trained.weights).all()
        assert twin.seed == trained.seed and twin.history_of("b") == trained.history_of("b")
        assert (twin.predict({"a": DATA["a"][0]})["a"] == trained.predict({"a": DATA["a"][0]})["a"]).all()


def test_what_it_prints(capsys):
    data, _ = bad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fleet.fit(plain(optimizer="sgd"), data, epochs=3, seed=1, verbose=1)
        out = capsys.readouterr().out
        fleet.fit(plain(), data, seed=1)
    assert out.startswith("10/10 models, 5 failed - ") and out.count("\n") == 1
    assert capsys.readouterr().out == ""


def held_by(models):
    """Bytes of a fleet of so many, and those at the height of its fit."""
    tracemalloc.start()
    try:
        trained = fleet.fit(plain(), dict.fromkeys(range(models), DATA[("c", 1)]), seed=1, threads=2)
        return np.array([*tracemalloc.get_traced_memory(), trained.weights.nbytes])
    finally:
        tracemalloc.stop()


def test_memory_is_weights_and_histories():
    """One model more is its weights, its history and its key: no buffers, which are 400 KiB a model."""
    held_by(10)
    held, peak, weights = (held_by(500) - held_by(100)) / 400
    assert held < weights + 1200 and peak < weights + 2400, (held, peak, weights)


def test_keys_of_dates_and_others(tmp_path):
    keys = ["1", 1, 0.5, True, None, b"1", ("1", (2, None)), datetime.date(2020, 1, 2),
            datetime.datetime(2020, 1, 2, 3)]
    keys.remove(True)                           # the same key as 1
    trained = fleet.fit(plain(), dict.fromkeys(keys, series(9)), seed=1)
    assert len({trained.seed_of(key) for key in keys}) == len(keys)
    trained.save(tmp_path / "a")
    assert list(fleet.load(tmp_path / "a")) == keys
