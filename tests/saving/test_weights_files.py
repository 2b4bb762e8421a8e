"""Files of weights alone: both forms round trip, and a file that does not fit changes nothing."""

import os
import sys
import zipfile

import numpy as np
import pytest
from test_saving import data_for, example_model

import tdfast
from tdfast import layers, saving
from tdfast.saving import FileError

pytest.importorskip("h5py")

ENDINGS = [".weights.h5", ".weights.npz"]


def small(units=4, head="Dense", name="head", **more):
    """LSTM, BatchNormalization and a layer that differs between models."""
    tdfast.utils.set_random_seed(units)
    return tdfast.Sequential([
        layers.Input((5, 3)), layers.LSTM(4, name="cell", **more), layers.BatchNormalization(name="norm"),
        getattr(layers, head)(units, name=name),
    ])


def same(a, b):
    for v, w in zip(a, b, strict=True):
        np.testing.assert_array_equal(v, w)


@pytest.mark.parametrize("ending", ENDINGS)
def test_round_trip(tmp_path, ending):
    model, path = example_model(seed=1), tmp_path / f"m{ending}"
    model.save_weights(path)
    other = example_model(seed=2)
    assert any((a != b).any() for a, b in zip(model.get_weights(), other.get_weights()))
    other.load_weights(path)
    same(model.get_weights(), other.get_weights())
    x, _ = data_for(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), other.predict(x, verbose=0))


@pytest.mark.parametrize("ending", ENDINGS)
def test_names_do_not_matter(tmp_path, ending):
    path = tmp_path / f"m{ending}"
    model, other = small(), small(name="another")
    other.set_weights([w + 1 for w in other.get_weights()])
    model.save_weights(path)
    other.load_weights(path)
    same(model.get_weights(), other.get_weights())


def test_a_whole_model_is_a_file_of_weights_too(tmp_path):
    model, other = small(), small()
    other.set_weights([w + 1 for w in other.get_weights()])
    model.save(tmp_path / "m.keras")
    other.load_weights(tmp_path / "m.keras")
    same(model.get_weights(), other.get_weights())


def test_npz_is_read_by_numpy_without_pickle(tmp_path):
    model = small()
    model.compile("adam", "mse")
    model.save_weights(tmp_path / "m.weights.npz")
    with np.load(tmp_path / "m.weights.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == [
            "layers/batch_normalization/vars/0", "layers/batch_normalization/vars/1",
            "layers/batch_normalization/vars/2",
            "layers/batch_normalization/vars/3", "layers/dense/vars/0", "layers/dense/vars/1",
            "layers/lstm/cell/vars/0",
            "layers/lstm/cell/vars/1", "layers/lstm/cell/vars/2", "optimizer/vars/0", "optimizer/vars/1"]
        np.testing.assert_array_equal(arrays["layers/lstm/cell/vars/1"], model.layers[0].recurrent_kernel)


def test_npz_needs_no_h5py(tmp_path, monkeypatch):
    model, other = small(units=2), small(units=2)
    monkeypatch.setitem(sys.modules, "h5py", None)
    model.save_weights(tmp_path / "m.weights.npz")
    other.load_weights(tmp_path / "m.weights.npz")
    same(model.get_weights(), other.get_weights())
    with pytest.raises(ImportError, match=r"pip install 'tdfast\[keras\]'"):
        model.save_weights(tmp_path / "m.weights.h5")
    (tmp_path / "m.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ImportError, match=r"pip install 'tdfast\[keras\]'"):
        model.load_weights(tmp_path / "m.weights.h5")


# ------------------------------------------------------------------------------------------ what does not fit
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("theirs, words", [
    ({"units": 7}, ["'head'", "kernel", "(4, 2)", "(4, 7)"]),
    ({"use_bias": False}, ["'cell'", "(16,)", "2 arrays"]),
    ({"head": "Activation", "units": "tanh"}, ["'head'", "(4, 2)", "0 arrays"]),
])
def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path, ending, theirs, words):
    path = tmp_path / f"m{ending}"
    make = {**theirs}
    other = tdfast.Sequential([
        layers.Input((5, 3)), layers.LSTM(4, use_bias=make.get("use_bias", True)),
        layers.BatchNormalization(),
        getattr(layers, make.get("head", "Dense"))(make.get("units", 2))])
    other.save_weights(path)
    model = small(units=2)
    before = model.get_weights()
    with pytest.raises(FileError, match="No weight was changed") as caught:
        model.load_weights(path)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    same(before, model.get_weights())


