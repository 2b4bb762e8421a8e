"""Errors for names of Keras's that are not in tdfast: why not, and what to use, by the tables of
`tdfast.compat.keras_table`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

from tdfast.compat import keras_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType


T = TypeVar("T")


def _by_name(rows: Sequence[Any], place: str) -> dict[str, Any]:
    return {name: why for where, names, why in rows if where == place for name in names.split(", ")}


def lookup(module: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module: an AttributeError, which says more for names in the table.

    To ``from tdfast.layers import ...`` it is an ImportError: of an AttributeError the statement drops the
    text. `hasattr` and `getattr` with a default work for all names.

    Args:
        module: its ``__name__``.

    >>> lookup("tdfast.layers")("CuDNNLSTM")
    Traceback (most recent call last):
    AttributeError: tdfast.layers has no 'CuDNNLSTM', which Keras has: `LSTM` and `GRU`. See docs/keras.md.
    """
    place = module.partition(".")[2] or "(top)"

    def __getattr__(name: str) -> Any:
        why = _by_name(keras_table.NAMES + keras_table.OLDER, place).get(name)
        if why is None:
            raise AttributeError(f"module '{module}' has no attribute '{name}'", name=name)
        text = f"{module} has no '{name}', which Keras has: {why}. See docs/keras.md."
        if _is_imported(sys._getframe(1)):
            raise ImportError(text, name=module)
        raise AttributeError(text, name=name)

    return __getattr__


def _is_imported(frame: FrameType | None) -> bool:
    """Whether a ``from ... import ...`` asks, behind any number of modules' ``__getattr__``: the statement
    itself or, of a package, importlib."""
    import opcode  # for those who need it alone

    while frame is not None and frame.f_code.co_name == "__getattr__":
        frame = frame.f_back
    if frame is None:
        return False
    operation = frame.f_code.co_code[frame.f_lasti]
    return frame.f_code.co_name == "_handle_fromlist" or operation == opcode.opmap["IMPORT_FROM"]


class Missing:
    """Stands in a class for a member that only Keras's has. To ask an object for it raises an AttributeError.

    A member that a subclass or an object has of its own goes before it. Where nothing is missing it costs
    nothing, as a class's ``__getattr__`` would.
    """

    def __init__(self, name: str, why: str) -> None:
        self.name, self.why = name, why

    def __repr__(self) -> str:
        return f"<not in tdfast: {self.why}>"

    def __get__(self, obj: Any, cls: Any = None) -> Missing:
        if obj is None:
            return self
        raise AttributeError(
            f"'{cls.__name__}' object has no attribute '{self.name}', which Keras's has: {self.why}. See "
            "docs/keras.md.",
            name=self.name,
            obj=obj,
        )


def members(place: str) -> Callable[[type[T]], type[T]]:
    """A class decorator that tells the members which the table has for ``place``.

    >>> @members("metrics")
    ... class Metric:
    ...     pass
    >>> hasattr(Metric(), "reset_states"), "reset_states" in dir(Metric())
    (False, False)
    """

    def decorator(cls: type[T]) -> type[T]:
        for name, why in _by_name(keras_table.MEMBERS, place).items():
            setattr(cls, name, Missing(name, why))
        setattr(cls, "__dir__", _dir)       # noqa: B010 -- a checker takes no method of another class
        return cls

    return decorator


def _dir(self: Any) -> list[Any]:
    """The names that are there."""
    missing = {name for name in dir(type(self)) if isinstance(getattr(type(self), name, None), Missing)}
    return [name for name in object.__dir__(self) if name not in missing or name in vars(self)]
