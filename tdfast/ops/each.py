"""More functions of each number, and of pairs of numbers, from tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.ops.base import MATH, NN, NUMPY
from tdfast.ops.composed import composed, floats

if TYPE_CHECKING:
    from collections.abc import Callable



def _cbrt(x: Any) -> Any:
    return np.sign(x) * np.abs(x) ** (1 / 3)


# name: (function, what it gives, an x, whether it has a derivative, where Keras has it)
_OF_ONE: dict[str, tuple[Any, str, str, bool, str]] = {
    "arccos": (np.arccos, "The angle whose cosine is x, in radians", "1.0", True, NUMPY),
    "arccosh": (np.arccosh, "The number whose hyperbolic cosine is x", "1.0", True, NUMPY),
    "arcsin": (np.arcsin, "The angle whose sine is x, in radians", "0.0", True, NUMPY),
    "arcsinh": (np.arcsinh, "The number whose hyperbolic sine is x", "0.0", True, NUMPY),
    "arctan": (np.arctan, "The angle whose tangent is x, in radians", "0.0", True, NUMPY),
    "arctanh": (np.arctanh, "The number whose hyperbolic tangent is x", "0.0", True, NUMPY),
    "cbrt": (_cbrt, "The cube root of x", "8.0", True, NUMPY),
    "cosh": (np.cosh, "The hyperbolic cosine of x", "0.0", True, NUMPY),
    "deg2rad": (np.deg2rad, "The angle x, in degrees, in radians", "0.0", True, NUMPY),
    "exp2": (np.exp2, "2 to the power of x", "3.0", True, NUMPY),
    "fabs": (np.abs, "\\|x\\|, as a float", "-3.0", True, NUMPY),
    "log10": (np.log10, "The logarithm of x to the base 10", "100.0", True, NUMPY),
    "log2": (np.log2, "The logarithm of x to the base 2", "8.0", True, NUMPY),
    "rad2deg": (np.rad2deg, "The angle x, in radians, in degrees", "0.0", True, NUMPY),
    "sinc": (np.sinc, "sin(pi x) / (pi x), and 1 at 0", "0.0", True, NUMPY),
    "sinh": (np.sinh, "The hyperbolic sine of x", "0.0", True, NUMPY),
    "tan": (np.tan, "The tangent of x, in radians", "0.0", True, NUMPY),
    "ceil": (np.ceil, "The smallest whole number that is not below x, as a float", "1.5", False, NUMPY),
    "floor": (np.floor, "The largest whole number that is not above x, as a float", "1.5", False, NUMPY),
    "trunc": (np.trunc, "x without what is behind the point, as a float", "-1.5", False, NUMPY),
}


def _of_one(name: str, row: tuple[Any, str, str, bool, str]) -> Callable[..., Any]:
    function, text, example, derivative, module = row
    shown = float(function(np.float64(example)))

    def each(x: Any) -> Any:
        return function(floats(x))

    each.__name__ = each.__qualname__ = name
    text = text.replace("\\", "")
    each.__doc__ = f"""{text}, number by number; whole numbers become float32.

    >>> {name}(np.array([{example}])).tolist()
    [{shown}]
    """
    return composed(module, 1, derivative, "".join(part.capitalize() for part in name.split("_")))(each)


arccos: Callable[..., Any]
arccosh: Callable[..., Any]
arcsin: Callable[..., Any]
arcsinh: Callable[..., Any]
arctan: Callable[..., Any]
arctanh: Callable[..., Any]
cbrt: Callable[..., Any]
cosh: Callable[..., Any]
deg2rad: Callable[..., Any]
exp2: Callable[..., Any]
fabs: Callable[..., Any]
log10: Callable[..., Any]
log2: Callable[..., Any]
rad2deg: Callable[..., Any]
sinc: Callable[..., Any]
sinh: Callable[..., Any]
tan: Callable[..., Any]
ceil: Callable[..., Any]
floor: Callable[..., Any]
trunc: Callable[..., Any]

for _name, _row in _OF_ONE.items():
    globals()[_name] = _of_one(_name, _row)


# ---------------------------------------------------------------- with arguments, or of two


@composed()
def round(x: Any, decimals: int = 0) -> Any:
    """x rounded to so many digits behind the point; halves go to the even one. It has no slope.

    >>> round(np.array([1.25, 2.5]), 1).tolist()
    [1.2, 2.5]
    """
    from tdfast.ops.elementwise import stop_gradient

    return np.round(stop_gradient(x), decimals)


@composed(arrays=2)
def arctan2(x1: Any, x2: Any) -> Any:
    """The angle of the point (x2, x1), in radians.

    >>> arctan2(np.array([0.0]), np.array([1.0])).tolist()
    [0.0]
    """
    return np.arctan2(floats(x1), floats(x2))


@composed(arrays=2)
def hypot(x1: Any, x2: Any) -> Any:
    """sqrt(x1^2 + x2^2), number by number.

    >>> hypot(np.array([3.0]), np.array([4.0])).tolist()
    [5.0]
    """
    x1, x2 = floats(x1), floats(x2)
    return np.sqrt(x1 * x1 + x2 * x2)


@composed(arrays=2)
def logaddexp(x1: Any, x2: Any) -> Any:
    """log(e^x1 + e^x2), without overflow.

    >>> logaddexp(np.array([0.0]), np.array([-1000.0])).tolist()
    [0.0]
    """
    return np.logaddexp(floats(x1), floats(x2))


@composed(arrays=2)
def logaddexp2(x1: Any, x2: Any) -> Any:
    """log2(2^x1 + 2^x2), without overflow.

    >>> logaddexp2(np.array([1.0]), np.array([1.0])).tolist()
    [2.0]
    """
    return np.logaddexp2(floats(x1), floats(x2))


@composed(arrays=2)
def divide_no_nan(x1: Any, x2: Any) -> Any:
    """x1 / x2, and 0 where x2 is 0.

    >>> divide_no_nan(np.array([1.0, 1.0]), np.array([2.0, 0.0])).tolist()
    [0.5, 0.0]
    """
    x1, x2 = floats(x1), floats(x2)
    safe = np.where(x2 == 0, np.ones((), x2.dtype), x2)
    return np.where(x2 == 0, np.zeros((), x2.dtype), x1 / safe)


@composed(arrays=2)
def fmax(x1: Any, x2: Any) -> Any:
    """The larger of both; the other one where one is NaN.

    >>> fmax(np.array([1.0, np.nan]), np.array([2.0, 3.0])).tolist()
    [2.0, 3.0]
    """
    return np.where(_first(x1, x2, np.greater_equal), x1, x2)


@composed(arrays=2)
def fmin(x1: Any, x2: Any) -> Any:
    """The smaller of both; the other one where one is NaN.

    >>> fmin(np.array([1.0, np.nan]), np.array([2.0, 3.0])).tolist()
    [1.0, 3.0]
    """
    return np.where(_first(x1, x2, np.less_equal), x1, x2)


def _first(x1: Any, x2: Any, better: Any) -> Any:
    return better(x1, x2) | np.isnan(x2)


@composed(arrays=2)
def fmod(x1: Any, x2: Any) -> Any:
    """What is left of x1 / x2, with the sign of x1.

    >>> fmod(np.array([-3.0]), np.array([2.0])).tolist()
    [-1.0]
    """
    from tdfast.ops.elementwise import stop_gradient

    return x1 - stop_gradient(np.trunc(stop_gradient(x1) / stop_gradient(x2))) * x2


@composed(arrays=2)
def ldexp(x1: Any, x2: Any) -> Any:
    """x1 2^x2, for whole numbers x2.

    >>> ldexp(np.array([3.0]), np.array([2])).tolist()
    [12.0]
    """
    x1 = floats(x1)
    return x1 * np.exp2(np.asarray(x2, x1.dtype))


@composed(arrays=2, derivative=False)
def heaviside(x1: Any, x2: Any) -> Any:
    """0 where x1 is negative, 1 where it is positive, x2 where it is 0.

    >>> heaviside(np.array([-1.0, 0.0, 2.0]), 0.5).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.heaviside(floats(x1), np.asarray(x2, floats(x1).dtype))


