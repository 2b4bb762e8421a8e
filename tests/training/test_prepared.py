"""Prepared passes: the bits, logs and errors of plain ones, whatever changes in between."""

import contextlib
import copy
import threading
import time

import numpy as np
import pytest

import tdfast
from tdfast import layers, runtime
from tdfast.engine import program
from tdfast.errors import LossError
from tdfast.layers import GRU, LSTM, Dense, Dropout, Input, TimeDistributed
from tdfast.training import passes, served, strides

N, T, F = 50, 6, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, F)).astype("float32")
SCALAR = RNG.random((N, 1)).astype("float32")
STEPS = RNG.random((N, T, 1)).astype("float32")
LABELS = RNG.integers(4, size=(N, T))
ONE_HOT = np.eye(4, dtype="float32")[LABELS]


def chain(*stack, **options):
    def make():
        model = tdfast.Sequential([Input((T, F)), *[one() for one in stack]])
        return model, options

    return make


def two_outputs(shared=True):
    x = Input((T, F))
    layer = GRU(5, return_sequences=True)
    h = layers.Add()([layer(x), layer(-x)]) if shared else layer(x)
    y = TimeDistributed(Dense(4, activation="softmax"), name="classes")(h)
    z = Dense(1, name="number")(LSTM(4)(h))
    options = {"loss": {"classes": "categorical_crossentropy", "number": "mse"},
               "loss_weights": {"classes": 0.3, "number": 2.0}, "y": {"classes": ONE_HOT, "number": SCALAR}}
    return tdfast.Model(x, [y, z]), options


def broadcast():
    """Sums of different shapes, and both directions by themselves."""
    x = Input((T, F))
    ahead, back = layers.Bidirectional(LSTM(4, return_sequences=True), merge_mode=None)(x)
    h = layers.Add()([ahead, Dense(1)(x), layers.GlobalAveragePooling1D(keepdims=True)(back)])
    return tdfast.Model(x, Dense(1)(GRU(3)(layers.Add()([h, GRU(4)(back)])))), {"loss": "mse", "y": SCALAR}


def regularized():
    return Dense(3, kernel_regularizer="l2", bias_regularizer=tdfast.regularizers.L1(0.1),
                 kernel_constraint="unit_norm")


MODELS = {
    "tutorial": chain(lambda: LSTM(8, return_sequences=True),
                      lambda: TimeDistributed(Dense(4, activation="softmax")),
                      loss="categorical_crossentropy", y=ONE_HOT, metrics=["accuracy"]),
    "labels": chain(lambda: LSTM(8, return_sequences=True), lambda: Dense(4, activation="softmax"),
                    loss="sparse_categorical_crossentropy", y=LABELS),
    "logits": chain(lambda: GRU(8, return_sequences=True), lambda: Dense(4), y=LABELS,
                    loss=tdfast.losses.SparseCategoricalCrossentropy(from_logits=True)),
    "dropout": chain(lambda: LSTM(8, return_sequences=True, dropout=0.2, recurrent_dropout=0.1),
                     lambda: Dropout(0.3), lambda: layers.BatchNormalization(),
                     lambda: TimeDistributed(Dense(1)), y=STEPS, metrics=["mae"]),
    "penalties": chain(lambda: GRU(8), regularized, lambda: Dense(1), loss="huber", y=SCALAR),
    "in Python": chain(lambda: layers.Conv1D(8, 3, padding="same", activation="gelu"),
                       lambda: layers.LayerNormalization(), lambda: layers.RNN(layers.LSTMCell(4)),
                       lambda: Dense(1, "sigmoid"), loss="binary_crossentropy", y=SCALAR),
    "both directions": chain(lambda: layers.Bidirectional(LSTM(4, return_sequences=True)),
                             lambda: layers.Bidirectional(GRU(4), merge_mode="sum"), lambda: Dense(1),
                             y=SCALAR),
    "states": chain(lambda: LSTM(5, return_sequences=True, stateful=True, batch_input_shape=(10, T, F)),
                    lambda: Dense(1), y=STEPS),
    "two outputs": two_outputs,
    "broadcast": broadcast,
}


