"""Every function of tdfast.ops beside keras.ops on JAX: values, dtypes and derivatives."""

import inspect

import numpy as np
import pytest

keras = pytest.importorskip("keras")
jax = pytest.importorskip("jax")
if keras.backend.backend() != "jax":
    pytest.skip("Keras runs on another backend", allow_module_level=True)

from tdfast import ops  # noqa: E402 -- after the skips
from tdfast.engine import derivatives  # noqa: E402

RNG = np.random.default_rng(7)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def share(*shape):
    return RNG.uniform(0.1, 0.9, size=shape).astype("float32")


A, B, C = normal(3, 4), normal(3, 4), normal(2, 3, 4)
P, Q = share(3, 4), share(3, 4)
SQUARE = normal(2, 3, 3) + 2 * np.eye(3, dtype="float32")
LIKE = (SQUARE @ SQUARE.swapaxes(-1, -2)).astype("float32")
GAPS = np.where(P < 0.3, np.float32("nan"), A).astype("float32")
INTS, MORE = np.array([[6, 3], [12, 5]], "int32"), np.array([[4, 2], [1, 3]], "int32")
SHARES = (P / P.sum(-1, keepdims=True)).astype("float32")
QUERY = normal(2, 3, 2, 4)

# name: arguments of calls, each a tuple; a dict at its end has those by name
CASES = {
    **{name: [(A,)] for name in (
        "negative absolute abs exp expm1 square sign sin cos tanh sigmoid relu silu swish softplus arctan "
        "arcsinh cosh sinh tan exp2 sinc fabs deg2rad rad2deg ceil floor trunc leaky_relu relu6 selu elu "
        "celu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh hard_shrink soft_shrink squareplus "
        "softsign log_sigmoid sparse_plus sparse_sigmoid sparsemax tanh_shrink isfinite isnan isinf "
        "isposinf isneginf isreal signbit ones_like zeros_like softmax log_softmax flip ravel fliplr "
        "flipud rot90 argsort sort shape ndim size sum mean max min amax amin prod std var all any argmax "
        "argmin logsumexp norm cumsum cumprod median ptp count_nonzero transpose copy unstack trace "
        "diagonal diag tril triu nansum nanmean nanmax nanmin nanprod nanstd nanvar nancumsum nancumprod "
        "nanargmax nanargmin normalize layer_normalization rms_normalization corrcoef diff trapezoid erf "
        "erfc average cbrt").split()},
    **{name: [(P,)] for name in
       "log log1p log2 log10 sqrt rsqrt reciprocal arccos arcsin arctanh erfinv".split()},
    **{name: [(A, B)] for name in (
        "add subtract multiply divide true_divide maximum minimum fmax fmin arctan2 hypot logaddexp "
        "logaddexp2 less less_equal greater greater_equal equal not_equal isclose allclose outer vdot "
        "append divide_no_nan inner kron cdist heaviside isin nextafter").split()},
    **{name: [(INTS, MORE)] for name in (
        "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift left_shift right_shift "
        "gcd lcm floor_divide mod").split()},
    **{name: [(INTS,)] for name in "bitwise_not bitwise_invert nonzero".split()},
    **{name: [(GAPS, {"axis": 1})] for name in
       "nansum nanmean nanmax nanmin nanprod nanstd nanvar nancumsum nancumprod nanargmax nanargmin".split()},
    **{name: [(A > 0, B > 0)] for name in "logical_and logical_or logical_xor".split()},
    "nanquantile": [(GAPS, [0.25, 0.5], {"axis": 1})], "nanpercentile": [(GAPS, 30.0)],
    "nanmedian": [(GAPS,)],
    "arccosh": [(P + 1,)], "logical_not": [(A > 0,)], "fmod": [(A, Q)], "power": [(P, B), (P, 2.0)],
    "ldexp": [(A[0], np.array([1, 2, 0, 3]))], "round": [(A, 1)], "clip": [(A, -0.5, 0.5)],
    "where": [(A > 0, A, B)], "cast": [(A, "int32")], "nan_to_num": [(GAPS,)], "threshold": [(A, 0.1, 3.0)],
    "stop_gradient": [(A,)], "matmul": [(A, B.T), (C, B.T)], "dot": [(A, B.T)],
    "tensordot": [(A, B, {"axes": [[1], [1]]})], "einsum": [("ab,cb->ac", A, B)],
    "cross": [(normal(2, 3), normal(2, 3))],
    "correlate": [(A[0], B[0][:2], m) for m in ("valid", "same", "full")],
    "reshape": [(A, (2, 6))], "expand_dims": [(A, 1)], "squeeze": [(A[None], 0)], "swapaxes": [(C, 0, 2)],
    "moveaxis": [(C, 0, 2)], "repeat": [(A, 2, {"axis": 1})], "tile": [(A, (2, 1))],
    "take": [(A, np.array([2, 0, 2]), {"axis": 0})], "broadcast_to": [(A[0], (3, 4))],
    "concatenate": [([A, B], {"axis": 1})], "stack": [([A, B], {"axis": 1})], "split": [(A, 2, {"axis": 1})],
    "array_split": [(A, 3, {"axis": 1})], "hsplit": [(A, 2)], "vsplit": [(A, [1])], "dsplit": [(C, 2)],
    "hstack": [([A, B],)], "vstack": [([A, B],)], "dstack": [([A, B],)],
    "pad": [(A, ((1, 0), (2, 1))), (A, ((1, 1), (1, 1)), {"mode": "reflect"}),
            (A, 1, {"constant_values": 2.0})],
    "roll": [(A, 2), (A, 1, {"axis": 1})], "diagflat": [(A,)],
    "take_along_axis": [(A, A.argsort(1), {"axis": 1})],
    "argpartition": [(A, 1)], "top_k": [(A, 2)], "in_top_k": [(np.array([1, 0, 3]), A, 2)],
    "searchsorted": [(np.sort(A[0]), B[0])], "digitize": [(A, np.array([-1.0, 0.0, 1.0]))],
    "select": [([A > 1, A < 0], [A, B], 5.0)], "unique": [(INTS,)],
    "unravel_index": [(np.array([5, 1]), (2, 3))], "slice": [(A, [1, 0], [2, 3])],
    "slice_update": [(A, [1, 1], B[:2, :2])], "scatter": [(np.array([[1], [0], [1]]), A, (4, 4))],
    "scatter_update": [(A, np.array([[0, 1], [2, 3]]), np.array([5.0, 6.0], "float32"))] + [
        (A, np.array([[0, 1], [2, 3]]), np.array([5.0, 6.0], "float32"), r)
        for r in ("add", "max", "min", "mul")],
    "segment_sum": [(A, np.array([0, 0, 1]), 3)], "segment_max": [(A, np.array([0, 0, 1]), 2)],
    "segment_min": [(A, np.array([0, 0, 1]), 2)], "segment_prod": [(A, np.array([0, 0, 1]), 2)],
    "extract_sequences": [(A, 2, 1)], "vander": [(A[0], 3)], "quantile": [(A, [0.25, 0.5], {"axis": 1})],
    "percentile": [(A, 30.0, {"axis": 0})], "bincount": [(np.array([0, 2, 2]),)],
    "histogram": [(A.ravel(), {"bins": 4})], "moments": [(A, [0])], "psnr": [(P, Q, 1.0)],
    "det": [(SQUARE,)], "slogdet": [(SQUARE,)], "logdet": [(LIKE,)], "inv": [(SQUARE,)], "pinv": [(A,)],
    "solve": [(SQUARE, normal(2, 3, 2))], "solve_triangular": [(SQUARE, normal(2, 3, 2), {"lower": True})],
    "cholesky": [(LIKE,)], "eigh": [(LIKE,)], "svd": [(A, {"compute_uv": False})], "lstsq": [(A, B[:, 0])],
    "matrix_rank": [(A,)],
    "binary_crossentropy": [(Q, P), (Q, A, {"from_logits": True})],
    "categorical_crossentropy": [(SHARES, P), (SHARES, A, {"from_logits": True})],
    "sparse_categorical_crossentropy": [
        (np.array([1, 0, 3]), P), (np.array([1, 0, 3]), A, {"from_logits": True})],
    "batch_normalization": [(A, B[0], P[0], -1, Q[0], B[1])],
    "dot_product_attention": [(QUERY, QUERY[:, ::-1].copy(), normal(2, 3, 2, 4), {"is_causal": True})],
    "one_hot": [(np.array([1, 0, 3]), 4), (np.array([1, 0]), 3, {"axis": 0})],
    "multi_hot": [(np.array([[1, 0], [2, 2]]), 4)],
    "zeros": [((2, 3),)], "ones": [((2, 3),)], "full": [((2,), 3.0)], "full_like": [(A, 2)],
    "arange": [(5,), (1, 6, 2), (0.0, 1.0, 0.25)], "linspace": [(0, 1, 5)], "logspace": [(0, 2, 3)],
    "geomspace": [(1, 100, 3)], "eye": [(3,), (2, 3, 1)], "identity": [(3,)], "tri": [(3, 4, 1)],
    "meshgrid": [(A[0], B[0])], "bartlett": [(5,)], "blackman": [(5,)], "hamming": [(5,)], "hanning": [(5,)],
    "kaiser": [(5, 2.0)], "array": [([1.0, 2.0],), ([1, 2],)], "saturate_cast": [(A * 300, "uint8")],
    **{name: [(normal(2, 9, 3), 3, 3), (normal(2, 9, 3), 3, 2, "same"),
              (normal(2, 7, 6, 3), (2, 3), (2, 1), "same")] for name in ("max_pool", "average_pool")},
    "conv": [(normal(2, 9, 4), normal(3, 4, 5)), (normal(2, 9, 4), normal(3, 4, 5), 2, "same"),
             (normal(2, 9, 4), normal(3, 2, 6), 1, "valid", None, 2),
             (normal(2, 7, 6, 3), normal(2, 3, 3, 4), (2, 1), "same")],
    "depthwise_conv": [(normal(2, 9, 4), normal(3, 4, 2), 1, "same"),
                       (normal(2, 7, 6, 3), normal(2, 3, 3, 2), 2)],
    "separable_conv": [(normal(2, 9, 4), normal(3, 4, 2), normal(1, 8, 5), 1, "same")],
    "conv_transpose": [(normal(2, 5, 4), normal(k, 3, 4), s, p) for k in (3, 2) for s in (1, 2, 3)
                       for p in ("valid", "same")] + [
        (normal(2, 4, 5, 2), normal(3, 2, 3, 2), (2, 1), "same")],
    "fft": [([A, B],)], "fft2": [([A, B],)], "ifft2": [([A, B],)],
    "rfft": [(A,), (A, 6), (A, 3)], "irfft": [([A, B],), ([A, B], 7), ([A, B], 5)],
}
OF_FUNCTIONS = {"cond", "switch", "while_loop", "fori_loop", "map", "vectorized_map", "scan", "vectorize",
                "custom_gradient", "grad", "value_and_grad"}
