"""Activations in ONNX: as nodes of their own, and inside recurrent nodes."""

import math

import numpy as np

from tdfast.saving.exporting import activation_entry


def _op(kind, **attributes):
    return lambda g, x: g.node(kind, x, **attributes)


def _clip(low, high):
    return lambda g, x: g.node("Clip", x, g.number(low), g.number(high))


def _times(gate):
    """x gate(x)."""
    return lambda g, x: g.node("Mul", x, gate(g, x))


def _normal_cdf(g, x):
    erf = g.node("Erf", g.node("Mul", x, g.number(math.sqrt(0.5))))
    return g.node("Mul", g.node("Add", erf, g.number(1)), g.number(0.5))


def _normal_cdf_by_tanh(g, x):
    """sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)) = (1 + tanh(...)) / 2"""
    p = g.node("Add", g.node("Mul", g.node("Mul", x, x), g.number(0.044715)), g.number(1))
    return g.node("Sigmoid", g.node("Mul", g.node("Mul", x, g.number(2 * math.sqrt(2 / math.pi))), p))


def _tanh_of_softplus(g, x):
    return g.node("Tanh", g.node("Softplus", x))


def _tanh_shrink(g, x):
    return g.node("Sub", x, g.node("Tanh", x))


def _log_sigmoid(g, x):
    return g.node("Neg", g.node("Softplus", g.node("Neg", x)))


def _squareplus(g, x, b=4):
    root = g.node("Sqrt", g.node("Add", g.node("Mul", x, x), g.number(b)))
    return g.node("Mul", g.node("Add", x, root), g.number(0.5))


def _sparse_plus(g, x):
    u = g.node("Relu", g.node("Add", x, g.number(1)))
    below = g.node("Mul", g.node("Mul", u, u), g.number(0.25))
    return g.node("Where", g.node("GreaterOrEqual", x, g.number(1)), x, below)


def _sparse_sigmoid(g, x):
    return g.node("Mul", _clip(0, 2)(g, g.node("Add", x, g.number(1))), g.number(0.5))


def _sparsemax(g, x):
    """max(x - tau, 0): with z the row sorted downwards and k the last place where 1 + k z_k > z_1 + ... + z_k,
    tau = (z_1 + ... + z_k - 1) / k."""
    size = g.sizes(x, -1)
    z, _ = g.node("TopK", x, size, outputs=(True, True), axis=-1)
    sums = g.node("CumSum", z, g.constant(np.int64(-1)))
    one, end = g.constant(np.int64(1)), g.node("Squeeze", g.node("Add", size, g.integers(1)))
    places = g.node("Range", one, end, one)
    inside = g.node("Greater", g.node("Add", g.node("Mul", g.cast(places, g.dtype), z), g.number(1)), sums)
    k = g.reduce("ReduceSum", g.cast(inside, np.int64), [-1])
    total = g.node("GatherElements", sums, g.node("Sub", k, g.integers(1)), axis=-1)
    tau = g.node("Div", g.node("Sub", total, g.number(1)), g.cast(k, g.dtype))
    return g.node("Relu", g.node("Sub", x, tau))


# With parameters: functions of the graph, a value and the parameters.
def _relu(g, x, negative_slope, max_value, threshold):
    above, below = g.node("Sub", x, g.number(threshold)), g.number(0)
    if negative_slope:
        below = g.node("Mul", above, g.number(negative_slope))
    y = g.node("Where", g.node("Greater", x, g.number(threshold)), x, below)
    return y if max_value is None else g.node("Min", y, g.number(max_value))


def _celu(g, x, alpha):
    below = g.node("Div", g.node("Min", x, g.number(0)), g.number(alpha))
    below = g.node("Mul", g.node("Sub", g.node("Exp", below), g.number(1)), g.number(alpha))
    return g.node("Where", g.node("Greater", x, g.number(0)), x, below)


def _shrink(g, x, threshold, less):
    inside = g.node("LessOrEqual", g.node("Abs", x), g.number(threshold))
    return g.node("Where", inside, g.number(0), less(g, x, threshold))


def _towards_zero(g, x, threshold):
    return g.node("Sub", x, g.node("Mul", g.node("Sign", x), g.number(threshold)))


NODES = {
    "linear": lambda g, x: x,
    "tanh": _op("Tanh"),
    "sigmoid": _op("Sigmoid"),
    "relu": _op("Relu"),
    "relu6": _clip(0, 6),
    "leaky_relu": _op("LeakyRelu", alpha=0.2),
    "elu": _op("Elu", alpha=1.0),
    "celu": _op("Elu", alpha=1.0),
    "selu": _op("Selu", alpha=1.6732632423543772, gamma=1.0507009873554805),
    "softplus": _op("Softplus"),
    "softsign": _op("Softsign"),
    "exponential": _op("Exp"),
    "hard_sigmoid": _op("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _times(_op("HardSigmoid", alpha=1 / 6, beta=0.5)),
    "hard_tanh": _clip(-1, 1),
    "hard_shrink": _op("Shrink", lambd=0.5, bias=0.0),
    "soft_shrink": _op("Shrink", lambd=0.5, bias=0.5),
    "tanh_shrink": _tanh_shrink,
    "silu": _times(_op("Sigmoid")),
    "gelu": _times(_normal_cdf),
    "gelu_tanh": _times(_normal_cdf_by_tanh),
    "mish": _times(_tanh_of_softplus),
    "log_sigmoid": _log_sigmoid,
    "squareplus": _squareplus,
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": _sparse_sigmoid,
    "softmax": _op("Softmax", axis=-1),
    "log_softmax": _op("LogSoftmax", axis=-1),
    "sparsemax": _sparsemax,
    "relu with": _relu,
    "leaky_relu with": lambda g, x, negative_slope: g.node("LeakyRelu", x, alpha=negative_slope),
    "elu with": lambda g, x, alpha: g.node("Elu", x, alpha=alpha),
    "celu with": _celu,
    "hard_shrink with": lambda g, x, threshold: _shrink(g, x, threshold, lambda g, x, threshold: x),
    "soft_shrink with": lambda g, x, threshold: _shrink(g, x, threshold, _towards_zero),
    "squareplus with": lambda g, x, b: _squareplus(g, x, b),
}
"""By name: a function of the graph and a value that adds f(value); those "with" parameters take them too, by name."""

IN_CELLS = {
    "linear": ("Affine", [1.0], [0.0]),
    "tanh": ("Tanh", [], []),
    "sigmoid": ("Sigmoid", [], []),
    "relu": ("Relu", [], []),
    "leaky_relu": ("LeakyRelu", [0.2], []),
    "elu": ("Elu", [1.0], []),
    "celu": ("Elu", [1.0], []),
    "hard_sigmoid": ("HardSigmoid", [1 / 6], [0.5]),
    "softsign": ("Softsign", [], []),
    "softplus": ("Softplus", [], []),
}
"""By name: what a recurrent node calls it, its alpha and its beta, as far as it has them."""


def activate(g, layer, x):
    """f(x) for the layer's activation."""
    to_nodes = activation_entry(layer, layer.activation, NODES, "ONNX")
    return to_nodes(g, x, **getattr(layer.activation, "parameters", {}))


def cell_attributes(layer, activations):
    """(names, alphas, betas) for a recurrent node; alphas and betas of those functions alone that have one."""
    entries = [activation_entry(layer, f, IN_CELLS, "ONNX, in whose recurrent nodes it is,") for f in activations]
    names, alphas, betas = zip(*entries)
    return list(names), sum(alphas, []), sum(betas, [])
