"""One row for each activation: its words, its formula in NumPy, C and ONNX, all in one place.

The kernels' own values and slopes are in src_c/act.h. `tdfast.activations` makes the objects of these rows;
`Parametric`, the C writer and the ONNX writer read theirs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tdfast.engine.types import Array


class Row:
    """What is known of one activation.

    Args:
        formula: in words, for the docstring.
        example: its results for [-1, 0, 2], rounded to 4 digits, as text.
        c: an expression in C of one number v; ``$f`` is the suffix of C's functions and constants: f for
            float and nothing for double. None where there is nothing to do.
        c_row: in its place, the body of a function in C that works on the row x of n numbers.
        onnx: a function of the graph and a value that adds f(value).
        cell: what a recurrent node of ONNX calls it, its alpha and its beta, as far as it has them; None:
            nothing.
        aliases: other names.
        parameters: in words, those that a call takes.
        numpy: with parameters, (value, slope) in NumPy, each of x and the parameters with Keras's names,
            order and defaults; then ``c_with`` and ``onnx_with`` are like ``c`` and ``onnx``, with the
            parameters by name.
    """

    def __init__(self, formula: str, example: str, *, onnx: Callable[..., Any], c: str | None = None,
                 c_row: str | None = None, cell: Any = None, aliases: Sequence[Any] = (),
                 parameters: str = "", numpy: Any = None, c_with: str | None = None,
                 onnx_with: Callable[..., Any] | None = None) -> None:
        self.formula, self.example, self.parameters, self.aliases = formula, example, parameters, aliases
        self.c, self.c_row, self.c_with = c, c_row, c_with
        self.onnx, self.cell, self.onnx_with = onnx, cell, onnx_with
        self.numpy = numpy


# ---------------------------------------------------------------- in NumPy, with parameters
def _relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    y = np.where(x <= threshold, negative_slope * np.minimum(x - threshold, 0) if negative_slope
                 else np.zeros_like(x), x)
    return y if max_value is None else np.minimum(y, max_value)


def _relu_slope(x: Any, negative_slope: float = 0.0, max_value: float | None = None,
                threshold: float = 0.0) -> Any:
    slope = np.where(x <= threshold, x.dtype.type(negative_slope), x.dtype.type(1))
    return slope if max_value is None else slope * (x < max_value)


def _leaky(x: Any, negative_slope: float = 0.2) -> Array:
    return np.where(x < 0, negative_slope * x, x)


def _leaky_slope(x: Any, negative_slope: float = 0.2) -> Any:
    return np.where(x < 0, x.dtype.type(negative_slope), x.dtype.type(1))


def _elu(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_slope(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x > 0, x.dtype.type(1), alpha * np.exp(np.minimum(x, 0)))


def _celu(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _celu_slope(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x > 0, x.dtype.type(1), np.exp(np.minimum(x, 0) / alpha))


def _hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    return np.where(np.abs(x) <= threshold, x.dtype.type(0), x)


def _hard_shrink_slope(x: Any, threshold: float = 0.5) -> Any:
    return (~(np.abs(x) <= threshold)).astype(x.dtype)


def _soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    return np.where(np.abs(x) <= threshold, x.dtype.type(0), x - np.sign(x) * threshold)


def _squareplus(x: Any, b: int = 4) -> Any:
    return (x + np.hypot(x, x.dtype.type(np.sqrt(b)))) / 2


def _squareplus_slope(x: Any, b: int = 4) -> Any:
    root = np.hypot(x, x.dtype.type(np.sqrt(b)))
    return np.where(root > 0, 1 + x / np.where(root > 0, root, 1), 1) / 2


# ---------------------------------------------------------------- in ONNX: g is the graph
def _op(kind: str, **attributes: Any) -> Callable[..., Any]:
    return lambda g, x: g.node(kind, x, **attributes)


def _clip(low: int, high: int) -> Callable[..., Any]:
    return lambda g, x: g.node("Clip", x, g.number(low), g.number(high))


def _times(gate: Callable[..., Any]) -> Callable[..., Any]:
    """x gate(x)."""
    return lambda g, x: g.node("Mul", x, gate(g, x))


def _normal_cdf(g: Any, x: Any) -> Any:
    erf = g.node("Erf", g.node("Mul", x, g.number(math.sqrt(0.5))))
    return g.node("Mul", g.node("Add", erf, g.number(1)), g.number(0.5))


def _normal_cdf_by_tanh(g: Any, x: Any) -> Any:
    """sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)) = (1 + tanh(...)) / 2"""
    p = g.node("Add", g.node("Mul", g.node("Mul", x, x), g.number(0.044715)), g.number(1))
    return g.node("Sigmoid", g.node("Mul", g.node("Mul", x, g.number(2 * math.sqrt(2 / math.pi))), p))


def _tanh_of_softplus(g: Any, x: Any) -> Any:
    return g.node("Tanh", g.node("Softplus", x))


def _tanh_shrink(g: Any, x: Any) -> Any:
    return g.node("Sub", x, g.node("Tanh", x))


def _log_sigmoid(g: Any, x: Any) -> Any:
    return g.node("Neg", g.node("Softplus", g.node("Neg", x)))


def _squareplus_nodes(g: Any, x: Any, b: int = 4) -> Any:
    root = g.node("Sqrt", g.node("Add", g.node("Mul", x, x), g.number(b)))
    return g.node("Mul", g.node("Add", x, root), g.number(0.5))


def _sparse_plus(g: Any, x: Any) -> Any:
    u = g.node("Relu", g.node("Add", x, g.number(1)))
    below = g.node("Mul", g.node("Mul", u, u), g.number(0.25))
    return g.node("Where", g.node("GreaterOrEqual", x, g.number(1)), x, below)


def _sparse_sigmoid(g: Any, x: Any) -> Any:
    return g.node("Mul", _clip(0, 2)(g, g.node("Add", x, g.number(1))), g.number(0.5))


def _sparsemax(g: Any, x: Any) -> Any:
    """max(x - tau, 0): with z the row sorted downwards and k the last place where 1 + k z_k > z_1 + ... +
    z_k, tau = (z_1 + ... + z_k - 1) / k."""
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


def _relu_nodes(g: Any, x: Any, negative_slope: float, max_value: float, threshold: float) -> Any:
    above, below = g.node("Sub", x, g.number(threshold)), g.number(0)
    if negative_slope:
        below = g.node("Mul", above, g.number(negative_slope))
    y = g.node("Where", g.node("Greater", x, g.number(threshold)), x, below)
    return y if max_value is None else g.node("Min", y, g.number(max_value))


def _celu_nodes(g: Any, x: Any, alpha: float) -> Any:
    below = g.node("Div", g.node("Min", x, g.number(0)), g.number(alpha))
    below = g.node("Mul", g.node("Sub", g.node("Exp", below), g.number(1)), g.number(alpha))
    return g.node("Where", g.node("Greater", x, g.number(0)), x, below)


def _shrink_nodes(less: Callable[..., Any]) -> Callable[..., Any]:
    """0 where |x| is at most the threshold, else what ``less`` makes of x."""
    def nodes(g: Any, x: Any, threshold: float) -> Any:
        inside = g.node("LessOrEqual", g.node("Abs", x), g.number(threshold))
        return g.node("Where", inside, g.number(0), less(g, x, threshold))

    return nodes


def _towards_zero(g: Any, x: Any, threshold: float) -> Any:
    return g.node("Sub", x, g.node("Mul", g.node("Sign", x), g.number(threshold)))


# ---------------------------------------------------------------- in C
_SOFTPLUS = "(v > 0 ? v : 0) + log1p$f(exp$f(-fabs$f(v)))"
_LEAK = "(v <= $threshold ? $negative_slope * (v - $threshold) : v)"
_LARGEST = """\
    $real largest = x[0], sum = 0;
    int j;

    for (j = 1; j < n; j++) largest = x[j] > largest ? x[j] : largest;
