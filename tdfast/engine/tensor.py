"""SymbolicTensor: a value between two layers of a graph, before there are numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from tdfast.engine import registry
from tdfast.engine.structure import flatten

if TYPE_CHECKING:
    from collections.abc import Callable


class SymbolicTensor:
    """What a layer's call takes or gives in a `tdfast.engine.graph.Graph`.

    Operators and slices make further calls, of `tdfast.ops`.

    Args:
        node: the call that gives it; None for an input of a graph that no layer made.
        index: which output of that call it is.
        shape: with None for any size; None while it is not known.
        dtype: the name of the dtype.
        name: for messages.
    """

    __slots__ = ("node", "index", "shape", "dtype", "name")

    def __init__(self, node: Any = None, index: int = 0, shape: Any = None, dtype: str = "float32",
                 name: str | None = None) -> None:
        self.node, self.index, self.shape, self.dtype, self.name = node, index, shape, dtype, name

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.name or ''} shape={self.shape}>"

    # ---------------------------------------------------------------- what needs numbers
    def _refuse(self, what: str) -> NoReturn:
        raise TypeError(
            f"{self!r} has no numbers yet: it stands for a value in a graph, so it cannot {what}. Make a "
            "model "
            "of it, Model(inputs, outputs), and call that on arrays."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse("become a NumPy array")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> SymbolicTensor:
        """NumPy's operators with an array before this tensor; its functions are refused."""
        name = _NUMPY_OPERATORS.get(ufunc.__name__)
        if name is not None and method == "__call__" and not kwargs:
            return getattr(registry.home("ops"), name)(*inputs)
        raise TypeError(
            f"np.{ufunc.__name__} takes arrays, but {self!r} has no numbers yet: it stands for a value in a "
            "graph. Use the function of that name in tdfast.ops."
        )

    def __bool__(self) -> NoReturn:
        self._refuse("be true or false")

    def __iter__(self) -> NoReturn:
        self._refuse("be iterated over")

    def __len__(self) -> NoReturn:
        self._refuse("tell its length (its shape can)")

    def __float__(self) -> NoReturn:
        self._refuse("become a float")

    def __int__(self) -> NoReturn:
        self._refuse("become an int")

    # ---------------------------------------------------------------- operators
    def __getitem__(self, key: Any) -> SymbolicTensor:
        return registry.home("ops").get_item(self, key)

    def __neg__(self) -> SymbolicTensor:
        return registry.home("ops").negative(self)

    def __abs__(self) -> SymbolicTensor:
        return registry.home("ops").absolute(self)

    def __invert__(self) -> SymbolicTensor:
        return registry.home("ops").logical_not(self)


_NUMPY_OPERATORS = {
    "remainder": "mod",
    **{name: name for name in ("add", "subtract", "multiply", "divide", "floor_divide", "power", "matmul",
                               "less", "less_equal", "greater", "greater_equal", "not_equal", "logical_and",
                               "logical_or", "logical_xor")},
}
"""NumPy's name of an operator -> that of `tdfast.ops`."""


def _operator(name: str, swapped: bool) -> Callable[..., Any]:
    def apply(self: Any, other: SymbolicTensor | float) -> SymbolicTensor:
        op = getattr(registry.home("ops"), name)
        return op(other, self) if swapped else op(self, other)

    return apply


for _symbol, _name in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "mod",
    "pow": "power",
    "matmul": "matmul",
    "and": "logical_and",
    "or": "logical_or",
    "xor": "logical_xor",
}.items():
    setattr(SymbolicTensor, f"__{_symbol}__", _operator(_name, False))
    setattr(SymbolicTensor, f"__r{_symbol}__", _operator(_name, True))
for _symbol, _name in {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "ne": "not_equal",
}.items():
    setattr(SymbolicTensor, f"__{_symbol}__", _operator(_name, False))


def is_symbolic(structure: Any) -> bool:
    """Whether there is a `SymbolicTensor` in a structure; long lists are taken for what their first entry
    is."""
    if isinstance(structure, SymbolicTensor):
        return True
    if isinstance(structure, dict):
        return any(map(is_symbolic, structure.values()))
    if isinstance(structure, (list, tuple)):
        return any(map(is_symbolic, structure if len(structure) <= 64 else structure[:1]))
    return False


def tensors_of(structure: Any) -> list[Any]:
    """The symbolic tensors among the leaves of a structure, in order."""
    return [leaf for leaf in flatten(structure) if isinstance(leaf, SymbolicTensor)]
