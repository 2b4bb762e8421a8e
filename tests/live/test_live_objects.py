"""serialize_keras_object beside Keras's: each reads what the other wrote."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip(os.environ["KERAS_BACKEND"])
keras = pytest.importorskip("keras")

from test_objects import OBJECTS  # noqa: E402

from tdfast.saving import deserialize_keras_object, serialize_keras_object  # noqa: E402


def plain(config):
    """A config without what Keras says of dtypes and of its counters' names."""
    if isinstance(config, dict):
        skipped = ("dtype", "build_config", "name") if config.get("class_name") != "__numpy__" else ()
        return {key: plain(value) for key, value in config.items() if key not in skipped}
    return [plain(v) for v in config] if isinstance(config, (list, tuple)) else config


@pytest.mark.parametrize("name", [name for name in OBJECTS if name not in ("layer", "model", "dict")])
def test_keras_reads_ours_and_the_other_way_round(name):
    ours = serialize_keras_object(OBJECTS[name]())
    theirs = keras.saving.serialize_keras_object(keras.saving.deserialize_keras_object(ours))
    assert plain(theirs) == plain(ours)
    assert serialize_keras_object(deserialize_keras_object(theirs)) == ours


@pytest.mark.parametrize("name", ["layer", "model"])
def test_layers(name):
    ours = serialize_keras_object(OBJECTS[name]())
    theirs = keras.saving.deserialize_keras_object(ours)
    assert theirs.name == OBJECTS[name]().name
    assert (
        serialize_keras_object(deserialize_keras_object(keras.saving.serialize_keras_object(theirs))) == ours
    )


@pytest.mark.parametrize("path", ["activations.gelu", "losses.huber", "metrics.binary_accuracy"])
def test_functions(path):
    import tdfast

    module, name = path.split(".")
    theirs = getattr(getattr(keras, module), name)
    ours = getattr(getattr(tdfast, module), name)
    assert serialize_keras_object(ours) == keras.saving.serialize_keras_object(theirs)
    assert deserialize_keras_object(keras.saving.serialize_keras_object(theirs)) is ours
