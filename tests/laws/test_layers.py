"""Every layer with its options, held to every law of laws.py; and what is special to one layer."""

import laws
import numpy as np
import pytest
import reference
from laws import Case

from tdfast import Sequential, layers
from tdfast.engine.tape import Tape
from tdfast.layers import (
    GRU,
    LSTM,
    Activation,
    Dense,
    Dropout,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    SimpleRNN,
    TimeDistributed,
)

# ---------------------------------------------------------------- cases


def lstm_case(name, mask=False, states=0, bounded=True, scale=1.0, spread=1.0, only=None,
              sizes=(1, 4, 17, 33), **options):
    """A case for LSTM(size, **options), with the reference that these options mean."""

    def formula(x, weights, size, mask=None, initial_state=(None, None)):
        y, h, c = reference.lstm(
            x, *weights, act=options.get("activation", "tanh"),
            rec_act=options.get("recurrent_activation", "sigmoid"), mask=mask,
            reverse=options.get("go_backwards", False), h0=initial_state[0], c0=initial_state[1],
        )
        if not options.get("return_sequences"):
            y = y[:, -1]
        return (y, h, c) if options.get("return_state") else y

    return Case(
        f"LSTM {name}", lambda size, dtype: LSTM(size, dtype=dtype, **options), ("T", 3), formula,
        mask=mask, states=states, bounded=bounded, scale=scale, spread=spread, laws=only, sizes=sizes,
    )


def one_state_case(cell, name, mask=False, states=0, bounded=True, scale=1.0, only=None, sizes=(1, 4, 17, 33),
                   **options):
    """A case for GRU(size, **options) or SimpleRNN(size, **options)."""
    keys = {"activation": "act", "recurrent_activation": "rec_act", "reset_after": "reset_after",
            "go_backwards": "reverse"}
    meaning = {key: options[option] for option, key in keys.items() if option in options}

    def formula(x, weights, size, mask=None, initial_state=(None,)):
        f = reference.gru if cell is GRU else reference.simple_rnn
        y, h = f(x, *weights, mask=mask, h0=initial_state[0], **meaning)
        if not options.get("return_sequences"):
            y = y[:, -1]
        return (y, h) if options.get("return_state") else y

    return Case(
        f"{cell.__name__} {name}", lambda size, dtype: cell(size, dtype=dtype, **options), ("T", 3), formula,
        mask=mask, states=states, bounded=bounded, scale=scale, laws=only, sizes=sizes,
    )


def one_state_cases(cell, **options):
    """The options that GRU and SimpleRNN have in common."""
    name = "before " if options else ""
    options = {"return_sequences": True, **options}
    last = {**options, "return_sequences": False}
    return [
        one_state_case(cell, name + "last step", **last),
        one_state_case(cell, name + "sequences", **options),
        one_state_case(cell, name + "state", return_state=True, **last),
        one_state_case(cell, name + "backwards", go_backwards=True, **options),
        one_state_case(cell, name + "no bias", use_bias=False, **options),
        one_state_case(cell, name + "mask", mask=True, **options),
        one_state_case(cell, name + "mask last step", mask=True, **last),
        one_state_case(cell, name + "mask backwards state", mask=True, return_state=True, go_backwards=True,
                       **options),
        one_state_case(cell, name + "initial state", states=1, return_state=True, **options),
        one_state_case(cell, name + "initial state backwards", states=1, go_backwards=True, **last),
        one_state_case(cell, name + "initial state mask", states=1, mask=True, **options),
        one_state_case(cell, name + "relu", activation="relu", bounded=False, **options),
        one_state_case(cell, name + "softmax mask", activation="softmax", mask=True, **options),
        one_state_case(cell, name + "silu", activation="silu", bounded=False, **options),
    ]


def dense_case(activation):
    return Case(
        f"Dense {activation}", lambda size, dtype: Dense(size, activation=activation, dtype=dtype), (6,),
        lambda x, w, size: reference.dense(x, *w, act=activation), bounded=activation != "exponential",
    )


