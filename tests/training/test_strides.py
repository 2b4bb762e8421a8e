"""Strides: many steps without Python, with the bits, logs and errors of one step after the other."""

import contextlib
import copy
import os
import signal
import threading

import numpy as np
import pytest

import tdfast
from tdfast import _kernels, layers, metrics, optimizers
from tdfast.engine import program
from tdfast.errors import LossError
from tdfast.layers import GRU, LSTM, Dense, Dropout, Input, TimeDistributed
from tdfast.training import strides
from tdfast.training.step import Step

N, T, F = 131, 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, F)).astype("float32")
SCALAR = RNG.random((N, 1)).astype("float32")
LABELS = RNG.integers(4, size=(N, T))
ONE_HOT = np.eye(4, dtype="float32")[LABELS]


class Largest(metrics.Metric):
    """A metric of one's own."""

    def __init__(self):
        super().__init__(name="largest")
        self.largest = self.add_variable(())

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest.assign(max(self.largest, np.abs(y_true - y_pred).max()))

    def result(self):
        return float(self.largest)


@contextlib.contextmanager
def counted(possible=True):
    """For the block, the list of how many steps each stride made; none if not ``possible``."""
    made, go = [], strides.Strides.go

    def noted(self, feed):
        made.append(go(self, feed) if possible else 0)
        return made[-1]

    strides.Strides.go = noted
    try:
        yield made
    finally:
        strides.Strides.go = go


def chain(dtype="float32"):
    return tdfast.Sequential([Input((T, F), dtype=dtype), LSTM(5, return_sequences=True, dtype=dtype),
                              GRU(4, dtype=dtype), Dense(1, "tanh", dtype=dtype)])


def classes():
    return tdfast.Sequential([Input((T, F)), LSTM(6, return_sequences=True),
                              TimeDistributed(Dense(4, activation="softmax"))])


def two_outputs():
    x = Input((T, F))
    h = GRU(5, return_sequences=True)(x)
    return tdfast.Model(x, [Dense(4, activation="softmax", name="a")(h), Dense(1, name="b")(LSTM(3)(h))])


def residual():
    x = Input((T, F))
    h = LSTM(4, return_sequences=True)(x)
    return tdfast.Model(x, Dense(1)(GRU(3)(layers.Add()([h, LSTM(4, return_sequences=True)(h)]))))


def trained(make, y, x=X, optimizer="adam", loss="mse", possible=True, compiled=None, **options):
    """((history, weights, the optimizer's variables), how many steps were made in strides)."""
    tdfast.utils.set_random_seed(3)
    model = make()
    model.compile(optimizer if isinstance(optimizer, str) else optimizer(), loss, **(compiled or {}))
    with counted(possible) as made:
        history = model.fit(x, y, **{"batch_size": 8, "epochs": 3, "verbose": 0, **options}).history
    numbers = [np.asarray(v).tobytes() for v in (*model.get_weights(), *model.optimizer.variables)]
    return (history, numbers), sum(made)


def same(*args, strides=30, **options):
    got, made = trained(*args, **options)
    wanted, none = trained(*args, possible=False, **options)
    assert none == 0 and (made >= strides if strides else made == 0), made
    assert got == wanted
    return got


def both_ways(mode, sequences, cell=LSTM, **options):
    """Two layers that read from both ends, merged in one way."""
    inner = cell(4, return_sequences=sequences, **options)
    return lambda: tdfast.Sequential([
        Input((T, F)), layers.Bidirectional(GRU(3, return_sequences=True)),
        layers.Bidirectional(inner, merge_mode=mode), Dense(1)])


def joined():
    """A shared layer, and branches that are put side by side and added up."""
    x = Input((T, F))
    shared = GRU(4, return_sequences=True)
    a, b = shared(x), shared(layers.LayerNormalization()(Dense(F)(x)))
    wide = layers.Concatenate()([a, layers.Add()([a, b, LSTM(4, return_sequences=True)(x)])])
    long = layers.Concatenate(axis=1)([wide, Dense(8)(wide)])
    return tdfast.Model(x, Dense(1)(LSTM(3)(long)))


