"""Calls that fail before they begin: an argument that nobody takes is told with what it may mean."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tdfast.compat import keras_table
from tdfast.engine.names import did_you_mean, unknown_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_UNEXPECTED = re.compile(r"\(\) got an unexpected keyword argument '(\w+)'")


def spelled(function: Callable[P, R]) -> Callable[P, R]:
    """A function or method whose error for a call that does not fit it names it as the user did, and the near
    names.

    A call that fits costs one more frame.

    >>> @spelled
    ... def fit(x, epochs=1):
    ...     return epochs
    >>> fit(0, epoch=3)
    Traceback (most recent call last):
    TypeError: fit() does not know the argument(s) 'epoch'. Did you mean 'epochs'?
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if _fits(function, args, kwargs):               # it was raised within the function
                raise
            text = str(error).replace(f"{function.__qualname__}()", f"{function.__name__}()")
        raise TypeError(_unknown_of(function, kwargs) or text)

    return called


def _fits(function: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _unknown_of(function: Callable[..., Any], kwargs: Any) -> str | None:
    known = [name for name in inspect.signature(function).parameters if name != "self"]
    unknown = sorted(set(kwargs) - set(known))
    if not unknown:
        return None
    return f"{function.__name__}() does not know the argument(s) {', '.join(map(repr, unknown))}." + (
        keras_table.of_argument([function.__name__], unknown)
        or did_you_mean(unknown, {name: name for name in known})
        or f" It takes {', '.join(known)}."
    )


def spell(cls: type, *methods: str) -> None:
    """`spelled` for methods of a class, its own or inherited.

    >>> class Model:
    ...     def fit(self, epochs): ...
    >>> spell(Model, "fit")
    >>> Model().fit(1, 2)
    Traceback (most recent call last):
    TypeError: fit() takes 2 positional arguments but 3 were given
    """
    for name in methods:
        setattr(cls, name, spelled(getattr(cls, name)))


def spell_constructor(cls: type[T]) -> type[T]:
    """The class, whose constructor's error for an argument that it does not know names the class and the near
    names.

    >>> @spell_constructor
    ... class Huber:
    ...     def __init__(self, delta=1.0): ...
    >>> Huber(delt=2.0)
    Traceback (most recent call last):
    TypeError: Huber does not know the argument(s) 'delt'. Did you mean 'delta'?
    """
    init = vars(cls).get("__init__")
    if init is None:
        return cls

    @functools.wraps(init)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return init(self, *args, **kwargs)
        except TypeError as error:
            found = _UNEXPECTED.search(str(error))
            if found is None or found[1] not in kwargs:
                raise
        raise TypeError(unknown_arguments(type(self), [found[1]]))

    setattr(cls, "__init__", called)        # noqa: B010 -- a checker would want the same arguments
    return cls


def level_of_the_caller() -> int:
    """The stacklevel of a warning for whoever called tdfast."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__",
                                                           "").split(".")[0] == __name__.split(".")[0]:
        frame, level = frame.f_back, level + 1
    return level
