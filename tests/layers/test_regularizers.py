"""Regularizers: values by hand, gradients by central differences, Keras's serialized form."""

import numpy as np
import pytest

import tdfast
from tdfast import regularizers

CASES = [
    regularizers.L1(0.3),
    regularizers.L2(0.3),
    regularizers.L1L2(0.1, 0.2),
    regularizers.OrthogonalRegularizer(0.4),
    regularizers.OrthogonalRegularizer(0.4, mode="columns"),
]


def test_values():
    w = np.array([[1.0, -2.0], [3.0, 0.0]], "float32")
    assert regularizers.L1(0.5)(w) == pytest.approx(3.0)
    assert regularizers.L2(0.5)(w) == pytest.approx(7.0)
    assert regularizers.L1L2(0.5, 0.5)(w) == pytest.approx(10.0)
    assert regularizers.L1L2()(w) == 0
    # Rows (1, -2) and (3, 0): |cosine| is 1 / sqrt(5), of the one pair.
    assert regularizers.OrthogonalRegularizer(2.0)(w) == pytest.approx(2 / 5**0.5)
    assert isinstance(regularizers.L2()(w), float)
    assert regularizers.OrthogonalRegularizer()(w[:1]) == 0


@pytest.mark.parametrize("regularizer", CASES, ids=repr)
@pytest.mark.parametrize("shape", [(6, 4), (2, 5), (1, 3)])
def test_gradient(regularizer, shape):
    w = np.random.default_rng(1).normal(size=shape)
    numeric = np.zeros_like(w)
    h = 1e-6
    for i in np.ndindex(shape):
        up, down = w.copy(), w.copy()
        up[i] += h
        down[i] -= h
        numeric[i] = (regularizer(up) - regularizer(down)) / (2 * h)
    np.testing.assert_allclose(regularizer.gradient(w), numeric, atol=1e-8)
    single = regularizer.gradient(w.astype("float32"))
    assert single.dtype == np.float32 and single.flags.c_contiguous
    np.testing.assert_allclose(single, numeric, atol=1e-6)


def test_gradient_leaves_the_weight_alone():
    w = np.random.default_rng(1).normal(size=(3, 4))
    w.flags.writeable = False
    for regularizer in CASES:
        assert not np.shares_memory(regularizer.gradient(w), w)


def test_zero_rows_stay_finite():
    w = np.zeros((3, 4))
    r = regularizers.OrthogonalRegularizer()
    assert r(w) == 0 and np.isfinite(r.gradient(w)).all()


@pytest.mark.parametrize("regularizer", CASES, ids=repr)
def test_serialized_form(regularizer):
    described = regularizers.serialize(regularizer)
    assert described["module"] == "keras.regularizers" and described["registered_name"] is None
    assert regularizers.deserialize(described).get_config() == regularizer.get_config()


def test_get():
    assert regularizers.get(None) is None
    for name, cls in [("l1", "L1"), ("L2", "L2"), ("l1_l2", "L1L2"), ("l1l2", "L1L2"),
                      ("orthogonal_regularizer", "OrthogonalRegularizer")]:
        assert type(regularizers.get(name)).__name__ == cls
    assert regularizers.get("l1").l1 == regularizers.get("l2").l2 == 0.01
    assert regularizers.l2 is regularizers.L2


@pytest.mark.parametrize("name", ["l1_l2", "L1L2", "l1l2", regularizers.L1L2])
def test_no_name_does_nothing(name):
    """"l1_l2" is l1 = l2 = 0.01, as in Keras 2; an object or a dict says its numbers itself."""
    model = tdfast.Sequential(
        [tdfast.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=name, input_shape=(3,))]
    )
    assert model.losses == [pytest.approx(0.01 * 3 + 0.01 * 3)]
    assert regularizers.get(regularizers.L1L2()).get_config() == {"l1": 0.0, "l2": 0.0}
    assert regularizers.get(regularizers.serialize(regularizers.L1L2(l1=0.1))).get_config() == {
        "l1": 0.1,
        "l2": 0.0,
    }


def test_every_name_penalises():
    for name in regularizers.REGISTRY.spellings():
        assert regularizers.get(name)(np.array([[1.0, -2.0], [3.0, 4.0]])) > 0


def test_errors():
    for bad in (-1, float("nan"), float("inf"), "0.1"):
        with pytest.raises(ValueError, match="l2"):
            regularizers.L2(bad)
    with pytest.raises(ValueError, match="mode"):
        regularizers.OrthogonalRegularizer(mode="diagonals")
    with pytest.raises(ValueError, match="2 axes"):
        regularizers.OrthogonalRegularizer()(np.zeros(3))
    with pytest.raises(ValueError, match="Known regularizers.*l1"):
        regularizers.get("l3")
    with pytest.raises(TypeError, match="one number"):
        regularizers.get(lambda w: 0.0).gradient(np.zeros(3))
    with pytest.raises(ValueError, match="expected None, a name"):
        regularizers.get(3.0)


def test_a_class_of_ones_own():
    class Quartic(regularizers.Regularizer):
        def __call__(self, value):
            return float(np.sum(value**4))

        def gradient(self, value):
            return 4 * value**3

    one = Quartic()
    assert regularizers.get(one) is one
    assert regularizers.serialize(one)["registered_name"] == "Quartic"