@contextlib.contextmanager
def passes_counted(plain=False):
    """For the block, a list that gets longer with each run of prepared passes; none run if ``plain``.
    All run one by one: test_strides.py is about several at once."""
    runs, of, again, go = [], passes.PassesByShape.of, passes.PreparedPasses._again, strides.Strides.go

    def noted(self):
        runs.append(self)
        return again(self)

    passes.PreparedPasses._again, strides.Strides.go = noted, lambda self, feed: 0
    if plain:
        passes.PassesByShape.of = lambda self, batch: self.plain
    try:
        yield runs
    finally:
        passes.PassesByShape.of, passes.PreparedPasses._again, strides.Strides.go = of, again, go


def trained(make, plain, work, optimizer="adam", batch_size=10, **compiled):
    """(what ``work(model, x, y)`` returns and the weights behind it, the number of prepared runs)."""
    tdfast.utils.set_random_seed(3)
    with passes_counted(plain) as runs:
        model, options = make()
        options = {"loss": "mse", **options}
        y = options.pop("y")
        model.compile(optimizer, **options, **compiled)
        result = work(model, X, y)
    return (result, [w.tobytes() for w in model.get_weights()]), len(runs)


def fits(model, x, y, **options):
    return model.fit(x, y, epochs=4, verbose=0, **{"batch_size": 10, **options}).history


def same(make, work, runs=1, **options):
    """Prepared and plain passes give the same, and at least so many prepared ones ran."""
    (result, weights), number = trained(make, False, work, **options)
    (wanted, plain_weights), none = trained(make, True, work, **options)
    assert none == 0 and number >= runs, number
    assert weights == plain_weights and _bytes(result) == _bytes(wanted)
    return result


def _bytes(result):
    if isinstance(result, dict):
        return {k: _bytes(v) for k, v in result.items()}
    if isinstance(result, (list, tuple)):
        return [_bytes(part) for part in result]
    return np.asarray(result).tobytes()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"batch_size": 16}], ids=str)
def test_a_fit(name, options):
    if name == "states" and "batch_size" in options:
        pytest.skip("its batches have 10 rows")
    same(MODELS[name], lambda model, x, y: fits(model, x, y, **options), runs=8)


@pytest.mark.parametrize("name", MODELS)
def test_single_batches(name):
    def work(model, x, y):
        out = []
        for i in [0, 1, 2, 0, 1]:
            part = slice(10 * i, 10 * i + 10)
            targets = {k: v[part] for k, v in y.items()} if isinstance(y, dict) else y[part]
            out.append(model.train_on_batch(x[part], targets))
        return out

    same(MODELS[name], work, runs=2)


@pytest.mark.parametrize("options", [
    {"optimizer": tdfast.optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.1)},
    {"optimizer": tdfast.optimizers.Adam(0.01, global_clipnorm=0.1)},
    {"optimizer": tdfast.optimizers.RMSprop(clipvalue=0.01)},
    {"optimizer": tdfast.optimizers.Adam(gradient_accumulation_steps=3)},
    {"optimizer": tdfast.optimizers.AdamW(use_ema=True, ema_overwrite_frequency=4)},
    {"steps_per_execution": 3},
], ids=lambda o: next(type(v).__name__ for v in o.values()))
def test_optimizers(options):
    fresh = {k: copy.deepcopy(v) for k, v in options.items()}

    def work(model, x, y):
        return fits(model, x, y)

    (a, runs), (b, _) = (trained(MODELS["tutorial"], plain, work, **copy.deepcopy(fresh))
                         for plain in (False, True))
    assert runs >= 8 and a[1] == b[1] and _bytes(a[0]) == _bytes(b[0])


# ------------------------------------------------------------------ what changes in between
class Between(tdfast.callbacks.Callback):
    """Calls ``change(model)`` after the seventh batch."""

    def __init__(self, change):
        super().__init__()
        self.change, self.count = change, 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == 7:
            self.change(self.model)


def set_rate(model):
    model.optimizer.learning_rate = 0.5


def freeze(model):
    model.layers[0].trainable = False


def set_weights(model):
    model.set_weights([w / 2 for w in model.get_weights()])


def set_threads(model):
    runtime.set_num_threads(1)


