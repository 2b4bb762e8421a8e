"""Memory and idleness: a steady step allocates nothing that grows with the batch, and nothing leaks."""

import resource
import sys
import time
import tracemalloc

import numpy as np
import pytest

import tdfast
from tdfast.layers import LSTM, Activation, Dense, Dropout, TimeDistributed
from tdfast.training.batch import Batch

SMALL = 65_536      # bytes: what a step takes for its numbers, tuples, views and random words


def model():
    m = tdfast.Sequential([
        LSTM(48, return_sequences=True, dropout=0.1, recurrent_dropout=0.1, input_shape=(40, 12)),
        Dropout(0.2),
        TimeDistributed(Dense(32, activation="gelu")),
        TimeDistributed(tdfast.Sequential([Dense(8), Activation("softmax")])),
    ])
    m.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return m


def peak_beyond(run):
    """Bytes that NumPy and Python held at most beyond what they held at the start."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    run()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("batch", [16, 128])
def test_a_steady_training_step_allocates_nothing_that_grows(batch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, 40, 12)).astype("float32")
    y = np.eye(8, dtype="float32")[rng.integers(0, 8, (batch, 40))]
    m = model()
    for _ in range(3):
        m.train_on_batch(x, y)
    assert peak_beyond(lambda: m._trainer._step.train(Batch((x,), (y,), (None,)))) < SMALL


@pytest.mark.parametrize("batch", [16, 128])
def test_a_steady_predict_allocates_its_result_alone(batch):
    x = np.zeros((batch, 40, 12), "float32")
    m = model()
    for _ in range(3):
        m.predict(x, verbose=0)
    assert peak_beyond(lambda: m.predict(x, verbose=0)) < batch * 40 * 8 * 4 + SMALL


def test_predict_leaks_nothing():
    x = np.zeros((2, 40, 12), "float32")
    m = model()

    def resident():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    for _ in range(1_000):
        m.predict(x, verbose=0)
    before = resident()
    for _ in range(9_000):
        m.predict(x, verbose=0)
    assert resident() - before < 2 * 1024 * 1024, "bytes"


def test_nothing_runs_after_fit():
    m = model()
    x = np.zeros((64, 40, 12), "float32")
    m.fit(x, np.full((64, 40, 8), 0.125), epochs=2, verbose=0)
    time.sleep(0.2)                                     # OpenMP's threads go to sleep
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1, "seconds of CPU in half a second of idleness"