@composed(arrays=2, derivative=False)
def nextafter(x1: Any, x2: Any) -> Any:
    """The next float after x1 on the way to x2.

    >>> bool(nextafter(np.float32(1), np.float32(2)) > 1)
    True
    """
    return np.nextafter(floats(x1), floats(x2))


@composed(arrays=2, derivative=False)
def gcd(x1: Any, x2: Any) -> Any:
    """The largest number by which both can be divided.

    >>> gcd(np.array([12]), np.array([18])).tolist()
    [6]
    """
    return np.gcd(x1, x2)


@composed(arrays=2, derivative=False)
def lcm(x1: Any, x2: Any) -> Any:
    """The smallest number that can be divided by both.

    >>> lcm(np.array([4]), np.array([6])).tolist()
    [12]
    """
    return np.lcm(x1, x2)


@composed(arrays=2, derivative=False)
def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether \\|x1 - x2\\| <= atol + rtol \\|x2\\|, number by number.

    >>> isclose(np.array([1.0]), np.array([1.000001])).tolist()
    [True]
    """
    return np.isclose(x1, x2, rtol, atol, equal_nan)


@composed(arrays=2, derivative=False)
def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> Any:
    """Whether `isclose` holds for all numbers.

    >>> bool(allclose(np.array([1.0]), np.array([1.000001])))
    True
    """
    return np.asarray(np.allclose(x1, x2, rtol, atol, equal_nan))


@composed(derivative=False)
def isinf(x: Any) -> Any:
    """Whether x is infinite.

    >>> isinf(np.array([1.0, -np.inf])).tolist()
    [False, True]
    """
    return np.isinf(x)


@composed(derivative=False)
def isposinf(x: Any) -> Any:
    """Whether x is infinity.

    >>> isposinf(np.array([np.inf, -np.inf])).tolist()
    [True, False]
    """
    return np.isposinf(x)


@composed(derivative=False)
def isneginf(x: Any) -> Any:
    """Whether x is minus infinity.

    >>> isneginf(np.array([np.inf, -np.inf])).tolist()
    [False, True]
    """
    return np.isneginf(x)


@composed(derivative=False)
def isreal(x: Any) -> Any:
    """Whether x has no imaginary part.

    >>> isreal(np.array([1.0])).tolist()
    [True]
    """
    return np.isreal(x)


@composed(derivative=False)
def signbit(x: Any) -> Any:
    """Whether x has a minus, as -0.0 has.

    >>> signbit(np.array([-0.0, 1.0])).tolist()
    [True, False]
    """
    return np.signbit(x)


@composed(arrays=2, derivative=False)
def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each number of x1 is among those of x2.

    >>> isin(np.array([1, 5]), np.array([1, 2])).tolist()
    [True, False]
    """
    return np.isin(x1, x2, assume_unique=assume_unique, invert=invert)


