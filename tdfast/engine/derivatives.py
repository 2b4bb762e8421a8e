"""Derivatives of users' functions in reverse mode: recorded and gone back by HIPS autograd.

A function of `tdfast.ops`, of NumPy's functions or of operators is called on `Traced` arrays. Each step that
it takes becomes a node of autograd's; going back, a step of `tdfast.ops` gives the gradient that it has in
graphs, a step of NumPy's the one that autograd knows, and a layer its backward pass.

Source: Maclaurin, Autograd (2016), https://github.com/HIPS/autograd
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import autograd.numpy as agnp
import numpy as np
from autograd.core import VJPNode, VSpace, backward_pass
from autograd.tracer import Box, isbox

from tdfast.engine import registry, tracing
from tdfast.engine.gradients import leaf_gradients
from tdfast.engine.operators import Operators
from tdfast.engine.structure import flatten, packed_as
from tdfast.engine.variable import Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tdfast.engine.layer import Layer
    from tdfast.engine.operation import Operation
    from tdfast.engine.types import Array


class Traced(Operators, Box):
    """An array whose steps are recorded, so that a derivative by it can be had.

    It has the shape, the dtype, the operators and the usual methods of an array. Functions of `tdfast.ops`
    and of NumPy take it.
    """

    __slots__ = ()
    __array_priority__ = 200.0
    is_recorded = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return np.shape(raw(self))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return int(np.prod(self.shape))

    @property
    def dtype(self) -> Any:
        """The dtype, as NumPy's."""
        return raw(self).dtype

    @property
    def T(self) -> Any:
        """The array with its axes reversed."""
        return registry.home("ops").transpose(self)

    def __repr__(self) -> str:
        return f"<array under differentiation, shape={self.shape}, dtype={self.dtype}>"

    __str__ = __repr__
    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> Any:
        return registry.home("ops").equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return registry.home("ops").not_equal(self, other)

    def __len__(self) -> int:
        return len(raw(self))

    def __iter__(self) -> Any:
        if not self.shape:
            raise TypeError("A single number cannot be iterated over.")
        return (self[i] for i in range(len(self)))

    # ---------------------------------------------------------------- what loses the derivative
    def _refuse(self, what: str) -> NoReturn:
        raise TypeError(
            f"{what} would lose the derivative: this is an array of shape {self.shape} whose steps are "
            "recorded. "
            "Compute with tdfast.ops, NumPy's functions or operators, and return their result. For the "
            "numbers "
            "alone, where no derivative is wanted, there is tdfast.ops.convert_to_numpy(x)."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse("To make a plain array of it (by np.asarray, or by PyTorch, TensorFlow or JAX)")

    def __float__(self) -> NoReturn:
        self._refuse("float(x)")

    def __int__(self) -> NoReturn:
        self._refuse("int(x)")

    def item(self, *args: Any) -> NoReturn:
        """Refused: a number of Python's has no derivative."""
        self._refuse("x.item()")

    def tolist(self) -> NoReturn:
        """Refused: a list of numbers has no derivative."""
        self._refuse("x.tolist()")

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError(
            "x[...] = value writes into an array whose steps are recorded, which loses what was there. "
            "Make a new "
            "array: tdfast.ops.where(condition, value, x), tdfast.ops.concatenate(...) or "
            "tdfast.ops.slice_update(x, start, value)."
        )

    def numpy(self) -> Array:
        """The numbers alone, as a plain array without a derivative."""
        return np.array(raw(self))

    # ---------------------------------------------------------------- NumPy's functions
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if kwargs.get("out") is not None:
            raise TypeError(
                f"np.{ufunc.__name__}(..., out=...) writes into an array, which loses the derivative of "
                "what was "
                "there: leave out= away and use the result."
            )
        name = NUMPY_NAMES.get(ufunc.__name__, ufunc.__name__)
        if method == "reduce" and ufunc.__name__ in REDUCTIONS:
            return _by_autograd(getattr(np, REDUCTIONS[ufunc.__name__]), inputs, kwargs)
        found = getattr(registry.home("ops"), name, None)
        if method != "__call__" or kwargs or found is None or hasattr(found, "composed_of"):
            return _by_autograd(ufunc, inputs, kwargs) if method == "__call__" else _unknown(ufunc.__name__)
        return found(*inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _by_autograd(func, args, kwargs)

    # ---------------------------------------------------------------- an array's methods
    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """The numbers in another dtype."""
        return registry.home("ops").cast(self, dtype)

    def reshape(self, *shape: Any) -> Any:
        """The numbers in another shape."""
        return registry.home("ops").reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Any:
        """The axes in another order."""
        axes = axes[0] if len(axes) == 1 else axes
        return registry.home("ops").transpose(self, axes or None)

    def flatten(self) -> Any:
        """The numbers along one axis."""
        return registry.home("ops").reshape(self, (-1,))

    ravel = flatten

    def copy(self) -> Traced:
        """Itself: nobody can write to it."""
        return self


def _method(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(registry.home("ops"), name)(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"As `tdfast.ops.{name}`."
    return method


for _name in ("sum", "mean", "max", "min", "prod", "std", "var", "all", "any", "argmax", "argmin", "cumsum",
              "squeeze", "swapaxes", "repeat", "dot", "clip", "take", "round"):
    setattr(Traced, _name, _method(_name))

Box.types.add(Traced)
Box.type_mappings[Traced] = Traced

NUMPY_NAMES = {"remainder": "mod", "rint": "round", "conjugate": "conj", "fabs": "absolute",
               "invert": "logical_not"}
"""NumPy's names of functions of each number that `tdfast.ops` has under another one."""
REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all",
              "logical_or": "any"}


def _unknown(name: str) -> NoReturn:
    raise TypeError(
        f"np.{name} has no derivative here. Look for a function of that name, or one that does the same, in "
        "tdfast.ops."
    )


def _by_autograd(func: Any, args: Any, kwargs: Any) -> Any:
    """A function of NumPy's, of which autograd knows the derivative."""
    name = func.__name__
    module = getattr(func, "__module__", None) or ""
    place = {"linalg": agnp.linalg, "fft": agnp.fft}.get(module.removeprefix("numpy.").split(".")[0], agnp)
    known = getattr(place, name, None)
    if known is None or name in ("asarray", "array", "ascontiguousarray"):
        found = getattr(registry.home("ops"), name, None)
        if found is None:
            _unknown(name)
        return found(*args, **kwargs)
    args, kwargs = packed_as([args, kwargs], [_plain(leaf) for leaf in flatten([args, kwargs])])
    try:
        return _own(known(*args, **kwargs))
    except NotImplementedError as error:
        found = getattr(registry.home("ops"), name, None)
        if found is not None:
            return found(*args, **kwargs)
        raise TypeError(
            f"np.{name} has no derivative here ({error}). If none is wanted, stop it before: "
            "tdfast.ops.stop_gradient(x)."
        ) from error


def _plain(leaf: Any) -> Any:
    return tracing.value_of(leaf) if isinstance(leaf, Variable) else leaf


def _own(value: Any) -> Any:
    """What autograd gives, with its boxes of arrays as `Traced`."""
    if isbox(value) and type(value) is not Traced:
        if isinstance(value._value, (tuple, list)):
            return [_own(value[i]) for i in range(len(value._value))]
        inner = _own(value._value) if isbox(value._value) else np.asarray(value._value)
        return Traced(inner, value._trace, value._node)
    if isinstance(value, (tuple, list)):
        return type(value)(_own(part) for part in value)
    return value


def raw(value: Any) -> Any:
    """The plain array of a `Traced`; anything else as it is."""
    while isbox(value):
        value = value._value
    return value


def is_traced(args: Any) -> bool:
    """Whether there is a `Traced` among some arguments, also within lists."""
    for arg in args:
        if type(arg) is Traced or (isinstance(arg, (list, tuple)) and is_traced(arg)):
            return True
    return False


# ---------------------------------------------------------------- nodes


def _node(parents: Sequence[Any], pull: Callable[[Any], Any]) -> Any:
    """A step: what it depends on, and the function from the gradient of its result to those of the "
    "parents."""
    node = VJPNode.__new__(VJPNode)
    node.parents, node.vjp = tuple(parents), pull
    return node


def step(function: Callable[..., Any], slopes: Callable[..., Any], *arrays: Any) -> Any:
    """The result of a function of arrays with a derivative of its own, as a step.

    Args:
        function: ``function(*arrays)``, of plain arrays.
        slopes: ``slopes(g, y, *arrays)``, the gradient by each of them as a list.
        arrays: `Traced` or plain.
    """
    top, places = _boxes_of_top(arrays)
    if not places:
        return function(*arrays)
    parents = [arrays[i] for i in places]
    if any(isbox(box._value) for box in parents):
        raise TypeError(
            f"{getattr(function, '__name__', function)} has a first derivative alone, from compiled "
            "code, but here "
            "a derivative of a derivative is asked for. Write what it does with tdfast.ops."
        )
    plain = [raw(array) for array in arrays]
    y = np.asarray(function(*plain))

    def pull(g: Any) -> list[Any]:
        found = slopes(np.array(raw(g), order="C"), y, *plain)
        return [_as_of(found[i], box) for i, box in zip(places, parents)]

    return Traced(y, top, _node([box._node for box in parents], pull))


def _boxes_of_top(leaves: Sequence[Any]) -> tuple[int, list[int]]:
    """(the innermost trace among some values, the places of its values)."""
    top = max((leaf._trace for leaf in leaves if type(leaf) is Traced), default=-1)
    return top, [i for i, leaf in enumerate(leaves) if type(leaf) is Traced and leaf._trace == top]


def apply(operation: Operation, args: Sequence[Any]) -> Any:
    """The result of an operation for arguments among which there are `Traced` ones."""
    leaves = flatten(list(args))
    top, places = _boxes_of_top(leaves)
    if not places:
        return operation.apply(*args)
    parents = [leaves[i] for i in places]
    inner = list(leaves)
    for i in places:
        inner[i] = leaves[i]._value
    given = packed_as(list(args), inner)
    y = apply(operation, given)
    if isinstance(y, list):
        return _several(operation, given, y, top, places, parents)
    if not _is_float(y):
        return raw(y)
    y = y if isbox(y) else np.asarray(y)

    def pull(g: Any) -> list[Any]:
        return _gradients(operation, given, y, _own(g), places, parents)

    return Traced(y, top, _node([box._node for box in parents], pull))


def _several(operation: Operation, given: Any, y: list[Any], top: int, places: Any,
             parents: Any) -> list[Any]:
    """The results of an operation that gives several, each a step of its own."""
    if not _is_float(y[0]):
        return [raw(part) for part in y]
    out = []
    for k, part in enumerate(y):

        def pull(g: Any, k: int = k) -> list[Any]:
            gradients = [np.zeros_like(raw(other)) for other in y]
            gradients[k] = _own(g)
            return _gradients(operation, given, y, gradients, places, parents)

        value = part if isbox(part) else np.asarray(part)
        out.append(Traced(value, top, _node([box._node for box in parents], pull)))
    return out


def _gradients(operation: Operation, given: Any, y: Any, g: Any, places: Any, parents: Any) -> list[Any]:
    if isbox(g) and operation.linear:
        return [_transposed(operation, given, y, g)]
    with np.errstate(all="ignore"):
        found = leaf_gradients(given, operation.pull_back(g, y, *given))
    return [_as_of(found[i], box) for i, box in zip(places, parents)]


def _transposed(operation: Operation, given: Any, y: Any, g: Any) -> Any:
    """The gradient of a linear operation, which itself has a derivative."""
    if not isbox(g):
        return operation.pull_back(g, raw(y), *map(raw, given))[0]
    inner = _transposed(operation, given, y, _own(g)._value)
    return Traced(inner, g._trace, _node([g._node], lambda gg: [apply(operation, [_own(gg), *given[1:]])]))


def _as_of(gradient: Any, box: Any) -> Any:
    """A gradient in the dtype of what it is by; zeros for None."""
    value = raw(box)
    if gradient is None:
        return np.zeros_like(value)
    if isbox(gradient):
        return gradient
    return np.asarray(gradient, value.dtype)


def _is_float(y: Any) -> bool:
    return np.asarray(raw(y)).dtype.kind in "fc"


# ---------------------------------------------------------------- traces


class Trace:
    """The record of one call of a function, until its derivatives are taken.

    Args:
        variables: those whose gradients are wanted; None: all that are trainable.
    """

    def __init__(self, variables: Sequence[Variable] | None = None) -> None:
        self.level = tracing.level()
        self._wanted = None if variables is None else {id(v) for v in variables}
        self._variables: dict[int, Any] = {}
        self._found: dict[Any, Any] = {}
        self.anchor = self.root(np.zeros((), np.float32), "anchor")
        """What layers depend on, so that they are steps also where all their inputs are constants."""

    def root(self, value: Any, key: Any) -> Traced:
        """An array by which derivatives are wanted."""

        def take(g: Any) -> tuple[Any, ...]:
            self.add(key, _own(g) if isbox(g) else np.asarray(g, raw(value).dtype))
            return ()

        return Traced(value if isbox(value) else np.asarray(value), self.level, _node((), take))

    def heeds(self, variable: Variable) -> bool:
        """Whether gradients by a variable are wanted."""
        return variable.trainable if self._wanted is None else id(variable) in self._wanted

    def of(self, variable: Variable) -> Traced:
        """What stands for a variable."""
        key = id(variable)
        if key not in self._variables:
            value: Any = variable.value
            for outer in tracing.traces():
                if outer.level < self.level and outer.heeds(variable):
                    value = outer.of(variable)
                    break
            self._variables[key] = variable, self.root(value, key)
        return self._variables[key][1]

    def add(self, key: Any, gradient: Any) -> None:
        """Note a part of a gradient."""
        self._found[key] = gradient if key not in self._found else self._found[key] + gradient

    def back(self, ends: Iterable[tuple[Any, Any]]) -> None:
        """Go back from results with their gradients: pairs (a result, its gradient)."""
        nodes, gradients = [], []
        for value, gradient in ends:
            if type(value) is Traced and value._trace == self.level:
                nodes.append(value._node)
                gradients.append(gradient if isbox(gradient) else np.asarray(gradient, raw(value).dtype))
        if nodes:
            backward_pass(None, _node(nodes, lambda _: gradients))

    def gradient(self, key: Any) -> Any:
        """What `back` found by a root, or by a variable (key: its id); None for nothing."""
        return self._found.get(key)


def pullback(function: Callable[..., Any], *arrays: Any) -> tuple[Any, Any]:
    """(the result of a function of arrays, the function from a gradient by it to those by the arrays).

    >>> y, back = pullback(lambda x: x * x, np.array([1.0, 3.0]))
    >>> raw(y).tolist(), [g.tolist() for g in back(np.array([1.0, 1.0]))]
    ([1.0, 9.0], [[2.0, 6.0]])
    """
    trace = Trace([])
    with tracing.Frame(trace):
        y = function(*[trace.root(array, i) for i, array in enumerate(arrays)])

    def back(g: Any) -> list[Any]:
        trace.back(zip(y, g) if isinstance(y, list) else [(y, g)])
        found = [trace.gradient(i) for i in range(len(arrays))]
        return [np.zeros_like(raw(array)) if g is None else g for array, g in zip(arrays, found)]

    return y, back


# ---------------------------------------------------------------- layers within a function


def call_layer(layer: Layer, frame: tracing.Frame, inputs: Sequence[Any], keywords: dict[str, Any],
               forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    """The result of a layer with a forward and a backward pass, as a step.

    Args:
        layer: whose weights get gradients.
        frame: in which it is called.
        inputs: its inputs, `Traced` or plain arrays.
        keywords: further arguments of its forward, each a list, whose gradients backward gives after those of
            the inputs.
        forward: ``forward(arrays, keywords, tape)``, with plain arrays.
        backward: ``backward(dy, tape, need_dx)``, which goes with it.
    """
    found = tracing.traces()
    if len(found) > 1:
        raise TypeError(
            f"Layer '{layer.name}' ({type(layer).__name__}) has a first derivative alone, from compiled "
            "code, but "
            "here a derivative of a derivative is asked for. Write what it does with tdfast.ops."
        )
    (trace,) = found
    leaves = [*inputs, *(part for parts in keywords.values() for part in parts)]
    parents = [leaf for leaf in leaves if type(leaf) is Traced]
    tape = frame.next_tape()
    plain = [raw(leaf) for leaf in inputs]
    y = forward(plain, {name: [raw(part) for part in parts] for name, parts in keywords.items()}, tape)
    weights = [weight for weight in layer.trainable_weights if trace.heeds(weight)]

    def pull(g: Any) -> list[Any]:
        dy = packed_as(y, g.filled(flatten(y))) if isinstance(y, list) else np.array(raw(g), order="C")
        for weight in weights:
            weight.grad[...] = 0        # backward may be that of a class which does not know all of them
        dx = backward(dy, tape, bool(parents))
        for weight in weights:
            trace.add(id(weight), weight.grad.copy())
        gradients = [None] * len(leaves) if dx is None else flatten(list(dx) if isinstance(dx, tuple) else dx)
        found = [_copied(part, leaf) for part, leaf in zip(gradients, leaves) if type(leaf) is Traced]
        return [*found, np.zeros((), np.float32)]

    node = _node([*(box._node for box in parents), trace.anchor._node], pull)
    return _outputs(y, trace.level, node)


def penalty(regularizer: Any, y: Traced) -> Traced:
    """An activity_regularizer's penalty on an output, as a step: the mean over the batch."""
    value, rows = raw(y), len(raw(y))

    def pull(g: Any) -> list[Any]:
        return [np.asarray(regularizer.gradient(value) * (raw(g) / rows), value.dtype)]

    return Traced(np.asarray(float(regularizer(value)) / rows, value.dtype), y._trace, _node([y._node], pull))


def _copied(gradient: Any, leaf: Any) -> Any:
    """A gradient in memory of its own."""
    return np.zeros_like(raw(leaf)) if gradient is None else np.array(gradient, raw(leaf).dtype)


def _outputs(y: Any, level: int, node: Any) -> Any:
    """The results of one step as `Traced`; those of whole numbers stay plain."""
    if not isinstance(y, list):
        return Traced(y, level, node) if _is_float(y) else y
    parts = [_part(part, k, level, node) if _is_float(part) else part for k, part in enumerate(flatten(y))]
    return packed_as(y, parts)


def _part(value: Any, k: int, level: int, node: Any) -> Traced:
    """One of several results of a step."""
    return Traced(value, level, _node([node], lambda g: [_Parts({k: np.asarray(raw(g))})]))


class _Parts:
    """The gradients of some of a step's results."""

    def __init__(self, parts: dict[int, Any]) -> None:
        self.parts = parts

    def filled(self, values: Sequence[Any]) -> list[Any]:
        """A gradient for each of the results."""
        return [np.array(self.parts[k]) if k in self.parts else np.zeros_like(value)
                for k, value in enumerate(values)]


class _Sums(VSpace):
    """How autograd adds `_Parts`."""

    def _add(self, x: _Parts, y: _Parts) -> _Parts:
        return _Parts({k: x.parts[k] + y.parts[k] if k in x.parts and k in y.parts
                       else (x.parts.get(k) if k in x.parts else y.parts[k]) for k in {**x.parts, **y.parts}})

    _mut_add = _add


VSpace.register(_Parts, _Sums)
