"""Operators: ``x + y``, ``x[0]``, ``x @ y`` and the like as functions of `tdfast.ops`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdfast.engine import registry

if TYPE_CHECKING:
    from collections.abc import Callable


class Operators:
    """What has the operators of an array, each of which calls the function of `tdfast.ops`."""

    __slots__ = ()

    if TYPE_CHECKING:                   # made from the tables below

        def _operator(self, other: Any) -> Any: ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _operator
        __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _operator
        __matmul__ = __rmatmul__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _operator
        __lt__ = __le__ = __gt__ = __ge__ = _operator

    def __getitem__(self, key: Any) -> Any:
        return registry.home("ops").get_item(self, key)

    def __neg__(self) -> Any:
        return registry.home("ops").negative(self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return registry.home("ops").absolute(self)

    def __invert__(self) -> Any:
        return registry.home("ops").logical_not(self)


def _operator(name: str, swapped: bool) -> Callable[..., Any]:
    def apply(self: Any, other: Any) -> Any:
        op = getattr(registry.home("ops"), name)
        return op(other, self) if swapped else op(self, other)

    return apply


_SWAPPABLE = {
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
}
_COMPARING = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}

for _symbol, _name in _SWAPPABLE.items():
    setattr(Operators, f"__{_symbol}__", _operator(_name, False))
    setattr(Operators, f"__r{_symbol}__", _operator(_name, True))
for _symbol, _name in _COMPARING.items():
    setattr(Operators, f"__{_symbol}__", _operator(_name, False))

NUMPY_OPERATORS = {
    "remainder": "mod",
    **{name: name for name in (*_SWAPPABLE.values(), *_COMPARING.values(), "not_equal")},
}
"""NumPy's name of an operator -> that of `tdfast.ops`."""