@composed()
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """x with other numbers in the place of NaN and of infinities: the largest and smallest when None.

    >>> nan_to_num(np.array([np.nan, 1.0])).tolist()
    [0.0, 1.0]
    """
    if x.dtype.kind != "f":
        return x
    limits = np.finfo(x.dtype)
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    for where, value in ((np.isnan(x), nan), (np.isposinf(x), high), (np.isneginf(x), low)):
        x = np.where(where, np.asarray(value, limits.dtype), x)
    return x


# ---------------------------------------------------------------- whole numbers, bit by bit


@composed(arrays=2, derivative=False)
def bitwise_and(x: Any, y: Any) -> Any:
    """The bits that both have.

    >>> bitwise_and(np.array([6]), np.array([3])).tolist()
    [2]
    """
    return np.bitwise_and(x, y)


@composed(arrays=2, derivative=False)
def bitwise_or(x: Any, y: Any) -> Any:
    """The bits that one of them has.

    >>> bitwise_or(np.array([6]), np.array([3])).tolist()
    [7]
    """
    return np.bitwise_or(x, y)


@composed(arrays=2, derivative=False)
def bitwise_xor(x: Any, y: Any) -> Any:
    """The bits that exactly one of them has.

    >>> bitwise_xor(np.array([6]), np.array([3])).tolist()
    [5]
    """
    return np.bitwise_xor(x, y)


