"""Files between tdfast and Keras itself, on JAX or on TensorFlow (KERAS_BACKEND chooses), over random models.

A model of tests/random_models.py, trained for two steps, is saved by one and loaded by the other: predictions
are equal, and so are the losses of two more steps, which need the optimizer's state. Weights files, configs
and Keras's legacy .h5 likewise. The models are the same in every run.
"""

import importlib.util
import json
import os
import warnings

import numpy as np
import pytest

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BACKEND = os.environ["KERAS_BACKEND"]
if BACKEND not in ("jax", "tensorflow"):
    pytest.skip("needs Keras on JAX or TensorFlow", allow_module_level=True)
if not all(importlib.util.find_spec(name) for name in ("keras", "h5py", BACKEND)):
    pytest.skip("needs keras, jax and h5py: pip install 'tdfast[live]'", allow_module_level=True)
keras = pytest.importorskip("keras")

from random_models import any_stack, inputs, model_of  # noqa: E402

import tdfast  # noqa: E402

NEAR, NEAR_STEP = 2e-5, 1e-4

# The epsilon is large so that what rounding leaves of a gradient that ought to be 0 is not made large. All
# optimizers' states go both ways in tests/live/test_live_optimizers.py.
OPTIMIZERS = [
    ("Adam", {"epsilon": 0.01, "amsgrad": True}), ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("AdamW", {"epsilon": 0.01}),
    ("RMSprop", {"epsilon": 0.01, "centered": True, "momentum": 0.5}), ("Nadam", {"epsilon": 0.01}),
    ("Adam", {"epsilon": 0.01, "use_ema": True}),
]


# Layers with a padding that Keras has not (docs/keras.md).
OWN_CAUSAL = ("DepthwiseConv1D", "SeparableConv1D")


def near(got, want, what, bound=NEAR):
    got, want = np.asarray(got, "float64"), np.asarray(want, "float64")
    assert got.shape == want.shape, what
    np.testing.assert_allclose(got, want, rtol=0, atol=bound * max(1.0, float(np.abs(want).max(initial=0))),
                               err_msg=what)


def layers_in(layer):
    yield layer
    for inner in layer.sublayers():
        yield from layers_in(inner)


def case(seed):
    """A compiled model that has trained for two steps, its input and its targets."""
    rng = np.random.default_rng([seed, 7])

    def pick(values):
        return values[rng.integers(len(values))]

    tdfast.utils.clear_session()
    keras.utils.clear_session(free_memory=False)
    shape = (pick([5, 4]), pick([3, 1]))
    layers = any_stack(pick)
    while any(type(layer).__name__ in OWN_CAUSAL and layer.padding == "causal" for layer in layers):
        layers = any_stack(pick)
    model = model_of(layers, shape, seed)
    for layer in layers_in(model):
        if hasattr(layer, "rate"):
            layer.rate = 0.0                # random numbers are not Keras's
    x = inputs(shape, batch=4, seed=seed)
    y = rng.normal(size=model.predict(x, verbose=0).shape).astype("float32")
    name, options = OPTIMIZERS[seed % len(OPTIMIZERS)]
    rate = tdfast.optimizers.schedules.ExponentialDecay(0.02, 5, 0.9) if seed % 3 == 2 else 0.02
    model.compile(getattr(tdfast.optimizers, name)(rate, **options), pick(["mse", "huber"]), metrics=["mae"])
    for _ in range(2):
        model.train_on_batch(x, y)
    return model, x, y


def step(model, x, y):
    return model.train_on_batch(x, y, return_dict=True)["loss"]


def same_from_here(ours, theirs, x, y, what):
    """Predictions, and two more steps of both."""
    near(theirs.predict(x, verbose=0), ours.predict(x, verbose=0), f"predictions, {what}")
    for i in range(2):
        near(step(theirs, x, y), step(ours, x, y), f"loss of step {i} after loading, {what}", NEAR_STEP)
    near(theirs.predict(x, verbose=0), ours.predict(x, verbose=0), f"predictions after these, {what}",
         NEAR_STEP)


