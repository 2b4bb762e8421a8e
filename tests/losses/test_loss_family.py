"""Every loss against its formula in float64, and its gradient against numeric derivatives."""

import itertools

import numpy as np
import pytest

from tdfast import Sequential, losses, runtime
from tdfast.layers import Dense

N, T, C = 4, 3, 5


def logistic(z):
    return 1 / (1 + np.exp(-z))


def shares(z):
    e = np.exp(z)
    return e / e.sum(-1, keepdims=True)


def mean(values):
    return values.mean(axis=-1)


def clipped(p):
    return np.clip(p, 1e-7, 1 - 1e-7)


def pinball(y, p, levels):
    e = np.repeat(y, len(levels), axis=-1) - p
    q = np.tile(levels, y.shape[-1])
    return mean(np.maximum(q * e, (q - 1) * e))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def overlap(y, p, alpha, beta):
    both, missed, extra = (y * p).sum(), (y * (1 - p)).sum(), ((1 - y) * p).sum()
    return 1 - both / (both + alpha * extra + beta * missed + 1e-7)


def spelled(way):
    return [k for k, _ in itertools.groupby(way) if k]


def ctc(y, p):
    """From the definition: the sum over all ways that spell the labels."""
    def chance(labels, q):
        ways = itertools.product(range(q.shape[1]), repeat=len(q))
        return sum(np.prod(q[np.arange(len(q)), way]) for way in ways
                   if spelled(way) == [k for k in labels if k])

    return np.array([-np.log(chance(labels, q)) for labels, q in zip(y, shares(p))])


# name: (loss, kind of targets, formula of the loss of each row)
FORMULAS = {
    "mape": (losses.MeanAbsolutePercentageError(), "real", lambda y, p: 100 * mean(np.abs((y - p) / y))),
    "msle": (losses.MeanSquaredLogarithmicError(), "share", lambda y,
             p: mean((np.log1p(y) - np.log1p(p)) ** 2)),
    "log_cosh": (losses.LogCosh(), "real", lambda y, p: mean(np.log(np.cosh(p - y)))),
    "poisson": (losses.Poisson(), "share", lambda y, p: mean(p - y * np.log(p + 1e-7))),
    "kl": (losses.KLDivergence(), "share", lambda y, p: (y * np.log(y / p)).sum(-1)),
    "hinge": (losses.Hinge(), "sign", lambda y, p: mean(np.maximum(1 - y * p, 0))),
    "squared_hinge": (losses.SquaredHinge(), "sign", lambda y, p: mean(np.maximum(1 - y * p, 0) ** 2)),
    "categorical_hinge": (losses.CategoricalHinge(), "class",
                          lambda y, p: np.maximum(((1 - y) * p).max(-1) - (y * p).sum(-1) + 1, 0)),
    "cosine": (losses.CosineSimilarity(), "real", lambda y, p: -(unit(y) * unit(p)).sum(-1)),
    "focal": (losses.BinaryFocalCrossentropy(gamma=1.5, from_logits=True), "bit",
              lambda y, p: mean(-y * (1 - logistic(p)) ** 1.5 * np.log(logistic(p))
                                - (1 - y) * logistic(p) ** 1.5 * np.log(1 - logistic(p)))),
    "categorical_focal": (losses.CategoricalFocalCrossentropy(alpha=0.3, gamma=2.5, from_logits=True),
                          "class",
                          lambda y,
                          p: (-0.3 * (1 - shares(p)) ** 2.5 * y * np.log(clipped(shares(p)))).sum(-1)),
    "generalized": (losses.CategoricalGeneralizedCrossEntropy(q=0.7), "label",
                    lambda y,
                    p: (1 - np.take_along_axis(p, y[..., None].astype(int), -1)[..., 0] ** 0.7) / 0.7),
    "tversky": (losses.Tversky(alpha=0.3, beta=0.7), "share bit", lambda y, p: overlap(y, p, 0.3, 0.7)),
    "dice": (losses.Dice(), "share bit", lambda y,
             p: 1 - (2 * (y * p).sum() + 1e-7) / (y.sum() + p.sum() + 1e-7)),
    "quantile": (losses.Quantile(0.2), "real", lambda y, p: pinball(y, p, [0.2])),
    "quantiles": (losses.Quantile([0.1, 0.5, 0.9]), "narrow", lambda y, p: pinball(y, p, [0.1, 0.5, 0.9])),
    "ctc": (losses.CTC(), "spelling", ctc),
    "custom": (losses.custom(lambda y, p: mean((p - y) ** 4), lambda y, p: 4 * (p - y) ** 3 / p.shape[-1]),
               "real",
               lambda y, p: mean((p - y) ** 4)),
}
KERNELS = ("mape", "msle", "log_cosh", "poisson", "kl", "hinge", "squared_hinge", "quantile", "quantiles")


