"""grad and value_and_grad: derivatives of functions, for a training loop of your own."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import tracing
from tdfast.engine.structure import flatten, packed_as
from tdfast.engine.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Callable


def value_and_grad(function: Callable[..., Any], by: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives what a function gives, and its gradient.

    Layers and models called within the function train: their ``training`` is what the call says. The function
    computes with `tdfast.ops`, NumPy's functions, operators, layers, models and losses.

    Args:
        function: gives one number, such as the loss of a batch. With has_aux it gives a pair: that number,
        and
            what else is wanted, of which no derivative is taken.
        by: what the gradient is by: the place of an argument (0: the first), a tuple of several, or a list of
            variables, such as ``model.trainable_variables``.
        has_aux: as said.

    Returns:
        A function of the same arguments, which gives (value, gradient); with has_aux ((value, aux),
        gradient).
        The gradient has the structure of ``by``: an array, a tuple of arrays, or a list with an array for
        each
        variable.

    Raises:
        TypeError: if the function does not return one number, or one without a derivative.

    >>> value, gradient = value_and_grad(lambda x: (x ** 2).sum())(np.array([1.0, 3.0]))
    >>> float(value), gradient.tolist()
    (10.0, [2.0, 6.0])
    """

    @functools.wraps(function)
    def derived(*args: Any, **kwargs: Any) -> Any:
        from tdfast.engine import derivatives

        variables = by if isinstance(by, (list, tuple)) and all(isinstance(v, Variable) for v in by) else None
        places = () if variables is not None else (by,) if isinstance(by, int) else tuple(by)
        trace = derivatives.Trace(variables or [])
        given = list(args)
        for place in places:
            leaves = flatten(given[place])
            given[place] = packed_as(given[place], [
                trace.root(_floats(leaf), (place, k)) for k, leaf in enumerate(leaves)])
        with tracing.Frame(trace):
            found = function(*given, **kwargs)
        value, aux = found if has_aux else (found, None)
        _check(value, function)
        with np.errstate(all="ignore"):
            trace.back([(value, np.ones((), derivatives.raw(value).dtype))])
        if variables is not None:
            gradients: Any = [_or_zeros(trace.gradient(id(v)), v.value) for v in variables]
        else:
            each = []
            for place in places:
                leaves = [_or_zeros(trace.gradient((place, k)), derivatives.raw(leaf))
                          for k, leaf in enumerate(flatten(given[place]))]
                each.append(packed_as(given[place], leaves))
            gradients = each[0] if isinstance(by, int) else tuple(each)
        value = _without(value, trace)
        if has_aux:
            return (value, packed_as(aux, [_without(leaf, trace) for leaf in flatten(aux)])), gradients
        return value, gradients

    return derived


def grad(function: Callable[..., Any], by: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives the gradient of a function: `value_and_grad` without the value.

    Args:
        function, by, has_aux: as for `value_and_grad`.

    >>> grad(lambda x: (x ** 3).sum())(np.array([1.0, 2.0])).tolist()
    [3.0, 12.0]

    A derivative of a derivative:

    >>> float(grad(grad(lambda x: x ** 3))(np.array(2.0)))
    12.0
    """
    both = value_and_grad(function, by, has_aux)

    @functools.wraps(function)
    def derived(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return derived


def _floats(leaf: Any) -> Any:
    from tdfast.engine import derivatives

    leaf = tracing.value_of(leaf) if isinstance(leaf, Variable) else leaf
    if isinstance(leaf, derivatives.Traced):
        return leaf
    array = np.asarray(leaf)
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _check(value: Any, function: Callable[..., Any]) -> None:
    from tdfast.engine import derivatives

    name = getattr(function, "__name__", str(function))
    if not isinstance(value, derivatives.Traced):
        raise TypeError(
            f"{name} returned {value!r:.60} ({type(value).__name__}), which does not depend, in a way "
            "that has a "
            "derivative, on what the gradient is by. Compute with tdfast.ops, NumPy's functions or "
            "operators on it."
        )
    if value.shape:
        raise TypeError(
            f"{name} returned an array of shape {value.shape}, but a gradient is of one number: take the "
            "mean or the "
            "sum of it."
        )


def _or_zeros(gradient: Any, like: Any) -> Any:
    return np.zeros_like(like) if gradient is None else gradient


def _without(value: Any, trace: Any) -> Any:
    """A value without this trace's record; outer ones stay."""
    from tdfast.engine import derivatives

    while isinstance(value, derivatives.Traced) and value._trace == trace.level:
        value = value._value
    return value
