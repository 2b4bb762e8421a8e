"""Files: what Keras wrote loads, what tdfast lacks is named, and no file does harm."""

import io
import json
import os
import random
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tdfast
from tdfast import layers, saving
from tdfast.saving import FileError
from tdfast.saving.keras.archive import Archive
from tdfast.saving.keras.weights import NpzWeights

h5py = pytest.importorskip("h5py")

GOLDEN = Path(__file__).parents[1] / "golden"


# ------------------------------------------------------------------------------------------ making files
def policy(name="float32"):
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": name}, "registered_name": None}


def layer(class_name, name, module="keras.layers", **config):
    config = {"name": name, "trainable": True, "dtype": policy(), **config}
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def sequential(*layers, shape=(None, 5, 3), name="sequential", **more):
    first = {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None,
             "config": {"batch_shape": list(shape), "dtype": "float32", "sparse": False, "ragged": False,
                        "name": "input_layer", "optional": False}}
    config = {"name": name, "trainable": True, "dtype": policy(), "layers": [first, *layers],
              "build_input_shape": list(shape)}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None,
            "build_config": {"input_shape": list(shape)}, **more}


def weights(arrays, edit=None):
    """An HDF5 file of arrays by path."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for path, array in arrays.items():
            file[path] = np.asarray(array)
        if edit:
            edit(file)
    return out.getvalue()


def members(path, contents, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as z:
        for name, data in contents.items():
            z.writestr(name, data if isinstance(data, (bytes, str)) else json.dumps(data))
    return path


def dense_file(path, units=2, arrays=None, edit=None, **more):
    """A model of one Dense(units) on (5, 3) inputs, in a form in which single things can be spoilt."""
    if arrays is None:
        arrays = {"layers/dense/vars/0": np.ones((3, 2), "f"), "layers/dense/vars/1": np.zeros(2, "f")}
    config = sequential(layer("Dense", "head", units=units), **more)
    return members(path, {"metadata.json": {}, "config.json": config,
                          "model.weights.h5": weights(arrays, edit)})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.keras"


def refused(path, *words, **kw):
    """The message with which a file is refused; it must hold all the words."""
    with pytest.raises(FileError) as caught:
        saving.load_model(path, **kw)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------ the archive
def test_missing_file_and_folder(tmp_path):
    with pytest.raises(OSError, match="nothing.keras"):
        saving.load_model(tmp_path / "nothing.keras")
    with pytest.raises(OSError):
        saving.load_model(tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\3\4" + bytes(100), b"hello", bytes(1000)])
def test_not_an_archive(path, data):
    path.write_bytes(data)
    refused(path, "m.keras")


def test_hdf5_instead_of_keras_says_so(path):
    path.write_bytes(weights({"a": [1.0]}))
    refused(path, "HDF5")


def test_a_file_cut_short_anywhere_is_refused(path):
    data = dense_file(path).read_bytes()
    for n in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:n])
        refused(path)


def test_flipped_bytes_never_give_other_numbers(path):
    """A damaged file is refused, or (where the byte means nothing) loads the very same model."""
    data = dense_file(path).read_bytes()
    good = saving.load_model(path).get_weights()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 150):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :])
        try:
            model = saving.load_model(path)
        except FileError:
            continue
        for a, b in zip(model.get_weights(), good):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:/evil", "..\\evil", "\\evil"])
def test_names_that_point_outside(path, name):
    members(path, {"config.json": {}, name: b"x"})
    refused(path, "outside")


def test_two_members_of_one_name(path):
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "w") as z:
        z.writestr("config.json", "{}")
        z.writestr("config.json", "{}")
    refused(path, "two members")


def test_too_many_members(path, monkeypatch):
    monkeypatch.setattr("tdfast.saving.keras.archive.MAX_MEMBERS", 10)
    members(path, {f"m{i}": b"" for i in range(11)})
    refused(path, "11 members")


def test_zip_bomb_takes_no_memory(path):
    members(path, {"config.json": {}, "model.weights.h5": bytes(300 * 2**20)}, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    refused(path, "zip bomb")
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


def test_a_large_config_is_refused(path, monkeypatch):
    monkeypatch.setattr("tdfast.saving.keras.archive.MAX_JSON", 1000)
    members(path, {"config.json": b" " * 1001})
    refused(path, "more than the 1,000 allowed")


def test_a_size_that_lies(path):
    """The table of contents claims more than the member holds."""
    data = bytearray(dense_file(path).read_bytes())
    at = data.rfind(b"PK\1\2")
    struct.pack_into("<I", data, at + 24, 2**31)
    path.write_bytes(bytes(data))
    refused(path, "zip bomb")


def test_encrypted_and_strange_compression(path):
    members(path, {"config.json": {}}, zipfile.ZIP_LZMA)
    refused(path, "compressed by method")
    data = bytearray(dense_file(path).read_bytes())
    at = data.find(b"PK\1\2", data.find(b"PK\1\2") + 1)
    data[at + 8] |= 1
    path.write_bytes(bytes(data))
    refused(path, "encrypted")


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_missing_members(path, missing):
    whole = zipfile.ZipFile(dense_file(path))
    contents = {n: whole.read(n) for n in whole.namelist() if n != missing}
    whole.close()
    refused(members(path, contents), missing)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b"null"])
def test_config_that_is_no_object(path, text):
    members(path, {"config.json": text, "model.weights.h5": weights({})})
    refused(path, "config.json")


def test_file_objects_load_and_stay_open(path):
    with open(dense_file(path), "rb") as file:
        assert saving.load_model(file).count_params() == 8
        assert not file.closed
    assert saving.load_model(io.BytesIO(path.read_bytes())).count_params() == 8
    assert saving.load_model(str(path)).count_params() == 8


def test_a_repacked_archive_loads(path):
    """Zipped again by hand, compressed and with a folder entry."""
    with zipfile.ZipFile(dense_file(path)) as z:
        contents = {n: z.read(n) for n in z.namelist()}
    members(path, {**contents, "assets/": b""}, zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(saving.load_model(path).layers[-1].kernel, np.ones((3, 2)))


def test_unsafe_mode_does_not_exist(path):
    with pytest.raises(ValueError, match="safe_mode"):
        saving.load_model(dense_file(path), safe_mode=False)


# ------------------------------------------------------------------------------------------ the weights
def test_weights_that_are_no_hdf5(path):
    with zipfile.ZipFile(dense_file(path)) as z:
        contents = {n: z.read(n) for n in z.namelist()}
    for data in (b"", b"\x89HDF\r\n\x1a\n" + bytes(500), contents["model.weights.h5"][:600]):
        refused(members(path, {**contents, "model.weights.h5": data}), "HDF5")


def test_wrong_shapes_name_layer_expected_and_stored(path):
    refused(dense_file(path, units=4), "'head'", "(3, 4)", "(3, 2)")


def test_missing_and_extra_weights(path):
    kernel, bias = np.ones((3, 2), "f"), np.zeros(2, "f")
    refused(dense_file(path, arrays={"layers/dense/vars/0": kernel}), "'head'", "layers/dense/vars/1")
    arrays = {"layers/dense/vars/0": kernel, "layers/dense/vars/1": bias, "layers/dense_1/vars/0": kernel}
    refused(dense_file(path, arrays=arrays), "layers/dense_1/vars/0")


@pytest.mark.parametrize("array", [np.array(["a"] * 2, "S4"), np.zeros(2, "c8"), np.zeros(2, [("a", "f4")])])
def test_weights_must_be_numbers(path, array):
    refused(dense_file(path, arrays={"layers/dense/vars/0": np.ones((3, 2), "f"),
                                     "layers/dense/vars/1": array}),
            "plain numbers")


def test_links_and_files_elsewhere_are_not_followed(path, tmp_path):
    other = tmp_path / "other.h5"
    other.write_bytes(weights({"secret": np.ones((3, 2), "f")}))
    raw = tmp_path / "raw.bin"
    raw.write_bytes(np.ones((3, 2), "f").tobytes())
    bias = {"layers/dense/vars/1": np.zeros(2, "f")}

    def external_link(file):
        file["layers/dense/vars/0"] = h5py.ExternalLink(str(other), "secret")

    def soft_link(file):
        file["kernel"] = np.ones((3, 2), "f")
        file["layers/dense/vars/0"] = h5py.SoftLink("/kernel")

    def external_data(file):
        file.create_dataset("layers/dense/vars/0", (3, 2), "f", external=[(str(raw), 0, 24)])

    def virtual(file):
        layout = h5py.VirtualLayout((3, 2), "f")
        layout[:] = h5py.VirtualSource(str(other), "secret", (3, 2))
        file.create_virtual_dataset("layers/dense/vars/0", layout)

    for edit in (external_link, soft_link, external_data, virtual):
        refused(dense_file(path, arrays=bias, edit=edit), "layers/dense/vars/0")


def test_shapes_that_are_not_stored_take_no_memory(path):
    """Datasets that declare terabytes and hold nothing."""
    bias = {"layers/dense/vars/1": np.zeros(2**20, "f")}

    def empty(file):
        file.create_dataset("layers/dense/vars/0", (3, 2**20 * 2**10), "f")

    def chunked(file):
        file.create_dataset("layers/dense/vars/0", (3, 2**40), "f", chunks=(1, 1024), compression="gzip")

    tracemalloc.start()
    for edit, units in ((empty, 2**30), (chunked, 2**39)):
        refused(dense_file(path, units=units, arrays=bias, edit=edit))
    refused(dense_file(path, units=2**40 - 1), "'head'")
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


def test_compressed_hdf5_loads(path):
    def edit(file):
        file.create_dataset("layers/dense/vars/0", data=np.full((3, 2), 7, "f"), compression="gzip",
                            shuffle=True)

    dense_file(path, arrays={"layers/dense/vars/1": np.zeros(2, "f")}, edit=edit)
    np.testing.assert_array_equal(saving.load_model(path).layers[-1].kernel, np.full((3, 2), 7))


def test_numbers_of_another_precision_are_converted(path):
    arrays = {"layers/dense/vars/0": np.full((3, 2), 0.1), "layers/dense/vars/1": np.zeros(2, "f2")}
    kernel = saving.load_model(dense_file(path, arrays=arrays)).layers[-1].kernel
    assert kernel.dtype == "float32"
    np.testing.assert_array_equal(kernel, np.full((3, 2), 0.1, "f"))


def npz_file(path, **arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    config = sequential(layer("Dense", "head", units=2))
    return members(path, {"config.json": config, "model.weights.npz": out.getvalue()})


def test_npz_weights_load(path):
    kernel = np.asfortranarray(np.arange(6, dtype="f").reshape(3, 2))
    npz_file(path, **{"layers/dense/vars/0": kernel, "layers/dense/vars/1": np.ones(2)})
    np.testing.assert_array_equal(saving.load_model(path).layers[-1].kernel, kernel)


def test_pickled_npz_is_refused_and_never_unpickled(path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    npz_file(path, **{"layers/dense/vars/0": np.array(Bomb(), object), "layers/dense/vars/1": np.ones(2)})
    refused(path, "pickled")
    # The form in which Keras itself writes .npz weights.
    npz_file(path, **{"__root__": np.array({}, object),
                      "layers/dense": np.array({"0": np.ones((3, 2))}, object)})
    refused(path, "pickled", "HDF5")


def test_npz_headers_that_lie():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False,
                                                      "shape": (10**12,)})
        z.writestr("vars/0.npy", header.getvalue() + bytes(40))
        z.writestr("vars/1.npy", b"nonsense")
    store = NpzWeights(out.getvalue(), "m")
    for path in ("vars/0", "vars/1"):
        with pytest.raises(FileError, match=path):
            store.shape(path)


def test_archive_reads_within_a_limit(path):
    members(path, {"a": b"12345"})
    with Archive(path) as archive:
        assert archive.read("a", limit=5) == b"12345"
        with pytest.raises(FileError, match="5 bytes"):
            archive.read("a", limit=4)


def test_without_h5py_the_error_names_the_extra(path, monkeypatch):
    dense_file(path)
    model = saving.load_model(path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'tdfast\[keras\]'"):
        saving.load_model(path)
    with pytest.raises(ImportError, match=r"pip install 'tdfast\[keras\]'"):
        saving.save_model(model, path)
    saving.load_model(npz_file(path, **{"layers/dense/vars/0": np.ones((3, 2)),
                                        "layers/dense/vars/1": np.ones(2)}))


# ------------------------------------------------------------------------------------------ what tdfast lacks
def config_file(path, *described, shape=(None, 5, 3), arrays=(), **more):
    """A model of the layers described, whose weights are not there."""
    config = sequential(*described, shape=shape, **more)
    return members(path, {"config.json": config, "model.weights.h5": weights(dict(arrays))})


def test_a_layer_that_does_not_exist(path):
    refused(config_file(path, layer("Conv7D", "eyes", filters=2)), "'eyes'", "Conv7D", "LSTM")
    inner = layer("Conv7D", "eyes", filters=2)
    refused(config_file(path, layer("TimeDistributed", "td", layer=inner)), "'eyes'", "Conv7D")


@pytest.mark.parametrize("name", ["Layer", "Input", "np", "__name__", "os.system", "base", "", "Record"])
def test_names_that_are_no_layer_class(path, name):
    refused(config_file(path, layer(name, "trick")), "'trick'")


def test_lambda_is_refused_by_name(path):
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
    refused(config_file(path, layer("Lambda", "code", function=code)), "'code'", "Lambda")


def test_a_functional_model_is_named(path):
    config = {"module": "keras.src.models.functional", "class_name": "Functional",
              "config": {"name": "f", "layers": []},
              "registered_name": "Functional"}
    refused(members(path, {"config.json": config, "model.weights.h5": weights({})}), "Functional", "'f'")


def test_a_foreign_class_is_not_taken_for_ours(path):
    described = layer("Dense", "head", module="their.package", units=2)
    described["registered_name"] = "their>Dense"
    refused(config_file(path, described), "their.package", "'head'")
    assert "their" not in sys.modules


@pytest.mark.parametrize("key, value, words", [
    ("time_major", True, ["time_major=True", "'cell'"]),
    ("new_option", None, ["new_option=None", "'cell'"]),
    ("kernel_initializer", "magic", ["'magic'", "kernel_initializer", "'cell'"]),
    ("kernel_initializer", {"module": "keras.initializers", "class_name": "Magic", "config": {}},
     ["'Magic'", "'cell'"]),
    ("kernel_initializer", {"module": "a.b", "class_name": "Zeros", "config": {}}, ["a.b", "'cell'"]),
    ("kernel_regularizer", {"class_name": "L2", "config": {"l2": 1, "l9": 4}}, ["l9", "'cell'"]),
    ("kernel_constraint", 3, ["kernel_constraint", "'cell'"]),
    ("activation", "magic", ["'magic'", "activation", "'cell'"]),
    ("activation", {"module": "keras.layers", "class_name": "Wobble", "config": {}}, ["Wobble"]),
    ("dtype", policy("mixed_bfloat16"), ["mixed_bfloat16", "'cell'"]),
    ("units", -3, ["'cell'"]),
    ("units", "many", ["'cell'"]),
    ("units", [], ["'cell'"]),
    ("units", 1e400, ["'cell'"]),
    ("name", 3, ["name"]),
    ("dropout", 7, ["'cell'"]),
])
def test_options_that_do_not_exist(path, key, value, words):
    described = layer("LSTM", "cell", units=4)
    described["config"][key] = value
    refused(config_file(path, described), *words)


@pytest.mark.parametrize("spoil", [
    lambda c: c.pop("class_name"),
    lambda c: c.update(config=None),
    lambda c: c.update(class_name=3),
    lambda c: c["config"].update(layers=None),
    lambda c: c["config"].update(layers=[3]),
    lambda c: c["config"].update(layers=[{}]),
    lambda c: c["config"]["layers"][0]["config"].update(batch_shape=[None, -3, 1.5]),
    lambda c: c["config"]["layers"][0]["config"].update(batch_shape="abc"),
    lambda c: c["config"]["layers"][0]["config"].update(batch_shape=[None, 2**70]),
    lambda c: c.update(build_config={"input_shape": {"a": 1}}),
    lambda c: c.update(class_name="Dense"),
    lambda c: c.update(compile_config=[1]),
    lambda c: c.update(compile_config={"optimizer": 7}),
    lambda c: c.update(compile_config={"optimizer": {"class_name": "Adam", "config": {"learning_rate": []}}}),
    lambda c: c.update(compile_config={"optimizer": {"class_name": "Adam", "config": []}}),
    lambda c: c.update(compile_config={"loss": {"a": "mse", "b": "mse"}}),
    lambda c: c.update(compile_config={"loss": ["mse", "mse"]}),
    lambda c: c.update(compile_config={"loss": "mse", "metrics": "mse"}),
    lambda c: c.update(compile_config={"loss": "mse", "metrics": [4]}),
])
def test_configs_that_make_no_sense(path, spoil):
    config = sequential(layer("Dense", "head", units=2))
    spoil(config)
    arrays = {"layers/dense/vars/0": np.ones((3, 2), "f"), "layers/dense/vars/1": np.zeros(2, "f")}
    refused(members(path, {"config.json": config, "model.weights.h5": weights(arrays)}))


JUNK = [None, True, 0, -1, 3, 2**63, 1e308, -0.5, "", "a", "LSTM", "relu", [], [1], [None], {}, {"a": 1},
        {"class_name": "Dense", "config": {}}, {"class_name": "Zeros"}, [[]], float("nan")]


def places(value, path=()):
    """The path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def test_random_configs_load_or_are_refused():
    """Whatever stands in config.json, there is a model or a FileError, never another exception."""
    with zipfile.ZipFile(GOLDEN / "regularizers-lstm-td-dense.keras") as z:
        whole = {n: z.read(n) for n in z.namelist()}
    config = json.loads(whole["config.json"])
    everywhere = list(places(config))
    rng = random.Random(4)
    refusals = 0
    for _ in range(250):
        spoilt = json.loads(whole["config.json"])
        *path, last = rng.choice(everywhere)
        item = spoilt
        for key in path:
            item = item[key]
        if rng.random() < 0.2:
            del item[last]
        else:
            item[last] = rng.choice(JUNK)
        try:
            saving.load_model(members(io.BytesIO(), {**whole, "config.json": spoilt}))
        except FileError:
            refusals += 1
    assert refusals > 50


