"""Choices and loops, which on arrays are Python's; and functions with a derivative of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import tracing
from tdfast.engine.structure import flatten, mapped, packed_as
from tdfast.ops.base import CORE, as_operand
from tdfast.ops.composed import composed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_NP: Any = np
"""NumPy, for calls whose overloads a checker cannot tell apart."""


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """What the first function gives if ``pred`` is true, else what the second gives.

    >>> cond(np.array(True), lambda: 1, lambda: 2)
    1
    """
    return true_fn() if bool(as_operand(pred)) else false_fn()


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """What the function at a place of a list gives; the first or the last for places beyond.

    >>> switch(1, [lambda x: x, lambda x: 2 * x], 5)
    10
    """
    place = min(max(int(np.asarray(index)), 0), len(branches) - 1)
    return branches[place](*operands)


def while_loop(cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any,
               maximum_iterations: int | None = None) -> Any:
    """The variables of a loop after ``body`` has run for as long as ``cond`` holds.

    >>> while_loop(lambda i: i < 3, lambda i: (i + 1,), (0,))
    (3,)
    """
    several = isinstance(loop_vars, (list, tuple))
    values, count = loop_vars, 0
    while (maximum_iterations is None or count < maximum_iterations) and bool(
            cond(*values) if several else cond(values)):
        made = body(*values) if several else body(values)
        values = made if not several else type(loop_vars)(made if isinstance(made, (list, tuple)) else [made])
        count += 1
    return values


def fori_loop(lower: int, upper: int, body_fun: Callable[[int, Any], Any], init_val: Any) -> Any:
    """What ``value = body_fun(i, value)`` gives after i has gone from lower to upper - 1.

    >>> fori_loop(0, 3, lambda i, x: x + i, 10)
    13
    """
    value = init_val
    for i in range(int(lower), int(upper)):
        value = body_fun(i, value)
    return value


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """What a function gives for each entry of the first axis, joined.

    >>> map(lambda x: x * 2, np.array([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """
    return _joined([f(part) for part in _parts(xs, None)])


def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """`map`.

    >>> vectorized_map(lambda x: x * 2, np.array([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """
    return map(function, elements)


def scan(f: Callable[[Any, Any], Any], init: Any, xs: Any = None, length: int | None = None,
         reverse: bool = False, unroll: Any = 1) -> Any:
    """(The last carry, the outputs joined) of ``carry, output = f(carry, x)`` over the first axis.

    >>> last, all_of_them = scan(lambda c, x: (c + x, c + x), 0.0, np.array([1.0, 2.0]))
    >>> float(last), all_of_them.tolist()
    (3.0, [1.0, 3.0])
    """
    parts = _parts(xs, length)
    outputs, carry = [], init
    for part in reversed(parts) if reverse else parts:
        carry, output = f(carry, part)
        outputs.append(output)
    outputs = outputs[::-1] if reverse else outputs
    return carry, None if not outputs or outputs[0] is None else _joined(outputs)


def _parts(xs: Any, length: int | None) -> list[Any]:
    """The entries of the first axis of each leaf."""
    if xs is None:
        return [None] * int(length or 0)
    count = flatten(xs)[0].shape[0]
    return [mapped(lambda leaf, i=i: leaf[i], xs) for i in range(count)]


def _joined(outputs: Sequence[Any]) -> Any:
    from tdfast.ops.shaping import stack

    leaves = zip(*[flatten(output) for output in outputs])
    return packed_as(outputs[0], [stack([as_operand(part) if hasattr(part, "shape") else np.asarray(part)
                                         for part in parts]) for parts in leaves])


def vectorize(pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None) -> Any:
    """A function of single numbers as one of arrays, by NumPy's `vectorize`; it has no derivative.

    >>> vectorize(lambda a, b: a + b)(np.array([1.0, 2.0]), 3.0).tolist()
    [4.0, 5.0]
    """
    return np.vectorize(pyfunc, excluded=excluded, signature=signature)


@composed(CORE)
def saturate_cast(x: Any, dtype: Any) -> Any:
    """The numbers in another dtype; numbers beyond its range become its largest or smallest.

    >>> saturate_cast(np.array([300.0, -5.0]), "uint8").tolist()
    [255, 0]
    """
    from tdfast.ops.elementwise import cast, clip

    kind = np.dtype(dtype)
    info = _NP.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    return cast(clip(x, float(info.min), float(info.max)), dtype)


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for a function with a derivative of its own.

    Args:
        f: gives (result, ``grad``); ``grad(*args, upstream=g)`` gives the gradient by each argument, from
            that by the result.

    >>> @custom_gradient
    ... def twice(x):
    ...     def grad(*args, upstream=None):
    ...         return upstream * 10
    ...     return x * 2, grad
    >>> from tdfast.ops import value_and_grad
    >>> [float(part) for part in value_and_grad(lambda x: twice(x).sum())(np.array(3.0))]
    [6.0, 10.0]
    """

    def apply(*args: Any) -> Any:
        from tdfast.engine import derivatives

        args = tuple(as_operand(arg) for arg in args)
        if not tracing.level() or not derivatives.is_traced(args):
            return f(*args)[0]
        held: dict[str, Any] = {}

        def function(*plain: Any) -> Any:
            y, held["grad"] = f(*plain)
            return y

        def slopes(g: Any, y: Any, *plain: Any) -> list[Any]:
            found = held["grad"](upstream=g)
            return list(found) if isinstance(found, (list, tuple)) else [found]

        return derivatives.step(function, slopes, *args)

    return apply
