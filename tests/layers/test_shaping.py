"""Flatten, Reshape, Permute, RepeatVector and Dropout: values, gradients, shapes, masks, errors."""

import numpy as np
import pytest

from tdfast import utils
from tdfast.engine.tape import Tape
from tdfast.layers.regularization import Dropout
from tdfast.layers.shaping import Flatten, Permute, RepeatVector, Reshape

X = np.random.default_rng(1).normal(size=(3, 4, 5, 2)).astype("float32")
CASES = [
    (Flatten, {}, X, X.reshape(3, 40)),
    (Flatten, {"data_format": "channels_first"}, X, np.moveaxis(X, 1, -1).reshape(3, 40)),
    (Flatten, {}, X[:, 0, 0, 0], X[:, :1, 0, 0]),
    (Reshape, {"target_shape": (10, 4)}, X, X.reshape(3, 10, 4)),
    (Reshape, {"target_shape": (-1, 8)}, X, X.reshape(3, 5, 8)),
    (Permute, {"dims": (3, 1, 2)}, X, X.transpose(0, 3, 1, 2)),
    (RepeatVector, {"n": 3}, X[:, :, 0, 0], np.repeat(X[:, None, :, 0, 0], 3, 1)),
]


@pytest.mark.parametrize("cls, config, x, expected", CASES)
def test_forward_backward_shape_config(cls, config, x, expected):
    layer = cls(**config)
    x = x.copy()
    x.flags.writeable = False
    np.testing.assert_array_equal(layer(x), expected)
    assert layer.output_shape == (None, *expected.shape[1:])
    assert layer.count_params() == 0
    tape = Tape()
    y = layer.forward(np.ascontiguousarray(x), tape, training=True)
    assert y.flags.c_contiguous
    dy = np.random.default_rng(2).normal(size=y.shape).astype("float32")
    dx = layer.backward(dy.copy(), tape)
    assert dx.shape == x.shape and dx.flags.c_contiguous
    # A linear map and its transpose: <f(v), dy> = <v, dx>.
    v = np.random.default_rng(3).normal(size=x.shape)
    assert np.sum(layer(v).astype("f8") * dy) == pytest.approx(np.sum(v * dx), rel=1e-4, abs=1e-5)
    layer.forward(np.ascontiguousarray(x), tape)
    assert layer.backward(dy, tape, need_dx=False) is None
    again = cls.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(x), expected)
    assert layer(x[:0]).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("cls, config, x, expected", CASES)
def test_a_mask_ends_with_a_warning(cls, config, x, expected):
    layer = cls(**config)
    assert layer.compute_mask(x, None) is None
    with pytest.warns(UserWarning, match=layer.name):
        assert layer.compute_mask(x, np.ones(x.shape[:2], bool)) is None


def test_unknown_sizes():
    assert Flatten().compute_output_shape((None, None, 3)) == (None, None)
    assert Reshape((-1, 2)).compute_output_shape((None, None, 3)) == (None, None, 2)
    assert Permute((2, 1)).compute_output_shape((None, None, 3)) == (None, 3, None)


def test_errors():
    for make, error, text in [
        (lambda: Flatten("middle"), ValueError, "data_format"),
        (lambda: Reshape((-1, -1)), ValueError, "target_shape"),
        (lambda: Reshape((-2, 3)), ValueError, "target_shape"),
        (lambda: Reshape((2.5,)), ValueError, "target_shape"),
        (lambda: Permute((0, 1)), ValueError, "dims"),
        (lambda: Permute((1, 3)), ValueError, "dims"),
        (lambda: RepeatVector(0), ValueError, "at least 1"),
        (lambda: RepeatVector(1.5), TypeError, "whole number"),
        (lambda: Reshape((7, 2), name="r")(X), ValueError, "'r'.*40 numbers.*14"),
        (lambda: Reshape((7, -1), name="r")(X), ValueError, "multiple of 7"),
        (lambda: Permute((2, 1), name="p")(X), ValueError, "'p'.*3 axes"),
        (lambda: RepeatVector(2, name="v")(X), ValueError, "'v'.*batch, features"),
    ]:
        with pytest.raises(error, match=text):
            make()


# ------------------------------------------------------------------------------------------- Dropout
def test_dropout_scales_and_counts():
    x = np.ones((200, 30, 10), "float32")
    layer = Dropout(0.3, seed=1)
    y = layer(x, training=True)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert (layer(x, training=True) != y).any()
    assert layer.get_config().items() >= {"rate": 0.3, "seed": 1, "noise_shape": None}.items()


def test_dropout_is_the_identity_out_of_training():
    for layer, training in [(Dropout(0.3), False), (Dropout(0), True)]:
        np.testing.assert_array_equal(layer(X, training=training), X)
    assert not Dropout(1)(X, training=True).any()


def test_dropout_backward_uses_the_same_pattern():
    layer, tape = Dropout(0.5), Tape()
    y = layer.forward(X, tape, training=True).copy()
    dx = layer.backward(np.ones_like(X), tape)
    np.testing.assert_allclose(y, X * dx, rtol=1e-6)
    layer.forward(X, tape)
    np.testing.assert_array_equal(layer.backward(X.copy(), tape), X)


def test_dropout_repeats():
    seeded = [Dropout(0.5, seed=3)(X, training=True) for _ in range(2)]
    np.testing.assert_array_equal(*seeded)
    utils.set_random_seed(1)
    first = [Dropout(0.5)(X, training=True) for _ in range(2)]
    utils.set_random_seed(1)
    second = [Dropout(0.5)(X, training=True) for _ in range(2)]
    np.testing.assert_array_equal(first, second)
    assert (first[0] != first[1]).any()


def test_noise_shape():
    x = np.ones((50, 7, 20), "float32")
    y = Dropout(0.5, noise_shape=(None, 1, None), seed=1)(x, training=True)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    assert 0 < (y == 0).mean() < 1
    again = Dropout.from_config(Dropout(0.5, noise_shape=[50, 1, 20]).get_config())
    assert again.noise_shape == (50, 1, 20)


def test_dropout_errors():
    for rate in (1.1, -0.1, "0.5", float("nan")):
        with pytest.raises(ValueError, match="rate"):
            Dropout(rate)
    for shape in ("abc", 3, (0, 1), (1.5,)):
        with pytest.raises(ValueError, match="noise_shape"):
            Dropout(0.5, noise_shape=shape)
    for shape in ((None, 1), (None, 2, 1, 1)):
        with pytest.raises(ValueError, match="does not fit"):
            Dropout(0.5, noise_shape=shape)(X, training=True)
    with pytest.raises(ValueError, match="seed"):
        Dropout(0.5, seed=0.5)
