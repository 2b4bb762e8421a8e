"""Models with branches, one step at a time: the bits of predict, several inputs and outputs, and what is
refused."""

import pickle

import numpy as np
import pytest

import tdfast
from tdfast import Input, Model, layers, ops
from tdfast.layers import GRU, LSTM, Add, Concatenate, Dense, Dropout, LayerNormalization, TimeDistributed


def shaken(model):
    """A model whose weights are no initial ones."""
    rng = np.random.default_rng(7)
    model.set_weights([rng.uniform(-0.5, 0.6, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def streamed(model, xs, batch, steps):
    """What a streamer gives for all steps, a list with an array for each output."""
    s = model.streamer(batch)
    made = []
    for t in range(steps):
        y = s.step([x[:, t] for x in xs] if len(xs) > 1 else xs[0][:, t])
        made.append(y if isinstance(y, list) else [y])
    return [np.stack(parts, axis=1) for parts in zip(*made)]


def check(model, *xs):
    model = shaken(model)
    want = model.predict(list(xs) if len(xs) > 1 else xs[0], verbose=0)
    want = want if isinstance(want, list) else [want]
    got = streamed(model, xs, len(xs[0]), xs[0].shape[1])
    assert len(got) == len(want)
    for a, b in zip(got, want):
        np.testing.assert_array_equal(a, b)


def sequences(units, **options):
    return LSTM(units, return_sequences=True, **options)


def test_a_residual_block():
    x = Input((None, 5))
    h = sequences(5)(x)
    h = Add()([h, x])
    h = LayerNormalization()(h)
    y = Add()([Dense(5, "relu")(h), h])
    check(Model(x, Dense(2)(y)), data(3, 7, 5))


def test_branches_of_compiled_layers_alone():
    x = Input((None, 5))
    a, b = Dense(4, "tanh")(x), GRU(4, return_sequences=True)(x)
    check(Model(x, [a, b, Dense(3)(b)]), data(2, 6, 5))


def test_an_output_that_others_read():
    x = Input((None, 5))
    h = sequences(4)(x)
    check(Model(x, [h, Dense(3)(h), x]), data(2, 6, 5))


def test_several_inputs_and_outputs():
    a, b, ids = Input((None, 3), name="a"), Input((None, 2), name="b"), Input((None,), name="ids")
    joined = Concatenate()([sequences(4)(a), Dense(3)(b), layers.Embedding(9, 5)(ids)])
    main = GRU(6, return_sequences=True)(Dropout(0.3)(joined))
    model = Model([a, b, ids], [Dense(2, name="first")(main), Dense(1, name="second")(main)])
    xs = data(4, 6, 3), data(4, 6, 2), np.random.default_rng(1).integers(0, 9, (4, 6))
    check(model, *xs)
    s, other = model.streamer(4), model.streamer(4)
    y = s.step({"a": xs[0][:, 0], "b": xs[1][:, 0], "ids": xs[2][:, 0]})
    out = [np.empty((4, 2), "f"), np.empty((4, 1), "f")]
    assert other.step([x[:, 0] for x in xs], out=out) is out
    assert all(np.array_equal(p, q) for p, q in zip(y, out))
    assert "[(4, 3), (4, 2), (4,)] to [(4, 2), (4, 1)]" in repr(s)
    again = pickle.loads(pickle.dumps(s))
    assert all(np.array_equal(p, q) for p, q in
               zip(again.step([x[:, 1] for x in xs]), s.step([x[:, 1] for x in xs])))
    with pytest.raises(ValueError, match=r"input 'b' expects x of shape \(4, 2\).*\(4, 5\)"):
        s.step([xs[0][:, 0], data(4, 5), xs[2][:, 0]])
    before = s.state
    with pytest.raises(ValueError, match=r"input 'b'.* index \(0, 0\)"):
        s.step([xs[0][:, 0], np.full((4, 2), np.nan), xs[2][:, 0]])
    assert all(np.array_equal(p, q) for a, b in zip(before, s.state) for p, q in zip(a, b))
    with pytest.raises(ValueError, match="out must be a list of 2 arrays"):
        s.step([x[:, 0] for x in xs], out=out[0])
    with pytest.raises(ValueError, match="3 inputs"):
        s.step(xs[0][:, 0])


def test_outputs_keep_their_names():
    x = Input((None, 3))
    model = shaken(Model(x, {"up": Dense(2)(x), "down": sequences(4)(x)}))
    values = data(2, 1, 3)
    want = model.predict(values, verbose=0)
    got = model.streamer(2).step(values[:, 0])
    assert sorted(got) == ["down", "up"]
    assert all(np.array_equal(got[name], want[name][:, 0]) for name in got)


def test_a_shared_layer_has_a_state_for_each_call():
    a, b = Input((None, 3)), Input((None, 3))
    shared, dense = sequences(4), LayerNormalization()
    model = Model([a, b], Concatenate()([dense(shared(a)), dense(shared(b)), shared(a)]))
    check(model, data(2, 6, 3), data(2, 6, 3, seed=1))
    assert len(model.streamer().state) == 3


def test_models_within_models():
    x = Input((None, 4))
    inner = Model(x, [Add()([sequences(4)(x), x]), Dense(3)(x)], name="inner")
    a, b = Input((None, 4)), Input((None, 4))
    first, second = inner(a), inner(b)
    stack = tdfast.Sequential([Dense(4), GRU(3, return_sequences=True)])
    model = Model([a, b], Concatenate()([*first, stack(second[0]), second[1]]))
    check(model, data(2, 5, 4), data(2, 5, 4, seed=2))
    check(tdfast.Sequential([Dense(4), Model(x, Add()([Dense(4)(x), x])), Dense(2)]), data(2, 5, 4))


def test_a_model_with_branches_at_each_step():
    x = Input((4,))
    each = Model(x, Concatenate(axis=1)([Dense(3)(x), x]))
    check(tdfast.Sequential([Input((None, 4)), TimeDistributed(each), sequences(3)]), data(3, 5, 4))


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a * 2 + b,
        lambda a, b: (1 - ops.sigmoid(a)) * b,
        lambda a, b: ops.where(a > b, a, b) / 3,
        lambda a, b: a + np.arange(4, dtype="float32"),
        lambda a, b: ops.softmax(a) - ops.relu(b),
        lambda a, b: ops.concatenate([a, b], axis=-1),
        lambda a, b: layers.Average()([a, b]),
        lambda a, b: layers.Maximum()([a, b, a]),
        lambda a, b: layers.Multiply()([a, Dense(1)(b)]),
        lambda a, b: layers.Concatenate(axis=2)([a, b]),
    ],
)
def test_joined_step_by_step(function):
    x = Input((None, 3))
    a, b = sequences(4)(x), Dense(4)(x)
    check(Model(x, function(a, b)), data(2, 5, 3))


def test_what_all_inputs_leave_without_time_steps():
    """Joined last states: a step gives what predict gives for the steps so far."""
    a, b = Input((None, 3)), Input((None, 3))
    inner = layers.Dot(1, normalize=True)([LSTM(4)(a), GRU(4)(b)])
    model = shaken(Model([a, b], Dense(2)(inner)))
    xs = data(2, 5, 3), data(2, 5, 3, seed=1)
    s = model.streamer(2)
    for t in range(5):
        want = model.predict([x[:, : t + 1] for x in xs], verbose=0)
        np.testing.assert_array_equal(s.step([x[:, t] for x in xs]), want)


def test_many_layers_are_several_calls():
    stack = [Dense(3, "tanh") for _ in range(150)]
    check(tdfast.Sequential([Input((None, 3)), *stack, sequences(2)]), data(2, 4, 3))


def x_and(function, *shape):
    x = Input(shape or (None, 4))
    return Model(x, function(x))


def with_state(x):
    y, h, c = LSTM(4, return_sequences=True, return_state=True)(x)
    return LSTM(4, return_sequences=True, name="decoder")(y, initial_state=[h, c])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: x_and(lambda x: layers.Dot(2, name="all")([x, x])), "'all' .*one time step at a time"),
        (lambda: x_and(lambda x: Concatenate(1, name="long")([x, x])), "'long' .*one time step at a time"),
        (lambda: x_and(lambda x: Add(name="mixed")([sequences(4)(x), LSTM(4)(x)])),
         "'mixed' .*have time steps and others have none"),
        (lambda: x_and(lambda x: x[:, -1]), "'get_item.*one time step at a time"),
        (lambda: x_and(lambda x: ops.mean(x, axis=1)), "'mean.*one time step at a time"),
        (lambda: x_and(lambda x: ops.softmax(x, axis=1)), "'softmax.*one time step at a time"),
        (lambda: x_and(lambda x: x + np.ones((6, 4), "f"), 6, 4), "'add.* differ from step to step"),
        (lambda: x_and(with_state), "'lstm.*return_state"),
        (lambda: x_and(lambda x: layers.MultiHeadAttention(1, 2, name="looks")(x, x)), "'looks' "),
    ],
)
def test_what_cannot_be_streamed_is_named(make, message):
    model = make()
    with pytest.raises(ValueError, match=message):
        model.streamer()


