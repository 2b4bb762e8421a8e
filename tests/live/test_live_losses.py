# ruff: noqa: B023 -- the functions in loops are called before the loop goes on
"""Losses beside Keras: values, and gradients from jax.grad of Keras's own code, over shapes, options and
weights."""

import contextlib
import inspect
import os
import warnings

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
jax = pytest.importorskip("jax")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "jax":
    pytest.skip("needs Keras on JAX", allow_module_level=True)

from tdfast import losses  # noqa: E402

# Keras takes means in float32 even of float64 arrays: nearer than this nothing can be compared with it.
NEAR = 1e-6

warnings.filterwarnings("ignore", module="keras")


@contextlib.contextmanager
def x64():
    """Keras and JAX in float64, in here alone."""
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        keras.backend.set_floatx("float64")
        try:
            yield
        finally:
            keras.backend.set_floatx("float32")


def value_and_slope(f, p):
    """f(p) and its gradient by JAX, compiled as one, which is quicker than operation by operation."""
    value, slope = jax.jit(jax.value_and_grad(f))(jax.numpy.array(p))
    return float(value), np.asarray(slope)


# (class, options to draw from, kind of data)
FAMILIES = [
    ("MeanSquaredError", {}, "any"),
    ("MeanAbsoluteError", {}, "any"),
    ("MeanAbsolutePercentageError", {}, "any"),
    ("MeanSquaredLogarithmicError", {}, "any"),
    ("Huber", {"delta": [1.0, 0.3, 2.5]}, "any"),
    ("LogCosh", {}, "any"),
    ("CosineSimilarity", {"axis": [-1, 1, -2]}, "any"),
    ("Poisson", {}, "probabilities"),
    ("KLDivergence", {}, "probabilities"),
    ("Hinge", {}, "signs"),
    ("Hinge", {}, "bits"),
    ("SquaredHinge", {}, "signs"),
    ("SquaredHinge", {}, "bits"),
    ("CategoricalHinge", {}, "onehot"),
    ("BinaryCrossentropy", {"label_smoothing": [0.0, 0.2], "axis": [-1, 1]}, "bits"),
    ("BinaryCrossentropy", {"from_logits": [True], "label_smoothing": [0.0, 0.2], "axis": [-1, 1]},
     "bits logits"),
    ("BinaryFocalCrossentropy", {"gamma": [2.0, 0.0, 1.5], "alpha": [0.25, 0.6],
                                 "label_smoothing": [0.0, 0.1],
                                 "apply_class_balancing": [False, True], "axis": [-1, 1]}, "bits"),
    ("BinaryFocalCrossentropy", {"from_logits": [True], "gamma": [2.0, 3.0],
                                 "apply_class_balancing": [False, True],
                                 "label_smoothing": [0.0, 0.1]}, "bits logits"),
    ("CategoricalCrossentropy", {"label_smoothing": [0.0, 0.1]}, "onehot"),
    ("CategoricalCrossentropy", {"axis": [1, -1]}, "onehot"),
    ("CategoricalCrossentropy", {"from_logits": [True], "axis": [-1, 1]}, "onehot logits"),
    ("CategoricalFocalCrossentropy", {"label_smoothing": [0.0, 0.1], "gamma": [2.0, 0.0, 1.5]}, "onehot"),
    ("CategoricalFocalCrossentropy", {"alpha": [0.25, 1.0], "axis": [1]}, "onehot"),
    ("CategoricalFocalCrossentropy", {"from_logits": [True], "axis": [-1, 1], "gamma": [2.0, 4.0]},
     "onehot logits"),
    ("SparseCategoricalCrossentropy", {"ignore_class": [None, 0, 2]}, "labels"),
    ("SparseCategoricalCrossentropy", {"from_logits": [True], "ignore_class": [None, 1, -1]},
     "labels logits"),
    ("CategoricalGeneralizedCrossEntropy", {"q": [0.5, 0.2, 0.9]}, "labels"),
    ("Dice", {"axis": [None, 1, (1, 2), -1, (0, 1)]}, "bits"),
    ("Tversky", {"alpha": [0.5, 0.2], "beta": [0.5, 0.9], "axis": [None, -1, (1, 2)]}, "bits"),
]
CASES = [(family, seed) for family in FAMILIES for seed in range(4)]


