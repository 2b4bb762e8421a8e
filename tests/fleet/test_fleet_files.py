"""Fleets in files: what comes back, and what a damaged or a hostile file does: nothing but a FileError."""

import json
import os
import zipfile

import numpy as np
import pytest

import tdfast
from tdfast import fleet
from tdfast.errors import FileError
from tdfast.layers import GRU, BatchNormalization, Dense, Dropout, Input
from tdfast.saving.state import read_state, write_state

RNG = np.random.default_rng(0)
DATA = {key: (RNG.normal(size=(20, 4, 2)).astype("float32"), RNG.random((20, 1)))
        for key in ("a", ("b", 2), 3)}


@pytest.fixture(scope="module")
def trained():
    model = tdfast.Sequential([Input((4, 2)), GRU(3), BatchNormalization(), Dropout(0.3), Dense(1)])
    model.compile(tdfast.optimizers.Adam(0.01), "mse", metrics=["mae"])
    bad = {"bad": (np.ones((5, 4, 3)), np.ones(5))}
    with pytest.warns(UserWarning, match="failed"):
        return fleet.fit(model, {**DATA, **bad}, epochs=3, seed=5, validation=0.2)


def test_what_comes_back(trained, tmp_path):
    path = tmp_path / "shops.fleet"
    for _ in range(2):                      # the second one over the first
        trained.save(path)
        again = fleet.load(path)
        assert list(again) == list(trained) and again.weights.tobytes() == trained.weights.tobytes()
        assert again.weights.dtype == trained.weights.dtype
        assert again.failed == trained.failed and "2 features" in again.failed["bad"]
        assert again.seed == trained.seed == 5
        for key in DATA:
            assert again.history_of(key) == trained.history_of(key)
            x = DATA[key][0]
            assert (again[key].predict(x, verbose=0) == trained[key].predict(x, verbose=0)).all()
            assert again[key].evaluate(*DATA[key], verbose=0) == trained[key].evaluate(*DATA[key], verbose=0)
    assert os.listdir(tmp_path) == ["shops.fleet"]
    assert fleet.fit(again[3], DATA, seed=1).weights.shape == (3, again.weights.shape[1])


def test_an_error_while_it_is_written_leaves_the_old_one(trained, tmp_path):
    path = tmp_path / "a"
    trained.save(path)
    before = path.read_bytes()
    trained.failed["a"] = object()
    try:
        with pytest.raises(ValueError, match="failed"):
            trained.save(path)
    finally:
        del trained.failed["a"]
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a"]


def test_layers_of_ones_own(tmp_path):
    class Twice(tdfast.layers.Layer):
        def call(self, x):
            return 2 * x

    model = tdfast.Sequential([Input((4, 2)), GRU(3), Twice(), Dense(1)])
    model.compile("adam", "mse")
    made = fleet.fit(model, DATA, seed=1)
    made.save(tmp_path / "a")
    with pytest.raises(FileError, match="Twice"):
        fleet.load(tmp_path / "a")
    again = fleet.load(tmp_path / "a", custom_objects={"Twice": Twice})
    x = DATA["a"][0]
    assert (again["a"].predict(x, verbose=0) == made["a"].predict(x, verbose=0)).all()


def test_a_file_that_is_cut_or_changed_anywhere(trained, tmp_path):
    trained.save(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    draws = np.random.default_rng(1)
    for at in draws.integers(len(whole), size=60):
        (tmp_path / "b").write_bytes(whole[:at])
        with pytest.raises(FileError):
            fleet.load(tmp_path / "b")
        changed = bytearray(whole)
        changed[at] ^= 1 << int(draws.integers(8))
        (tmp_path / "b").write_bytes(changed)
        try:
            again = fleet.load(tmp_path / "b")
        except FileError:
            continue
        assert again.weights.tobytes() == trained.weights.tobytes()     # what a date in the archive says


def changed(state):
    """Files that are whole, and say what cannot be."""
    yield "no fleet", {**state, "format": "other"}
    yield "no fleet", {"weights": state["weights"]}
    yield "keys that come twice", {**state, "keys": ["a", "a", "b", "c"]}
    yield "weights of shape", {**state, "keys": ["a"]}
    yield "weights of shape", {**state, "weights": state["weights"][:, :5]}
    yield "weights of shape", {**state, "weights": state["weights"].astype("float64")}
    yield "weights", {name: part for name, part in state.items() if name != "weights"}
    yield "", {**state, "weights": 5}
    yield "is no key", {**state, "keys": [{"lambda": 1}, "b", "c", "d"]}
    yield "", {**state, "keys": 7}
    yield "", {**state, "keys": [{"float": "nan"}, "b", "c", "d"]}
    yield "", {**state, "seed": "x"}
    yield "", {**state, "seed": -1}
    yield "failed ones", {**state, "failed": [["nobody", "why"]]}
    yield "", {**state, "failed": 5}
    yield "", {**state, "model": np.zeros(9, np.uint8)}
    yield "", {**state, "model": "x"}
    yield "", {**state, "histories": {"loss": {"counts": np.array([9, 9, 9, 9]), "values": np.zeros(2)}}}
    yield "", {**state, "histories": {"loss": {"counts": np.array([3, -1, 0, 0]), "values": np.zeros(2)}}}
    yield "", {**state, "histories": {"loss": 5}}
    yield "", {**state, "histories": 5}


def test_a_file_that_says_what_cannot_be(trained, tmp_path):
    trained.save(tmp_path / "a")
    for words, state in changed(read_state(tmp_path / "a")):
        write_state(tmp_path / "b", state)
        with pytest.raises(FileError, match=words or None):
            fleet.load(tmp_path / "b")


def test_other_files_and_none(tmp_path):
    (tmp_path / "a").write_bytes(b"PK no archive")
    with pytest.raises(FileError):
        fleet.load(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        archive.writestr("state.json", json.dumps([1]))
    with pytest.raises(FileError):
        fleet.load(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        fleet.load(tmp_path / "nobody")
