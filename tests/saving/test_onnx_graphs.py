"""Graph models as ONNX files: ONNX Runtime gives what predict gives, or the refusal names the layer."""

import shutil
import subprocess

import numpy as np
import pytest

import tdfast
from tdfast import Input, Model, Sequential, layers, ops, saving
from tdfast.layers import (
    GRU,
    LSTM,
    Add,
    Average,
    Concatenate,
    Dense,
    Dot,
    Embedding,
    Masking,
    Maximum,
    Multiply,
)
from tdfast.saving.onnx.merging import JOINING

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
rng = np.random.default_rng(0)


def exported(model, folder):
    """The session of the exported model."""
    saving.export_onnx(model, folder / "m.onnx")
    return onnxruntime.InferenceSession(str(folder / "m.onnx"), providers=["CPUExecutionProvider"])


def same(model, xs, folder):
    """Predict and ONNX Runtime agree, for all rows and for one."""
    session = exported(model, folder)
    names = [i.name for i in session.get_inputs()]
    assert names == (model.input_names if len(model.inputs) > 1 else ["input"])
    for rows in (slice(None), slice(0, 1)):
        given = [x[rows] for x in xs]
        want = tdfast.engine.structure.flatten(
            model.predict(given if len(given) > 1 else given[0], verbose=0)
        )
        got = session.run(None, dict(zip(names, given)))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    return session


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


A, B, FLAT = normal(4, 5, 3), normal(4, 5, 3), normal(4, 3)


@pytest.mark.parametrize("cls", [c for c in JOINING if c not in (Concatenate, Dot)])
def test_sums_and_their_like(cls, tmp_path):
    x, y = Input((5, 3)), Input((5, 3))
    same(Model([x, y], Dense(2)(cls()([x, y]))), [A, B], tmp_path)
    flat = Input((3,))
    same(Model([x, flat], cls()([x, flat])), [A, FLAT], tmp_path)


@pytest.mark.parametrize(
    "layer, xs",
    [
        (Concatenate(), [A, B]),
        (Concatenate(axis=1), [A, B]),
        (Dot(2), [A, B]),
        (Dot((1, 1)), [A, B]),
        (Dot(1), [FLAT, normal(4, 3)]),
        (Dot((2, 1)), [A, FLAT]),
        (Dot(-1, normalize=True), [A, B]),
    ],
)
def test_joining_layers(layer, xs, tmp_path):
    inputs = [Input(x.shape[1:]) for x in xs]
    same(Model(inputs, layer(inputs)), xs, tmp_path)


def test_several_outputs_have_their_names(tmp_path):
    x = Input((5, 3))
    h = GRU(4, return_sequences=True)(x)
    model = Model(x, [Dense(2, name="each")(h), Dense(1, name="last")(h[:, -1])])
    assert [o.name for o in same(model, [A], tmp_path).get_outputs()] == ["each", "last"]


def test_a_residual_network_with_shared_layers_and_masks(tmp_path):
    ids, x = Input((6,), dtype="int32"), Input((6, 3))
    shared = Dense(4, activation="tanh")
    e = Embedding(9, 3, mask_zero=True)(ids)
    m = Masking()(x)
    joined = Add()([shared(e), shared(m)])
    inner = Sequential([Input((6, 4)), LSTM(4, return_sequences=True)])
    h = Average()([joined, inner(joined)])
    model = Model([ids, x], Dense(2)(LSTM(3)(Concatenate(axis=1)([h, joined]))))
    words = rng.integers(1, 9, (4, 6)).astype("int32")
    words[:, 4:] = 0
    data = normal(4, 6, 3)
    data[1:, 3:] = 0
    same(model, [words, data], tmp_path)