def test_layers_nested_without_end(path):
    inner = layer("Dense", "head", units=2)
    for i in range(100):
        inner = layer("TimeDistributed", f"td{i}", layer=inner)
    refused(config_file(path, inner), "deep")


def compiled(**config):
    return {"compile_config": {"optimizer": None, "loss": "mse", "loss_weights": None, "metrics": None,
                               "weighted_metrics": None, "run_eagerly": False, "steps_per_execution": 1,
                               "jit_compile": True, **config}}


@pytest.mark.parametrize("config, words", [
    ({"loss": "magic"}, ["'magic'", "loss"]),
    ({"loss": {"module": "keras.losses", "class_name": "Magic", "config": {}}}, ["'Magic'", "loss"]),
    ({"optimizer": {"module": "keras.optimizers", "class_name": "Magic", "config": {}}},
     ["'Magic'", "optimizer"]),
    ({"optimizer": {"class_name": "Adam",
                    "config": {"learning_rate": {"class_name": "MagicDecay", "config": {}}}}},
     ["MagicDecay", "learning_rate"]),
    ({"optimizer": {"class_name": "Adam", "config": {"warp": 9}}}, ["warp=9", "Adam"]),
    ({"metrics": ["magic"]}, ["'magic'", "metrics"]),
    ({"metrics": [{"module": "keras.metrics", "class_name": "Magic", "config": {}}]}, ["'Magic'", "metrics"]),
    ({"loss_weights": [2.0, 3.0]}, ["loss_weights"]),
])
def test_compile_state_that_does_not_exist_is_named(path, config, words):
    dense_file(path, **compiled(**config))
    refused(path, *words, "compile=False")
    assert saving.load_model(path, compile=False).count_params() == 8


