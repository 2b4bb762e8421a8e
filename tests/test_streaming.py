"""One step at a time: the bits of predict, the state, several streams, and what is refused."""

import threading

import numpy as np
import pytest

import tdfast
from tdfast.layers import GRU, LSTM, Activation, Dense, Dropout, RepeatVector, SimpleRNN, TimeDistributed


def model(dtype="float32"):
    return tdfast.Sequential([
        tdfast.Input((None, 5), dtype=dtype),
        LSTM(19, return_sequences=True, dtype=dtype),
        Dropout(0.5, dtype=dtype),
        TimeDistributed(tdfast.Sequential([Dense(7, activation="gelu", dtype=dtype), Dense(6, dtype=dtype)])),
        LSTM(8, activation="relu", return_sequences=True, dtype=dtype),
        GRU(9, return_sequences=True, dtype=dtype),
        GRU(5, reset_after=False, use_bias=False, return_sequences=True, dtype=dtype),
        SimpleRNN(20, return_sequences=True, dtype=dtype),
        Activation("softmax", dtype=dtype),
        Dense(3, use_bias=False, dtype=dtype),
    ])


def inputs(batch, steps, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, steps, 5)).astype("float32")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 4, 13])
def test_steps_have_the_bits_of_predict(batch, dtype):
    m = model(dtype)
    x = inputs(batch, 9)
    s = m.streamer(batch)
    got = np.stack([s.step(x[:, t]) for t in range(9)], axis=1)
    assert np.array_equal(got, m.predict(x, verbose=0))


def test_reset_and_state():
    m = model()
    x = inputs(2, 6)
    s = m.streamer(2)
    first = [s.step(x[:, t]) for t in range(3)]
    kept = s.state
    later = [s.step(x[:, t]) for t in range(3, 6)]
    s.state = kept
    assert np.array_equal(later, [s.step(x[:, t]) for t in range(3, 6)])
    s.reset()
    assert np.array_equal(first, [s.step(x[:, t]) for t in range(3)])
    with pytest.raises(ValueError, match="shapes"):
        s.state = kept[:1]


def test_streams_do_not_meet():
    m = model()
    xs = [inputs(1, 200, seed) for seed in range(4)]
    want = [m.predict(x, verbose=0) for x in xs]
    got = [None] * 4

    def run(i):
        s = m.streamer()
        got[i] = np.stack([s.step(xs[i][:, t]) for t in range(200)], axis=1)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(np.array_equal(g, w) for g, w in zip(got, want))


def test_out_and_refresh():
    m = model()
    x = inputs(1, 1)[:, 0]
    s = m.streamer()
    out = np.empty((1, 3), "float32")
    before = s.step(x, out=out)
    assert before is out
    m.set_weights([2 * w for w in m.get_weights()])
    s.reset()
    assert np.array_equal(s.step(x), out), "the weights are a copy"
    s.refresh()
    assert not np.array_equal(s.step(x), out)


def test_what_cannot_be_streamed():
    m = tdfast.Sequential([LSTM(3, input_shape=(4, 2)), RepeatVector(3, name="again")])
    with pytest.raises(ValueError, match="'again'"):
        m.streamer()
    m = tdfast.Sequential([LSTM(3, input_shape=(4, 2), go_backwards=True, name="back")])
    with pytest.raises(ValueError, match="'back'.*go_backwards"):
        m.streamer()
    with pytest.raises(ValueError, match="weights"):
        tdfast.Sequential([LSTM(3)]).streamer()
    with pytest.raises(ValueError, match="batch_size"):
        model().streamer(0)
    s = model().streamer()
    with pytest.raises(ValueError, match=r"\(1, 5\).*\(1, 4\)"):
        s.step(np.zeros((1, 4)))
    assert s.step(np.zeros((1, 5))).shape == (1, 3)