"""


# ---------------------------------------------------------------- the table
TABLE = {
    "linear": Row(
        "x: nothing is changed", "[-1.0, 0.0, 2.0]", onnx=lambda g, x: x, cell=("Affine", [1.0], [0.0])
    ),
    "tanh": Row(
        "(exp(x) - exp(-x)) / (exp(x) + exp(-x)), from -1 to 1",
        "[-0.7616, 0.0, 0.964]",
        c="tanh$f(v)",
        onnx=_op("Tanh"),
        cell=("Tanh", [], []),
    ),
    "sigmoid": Row(
        "1 / (1 + exp(-x)), from 0 to 1",
        "[0.2689, 0.5, 0.8808]",
        c="1 / (1 + exp$f(-v))",
        onnx=_op("Sigmoid"),
        cell=("Sigmoid", [], []),
    ),
    "relu": Row(
        "max(x, 0)",
        "[0.0, 0.0, 2.0]",
        c="v < 0 ? 0 : v",
        onnx=_op("Relu"),
        cell=("Relu", [], []),
        parameters="negative_slope=0.0, max_value=None, threshold=0.0: max_value where x is above it, x from "
                   "the "
        "threshold on, and negative_slope (x - threshold) below",
        numpy=(_relu, _relu_slope),
        c_with=f"{_LEAK} > $max_value ? $max_value : {_LEAK}",
        onnx_with=_relu_nodes,
    ),
    "relu6": Row("min(max(x, 0), 6)", "[0.0, 0.0, 2.0]", c="v < 0 ? 0 : v > 6 ? 6 : v", onnx=_clip(0, 6)),
    "leaky_relu": Row(
        "x where it is positive, else negative_slope x",
        "[-0.2, 0.0, 2.0]",
        c="v < 0 ? 0.2$f * v : v",
        onnx=_op("LeakyRelu", alpha=0.2),
        cell=("LeakyRelu", [0.2], []),
        parameters="negative_slope=0.2",
        numpy=(_leaky, _leaky_slope),
        c_with="v < 0 ? $negative_slope * v : v",
        onnx_with=lambda g, x, negative_slope: g.node("LeakyRelu", x, alpha=negative_slope),
    ),
    "elu": Row(
        "x where it is positive, else alpha (exp(x) - 1)",
        "[-0.6321, 0.0, 2.0]",
        c="v > 0 ? v : expm1$f(v)",
        onnx=_op("Elu", alpha=1.0),
        cell=("Elu", [1.0], []),
        parameters="alpha=1.0",
        numpy=(_elu, _elu_slope),
        c_with="v > 0 ? v : $alpha * expm1$f(v)",
        onnx_with=lambda g, x, alpha: g.node("Elu", x, alpha=alpha),
    ),
    "selu": Row(
        "1.0507 times x where it is positive, else 1.0507 1.67326 (exp(x) - 1): keeps mean 0 and variance 1",
        "[-1.1113, 0.0, 2.1014]",
        c="1.0507009873554805$f * (v > 0 ? v : 1.6732632423543772$f * expm1$f(v))",
        onnx=_op("Selu", alpha=1.6732632423543772, gamma=1.0507009873554805),
    ),
    "celu": Row(
        "max(x, 0) + min(0, alpha (exp(x / alpha) - 1))",
        "[-0.6321, 0.0, 2.0]",
        c="v > 0 ? v : expm1$f(v)",
        onnx=_op("Elu", alpha=1.0),
        cell=("Elu", [1.0], []),
        parameters="alpha=1.0",
        numpy=(_celu, _celu_slope),
        c_with="v > 0 ? v : $alpha * expm1$f(v / $alpha)",
        onnx_with=_celu_nodes,
    ),
    "softplus": Row(
        "log(1 + exp(x))",
        "[0.3133, 0.6931, 2.1269]",
        c=_SOFTPLUS,
        onnx=_op("Softplus"),
        cell=("Softplus", [], []),
    ),
    "softsign": Row(
        "x / (1 + |x|), from -1 to 1",
        "[-0.5, 0.0, 0.6667]",
        c="v / (1 + fabs$f(v))",
        onnx=_op("Softsign"),
        cell=("Softsign", [], []),
    ),
    "exponential": Row("exp(x)", "[0.3679, 1.0, 7.3891]", c="exp$f(v)", onnx=_op("Exp")),
    "hard_sigmoid": Row(
        "x / 6 + 0.5, cut off at 0 and 1",
        "[0.3333, 0.5, 0.8333]",
        c="v < -3 ? 0 : v > 3 ? 1 : (v + 3) / 6",
        onnx=_op("HardSigmoid", alpha=1 / 6, beta=0.5),
        cell=("HardSigmoid", [1 / 6], [0.5]),
    ),
    "hard_silu": Row(
        "x times `hard_sigmoid` of x; also called hard_swish",
        "[-0.3333, 0.0, 1.6667]",
        c="v < -3 ? 0 : v > 3 ? v : v * (v + 3) / 6",
        onnx=_times(_op("HardSigmoid", alpha=1 / 6, beta=0.5)),
        aliases=("hard_swish",),
    ),
    "hard_tanh": Row(
        "x, cut off at -1 and 1", "[-1.0, 0.0, 1.0]", c="v < -1 ? -1 : v > 1 ? 1 : v", onnx=_clip(-1, 1)
    ),
    "hard_shrink": Row(
        "x where |x| is above the threshold, else 0",
        "[-1.0, 0.0, 2.0]",
        c="fabs$f(v) <= 0.5$f ? 0 : v",
        onnx=_op("Shrink", lambd=0.5, bias=0.0),
        parameters="threshold=0.5",
        numpy=(_hard_shrink, _hard_shrink_slope),
        c_with="fabs$f(v) <= $threshold ? 0 : v",
        onnx_with=_shrink_nodes(lambda g, x, threshold: x),
    ),
    "soft_shrink": Row(
        "x drawn to 0 by the threshold, and 0 where |x| is below it",
        "[-0.5, 0.0, 1.5]",
        c="fabs$f(v) <= 0.5$f ? 0 : v - copysign$f(0.5$f, v)",
        onnx=_op("Shrink", lambd=0.5, bias=0.5),
        parameters="threshold=0.5",
        numpy=(_soft_shrink, _hard_shrink_slope),
        c_with="fabs$f(v) <= $threshold ? 0 : v - copysign$f($threshold, v)",
        onnx_with=_shrink_nodes(_towards_zero),
    ),
    "tanh_shrink": Row("x - tanh(x)", "[-0.2384, 0.0, 1.036]", c="v - tanh$f(v)", onnx=_tanh_shrink),
    "silu": Row(
        "x times `sigmoid` of x; also called swish",
        "[-0.2689, 0.0, 1.7616]",
        c="v / (1 + exp$f(-v))",
        onnx=_times(_op("Sigmoid")),
        aliases=("swish",),
    ),
    "gelu": Row(
        "x times the normal distribution function of x: 0.5 x (1 + erf(x / sqrt(2)))",
        "[-0.1587, 0.0, 1.9545]",
        c="0.5$f * v * erfc$f(-0.7071067811865476$f * v)",
        onnx=_times(_normal_cdf),
        parameters="approximate=False; True means `gelu_tanh`",
    ),
    "gelu_tanh": Row(
        "0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), near `gelu`",
        "[-0.1588, 0.0, 1.9546]",
        c="v / (1 + exp$f(-1.5957691216057308$f * v * (1 + 0.044715$f * v * v)))",
        onnx=_times(_normal_cdf_by_tanh),
    ),
    "mish": Row(
        "x tanh(log(1 + exp(x)))",
        "[-0.3034, 0.0, 1.944]",
        c=f"v * tanh$f({_SOFTPLUS})",
        onnx=_times(_tanh_of_softplus),
    ),
    "log_sigmoid": Row(
        "log(1 / (1 + exp(-x)))",
        "[-1.3133, -0.6931, -0.1269]",
        c="(v < 0 ? v : 0) - log1p$f(exp$f(-fabs$f(v)))",
        onnx=_log_sigmoid,
    ),
    "squareplus": Row(
        "(x + sqrt(x^2 + b)) / 2",
        "[0.618, 1.0, 2.4142]",
        c="v < 0 ? 2 / (sqrt$f(v * v + 4) - v) : 0.5$f * (v + sqrt$f(v * v + 4))",
        onnx=_squareplus_nodes,
        parameters="b=4",
        numpy=(_squareplus, _squareplus_slope),
        c_with="(v + sqrt$f(v * v + $b)) / 2",
        onnx_with=_squareplus_nodes,
    ),
    "sparse_plus": Row(
        "0 up to -1, (x + 1)^2 / 4 between, x from 1 on",
        "[0.0, 0.25, 2.0]",
        c="v <= -1 ? 0 : v >= 1 ? v : 0.25$f * (v + 1) * (v + 1)",
        onnx=_sparse_plus,
    ),
    "sparse_sigmoid": Row(
        "(x + 1) / 2, cut off at 0 and 1",
        "[0.0, 0.5, 1.0]",
        c="v <= -1 ? 0 : v >= 1 ? 1 : 0.5$f * (v + 1)",
        onnx=_sparse_sigmoid,
    ),
    "softmax": Row(
        "exp(x) / sum(exp(x)) along an axis: positive numbers with the sum 1",
        "[0.042, 0.1142, 0.8438]",
        c_row=_LARGEST
        + """\
    for (j = 0; j < n; j++) {
        x[j] = exp$f(x[j] - largest);
        sum += x[j];
    }
    for (j = 0; j < n; j++) x[j] /= sum;
