"""Forks and threads: children work after the parent has trained, and threads share a model without harm."""

import http.client
import http.server
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import tdfast
from tdfast import runtime
from tdfast.layers import GRU, LSTM, BatchNormalization, Conv1D, Dense, Dropout, Embedding, TimeDistributed
from tdfast.training.lock import ModelLock

SECONDS = 60            # for a child; a hang is a failure, not a wait
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
THREADED = bool(runtime.config()["openmp"][0].isdigit())


def model(seed=0):
    """Wide enough that its kernels share their work over threads."""
    tdfast.utils.set_random_seed(seed)
    m = tdfast.Sequential([LSTM(64, return_sequences=True, input_shape=(20, 24)), Dropout(0.1), GRU(48),
                           Dense(4)])
    m.compile("adam", "mse")
    return m


def data(n=96):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 20, 24)).astype("float32"), rng.normal(size=(n, 4)).astype("float32")


@pytest.fixture(autouse=True)
def two_threads():
    before = runtime.get_num_threads()
    runtime.set_num_threads(2)
    yield
    runtime.set_num_threads(before)


def work(weights):
    """(number of kernel threads, predictions, weights after an epoch): what every process must agree on."""
    m = model()
    m.set_weights(weights)
    x, y = data()
    before = m.predict(x, verbose=0)
    tdfast.utils.set_random_seed(1)
    m.fit(x, y, verbose=0)
    return runtime.get_num_threads(), before.tobytes(), b"".join(w.tobytes() for w in m.get_weights())


def trained():
    """A model that was trained here, so that OpenMP's threads are alive."""
    m = model()
    m.fit(*data(), verbose=0)
    return m


def in_child(function):
    """What a forked child writes to a pipe: the bytes that ``function`` returns there."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            os.close(read)
            with os.fdopen(write, "wb") as out:
                out.write(function())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as got:
        result = got.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the child ended with {status} (-{int(signal.SIGALRM)}: it hung)"
    return result


def run(code, **environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TDFAST_", "OMP_"))}
    here = Path(__file__).resolve().parent
    env["PYTHONPATH"] = os.pathsep.join([str(Path(tdfast.__file__).resolve().parent.parent), str(here)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=2 * SECONDS,
                          env={**env, **environment}, cwd=tempfile.gettempdir())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


# ---------------------------------------------------------------- forks


@forks
def test_a_child_predicts_and_fits_with_the_same_bits():
    weights = trained().get_weights()
    want = work(weights)
    assert in_child(lambda: b"".join(work(weights)[1:])) == b"".join(want[1:])
    assert work(weights) == want, "the parent after its child"


@forks
@pytest.mark.skipif(not THREADED or not Path("/proc/self/task").exists(), reason="needs OpenMP and /proc")
def test_a_child_has_its_own_threads():
    weights = trained().get_weights()

    def tasks():
        counts = []
        for n in (1, 2):
            runtime.set_num_threads(n)
            assert work(weights)[0] == n
            counts.append(len(os.listdir("/proc/self/task")))
        return bytes(counts)

    one, two = in_child(tasks)              # NumPy's own threads are in both
    assert two == one + 1


@forks
def test_children_of_children():
    m = trained()
    x, _ = data()
    want = m.predict(x, verbose=0).tobytes()

    def three_deep(depth=3):
        assert m.predict(x, verbose=0).tobytes() == want
        return in_child(lambda: three_deep(depth - 1)) if depth else m.predict(x, verbose=0).tobytes()

    assert three_deep() == want


@forks
def test_a_fork_in_another_python_thread():
    m = trained()
    x, _ = data()
    want = m.predict(x, verbose=0).tobytes()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(3):                                          # the pool's thread has threads of its own
            pool.submit(m.predict, x, verbose=0).result()
            assert pool.submit(in_child, lambda: m.predict(x, verbose=0).tobytes()).result() == want


@forks
def test_a_fork_while_another_thread_works():
    """The child inherits locks in whatever state they are; it must not wait for threads it does not have."""
    m = trained()
    x, y = data()
    stop = threading.Event()

    def train():
        while not stop.is_set():
            m.train_on_batch(x, y)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(12):
            time.sleep(0.003)

            def child():
                m.predict(x, verbose=0)
                m.set_weights(m.get_weights())
                m.fit(x, y, verbose=0)
                return b"fine"

            assert in_child(child) == b"fine"
    finally:
        stop.set()
        thread.join()


@forks
def test_a_child_of_a_forking_call():
    """Callbacks and generators may fork, as data loaders do."""
    m = trained()
    x, y = data(32)
    seen = []

    def batches():
        for _ in range(3):
            seen.append(
                in_child(lambda: m.predict(x, verbose=0).tobytes()) == m.predict(x, verbose=0).tobytes()
            )
            yield x, y

    m.fit(batches(), verbose=0)
    assert seen == [True] * 3


@forks
def test_pools_of_forked_processes():
    weights = trained().get_weights()
    want = work(weights)
    before = threading.active_count()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        assert [f.result(SECONDS) for f in [pool.submit(work, weights) for _ in range(4)]] == [want] * 4
    assert threading.active_count() <= before + 1
    assert work(weights) == want


@forks
def test_a_web_server_that_forks_its_workers():
    """The parent trains and opens the door, as gunicorn does with preload; each worker then serves in many
    threads."""
    m = trained()
    x, _ = data(16)
    want = {n: m.predict(x[:n], verbose=0).tobytes() for n in (1, 3, 16)}

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            rows = np.frombuffer(self.rfile.read(int(self.headers["Content-Length"])),
                                 "float32").reshape(-1, 20, 24)
            body = m.predict(rows, verbose=0).tobytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Worker", str(os.getpid()))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    workers = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        try:
            for _ in range(2):
                pid = os.fork()
                if pid == 0:
                    try:
                        signal.alarm(SECONDS)
                        server.serve_forever(0.05)
                    finally:
                        os._exit(1)
                workers.append(pid)

            def ask(n):
                connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1],
                                                        timeout=SECONDS)
                connection.request("POST", "/", x[:n].tobytes())
                answer = connection.getresponse()
                assert answer.read() == want[n]
                return int(answer.headers["Worker"])

            with ThreadPoolExecutor(6) as pool:
                served = set(pool.map(ask, [1, 3, 16] * 20))
            assert served and served <= set(workers)
            m.fit(*data(), verbose=0)                               # the parent trains on meanwhile
            # and the workers have the weights they had
            ask(3)
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


@pytest.mark.parametrize("method", [m for m in multiprocessing.get_all_start_methods() if m != "fork"])
def test_a_spawned_child(method):
    code = f"""