@composed(derivative=False)
def bitwise_not(x: Any) -> Any:
    """The bits that x has not.

    >>> bitwise_not(np.array([0])).tolist()
    [-1]
    """
    return np.bitwise_not(x)


@composed(arrays=2, derivative=False)
def bitwise_left_shift(x: Any, y: Any) -> Any:
    """The bits of x moved y places up.

    >>> bitwise_left_shift(np.array([3]), np.array([2])).tolist()
    [12]
    """
    return np.left_shift(x, y)


@composed(arrays=2, derivative=False)
def bitwise_right_shift(x: Any, y: Any) -> Any:
    """The bits of x moved y places down.

    >>> bitwise_right_shift(np.array([12]), np.array([2])).tolist()
    [3]
    """
    return np.right_shift(x, y)


bitwise_invert = bitwise_not
left_shift = bitwise_left_shift
right_shift = bitwise_right_shift

# ---------------------------------------------------------------- the error function and its kin


@composed(MATH)
def erf(x: Any) -> Any:
    """2 / sqrt(pi) times the integral of e^-t^2 from 0 to x.

    >>> round(erf(np.array([0.5])), 4).tolist()
    [0.5205]
    """
    return _erf(floats(x))


@composed(MATH)
def erfc(x: Any) -> Any:
    """1 - erf(x), to full precision where erf(x) is near 1.

    >>> erfc(np.array([0.0])).tolist()
    [1.0]
    """
    return _erfc(floats(x))


def _by_math(function: Any) -> Any:
    """A function of math's, number by number, in the dtype of its array."""

    def apply(x: Any) -> Any:
        return np.vectorize(function, otypes=[np.float64])(x).astype(x.dtype) if x.size else x

    return apply


def _erf(x: Any) -> Any:
    import math

    from tdfast.engine import derivatives

    slope = 2 / math.sqrt(math.pi)
    return derivatives.step(_by_math(math.erf), lambda g, y, x: [g * (slope * np.exp(-x * x))], x)


def _erfc(x: Any) -> Any:
    import math

    from tdfast.engine import derivatives

    slope = 2 / math.sqrt(math.pi)
    return derivatives.step(_by_math(math.erfc), lambda g, y, x: [-g * (slope * np.exp(-x * x))], x)


@composed(MATH)
def erfinv(x: Any) -> Any:
    """The number whose erf is x.

    >>> round(erfinv(erf(np.array([0.5]))), 4).tolist()
    [0.5]
    """
    import math

    from tdfast.engine import derivatives

    half = math.sqrt(math.pi) / 2
    return derivatives.step(_by_math(_inverse_erf), lambda g, y, x: [g * (half * np.exp(y * y))], floats(x))


def _inverse_erf(x: float) -> float:
    """By Newton's steps from Giles' approximation (2012)."""
    import math

    if not -1 < x < 1:
        return math.copysign(math.inf, x) if x in (-1, 1) else math.nan
    w = -math.log((1 - x) * (1 + x))
    if w < 5:
        w -= 2.5
        start, terms = 2.81022636e-08, (3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
                                        -0.00125372503, -0.00417768164, 0.246640727, 1.50140941)
    else:
        w = math.sqrt(w) - 3
        start, terms = -0.000200214257, (0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
                                         -0.0076224613, 0.00943887047, 1.00167406, 2.83297682)
    for term in terms:
        start = term + start * w
    y = start * x
    for _ in range(2):
        y -= (math.erf(y) - x) / (2 / math.sqrt(math.pi) * math.exp(-y * y))
    return y