def draw(kind, rng, shape):
    """(targets, outputs) in float64."""
    n = shape[-1]
    p = (
        rng.normal(size=shape)
        if kind == "any" or "logits" in kind or kind == "signs"
        else rng.uniform(0.02, 0.98, shape)
    )
    if kind == "any":
        y = rng.normal(size=shape)
    elif kind == "probabilities":
        y = rng.uniform(0, 1, shape)
    elif kind == "signs":
        y = rng.choice([-1.0, 1.0], shape)
    elif "bits" in kind:
        y = rng.integers(0, 2, shape).astype("float64")
    else:
        y = rng.integers(0, n, shape[:-1])
        y = np.eye(n)[y] if "onehot" in kind else y
    return y, p


def in_keras(name, options):
    """The options for the same in Keras: before 3.16, Tversky's alpha and beta stand for each other."""
    if name == "Tversky" and tuple(map(int, keras.__version__.split(".")[:2])) < (3, 16):
        return {**options, "alpha": options["beta"], "beta": options["alpha"]}
    return options


@pytest.mark.parametrize("family, seed", CASES, ids=lambda v: str(v) if isinstance(v, int)
                         else f"{v[0]}-{v[2]}")
def test_value_and_gradient(family, seed):
    name, options, kind = family
    rng = np.random.default_rng([seed, len(name), FAMILIES.index(family)])
    chosen = {k: v[rng.integers(len(v))] for k, v in options.items()}
    shape = tuple(rng.integers(1, 6, 2)) + (int(rng.integers(3, 7)),)
    y, p = draw(kind, rng, shape)
    reduction = rng.choice(["sum_over_batch_size", "sum", "mean", "mean_with_sample_weight"])
    ours = getattr(losses, name)(**chosen, reduction=str(reduction))
    axis = chosen.get("axis", -1)
    whole = name in ("Dice", "Tversky")
    weight = None
    if seed % 2 and not (whole and axis is not None):
        values = np.shape(ours.values(y, p)) or (shape[0],)
        weight = rng.uniform(0.1, 2, values)
        if axis in (1, -2):                 # a value of the samples alone, which the steps do not share
            weight = rng.uniform(0.1, 2, (shape[0], 1))
            reduction = "sum_over_batch_size"
            ours = getattr(losses, name)(**chosen)
    with x64():
        options = {**in_keras(name, chosen), "reduction": str(reduction), "dtype": "float64"}
        theirs = getattr(keras.losses, name)(**options)
        want, slope = value_and_slope(lambda q: theirs(y, q, sample_weight=weight).sum(), p)
    value, dy = ours.value_and_grad(y, p, sample_weight=weight)
    assert dy.dtype == p.dtype and dy.shape == p.shape
    assert abs(value - want) < NEAR * max(1, abs(want))
    assert np.abs(dy - slope).max() < NEAR * max(1, np.abs(slope).max())
    assert abs(ours(y, p, sample_weight=weight) - want) < NEAR * max(1, abs(want))
    single, dsingle = ours.value_and_grad(y, p.astype("float32"), sample_weight=weight)
    assert abs(single - want) < 1e-5 * max(1, abs(want))
    assert np.abs(dsingle - slope).max() < 5e-5 * max(1, np.abs(slope).max())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda v: f"{v[0]}-{v[2]}")
def test_functions(family):
    name, options, kind = family
    rng = np.random.default_rng(FAMILIES.index(family))
    function = next(f for f, cls in losses._CLASS_OF.items() if cls.__name__ == name)
    for _ in range(3):
        chosen = {k: v[rng.integers(len(v))] for k, v in options.items()}
        if name == "CategoricalGeneralizedCrossEntropy":
            chosen.setdefault("q", 0.5)
        y, p = draw(kind, rng, (3, 2, 5))
        with x64():
            theirs = getattr(keras.losses, function.__name__)
            want = np.asarray(theirs(jax.numpy.array(y), jax.numpy.array(p), **in_keras(name, chosen)))
        got = function(y, p, **chosen)
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=NEAR, atol=NEAR)


