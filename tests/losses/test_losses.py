"""Losses: values against float64 formulas, gradients against differences, Keras's rules for weights and
masks."""

import numpy as np
import pytest
import reference
from laws import FMA_ISAS

from tdfast import losses, metrics, runtime

SIZES = (1, 2, 3, 8, 10, 16, 17, 64, 65, 130)      # short rows, long rows, and remainders of both


@pytest.fixture(autouse=True)
def restore_machine():
    isa, threads = runtime.isa(), runtime.get_num_threads()
    yield
    runtime.set_isa(isa)
    runtime.set_num_threads(threads)


def onehot(labels, n):
    return np.eye(n)[labels]


# name: (loss, formula, kind of data)
CASES = {
    "mse": (losses.MeanSquaredError(), reference.mean_squared_error, "any"),
    "mae": (losses.MeanAbsoluteError(), reference.mean_absolute_error, "any"),
    "huber": (losses.Huber(delta=0.7), lambda y, p: reference.huber(y, p, 0.7), "any"),
    "binary": (losses.BinaryCrossentropy(), reference.binary_crossentropy, "bits"),
    "binary smooth": (losses.BinaryCrossentropy(label_smoothing=0.2),
                      lambda y, p: reference.binary_crossentropy(y, p, label_smoothing=0.2), "bits"),
    "binary logits": (losses.BinaryCrossentropy(from_logits=True),
                      lambda y, p: reference.binary_crossentropy(y, p, True), "bit logits"),
    "categorical": (losses.CategoricalCrossentropy(), reference.categorical_crossentropy, "onehot"),
    "categorical smooth": (losses.CategoricalCrossentropy(label_smoothing=0.1),
                           lambda y, p: reference.categorical_crossentropy(y, p, label_smoothing=0.1),
                           "onehot"),
    "categorical logits": (losses.CategoricalCrossentropy(from_logits=True),
                           lambda y, p: reference.categorical_crossentropy(y, p, True), "onehot logits"),
    "sparse": (losses.SparseCategoricalCrossentropy(), reference.sparse_categorical_crossentropy, "labels"),
    "sparse logits": (losses.SparseCategoricalCrossentropy(from_logits=True),
                      lambda y, p: reference.sparse_categorical_crossentropy(y, p, True), "labels logits"),
}


def data(kind, shape, seed=0):
    """(targets, outputs) in float64; the outputs stay away from kinks and from the clipping."""
    rng = np.random.default_rng(seed)
    n = shape[-1]
    labels = rng.integers(0, n, shape[:-1])
    p = rng.normal(size=shape) if kind == "any" or "logits" in kind else rng.uniform(0.1, 0.9, size=shape)
    if kind == "any":
        return rng.normal(size=shape), p
    if "bit" in kind:
        return rng.integers(0, 2, shape).astype("float64"), p
    return (onehot(labels, n) if "onehot" in kind else labels), p


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype, bound", [("float32", 2e-6), ("float64", 1e-13)])
def test_values(case, dtype, bound):
    loss, formula, kind = CASES[case]
    for n in SIZES:
        y, p = data(kind, (5, 7, n), seed=n)
        want, got = formula(y, p), loss.call(y, p.astype(dtype))
        assert got.dtype == dtype and got.shape == (5, 7)
        assert np.abs(got - want).max() <= bound * max(1, np.abs(want).max()), n
        assert abs(loss(y, p.astype(dtype)) - want.mean()) <= bound * max(1, abs(want.mean()))


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_the_difference_quotient(case):
    loss, formula, kind = CASES[case]
    step = 1e-6
    for n in (1, 3, 10, 66):
        y, p = data(kind, (4, n), seed=n)
        weight = np.random.default_rng(n).uniform(0.5, 2, 4)
        want = np.empty_like(p)
        for j in range(n):
            d = np.zeros(n)
            d[j] = step
            want[:, j] = (formula(y, p + d) - formula(y, p - d)) * weight / (2 * step * 4)
        value, got = loss.value_and_grad(y, p, sample_weight=weight)
        assert abs(value - (formula(y, p) * weight).mean()) < 1e-12
        assert np.abs(got - want).max() < 1e-7 * max(1, np.abs(want).max())
        single = loss.value_and_grad(y, p.astype("float32"), sample_weight=weight)[1]
        assert np.abs(single - want).max() < 2e-5 * max(1, np.abs(want).max())