# ---------------------------------------------------------------- activations


def _activation(name: str) -> Any:
    from tdfast import activations

    return getattr(activations, name)


_ACTIVATIONS = ("hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid", "relu6", "selu", "softsign",
                "sparse_plus", "sparse_sigmoid", "tanh_shrink")


def _made_activation(name: str) -> Callable[..., Any]:
    def act(x: Any) -> Any:
        return _activation(name)(floats(x))

    act.__name__ = act.__qualname__ = name
    act.__doc__ = f"""`tdfast.activations.{name}`, with its derivative.

    >>> {name}(np.zeros((2, 3))).shape
    (2, 3)
    """
    return composed(NN)(act)


hard_sigmoid: Callable[..., Any]
hard_silu: Callable[..., Any]
hard_tanh: Callable[..., Any]
log_sigmoid: Callable[..., Any]
relu6: Callable[..., Any]
selu: Callable[..., Any]
softsign: Callable[..., Any]
sparse_plus: Callable[..., Any]
sparse_sigmoid: Callable[..., Any]
tanh_shrink: Callable[..., Any]

for _name in _ACTIVATIONS:
    globals()[_name] = _made_activation(_name)
hard_swish = globals()["hard_silu"]


@composed(NN)
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, alpha (e^x - 1) elsewhere.

    >>> elu(np.array([2.0])).tolist()
    [2.0]
    """
    return _activation("elu")(floats(x), alpha=alpha)


@composed(NN)
def celu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, alpha (e^(x / alpha) - 1) elsewhere.

    >>> celu(np.array([2.0])).tolist()
    [2.0]
    """
    return _activation("celu")(floats(x), alpha=alpha)


@composed(NN)
def gelu(x: Any, approximate: bool = True) -> Any:
    """x times the normal distribution's function; by tanh, unless approximate is False.

    >>> gelu(np.array([0.0])).tolist()
    [0.0]
    """
    return _activation("gelu")(floats(x), approximate=approximate)


@composed(NN)
def glu(x: Any, axis: int = -1) -> Any:
    """a sigmoid(b), where a and b are the halves of x along an axis.

    >>> glu(np.zeros((2, 4))).shape
    (2, 2)
    """
    from tdfast.ops.elementwise import sigmoid
    from tdfast.ops.shaping import split

    a, b = split(x, 2, axis=axis)
    return a * sigmoid(b)


@composed(NN)
def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x where \\|x\\| is above the threshold, 0 elsewhere.

    >>> hard_shrink(np.array([0.3, 2.0])).tolist()
    [0.0, 2.0]
    """
    return _activation("hard_shrink")(floats(x), threshold=threshold)


@composed(NN)
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x moved towards 0 by the threshold, and no farther.

    >>> soft_shrink(np.array([0.3, 2.0])).tolist()
    [0.0, 1.5]
    """
    return _activation("soft_shrink")(floats(x), threshold=threshold)


@composed(NN)
def squareplus(x: Any, b: float = 4) -> Any:
    """(x + sqrt(x^2 + b)) / 2.

    >>> squareplus(np.array([0.0])).tolist()
    [1.0]
    """
    return _activation("squareplus")(floats(x), b=b)


@composed(NN)
def sparsemax(x: Any, axis: int = -1) -> Any:
    """The point of the probability simplex that is nearest to x, along an axis.

    >>> sparsemax(np.array([3.0, 0.0])).tolist()
    [1.0, 0.0]
    """
    return _activation("sparsemax")(floats(x), axis=axis)


@composed(NN)
def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """x where it is above the threshold, default_value elsewhere.

    >>> threshold(np.array([1.0, 3.0]), 2.0, -1.0).tolist()
    [-1.0, 3.0]
    """
    x = floats(x)
    return np.where(x > threshold, x, np.asarray(default_value, x.dtype))
