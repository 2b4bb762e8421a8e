"""RNN over built-in cells, stacks and a cell of one's own: rows for the laws, and what is special to them."""

import laws
import numpy as np
import pytest
import reference
from laws import Case

import tdfast
from tdfast import Sequential, activations
from tdfast.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Cell,
    Dense,
    GRUCell,
    Input,
    LSTMCell,
    Masking,
    SimpleRNN,
    SimpleRNNCell,
    StackedRNNCells,
    TimeDistributed,
)

FORMULAS = {LSTMCell: reference.lstm, GRUCell: reference.gru, SimpleRNNCell: reference.simple_rnn}
sigmoid = activations.get("sigmoid")


class PeepholeCell(Cell):
    """f = s(x W + c v); c' = f c + (1 - f) tanh(x U): an odd cell of two states, c and a count of steps."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.state_size = [units, 1]

    def build(self, input_shape):
        n = self.state_size[0]
        self.W, self.U = (self.add_weight((input_shape[-1], n), name=name) for name in "WU")
        self.v = self.add_weight((n,), "zeros", "v")

    def forward(self, x, states, tape, training=False):
        rec = tape.push(self)
        c, count = states
        f, g = sigmoid(x @ self.W.value + c * self.v.value), np.tanh(x @ self.U.value)
        rec.all = x, c, f, g
        new = f * c + (1 - f) * g
        return new, [new, count + 1]

    def backward(self, dy, dstates, tape, need_dx=True):
        x, c, f, g = tape.pop(self).all
        d = dy + dstates[0]
        da, db = d * (c - g) * f * (1 - f), d * (1 - f) * (1 - g * g)
        np.matmul(x.T, da, out=self.W.grad)
        np.matmul(x.T, db, out=self.U.grad)
        np.sum(da * c, axis=0, out=self.v.grad)
        dx = da @ self.W.value.T + db @ self.U.value.T if need_dx else None
        return dx, [d * f + da * self.v.value, dstates[1]]

    def get_config(self):
        return {**super().get_config(), "units": self.state_size[0]}


def peephole(x, W, U, v, mask=None, reverse=False):
    """The formula of PeepholeCell over a sequence."""
    B, T, _ = x.shape
    c, count, y, out = np.zeros((B, len(v))), np.zeros((B, 1)), np.zeros((B, len(v))), []
    for t in range(T - 1, -1, -1) if reverse else range(T):
        f = reference.sigmoid(x[:, t] @ W + c * v)
        keep = np.ones((B, 1), bool) if mask is None else mask[:, t, None]
        new = f * c + (1 - f) * np.tanh(x[:, t] @ U)
        c, count, y = np.where(keep, new, c), np.where(keep, count + 1, count), np.where(keep, new, y)
        out.append(y)
    return np.stack(out, axis=1), c, count


def cells_case(*kinds, mask=False, states=0, only=None, **options):
    """RNN over these cells, each of `size` units."""
    def formula(x, w, size, mask=None, initial_state=None):
        w, reverse = list(w), options.get("go_backwards", False)
        for i, kind in enumerate(kinds):
            part, w = w[:3], w[3:]
            first = {} if initial_state is None else dict(zip(("h0", "c0"), initial_state))
            x, *last = (FORMULAS[kind] if kind in FORMULAS
                        else peephole)(x, *part, mask=mask, reverse=reverse and not i, **first)
            if reverse and not i and mask is not None:
                mask = mask[:, ::-1]
        y = x if options.get("return_sequences") else x[:, -1]
        return (y, *last) if options.get("return_state") else y

    def make(size, dtype):
        cells = [kind(size, dtype=dtype) for kind in kinds]
        return RNN(cells if len(cells) > 1 else cells[0], **options)

    own = PeepholeCell in kinds
    chosen = tuple(law for law in laws.LAWS if law not in (laws.round_trips, laws.batch_is_its_rows,
                                                           laws.saturation_and_nan)) if own else None
    name = " ".join(["RNN", *(k.__name__ for k in kinds), *options, *(["mask"] if mask else []),
                     *(["states"] if states else [])])
    return Case(name, make, ("T", 3), formula, mask=mask, states=states, sizes=(1, 4, 17),
                laws=only or chosen)


CASES = [
    cells_case(LSTMCell, return_sequences=True),
    cells_case(GRUCell, mask=True, return_state=True, go_backwards=True),
    cells_case(SimpleRNNCell, states=1, return_state=True),
    cells_case(LSTMCell, states=2, return_sequences=True),
    cells_case(LSTMCell, GRUCell, return_sequences=True, go_backwards=True),
    cells_case(SimpleRNNCell, LSTMCell, GRUCell, mask=True, go_backwards=True),
    cells_case(PeepholeCell, return_sequences=True),
    cells_case(PeepholeCell, mask=True, go_backwards=True, return_state=True),
    cells_case(PeepholeCell, mask=True, return_sequences=True),
    cells_case(GRUCell, PeepholeCell, SimpleRNNCell, mask=True, return_sequences=True, go_backwards=True),
]


@pytest.mark.parametrize("law,case", laws.checks(CASES))
def test_law(law, case):
    law(case)


# ---------------------------------------------------------------- what only cells have


@pytest.mark.parametrize("cell, layer", [(LSTMCell, LSTM), (GRUCell, GRU), (SimpleRNNCell, SimpleRNN)])
def test_a_built_in_cell_runs_as_its_layer(cell, layer):
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    one, other = RNN(cell(4), return_sequences=True), layer(4, return_sequences=True)
    one(x), other(x)
    other.set_weights(one.get_weights())
    assert np.array_equal(one(x), other(x))
    states = one.cell.get_initial_state(3)
    for t in range(5):
        y, states = one.cell(x[:, t], states)
    np.testing.assert_allclose(y, one(x)[:, -1], atol=1e-6)


def test_a_changed_built_in_cell_is_called():
    class Doubled(SimpleRNNCell):
        def forward(self, x, states, tape, training=False):
            y, new = super().forward(x, states, tape, training)
            return 2 * y, new

        def backward(self, dy, dstates, tape, need_dx=True):
            return super().backward(2 * dy, dstates, tape, need_dx)

    x = np.ones((2, 4, 3), "float32")
    layer, plain = RNN(Doubled(3)), RNN(SimpleRNNCell(3))
    layer(x), plain(x)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(x), 2 * plain(x), rtol=1e-6)


def test_trains_saves_and_loads(tmp_path):
    pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6, 2)).astype("float32")
    y = x.sum(axis=(1, 2), keepdims=True)[:, 0]
    model = Sequential([
        Input((6, 2)), Masking(), Bidirectional(RNN([LSTMCell(5), PeepholeCell(4)], return_sequences=True)),
        RNN(GRUCell(6, dropout=0.1, recurrent_dropout=0.1)), Dense(1),
    ])
    model.compile(tdfast.optimizers.Adam(0.01), "mse")
    loss = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert loss[-1] < 0.5 * loss[0]
    model.save(tmp_path / "m.keras")
    again = tdfast.saving.load_model(tmp_path / "m.keras", custom_objects={"PeepholeCell": PeepholeCell})
    assert np.array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    with pytest.raises(ValueError, match="PeepholeCell"):
        tdfast.saving.load_model(tmp_path / "m.keras")


def test_streams_and_is_time_distributed():
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    model = Sequential([Input((5, 3)), RNN([LSTMCell(4), GRUCell(3)], return_sequences=True)])
    s = model.streamer(2)
    assert np.array_equal(np.stack([s.step(np.ascontiguousarray(x[:, t])) for t in range(5)], axis=1),
                          model.predict(x, verbose=0))
    inner = RNN(PeepholeCell(4))
    assert np.allclose(TimeDistributed(inner)(x[:, None])[:, 0], inner(x))
    own = Sequential([Input((5, 3)), RNN(PeepholeCell(4))])
    with pytest.raises(ValueError, match="cannot be streamed"):
        own.streamer()


def test_stateful_goes_on():
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    for cell in (lambda: [LSTMCell(4), GRUCell(3)], lambda: PeepholeCell(4)):
        layer = RNN(cell(), stateful=True)
        layer(x[:, :3])
        second = layer(x[:, 3:])
        layer.reset_states()
        assert layer.states is None
        np.testing.assert_allclose(layer(x), second, atol=1e-6)
        with pytest.raises(ValueError, match="stateful"):
            layer(x[:1])


def test_nan_in_a_masked_step_reaches_no_gradient():
    x, mask = np.ones((2, 3, 2)), np.array([[True, False, True]] * 2)
    x[:, 1] = np.nan
    layer = RNN([PeepholeCell(3, dtype="float64"), LSTMCell(2, dtype="float64")])
    layer.build((None, 3, 2))
    out = laws.forward_backward(layer, x, {"mask": mask}, [np.ones((2, 2))])
    assert all(np.isfinite(v).all() for v in out.values())


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: RNN(LSTM(2)), "its cell is LSTMCell"),
        (lambda: RNN([]), "at least one cell"),
        (lambda: RNN([GRUCell(2), Dense(2)]), "got <Dense"),
        (lambda: RNN(Cell()), "needs a state_size"),
        (lambda: RNN(GRUCell(2, activity_regularizer="l2")), "Give it to the RNN"),
        (lambda: RNN(GRUCell(2), dtype="float64"), "the same dtype"),
        (lambda: TimeDistributed(GRU(2), dtype="float64"), "the same dtype"),
        (lambda: StackedRNNCells([GRUCell(2), GRUCell(2, dtype="float64")]), "all the same dtype"),
        (lambda: RNN(GRUCell(2))(np.ones((2, 3))), "Add the time axis"),
        (lambda: RNN(GRUCell(2))(np.ones((2, 3, 4)), initial_state=[np.ones((2, 2))] * 2),
         "must hold 1 array"),
        (lambda: RNN(PeepholeCell(2))(np.ones((2, 3, 4)), initial_state=[np.ones((2, 2))] * 2),
         "initial_state"),
        (lambda: Sequential([Input((3, 2)), LSTMCell(2)]), "RNN(LSTMCell"),
        (lambda: LSTMCell(2)(np.ones((2, 3)), [np.ones((2, 2))]), "states must be"),
        (lambda: LSTMCell(0), "units must be"),
    ],
)
def test_refuses(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)
