"""Whatever ends a call in the middle, the model is whole: its next results have the bits of the weights it
has."""

import functools
import itertools
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tdfast
from tdfast.layers import (
    GRU,
    LSTM,
    BatchNormalization,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Layer,
    TimeDistributed,
)
from tdfast.training.interrupts import Interrupts
from tdfast.utils import PyDataset

TIMES = int(os.environ.get("TDFAST_FUZZ", "1"))
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 7, 3)).astype("float32")
Y = RNG.normal(size=(48, 2)).astype("float32")
LENGTHS = RNG.integers(1, 8, 48)
PACKAGE = str(Path(tdfast.__file__).resolve().parent)


def make():
    tdfast.utils.set_random_seed(0)
    m = tdfast.Sequential([
        tdfast.layers.Input((None, 3)), Conv1D(6, 3, padding="same", activation="gelu"),
        LSTM(8, return_sequences=True),
        Dropout(0.1), BatchNormalization(), TimeDistributed(Dense(5)), GRU(4), Dense(2),
    ])
    m.compile("adam", "mse", metrics=["mae"])
    return m


def plain():
    """Of layers that take lengths and streams."""
    tdfast.utils.set_random_seed(0)
    m = tdfast.Sequential([tdfast.layers.Input((None, 3)), LSTM(8, return_sequences=True),
                           TimeDistributed(Dense(2))])
    m.compile("adam", "mse", metrics=["mae"])
    return m


class Callback(tdfast.callbacks.Callback):
    """Looks at every batch, and so has predict work batch by batch."""

    def on_predict_batch_end(self, batch, logs=None):
        pass

    def on_test_batch_end(self, batch, logs=None):
        pass


def batches(n=4, with_y=True):
    for i in range(n):
        rows = slice(12 * i, 12 * (i + 1))
        yield (X[rows], Y[rows]) if with_y else X[rows]