""",
        onnx=_op("Softmax", axis=-1),
        parameters="axis=-1",
    ),
    "log_softmax": Row(
        "x - log(sum(exp(x))) along an axis",
        "[-3.1698, -2.1698, -0.1698]",
        c_row=_LARGEST
        + """\
    for (j = 0; j < n; j++) sum += exp$f(x[j] - largest);
    for (j = 0; j < n; j++) x[j] = x[j] - largest - log$f(sum);
""",
        onnx=_op("LogSoftmax", axis=-1),
        parameters="axis=-1",
    ),
    # max(x - tau, 0) with sum 1: tau is that of the numbers above it, which are fewer in every round.
    "sparsemax": Row(
        "the nearest point with the sum 1 and no negative number, along an axis: often with zeros",
        "[0.0, 0.0, 1.0]",
        c_row=_LARGEST
        + """\
    $real tau = -1;
    int count = n + 1, before;

    do {
        before = count;
        count = 0;
        sum = 0;
        for (j = 0; j < n; j++)
            if (!(x[j] - largest <= tau)) {
                sum += x[j] - largest;
                count++;
            }
        tau = (sum - 1) / ($real)count;
    } while (count < before);
    for (j = 0; j < n; j++) x[j] = x[j] - largest <= tau ? 0 : x[j] - largest - tau;
""",
        onnx=_sparsemax,
        parameters="axis=-1",
    ),
}
"""name -> `Row`, for each name of tdf_activation (src_c/activations.h)."""
