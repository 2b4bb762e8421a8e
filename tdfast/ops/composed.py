"""Operations that are written as plain functions of arrays: their gradients are found."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from tdfast.engine import tracing
from tdfast.engine.operation import Operation
from tdfast.engine.structure import flatten, packed_as
from tdfast.engine.tensor import is_symbolic
from tdfast.ops.base import NUMPY, as_operand, operation

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


class Composed(Operation):
    """An operation by a function of NumPy's functions and of `tdfast.ops`."""

    function: Any
    differentiable = True

    def apply(self, *args: Any) -> Any:
        return _plain(self.function(*args, **self.options))

    def pull_back(self, dy: Any, y: Any, *args: Any) -> Any:
        from tdfast.engine import derivatives

        leaves = flatten(list(args))
        places = [i for i, leaf in enumerate(leaves) if hasattr(leaf, "shape") and leaf.dtype.kind == "f"]
        found: list[Any] = [None] * len(leaves)
        if self.differentiable and places:

            def run(*arrays: Any) -> Any:
                given = list(leaves)
                for place, array in zip(places, arrays):
                    given[place] = array
                return self.function(*packed_as(list(args), given), **self.options)

            _, back = derivatives.pullback(run, *[leaves[i] for i in places])
            for place, gradient in zip(places, back(dy)):
                found[place] = gradient
        return packed_as(list(args), found)


def composed(module: str = NUMPY, arrays: int = 1, derivative: bool = True,
             name: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that makes an operation of a function.

    Args:
        module: where Keras has the class.
        arrays: how many of its first arguments are arrays, or lists of them.
        derivative: whether it has one.
        name: of the class; made from the function's when None.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        names = list(signature.parameters)
        kind = name or "".join(part.capitalize() for part in function.__name__.split("_"))
        body = {"module": module, "function": staticmethod(function), "differentiable": derivative,
                "__doc__": function.__doc__, "__module__": function.__module__}
        cls = operation(type(kind, (Composed,), body))

        @functools.wraps(function)
        def public(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            values = [bound.arguments[n] for n in names[:arrays]]
            options = {n: bound.arguments[n] for n in names[arrays:]}
            if is_symbolic(values):
                return cls(**options)(*values)
            values = [as_operand(value) for value in values]
            with np.errstate(all="ignore"):
                if tracing.level():
                    from tdfast.engine import derivatives

                    if derivatives.is_traced(values):
                        if derivative:
                            return _call(function, values, options)
                        leaves = [derivatives.raw(leaf) for leaf in flatten(values)]
                        values = packed_as(values, leaves)
                return _plain(_call(function, values, options))

        setattr(public, "composed_of", function)             # noqa: B010 -- for the checker
        return public

    return decorate


def _call(function: Any, values: Any, options: Any) -> Any:
    return function(*values, **options)


def _plain(y: Any) -> Any:
    """NumPy's numbers as arrays without axes."""
    if isinstance(y, tuple):
        return list(map(_plain, y)) if not hasattr(y, "_fields") else y
    return np.asarray(y) if isinstance(y, np.generic) else y


def floats(x: Any) -> Any:
    """An array of floats: those that are as they are, whole numbers and numbers of Python's in float32."""
    if not hasattr(x, "dtype"):
        return np.asarray(x, np.float32)
    return x if x.dtype.kind in "fc" else x.astype(np.float32)
