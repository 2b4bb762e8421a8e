"""SymbolicTensor: a value between two layers of a graph, before there are numbers."""

from __future__ import annotations

from typing import Any, NoReturn

from tdfast.engine import registry
from tdfast.engine.operators import NUMPY_OPERATORS, Operators
from tdfast.engine.structure import flatten


class SymbolicTensor(Operators):
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
        name = NUMPY_OPERATORS.get(ufunc.__name__)
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

    def __ne__(self, other: Any) -> Any:
        return registry.home("ops").not_equal(self, other)

    def __eq__(self, other: Any) -> Any:
        """Beside another symbolic tensor whether it is the same one, as in Keras; else a call in the "
        "graph."""
        if other is None or isinstance(other, SymbolicTensor):
            return self is other
        return registry.home("ops").equal(self, other)

    __hash__ = object.__hash__


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
