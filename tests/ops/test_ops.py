"""tdfast.ops: values against NumPy, gradients by central differences, on arrays and in graphs."""

import inspect

import numpy as np
import pytest

import tdfast
from tdfast import ops
from tdfast.engine.operation import Operation
from tdfast.engine.tensor import SymbolicTensor
from tdfast.ops.base import CLASSES
from tdfast.ops.composed import Composed
from tdfast.testing import assert_near, differences

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape)


def positive(*shape):
    return rng.uniform(0.5, 2, shape)


A, B, C = normal(2, 3, 4), normal(2, 3, 4), normal(3, 1)
DISTINCT = rng.permutation(24).reshape(2, 3, 4) / 7.0
BITS = A > 0

# name of the class -> (options, arguments, what NumPy says, or None where only the gradient is checked)
CASES = {
    "Negative": [({}, (A,), np.negative)],
    "Absolute": [({}, (A,), np.abs)],
    "Exp": [({}, (A,), np.exp)],
    "Expm1": [({}, (A,), np.expm1)],
    "Log": [({}, (positive(3, 4),), np.log)],
    "Log1p": [({}, (positive(3, 4),), np.log1p)],
    "Sqrt": [({}, (positive(3, 4),), np.sqrt)],
    "Rsqrt": [({}, (positive(3, 4),), lambda x: x**-0.5)],
    "Square": [({}, (A,), np.square)],
    "Reciprocal": [({}, (positive(3, 4),), np.reciprocal)],
    "Sign": [({}, (A,), np.sign)],
    "Sin": [({}, (A,), np.sin)],
    "Cos": [({}, (A,), np.cos)],
    "Tanh": [({}, (A,), np.tanh)],
    "Sigmoid": [({}, (30 * A,), lambda x: 1 / (1 + np.exp(-x)))],
    "Relu": [({}, (A,), lambda x: np.maximum(x, 0))],
    "Silu": [({}, (A,), lambda x: x / (1 + np.exp(-x)))],
    "Softplus": [({}, (A,), lambda x: np.log(1 + np.exp(x)))],
    "LeakyRelu": [({"negative_slope": 0.3}, (A,), lambda x: np.where(x > 0, x, 0.3 * x))],
    "LogicalNot": [({}, (BITS,), np.logical_not)],
    "Isfinite": [({}, (A,), np.isfinite)],
    "Isnan": [({}, (A,), np.isnan)],
    "OnesLike": [({}, (A,), np.ones_like)],
    "ZerosLike": [({}, (A,), np.zeros_like)],
    "StopGradient": [({}, (A,), lambda x: x)],
    "Cast": [
        ({"dtype": "float64"}, (A,), lambda x: x),
        ({"dtype": "int32"}, (A,), lambda x: x.astype("int32")),
    ],
    "ConvertToTensor": [({}, (A,), lambda x: x), ({"dtype": "int32"}, (A,), lambda x: x.astype("int32"))],
    "Clip": [({"x_min": -0.5, "x_max": 0.7}, (A,), lambda x: np.clip(x, -0.5, 0.7))],
    "Add": [({}, (A, C), np.add), ({}, (A, 2.0), np.add)],
    "Subtract": [({}, (C, A), np.subtract)],
    "Multiply": [({}, (A, C), np.multiply), ({}, (3, A), np.multiply)],
    "Divide": [({}, (A, positive(4)), np.divide), ({}, (1.0, positive(3, 4)), np.divide)],
    "TrueDivide": [({}, (A, positive(4)), np.divide)],
    "FloorDivide": [({}, (A, positive(4)), np.floor_divide)],
    "Mod": [({}, (A, positive(4)), np.mod)],
    "Power": [({}, (positive(3, 4), normal(4)), np.power), ({}, (A, 3), np.power), ({}, (2.0, A), np.power)],
    "Maximum": [({}, (A, C), np.maximum), ({}, (A, 0.1), np.maximum)],
    "Minimum": [({}, (A, C), np.minimum)],
    "Equal": [({}, (A, A), np.equal)],
    "NotEqual": [({}, (A, 0), np.not_equal)],
    "Less": [({}, (A, C), np.less)],
    "LessEqual": [({}, (A, C), np.less_equal)],
    "Greater": [({}, (A, C), np.greater)],
    "GreaterEqual": [({}, (A, C), np.greater_equal)],
    "LogicalAnd": [({}, (BITS, C > 0), np.logical_and)],
    "LogicalOr": [({}, (BITS, C > 0), np.logical_or)],
    "LogicalXor": [({}, (BITS, C > 0), np.logical_xor)],
    "Where": [({}, (BITS, A, C), np.where), ({}, (BITS, A, 0.0), np.where)],
    "Sum": [({}, (A,), np.sum), ({"axis": (0, -1)}, (A,), lambda x: x.sum((0, 2)))],
    "Mean": [({"axis": 1, "keepdims": True}, (A,), lambda x: x.mean(1, keepdims=True))],
    "Prod": [
        ({"axis": (0, 2)}, (A,), lambda x: x.prod((0, 2))),
        ({"axis": 1}, (np.array([[0.0, 2], [3, 0]]),), lambda x: x.prod(1)),
    ],
    "Var": [({"axis": -1}, (A,), lambda x: x.var(-1))],
    "Std": [({"axis": -1}, (A,), lambda x: x.std(-1))],
    "Max": [
        ({"axis": (1, 2)}, (DISTINCT,), lambda x: x.max((1, 2))),
        ({"initial": 9.0}, (DISTINCT,), lambda x: np.float64(9)),
    ],
    "Min": [({"axis": 0}, (DISTINCT,), lambda x: x.min(0))],
    "Amax": [({"axis": 0}, (DISTINCT,), lambda x: x.max(0))],
    "Amin": [({}, (DISTINCT,), np.min)],
    "Any": [({"axis": 1}, (BITS,), lambda x: x.any(1))],
    "All": [({"axis": 1}, (BITS,), lambda x: x.all(1))],
    "Logsumexp": [({"axis": 1}, (A,), lambda x: np.log(np.exp(x).sum(1)))],
    "Norm": [
        ({"axis": -1}, (A,), lambda x: np.linalg.norm(x, axis=-1)),
        ({}, (A,), lambda x: np.sqrt((x * x).sum())),
        ({"ord": 1, "axis": 1}, (A,), lambda x: np.linalg.norm(x, 1, axis=1)),
        ({"ord": np.inf, "axis": 1}, (DISTINCT,), lambda x: np.linalg.norm(x, np.inf, axis=1)),
    ],
    "Softmax": [({"axis": 1}, (A,), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True))],
    "LogSoftmax": [({}, (A,), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True)))],
    "Cumsum": [({"axis": 1}, (A,), lambda x: x.cumsum(1)), ({}, (A,), np.cumsum)],
    "Argmax": [({"axis": 1}, (A,), lambda x: x.argmax(1))],
    "Argmin": [({}, (A,), np.argmin)],
    "Average": [
        ({"axis": 1}, (A,), lambda x: x.mean(1)),
        ({"axis": 1}, (A, positive(3)), lambda x, w: np.average(x, 1, w)),
        ({}, (A, positive(2, 3, 4)), lambda x, w: np.average(x, None, w)),
    ],
    "Matmul": [
        ({}, (A, normal(4, 5)), np.matmul),
        ({}, (A, normal(2, 4, 2)), np.matmul),
        ({}, (normal(3), A), np.matmul),
        ({}, (A, normal(4)), np.matmul),
        ({}, (normal(4), normal(4)), np.matmul),
        ({}, (normal(5, 1, 3, 4), normal(2, 4, 3)), np.matmul),
    ],
    "Dot": [
        ({}, (A, normal(5, 4, 2)), np.dot),
        ({}, (normal(4), normal(4)), np.dot),
        ({}, (A, normal(4)), np.dot),
    ],
    "Tensordot": [
        ({"axes": 1}, (A, normal(4, 5)), lambda a, b: np.tensordot(a, b, 1)),
        ({"axes": [[0, 2], [2, 1]]}, (A, normal(5, 4, 2)), lambda a, b: np.tensordot(a, b, [[0, 2], [2, 1]])),
    ],
    "Einsum": [
        ({"subscripts": s}, args, lambda *a, s=s: np.einsum(s, *a))
        for s, args in [
            ("bij,bjk->bik", (A, normal(2, 4, 5))),
            ("bij->bi", (A,)),
            ("bij,j", (A, normal(4))),
            ("...j,jk->...k", (A, normal(4, 2))),
            ("aecd,abcd->acbe", (normal(2, 3, 2, 4), normal(2, 5, 2, 4))),
            ("bij,bij->", (A, B)),
        ]
    ],
    "GetItem": [
        ({}, (A, (slice(None), -1, slice(None))), lambda x, k: x[k]),
        ({}, (A, 1), lambda x, k: x[k]),
        ({}, (A, (Ellipsis, slice(None, None, -2))), lambda x, k: x[k]),
        ({}, (A, (slice(None), None, slice(1, 3))), lambda x, k: x[k]),
        ({}, (A, (slice(None), np.array([0, 2, 0]))), lambda x, k: x[k]),
    ],
    "Concatenate": [
        ({"axis": 1}, ([A, B[:, :2]],), lambda xs: np.concatenate(xs, 1)),
        ({"axis": -1}, ([A, B, A],), lambda xs: np.concatenate(xs, -1)),
    ],
    "Stack": [
        ({"axis": 1}, ([A, B],), lambda xs: np.stack(xs, 1)),
        ({"axis": -1}, ([A, B],), lambda xs: np.stack(xs, -1)),
    ],
    "Split": [
        ({"indices_or_sections": 2, "axis": 2}, (A,), lambda x: np.split(x, 2, 2)),
        ({"indices_or_sections": [1], "axis": 1}, (A,), lambda x: np.split(x, [1], 1)),
    ],
    "Reshape": [({"newshape": (2, -1)}, (A,), lambda x: x.reshape(2, 12))],
    "Transpose": [
        ({"axes": (0, 2, 1)}, (A,), lambda x: x.transpose(0, 2, 1)),
        ({}, (A,), np.transpose),
        ({"axes": (2, 0, 1)}, (A,), lambda x: x.transpose(2, 0, 1)),
    ],
    "Swapaxes": [({"axis1": 0, "axis2": -1}, (A,), lambda x: x.swapaxes(0, 2))],
    "Moveaxis": [({"source": 0, "destination": -1}, (A,), lambda x: np.moveaxis(x, 0, -1))],
    "ExpandDims": [
        ({"axis": 1}, (A,), lambda x: x[:, None]),
        ({"axis": (0, -1)}, (A,), lambda x: x[None, ..., None]),
    ],
    "Squeeze": [
        ({"axis": 1}, (normal(2, 1, 3, 1),), lambda x: x[:, 0]),
        ({}, (normal(2, 1, 3, 1),), np.squeeze),
    ],
    "Flip": [({"axis": 1}, (A,), lambda x: x[:, ::-1]), ({}, (A,), np.flip)],
    "Repeat": [
        ({"repeats": 3, "axis": 1}, (A,), lambda x: x.repeat(3, 1)),
        ({"repeats": 2}, (A,), lambda x: x.repeat(2)),
        ({"repeats": [1, 0, 2], "axis": 1}, (A,), lambda x: x.repeat([1, 0, 2], 1)),
    ],
    "Tile": [
        ({"repeats": (2, 1, 3)}, (A,), lambda x: np.tile(x, (2, 1, 3))),
        ({"repeats": 2}, (A,), lambda x: np.tile(x, 2)),
        ({"repeats": (2, 1, 1, 2)}, (A,), lambda x: np.tile(x, (2, 1, 1, 2))),
    ],
    "Take": [
        ({"axis": 1}, (A, np.array([[0, 2], [2, 2]])), lambda x, i: x.take(i, 1)),
        ({}, (A, np.array([1, 5])), np.take),
        ({"axis": -1}, (A, 2), lambda x, i: x[..., 2]),
    ],
    "BroadcastTo": [({"shape": (5, 3, 4)}, (C,), lambda x: np.broadcast_to(x, (5, 3, 4)))],
}
ROWS = [
    pytest.param(name, *case, id=f"{name}-{i}")
    for name, cases in CASES.items()
    for i, case in enumerate(cases)
]


