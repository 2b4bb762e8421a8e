"""lengths: the same numbers as the mask it stands for, in the caller's order; what it refuses."""

import numpy as np
import pytest

from tdfast import Sequential
from tdfast.callbacks import Callback
from tdfast.layers import GRU, LSTM, Dense, Flatten, Masking, SimpleRNN, TimeDistributed
from tdfast.training.batch import Batch

N, T, F = 23, 9, 3
rng = np.random.default_rng(0)
X = rng.normal(size=(N, T, F)).astype("float32")
LENGTHS = rng.integers(0, T + 1, N)
MASK = np.arange(T) < LENGTHS[:, None]

STACKS = {
    "many to many": lambda: [LSTM(4, return_sequences=True), Dense(2)],
    "zero outputs": lambda: [LSTM(4, return_sequences=True), GRU(3, return_sequences=True,
                                                                 zero_output_for_mask=True)],
    "many to one": lambda: [LSTM(4)],
    "Dense first": lambda: [Dense(3), SimpleRNN(4, return_sequences=True), TimeDistributed(Dense(2))],
    "no recurrence": lambda: [TimeDistributed(Dense(2))],
    "backwards": lambda: [LSTM(4, return_sequences=True, go_backwards=True)],
    "stacked": lambda: [LSTM(4, return_sequences=True), GRU(3)],
    "nested": lambda: [Sequential([LSTM(4, return_sequences=True)]), Dense(2)],
    "states": lambda: [LSTM(4, return_sequences=True, return_state=True)],
}
each_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)


def built(stack):
    model = Sequential(stack())
    model.build((None, T, F))
    return model


@each_stack
@pytest.mark.parametrize("lengths", [LENGTHS, np.minimum(LENGTHS, 3), np.zeros(N, int), np.full(N, T)],
                         ids=["random", "short", "none", "full"])
def test_predict_is_the_mask_in_the_callers_order(stack, lengths):
    model = built(stack)
    want, got = model(X, mask=np.arange(T) < lengths[:, None]), model.predict(X, lengths=lengths, verbose=0)
    for a, b in zip(*([y] if not isinstance(y, list) else y for y in (want, got))):
        np.testing.assert_array_equal(b, a)
    with_hook = model.predict(X, lengths=lengths, batch_size=5, callbacks=[type("C", (Callback,), {
        "on_predict_batch_end": lambda self, batch, logs=None: None})()], verbose=0)
    for a, b in zip(*([y] if not isinstance(y, list) else y for y in (want, with_hook))):
        np.testing.assert_array_equal(b, a)


@pytest.mark.parametrize("stack", [STACKS[k] for k in ("many to many", "Dense first", "no recurrence",
                                                       "many to one")])
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_and_evaluate_are_the_masks(stack, weighted):
    """By hand: each batch whole, with the mask."""
    a, b = built(stack), built(stack)
    b.set_weights(a.get_weights())
    shape = a.output_shape[1:]
    y = rng.normal(size=(N, *shape)).astype("float32")
    w = rng.uniform(0, 2, (N, *shape[:-1])).astype("float32") if weighted else None
    for model in (a, b):
        model.compile("sgd", "mse", metrics=["mae"])
    history = a.fit(X, y, sample_weight=w, batch_size=5, shuffle=False, epochs=2, lengths=LENGTHS,
                    verbose=0).history
    for epoch in range(2):
        b._trainer.ready_to_train()
        b.reset_metrics()
        for i in range(0, N, 5):
            rows = slice(i, i + 5)
            weights = None if w is None else w[rows]
            b._trainer._step.train(Batch((X[rows],), (y[rows],), (weights,), (MASK[rows],)))
        for name, value in b._trainer.objective.logs().items():
            assert history[name][epoch] == pytest.approx(value, rel=1e-5)
    for p, q in zip(a.get_weights(), b.get_weights()):
        np.testing.assert_allclose(p, q, atol=1e-6)


def test_validation():
    model = built(STACKS["many to many"])
    model.compile("sgd", "mse")
    y, at = np.ones((N, T, 2), "float32"), int(N * 0.75)
    got = model.fit(X, y, validation_split=0.25, lengths=LENGTHS, verbose=0).history["val_loss"][0]
    assert got == pytest.approx(model.evaluate(X[at:], y[at:], lengths=LENGTHS[at:], verbose=0))
    got = model.fit(X, y, validation_data=(X, y), lengths=LENGTHS, validation_lengths=LENGTHS,
                    verbose=0).history
    assert got["val_loss"][0] == pytest.approx(model.evaluate(X, y, lengths=LENGTHS, verbose=0))
    with pytest.raises(ValueError, match="validation_lengths"):
        model.fit(X, y, validation_data=(X, y), lengths=LENGTHS, verbose=0)
    with pytest.raises(ValueError, match="validation_data"):
        model.fit(X, y, validation_lengths=LENGTHS, verbose=0)


@pytest.mark.parametrize("lengths,words", [
    (LENGTHS[:5], r"\(23,\)"), (LENGTHS[:, None], r"\(23, 1\)"), (LENGTHS.astype(float), "float64"),
    (LENGTHS + 10, "from 0 to 9"), (LENGTHS - 10, "from 0 to 9"), (["a"] * N, "numbers"),
])
def test_wrong_lengths(lengths, words):
    with pytest.raises(ValueError, match=words):
        built(STACKS["many to one"]).predict(X, lengths=lengths, verbose=0)


def test_masking_in_the_place_of_lengths_is_refused():
    model = Sequential([Masking(name="own"), LSTM(4)])
    model.build((None, T, F))
    with pytest.raises(ValueError, match="layer 'own' .Masking. makes another"):
        model.predict(X, lengths=LENGTHS, verbose=0)


def test_a_layer_that_cannot_carry_the_mask_is_named():
    model = Sequential([LSTM(4, return_sequences=True), Flatten(name="flat"), Dense(1)])
    model.build((None, T, F))
    model.compile("sgd", "mse")
    before = model.get_weights()
    for call in (lambda: model.predict(X, lengths=LENGTHS, verbose=0),
                 lambda: model.fit(X, np.ones((N, 1)), lengths=LENGTHS, verbose=0)):
        with pytest.raises(ValueError, match="'flat' .Flatten. cannot carry"):
            call()
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


def test_a_chain_with_an_operation():
    """Functions of tdfast.ops pass no mask on, as in Keras: what stands behind them sees all steps."""
    from tdfast import Input, Model, ops
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    first = Input((5, 3))
    hidden = LSTM(4, return_sequences=True)(first)
    model = Model(first, GRU(2)(ops.tanh(hidden)))
    found = model.predict(x, lengths=[5, 2, 3, 1], verbose=0)
    masked = model(x, mask=np.arange(5) < np.array([5, 2, 3, 1])[:, None])
    np.testing.assert_array_equal(found, masked)
