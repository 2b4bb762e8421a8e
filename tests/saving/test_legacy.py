"""Keras 2's files: recordings of real ones (tests/files/keras2/index.json says which), and variants made by
hand."""

import io
import json
import re
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tdfast
from tdfast import layers, saving
from tdfast.engine.serialization import deserialize_layer
from tdfast.saving import FileError
from tdfast.saving.keras.compiling import compile_as
from tdfast.saving.keras.legacy_config import modern_compile, modern_layer

h5py = pytest.importorskip("h5py")

FOLDER = Path(__file__).parents[1] / "files" / "keras2"
ROWS = json.loads((FOLDER / "index.json").read_text())["cases"]


def near(got, want, what, bound=2e-5):
    np.testing.assert_allclose(got, want, rtol=0, atol=bound * max(1, np.abs(want).max()), err_msg=what)


@pytest.mark.parametrize("file, row", [pytest.param(f, row, id=f) for row in ROWS for f in row["files"]])
def test_replay(file, row):
    """Predictions, and the losses of four steps from the stored state of the optimizer, as Keras 2 computed
    them."""
    with np.load(FOLDER / f"{row['name']}.npz") as recorded:
        data = dict(recorded)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if row["name"] == "hard-sigmoid" else "error")
        model = saving.load_model(FOLDER / file)
    near(model.predict(data["x"], verbose=0), data["pred0"], "predictions")
    assert model.optimizer.iterations == row["steps"]
    if "losses" in data:
        losses = [model.train_on_batch(data["x"], data["y"], return_dict=True)["loss"]
                  for _ in data["losses"]]
        near(losses, data["losses"], "losses")
        near(model.predict(data["x"], verbose=0), data["pred1"], "predictions after training")


def recorded(name):
    with np.load(FOLDER / f"{name}.npz") as data:
        return dict(data)


def test_hard_sigmoid_is_made_up_for_with_a_warning_that_names_the_layers():
    with pytest.warns(UserWarning,
                      match="'backward_gru', 'dense.*, 'forward_gru', 'gru.*, 'lstm.*' were") as caught:
        model = saving.load_model(FOLDER / "hard-sigmoid.h5")
    assert len(caught) == 1 and "steps of training are not" in str(caught[0].message)
    raw = tdfast.Sequential.from_config(model.get_config())
    raw.load_weights(FOLDER / "hard-sigmoid.h5")
    x = recorded("hard-sigmoid")["x"]
    # it makes a difference
    assert np.abs(raw.predict(x, verbose=0) - model.predict(x, verbose=0)).max() > 0.01


