"""Data in files: the bits of the same data in memory, and no copy of all of them."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import tdfast
from tdfast.engine.stored import Stored
from tdfast.layers import GRU, LSTM, Dense, Embedding, Input

N, T, F = 90, 6, 3
RNG = np.random.default_rng(0)
X = RNG.integers(0, 200, (N, T, F))
Y = RNG.random((N, 1))
DTYPES = ("float64", "float16", "uint8", "int16", ">f4")


def memmap(folder, name, a):
    out = np.memmap(folder / name, a.dtype, "w+", shape=a.shape)
    out[...] = a
    out.flush()
    return np.memmap(folder / name, a.dtype, "r", shape=a.shape)


def h5(folder, name, a):
    h5py = pytest.importorskip("h5py")
    return h5py.File(folder / f"{name}.h5", "w").create_dataset("a", data=a, chunks=(7, *a.shape[1:]))


class Chunked:
    """What a zarr array has, with the orthogonal selection of zarr."""

    def __init__(self, a):
        self._a, self.shape, self.dtype, self.ndim = a, a.shape, a.dtype, a.ndim
        self.chunks, self.oindex = (5, *a.shape[1:]), self

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            assert np.all(np.diff(rows) > 0), "zarr and h5py read rows in order"
        return self._a[rows].copy()

    def __len__(self):
        raise TypeError("zarr's arrays have no len()")

    def __array__(self, dtype=None, copy=None):
        raise MemoryError("all of it was asked for")


STORES = {"memmap": memmap, "h5py": h5, "chunks": lambda folder, name, a: Chunked(a)}


def trained(x, y, make=None, fit=None, loss="mse"):
    tdfast.utils.set_random_seed(1)
    model = make() if make else tdfast.Sequential([Input((T, F)), LSTM(5), Dense(1)])
    model.compile("adam", loss, metrics=["mae"] if loss == "mse" else ["accuracy"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = model.fit(x, y, verbose=0, **{"epochs": 3, "batch_size": 16, **(fit or {})}).history
    return history, [w.tobytes() for w in model.get_weights()], model


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fit", [{}, {"shuffle": False}, {"shuffle": "batch", "validation_split": 0.3}],
                         ids=str)
def test_fit_evaluate_predict(store, dtype, fit, tmp_path):
    x, y = (X / 100).astype(dtype) if "f" in dtype else X.astype(dtype), Y
    history, weights, model = trained(x, y, fit=fit)
    there, target = STORES[store](tmp_path, "x", x), STORES[store](tmp_path, "y", y)
    got, bits, twin = trained(there, target, fit=fit)
    assert got == history and bits == weights
    assert model.evaluate(x, y, verbose=0) == twin.evaluate(there, target, verbose=0)
    assert np.array_equal(model.predict(x, verbose=0), twin.predict(there, verbose=0))
    assert np.array_equal(model.predict(x, verbose=0, steps=2), twin.predict(there, verbose=0, steps=2))


@pytest.mark.parametrize("store", STORES)
def test_ids_labels_and_lengths(store, tmp_path):
    """Ids of words in 16 bits with labels; numbers with lengths."""
    x, y = X[..., 0].astype("uint16"), RNG.integers(4, size=N)

    def make():
        return tdfast.Sequential([Input((T,)), Embedding(200, 4), GRU(5), Dense(4, "softmax")])

    fit = {"class_weight": {0: 1.0, 1: 2.0, 2: 1.0, 3: 0.5}}
    want = trained(x, y, make, fit, "sparse_categorical_crossentropy")
    got = trained(STORES[store](tmp_path, "x", x), y, make, fit, "sparse_categorical_crossentropy")
    assert got[:2] == want[:2]
    one_hot, fit = np.eye(4)[y], {"class_weight": {0: 2.0}}
    want = trained(x, one_hot, make, fit, "categorical_crossentropy")
    got = trained(STORES[store](tmp_path, "u", x), memmap(tmp_path, "one", one_hot), make, fit,
                  "categorical_crossentropy")
    assert got[:2] == want[:2]
    x, fit = X / 100, {"lengths": RNG.integers(1, T + 1, N)}
    assert trained(STORES[store](tmp_path, "f", x), Y, fit=fit)[:2] == trained(x, Y, fit=fit)[:2]


def test_two_inputs_and_an_axis_that_is_missing(tmp_path):
    def make():
        a, b = Input((T, F)), Input((T, 1))
        return tdfast.Model([a, b], Dense(1)(tdfast.layers.Add()([LSTM(4)(a), LSTM(4)(b)])))

    series = RNG.normal(size=(N, T))
    want = trained([X / 100, series], Y, make)
    got = trained([memmap(tmp_path, "a", X / 100), h5(tmp_path, "b", series)], memmap(tmp_path, "y", Y), make)
    assert got[:2] == want[:2]


def test_a_number_that_is_not_finite_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("tdfast.engine.stored.PIECE", 4 * T * F * 20)
    x = X.astype("float64")
    x[47, 2, 1] = np.nan
    with pytest.raises(ValueError, match=r"x\[40:60\] holds 1 value.*index \(7, 2, 1\)"):
        trained(memmap(tmp_path, "x", x), Y)
    with pytest.raises(ValueError, match=r"y holds 1 value.*index \(3, 0\)"):
        y = Y.copy()
        y[3] = np.inf
        trained(X.astype("float32"), memmap(tmp_path, "y", y))


def test_whole_numbers_are_not_looked_through(tmp_path, monkeypatch):
    monkeypatch.setattr(Stored, "pieces", lambda self: pytest.fail("read for nothing"))
    trained(memmap(tmp_path, "x", X.astype("uint8")), Y.astype("float32"))


def test_errors_are_those_of_arrays_in_memory(tmp_path):
    x = X.astype("float64")
    with pytest.raises(ValueError, match="same number of samples, got 90 in x and 80 in y"):
        trained(memmap(tmp_path, "x", x), memmap(tmp_path, "y", Y[:80]))
    with pytest.raises(ValueError, match="shape"):
        trained(memmap(tmp_path, "x2", x[..., :2]), Y)
    with pytest.raises(ValueError, match=r"the id 300 "):
        trained(memmap(tmp_path, "ids", np.full((N, T), 300, "int16")), Y,
                lambda: tdfast.Sequential([Input((T,)), Embedding(200, 4), GRU(5), Dense(1)]))


def test_what_can_be_used_as_it_is_stays(tmp_path):
    """A memmap of float32 is read where it lies, as before; windows of a series stay views."""
    from tdfast.training import adapters

    def as_input(x, who):
        return np.ascontiguousarray(x, "float32")

    plain = memmap(tmp_path, "x", X.astype("float32"))
    assert np.shares_memory(adapters.check_inputs(plain, as_input, "fit", (None, T, F), True), plain)
    wide = memmap(tmp_path, "w", X.astype("float64"))
    found = adapters.check_inputs(wide, as_input, "fit", (None, T, F), True)
    assert isinstance(found, Stored) and found.dtype == np.float32 and found.shape == X.shape
    assert np.array_equal(found, X) and np.array_equal(found[5:9][1:].read(slice(2)), X[6:8])
    with pytest.raises(ValueError, match="without a step"):
        found[::2]
    windows = np.lib.stride_tricks.sliding_window_view(memmap(tmp_path, "s", np.arange(50.0)), T)[..., None]
    assert not isinstance(adapters.check_inputs(windows, as_input, "fit", (None, T, 1), True), Stored)


SCRIPT = """
import resource, sys, numpy as np, tdfast
from tdfast.layers import Input, LSTM, Dense
n, t, f = 40000, 50, 16
x = np.memmap(sys.argv[1], "float64", "w+", shape=(n, t, f))
x[...] = 1.0                                    # 256 MB, 128 as float32
model = tdfast.Sequential([Input((t, f)), LSTM(4), Dense(1)])
model.compile("adam", "mse")
y = np.zeros((n, 1), "float32")
def private():
    with open("/proc/self/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("RssAnon"))) / 1024
model.fit(x[:512], y[:512], verbose=0)
before, most = private(), 0
class Look(tdfast.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        global most
        most = max(most, private())
model.fit(x, y, batch_size=512, epochs=1, verbose=0, callbacks=[Look()], steps_per_epoch=20)
print(most - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path(tdfast.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "x")], capture_output=True, text=True,
                          cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 60, f"{done.stdout} MB for 128 MB of data"
