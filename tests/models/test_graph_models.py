"""Models of graphs: Keras's recordings replayed from file and from code, structures of inputs and outputs,
parts, shared layers, masks, training by output, and what is refused."""

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import tdfast
from tdfast import Input, Model, Sequential, layers, losses
from tdfast.layers import GRU, LSTM, Add, BatchNormalization, Concatenate, Dense, Dropout, Embedding, Masking
from tdfast.optimizers import SGD

FOLDER = Path(__file__).parents[1] / "golden" / "graphs"
ROWS = json.loads((FOLDER / "index.json").read_text())
_spec = importlib.util.spec_from_file_location("graph_cases", FOLDER / "cases.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
RECORDED = {case["name"]: case for case in _module.cases()}
rng = np.random.default_rng(0)


# ---------------------------------------------------------------- recordings of Keras
def structured(names, arrays, rows=slice(None)):
    arrays = [a[rows] for a in arrays]
    if names is None:
        return arrays[0]
    return dict(zip(names, arrays)) if isinstance(names[0], str) else arrays


def flat(outputs):
    if isinstance(outputs, dict):
        return [outputs[name] for name in sorted(outputs)]
    return outputs if isinstance(outputs, list) else [outputs]


def replay(case, data, model):
    def arrays(kind):
        names = sorted((k for k in data if k.startswith(kind + "_")), key=lambda k: int(k.split("_")[1]))
        return [data[name] for name in names]

    x, y, weights = arrays("x"), arrays("y"), arrays("sw")

    def predicted():
        return flat(model.predict(structured(case["xs"], x), batch_size=case["batch"], verbose=0))

    out = {f"p0_{i}": p for i, p in enumerate(predicted())}
    for b, rows in enumerate(case["batches"]):
        more = {"sample_weight": structured(case.get("sws", case["ys"]), weights, rows)} if weights else {}
        logs = model.train_on_batch(
            structured(case["xs"], x, rows), structured(case["ys"], y, rows), return_dict=True, **more
        )
        out.update({f"log{b}_{name}": value for name, value in logs.items()})
    out.update({f"p1_{i}": p for i, p in enumerate(predicted())})
    out.update({f"w1_{i}": w for i, w in enumerate(model.get_weights())})
    return out


@pytest.mark.parametrize("how", ["file", "code", "own file"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
@pytest.mark.filterwarnings("ignore:Layer 'global_max_pooling1d'.*cannot carry a mask")
def test_replay(row, how, tmp_path):
    pytest.importorskip("h5py")
    case = RECORDED[row["name"]]
    with np.load(FOLDER / f"{row['name']}.npz") as stored:
        data = dict(stored)
    if how == "code" and case.get("resume"):
        pytest.skip("goes on from a file")
    if how == "code":
        tdfast.utils.clear_session()
        model = case["build"](tdfast, layers)
        first = sorted((k for k in data if k.startswith("w0_")), key=lambda k: int(k[3:]))
        model.set_weights([data[k] for k in first])
    else:
        model = tdfast.saving.load_model(FOLDER / f"{row['name']}.keras")
    if not case.get("resume"):
        model.compile(**case["compile"](tdfast))
    if how == "own file":
        model.save(tmp_path / "m.keras")
        model = tdfast.saving.load_model(tmp_path / "m.keras")
    got = replay(case, data, model)
    wanted = {k: v for k, v in data.items() if k[:3] in ("p0_", "p1_", "w1_", "log")}
    assert set(wanted) == {k for k in got if k in wanted or k.startswith("log")}
    for name, want in wanted.items():
        tolerance = row["tol"]["log" if name.startswith("log") else name[:2]]
        assert np.shape(got[name]) == want.shape
        np.testing.assert_allclose(got[name], want, rtol=0, atol=tolerance, err_msg=name)


# ---------------------------------------------------------------- structures
def two_inputs(wrap):
    a, b = Input((6, 3), name="past"), Input((4,), name="static")
    return Model(wrap(a, b), Dense(2)(Concatenate()([LSTM(5)(a), b])))


XS = rng.normal(size=(9, 6, 3)), rng.normal(size=(9, 4))
Y = rng.normal(size=(9, 2))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda a, b: [a, b],
        lambda a, b: (a, b),
        lambda a, b: {"past": a, "static": b},
        lambda a, b: [a, [b]],
        lambda a, b: {"past": a, "more": [b]},
    ],
)
@pytest.mark.filterwarnings("ignore:Model. the keys")
def test_inputs_in_any_structure(wrap):
    model = two_inputs(wrap)
    want = model.predict(wrap(*XS), verbose=0)
    assert want.shape == (9, 2)
    np.testing.assert_array_equal(model.predict({"past": XS[0], "static": XS[1]}, verbose=0), want)
    np.testing.assert_array_equal(model(wrap(*XS)), want)
    np.testing.assert_array_equal(model.predict_on_batch(wrap(*XS)), want)
    model.compile("adam", "mse")
    first = model.fit(wrap(*XS), Y, epochs=2, verbose=0, shuffle=False, batch_size=4).history["loss"]
    assert first[1] < first[0]
    batches = ((wrap(XS[0][i : i + 3], XS[1][i : i + 3]), Y[i : i + 3]) for i in (0, 3, 6))
    assert np.isfinite(model.evaluate(batches, verbose=0))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda a, b: [a, b],
        lambda a, b: (a, b),
        lambda a, b: {"one": a, "two": b},
        lambda a, b: {"one": a, "more": [b]},
    ],
)
def test_outputs_in_any_structure(wrap):
    x = Input((5,))
    h = Dense(4, "tanh")(x)
    model = Model(x, wrap(Dense(2, name="one")(h), Dense(3, name="two")(h)))
    data = rng.normal(size=(7, 5))
    got, called = model.predict(data, verbose=0), model(data)
    want = wrap(np.zeros((7, 2)), np.zeros((7, 3)))
    for made in (got, called):
        assert type(made) is type(want) and tdfast.engine.structure.mapped(np.shape, made) == (
            tdfast.engine.structure.mapped(np.shape, want)
        )
    np.testing.assert_array_equal(flatten(got)[0], flatten(called)[0])