def set_activation(model):
    model.layers[-1].activation = tdfast.activations.sigmoid


def set_delta(model):
    model.loss.delta = 0.01


def set_dropout(model):
    model.layers[1].rate = 0.9


def set_regularizer(model):
    model.layers[-1].kernel.regularizer = tdfast.regularizers.L2(0.5)


def assign(model):
    model.layers[-1].kernel.assign(model.layers[-1].kernel.value * 2)


def write(model):
    model.layers[0].weights[0].value[...] *= 2


def predict(model):
    model.predict(X[:10], verbose=0)


def evaluate(model):
    model.evaluate(X, SCALAR, verbose=0)


def fit_within(model):
    model.train_on_batch(X[:10], SCALAR[:10])


CHANGES = [set_rate, freeze, set_weights, set_threads, set_activation, set_delta, set_dropout,
           set_regularizer, assign, write, predict, evaluate, fit_within]

CHANGE_NOTHING = [set_threads, set_regularizer, predict, evaluate]     # a penalty counts from the next fit on


def changing():
    model = tdfast.Sequential([Input((T, F)), LSTM(6), Dropout(0.2), Dense(1)])
    return model, {"loss": tdfast.losses.Huber(), "y": SCALAR}


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_change_in_the_middle_of_a_fit(change):
    threads = tdfast.get_num_threads()
    try:
        same(changing, lambda model, x, y: fits(model, x, y, callbacks=[Between(change)]), runs=4)
    finally:
        runtime.set_num_threads(threads)


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_change_counts(change):
    """The test above does not pass because nothing changes."""
    def made(change):
        return trained(changing, False, lambda model, x, y: fits(model, x, y, callbacks=[Between(change)]))[0]

    threads = tdfast.get_num_threads()
    try:
        changed, plain = made(change), made(lambda model: None)
    finally:
        runtime.set_num_threads(threads)
    assert (changed == plain) == (change in CHANGE_NOTHING)