def test_what_was_loaded_can_be_saved_as_keras_3(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [saving.load_model(FOLDER / f) for row in ROWS for f in row["files"]]
    for model in models:
        model.save(tmp_path / "m.keras")
        again = saving.load_model(tmp_path / "m.keras")
        assert again.get_config() == model.get_config()
        for v, w in zip(again.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(v, w)


def test_weights_of_a_whole_model_load_into_a_model_of_ones_own():
    data = recorded("new-adam")
    model = tdfast.Sequential([layers.Input((None, 3)), layers.LSTM(5, return_sequences=True),
                               layers.TimeDistributed(layers.Dense(1))])
    model.load_weights(FOLDER / "new-adam.h5")
    near(model.predict(data["x"], verbose=0), data["pred0"], "predictions")


# ------------------------------------------------------------------------------------------ files made by
# hand
def layer(class_name, name, **config):
    return {"class_name": class_name, "config": {"name": name, "trainable": True, **config}}


KERNEL = np.arange(6, dtype="f").reshape(3, 2)
DENSE = {"dense_1": {"dense_1/kernel:0": KERNEL, "dense_1/bias:0": np.ones(2, "f")}}


def dense(name="dense_1", units=2, **more):
    return layer("Dense", name, units=units, activation="linear", use_bias=True, **more)


def write(path, described, arrays=None, training=None, state=None, top="model_weights", **attributes):
    """A file as Keras 2 wrote it.

    Args:
        described: the layers, as Keras 2's dicts; or the whole model_config.
        arrays: dict layer -> dict name -> array.
        training: the training_config.
        state: dict name -> array of the optimizer.
        attributes: more of the root.
    """
    config = described if isinstance(described, dict) else {
        "class_name": "Sequential", "config": {"name": "sequential_1", "layers": described}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"] = b"2.2.4"
        if training is not None:
            file.attrs["training_config"] = json.dumps(training).encode()
        for key, value in attributes.items():
            file.attrs[key] = value
        arrays = DENSE if arrays is None else arrays
        group = file.create_group(top)
        group.attrs["layer_names"] = [name.encode() for name in arrays]
        group.attrs["keras_version"] = b"2.2.4"
        for name, values in arrays.items():
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [weight.encode() for weight in values]
            for weight, value in values.items():
                inner[weight] = value
        if state is not None:
            group = file.create_group("optimizer_weights")
            group.attrs["weight_names"] = [name.encode() for name in state]
            for name, value in state.items():
                group[name] = value
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.h5"


def refused(path, *words, **options):
    with pytest.raises(FileError) as caught:
        saving.load_model(path, **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_oldest_form_a_list_of_layers(path):
    config = {"class_name": "Sequential", "config": [dense(batch_input_shape=[None, 3], dtype="float32")]}
    with h5py.File(write(path, config), "a") as file:
        del file.attrs["keras_version"]
    model = saving.load_model(path)
    np.testing.assert_array_equal(model.predict(np.eye(3), verbose=0), KERNEL + 1)
    assert model.optimizer is None


def test_keras_2_options(path):
    """A stack whose inner layers have no module, with the options that Keras 2 wrote, and GRU without
    reset_after."""
    initializer = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "mode": "fan_avg",
                                                               "distribution": "normal",
                                                               "seed": None}}
    cell = dict(return_sequences=True, return_state=False, go_backwards=False, stateful=False, unroll=False,
                units=2,
                activation="tanh", recurrent_activation="sigmoid", use_bias=True,
                kernel_initializer=initializer,
                recurrent_initializer={"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": None}},
                dropout=0.0, recurrent_dropout=0.0, implementation=1)
    described = [
        layer("Embedding", "embedding_1", batch_input_shape=[None, 4], dtype="float32", input_dim=5,
              output_dim=3, input_length=4,
              embeddings_initializer={"class_name": "RandomUniform",
                                      "config": {"minval": -0.05, "maxval": 0.05, "seed": None}},
              mask_zero=False),
        layer("Bidirectional", "both", layer=layer("LSTM", "lstm_1", unit_forget_bias=True, time_major=False,
                                                   **cell),
              merge_mode="sum"),
        layer("GRU", "gru_1", **cell),
        layer("TimeDistributed", "each", layer=dense("inner")),
        layer("LeakyReLU", "leaky", alpha=0.25),
        layer("BatchNormalization", "norm", axis=[2], momentum=0.9, epsilon=0.01, center=True, scale=True),
    ]
    rng = np.random.default_rng(0)

    def random(*shapes):
        return {f"w/{i}:0": rng.normal(size=shape).astype("f") for i, shape in enumerate(shapes)}

    arrays = {"embedding_1": random((5, 3)), "both": random((3, 8), (2, 8), (8,), (3, 8), (2, 8), (8,)),
              "gru_1": random((2, 6), (2, 6), (6,)), "each": random((2, 2), (2,)), "leaky": {},
              "norm": {n: np.abs(v) for n, v in random((2,), (2,), (2,), (2,)).items()}}
    model = saving.load_model(write(path, described, arrays))
    flat = [v for values in arrays.values() for v in values.values()]
    for got, want in zip(model.get_weights(), flat, strict=True):
        np.testing.assert_array_equal(got, want)
    assert model.layers[2].reset_after is False and model.layers[1].forward_layer.name.endswith("lstm_1")
    assert model.layers[1].forward_layer.kernel_initializer.get_config()["distribution"] == "truncated_normal"
    assert model.layers[4].negative_slope == 0.25 and model.layers[5].axis in (2, -1)
    assert model.predict(np.ones((1, 4)), verbose=0).shape == (1, 4, 2)


def test_frozen_layers_keep_their_arrays_in_order(path):
    described = [layer("BatchNormalization", "a", axis=-1, batch_input_shape=[None, 3]), dense("b")]
    described[0]["config"]["trainable"] = False
    values = {f"a/{i}:0": np.full(3, i + 1, "f") for i in range(4)}
    model = saving.load_model(write(path, described, {"a": values, "b": DENSE["dense_1"]}))
    np.testing.assert_array_equal(model.layers[0].get_weights(), list(values.values()))
    assert not model.layers[0].trainable


def training(loss="mse", optimizer="SGD", metrics=(), **config):
    return {"loss": loss, "metrics": list(metrics), "sample_weight_mode": None, "loss_weights": None,
            "optimizer_config": {"class_name": optimizer, "config": config}}


FIRST = [dense(batch_input_shape=[None, 3])]


def test_compile_state_of_keras_2(path):
    write(path, FIRST, training=training({"dense_1": "mean_squared_error"}, lr=0.5, decay=0.25, momentum=0.0,
                                         nesterov=False,
                                         metrics=["mae"]))
    model = saving.load_model(path)
    assert model.optimizer.learning_rate == 0.5
    x, y = np.ones((4, 3), "f"), np.zeros((4, 2), "f")
    model.train_on_batch(x, y)
    assert model.optimizer.learning_rate == pytest.approx(0.5 / 1.25)
    assert saving.load_model(path, compile=False).optimizer is None
    loss = {"class_name": "BinaryCrossentropy", "config": {"reduction": "auto", "name": "b",
                                                           "from_logits": True,
                                                           "label_smoothing": 0, "fn": "binary_crossentropy"}}
    metric = {"class_name": "MeanMetricWrapper", "config": {"name": "acc", "dtype": "float32",
                                                            "fn": "binary_accuracy"}}
    model = saving.load_model(write(path, FIRST, training=training(loss, "Adam", [[metric]],
                                                                   learning_rate=0.1, epsilon=None)))
    assert model.loss.from_logits and model.optimizer.epsilon == 1e-7
    assert list(model.evaluate(x, y, verbose=0,
                               return_dict=True)) == ["loss", "acc"] or "acc" in model.metrics_names


def test_optimizer_state_that_does_not_fit_is_named_in_a_warning(path):
    state = {"Adam/iter:0": np.int64(3), "Adam/dense_1/kernel/m:0": KERNEL}
    for changed in (state, {**state, "Adam/dense_1/bias/strange:0": np.ones(2, "f")},
                    {**state, "Adam/dense_1/bias/m:0": np.ones(3, "f"), "Adam/dense_1/kernel/v:0": KERNEL,
                     "Adam/dense_1/bias/v:0": np.ones(2, "f")}):
        write(path, FIRST, training=training(optimizer="Adam", lr=0.1), state=changed)
        with pytest.warns(UserWarning, match="starts afresh: .*adam"):
            model = saving.load_model(path)
        assert model.optimizer.iterations == 0
        np.testing.assert_array_equal(model.layers[0].kernel, KERNEL)
    fitting = {**state, "Adam/dense_1/bias/m:0": np.ones(2, "f"), "Adam/dense_1/kernel/v:0": KERNEL,
               "Adam/dense_1/bias/v:0":
               np.full(2, 7, "f")}
    model = saving.load_model(write(path, FIRST, training=training(optimizer="Adam", lr=0.1), state=fitting))
    assert model.optimizer.iterations == 3
    np.testing.assert_array_equal(model.optimizer.variables[-1].value, [7, 7])


def test_a_state_of_an_optimizer_that_is_not_named_is_left_out(path):
    """As in files whose training_config Keras had already taken the optimizer out of."""
    described = {**training(), "optimizer_config": None}
    with pytest.warns(UserWarning, match="which optimizer"):
        model = saving.load_model(write(path, FIRST, training=described, state={"Adam/iter:0": np.int64(3)}))
    assert model.optimizer.iterations == 0


def test_what_tdfast_lacks_is_named(path):
    refused(write(path, [layer("CuDNNLSTM", "fast", units=2, batch_input_shape=[None, 5, 3])]), "CuDNNLSTM",
            "'fast'")
    code = ["4wEAAAA=", None, None]
    refused(write(path, [layer("Lambda", "code", function=code, function_type="lambda",
                               batch_input_shape=[None, 3])]),
            "'code'", "Lambda")
    refused(write(path, FIRST, training=training("magic")), "'magic'", "compile=False")
    refused(write(path, FIRST, training=training(optimizer="TFOptimizer")), "TFOptimizer", "compile=False")
    refused(write(path, [layer("Activation", "act", activation="hard_sigmoid", batch_input_shape=[None, 3])],
                  {}),
            "'act'", "hard_sigmoid")
    cell = layer("LSTM", "cell", units=2, activation="hard_sigmoid", batch_input_shape=[None, 4, 3])
    arrays = {"cell": {"k": np.ones((3, 8), "f"), "r": np.ones((2, 8), "f"), "b": np.ones(8, "f")}}
    refused(write(path, [cell], arrays), "'cell'", "hard_sigmoid")


# ------------------------------------------------------------------------------------------ weights alone
def test_weights_by_place_and_by_name(path):
    weights = {"other": {"other/kernel:0": KERNEL + 5, "other/bias:0": np.zeros(2, "f")}, **DENSE}
    write(path, FIRST, weights)
    with h5py.File(path, "a") as file:
        del file.attrs["model_config"]
    model = tdfast.Sequential([layers.Dense(2, input_shape=(3,), name="dense_1")])
    before = model.get_weights()
    with pytest.raises(FileError, match="2 layers.*other.*1 layers"):
        model.load_weights(path)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    model.load_weights(path, by_name=True)
    np.testing.assert_array_equal(model.layers[0].kernel, KERNEL)
    model = tdfast.Sequential([layers.Dense(4, input_shape=(3,), name="dense_1")])
    before = model.get_weights()
    with pytest.raises(FileError, match=r"'dense_1'.*\(3, 4\).*\(3, 2\)"):
        model.load_weights(path, by_name=True)
    with pytest.warns(UserWarning, match="'dense_1'.*keeps"):
        model.load_weights(path, by_name=True, skip_mismatch=True)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
    refused(path, "weights alone", "load_weights")


def test_long_lists_of_names_are_cut_into_several_attributes(path):
    write(path, FIRST)
    with h5py.File(path, "a") as file:
        group = file["model_weights/dense_1"]
        del group.attrs["weight_names"]
        group.attrs["weight_names0"], group.attrs["weight_names1"] = (
            [b"dense_1/kernel:0"],
            [b"dense_1/bias:0"],
        )
    np.testing.assert_array_equal(saving.load_model(path).layers[0].kernel, KERNEL)


# ------------------------------------------------------------------------------------------ hostile and
# damaged files
def test_shapes_are_checked_before_memory_is_taken(path):
    tracemalloc.start()
    refused(write(path, [dense(units=2**36, batch_input_shape=[None, 3])]), "'dense_1'", "(3, 2)")
    refused(write(path, [dense(batch_input_shape=[None, 2**36])]), "'dense_1'")
    refused(write(path, [dense("a", batch_input_shape=[None, 3]), dense("b", units=2)]), "'b'")
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_wrong_arrays(path):
    refused(write(path, FIRST, {"dense_1": {"kernel": KERNEL}}), "'dense_1'", "bias", "(2,)")
    refused(write(path, FIRST, {**DENSE, "dense_2": DENSE["dense_1"]}), "dense_2")
    refused(write(path, FIRST,
                  {"dense_1": {"kernel": np.array([b"a"] * 6).reshape(3, 2), "bias": np.ones(2, "f")}}),
                  "numbers")
    swapped = {"dense_1": {"bias": np.ones(2, "f"), "kernel": KERNEL}}
    refused(write(path, FIRST, swapped), "'dense_1'", "(3, 2)", "(2,)")


def test_names_do_not_lead_out_of_the_file(path, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = KERNEL
    for link in (h5py.ExternalLink(str(other), "secret"),
                 h5py.SoftLink("/model_weights/dense_1/dense_1/bias:0")):
        write(path, FIRST)
        with h5py.File(path, "a") as file:
            del file["model_weights/dense_1/dense_1/kernel:0"]
            file["model_weights/dense_1/dense_1/kernel:0"] = link
        refused(path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 60_000])
def test_configs_that_are_no_models(path, text):
    with h5py.File(write(path, FIRST), "a") as file:
        del file.attrs["model_config"]
        file.attrs["model_config"] = text or h5py.Empty("S1")
    refused(path)


@pytest.mark.parametrize("value", [3.5, [1, 2], np.zeros((2, 2)), [[b"dense_1"]], [b"dense_1"] * 3,
                                   [b"no such"], [b"\xff"]])
@pytest.mark.parametrize("where", ["layer_names", "weight_names"])
def test_names_that_are_none(path, where, value):
    with h5py.File(write(path, FIRST), "a") as file:
        group = file["model_weights"] if where == "layer_names" else file["model_weights/dense_1"]
        del group.attrs[where]
        group.attrs[where] = value
    refused(path)


def test_text_that_is_pointed_at_many_times_takes_no_memory(path):
    """A list of names, each of which points to the same text of 2 MB: 1,000 of them would be 2 GB."""
    size = 2**21
    with h5py.File(write(path, FIRST), "a") as file:
        group = file["model_weights"]
        del group.attrs["layer_names"]
        group.attrs.create("layer_names", ["n"] * 999 + ["y" * size], dtype=h5py.string_dtype())
    data = path.read_bytes()
    # In the list, each is its length (4 bytes), the address of its collection (8) and its number in there
    # (4).
    found = re.search(rb"(?:\x01\0\0\0.{12}){999}" + re.escape(size.to_bytes(4, "little")), data, re.DOTALL)
    start, entry = found.start(), found.end() - 4
    path.write_bytes(data[:start] + data[entry : entry + 16] * 999 + data[entry:])
    with h5py.File(path) as file:
        attribute = file["model_weights"].attrs.get_id("layer_names")
        assert attribute.shape == (1000,)
    tracemalloc.start()
    refused(path, "more text than the file has")
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


JUNK = [None, True, 0, -1, 3, 2**63, 1e308, "", "a", "LSTM", "relu", [], [1], {}, {"a": 1},
        {"class_name": "Dense", "config": {}}]


def places(value, path=()):
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def spoilt(value, rng):
    value = json.loads(json.dumps(value))
    everywhere = list(places(value))
    *path, last = everywhere[rng.integers(len(everywhere))]
    item = value
    for key in path:
        item = item[key]
    item[last] = JUNK[rng.integers(len(JUNK))]
    return value


def test_random_configs_load_or_are_refused(path):
    with h5py.File(FOLDER / "layers-legacy-adam-decay.h5") as file:
        config, compiled = (json.loads(file.attrs[name]) for name in ("model_config", "training_config"))
    data, rng = (FOLDER / "layers-legacy-adam-decay.h5").read_bytes(), np.random.default_rng(1)
    refusals = 0
    for i in range(120):
        path.write_bytes(data)
        with h5py.File(path, "a") as file:
            name, value = ("model_config", config) if i % 2 else ("training_config", compiled)
            file.attrs[name] = json.dumps(spoilt(value, rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                saving.load_model(path)
        except FileError:
            refusals += 1
    assert refusals > 20


def test_a_file_cut_short_or_with_flipped_bits_loads_or_is_refused(path):
    data, rng = (FOLDER / "new-adam.h5").read_bytes(), np.random.default_rng(2)
    for n in range(0, len(data), len(data) // 40):
        path.write_bytes(data[:n])
        with pytest.raises(FileError):
            saving.load_model(path)
    for at in rng.integers(0, len(data), 150):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                saving.load_model(path)
        except FileError:
            pass


@pytest.mark.parametrize("layer, kernel", [
    (layers.DepthwiseConv1D(3, name="c"), True), (layers.DepthwiseConv2D(3, depth_multiplier=2, name="c"),
                                                  True),
    (layers.SeparableConv1D(4, 3, padding="causal", name="c"), True),
    (layers.SeparableConv2D(4, 3, name="c"), True),
    (layers.Conv1DTranspose(4, 3, name="c"), False),
    (layers.Conv2DTranspose(4, 3, 2, output_padding=1, name="c"), False),
    (layers.Conv3DTranspose(4, 3, 2, output_padding=1, name="c"), False),
], ids=lambda value: type(value).__name__)
def test_convolutions_that_inherited_options(layer, kernel):
    """In Keras 2 they had the config of Conv1D and Conv2D too: groups, and a kernel's options where there is
    none."""
    config = layer.get_config()
    inherited = {"kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
                 "kernel_regularizer": None,
                 "kernel_constraint": None}
    old = {"class_name": type(layer).__name__, "config": {**config, "groups": 1,
                                                          **(inherited if kernel else {})}}
    assert deserialize_layer(modern_layer(old)).get_config() == config
    old["config"]["groups"] = 2
    with pytest.raises(ValueError, match="groups=2 of layer 'c'"):
        deserialize_layer(modern_layer(old))


def test_translation_keeps_what_it_does_not_know():
    for value in (None, 3, "a", [], {}, {"class_name": 3}, {"class_name": "Dense", "config": 3}):
        assert modern_layer(value) == value
    with pytest.raises(FileError):
        modern_compile([1])


# ------------------------------------------------------------------- what Keras 2 wrote and Keras 3 lacks
@pytest.mark.parametrize("cls", [layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D])
def test_spatial_dropout_has_the_options_of_dropout(path, cls):
    """In Keras 2 they had Dropout's config, and as first layers the shape of the input."""
    shape = [None, *[2] * (cls.ndim - 1)]
    spec = layer(
        cls.__name__, "drop", dtype="float32", rate=0.5, noise_shape=None, seed=None, batch_input_shape=shape
    )
    model = saving.load_model(write(path, [spec, layer("Flatten", "flat", data_format="channels_last")], {}))
    assert model.layers[0].rate == 0.5 and model.input_shape == tuple(shape)
    assert "trainable" not in model.layers[0].get_config()          # which Keras 3's constructor refuses
    spec["config"]["noise_shape"] = shape
    refused(write(path, [spec], {}), "'drop'", "noise_shape")


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_json_of_keras_2(kind):
    described = json.loads((FOLDER / "spatial-models.json").read_text())[kind]
    model = saving.model_from_json(json.dumps(described))
    layers_of_it = model.layers[1:] if kind == "functional" else model.layers
    assert [type(part).__name__ for part in layers_of_it] == [
        "SpatialDropout1D",
        "Conv1D",
        "Reshape",
        "SpatialDropout2D",
        "Reshape",
        "SpatialDropout3D",
        "Flatten",
        "Dense",
    ]
    data = recorded("spatial-sgd")
    model.load_weights(FOLDER / "spatial-sgd.h5")
    near(model.predict(data["x"], verbose=0), data["pred0"], "predictions")


def test_json_of_keras_2_in_its_oldest_form():
    text = json.dumps({"class_name": "Sequential", "config": [dense(batch_input_shape=[None, 3]), layer(
        "LeakyReLU", "leaky", alpha=0.25)], "keras_version": "2.1.6", "backend": "tensorflow"})
    model = saving.model_from_json(text)
    assert model.input_shape == (None, 3) and model.layers[1].negative_slope == 0.25


def test_json_of_keras_2_says_that_its_hard_sigmoid_is_another():
    cell = layer("LSTM", "cell", units=2, recurrent_activation="hard_sigmoid", batch_input_shape=[None, 4, 3])
    text = json.dumps({"class_name": "Sequential", "config": [cell], "keras_version": "2.2.4"})
    with pytest.warns(UserWarning, match="hard_sigmoid.*'cell'"):
        saving.model_from_json(text)


def test_json_of_today_is_not_translated():
    """A GRU that does not say reset_after means another thing in Keras 2."""
    described = json.loads(tdfast.Sequential([layers.GRU(2, input_shape=(None, 3))]).to_json())
    described["config"]["layers"][-1]["config"].pop("reset_after")
    assert saving.model_from_json(json.dumps(described)).layers[0].reset_after is True
    described["keras_version"] = "2.1.2"
    assert saving.model_from_json(json.dumps(described)).layers[0].reset_after is False


@pytest.mark.parametrize(
    "alias, name",
    [
        ("logcosh", "log_cosh"),
        ("kullback_leibler_divergence", "kl_divergence"),
        ("cosine_proximity", "cosine_similarity"),
    ],
)
def test_names_of_keras_2(alias, name):
    y, p = np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([[0.3, 0.7], [0.9, 0.1]])
    for module in (tdfast.losses, tdfast.metrics):
        both = [module.get(text) for text in (alias, name)]
        values = [both[0](y, p), both[1](y, p)]
        assert float(values[0]) == float(values[1])
    formula = {
        "logcosh": np.log(np.cosh(p - y)).mean(),
        "kullback_leibler_divergence": (y * np.log(y / p)).sum(1).mean(),
        "cosine_proximity": ((y * p).sum(1) / np.linalg.norm(y, axis=1) / np.linalg.norm(p, axis=1)).mean(),
    }[alias]
    assert float(tdfast.metrics.get(alias)(y, p)) == pytest.approx(formula, rel=1e-5)
    assert float(tdfast.losses.get(alias)(y, p)) == pytest.approx(
        -formula if "cosine" in alias else formula, rel=1e-5
    )


def test_names_of_keras_2s_constraints_and_initializers():
    for alias, name in (("maxnorm", "MaxNorm"), ("nonneg", "NonNeg"), ("unitnorm", "UnitNorm")):
        assert type(tdfast.constraints.get(alias)).__name__ == name
    spec = dense(
        kernel_initializer={"class_name": "GlorotNormalV2", "config": {"seed": None}},
        bias_initializer="zerosV2",
    )
    made = deserialize_layer(modern_layer(spec))
    assert [type(i).__name__ for i in (made.kernel_initializer, made.bias_initializer)] == [
        "GlorotNormal",
        "Zeros",
    ]


def test_a_dict_of_metrics_by_the_outputs_name():
    """Also as Keras 3 writes it, and with objects."""
    model = saving.load_model(FOLDER / "spatial-sgd.keras")
    data = recorded("spatial-sgd")
    found = model.evaluate(data["x"], data["y"], verbose=0, return_dict=True)
    assert list(found) == ["loss", "mae", "kullback_leibler_divergence"]
    metric = {"class_name": "MeanAbsoluteError", "config": {"name": "q"}}
    for described in ({"d": ["mae", metric]}, [["mae", metric]]):
        made = tdfast.Sequential([layers.Dense(1, input_shape=(2,), name="d")])
        compile_as(
            made,
            {"optimizer": "sgd", "loss": {"d": "mse"}, "metrics": described, "loss_weights": {"d": 1.0}},
            {},
            "f",
        )
        assert list(made.evaluate(np.ones((2, 2)), np.ones((2, 1)), verbose=0, return_dict=True)) == [
            "loss",
            "mae",
            "q",
        ]
    once = made.evaluate(np.ones((2, 2)), np.ones((2, 1)), verbose=0)[0]
    compile_as(made, {"optimizer": "sgd", "loss": "mse", "loss_weights": {"d": 2.0}}, {}, "f")
    assert made.evaluate(np.ones((2, 2)), np.ones((2, 1)), verbose=0) == 2 * once
    with pytest.raises(FileError, match="metrics"):
        compile_as(
            made, {"optimizer": "sgd", "loss": "mse", "metrics": {"d": ["mae"], "e": ["mae"]}}, {}, "f"
        )


def test_the_functions_of_cosine_similarity_had_the_other_sign():
    """As a metric, Keras 2's function was 1 for one direction."""
    metric = {
        "class_name": "MeanMetricWrapper",
        "config": {"name": "c", "dtype": "float32", "fn": "cosine_similarity"},
    }
    found = modern_compile(training(metrics=[[metric]], learning_rate=0.1))["metrics"][0][0]
    assert float(tdfast.metrics.deserialize(found)([[1.0, 2.0]], [[1.0, 2.0]])) == pytest.approx(1.0)


def test_optimizers_whose_state_tf_keras_did_not_store_start_afresh_with_a_warning(tmp_path):
    """Legacy optimizers in .keras files."""
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(FOLDER / "spatial-sgd.keras") as old, zipfile.ZipFile(path, "w") as new:
        config = json.loads(old.read("config.json"))
        config["compile_config"]["optimizer"] = {
            "module": "keras.optimizers.legacy",
            "class_name": "SGD",
            "config": {"name": "SGD", "learning_rate": 0.1, "decay": 0.0, "momentum": 0.9, "nesterov": False},
            "registered_name": None,
        }
        new.writestr("config.json", json.dumps(config))
        new.writestr("metadata.json", old.read("metadata.json"))
        weights = h5py.File(io.BytesIO(old.read("model.weights.h5")), "r+")
        del weights["optimizer/vars"]
        file = io.BytesIO()
        with h5py.File(file, "w") as copy:
            for key in weights:
                weights.copy(key, copy)
        new.writestr("model.weights.h5", file.getvalue())
    with pytest.warns(UserWarning, match="legacy.*"):
        assert saving.load_model(path).optimizer.momentum == 0.9