def test_loss_weights_come_back(path):
    model = tdfast.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse", loss_weights=2.0)
    model.save(path)
    x, y = np.ones((3, 2)), np.zeros((3, 1))
    assert saving.load_model(path).evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(2 * np.mean(model.predict(x, verbose=0) ** 2))


# ------------------------------------------------------------------------------------------ custom objects
class Doubling(layers.Layer):
    """A layer of the user's own, with an argument and a weight."""

    def __init__(self, factor=2, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.shift = self.add_weight((input_shape[-1],), "zeros", name="shift")

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        return x * self.dtype_factor() + self.shift.value

    def dtype_factor(self):
        return np.dtype(self.dtype).type(self.factor)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def test_custom_layers_load_by_class_or_registered_name(path):
    described = layer("Doubling", "twice", module="somewhere", factor=3)
    described["registered_name"] = "theirs>Doubling"
    config_file(path, described, shape=(None, 3), arrays={"layers/doubling/vars/0": np.full(3, 5, "f")})
    for name in ("Doubling", "theirs>Doubling"):
        model = saving.load_model(path, custom_objects={name: Doubling})
        np.testing.assert_array_equal(model.predict(np.ones((1, 3)), verbose=0), np.full((1, 3), 8))
    refused(path, "somewhere", "custom_objects")


# ------------------------------------------------------------------------------------------ round trips
def same_model(a, b, x):
    assert [type(layer) for layer in a.layers] == [type(layer) for layer in b.layers]
    assert a.get_config() == b.get_config()
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(v, w)
    np.testing.assert_array_equal(a.predict(x, verbose=0), b.predict(x, verbose=0))


def example_model(seed=1):
    """Every layer there is, nested, with names that mislead about the order."""
    tdfast.utils.set_random_seed(seed)
    inner = tdfast.Sequential([layers.Dense(4, activation="relu"), layers.Dropout(0.1), layers.Dense(3)],
                              name="inner")
    model = tdfast.Sequential([
        layers.Input((6, 3)),
        layers.LSTM(4, return_sequences=True, name="lstm_1", kernel_regularizer="l2", dropout=0.2),
        layers.LSTM(5, return_sequences=True, name="lstm", go_backwards=True,
                    recurrent_activation="hard_sigmoid",
                    trainable=False),
        layers.TimeDistributed(inner),
        layers.Dropout(0.2),
        layers.TimeDistributed(layers.Dense(2, kernel_constraint="non_neg")),
        layers.Activation("tanh"),
        layers.Flatten(),
        layers.Reshape((3, 4)),
        layers.Permute((2, 1)),
        layers.LSTM(3, unit_forget_bias=False, use_bias=False, name="last"),
        layers.RepeatVector(2),
        layers.Dense(2, activation="softmax"),
    ])
    for w in model.weights:
        w.assign(np.random.default_rng(seed).normal(size=w.shape) * 0.3)
    return model


def data_for(model, n=8, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *model.input_shape[1:])).astype("f")
    y = rng.random((n, *model.output_shape[1:])).astype("f")
    return x, y


