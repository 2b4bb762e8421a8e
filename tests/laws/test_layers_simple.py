"""Elementwise, random, rescaling and small normalizing layers: the laws, and what is special to each."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
from laws import LAWS, Case, checks, saturation_and_nan

from tdfast import Sequential, activations
from tdfast.activations import Function
from tdfast.engine.tape import Tape
from tdfast.layers import (
    ELU,
    LSTM,
    Activation,
    ActivityRegularization,
    AlphaDropout,
    Conv1D,
    Dense,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    GroupNormalization,
    Identity,
    Layer,
    LeakyReLU,
    Masking,
    Normalization,
    PReLU,
    ReLU,
    Rescaling,
    RMSNormalization,
    Softmax,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
    UnitNormalization,
)

NOT_NAN = tuple(law for law in LAWS if law is not saturation_and_nan)
def cube(x):
    return x**3


def slope_of_cube(x):
    return 3 * x**2


CUBE = Function(cube, slope_of_cube)


def plain(name, layer, shape, formula, **options):
    """A case of a layer without units: layer(dtype) and formula(x, weights)."""
    return Case(name, lambda size, dtype: layer(dtype=dtype), shape, lambda x, weights, size,
                **call: formula(x, *weights, **call),
                sizes=(4,), **options)


def same(x, **call):
    return x


CASES = [
    plain("ReLU", ReLU, ("T", 5), reference.relu_with),
    plain("ReLU of all parameters", lambda **k: ReLU(1.5, 0.2, 0.5, **k), ("T", 5),
          lambda x: reference.relu_with(x, 1.5, 0.2, 0.5)),
    plain("ReLU over a threshold", lambda **k: ReLU(threshold=0.5, **k), (7,),
          lambda x: reference.relu_with(x, threshold=0.5)),
    plain("LeakyReLU", LeakyReLU, ("T", 5), lambda x: reference.relu_with(x, negative_slope=0.3)),
    plain("ELU", lambda **k: ELU(0.7, **k), ("T", 5), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
    plain("PReLU", PReLU, (3, 5), lambda x, alpha: np.where(x > 0, x, alpha * x)),
    plain("PReLU of shared axes", lambda **k: PReLU(shared_axes=[1], **k), ("T", 5), lambda x,
          alpha: np.where(x > 0, x, alpha * x)),
    plain("Softmax", Softmax, ("T", 5), lambda x: reference.softmax_over(x, -1)),
    plain("Softmax over time", lambda **k: Softmax(axis=1, **k), ("T", 5),
          lambda x: reference.softmax_over(x, 1)),
    plain("Softmax of two axes", lambda **k: Softmax(axis=(1, -1), **k), (3, 2, 5),
          lambda x: reference.softmax_over(x, (1, 3))),
    plain("Softmax with a mask", Softmax, ("T",), lambda x, mask: reference.softmax_over(x, -1, mask),
          mask=True),
    plain("Dense with a function", lambda **k: Dense(3, activation=CUBE, **k), ("T", 4), lambda x, w,
          b: (x @ w + b) ** 3,
          bounded=False, spread=5, laws=tuple(law for law in LAWS if law.__name__ != "round_trips")),
    plain("Activation of a function", lambda **k: Activation(CUBE, **k), ("T", 4), lambda x: x**3,
          bounded=False,
          laws=tuple(law for law in LAWS if law.__name__ != "round_trips")),
    *(plain(f"{cls.__name__} at rest", lambda cls=cls, **k: cls(0.3, **k), shape, same) for cls, shape in [
        (SpatialDropout1D, ("T", 5)), (SpatialDropout2D, (3, 2, 5)), (GaussianNoise, ("T", 5)),
        (GaussianDropout, ("T", 5)),
        (AlphaDropout, ("T", 5))]),
    plain("Identity", Identity, ("T", 5), same),
    plain("Rescaling", lambda **k: Rescaling(0.5, [1.0, 2.0, 3.0], **k), ("T", 3),
          lambda x: x * 0.5 + [1, 2, 3]),
    plain("Normalization", Normalization, ("T", 4), lambda x, mean, variance,
          count: (x - mean) / np.sqrt(variance),
          positive=("variance",)),
    plain("Normalization of two axes", lambda **k: Normalization(axis=(1, -1), **k), (3, 4),
          lambda x, mean, variance, count: (x - mean) / np.sqrt(variance), positive=("variance",)),
    plain("Normalization of all", lambda **k: Normalization(axis=None, **k), (3, 4),
          lambda x, mean, variance, count: (x - mean) / np.sqrt(variance), positive=("variance",)),
    plain("Normalization that was given", lambda **k: Normalization(mean=[1.0, 2.0], variance=[4.0, 0.0],
                                                                    **k), ("T", 2),
          lambda x: (x - [1, 2]) / [2, 1e-7], spread=3,
          laws=tuple(law for law in LAWS if law.__name__ != "central_differences")),
    plain("Normalization inverted", lambda **k: Normalization(axis=1, mean=1.5, variance=4.0, invert=True,
                                                              **k), (3, 2),
          lambda x: 1.5 + 2 * x),
    plain("UnitNormalization", UnitNormalization, ("T", 5),
          lambda x: x / np.sqrt((x**2).sum(-1, keepdims=True))),
    plain("UnitNormalization of two axes", lambda **k: UnitNormalization([1, -1], **k), (3, 2, 5),
          lambda x: x / np.sqrt((x**2).sum((1, 3), keepdims=True))),
    plain("RMSNormalization", RMSNormalization, ("T", 5), lambda x,
          scale: reference.rms_normalization(x, scale, (2,))),
    plain("RMSNormalization of two axes", lambda **k: RMSNormalization([1, 3], 0.1, **k), (3, 2, 5),
          lambda x, scale: reference.rms_normalization(x, scale[:, None], (1, 3), 0.1)),
    plain("GroupNormalization", lambda **k: GroupNormalization(3, **k), ("T", 6),
          lambda x, gamma, beta: reference.group_normalization(x, gamma, beta, 3), spread=3),
    plain("GroupNormalization of axis 1", lambda **k: GroupNormalization(2, axis=1, epsilon=0.1, **k), (4, 3),
          lambda x, gamma, beta: reference.group_normalization(x.swapaxes(1, 2), gamma, beta, 2,
                                                               0.1).swapaxes(1, 2)),
    plain("GroupNormalization of each feature",
          lambda **k: GroupNormalization(-1, center=False, scale=False, **k), (5, 3),
          lambda x: reference.group_normalization(x, np.ones(3), np.zeros(3), 3)),
    plain("ActivityRegularization", lambda **k: ActivityRegularization(0.1, 0.2, **k), ("T", 5), same),
]


@pytest.mark.parametrize("law, case", checks(CASES))
def test_law(law, case):
    law(case)


# ---------------------------------------------------------------- random layers
RANDOM = [
    (lambda **k: Dropout(0.4, **k), (6, 5)),
    (lambda **k: Dropout(0.4, noise_shape=(None, 1, 5), **k), (6, 5)),
    (lambda **k: SpatialDropout1D(0.4, **k), (6, 5)),
    (lambda **k: SpatialDropout2D(0.4, **k), (4, 3, 5)),
    (lambda **k: SpatialDropout2D(0.4, data_format="channels_first", **k), (4, 3, 5)),
    (lambda **k: SpatialDropout3D(0.4, **k), (2, 4, 3, 5)),
    (lambda **k: SpatialDropout3D(0.4, data_format="channels_first", **k), (4, 2, 3, 5)),
    (lambda **k: GaussianNoise(0.4, **k), (6, 5)),
    (lambda **k: GaussianDropout(0.4, **k), (6, 5)),
    (lambda **k: AlphaDropout(0.4, **k), (6, 5)),
    (lambda **k: AlphaDropout(0.4, noise_shape=(None, 1, 5), **k), (6, 5)),
]


@pytest.mark.parametrize("make, shape", RANDOM)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_layers(make, shape, dtype):
    """Backward is forward's derivative with the same numbers; a seed repeats; each call draws anew; else
    nothing happens."""
    x = np.random.default_rng(0).normal(size=(40, *shape)).astype(dtype)
    layer, twin = make(seed=5, dtype=dtype), make(seed=5, dtype=dtype)
    tape = Tape()
    y = layer.forward(x, tape, training=True).copy()
    assert y.dtype == dtype and not np.array_equal(y, x)
    dx = layer.backward(np.ones_like(x), tape)
    assert np.allclose(twin(x + 1, training=True) - y, dx, atol=1e-4 if dtype == "float32" else 1e-12)
    assert not np.array_equal(layer(x, training=True), y)
    assert np.array_equal(layer(x), x)
    assert layer(x[:0], training=True).shape == (0, *shape)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config() and np.array_equal(again(x, training=True), y)
    assert np.isnan(layer(np.full_like(x, np.nan), training=True)).any()


@pytest.mark.parametrize("cls, shape, same_along", [
    (SpatialDropout1D, (7, 3), (1,)), (SpatialDropout2D, (4, 3, 5), (1, 2)),
    (SpatialDropout3D, (2, 4, 3, 5), (1, 2, 3)),
])
def test_spatial_dropout_drops_whole_features(cls, shape, same_along):
    y = cls(0.3, seed=2)(np.ones((2000, *shape)), training=True)
    assert np.array_equal(y, np.broadcast_to(y.max(same_along, keepdims=True), y.shape))
    assert abs((y == 0).mean() - 0.3) < 0.02 and np.allclose(y[y != 0], 1 / 0.7)


def test_gaussian_numbers_have_their_mean_and_spread():
    x = np.full((500, 400), 2.0)
    noise = GaussianNoise(0.25, seed=1)(x, training=True) - x
    factor = GaussianDropout(0.2, seed=1)(x, training=True) / x
    assert abs(noise.mean()) < 0.005 and abs(noise.std() - 0.25) < 0.005
    assert abs(factor.mean() - 1) < 0.005 and abs(factor.std() - 0.5) < 0.005


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).normal(size=(500, 400))
    y = AlphaDropout(0.3, seed=1)(x, training=True)
    assert abs(y.mean()) < 0.01 and abs(y.std() - 1) < 0.01
    values, counts = np.unique(y.round(5), return_counts=True)
    assert abs(counts.max() / y.size - 0.3) < 0.005, "what is dropped is one number"


@pytest.mark.parametrize("make, words", [
    (lambda: GaussianNoise(1.5), "stddev"), (lambda: GaussianDropout(-0.1), "rate"),
    (lambda: GaussianDropout(1), "below 1"),
    (lambda: AlphaDropout(1), "below 1"), (lambda: Dropout("0.2"), "rate"),
    (lambda: Dropout(0.2, noise_shape=(0, 1)), "noise_shape"),
    (lambda: SpatialDropout2D(0.1, data_format="last"), "data_format"), (lambda: ReLU(-1), "max_value"),
    (lambda: ReLU(negative_slope=None), "negative_slope"), (lambda: ReLU(threshold=-0.1), "threshold"),
    (lambda: LeakyReLU(-1), "negative_slope"), (lambda: ELU(None), "alpha"),
    (lambda: Softmax(axis="last"), "axis"),
    (lambda: ActivityRegularization(-1), "l1"), (lambda: Rescaling("2"), "numbers"),
    (lambda: Normalization(mean=1.0), "both"),
    (lambda: Normalization(mean=[1.0], variance=1.0), "one shape"),
    (lambda: Normalization(mean=[[1.0]], variance=[[1.0]]), "at most 1"),
    (lambda: GroupNormalization(0), "groups"), (lambda: RMSNormalization(epsilon=-1), "epsilon"),
    (lambda: LSTM(2, activation=CUBE), "cube.*behind it"),
    (lambda: Conv1D(2, 2, activation=CUBE), "cube.*behind it"),
    (lambda: LSTM(2, activation=np.sin), "sin.*behind it"), (lambda: Dense(2, activation=3), "activation"),
])
def test_wrong_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("layer, shape, words", [
    (SpatialDropout1D(0.1), (2, 3), "batch, time, features"),
    (SpatialDropout2D(0.1, data_format="channels_first"), (2, 3, 4), "batch, channels, rows, columns"),
    (SpatialDropout3D(0.1), (2, 3, 4), "batch, depth, rows, columns, channels"),
    (Dropout(0.1, noise_shape=(None, 2)), (2, 3), "noise_shape"),
    (Dropout(0.1, noise_shape=(1,)), (2, 3), "noise_shape"),
    (Rescaling(np.ones(4)), (2, 3), "broadcast"), (Rescaling(np.ones((2, 3))), (2, 3), "broadcast"),
    (Normalization(axis=2), (2, 3), "axis"), (Normalization(axis=0), (2, 3), "size"),
    (Normalization(mean=[1, 2], variance=[1, 1]), (2, 3), "mean of shape"),
    (UnitNormalization(axis=0), (2, 3), "axis"),
    (RMSNormalization(axis=2), (2, 3), "axis"), (GroupNormalization(2), (2, 3), "groups"),
    (GroupNormalization(2, axis=3), (2, 4), "axis"),
    (PReLU(shared_axes=[3]), (2, 3, 4), "shared_axes"), (Softmax(axis=0), (2, 3), "axis"),
])
def test_inputs_that_do_not_fit_are_named(layer, shape, words):
    with pytest.raises(ValueError, match=f"'{layer.name}'.*{words}"):
        layer(np.zeros(shape))


def test_a_noise_shape_with_a_batch_does_not_hinder_inference():
    assert Dropout(0.5, noise_shape=(4, 1, 3))(np.ones((7, 2, 3))).shape == (7, 2, 3)


# ---------------------------------------------------------------- activation layers
def test_prelu_needs_sizes_or_shared_axes():
    with pytest.raises(ValueError, match="shared_axes"):
        PReLU().build((None, None, 3))
    layer = PReLU(shared_axes=[1])
    assert layer(np.zeros((2, 7, 3))).shape == (2, 7, 3) and layer(np.zeros((2, 4, 3))).shape == (2, 4, 3)
    with pytest.raises(ValueError, match="built for"):
        layer(np.zeros((2, 4, 5)))


def test_softmax_masks():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    layer = Softmax(axis=1, dtype="float64")
    mask = np.array([[[True], [False], [True]], [[False]] * 3])
    assert np.allclose(layer(x, mask=mask), reference.softmax_over(x, 1, mask))
    assert np.allclose(layer(x, mask=[0.2, 1, 1, 1]), reference.softmax_over(x, 1, np.array([0, 1, 1, 1])))
    with pytest.raises(ValueError, match="fit the input"):
        layer(x, mask=np.ones((2, 3), bool))


def test_parameters_of_activations():
    x = np.array([-2.0, -0.3, 0.3, 2.0])
    assert activations.relu(x, 0.1, 1.0).tolist() == [-0.2, -0.03, 0.3, 1.0]
    assert activations.leaky_relu(x, negative_slope=0.5).tolist() == [-1, -0.15, 0.3, 2]
    assert activations.relu(x, max_value=None) is not None
    assert activations.elu.with_parameters() is activations.elu
    for call in (lambda: activations.tanh(x, 1), lambda: activations.relu(x, axis=1),
                 lambda: activations.relu(x, 0.1, negative_slope=2)):
        with pytest.raises(TypeError, match="takes x"):
            call()


@pytest.mark.parametrize("name, parameters", [
    ("relu", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.5}), ("relu", {"max_value": 0.7}),
    ("leaky_relu", {"negative_slope": 0.4}),
    ("elu", {"alpha": 0.4}), ("celu", {"alpha": 0.4}), ("hard_shrink", {"threshold": 0.9}),
    ("soft_shrink", {"threshold": 0.9}),
    ("squareplus", {"b": 2.0}), ("squareplus", {"b": 0.0}), ("gelu", {"approximate": True}),
])
def test_slopes_of_activations_with_parameters(name, parameters):
    x = np.random.default_rng(0).normal(size=(1 << 15) + 3)       # over several pieces
    x = x[np.abs(np.abs(x)[:, None] - [0.5, 0.7, 0.9, 1.0, 0]).min(1) > 1e-4]
    f = getattr(activations, name).with_parameters(**parameters)
    dy = np.random.default_rng(1).normal(size=x.shape)
    assert np.allclose(f.gradient(x, dy), dy * (f(x + 1e-6) - f(x - 1e-6)) / 2e-6, atol=1e-7)
    assert np.array_equal(getattr(activations, name)(x, **parameters), f(x))


def test_a_function_of_ones_own_learns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    model = Sequential([Dense(8, activation=CUBE, input_shape=(3,)), Dense(1)])
    model.compile("adam", "mse")
    before = model.evaluate(x, x.sum(1), verbose=0)
    model.fit(x, x.sum(1), epochs=30, verbose=0)
    assert model.evaluate(x, x.sum(1), verbose=0) < 0.7 * before
    with pytest.raises(ValueError, match="must return an array"):
        Function(np.sum, np.cos, "wrong")([1.0, 2.0])
    with pytest.raises(ValueError, match="two functions"):
        Function(np.sin, None)


def test_activity_regularization_is_in_the_loss():
    x = np.array([[1.0, -2.0], [3.0, 0.0]])
    model = Sequential([ActivityRegularization(l1=0.1, l2=0.01, input_shape=(2,))])
    model.compile("sgd", "mse")
    assert np.isclose(model.evaluate(x, x, verbose=0), (0.1 * 6 + 0.01 * 14) / 2)


def test_an_activity_regularizer_is_in_the_config_of_every_layer():
    config = ReLU(activity_regularizer="l2").get_config()
    assert list(config)[3] == "activity_regularizer" and "activity_regularizer" not in ReLU().get_config()
    assert ReLU.from_config(config).activity_regularizer.l2 == 0.01


# ---------------------------------------------------------------- Rescaling, Normalization and lengths
def adapt_forms(x):
    yield x
    yield x.tolist() and [x[:7], x[7:8], x[8:]]
    yield ((x[i : i + 3], None) for i in range(0, len(x), 3))
    yield [x[:0], x]


@pytest.mark.parametrize("form", range(4))
@pytest.mark.parametrize("axis, reduced", [(-1, (0, 1)), (1, (0, 2)), ((1, 2), (0,)), (None, None)])
def test_adapt(axis, reduced, form):
    x = np.random.default_rng(0).normal(3, 2, size=(11, 4, 3))
    layer = Normalization(axis=axis, dtype="float64")
    layer.adapt(np.zeros((2, 4, 3)))        # is forgotten
    layer.adapt(list(adapt_forms(x))[form])
    assert np.allclose(layer.get_weights()[0],
                       x.mean(reduced)) and np.allclose(layer.get_weights()[1], x.var(reduced))
    y = layer(x)
    assert np.allclose(y.mean(reduced), 0) and np.allclose(y.std(reduced), 1)
    undo = Normalization(axis=axis, mean=layer.get_weights()[0], variance=layer.get_weights()[1], invert=True,
                         dtype="float64")
    assert np.allclose(undo(y), x)
    assert np.array_equal(undo.variance, layer.variance) and np.array_equal(undo.mean, layer.mean)


def test_adapt_of_many_rows_and_of_large_numbers():
    x = np.random.default_rng(0).normal(1e4, 1, size=(10001, 2)).astype("float32")
    layer = Normalization(dtype="float64")
    layer.adapt(x)
    assert np.allclose(layer.adapt_variance.value, x.astype("float64").var(0))


def test_training_does_not_change_what_was_adapted():
    x = np.random.default_rng(0).normal(5, 3, size=(64, 2))
    model = Sequential([Normalization(input_shape=(2,)), Dense(1)])
    model.layers[0].adapt(x)
    before = model.layers[0].get_weights()
    assert model.trainable_weights == model.layers[1].weights and model.count_params() == 5 + 3
    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], verbose=0)
    for a, b in zip(before, model.layers[0].get_weights()):
        assert np.array_equal(a, b)
    model.layers[0].adapt(x + 1)
    assert np.allclose(model.layers[0].get_weights()[0], before[0] + 1)


@pytest.mark.parametrize("data, error, words", [
    ([], ValueError, "no data"), (np.zeros((0, 3)), ValueError, "no data"), (3.0, TypeError, "iterable"),
    ([[1.0, 2.0]], TypeError, "each a batch"), ([np.zeros((2, 3)), np.zeros((2, 4))], ValueError,
                                                "built for"),
])
def test_data_that_adapt_cannot_use(data, error, words):
    with pytest.raises(error, match=words):
        Normalization().adapt(data)
    with pytest.raises(ValueError, match="was given its mean"):
        Normalization(mean=0, variance=1).adapt(np.zeros((2, 3)))


def test_a_row_of_zeros_has_no_direction():
    layer = UnitNormalization(dtype="float64")
    tape = Tape()
    assert not layer.forward(np.zeros((1, 3)), tape).any()
    assert np.allclose(layer.backward(np.ones((1, 3)), tape), 1e12)       # y = x / 1e-12 there


@pytest.mark.parametrize("make", [lambda: GroupNormalization(1), lambda: UnitNormalization(axis=1),
                                  lambda: RMSNormalization()])
def test_layers_that_mix_steps_see_all_of_them(make):
    """With lengths, batches are cut to their longest row only where that changes nothing."""
    x = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")
    model = Sequential([make(), LSTM(3)])
    whole = model(x, mask=np.arange(6) < np.array([[3], [2], [3], [1]]))
    assert np.allclose(model.predict(x, verbose=0, lengths=[3, 2, 3, 1]), whole, atol=1e-6)
    assert model.reads_masked_steps == (not isinstance(model.layers[0], RMSNormalization))
    assert not make().reads_masked_steps, "not known before it is built"


@pytest.mark.parametrize("layer", [
    ReLU(), PReLU(shared_axes=[1]), GaussianNoise(0.1), SpatialDropout1D(0.1), Identity(), Rescaling(2.0),
    Normalization(),
    UnitNormalization(), RMSNormalization(), GroupNormalization(1), ActivityRegularization(0.1), ELU(),
    LeakyReLU(),
])
def test_masks_go_on(layer):
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    x[0, 3:] = 0
    model = Sequential([Masking(), layer, LSTM(2)])
    other = Sequential([layer, model.layers[2]])
    assert np.array_equal(model(x), other(x, mask=np.arange(5) < np.array([[3], [5], [5]])))


def test_a_mask_of_steps_does_not_fit_softmax_of_features():
    with pytest.raises(ValueError, match="Activation"):
        Sequential([Masking(), Softmax(), LSTM(2)])(np.zeros((3, 5, 2)))


class SlowToBuild(Layer):
    """A layer as Keras's users write it: super().build() comes first."""

    def build(self, input_shape):
        super().build(input_shape)
        assert not self.built
        time.sleep(0.2)
        self.scale = self.add_weight((input_shape[-1],), "ones", "scale")

    def forward(self, x, tape, training=False, mask=None):
        tape.push(self)
        return x * self.scale.value


def test_a_layer_counts_as_built_when_all_of_it_is():
    layer, x = SlowToBuild(), np.ones((2, 3), "float32")
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(call, x) for call in (layer, layer, lambda x: layer.build((None, 3)), layer)]
    for result in results[:2] + results[3:]:
        np.testing.assert_array_equal(result.result(), x)
    assert layer.built and len(layer.weights) == 1 and layer.input_shape == (None, 3)


def test_a_build_that_fails_within_leaves_the_layer_as_it_was():
    class Failing(SlowToBuild):
        fails = True

        def build(self, input_shape):
            super().build(input_shape)
            if type(self).fails:
                raise MemoryError("mine")

    layer = Failing()
    with pytest.raises(MemoryError, match="mine"):
        layer.build((None, 3))
    assert not layer.built and layer.weights == [] and not hasattr(layer, "scale")
    Failing.fails = False
    layer.build((None, 3))
    assert layer.built and len(layer.weights) == 1
