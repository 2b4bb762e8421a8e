"""Activations in NumPy: those of Keras's that take parameters, and the user's own."""

import inspect

import numpy as np

PIECE = 1 << 14
"""Numbers that are worked on at a time, so that no memory is taken that grows with the batch."""


class Function:
    """An activation of your own, in NumPy: its value and its slope.

    Dense and Activation layers take one; recurrent and convolutional layers, whose kernels compute the
    activation within their loops, take those of `tdfast.activations` only.

    Args:
        value: f(x), an array of x's shape and dtype; each number by itself.
        slope: f'(x), likewise.
        name: by which a file knows it; that of ``value`` when None. To load such a file, register the object with
            `tdfast.saving.register_keras_serializable`, or give ``custom_objects={name: function}``.

    >>> cube = Function(lambda x: x**3, lambda x: 3 * x**2, "cube")
    >>> cube([2.0]).tolist(), cube.gradient([2.0], [1.0]).tolist()
    ([8.0], [12.0])
    """

    kind = None
    """The number by which kernels would know it."""
    is_row = False
    needs_input = True

    def __init__(self, value, slope, name=None):
        if not callable(value) or not callable(slope):
            raise ValueError(f"Function needs two functions, value(x) and slope(x), got {value!r} and {slope!r}.")
        self.value, self.slope = value, slope
        self.name = self.__name__ = name or getattr(value, "__name__", type(value).__name__)

    def forward(self, x, y):
        """Write f(x) to y."""
        y[...] = self._checked(self.value(x), x, "value")

    def backward(self, x, y, dy, dx):
        """Write dy f'(x) to dx."""
        np.multiply(dy, self._checked(self.slope(x), x, "slope"), out=dx, casting="same_kind")

    def __call__(self, x):
        """f(x) as a new array."""
        x = _floats(x)
        y = np.empty_like(x)
        self.forward(x, y)
        return y

    def gradient(self, x, dy):
        """dy f'(x) as a new array."""
        x = _floats(x)
        dx = np.empty_like(x)
        self.backward(x, self(x), np.asarray(dy, x.dtype), dx)
        return dx

    def _checked(self, result, x, what):
        if np.shape(result) != x.shape:
            raise ValueError(
                f"The {what} of activation '{self.name}' must return an array of its input's shape, {x.shape}, got "
                f"{np.shape(result)}."
            )
        return result

    def __repr__(self):
        return f"<activation {self.name}>"


class Parametric(Function):
    """One of the `FORMULAS` with its parameters; equal ones are equal."""

    def __init__(self, name, **parameters):
        self.name = self.__name__ = name
        self.parameters = {**defaults(name), **parameters}
        value, slope = FORMULAS[name]
        super().__init__(lambda x: value(x, **self.parameters), lambda x: slope(x, **self.parameters), name)

    def __reduce__(self):
        return _parametric, (self.name, self.parameters)

    def forward(self, x, y):
        for xs, ys in zip(_pieces(x), _pieces(y)):
            ys[...] = self.value(xs)

    def backward(self, x, y, dy, dx):
        for xs, dys, dxs in zip(_pieces(x), _pieces(dy), _pieces(dx)):
            np.multiply(dys, self.slope(xs), out=dxs)


def _parametric(name, parameters):
    return Parametric(name, **parameters)


def _floats(x):
    x = np.asarray(x)
    return np.ascontiguousarray(x, np.float64 if x.dtype == np.float64 else np.float32) if x.ndim else x.astype(np.float32)


def _pieces(array):
    flat = array.reshape(-1)
    return (flat[i : i + PIECE] for i in range(0, flat.size, PIECE))


# ---------------------------------------------------------------- the formulas
def _relu(x, negative_slope=0.0, max_value=None, threshold=0.0):
    y = np.where(x <= threshold, negative_slope * np.minimum(x - threshold, 0) if negative_slope else np.zeros_like(x), x)
    return y if max_value is None else np.minimum(y, max_value)


def _relu_slope(x, negative_slope=0.0, max_value=None, threshold=0.0):
    slope = np.where(x <= threshold, x.dtype.type(negative_slope), x.dtype.type(1))
    return slope if max_value is None else slope * (x < max_value)


def _leaky(x, negative_slope=0.2):
    return np.where(x < 0, negative_slope * x, x)


def _leaky_slope(x, negative_slope=0.2):
    return np.where(x < 0, x.dtype.type(negative_slope), x.dtype.type(1))


def _elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_slope(x, alpha=1.0):
    return np.where(x > 0, x.dtype.type(1), alpha * np.exp(np.minimum(x, 0)))


def _celu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _celu_slope(x, alpha=1.0):
    return np.where(x > 0, x.dtype.type(1), np.exp(np.minimum(x, 0) / alpha))


def _hard_shrink(x, threshold=0.5):
    return np.where(np.abs(x) <= threshold, x.dtype.type(0), x)


def _hard_shrink_slope(x, threshold=0.5):
    return (~(np.abs(x) <= threshold)).astype(x.dtype)


def _soft_shrink(x, threshold=0.5):
    return np.where(np.abs(x) <= threshold, x.dtype.type(0), x - np.sign(x) * threshold)


def _squareplus(x, b=4):
    return (x + np.hypot(x, x.dtype.type(np.sqrt(b)))) / 2


def _squareplus_slope(x, b=4):
    root = np.hypot(x, x.dtype.type(np.sqrt(b)))
    return np.where(root > 0, 1 + x / np.where(root > 0, root, 1), 1) / 2


FORMULAS = {
    "relu": (_relu, _relu_slope),
    "leaky_relu": (_leaky, _leaky_slope),
    "elu": (_elu, _elu_slope),
    "celu": (_celu, _celu_slope),
    "hard_shrink": (_hard_shrink, _hard_shrink_slope),
    "soft_shrink": (_soft_shrink, _hard_shrink_slope),
    "squareplus": (_squareplus, _squareplus_slope),
}
"""name -> (value, slope), each taking x and the parameters with Keras's names, order and defaults."""


def defaults(name):
    """The parameters of an activation with their defaults, in Keras's order; none if it takes none.

    >>> defaults("elu")
    {'alpha': 1.0}
    """
    if name not in FORMULAS:
        return {}
    return {p.name: p.default for p in list(inspect.signature(FORMULAS[name][0]).parameters.values())[1:]}
