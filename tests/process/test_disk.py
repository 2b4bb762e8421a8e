"""A disk that takes so many bytes and no more: what was saved before stays whole, and the model works on.

The limit is the system's own (RLIMIT_FSIZE): writes fail where they would fail on a full disk, in Python,
zlib or HDF5.
"""

import sys

import pytest
from test_runtime import python

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")

CODE = """
import os, resource
import numpy as np, tdfast
from tdfast import callbacks, layers, saving
rng = np.random.default_rng(0)
x, y = rng.normal(size=(24, 5, 3)).astype("float32"), rng.normal(size=(24, 2)).astype("float32")
tdfast.utils.set_random_seed(0)
m = tdfast.Sequential([layers.Input((5, 3)), layers.LSTM(24), layers.Dense(2)])
m.compile("adam", "mse")
m.fit(x, y, epochs=2, verbose=0)

def limit(n):
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, resource.RLIM_INFINITY))

def files():
    return {name: open(name, "rb").read() for name in os.listdir(".")}

def fit(*calls, epochs=3):
    return m.fit(x, y, epochs=epochs, verbose=0, callbacks=list(calls))

def backup():
    epochs = 3 if not os.listdir(".") else len(tried) + 4
    fit(callbacks.BackupAndRestore(".", delete_checkpoint=False), epochs=epochs)

kinds = {
    "model": (lambda: m.save("a.keras"), lambda: saving.load_model("a.keras")),
    "HDF5 weights": (lambda: m.save_weights("a.weights.h5"), lambda: m.load_weights("a.weights.h5")),
    "NumPy weights": (lambda: m.save_weights("a.weights.npz"), lambda: m.load_weights("a.weights.npz")),
    "C": (lambda: saving.export_c(m, "a.c"), lambda: None),
    "checkpoint": (lambda: fit(callbacks.ModelCheckpoint("a.keras")), lambda: saving.load_model("a.keras")),
    "weights checkpoint": (lambda: fit(callbacks.ModelCheckpoint("a.weights.h5", save_weights_only=True)),
                           lambda: m.load_weights("a.weights.h5")),
    "backup": (backup, lambda: None),
    "table": (lambda: fit(callbacks.CSVLogger("a.csv")), None),
}
write, read = kinds[KIND]
tried = []
write()
good = files()
size = max(map(len, good.values()))
m.train_on_batch(x, y)
for n in (0, 1, 40, size // 3, size // 2, size - 60, size - 1):
    before, weights = m.predict(x, verbose=0), m.get_weights()
    limit(n)
    try:
        write()
    except OSError as error:
        tried.append(n)
        assert "large" in str(error) or "27" in str(error) or "write" in str(error), error
    limit(resource.RLIM_INFINITY)
    if read is None:
        assert len(files()["a.csv"]) <= n
    else:
        assert files() == good, f"{n} of {size} bytes: {sorted(files())}"
        read()
    if "fit" in FITS:
        assert len(m.history.history.get("loss", [])) == len(m.history.epoch)
    else:
        m.set_weights(weights)
        assert np.array_equal(m.predict(x, verbose=0), before)
    assert np.isfinite(fit(epochs=1).history["loss"]).all()
    m.set_weights(weights)
print(len(tried), "refused")
"""


@pytest.mark.parametrize("kind", ["model", "HDF5 weights", "NumPy weights", "C", "checkpoint",
                                  "weights checkpoint", "backup", "table"])
def test_a_disk_that_is_full(kind, tmp_path):
    if kind in ("model", "checkpoint", "HDF5 weights", "weights checkpoint"):
        pytest.importorskip("h5py")
    fits = "fit" if kind in ("checkpoint", "weights checkpoint", "backup", "table") else ""
    done = python(f"import os; os.chdir({str(tmp_path)!r})\nKIND, FITS = {kind!r}, {fits!r}\n{CODE}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) >= 6, done.stdout