def data(*arrays):
    """The rows of the arrays by number, made by two threads."""

    class Data(PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return tuple(a[12 * i : 12 * (i + 1)] for a in arrays)

    return Data(workers=2)


# What may be broken off; each gives something to compare.
READS = {
    "predict": (make, lambda m: m.predict(X, verbose=0)),
    "predict with callbacks": (make, lambda m: m.predict(X, batch_size=10, verbose=0,
                                                         callbacks=[Callback()])),
    "predict of a generator": (make, lambda m: m.predict(batches(with_y=False), verbose=0)),
    "predict of a data set": (make, lambda m: m.predict(data(X), verbose=0)),
    "predict with lengths": (plain, lambda m: m.predict(X, verbose=0, lengths=LENGTHS, batch_size=9)),
    "evaluate": (make, lambda m: np.array(m.evaluate(X, Y, verbose=0))),
    "evaluate of a generator": (make, lambda m: np.array(m.evaluate(batches(), verbose=0))),
    "evaluate with callbacks": (make, lambda m: np.array(m.evaluate(X, Y, verbose=0,
                                                                    callbacks=[Callback()]))),
    "a call": (make, lambda m: m(X)),
    "test_on_batch": (make, lambda m: np.array(m.test_on_batch(X, Y))),
    "a stream": (plain, lambda m: stream(m, X[:4])),
    "get_weights": (make, lambda m: np.concatenate([w.ravel() for w in m.get_weights()])),
}


def stream(m, x):
    s = m.streamer(len(x))
    return np.stack([s.step(x[:, t]) for t in range(x.shape[1])])


def assert_free(m):
    """No lock was left behind: another thread may train. Nor was the kernels' way to compute."""
    assert np.float32(1e-30) * np.float32(1e-10) > 0, "denormals are zeros outside of the model"
    done = []

    def work():
        token = m._lock.exclusive("a test")
        with m._lock.writing():
            done.append(True)
        m._lock.free(token)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert done, "a lock is still held"


def assert_whole(m):
    """The bits of a new model with the same weights, and training goes on."""
    twin = tdfast.Sequential.from_config(m.get_config())
    twin.set_weights(m.get_weights())
    assert np.array_equal(m.predict(X, verbose=0), twin.predict(X, verbose=0))
    assert_free(m)
    y = Y if m.output_shape == (None, 2) else np.repeat(Y[:, None], 7, 1)
    history = m.fit(X, y, verbose=0)
    assert history is m.history and np.isfinite(history.history["loss"]).all()
    assert all(np.isfinite(w).all() for w in m.get_weights())


# ---------------------------------------------------------------- at every line


class Fault(BaseException):
    """Like KeyboardInterrupt, it may come between any two lines."""


@functools.cache
def _blocks(path):
    """The lines of a file that begin a block of `kernel_arithmetic()`."""
    lines = Path(path).read_text(encoding="utf8").splitlines()
    return {i for i, line in enumerate(lines, 1) if "with " in line and "kernel_arithmetic()" in line}


class Tracer:
    """Raises `Fault` at the n-th line that is run within the package; counts them where n is None.

    Not in lock.py, nor where a layer takes the lock to build, nor at the line of `kernel_arithmetic()`: a
    trace function can raise between a block's end and what its context does then, where no signal can.
    """

    def __init__(self, at=None):
        self.at, self.count = at, 0

    def _line(self, frame, event, argument):
        if event == "line" and frame.f_lineno not in _blocks(frame.f_code.co_filename):
            self.count += 1
            if self.count == self.at:
                raise Fault
        return self._line

    def __call__(self, frame, event, argument):
        name = frame.f_code.co_filename
        locks = name.endswith("lock.py") or frame.f_code.co_name in ("ensure_built", "wrapped")
        return self._line if name.startswith(PACKAGE) and not locks else None

    def run(self, function):
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return function()
        finally:
            sys.settrace(before)


def places(function, many, seed):
    """Line numbers (counted as they run) at which to break it off: the first few, and seeded random ones."""
    counter = Tracer()
    counter.run(function)
    rng = np.random.default_rng(seed)
    return sorted({*range(1, 12), *rng.integers(1, counter.count + 1, many).tolist()})


@pytest.mark.parametrize("name", READS)
def test_a_read_may_end_at_any_line(name):
    new, read = READS[name]
    m = new()
    want = read(m).copy()
    for at in places(lambda: read(m), 50 * TIMES, len(name)):
        try:
            Tracer(at).run(lambda: read(m))
        except Fault:
            pass
        assert np.array_equal(read(m), want), f"after a fault at line {at}"
    assert_free(m)
    assert_whole(m)


@pytest.mark.parametrize("call", ["fit", "train_on_batch"])
def test_training_may_end_at_any_line(call):
    """Errors in the middle of a step, unlike Ctrl-C, may leave a part of an update; but the model works
    on."""
    run = {"fit": lambda m: m.fit(X, Y, batch_size=16, epochs=2, verbose=0, validation_split=0.25),
           "train_on_batch": lambda m: m.train_on_batch(X, Y)}[call]
    m = make()
    handler = signal.getsignal(signal.SIGINT)
    for at in places(lambda: run(make()), 40 * TIMES, 7):
        try:
            Tracer(at).run(lambda: run(m))
        except Fault:
            pass
        signal.signal(signal.SIGINT, handler)
        assert np.isfinite(m.predict(X, verbose=0)).all()
    assert_whole(m)
    fresh = make()
    for at in (3, 200, 900):
        try:
            Tracer(at).run(lambda: run(fresh))          # before and while its weights are gathered
        except Fault:
            pass
        signal.signal(signal.SIGINT, handler)
    before = fresh.get_weights()
    fresh.fit(X, Y, verbose=0)
    moved = [not np.array_equal(a, b) for a, b in zip(before, fresh.get_weights())]
    assert all(moved), "an optimizer that updates other memory than the model's"


@pytest.mark.parametrize("at", range(1, 4))
def test_a_graph_that_is_made_anew_may_end_in_the_middle(at, monkeypatch):
    """Half of a call is never found again."""
    m, dtypes, asked = make(), Layer.output_dtypes, []

    def ends(self, node, number):
        asked.append(node)
        if len(asked) == at:
            raise Fault
        return dtypes(self, node, number)

    monkeypatch.setattr(Layer, "output_dtypes", ends)
    with pytest.raises(Fault):
        m.train_on_batch(X, Y)
    m.train_on_batch(X, Y)
    assert_whole(m)


def test_a_build_may_end_at_any_line():
    """A model that is not built completely is not built: the next call makes all weights, once."""
    def new():
        return tdfast.Sequential([Conv1D(6, 3, padding="same"), LSTM(8, return_sequences=True),
                                  BatchNormalization(),
                                  TimeDistributed(tdfast.Sequential([Dense(5), Dense(4)])), GRU(4), Dense(2)])

    whole = new()
    whole.build((None, 7, 3))
    shapes = [w.shape for w in whole.weights]
    for at in places(lambda: new().build((None, 7, 3)), 80 * TIMES, 3):
        m = new()
        try:
            Tracer(at).run(lambda m=m: m.build((None, 7, 3)))
        except Fault:
            pass
        if not m.built:
            assert m.weights == [] and not any(layer.built for layer in m.layers), at
        assert m.predict(X[:, :5] if not m.built else X, verbose=0).shape == (48, 2)
        assert [w.shape for w in m.weights] == shapes, at


# ---------------------------------------------------------------- real signals


class CtrlC:
    """Interrupts the block after a time. Python forgets an interrupt that falls into a finalizer, so it comes
    again."""

    def __init__(self, seconds):
        self.seconds, self.over = seconds, threading.Event()

    def _press(self):
        main, wait = threading.main_thread().ident, self.seconds
        while not self.over.wait(wait):
            signal.pthread_kill(main, signal.SIGINT)
            wait = 3.0

    def run(self, function):
        thread = threading.Thread(target=self._press)
        with pytest.raises(KeyboardInterrupt):
            thread.start()
            while True:
                function()
        self.over.set()
        thread.join()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no pthread_kill on this system")
@pytest.mark.parametrize("name", [n for n in READS if n not in ("predict", "get_weights")])
def test_ctrl_c_at_random_moments_of_a_read(name):
    new, read = READS[name]
    m = new()
    want = read(m).copy()
    for moment in np.random.default_rng(len(name)).uniform(0, 0.01, 8 * TIMES):
        CtrlC(moment).run(lambda: read(m))
        assert np.array_equal(read(m), want)
    assert_whole(m)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no pthread_kill on this system")
@pytest.mark.parametrize("feed", ["generator", "data set", "train_on_batch"])
def test_ctrl_c_while_training_on_a_stream(feed):
    """An update is whole or not begun: the weights are those after so many steps as the optimizer counts."""
    def endless():
        yield from itertools.cycle(batches())

    class Mine(PyDataset):
        def __len__(self):
            return 10**6

        def __getitem__(self, i):
            return X[12 * (i % 4) : 12 * (i % 4 + 1)], Y[12 * (i % 4) : 12 * (i % 4 + 1)]

    def train(m):
        if feed == "generator":
            m.fit(endless(), steps_per_epoch=3, epochs=10**6, verbose=0)
        elif feed == "data set":
            m.fit(Mine(workers=2), shuffle=False, verbose=0)
        else:
            for x, y in endless():
                m.train_on_batch(x, y)

    after = {0: make().get_weights()}
    model, source = make(), endless()
    for step in range(1, 200):
        model.train_on_batch(*next(source))
        after[step] = model.get_weights()
    for moment in np.random.default_rng(len(feed)).uniform(0.002, 0.03, 8 * TIMES):
        m = make()
        CtrlC(moment).run(lambda m=m: train(m))
        steps = m.optimizer.iterations
        if steps in after:
            assert all(np.array_equal(a, b) for a, b in zip(m.get_weights(), after[steps])), f"{steps} steps"
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert_free(m)
    assert_whole(m)


@pytest.mark.parametrize("before", ["nothing", "a fit that could not put it back", "a fit around it"])
def test_ctrl_c_waits_for_the_end_of_a_step(before):
    """Also where the handler that is there is another fit's."""
    def pressed(y_true, y_pred):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)                       # here Python runs the handler
        return tdfast.losses.mean_squared_error(y_true, y_pred)

    m, outer = make(), make()
    m.compile("adam", "mse", metrics=[pressed])

    def fit():
        with pytest.raises(KeyboardInterrupt):
            m.fit(X, Y, batch_size=12, verbose=0)

    handler = signal.getsignal(signal.SIGINT)
    try:
        if before.endswith("it back"):
            Interrupts().__enter__()
        if before == "a fit around it":
            outer.fit(X, Y, verbose=0, callbacks=[tdfast.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs=None: fit())])
        else:
            fit()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert m.optimizer.iterations == 1
    assert before != "a fit around it" or outer.optimizer.iterations > 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no setitimer on this system")
