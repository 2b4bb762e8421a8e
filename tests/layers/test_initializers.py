"""Initializers: distributions, shapes, seeds, names and Keras's serialized form."""

import math

import numpy as np
import pytest

from tdfast import initializers, random, utils

NAMES = [
    "zeros", "ones", "constant", "identity", "random_normal", "random_uniform", "truncated_normal",
    "variance_scaling", "glorot_uniform", "glorot_normal", "he_normal", "he_uniform", "lecun_normal",
    "lecun_uniform", "orthogonal",
]
RANDOM = [n for n in NAMES if n not in ("zeros", "ones", "constant", "identity")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_dtype_and_layout(name, dtype):
    out = initializers.get(name)((5, 7), dtype=dtype)
    assert out.shape == (5, 7) and out.dtype == dtype and out.flags.c_contiguous and out.flags.writeable
    assert np.isfinite(out).all()


def test_constants():
    assert (initializers.Zeros()((2, 3)) == 0).all()
    assert (initializers.Ones()((2, 3)) == 1).all()
    assert (initializers.Constant(2.5)((2, 3)) == 2.5).all()
    np.testing.assert_array_equal(initializers.Identity(gain=3)((2, 3)), [[3, 0, 0], [0, 3, 0]])
    with pytest.raises(ValueError, match="2 axes"):
        initializers.Identity()((2, 3, 4))


SHAPE = (3, 100, 80)
FAN_IN, FAN_OUT = 300, 240


@pytest.mark.parametrize("name, variance, uniform", [
    ("glorot_uniform", 2 / (FAN_IN + FAN_OUT), True),
    ("glorot_normal", 2 / (FAN_IN + FAN_OUT), False),
    ("he_uniform", 2 / FAN_IN, True),
    ("he_normal", 2 / FAN_IN, False),
    ("lecun_uniform", 1 / FAN_IN, True),
    ("lecun_normal", 1 / FAN_IN, False),
    ("variance_scaling", 1 / FAN_IN, False),
])
def test_variance_scaling(name, variance, uniform):
    initializer = initializers.get(name)
    out = initializer(SHAPE, "float64")
    assert out.var() == pytest.approx(variance, rel=0.05)
    assert abs(out.mean()) < 0.05 * math.sqrt(variance)
    limit = math.sqrt(3 * variance) if uniform else 2 * math.sqrt(variance) / 0.8796256610342398
    assert 0.99 * limit < abs(out).max() <= limit * (1 + 1e-6)


def test_untruncated_and_modes():
    out = initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=1)(SHAPE)
    assert out.var() == pytest.approx(2 / FAN_OUT, rel=0.05)
    assert abs(out).max() > 3 * out.std()
    by_axes = initializers.VarianceScaling(1.0, "fan_in", "uniform", 1, input_axes=[0], output_axes=[1, 2])
    out = by_axes(SHAPE)
    assert abs(out).max() == pytest.approx(1.0, rel=0.01)
    for bad in ({"scale": 0}, {"mode": "fan"}, {"distribution": "cauchy"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            initializers.VarianceScaling(**bad)


def test_plain_distributions():
    normal = initializers.RandomNormal(mean=1.0, stddev=2.0, seed=1)((300, 300))
    assert normal.mean() == pytest.approx(1, abs=0.03) and normal.std() == pytest.approx(2, rel=0.02)
    truncated = initializers.TruncatedNormal(mean=1.0, stddev=2.0, seed=1)((300, 300))
    assert -3 <= truncated.min() and truncated.max() <= 5
    assert truncated.std() == pytest.approx(2 * 0.87962566, rel=0.02)
    uniform = initializers.RandomUniform(2.0, 4.0, seed=1)((300, 300))
    assert 2 <= uniform.min() and uniform.max() <= 4 and uniform.mean() == pytest.approx(3, abs=0.02)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (2, 3, 5), (1, 1), (2, 30)])
