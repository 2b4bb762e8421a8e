"""One step at a time: the bits of predict, the state, several streams, and what is refused."""

import copy
import pickle
import threading

import numpy as np
import pytest

import tdfast
from tdfast import layers
from tdfast.activations import Function
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


# ---------------------------------------------------------------------------------- layers that run in NumPy
def adapted(**options):
    layer = layers.Normalization(**options)
    layer.adapt(np.random.default_rng(3).normal(2, 3, size=(30, 4, 5)))
    return layer


def cube():
    return Function(lambda x: x**3, lambda x: 3 * x**2, "cube")


ALONE = {
    "Normalization": lambda: adapted(),
    "Normalization of all": lambda: adapted(axis=None),
    "Normalization given": lambda: layers.Normalization(mean=[1.0] * 5, variance=[4.0] * 5),
    "Normalization back": lambda: layers.Normalization(mean=1.0, variance=4.0, invert=True),
    "Rescaling": lambda: layers.Rescaling(0.5, -1.0),
    "Rescaling each": lambda: layers.Rescaling(np.arange(5.0), np.ones((1, 5))),
    "BatchNormalization": lambda: layers.BatchNormalization(),
    "LayerNormalization": lambda: layers.LayerNormalization(),
    "UnitNormalization": lambda: layers.UnitNormalization(),
    "RMSNormalization": lambda: layers.RMSNormalization(),
    "LeakyReLU": lambda: layers.LeakyReLU(0.1),
    "ReLU": lambda: layers.ReLU(6.0, 0.1, 0.2),
    "ELU": lambda: layers.ELU(0.5),
    "PReLU": lambda: layers.PReLU("uniform", shared_axes=[1]),
    "Softmax": lambda: layers.Softmax(),
    "own Activation": lambda: Activation(cube()),
    "own Dense": lambda: Dense(3, activation=cube()),
    "Dense that keeps its input": lambda: Dense(3, "softsign"),
    "SpatialDropout1D": lambda: layers.SpatialDropout1D(0.3),
    "ActivityRegularization": lambda: layers.ActivityRegularization(0.1),
    "Conv1D": lambda: layers.Conv1D(3, 1, activation="relu"),
    "SeparableConv1D": lambda: layers.SeparableConv1D(3, 1),
    "Conv1DTranspose": lambda: layers.Conv1DTranspose(3, 1),
    "DepthwiseConv1D": lambda: layers.DepthwiseConv1D(1, padding="causal"),
    "each LayerNormalization": lambda: TimeDistributed(layers.LayerNormalization()),
    "each GroupNormalization": lambda: TimeDistributed(layers.GroupNormalization(5)),
    "each PReLU": lambda: TimeDistributed(layers.PReLU("uniform")),
    "each of a model": lambda: TimeDistributed(
        tdfast.Sequential([Dense(4), layers.BatchNormalization(), Dense(3)])
    ),
    "each of a convolution": lambda: TimeDistributed(
        tdfast.Sequential([layers.Reshape((5, 1)), layers.Conv1D(2, 2), layers.Flatten()])
    ),
    "each of an LSTM": lambda: TimeDistributed(tdfast.Sequential([layers.Reshape((5, 1)), LSTM(3)])),
    "each of each": lambda: tdfast.Sequential(
        [TimeDistributed(layers.Reshape((5, 1))), TimeDistributed(TimeDistributed(Dense(2)))]
    ),
}


