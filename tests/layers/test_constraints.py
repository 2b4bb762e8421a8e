"""Constraints: what they project to."""

import numpy as np
import pytest

from tdfast import constraints

W = np.random.default_rng(1).normal(size=(6, 4)).astype("float32")


def norms(w, axis=0):
    return np.sqrt(np.sum(np.square(w), axis=axis))


def test_max_norm():
    out = constraints.MaxNorm(1.5)(W)
    np.testing.assert_allclose(norms(out), np.minimum(norms(W), 1.5), rtol=1e-5)
    out = constraints.MaxNorm(0.5, axis=[0, 1])(W)
    np.testing.assert_allclose(norms(out, (0, 1)), 0.5, rtol=1e-5)


def test_unit_norm():
    np.testing.assert_allclose(norms(constraints.UnitNorm(axis=1)(W), 1), 1, rtol=1e-5)
    assert not constraints.UnitNorm()(np.zeros((3, 2), "float32")).any()


def test_non_neg():
    np.testing.assert_array_equal(constraints.NonNeg()(W), np.where(W > 0, W, 0))


def test_min_max_norm():
    out = constraints.MinMaxNorm(1.0, 1.5, rate=0.3)(W)
    np.testing.assert_allclose(norms(out), 0.3 * np.clip(norms(W), 1, 1.5) + 0.7 * norms(W), rtol=1e-5)


CASES = [constraints.MaxNorm(3, 1), constraints.NonNeg(), constraints.UnitNorm(), constraints.MinMaxNorm(0.1)]


@pytest.mark.parametrize("constraint", CASES, ids=repr)
def test_dtype_and_serialized_form(constraint):
    before = W.copy()
    for dtype in ("float32", "float64"):
        out = constraint(W.astype(dtype))
        assert out.dtype == dtype and out.shape == W.shape
    np.testing.assert_array_equal(W, before)
    described = constraints.serialize(constraint)
    assert described["module"] == "keras.constraints" and described["registered_name"] is None
    assert constraints.deserialize(described).get_config() == constraint.get_config()


def test_get():
    assert constraints.get(None) is None
    assert constraints.get("max_norm").max_value == 2
    assert constraints.max_norm is constraints.MaxNorm
    assert type(constraints.get("MinMaxNorm")) is constraints.MinMaxNorm
    with pytest.raises(ValueError, match="Known constraints.*unit_norm"):
        constraints.get("max_morn")
