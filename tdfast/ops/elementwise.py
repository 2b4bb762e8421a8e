"""Functions of each number by itself, and of pairs of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import registry, tracing
from tdfast.engine.gradients import in_dtype, learns, unbroadcast
from tdfast.engine.operation import Operation
from tdfast.ops.base import CORE, NN, NUMPY, call, operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

    from tdfast.engine.tensor import SymbolicTensor
    from tdfast.engine.types import Array, DType, Operand


class _EachNumber(Operation):
    """What computes each number of its result from those at the same place."""

    def treats_steps_alone(self, shape: Any) -> bool:
        """Where its arrays have as many axes each, so that no step meets another."""
        return not isinstance(shape[0], tuple) or len(set(map(len, shape))) == 1


class _Unary(_EachNumber):
    """A subclass has ``apply(x)``, and ``slope(x, y)``: the derivative, None where it is 0 everywhere."""

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        slope = self.slope(x, y)
        return [None if slope is None else dy * slope]

    @staticmethod
    def slope(x: Any, y: Any) -> Any:
        """The derivative of y by x."""
        return None


def _unary(name: str, function: Callable[..., Any], slope: Callable[..., Any], module: str = NUMPY) -> type:
    """The class and the function of one argument."""
    cls = type(
        name, (_Unary,), {"module": module, "apply": staticmethod(function), "slope": staticmethod(slope)}
    )
    return operation(cls)


def _numbers(x: Any) -> Array:
    """Floats as they are, whole numbers as the default float."""
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(np.float32)


def _sigmoid(x: Any) -> Any:
    if not isinstance(x, np.ndarray) and tracing.traces():      # a derivative of a derivative
        return sigmoid(x)
    x = _numbers(x)
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _softplus(x: Any) -> Array:
    return np.logaddexp(_numbers(x), np.zeros((), _numbers(x).dtype))


Negative = _unary("Negative", np.negative, lambda x, y: -1)
Absolute = _unary("Absolute", np.abs, lambda x, y: np.sign(x))
Exp = _unary("Exp", lambda x: np.exp(_numbers(x)), lambda x, y: y)
Expm1 = _unary("Expm1", lambda x: np.expm1(_numbers(x)), lambda x, y: y + 1)
Log = _unary("Log", lambda x: np.log(_numbers(x)), lambda x, y: 1 / x)
Log1p = _unary("Log1p", lambda x: np.log1p(_numbers(x)), lambda x, y: 1 / (1 + x))
Sqrt = _unary("Sqrt", lambda x: np.sqrt(_numbers(x)), lambda x, y: 0.5 / y)
Rsqrt = _unary("Rsqrt", lambda x: 1 / np.sqrt(_numbers(x)), lambda x, y: -0.5 * y / x, "keras.src.ops.math")
Square = _unary("Square", np.square, lambda x, y: 2 * x)
Reciprocal = _unary("Reciprocal", lambda x: 1 / _numbers(x), lambda x, y: -y * y)
Sign = _unary("Sign", np.sign, lambda x, y: None)
Sin = _unary("Sin", lambda x: np.sin(_numbers(x)), lambda x, y: np.cos(x))
Cos = _unary("Cos", lambda x: np.cos(_numbers(x)), lambda x, y: -np.sin(x))
Tanh = _unary("Tanh", lambda x: np.tanh(_numbers(x)), lambda x, y: 1 - y * y)
Sigmoid = _unary("Sigmoid", _sigmoid, lambda x, y: y * (1 - y), NN)
Relu = _unary("Relu", lambda x: np.maximum(x, 0), lambda x, y: x > 0, NN)
Silu = _unary(
    "Silu", lambda x: _numbers(x) * _sigmoid(x), lambda x, y: (s := _sigmoid(x)) * (1 + x * (1 - s)), NN
)
Softplus = _unary("Softplus", _softplus, lambda x, y: _sigmoid(x), NN)
LogicalNot = _unary("LogicalNot", np.logical_not, lambda x, y: None)
Isfinite = _unary("Isfinite", np.isfinite, lambda x, y: None)
Isnan = _unary("Isnan", np.isnan, lambda x, y: None)
OnesLike = _unary("OnesLike", np.ones_like, lambda x, y: None)
ZerosLike = _unary("ZerosLike", np.zeros_like, lambda x, y: None)
StopGradient = _unary("StopGradient", np.array, lambda x, y: None, CORE)


@operation
class LeakyRelu(_Unary):
    """x where it is positive, negative_slope x elsewhere."""

    module = NN

    def __init__(self, negative_slope: float = 0.2, *, name: str | None = None) -> None:
        super().__init__(name=name, negative_slope=negative_slope)

    def apply(self, x: Any) -> Array:
        return np.where(np.asarray(x) > 0, x, self.options["negative_slope"] * np.asarray(x))

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [np.where(x > 0, dy, dy * np.asarray(self.options["negative_slope"], dy.dtype))]


@operation
class Cast(_EachNumber):
    """The same numbers in another dtype."""

    module = CORE

    def __init__(self, dtype: DType, *, name: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def apply(self, x: Any) -> Array:
        return np.asarray(x).astype(self.options["dtype"])

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        floats = y.dtype.kind == "f" and x.dtype.kind == "f"
        return [dy.astype(x.dtype) if floats else None]


@operation
class ConvertToTensor(_EachNumber):
    """The array, or a copy in another dtype."""

    module = CORE

    def __init__(self, dtype: DType = None, sparse: bool | None = None, ragged: Any = None, *,
                 name: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype, sparse=sparse, ragged=ragged)

    def apply(self, x: Any) -> Array:
        return np.asarray(x) if self.options["dtype"] is None else np.asarray(x).astype(self.options["dtype"])

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [dy.astype(x.dtype) if y.dtype.kind == x.dtype.kind == "f" else None]


@operation
class Clip(_EachNumber):
    """The numbers, but none below x_min or above x_max."""

    module = NUMPY

    def __init__(self, x_min: Operand, x_max: Operand, *, name: str | None = None) -> None:
        super().__init__(name=name, x_min=x_min, x_max=x_max)

    def apply(self, x: Any) -> Array:
        return np.clip(x, self.options["x_min"], self.options["x_max"])

    def pull_back(self, dy: Any, y: Any, x: Any) -> list[Any]:
        return [dy * ((x >= self.options["x_min"]) & (x <= self.options["x_max"]))]


# ---------------------------------------------------------------- of two arrays


class _Binary(_EachNumber):
    """A subclass has ``apply(a, b)`` and ``slopes(a, b, y)``, the derivatives by both; None where they are
    0."""

    slopes: Any

    def pull_back(self, dy: Any, y: Any, a: Any, b: Any) -> list[Any]:
        out = []
        for x, slope in zip((a, b), self.slopes(a, b, y)):
            out.append(
                None
                if slope is None or not learns(x)
                else unbroadcast(in_dtype(dy * slope, x.dtype), x.shape)
            )
        return out


def _binary(name: str, function: Callable[..., Any], slopes: Callable[..., Any], module: str = NUMPY) -> type:
    cls = type(
        name, (_Binary,), {"module": module, "apply": staticmethod(function), "slopes": staticmethod(slopes)}
    )
    return operation(cls)


def _no_slopes(a: Any, b: Any, y: Any) -> tuple[Any, ...]:
    return None, None


def _divide(a: Any, b: Any) -> Any:
    if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray):
        return np.float32(a) / np.float32(b)
    return np.true_divide(*_as_floats(a, b))


def _as_floats(a: Any, b: Any) -> list[Any]:
    """Two operands, of which whole-number arrays become the default float."""
    return [
        x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype.kind in "iub" else x for x in (a, b)
    ]


def _power_slopes(a: Any, b: Any, y: Any) -> tuple[Any, ...]:
    by_a = b * np.power(a, b - 1)
    by_b = y * np.log(np.where(a > 0, a, 1)) if learns(b) else None
    return by_a, by_b


def _larger(a: Any, b: Any, y: Any) -> tuple[Any, ...]:
    """Half of the gradient goes to each of two equal numbers, as in Keras on JAX."""
    equal = 0.5 * np.equal(a, b)
    return np.greater(a, b) + equal, np.greater(b, a) + equal


def _smaller(a: Any, b: Any, y: Any) -> tuple[Any, ...]:
    equal = 0.5 * np.equal(a, b)
    return np.less(a, b) + equal, np.less(b, a) + equal


Add = _binary("Add", np.add, lambda a, b, y: (1, 1))
Subtract = _binary("Subtract", np.subtract, lambda a, b, y: (1, -1))
Multiply = _binary("Multiply", np.multiply, lambda a, b, y: (b, a))
Divide = _binary("Divide", _divide, lambda a, b, y: (1 / b, -y / b))
TrueDivide = _binary("TrueDivide", _divide, lambda a, b, y: (1 / b, -y / b))
FloorDivide = _binary("FloorDivide", np.floor_divide, _no_slopes)
Mod = _binary("Mod", np.mod, lambda a, b, y: (1, -np.floor_divide(a, b)))
Power = _binary("Power", np.power, _power_slopes)
Maximum = _binary("Maximum", np.maximum, _larger)
Minimum = _binary("Minimum", np.minimum, _smaller)
Equal = _binary("Equal", np.equal, _no_slopes)
NotEqual = _binary("NotEqual", np.not_equal, _no_slopes)
Less = _binary("Less", np.less, _no_slopes)
LessEqual = _binary("LessEqual", np.less_equal, _no_slopes)
Greater = _binary("Greater", np.greater, _no_slopes)
GreaterEqual = _binary("GreaterEqual", np.greater_equal, _no_slopes)
LogicalAnd = _binary("LogicalAnd", np.logical_and, _no_slopes)
LogicalOr = _binary("LogicalOr", np.logical_or, _no_slopes)
LogicalXor = _binary("LogicalXor", np.logical_xor, _no_slopes)


@operation
class Where(_EachNumber):
    """The numbers of x1 where a condition holds, those of x2 elsewhere."""

    module = NUMPY

    def apply(self, condition: Operand, x1: Any, x2: Any) -> Array:
        return np.where(condition, x1, x2)

    def pull_back(self, dy: Any, y: Any, condition: Operand, x1: Any, x2: Any) -> list[Any]:
        zero = np.zeros((), dy.dtype)
        parts = np.where(condition, dy, zero), np.where(condition, zero, dy)
        return [
            None,
            *(
                unbroadcast(part, x.shape) if learns(x) else None
                for part, x in zip(parts, (x1, x2))
            ),
        ]


# ---------------------------------------------------------------- the functions


def negative(x: Operand) -> SymbolicTensor:
    """-x.

    >>> negative(np.array([1.0, -2.0])).tolist()
    [-1.0, 2.0]
    """
    return call(Negative, x)


def absolute(x: Operand) -> SymbolicTensor:
    """|x|.

    >>> absolute(np.array([1.0, -2.0])).tolist()
    [1.0, 2.0]
    """
    return call(Absolute, x)


def exp(x: Operand) -> SymbolicTensor:
    """The number e to the power of x.

    >>> exp(np.array([0.0])).tolist()
    [1.0]
    """
    return call(Exp, x)


def expm1(x: Operand) -> Any:
    """e^x - 1.

    >>> expm1(np.array([0.0])).tolist()
    [0.0]
    """
    return call(Expm1, x)


def log(x: Operand) -> Any:
    """The natural logarithm of x.

    >>> log(np.array([1.0])).tolist()
    [0.0]
    """
    return call(Log, x)


def log1p(x: Operand) -> Any:
    """log(1 + x).

    >>> log1p(np.array([0.0])).tolist()
    [0.0]
    """
    return call(Log1p, x)


def sqrt(x: Operand) -> Any:
    """The square root of x.

    >>> sqrt(np.array([4.0])).tolist()
    [2.0]
    """
    return call(Sqrt, x)


def rsqrt(x: Operand) -> Any:
    """1 / sqrt(x).

    >>> rsqrt(np.array([4.0])).tolist()
    [0.5]
    """
    return call(Rsqrt, x)


def square(x: Operand) -> SymbolicTensor:
    """The square of x.

    >>> square(np.array([-3.0])).tolist()
    [9.0]
    """
    return call(Square, x)


def reciprocal(x: Operand) -> Any:
    """1 / x.

    >>> reciprocal(np.array([4.0])).tolist()
    [0.25]
    """
    return call(Reciprocal, x)


def sign(x: Operand) -> Any:
    """-1, 0 or 1, as x is negative, zero or positive.

    >>> sign(np.array([-3.0, 0.0])).tolist()
    [-1.0, 0.0]
    """
    return call(Sign, x)


def sin(x: Operand) -> Any:
    """The sine of x, in radians.

    >>> sin(np.array([0.0])).tolist()
    [0.0]
    """
    return call(Sin, x)


def cos(x: Operand) -> Any:
    """The cosine of x, in radians.

    >>> cos(np.array([0.0])).tolist()
    [1.0]
    """
    return call(Cos, x)


def tanh(x: Operand) -> Any:
    """The hyperbolic tangent of x.

    >>> tanh(np.array([0.0])).tolist()
    [0.0]
    """
    return call(Tanh, x)


def sigmoid(x: Operand) -> Any:
    """1 / (1 + e^-x).

    >>> sigmoid(np.array([0.0])).tolist()
    [0.5]
    """
    return call(Sigmoid, x)


def relu(x: Operand) -> Any:
    """max(x, 0).

    >>> relu(np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return call(Relu, x)


def silu(x: Operand) -> Any:
    """x / (1 + e^-x).

    >>> silu(np.array([0.0])).tolist()
    [0.0]
    """
    return call(Silu, x)


def softplus(x: Operand) -> Any:
    """log(1 + e^x).

    >>> round(softplus(np.array([0.0])).item(), 4)
    0.6931
    """
    return call(Softplus, x)


def logical_not(x: Operand) -> SymbolicTensor:
    """Whether x is false.

    >>> logical_not(np.array([True, False])).tolist()
    [False, True]
    """
    return call(LogicalNot, x)


def isfinite(x: Operand) -> Any:
    """Whether x is neither NaN nor infinite.

    >>> isfinite(np.array([1.0])).tolist()
    [True]
    """
    return call(Isfinite, x)


def isnan(x: Operand) -> Any:
    """Whether x is NaN.

    >>> isnan(np.array([1.0])).tolist()
    [False]
    """
    return call(Isnan, x)


def ones_like(x: Operand, dtype: Any = None) -> Any:
    """Ones in the shape of x, and in its dtype when None.

    >>> ones_like(np.array([5.0, 6.0])).tolist()
    [1.0, 1.0]
    """
    made = call(OnesLike, x)
    return made if dtype is None else cast(made, dtype)


def zeros_like(x: Operand, dtype: Any = None) -> Any:
    """Zeros in the shape of x, and in its dtype when None.

    >>> zeros_like(np.array([5.0, 6.0])).tolist()
    [0.0, 0.0]
    """
    made = call(ZerosLike, x)
    return made if dtype is None else cast(made, dtype)


def stop_gradient(variable: Operand) -> Any:
    """The array, without a gradient.

    >>> stop_gradient(np.array([5.0])).tolist()
    [5.0]
    """
    found = call(StopGradient, variable)
    if tracing.level():
        from tdfast.engine import derivatives

        return derivatives.raw(found)
    return found


abs = absolute
swish = silu


def add(x1: Operand, x2: Operand) -> SymbolicTensor:
    """x1 + x2, number by number; shapes are broadcast.

    >>> add(np.array([3.0]), 2.0).tolist()
    [5.0]
    """
    return call(Add, x1, x2)


def subtract(x1: Operand, x2: Operand) -> SymbolicTensor:
    """x1 - x2, number by number; shapes are broadcast.

    >>> subtract(np.array([3.0]), 2.0).tolist()
    [1.0]
    """
    return call(Subtract, x1, x2)


def multiply(x1: Operand, x2: Operand) -> SymbolicTensor | Array:
    """x1 x2, number by number; shapes are broadcast.

    >>> multiply(np.array([3.0]), 2.0).tolist()
    [6.0]
    """
    return call(Multiply, x1, x2)


def divide(x1: Operand, x2: Operand) -> SymbolicTensor:
    """x1 / x2, number by number; shapes are broadcast.

    >>> divide(np.array([3.0]), 2.0).tolist()
    [1.5]
    """
    return call(Divide, x1, x2)


def true_divide(x1: Operand, x2: Operand) -> Any:
    """x1 / x2, number by number; shapes are broadcast.

    >>> true_divide(np.array([3.0]), 2.0).tolist()
    [1.5]
    """
    return call(TrueDivide, x1, x2)


def floor_divide(x1: Operand, x2: Operand) -> SymbolicTensor:
    """x1 / x2, rounded down, number by number; shapes are broadcast.

    >>> floor_divide(np.array([3.0]), 2.0).tolist()
    [1.0]
    """
    return call(FloorDivide, x1, x2)


def mod(x1: Operand, x2: Operand) -> SymbolicTensor:
    """What is left of x1 / x2, with the sign of x2, number by number; shapes are broadcast.

    >>> mod(np.array([3.0]), 2.0).tolist()
    [1.0]
    """
    return call(Mod, x1, x2)


def power(x1: Operand, x2: Operand) -> SymbolicTensor:
    """x1 to the power of x2, number by number; shapes are broadcast.

    >>> power(np.array([3.0]), 2.0).tolist()
    [9.0]
    """
    return call(Power, x1, x2)


def maximum(x1: Operand, x2: Operand) -> Any:
    """The larger of x1 and x2, number by number; shapes are broadcast.

    >>> maximum(np.array([3.0]), 2.0).tolist()
    [3.0]
    """
    return call(Maximum, x1, x2)


def minimum(x1: Operand, x2: Operand) -> Any:
    """The smaller of x1 and x2, number by number; shapes are broadcast.

    >>> minimum(np.array([3.0]), 2.0).tolist()
    [2.0]
    """
    return call(Minimum, x1, x2)


def equal(x1: Operand, x2: Operand) -> Any:
    """Whether x1 = x2, number by number; shapes are broadcast.

    >>> equal(np.array([3.0]), 2.0).tolist()
    [False]
    """
    return call(Equal, x1, x2)


def not_equal(x1: Operand, x2: Operand) -> SymbolicTensor:
    """Whether x1 differs from x2, number by number; shapes are broadcast.

    >>> not_equal(np.array([3.0]), 2.0).tolist()
    [True]
    """
    return call(NotEqual, x1, x2)


def less(x1: Operand, x2: Operand) -> SymbolicTensor:
    """Whether x1 < x2, number by number; shapes are broadcast.

    >>> less(np.array([3.0]), 2.0).tolist()
    [False]
    """
    return call(Less, x1, x2)


def less_equal(x1: Operand, x2: Operand) -> Any:
    """Whether x1 <= x2, number by number; shapes are broadcast.

    >>> less_equal(np.array([3.0]), 2.0).tolist()
    [False]
    """
    return call(LessEqual, x1, x2)


def greater(x1: Operand, x2: Operand) -> SymbolicTensor:
    """Whether x1 > x2, number by number; shapes are broadcast.

    >>> greater(np.array([3.0]), 2.0).tolist()
    [True]
    """
    return call(Greater, x1, x2)


def greater_equal(x1: Operand, x2: Operand) -> SymbolicTensor:
    """Whether x1 >= x2, number by number; shapes are broadcast.

    >>> greater_equal(np.array([3.0]), 2.0).tolist()
    [True]
    """
    return call(GreaterEqual, x1, x2)


def logical_and(x1: Operand, x2: Operand) -> SymbolicTensor:
    """Whether both are true, number by number; shapes are broadcast.

    >>> logical_and(np.array([True]), False).tolist()
    [False]
    """
    return call(LogicalAnd, x1, x2)


def logical_or(x1: Operand, x2: Operand) -> SymbolicTensor:
    """Whether one of them is true, number by number; shapes are broadcast.

    >>> logical_or(np.array([True]), False).tolist()
    [True]
    """
    return call(LogicalOr, x1, x2)


def logical_xor(x1: Operand, x2: Operand) -> Any:
    """Whether exactly one of them is true, number by number; shapes are broadcast.

    >>> logical_xor(np.array([True]), False).tolist()
    [True]
    """
    return call(LogicalXor, x1, x2)


def leaky_relu(x: Operand, negative_slope: float = 0.2) -> Any:
    """x where it is positive, negative_slope x elsewhere.

    >>> leaky_relu(np.array([-1.0, 2.0])).tolist()
    [-0.2, 2.0]
    """
    return call(LeakyRelu, x, negative_slope=negative_slope)


def cast(x: Operand, dtype: DTypeLike) -> Any:
    """The numbers of x in another dtype.

    >>> cast(np.array([1.7]), "int32").tolist()
    [1]
    """
    return call(Cast, x, dtype=dtype)


def clip(x: Operand, x_min: Operand, x_max: Operand) -> Any:
    """The numbers of x, but none below x_min or above x_max.

    >>> clip(np.array([-2.0, 0.5]), -1, 1).tolist()
    [-1.0, 0.5]
    """
    return call(Clip, x, x_min=x_min, x_max=x_max)


def where(condition: Operand, x1: Any = None, x2: Any = None) -> Any:
    """The numbers of x1 where a condition holds, those of x2 elsewhere; without both, the places where it
    holds.

    >>> where(np.array([True, False]), np.array([1.0, 2.0]), 0.0).tolist()
    [1.0, 0.0]
    """
    if x1 is None and x2 is None:
        return registry.home("ops").nonzero(condition)
    return call(Where, condition, x1, x2)