def arguments(function):
    """Names, kinds and defaults of a signature; Keras annotates no types."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", sorted({f[0] for f in FAMILIES} | {"Circle", "CTC"}))
def test_config_and_signature(name):
    ours, theirs = getattr(losses, name), getattr(keras.losses, name)
    assert arguments(ours) == arguments(theirs)
    assert list(ours().get_config().items()) == list(theirs().get_config().items())
    assert ours().name == theirs().name


def test_names():
    for name in ("bce", "BCE", "kld", "KLD", "mae", "MAE", "mse", "MSE", "mape", "MAPE", "msle", "MSLE"):
        assert losses.get(name).name == keras.losses.get(name).__name__
    for name in dir(keras.losses):
        if not name.startswith("_"):
            assert hasattr(losses, name), name


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
def test_masked_steps(reduction):
    """Masks and weights of the steps, as training with a mask gives them."""
    rng = np.random.default_rng(1)
    y, p = rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 6, 3))
    mask = rng.random((4, 6)) < 0.6
    mask[1] = False
    for weight in (None, rng.uniform(0.5, 2, (4, 6))):
        for name in ("MeanSquaredError", "LogCosh", "CosineSimilarity", "CategoricalHinge"):
            ours = getattr(losses, name)(reduction=reduction)
            with x64():
                theirs = getattr(keras.losses, name)(reduction=reduction, dtype="float64")
                def masked(q):
                    q = q + 0
                    keras.src.backend.set_keras_mask(q, jax.numpy.array(mask))
                    return theirs(y, q, sample_weight=weight)
                want, slope = value_and_slope(masked, p)
            value, dy = ours.value_and_grad(y, p, weight, mask)
            assert abs(value - want) < NEAR * max(1, abs(want)) and np.abs(dy - slope).max() < NEAR
            assert not dy[~mask].any()


def test_ranks():
    """A last axis of 1 may be missing in the targets or in the outputs: Keras's rules."""
    rng = np.random.default_rng(2)
    for true_shape, pred_shape in [((5,), (5, 1)), ((5, 1), (5,)), ((5, 3), (5, 3, 1)), ((5, 3, 1), (5, 3)),
                                   ((5,), (5,))]:
        y, p = rng.uniform(0.1, 0.9, true_shape), rng.uniform(0.1, 0.9, pred_shape)
        for name in ("MeanSquaredError", "KLDivergence", "CosineSimilarity", "BinaryCrossentropy", "Huber"):
            for reduction in ("sum", "sum_over_batch_size"):
                with x64():
                    theirs = getattr(keras.losses, name)(reduction=reduction, dtype="float64")
                    want, slope = value_and_slope(lambda q: theirs(y, q), p)
                value, dy = getattr(losses, name)(reduction=reduction).value_and_grad(y, p)
                assert abs(value - want) < NEAR * max(1, abs(want)), (name, true_shape, pred_shape)
                assert np.abs(dy - slope).max() < NEAR * max(1, np.abs(slope).max())


@pytest.mark.parametrize("reduction, batch, steps, classes, most", [
    ("sum_over_batch_size", 7, 12, 5, 4), ("sum", 3, 1, 2, 1), ("mean_with_sample_weight", 2, 9, 3, 4),
    ("sum", 1, 30, 40, 11)])
def test_ctc(reduction, batch, steps, classes, most):
    """Keras computes it in float32, whatever its dtype: the bounds are those of float32."""
    rng = np.random.default_rng(steps)
    p = 2 * rng.normal(size=(batch, steps, classes))
    labels = np.where(np.arange(most) < rng.integers(0, most + 1, batch)[:, None],
                      rng.integers(1, classes, (batch, most)), 0)
    for weight in (None, rng.uniform(0.5, 2, batch)):
        with x64():
            theirs = keras.losses.CTC(reduction=reduction, dtype="float64")
            want, slope = value_and_slope(lambda q: theirs(labels, q, weight), p)
            values = np.asarray(keras.losses.ctc(jax.numpy.array(labels), jax.numpy.array(p)))
        value, dy = losses.CTC(reduction=reduction).value_and_grad(labels, p, weight)
        assert abs(value - want) < 1e-5 * max(1, want)
        assert np.abs(dy - slope).max() < 5e-5 * max(1, np.abs(slope).max())
        np.testing.assert_allclose(losses.ctc(labels, p), values, rtol=1e-5)