def shaken(m):
    """A model whose weights are no initial ones: also the moving statistics are not 0 and 1."""
    rng = np.random.default_rng(7)
    m.set_weights([rng.uniform(0.2, 1.2, w.shape).astype(w.dtype) for w in m.get_weights()])
    return m


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("place", ["first", "between", "last", "alone"])
def test_layers_that_treat_each_step_alone(name, batch, place):
    layer = ALONE[name]()
    if "Normalization" in name and place != "first" and layer.built:
        place = "first"                                         # it was adapted to 5 features of that place
    before, after = place in ("between", "last"), place in ("between", "first")
    last = [TimeDistributed(layers.Flatten()), GRU(3, return_sequences=True)] if name == "each of each" else [
        GRU(3, return_sequences=True)]
    m = shaken(
        tdfast.Sequential(
            [tdfast.Input((None, 5))] + [LSTM(5, return_sequences=True)] * before + [layer] + last * after
        )
    )
    x = inputs(batch, 9)
    if name in ("SpatialDropout1D", "ActivityRegularization") and place == "alone":
        with pytest.raises(ValueError, match="computes anything"):
            m.streamer(batch)
        return
    s = m.streamer(batch)
    got = np.stack([s.step(x[:, t]) for t in range(9)], axis=1)
    np.testing.assert_array_equal(got, m.predict(x, verbose=0))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
def test_ids_into_an_embedding(dtype):
    m = tdfast.Sequential(
        [tdfast.Input((None,)), layers.Embedding(9, 5), LSTM(4, return_sequences=True), Dense(2)]
    )
    ids = np.random.default_rng(0).integers(0, 9, size=(3, 8)).astype(dtype)
    s = m.streamer(3)
    got = np.stack([s.step(ids[:, t]) for t in range(8)], axis=1)
    np.testing.assert_array_equal(got, m.predict(ids, verbose=0))
    state = s.state
    with pytest.raises(ValueError, match="id 9 at index .* out of range"):
        s.step(np.array([1, 9, 2]))
    with pytest.raises(ValueError, match="of ids"):
        s.step(ids)
    np.testing.assert_array_equal(state[0][0], s.state[0][0])


class Scaled(layers.Layer):
    """A layer of a user's, with a weight."""

    rowwise = True

    def build(self, input_shape):
        self.factor = self.add_weight((input_shape[-1],), "uniform", "factor")

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        return x * self.factor.value


def test_a_layer_of_ones_own_says_that_it_can_be_streamed():
    m = shaken(tdfast.Sequential([tdfast.Input((None, 5)), GRU(4, return_sequences=True), Scaled(),
                                  Dense(2)]))
    x = inputs(3, 6)
    s = m.streamer(3)
    got = np.stack([s.step(x[:, t]) for t in range(6)], axis=1)
    np.testing.assert_array_equal(got, m.predict(x, verbose=0))
    Scaled.rowwise = False
    try:
        with pytest.raises(ValueError, match="'scaled.*cannot work one time step at a time"):
            m.streamer()
    finally:
        Scaled.rowwise = True


def test_steps_of_pictures():
    m = tdfast.Sequential(
        [
            tdfast.Input((None, 6, 6, 2)),
            layers.BatchNormalization(),
            Dense(3, "relu"),
            TimeDistributed(layers.Conv2D(2, 3)),
            TimeDistributed(layers.Flatten()),
            GRU(4, return_sequences=True),
        ]
    )
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 6, 2)).astype("float32")
    s = shaken(m).streamer(2)
    got = np.stack([s.step(x[:, t]) for t in range(5)], axis=1)
    np.testing.assert_array_equal(got, m.predict(x, verbose=0))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Softmax(axis=1),
        layers.BatchNormalization(axis=1),
        layers.LayerNormalization(axis=[1, 2]),
        layers.UnitNormalization(axis=1),
        layers.RMSNormalization(axis=1),
        layers.GroupNormalization(2),
        layers.PReLU(),
        layers.Rescaling(np.ones((6, 1))),
        layers.Normalization(axis=[1, 2]),
        layers.Conv1D(2, 2),
        layers.Permute((2, 1)),
        layers.Masking(),
        layers.Reshape((6, 4)),
        TimeDistributed(tdfast.Sequential([layers.Reshape((4, 1)), LSTM(2, stateful=True)])),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_look_at_other_steps_are_refused_by_name(layer):
    m = tdfast.Sequential([tdfast.Input((6, 4), batch_size=1), layer])
    with pytest.raises(ValueError, match=f"'{layer.name}' .*streamed"):
        m.streamer()


