"""Variable: a named view into a flat vector, and Parameters, the flat vectors of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import runtime
from tdfast.engine import program, registry, tracing
from tdfast.engine.arguments import flag
from tdfast.engine.operators import Operators
from tdfast.engine.structure import mapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdfast.engine.types import Array, Numbers


class Variable(Operators):
    """A weight: a named array with its gradient.

    ``value`` and ``grad`` are NumPy views. Alone, a layer's variables own their memory; in a model
    they are views into the model's flat vectors (see `Parameters`), so that the optimizer and a
    checkpoint handle all of them in one call.

    Args:
        value: the initial array.
        name: "kernel", "bias", ...
        path: the name with its layers' names before it, "lstm/lstm_cell/kernel".
        trainable: whether optimizers change it.
        regularizer, constraint: as given to the layer, or None.

    >>> import numpy as np
    >>> v = Variable(np.zeros((2, 3), "float32"), name="kernel")
    >>> v.assign(np.ones((2, 3)))
    >>> float(np.sum(v)), v.shape, v.dtype
    (6.0, (2, 3), 'float32')
    >>> v.assign_sub(0.25 * np.ones(3))
    >>> (2 * v)[0]
    array([1.5, 1.5, 1.5], dtype=float32)
    """

    __slots__ = ("value", "_grad", "name", "path", "_trainable", "made_trainable", "_regularizer",
                 "constraint",
                 "owner")
    __array_priority__ = 100

    def __init__(self, value: Numbers, name: str = "variable", path: Any = None, trainable: bool = True,
                 regularizer: Any = None, constraint: Any = None) -> None:
        value = np.asarray(value)
        self.value = runtime.aligned(value.shape, value.dtype)
        self.value[...] = value
        self._grad: Any = None
        self.name = name
        self.path = path or name
        # The latter decides its place among the weights.
        self._trainable = self.made_trainable = flag(trainable, "trainable", f"Variable '{path or name}'")
        self._regularizer = regularizer
        self.constraint = constraint
        self.owner: Any = None

    @property
    def grad(self) -> Array:
        """The gradient of the last backward pass, of the same shape."""
        if self._grad is None:
            self._grad = runtime.aligned(self.value.shape, self.value.dtype)
            self._grad[...] = 0
        return self._grad

    @grad.setter
    def grad(self, value: Numbers) -> None:
        """Written into the array that is there, of which others hold parts: ``weight.grad += g`` works."""
        self.grad[...] = value

    @property
    def trainable(self) -> bool:
        """Whether training changes the value."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = flag(value, "trainable", f"Variable '{self.path}'")
        program.changed()

    @property
    def regularizer(self) -> Any:
        """The penalty on the value, or None."""
        return self._regularizer

    @regularizer.setter
    def regularizer(self, value: Any) -> None:
        self._regularizer = value
        program.changed()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.value.size

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return self.value.dtype.name

    def numpy(self) -> Array:
        """A copy, which later training does not change."""
        return self.value.copy()

    def assign(self, value: Numbers) -> None:
        """Overwrite the value; the shape must be the same."""
        self.value[...] = self.fitting(value)

    def assign_add(self, value: Numbers) -> None:
        """Add to the value."""
        self.assign(self.value + np.asarray(value))

    def assign_sub(self, value: Numbers) -> None:
        """Subtract from the value."""
        self.assign(self.value - np.asarray(value))

    def fitting(self, value: Numbers) -> Array:
        """``value`` as an array, which must have the variable's shape."""
        value = np.asarray(value.value if isinstance(value, Variable) else value)
        if value.shape != self.shape:
            raise ValueError(
                f"Variable '{self.path}' has shape {self.shape} and cannot be assigned an array "
                f"of shape {value.shape}."
            )
        return value

    @classmethod
    def of(cls, value: Array, name: str, path: str) -> Variable:
        """A variable that is not trained and whose memory is that of an array which is there already."""
        variable = cls.__new__(cls)
        variable.value, variable.name, variable.path = value, name, path
        variable._grad = variable._regularizer = variable.constraint = variable.owner = None
        variable._trainable = variable.made_trainable = False
        return variable

    def rebind(self, value: Array, grad: Array, owner: Any) -> None:
        """Move to other memory, with the contents."""
        value[...] = self.value
        grad[...] = 0 if self._grad is None else self._grad
        self.value, self._grad, self.owner = value, grad, owner
        program.changed()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        out = self.value if dtype is None else self.value.astype(dtype, copy=False)
        return out.copy() if copy or (copy is None and out is self.value) else out

    def __reduce__(self) -> Any:
        # A copy owns its memory, and has no gradient yet.
        return Variable, (self.value.copy(), self.name, self.path, self.trainable, self.regularizer,
                          self.constraint)

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, key: Any) -> Any:
        found = _here(self)
        return found[key].copy() if found is self.value else found[key]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*[_here(x) for x in inputs], **{k: _here(x) for k, x in kwargs.items()})

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = mapped(_here, [list(args), kwargs])
        return func(*args, **kwargs)

    def __eq__(self, other: Any) -> Any:
        """Beside another variable whether it is the same one; else number by number."""
        if other is None or isinstance(other, Variable):
            return self is other
        return registry.home("ops").equal(self, other)

    def __ne__(self, other: Any) -> Any:
        if other is None or isinstance(other, Variable):
            return self is not other
        return registry.home("ops").not_equal(self, other)

    __hash__ = object.__hash__

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}, value={self.value!r}>"


