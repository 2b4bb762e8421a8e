"""Every layer with every option at another value than its default, beside Keras itself on JAX.

A row is a layer, the shape of a sample and some sets of options. Each set makes the model Dense, the layer
(of several inputs: two Dense, the layer); both libraries get the same random weights and must agree in the
first weights, the predictions, the loss with all penalties, each gradient (as a step of SGD shows it) and
the weights behind their constraints: 2e-5, relative to the largest number. `test_nothing_is_left_out`
demands a row of every layer, and every option that Keras has in some set of it. Random values are compared
in test_live_layers.py, states in test_live_rnn.py and below.
"""

import inspect
import os
import warnings

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip("jax")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "jax":
    pytest.skip("needs Keras on JAX", allow_module_level=True)

import tdfast  # noqa: E402
from tdfast import layers  # noqa: E402

BATCH = 4
NEAR = 2e-5


L1L2 = {
    "module": "keras.regularizers",
    "class_name": "L1L2",
    "config": {"l1": 0.01, "l2": 0.02},
    "registered_name": None,
}


def weights(*names):
    """Another initializer, a regularizer and a constraint for each of these weights."""
    kinds = [("ones", "l2", "non_neg"), ("zeros", "l1", "max_norm"), ("ones", L1L2, "unit_norm")]
    out = {}
    for i, name in enumerate(names):
        initializer, regularizer, constraint = kinds[i % 3]
        if name == "bias" or name == "beta":
            initializer = "ones"
        if name == "gamma":
            initializer = "zeros"
        out |= {f"{name}_initializer": initializer, f"{name}_regularizer": regularizer,
                f"{name}_constraint": constraint}
    return out


def conv(**more):
    return [{"filters": 4, "kernel_size": 2, "activation": "tanh", "activity_regularizer": "l2", "groups": 2,
             "strides": 2,
             "padding": "same", **weights("kernel", "bias"), **more},
            {"filters": 3, "kernel_size": 2, "dilation_rate": 2, "use_bias": False, **more}]


def depthwise(*names, **more):
    return [{"kernel_size": 2, "activation": "tanh", "activity_regularizer": "l2", "strides": 2,
             "padding": "same",
             "depth_multiplier": 2, **weights(*names, "bias"), **more},
            {"kernel_size": 2, "dilation_rate": 2, "use_bias": False, **more}]


def transposed(**more):
    return [{"filters": 4, "kernel_size": 3, "activation": "tanh", "activity_regularizer": "l2", "strides": 2,
             "padding": "same", "output_padding": 1, **weights("kernel", "bias"), **more},
            {"filters": 3, "kernel_size": 2, "dilation_rate": 2, "use_bias": False, **more}]


def recurrent(penalty={"activity_regularizer": "l2"}, **more):  # noqa: B006
    return [{"units": 3, "activation": "softsign", "return_sequences": True, "go_backwards": True,
             "unroll": True,
             **weights("kernel", "recurrent", "bias"), **more},
            {"units": 3, "use_bias": False, **penalty},
            {"units": 3, "dropout": 0.4, "recurrent_dropout": 0.3}]


def conv_lstm():
    return [{"filters": 2, "kernel_size": 2, "strides": 2, "padding": "same", "activation": "softsign",
             "recurrent_activation": "hard_sigmoid", "unit_forget_bias": False, "return_sequences": True,
             "go_backwards": True,
             **weights("kernel", "recurrent", "bias")},
            {"filters": 2, "kernel_size": 2, "dilation_rate": 2, "use_bias": False,
             "activity_regularizer": "l2"},
            {"filters": 2, "kernel_size": 2, "dropout": 0.4, "recurrent_dropout": 0.3}]


def cell(name, **more):
    """In an RNN, since a model takes no cell."""
    return [lambda L: {"cell": getattr(L, name)(3, activation="softsign",
                                                **weights("kernel", "recurrent", "bias"), **more)},
            lambda L: {"cell": getattr(L, name)(3, use_bias=False)},
            lambda L: {"cell": getattr(L, name)(3, dropout=0.4, recurrent_dropout=0.3)}]