def arrays(kind, lead=(N, T), dtype="float64"):
    """(targets, outputs) of the kind that a loss takes."""
    rng = np.random.default_rng(len(kind))
    outputs = rng.normal(size=(*lead, 3 * C if kind == "narrow" else C))
    one_hot = np.eye(C)[rng.integers(C, size=lead)]
    targets = {
        "real": rng.normal(size=(*lead, C)) + 3, "narrow": rng.normal(size=(*lead, C)),
        "share": shares(rng.normal(size=(*lead, C))),
        "sign": rng.choice([-1.0, 1.0], size=(*lead, C)), "bit": rng.integers(2, size=(*lead, C)) * 1.0,
        "class": one_hot, "label": one_hot.argmax(-1), "share bit": rng.integers(2, size=(*lead, C)) * 1.0,
        "spelling": np.array([[1, 2], [3, 0], [0, 0], [2, 2]]),
    }[kind]
    return targets.astype(dtype), (shares(outputs) if "share" in kind
                                   or kind == "label" else outputs).astype(dtype)


@pytest.mark.parametrize("name", FORMULAS)
def test_value(name):
    loss, kind, formula = FORMULAS[name]
    y, p = arrays(kind)
    assert loss(y, p) == pytest.approx(np.mean(formula(y, p)), rel=2e-6)
    y, p = arrays(kind, dtype="float32")
    assert loss(y, p) == pytest.approx(np.mean(formula(y.astype("float64"), p.astype("float64"))), rel=2e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_weights(name):
    loss, kind, formula = FORMULAS[name]
    y, p = arrays(kind)
    rows = formula(y, p)
    weight = np.random.default_rng(1).random(np.shape(rows))
    if np.ndim(rows):       # Dice and Tversky give one number for the batch
        assert loss(y, p, sample_weight=weight) == pytest.approx(np.mean(rows * weight), rel=2e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradient(name):
    loss, kind, _ = FORMULAS[name]
    y, p = arrays(kind)
    weight = (
        np.random.default_rng(1).random(np.shape(loss.values(y, p)))
        if name not in ("dice", "tversky")
        else None
    )
    _, got = loss.value_and_grad(y, p, weight)
    want, step = np.empty_like(p), 1e-6
    for index in np.ndindex(p.shape):
        up, down = p.copy(), p.copy()
        up[index] += step
        down[index] -= step
        want[index] = (loss(y, up, sample_weight=weight) - loss(y, down, sample_weight=weight)) / (2 * step)
    assert np.abs(got - want).max() <= 1e-7 * max(1, np.abs(want).max())


@pytest.mark.parametrize("name", KERNELS)
def test_same_bits_everywhere(name):
    loss, kind, _ = FORMULAS[name]
    y, p = arrays(kind, lead=(900, 7), dtype="float32")
    isa, threads, seen = runtime.isa(), runtime.get_num_threads(), set()
    try:
        for isa_name in runtime.available_isas():
            if isa_name == "baseline":
                continue
            runtime.set_isa(isa_name)
            for n in (1, 2, 3):
                runtime.set_num_threads(n)
                value, gradient = loss.value_and_grad(y, p)
                seen.add((value, gradient.tobytes()))
    finally:
        runtime.set_isa(isa)
        runtime.set_num_threads(threads)
    assert len(seen) <= 1


def test_quantiles_are_learnt():
    y = np.random.default_rng(0).normal(size=(4000, 1))
    model = Sequential([Dense(3, input_shape=(1,))])
    model.compile("adam", losses.Quantile([0.1, 0.5, 0.9]))
    model.optimizer.learning_rate = 0.02
    model.fit(np.zeros_like(y), y, batch_size=500, epochs=60, verbose=0)
    assert np.allclose(model.predict(np.zeros((1, 1)), verbose=0)[0], np.quantile(y, [0.1, 0.5, 0.9]),
                       atol=0.1)


def test_a_plain_function_is_a_loss():
    x, y = np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")
    fits = []
    for loss in (lambda y, p: (y - p) ** 2, "mse"):
        model = Sequential([Dense(1, input_shape=(2,), kernel_initializer="ones")])
        model.compile("sgd", loss)
        fits.append(model.fit(x, y, epochs=3, verbose=0).history["loss"])
    assert np.allclose(*fits)