def _here(value: Any) -> Any:
    """A variable's array, or what stands for it where a derivative by it is wanted; anything else as it "
    "is."""
    return tracing.value_of(value) if isinstance(value, Variable) else value


class Parameters:
    """One flat vector of values and one of gradients, in which the variables of a model live.

    Each variable starts on a multiple of 16 elements; the gap before it holds zeros in both vectors.

    Args:
        variables: those of one model, in order, all of one dtype.

    Attributes:
        values, grads: the flat vectors.
        variables: as given.
        slices: the place of each variable.
    """

    ALIGN = 16

    def __init__(self, variables: Sequence[Any]) -> None:
        self.variables = list(variables)
        dtypes = {v.dtype for v in self.variables}
        if len(dtypes) > 1:
            raise ValueError(
                f"All layers of one model must share one dtype, but its weights are {sorted(dtypes)}. "
                "Give every layer the same dtype=."
            )
        self.slices, size = [], 0
        for v in self.variables:
            self.slices.append(slice(size, size + v.size))
            size += -(-v.size // self.ALIGN) * self.ALIGN
        dtype = dtypes.pop() if dtypes else "float32"
        self.values, self.grads = runtime.aligned(size, dtype), runtime.aligned(size, dtype)
        self.values[...] = 0
        self.grads[...] = 0
        for v, where in zip(self.variables, self.slices):
            v.rebind(self.values[where].reshape(v.shape), self.grads[where].reshape(v.shape), self)

    def views_in(self, vector: Array) -> list[Array]:
        """The part of each variable in another vector of their length."""
        return [vector[where].reshape(v.shape) for v, where in zip(self.variables, self.slices)]

    def write_gradients_to(self, views: Sequence[Array]) -> None:
        """Let the variables' gradients lie in these, the `views_in` of a vector, until others are given."""
        for v, view in zip(self.variables, views):
            v._grad = view

    def is_current(self, variables: Sequence[Any]) -> bool:
        """Whether exactly these variables live here (another model may have taken them since)."""
        return len(variables) == len(self.variables) and all(
            v is w and v.owner is self for v, w in zip(variables, self.variables)
        )

    def segments(self, variables: Sequence[Any]) -> list[Any]:
        """The shortest list of (start, stop) that covers these variables and no other."""
        chosen = {id(v) for v in variables}
        out: list[Any] = []
        for v, where in zip(self.variables, self.slices):
            if id(v) not in chosen:
                continue
            stop = where.start + -(-v.size // self.ALIGN) * self.ALIGN
            if out and out[-1][1] == where.start:
                out[-1] = (out[-1][0], stop)
            else:
                out.append((where.start, stop))
        return out