def test_operations(tmp_path):
    x, y = Input((5, 3)), Input((5, 3))
    ends = [
        x + 2.0 * y,
        x / (1.0 + ops.square(y)),
        x[:, -1],
        x[:, 1:4, ::2],
        x @ ops.transpose(y, (0, 2, 1)),
        ops.mean(x, axis=1),
        ops.sum(x, axis=-1, keepdims=True),
        ops.max(y, axis=1),
        ops.softmax(x, axis=1),
        -ops.tanh(x),
        ops.expand_dims(x, 1),
        ops.squeeze(x[:, :1], 1),
        ops.concatenate([x, y], axis=1),
        ops.maximum(x, y),
        ops.exp(ops.abs(x)),
        ops.sqrt(ops.square(x) + 1.0),
        ops.sigmoid(x),
        ops.relu(x),
        ops.log(ops.exp(x)),
    ]
    same(Model([x, y], ends), [A, B], tmp_path)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda x: LSTM(2)(x, mask=x[:, :, 0]), "'.*' .LSTM. is called with a mask of its own"),
        (lambda x: layers.RNN(layers.LSTMCell(2), return_state=True)(x)[0], "RNN.*cannot be exported"),
        (lambda x: ops.cumsum(x, 1), "Cumsum.*These operations can"),
        (lambda x: layers.MultiHeadAttention(1, 2)(ops.expand_dims(x, 1), ops.expand_dims(x, 1)),
         "MultiHeadAttention.*time, features. only"),
    ],
)
def test_refusals_name_the_layer(make, words, tmp_path):
    x = Input((5, 3))
    with pytest.raises(ValueError, match=words):
        saving.export_onnx(Model(x, make(x)), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="lengths=True is for models with one input"):
        saving.export_onnx(Model([x, Input((1,))], x + 1.0), tmp_path / "m.onnx", lengths=True)


def test_c_has_the_weights_of_a_shared_layer_once(tmp_path):
    x = Input((None, 3))
    dense, lstm, drop = Dense(3, name="d"), LSTM(3, return_sequences=True, name="l"), layers.Dropout(0.5)
    model = Model(x, Dense(2)(lstm(dense(lstm(drop(dense(x), training=False))))))
    saving.export_c(model, tmp_path / "m.c")
    text = (tmp_path / "m.c").read_text()
    assert "model_1_d_kernel" in text and "model_3_d_kernel" not in text and "model_4_l_kernel" not in text
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler:
        command = [compiler, "-std=c99", "-DMODEL_MAIN", "m.c", "-o", "m", "-lm"]
        subprocess.run(command, cwd=tmp_path, check=True)
        assert "passed" in subprocess.run([tmp_path / "m"], capture_output=True, text=True, check=True).stdout


MASKED = {
    "both": (True, True), "the first": (True, False), "the second": (False, True),
}


@pytest.mark.parametrize("masks", MASKED.values(), ids=MASKED)
@pytest.mark.parametrize("cls", [Multiply, Maximum, layers.Minimum, Add, Concatenate,
                                 lambda: Concatenate(axis=1)])
def test_masks_of_joined_inputs(cls, masks, tmp_path):
    x, y = Input((5, 3)), Input((5, 3))
    joined = cls()([Masking()(t) if masked else t for t, masked in zip((x, y), masks)])
    a, b = A.copy(), B.copy()
    a[0, 3:] = a[1] = a[2, 1] = b[0, 2:] = b[3] = 0
    same(Model([x, y], [joined, GRU(3)(joined)]), [a, b], tmp_path)


ATTENTION = {
    "heads": lambda: layers.MultiHeadAttention(2, 3, value_dim=4),
    "heads without bias": lambda: layers.MultiHeadAttention(3, 2, use_bias=False, dropout=0.3,
                                                            output_shape=5),
    "a window and a gate": lambda: layers.MultiHeadAttention(2, 3, sliding_window=2, use_gate=True),
    "grouped": lambda: layers.GroupQueryAttention(3, 4, 2),
    "dots": layers.Attention,
    "scaled dots": lambda: layers.Attention(use_scale=True),
    "sums": lambda: layers.Attention(score_mode="concat", use_scale=True),
    "additive": layers.AdditiveAttention,
    "additive without scale": lambda: layers.AdditiveAttention(use_scale=False),
}


@pytest.mark.parametrize("options", [{}, {"use_causal_mask": True}, {"return_attention_scores": True}],
                         ids=str)
@pytest.mark.parametrize("make", ATTENTION.values(), ids=ATTENTION)
def test_attention(make, options, tmp_path):
    x, y, z = Input((5, 3)), Input((5, 3)), Input((5, 3))
    layer, inputs = make(), [Masking()(x), Masking()(y), z]
    ends = layer(inputs, **options) if isinstance(layer, layers.Attention) else layer(*inputs, **options)
    a, b = A.copy(), B.copy()
    a[0, 3:] = a[1] = b[0, 2:] = b[3] = 0
    model = Model([x, y, z], ends)
    model.set_weights([normal(*w.shape) for w in model.get_weights()])
    same(model, [a, b, normal(4, 5, 3)], tmp_path)