OPTIMIZERS = [       # between Keras and tdfast: tests/live/test_live_optimizers.py
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "clipnorm": 0.5}),
    ("AdamW", {}),
    ("RMSprop", {"momentum": 0.5, "centered": True}),
    ("Adagrad", {}),
    ("Adadelta", {"weight_decay": 0.01}),
    ("Adamax", {"use_ema": True}),
    ("Nadam", {}),
    ("Ftrl", {"l1_regularization_strength": 0.001}),
    ("Lion", {"gradient_accumulation_steps": 2, "use_ema": True}),
    ("Lamb", {}),
]


@pytest.mark.parametrize("name, config", OPTIMIZERS)
def test_training_goes_on_as_if_never_saved(path, name, config):
    model = example_model()
    x, y = data_for(model)
    optimizer = getattr(tdfast.optimizers, name)(learning_rate=0.01, **config)
    model.compile(optimizer=optimizer, loss=tdfast.losses.Huber(delta=0.5), metrics=["mae"])
    for layer_ in (model.layers[0], model.layers[2].layer.layers[1], model.layers[3]):
        layer_.dropout = layer_.rate = 0.0          # its random numbers are not a part of the file
    model.train_on_batch(x, y)
    saving.save_model(model, path)
    again = saving.load_model(path)
    same_model(model, again, x)
    for _ in range(3):
        assert model.train_on_batch(x, y) == again.train_on_batch(x, y)
    same_model(model, again, x)
    assert (
        again.optimizer.iterations
        == model.optimizer.iterations
        == 4 // (config.get("gradient_accumulation_steps", 1))
    )


