"""Recurrent layers against Keras itself, on JAX: outputs, states, gradients and files.

tdfast computes in float64; Keras rounds to float32 on the way in some layers, hence the bound of 1e-6.

Random combinations of options, the same ones in every run.
"""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "jax":
    pytest.skip("these tests take their gradients from JAX", allow_module_level=True)

import jax  # noqa: E402

import tdfast  # noqa: E402
from tdfast.engine.tape import Tape  # noqa: E402


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        yield


def flat(y):
    """All arrays in nested lists and tuples, in order."""
    return [a for part in y for a in flat(part)] if isinstance(y, (list, tuple)) else [np.asarray(y)]


def like(shape, arrays):
    """The arrays, nested as ``shape`` is."""
    arrays = iter(arrays)

    def fill(part):
        return [fill(p) for p in part] if isinstance(part, (list, tuple)) else next(arrays)

    return fill(shape)


def masks(kind, B, T, rng, backwards):
    """Paddings of every kind; the last row of "full" is masked throughout."""
    lengths = rng.integers(1, T + 1, size=B)[:, None]
    steps = np.arange(T)
    return {
        "right": steps < lengths,
        "left": steps >= T - lengths,
        "interior": (rng.random((B, T)) < 0.6) | (steps == (T - 1 if backwards else 0)),
        "full": (rng.random((B, T)) < 0.6) & (np.arange(B) < B - 1)[:, None],
    }[kind]


def compare(make, shape, rng, mask=None, initial_state=None, bound=1e-6):
    """One layer made by ``make`` from Keras's classes and from tdfast's: all values and all derivatives.

    ``make`` takes the module ``layers``.
    """
    ours, theirs = make(tdfast.layers), make(keras.layers)
    theirs.build(shape)
    ours.build((None, *shape[1:]))
    assert [w.path.split("/")[-1] for w in ours.weights] == [w.path.split("/")[-1] for w in theirs.weights]
    assert [w.shape for w in ours.weights] == [tuple(w.shape) for w in theirs.weights]
    weights = [rng.normal(size=w.shape) / np.sqrt(w.shape[0]) for w in ours.weights]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x = rng.normal(size=shape)
    call = {}
    if mask is not None:
        call["mask"] = mask
    states = [] if initial_state is None else flat(initial_state)

    def run(weights, x, states):
        more = {} if initial_state is None else {"initial_state": like(initial_state, states)}
        y, _ = theirs.stateless_call(weights, [v.value for v in theirs.non_trainable_variables], x, **call,
                                     **more)
        return y

    tape = Tape()
    more = {} if initial_state is None else {"initial_state": initial_state}
    got = ours.forward(x, tape, **call, **more)
    want = jax.jit(run)([v.value for v in theirs.trainable_variables], x, states)
    dys = [rng.normal(size=a.shape) for a in flat(want)]
    assert [a.shape for a in flat(got)] == [a.shape for a in dys]
    for i, (a, b) in enumerate(zip(flat(got), flat(want))):
        np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=f"output {i}")

    def loss(*arguments):
        return sum((jax.numpy.asarray(a) * d).sum() for a,
                   d in zip(jax.tree_util.tree_leaves(run(*arguments)), dys))

    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))([v.value for v in theirs.trainable_variables], x,
                                                           states)
    dy = [d.copy() for d in dys]
    back = ours.backward(like(got, dy) if isinstance(got, (list, tuple)) else dy[0], tape)
    back = flat(back)
    names = [w.path for w in ours.weights] + ["x"] + [f"state {i}" for i in range(len(states))]
    for name, a, b in zip(names, [w.grad for w in ours.weights] + back,
                          flat(list(gradients[0])) + flat(gradients[1]) +
                          flat(list(gradients[2])), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=bound * max(1, np.abs(b).max()),
                                   err_msg=f"gradient of {name}")


# ---------------------------------------------------------------- LSTM, GRU, SimpleRNN, Bidirectional

CELLS = ("LSTM", "GRU", "SimpleRNN")


def options_of(cell, rng):
    """Random options of a recurrent layer, as keyword arguments."""
    def pick(*values):
        return values[rng.integers(len(values))]

    options = {
        "units": int(rng.integers(1, 6)),
        "return_sequences": pick(False, True),
        "return_state": pick(False, True),
        "go_backwards": pick(False, True),
        "use_bias": pick(True, True, False),
        "activation": pick("tanh", "relu", "softsign", None),
        "unroll": pick(False, False, True),
        "dtype": "float64",
    }
    if cell != "SimpleRNN":
        options["recurrent_activation"] = pick("sigmoid", "hard_sigmoid", "tanh")
        options["implementation"] = pick(1, 2)
    if cell == "GRU":
        options["reset_after"] = pick(True, False)
    return options


