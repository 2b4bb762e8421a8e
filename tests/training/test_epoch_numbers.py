"""The numbers of an epoch are those of its own batches: whatever ran before it, in its callbacks, or with its
objects."""

import numpy as np
import pytest

import tdfast
from tdfast.callbacks import Callback, EarlyStopping, LambdaCallback
from tdfast.layers import Dense
from tdfast.losses import MeanSquaredError
from tdfast.metrics import MeanAbsoluteError
from tdfast.optimizers import SGD, Adam
from tdfast.utils import PyDataset


def times_one(metrics=(), **compile_options):
    """A model whose output is its input, and that does not learn."""
    model = tdfast.Sequential([Dense(1, kernel_initializer="ones", use_bias=False, input_shape=(1,))])
    model.compile(SGD(0.0), "mse", metrics=list(metrics), **compile_options)
    return model


def column(*numbers):
    return np.array(numbers, "float32")[:, None]


ZEROS = column(0, 0, 0, 0)


# ---------------------------------------------------------------- metrics that were used before
def test_one_metric_in_three_models():
    metric = MeanAbsoluteError(name="mae")
    for i in (1, 2, 3):
        x = column(i, i)
        assert times_one([metric]).fit(x, 0 * x, epochs=2, verbose=0).history["mae"] == [i, i]


FIRST_CALLS = {
    "fit": lambda m, x: m.fit(x, 0 * x, verbose=0).history["mae"][0],
    "validation": lambda m,
    x: m.fit(x, 0 * x, verbose=0, validation_data=(2 * x, 0 * x)).history["val_mae"][0] / 2,
    "evaluate": lambda m, x: m.evaluate(x, 0 * x, verbose=0)[1],
    "train_on_batch": lambda m, x: m.train_on_batch(x, 0 * x)[1],
    "test_on_batch": lambda m, x: m.test_on_batch(x, 0 * x)[1],
}
USES_BEFORE = {
    "by hand": lambda metric: metric.update_state([0.0], [100.0]),
    "in another model": lambda metric: times_one([metric]).evaluate(column(100), column(0), verbose=0),
}


@pytest.mark.parametrize("before", USES_BEFORE)
@pytest.mark.parametrize("call", FIRST_CALLS)
@pytest.mark.parametrize("what", ["metrics", "weighted_metrics"])
def test_a_metric_begins_anew(call, before, what):
    metric = MeanAbsoluteError(name="mae")
    USES_BEFORE[before](metric)
    model = times_one(**{what: [metric]})
    assert FIRST_CALLS[call](model, column(3, 3)) == 3
    model.compile(SGD(0.0), "mse", **{what: [metric]})          # again, with its sums of before
    assert FIRST_CALLS[call](model, column(5, 5)) == 5


def test_early_stopping_judges_by_a_right_first_epoch():
    metric = MeanAbsoluteError(name="mae")
    metric.update_state([0.0], [-1000.0])
    model = tdfast.Sequential([Dense(1, kernel_initializer="ones", use_bias=False, input_shape=(1,))])
    model.compile(SGD(0.01), "mse", metrics=[metric])
    stop = EarlyStopping("mae", patience=0, mode="min")
    assert len(model.fit(column(1, 1), ZEROS[:2], epochs=3, verbose=0, callbacks=[stop]).history["mae"]) == 3


# ---------------------------------------------------------------- calls inside an epoch
TEN = column(10, 10, 10)


def once(function, hook="on_train_batch_end"):
    """A callback that calls the function after (or before) the first batch."""
    return LambdaCallback(**{hook: lambda batch, logs=None: function() if batch == 0 else None})


