"""The names of K against formulas in NumPy, on plain arrays and under differentiation."""

import numpy as np
import pytest

from tdfast import Input, Model, ops
from tdfast import backend as K
from tdfast.layers import Lambda
from tdfast.testing import assert_near, differences

RNG = np.random.default_rng(6)
X = RNG.normal(size=(3, 5))
Y = RNG.normal(size=(3, 5))
BITS = (Y > 0).astype("float64")
P = RNG.uniform(0.05, 0.95, size=(3, 5))
A, B = RNG.normal(size=(3, 4, 5)), RNG.normal(size=(3, 5, 2))


def logits(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


CASES = {
    "abs": (K.abs, np.abs),
    "sum": (K.sum, np.sum),
    "mean": (lambda x: K.mean(x, axis=-1), lambda x: x.mean(-1)),
    "std": (lambda x: K.std(x, axis=0, keepdims=True), lambda x: x.std(0, keepdims=True)),
    "var": (K.var, np.var),
    "max": (lambda x: K.max(x, axis=1), lambda x: x.max(1)),
    "min": (K.min, np.min),
    "prod": (K.prod, np.prod),
    "hard_sigmoid": (lambda x: K.hard_sigmoid(3 * x), lambda x: np.clip(0.6 * x + 0.5, 0, 1)),
    "clip": (lambda x: K.clip(x, -0.3, 0.5), lambda x: np.clip(x, -0.3, 0.5)),
    "clip below": (lambda x: K.clip(x, 0.1, None), lambda x: np.maximum(x, 0.1)),
    "clip above": (lambda x: K.clip(x, None, 0.1), lambda x: np.minimum(x, 0.1)),
    "elu": (lambda x: K.elu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
    "relu": (
        lambda x: K.relu(x, alpha=0.2, max_value=0.9),
        lambda x: np.where(x > 0, np.minimum(x, 0.9), 0.2 * x),
    ),
    "softmax": (K.softmax, logits),
    "softplus": (K.softplus, lambda x: np.log1p(np.exp(x))),
    "softsign": (K.softsign, lambda x: x / (1 + np.abs(x))),
    "sigmoid": (K.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "l2_normalize": (
        lambda x: K.l2_normalize(x, axis=-1),
        lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True)),
    ),
    "logsumexp": (lambda x: K.logsumexp(x, axis=1), lambda x: np.log(np.exp(x).sum(1))),
    "cumsum": (lambda x: K.cumsum(x, axis=1), lambda x: x.cumsum(1)),
    "cumprod": (lambda x: K.cumprod(x, axis=0), lambda x: x.cumprod(0)),
    "pow": (lambda x: K.pow(x, 3), lambda x: x**3),
    "square": (K.square, np.square),
    "repeat": (lambda x: K.repeat(x, 3), lambda x: np.stack([x] * 3, axis=1)),
    "repeat_elements": (lambda x: K.repeat_elements(x, 2, 1), lambda x: np.repeat(x, 2, axis=1)),
    "reverse": (lambda x: K.reverse(x, 1), lambda x: x[:, ::-1]),
    "permute_dimensions": (lambda x: K.permute_dimensions(x, (1, 0)), np.transpose),
    "batch_flatten": (lambda x: K.batch_flatten(K.repeat(x, 2)), lambda x: np.concatenate([x, x], axis=1)),
    "flatten": (K.flatten, np.ravel),
    "expand_dims": (lambda x: K.expand_dims(x, 1), lambda x: x[:, None]),
    "squeeze": (lambda x: K.squeeze(K.expand_dims(x, 0), 0), lambda x: x),
    "concatenate": (lambda x: K.concatenate([x, 2 * x], axis=0), lambda x: np.concatenate([x, 2 * x])),
    "stack": (lambda x: K.stack([x, x * x], axis=-1), lambda x: np.stack([x, x * x], -1)),
    "tile": (lambda x: K.tile(x, (2, 1)), lambda x: np.tile(x, (2, 1))),
    "gather": (lambda x: K.gather(x, np.array([2, 0, 2])), lambda x: x[[2, 0, 2]]),
    "bias_add": (lambda x: K.bias_add(x, np.arange(5.0)), lambda x: x + np.arange(5.0)),
    "dot": (lambda x: K.dot(x, Y.T), lambda x: x @ Y.T),
    "switch": (lambda x: K.switch(x > 0, x * x, -x), lambda x: np.where(x > 0, x * x, -x)),
    "switch of functions": (
        lambda x: K.switch(BITS > 0, lambda: x, lambda: 2 * x),
        lambda x: np.where(BITS > 0, x, 2 * x),
    ),
    "switch by rows": (
        lambda x: K.switch(np.array([True, False, True]), x, 3 * x),
        lambda x: np.where(np.array([[True], [False], [True]]), x, 3 * x),
    ),
    "foldl": (lambda x: K.foldl(lambda a, b: 0.5 * a + b, x), lambda x: 0.5 * (0.5 * x[0] + x[1]) + x[2]),
    "foldl from": (lambda x: K.foldl(lambda a, b: a * b, x, np.full(5, 2.0)), lambda x: 2 * x.prod(0)),
    "foldr": (lambda x: K.foldr(lambda a, b: a - b, x), lambda x: x[2] - x[1] - x[0]),
    "map_fn": (lambda x: K.map_fn(lambda r: r * r[0], x), lambda x: x * x[:, :1]),
    "dropout of nothing": (lambda x: K.dropout(x, 0.0), lambda x: x),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    ours, formula = CASES[name]
    x = X.copy()
    np.testing.assert_allclose(ours(x), formula(x), rtol=1e-6, atol=1e-9)
    shape = np.shape(formula(x))
    weights = np.cos(np.arange(int(np.prod(shape)))).reshape(shape)
    got = ops.grad(lambda a: K.sum(ours(a) * weights))(x)
    assert_near(got, differences(lambda: float(np.sum(formula(x) * weights)), x), 1e-6, name)


@pytest.mark.parametrize(
    "a, b, axes, formula",
    [
        (A, B, None, "bij,bjk->bik"),
        (A, B, (2, 1), "bij,bjk->bik"),
        (A, A, 2, "bij,bkj->bik"),
        (A, A, (1, 1), "bij,bik->bjk"),
        (A, A, [-1, -1], "bij,bkj->bik"),
        (X, B, (1, 1), "bj,bjk->bk"),
        (A, X, (2, 1), "bij,bj->bi"),
        (A, X, None, "bij,bj->bi"),
        (RNG.normal(size=(3, 2, 4, 5)), A, (3, 2), "bxij,bkj->bxik"),
    ],
)
def test_batch_dot(a, b, axes, formula):
    got = K.batch_dot(a, b) if axes is None else K.batch_dot(a, b, axes=axes)
    np.testing.assert_allclose(got, np.einsum(formula, a, b))
    g = ops.grad(lambda a, b: K.sum(K.batch_dot(a, b, axes=axes) ** 2), (0, 1))(a, b)
    a = a.copy()
    assert_near(g[0], differences(lambda: float(np.sum(np.einsum(formula, a, b) ** 2)), a), 1e-5, "batch_dot")


def test_batch_dot_of_vectors_and_of_wrong_axes():
    np.testing.assert_allclose(K.batch_dot(X, Y, axes=1), (X * Y).sum(1, keepdims=True))
    with pytest.raises(ValueError, match="axis 0 is the batch"):
        K.batch_dot(X, Y, axes=0)
    with pytest.raises(ValueError, match="at least two axes"):
        K.batch_dot(X[0], Y)


def test_dot_of_three_axes_and_two():
    w = RNG.normal(size=(5, 7))
    np.testing.assert_allclose(K.dot(A, w), A @ w)
    np.testing.assert_allclose(K.dot(A, B), np.dot(A, B))
    np.testing.assert_allclose(
        ops.grad(lambda w: K.sum(K.dot(A, w)))(w), np.repeat(A.sum((0, 1))[:, None], 7, axis=1)
    )


def test_crossentropies():
    want = -(BITS * np.log(P) + (1 - BITS) * np.log(1 - P))
    np.testing.assert_allclose(K.binary_crossentropy(BITS, P), want, rtol=1e-5)
    np.testing.assert_allclose(
        K.binary_crossentropy(BITS, np.log(P / (1 - P)), from_logits=True), want, rtol=1e-5
    )
    classes = np.array([0, 4, 2])
    shares = logits(X)
    np.testing.assert_allclose(
        K.sparse_categorical_crossentropy(classes, shares), -np.log(shares[np.arange(3), classes]), rtol=1e-5
    )
    np.testing.assert_allclose(
        K.sparse_categorical_crossentropy(classes, X, from_logits=True),
        -np.log(shares[np.arange(3), classes]),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        K.categorical_crossentropy(np.eye(5)[classes], shares),
        -np.log(shares[np.arange(3), classes]),
        rtol=1e-5,
    )
    got = ops.grad(lambda p: K.sum(K.binary_crossentropy(BITS, p)))(P)
    np.testing.assert_allclose(got, (P - BITS) / (P * (1 - P)), rtol=1e-5)


def test_variables():
    v = K.variable(X, name="v")
    assert v.dtype == "float32" and K.int_shape(v) == (3, 5) and K.ndim(v) == 2
    K.update_add(v, np.ones((3, 5)))
    K.update_sub(v, 2 * np.ones((3, 5)))
    np.testing.assert_allclose(K.get_value(v), X - 1, rtol=1e-5, atol=1e-6)
    K.batch_set_value([(v, Y)])
    np.testing.assert_allclose(K.batch_get_value([v])[0], Y.astype("float32"))
    copy = K.get_value(v)
    copy[...] = 0
    np.testing.assert_allclose(K.eval(v), Y.astype("float32"))


def test_numbers_of_whole_kinds():
    assert (
        K.argmax(X).tolist() == X.argmax(-1).tolist() and K.argmin(X, axis=0).tolist() == X.argmin(0).tolist()
    )
    assert K.in_top_k(P, np.array([0, 1, 2]), 2).tolist() == [
        int(i) in np.argsort(-row)[:2] for row, i in zip(P, range(3))
    ]
    assert K.one_hot(np.array([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert bool(K.all(X == X)) and not bool(K.any(X != X))
    assert K.cast(X, "float32").dtype == np.float32 and K.count_params(K.variable(X)) == 15
    assert K.arange(2, 9, 3).tolist() == [2, 5, 8]
    assert np.array_equal(K.eye(3), np.eye(3)) and K.constant(2.5, shape=(2, 3)).tolist() == [[2.5] * 3] * 2
    assert K.zeros((2, 3)).dtype == np.float32 and K.ones_like(X, "float32").dtype == np.float32
    drawn = K.dropout(np.ones((200, 50), "float32"), 0.25, seed=1)
    assert set(np.unique(drawn)) == {np.float32(0), np.float32(1 / 0.75)} and abs(drawn.mean() - 1) < 0.03


@pytest.mark.parametrize(
    "name",
    [
        "mean",
        "hard_sigmoid",
        "clip below",
        "repeat",
        "batch_flatten",
        "l2_normalize",
        "switch",
        "softmax",
        "reverse",
        "elu",
        "relu",
        "logsumexp",
        "std",
    ],
)
def test_on_symbolic_tensors(name):
    ours, formula = CASES[name]
    if name == "std":
        ours = formula = None
    if ours is None:

        def ours(x):
            return K.std(x, axis=1)

        def formula(x):
            return x.std(1)

    x = Input((5,))
    np.testing.assert_allclose(
        Model(x, ours(x)).predict(X, verbose=0), formula(X.astype("float32")), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        Lambda(ours)(X.astype("float32")), formula(X.astype("float32")), rtol=1e-4, atol=1e-6
    )
