"""The names, arguments and defaults of Keras itself beside tdfast's."""

import importlib
import inspect
import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")

from test_names import NAMES, is_there, ours  # noqa: E402

import tdfast  # noqa: E402
import tdfast.compat.keras_table  # noqa: E402

THEIRS = {module: keras if module == "keras" else importlib.import_module(f"keras.{module}")
          for module in NAMES}

# Arguments of Keras's that nobody can give here.
NOT_HERE = {
    "Dense": {"lora_rank", "lora_alpha"},
    "EinsumDense": {"lora_rank", "lora_alpha", "gptq_unpacked_column_size"},
    "Embedding": {"lora_rank", "lora_alpha"},
    "Input": {"sparse", "ragged", "tensor", "optional"},
    "InputLayer": {"sparse", "ragged", "input_tensor", "optional"},
    "circle": {"ref_labels", "ref_embeddings"},
    "plot_model": {"splines"},
    "split_dataset": {"preferred_backend"},
    "timeseries_dataset_from_array": {"format"},
    "text_dataset_from_directory": {"format"},
    "save_weights": {"max_shard_size"},
    "Layer": {"autocast"},
}
# Arguments that a class may leave to its base class: those of all optimizers, and of all layers.
OF_THE_BASE = {"weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum",
               "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps", "name", "dtype"}


@pytest.mark.skipif(not keras.__version__.startswith("3.15."), reason="the list is that of Keras 3.15")
@pytest.mark.parametrize("module", NAMES)
def test_the_recorded_list_is_that_of_keras(module):
    """Modules within a module are no names of it; nor are Keras's legacy parts, where its own code is."""
    there = {name for name in dir(THEIRS[module]) if not name.startswith("_")
             and name not in ("legacy", "src", "api")
             and (module == "keras" or not inspect.ismodule(getattr(THEIRS[module], name)))}
    assert there == set(NAMES[module])


def arguments(item):
    """Name -> default of the arguments of a function or a class; base classes' too where it hands on the
    others."""
    if not inspect.isclass(item):
        return _named(item)[0]
    if item.__module__.startswith("keras"):
        return _named(item.__init__)[0]             # Keras writes all arguments out
    out = {}
    for base in item.__mro__:
        if "__init__" in vars(base):
            found, more = _named(base.__init__)
            out = {**found, **out}
            if not more:
                break
    return out


def _named(function):
    parameters = list(inspect.signature(function).parameters.values())
    named = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
             and p.name != "self"}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def pairs():
    """(name, Keras's, tdfast's) of all but aliases; a Variable is made of its value here, in Keras of an
    initializer."""
    for module, names in NAMES.items():
        for name in names:
            theirs = getattr(THEIRS[module], name)
            mine = getattr(ours(module), name) if is_there(module, name) else None
            if callable(theirs) and mine is not None and getattr(theirs, "__name__",
                                                                 "") == name and name != "Variable":
                yield pytest.param(name, theirs, mine, id=f"{module}.{name}")


@pytest.mark.parametrize("name, theirs, mine", list(pairs()))
def test_arguments_and_their_defaults(name, theirs, mine):
    try:
        want = arguments(theirs)
    except ValueError:
        pytest.skip("Keras has no signature for it")
    if isinstance(mine, tdfast.activations.Activation):
        mine.with_parameters(**{key: value for key, value in want.items() if key != "x"})
        return
    got = arguments(mine)
    assert set(want) - set(got) == NOT_HERE.get(name, set())
    for key in set(want) & set(got):
        a, b = want[key], got[key]
        same = repr(a) == repr(b) or a == b or (isinstance(a, tuple) and set(a) == {b})
        assert same, f"{name}({key}): Keras's default is {a!r}, here {b!r}"


@pytest.mark.parametrize("name, theirs, mine", list(pairs()))
def test_arguments_are_in_keras_order(name, theirs, mine):
    """Who calls with positions gets the same."""
    if isinstance(mine, tdfast.activations.Activation):
        pytest.skip("its parameters are given by name")
    if name == "Layer":
        pytest.skip("the base class takes arguments by name alone")
    want, got = (list(_named(f.__init__ if inspect.isclass(f) else f)[0]) for f in (theirs, mine))
    common = [key for key in want if key in got]
    assert [key for key in got if key in want] == common


@pytest.mark.parametrize("name, theirs, mine", [
    pair for pair in pairs() if inspect.isclass(pair.values[2]) and pair.values[0] not in ("Layer", "Model")
    and issubclass(pair.values[2], (tdfast.Layer, tdfast.Optimizer, tdfast.Loss, tdfast.callbacks.Callback))])
def test_editors_see_the_arguments(name, theirs, mine):
    """They stand in the class's own signature, which editors and help() show, and not in a base class's."""
    hidden = set(_named(theirs.__init__)[0]) - set(_named(mine.__init__)[0]) - NOT_HERE.get(name, set())
    assert hidden <= OF_THE_BASE


@pytest.mark.parametrize("where, theirs, mine", [
    ("layers", keras.Layer, tdfast.layers.Dense(2)),
    ("layers", keras.layers.Dense, tdfast.layers.Dense(2)),
    ("layers", keras.layers.TimeDistributed, tdfast.layers.TimeDistributed(tdfast.layers.Dense(2))),
    ("models", keras.Sequential, tdfast.Sequential()),
    ("optimizers", keras.optimizers.Adam, tdfast.optimizers.Adam()),
    ("metrics", keras.metrics.AUC, tdfast.metrics.AUC()),
    ("losses", keras.losses.Huber, tdfast.losses.Huber()),
], ids=lambda value: getattr(value, "__name__", ""))
def test_each_member_is_there_or_listed(where, theirs, mine):
    """Weights are attributes once a layer is built; the serialization of quantized ones has its row as
    quantize has."""
    rows = [names for of, names, _ in tdfast.compat.keras_table.MEMBERS if of == where
            or (of, where) == ("layers", "models")]
    listed = {name for names in rows for name in names.split(", ")}
    names = {name for name in dir(theirs) if not name.startswith("_")}
    assert names - set(dir(mine)) - listed - {"kernel", "variable_serialization_spec", "dtype"} == set()