INSIDE = {
    "evaluate": lambda m: m.evaluate(TEN, 0 * TEN, verbose=0),
    "test_on_batch": lambda m: m.test_on_batch(TEN, 0 * TEN),
    "train_on_batch": lambda m: m.train_on_batch(TEN, 0 * TEN),
    "predict": lambda m: m.predict(TEN, verbose=0),
    "fit": lambda m: m.fit(TEN, 0 * TEN, epochs=2, verbose=0),
}


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end"])
@pytest.mark.parametrize("call", INSIDE)
@pytest.mark.parametrize("mae", ["mae", MeanAbsoluteError(name="mae")], ids=["name", "object"])
def test_calls_in_a_batch_callback_leave_the_epoch_alone(call, hook, mae):
    model = times_one([mae])
    x = column(1, 2, 3, 4)
    seen = []
    inside = once(lambda: seen.append(INSIDE[call](model)), hook)
    history = model.fit(x, ZEROS, batch_size=1, epochs=2, verbose=0, callbacks=[inside]).history
    assert history["loss"] == [7.5, 7.5] and history["mae"] == [2.5, 2.5]
    if call in ("evaluate", "test_on_batch"):
        assert seen == [[100.0, 10.0]] * 2
    assert model.evaluate(TEN, 0 * TEN, verbose=0) == [100.0, 10.0]


def test_a_second_model_that_shares_a_metric():
    metric = MeanAbsoluteError(name="mae")
    model, other = times_one([metric]), times_one([metric])
    seen = []
    inside = once(lambda: seen.append(other.evaluate(TEN, 0 * TEN, verbose=0)))
    history = model.fit(column(1, 2, 3, 4), ZEROS, batch_size=1, verbose=0, callbacks=[inside]).history
    assert history["loss"] == [7.5] and history["mae"] == [2.5] and seen == [[100.0, 10.0]]


def test_a_call_within_a_call_within_an_epoch():
    model = times_one(["mae"])
    inner = LambdaCallback()
    inner.on_test_batch_end = lambda batch, logs=None: model.test_on_batch(column(50), column(0))
    seen = []
    inside = once(lambda: seen.append(model.evaluate(TEN, 0 * TEN, batch_size=1, verbose=0,
                                                     callbacks=[inner])))
    history = model.fit(column(1, 2, 3, 4), ZEROS, batch_size=1, verbose=0, callbacks=[inside]).history
    assert history["mae"] == [2.5] and seen == [[100.0, 10.0]]


def test_an_epoch_that_an_error_ends_leaves_the_metrics_usable():
    metric = MeanAbsoluteError(name="mae")
    model = times_one([metric])

    def fail():
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        model.fit(column(1, 2, 3, 4), ZEROS, batch_size=1, verbose=0, callbacks=[once(fail)])
    assert model.evaluate(TEN, 0 * TEN, verbose=0) == [100.0, 10.0] and metric.result() == 10


def test_a_batch_that_was_gathered_is_not_overwritten():
    """Shuffled batches lie in the model's own memory when a callback evaluates data that need gathering as
    well."""
    model = tdfast.Sequential([tdfast.layers.SimpleRNN(1, "linear", False, "ones", "zeros",
                                                       input_shape=(2, 1))])
    model.compile(SGD(0.0), "mse")
    x = np.arange(1.0, 9.0, dtype="float32").reshape(4, 2, 1)
    y = x[:, -1]
    other = np.full((4, 2, 1), 77.0, "float32")
    inside = LambdaCallback(on_train_batch_begin=lambda batch, logs=None: model.evaluate(
        other, 0 * y, batch_size=1, verbose=0, lengths=[2, 2, 2, 2]))
    loss = model.fit(x, y, batch_size=1, verbose=0, callbacks=[inside]).history["loss"]
    assert loss == model.fit(x, y, batch_size=1, verbose=0).history["loss"] == [0.0]


# ---------------------------------------------------------------- one optimizer, several models
@pytest.mark.parametrize("make", [SGD, Adam, lambda: SGD(0.1, momentum=0.9)])
def test_a_used_optimizer_is_refused_by_another_model(make):
    optimizer = make()
    first, second = times_one(), times_one()
    first.compile(optimizer, "mse")
    second.compile(optimizer, "mse")            # nobody has trained yet
    first.fit(ZEROS, ZEROS, verbose=0)
    for call in (lambda: second.fit(ZEROS, ZEROS, verbose=0), lambda: second.train_on_batch(ZEROS, ZEROS),
                 lambda: second.compile(optimizer, "mse"),
                 lambda: tdfast.Sequential([Dense(2)]).compile(optimizer, "mse")):
        with pytest.raises(ValueError) as error:
            call()
        for word in (optimizer.name, type(optimizer).__name__, "another model", "from_config"):
            assert word in str(error.value)
    steps = optimizer.iterations
    second.compile(type(optimizer).from_config(optimizer.get_config()), "mse")
    second.fit(ZEROS, ZEROS, verbose=0)
    assert second.optimizer.iterations == 1 and optimizer.iterations == steps


