"""Recurrent wrappers and cells: their rows for the laws, and what is special to them."""

import laws
import numpy as np
import pytest
import reference
from laws import Case, assert_same_bits, forward_backward, on_threads

import tdfast
from tdfast import Sequential
from tdfast.engine.tape import Tape
from tdfast.layers import GRU, LSTM, Bidirectional, Dense, Input, SimpleRNN, TimeDistributed

FORMULAS = {LSTM: reference.lstm, GRU: reference.gru, SimpleRNN: reference.simple_rnn}


def zeroed(y, mask):
    """The outputs with 0 at masked steps."""
    return y if mask is None else np.where(mask[..., None], y, 0)


# ---------------------------------------------------------------- Bidirectional


def bidirectional_case(cell, merge, mask=False, states=0, **options):
    """A case for Bidirectional(cell(size, **options), merge)."""
    sequences = options.get("return_sequences", False)
    n = 2 if cell is LSTM else 1

    def formula(x, w, size, mask=None, initial_state=()):
        def run(x, which, reverse):
            first = initial_state[n * which : n * which + n]
            first = dict(zip(("h0", "c0"), first))
            y, *last = FORMULAS[cell](x, *w[3 * which : 3 * which + 3], mask=mask, reverse=reverse, **first)
            if sequences and mask is not None:
                y = zeroed(y, mask[:, ::-1] if reverse else mask)
            return y, *last

        y = reference.bidirectional(run, x, merge, sequences)
        return y if options.get("return_state") else y[: 2 if merge is None else 1]

    name = " ".join([f"Bidirectional {cell.__name__} {merge}", *options, *(["mask"] if mask else []),
                     *(["states"] if states else [])])
    return Case(name, lambda size, dtype: Bidirectional(cell(size, dtype=dtype, **options), merge_mode=merge),
                ("T", 3),
                formula, mask=mask, states=states, sizes=(1, 4, 17))


CASES = [
    *(bidirectional_case(LSTM, merge, return_sequences=True)
      for merge in ("concat", "sum", "mul", "ave", None)),
    *(bidirectional_case(GRU, merge) for merge in ("concat", "sum", "mul", "ave", None)),
    bidirectional_case(SimpleRNN, "concat", return_sequences=True, mask=True),
    bidirectional_case(LSTM, "mul", mask=True, return_sequences=True),
    bidirectional_case(LSTM, "concat", mask=True),
    bidirectional_case(LSTM, "ave", states=4, return_state=True, return_sequences=True),
    bidirectional_case(GRU, None, states=2, return_state=True, mask=True),
]


@pytest.mark.parametrize("law,case", laws.checks(CASES))
def test_law(law, case):
    law(case)


# ---------------------------------------------------------------- what only Bidirectional has


def test_bidirectional_makes_its_layers_as_keras_does():
    given = LSTM(3, name="memory", return_sequences=True)
    given.build((None, None, 2))
    layer = Bidirectional(given, name="both")
    layer.build((None, None, 2))
    assert (layer.forward_layer.name, layer.backward_layer.name) == ("forward_memory", "backward_memory")
    assert (
        layer.forward_layer is not given
        and layer.backward_layer.go_backwards
        and not layer.forward_layer.go_backwards
    )
    assert [w.path for w in layer.weights] == [
        f"both/{side}_memory/lstm_cell/{name}"
        for side in ("forward", "backward") for name in ("kernel", "recurrent_kernel", "bias")
    ]
    assert not np.array_equal(layer.weights[0].value,
                              layer.weights[3].value), "each layer draws its own weights"
    assert not np.array_equal(layer.weights[0].value,
                              given.weights[0].value), "the given layer's are not taken over"
    again = Bidirectional.from_config(layer.get_config())
    assert again.forward_layer.name == "forward_memory" and again.backward_layer.name == "backward_memory"
    assert list(layer.get_config()) == ["name", "trainable", "dtype", "merge_mode", "layer", "backward_layer"]


def test_bidirectional_with_a_backward_layer():
    backward = GRU(2, go_backwards=True, activation="relu", name="mine")
    layer = Bidirectional(LSTM(3), backward_layer=backward)
    assert layer.backward_layer is backward
    assert layer(np.ones((4, 5, 2))).shape == (4, 5)
    assert [w.path.split("/")[1] for w in layer.weights[3:]] == ["mine"] * 3
    turned = Bidirectional(LSTM(3, go_backwards=True), backward_layer=LSTM(3))
    assert turned(np.ones((4, 5, 2))).shape == (4, 6)