OTHERS = {"convert_to_numpy", "convert_to_tensor", "dtype", "empty", "empty_like", "get_item", "is_tensor",
          "qr"}
UNLIKE = {"argpartition", "sparsemax"}  # more than one answer; Keras's does not sum to 1 on JAX
NO_SLOPE_IN_JAX = {"nextafter", "segment_prod", "histogram"}    # or one of the ends of bins


def flat(value):
    parts = list(value) if isinstance(value, (list, tuple)) else [value]
    return [np.asarray(part) for part in parts]


def test_every_function_is_here():
    assert set(ops.__all__) - set(CASES) - OF_FUNCTIONS - OTHERS == set()


@pytest.mark.parametrize("name", sorted(set(ops.__all__) - {"get_item", "grad", "value_and_grad"}))
def test_its_arguments_are_keras(name):
    theirs = list(inspect.signature(getattr(keras.ops, name)).parameters)
    mine = list(inspect.signature(getattr(ops, name)).parameters)
    assert [p for p in theirs if p != "kwargs"][: len(mine)] == [p for p in mine if p != "kwargs"]


@pytest.mark.parametrize("name, number", [
    (name, i) for name in sorted(CASES) for i in range(len(CASES[name]))])
def test_values_and_derivatives(name, number):
    args = list(CASES[name][number])
    kwargs = args.pop() if args and isinstance(args[-1], dict) else {}
    mine, theirs = getattr(ops, name), getattr(keras.ops, name)
    found, wanted = flat(mine(*args, **kwargs)), flat(theirs(*args, **kwargs))
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert a.shape == b.shape
        if name not in UNLIKE:
            a64, b64 = np.asarray(a, "float64"), np.asarray(b, "float64")
            np.testing.assert_allclose(a64, b64, rtol=2e-4, atol=2e-5)
        if not isinstance(args[0], tuple) and name not in ("shape", "ndim", "size"):
            assert a.dtype.kind == b.dtype.kind, (a.dtype, b.dtype)
            assert a.dtype != np.float64, "float32 must stay float32"
    plain = NO_SLOPE_IN_JAX | UNLIKE | {"stop_gradient", "shape", "ndim", "size"}
    if name in plain or "mul" in map(str, args):
        return
    if wanted[0].dtype.kind != "f":
        return
    check_derivatives(mine, theirs, args, kwargs, wanted)