def flatten(structure):
    return tdfast.engine.structure.flatten(structure)


def test_what_a_model_says_of_itself():
    model = two_inputs(lambda a, b: [a, b])
    assert model.input_names == ["past", "static"] and model.output_names == [model.layers[-1].name]
    assert [type(layer).__name__ for layer in model.layers] == [
        "InputLayer",
        "LSTM",
        "InputLayer",
        "Concatenate",
        "Dense",
    ]
    assert model.input_shape == [(None, 6, 3), (None, 4)] and model.output_shape == (None, 2)
    assert [t.shape for t in model.inputs] == [(None, 6, 3), (None, 4)] and len(model.outputs) == 1
    assert model.get_layer("static").output is model.input[1]
    assert model.count_params() == sum(w.size for w in model.get_weights())


# ---------------------------------------------------------------- parts and wholes
def test_a_part_of_a_model():
    x = Input((6, 3))
    h = GRU(4, return_sequences=True, name="hidden")(x)
    model = Model(x, Dense(1)(GRU(3)(h)))
    part = Model(model.input, model.get_layer("hidden").output)
    data = rng.normal(size=(5, 6, 3))
    np.testing.assert_array_equal(part.predict(data, verbose=0), model.get_layer("hidden")(data))
    rest = Model(h, model.output)  # from the middle on
    np.testing.assert_array_equal(
        rest.predict(part.predict(data, verbose=0), verbose=0), model.predict(data, verbose=0)
    )
    model.compile(SGD(0.1), "mse")
    model.train_on_batch(data, np.ones((5, 1)))
    np.testing.assert_array_equal(part.predict(data, verbose=0), model.get_layer("hidden")(data))


def test_a_part_of_a_sequential_model():
    model = Sequential([Input((6, 3)), LSTM(4), Dense(3), Dense(2)])
    part = Model(model.input, model.layers[1].output)
    data = rng.normal(size=(5, 6, 3))
    np.testing.assert_array_equal(part.predict(data, verbose=0), model.layers[1](model.layers[0](data)))
    assert model.output.shape == (None, 2) and model.outputs[0] is model.layers[-1].output
    model.add(Dense(1))
    assert part.predict(data, verbose=0).shape == (5, 3) and model.output.shape == (None, 1)


