"""Derivatives of functions of arrays, first and second, against central differences in float64."""

import numpy as np
import pytest

import tdfast
from tdfast import Variable, ops
from tdfast.layers import Dense
from tdfast.testing import assert_near, differences

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 5))
POSITIVE = RNG.uniform(0.3, 2.0, size=(3, 5))
SQUARE = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
WEIGHT = RNG.normal(size=(3, 5))

FUNCTIONS = {
    "square": (X, ops.square),
    "exp": (X, ops.exp),
    "log": (POSITIVE, ops.log),
    "sqrt": (POSITIVE, ops.sqrt),
    "sin": (X, ops.sin),
    "tanh": (X, ops.tanh),
    "sigmoid": (X, ops.sigmoid),
    "softplus": (X, ops.softplus),
    "reciprocal": (POSITIVE, lambda x: 1.0 / x),
    "power": (POSITIVE, lambda x: ops.power(x, 2.5)),
    "power of two": (POSITIVE, lambda x: x ** (x + 1)),
    "softmax": (X, lambda x: ops.softmax(x, axis=-1)),
    "log_softmax": (X, lambda x: ops.log_softmax(x, axis=0)),
    "logsumexp": (X, lambda x: ops.logsumexp(x, axis=1)),
    "mean": (X, lambda x: ops.mean(x * x, axis=0)),
    "var": (X, lambda x: ops.var(x, axis=1)),
    "std": (X, lambda x: ops.std(x, axis=1)),
    "prod": (POSITIVE, lambda x: ops.prod(x, axis=1)),
    "max": (X, lambda x: ops.max(x, axis=1) ** 2),
    "cumsum": (X, lambda x: ops.cumsum(x, axis=1) ** 3),
    "matmul": (X, lambda x: ops.matmul(x, ops.transpose(x))),
    "einsum": (X, lambda x: ops.einsum("ij,ik->jk", x, x)),
    "concatenate": (X, lambda x: ops.concatenate([x, x[:, ::-1] * x], axis=1)),
    "stack": (X, lambda x: ops.stack([x, x * x], axis=1)),
    "split": (X, lambda x: ops.split(x * x, [2, 3], axis=1)[2] * ops.split(x, [2, 3], axis=1)[0]),
    "where": (X, lambda x: ops.where(x > 0, x**3, x * x)),
    "take": (X, lambda x: ops.take(x, [0, 2, 2], axis=1) ** 2),
    "pad": (X, lambda x: ops.pad(x * x, [[0, 1], [2, 0]])),
    "reshape": (X, lambda x: ops.reshape(x * x, (5, 3))),
    "repeat": (X, lambda x: ops.repeat(x * x, 2, axis=0)),
    "clip": (X, lambda x: ops.clip(x, -0.7, 0.7) ** 2),
    "maximum": (X, lambda x: ops.maximum(x, 0.1) ** 2),
    "abs": (X, lambda x: ops.abs(x) ** 3),
    "norm": (X, lambda x: ops.norm(x, axis=1)),
    "normalize": (X, lambda x: ops.normalize(x, axis=1)),
    "inv": (SQUARE, ops.inv),
    "det": (SQUARE, ops.det),
    "swish": (X, ops.silu),
    "gelu": (X, ops.gelu),
    "np.flip": (X, lambda x: np.flip(x**2, 1) * x),
    "np.exp": (X, np.exp),
    "np.mean": (X, lambda x: np.mean(x**2, axis=1)),
    "np.where": (X, lambda x: np.where(x > 0, x**2, -x)),
    "step by step": (X, lambda x: sum(x[:, t] * x[:, t - 1] for t in range(1, 5))),
}


def scalar(function, x):
    """A number of a function's result, different for each entry."""
    y = function(x)
    weights = np.cos(1.0 + np.arange(int(np.prod(y.shape)))).reshape(y.shape)
    return ops.sum(y * weights)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_derivatives(name):
    x, function = FUNCTIONS[name]
    x = x.copy()
    got = ops.grad(lambda a: scalar(function, a))(x)
    assert_near(got, differences(lambda: float(scalar(function, x)), x), 1e-6, name)


def test_what_only_compiled_code_computes_has_a_first_derivative_alone():
    with pytest.raises(TypeError, match="first derivative alone.*tdfast.ops"):
        ops.grad(ops.grad(lambda x: ops.gelu(x)))(np.array(0.5))


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"gelu"}))
def test_second_derivatives(name):
    x, function = FUNCTIONS[name]
    x = x.copy()
    weights = np.sin(np.arange(x.size)).reshape(x.shape)

    def directional(a):
        return ops.sum(ops.grad(lambda b: scalar(function, b))(a) * weights)

    got = ops.grad(lambda a: directional(a) + 0 * ops.sum(a))(x)
    assert_near(got, differences(lambda: float(directional(x)), x), 1e-5, name)


