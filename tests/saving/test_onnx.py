"""ONNX files: checked by onnx, and equal to predict in ONNX Runtime, over models, options and masks."""

import sys

import numpy as np
import pytest
import random_models
from random_models import close, inputs, model_of

import tdfast
from tdfast import saving
from tdfast.engine.network import Network
from tdfast.layers import (
    GRU,
    LSTM,
    Activation,
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Conv3DTranspose,
    Cropping1D,
    Cropping2D,
    Cropping3D,
    Dense,
    DepthwiseConv1D,
    DepthwiseConv2D,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    GroupNormalization,
    LayerNormalization,
    Masking,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
    Normalization,
    Permute,
    PReLU,
    RepeatVector,
    Rescaling,
    Reshape,
    RMSNormalization,
    SeparableConv1D,
    SeparableConv2D,
    SimpleRNN,
    Softmax,
    SpatialDropout2D,
    SpatialDropout3D,
    SpectralNormalization,
    TimeDistributed,
    UnitNormalization,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from tdfast.saving.onnx.activations import IN_CELLS, NODES
from tdfast.saving.onnx.converters import CONVERTERS
from tdfast.saving.onnx.merging import JOINING

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
onnxruntime.set_default_logger_severity(3)      # a default of an input is worth a warning to it

RECURRENT = [LSTM, GRU, SimpleRNN]


def session(model, folder, **options):
    """An ONNX Runtime session of the exported model."""
    path = folder / "model.onnx"
    saving.export_onnx(model, path, **options)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def run(s, x, **more):
    """The outputs by name."""
    return dict(zip([o.name for o in s.get_outputs()], s.run(None, {"input": x, **more})))


def same_as_predict(layers, shape, folder, x=None, **options):
    """Export, run and compare; the session."""
    model = model_of(layers, shape)
    s = session(model, folder, **options)
    for batch, steps in [(3, 6), (1, 1)] if x is None and shape[0] is None else [(3, 6)]:
        given = inputs(shape, batch, steps) if x is None else x
        close(run(s, given)["output"], model.predict(given, verbose=0))
    return s


# ---------------------------------------------------------------- layers
def seq(**more):
    return {"return_sequences": True, **more}


SERIES, IMAGE, VOLUME = (None, 4), (9, 8, 4), (5, 6, 4, 4)
MODELS = {
    "blog": ([LSTM(32, **seq()), TimeDistributed(Dense(8))], (64, 15)),
    **{f"{cell.__name__} last": ([cell(5)], SERIES) for cell in RECURRENT},
    **{f"{cell.__name__} sequences": ([cell(5, **seq())], SERIES) for cell in RECURRENT},
    **{f"{cell.__name__} backwards": ([cell(5, **seq(go_backwards=True))], SERIES) for cell in RECURRENT},
    **{f"{cell.__name__} backwards last": ([cell(1, go_backwards=True, use_bias=False)], SERIES)
       for cell in RECURRENT},
    "GRU reset before": ([GRU(5, reset_after=False, **seq()), GRU(3, reset_after=False, use_bias=False)],
                         SERIES),
    **{f"Bidirectional {mode}": ([Bidirectional(cell(5, **seq()), merge_mode=mode)], SERIES)
       for mode, cell in zip(("concat", "sum", "ave", "mul"), (LSTM, GRU, SimpleRNN, LSTM))},
    **{f"Bidirectional {mode} last": ([Bidirectional(cell(5), merge_mode=mode)], SERIES)
       for mode, cell in zip(("concat", "sum", "ave", "mul"), (GRU, SimpleRNN, LSTM, LSTM))},
    "Bidirectional of two kinds": ([Bidirectional(LSTM(5, **seq()),
                                                  backward_layer=GRU(3, **seq(go_backwards=True)))], SERIES),
    "Bidirectional, other activations": ([Bidirectional(
        GRU(5, activation="leaky_relu", **seq()),
        backward_layer=GRU(5, recurrent_activation="hard_sigmoid", use_bias=False,
                           **seq(go_backwards=True)))], SERIES),
    "Bidirectional, first backwards": ([Bidirectional(
        LSTM(5, **seq(go_backwards=True)), backward_layer=LSTM(5, **seq()), merge_mode="sum")], SERIES),
    "Dense on a vector": ([Dense(5, activation="relu"), Dropout(0.5), Dense(3, use_bias=False)], (4,)),
    "TimeDistributed of images": ([TimeDistributed(Conv2D(3, 3)), TimeDistributed(Flatten()), LSTM(3)],
                                  (None, 5, 6, 2)),
    "TimeDistributed Sequential": ([TimeDistributed(tdfast.Sequential(
        [Conv1D(4, 3, activation="relu"), GlobalMaxPooling1D(), Dense(5), RepeatVector(2), LSTM(3)]))],
        (None, 5, 4)),
    "TimeDistributed of open size": ([TimeDistributed(Conv1D(4, 2, padding="same")),
                                      TimeDistributed(MaxPooling1D(2, padding="same"))], (None, None, 4)),
    "TimeDistributed twice": ([TimeDistributed(TimeDistributed(Dense(3)))], (None, 3, 4)),
    "nested": ([tdfast.Sequential([LSTM(5, **seq()), tdfast.Sequential([Dense(3)])]), Dense(2)], SERIES),
    **{f"Conv1D {padding} {options}": ([Conv1D(6, 3, padding=padding, **options)], shape)
       for padding, shape in (("valid", (9, 4)), ("same", SERIES), ("causal", SERIES), ("same", (9, 4)))
       for options in ({"strides": 2, "activation": "gelu"}, {"dilation_rate": 2, "use_bias": False},
                       {"groups": 2})},
    **{f"Conv2D {padding} {options}": ([Conv2D(6, (3, 2), padding=padding, **options)], IMAGE)
       for padding in ("valid", "same")
       for options in ({"strides": (2, 3), "activation": "softmax"}, {"dilation_rate": (1, 2)},
                       {"groups": 2})},
    "Conv2D same, open sizes": ([Conv2D(3, 3, strides=2, padding="same")], (None, None, 2)),
    **{f"DepthwiseConv1D {padding} {options}": ([DepthwiseConv1D(3, padding=padding, **options)], shape)
       for padding, shape in (("valid", (9, 4)), ("same", SERIES), ("causal", SERIES))
       for options in ({"strides": 2, "activation": "softmax"},
                       {"dilation_rate": 2, "depth_multiplier": 3, "use_bias": False})},
    **{f"DepthwiseConv2D {options}": ([DepthwiseConv2D((3, 2), **options)], IMAGE)
       for options in ({"depth_multiplier": 2}, {"padding": "same", "strides": (2, 1), "dilation_rate": 2,
                                                 "activation": "tanh"})},
    "DepthwiseConv2D of one channel, open sizes": ([DepthwiseConv2D(3, 2, "same")], (None, None, 1)),
    **{f"SeparableConv1D {padding}": ([SeparableConv1D(5, 3, padding=padding, strides=2, activation="gelu")],
                                      (9, 4))
       for padding in ("valid", "same", "causal")},
    "SeparableConv2D": ([SeparableConv2D(5, (3, 2), depth_multiplier=2, dilation_rate=2, padding="same",
                                         use_bias=False)], IMAGE),
    **{f"Conv1DTranspose {padding} {options}": ([Conv1DTranspose(3, padding=padding, **options)], SERIES)
       for padding in ("valid", "same")
       for options in ({"kernel_size": 3}, {"kernel_size": 5, "strides": 2, "activation": "relu"},
                       {"kernel_size": 2, "strides": 4},
                       {"kernel_size": 4, "strides": 3, "output_padding": 2},
                       {"kernel_size": 3, "dilation_rate": 3, "use_bias": False})},
    **{f"Conv2DTranspose {padding}": ([Conv2DTranspose(3, (5, 2), (2, 3), padding, output_padding=(0, 1),
                                                       activation="softmax")], IMAGE)
       for padding in ("valid", "same")},
    "ZeroPadding1D": ([ZeroPadding1D((2, 0)), ZeroPadding1D()], SERIES),
    "ZeroPadding2D": ([ZeroPadding2D(((1, 0), (2, 3)))], IMAGE),
    "Cropping1D": ([Cropping1D((0, 2)), Cropping1D((1, 0))], (9, 4)),
    "Cropping1D, open size": ([UpSampling1D(4), Cropping1D((2, 1))], SERIES),
    "Cropping2D": ([Cropping2D(((1, 0), (2, 3)))], IMAGE),
    "UpSampling1D": ([UpSampling1D(3)], SERIES),
    **{f"UpSampling2D {kind}": ([UpSampling2D((3, 2), interpolation=kind)], shape)
       for kind, shape in (("nearest", IMAGE), ("bilinear", (None, 5, 2)))},
    **{f"{kind.__name__} {padding} {strides}": ([kind(3, strides=strides, padding=padding)], shape)
       for kind, shape in ((MaxPooling1D, (8, 4)), (AveragePooling1D, (8, 4)), (MaxPooling2D, IMAGE),
                           (AveragePooling2D, IMAGE))
       for padding in ("valid", "same") for strides in (None, 1, 2)},
    "AveragePooling1D same, open size": ([AveragePooling1D(3, padding="same")], SERIES),
    **{f"{kind.__name__} {keep}": ([kind(keepdims=keep)], shape) for keep in (False, True)
       for kind, shape in ((GlobalMaxPooling1D, SERIES), (GlobalAveragePooling1D, SERIES),
                           (GlobalMaxPooling2D, IMAGE),
                           (GlobalAveragePooling2D, IMAGE))},
    **{f"Conv3D {padding} {options}": ([Conv3D(6, (3, 2, 1), padding=padding, **options)], VOLUME)
       for padding in ("valid", "same")
       for options in ({"strides": (2, 3, 1), "activation": "relu"}, {"dilation_rate": (1, 2, 2)},
                       {"groups": 2})},
    **{f"Conv3DTranspose {padding}": ([Conv3DTranspose(3, (5, 2, 3), (2, 3, 1), padding,
                                                       activation="tanh")], VOLUME)
       for padding in ("valid", "same")},
    **{f"{kind.__name__} {padding}": ([kind((2, 3, 2), padding=padding)], VOLUME)
       for kind in (MaxPooling3D, AveragePooling3D) for padding in ("valid", "same")},
    **{f"{kind.__name__}": ([kind()], VOLUME)
       for kind in (GlobalMaxPooling3D, GlobalAveragePooling3D, ZeroPadding3D, Cropping3D, UpSampling3D)},
    "TimeDistributed of volumes": ([TimeDistributed(Conv3D(2, 3))], (2, *VOLUME)),
    **{f"{kind.__name__}": ([kind(size)], shape)
       for kind, size, shape in (
           (AdaptiveMaxPooling1D, 4, (8, 3)), (AdaptiveAveragePooling1D, 2, (8, 3)),
           (AdaptiveMaxPooling2D, (3, 2), IMAGE), (AdaptiveAveragePooling2D, (9, 4), IMAGE),
           (AdaptiveMaxPooling3D, (5, 3, 1), VOLUME), (AdaptiveAveragePooling3D, (1, 2, 4), VOLUME))},
    "BatchNormalization": ([BatchNormalization()], SERIES),
    "BatchNormalization of rows": ([BatchNormalization(axis=1, scale=False)], IMAGE),
    "BatchNormalization bare": ([BatchNormalization(scale=False, center=False, epsilon=0.1)], (4,)),
    "LayerNormalization": ([LayerNormalization()], SERIES),
    "LayerNormalization bare": ([LayerNormalization(scale=False, center=False, epsilon=0.1)], SERIES),
    "LayerNormalization of images": ([LayerNormalization(axis=[1, 2, 3])], IMAGE),
    "LayerNormalization of inner axes": ([LayerNormalization(axis=[1, 2])], IMAGE),
    "without effect": (random_models.without_effect(), SERIES),
    "SpatialDropout2D": ([SpatialDropout2D(0.5)], IMAGE),
    "SpectralNormalization": ([SpectralNormalization(Conv2D(3, 2, activation="tanh")),
                               SpectralNormalization(Dense(2))], IMAGE),
    "SpatialDropout3D": ([SpatialDropout3D(0.5)], (2, *IMAGE)),
    **{f"{type(layer).__name__} {i}": ([layer], IMAGE) for i, layer in enumerate(random_models.parametric())},
    "PReLU": ([PReLU(shared_axes=[1])], SERIES),
    "PReLU of images": ([PReLU(shared_axes=[2])], IMAGE),
    "Softmax": ([Softmax(axis=1)], IMAGE),
    "Softmax of two axes": ([Softmax(axis=[1, -1])], IMAGE),
    "Rescaling": ([Rescaling([1.0, 2.0, 3.0, 4.0], -1.0)], SERIES),
    "Normalization": ([Normalization()], SERIES),
    "Normalization of images": ([Normalization(axis=(1, 3))], IMAGE),
    "Normalization of given numbers": ([Normalization(axis=None, mean=0.5, variance=2.0, invert=True)],
                                       SERIES),
    "UnitNormalization": ([UnitNormalization()], SERIES),
    "UnitNormalization of images": ([UnitNormalization(axis=[1, 2])], IMAGE),
    "RMSNormalization": ([RMSNormalization(epsilon=0.1)], SERIES),
    "RMSNormalization of images": ([RMSNormalization(axis=[1, 3])], IMAGE),
    "GroupNormalization": ([GroupNormalization(2)], SERIES),
    "GroupNormalization of rows": ([GroupNormalization(-1, axis=1, scale=False)], IMAGE),
    "EinsumDense": ([tdfast.layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")], SERIES),
    "Flatten": ([Flatten(), Dense(2)], IMAGE),
    "Flatten channels first": ([Flatten("channels_first")], IMAGE),
    "Flatten open": ([Flatten()], SERIES),
    "Reshape": ([Reshape((-1, 4, 2)), Reshape((6, 6, 2, 4))], IMAGE),
    "Reshape open": ([Reshape((-1, 2))], SERIES),
    "Permute": ([Permute((3, 1, 2))], IMAGE),
    "RepeatVector": ([LSTM(3), RepeatVector(4), GRU(2, **seq())], SERIES),
}


@pytest.mark.parametrize("layers,shape", MODELS.values(), ids=MODELS)
def test_equals_predict(layers, shape, tmp_path):
    same_as_predict(layers, shape, tmp_path)


def test_the_table_above_has_every_converter():
    # these have tests of their own below
    others = {Network, *JOINING}                 # the latter: test_onnx_graphs.py
    assert set(CONVERTERS) - others - random_models.classes_in(MODELS) == {Masking, Embedding}


@pytest.mark.parametrize("name", list(tdfast._kernels.ACTIVATIONS))
def test_activations(name, tmp_path):
    model = model_of([Activation(name)], (9,))
    s = session(model, tmp_path)
    x = np.concatenate([inputs((9,), 20) * 3, np.linspace(-6, 6, 45, dtype="float32").reshape(5, 9)])
    close(run(s, x)["output"], model.predict(x, verbose=0))


@pytest.mark.parametrize("cell", RECURRENT)
@pytest.mark.parametrize("name", [name for name in NODES if "with" not in name])
def test_activations_in_cells(name, cell, tmp_path):
    gates = {} if cell is SimpleRNN else {"recurrent_activation": name if name in IN_CELLS else "sigmoid"}
    layer = cell(5, activation=name, name="odd", **gates)
    if name in IN_CELLS:
        # two steps: gates that know no bound make more explode
        same_as_predict([layer, Dense(2)], (2, 4), tmp_path)
    else:
        with pytest.raises(ValueError, match=f"'odd'.*recurrent nodes.*activation {name}"):
            same_as_predict([layer], SERIES, tmp_path)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_embedding(dtype, tmp_path):
    ids = np.random.default_rng(0).integers(0, 7, (3, 5)).astype("int32")
    model = model_of([Embedding(7, 4), LSTM(3)], (None,), dtype=dtype)
    close(run(session(model, tmp_path), ids)["output"], model.predict(ids, verbose=0))


def test_float64_is_checked_and_runs_where_the_runtime_can(tmp_path):
    layers = [LayerNormalization(dtype="float64"), Dense(3, activation="softmax", dtype="float64")]
    model = model_of(layers, SERIES, dtype="float64")
    x = inputs(SERIES, dtype="float64")
    close(run(session(model, tmp_path), x)["output"], model.predict(x, verbose=0), 1e-9)
    saving.export_onnx(model_of([LSTM(3, dtype="float64")], SERIES, dtype="float64"), tmp_path / "lstm.onnx")


# ---------------------------------------------------------------- masks
def gappy(seed=0):
    """Sequences with steps of 0 on the right, on the left, in between, everywhere and nowhere."""
    x = inputs(SERIES, 6, 7, seed)
    x[0, 4:] = x[1, :3] = x[2, 2:5] = x[3] = x[4, ::2] = 0
    return x


@pytest.mark.parametrize("cell", RECURRENT)
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_masking(cell, zeros, backwards, sequences, tmp_path):
    options = {"go_backwards": backwards, "zero_output_for_mask": zeros, "return_sequences": sequences}
    behind = [SimpleRNN(3, return_sequences=True)] if sequences else [Dense(2)]
    same_as_predict([Masking(), cell(5, **options), *behind], SERIES, tmp_path, gappy())


@pytest.mark.parametrize("layers", [
    [Masking(), Bidirectional(LSTM(5, return_sequences=True)), Bidirectional(GRU(3), merge_mode="mul")],
    [Masking(0.0), TimeDistributed(Dense(3, activation="tanh")), LayerNormalization(), GRU(2)],
    [Masking(), GlobalAveragePooling1D()],
    [Masking(), BatchNormalization(), Masking(2.0), LSTM(3)],
    [tdfast.Sequential([Masking(), LSTM(4, return_sequences=True)]), GRU(3)],
    [Masking(), ZeroPadding1D((2, 1)), Cropping1D((1, 0)), UpSampling1D(2), GRU(3, return_sequences=True),
     LSTM(2)],
    [LSTM(4, return_sequences=True), Masking(), GRU(3)],
], ids=lambda layers: " ".join(type(layer).__name__ for layer in layers))
def test_masks_travel(layers, tmp_path):
    same_as_predict(layers, SERIES, tmp_path, gappy())


def test_masks_of_images_and_inside_of_steps(tmp_path):
    x = inputs((None, None, 4), 2, 5)
    x[0, 1, 3:] = x[1, 2, :2] = 0
    same_as_predict([TimeDistributed(tdfast.Sequential([Masking(), GRU(3)]))], (None, None, 4), tmp_path, x)
    same_as_predict([Masking(), TimeDistributed(LSTM(3))], (None, None, 4), tmp_path, x)


def test_embedding_masks(tmp_path):
    ids = np.array([[1, 2, 0, 3, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 2, 2]], "int32")
    same_as_predict([Embedding(5, 4, mask_zero=True), Bidirectional(GRU(3, reset_after=False)), Dense(2)],
                    (None,),
                    tmp_path, ids)


@pytest.mark.filterwarnings("ignore:Layer .flat")
def test_a_mask_ends_where_predict_ends_it(tmp_path):
    x = inputs((7, 4), 3)
    x[:, 5:] = 0
    same_as_predict([Masking(), LSTM(3, return_sequences=True), Flatten(name="flat"), Dense(2)], (7, 4),
                    tmp_path, x)


@pytest.mark.parametrize("layers", [
    [LSTM(5, return_sequences=True), TimeDistributed(Dense(2))],
    [GRU(5, go_backwards=True, return_sequences=True, zero_output_for_mask=True), LSTM(3)],
    [Bidirectional(SimpleRNN(4, return_sequences=True), merge_mode="ave"), GlobalAveragePooling1D()],
    [Dense(3), GRU(4), Dense(2)],
    [UpSampling1D(2), ZeroPadding1D((1, 2)), GRU(4, return_sequences=True)],
], ids=lambda layers: " ".join(type(layer).__name__ for layer in layers))
def test_lengths(layers, tmp_path):
    model = model_of(layers, SERIES)
    s = session(model, tmp_path, lengths=True)
    x, lengths = inputs(SERIES, 4, 7), np.array([7, 3, 1, 5], "int32")
    close(run(s, x, lengths=lengths)["output"], model.predict(x, lengths=lengths, verbose=0))


# ---------------------------------------------------------------- states
@pytest.mark.parametrize("layers,names", [
    ([LSTM(5, return_sequences=True, name="one"), GRU(3, name="two")], ["one_h", "one_c", "two_h"]),
    ([tdfast.Sequential([SimpleRNN(3, return_sequences=True, name="one")], name="in"),
      LSTM(2, name="two", stateful=True)],
     ["in/one_h", "two_h", "two_c"]),
])
def test_states_carry_a_sequence_over(layers, names, tmp_path):
    model = model_of(layers, SERIES)
    s = session(model, tmp_path, states=True)
    assert [o.name for o in s.get_outputs()] == ["output", *names]
    assert [i.name for i in s.get_inputs()] == ["input"]
    assert {i.name for i in s.get_overridable_initializers()} == {f"{name}0" for name in names}
    x = inputs(SERIES, 3, 9)
    want = model.predict(x, verbose=0)
    first = run(s, x[:, :4])
    then = run(s, x[:, 4:], **{f"{name}0": first[name] for name in names})
    close(then["output"], want)


def test_states_of_both_directions_and_of_masked_rows(tmp_path):
    layer = Bidirectional(LSTM(3, return_sequences=True, return_state=True), name="both")
    model = model_of([Masking(), layer], SERIES)
    s = session(model, tmp_path, states=True)
    x, rng = gappy(), np.random.default_rng(0)
    given = [rng.normal(size=(6, 3)).astype("float32") for _ in range(4)]
    names = [i.name for i in s.get_overridable_initializers()]
    assert names == [f"both/{way}_{layer.forward_layer.name[8:]}_{s}0" for way in ("forward", "backward")
                     for s in "hc"]
    want = layer(x, initial_state=given, mask=(x != 0).any(axis=-1))
    got = run(s, x, **dict(zip(names, given)))
    for one, other in zip(got.values(), want):
        close(one, other)
    assert list(got) == ["output", *(name[:-1] for name in names)]


def test_returned_states_are_outputs(tmp_path):
    layer = LSTM(3, return_state=True, name="lstm")
    got = run(session(model_of([layer], SERIES), tmp_path), inputs(SERIES))
    assert list(got) == ["output", "lstm_h", "lstm_c"]
    for one, other in zip(got.values(), layer(inputs(SERIES))):
        close(one, other)


# ---------------------------------------------------------------- the file
def test_nodes_and_axes(tmp_path):
    model = model_of([Bidirectional(LSTM(5, return_sequences=True)), GRU(3, return_sequences=True),
                      SimpleRNN(2)], SERIES)
    saving.export_onnx(model, tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    kinds = [node.op_type for node in proto.graph.node]
    assert [kinds.count(kind) for kind in ("LSTM", "GRU", "RNN", "Loop", "Scan")] == [1, 1, 1, 0, 0]
    dims = [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", "time", 4]
    assert proto.opset_import[0].version == 17 and proto.producer_name == "tdfast"


@pytest.mark.parametrize("opset", range(17, 23))
def test_opsets(opset, tmp_path):
    layers = [Masking(), LSTM(5, return_sequences=True), BatchNormalization(), LayerNormalization(axis=1),
              GRU(3), Dense(4),
              Activation("sparsemax")]
    s = same_as_predict(layers, (7, 4), tmp_path, gappy(), opset=opset)
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == opset
    assert s.get_inputs()[0].shape == ["batch", 7, 4]


class Doubling(Dense):
    """Computes something else than its base."""

    def forward(self, x, tape, training=False, mask=None):
        return 2 * super().forward(x, tape, training, mask)


def test_a_sequential_of_ones_own_class(tmp_path):
    class Model(tdfast.Sequential):
        pass

    model = Model([tdfast.Input((None, 4)), Model([Dense(3)]), LSTM(2)])
    close(run(session(model, tmp_path), inputs(SERIES))["output"], model.predict(inputs(SERIES), verbose=0))


@pytest.mark.parametrize("layers,options,error", [
    ([LSTM(3, name="odd", stateful=True)], {}, "'odd'.*stateful.*states=True"),
    ([TimeDistributed(Dense(3)), Doubling(3, name="odd")], {}, "'odd' .Doubling. cannot be exported"),
    ([Masking(), Conv1D(3, 2, name="odd")], {}, "'odd' .Conv1D. does not pass on the mask"),
    ([LSTM(3, return_sequences=True), Flatten(name="odd")], {"lengths": True},
     "'odd' .Flatten. does not pass on.*lengths"),
    ([Dense(3)], {"lengths": True}, "no layer.*uses a mask"),
    ([Dense(3)], {"opset": 11}, "17 to 22"),
    ([TimeDistributed(Masking(), name="odd")], {}, "'odd'.*lose the mask"),
    ([Dense(3), Dense(3, dtype="float64", name="odd")], {}, "'odd'.*float64"),
    ([random_models.with_own_tanh("odd")], {}, "'odd'.*activation tanh"),
    ([Activation(tdfast.activations.Function(np.sin, np.cos), name="odd")], {}, "'odd'.*activation sin"),
    ([Masking(), Softmax(name="odd")], {}, "'odd'.*behind a mask"),
    ([SeparableConv1D(3, 2, 2, "same", dilation_rate=2, name="odd")], {},
     "'odd'.*both strides and dilation_rate above 1"),
])
def test_refusals_name_the_layer(layers, options, error, tmp_path):
    shape = (5, 3, 4) if type(getattr(layers[0], "layer",
                                      None)) is Masking else (None if "dilation" in error else 5, 4)
    with pytest.raises(ValueError, match=error):
        session(model_of(layers, shape), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_built_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no weights yet"):
        saving.export_onnx(tdfast.Sequential([Dense(3)]), tmp_path / "m")
    with pytest.raises(ValueError, match="tdfast model"):
        saving.export_onnx(Dense(3), tmp_path / "m")


def test_a_failed_export_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        saving.export_onnx(model_of([Dense(2)], (3,)), path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"tdfast\[onnx\]"):
        saving.export_onnx(model_of([Dense(2)], (3,)), tmp_path / "m")


# ---------------------------------------------------------------- random models
def test_random_models(tmp_path):
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies

    @hypothesis.settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @hypothesis.given(st.data())
    def check(data):
        layers = random_models.any_stack(lambda values: data.draw(st.sampled_from(list(values))))
        features, batch, steps = (data.draw(st.integers(1, n)) for n in (7, 4, 9))
        model = model_of(layers, (None, features), seed=data.draw(st.integers(0, 9)))
        x = inputs((None, features), batch, steps)
        close(run(session(model, tmp_path), x)["output"], model.predict(x, verbose=0))

    check()
