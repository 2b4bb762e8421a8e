"""C files of models with branches, several inputs and outputs, shared layers and operations: they give what
predict gives."""

import subprocess

import numpy as np
import pytest
from test_export_c import COMPILERS, Compiled, needs_compiler

from tdfast import Input, Model, Sequential, layers, ops, saving
from tdfast.saving.c.joining import JOINING, OPERATIONS


def residual():
    x = Input((None, 4))
    h = layers.LSTM(5, return_sequences=True)(x)
    h = layers.Add()([h, layers.Dense(5)(x)])
    return Model(x, layers.Dense(2, activation="softmax")(layers.LayerNormalization()(h)))


def merges():
    x = Input((None, 3))
    a, b, c = (layers.Dense(4, activation="tanh")(x) for _ in range(3))
    parts = [
        layers.Subtract()([a, b]),
        layers.Multiply()([a, b, c]),
        layers.Average()([a, b, c]),
        layers.Maximum()([a, b, c]),
        layers.Minimum()([c, a]),
        layers.Add()([a, layers.Dense(1)(x)]),
    ]
    return Model(x, layers.Concatenate()([*parts, x]))


def operators():
    x = Input((None, 3))
    a = layers.GRU(4, return_sequences=True)(x)
    b = layers.Dense(4)(x)
    parts = [
        a + b,
        a - 1.5,
        2.0 - a,
        a * b,
        a / (ops.abs(b) + 2.0),
        -a,
        a * a,
        ops.exp(a),
        ops.sqrt(ops.square(b) + 0.5),
        ops.log(ops.abs(b) + 1.0),
        ops.maximum(a, b),
        ops.minimum(a, 0.1),
        ops.maximum(0.05, b),
        ops.minimum(a, b),
        ops.tanh(b),
        ops.sigmoid(b),
        ops.relu(b),
        ops.softmax(b),
        a[..., ::-2],
        b[:, :, 1:3],
        ops.true_divide(b, 3.0),
    ]
    return Model(x, ops.concatenate(parts, axis=-1))


def several_inputs_and_outputs():
    past, known = Input((None, 3), name="past"), Input((None, 2), name="known")
    h = layers.GRU(4, return_sequences=True)(layers.Concatenate()([past, known]))
    return Model([past, known], [layers.Dense(2, name="low")(h), layers.Dense(3, name="high")(h), known])


def ids_beside_features():
    ids, x = Input((None,), dtype="int32", name="ids"), Input((None, 2), name="x")
    h = layers.Concatenate()([layers.Embedding(6, 3)(ids), x])
    return Model([ids, x], layers.LSTM(4, return_sequences=True)(h))


def ends_of_two_branches():
    x = Input((None, 3))
    a, b = layers.LSTM(4)(x), layers.GRU(3)(x)
    c = layers.Dense(3)(layers.LSTM(4, return_sequences=True)(x)[:, -1])
    joined = layers.Concatenate()([a, b, layers.GlobalAveragePooling1D()(x), c])
    return Model(x, layers.Dense(2)(joined) + layers.Multiply()([layers.Dense(2)(a), layers.Dense(2)(c)]))


def ends_as_outputs():
    x = Input((None, 3))
    a, b = layers.LSTM(4)(x), layers.GRU(3)(x)
    return Model(x, {"last": a, "twice": a, "more": layers.Dense(2)(b)})


def only_ends():
    x = Input((None, 3))
    return Model(x, [layers.LSTM(4)(x), x[:, -1, :]])


def shared():
    x, y = Input((None, 3)), Input((None, 3))
    lstm, dense = layers.LSTM(4, return_sequences=True), layers.Dense(3)
    a, b = lstm(dense(x)), lstm(dense(y))
    return Model([x, y], layers.Subtract()([a, b]))


def nested():
    x = Input((None, 3))
    u, v = Input((None, 3)), Input((None, 2))
    inner = Model(
        [u, v], [layers.Add()([layers.Dense(2)(u), v]), layers.SimpleRNN(2, return_sequences=True)(v)]
    )
    chain = Sequential([layers.Dense(2, activation="tanh"), layers.Dropout(0.3)])
    a, b = inner([x, chain(x)])
    return Model(x, layers.Concatenate()([a, b, chain(x)]))


MODELS = [
    residual,
    merges,
    operators,
    several_inputs_and_outputs,
    ids_beside_features,
    ends_of_two_branches,
    ends_as_outputs,
    only_ends,
    shared,
    nested,
]