def test_unbuilt_uncompiled_and_frozen_models(path):
    model = tdfast.Sequential([layers.LSTM(3), layers.Dense(2)])
    saving.save_model(model, path)
    again = saving.load_model(path)
    assert not again.built and again.get_config() == model.get_config()
    model.build((None, 4, 3))
    model.layers[0].trainable = False
    saving.save_model(model, path)
    again = saving.load_model(path)
    same_model(model, again, np.ones((2, 4, 3)))
    assert not again.layers[0].trainable and len(again.trainable_weights) == 2


def test_losses_as_metrics_are_saved(path):
    model = tdfast.Sequential([layers.Dense(2, input_shape=(3,))])
    x, y = data_for(model)
    metrics = ["huber", "accuracy", "mae", tdfast.losses.Huber(delta=0.3), tdfast.losses.Quantile(0.9)]
    model.compile("sgd", "mse", metrics=metrics, weighted_metrics=["mse"])
    saving.save_model(model, path)
    again = saving.load_model(path)
    assert again.evaluate(x, y, verbose=0,
                          return_dict=True) == model.evaluate(x, y, verbose=0, return_dict=True)

    class Mine(tdfast.losses.MeanSquaredError):
        pass

    model.compile("sgd", "mse", metrics=[Mine()])
    with pytest.raises(ValueError, match="Mine"):
        saving.save_model(model, path)


