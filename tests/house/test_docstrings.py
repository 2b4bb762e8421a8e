"""Every public name has a docstring of its own with an example, and every public method says what it does.

That the examples run is `test_doctests` in test_examples.py.
"""

import importlib
import inspect
import re

import pytest

import tdfast

MODULES = ["", *(f".{name}" for name in tdfast._MODULES), ".optimizers.schedules", ".preprocessing.sequence",
           ".preprocessing.text", *(f".datasets.{name}" for name in tdfast.datasets.__all__)]


def public_names(module):
    """``__all__``, or what the module itself defines."""
    named = getattr(module, "__all__", None)
    if named is not None:
        return list(named)
    return [name for name, value in vars(module).items() if not name.startswith("_")
            and not inspect.ismodule(value)
            and getattr(value, "__module__", None) == module.__name__]


def public_objects():
    """(where, name, object), each object once."""
    seen = set()
    for suffix in MODULES:
        module = importlib.import_module(f"tdfast{suffix}")
        for name in public_names(module):
            item = getattr(module, name)
            if not inspect.ismodule(item) and not isinstance(item, str) and id(item) not in seen:
                seen.add(id(item))
                yield pytest.param(name, item, id=f"tdfast{suffix}.{name}")


OBJECTS = list(public_objects())


def own_docstring(item):
    """Not a base class's, and for an object not that of its class."""
    return (
        vars(item).get("__doc__") or ""
        if inspect.isclass(item) or not inspect.isroutine(item)
        else item.__doc__ or ""
    )


def test_there_are_many():
    assert len(OBJECTS) > 330
    assert {"LSTM", "relu", "huber", "set_num_threads", "export_onnx"} <= {p.values[0] for p in OBJECTS}


@pytest.mark.parametrize("name, item", OBJECTS)
def test_has_a_docstring_with_an_example(name, item):
    text = own_docstring(item)
    assert len(text.split()) > 5, f"{name} has no docstring of its own"
    assert ">>> " in text, f"the docstring of {name} has no example"


@pytest.mark.parametrize("name, item", [p for p in OBJECTS if inspect.isclass(p.values[1])])
def test_methods_say_what_they_do(name, item):
    """Those of a base class may say it."""
    silent = [key for key in dir(item) if not key.startswith("_")
              and (callable(getattr(item, key)) or isinstance(inspect.getattr_static(item, key), property))
              and not inspect.getdoc(getattr(item, key))]
    assert not silent


@pytest.mark.parametrize("name, item", [p for p in OBJECTS if inspect.isclass(p.values[1])
                                        and issubclass(p.values[1],
                                                       (tdfast.layers.Layer, tdfast.losses.Loss))])
def test_arguments_are_described(name, item):
    """Each argument of a layer's or a loss's own constructor is a word of its docstring or of its base
    class's."""
    if "__init__" not in vars(item):
        return
    text = " ".join(own_docstring(cls) for cls in item.__mro__ if cls.__module__.startswith("tdfast"))
    parameters = inspect.signature(item.__init__).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [n for n in named if n not in ("self", "name", "dtype") and not re.search(rf"\b{n}\b", text)]
    assert not missing