import multiprocessing, numpy as np, test_fork, tdfast
if __name__ == "__main__":
    tdfast.set_num_threads(2)
    weights = test_fork.trained().get_weights()
    with multiprocessing.get_context("{method}").Pool(1, tdfast.set_num_threads, (2,)) as pool:
        print(pool.apply_async(test_fork.work, (weights,)).get({SECONDS}) == test_fork.work(weights))
"""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "start.py"                          # spawn imports the main script again
        script.write_text(code)
        here = Path(__file__).resolve().parent
        env = {**os.environ,
               "PYTHONPATH": f"{Path(tdfast.__file__).resolve().parent.parent}{os.pathsep}{here}"}
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env,
                              timeout=2 * SECONDS)
        assert done.stdout.strip() == "True", done.stdout + done.stderr


@forks
def test_joblib_with_processes():
    joblib = pytest.importorskip("joblib")
    weights = trained().get_weights()
    want = work(weights)
    assert joblib.Parallel(2, backend="multiprocessing", timeout=SECONDS)(
        joblib.delayed(work)(weights) for _ in range(3)) == [want] * 3


@forks
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="calls the C library's fork")
def test_a_fork_that_python_does_not_see():
    """As a server written in C makes it."""
    code = f"""
import ctypes, os, signal, test_fork, tdfast
tdfast.set_num_threads(2)
weights = test_fork.trained().get_weights()
want = test_fork.work(weights)
ctypes.pythonapi.PyOS_BeforeFork()
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    signal.alarm({SECONDS})
    ctypes.pythonapi.PyOS_AfterFork_Child()
    os._exit(0 if test_fork.work(weights) == want else 3)