def test_its_own_model_keeps_its_optimizer():
    model = times_one()
    optimizer = Adam()
    model.compile(optimizer, "mse")
    model.fit(ZEROS, ZEROS, verbose=0)
    model.compile(optimizer, MeanSquaredError())            # again
    model.add(Dense(1))                                     # other variables of the same model
    model.fit(ZEROS, ZEROS, verbose=0)
    assert optimizer.iterations == 2
    head = tdfast.Sequential(model.layers)                  # the same variables
    head.compile(optimizer, "mse")
    head.fit(ZEROS, ZEROS, verbose=0)
    assert optimizer.iterations == 3


# ---------------------------------------------------------------- data sets that prepare themselves
class Stage(PyDataset):
    """Batches that exist only once `on_epoch_begin` has made them: those of epoch n hold n."""

    def __init__(self, batches=6, **kwargs):
        super().__init__(**kwargs)
        self.batches, self.epoch, self.made, self.fetched = batches, 0, {}, []

    def on_epoch_begin(self):
        self.epoch += 1
        self.made[self.epoch] = column(self.epoch, self.epoch)

    def __getitem__(self, index):
        self.fetched.append(self.epoch)
        x = self.made[self.epoch]
        return x, 0 * x

    @property
    def num_batches(self):
        return self.batches


WORKERS = [{}, {"workers": 2}, {"workers": 3, "max_queue_size": 2}, {"use_multiprocessing": True}]
by_workers = pytest.mark.parametrize("options", WORKERS, ids=str)


@by_workers
def test_a_data_set_is_told_before_its_first_batch(options):
    model = times_one(["mae"])
    assert model.fit(Stage(**options), epochs=3, verbose=0).history["mae"] == [1, 2, 3]
    for _ in range(3):
        assert model.evaluate(Stage(**options), verbose=0)[1] == 1
        np.testing.assert_array_equal(model.predict(Stage(**options), verbose=0), np.ones((12, 1)))
    stage = Stage(**options)
    for call in (1, 2, 3):
        assert model.evaluate(stage, verbose=0)[1] == call


@by_workers
def test_validation_data_are_told_as_well(options):
    model = times_one(["mae"])
    history = model.fit(Stage(**options), epochs=3, verbose=0, validation_data=Stage(**options)).history
    assert history["mae"] == history["val_mae"] == [1, 2, 3]


@by_workers
@pytest.mark.parametrize("steps", [1, 4, 6, 8])
def test_no_batch_of_the_next_epoch_is_fetched_ahead(options, steps):
    """Epochs that end within a pass go on with it, and see batches of their own alone."""
    model = times_one(["mae"])
    stage = Stage(24, **options)
    assert model.fit(stage, epochs=5, steps_per_epoch=steps, verbose=0).history["mae"] == [1, 2, 3, 4, 5]
    assert stage.fetched == [epoch for epoch in range(1, 6) for _ in range(steps)]


@by_workers
def test_an_epoch_that_was_cut_short_is_followed_by_a_new_one(options):
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = batch == 1

    model, stage = times_one(["mae"]), Stage(**options)
    for call in (1, 2):
        assert model.fit(stage, epochs=3, verbose=0, callbacks=[Stop()]).history["mae"] == [call]
    assert model.evaluate(stage, verbose=0, callbacks=[Stop()])[1] == 3


def test_a_data_set_may_change_its_number_of_batches_when_it_prepares():
    class Growing(Stage):
        def on_epoch_begin(self):
            super().on_epoch_begin()
            self.batches = self.epoch

    stage = Growing()
    times_one().fit(stage, epochs=3, verbose=0)
    assert stage.fetched == [1, 2, 2, 3, 3, 3]