NORMS = {"center": False, "scale": False, "epsilon": 0.25}
GATES = {"recurrent_activation": "hard_sigmoid"}
POOLS = [{"pool_size": 3, "strides": 1, "padding": "same"}, {"pool_size": 3}]
GLOBALS = [{"keepdims": True}]

# Class -> (the shape of a sample, sets of options).
ROWS = {
    "LSTM": ((5, 3), recurrent(unit_forget_bias=False, use_cudnn=False, **GATES)),
    "GRU": ((5, 3), recurrent(reset_after=False, use_cudnn=False, **GATES)),
    "SimpleRNN": ((5, 3), recurrent(penalty={})),
    "LSTMCell": ((5, 3), cell("LSTMCell", unit_forget_bias=False, **GATES)),
    "GRUCell": ((5, 3), cell("GRUCell", reset_after=False, **GATES)),
    "SimpleRNNCell": ((5, 3), cell("SimpleRNNCell")),
    "StackedRNNCells": (
        (5, 3),
        [lambda L: {"cell": L.StackedRNNCells([L.GRUCell(2), L.LSTMCell(3), L.SimpleRNNCell(2)])}],
    ),
    "RNN": (
        (5, 3),
        [
            lambda L: {
                "cell": [L.LSTMCell(2), L.GRUCell(3)],
                "return_sequences": True,
                "go_backwards": True,
                "unroll": True,
            },
            lambda L: {"cell": L.GRUCell(3), "zero_output_for_mask": True},
        ],
    ),
    "ConvLSTM1D": ((3, 5, 2), conv_lstm()),
    "ConvLSTM2D": ((3, 4, 5, 2), conv_lstm()),
    "ConvLSTM3D": ((2, 3, 4, 3, 2), conv_lstm()),
    "Bidirectional": (
        (5, 3),
        [
            *(
                lambda L, mode=mode: {"layer": L.LSTM(2, return_sequences=True), "merge_mode": mode}
                for mode in ("sum", "mul", "ave")
            ),
            lambda L: {"layer": L.LSTM(2, activation="relu"), "backward_layer": L.GRU(3, go_backwards=True)},
            lambda L: {
                "layer": L.GRU(
                    2, return_sequences=True, kernel_regularizer="l2", recurrent_constraint="unit_norm"
                ),
                "backward_layer": L.SimpleRNN(2, return_sequences=True, go_backwards=True, use_bias=False),
                "merge_mode": "mul",
            },
            lambda L: {
                "layer": L.RNN([L.GRUCell(2), L.LSTMCell(2)], return_sequences=True),
                "merge_mode": "concat",
            },
        ],
    ),
    "TimeDistributed": (
        (4, 5, 3),
        [
            lambda L: {"layer": L.Bidirectional(L.LSTM(2))},
            lambda L: {"layer": L.Dense(2, activation="gelu", kernel_regularizer="l2")},
            lambda L: {"layer": L.Conv1D(2, 3, padding="causal")},
            lambda L: {"layer": L.BatchNormalization(epsilon=0.25)},
            lambda L: {"layer": L.TimeDistributed(L.LayerNormalization(epsilon=0.25))},
        ],
    ),
    "Dense": (
        (5, 3),
        [
            {"units": 2, "activation": "gelu", "activity_regularizer": "l1", **weights("kernel", "bias")},
            {
                "units": 2,
                "use_bias": False,
                "kernel_regularizer": "orthogonal_regularizer",
                "kernel_constraint": "min_max_norm",
            },
        ],
    ),
    "Embedding": ((5,), [{"input_dim": 6, "output_dim": 2, "mask_zero": True, **weights("embeddings")}]),
    "Masking": ((5, 3), [{"mask_value": 0.5}]),
    "Activation": (
        (5, 3),
        [{"activation": a} for a in ("selu", "mish", "log_softmax", "sparse_plus", "hard_shrink")],
    ),
    "ReLU": ((5, 3), [{"max_value": 1.0, "negative_slope": 0.25, "threshold": 0.125}]),
    "LeakyReLU": ((5, 3), [{"negative_slope": 0.125}]),
    "PReLU": ((5, 3), [{**weights("alpha"), "shared_axes": [1]}]),
    "ELU": ((5, 3), [{"alpha": 0.5}]),
    "Softmax": ((5, 3), [{"axis": 1}]),
    "Conv1D": ((7, 4), [*conv(), {"filters": 2, "kernel_size": 3, "padding": "causal"}]),
    "Conv2D": ((6, 7, 4), [*conv(), {"filters": 2, "kernel_size": (3, 1), "strides": (1, 2)}]),
    "DepthwiseConv1D": ((7, 4), depthwise("depthwise")),
    "DepthwiseConv2D": ((6, 7, 4), depthwise("depthwise")),
    "SeparableConv1D": ((7, 4), depthwise("depthwise", "pointwise", filters=3)),
    "SeparableConv2D": ((6, 7, 4), depthwise("depthwise", "pointwise", filters=3)),
    "Conv1DTranspose": ((5, 4), transposed()),
    "Conv2DTranspose": ((4, 5, 3), transposed()),
    "Conv3D": ((4, 5, 3, 4), [*conv(), {"filters": 2, "kernel_size": (2, 3, 1), "strides": (1, 2, 3)}]),
    "Conv3DTranspose": ((3, 4, 2, 3), transposed()),
    **{
        f"{kind}Pooling{n}D": (shape, POOLS)
        for kind in ("Max", "Average")
        for n, shape in ((1, (7, 3)), (2, (6, 7, 3)), (3, (4, 5, 3, 3)))
    },
    **{
        f"Global{kind}Pooling{n}D": (shape, GLOBALS)
        for kind in ("Max", "Average")
        for n, shape in ((1, (7, 3)), (2, (6, 7, 3)), (3, (4, 5, 3, 3)))
    },
    **{
        f"Adaptive{kind}Pooling{n}D": (shape, [{"output_size": size} for size in sizes])
        for kind in ("Max", "Average")
        for n, shape, sizes in ((1, (7, 3), (2, (5,))), (2, (6, 7, 3), (3, (4, 2))),
                                (3, (4, 5, 3, 3), (2, (1, 3, 2))))
    },
    "ZeroPadding1D": ((5, 3), [{"padding": (2, 1)}, {"padding": 2}]),
    "ZeroPadding2D": ((4, 5, 3), [{"padding": ((2, 1), (0, 1))}, {"padding": 2}]),
    "ZeroPadding3D": ((3, 4, 5, 3), [{"padding": ((2, 1), (0, 1), (1, 0))}, {"padding": (0, 2, 1)}]),
    "Cropping1D": ((5, 3), [{"cropping": (2, 1)}]),
    "Cropping2D": ((4, 5, 3), [{"cropping": ((2, 1), (0, 1))}, {"cropping": 1}]),
    "Cropping3D": ((4, 5, 4, 3), [{"cropping": ((2, 1), (0, 1), (1, 0))}, {"cropping": (1, 2, 0)}]),
    "UpSampling3D": ((2, 3, 4, 3), [{"size": (3, 2, 1)}]),
    "UpSampling1D": ((5, 3), [{"size": 3}]),
    "UpSampling2D": ((4, 5, 3), [{"size": (3, 2)}, {"size": 2, "interpolation": "bilinear"}]),
    "BatchNormalization": (
        (5, 3),
        [
            {
                "axis": 1,
                "momentum": 0.5,
                "epsilon": 0.25,
                "moving_mean_initializer": "ones",
                "moving_variance_initializer": "zeros",
                **weights("beta", "gamma"),
            },
            NORMS,
        ],
    ),
    "LayerNormalization": ((5, 3), [{"axis": 1, "epsilon": 0.25, **weights("beta", "gamma")}, NORMS]),
    "GroupNormalization": (
        (5, 4),
        [{"groups": 2, "epsilon": 0.25, **weights("beta", "gamma")}, {**NORMS, "groups": 5, "axis": 1}],
    ),
    "RMSNormalization": ((5, 3), [{"epsilon": 0.25}]),
    "UnitNormalization": ((5, 3), [{"axis": 1}]),
    "SpectralNormalization": (
        (5, 4),
        [
            lambda L: {"layer": L.Dense(3, activation="tanh", bias_regularizer="l2",
                                        kernel_constraint="max_norm")},
            lambda L: {"layer": L.Conv1D(2, 3, padding="same", groups=2), "power_iterations": 3},
            lambda L: {"layer": L.Conv1DTranspose(2, 3, strides=2), "power_iterations": 2},
            lambda L: {"layer": L.DepthwiseConv1D(2, use_bias=False)},
            lambda L: {"layer": L.EinsumDense("abc,cd->abd", (None, 3), activation="relu")},
        ],
    ),
    "Normalization": (
        (5, 3),
        [
            {"mean": 0.5, "variance": 2.0, "invert": True, "axis": None},
            {"axis": 1, "mean": [1.0, 2.0, 3.0, 4.0, 5.0], "variance": [1.0, 2.0, 3.0, 4.0, 5.0]},
        ],
    ),
    "STFTSpectrogram": (
        (12, 2),
        [
            {"mode": "stft", "frame_length": 6, "frame_step": 2, "fft_length": 9, "window": "hamming",
             "periodic": True, "scaling": "spectrum", "padding": "same", "expand_dims": True},
            {"mode": "psd", "frame_length": 2, "window": [0.5, 2.0], "data_format": "channels_first"},
            *({"mode": mode, "frame_length": 8, "scaling": None} for mode in ("real", "imag", "magnitude")),
        ],
    ),
    "MelSpectrogram": (
        (40,),
        [
            {"fft_length": 16, "sequence_stride": 5, "sequence_length": 12, "window": "hamming",
             "sampling_rate": 8000, "num_mel_bins": 6, "min_freq": 100.0, "max_freq": 3500.0,
             "power_to_db": False, "mag_exp": 1.0},
            # Steps such that no frame is silent: there, Keras's gradient is NaN.
            {"fft_length": 16, "sequence_stride": 5, "num_mel_bins": 3, "top_db": 10.0, "min_power": 1e-3,
             "ref_power": 2.0},
        ],
    ),
    "Rescaling": ((5, 3), [{"scale": 0.5, "offset": -0.25}]),
    "ActivityRegularization": ((5, 3), [{"l1": 0.25, "l2": 0.125}]),
    "Identity": ((5, 3), [{}]),
    "Flatten": ((5, 3), [{}, {"data_format": "channels_first"}]),
    "Reshape": ((4, 3), [{"target_shape": (6, -1)}]),
    "Permute": ((4, 3), [{"dims": (2, 1)}]),
    "RepeatVector": ((3,), [{"n": 4}]),
    "Dropout": ((5, 3), [{"rate": 0.5, "noise_shape": (None, 1, 3)}]),
    "AlphaDropout": ((5, 3), [{"rate": 0.5, "noise_shape": (BATCH, 1, 3)}]),
    "GaussianDropout": ((5, 3), [{"rate": 0.5}]),
    "GaussianNoise": ((5, 3), [{"stddev": 0.5}]),
    "SpatialDropout1D": ((5, 3), [{"rate": 0.5}]),
    "SpatialDropout2D": ((5, 4, 3), [{"rate": 0.5, "data_format": "channels_first"}]),
    "SpatialDropout3D": ((5, 4, 2, 3), [{"rate": 0.5, "data_format": "channels_first"}]),
    "EinsumDense": (
        (5, 4),
        [
            {"equation": "abc,cd->abd", "output_shape": (None, 3), "bias_axes": "d", "activation": "tanh",
             **weights("kernel", "bias")},
            {"equation": "abc,cde->adbe", "output_shape": (2, None, 3), "activity_regularizer": "l2"},
        ],
    ),
    **{name: ((5, 4), [{}]) for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")},
    "Concatenate": ((5, 4), [{"axis": 1}, {}]),
    "Dot": ((5, 4), [{"axes": 2, "normalize": True}, {"axes": (1, 1)}]),
    "Attention": (
        (5, 4),
        [{"use_scale": True}, {"score_mode": "concat"}, {"use_scale": True, "score_mode": "concat"},
         {"dropout": 0.3}],
    ),
    "AdditiveAttention": ((5, 4), [{"use_scale": False}, {}, {"dropout": 0.3}]),
    "MultiHeadAttention": (
        (5, 4),
        [
            # Keras on JAX fails on values of another width than the keys.
            {"num_heads": 2, "key_dim": 3, "value_dim": 3, "output_shape": 6, "use_bias": False},
            {"num_heads": 3, "key_dim": 2, "attention_axes": (1,), "sliding_window": 2,
             "activity_regularizer": "l2", **weights("kernel", "bias")},
            {"num_heads": 2, "key_dim": 3, "use_gate": True, "flash_attention": False},
            {"num_heads": 2, "key_dim": 3, "dropout": 0.3},
        ],
    ),
    "GroupQueryAttention": (
        (5, 4),
        [
            {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2, "use_bias": False},
            {"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1, "use_gate": True,
             **weights("kernel", "bias")},
        ],
    ),
}
RANDOM = {"dropout", "recurrent_dropout", "rate", "stddev"}
# What is looked at elsewhere, and (by layer) what is refused or differs: docs/keras.md says why.
ELSEWHERE = {"seed", "return_state", "stateful", "name", "dtype", "trainable", "weights"}
REFUSED = {
    "SimpleRNN": {"activity_regularizer"},
    "RMSNormalization": {"axis"},           # Keras itself fails on any but the last
    "Dense": {"lora_rank", "lora_alpha", "quantization_config"},
    "EinsumDense": {"lora_rank", "lora_alpha", "gptq_unpacked_column_size", "quantization_config"},
    "Embedding": {"lora_rank", "lora_alpha", "quantization_config"},
    "BatchNormalization": {"renorm", "renorm_clipping", "renorm_momentum", "synchronized"},
}
QUERIES = {"MultiHeadAttention", "GroupQueryAttention"}      # called with two arguments, not with a list
SEVERAL = QUERIES | {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot",
                     "Attention", "AdditiveAttention"}
IMAGES = ("Conv", "Depthwise", "Separable", "Adaptive", "Max", "Average", "Global", "ZeroPadding", "Cropping",
          "UpSampling")
HERE = {name: row for name, row in ROWS.items() if hasattr(layers, name)}


def is_random(options):
    """Whether training draws numbers; a cell's options count as well."""
    inner = options.get("cell")
    return bool(RANDOM & set(options)) or any(getattr(inner, key, 0)
                                              for key in ("dropout", "recurrent_dropout"))


def make(k, name, options):
    options = options(k.layers) if callable(options) else options
    return getattr(k.layers, "RNN" if name.endswith(("Cell", "Cells")) else name)(**options), options


def build(k, name, shape, options):
    layer, options = make(k, name, options)
    if name in SEVERAL:
        x = k.Input(shape)
        parts = [k.layers.Dense(shape[-1])(x) for _ in range(2)]
        return k.Model(x, layer(*parts) if name in QUERIES else layer(parts)), options
    ids = name == "Embedding"
    first = [] if ids else [k.layers.Dense(shape[-1],
                                           input_shape=shape)] if k is tdfast else [k.layers.Dense(shape[-1])]
    return k.Sequential([k.Input(shape, dtype="int32") if ids else k.Input(shape), *first, layer]), options


def near(got, want, what):
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    assert got.shape == want.shape, what
    np.testing.assert_allclose(got, want, rtol=0, atol=NEAR * max(1.0, np.abs(want).max(initial=0)),
                               err_msg=what)


@pytest.mark.parametrize("name, number", [(name, i) for name,
                                          row in HERE.items() for i in range(len(row[1]))])
def test_options(name, number):
    shape, sets = HERE[name]
    for k in (tdfast, keras):
        k.utils.clear_session(free_memory=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (ours, options), (theirs, _) = (build(k, name, shape, sets[number]) for k in (tdfast, keras))
        rng = np.random.default_rng(number)
        x = (
            rng.integers(0, 6, (BATCH, *shape))
            if name == "Embedding"
            else rng.normal(size=(BATCH, *shape)).astype("float32")
        )
        assert [w.path for w in ours.weights] == [w.path for w in theirs.weights]
        if any("initializer" in key for key in options):
            for a, b in zip(ours.layers[-1].weights, theirs.layers[-1].weights):
                near(a.numpy(), b.value, f"{a.path} to begin with")
        start = [rng.normal(size=w.shape) / np.sqrt(max(1, int(np.prod(w.shape[:-1])))) for w in ours.weights]
        start = [np.abs(a) + 0.3 if "variance" in w.name else a.astype(w.dtype) for a,
                 w in zip(start, ours.weights)]
        for k, model in ((tdfast, ours), (keras, theirs)):
            model.set_weights(start)
            for layer in model.layers:
                getattr(layer, "finalize_state", lambda: None)()
            model.compile(k.optimizers.SGD(0.25), "mse")
        want = theirs.predict(x, verbose=0)
        near(ours.predict(x, verbose=0), want, "predictions")
        y = rng.normal(size=want.shape).astype("float32")
        if is_random(options):
            return
        near(ours.train_on_batch(x, y), theirs.train_on_batch(x, y), "loss")
        for a, b in zip(ours.weights, theirs.weights):
            near(a.numpy(), b.value, f"{a.path} after a step")


def given(name):
    """The options that the sets of a layer give, with their values; of a cell, those that its calls above
    name."""
    out = {}
    for options in ROWS[name][1]:
        if name.endswith("Cell"):
            options = options(layers)["cell"].get_config()
        elif name == "StackedRNNCells":
            options = {"cells": options(layers)["cell"].cells}
        elif callable(options):
            options = options(layers)
        for key, value in options.items():
            out.setdefault(key, []).append(value)
    return out


@pytest.mark.parametrize("name", [
    name for name in layers.__all__ if inspect.isclass(getattr(layers, name)) and hasattr(keras.layers, name)
    and getattr(layers, name).__name__ == name and getattr(keras.layers, name).__name__ == name
    and name not in ("Layer", "InputLayer", "Lambda", "Wrapper")      # the last two: test_live_own.py
    and ".preprocessing." not in getattr(layers, name).__module__])        # see test_live_text.py
def test_nothing_is_left_out(name):
    """A layer without a row, or an option that no set of its row has at another value than the default, is an
    error."""
    found = given(name)
    parameters = inspect.signature(getattr(keras.layers, name).__init__).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD
               and p.name != "self"}
    for key, usual in options.items():
        if key == "data_format" and name.startswith(IMAGES):
            with pytest.raises(ValueError, match="channels_first"):
                make(tdfast, name, {**{k: v[0] for k, v in found.items()}, "data_format": "channels_first"})
        elif key not in ELSEWHERE | REFUSED.get(name, set()):
            others = [value for value in found.get(key, []) if repr(value) != repr(usual)]
            assert others, f"no set of options of {name} has another {key} than {usual!r}"


# ---------------------------------------------------------------- states


@pytest.mark.parametrize("make", [
    lambda L: L.LSTM(3, stateful=True, return_sequences=True), lambda L: L.GRU(3, stateful=True),
    lambda L: L.SimpleRNN(3, stateful=True, go_backwards=True),
    lambda L: L.Bidirectional(L.LSTM(2, stateful=True)),
    lambda L: L.RNN(L.GRUCell(3), stateful=True),
], ids=["LSTM", "GRU", "SimpleRNN", "Bidirectional", "RNN"])
def test_stateful(make):
    """States go from call to call until they are reset. (In fit and predict, Keras on JAX forgets them.)"""
    ours, theirs = (k.Sequential([k.Input(batch_shape=(BATCH, 5, 3)), make(k.layers)])
                    for k in (tdfast, keras))
    rng = np.random.default_rng(0)
    start = [rng.normal(size=w.shape) * 0.7 for w in ours.weights]
    ours.set_weights(start)
    theirs.set_weights(start)
    batches = rng.normal(size=(3, BATCH, 5, 3)).astype("float32")
    for i, batch in enumerate(batches):
        near(ours(batch), theirs(batch), f"batch {i}")
    for model in (ours, theirs):
        model.layers[0].reset_state()
    near(ours(batches[1]), theirs(batches[1]), "after a reset")