def test_a_layer_that_changes_with_each_batch_is_not_prepared_for_ever():
    class Busy(tdfast.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.layers[1].rate = 0.1 + batch / 100

    with passes_counted() as runs:
        model, options = changing()
        model.compile("adam", options["loss"])
        model.fit(X, SCALAR, batch_size=10, epochs=4, verbose=0, callbacks=[Busy()])
    assert not runs and all(p.given_up for p in model._trainer._step._passes._by_rows.values())


def test_compiled_again():
    def work(model, x, y):
        first = fits(model, x, y)
        model.compile("sgd", "mae", metrics=["mse"])
        return first, fits(model, x, y)

    same(changing, work, runs=20)


def test_the_forms_of_batches_take_turns():
    """Of one number of rows: shuffled, in order, from a generator, single ones, of another dtype."""
    def work(model, x, y):
        out = [fits(model, x, y), fits(model, x, y, shuffle=False)]
        out.append(model.fit(((x[i : i + 10], y[i : i + 10]) for i in range(0, 50, 10)), verbose=0).history)
        out.append(model.train_on_batch(x[:10].astype("float64"), y[:10].tolist()))
        return [*out, fits(model, x, y)]

    same(changing, work, runs=20)


def test_weights_and_masks_take_turns_with_batches_without():
    def work(model, x, y):
        lengths, weights = np.arange(N) % T + 1, np.arange(N) % 3
        out = []
        for shuffle in (True, False):
            for more in ({}, {"lengths": lengths}, {}, {"sample_weight": weights}, {}):
                out.append(fits(model, x, y, shuffle=shuffle, **more))
        for weight in (None, weights[:10], None, None, weights[:10], None):
            out.append(model.train_on_batch(x[:10], y[:10], sample_weight=weight))
        return out

    same(changing, work, runs=100)


@pytest.mark.parametrize("weights", [np.arange(N) % 3, np.arange(N)[:, None] / N, None],
                         ids=["flat", "column", "step"])
@pytest.mark.parametrize("name", ["labels", "two outputs", "in Python"])
def test_weights(name, weights):
    """Of samples for outputs at each step too, in weighted metrics, and beside metrics without weights."""
    several = name == "two outputs"
    if weights is None:
        weights = np.arange(N * T).reshape(N, T) % 4 if name == "labels" else np.ones(N)
    given = [weights, np.ones(N)] if several else weights
    metric = "accuracy" if name == "labels" else "mae"
    for metrics in ({"metrics": [metric]}, {"weighted_metrics": [metric]}):
        if several:
            metrics = {key: [value, value] for key, value in metrics.items()}
        same(MODELS[name], lambda model, x, y: fits(model, x, y, sample_weight=given), runs=8, **metrics)


def test_masks_run_plain():
    model, options = changing()
    model.compile("adam", options["loss"])
    with passes_counted() as runs:
        model.fit(X, SCALAR, lengths=RNG.integers(1, T + 1, N), batch_size=10, epochs=3, verbose=0)
    assert not runs


def test_the_callers_arrays_are_not_written_to():
    model, options = changing()
    model.compile("adam", options["loss"])
    x, y = X.copy(), SCALAR.copy()
    for i in (0, 10, 20, 0):
        model.train_on_batch(x[i : i + 10], y[i : i + 10])
    model.fit(x, y, batch_size=10, epochs=2, shuffle=False, verbose=0)
    model.predict(x[:10], verbose=0), model.predict(x[10:20], verbose=0), model(x[20:30])
    assert np.array_equal(x, X) and np.array_equal(y, SCALAR)


# ------------------------------------------------------------------ errors
def test_a_bad_label_is_found_in_a_prepared_step():
    model, options = MODELS["labels"]()
    model.compile("adam", "sparse_categorical_crossentropy")
    for _ in range(4):
        model.train_on_batch(X[:10], LABELS[:10])
    before = model.get_weights()
    with pytest.raises(ValueError, match="4"):
        model.train_on_batch(X[:10], LABELS[:10] + 1)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    labels = np.where(np.arange(N)[:, None] == 33, 9, LABELS)
    with pytest.raises(ValueError, match="9"):
        model.fit(X, labels, batch_size=10, epochs=2, verbose=0)


def test_a_loss_that_becomes_nan_in_a_prepared_step():
    class Spoil(tdfast.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                self.model.layers[0].weights[0].value[0, 0] = np.nan

    model, options = changing()
    model.compile("adam", options["loss"])
    with passes_counted() as runs, pytest.raises(LossError, match=r"epoch 4.*lstm"):
        model.fit(X, SCALAR, batch_size=10, epochs=9, verbose=0, callbacks=[Spoil()])
    assert len(runs) >= 9 and len(model.history.epoch) == 3


# ------------------------------------------------------------------ predictions
@contextlib.contextmanager
def predictions_counted():
    """For the block, a list that gets longer with each prediction that runs prepared."""
    runs, run = [], served.Served._run

    def noted(self, *args):
        made = run(self, *args)
        runs.extend([] if made is None else [made])
        return made

    served.Served._run = noted
    try:
        yield runs
    finally:
        served.Served._run = run


def plainly(model, x):
    """A prediction of a twin that has predicted nothing before."""
    twin = tdfast.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin.predict(x, verbose=0)


def assert_served(model, number=1):
    """Predictions of a few forms equal those of a twin, and so many of them, at least, run prepared."""
    with predictions_counted() as runs:
        for x in (X[:10], X[10:20], X[20:30]):
            wanted = plainly(model, x)
            for got in (model.predict(x, verbose=0), model.predict_on_batch(x), model(x)):
                assert _bytes(got) == _bytes(wanted)
    assert len(runs) >= number


@pytest.mark.parametrize("name", [name for name in MODELS if name != "states"])
def test_predictions(name):
    model, options = MODELS[name]()
    model.compile("adam", options.get("loss", "mse"))
    assert_served(model, 4)
    model.set_weights([w + 0.1 for w in model.get_weights()])
    assert_served(model, 4)
    model.fit(X, options["y"], batch_size=10, verbose=0)
    assert_served(model, 4)


def test_predictions_after_each_change():
    model, options = changing()
    model.compile("adam", options["loss"])
    assert_served(model)
    for change in (set_weights, set_activation, set_dropout, assign, write, fit_within):
        change(model)
        assert_served(model)
    model.add(Dense(2))
    assert_served(model)
    model.pop()
    model.pop()
    assert_served(model)
    assert_served(tdfast.models.clone_model(model))


@pytest.mark.skipif(len(runtime.available_isas()) < 2, reason="one instruction set")
def test_predictions_follow_the_instruction_set():
    model, _ = changing()
    assert_served(model)
    isa = runtime.isa()
    try:
        runtime.set_isa(runtime.available_isas()[0])
        assert_served(model)
    finally:
        runtime.set_isa(isa)


def test_many_threads_predict_while_things_change():
    """Each result is that of its input, whichever thread has the programs made anew meanwhile."""
    model, _ = changing()
    inputs = [X[i : i + 10] * np.float32(i + 1) for i in range(4)]
    wanted = [plainly(model, x) for x in inputs]
    ended, wrong = threading.Event(), []

    def read(i):
        while not ended.is_set():
            try:
                if _bytes(model.predict(inputs[i], verbose=0)) != _bytes(wanted[i]):
                    wrong.append(i)
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for reader in readers:
        reader.start()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        program.changed()
        time.sleep(0)
    ended.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_what_cannot_be_prepared_is_not_tried_for_ever():
    model = tdfast.Sequential([Input((T, F)), layers.Masking(), GRU(3)])
    records, record = [], served.Served._record

    def noted(self, *args):
        records.append(args)
        return record(self, *args)

    served.Served._record = noted
    try:
        for _ in range(30):
            model.predict(X[:10], verbose=0)
    finally:
        served.Served._record = record
    assert 1 <= len(records) <= served.TRIES + 1


def test_what_is_predicted_is_the_callers():
    model, _ = changing()
    first = model.predict(X[:10], verbose=0)
    made = [model.predict(X[:10], verbose=0) for _ in range(3)]
    made[0][...] = 7
    assert _bytes(made[1]) == _bytes(made[2]) == _bytes(first)
    assert len({m.__array_interface__["data"][0] for m in made}) == 3


def test_training_mode_is_told_apart():
    """A call with training=True drops; one without does not, however often the others came."""
    model, _ = changing()
    plain = model.predict(X[:10], verbose=0)
    for _ in range(3):
        assert _bytes(model(X[:10])) == _bytes(plain)
        assert _bytes(model(X[:10], training=True)) != _bytes(plain)


def test_bad_inputs_are_refused_after_good_ones():
    model, _ = changing()
    for _ in range(3):
        model.predict(X[:10], verbose=0)
    bad = X[:10].copy()
    bad[3, 2, 1] = np.nan
    with pytest.raises(ValueError, match=r"\(3, 2, 1\)"):
        model.predict(bad, verbose=0)
    for wrong in (X[:10, :, :2], X[:10].astype(str), X[0, 0]):
        with pytest.raises(ValueError):
            model.predict(wrong, verbose=0)
    assert _bytes(model.predict(X[:10], verbose=0)) == _bytes(plainly(model, X[:10]))
    with pytest.raises(ValueError, match="batch_size"):
        model.predict(X[:10], batch_size=0, verbose=0)
    with pytest.raises(TypeError):
        model.predict(X[:10], verbose=0, batch_sise=3)


def test_a_model_that_decides_by_its_input_runs_plain():
    class Deciding(tdfast.Model):
        def __init__(self):
            super().__init__()
            self.inner = GRU(3)

        def call(self, x):
            return self.inner(x) if float(tdfast.ops.sum(x)) > 0 else -self.inner(x)

    model, x = Deciding(), abs(X[:10])
    for sign in (1, 1, 1, -1, 1, -1):
        wanted = sign * np.asarray(model.inner(sign * x)) if model.built else None
        got = model.predict(sign * x, verbose=0)
        assert wanted is None or np.array_equal(got, wanted)


def test_stateful_models_go_on():
    layer = LSTM(4, stateful=True)
    model = tdfast.Sequential([Input(batch_shape=(10, T, F)), layer])
    first = [model.predict(X[:10], verbose=0) for _ in range(3)]
    assert len({_bytes(y) for y in first}) == 3
    layer.reset_states()
    assert _bytes([model.predict(X[:10], verbose=0) for _ in range(3)]) == _bytes(first)
