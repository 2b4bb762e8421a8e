"""The names that older scripts import as ``K``, as in Keras 2's backend.

>>> from tdfast import backend as K
>>> import numpy as np
>>> float(K.sqrt(K.mean(K.square(np.array([3.0, -3.0])))))
3.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import ops, random
from tdfast.compat import absent
from tdfast.config import floatx, set_floatx
from tdfast.engine.variable import Variable
from tdfast.ops import (
    abs,
    cast,
    cos,
    cumprod,
    cumsum,
    equal,
    exp,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    maximum,
    minimum,
    not_equal,
    one_hot,
    round,
    shape,
    sigmoid,
    sign,
    sin,
    softmax,
    softplus,
    softsign,
    sqrt,
    square,
    stack,
    stop_gradient,
    tanh,
    tile,
)
from tdfast.utils import clear_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array

_EPSILON = 1e-7


def backend() -> str:
    """The name of what computes.

    >>> backend()
    'tdfast'
    """
    return "tdfast"


def epsilon() -> float:
    """The small number that losses keep away from log(0) by.

    >>> epsilon()
    1e-07
    """
    return _EPSILON


def image_data_format() -> str:
    """Where images have their channels.

    >>> image_data_format()
    'channels_last'
    """
    return "channels_last"


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all are true.

    >>> bool(all(np.array([True])))
    True
    """
    return ops.all(x, axis=axis, keepdims=keepdims)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether one is true.

    >>> bool(any(np.array([True])))
    True
    """
    return ops.any(x, axis=axis, keepdims=keepdims)


def argmax(x: Any, axis: int = -1) -> Any:
    """The place of the largest number.

    >>> int(argmax(np.array([1.0, 3.0])))
    1
    """
    return ops.argmax(x, axis=axis)


def argmin(x: Any, axis: int = -1) -> Any:
    """The place of the smallest number.

    >>> int(argmin(np.array([1.0, 3.0])))
    0
    """
    return ops.argmin(x, axis=axis)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = "int32") -> Any:
    """The numbers from start to stop, without stop.

    >>> arange(3).tolist()
    [0, 1, 2]
    """
    return ops.arange(start, stop, step, dtype)


def batch_flatten(x: Any) -> Any:
    """All axes but the first as one.

    >>> batch_flatten(np.zeros((2, 3, 4))).shape
    (2, 12)
    """
    return ops.reshape(x, (x.shape[0] or -1, int(np.prod(x.shape[1:]))))


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Any:
    """x plus a bias along the last axis.

    >>> bias_add(np.zeros((1, 2)), np.array([1.0, 2.0])).tolist()
    [[1.0, 2.0]]
    """
    return x + bias


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """`tdfast.ops.binary_crossentropy`, number by number.

    >>> binary_crossentropy(np.array([1.0]), np.array([0.5])).round(4).tolist()
    [0.6931]
    """
    return ops.binary_crossentropy(target, output, from_logits)


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """`tdfast.ops.categorical_crossentropy`.

    >>> categorical_crossentropy(np.array([[0.0, 1.0]]), np.array([[1.0, 3.0]])).round(4).tolist()
    [0.2877]
    """
    return ops.categorical_crossentropy(target, output, from_logits, axis)


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False,
                                    axis: int = -1) -> Any:
    """`tdfast.ops.sparse_categorical_crossentropy`.

    >>> sparse_categorical_crossentropy(np.array([1]), np.array([[0.25, 0.75]])).round(4).tolist()
    [0.2877]
    """
    return ops.sparse_categorical_crossentropy(target, output, from_logits, axis)


def cast_to_floatx(x: Any) -> Any:
    """x in the default dtype.

    >>> cast_to_floatx(np.array([1])).dtype.name
    'float32'
    """
    return ops.cast(ops.convert_to_tensor(x), floatx())


def clip(x: Any, min_value: Any, max_value: Any) -> Any:
    """The numbers of x, but none below min_value or above max_value; None: no bound.

    >>> clip(np.array([-2.0, 0.5]), -1.0, 1.0).tolist()
    [-1.0, 0.5]
    """
    return ops.minimum(ops.maximum(x, -np.inf if min_value is None else min_value),
                       np.inf if max_value is None else max_value)


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Any:
    """Arrays one after the other along an axis.

    >>> concatenate([np.zeros((1, 2)), np.ones((1, 1))]).tolist()
    [[0.0, 0.0, 1.0]]
    """
    return ops.concatenate(list(tensors), axis=axis)


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Any:
    """An array of a value, in a shape.

    >>> constant(2.0, shape=(2,)).tolist()
    [2.0, 2.0]
    """
    shape = np.shape(value) if shape is None else shape
    return np.array(np.broadcast_to(np.asarray(value, dtype or floatx()), shape))


def count_params(x: Any) -> Any:
    """How many numbers there are.

    >>> count_params(np.zeros((2, 3)))
    6
    """
    return int(np.prod(x.shape))


def dtype(x: Any) -> Any:
    """The name of an array's dtype.

    >>> dtype(np.zeros(2, "float32"))
    'float32'
    """
    return ops.dtype(x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, alpha (e^x - 1) elsewhere.

    >>> elu(np.array([2.0])).tolist()
    [2.0]
    """
    return ops.elu(x, alpha)