def test_models_in_models():
    inner = Sequential([Input((6, 3)), GRU(4), Dense(2)], name="inner")
    a, b = Input((6, 3)), Input((6, 3))
    both = Model([a, b], Add()([inner(a), inner(b)]), name="both")
    outer_in = Input((6, 3))
    outer = Model(outer_in, Dense(1)(both([outer_in, outer_in])))
    data = rng.normal(size=(5, 6, 3))
    np.testing.assert_allclose(outer.layers[-1](2 * inner(data)), outer.predict(data, verbose=0), rtol=1e-5)
    within = Sequential([Input((6, 3)), Model(outer_in, outer.output), Dense(2)])
    assert within.predict(data, verbose=0).shape == (5, 2)
    for model in (outer, within):
        again = tdfast.saving.model_from_json(model.to_json())
        again.set_weights(model.get_weights())
        np.testing.assert_array_equal(again.predict(data, verbose=0), model.predict(data, verbose=0))
        copied = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(copied.predict(data, verbose=0), model.predict(data, verbose=0))


def test_copies():
    model = two_inputs(lambda a, b: {"past": a, "static": b})
    model.compile("adam", "mse", metrics=["mae"])
    model.fit({"past": XS[0], "static": XS[1]}, Y, verbose=0)
    twin = tdfast.models.clone_model(model)
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    assert twin.layers[1] is not model.layers[1] and twin.compiled
    twin.set_weights(model.get_weights())
    x = {"past": XS[0], "static": XS[1]}
    np.testing.assert_array_equal(twin.predict(x, verbose=0), model.predict(x, verbose=0))
    other = tdfast.models.clone_model(
        model,
        clone_function=lambda layer: (
            GRU(5)
            if isinstance(layer, LSTM)
            else tdfast.layers.Layer.from_config.__func__(type(layer), layer.get_config())
        ),
    )
    assert any(isinstance(layer, GRU) for layer in other.layers)
    seen = []
    tdfast.models.clone_model(
        model, call_function=lambda layer, *a, **k: seen.append(layer.name) or layer(*a, **k)
    )
    assert len(seen) == 3
    copied = pickle.loads(pickle.dumps(model))
    for each in (model, copied):
        each.fit(x, Y, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), copied.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_the_summary_has_connections():
    tdfast.utils.clear_session()
    a, b = Input((6, 3), name="past"), Input((4,), name="static")
    shared = Dense(4, name="shared")
    h, state, _ = LSTM(7, return_state=True, name="lstm")(a)
    model = Model(
        [a, b], Dense(2, name="out")(Concatenate(name="joined")([h, shared(shared(b)), state])), name="m"
    )
    lines = []
    model.summary(print_fn=lines.append, line_length=108)
    assert lines[0].split("\n")[2].replace("┃", " ").split() == (
        ["Layer", "(type)", "Output", "Shape", "Param", "#", "Connected", "to"]
    )
    text = " ".join(lines[0].replace("│", " ").split())
    for words in (
        "past (InputLayer) (None, 6, 3) 0 -",
        "shared (Dense) (None, 4) 20 static[0][0],",
        "lstm[0][0],",
        "shared[1][0],",
        "lstm[0][1]",
        "[(None, 7), (None, 7),",
    ):
        assert words in text


# ---------------------------------------------------------------- gradients
def branched():
    """Shared layers, fan-out, states that start another layer, an output without a loss, a masked branch."""
    ids, x = Input((5,), dtype="int32"), Input((5, 4))
    shared = Dense(4, "tanh", dtype="float64", kernel_regularizer="l2")
    e = Embedding(7, 3, mask_zero=True, dtype="float64")(ids)
    h, state, cell = LSTM(4, return_sequences=True, return_state=True, dtype="float64")(e)
    g = GRU(4, return_sequences=True, dtype="float64")(shared(x), initial_state=state)
    joined = Concatenate(dtype="float64")([shared(g), g, h])
    out = Dense(2, dtype="float64", name="out")(joined)
    side = Dense(1, dtype="float64", name="side")(cell)
    unused = Dense(1, dtype="float64", name="unused")(g)
    return Model([ids, x], [out, side, unused])