def activation_case(activation):
    return Case(
        f"Activation {activation}", lambda size, dtype: Activation(activation, dtype=dtype), ("T", 7),
        lambda x, w, size: reference.activation(activation, x), bounded=activation != "exponential",
        sizes=(4,),
    )


VALUES = (laws.equals_reference, laws.central_differences, laws.float32_gradients, laws.any_size)


def small_lstm(size, dtype):
    return LSTM(size, return_sequences=True, dtype=dtype)


def nested_sequential(size, dtype):
    inner = Sequential([Dense(5, activation="tanh", dtype=dtype), Dense(size, dtype=dtype)])
    return TimeDistributed(inner, dtype=dtype)


CASES = [
    lstm_case("last step"),
    lstm_case("sequences", return_sequences=True),
    lstm_case("state", return_state=True),
    lstm_case("sequences state", return_sequences=True, return_state=True),
    lstm_case("sequences backwards", return_sequences=True, go_backwards=True),
    lstm_case("last step backwards", go_backwards=True),
    lstm_case("no bias", return_sequences=True, use_bias=False),
    lstm_case("mask", mask=True, return_sequences=True),
    lstm_case("mask last step", mask=True),
    lstm_case("mask backwards state", mask=True, return_sequences=True, return_state=True, go_backwards=True),
    lstm_case("initial state", states=2, return_sequences=True, return_state=True),
    lstm_case("initial state backwards", states=2, go_backwards=True),
    lstm_case("initial state mask", states=2, mask=True, return_sequences=True),
    lstm_case("relu hard_sigmoid", return_sequences=True, activation="relu", bounded=False,
              recurrent_activation="hard_sigmoid"),
    lstm_case("softmax mask", return_sequences=True, activation="softmax", mask=True),
    lstm_case("linear gates", activation="linear", recurrent_activation="linear", bounded=False, scale=0.2),
    *(
        lstm_case(f"activation {a}", activation=a, only=VALUES, scale=0.1 if a == "exponential" else 0.4,
                  sizes=(1, 17),
                  return_sequences=True)
        for a in reference.ACTIVATIONS
    ),
    *(
        lstm_case(f"recurrent_activation {a}", recurrent_activation=a, only=VALUES, scale=0.4, sizes=(1, 17),
                  # its gates are below -2: c grows
                  return_sequences=True, spread=20 if a == "log_softmax" else 1)
        for a in reference.ACTIVATIONS
    ),
    *one_state_cases(GRU),
    *one_state_cases(GRU, reset_after=False),
    *(
        one_state_case(GRU, f"{'after' if after else 'before'} {act} {rec_act}", activation=act,
                       recurrent_activation=rec_act,
                       reset_after=after, return_sequences=True, bounded=False, scale=0.4, only=VALUES,
                       sizes=(1, 17))
        for after in (True, False)
        for act, rec_act in (("linear", "linear"), ("tanh", "hard_sigmoid"), ("gelu", "sigmoid"),
                             ("sparsemax", "softmax"))
    ),
    *one_state_cases(SimpleRNN),
    *(
        one_state_case(SimpleRNN, f"activation {a}", activation=a, only=VALUES,
                       scale=0.1 if a == "exponential" else 0.4,
                       sizes=(1, 17), return_sequences=True)
        for a in reference.ACTIVATIONS
    ),
    *(dense_case(a) for a in reference.ACTIVATIONS),
    Case("Dense no bias", lambda size, dtype: Dense(size, use_bias=False, dtype=dtype), (6,),
         lambda x, w, size: reference.dense(x, *w)),
    Case("Dense rank 4", lambda size, dtype: Dense(size, activation="tanh", dtype=dtype), ("T", 2, 3),
         lambda x, w, size: reference.dense(x, *w, act="tanh")),
    *(activation_case(a) for a in reference.ACTIVATIONS),
    Case("Dropout in inference", lambda size, dtype: Dropout(0.5, dtype=dtype), ("T", 7),
         lambda x, w, size: x, sizes=(4,)),
    Case("Flatten", lambda size, dtype: Flatten(dtype=dtype), ("T", 2, 3),
         lambda x, w, size: x.reshape(len(x), -1), sizes=(4,)),
    Case("Reshape", lambda size, dtype: Reshape((3, -1, 2), dtype=dtype), (2, 9),
         lambda x, w, size: x.reshape(len(x), 3, 3, 2), sizes=(4,)),
    Case("Permute", lambda size, dtype: Permute((3, 1, 2), dtype=dtype), (2, 3, 5),
         lambda x, w, size: x.transpose(0, 3, 1, 2), sizes=(4,)),
    Case("RepeatVector", lambda size, dtype: RepeatVector(3, dtype=dtype), (7,),
         lambda x, w, size: np.repeat(x[:, None], 3, axis=1), sizes=(4,)),
    Case("TimeDistributed Dense", lambda size,
         dtype: TimeDistributed(Dense(size, activation="relu", dtype=dtype), dtype=dtype),
         ("T", 3), lambda x, w, size: reference.time_distributed(lambda s: reference.dense(s, *w, act="relu"),
                                                                 x)),
    Case("TimeDistributed Flatten", lambda size, dtype: TimeDistributed(Flatten(dtype=dtype), dtype=dtype),
         ("T", 2, 3),
         lambda x, w, size: x.reshape(*x.shape[:2], -1), sizes=(4,)),
    Case("TimeDistributed TimeDistributed Dense",
         lambda size, dtype: TimeDistributed(
             TimeDistributed(Dense(size, activation="softmax", dtype=dtype), dtype=dtype), dtype=dtype),
         ("T", 2, 3), lambda x, w, size: reference.dense(x, *w, act="softmax")),
    Case("TimeDistributed Sequential", nested_sequential, ("T", 3),
         lambda x, w, size: reference.dense(reference.dense(x, *w[:2], act="tanh"), *w[2:])),
    Case("TimeDistributed LSTM", lambda size, dtype: TimeDistributed(small_lstm(size, dtype), dtype=dtype),
         ("T", 4, 3),
         lambda x, w, size: reference.time_distributed(lambda s: reference.lstm(s, *w)[0], x)),
    Case("Sequential",
         lambda size,
         dtype: Sequential([small_lstm(size, dtype), TimeDistributed(Dense(2, dtype=dtype), dtype=dtype)]),
         ("T", 3), lambda x, w, size: reference.dense(reference.lstm(x, *w[:3])[0], *w[3:])),
]