@pytest.mark.parametrize("case", CASES)
def test_bits_do_not_depend_on_isa_threads_or_other_rows(case):
    loss, _, kind = CASES[case]
    for shape in [(700, 9), (150, 64), (90, 70), (3001, 1)]:
        y, p = data(kind, shape)
        p = p.astype("float32")
        weight = np.random.default_rng(3).random(len(p)).astype("float32")
        seen = set()
        for isa in runtime.available_isas():
            runtime.set_isa(isa)
            results = set()
            for threads in (1, 2):
                runtime.set_num_threads(threads)
                value, dy = loss.value_and_grad(y, p, weight)
                results.add((value, dy.tobytes(), loss.call(y, p).tobytes()))
            assert len(results) == 1
            if isa in FMA_ISAS:
                seen |= results
            rows = loss.call(y, p)
            for r in (0, 37, len(p) - 1):
                assert loss.call(y[r : r + 1], p[r : r + 1]).tobytes() == rows[r].tobytes()
        assert len(seen) <= 1


def test_clipped_probabilities():
    y, p = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    value, dy = losses.CategoricalCrossentropy().value_and_grad(y, p)
    assert abs(value + np.log(1e-7)) < 1e-9 and not dy.any()
    value, dy = losses.BinaryCrossentropy().value_and_grad(y, p)
    assert abs(value + np.log(1e-7)) < 1e-7 and not dy.any()


def test_slopes_at_kinks():
    dy = losses.MeanAbsoluteError().value_and_grad(np.zeros((1, 3)), np.array([[0.0, 2.0, -2.0]]))[1]
    assert np.allclose(dy, [[0, 1 / 3, -1 / 3]])
    dy = losses.Huber(1.0).value_and_grad(np.zeros((1, 2)), np.array([[1.0, -3.0]]))[1]
    assert np.allclose(dy, [[0.5, -0.5]])


def test_huge_logits():
    p = np.array([[1000.0, -1000.0, 0.0]], "float32")
    value, dy = losses.SparseCategoricalCrossentropy(from_logits=True).value_and_grad([1], p)
    assert value == 2000 and np.allclose(dy, [[1, -1, 0]])
    value, dy = losses.BinaryCrossentropy(from_logits=True).value_and_grad(np.array([[0, 0, 0]]), p)
    assert np.isclose(value, (1000 + np.log(2)) / 3) and np.isfinite(dy).all()


# ---------------------------------------------------------------- weights, masks, reductions

ROWS = np.arange(1.0, 10.0).reshape(3, 3)               # the losses of three samples of three steps
MASK = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
STEP_WEIGHT = np.array([[1.0, 2.0, 3.0]] * 3)


def reduce(reduction, sample_weight=None, mask=None):
    loss = losses.MeanSquaredError(reduction=reduction)
    return loss.value_and_grad(np.zeros((3, 3, 1)), np.sqrt(ROWS)[..., None], sample_weight, mask)


@pytest.mark.parametrize("reduction, plain, weighted, masked, both", [      # as Keras 3.15 gives them
    ("sum_over_batch_size", 5.0, 96 / 9, 7 / 3, 3.0),
    ("mean", 5.0, 96 / 9, 7 / 3, 3.0),
    ("sum", 45.0, 96.0, 7.0, 9.0),
    ("mean_with_sample_weight", 5.0, 96 / 18, 7 / 3, 2.25),
])
def test_reductions(reduction, plain, weighted, masked, both):
    for got, want in [(reduce(reduction), plain), (reduce(reduction, STEP_WEIGHT), weighted),
                      (reduce(reduction, None, MASK), masked), (reduce(reduction, STEP_WEIGHT, MASK), both)]:
        assert abs(got[0] - want) < 1e-12
    dy = reduce(reduction, STEP_WEIGHT, MASK)[1][..., 0]
    assert not dy[~MASK].any() and dy[MASK].all()


def test_no_step_counts():
    for reduction in ("sum_over_batch_size", "sum", "mean_with_sample_weight"):
        value, dy = reduce(reduction, None, np.zeros((3, 3), bool))
        assert value == 0 and not dy.any()