@pytest.mark.parametrize("reduction, diagonal, gamma", [
    ("sum_over_batch_size", True, 80.0), ("sum", False, 2.0), ("mean_with_sample_weight", True, 2.0),
    ("sum_over_batch_size", False, 80.0), ("mean_with_sample_weight", False, 2.0)])
def test_circle(reduction, diagonal, gamma):
    rng = np.random.default_rng(3)
    p = rng.normal(size=(9, 4))
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    for y in (rng.integers(0, 3, 9), np.arange(9), np.zeros(9, int)):
        for weight in (None, rng.uniform(0.5, 2, 9)):
            with x64():
                theirs = keras.losses.Circle(gamma, 0.3, diagonal, reduction=reduction, dtype="float64")
                want, slope = value_and_slope(lambda q: theirs(y, q, weight), p)
            ours = losses.Circle(gamma, 0.3, diagonal, reduction=reduction)
            value, dy = ours.value_and_grad(y, p, weight)
            assert abs(value - want) < 1e-11 * max(1, want)
            if np.isfinite(slope).all():        # without a partner Keras's gradient is NaN; ours is 0
                assert np.abs(dy - slope).max() < 1e-10 * max(1, np.abs(slope).max())
            assert np.isfinite(dy).all()


def test_clipped_and_tied():
    """Slopes where a formula has a corner; |e| at 0 is left out, where JAX's slope differs from TensorFlow's
    and ours, 0."""
    y = np.array([[0.0, 1.0, 1.0, 0.0, 1.0]])
    for name, p in [("KLDivergence", [[1e-7, 1.0, 0.0, 2.0, 0.5]]),
                    ("BinaryCrossentropy", [[0.0, 1.0, 0.0, 1.0, 0.5]]),
                    ("Hinge", [[-1.0, 1.0, 0.5, 2.0, 1.0]]), ("MeanSquaredLogarithmicError",
                                                              [[-1.0, 0.0, 1e-7, 3.0, -2.0]]),
                    ("CategoricalHinge", [[1.0, 0.5, 0.5, 1.0, 0.0]]),
                    ("MeanAbsolutePercentageError", [[0.5, 2.0, 2.0, 1.0, 0.0]]),
                    ("Huber", [[1.0, 2.0, 0.0, -1.0, 1.5]]), ("LogCosh", [[0.0, 50.0, -50.0, 1000.0, 1.0]])]:
        p = np.array(p)
        with x64():
            theirs = getattr(keras.losses, name)(dtype="float64")
            want, slope = value_and_slope(lambda q: theirs(y, q), p)
        value, dy = getattr(losses, name)().value_and_grad(y, p)
        assert np.isclose(value, want, rtol=NEAR, atol=NEAR), name
        np.testing.assert_allclose(dy, slope, rtol=NEAR, atol=NEAR, err_msg=name)


@pytest.mark.parametrize("true_shape, pred_shape", [((6, 1), (6, 1)), ((6,), (6, 4)), ((6, 4), (6, 4)),
                                                    ((6, 2), (6, 2, 4))])
def test_crossentropy_by_shapes(true_shape, pred_shape):
    rng = np.random.default_rng(5)
    p = rng.uniform(0.1, 0.9, pred_shape)
    y = rng.integers(0, 2, true_shape).astype("float64")
    from keras.src.trainers.compile_utils import get_loss

    theirs = get_loss("crossentropy", y, p)
    assert np.isclose(losses.get("crossentropy")(y, p), float(theirs(y, p)), rtol=1e-5)