def test_a_timeout_that_raises_from_its_handler():
    """The usual way to limit a call's time in Python."""
    class TooLate(Exception):
        pass

    def late(number, frame):
        raise TooLate

    m = make()
    before = signal.signal(signal.SIGALRM, late)
    try:
        for moment in np.random.default_rng(1).uniform(0.0005, 0.02, 25 * TIMES):
            with pytest.raises(TooLate):
                signal.setitimer(signal.ITIMER_REAL, moment, 3.0)      # and again, as CtrlC
                while True:
                    m.fit(X, Y, verbose=0)
                    m.predict(X, verbose=0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert np.isfinite(m.predict(X, verbose=0)).all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert_whole(m)


# ---------------------------------------------------------------- generators and data sets


class Mine(Exception):
    pass


def failing(at, error=Mine, with_y=True):
    for i, batch in enumerate(batches(with_y=with_y)):
        if i == at:
            raise error("mine")
        yield batch


@pytest.mark.parametrize("error", [Mine, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_generator_that_fails(at, error):
    """Its error comes out as it is; the steps before it stay."""
    m, spared = make(), make()
    want = m.predict(X, verbose=0)
    for call in (lambda: m.predict(failing(at, error, with_y=False), verbose=0),
                 lambda: m.evaluate(failing(at, error), verbose=0),
                 lambda: m.fit(X, Y, verbose=0, validation_data=failing(0, error), epochs=0)):
        try:
            call()
        except error:
            pass
        assert np.array_equal(m.predict(X, verbose=0), want)
    with pytest.raises(error):
        m.fit(failing(at, error), verbose=0)
    assert m.optimizer.iterations == at
    for x, y in itertools.islice(batches(), at):
        spared.train_on_batch(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(m.get_weights(), spared.get_weights()))
    assert m.history is None or m.history.epoch == []
    assert_whole(m)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_data_set_that_fails(workers):
    class Data(PyDataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            if i == 4:
                raise Mine
            return X[:8], Y[:8]

    m = make()
    threads = threading.active_count()
    for call in (lambda d: m.fit(d, verbose=0, shuffle=False), lambda d: m.evaluate(d, verbose=0),
                 lambda d: m.predict(d, verbose=0)):
        with pytest.raises(Mine):
            call(Data(workers=workers))
    assert m.optimizer.iterations == 4
    for _ in range(100):
        if threading.active_count() <= threads:
            break
        threading.Event().wait(0.05)
    assert threading.active_count() <= threads, "a worker lives on"
    assert_whole(m)


@pytest.mark.parametrize("spoilt", [
    (X[:5, :, :2], Y[:5]), (X[:5], Y[:4]), (X[:5], Y[:5, :1]), (np.full_like(X[:5], np.nan), Y[:5]),
    (X[:5], None), (None, Y[:5]),
    ("x", "y"), 3, (X[:5], Y[:5], np.ones(4)), (X[:0], Y[:0]), (), (1, 2, 3, 4),
], ids=range(12))
def test_a_generator_whose_batches_go_bad(spoilt):
    def source():
        yield X[:12], Y[:12]
        yield X[12:20], Y[12:20]
        yield spoilt

    m, spared = make(), make()
    with pytest.raises(ValueError):
        m.fit(source(), verbose=0)
    for x, y in itertools.islice(source(), 2):
        spared.train_on_batch(x, y)
    assert m.optimizer.iterations == 2
    assert all(np.array_equal(a, b) for a, b in zip(m.get_weights(), spared.get_weights()))
    assert_whole(m)


def test_a_generator_may_use_its_memory_again():
    """Each batch is worked off before the next is asked for."""
    def source():
        x, y = np.empty_like(X[:12]), np.empty_like(Y[:12])
        for a, b in batches():
            x[...], y[...] = a, b
            yield x, y
            x[...], y[...] = np.nan, np.nan

    m, spared = make(), make()
    for model, feed in ((m, source), (spared, batches)):
        model.fit(feed(), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(m.get_weights(), spared.get_weights()))
    assert m.evaluate(source(), verbose=0) == spared.evaluate(batches(), verbose=0)
    assert np.array_equal(m.predict((x for x, _ in source()), verbose=0), spared.predict(X, verbose=0))


def test_a_generator_may_use_its_model():
    """As one that picks hard samples does."""
    m = make()

    def source():
        for x, y in batches():
            error = np.abs(m.predict(x, verbose=0) - y).sum(axis=1)
            hard = np.argsort(error)[-6:]
            m.evaluate(x, y, verbose=0)
            yield x[hard], y[hard]

    m.fit(source(), verbose=0)
    assert m.optimizer.iterations == 4
    assert_whole(m)


# ---------------------------------------------------------------- layers of the user's


class Failing(Layer):
    """The identity, until told to fail."""

    fail = None

    def _perhaps(self, what):
        if type(self).fail == what:
            raise Mine(what)

    def build(self, input_shape):
        self.scale = self.add_weight((1,), "ones", "scale")
        self._perhaps("build")

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        self._perhaps("forward")
        return x

    def backward(self, dy, tape, need_dx=True):
        tape.pop(self)
        self._perhaps("backward")
        self.scale.grad[...] = 0
        return dy

    def compute_mask(self, inputs, mask=None):
        self._perhaps("compute_mask")
        return mask

    def compute_output_shape(self, input_shape):
        self._perhaps("compute_output_shape")
        return tuple(input_shape)


@pytest.fixture
def fail():
    def tell(what):
        Failing.fail = what

    yield tell
    Failing.fail = None


def with_failing(where):
    tdfast.utils.set_random_seed(0)
    layers = [LSTM(8, return_sequences=True), Dropout(0.1), TimeDistributed(Dense(5)), GRU(4), Dense(2)]
    inner = {"first": lambda: layers.insert(0, Failing()), "middle": lambda: layers.insert(2, Failing()),
             "last": lambda: layers.append(Failing()),
             "nested": lambda: layers.insert(2, tdfast.Sequential([Dense(8), Failing()])),
             "in time": lambda: layers.insert(2, TimeDistributed(Failing()))}
    inner[where]()
    m = tdfast.Sequential(layers)
    m.compile("adam", "mse")
    return m


@pytest.mark.parametrize("where", ["first", "middle", "last", "nested", "in time"])
def test_a_layer_that_fails(where, fail):
    m = with_failing(where)
    fail("build")
    with pytest.raises(Mine):
        m.predict(X, verbose=0)
    assert not m.built and m.weights == []
    fail(None)
    want = m.predict(X, verbose=0)
    weights = m.get_weights()
    calls = {
        "predict": lambda: m.predict(X, verbose=0),
        "lengths": lambda: m.predict(X, verbose=0, lengths=LENGTHS),
        "a generator": lambda: m.predict(batches(with_y=False), verbose=0), "call": lambda: m(X),
        "evaluate": lambda: m.evaluate(X, Y, verbose=0), "test_on_batch": lambda: m.test_on_batch(X, Y),
        "train_on_batch": lambda: m.train_on_batch(X, Y), "fit": lambda: m.fit(X, Y, verbose=0),
        "save and load": lambda: m.compute_mask(X),
    }
    failed = 0
    for what in ("forward", "backward", "compute_mask", "compute_output_shape"):
        for name, call in calls.items():
            fail(what)
            try:
                call()
            except Mine:
                failed += 1
            except Exception as error:
                pytest.fail(f"{what} in {name}: {type(error).__name__}: {error}")
            fail(None)
            if what != "backward" or name not in ("train_on_batch", "fit"):
                m.set_weights(weights)              # of those calls that did not fail and trained
            assert np.array_equal(m.predict(X, verbose=0), want), f"{what} in {name}"
            assert_free(m)
    assert failed > 15
    assert_whole_custom(m)
    if where == "in time":                              # which treats each step alone, whatever is inside
        s = m.streamer(len(X))
        for t in range(X.shape[1]):
            y = s.step(X[:, t])
        np.testing.assert_array_equal(y, m.predict(X, verbose=0))
        return
    with pytest.raises(ValueError, match="streamed"):
        m.streamer()


def assert_whole_custom(m):
    assert np.isfinite(m.fit(X, Y, verbose=0).history["loss"]).all()
    assert np.array_equal(m.predict(X, verbose=0), m.predict(X, verbose=0, batch_size=1,
                                                             callbacks=[Callback()]))


@pytest.mark.parametrize("kind", ["loss", "metric", "schedule", "constraint", "regularizer", "initializer",
                                  "activation"])
def test_other_parts_of_the_users_that_fail(kind):
    fails = []

    def perhaps():
        if fails:
            raise Mine(kind)

    class MyMetric(tdfast.metrics.Metric):
        def __init__(self):
            super().__init__(name="mine")

        def update_state(self, y_true, y_pred, sample_weight=None, **rest):
            perhaps()

        def result(self):
            return 0.0

        def reset_state(self):
            perhaps()

    def value(y, p):
        perhaps()
        return ((p - y) ** 2).mean(axis=-1)

    class Number(float):
        def __call__(self, *arguments, **options):
            perhaps()
            return self

    class Clip(tdfast.constraints.Constraint):
        def __call__(self, w):
            perhaps()
            return w

    class Penalty(tdfast.regularizers.Regularizer):
        def __call__(self, w):
            perhaps()
            return 0.0

        def gradient(self, w):
            perhaps()
            return np.zeros_like(w)

    class Square(tdfast.engine.parametric.Function):
        def __init__(self):
            super().__init__(lambda x: (perhaps(), x * x)[1], lambda x: (perhaps(), 2 * x)[1], "square")

    class Start(tdfast.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            perhaps()
            return np.full(shape, 0.1, dtype)

    options = {"constraint": {"kernel_constraint": Clip()}, "regularizer": {"kernel_regularizer": Penalty()},
               "initializer": {"kernel_initializer": Start()},
               "activation": {"activation": Square()}}.get(kind, {})
    m = tdfast.Sequential([LSTM(4), Dense(2, **options)])
    loss = tdfast.losses.custom(value, lambda y, p: 2 * (p - y) / p.shape[-1],
                                name="mine") if kind == "loss" else "mse"
    m.compile(tdfast.optimizers.Adam(Number(0.01) if kind == "schedule" else 0.01), loss,
              metrics=[MyMetric()] if kind == "metric" else None)
    if kind == "initializer":
        fails.append(1)
        with pytest.raises(Mine):
            m.fit(X, Y, verbose=0)
        assert not m.built and m.weights == []
        fails.clear()
    m.fit(X, Y, verbose=0)
    fails.append(1)
    if kind != "initializer":
        with pytest.raises(Mine):
            m.fit(X, Y, verbose=0)
        with pytest.raises(Mine):
            m.train_on_batch(X, Y)
    fails.clear()
    assert_free(m)
    assert np.array_equal(m.predict(X, verbose=0), m(X))
    assert np.isfinite(m.fit(X, Y, verbose=0).history["loss"]).all()


def test_a_stream_that_is_refused_keeps_its_state():
    m = plain()
    s, spared = m.streamer(3), m.streamer(3)
    for t in range(7):
        for bad in (X[:2, t], X[:3, t, :2], "x", None, X[:3, t].astype(object), [[1], [2, 3], [4]]):
            with pytest.raises((ValueError, TypeError)):
                s.step(bad)
        with pytest.raises(ValueError):
            s.step(X[:3, t], out=np.zeros((3, 9), "float32"))
        assert np.array_equal(s.step(X[:3, t]), spared.step(X[:3, t]))


def test_an_embedding_that_meets_a_bad_id_in_the_middle():
    m = tdfast.Sequential([Embedding(9, 4, input_shape=(5,)), GRU(3), Dense(1)])
    m.compile("adam", "mse")
    ids = np.random.default_rng(0).integers(0, 9, (40, 5))
    bad = ids.copy()
    bad[35, 2] = 9
    want = m.predict(ids, verbose=0)
    before = m.get_weights()
    for call in (lambda: m.predict(bad, verbose=0), lambda: m.fit(bad, np.ones(40), verbose=0),
                 lambda: m.evaluate(bad, np.ones(40), verbose=0)):
        with pytest.raises(ValueError, match="id 9"):
            call()
        assert np.array_equal(m.predict(ids, verbose=0), want)
    assert all(np.array_equal(a, b) for a, b in zip(m.get_weights(),
                                                    before)), "refused before anything changed"