def test_weights_of_samples_and_steps():
    y, p = data("any", (4, 3, 2))
    rows = reference.mean_squared_error(y, p)
    loss, each = losses.MeanSquaredError(), np.arange(1.0, 5)
    for weight, spread in [(each, each[:, None]), (each[:, None], each[:, None]), (2.0, 2.0), ([3.0], 3.0),
                           (rows * 0 + 2, 2), (np.full((4, 3, 1), 0.5), 0.5),
                           (np.array([[1.0, 2, 3]]), [[1, 2, 3]])]:
        assert abs(loss(y, p, sample_weight=weight) - (rows * spread).mean()) < 1e-12
    with pytest.raises(ValueError, match=r"sample_weight has shape \(5,\).*\(4, 3\)"):
        loss(y, p, sample_weight=np.ones(5))
    assert losses.MeanSquaredError(reduction=None)(y, p, sample_weight=each).shape == (4, 3)
    with pytest.raises(ValueError, match="reduction must be one of"):
        losses.MeanSquaredError(reduction="median")


def test_ignored_class():
    p = data("labels", (6, 4))[1]
    labels = np.array([0, 9, 2, 9, 1, 3])
    kept = labels != 9
    loss = losses.SparseCategoricalCrossentropy(ignore_class=9)
    value, dy = loss.value_and_grad(labels, p)
    want = reference.sparse_categorical_crossentropy(labels[kept], p[kept])
    assert abs(value - want.mean()) < 1e-12 and not dy[~kept].any() and dy[kept].any()
    rows = losses.sparse_categorical_crossentropy(labels, p, ignore_class=9)
    assert np.allclose(rows[kept], want) and not rows[~kept].any()


# ---------------------------------------------------------------- shapes and errors


def test_last_axis_may_be_missing():
    y, p = data("any", (5, 1))
    assert losses.mse(y[:, 0], p).tolist() == losses.mse(y, p).tolist()
    labels, p = data("labels", (5, 3))
    assert losses.sparse_categorical_crossentropy(labels[:, None], p).shape == (5,)


def test_errors():
    p = np.full((2, 3), 1 / 3, "float32")
    sparse = losses.SparseCategoricalCrossentropy()
    for bad in (3, -1):
        with pytest.raises(ValueError, match=rf"label {bad} at position 1 .* 3 classes.* 0 to 2"):
            sparse.value_and_grad(np.array([0, bad]), p)
    with pytest.raises(ValueError,
                       match=r"targets must have shape \(2,\).*\(2, 3\).*categorical_crossentropy"):
        sparse(np.eye(3)[[0, 1]], p)
    with pytest.raises(ValueError, match="sparse_categorical_crossentropy, or one-hot"):
        losses.CategoricalCrossentropy()(np.array([0, 1]), p)
    with pytest.raises(ValueError, match=r"mean_squared_error.*\(2, 3\).*\(2, 4\)"):
        losses.MeanSquaredError()(np.zeros((2, 4)), p)
    with pytest.raises(ValueError, match=r"\(None, 4\)"):
        losses.MeanSquaredError().check((None, 4), (None, 3))
    losses.MeanSquaredError().check((None, 3), (8, 3))
    with pytest.raises(ValueError, match="targets that are numbers"):
        losses.MeanSquaredError()(np.array([["a"] * 3] * 2), p)
    with pytest.raises(ValueError, match="last axis"):
        losses.SparseCategoricalCrossentropy(axis=1)
    with pytest.raises(ValueError, match="label_smoothing"):
        losses.BinaryCrossentropy(label_smoothing=2)
    with pytest.raises(ValueError, match="Unknown loss 'msee'.*Did you mean"):
        losses.get("msee")
    with pytest.raises(TypeError, match="lambda.*does not depend on y_pred"):
        losses.get(lambda y, p: 0).value_and_grad(p, p)
    with pytest.raises(TypeError, match="lambda.*None, so a return is missing"):
        losses.get(lambda y, p: None).value_and_grad(p, p)


def test_config_round_trip():
    for loss in [losses.Huber(0.3, name="h"), losses.MeanSquaredError(reduction="sum"),
                 losses.CategoricalCrossentropy(True, 0.1), losses.BinaryCrossentropy(label_smoothing=0.2),
                 losses.SparseCategoricalCrossentropy(True, ignore_class=2)]:
        saved = losses.serialize(loss)
        assert saved["module"] == "keras.losses" and saved["class_name"] == type(loss).__name__
        again = losses.deserialize(saved)
        assert (
            type(again) is type(loss) and again.get_config() == loss.get_config() and again.kind == loss.kind
        )
    for spec in ("mse", "MSE", "mean_squared_error", "MeanSquaredError", losses.mse, losses.MeanSquaredError):
        assert isinstance(losses.get(spec), losses.MeanSquaredError)
    assert losses.get(None) is None