def test_steps_that_a_mask_leaves_out_are_not_streamed():
    m = tdfast.Sequential(
        [tdfast.Input((None,)), layers.Embedding(9, 5, mask_zero=True, name="words"), LSTM(4)]
    )
    with pytest.raises(ValueError, match="'words' .*mask"):
        m.streamer()
    with pytest.raises(ValueError, match=r"ids of shape \(batch, time\)"):
        tdfast.Sequential([tdfast.Input((4,)), Dense(2)]).streamer()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("first", [[], [layers.LayerNormalization()]], ids=["compiled", "NumPy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_is_refused_before_the_state_changes(bad, first, dtype):
    first = [type(layer)(dtype=dtype) for layer in first]
    m = tdfast.Sequential([tdfast.Input((None, 5), dtype=dtype), *first, LSTM(4, dtype=dtype)])
    x = np.ones((2, 5), dtype)
    s = m.streamer(2)
    want = s.step(x)
    x[1, 4] = bad
    s.reset()
    with pytest.raises(ValueError, match=r"streamer.step: x.* index \(1, 4\)"):
        s.step(x)
    assert not any(a.any() for states in s.state for a in states)
    x[1, 4] = 1
    np.testing.assert_array_equal(s.step(x), want)
    x[1, 4] = np.nan
    free = m.streamer(2, allow_nan=True)
    y = free.step(x)
    np.testing.assert_array_equal(y[0], want[0])
    assert np.isnan(y[1]).all()
    tdfast.config.set_check_finite(False)
    try:
        m.streamer(2).step(x)
    finally:
        tdfast.config.set_check_finite(True)


def test_rows_of_the_batch_begin_anew():
    m = model()
    x = inputs(4, 8)
    s, fresh = m.streamer(4), m.streamer(4)
    for t in range(4):
        s.step(x[:, t])
    s.reset(rows=2)
    s.reset(rows=[0])
    later = [s.step(x[:, t]) for t in range(4, 8)]
    begun = [fresh.step(x[:, t]) for t in range(4, 8)]
    whole = m.predict(x, verbose=0)
    for i, t in enumerate(range(4, 8)):
        np.testing.assert_array_equal(later[i][[0, 2]], begun[i][[0, 2]])
        np.testing.assert_array_equal(later[i][[1, 3]], whole[[1, 3], t])
    for rows in (4, -1, [0, 9], 1.0, "0", [True], [[0]]):
        with pytest.raises(ValueError, match="rows.*from 0 to 3"):
            s.reset(rows)


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["deepcopy", "pickle"]
)
def test_copies_go_on_from_the_same_state(again):
    m = tdfast.Sequential([model(), layers.LayerNormalization()])
    x = inputs(2, 8)
    s = m.streamer(2, allow_nan=True)
    for t in range(4):
        s.step(x[:, t])
    other = again(s)
    assert other.model is not m and other.allow_nan and other.batch_size == 2
    for t in range(4, 8):
        np.testing.assert_array_equal(s.step(x[:, t]), other.step(x[:, t]))
    assert repr(other) == repr(s) and m.name in repr(s) and "(2, 5) to (2, 3)" in repr(s)
    m.set_weights([2 * w for w in m.get_weights()])
    with pytest.raises(ValueError, match="refresh"):
        again(s)
    s.refresh()
    again(s)


def test_weights_of_layers_in_numpy_are_copies_too():
    m = tdfast.Sequential([tdfast.Input((None, 5)), layers.LayerNormalization()])
    x = inputs(1, 1)[:, 0]
    s = m.streamer()
    before = s.step(x)
    m.set_weights([2 * w + 1 for w in m.get_weights()])
    np.testing.assert_array_equal(s.step(x), before)
    s.refresh()
    assert not np.array_equal(s.step(x), before)


def test_out_must_fit():
    s = model().streamer()
    for out in (np.empty((1, 3)), np.empty((2, 3), "f"), [[0.0] * 3]):
        with pytest.raises(ValueError, match="out must be"):
            s.step(np.zeros((1, 5)), out=out)