def test_gradients_of_a_whole_model_by_differences():
    tdfast.utils.set_random_seed(0)
    tdfast.config.set_floatx("float64")
    try:
        model = branched()
    finally:
        tdfast.config.set_floatx("float32")
    ids, x = rng.integers(1, 7, (4, 5)), rng.normal(size=(4, 5, 4))
    ids[0, 3:] = ids[2, 1:] = 0
    y = [rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 1)), None]
    model.compile(SGD(1.0), ["mse", "mae", None], loss_weights=[1.0, 0.3, None])
    before = model.get_weights()
    names = [w.path for w in model.weights]
    model.train_on_batch([ids, x], y)
    gradients = [a - b for a, b in zip(before, model.get_weights())]

    def value(weights):
        model.set_weights(weights)
        return model.test_on_batch([ids, x], y, return_dict=True)["loss"]

    for k, (name, gradient) in enumerate(zip(names, gradients)):
        for place in list(np.ndindex(gradient.shape))[::5]:
            shifted = []
            for step in (1e-5, -1e-5):
                weights = [w.copy() for w in before]
                weights[k][place] += step
                shifted.append(value(weights))
            assert gradient[place] == pytest.approx((shifted[0] - shifted[1]) / 2e-5, abs=1e-6), (name, place)
    unused = [g for g, w in zip(gradients, model.weights) if w.path.startswith("unused")]
    assert all((g == 0).all() for g in unused)


def nested_and_beside():
    """A layer in a graph, in a model within it, in a wrapper, and in a model that stands there twice."""
    options = {"dtype": "float64", "activation": "tanh"}
    shared = Dense(4, **options)
    inner = Sequential([Input((5, 4), dtype="float64"), shared, Dense(4, **options)], dtype="float64")
    x = Input((5, 4), dtype="float64")
    h = layers.TimeDistributed(shared, dtype="float64")(inner(shared(x)))
    return Model(x, [inner(shared(h)), Dense(1, dtype="float64")(shared(x))])


def penalized_states():
    """An activity_regularizer of a layer with several outputs, of which one is not used."""
    x = Input((5, 3), dtype="float64")
    penalty = tdfast.regularizers.L2(0.1)
    lstm = LSTM(4, return_sequences=True, return_state=True, dtype="float64", activity_regularizer=penalty)
    y, h, _ = lstm(x)
    return Model(x, [Dense(2, dtype="float64")(y), Dense(1, dtype="float64")(h)])


@pytest.mark.parametrize("make", [nested_and_beside, penalized_states])
@pytest.mark.parametrize("losses_of", [["mse", "mae"], ["mse", None], [None, "mae"]])
def test_gradients_of_weights_that_stand_in_several_places(make, losses_of):
    tdfast.utils.set_random_seed(1)
    tdfast.config.set_floatx("float64")
    try:
        model = make()
    finally:
        tdfast.config.set_floatx("float32")
    x = rng.normal(size=(3, *model.input_shape[1:]))
    y = [rng.normal(size=p.shape) if one else None for p, one in zip(model.predict(x, verbose=0), losses_of)]
    model.compile(SGD(1.0), losses_of)
    model.train_on_batch(x, y)                      # leaves gradients of another step behind
    before = model.get_weights()
    model.train_on_batch(x, y)
    gradients = [a - b for a, b in zip(before, model.get_weights())]

    def value(weights):
        model.set_weights(weights)
        return model.test_on_batch(x, y, return_dict=True)["loss"]

    for k, gradient in enumerate(gradients):
        for place in list(np.ndindex(gradient.shape))[::3]:
            shifted = []
            for step in (1e-5, -1e-5):
                weights = [w.copy() for w in before]
                weights[k][place] += step
                shifted.append(value(weights))
            assert gradient[place] == pytest.approx((shifted[0] - shifted[1]) / 2e-5, abs=1e-6)


def test_threads_and_batches_change_no_bit():
    model = two_inputs(lambda a, b: [a, b])
    whole = model.predict(list(XS), verbose=0, batch_size=9)
    np.testing.assert_array_equal(model.predict(list(XS), verbose=0, batch_size=2), whole)
    before = tdfast.get_num_threads()
    try:
        tdfast.set_num_threads(1)
        np.testing.assert_array_equal(model.predict(list(XS), verbose=0), whole)
    finally:
        tdfast.set_num_threads(before)


# ---------------------------------------------------------------- training by output
def two_outputs():
    x = Input((4,))
    h = Dense(5, "tanh")(x)
    return Model(x, [Dense(1, name="level")(h), Dense(3, "softmax", name="kind")(h)])


X4, LEVEL, KIND = rng.normal(size=(8, 4)), rng.normal(size=(8, 1)), rng.integers(0, 3, 8)