ctypes.pythonapi.PyOS_AfterFork_Parent()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert run(code) == "0"


# ---------------------------------------------------------------- threads


def everything():
    """Layers that copy their weights for a call, and layers that read them where they are."""
    m = tdfast.Sequential([
        Embedding(30, 12, input_shape=(10,)), Conv1D(16, 3, padding="same"), BatchNormalization(),
        LSTM(24, return_sequences=True),
        TimeDistributed(Dense(8)), BatchNormalization(), GRU(16), Dense(3, activation="softmax"),
    ])
    m.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return m


def together(*functions):
    """Run functions in threads of their own, and raise what one of them raised."""
    with ThreadPoolExecutor(len(functions)) as pool:
        for f in [pool.submit(function) for function in functions]:
            f.result(SECONDS)


@pytest.mark.parametrize("how", ["predict", "stream", "callback", "lengths", "call", "weights", "save"])
def test_readers_see_the_weights_of_one_moment(how, tmp_path, monkeypatch):
    """While one thread trains, the others' results are those of the weights between two of its steps, bit for
    bit."""
    monkeypatch.setattr("tdfast.training.prediction.PREDICT_ROWS", 12)        # several passes
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 30, (40, 10)), np.eye(3, dtype="float32")[rng.integers(0, 3, 40)]
    if how == "lengths":
        m = tdfast.Sequential([LSTM(24, return_sequences=True, input_shape=(10, 3)), GRU(16),
                               Dense(3, activation="softmax")])
        m.compile("adam", "categorical_crossentropy")
        x = rng.normal(size=(40, 10, 3)).astype("float32")
    else:
        m = everything()
    lengths = rng.integers(1, 11, 40)
    reads = {
        "predict": lambda m: m.predict(x, verbose=0),
        "stream": lambda m: m.predict(iter([x]), verbose=0),
        "callback": lambda m: m.predict(x, batch_size=40, verbose=0, callbacks=[tdfast.callbacks.Callback()]),
        "lengths": lambda m: m.predict(x, verbose=0, lengths=lengths),
        "call": lambda m: m(x),
        "weights": lambda m: np.concatenate([w.ravel() for w in m.get_weights()]),
    }
    if how == "save":
        pytest.importorskip("h5py")

        def read(m):
            path = tmp_path / f"{threading.get_ident()}.keras"
            m.save(path)
            return np.concatenate([w.ravel() for w in tdfast.saving.load_model(path).get_weights()])
    else:
        read = reads[how]
    m.train_on_batch(x, y)
    moments, seen, stop = {read(m).tobytes()}, [], threading.Event()

    def train():
        try:
            for _ in range(60 if how != "save" else 15):
                m.train_on_batch(x, y)
                moments.add(read(m).tobytes())
        finally:
            stop.set()

    def look():
        while not stop.is_set():
            seen.append(read(m).tobytes())

    together(train, look, look, look)
    assert len(moments) > 10 and len(seen) > 10
    assert set(seen) <= moments, f"{sum(s not in moments for s in seen)} of {len(seen)} saw half an update"