@pytest.mark.parametrize("ending", ENDINGS)
def test_skip_mismatch_loads_the_rest_and_warns_for_each_layer(tmp_path, ending):
    path = tmp_path / f"m{ending}"
    source = tdfast.Sequential([layers.Input((5, 3)), layers.LSTM(6), layers.BatchNormalization(),
                                layers.Dense(2)])
    source.layers[2].set_weights([np.full((6, 2), 7.0), np.full(2, 9.0)])
    source.save_weights(path)
    model = tdfast.Sequential([layers.Input((5, 6)), layers.Conv1D(3, 1, name="eyes"),
                               layers.LSTM(5, name="cell"),
                               layers.Reshape((1, 5)), layers.LSTM(6), layers.BatchNormalization(name="norm"),
                               layers.Dense(2, name="head")])
    before = model.get_weights()
    with pytest.warns(UserWarning) as caught:
        model.load_weights(path, skip_mismatch=True)
    texts = [str(w.message) for w in caught]
    assert [next(n for n in ("'eyes'", "'cell'", "'lstm") if n in t)
            for t in texts] == ["'eyes'", "'cell'", "'lstm"], texts
    assert all("keeps the weights" in t for t in texts) and "(3, 24)" in texts[1] and "(3, 20)" in texts[1]
    assert all(w.filename == __file__ for w in caught)
    after = model.get_weights()
    same(before[:8], after[:8])
    same(source.get_weights()[3:], after[8:])


@pytest.mark.parametrize("ending", ENDINGS)
def test_arrays_without_a_layer_are_refused(tmp_path, ending):
    path = tmp_path / f"m{ending}"
    model = small(units=2)
    bigger = tdfast.Sequential([*small(units=2).layers, layers.Dense(3)])
    bigger.build((None, 5, 3))
    bigger.save_weights(path)
    before = model.get_weights()
    with pytest.raises(FileError, match="layers/dense_1"):
        model.load_weights(path)
    same(before, model.get_weights())
    model.load_weights(path, skip_mismatch=True)
    same(bigger.get_weights()[:-2], model.get_weights())


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_optimizer_goes_on(tmp_path, ending):
    path = tmp_path / f"m{ending}"
    model, other = small(units=2), small(units=2)
    x, y = data_for(model)
    for m in (model, other):
        m.compile("adam", "mse")
        m.train_on_batch(x, y)
    model.train_on_batch(x, y)
    model.save_weights(path)
    other.load_weights(path)
    assert other.optimizer.iterations == 2
    for _ in range(2):
        assert model.train_on_batch(x, y) == other.train_on_batch(x, y)
    same(model.get_weights(), other.get_weights())


def test_an_optimizer_that_does_not_fit_keeps_its_state_with_a_warning(tmp_path):
    path = tmp_path / "m.weights.npz"
    model, other = small(units=2), small(units=2)
    x, y = data_for(model)
    model.compile("adam", "mse")
    model.train_on_batch(x, y)
    model.save_weights(path)
    other.compile(tdfast.optimizers.SGD(0.1, momentum=0.9), "mse")
    with pytest.warns(UserWarning, match="optimizer 'sgd.*keeps the state"):
        other.load_weights(path)
    assert other.optimizer.iterations == 0 and other.optimizer.learning_rate == 0.1
    same(model.get_weights(), other.get_weights())
    # not compiled: nothing to say
    tdfast.models.model_from_json(small(units=2).to_json()).load_weights(path)


# ------------------------------------------------------------------------------------------ arguments and
# damage
def test_arguments(tmp_path):
    model = small()
    for name in ("m", "m.h5", "m.npz", "m.keras", "weights.h5"):
        with pytest.raises(ValueError, match=r"\.weights\.h5"):
            model.save_weights(tmp_path / name)
    for name in ("m", "m.npz", "m.ckpt", "m.weights.json"):
        with pytest.raises(ValueError, match=r"\.weights\.npz"):
            model.load_weights(tmp_path / name)
    assert os.listdir(tmp_path) == []
    unbuilt = tdfast.Sequential([layers.Dense(2)])
    for method in (unbuilt.save_weights, unbuilt.load_weights):
        with pytest.raises(ValueError, match="no weights yet"):
            method(tmp_path / "m.weights.npz")
    with pytest.raises(OSError):
        model.load_weights(tmp_path / "missing.weights.npz")
    model.save_weights(tmp_path / "m.weights.npz")
    with pytest.raises(FileExistsError):
        model.save_weights(tmp_path / "m.weights.npz", overwrite=False)
    with pytest.raises(ValueError, match="by_name"):
        model.load_weights(tmp_path / "m.weights.npz", by_name=True)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch, ending):
    path = tmp_path / f"m{ending}"
    model = small()
    model.save_weights(path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        model.save_weights(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_cut_short_is_refused(tmp_path, ending):
    path = tmp_path / f"m{ending}"
    model = small()
    model.save_weights(path)
    data, before = path.read_bytes(), model.get_weights()
    for n in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:n])
        with pytest.raises(FileError):
            model.load_weights(path)
    same(before, model.get_weights())


