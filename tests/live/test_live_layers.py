"""Elementwise, random, rescaling and small normalizing layers beside Keras itself, where it is installed."""

import inspect
import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")

from test_names import is_there  # noqa: E402

from tdfast import Sequential, activations, constraints, initializers, layers, optimizers, regularizers  # noqa: E402
from tdfast.saving import load_model  # noqa: E402

TOLERANCE = 2e-5

# recipe(layers of either library) -> a layer; and the shape of a sample.
LAYERS = {
    "ReLU": (lambda L: L.ReLU(), (4, 6)),
    "ReLU 6": (lambda L: L.ReLU(6.0), (4, 6)),
    "ReLU all": (lambda L: L.ReLU(1.5, 0.2, 0.5), (4, 6)),
    "LeakyReLU": (lambda L: L.LeakyReLU(), (4, 6)),
    "ELU": (lambda L: L.ELU(0.7), (4, 6)),
    "PReLU": (lambda L: L.PReLU(alpha_initializer="random_normal", alpha_regularizer="l2"), (4, 6)),
    "PReLU shared": (lambda L: L.PReLU(shared_axes=[1]), (4, 6)),
    "Softmax": (lambda L: L.Softmax(), (4, 6)),
    "Softmax axes": (lambda L: L.Softmax(axis=[1, 2]), (4, 6)),
    "Identity": (lambda L: L.Identity(), (4, 6)),
    "Activation": (lambda L: L.Activation("mish", activity_regularizer="l2"), (4, 6)),
    "ActivityRegularization": (lambda L: L.ActivityRegularization(0.1, 0.2), (4, 6)),
    "Rescaling": (lambda L: L.Rescaling(0.5, 1.0), (4, 6)),
    "Rescaling arrays": (lambda L: L.Rescaling(np.arange(1.0, 7.0), [1.0] * 6), (4, 6)),
    "Normalization": (lambda L: L.Normalization(), (4, 6)),
    "Normalization axes": (lambda L: L.Normalization(axis=(1, 2)), (4, 6)),
    "Normalization None": (lambda L: L.Normalization(axis=None), (4, 6)),
    "Normalization given": (lambda L: L.Normalization(mean=2.0, variance=3.0), (4, 6)),
    "Normalization inverted": (lambda L: L.Normalization(mean=[1.0] * 6, variance=[3.0] * 6, invert=True),
                               (4, 6)),
    "UnitNormalization": (lambda L: L.UnitNormalization(), (4, 6)),
    "UnitNormalization axes": (lambda L: L.UnitNormalization(axis=[1, 2]), (4, 6)),
    "RMSNormalization": (lambda L: L.RMSNormalization(), (4, 6)),
    "GroupNormalization": (lambda L: L.GroupNormalization(3), (4, 6)),
    "GroupNormalization axis 1": (lambda L: L.GroupNormalization(2, axis=1, beta_regularizer="l2"), (4, 6)),
    "GroupNormalization -1": (lambda L: L.GroupNormalization(-1, scale=False), (4, 3, 6)),
    "Dropout": (lambda L: L.Dropout(0.0, noise_shape=(None, 1, 6), seed=3), (4, 6)),
    "SpatialDropout1D": (lambda L: L.SpatialDropout1D(0.0, seed=3), (4, 6)),
    "SpatialDropout2D": (lambda L: L.SpatialDropout2D(0.0), (4, 3, 6)),
    "SpatialDropout3D": (lambda L: L.SpatialDropout3D(0.0, data_format="channels_first"), (4, 3, 2, 6)),
    "GaussianNoise": (lambda L: L.GaussianNoise(0.0), (4, 6)),
    "GaussianDropout": (lambda L: L.GaussianDropout(0.0), (4, 6)),
    "AlphaDropout": (lambda L: L.AlphaDropout(0.0), (4, 6)),
}


def near(a, b, what, tolerance=TOLERANCE):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance, err_msg=what)


