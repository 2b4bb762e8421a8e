"""Operation: a function of arrays as a layer without weights, so that it can be a call in a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.gradients import leaf_gradients
from tdfast.engine.layer import Layer
from tdfast.engine.structure import flatten, mapped, packed_as
from tdfast.engine.tensor import SymbolicTensor, is_symbolic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from tdfast.engine.graph import Node
    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Array, Arrays, Config, Masks, Shapes, Sizes

UNKNOWN = (6, 10)
"""What stands for sizes that are not known when the shape of a result is looked for."""


class Operation(Layer):
    """A function of arrays. A subclass computes in `apply` and gives the gradient in `pull_back`.

    It is called with arrays, numbers and symbolic tensors in any order, as the function is.

    Args:
        name: made from the class when None.
        options: what the function takes besides its arrays, such as an axis.
    """

    several_inputs = True
    rowwise = per_step = False
    shape_options: tuple[str, ...] = ("template",)

    linear = False
    """Whether it is linear in its first argument, and knows of no other gradient: then the gradient of
    `pull_back` is `apply`."""

    def __init__(self, *, name: str | None = None, **options: Any) -> None:
        super().__init__(name=name)
        self.options = options
        self.built = True
        self._shapes: dict[Any, Any] = {}

    # ---------------------------------------------------------------- to override
    def apply(self, *args: Any) -> Any:
        """The function of NumPy arrays and of the other arguments: an array, or a list of several."""
        raise TypeError(f"{type(self).__name__} must override apply(*args).")

    def pull_back(self, dy: Arrays, y: Any, *args: Any) -> Any:
        """The gradient by each argument, as a list; None for those without one.

        Args:
            dy: the gradient by the result (a list of several). Never written to.
            y: the result.
            args: as `apply` got them.
        """
        raise TypeError(f"{type(self).__name__} has no gradient.")

    # ---------------------------------------------------------------- as a layer
    def __call__(self, *args: Any, **kwargs: Any) -> SymbolicTensor | list[SymbolicTensor]:
        if is_symbolic(args) or is_symbolic(kwargs):
            return self._call_on_tensors(*args, **kwargs)
        return self.apply(*args, **kwargs)

    def bind(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        args, kwargs = mapped(_plain_number, [args, kwargs])
        return (
            [leaf for leaf in flatten([args, kwargs]) if isinstance(leaf, SymbolicTensor)],
            {},
            None,
            {"template": (args, kwargs)},
        )

    def filled(self, template: Any, arrays: Any) -> tuple[Any, ...]:
        """The arguments of `apply`: a call's, with arrays in the place of its tensors."""
        arrays = iter(arrays)
        leaves = [
            next(arrays) if isinstance(leaf, SymbolicTensor) else leaf for leaf in flatten(list(template))
        ]
        args, kwargs = packed_as(list(template), leaves)
        return (*args, *kwargs.values())

    def forward(self, x: Any, tape: Tape, training: bool = False, mask: Masks = None,
                template: Any = None) -> Arrays:
        rec = tape.push(self)
        arrays = x if isinstance(x, list) else [x]
        args = self.filled(template, arrays)
        y = self.apply(*args)
        y = [np.ascontiguousarray(part) for part in y] if isinstance(y, list) else _contiguous(y)
        if tape.keep:
            rec.args, rec.y, rec.template = args, y, template
        return y

    def backward(self, dy: Arrays, tape: Tape, need_dx: bool = True) -> Arrays:
        rec = tape.pop(self)
        args, kwargs = rec.template
        given = [*args, *kwargs.values()]
        found = leaf_gradients(given, self.pull_back(dy, rec.y, *rec.args))
        out = [part for leaf, part in zip(flatten(given), found) if isinstance(leaf, SymbolicTensor)]
        return out[0] if len(out) == 1 else out

    def check_dtypes(self, tensors: Sequence[Any]) -> None:
        """It takes numbers of any."""
        super().check_dtypes([tensor for tensor in tensors if tensor.dtype == "string"])

    def compute_mask(self, inputs: Any, mask: Masks = None) -> Masks:
        return None

    def ensure_built(self, input_shape: Shapes, seen: Any = None) -> None:
        """Nothing to build."""

    def compute_output_shape(self, input_shape: Shapes, template: Any = None) -> Shapes:
        """Found by computing with any numbers: a size that changes with an unknown one is unknown."""
        shapes = input_shape if input_shape and isinstance(input_shape[0], (tuple, list)) else [input_shape]
        key = tuple(map(tuple, shapes))
        if key not in self._shapes:
            dtypes = [leaf.dtype for leaf in flatten(list(template)) if isinstance(leaf, SymbolicTensor)]
            self._shapes[key] = self._shapes_of(key, dtypes, template)
        return self._shapes[key]

    def _shapes_of(self, shapes: Sequence[Any], dtypes: Sequence[Any],
                   template: Any) -> tuple[int | None, ...] | list[Any]:
        found = []
        for size in UNKNOWN if any(None in shape for shape in shapes) else (1,):
            arrays = [_example(shape, size, dtype) for shape, dtype in zip(shapes, dtypes)]
            found.append(self._tried(template, arrays, shapes))
        if not isinstance(found[0], list):
            return _common_shape([np.shape(y) for y in found])
        return [_common_shape([np.shape(y) for y in ys]) for ys in zip(*found)]

    def _tried(self, template: Any, arrays: Sequence[Any], shapes: Any) -> Array:
        """The result for arrays whose numbers mean nothing, in the place of tensors of these shapes."""
        try:
            with np.errstate(all="ignore"):
                return self.apply(*self.filled(template, arrays))
        except Exception as error:
            raise ValueError(
                f"{type(self).__name__} ('{self.name}') cannot be called on tensors of shapes {list(shapes)} "
                f"and what else it was given: {error}"
                + (f" (a size that is not known was tried as {UNKNOWN[0]})" if any(None in s for s in shapes)
                   else "")
            ) from error

    def output_dtypes(self, node: Node, number: int) -> list[Any]:
        arrays = [_example(tensor.shape, UNKNOWN[0], tensor.dtype) for tensor in node.inputs]
        y = self._tried(node.options["template"], arrays, [tensor.shape for tensor in node.inputs])
        return [np.asarray(part).dtype.name for part in (y if isinstance(y, list) else [y])]

    def get_config(self) -> Config:
        return {"name": self.name, **self.options}


def _plain_number(leaf: Any) -> Any:
    """A number of NumPy's as one of Python's, which changes no dtype."""
    return leaf.item() if isinstance(leaf, np.generic) else leaf


def _contiguous(y: Any) -> Array:
    """An array as kernels read it; a single number stays one."""
    return np.ascontiguousarray(y) if np.ndim(y) else np.asarray(y)


def _example(shape: Sizes, size: int, dtype: DTypeLike) -> Array:
    """An array of a shape, with a size in the place of the unknown ones: of ones, which can be divided by, or
    of the index 0."""
    fill = np.ones if np.dtype(dtype).kind == "f" else np.zeros
    return fill([size if n is None else n for n in shape], dtype)


def _common_shape(shapes: Sequence[Any]) -> tuple[Any, ...]:
    first = shapes[0]
    return tuple(n if all(shape[i] == n for shape in shapes) else None for i, n in enumerate(first))
