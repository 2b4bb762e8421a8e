"""RNN over cells, and ConvLSTM, against Keras itself on JAX: outputs, states, gradients, configs and
files."""

import numpy as np
import pytest
from test_live_rnn import check_files, compare, in_float64, masks  # noqa: F401 (a fixture)

import tdfast

keras = pytest.importorskip("keras")
KINDS = ("LSTMCell", "GRUCell", "SimpleRNNCell")
WIDTHS = {"LSTMCell": 2, "GRUCell": 1, "SimpleRNNCell": 1}


# there Keras itself mixes two dtypes, and fails
@pytest.mark.parametrize("seed", [n for n in range(18) if n not in (4, 8)])
def test_random_cells(seed):
    rng = np.random.default_rng(seed)
    kinds = [KINDS[i] for i in rng.integers(3, size=1 + seed % 3)]
    units = [int(n) for n in rng.integers(1, 5, size=len(kinds))]
    if len(kinds) == 1:
        kinds[0] = KINDS[(seed // 3) % 3]
    options = {k: bool(rng.random() < 0.5) for k in ("return_sequences", "return_state", "go_backwards")}
    B, T, I = 3, int(rng.integers(1, 6)), 2
    kind = (None, "interior", "right", "full")[seed % 4]
    given = kind in (None, "interior") and rng.random() < 0.6
    mask = None if kind is None else masks(kind, B, T, rng, options["go_backwards"])
    if not given:
        options["zero_output_for_mask"] = bool(rng.random() < 0.3)
    states = [[rng.normal(size=(B, n)) for _ in range(WIDTHS[k])] for k,
              n in zip(kinds, units)] if given else None
    if states and len(kinds) == 1:
        states = states[0]

    def make(layers):
        cells = [getattr(layers, k)(n, dtype="float64") for k, n in zip(kinds, units)]
        if len(cells) == 1:
            return layers.RNN(cells[0], dtype="float64", **options)
        return layers.RNN(layers.StackedRNNCells(cells, dtype="float64"), dtype="float64", **options)

    compare(make, (B, T, I), rng, mask, states)


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda L: [L.RNN(L.LSTMCell(3))], (4, 2)),
        (lambda L: [L.RNN([L.LSTMCell(3), L.GRUCell(2), L.LSTMCell(2)], return_sequences=True),
                    L.RNN(L.SimpleRNNCell(2))],
         (4, 2)),
        (lambda L: [L.Bidirectional(L.RNN([L.GRUCell(3), L.SimpleRNNCell(2)]))], (4, 2)),
        (lambda L: [L.TimeDistributed(L.RNN(L.GRUCell(2)))], (3, 4, 2)),
    ],
    ids=["one cell", "stack", "Bidirectional", "TimeDistributed"],
)
def test_files(make, shape, tmp_path):
    check_files(make, shape, tmp_path)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", *KINDS])
def test_config_has_keras_keys_in_order(name):
    ours, theirs = getattr(tdfast.layers, name)(2), getattr(keras.layers, name)(2)
    assert list(ours.get_config()) == list(theirs.get_config())
    if name in KINDS:
        assert list(tdfast.layers.RNN(ours).get_config()) == list(keras.layers.RNN(theirs).get_config())


CONVOLVED = [
    ("ConvLSTM1D", (5, 2), dict(kernel_size=3, padding="same", return_sequences=True)),
    ("ConvLSTM1D", (7, 3), dict(kernel_size=2, strides=2, go_backwards=True, return_state=True,
                                use_bias=False)),
    ("ConvLSTM2D", (4, 5, 2), dict(kernel_size=(3, 2), return_sequences=True, return_state=True)),
    ("ConvLSTM2D", (6, 5, 1), dict(kernel_size=2, dilation_rate=2, padding="same",
                                   recurrent_activation="hard_sigmoid",
                                   activation="relu")),
    ("ConvLSTM3D", (3, 4, 2, 2), dict(kernel_size=2, strides=(1, 2, 1), padding="same", return_state=True)),
    ("ConvLSTM2D", (5, 4, 2), dict(kernel_size=3, strides=(2, 1), padding="same", activation="softsign",
                                   return_sequences=True, go_backwards=True)),
]


@pytest.mark.parametrize("name, frame, options", CONVOLVED, ids=range(len(CONVOLVED)))
def test_conv_lstm(name, frame, options):
    """Without a mask: with one, Keras on JAX fails (it compares the mask with images as if they were
    vectors)."""
    rng = np.random.default_rng(0)
    compare(lambda layers: getattr(layers, name)(2, dtype="float64", **options), (3, 4, *frame), rng)


@pytest.mark.parametrize("name, frame, options", CONVOLVED, ids=range(len(CONVOLVED)))
def test_conv_lstm_files(name, frame, options, tmp_path):
    options = {**options, "return_state": False}
    check_files(lambda L: [getattr(L, name)(2, **options)], (4, *frame), tmp_path)
    assert list(getattr(tdfast.layers,
                        name)(2, 3).get_config()) == list(getattr(keras.layers, name)(2, 3).get_config())


@pytest.mark.parametrize("kind", KINDS)
def test_one_step(kind):
    ours, theirs = getattr(tdfast.layers,
                           kind)(3, dtype="float64"), getattr(keras.layers, kind)(3, dtype="float64")
    x = np.random.default_rng(0).normal(size=(4, 2))
    states = [np.full((4, 3), 0.3 * (i + 1)) for i in range(WIDTHS[kind])]
    theirs.build((None, 2))
    ours.build((None, 2))
    ours.set_weights([np.asarray(w) for w in theirs.weights])
    (y, new), (want, want_new) = ours(x, states), theirs(x, states)
    for a, b in zip([y, *new], [want, *want_new], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