def pair(name):
    """The same model around a layer in both libraries, with the same random weights; x and y."""
    recipe, shape = LAYERS[name]
    rng = np.random.default_rng(len(name))

    def stack(L):
        return [L.Input(shape), L.Dense(shape[-1]), recipe(L), L.Dense(2)]

    ours, theirs = Sequential(stack(layers)), keras.Sequential(stack(keras.layers))
    assert [(w.name, w.shape, w.trainable) for w in ours.weights] == [(w.name, tuple(w.shape), w.trainable)
                                                                      for w in theirs.weights]
    weights = [0 if w.name == "count" else np.abs(rng.normal(size=w.shape)) + 0.3
               if w.name in ("variance", "scale", "gamma")
               else rng.normal(size=w.shape) * 0.5 for w in ours.weights]
    for model in (ours, theirs):
        model.set_weights([np.array(w) for w in weights])
        for layer in model.layers:
            getattr(layer, "finalize_state", lambda: None)()
    return (
        ours,
        theirs,
        rng.normal(size=(7, *shape)).astype("float32"),
        rng.normal(size=(7, *shape[:-1], 2)).astype("float32"),
    )


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_a_step_of_sgd(name):
    ours, theirs, x, y = pair(name)
    for model, opt in ((ours, optimizers), (theirs, keras.optimizers)):
        model.compile(opt.SGD(0.1), "mse")
    near(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), "predictions")
    near(ours.train_on_batch(x, y), theirs.train_on_batch(x, y), "loss")
    for a, b in zip(ours.weights, theirs.weights):
        near(a.numpy(), b.numpy(), f"{b.path} after a step")
    near(ours.train_on_batch(x, y), theirs.train_on_batch(x, y), "loss of the second step")


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "registered_name"}
    return [plain(v) for v in value] if isinstance(value, (tuple, list)) else value


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_config(name, built):
    """Keys, order and values; before and after the layer is built."""
    recipe, shape = LAYERS[name]
    mine, other = recipe(layers), recipe(keras.layers)
    if built:
        mine.build((None, *shape))
        other.build((None, *shape))
    mine, other = mine.get_config(), other.get_config()
    mine["name"] = other["name"] = mine["dtype"] = other["dtype"] = "any"
    assert list(mine) == list(other)
    assert plain(mine) == plain(other)


def test_files_go_both_ways(tmp_path):
    for name in LAYERS:
        ours, theirs, x, _ = pair(name)
        near(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), name)
        ours.save(tmp_path / "ours.keras")
        theirs.save(tmp_path / "theirs.keras")
        want = ours.predict(x, verbose=0)
        near(keras.models.load_model(tmp_path / "ours.keras").predict(x, verbose=0), want,
             f"{name}, Keras of our file")
        near(load_model(tmp_path / "theirs.keras").predict(x, verbose=0), want, f"{name}, we of Keras's file")
        near(load_model(tmp_path / "ours.keras").predict(x, verbose=0), want, f"{name}, we of our file")


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), None])
@pytest.mark.parametrize("batches", [False, True])
def test_adapt(axis, batches):
    x = np.random.default_rng(0).normal(3, 2, size=(10, 4, 3)).astype("float32")
    ours, theirs = layers.Normalization(axis), keras.layers.Normalization(axis)
    ours.adapt([x[:6], x[6:]] if batches else x)
    theirs.adapt(x)                     # of batches, Keras needs TensorFlow
    near(ours(x), theirs(x), "normalized", 1e-4)
    near(ours.mean, theirs.mean, "mean")
    near(ours.variance, theirs.variance, "variance", 1e-4)


@pytest.mark.parametrize("name, options", [
    ("Dropout", {"rate": 0.3}), ("Dropout", {"rate": 0.3, "noise_shape": (None, 1, 5)}),
    ("SpatialDropout1D", {"rate": 0.3}),
    ("GaussianNoise", {"stddev": 0.3}), ("GaussianDropout", {"rate": 0.3}), ("AlphaDropout", {"rate": 0.3}),
])
def test_random_layers_have_keras_s_distribution(name, options):
    x = np.random.default_rng(0).normal(1, 2, size=(2000, 6, 5)).astype("float32")
    a, b = (np.asarray(getattr(L, name)(seed=1, **options)(x, training=True)) for L in (layers, keras.layers))
    for f in (np.mean, np.std, lambda v: np.quantile(v, 0.1), lambda v: np.quantile(v, 0.9),
              lambda v: np.std(v.mean(1)),
              lambda v: (v == 0).mean()):
        assert abs(f(a) - f(b)) < 0.05