def test_a_mask_for_attention_and_steps_of_any_number(tmp_path):
    x, which = Input((None, 3)), Input((None, None), dtype="bool")
    layer = layers.MultiHeadAttention(2, 3)
    model = Model([x, which], layer(x, x, attention_mask=which, use_causal_mask=True))
    for steps in (1, 4, 7):
        same(model, [normal(3, steps, 3), rng.random((3, steps, steps)) < 0.7], tmp_path)


def test_a_transformer_block(tmp_path):
    x = Input((6, 8))
    h = layers.LayerNormalization()(x)
    h = x + layers.MultiHeadAttention(2, 4)(h, h, use_causal_mask=True)
    h = h + Dense(8)(Dense(16, activation="gelu")(layers.LayerNormalization()(h)))
    same(Model(x, layers.GlobalAveragePooling1D()(h)), [normal(4, 6, 8)], tmp_path)


@pytest.mark.parametrize("equation, shape, bias", [
    ("abc,cd->abd", (None, 4), "d"), ("abc,cde->abde", (None, 2, 4), "de"), ("abc,bcd->abd", (5, 4), None),
    ("...b,bc->...c", 4, "c"), ("abc,bd->adc", (4, 3), "d")])
def test_einsum_dense(equation, shape, bias, tmp_path):
    x = Input((5, 3))
    layer = layers.EinsumDense(equation, shape, bias_axes=bias, activation="tanh", bias_initializer="normal")
    same(Model(x, layer(x)), [A], tmp_path)


def constants(folder):
    """The names and the arrays of the weights in the file."""
    import onnx

    graph = onnx.load(folder / "m.onnx").graph
    return {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}


def test_a_layer_that_is_called_twice_has_its_weights_once(tmp_path):
    x, y = Input((5, 3)), Input((5, 3))
    lstm, dense, both = LSTM(4), Dense(7, name="shared"), layers.Bidirectional(GRU(4, name="gru"))
    inner = Sequential([layers.LayerNormalization(), Dense(5)], name="inner")
    ends = [dense(lstm(x)), dense(lstm(y)), both(inner(x)), both(inner(y))]
    model = Model([x, y], Dense(1)(Concatenate()(ends)))
    same(model, [A, B], tmp_path)
    found = [value for value in constants(tmp_path).values() if value.size > 16]
    stored = sum(value.size for value in found)
    assert stored <= model.count_params() + 2 * 4 * 4 + 2 * 3 * 8       # ONNX has two biases a gate
    assert len([name for name in constants(tmp_path) if "shared/kernel" in name]) == 1
    saving.export_onnx(model, tmp_path / "m.onnx", states=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_outputs()]
    assert f"{lstm.name}_h" in names and f"{lstm.name}_2_h" in names
    got = session.run(None, {model.input_names[0]: A, model.input_names[1]: B})
    np.testing.assert_allclose(got[0], model.predict([A, B], verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", [LSTM, GRU, layers.SimpleRNN])
@pytest.mark.parametrize("masked", [False, True])
def test_an_encoder_hands_its_states_to_a_decoder(cls, masked, tmp_path):
    x, y = Input((5, 3)), Input((5, 3))
    _, *states = cls(4, return_state=True)(Masking()(x) if masked else x)
    decoded = cls(4, return_sequences=True)(Masking()(y) if masked else y, initial_state=states)
    a, b = A.copy(), B.copy()
    a[0, 3:] = a[1] = b[0, 1] = 0
    same(Model([x, y], [Dense(2)(decoded), states[0]]), [a, b], tmp_path)


def test_states_of_both_directions(tmp_path):
    x, y = Input((5, 3)), Input((5, 3))
    out, *states = layers.Bidirectional(LSTM(4, return_state=True, return_sequences=True))(x)
    again = layers.Bidirectional(LSTM(4))(y, initial_state=states)
    joined = LSTM(8)(out, initial_state=[Concatenate()(states[::2]), Concatenate()(states[1::2])])
    same(Model([x, y], [again, joined, *states]), [A, B], tmp_path)


def test_models_with_several_outputs_within_models(tmp_path):
    x = Input((5, 3))
    h = Masking()(x)
    inner = Model(x, [LSTM(4, return_sequences=True)(h), Dense(2)(x)], name="inner")
    a, b = Input((5, 3)), Input((5, 3))
    first, second = inner(a), inner(b)
    model = Model([a, b], [GRU(3)(first[0]), Concatenate()([first[1], second[1]])])
    a, b = A.copy(), B.copy()
    a[0, 3:] = 0
    same(model, [a, b], tmp_path)
