"""Activations in C: a function of ``n`` numbers in place for each."""

# A function of one number v; $f is the suffix of C's functions and constants, f for float and nothing for double.
_SOFTPLUS = "(v > 0 ? v : 0) + log1p$f(exp$f(-fabs$f(v)))"
_EACH = {
    "tanh": "tanh$f(v)",
    "sigmoid": "1 / (1 + exp$f(-v))",
    "relu": "v < 0 ? 0 : v",
    "relu6": "v < 0 ? 0 : v > 6 ? 6 : v",
    "leaky_relu": "v < 0 ? 0.2$f * v : v",
    "elu": "v > 0 ? v : expm1$f(v)",
    "celu": "v > 0 ? v : expm1$f(v)",
    "selu": "1.0507009873554805$f * (v > 0 ? v : 1.6732632423543772$f * expm1$f(v))",
    "softplus": _SOFTPLUS,
    "log_sigmoid": "(v < 0 ? v : 0) - log1p$f(exp$f(-fabs$f(v)))",
    "softsign": "v / (1 + fabs$f(v))",
    "exponential": "exp$f(v)",
    "hard_sigmoid": "v < -3 ? 0 : v > 3 ? 1 : (v + 3) / 6",
    "hard_silu": "v < -3 ? 0 : v > 3 ? v : v * (v + 3) / 6",
    "hard_tanh": "v < -1 ? -1 : v > 1 ? 1 : v",
    "hard_shrink": "fabs$f(v) <= 0.5$f ? 0 : v",
    "soft_shrink": "fabs$f(v) <= 0.5$f ? 0 : v - copysign$f(0.5$f, v)",
    "tanh_shrink": "v - tanh$f(v)",
    "silu": "v / (1 + exp$f(-v))",
    "gelu": "0.5$f * v * erfc$f(-0.7071067811865476$f * v)",
    "gelu_tanh": "v / (1 + exp$f(-1.5957691216057308$f * v * (1 + 0.044715$f * v * v)))",
    "mish": f"v * tanh$f({_SOFTPLUS})",
    "squareplus": "v < 0 ? 2 / (sqrt$f(v * v + 4) - v) : 0.5$f * (v + sqrt$f(v * v + 4))",
    "sparse_plus": "v <= -1 ? 0 : v >= 1 ? v : 0.25$f * (v + 1) * (v + 1)",
    "sparse_sigmoid": "v <= -1 ? 0 : v >= 1 ? 1 : 0.5$f * (v + 1)",
}
_LOOP = """\
    int j;

    for (j = 0; j < n; j++) {
        const $real v = x[j];
        x[j] = %s;
    }
"""

# Functions of a whole row.
_LARGEST = """\
    $real largest = x[0], sum = 0;
    int j;

    for (j = 1; j < n; j++) largest = x[j] > largest ? x[j] : largest;
"""
_ROWS = {
    "softmax": _LARGEST + """\
    for (j = 0; j < n; j++) {
        x[j] = exp$f(x[j] - largest);
        sum += x[j];
    }
    for (j = 0; j < n; j++) x[j] /= sum;
""",
    "log_softmax": _LARGEST + """\
    for (j = 0; j < n; j++) sum += exp$f(x[j] - largest);
    for (j = 0; j < n; j++) x[j] = x[j] - largest - log$f(sum);
""",
    # max(x - tau, 0) with sum 1: tau is that of the numbers above it, which are fewer in every round.
    "sparsemax": _LARGEST + """\
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
}

# With parameters, by their names.
_LEAK = "(v <= $threshold ? $negative_slope * (v - $threshold) : v)"
_WITH = {
    "relu": f"{_LEAK} > $max_value ? $max_value : {_LEAK}",
    "leaky_relu": "v < 0 ? $negative_slope * v : v",
    "elu": "v > 0 ? v : $alpha * expm1$f(v)",
    "celu": "v > 0 ? v : $alpha * expm1$f(v / $alpha)",
    "hard_shrink": "fabs$f(v) <= $threshold ? 0 : v",
    "soft_shrink": "fabs$f(v) <= $threshold ? 0 : v - copysign$f($threshold, v)",
    "squareplus": "(v + sqrt$f(v * v + $b)) / 2",
}
BODIES = {"linear": None, **{name: _LOOP % value for name, value in _EACH.items()}, **_ROWS,
          **{f"{name} with": _LOOP % value for name, value in _WITH.items()}}
"""By name: the body of the function; None where there is nothing to do."""