def test_bidirectional_first_weights():
    weights = [np.full(s, i, "float32") for i, s in enumerate([(2, 3), (3, 3), (3,)] * 2)]
    layer = Bidirectional(SimpleRNN(3), weights=weights)
    layer(np.ones((1, 2, 2)))
    assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), weights))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Bidirectional(Dense(2)), "layer must be a recurrent layer"),
        (lambda: Bidirectional("lstm"), "layer must be a recurrent layer"),
        (lambda: Bidirectional(LSTM(2), backward_layer=Dense(2)), "backward_layer must be a recurrent layer"),
        (lambda: Bidirectional(LSTM(2), merge_mode="avg"), "merge_mode must be one of"),
        (lambda: Bidirectional(LSTM(2), backward_layer=LSTM(2)), "go_backwards=True"),
        (lambda: Bidirectional(LSTM(2, go_backwards=True)), "go_backwards=False"),
        (lambda: Bidirectional(LSTM(2), backward_layer=LSTM(2, go_backwards=True, stateful=True)),
         "the same stateful"),
        (lambda: Bidirectional(LSTM(2), backward_layer=LSTM(2, go_backwards=True, return_state=True)),
         "the same return_state"),
        (lambda: Bidirectional(LSTM(2, return_sequences=True), backward_layer=LSTM(2, go_backwards=True)),
         "the same return_sequences"),
        (lambda: Bidirectional(LSTM(2), dtype="float64"), "give all the same dtype"),
        (lambda: Bidirectional(LSTM(2), merge_mode="sum",
                               backward_layer=LSTM(3, go_backwards=True))(np.ones((1, 2, 3))),
         "outputs of one shape"),
        (lambda: Bidirectional(LSTM(2))(np.ones((1, 2))), "(batch, time, features)"),
        (lambda: Bidirectional(LSTM(2))(np.ones((1, 2, 3)), initial_state=np.ones((1, 2))),
         "initial_state must be a list"),
        (lambda: Bidirectional(LSTM(2))(np.ones((1, 2, 3)), initial_state=[np.ones((1, 2))] * 3),
         "a list of 3"),
        (lambda: Bidirectional(LSTM(2))(np.ones((1, 2, 3)), initial_state=[np.ones((1, 2))] * 2),
         "forward_lstm"),
        (lambda: Sequential([Bidirectional(LSTM(2), merge_mode=None)]), "merge_mode=None"),
        (lambda: Sequential([Bidirectional(LSTM(2, return_state=True)), Dense(2)]), "return_state=True"),
        (lambda: Sequential([Input((3, 2)), Bidirectional(LSTM(2))]).streamer(), "one time step at a time"),
    ],
)
def test_bidirectional_refuses(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
def test_bidirectional_learns(merge):
    """Each element is told whether a later and an earlier one are larger: no single direction can know."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6, 1))
    y = (x[:, ::-1].copy() > 0) * (x > 0) * 1.0
    model = Sequential([Input((6, 1)), Bidirectional(GRU(16, return_sequences=True), merge_mode=merge),
                        Dense(1, "sigmoid")])
    model.compile(tdfast.optimizers.Adam(0.02), "binary_crossentropy")
    losses = model.fit(x, y, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_bidirectional_stateful():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 2)).astype("float32")
    layer = Bidirectional(LSTM(5, stateful=True, return_sequences=True))
    first = layer(x)
    assert len(layer.states) == 4
    assert not np.array_equal(layer(x), first), "the state must go on"
    layer.reset_states()
    assert np.array_equal(layer(x), first)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 20])
@pytest.mark.parametrize("cell, options", [(LSTM, {}), (GRU, {"reset_after": False}), (SimpleRNN, {}),
                                           (LSTM, {"dropout": 0.4, "seed": 3}),
                                           (GRU, {"recurrent_dropout": 0.4, "seed": 3})])
def test_directions_at_once(cell, options, batch, threads):
    """A direction on a thread gives what its layer gives alone on one thread: outputs, states, gradients."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, 15, 40)).astype("float32")
    mask = rng.random((batch, 15)) < 0.7
    dy = rng.normal(size=(2, batch, 15, 60)).astype("float32")

    def passes(both):
        made = cell(60, return_sequences=True, return_state=True, **options)
        layer = Bidirectional(made, merge_mode=None)
        layer.build(x.shape)
        weights = np.random.default_rng(1)
        layer.set_weights([weights.normal(size=w.shape) * 0.2 for w in layer.weights])
        one, other = layer.sublayers()
        tape, n = Tape(), made.n_states
        if both:
            y, y_rev, *states = layer.forward(x, tape, training=True, mask=mask)
            dx = layer.backward([*dy, *[None] * (2 * n)], tape)
        else:
            y, *states = one.forward(x, tape, training=True, mask=mask)
            y_rev, *more = other.forward(x, tape, training=True, mask=mask)
            y_rev, states = y_rev[:, ::-1], states + more
            dx_rev = other.backward([dy[1][:, ::-1].copy(), *[None] * n], tape)
            dx = one.backward([dy[0], *[None] * n], tape) + dx_rev
        results = [y, y_rev, *states, dx, *(w.grad for w in layer.weights)]
        return {i: np.array(result) for i, result in enumerate(results)}

    with on_threads(1):
        want = passes(False)
    with on_threads(threads):
        assert_same_bits(passes(True), want, f"{threads} threads")


def test_pairs_of_kernels():
    """Nothing runs before the block's end, nor where it ends with an error; two calls of one kernel are a
    pair."""
    k = tdfast._kernels
    sizes, acts, x = (k.CELLS["simple_rnn"], (2, 3, 4, 4)), (1, 2), np.ones((2, 3, 4), "float32")
    packed = np.ones(k.rnn_pack_size(sizes[0], 4, 4), "float32")

    def forward(y):
        room = np.empty(k.rnn_sizes(*sizes, acts)[2], y.dtype)
        k.rnn_forward(*sizes, acts=acts, sequences=True, x=x.astype(y.dtype), packed=packed.astype(y.dtype),
                      scratch=room, y=y)

    y, y2, alone = np.zeros((3, 2, 3, 4), "float32")
    with k.Pair():
        forward(y)
        forward(y2)
        assert not y.any() and not y2.any()
    forward(alone)
    assert alone.any() and np.array_equal(y, alone) and np.array_equal(y2, alone)
    y[...] = 0
    with pytest.raises(ValueError, match="two calls, got 1"), k.Pair():
        forward(y)
    with pytest.raises(ValueError, match="of one kernel and one dtype"), k.Pair():
        forward(y)
        forward(y.astype("float64"))
    with pytest.raises(ValueError, match="of two calls"), k.Pair():
        for _ in range(3):
            forward(y)
    assert not y.any()
    forward(y)
    assert np.array_equal(y, alone), "a pair that failed holds nothing back"


def test_bidirectional_inside_and_around():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    inner = Bidirectional(LSTM(3))
    outer = TimeDistributed(inner)
    y = outer(x)
    assert y.shape == (2, 3, 6) and np.array_equal(y[:, 1], inner(x[:, 1]))
    assert outer.weights[0].path == f"{outer.name}/{inner.name}/{inner.forward_layer.name}/lstm_cell/kernel"


def test_activity_regularizers_inside_wrappers():
    """Penalties are averaged over the batch; TimeDistributed adds those of its steps (numbers from Keras
    3.15)."""
    x = np.ones((5, 3, 4))

    def loss(layer, how):
        model = Sequential([Input((3, 4)), layer])
        model.compile("sgd", "mse")
        return getattr(model, how)(x, np.full((5, *model.output_shape[1:]), 4.0))

    def lstm():
        return LSTM(2, "relu", "relu", activity_regularizer=tdfast.regularizers.L2(1.0),
                    kernel_initializer="ones",
                    recurrent_initializer="zeros")

    dense = Dense(2, activity_regularizer=tdfast.regularizers.L2(1.0), kernel_initializer="ones")
    for how in ("test_on_batch", "train_on_batch"):
        assert loss(lstm(), how) == 11792912
        assert loss(Bidirectional(lstm()), how) == 19665424
    assert loss(TimeDistributed(Sequential([dense])), "test_on_batch") == 96


def test_activity_regularizer_inside_bidirectional_has_its_gradient():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 2))
    inner = GRU(3, activity_regularizer=tdfast.regularizers.L2(0.3), return_sequences=True, dtype="float64")
    layer = Bidirectional(inner)
    layer.build((None, 4, 2))

    def penalty():
        tape = Tape()
        layer.forward(x, tape)
        return tape.records[0].activity_penalty()

    tape = Tape()
    y = layer.forward(x, tape)
    dx = layer.backward(np.zeros_like(y), tape).copy()
    kernel = layer.weights[3]
    laws.assert_near(dx, laws.differences(penalty, x), 1e-8, "dx")
    laws.assert_near(kernel.grad, laws.differences(penalty, kernel.value), 1e-8, "backward kernel")


@pytest.mark.parametrize("batch", [1, 3, 11])
@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_few_rows_of_a_large_layer(cell, batch):
    """Several threads share the units there, where they share the rows elsewhere: the bits are those of one
    thread."""
    rng = np.random.default_rng(batch)
    x = rng.normal(size=(batch, 7, 190)).astype("float32")
    mask = rng.random((batch, 7)) < 0.7
    layer = cell(201, return_sequences=True, return_state=True, recurrent_dropout=0.3, seed=1)
    layer.build((None, 7, 190))
    state = [rng.normal(size=(batch, 201)).astype("float32") for _ in range(layer.n_states)]

    def results():
        layer.seed_generator = tdfast.random.SeedGenerator(1)
        out = {}
        for name, call in {"plain": {}, "masked": {"mask": mask}, "from a state": {"initial_state": state},
                           "training": {"training": True, "mask": mask}}.items():
            found = forward_backward(layer, x, call, [np.ones_like(y) for y in layer(x, **call)])
            out.update({f"{name} {key}": value for key, value in found.items()})
        return out

    with on_threads(1):
        want = results()
    for n in (2, 3):
        with on_threads(n):
            assert_same_bits(results(), want, f"{n} threads against 1")
