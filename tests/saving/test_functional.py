"""Functional models from configs: Keras's, spoilt ones, and those that tdfast writes."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import tdfast
from tdfast import layers, saving
from tdfast.engine.serialization import deserialize_layer, serialize_layer
from tdfast.engine.structure import flatten
from tdfast.saving import FileError

GOLDEN = Path(__file__).parents[1] / "golden"
WRITTEN = json.loads((GOLDEN / "functional-refused.json").read_text())      # configs that Keras 3.15 wrote


@pytest.mark.parametrize("name", WRITTEN)
def test_graphs_of_keras_load(name):
    """And come back from the config that tdfast writes of them."""
    model = deserialize_layer(WRITTEN[name])
    assert type(model) is tdfast.models.Functional
    rng = np.random.default_rng(0)
    xs = [rng.integers(0, 3, (4, *(n or 5 for n in shape[1:]))) if layer.dtype.startswith("int")
          else rng.normal(size=(4, *(n or 5 for n in shape[1:])))
          for layer, shape in zip(model.input_layers, model.input_shapes)]
    again = deserialize_layer(serialize_layer(model))
    again.set_weights(model.get_weights())
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    x = xs[0] if len(xs) == 1 else xs
    for a, b in zip(flatten(model.predict(x, verbose=0)), flatten(again.predict(x, verbose=0))):
        np.testing.assert_array_equal(a, b)


def tensor(name, call=0, output=0):
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 5, 3], "dtype": "float32",
                                                         "keras_history": [name, call, output]}}


def item(class_name, name, source=None, module="keras.layers", **config):
    nodes = [] if source is None else [{"args": [tensor(source)], "kwargs": {}}]
    return {"module": module, "class_name": class_name, "config": {"name": name, **config},
            "registered_name": None, "name": name,
            "inbound_nodes": nodes}


def chain():
    return {"module": "keras.src.models.functional", "class_name": "Functional",
            "registered_name": "Functional", "config": {
        "name": "m", "trainable": True, "layers": [
            item("InputLayer", "in", batch_shape=[None, 5, 3]), item("Dense", "first", "in", units=4),
            item("Dense", "last", "second", units=2), item("Dense", "second", "first", units=3)],
        "input_layers": [["in", 0, 0]], "output_layers": [["last", 0, 0]]}}


def test_the_order_is_that_of_the_calls_and_the_weights_places_those_of_the_list(tmp_path):
    """The file lists 'last' before 'second', and so numbers their weights."""
    h5py = pytest.importorskip("h5py")
    import io
    import zipfile

    arrays = {"dense": (3, 4), "dense_1": (3, 2), "dense_2": (4, 3)}
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for i, (name, shape) in enumerate(arrays.items()):
            file[f"layers/{name}/vars/0"], file[f"layers/{name}/vars/1"] = (
                np.full(shape, i, "f"),
                np.full(shape[1], 10 + i, "f"),
            )
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("config.json", json.dumps(chain()))
        z.writestr("model.weights.h5", out.getvalue())
    model = saving.load_model(path)
    assert [layer.name for layer in model.layers] == ["in", "first", "second", "last"] and model.name == "m"
    assert [float(layer.kernel[0, 0]) for layer in model.layers[1:]] == [0, 2, 1]
    model.save(path)
    assert [float(layer.bias[0]) for layer in saving.load_model(path).layers[1:]] == [10, 12, 11]


def test_keras_2_writes_its_nodes_as_lists():
    config = chain()
    for described in config["config"]["layers"]:
        described["inbound_nodes"] = [[[node["args"][0]["config"]["keras_history"][0], 0, 0,
                                        {"training": False}]]
                                      for node in described["inbound_nodes"]]
        del described["module"], described["registered_name"]
    config["class_name"] = "Model"
    names = [layer.name for layer in deserialize_layer(config).layers]
    assert names == ["in", "first", "second", "last"]
    config["config"]["layers"][1]["inbound_nodes"][0][0][3] = {"mode": "fast"}
    with pytest.raises(FileError, match="'first'.*mode"):
        deserialize_layer(config)


def test_inside_other_layers():
    inner = {key: value for key, value in chain().items() if key != "inbound_nodes"}
    outer = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "InputLayer", "module": "keras.layers",
         "config": {"batch_shape": [None, 7, 5, 3], "name": "i"}},
        {"class_name": "TimeDistributed", "module": "keras.layers",
         "config": {"name": "td", "layer": inner}}]}}
    model = deserialize_layer(outer)
    assert model.output_shape == (None, 7, 5, 2) and type(model.layers[0].layer) is tdfast.models.Functional


JUNK = [None, 0, -1, True, "", "in", "last", [], [[]], {}, ["in", 0, 0], ["last", 0, 0], [["in", 0, 0]],
        ["in", 1, 0], {"a": ["in", 0, 0]},
        tensor("in"), tensor("last"), tensor("nowhere"), [tensor("in"), tensor("first")]]


def places(value, path=()):
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from places(below, (*path, key))


@pytest.mark.parametrize("make", [chain, lambda: copy.deepcopy(WRITTEN["own_mask"])])
def test_spoilt_graphs_are_refused_or_load(make):
    """Junk in any place of the graph gives a model or a FileError."""
    refused = 0
    for path in list(places(make())):
        for junk in JUNK:
            config = make()
            *before, last = path
            spot = config
            for key in before:
                spot = spot[key]
            spot[last] = copy.deepcopy(junk)
            try:
                deserialize_layer(config)
            except FileError:
                refused += 1
    assert refused > 300


def test_loops_and_long_lists_end():
    config = chain()
    config["config"]["layers"][1] = item("Dense", "first", "last", units=4)
    with pytest.raises(FileError, match="'first', 'last', 'second' wait for each other"):
        deserialize_layer(config)
    config["config"]["layers"] = [item("Dense", f"d{i}", "in", units=4) for i in range(5000)]
    with pytest.raises(FileError, match="5000 layers"):
        deserialize_layer(config)
    config = chain()
    config["config"]["layers"][1]["inbound_nodes"] *= 100_000
    with pytest.raises(FileError, match="calls of layers"):
        deserialize_layer(config)
    config = chain()                        # many layers in the worst order
    names = [f"d{i}" for i in range(1500)]
    stack = [item("Activation", name, before, activation="linear")
             for name, before in zip(names, ["in", *names])]
    config["config"]["layers"] = [item("InputLayer", "in", batch_shape=[None, 5, 3]), *reversed(stack)]
    config["config"]["output_layers"] = [[names[-1], 0, 0]]
    assert len(deserialize_layer(config).layers) == 1501


def test_a_layer_of_a_model_and_of_one_within_it_is_one_layer_in_files_and_copies(tmp_path):
    x, y = tdfast.Input((None, 3)), tdfast.Input((None, 3))
    dense = layers.Dense(3, name="dense")
    begin = tdfast.Input((None, 3))
    inner = tdfast.Model(begin, layers.Add()([dense(begin), layers.Dense(3)(begin)]), name="inner")
    each = layers.TimeDistributed(dense, name="each")
    lstm = layers.LSTM(4)
    model = tdfast.Model([x, y], layers.Concatenate()([lstm(inner(x)), lstm(inner(y)), lstm(each(x)),
                                                       lstm(dense(x))]))
    model.compile("adam", "mse")
    xs, want = [np.ones((2, 5, 3)), -np.ones((2, 5, 3))], np.zeros((2, 16))
    model.fit(xs, want, verbose=0)
    model.save(tmp_path / "model.keras")
    copies = [saving.load_model(tmp_path / "model.keras"), pickle.loads(pickle.dumps(model)),
              copy.deepcopy(model)]
    described = tdfast.models.model_from_json(model.to_json())
    assert [w.path for w in described.weights] == [w.path for w in model.weights]
    for twin in copies:
        assert len(twin.weights) == len(model.weights) == 7
        assert twin.get_layer("dense") is twin.get_layer("inner").get_layer("dense")
        assert twin.get_layer("each").layer is twin.get_layer("dense")
        assert np.array_equal(twin.predict(xs, verbose=0), model.predict(xs, verbose=0))
    model.fit(xs, want, verbose=0)
    for twin in copies:
        twin.fit(xs, want, verbose=0)
        assert all(np.array_equal(a, b) for a, b in zip(twin.get_weights(), model.get_weights()))
    config = json.loads(model.to_json())
    for item in config["config"]["layers"]:
        if item["name"] == "dense":
            item["class_name"] = "LSTM"
    with pytest.raises(ValueError, match="shared_object_id 1, but one is a Dense and the other a LSTM"):
        tdfast.models.model_from_json(json.dumps(config))