@pytest.mark.parametrize("seed", range(30))
def test_random_layer(seed):
    rng = np.random.default_rng(seed)
    cell = CELLS[seed % 3]
    options = options_of(cell, rng)
    B, T, I = 3, int(rng.integers(1, 6)), int(rng.integers(1, 4))
    states = (2 if cell == "LSTM" else 1) if rng.random() < 0.4 else 0
    kind = (None, "right", "left", "interior", "full")[rng.integers(5)]
    if states and kind is not None:
        # Before the first valid step Keras on JAX repeats the initial state, on its other backends 0, as
        # tdfast does.
        kind = "interior"
    if not options["unroll"] and not (states and kind):
        options["zero_output_for_mask"] = bool(rng.random() < 0.3)
    mask = None if kind is None else masks(kind, B, T, rng, options["go_backwards"])
    initial = [rng.normal(size=(B, options["units"])) for _ in range(states)] or None
    compare(lambda layers: getattr(layers, cell)(**options), (B, T, I), rng, mask, initial)


# 3: Keras itself mixes float32 and float64, and fails
@pytest.mark.parametrize("seed", [n for n in range(20) if n != 3])
def test_random_bidirectional(seed):
    rng = np.random.default_rng(100 + seed)
    cell = CELLS[seed % 3]
    options = {**options_of(cell, rng), "go_backwards": False, "unroll": False}
    merge = ("concat", "sum", "mul", "ave", None)[seed % 5]
    B, T, I = 3, int(rng.integers(1, 6)), int(rng.integers(1, 4))
    n = (4 if cell == "LSTM" else 2) if rng.random() < 0.4 else 0
    kind = (None, "right", "left", "interior", "full")[rng.integers(5)]
    if n and kind is not None and not options["return_sequences"]:
        kind = None
    mask = None if kind is None else masks(kind, B, T, rng, False)
    initial = [rng.normal(size=(B, options["units"])) for _ in range(n)] or None

    def make(layers):
        return layers.Bidirectional(getattr(layers, cell)(**options), merge_mode=merge, dtype="float64")

    compare(make, (B, T, I), rng, mask, initial)


# ---------------------------------------------------------------- files


def check_files(make, shape, tmp_path, tolerance=2e-6):
    """A model that Keras saved gives the same here, and one saved here gives the same in Keras.

    ``make`` takes the module ``layers`` and gives a list of layers.
    """
    keras.utils.set_random_seed(1)
    pytest.importorskip("h5py")
    theirs = keras.Sequential([keras.Input(shape), *make(keras.layers)])
    theirs.set_weights([np.random.default_rng(0).normal(size=w.shape) / 2 for w in theirs.weights])
    theirs.save(tmp_path / "theirs.keras")
    ours = tdfast.saving.load_model(tmp_path / "theirs.keras")
    x = np.random.default_rng(1).normal(size=(3, *shape)).astype("float32")
    want = np.asarray(theirs(x))
    np.testing.assert_allclose(ours.predict(x, verbose=0), want, rtol=0, atol=tolerance)
    assert [w.path.partition("/")[2] for w in ours.weights] == [w.path.partition("/")[2]
                                                                for w in theirs.weights]
    ours.save(tmp_path / "ours.keras")
    np.testing.assert_allclose(np.asarray(keras.saving.load_model(tmp_path / "ours.keras")(x)), want, rtol=0,
                               atol=1e-6)
    again = tdfast.saving.load_model(tmp_path / "ours.keras")
    assert np.array_equal(again.predict(x, verbose=0), ours.predict(x, verbose=0))


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda L: [L.Bidirectional(L.LSTM(3, return_sequences=True)),
                    L.Bidirectional(L.GRU(2), merge_mode="sum")], (4, 2)),
        (lambda L: [L.Bidirectional(L.SimpleRNN(3), backward_layer=L.GRU(2, go_backwards=True))], (4, 2)),
        (lambda L: [L.TimeDistributed(L.Bidirectional(L.LSTM(2)))], (3, 4, 2)),
        (lambda L: [L.TimeDistributed(L.TimeDistributed(L.LSTM(2, go_backwards=True, use_bias=False)))],
         (2, 3, 4, 2)),
    ],
    ids=["Bidirectional", "Bidirectional of two kinds", "TimeDistributed Bidirectional",
         "TimeDistributed twice"],
)
def test_files(make, shape, tmp_path):
    check_files(make, shape, tmp_path)
