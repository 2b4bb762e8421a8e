"""Layers that join inputs: values by formulas, gradients by differences, masks and shapes as in Keras."""

import numpy as np
import pytest

import tdfast
from tdfast import layers
from tdfast.engine.tape import Tape
from tdfast.testing import assert_near, differences

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape)


A, B, C = normal(5, 3, 4), normal(5, 3, 4), normal(5, 3, 4)
THIN, FLAT = normal(5, 3, 1), normal(5, 4)


def unit(x, axis):
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


CASES = {
    "Add": (lambda **k: layers.Add(**k), [A, B, C], lambda a, b, c: a + b + c),
    "Add broadcast": (lambda **k: layers.Add(**k), [A, THIN], lambda a, b: a + b),
    "Add of fewer axes": (lambda **k: layers.Add(**k), [A, FLAT], lambda a, b: a + b[:, None]),
    "Subtract": (lambda **k: layers.Subtract(**k), [A, B], lambda a, b: a - b),
    "Multiply": (lambda **k: layers.Multiply(**k), [A, B, THIN], lambda a, b, c: a * b * c),
    "Average": (lambda **k: layers.Average(**k), [A, B, C], lambda *x: sum(x) / 3),
    "Maximum": (lambda **k: layers.Maximum(**k), [A, B, C], lambda *x: np.max(x, axis=0)),
    "Minimum": (lambda **k: layers.Minimum(**k), [A, B], lambda *x: np.min(x, axis=0)),
    "Concatenate": (lambda **k: layers.Concatenate(**k), [A, THIN, B], lambda *x: np.concatenate(x, -1)),
    "Concatenate in time": (
        lambda **k: layers.Concatenate(axis=1, **k),
        [A, normal(5, 2, 4)],
        lambda *x: np.concatenate(x, 1),
    ),
    "Dot of vectors": (
        lambda **k: layers.Dot(1, **k),
        [FLAT, normal(5, 4)],
        lambda a, b: np.sum(a * b, axis=1, keepdims=True),
    ),
    "Dot": (lambda **k: layers.Dot((2, 1), **k), [A, normal(5, 4, 2)], np.matmul),
    "Dot of other axes": (
        lambda **k: layers.Dot((1, 2), **k),
        [A, normal(5, 6, 3)],
        lambda a, b: np.einsum("btf,bgt->bfg", a, b),
    ),
    "Dot normalized": (
        lambda **k: layers.Dot(-1, normalize=True, **k),
        [A, B],
        lambda a, b: unit(a, 2) @ unit(b, 2).transpose(0, 2, 1),
    ),
    "Dot of pictures": (
        lambda **k: layers.Dot((3, 1), **k),
        [normal(5, 2, 3, 4), normal(5, 4, 2)],
        lambda a, b: np.einsum("bxyc,bcd->bxyd", a, b),
    ),
}
each = pytest.mark.parametrize("name", CASES)


@each
def test_values(name):
    make, xs, formula = CASES[name]
    layer = make(dtype="float64")
    np.testing.assert_allclose(layer(xs), formula(*xs), rtol=1e-12, atol=1e-12)
    shapes = [(None, *x.shape[1:]) for x in xs]
    assert tuple(layer.compute_output_shape(shapes)) == (None, *formula(*xs).shape[1:])
    single = make()([x.astype("float32") for x in xs])
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, formula(*xs), rtol=2e-5, atol=2e-6)


@each
def test_gradients_by_differences(name):
    make, xs, formula = CASES[name]
    layer, xs = make(dtype="float64"), [x.copy() for x in xs]
    layer(xs)
    tape, held = Tape(), [x.copy() for x in xs]
    dy = rng.normal(size=layer.forward(xs, tape).shape)
    given = dy.copy()
    got = [d.copy() for d in layer.backward(dy, tape)]
    for x, before in zip(xs, held):
        np.testing.assert_array_equal(x, before)  # inputs are read only
    for x, d in zip(xs, got):
        assert_near(d, differences(lambda: (formula(*xs) * given).sum(), x), 1e-6, name)


@each
def test_a_rows_result_depends_on_no_other_row(name):
    make, xs, _ = CASES[name]
    layer = make()
    whole = layer(xs).copy()
    for i in range(5):
        np.testing.assert_array_equal(layer([x[i : i + 1] for x in xs]), whole[i : i + 1])


@each
def test_in_a_model(name):
    """Built on symbolic tensors, trained a step, saved to a config and back."""
    make, xs, formula = CASES[name]
    inputs = [tdfast.Input(x.shape[1:]) for x in xs]
    model = tdfast.Model(inputs, make()(inputs))
    np.testing.assert_allclose(model.predict(xs, verbose=0), formula(*xs), rtol=2e-5, atol=2e-6)
    again = tdfast.saving.model_from_json(model.to_json())
    np.testing.assert_array_equal(again.predict(xs, verbose=0), model.predict(xs, verbose=0))