@pytest.mark.parametrize("law,case", laws.checks(CASES))
def test_law(law, case):
    law(case)


# ---------------------------------------------------------------- what only LSTM has


def test_unit_forget_bias():
    for unit_forget_bias in (True, False):
        layer = LSTM(3, unit_forget_bias=unit_forget_bias)
        layer(np.zeros((1, 1, 2)))
        want = np.zeros(12)
        want[3:6] = unit_forget_bias
        assert np.array_equal(layer.weights[2].numpy(), want)


@pytest.mark.parametrize(
    "cell, name, options, shapes",
    [
        (LSTM, "lstm_cell", {}, [(3, 16), (4, 16), (16,)]),
        (GRU, "gru_cell", {}, [(3, 12), (4, 12), (2, 12)]),
        (GRU, "gru_cell", {"reset_after": False}, [(3, 12), (4, 12), (12,)]),
        (SimpleRNN, "simple_rnn_cell", {}, [(3, 4), (4, 4), (4,)]),
    ],
    ids=str,
)
def test_recurrent_weights_have_keras_names_and_shapes(cell, name, options, shapes):
    layer = cell(4, name="memory", **options)
    layer.build((None, None, 3))
    assert [w.path for w in layer.weights] == [
        f"memory/{name}/kernel", f"memory/{name}/recurrent_kernel", f"memory/{name}/bias",
    ]
    assert [w.shape for w in layer.weights] == shapes
    assert cell(4).name.startswith(name.removesuffix("_cell"))