def test_by_an_argument_by_several_and_by_structures():
    a, b = X.copy(), POSITIVE.copy()

    def f(a, b, power=2):
        return ops.sum(a**power * ops.log(b))

    np.testing.assert_allclose(ops.grad(f)(a, b), 2 * a * np.log(b))
    np.testing.assert_allclose(ops.grad(f, 1)(a, b, power=3), a**3 / b)
    value, (by_b, by_a) = ops.value_and_grad(f, (1, 0))(a, b)
    np.testing.assert_allclose(value, np.sum(a**2 * np.log(b)))
    np.testing.assert_allclose(by_a, 2 * a * np.log(b))
    np.testing.assert_allclose(by_b, a**2 / b)
    found = ops.grad(lambda d: ops.sum(d["x"] * d["more"][0]) + ops.sum(d["more"][1]))(
        {"x": a, "more": [b, np.zeros(2)]}
    )
    np.testing.assert_allclose(found["x"], b)
    np.testing.assert_allclose(found["more"][0], a)
    np.testing.assert_allclose(found["more"][1], np.ones(2))


def test_what_nothing_depends_on_has_zeros():
    found = ops.grad(lambda a, b: ops.sum(a), (0, 1))(X, np.ones((2, 3)))
    assert np.array_equal(found[1], np.zeros((2, 3)))


def test_by_variables():
    w, other = Variable(X.astype("float32")), Variable(np.ones(2, "float32"))
    value, (by_w, by_other) = ops.value_and_grad(lambda x: ops.mean(w * x) + ops.mean(w * w), [w, other])(X)
    assert by_w.dtype == np.float32 and np.array_equal(by_other, np.zeros(2))
    np.testing.assert_allclose(by_w, (X + 2 * X) / 15, rtol=1e-5)
    assert np.array_equal(w.numpy(), X.astype("float32"))


def test_by_the_weights_of_layers_against_differences():
    layer = Dense(4, activation="tanh", dtype="float64")
    layer(X)

    def loss():
        return ops.mean(ops.square(layer(X) - 0.3) * ops.sum(layer(X), axis=1, keepdims=True))

    for weight, gradient in zip(layer.trainable_variables, ops.grad(loss, layer.trainable_variables)()):
        assert_near(gradient, differences(lambda: float(loss()), weight.value), 1e-6, weight.name)


def test_has_aux():
    (value, aux), gradient = ops.value_and_grad(
        lambda x: (ops.sum(x * x), {"x2": 2 * x, "n": 3}), has_aux=True
    )(X)
    np.testing.assert_allclose(gradient, 2 * X)
    assert aux["n"] == 3 and type(aux["x2"]) is np.ndarray and np.ndim(value) == 0
    np.testing.assert_allclose(aux["x2"], 2 * X)
    gradient, aux = ops.grad(lambda x: (ops.sum(x * x), x + 1), has_aux=True)(X)
    np.testing.assert_allclose(gradient, 2 * X)
    np.testing.assert_allclose(aux, X + 1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_stays_float32(name):
    x, function = FUNCTIONS[name]
    x = x.astype("float32")
    kinds = []

    def f(a):
        y = function(a)
        kinds.append(y.dtype)
        return ops.sum(y)

    value, gradient = ops.value_and_grad(f)(x)
    assert kinds == ["float32"] and gradient.dtype == np.float32 and np.asarray(value).dtype == np.float32


def test_third_derivative():
    third = ops.grad(ops.grad(ops.grad(lambda x: x**5 + ops.sin(x))))(np.array(0.7))
    np.testing.assert_allclose(third, 60 * 0.7**2 - np.cos(0.7))


def test_stop_gradient():
    np.testing.assert_allclose(ops.grad(lambda x: ops.sum(x * ops.stop_gradient(x)))(X), X)


def test_custom_gradient():
    @ops.custom_gradient
    def clipped(x):
        def back(*args, upstream=None):
            g = args[0] if upstream is None else upstream
            return ops.clip(g, -0.1, 0.1)

        return 3 * x, back

    g = ops.grad(lambda x: ops.sum(clipped(x) * X))(X)
    np.testing.assert_allclose(g, np.clip(X, -0.1, 0.1))
    np.testing.assert_allclose(clipped(X), 3 * X)


def test_the_arguments_are_not_written_to():
    x = X.copy()
    x.flags.writeable = False
    gradient = ops.grad(lambda a: ops.sum(a * a))(x)
    gradient[...] = 0
    assert np.array_equal(x, X)


def test_the_same_bits_for_one_and_two_threads():
    layer = Dense(33, activation="tanh")
    x = RNG.normal(size=(65, 47)).astype("float32")
    layer(x)
    found = []
    before = tdfast.get_num_threads()
    try:
        for threads in (1, 2):
            tdfast.set_num_threads(threads)
            found.append(ops.grad(lambda: ops.mean(ops.square(layer(x))), layer.trainable_variables)())
    finally:
        tdfast.set_num_threads(before)
    for a, b in zip(*found):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    "function",
    [lambda x: x * x, lambda x: 3.0, lambda x: ops.argmax(x), lambda x: None],
    ids=["an array", "a number", "argmax", "None"],
)
def test_what_is_no_number_is_refused(function):
    with pytest.raises(TypeError, match="returned"):
        ops.grad(function)(X)