def test_inputs_are_left_alone():
    for loss, _, kind in CASES.values():
        y, p = data(kind, (6, 5))
        y.flags.writeable = p.flags.writeable = False
        before = y.copy(), p.copy()
        loss.value_and_grad(y, p, sample_weight=np.ones(6), mask=np.ones(6, bool))
        assert (before[0] == y).all() and (before[1] == p).all()


@pytest.mark.parametrize("classes", [4, 40])
def test_categorical_crossentropy_of_rows_that_sum_to_zero(classes):
    """Linear outputs may cancel to the bit: such a row is clipped, and sends back no gradient."""
    p = np.zeros((3, classes), "float32")
    p[0, :2] = 0.5, -0.5
    p[2, :2] = 0.25, 0.75
    t = np.full((3, classes), 1 / classes, "float32")
    value, dy = losses.CategoricalCrossentropy().value_and_grad(t, p)
    assert np.isfinite(value)
    assert np.array_equal(dy[:2], np.zeros((2, classes)))
    assert np.isfinite(dy[2]).all() and dy[2].any()
    rows = losses.CategoricalCrossentropy().call(t, p)
    assert np.allclose(rows[:2], [-np.log(1e-7) * (classes - 1) / classes, -np.log(1e-7)], rtol=1e-5)
    p[1, 0] = np.nan
    assert np.isnan(losses.CategoricalCrossentropy().call(t, p)[1]), "NaN stays NaN"


# ---------------------------------------------------------------- near the minimum, against float64

T = np.array([[0.25, 3.0, 1000.0]])
NEAR = [1e-5, 1e-4, 1e-3, 1e-2, 0.3]
ONE = np.array([[0.0, 1.0, 0.0]])
SHARES, SHIFT = np.array([[0.25, 0.25, 0.5]]), np.array([[1.25, 0, -1.25]])


def log_softmax(z):
    """Of one row, to full accuracy also where one element has nearly all."""
    z = z - z.max()
    others = np.exp(np.delete(z, z.argmax())).sum()
    return z - np.log1p(others)


def focal(z):
    """(1 - p)^2 times the crossentropy of p = sigmoid(z) and the target 1."""
    return (1 / (1 + np.exp(z))) ** 2 * np.log1p(np.exp(-z))


def overlap(p, alpha, beta, common):
    """The share of what is apart of the target ONE and p; alpha is for false positives."""
    apart = alpha * np.sum((1 - ONE) * p) + beta * np.sum(ONE * (1 - p)) + 1e-7
    return apart / (common * np.sum(ONE * p) + apart)