def test_losses_metrics_and_weights_by_output():
    model = two_outputs()
    model.compile(
        "sgd",
        {"level": "mse", "kind": "sparse_categorical_crossentropy"},
        loss_weights={"level": 2.0, "kind": 0.5},
        metrics={"kind": ["accuracy"]},
        weighted_metrics=[["mae"], None],
    )
    weights = rng.uniform(0, 2, 8)
    logs = model.evaluate(X4, [LEVEL, KIND], sample_weight=[weights, None], verbose=0, return_dict=True)
    level, kind = model.predict(X4, verbose=0)
    mse = np.mean(weights * (level - LEVEL)[:, 0] ** 2)
    ce = -np.mean(np.log(kind[np.arange(8), KIND]))
    assert logs["level_loss"] == pytest.approx(mse, rel=1e-5) and logs["kind_loss"] == pytest.approx(
        ce, rel=1e-5
    )
    assert logs["loss"] == pytest.approx(2 * mse + 0.5 * ce, rel=1e-5)
    assert logs["kind_accuracy"] == pytest.approx(np.mean(kind.argmax(1) == KIND))
    assert logs["level_mae"] == pytest.approx(
        np.average(np.abs(level - LEVEL)[:, 0], weights=weights), rel=1e-5
    )
    assert set(logs) == {"loss", "level_loss", "kind_loss", "kind_accuracy", "level_mae"}
    listed = model.evaluate(X4, {"level": LEVEL, "kind": KIND}, verbose=0)
    assert len(listed) == 5
    history = model.fit(X4, [LEVEL, KIND], validation_split=0.25, epochs=2, verbose=0).history
    assert {"val_loss", "val_kind_loss", "kind_accuracy"} <= set(history)


def test_an_output_without_a_loss():
    model = two_outputs()
    model.compile("sgd", ["mse", None], metrics=[None, ["accuracy"]])
    logs = model.train_on_batch(X4, [LEVEL, KIND], return_dict=True)
    assert set(logs) == {"loss", "kind_accuracy"}
    model.compile("sgd", ["mse", None])
    assert set(model.train_on_batch(X4, LEVEL, return_dict=True)) == {"loss"}