def test_flipped_bytes_of_npz_never_give_other_numbers(tmp_path):
    path = tmp_path / "m.weights.npz"
    model, other = small(), small()
    model.save_weights(path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    other.set_weights([w + 1 for w in other.get_weights()])
    before = other.get_weights()
    for at in rng.integers(0, len(data), 150):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :])
        try:
            other.load_weights(path)
        except FileError:
            same(before, other.get_weights())
        else:
            same(model.get_weights(), other.get_weights())
            other.set_weights(before)


def test_flipped_bytes_of_hdf5_give_weights_or_a_file_error(tmp_path):
    """HDF5 has no checksum over its numbers; what the loader promises is an error of one class."""
    path = tmp_path / "m.weights.h5"
    model = small()
    model.save_weights(path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for at in rng.integers(0, len(data), 150):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :])
        try:
            model.load_weights(path)
        except FileError:
            refused += 1
    assert refused > 5


def test_pickles_in_npz_are_never_read(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    path = tmp_path / "m.weights.npz"
    np.savez(path, **{"layers/dense/vars/0": np.array(Bomb(), object)})
    model = tdfast.Sequential([layers.Dense(2, input_shape=(3,))])
    with pytest.raises(FileError, match="pickled"):
        model.load_weights(path)


def test_member_that_expands_is_refused(tmp_path):
    path = tmp_path / "m.weights.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("layers/dense/vars/0.npy", bytes(300 * 2**20))
    with pytest.raises(FileError, match="zip bomb"):
        tdfast.Sequential([layers.Dense(2, input_shape=(3,))]).load_weights(path)


# ------------------------------------------------------------------------------------------ JSON, names,
# arguments
def test_json_round_trip():
    model = example_model()
    model.compile(tdfast.optimizers.Adam(0.01), "mse", metrics=["mae"])
    text = model.to_json(indent=1)
    again = tdfast.models.model_from_json(text)
    assert again.get_config() == model.get_config() and again.to_json(indent=1) == text
    assert again.optimizer.get_config() == model.optimizer.get_config()
    again.set_weights(model.get_weights())
    x, y = data_for(model)
    assert again.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", None, "{}",
                                  '{"class_name": "Dense", "config": {"units": 2}}',
                                  '{"class_name": "Sequential", "config": {}}', "[" * 100_000])
def test_json_that_is_no_model(text):
    with pytest.raises(FileError):
        tdfast.models.model_from_json(text)


def test_names_are_where_keras_has_them():
    for name in ("load_model", "save_model", "model_from_json", "Sequential"):
        assert callable(getattr(tdfast.models, name))
    for name in ("load_model", "save_model", "load_weights", "save_weights"):
        assert callable(getattr(saving, name))
    with pytest.raises(AttributeError, match="no_such"):
        _ = tdfast.models.no_such


def test_save_says_what_it_does_not_write(tmp_path):
    model = small()
    with pytest.raises(ValueError, match="legacy HDF5"):
        model.save(tmp_path / "m.h5")
    with pytest.raises(ValueError, match="zipped"):
        model.save(tmp_path / "m", zipped=False)
    for name in ("m", "m.tf", "m.onnx"):
        with pytest.raises(ValueError, match=r"\.keras"):
            model.save(tmp_path / name)
    assert os.listdir(tmp_path) == []
    model.save(tmp_path / "m.keras", zipped=True)
    assert saving.load_model(tmp_path / "m.keras").get_config() == model.get_config()


@pytest.mark.parametrize("place", ["layers/dense/vars/0", "optimizer/vars/3"])
def test_damage_is_no_mismatch_to_be_skipped(tmp_path, place):
    path = tmp_path / "m.weights.npz"
    model = small(units=2)
    model.compile("adam", "mse")
    model.train_on_batch(*data_for(model))
    model.save_weights(path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents[f"{place}.npy"] = contents[f"{place}.npy"][:-4]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    before = model.get_weights()
    with pytest.raises(FileError, match=place):
        model.load_weights(path, skip_mismatch=True)
    same(before, model.get_weights())