def test_layers_round_trip_without_a_file():
    for layer_ in example_model().layers:
        again = saving.deserialize_layer(json.loads(json.dumps(saving.serialize_layer(layer_))))
        again.ensure_built(layer_.input_shape)
        assert type(again) is type(layer_) and again.get_config() == layer_.get_config()


def test_float64_models(path):
    model = tdfast.Sequential([layers.Input((4, 3), dtype="float64"), layers.LSTM(3, dtype="float64")])
    saving.save_model(model, path)
    same_model(model, saving.load_model(path), np.ones((2, 4, 3)))
    assert saving.load_model(path).weights[0].dtype == "float64"


# ------------------------------------------------------------------------------------------ saving safely
def test_a_failed_save_leaves_the_old_file(path, monkeypatch):
    model = example_model()
    saving.save_model(model, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace", "fchmod"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space"):
                saving.save_model(model, path)
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]


def test_save_checks_its_path(path, tmp_path):
    model = tdfast.Sequential([layers.Dense(2)])
    with pytest.raises(ValueError, match=r"\.keras"):
        saving.save_model(model, tmp_path / "m.h5")
    saving.save_model(model, path)
    with pytest.raises(FileExistsError):
        saving.save_model(model, path, overwrite=False)
    with pytest.raises(OSError):
        saving.save_model(model, tmp_path / "no" / "folder.keras")