def expand_dims(x: Any, axis: int = -1) -> Any:
    """One more axis, of size 1.

    >>> expand_dims(np.zeros(2)).shape
    (2, 1)
    """
    return ops.expand_dims(x, axis)


def eye(size: int, dtype: Any = None, name: str | None = None) -> Any:
    """A square matrix with ones on its diagonal.

    >>> eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return ops.eye(size, dtype=dtype)


def flatten(x: Any) -> Any:
    """All numbers along one axis.

    >>> flatten(np.zeros((2, 3))).shape
    (6,)
    """
    return ops.reshape(x, (-1,))


def gather(reference: Any, indices: Any) -> Any:
    """The entries of the first axis at some places.

    >>> gather(np.array([1.0, 2.0]), np.array([1])).tolist()
    [2.0]
    """
    return ops.take(reference, indices, axis=0)


def get_value(x: Any) -> Any:
    """A copy of an array's or a variable's numbers.

    >>> get_value(np.array([1.0])).tolist()
    [1.0]
    """
    return ops.convert_to_numpy(x).copy()


def eval(x: Any) -> Any:
    """The numbers: everything is computed at once.

    >>> eval(np.array([1.0])).tolist()
    [1.0]
    """
    return ops.convert_to_numpy(x)


def hard_sigmoid(x: Any) -> Any:
    """Keras 2's: 0.2 x + 0.5, cut off at 0 and 1.

    >>> hard_sigmoid(np.array([0.0, 9.0])).tolist()
    [0.5, 1.0]
    """
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def in_top_k(predictions: Any, targets: Any, k: int) -> Any:
    """Whether each target class is among the k with the largest predictions.

    >>> in_top_k(np.array([[0.1, 0.9]]), np.array([1]), 1).tolist()
    [True]
    """
    return ops.in_top_k(targets, predictions, k)


def int_shape(x: Any) -> Any:
    """The shape, None standing for any size.

    >>> int_shape(np.zeros((2, 3)))
    (2, 3)
    """
    return tuple(x.shape)


def is_sparse(tensor: Any) -> Any:
    """Whether an array is sparse: never.

    >>> is_sparse(np.zeros(2))
    False
    """
    return False


def l2_normalize(x: Any, axis: Any = None) -> Any:
    """x by its length along an axis.

    >>> l2_normalize(np.array([3.0, 4.0]), axis=0).round(4).tolist()
    [0.6, 0.8]
    """
    return ops.normalize(x, axis=tuple(range(len(x.shape))) if axis is None else axis, epsilon=1e-6)


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """log(sum(e^x)) over some axes, without overflow.

    >>> float(logsumexp(np.array([0.0])))
    0.0
    """
    return ops.logsumexp(x, axis=axis, keepdims=keepdims)


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest number.

    >>> float(max(np.array([1.0, 3.0])))
    3.0
    """
    return ops.max(x, axis=axis, keepdims=keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean.

    >>> float(mean(np.array([1.0, 3.0])))
    2.0
    """
    return ops.mean(x, axis=axis, keepdims=keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest number.

    >>> float(min(np.array([1.0, 3.0])))
    1.0
    """
    return ops.min(x, axis=axis, keepdims=keepdims)


def ndim(x: Any) -> Any:
    """The number of axes.

    >>> ndim(np.zeros((2, 3)))
    2
    """
    return len(x.shape)


def ones(shape: Any, dtype: Any = None, name: str | None = None) -> Any:
    """An array of ones.

    >>> ones((2,)).tolist()
    [1.0, 1.0]
    """
    return ops.ones(shape, dtype)


def zeros(shape: Any, dtype: Any = None, name: str | None = None) -> Any:
    """An array of zeros.

    >>> zeros((2,)).tolist()
    [0.0, 0.0]
    """
    return ops.zeros(shape, dtype)


def ones_like(x: Any, dtype: Any = None, name: str | None = None) -> Any:
    """Ones in the shape of x.

    >>> ones_like(np.zeros(2)).tolist()
    [1.0, 1.0]
    """
    return ops.ones_like(x) if dtype is None else ops.cast(ops.ones_like(x), dtype)


def zeros_like(x: Any, dtype: Any = None, name: str | None = None) -> Any:
    """Zeros in the shape of x.

    >>> zeros_like(np.ones(2)).tolist()
    [0.0, 0.0]
    """
    return ops.zeros_like(x) if dtype is None else ops.cast(ops.zeros_like(x), dtype)


def permute_dimensions(x: Any, pattern: Any) -> Any:
    """The axes in another order.

    >>> permute_dimensions(np.zeros((2, 3)), (1, 0)).shape
    (3, 2)
    """
    return ops.transpose(x, pattern)


def pow(x: Any, a: Any) -> Any:
    """x to the power of a.

    >>> pow(np.array([3.0]), 2).tolist()
    [9.0]
    """
    return ops.power(x, a)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The product.

    >>> float(prod(np.array([2.0, 3.0])))
    6.0
    """
    return ops.prod(x, axis=axis, keepdims=keepdims)


def random_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None,
                  seed: Any = None) -> Any:
    """Normal random numbers.

    >>> random_normal((2, 3)).shape
    (2, 3)
    """
    return random.normal(shape, mean, stddev, dtype, seed)


def random_uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None,
                   seed: Any = None) -> Any:
    """Uniform random numbers.

    >>> random_uniform((2, 3)).shape
    (2, 3)
    """
    return random.uniform(shape, minval, maxval, dtype, seed)


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None,
                     seed: Any = None) -> Any:
    """Normal random numbers, none farther from the mean than two stddev.

    >>> truncated_normal((2, 3)).shape
    (2, 3)
    """
    return random.truncated_normal(shape, mean, stddev, dtype, seed)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """x above a threshold, up to max_value; alpha (x - threshold) below it.

    >>> relu(np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    kept = x if max_value is None else ops.minimum(x, max_value)
    return ops.where(x >= threshold, kept, alpha * (x - threshold) if alpha else ops.zeros_like(x))


def repeat(x: Any, n: int) -> Any:
    """A matrix (batch, features) n times along a new second axis.

    >>> repeat(np.zeros((2, 3)), 4).shape
    (2, 4, 3)
    """
    return ops.repeat(ops.expand_dims(x, 1), n, axis=1)


def repeat_elements(x: Any, rep: int, axis: int) -> Any:
    """Each entry of an axis so many times.

    >>> repeat_elements(np.zeros((2, 3)), 2, 1).shape
    (2, 6)
    """
    return ops.repeat(x, rep, axis=axis)


def reshape(x: Any, shape: Any) -> Any:
    """The numbers in another shape.

    >>> reshape(np.zeros(6), (2, 3)).shape
    (2, 3)
    """
    return ops.reshape(x, shape)


def reverse(x: Any, axes: Any) -> Any:
    """The other way round along some axes.

    >>> reverse(np.array([1, 2]), 0).tolist()
    [2, 1]
    """
    return ops.flip(x, axes)


def squeeze(x: Any, axis: int) -> Any:
    """Without an axis of size 1.

    >>> squeeze(np.zeros((2, 1)), 1).shape
    (2,)
    """
    return ops.squeeze(x, axis)


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The standard deviation.

    >>> float(std(np.array([1.0, 3.0])))
    1.0
    """
    return ops.std(x, axis=axis, keepdims=keepdims)


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum.

    >>> float(sum(np.array([1.0, 3.0])))
    4.0
    """
    return ops.sum(x, axis=axis, keepdims=keepdims)


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The variance.

    >>> float(var(np.array([1.0, 3.0])))
    1.0
    """
    return ops.var(x, axis=axis, keepdims=keepdims)


def transpose(x: Any) -> Any:
    """The axes in the reverse order.

    >>> transpose(np.zeros((2, 3))).shape
    (3, 2)
    """
    return ops.transpose(x)


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None) -> Any:
    """A `tdfast.Variable` that holds a value.

    >>> variable([1.0]).numpy().tolist()
    [1.0]
    """
    return Variable(np.asarray(value, dtype or floatx()), name=name or "variable", constraint=constraint)


def to_dense(tensor: Any) -> Any:
    """The array as it is: none is sparse.

    >>> to_dense(np.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return tensor


def batch_get_value(tensors: Sequence[Any]) -> list[Array]:
    """Copies of the numbers of several arrays or variables.

    >>> [a.tolist() for a in batch_get_value([np.array([1.0])])]
    [[1.0]]
    """
    return [get_value(x) for x in tensors]


def set_value(x: Variable, value: Any) -> None:
    """Overwrite a variable.

    >>> v = variable([1.0])
    >>> set_value(v, [2.0])
    >>> v.numpy().tolist()
    [2.0]
    """
    x.assign(np.asarray(value))


def batch_set_value(tuples: Sequence[Any]) -> None:
    """Overwrite several variables, from pairs (variable, value).

    >>> v = variable([1.0])
    >>> batch_set_value([(v, [2.0])])
    >>> v.numpy().tolist()
    [2.0]
    """
    for x, value in tuples:
        set_value(x, value)


def update(x: Variable, new_x: Any) -> Variable:
    """Overwrite a variable, and give it back.

    >>> update(variable([1.0]), [2.0]).numpy().tolist()
    [2.0]
    """
    x.assign(np.asarray(new_x))
    return x


def update_add(x: Variable, increment: Any) -> Variable:
    """Add to a variable, and give it back.

    >>> update_add(variable([1.0]), [2.0]).numpy().tolist()
    [3.0]
    """
    return update(x, x.value + np.asarray(increment))


def update_sub(x: Variable, decrement: Any) -> Variable:
    """Subtract from a variable, and give it back.

    >>> update_sub(variable([1.0]), [2.0]).numpy().tolist()
    [-1.0]
    """
    return update(x, x.value - np.asarray(decrement))


def dot(x: Any, y: Any) -> Any:
    """The product over the last axis of x and the last but one of y.

    >>> dot(np.ones((2, 3, 4)), np.ones((4, 5))).shape
    (2, 3, 5)
    """
    return ops.dot(x, y) if len(y.shape) != 2 else ops.matmul(x, y)


def batch_dot(x: Any, y: Any, axes: Any = None) -> Any:
    """For each sample the sum of products over an axis of x and one of y.

    Args:
        x, y: arrays (batch, ...).
        axes: the axis of both, or a pair; the last of x and the last but one of y (the last, if y has two
            axes) when None.

    Returns:
        The other axes of x, then those of y; (batch, 1) where there are none.

    >>> batch_dot(np.ones((2, 3, 4)), np.ones((2, 4, 5))).shape
    (2, 3, 5)
    >>> batch_dot(np.ones((2, 3)), np.ones((2, 3)), axes=1).shape
    (2, 1)
    """
    nx, ny = len(x.shape), len(y.shape)
    if nx < 2 or ny < 2:
        raise ValueError(f"batch_dot needs arrays of at least two axes, got shapes {x.shape} and {y.shape}.")
    if axes is None:
        axes = (nx - 1, ny - 1 if ny == 2 else ny - 2)
    a, b = (axes, axes) if isinstance(axes, int) else axes
    a, b = a % nx, b % ny
    if 0 in (a, b):
        raise ValueError(f"batch_dot: axis 0 is the batch, so axes must not have it, got {axes}.")
    left, right = "acdefgh"[:nx], "aijklmn"[:ny]
    left, right = left[:a] + "z" + left[a + 1 :], right[:b] + "z" + right[b + 1 :]
    out = left.replace("z", "") + right[1:].replace("z", "")
    found = ops.einsum(f"{left},{right}->{out}", x, y)
    return ops.expand_dims(found, 1) if out == "a" else found


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    """The numbers of one where a condition holds, those of the other elsewhere.

    Both may be functions that give them.

    >>> switch(np.array([True, False]), np.array([1.0, 2.0]), np.array([3.0, 4.0])).tolist()
    [1.0, 4.0]
    """
    a, b = (e() if callable(e) else e for e in (then_expression, else_expression))
    condition = ops.cast(condition, "bool")
    missing = len(a.shape) - len(condition.shape)
    if missing > 0 and len(condition.shape) > 0:
        condition = ops.reshape(condition, (*condition.shape, *(1 for _ in range(missing))))
    return ops.where(condition, a, b)


def dropout(x: Any, level: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """x with a share of its numbers 0, the others larger by as much.

    >>> dropout(np.ones((2, 3), "float32"), 0.0).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    kept = random.uniform(x.shape if noise_shape is None else noise_shape, 0.0, 1.0, None, seed) >= level
    return x * ops.cast(kept, ops.dtype(x)) / (1 - level)


def map_fn(fn: Any, elems: Any, name: str | None = None, dtype: Any = None) -> Any:
    """What a function gives for each entry of the first axis, joined.

    >>> map_fn(lambda x: 2 * x, np.array([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """
    return ops.map(fn, elems)


def foldl(fn: Any, elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """What ``value = fn(value, x)`` gives after all entries of the first axis.

    >>> float(foldl(lambda a, x: a + x, np.array([1.0, 2.0])))
    3.0
    """
    return _folded(fn, list(elems), initializer)


def foldr(fn: Any, elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """`foldl` from the last entry to the first.

    >>> float(foldr(lambda a, x: a - x, np.array([1.0, 2.0])))
    1.0
    """
    return _folded(fn, list(elems)[::-1], initializer)


def _folded(fn: Any, parts: list[Any], value: Any) -> Any:
    if value is None:
        value, *parts = parts
    for part in parts:
        value = fn(value, part)
    return value


def gradients(loss: Any, variables: Any) -> Any:
    """Refused: a number does not know what it was computed from. See `tdfast.ops.grad`.

    >>> gradients(1.0, [])
    Traceback (most recent call last):
    TypeError: K.gradients cannot tell ... tdfast.ops.value_and_grad(function, variables)...
    """
    raise TypeError(
        "K.gradients cannot tell how a number was computed. Put the computation into a function: "
        "tdfast.ops.value_and_grad(function, variables)() gives its value and its gradients."
    )


def is_keras_tensor(x: Any) -> bool:
    """Whether x is a symbolic tensor of a graph.

    >>> is_keras_tensor(np.zeros(2))
    False
    """
    from tdfast.engine.tensor import SymbolicTensor

    return isinstance(x, SymbolicTensor)


if not TYPE_CHECKING:             # a checker knows what is not there by itself
    __getattr__ = absent.lookup(__name__)

__all__ = [
    "abs",
    "all",
    "any",
    "arange",
    "argmax",
    "argmin",
    "backend",
    "batch_dot",
    "batch_flatten",
    "batch_get_value",
    "batch_set_value",
    "bias_add",
    "binary_crossentropy",
    "cast",
    "cast_to_floatx",
    "categorical_crossentropy",
    "clear_session",
    "clip",
    "concatenate",
    "constant",
    "cos",
    "count_params",
    "cumprod",
    "cumsum",
    "dot",
    "dropout",
    "dtype",
    "elu",
    "epsilon",
    "equal",
    "eval",
    "exp",
    "expand_dims",
    "eye",
    "flatten",
    "floatx",
    "foldl",
    "foldr",
    "gather",
    "get_value",
    "gradients",
    "greater",
    "greater_equal",
    "hard_sigmoid",
    "image_data_format",
    "in_top_k",
    "int_shape",
    "is_keras_tensor",
    "is_sparse",
    "l2_normalize",
    "less",
    "less_equal",
    "log",
    "logsumexp",
    "map_fn",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "ndim",
    "not_equal",
    "one_hot",
    "ones",
    "ones_like",
    "permute_dimensions",
    "pow",
    "prod",
    "random_normal",
    "random_uniform",
    "relu",
    "repeat",
    "repeat_elements",
    "reshape",
    "reverse",
    "round",
    "set_floatx",
    "set_value",
    "shape",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "softplus",
    "softsign",
    "sparse_categorical_crossentropy",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "stop_gradient",
    "sum",
    "switch",
    "tanh",
    "tile",
    "to_dense",
    "transpose",
    "truncated_normal",
    "update",
    "update_add",
    "update_sub",
    "var",
    "variable",
    "zeros",
    "zeros_like",
]
