"""Who asks for a name of Keras's that is not there reads why, and what to use; for all else nothing
changes."""

import copy
import doctest
import importlib
import inspect
import pickle

import numpy as np
import pytest

import tdfast
from tdfast import Sequential, layers, metrics, optimizers, utils
from tdfast.compat import keras_table
from tdfast.layers import Dense


def entries(rows):
    return [pytest.param(where, name, why, id=f"{where}.{name}") for where, names,
            why in rows for name in names.split(", ")]


def module_of(where):
    return "tdfast" if where == "(top)" else f"tdfast.{where}"


@pytest.mark.parametrize("where, name, why", entries(keras_table.NAMES + keras_table.OLDER))
def test_names_of_modules(where, name, why):
    module = module_of(where)
    for code, error in ((f"from {module} import {name}", ImportError),
                        (f"from {module} import {name} as other", ImportError),
                        (f"import {module}\n{module}.{name}", AttributeError)):
        with pytest.raises(error) as caught:
            exec(code, {})
        assert str(caught.value).startswith(f"{module} has no '{name}'") and why in str(caught.value)
    found = importlib.import_module(module)
    assert name not in dir(found) and not hasattr(found, name) and getattr(found, name, 3) == 3


def objects():
    return {
        "layers": Dense(2), "models": Sequential([Dense(2, input_shape=(3,))]),
        "optimizers": optimizers.Adam(),
        "metrics": metrics.AUC(), "datasets": utils.timeseries_dataset_from_array(np.arange(9), None, 3),
    }


@pytest.mark.parametrize("where, name, why", entries(keras_table.MEMBERS))
def test_members(where, name, why):
    obj = objects()[where]
    with pytest.raises(AttributeError) as caught:
        getattr(obj, name)
    assert str(caught.value).startswith(
        f"'{type(obj).__name__}' object has no attribute '{name}'"
    ) and why in str(caught.value)
    assert not hasattr(obj, name) and getattr(obj, name, 3) == 3 and name not in dir(obj)


@pytest.mark.parametrize("rows", [keras_table.NAMES + keras_table.OLDER, keras_table.MEMBERS],
                         ids=["names", "members"])
def test_each_name_has_one_row(rows):
    found = [(where, name) for where, names, _ in rows for name in names.split(", ")]
    assert len(found) == len(set(found))


def test_a_model_tells_what_its_layers_tell():
    with pytest.raises(AttributeError, match=r"'Sequential' object has no attribute 'inbound_nodes'.*graphs"):
        _ = objects()["models"].inbound_nodes


def test_what_a_layer_gives_is_had_as_the_text_says():
    model = Sequential([Dense(4, input_shape=(3,)), Dense(2), Dense(1)])
    x = np.ones((5, 3), "float32")
    h = model.layers[1](model.layers[0](x))
    assert np.array_equal(Sequential(model.layers[: 1 + 1]).predict(x, verbose=0), h)


@pytest.mark.parametrize("name", ["", *tdfast._MODULES])
def test_other_names_are_no_import_errors(name):
    module = importlib.import_module(f"tdfast.{name}" if name else "tdfast")
    for unknown in ("Desne", "__wrapped__", "_private"):
        assert not hasattr(module, unknown) and getattr(module, unknown, 3) == 3
        with pytest.raises(AttributeError, match=unknown):
            getattr(module, unknown)
    with pytest.raises(ImportError, match="cannot import name 'Desne'"):
        exec(f"from {module.__name__} import Desne", {})
    assert len(inspect.getmembers(module)) > 3
    assert isinstance(doctest.DocTestFinder().find(module), list)
    assert all(getattr(module, entry) is not None for entry in dir(module) if entry[0] != "_")


@pytest.mark.parametrize("where", ["layers", "models", "optimizers", "metrics"])
def test_objects_are_copied_and_looked_at_as_before(where):
    obj = objects()[where]
    for again in (copy.copy(obj), copy.deepcopy(obj), pickle.loads(pickle.dumps(obj))):
        assert type(again) is type(obj) and again.name == obj.name
    assert "get_config" in {name for name, _ in inspect.getmembers(objects()["models"])}
    assert "get_config" in {name for name, _ in inspect.getmembers(type(obj))}


def test_a_layer_of_ones_own_may_have_such_a_member():
    class Mine(layers.Layer):
        path = "on the class"

        def __init__(self):
            super().__init__()
            self.updates = "on the object"

        @property
        def call(self):
            return "a property"

    mine = Mine()
    assert (mine.path, mine.updates, mine.call) == ("on the class", "on the object", "a property")
    assert {"path", "updates", "call"} <= set(dir(mine))
    with pytest.raises(AttributeError, match="'Mine' object has no attribute 'add_metric'"):
        mine.add_metric(3.0)