def test_one_step_for_all_is_refused():
    a, b = Input((None, 4)), Input((1, 4))
    with pytest.raises(ValueError, match="'wide' .*single step of one"):
        Model([a, b], Add(name="wide")([a, b])).streamer()
    h = Input((4,))
    with pytest.raises(ValueError, match=r"\(None, 4\), but to be streamed"):
        Model([a, h], [Dense(2)(a), Dense(2)(h)]).streamer()


def test_ids_that_are_numbers_too():
    ids = Input((None,))
    model = Model(ids, [layers.Embedding(9, 3)(ids), layers.Rescaling(0.5)(ids)])
    with pytest.raises(ValueError, match=r"\(None, None\).*ids of shape \(batch, time\) into an Embedding"):
        model.streamer()
    both = shaken(Model(ids, Add()([layers.Embedding(9, 3)(ids), layers.Embedding(7, 3)(ids)])))
    s = both.streamer(2)
    with pytest.raises(ValueError, match="id 8"):
        s.step([3, 8])
    want = both.predict(np.array([[3, 6]]), verbose=0)
    assert np.array_equal(both.streamer(2).step([3, 6]), want[0])


def test_a_class_that_computes_something_else_than_its_base_is_not_taken_for_it():
    class Doubled(Dense):
        def forward(self, x, tape, training=False, mask=None):
            return 2 * super().forward(x, tape, training, mask)

    class Backwards(LSTM):
        def forward(self, x, tape, training=False, mask=None, initial_state=None):
            return super().forward(np.ascontiguousarray(x[:, ::-1]), tape, training, mask, initial_state)

    class Renamed(LSTM):
        pass

    check(tdfast.Sequential([Input((None, 3)), Doubled(4), Renamed(3, return_sequences=True)]), data(2, 5, 3))
    with pytest.raises(ValueError, match="'backwards.*one time step at a time"):
        tdfast.Sequential([Input((None, 3)), Backwards(4)]).streamer()