# name: (loss, targets, outputs at the distance d from the minimum, the formula in float64)
MINIMA = {
    "mse": (losses.MeanSquaredError(), T, lambda d: T * (1 + d), lambda p: np.mean((p - T) ** 2)),
    "huber": (losses.Huber(), T, lambda d: T + d, lambda p: np.mean((p - T) ** 2) / 2),
    "log_cosh": (losses.LogCosh(), T * 0, lambda d: T * 0 + d,
                 lambda p: np.mean(np.log1p(2 * np.sinh(p / 2) ** 2))),
    "msle": (losses.MeanSquaredLogarithmicError(), T, lambda d: T * (1 + d),
             lambda p: np.mean(np.log1p((p - T) / (1 + T)) ** 2)),
    "msle from below": (losses.MeanSquaredLogarithmicError(), T, lambda d: T * (1 - d),
                        lambda p: np.mean(np.log1p((T - p) / (1 + p)) ** 2)),
    "kl": (losses.KLDivergence(), SHARES, lambda d: SHARES + min(d, 0.03) * SHIFT,
           lambda p: -np.sum(SHARES * np.log1p((p - SHARES) / SHARES))),
    "bce": (losses.BinaryCrossentropy(from_logits=True), [[1.0]],
            lambda d: np.array([[-np.log(np.expm1(d))]]),
            lambda z: np.log1p(np.exp(-z)).item()),
    "sparse": (losses.SparseCategoricalCrossentropy(from_logits=True), [1],
               lambda d: np.array([[np.log(d), 0, np.log(d)]]), lambda z: -log_softmax(z[0])[1]),
    "cce": (losses.CategoricalCrossentropy(from_logits=True), ONE,
            lambda d: np.array([[np.log(d), 0, np.log(d)]]),
            lambda z: -log_softmax(z[0])[1]),
    "focal": (losses.BinaryFocalCrossentropy(from_logits=True), [[1.0]], lambda d: np.array([[-np.log(d)]]),
              lambda z: focal(z).item()),
    "categorical focal": (losses.CategoricalFocalCrossentropy(1.0, from_logits=True), ONE,
                          lambda d: np.array([[np.log(d), 0, np.log(d)]]),
                          lambda z: -np.expm1(log_softmax(z[0])[1]) ** 2 * log_softmax(z[0])[1]),
    "generalized": (losses.CategoricalGeneralizedCrossEntropy(0.7), [1],
                    lambda d: np.array([[d / 2, 1 - d, d / 2]]),
                    lambda p: -np.expm1(0.7 * np.log1p(p[0, 1] - 1)) / 0.7),
    "dice": (losses.Dice(), ONE, lambda d: np.array([[d, 1 - d, 0]]), lambda p: overlap(p, 1, 1, 2)),
    "tversky": (losses.Tversky(0.3, 0.7), ONE, lambda d: np.array([[d / 2, 1 - d, 0]]),
                lambda p: overlap(p, 0.3, 0.7, 1)),
}


@pytest.mark.parametrize("name", MINIMA)
def test_near_the_minimum(name):
    """Values and gradients keep their digits where they are small."""
    loss, t, outputs, formula = MINIMA[name]
    for d in NEAR:
        p = outputs(d).astype(np.float32)
        value, slope = loss.value_and_grad(np.asarray(t, np.int32 if loss.sparse else np.float32), p.copy())
        exact = p.astype(np.float64)
        assert np.isclose(value, formula(exact), rtol=2e-3 if name == "kl" else 2e-5, atol=0), d
        for i in np.ndindex(p.shape):
            h = 1e-6 * max(d, abs(exact[i] * 1e-3))
            up, down = exact.copy(), exact.copy()
            up[i] += h
            down[i] -= h
            want = (formula(up) - formula(down)) / (2 * h)
            scale = 1e-4 * np.abs(slope).max() if name != "huber" else 1e-6
            assert np.isclose(slope[i], want, rtol=2e-3, atol=scale), (d, i)


def test_log_cosh_of_small_errors():
    for e, want in ((1e-4, 5e-9), (1e-3, 5e-7), (0.1, 0.0049916888), (20.0, 19.306852819), (1e30, 1e30)):
        assert np.isclose(losses.LogCosh()([[0.0]], [[e]]), want, rtol=3e-7), e
    assert np.isclose(metrics.get("log_cosh")([[0.0]], [[1e-4]]), 5e-9)


def test_logits_of_losses_as_their_gradients_saturate():
    """Far off the mark: the loss is the logit, the gradient 1."""
    binary = losses.BinaryFocalCrossentropy(from_logits=True)
    value, slope = binary.value_and_grad([[1.0]], np.float32([[-20]]))
    assert value == 20 and np.isclose(slope, -1)
    value, slope = binary.value_and_grad([[0.0]], np.float32([[2000]]))
    assert value == 2000 and slope == 1
    focal = losses.CategoricalFocalCrossentropy(alpha=1.0, from_logits=True)
    value, slope = focal.value_and_grad([[0.0, 1, 0]], np.float32([[0, -17, 0]]))
    assert np.isclose(value, 17 + np.log(2), rtol=1e-6) and np.allclose(slope, [[0.5, -1, 0.5]], rtol=1e-5)
    for gamma in (0.0, 0.5, 1.0, 2.0):
        options = {"gamma": gamma, "from_logits": True}
        for loss, t, z in ((losses.BinaryFocalCrossentropy(**options), [[1.0]], [[200.0]]),
                           (losses.CategoricalFocalCrossentropy(**options), ONE, [[-200.0, 0, -200]])):
            value, slope = loss.value_and_grad(t, np.float32(z))
            assert value == 0 and (slope == 0).all(), gamma