MODELS = {
    "chain": (chain, SCALAR),
    **{f"both ways, {mode}": (both_ways(mode, False), SCALAR) for mode in ("concat", "sum", "mul", "ave")},
    "both ways, steps": (both_ways("concat", True, GRU), SCALAR[:, None] * np.ones((1, T, 1), "float32")),
    "both ways, dropout": (both_ways("ave", False, dropout=0.2), SCALAR),
    "joined": (joined, SCALAR),
    "classes": (classes, ONE_HOT, {"loss": "categorical_crossentropy"}),
    "float64": (lambda: chain("float64"), SCALAR, {"loss": "huber"}),
    "residual": (residual, SCALAR, {"loss": "mae"}),
    "labels": (classes, LABELS, {"loss": "sparse_categorical_crossentropy"}),
    "two outputs": (two_outputs, [ONE_HOT, SCALAR], {"loss": ["categorical_crossentropy", "mse"]}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"shuffle": "batch"}, {"validation_split": 0.2},
                                     {"steps_per_epoch": 8, "epochs": 2}, {"batch_size": 131}], ids=str)
def test_a_fit(name, options):
    make, y, *more = MODELS[name]
    same(make, y, strides=0 if "batch_size" in options else 10, **(more[0] if more else {}), **options)


@pytest.mark.parametrize("shuffle", [True, False])
def test_later_fits(shuffle):
    """Each of several fits of a model, on other data, of other numbers of rows and back."""
    tdfast.utils.set_random_seed(3)
    models = [chain(), chain()]
    models[1].set_weights(models[0].get_weights())
    fits = [(X, SCALAR, 8), (X[::-1].copy(), SCALAR, 8), (X[:64], SCALAR[:64], 16), (X, SCALAR, 8)]
    for model, possible in zip(models, (True, False)):
        model.compile("adam", "mse")
        for x, y, size in fits:
            with counted(possible) as made:
                model.fit(x, y, batch_size=size, epochs=4, verbose=0, shuffle=shuffle, seed=5)
            assert sum(made) >= 4 * (len(x) // size - 2) - 8 if possible else not sum(made)
    assert [w.tobytes() for w in models[0].get_weights()] == [w.tobytes() for w in models[1].get_weights()]


@pytest.mark.parametrize("rows", [131, 24, 7])
def test_an_epoch_needs_no_step_in_python(rows, monkeypatch):
    """Neither for its first nor for its last, smaller batch, once batches of as many rows are prepared."""
    model, steps = chain(), []
    model.compile("adam", "mse")
    model.fit(X[:rows], SCALAR[:rows], batch_size=8, epochs=4, verbose=0)
    train = Step.train
    monkeypatch.setattr(Step, "train", lambda *args: steps.append(args) or train(*args))
    with counted() as made:
        model.fit(X[-rows:], SCALAR[-rows:], batch_size=8, epochs=3, verbose=0)
    assert not steps and sum(made) == 3 * -(-rows // 8)


OPTIMIZERS = {
    "SGD": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "Adam": lambda: optimizers.Adam(0.01, amsgrad=True),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "RMSprop": lambda: optimizers.RMSprop(centered=True, momentum=0.5),
    "Adagrad": lambda: optimizers.Adagrad(), "Adadelta": lambda: optimizers.Adadelta(),
    "Adamax": lambda: optimizers.Adamax(), "Nadam": lambda: optimizers.Nadam(),
    "Ftrl": lambda: optimizers.Ftrl(), "Lion": lambda: optimizers.Lion(),
    "clipvalue": lambda: optimizers.Adam(clipvalue=0.01),
    "clipnorm": lambda: optimizers.Adam(clipnorm=0.01),         # cuts all gradients
    "clipnorm of some": lambda: optimizers.SGD(0.1, clipnorm=0.1),
    "clipnorm of none": lambda: optimizers.Adam(clipnorm=1e6),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.CosineDecay(0.05, 40, warmup_target=0.1,
                                                                         warmup_steps=10)),
}


@pytest.mark.parametrize("scale", [1e-14, 1e-19, 1e-22, 1e18])
def test_norms_whose_squares_leave_float32(scale):
    """The bits of the steps by Python, which takes such lengths again in float64."""
    def make():
        return tdfast.Sequential([Input((T, F)), GRU(3), Dense(1, kernel_initializer="zeros")])

    for limit in (1.0, scale, 1e-3 * scale):
        runs = [trained(make, SCALAR * np.float32(scale), possible=possible,
                        optimizer=lambda limit=limit: optimizers.SGD(1e-3, clipnorm=limit))[0]
                for possible in (True, False)]
        assert runs[0] == runs[1]


def not_biases():
    made = optimizers.Adam(weight_decay=0.1)
    made.exclude_from_weight_decay(var_names=["bias"])
    return made


OPTIMIZERS["but biases"] = not_biases


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    same(chain, SCALAR, optimizer=OPTIMIZERS[name])


@pytest.mark.parametrize("name", ["Adam", "Nadam", "schedule", "RMSprop"])
def test_numbers_that_an_optimizer_remembers_are_those_of_now(name):
    """Of steps that come again, as where fits begin anew; also after one of its attributes changed."""
    def made(possible):
        tdfast.utils.set_random_seed(3)
        model, kept = chain(), []
        optimizer = OPTIMIZERS[name]()
        model.compile(optimizer, "mse")
        for change in (lambda: None, lambda: None, lambda: setattr(optimizer, "epsilon", 1e-3),
                       lambda: name != "schedule" and setattr(optimizer, "learning_rate", 0.2),
                       lambda: setattr(optimizer, "weight_decay", 0.1)):
            optimizer.iterations = 0
            change()
            with counted(possible):
                model.fit(X, SCALAR, batch_size=8, epochs=2, verbose=0, seed=5)
            kept.append([w.tobytes() for w in model.get_weights()])
        return kept, [w.tobytes() for w in copy.deepcopy(model).get_weights()]

    assert made(True) == made(False)


def of_labels():
    return tdfast.Sequential([Input((T, F)), LSTM(6, return_sequences=True), Dense(4, "softmax")])


def of_chances():
    return tdfast.Sequential([Input((T, F)), LSTM(6), Dense(3, "sigmoid")])


def two_ends():
    x = Input((T, F))
    h = LSTM(5)(x)
    return tdfast.Model(x, [Dense(4, "softmax", name="a")(h), Dense(1, name="b")(h)])


METRICS = {
    "one-hot": (classes, ONE_HOT, "categorical_crossentropy", ["accuracy"]),
    "labels": (of_labels, LABELS, "sparse_categorical_crossentropy", ["accuracy"]),
    "labels in 8 bits": (of_labels, LABELS.astype("uint8"), "sparse_categorical_crossentropy", ["acc"]),
    "labels in a column": (of_labels, LABELS[..., None].astype("int32"), "sparse_categorical_crossentropy",
                           ["accuracy", "sparse_categorical_crossentropy"]),
    "probabilities too": (classes, ONE_HOT, "categorical_crossentropy", ["accuracy", "mse", "kld"]),
    "chances": (of_chances, (RNG.random((N, 3)) < 0.4) * np.float32(1), "binary_crossentropy",
                ["accuracy", metrics.BinaryAccuracy(threshold=0.3, name="at 0.3"), "bce"]),
    "numbers": (chain, SCALAR, "mse", ["mae", metrics.RootMeanSquaredError(), "mape", "mse", "logcosh"]),
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("options", [{}, {"validation_split": 0.2}, {"shuffle": False, "batch_size": 5}],
                         ids=str)
def test_metrics(name, options):
    make, y, loss, counted = METRICS[name]
    history = same(make, y, loss=loss, compiled={"metrics": counted}, strides=10, **options)[0]
    assert len(history) == (1 + len(counted)) * (2 if "validation_split" in options else 1)
    assert all(len(set(values)) > 1 for name, values in history.items()
               if "acc" not in name and "0.3" not in name)


def test_metrics_of_several_outputs_and_weighted_ones():
    compiled = {"metrics": {"a": ["accuracy"], "b": ["mae", "mse"]}, "weighted_metrics": {"a": ["accuracy"]}}
    history = same(two_ends, [LABELS[:, 0], SCALAR], loss=["sparse_categorical_crossentropy", "mae"],
                   compiled=compiled)[0]
    assert len(history) == 3 + 4


@pytest.mark.parametrize("row", [7, 40, 130])
@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_a_label_that_is_no_class(row, optimizer):
    """In the step that meets it, as without strides, with the weights and the optimizer of before it."""
    results = []
    for possible in (True, False):
        tdfast.utils.set_random_seed(1)
        model, y = of_labels(), LABELS.copy()
        y[row, 2] = 4
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        with counted(possible) as made, pytest.raises(ValueError, match="label 4 .* out of range") as caught:
            model.fit(X, y, batch_size=8, epochs=2, verbose=0, shuffle=False)
        assert sum(made) == (row // 8 - 4 if possible and row > 30 else 0)
        numbers = [np.asarray(v).tobytes() for v in (*model.get_weights(), *model.optimizer.variables)]
        results.append((str(caught.value), numbers, model.optimizer.steps))
    assert results[0] == results[1]


def test_a_metric_that_becomes_another():
    """A metric's function is replaced between two epochs."""
    class Between(tdfast.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.metrics[1].function = tdfast.losses.MeanSquaredError()

    options = {"compiled": {"metrics": ["mae"]}, "epochs": 4}
    changed = same(chain, SCALAR, callbacks=[Between()], strides=10, **options)[0]["mae"]
    usual = trained(chain, SCALAR, **options)[0][0]["mae"]
    assert changed[:2] == usual[:2] and changed[2] != usual[2] and changed[3] != usual[3]


def test_a_callback_that_evaluates_in_between_counts_apart():
    class Between(tdfast.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.evaluate(X[:20], SCALAR[:20], verbose=0)

    got = same(chain, SCALAR, compiled={"metrics": ["mae"]}, callbacks=[Between()], strides=10)
    assert got == trained(chain, SCALAR, compiled={"metrics": ["mae"]})[0]


PYTHON = {
    "a metric of one's own": {"compiled": {"metrics": [Largest()]}},
    "a function as metric": {"compiled": {"metrics": [lambda y, p: np.abs(y - p)]}},
    "a metric in NumPy": {"compiled": {"metrics": ["mae", metrics.R2Score()]}},
    "a tiny norm": {"optimizer": lambda: optimizers.SGD(clipnorm=1e-31)},
    "all norms": {"optimizer": lambda: optimizers.SGD(global_clipnorm=0.1)},
    "averages": {"optimizer": lambda: optimizers.Adam(use_ema=True)},
    "sums": {"optimizer": lambda: optimizers.Adam(gradient_accumulation_steps=2)},
    "a function": {"optimizer": lambda: optimizers.Adam(lambda: 0.01)},
    "Muon": {"optimizer": lambda: optimizers.Muon()},
    "Adafactor": {"optimizer": lambda: optimizers.Adafactor()},
    "the sum of the weights": {"sample_weight": RNG.random(N),
                               "loss": tdfast.losses.MeanSquaredError("mean_with_sample_weight")},
    "lengths": {"lengths": RNG.integers(1, T + 1, N)},
    "hooks": {"callbacks": [tdfast.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)]},
    "a function as loss": {"loss": lambda y, p: (y - p) ** 2},
}


@pytest.mark.parametrize("name", PYTHON)
def test_what_needs_python_has_it(name):
    same(chain, SCALAR, strides=0, **PYTHON[name])


WEIGHTED = {
    "samples": (chain, SCALAR, "mse", {"sample_weight": RNG.random(N)}),
    "zeros and whole numbers": (chain, SCALAR, "mae", {"sample_weight": np.arange(N) % 3}),
    "a column": (chain, SCALAR, "mse", {"sample_weight": RNG.random((N, 1)).astype("float32")}),
    "float64": (lambda: chain("float64"), SCALAR, "huber", {"sample_weight": RNG.random(N)}),
    "classes": (of_labels, LABELS, "sparse_categorical_crossentropy", {"sample_weight": RNG.random((N, T))}),
    "by class": (lambda: tdfast.Sequential([Input((T, F)), GRU(4), Dense(4, "softmax")]), LABELS[:, 0],
                 "sparse_categorical_crossentropy", {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5, 3: 0.0}}),
}


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("options", [{}, {"shuffle": False, "batch_size": 5}, {"validation_split": 0.2}],
                         ids=str)
def test_weights(name, options):
    make, y, loss, weights = WEIGHTED[name]
    if "class_weight" in weights and "validation_split" in options:
        options = {"validation_data": (X[:9], y[:9])}
    compiled = {"metrics": ["accuracy" if "cross" in loss else "mae"]}
    got = same(make, y, loss=loss, strides=10, compiled=compiled, **weights, **options)
    plain = trained(make, y, loss=loss, compiled=compiled, **options)[0]
    assert got[0]["loss"] != plain[0]["loss"]


def test_weights_come_and_go():
    """Fits of one model with weights, with others, without, and of other sizes."""
    tdfast.utils.set_random_seed(3)
    models = [chain(), chain()]
    models[1].set_weights(models[0].get_weights())
    weights = [RNG.random(N), None, np.ones(N), RNG.random(N), None]
    for model, possible in zip(models, (True, False)):
        model.compile("adam", "mse")
        for weight in weights:
            for n in (N, 64):
                with counted(possible) as made:
                    model.fit(X[:n], SCALAR[:n], sample_weight=weight if weight is None else weight[:n],
                              batch_size=8, epochs=3, verbose=0, seed=5)
                assert not possible or sum(made) >= 10
    assert [v.tobytes() for v in models[0].get_weights()] == [v.tobytes() for v in models[1].get_weights()]


def with_dropout():
    return tdfast.Sequential([
        Input((T, F)), LSTM(5, dropout=0.2, recurrent_dropout=0.1, return_sequences=True), Dropout(0.3),
        layers.SpatialDropout1D(0.2), GRU(4, dropout=0.1), Dropout(0.1), Dense(1)])


@pytest.mark.parametrize("options", [{}, {"shuffle": False, "validation_split": 0.2}], ids=str)
def test_dropout(options):
    got = same(with_dropout, SCALAR, strides=10, **options)
    assert len(set(got[0]["loss"])) == 3


@pytest.mark.parametrize("layer", [lambda: Dropout(1.0), lambda: Dropout(0.2, noise_shape=(1, T, F)),
                                   lambda: layers.GaussianDropout(0.2), layers.BatchNormalization,
                                   lambda: Dense(3, kernel_regularizer="l2"),
                                   lambda: Dense(3, kernel_constraint="unit_norm"),
                                   lambda: Dense(3, activity_regularizer="l2"), layers.Masking])
def test_layers_that_need_python_have_it(layer):
    same(lambda: tdfast.Sequential([Input((T, F)), layer(), GRU(4), Dense(1)]), SCALAR, strides=0)


@pytest.mark.parametrize("change", [
    {"clipnorm": 0.01}, {"clipvalue": 0.001}, {"weight_decay": 0.5}, {"learning_rate": 0.1}, {"beta_1": 0.1},
    {"global_clipnorm": 0.01},
], ids=str)
def test_an_optimizer_that_changes_between_epochs(change):
    class Between(tdfast.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                for name, value in change.items():
                    setattr(self.model.optimizer, name, value)

    changed = same(chain, SCALAR, strides=10, callbacks=[Between()], epochs=5)
    assert changed != trained(chain, SCALAR, epochs=5)[0]


class Halved(optimizers.Adam):
    def numbers(self, rate):
        return super().numbers(rate / 2)


def test_numbers_of_ones_own():
    half = same(chain, SCALAR, optimizer=Halved)
    assert half != same(chain, SCALAR, optimizer=optimizers.Adam)


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("row", [5, 60, 130])
def test_numbers_that_end(what, row):
    """The step says so, in the same words, with the weights and the history of before."""
    x, y, results = X[:, 0].copy(), 100 * SCALAR, []
    if what == "loss":
        y[row] = 1e30
    else:
        x[row], y[row] = 3e38, 100
    for possible in (True, False):
        model = tdfast.Sequential([Input((F,)), Dense(1, kernel_initializer="zeros", name="out")])
        model.compile(optimizers.SGD(1e-36), "mse")
        with counted(possible) as made, pytest.raises(LossError, match=what) as caught:
            model.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=False)
        results.append((str(caught.value), [w.tobytes() for w in model.get_weights()], model.optimizer.steps,
                        model.history.history))
        assert sum(made) == (row // 8 - 4 if possible and row > 30 else 0)
    assert results[0] == results[1]


def test_nan_ends_a_fit_quietly():
    y = SCALAR.copy()
    y[77] = 1e30
    got = same(chain, y, callbacks=[tdfast.callbacks.TerminateOnNaN()], strides=0)
    assert len(got[0]["loss"]) == 1


def test_a_schedule_that_fails_does_so_at_its_step():
    class Falls(optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            if step == 21:
                raise ZeroDivisionError("at 21")
            return 0.01

    results = []
    for possible in (True, False):
        tdfast.utils.set_random_seed(1)
        model = chain()
        model.compile(optimizers.Adam(Falls()), "mse")
        with counted(possible) as made, pytest.raises(ZeroDivisionError):
            model.fit(X, SCALAR, batch_size=8, epochs=3, verbose=0)
        results.append(([w.tobytes() for w in model.get_weights()], model.optimizer.steps))
        assert bool(sum(made)) == possible
    assert results[0] == results[1] and results[0][1] == 21


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread")
def test_ctrl_c_ends_a_stride_after_a_whole_step():
    x, y = np.tile(X, (200, 1, 1)), np.tile(SCALAR, (200, 1))

    def fit(epochs, **options):
        model = chain()
        model.set_weights([np.full(w.shape, 0.1) for w in model.weights])
        model.compile("adam", "mse")
        try:
            model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, **options)
        except KeyboardInterrupt:
            pass
        return model

    fit(1)
    timer = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with counted() as made:
        model = fit(1000)
    timer.join()
    steps = model.optimizer.steps
    assert sum(made) > 10 and steps < 1000 * 6550
    twin = fit(10**6, steps_per_epoch=1, initial_epoch=10**6 - steps)
    assert twin.optimizer.steps == steps
    assert [w.tobytes() for w in model.get_weights()] == [w.tobytes() for w in twin.get_weights()]


def test_an_error_right_after_a_stride_leaves_its_steps_counted(monkeypatch):
    """As the handler of an alarm may raise it: Python runs handlers as soon as it is back."""
    class TooLate(Exception):
        pass

    class Ending(_kernels.Steps):
        def run(self, *args):
            super().run(*args)
            raise TooLate

    model = chain()
    model.set_weights([np.full(w.shape, 0.1) for w in model.weights])
    twin = tdfast.models.clone_model(model)
    twin.set_weights(model.get_weights())
    for each in (model, twin):
        each.compile("adam", "mse")
    monkeypatch.setattr(program, "Steps", Ending)
    with pytest.raises(TooLate):
        model.fit(X, SCALAR, batch_size=4, shuffle=False, verbose=0)
    monkeypatch.undo()
    assert model.optimizer.steps > 3
    twin.fit(X, SCALAR, batch_size=4, shuffle=False, verbose=0, steps_per_epoch=model.optimizer.steps)
    assert [w.tobytes() for w in model.get_weights()] == [w.tobytes() for w in twin.get_weights()]


def test_predictions_beside_it_see_whole_steps():
    """Each is that of the weights between two steps: with a rate of 0 all are one."""
    model = chain()
    model.compile(optimizers.SGD(0.0), "mse")
    wanted = model.predict(X[:9], verbose=0)
    ended, wrong, number = threading.Event(), [], [0]

    def read():
        while not ended.is_set():
            number[0] += 1
            wrong.extend([] if np.array_equal(model.predict(X[:9], verbose=0), wanted) else [1])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with counted() as made:
            model.fit(X, SCALAR, batch_size=4, epochs=40, verbose=0)
    finally:
        ended.set()
        reader.join()
    assert number[0] and sum(made) and not wrong


def test_the_data_are_not_written_to():
    x, y = X.copy(), SCALAR.copy()
    model = chain()
    model.compile("adam", "mse")
    with counted() as made:
        for _ in range(3):
            model.train_on_batch(x[:8], y[:8])
        first, target = x[:8], y[:8]
        for _ in range(3):
            model.train_on_batch(first, target)
        for shuffle in (False, True):
            model.fit(x, y, batch_size=8, epochs=2, shuffle=shuffle, verbose=0)
        model.fit(first, target, batch_size=8, epochs=3, verbose=0)
    assert sum(made) > 20 and np.array_equal(x, X) and np.array_equal(y, SCALAR)


def test_the_border_refuses_what_does_not_fit():
    def make(rows=2, gathers=None, results=None, losses=1, pieces=None, grads=None, partial=None):
        w = np.zeros(3, np.float32)
        given = [(np.zeros((5, 2), np.float32), np.zeros((2, 2), np.float32))] if gathers is None else gathers
        return _kernels.Steps(rows, given, _kernels.Program(), _kernels.Program(),
                              [np.zeros(2)] if results is None else results, losses,
                              [(_kernels.RULES["adam"], w, w.copy(), (w.copy(), w.copy()), True)]
                              if pieces is None else pieces, [w] if grads is None else grads,
                              np.zeros(1) if partial is None else partial)

    room = np.zeros((2, 2), np.float32)
    for wrong in ({"rows": 3}, {"rows": 0}, {"gathers": []}, {"results": []}, {"pieces": []}, {"losses": 0},
                  {"losses": 2}, {"partial": np.zeros(0)}, {"results": [np.zeros(2, np.float32)]},
                  {"results": [np.zeros(1)]}, {"grads": [np.zeros(3)]}, {"grads": [room[:, :1]]},
                  {"gathers": [(np.zeros((5, 3), np.float32), room)]},
                  {"gathers": [(np.zeros((5, 2)), room)]},
                  {"gathers": [(np.zeros((5, 4), np.float32)[:, ::2], room)]},
                  {"gathers": [(np.zeros((5, 2), ">f4"), room)]},
                  {"gathers": [(np.zeros((5, 2), object), np.zeros((2, 2), object))]},
                  {"pieces": [(99, np.zeros(3, np.float32), np.zeros(3, np.float32), (), True)]}):
        with pytest.raises((ValueError, TypeError)):
            make(**wrong)
    # programs that are not ready make no step
    steps = make()
    steps.run(np.zeros(2, np.int64), np.zeros((1, _kernels.NUMBERS + 1)), np.zeros((1, 1)))
    assert steps.made == 0
