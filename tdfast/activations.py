"""Activation functions, as in `keras.activations`: one object for each, by name.

To add one: a row of src_c/activations.h, its value and slope in src_c/act.h, and a row of
activation_table.py. One of your own, in NumPy, is a `Function`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import _kernels
from tdfast.engine import tracing
from tdfast.engine.activation_table import TABLE
from tdfast.engine.arrays import as_contiguous
from tdfast.engine.parametric import Function, Parametric, Recorded, defaults
from tdfast.engine.registry import Registry, collected_name, home, registered_name
from tdfast.engine.tensor import SymbolicTensor
from tdfast.engine.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Arrays, Config, CustomObjects, Numbers

REGISTRY = Registry("activation", "activations", "keras.activations")


def _doc(name: str) -> str:
    row = TABLE[name]
    return (f"""{row.formula}.

    Call: ``y = activations.{name}(x)`` with x an array of any shape; y has its shape. The name, "{name}",
    stands for it in a layer: ``Dense(8, activation="{name}")``.
    """ + (f"""
    Parameters: {row.parameters}.
    """ if row.parameters else "") + f"""
    Source: https://keras.io/api/layers/activations/

    >>> ({name}(np.array([-1.0, 0.0, 2.0])).round(4) + 0.0).tolist()
    {row.example}
    """)


def rows_of(x: Any) -> tuple[int, int]:
    """(M, N): how many rows x has, and how long its last axis is.

    >>> rows_of(np.zeros((2, 3, 4)))
    (6, 4)
    """
    n = x.shape[-1] if x.ndim else 1
    return (x.size // n if n else 0), n


class Activation:
    """An activation function: ``y = f(x)`` on an array of any shape.

    Attributes:
        name: Keras's name.
        kind: the number that kernels know it by.
        needs_input: whether the derivative needs x; elsewhere y is enough.
        is_row: whether it acts on the whole last axis (softmax) instead of on each element.

    >>> relu([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def __init__(self, name: str, kind: int) -> None:
        self.name, self.kind = name, kind
        self.needs_input, self.is_row = _kernels.act_needs_input(kind), _kernels.act_is_row(kind)

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, x: Numbers, *arguments: Any, **parameters: Any) -> Array:
        """f(x) as a new array.

        Args:
            x: any array-like of numbers; float64 stays, everything else becomes float32.
            axis: which axis softmax, log_softmax and sparsemax take as one distribution.
            others: Keras's, in its order: relu(x, negative_slope=0.0, max_value=None, threshold=0.0),
                leaky_relu(x, negative_slope=0.2), elu(x, alpha=1.0), celu(x, alpha=1.0), gelu(x,
                approximate=False), hard_shrink(x, threshold=0.5), soft_shrink(x, threshold=0.5),
                squareplus(x, b=4).
        """
        if isinstance(x, SymbolicTensor):
            return self._in_graph(x, arguments, parameters)
        if tracing.level() and not isinstance(x, np.ndarray):
            found = self._recorded(x, arguments, parameters)
            if found is not None:
                return found
        x = np.asarray(x)
        if x.dtype.kind not in "fiub":
            raise ValueError(f"{self.name} expects an array of numbers, got dtype {x.dtype}.")
        x = x.astype(np.float64 if x.dtype == np.float64 else np.float32, copy=False)
        parameters = self._named(arguments, parameters)
        axis = parameters.pop("axis", -1)
        if self.is_row:
            if x.ndim < 1:
                raise ValueError(f"{self.name} expects at least one dimension, got a number.")
            x = np.moveaxis(x, axis, -1)
        x = as_contiguous(x, x.dtype) if x.ndim else x.reshape(1)
        y = np.empty_like(x)
        self.with_parameters(**parameters).forward(x, y)
        return np.moveaxis(y, -1, axis) if self.is_row else y

    def _in_graph(self, x: SymbolicTensor, arguments: Any, parameters: Any) -> Any:
        """A call in a graph: of the function of this name in `tdfast.ops`, or of a layer."""
        named = self._named(arguments, parameters)
        found = getattr(home("ops"), self.name, None)
        if found is not None and (not named or self.name != "relu"):
            return found(x, **named)
        return home("layers").Activation(self.with_parameters(**named))(x)

    def _recorded(self, x: Any, arguments: Any, parameters: Any) -> Any:
        """f(x) with its derivative, where that is wanted; else None."""
        from tdfast.engine import derivatives

        x = tracing.value_of(x) if isinstance(x, Variable) else x
        if not derivatives.is_traced([x]):
            return None
        named = self._named(arguments, parameters)
        axis = named.pop("axis", -1)
        function = self.with_parameters(**named)

        def slopes(g: Array, y: Array, x: Array) -> list[Array]:
            if not self.is_row:
                return [function.gradient(x, g).reshape(x.shape)]
            x, g = (np.moveaxis(a, axis, -1) for a in (x, g))
            return [np.moveaxis(function.gradient(x, g), -1, axis)]

        return derivatives.step(lambda x: self(x, *arguments, **parameters).reshape(x.shape), slopes, x)

    def _named(self, arguments: Sequence[Any], parameters: dict[str, Any]) -> dict[str, Any]:
        """The arguments after x by name."""
        known = ("axis",) if self.is_row else ("approximate",
                                               ) if self.name == "gelu" else tuple(defaults(self.name))
        named = dict(zip(known, arguments))
        wrong = [k for k in parameters if k not in known or k in named]
        if wrong or len(arguments) > len(known):
            raise TypeError(
                f"{self.name} takes x" + "".join(f", {k}" for k in known) + f"; got {arguments} {parameters}."
            )
        return {**named, **parameters}

    def with_parameters(self, **parameters: Any) -> Parametric | Activation:
        """This activation with other parameters, for a layer: ``activations.elu.with_parameters(alpha=0.5)``.

        >>> elu.with_parameters(alpha=0.5)([-1e9]).tolist(), elu.with_parameters(alpha=1.0) is elu
        ([-0.5], True)
        """
        if self.name == "gelu":
            return globals()["gelu_tanh"] if parameters.get("approximate") else self
        usual = {"axis": -1} if self.is_row else defaults(self.name)
        self._named((), parameters)
        if parameters.get("axis", -1) != -1:
            raise ValueError(
                f"{self.name} in a layer takes the last axis; tdfast.layers.Softmax has an axis."
            )
        if all(usual[k] == v for k, v in parameters.items()):
            return self
        return Parametric(self.name, **{k: None if v is None else float(v) for k, v in parameters.items()})

    def forward(self, x: Any, y: Any) -> Arrays:
        """Write f(x) to y; both C-contiguous, of one shape and dtype."""
        _kernels.act_forward(self.kind, *rows_of(x), x, y)

    def backward(self, x: Any, y: Any, dy: Arrays, dx: Array) -> Arrays:
        """Write dy f'(x) to dx; y is f(x), and x may be None unless `needs_input`."""
        _kernels.act_backward(self.kind, *rows_of(y), x=x, y=y, dy=dy, dx=dx)

    def gradient(self, x: Any, dy: Arrays) -> Array:
        """dy f'(x) as a new array; x and dy of one shape, rows on the last axis."""
        dtype = np.float64 if np.asarray(x).dtype == np.float64 else np.float32
        x, dy = (as_contiguous(np.atleast_1d(a), dtype) for a in (x, dy))
        y, dx = self(x), np.empty_like(x)
        self.backward(x, y, dy, dx)
        return dx

    def __reduce__(self) -> Any:
        return get, (self.name,)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


# Made in the loop below.
linear: Activation
tanh: Activation
sigmoid: Activation
relu: Activation
relu6: Activation
leaky_relu: Activation
elu: Activation
selu: Activation
celu: Activation
softplus: Activation
softsign: Activation
exponential: Activation
hard_sigmoid: Activation
hard_silu: Activation
hard_tanh: Activation
hard_shrink: Activation
soft_shrink: Activation
tanh_shrink: Activation
silu: Activation
gelu: Activation
gelu_tanh: Activation
mish: Activation
log_sigmoid: Activation
squareplus: Activation
sparse_plus: Activation
sparse_sigmoid: Activation
softmax: Activation
log_softmax: Activation
sparsemax: Activation

for _name, _kind in _kernels.ACTIVATIONS.items():
    globals()[_name] = _activation = Activation(_name, _kind)
    _activation.__doc__ = _doc(_name)
    REGISTRY.register(_activation, *TABLE[_name].aliases)
swish: Activation = globals()["silu"]
hard_swish: Activation = globals()["hard_silu"]
__test__ = {_name: _doc(_name) for _name in TABLE}       # doctest looks at functions and classes alone


def glu(x: Numbers, axis: int = -1) -> Array:
    """Gated linear unit ``a sigmoid(b)``, where a and b are the halves of ``x`` along ``axis``.

    It halves that axis, so it is a function here and no layer's activation.

    >>> glu(np.zeros((2, 4))).shape
    (2, 2)
    """
    x = np.asarray(x)
    if x.ndim == 0 or x.shape[axis] % 2:
        raise ValueError(f"glu splits axis {axis} into two halves, but the array has shape {x.shape}.")
    a, b = np.split(x, 2, axis=axis)
    return a * globals()["sigmoid"](b)


def threshold(x: Numbers, threshold: float, default_value: float) -> Array:
    """``x`` where it is above ``threshold``, else ``default_value``; a function only.

    >>> threshold(np.array([1.0, 3.0]), 2.0, -1.0).tolist()
    [-1.0, 3.0]
    """
    x = np.asarray(x)
    return np.where(x > threshold, x, np.asarray(default_value, x.dtype))


def get(identifier: Any, own: bool = True) -> Any:
    """The `Activation` that a name, an Activation or Keras's dict means; None is linear.

    Args:
        identifier: what a user gives.
        own: whether a `Function`, or a plain function of the user's, will do as well.

    Raises:
        ValueError: for an unknown name, listing the known ones, and for a function of the user's where the
            layer's kernels compute the activation.

    >>> get("swish").name, get(None).name
    ('silu', 'linear')
    """
    if identifier is None:
        return globals()["linear"]
    found = REGISTRY.get(identifier)
    if callable(found) and not isinstance(found, (Activation, Function)):
        found = Recorded(found)
    if isinstance(found, Activation) or (own and isinstance(found, Function)):
        return found
    if isinstance(found, Function):
        raise ValueError(
            f"{found!r} is written in NumPy, which this layer's kernels cannot call. Give the layer "
            "activation=None and "
            "put Activation(...) behind it, or use one of " + ", ".join(REGISTRY.names()) + "."
        )
    raise ValueError(
        f"{found!r} cannot be an activation: give a name, an object of tdfast.activations or a function "
        "of an "
        f"array. Known activations: {', '.join(REGISTRY.names())}."
    )


def serialize(activation: Any) -> Any:
    """The activation's name, which is how Keras writes it down; Keras's dict for a `Function`.

    >>> serialize(globals()["relu"])
    'relu'
    """
    activation = get(activation, own=True)
    if not isinstance(activation, Function):
        return activation.name
    name = collected_name(activation, registered_name(activation))
    if name is None and isinstance(activation, Parametric):
        raise ValueError(
            f"{activation!r} with {activation.parameters} has no name that a file could hold. Use the layer "
            "ReLU, LeakyReLU or "
            "ELU instead, or register a Function of your own."
        )
    name = name or activation.name
    return {"module": "builtins", "class_name": "function", "config": name, "registered_name": name}


def deserialize(config: Config | str | None, custom_objects: CustomObjects = None) -> Any:
    """The activation of a serialized name or dict.

    Raises:
        ValueError: for an unknown one.

    >>> deserialize("relu")
    <activation relu>
    """
    return get(REGISTRY.deserialize(config, custom_objects), own=True)
