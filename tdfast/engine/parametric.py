"""Activations in NumPy: those of Keras's that take parameters, and the user's own."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine import tracing
from tdfast.engine.activation_table import TABLE

if TYPE_CHECKING:
    from tdfast.engine.types import Array, Arrays, Numbers

PIECE = 1 << 14
"""Numbers that are worked on at a time, so that no memory is taken that grows with the batch."""


class Function:
    """An activation of your own, in NumPy: its value and its slope.

    Dense and Activation layers take one; recurrent and convolutional layers, whose kernels compute the
    activation within their loops, take those of `tdfast.activations` only.

    Args:
        value: f(x), an array of x's shape and dtype; each number by itself.
        slope: f'(x), likewise.
        name: by which a file knows it; that of ``value`` when None. To load such a file, register the object
            with `tdfast.saving.register_keras_serializable`, or give ``custom_objects={name: function}``.

    >>> cube = Function(lambda x: x**3, lambda x: 3 * x**2, "cube")
    >>> cube([2.0]).tolist(), cube.gradient([2.0], [1.0]).tolist()
    ([8.0], [12.0])
    """

    kind: Any = None
    """The number by which kernels would know it."""
    is_row = False
    needs_input = True

    def __init__(self, value: Any, slope: Any, name: str | None = None) -> None:
        if not callable(value) or not callable(slope):
            raise ValueError(
                f"Function needs two functions, value(x) and slope(x), got {value!r} and {slope!r}."
            )
        self.value, self.slope = value, slope
        self.name = self.__name__ = name or getattr(value, "__name__", type(value).__name__)

    def forward(self, x: Any, y: Any) -> Arrays:
        """Write f(x) to y."""
        y[...] = self._checked(self.value(x), x, "value")

    def backward(self, x: Any, y: Any, dy: Arrays, dx: Any) -> Arrays:
        """Write dy f'(x) to dx."""
        np.multiply(dy, self._checked(self.slope(x), x, "slope"), out=dx, casting="same_kind")

    def __call__(self, x: Numbers) -> Array:
        """f(x) as a new array."""
        x = _floats(x)
        y = np.empty_like(x)
        self.forward(x, y)
        return y

    def gradient(self, x: Any, dy: Arrays) -> Array:
        """dy f'(x) as a new array."""
        x = _floats(x)
        dx = np.empty_like(x)
        self.backward(x, self(x), np.asarray(dy, x.dtype), dx)
        return dx

    def _checked(self, result: Any, x: Any, what: str) -> Any:
        if np.shape(result) != x.shape:
            raise ValueError(
                f"The {what} of activation '{self.name}' must return an array of its input's shape, "
                f"{x.shape}, got "
                f"{np.shape(result)}."
            )
        return result

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


class Recorded(Function):
    """A plain function of an array as an activation: its slope is found.

    >>> import tdfast
    >>> snake = Recorded(lambda x: x + tdfast.ops.sin(x) ** 2)
    >>> snake.gradient([0.0], [3.0]).tolist()
    [3.0]
    """

    def __init__(self, value: Any, name: str | None = None) -> None:
        super().__init__(value, value, name)

    def backward(self, x: Any, y: Any, dy: Arrays, dx: Any) -> Arrays:
        from tdfast.engine import derivatives

        value, back = derivatives.pullback(self.value, x)
        self._checked(value, x, "value")
        np.copyto(dx, back(dy)[0])

    def __call__(self, x: Numbers) -> Any:
        return self.value(x) if tracing.is_recorded(x) else super().__call__(x)


class Parametric(Function):
    """An activation that takes parameters, with its own; equal ones are equal."""

    def __init__(self, name: str, **parameters: Any) -> None:
        self.name = self.__name__ = name
        self.parameters = {**defaults(name), **parameters}
        value, slope = TABLE[name].numpy
        super().__init__(lambda x: value(x, **self.parameters), lambda x: slope(x, **self.parameters), name)

    def __reduce__(self) -> Any:
        return _parametric, (self.name, self.parameters)

    def forward(self, x: Any, y: Any) -> Arrays:
        for xs, ys in zip(_pieces(x), _pieces(y)):
            ys[...] = self.value(xs)

    def backward(self, x: Any, y: Any, dy: Arrays, dx: Any) -> Arrays:
        for xs, dys, dxs in zip(_pieces(x), _pieces(dy), _pieces(dx)):
            np.multiply(dys, self.slope(xs), out=dxs)


def _parametric(name: str, parameters: Any) -> Any:
    return Parametric(name, **parameters)


def _floats(x: Any) -> Any:
    x = np.asarray(x)
    return np.ascontiguousarray(x, np.float64 if x.dtype == np.float64
                                else np.float32) if x.ndim else x.astype(np.float32)


def _pieces(array: Array) -> Any:
    flat = array.reshape(-1)
    return (flat[i : i + PIECE] for i in range(0, flat.size, PIECE))


def defaults(name: str) -> dict[str, Any]:
    """The parameters of an activation with their defaults, in Keras's order; none if it takes none.

    >>> defaults("elu")
    {'alpha': 1.0}
    """
    if TABLE[name].numpy is None:
        return {}
    value, _ = TABLE[name].numpy
    return {p.name: p.default for p in list(inspect.signature(value).parameters.values())[1:]}