MASKS = [np.array([[True, False, True], [True, True, False]]), np.array([[True, True, False], [False] * 3])]


@pytest.mark.parametrize("cls", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])
def test_masks_of_sums(cls):
    """A step counts where it counts in one of the inputs, if all have a mask."""
    layer, xs = getattr(layers, cls)(), [np.zeros((2, 3, 4))] * 2
    np.testing.assert_array_equal(layer.compute_mask(xs, MASKS), MASKS[0] | MASKS[1])
    assert layer.compute_mask(xs, [MASKS[0], None]) is None and layer.compute_mask(xs) is None


@pytest.mark.parametrize("name", ["Multiply", "Maximum", "Minimum"])
@pytest.mark.parametrize("masked", [(0, 1, 2), (0,), (1,), (0, 2), ()])
def test_masked_steps_are_left_out(name, masked):
    """Values by a loop over places, gradients by differences; where none counts, Multiply gives 0."""
    layer = getattr(layers, name)(dtype="float64")
    xs = [normal(2, 3, 4) for _ in range(3)]
    masks = [rng.integers(0, 2, (2, 3)).astype(bool) if i in masked else None for i in range(3)]
    layer(xs)

    def value():
        return layer.forward(xs, Tape(keep=False), mask=masks).copy()

    y = value()
    for b, t in np.ndindex(2, 3):
        counting = [x[b, t] for x, m in zip(xs, masks) if m is None or m[b, t]]
        if not counting:
            assert name != "Multiply" or (y[b, t] == 0).all()
            continue
        join = {"Multiply": np.multiply, "Maximum": np.maximum, "Minimum": np.minimum}[name].reduce
        if name == "Multiply" or len(masked) in (0, 3):
            np.testing.assert_allclose(y[b, t], join(counting), rtol=1e-12)
    tape = Tape()
    dy = rng.normal(size=layer.forward(xs, tape, mask=masks).shape)
    for x, d in zip(xs, layer.backward(dy.copy(), tape)):
        assert_near(d, differences(lambda: (value() * dy).sum(), x), 1e-6, name)


def test_masks_of_concatenate():
    xs = [np.zeros((2, 3, 4))] * 2
    np.testing.assert_array_equal(
        layers.Concatenate(axis=1).compute_mask(xs, MASKS), np.concatenate(MASKS, 1)
    )
    np.testing.assert_array_equal(
        layers.Concatenate(axis=1).compute_mask(xs, [None, MASKS[1]]),
        np.concatenate([np.ones((2, 3), bool), MASKS[1]], 1),
    )
    np.testing.assert_array_equal(layers.Concatenate().compute_mask(xs, MASKS), MASKS[0] | MASKS[1])
    assert layers.Concatenate().compute_mask(xs, [MASKS[0], None]).all()
    assert layers.Concatenate().compute_mask(xs, [None, None]) is None


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: layers.Add()(A), "expects a list"),
        (lambda: layers.Add()([A]), "at least 2"),
        (lambda: layers.Add()([A, normal(5, 3, 2)]), "cannot join inputs of shapes"),
        (lambda: layers.Add()([A, normal(4, 3, 4)]), "different numbers of samples"),
        (lambda: layers.Subtract()([A, B, C]), "exactly 2"),
        (lambda: layers.Dot(1)([A, B, C]), "exactly 2"),
        (lambda: layers.Dot(1)([A, normal(5, 2, 4)]), "must be equal"),
        (lambda: layers.Dot(0)([A, B]), "the batch"),
        (lambda: layers.Dot("x"), "axes must be"),
        (lambda: layers.Dot(5)([A, B]), "do not fit"),
        (lambda: layers.Concatenate()([A, FLAT]), "as many axes"),
        (lambda: layers.Concatenate("x"), "whole number"),
        (lambda: layers.Concatenate()([A, normal(5, 2, 4)]), "all other sizes"),
        (lambda: layers.Concatenate(axis=3)([A, B]), "not an axis"),
        (lambda: layers.Add()([tdfast.Input((3, 4)), A]), "symbolic tensors and on"),
        (lambda: layers.Dense(2)([tdfast.Input((3,)), tdfast.Input((3,))]), "takes one input, got 2"),
    ],
)
def test_what_does_not_fit_is_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_functions_call_the_layers():
    x, z = tdfast.Input((3, 4)), tdfast.Input((3, 4))
    for name in ("add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate"):
        made = getattr(layers, name)([x, z])
        assert type(made.node.layer) is getattr(layers, name.capitalize())
    assert layers.dot([x, z], axes=2).shape == (None, 3, 3)