def random_weights(model):
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def inputs_of(model, steps):
    """(what predict takes, the numbers of one sequence in C)."""
    rng = np.random.default_rng(steps)
    xs = []
    for tensor in model.graph.inputs:
        if len(tensor.shape) == 2:
            xs.append(rng.integers(0, 6, (1, steps)))
        else:
            xs.append(rng.normal(size=(1, steps, tensor.shape[-1])).astype("float32"))
    joined = np.concatenate([x.reshape(steps, -1) for x in xs], axis=-1)
    return xs, np.ascontiguousarray(joined, "float32")


def outputs_of(model, xs):
    y = model.predict(xs if len(xs) > 1 else xs[0], verbose=0)
    parts = [y[key] for key in sorted(y)] if isinstance(y, dict) else y if isinstance(y, list) else [y]
    return np.concatenate([part[0] for part in parts], axis=-1)


@needs_compiler
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("steps", [1, 7])
def test_equals_predict(make, steps, tmp_path):
    model = random_weights(make())
    xs, given = inputs_of(model, steps)
    want = outputs_of(model, xs)
    c = _compiled(model, tmp_path, want.shape[-1])
    assert c.call("selftest") == 0
    np.testing.assert_allclose(c.run(given, want.ndim == 2), want, rtol=2e-5, atol=2e-5)
    ends = [outputs_of(model, [x[:, :t] for x in xs]) for t in range(1, steps + 1)]
    np.testing.assert_allclose(c.steps(given), want if want.ndim == 2 else ends, rtol=2e-5, atol=2e-5)


def _compiled(model, folder, outputs):
    compiled = Compiled.__new__(Compiled)
    compiled.load(model, folder)
    compiled.outputs = outputs
    return compiled


@needs_compiler
def test_memory_stays_in_bounds(tmp_path):
    flags = [
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-DMODEL_MAIN",
    ]
    for make in MODELS:
        source, program = tmp_path / "m.c", tmp_path / "m"
        saving.export_c(random_weights(make()), source)
        if subprocess.run(
            [COMPILERS[0], *flags, source, "-o", program, "-lm"], capture_output=True
        ).returncode:
            pytest.skip("the compiler has no sanitizers")
        done = subprocess.run([program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@needs_compiler
def test_float64(tmp_path):
    x = Input((None, 3), dtype="float64")
    h = layers.GRU(4, return_sequences=True, dtype="float64")(x)
    model = random_weights(Model(x, layers.Add(dtype="float64")([h, layers.Dense(4, dtype="float64")(x)])))
    values = np.random.default_rng(0).normal(size=(1, 6, 3))
    c = _compiled(model, tmp_path, 4)
    want = model.predict(values, verbose=0)[0]
    np.testing.assert_allclose(c.run(values[0], True), want, rtol=1e-12, atol=1e-12)


def test_the_tables_are_tried_here():
    kinds = {type(node.layer) for make in MODELS for node in make().graph.nodes}
    assert kinds >= set(JOINING)
    assert {kind.__name__ for kind in kinds} >= set(OPERATIONS) - {"TrueDivide"}


def several(call):
    x = Input((None, 3))
    return Model(x, call(x))


REFUSED = {
    "layers without C": (
        lambda x: layers.Dot(axes=2)([layers.Dense(3)(x), x]),
        "Dot. cannot be exported to C",
    ),
    "operations without C": (lambda x: ops.cumsum(x, axis=1), "These operations can: .*Tanh"),
    "a state": (
        lambda x: layers.LSTM(3)(x, initial_state=[layers.GRU(3)(x), layers.GRU(3)(x)]),
        "further arguments",
    ),
    "time and no time": (
        lambda x: layers.Add()([x, layers.Dense(3)(layers.GRU(3)(x))]),
        "have time steps and others",
    ),
    "another axis": (lambda x: layers.Concatenate(axis=1)([x, x]), "axis=1"),
    "a mean over time": (lambda x: ops.softmax(x, axis=1), "axis=-1"),
    "the first step": (lambda x: x[:, 0], "last step"),
    "an array": (lambda x: x * np.array([1.0, 2.0, 3.0]), "numbers alone"),
    "both kinds of outputs": (lambda x: [layers.GRU(3)(x), layers.Dense(3)(x)], "Export a model of each"),
}


@pytest.mark.parametrize("call, words", REFUSED.values(), ids=REFUSED)
def test_refused(call, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        saving.export_c(several(call), tmp_path / "m.c")
    assert not list(tmp_path.iterdir())


def test_the_file_says_where_inputs_and_outputs_lie(tmp_path):
    saving.export_c(several_inputs_and_outputs(), tmp_path / "m.c")
    text = (tmp_path / "m.c").read_text()
    assert "x: past (3), known (2), one after another" in text
    assert "y: low (2), high (3)" in text
    assert "MODEL_INPUTS = 5, MODEL_OUTPUTS = 7" in text