def test_simple_rnn_has_no_gates():
    assert "recurrent_activation" not in SimpleRNN(4).get_config()
    for option in ({"recurrent_activation": "sigmoid"}, {"reset_after": True}, {"use_cudnn": "auto"}):
        with pytest.raises((TypeError, ValueError), match=next(iter(option))):
            SimpleRNN(4, **option)


@pytest.mark.parametrize("LSTM", [LSTM, GRU, SimpleRNN])
def test_stateful_goes_on_where_it_stopped(LSTM):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 8, 2)).astype("float32")
    layer = LSTM(5, return_sequences=True, stateful=True)
    whole = LSTM(5, return_sequences=True)
    y = layer(x)
    whole(x)
    whole.set_weights(layer.get_weights())
    layer.reset_states()
    parts = np.concatenate([layer(x[:, :3]), layer(x[:, 3:4]), layer(x[:, 4:])], axis=1)
    assert np.array_equal(parts, y)
    assert np.array_equal(whole(x), y)
    assert not np.array_equal(layer(x), y), "the state must go on"
    layer.reset_state()
    assert np.array_equal(layer(x), y)


@pytest.mark.parametrize("LSTM", [LSTM, GRU, SimpleRNN])
def test_mask_that_leaves_out_everything(LSTM):
    layer = LSTM(4, return_sequences=True)
    x = np.ones((2, 3, 2), "float32")
    assert np.array_equal(layer(x, mask=np.zeros((2, 3), bool)), np.zeros((2, 3, 4)))


def reveal_dropout(**options):
    """An LSTM whose cell adds up its (dropped out) input: the factors can be read off its output.

    Gates i and o stand open and f is shut, so h_t = x_t * input factors + h_{t-1} * recurrent factors
    through identity matrices.
    """
    n = 6
    layer = LSTM(n, activation="linear", recurrent_activation="hard_sigmoid", return_sequences=True,
                 seed=3, **options)
    layer.build((None, None, n))
    kernel, recurrent = np.zeros((n, 4 * n)), np.zeros((n, 4 * n))
    kernel[:, 2 * n : 3 * n] = np.eye(n)
    recurrent[:, 2 * n : 3 * n] = np.eye(n)
    bias = np.repeat([10.0, -10.0, 0.0, 10.0], n)
    layer.set_weights([kernel, recurrent, bias])
    return layer, n


@laws.on_precision("highest")
def test_lstm_dropout_is_one_mask_for_all_steps():
    layer, n = reveal_dropout(dropout=0.25)
    x = np.zeros((200, 3, n), "float32")
    x[:, 0] = 1
    first = layer(x, training=True)[:, 0]
    assert set(np.unique(first).round(6)) == {0, np.float32(1 / 0.75).round(6)}
    assert abs((first == 0).mean() - 0.25) < 0.06
    x[:, 1:] = 1
    y = layer(x, training=True)
    steps = np.diff(y, axis=1, prepend=0)
    assert np.allclose(steps, steps[:, :1], atol=1e-5), "the same units are dropped at every step"
    assert np.array_equal(layer(x), layer(x)), "nothing is dropped in inference"
    assert np.allclose(layer(x)[:, 0], 1)


@laws.on_precision("highest")
def test_lstm_recurrent_dropout_acts_on_the_state():
    layer, n = reveal_dropout(recurrent_dropout=0.4)
    x = np.zeros((200, 3, n), "float32")
    x[:, 0] = 1
    y = layer(x, training=True)
    assert np.allclose(y[:, 0], 1, atol=1e-6), "there is no state yet to drop from"
    assert set(np.unique(y[:, 1]).round(5)) == {0, np.float32(1 / 0.6).round(5)}
    assert abs((y[:, 1] == 0).mean() - 0.4) < 0.06
    assert np.allclose(y[:, 2], y[:, 1] ** 2, rtol=1e-5), "one mask for all steps"