def test_softmax_with_a_mask():
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    mask = np.random.default_rng(1).random((3, 4, 5)) < 0.5
    mask[0, 0] = False
    for axis in (-1, 1, (1, 2)):
        near(layers.Softmax(axis)(x, mask=mask), keras.layers.Softmax(axis)(x, mask=mask), f"axis {axis}")


@pytest.mark.parametrize("recipe", [
    lambda L: L.GaussianNoise(2), lambda L: L.GaussianDropout(-1), lambda L: L.AlphaDropout(2),
    lambda L: L.ReLU(-1.0),
    lambda L: L.ReLU(negative_slope=-1.0), lambda L: L.ReLU(threshold=None), lambda L: L.LeakyReLU(None),
    lambda L: L.Normalization(mean=1.0),
    lambda L: L.Normalization(mean=[1.0, 2.0], variance=[1.0]), lambda L: L.GroupNormalization(0),
    lambda L: L.SpatialDropout1D(0.1)(np.ones((2, 3))),
    lambda L: L.GroupNormalization(2)(np.ones((2, 3))), lambda L: L.GroupNormalization(4)(np.ones((2, 3))),
    lambda L: L.Dropout(0.1, noise_shape="ab"), lambda L: L.Dropout(0.1, noise_shape=(0, 1)),
    lambda L: L.UnitNormalization(axis="x"),
])
def test_what_keras_refuses_is_refused(recipe):
    for L in (keras.layers, layers):
        with pytest.raises((ValueError, TypeError)):
            recipe(L)


@pytest.mark.parametrize("name, parameters", [
    ("relu", {"negative_slope": 0.1, "max_value": 1.0, "threshold": 0.5}), ("relu", {"max_value": 0.7}),
    ("relu", {"threshold": 0.7}),
    ("leaky_relu", {"negative_slope": 0.4}), ("elu", {"alpha": 0.4}), ("celu", {"alpha": 0.4}),
    ("hard_shrink", {"threshold": 0.9}),
    ("soft_shrink", {"threshold": 0.9}), ("squareplus", {"b": 2.0}), ("gelu", {"approximate": True}),
    ("glu", {"axis": 1}),
    ("threshold", {"threshold": 0.1, "default_value": 3.0}), ("softmax", {"axis": 1}),
    ("log_softmax", {"axis": 0}),
])
def test_activations_with_parameters(name, parameters):
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32") * 2
    near(getattr(activations, name)(x, **parameters), getattr(keras.activations, name)(x, **parameters), name)
    if name not in ("threshold",):
        near(getattr(activations, name)(x, *parameters.values()),
             getattr(keras.activations, name)(x, *parameters.values()), name)


# What Keras has and tdfast has not, by module; anything else that Keras gains makes this test fail.
LEFT_OUT = {"activations": set(), "initializers": set(), "regularizers": set(), "constraints": set()}


@pytest.mark.parametrize("module", [activations, initializers, regularizers, constraints])
def test_every_name_of_keras_is_there(module):
    kind = module.__name__.split(".")[-1]
    names = {name for name in dir(getattr(keras, kind)) if name[0] != "_"}
    assert {name for name in names if not is_there(kind, name)} == LEFT_OUT[kind]


def test_built_before_the_first_call():
    """Which layers have nothing to build."""
    arguments = [(), (2,), (0.5,), (2, 3), ((2,),), ("relu",), (2, 2, 1), ("ab,bc->ac", 3), ((2, 1),)]
    compared = 0
    for name in layers.__all__:
        theirs = getattr(keras.layers, name, None)
        for given in arguments if inspect.isclass(theirs) else ():
            try:
                pair = getattr(layers, name)(*given), theirs(*given)
            except (TypeError, ValueError, IndexError, ImportError):
                continue
            assert pair[0].built == pair[1].built, name
            compared += 1
            break
    assert compared > 80