def check_derivatives(mine, theirs, args, kwargs, wanted):
    """By all arrays of floats together."""
    leaves = [leaf for arg in args for leaf in (arg if isinstance(arg, list) else [arg])]
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f"]
    if not places:
        return
    factors = [RNG.normal(size=part.shape).astype("float32") for part in wanted]

    def rebuilt(arrays):
        filled = list(leaves)
        for place, array in zip(places, arrays):
            filled[place] = array
        rest = iter(filled)
        return [[next(rest) for _ in arg] if isinstance(arg, list) else next(rest) for arg in args]

    def total(f, arrays, sum_):
        made = f(*rebuilt(arrays), **kwargs)
        made = list(made) if isinstance(made, (list, tuple)) else [made]
        return sum(sum_(part * factor) for part, factor in zip(made, factors) if part.dtype.kind == "f")

    arrays = [leaves[i] for i in places]
    value, back = derivatives.pullback(lambda *a: total(mine, a, ops.sum), *arrays)
    theirs_by = jax.grad(lambda a: total(theirs, a, jax.numpy.sum))(arrays)
    if not isinstance(value, derivatives.Traced):
        assert all(not np.any(g) for g in theirs_by), "a derivative is missing"
        return
    for a, b in zip(back(np.ones((), "float32")), theirs_by):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, np.asarray(b), rtol=2e-3, atol=2e-4)