@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"recurrent_dropout": 0.3}], ids=str)
@pytest.mark.parametrize(
    "cell, formula, more",
    [
        (LSTM, reference.lstm, {}),
        (GRU, reference.gru, {}),
        (GRU, reference.gru, {"reset_after": False}),
        (SimpleRNN, reference.simple_rnn, {}),
    ],
    ids=str,
)
def test_recurrent_dropout_gradients(cell, formula, more, options):
    """With the masks read off, the gradients are those of the formula with these masks."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 4, 3))
    layer = cell(4, return_sequences=True, dtype="float64", **options, **more)
    layer.build((None, None, 3))
    layer.set_weights([rng.normal(size=w.shape) / 2 for w in layer.weights])
    dy = rng.normal(size=(2, 4, 4))

    tape = Tape()
    y = layer.forward(x, tape, training=True).copy()
    scale = 1 / 0.7
    width = 3 if "dropout" in options else 4
    key = "input_drop" if "dropout" in options else "recurrent_drop"
    masks = []
    for row in range(2):        # each row has its own mask of a few bits: try them all
        for bits in range(2**width):
            factor = np.array([[scale * (bits >> j & 1) for j in range(width)]])
            want = formula(x[row : row + 1], *layer.get_weights(), **{key: factor}, **more)[0]
            if np.allclose(want, y[row], atol=1e-9):
                masks.append(factor)
                break
    assert len(masks) == 2, "the output is that of no mask"
    found = {key: np.concatenate(masks)}

    dx = layer.backward(dy.copy(), tape).copy()

    def loss():
        return float(np.sum(formula(x, *[w.value for w in layer.weights], **found, **more)[0] * dy))

    for array, got in [(x, dx)] + [(w.value, w.grad.copy()) for w in layer.weights]:
        assert np.allclose(laws.differences(loss, array), got, atol=1e-7)


# ---------------------------------------------------------------- what only Dropout has


def test_dropout_in_training():
    layer = Dropout(0.3, seed=1)
    x = np.ones((100, 50), "float32")
    y = layer(x, training=True)
    assert set(np.unique(y).round(6)) == {0, np.float32(1 / 0.7).round(6)}
    assert abs((y == 0).mean() - 0.3) < 0.03
    assert not np.array_equal(layer(x, training=True), y), "each call draws anew"
    assert np.array_equal(Dropout(0.3, seed=1)(x, training=True), y), "the seed decides"
    assert np.array_equal(layer(x), x)


def test_dropout_backward_uses_the_same_mask():
    layer = Dropout(0.5, seed=2)
    x = np.ones((20, 30), "float32")
    tape = Tape()
    y = layer.forward(x, tape, training=True).copy()
    assert np.array_equal(layer.backward(np.ones_like(x), tape), y)


def test_dropout_noise_shape():
    y = Dropout(0.5, noise_shape=(None, 1, 4), seed=1)(np.ones((5, 6, 4)), training=True)
    assert np.array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    assert (y == 0).any() and (y != 0).any()


# ---------------------------------------------------------------- masks go on


def test_time_distributed_passes_the_mask_on():
    mask = np.array([[True, False], [True, True]])
    layer = TimeDistributed(Dense(3))
    assert np.array_equal(layer.compute_mask(np.zeros((2, 2, 1)), mask), mask)


def test_time_distributed_folds_time_into_the_batch():
    """One call of the inner layer for all steps, not one a step."""
    calls = []

    class Spy(Dense):
        def forward(self, x, tape, training=False, mask=None):
            calls.append(x.shape)
            return super().forward(x, tape, training=training, mask=mask)

    TimeDistributed(Spy(2))(np.zeros((4, 5, 3)))
    assert [np.prod(shape[:-1]) for shape in calls] == [20]


def test_layer_can_sit_in_a_second_model():
    """Weights move to the model built last; both models see the same values."""
    shared = Dense(2)
    first, second = Sequential([layers.Input((3,)),
                                shared]), Sequential([layers.Input((3,)), shared, Dense(1)])
    x = np.ones((1, 3), "float32")
    second.compile("sgd", "mse")
    second.train_on_batch(x, np.ones((1, 1)))
    assert np.array_equal(first(x), shared(x))