def plain(value):
    """A config without what Keras may leave out, and with the dtype's name for its policy."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            return value["config"]["name"]
        return {k: plain(v) for k, v in value.items() if k not in ("registered_name", "build_config",
                                                                   "compile_config")}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("seed", range(len(OPTIMIZERS)))
def test_models_and_training_go_both_ways(tmp_path, seed):
    ours, x, y = case(seed)
    ours.save(tmp_path / "ours.keras")
    theirs = keras.saving.load_model(tmp_path / "ours.keras")
    same_from_here(ours, theirs, x, y, "Keras of our file")
    theirs.save(tmp_path / "theirs.keras")
    again = tdfast.models.load_model(tmp_path / "theirs.keras")
    assert again.optimizer.iterations == int(theirs.optimizer.iterations) == 4
    same_from_here(again, theirs, x, y, "we of Keras's file")
    assert list(again.train_on_batch(x, y, return_dict=True)) == list(
        theirs.train_on_batch(x, y, return_dict=True)
    )


def test_frozen_layers_and_a_model_within_a_model_go_both_ways(tmp_path):
    tdfast.utils.clear_session()
    tdfast.utils.set_random_seed(5)
    layers = tdfast.layers
    ours = tdfast.Sequential([
        layers.Dense(3, name="dense_1", input_shape=(6, 3)),
        layers.LSTM(4, return_sequences=True, name="dense", go_backwards=True, trainable=False),
        layers.TimeDistributed(tdfast.Sequential([layers.Dense(4, "relu"), layers.Dropout(0.0),
                                                  layers.Dense(3)], name="inner")),
        layers.Flatten(),
        layers.RepeatVector(2),
        layers.TimeDistributed(layers.Dense(2)),
    ])
    ours.compile(tdfast.optimizers.Adam(0.01, epsilon=0.01), "mse", metrics=["mae"])
    x, y = inputs((6, 3), batch=4, seed=0), inputs((2, 2), batch=4, seed=1)
    frozen = ours.layers[1].get_weights()
    for _ in range(2):
        ours.train_on_batch(x, y)
    ours.save(tmp_path / "ours.keras")
    theirs = keras.saving.load_model(tmp_path / "ours.keras")
    same_from_here(ours, theirs, x, y, "Keras of our file")
    theirs.save(tmp_path / "theirs.keras")
    again = tdfast.models.load_model(tmp_path / "theirs.keras")
    same_from_here(again, theirs, x, y, "we of Keras's file")
    for model in (ours, theirs, again):
        assert [layer.trainable for layer in model.layers] == [layer.trainable for layer in ours.layers]
        for before, after in zip(frozen, model.layers[1].get_weights(), strict=True):
            near(after, before, "a frozen weight", 0)


@pytest.mark.parametrize("seed", range(20, 24))
def test_weights_files_go_both_ways(tmp_path, seed):
    ours, x, _ = case(seed)
    theirs = keras.models.model_from_json(ours.to_json())
    ours.save_weights(tmp_path / "ours.weights.h5")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        theirs.load_weights(tmp_path / "ours.weights.h5")
    near(theirs.predict(x, verbose=0), ours.predict(x, verbose=0), "Keras of our weights")
    theirs.set_weights([w + 0.125 for w in theirs.get_weights()])
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*The optimizer keeps the state")
        ours.load_weights(tmp_path / "theirs.weights.h5")
    for v, w in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(v, w)


@pytest.mark.parametrize("seed", range(20, 26))
def test_json_goes_both_ways(seed):
    """Keras makes our model from its JSON, and says of it what we say; we make it from what Keras says."""
    ours, _, _ = case(seed)
    text = ours.to_json()
    theirs = keras.models.model_from_json(text)
    mine, other = plain(json.loads(text)), plain(json.loads(theirs.to_json()))
    assert mine == other
    again = tdfast.models.model_from_json(theirs.to_json())
    assert plain(again.get_config()) == plain(ours.get_config())
    assert again.optimizer.get_config().keys() == ours.optimizer.get_config().keys()
    for layer, original in zip(theirs.layers, ours.layers):
        made = type(original).from_config(layer.get_config())
        assert plain(made.get_config()) == plain(original.get_config())


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("seed", range(30, 33))
def test_legacy_hdf5_of_keras_loads(tmp_path, seed):
    ours, x, y = case(seed)
    ours.save(tmp_path / "ours.keras")
    theirs = keras.saving.load_model(tmp_path / "ours.keras")
    theirs.save(tmp_path / "theirs.h5")
    theirs.save(tmp_path / "forgetful.keras")           # Keras has lost the optimizer's config by now
    with pytest.warns(UserWarning, match="which optimizer"):
        tdfast.models.load_model(tmp_path / "forgetful.keras")
    loaded = tdfast.models.load_model(tmp_path / "theirs.h5")
    assert loaded.optimizer.iterations == 2
    same_from_here(loaded, theirs, x, y, "we of Keras's legacy file")
    ours.load_weights(tmp_path / "theirs.h5")
    for v, w in zip(ours.get_weights(), keras.saving.load_model(tmp_path / "theirs.h5").get_weights(),
                    strict=True):
        np.testing.assert_array_equal(v, w)


def test_npz_weights_of_keras_are_program_objects_that_neither_reads(tmp_path):
    """With h5py missing, Keras pickles its own variables; its own loader refuses to unpickle them, and so
    does ours."""
    saving_lib = pytest.importorskip("keras.src.saving.saving_lib")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    try:
        saving_lib.save_model(model, str(tmp_path / "m.keras"), weights_format="npz")
    except TypeError:
        pytest.skip("on this backend Keras cannot even write them")
    with pytest.raises(tdfast.saving.FileError, match="pickled.*HDF5"):
        tdfast.models.load_model(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        keras.saving.load_model(tmp_path / "m.keras")