@pytest.mark.skipif(os.name != "posix", reason="POSIX rights and links")
def test_save_keeps_rights_and_links(path, tmp_path):
    model = tdfast.Sequential([layers.Dense(2)])
    saving.save_model(model, path)
    path.chmod(0o640)
    link = tmp_path / "link.keras"
    link.symlink_to(path)
    saving.save_model(model, link)
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o640


# ---------------------------------------------------------------------------------- Tversky's alpha and beta


def tversky_of_paper(t, p, alpha, beta):
    """Salehi et al. 2017: alpha is the price of false positives, beta that of false negatives."""
    both, extra, missed = np.sum(t * p), np.sum((1 - t) * p), np.sum(t * (1 - p))
    return 1 - both / (both + alpha * extra + beta * missed + 1e-7)


@pytest.mark.parametrize("version, exchanged", [
    ("3.15.1", True), ("3.9.2", True), ("3.16.0", False), ("3.16.0.dev2026080100", False), ("4.0", False),
    (None, True),
])
def test_tversky_means_what_it_meant_in_the_keras_that_wrote_it(path, version, exchanged):
    """Before 3.16, Keras's alpha was the price of false negatives."""
    options = {"name": "tversky", "reduction": "sum_over_batch_size", "alpha": 0.9, "beta": 0.2, "axis": None}
    loss = {"module": "keras.losses", "class_name": "Tversky", "registered_name": None, "config": options}
    compiled = {"optimizer": "sgd", "loss": loss}
    arrays = {"layers/dense/vars/0": np.ones((3, 2), "f"), "layers/dense/vars/1": np.zeros(2, "f")}
    config = sequential(layer("Dense", "head", units=2), compile_config=compiled)
    metadata = {"keras_version": version} if version else {}
    members(path, {"metadata.json": metadata, "config.json": config, "model.weights.h5": weights(arrays)})
    model = saving.load_model(path)
    rng = np.random.default_rng(0)
    t, p = rng.integers(0, 2, (4, 5, 2)), rng.random((4, 5, 2))
    want = tversky_of_paper(t, p, *((0.2, 0.9) if exchanged else (0.9, 0.2)))
    assert np.isclose(model.loss(t, p), want)
    if version is None:                         # JSON does not tell a version
        assert np.isclose(saving.model_from_json(json.dumps(config)).loss(t, p), want)


def test_tversky_there_and_back(path):
    """A file is one of Keras 3.15, where alpha and beta stand for each other."""
    rng = np.random.default_rng(0)
    t, p = rng.integers(0, 2, (4, 2)), rng.random((4, 2))
    for loss in (tdfast.losses.Tversky(0.9, 0.2), tdfast.losses.Tversky(0.9), "tversky"):
        model = tdfast.Sequential([layers.Input((3,)), layers.Dense(2)])
        model.compile("sgd", loss, metrics=[loss])
        model.save(path)
        with zipfile.ZipFile(path) as file:
            stored = json.loads(file.read("config.json"))["compile_config"]["loss"]["config"]
        assert (stored["alpha"], stored["beta"]) == (model.loss.beta, model.loss.alpha)
        for other in (saving.load_model(path), saving.model_from_json(model.to_json())):
            assert (other.loss.alpha, other.loss.beta) == (model.loss.alpha, model.loss.beta)
            want = tversky_of_paper(t, p, model.loss.alpha, model.loss.beta)
            assert np.isclose(other.loss(t, p), want)