def test_a_model_is_trained_by_one_thread_at_a_time():
    m = trained()
    x, y = data(32)
    entered, leave, refused = threading.Event(), threading.Event(), []

    class Wait(tdfast.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            entered.set()
            assert leave.wait(SECONDS)

    def others():
        try:
            assert entered.wait(SECONDS)
            want = m.predict(x, verbose=0)
            for call in (lambda: m.fit(x, y, verbose=0), lambda: m.train_on_batch(x, y),
                         lambda: m.test_on_batch(x, y),
                         lambda: m.evaluate(x, y, verbose=0), lambda: m.compile("sgd", "mse")):
                with pytest.raises(RuntimeError, match="fit of this model is at work in thread 'trainer'"):
                    call()
                refused.append(call)
            assert np.array_equal(m.predict(x, verbose=0), want)    # prediction goes on
        finally:
            leave.set()

    trainer = threading.Thread(target=lambda: m.fit(x, y, verbose=0, callbacks=[Wait()]), name="trainer")
    trainer.start()
    others()
    trainer.join(SECONDS)
    assert len(refused) == 5 and len(m.history.history["loss"]) == 1
    m.fit(x, y, verbose=0)                                          # and is free again


def test_a_callback_may_train_its_own_model():
    m = trained()
    x, y = data(32)

    class Nested(tdfast.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            m.evaluate(x, y, verbose=0)
            m.train_on_batch(x, y)
            m.predict(x, verbose=0, callbacks=[Inner()])

    class Inner(tdfast.callbacks.Callback):
        def on_predict_batch_end(self, batch, logs=None):
            m.train_on_batch(x, y)

    m.fit(x, y, verbose=0, callbacks=[Nested()])
    assert m.optimizer.iterations == 3 + 1 + 1 + 1      # trained(), this fit, the two of its callbacks


def test_a_prediction_that_waits_for_its_data_holds_nobody_up():
    """A server's endless stream of requests leaves training free."""
    m = trained()
    x, y = data(32)
    began, trained_on = threading.Event(), threading.Event()

    def requests():
        yield x
        began.set()
        assert trained_on.wait(SECONDS)
        yield x

    def serve():
        first, second = np.split(m.predict(requests(), verbose=0), 2)
        assert not np.array_equal(first, second)                    # the second batch has the new weights
        assert np.array_equal(second, m.predict(x, verbose=0))

    def train():
        assert began.wait(SECONDS)
        m.train_on_batch(x, y)
        trained_on.set()

    together(serve, train)


def test_many_models_in_many_threads():
    """Models are independent: eight threads give what one thread gives."""
    x, y = data(32)

    def train(seed):
        m = tdfast.Sequential([LSTM(24, input_shape=(20, 24)), Dense(4)])
        rng = np.random.default_rng(seed)
        m.set_weights([rng.normal(size=w.shape) / 5 for w in m.weights])
        m.compile("adam", "mse")
        m.fit(x, y, epochs=3, shuffle=False, verbose=0)
        return m.predict(x, verbose=0).tobytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(train, range(8))) == [train(seed) for seed in range(8)]


def test_a_new_model_is_built_once():
    for _ in range(20):
        m = tdfast.Sequential([LSTM(4), Dense(2)])
        barrier = threading.Barrier(4)

        def call(m=m, barrier=barrier):
            barrier.wait(SECONDS)
            m.predict(np.zeros((2, 3, 2)), verbose=0)

        together(*[call] * 4)
        assert len(m.weights) == 5


def test_a_stream_belongs_to_one_thread_at_a_time():
    m = tdfast.Sequential([LSTM(256, return_sequences=True, input_shape=(None, 64),
                                recurrent_initializer="glorot_uniform")])
    stream = m.streamer(64)
    x = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    errors = []

    def step():
        for _ in range(20):
            try:
                stream.step(x)
            except RuntimeError as error:
                errors.append(str(error))

    together(step, step, step)
    assert all("another thread" in e for e in errors)
    stream.reset()
    assert np.array_equal(stream.step(x), m.predict(x[:, None], verbose=0)[:, 0])


# ---------------------------------------------------------------- lock itself


def test_what_a_dead_thread_held_is_free():
    lock = ModelLock(list)

    def die():
        token = lock.exclusive("fit")
        with lock.reading():
            raise KeyboardInterrupt(token)

    thread = threading.Thread(target=lambda: pytest.raises(KeyboardInterrupt, die))
    thread.start()
    thread.join()
    lock.free(lock.exclusive("fit"))
    with lock.writing():
        pass


def test_a_writer_is_not_kept_out_by_a_crowd_of_readers():
    lock, stop = ModelLock(list), threading.Event()

    def read():
        while not stop.is_set():
            with lock.reading():
                time.sleep(0.001)

    def write():
        for _ in range(50):
            with lock.writing():
                pass
        stop.set()

    together(write, *[read] * 6)
    assert len(lock._readers) <= 6


def test_seats_are_used_again():
    lock = ModelLock(object)
    with lock.reading() as reader:
        first = reader
    with lock.reading() as reader:
        assert reader is first
        with lock.reading() as inner, lock.writing():
            assert inner is not reader
    with pytest.raises(ZeroDivisionError), lock.reading():
        raise ZeroDivisionError
    with lock.reading() as reader:
        assert reader is not first, "an error's reader is thrown away"