def test_one_loss_for_all_outputs():
    x = Input((4,))
    model = Model(x, [Dense(1, name="a")(x), Dense(1, name="b")(x)])
    model.compile("sgd", losses.MeanSquaredError(), loss_weights=3.0)
    logs = model.evaluate(X4, [LEVEL, LEVEL], verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(3 * (logs["a_loss"] + logs["b_loss"]), rel=1e-6)


def test_crossentropies_of_several_outputs_are_taken_of_logits():
    x = Input((1,))
    ends = [
        Dense(
            1,
            "sigmoid",
            name=name,
            kernel_initializer="zeros",
            bias_initializer=tdfast.initializers.Constant(z),
        )
        for name, z in (("a", 40.0), ("b", -40.0))
    ]
    model = Model(x, [end(x) for end in ends])
    model.compile(SGD(1.0), "binary_crossentropy")
    logs = model.train_on_batch(np.zeros((1, 1)), [np.zeros((1, 1)), np.ones((1, 1))], return_dict=True)
    assert logs["a_loss"] == pytest.approx(40) and logs["b_loss"] == pytest.approx(40)
    assert [float(end.bias[0]) for end in ends] == [39.0, -39.0]


def test_lengths_by_input_are_the_masks_they_stand_for():
    a, b = Input((6, 3), name="a"), Input((5, 3), name="b")
    model = Model([a, b], Dense(1)(Concatenate()([GRU(4)(a), LSTM(4)(b)])))
    x = [rng.normal(size=(7, 6, 3)), rng.normal(size=(7, 5, 3))]
    n = rng.integers(1, 6, 7)
    mask = np.arange(5) < n[:, None]
    got = model.predict(x, lengths={"b": n}, verbose=0)
    np.testing.assert_array_equal(got, model(x, mask=[None, mask]))
    model.compile("sgd", "mse")
    assert np.isfinite(
        model.fit(x, np.ones((7, 1)), lengths={"b": n}, verbose=0, batch_size=3).history["loss"][0]
    )


# ---------------------------------------------------------------- frozen parts, modes
def test_frozen_parts_stay():
    x = Input((4,))
    frozen, bn = Dense(3, trainable=False), BatchNormalization()
    model = Model(x, Dense(1)(bn(frozen(x))))
    bn.trainable = False
    model.compile(SGD(0.5), "mse")
    before = [w.copy() for w in (*frozen.get_weights(), *bn.get_weights())]
    model.fit(X4, LEVEL, epochs=2, verbose=0)
    for a, b in zip(before, (*frozen.get_weights(), *bn.get_weights())):
        np.testing.assert_array_equal(a, b)


def test_training_as_a_constant():
    """As in Keras: it counts where the model is called without ``training``; fit and predict go before it."""
    x = Input((50,))
    model = Model(x, Dropout(0.5)(x, training=True))
    ones = np.ones((2, 50))
    assert (
        0 in model(ones) and 0 not in model.predict(ones, verbose=0) and 0 not in model(ones, training=False)
    )


def test_a_mask_ends_with_a_warning_where_a_layer_cannot_carry_it():
    x = Input((5, 3))
    model = Model(x, Dense(1)(layers.GlobalMaxPooling1D()(Masking()(x))))
    with pytest.warns(UserWarning, match="GlobalMaxPooling1D.*mask ends there"):
        model.predict(np.ones((2, 5, 3)), verbose=0)


def test_an_explicit_mask():
    x, m = Input((5, 3)), Input((5,), dtype="bool")
    layer = GRU(4)
    model = Model([x, m], layer(x, mask=m))
    data, mask = rng.normal(size=(6, 5, 3)), rng.integers(0, 2, (6, 5)).astype(bool)
    np.testing.assert_array_equal(model.predict([data, mask], verbose=0), layer(data, mask=mask))


# ---------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: Model(np.zeros((2, 3)), Input((3,))), "inputs must be symbolic"),
        (lambda: Model(Input((3,)), np.zeros((2, 3))), "outputs must be symbolic"),
        (lambda: Model(Input((3,)), Dense(1)(Input((3,)))), "not among the inputs"),
        (
            lambda: Model((x := Input((3,))), [Dense(1, name="d")(x), Dense(2, name="d")(x)]),
            "two layers are named 'd'",
        ),
        (
            lambda: two_inputs(lambda a, b: [a, b]).predict(XS[0], verbose=0),
            "has 2 inputs, .'past', 'static'.",
        ),
        (lambda: two_inputs(lambda a, b: [a, b]).predict({"past": XS[0]}, verbose=0), "'static' is missing"),
        (
            lambda: two_inputs(lambda a, b: [a, b]).predict([XS[0], XS[1][:3]], verbose=0),
            "same number of samples",
        ),
        (
            lambda: two_inputs(lambda a, b: [a, b]).predict([XS[0], XS[0]], verbose=0),
            "expects input 'static'",
        ),
        (lambda: two_outputs().compile("sgd", ["mse"]), "loss has 1 entries, but the model has 2 outputs"),
        (lambda: two_outputs().compile("sgd", {"level": "mse", "sort": "mse"}), "'sort'.*'level', 'kind'"),
        (lambda: two_outputs().compile("sgd", "mse", loss_weights=[1, 2]), "loss is one for all outputs"),
        (lambda: two_outputs().compile("sgd", ["mse", "mse"], metrics=["mae"]), "metrics has 1 entries"),
        (lambda: Dense(2)(Input((3,)), mode="fast"), "does not know the argument"),
    ],
)
def test_what_does_not_fit_is_told(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


@pytest.mark.parametrize(
    "y, words",
    [
        (None, "needs targets"),
        (LEVEL, "has 2 outputs"),
        ([LEVEL, KIND, KIND], "has 2 outputs"),
        ({"level": LEVEL, "sort": KIND}, "'sort'"),
        ([LEVEL[:3], KIND], "output 'level'.*same number of samples"),
    ],
)
def test_targets_that_do_not_fit_are_told(y, words):
    model = two_outputs()
    model.compile("sgd", ["mse", "sparse_categorical_crossentropy"])
    with pytest.raises(ValueError, match=words):
        model.fit(X4, y, verbose=0)


def test_nan_is_found_in_a_graph():
    model = two_outputs()
    model.compile(SGD(1e30), ["mse", "sparse_categorical_crossentropy"])
    with pytest.raises(FloatingPointError, match="layer"):
        model.fit(X4, [LEVEL, KIND], epochs=5, verbose=0)


def test_tensors_of_another_dtype_are_told():
    with pytest.raises(ValueError, match="has dtype float64, but 'x'.*float32.*set_floatx"):
        Dense(2, dtype="float64")(Input((3,), name="x"))


def test_class_weight_is_for_one_output():
    model = two_outputs()
    model.compile("sgd", ["mse", "sparse_categorical_crossentropy"])
    with pytest.raises(ValueError, match="class_weight is for models with one output"):
        model.fit(X4, [LEVEL, KIND], class_weight={0: 2.0}, verbose=0)