def test_every_operation_has_a_case():
    """Those that are written as plain functions have theirs beside Keras: tests/live/test_live_ops.py."""
    assert set(CASES) == {name for name, cls in CLASSES.items() if not issubclass(cls, Composed)}


def parts(value):
    return [np.asarray(part) for part in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize("name, options, args, want", ROWS)
def test_values_and_dtypes(name, options, args, want):
    for got, expected in zip(parts(CLASSES[name](**options).apply(*args)), parts(want(*args)), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    single = [
        [a.astype("float32") for a in arg]
        if isinstance(arg, list)
        else arg.astype("float32")
        if isinstance(arg, np.ndarray) and arg.dtype == np.float64
        else arg
        for arg in args
    ]
    for got in parts(
        CLASSES[name](**{k: "float32" if v == "float64" else v for k, v in options.items()}).apply(*single)
    ):
        assert got.dtype != np.float64, "float32 must stay float32"


@pytest.mark.parametrize("name, options, args, want", ROWS)
def test_gradients_by_differences(name, options, args, want):
    op = CLASSES[name](**options)
    args = [
        [np.array(a) for a in arg]
        if isinstance(arg, list)
        else np.array(arg)
        if isinstance(arg, np.ndarray)
        else arg
        for arg in args
    ]
    y = op.apply(*args)
    dys = [rng.normal(size=part.shape) for part in parts(y)]
    got = op.pull_back(dys if isinstance(y, list) else dys[0], y, *args)

    def value():
        return sum((part * dy).sum() for part, dy in zip(parts(op.apply(*args)), dys))

    for arg, gradient in zip(args, got):
        arrays = arg if isinstance(arg, list) else [arg] if isinstance(arg, np.ndarray) else []
        for x, d in zip(arrays, gradient if isinstance(arg, list) else [gradient]):
            if x.dtype != np.float64:
                continue
            steps = differences(value, x)
            if name == "StopGradient":
                assert d is None
            else:
                assert_near(np.zeros(x.shape) if d is None else d, steps, 1e-6, name)


def mapped_args(args, arrays):
    """The arguments, with arrays in the place of symbolic tensors."""
    return [
        mapped_args(arg, arrays)
        if isinstance(arg, list)
        else next(arrays)
        if isinstance(arg, SymbolicTensor)
        else arg
        for arg in args
    ]


@pytest.mark.parametrize("name, options, args, want", ROWS)
def test_in_a_graph(name, options, args, want):
    """On symbolic tensors: the shapes are known beforehand, the values are those of arrays, and a model of it
    comes back from its config."""
    inputs, given = [], []

    def symbol(value):
        if isinstance(value, list) and all(isinstance(v, np.ndarray) for v in value):
            return [symbol(v) for v in value]
        if not isinstance(value, np.ndarray) or value.ndim < 2:
            return value
        inputs.append(
            tdfast.Input(batch_shape=value.shape, dtype="int32" if value.dtype == bool else "float32")
        )
        given.append(value.astype(inputs[-1].dtype))
        return inputs[-1]

    symbols = [symbol(arg) for arg in args]
    if not inputs:
        pytest.skip("of vectors and numbers alone")
    y = CLASSES[name](**options)(*symbols)
    model = tdfast.Model(inputs, y)
    arrays = iter(given)
    want = parts(CLASSES[name](**options).apply(*mapped_args(symbols, arrays)))
    got = model(given if len(given) > 1 else given[0])
    for a, b, tensor in zip(parts(got), want, y if isinstance(y, list) else [y], strict=True):
        np.testing.assert_array_equal(a, b)
        assert tensor.shape == a.shape
        assert np.dtype(tensor.dtype).kind == a.dtype.kind
    again = tdfast.saving.model_from_json(model.to_json())
    for a, b in zip(parts(again(given if len(given) > 1 else given[0])), parts(got)):
        np.testing.assert_array_equal(a, b)


def test_every_function_is_there_under_its_class():
    functions = {
        name for name, value in vars(ops).items() if inspect.isfunction(value) and not name.startswith("_")
    }
    assert len(functions) > 75
    x = tdfast.Input((3, 4))
    for name in ("exp", "mean", "transpose", "softmax", "flip", "square"):
        assert issubclass(type(getattr(ops, name)(x).node.layer), Operation)


def test_operators_are_calls():
    x, z = tdfast.Input((3, 4)), tdfast.Input((3, 4))
    made = {
        "add": x + z,
        "radd": 1 + x,
        "sub": x - z,
        "rsub": 1 - x,
        "mul": x * 2.0,
        "truediv": x / z,
        "rtruediv": 1 / x,
        "floordiv": x // 2.0,
        "mod": x % 2.0,
        "pow": x**2,
        "neg": -x,
        "abs": abs(x),
        "item": x[:, 1:, 0],
        "matmul": x @ tdfast.ops.transpose(z, (0, 2, 1)),
        "less": x < z,
        "ge": x >= 0.0,
        "ne": x != z,
        "and": (x > 0) & (z > 0),
        "or": (x > 0) | (z > 0),
        "invert": ~(x > 0),
    }
    model = tdfast.Model([x, z], made)
    a, b = (rng.normal(size=(2, 3, 4)).astype("float32") for _ in range(2))
    got = model([a, b])
    want = {
        "add": a + b,
        "radd": 1 + a,
        "sub": a - b,
        "rsub": 1 - a,
        "mul": a * 2,
        "truediv": a / b,
        "rtruediv": 1 / a,
        "floordiv": a // 2,
        "mod": a % 2,
        "pow": a**2,
        "neg": -a,
        "abs": abs(a),
        "item": a[:, 1:, 0],
        "matmul": a @ b.transpose(0, 2, 1),
        "less": a < b,
        "ge": a >= 0,
        "ne": a != b,
        "and": (a > 0) & (b > 0),
        "or": (a > 0) | (b > 0),
        "invert": ~(a > 0),
    }
    for name, expected in want.items():
        np.testing.assert_allclose(got[name], expected, rtol=1e-6, err_msg=name)


def test_numbers_of_numpy_change_no_dtype():
    x = tdfast.Input((3,))
    assert (x / np.sqrt(8)).dtype == "float32" and (np.float64(2) * x).dtype == "float32"
    assert ops.multiply(np.ones(3, "float32"), np.float64(2)).dtype == np.float32


@pytest.mark.parametrize("use", [bool, float, int, len, list, np.asarray])
def test_a_symbolic_tensor_has_no_numbers(use):
    with pytest.raises(TypeError, match="no numbers yet.*Model"):
        use(tdfast.Input((3,)))


def test_shapes_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match="Matmul.*shapes"):
        tdfast.ops.matmul(tdfast.Input((3, 4)), tdfast.Input((3, 4)))