def test_orthogonal(shape):
    out = initializers.Orthogonal(gain=2.0)(shape, "float64").reshape(-1, shape[-1])
    small = out.T @ out if out.shape[0] >= out.shape[1] else out @ out.T
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)
    with pytest.raises(ValueError, match="2 axes"):
        initializers.Orthogonal()((3,))


def test_fans():
    fans = initializers.compute_fans
    assert [fans(s) for s in [(), (3,), (3, 4), (2, 3, 4), (2, 2, 3, 4)]] == [
        (1, 1), (3, 3), (3, 4), (6, 8), (12, 16),
    ]


@pytest.mark.parametrize("name", RANDOM)
def test_seeds(name):
    make = initializers.REGISTRY.find(name)
    np.testing.assert_array_equal(make(seed=3)((4, 5)), make(seed=3)((4, 5)))
    assert (make(seed=3)((4, 5)) != make(seed=4)((4, 5))).any()
    unseeded = make()
    np.testing.assert_array_equal(unseeded((4, 5)), unseeded((4, 5)))
    assert (make()((4, 5)) != make()((4, 5))).any()
    utils.set_random_seed(8)
    first = make()((4, 5))
    utils.set_random_seed(8)
    np.testing.assert_array_equal(first, make()((4, 5)))


def test_a_seed_generator_moves_on():
    initializer = initializers.RandomNormal(seed=random.SeedGenerator(5))
    assert (initializer((3,)) != initializer((3,))).all()
    again = initializers.deserialize(initializers.serialize(initializer))
    assert isinstance(again.seed, random.SeedGenerator)
    with pytest.raises(ValueError, match="whole number"):
        initializers.RandomNormal(seed=1.5)


@pytest.mark.parametrize("name", NAMES)
def test_serialized_form(name):
    one = initializers.get(name)
    described = initializers.serialize(one)
    assert described["module"] == "keras.initializers" and described["registered_name"] is None
    assert described["class_name"] == type(one).__name__
    again = initializers.deserialize(described)
    assert type(again) is type(one) and again.get_config() == one.get_config()


def test_keras_config_keys():
    assert initializers.serialize(initializers.GlorotUniform(seed=3)) == {
        "module": "keras.initializers",
        "class_name": "GlorotUniform",
        "config": {"seed": 3, "input_axes": None, "output_axes": None},
        "registered_name": None,
    }
    assert initializers.Orthogonal().get_config() == {"seed": None, "gain": 1.0}


def test_get():
    assert initializers.get(None) is None
    for spec in ("GlorotUniform", "glorot_uniform", initializers.GlorotUniform, initializers.GlorotUniform(),
                 {"class_name": "GlorotUniform", "config": {"seed": None}}):
        assert type(initializers.get(spec)) is initializers.GlorotUniform
    aliases = {"zero": "Zeros", "one": "Ones", "normal": "RandomNormal", "uniform": "RandomUniform",
               "IdentityInitializer": "Identity", "OrthogonalInitializer": "Orthogonal"}
    for alias, name in aliases.items():
        assert type(initializers.get(alias)).__name__ == name
    assert initializers.he_normal is initializers.HeNormal

    def custom(shape, dtype=None):
        return np.full(shape, 7, dtype)

    assert initializers.get(custom) is custom
    given = initializers.get(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(given((2, 3), "float32"), [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(ValueError, match="shape"):
        given((3, 2))


def test_unknown():
    with pytest.raises(ValueError, match="Did you mean 'glorot_uniform'.*he_normal"):
        initializers.get("glorot_unifrom")
    with pytest.raises(ValueError, match="Known initializers"):
        initializers.get("fourier")
    with pytest.raises(ValueError, match="initializer"):
        initializers.get(3)
    with pytest.raises(ValueError, match="no_such"):
        initializers.get({"class_name": "Zeros", "config": {"no_such": 1}})
    with pytest.raises(AttributeError):
        _ = initializers.no_such_thing
