"""What a pass leaves to be made again: the calls of kernels and functions, without the Python around them.

A training step of unchanged shapes, on the same memory as the one before, calls the same kernels with the
same arguments. So it is recorded once, by `tdfast._kernels.Program`, and then runs without the layers'
Python. A layer whose passes are calls of kernels, and of what it hands to `tdfast._kernels.call`, says so by
`Layer.can_be_prepared`. Every other layer of tdfast is in the program as a function of Python: `Repeated`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tdfast import _kernels
from tdfast.engine.structure import flatten

if TYPE_CHECKING:
    from collections.abc import Callable

    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Array

Program: TypeAlias = _kernels.Program
Steps: TypeAlias = _kernels.Steps
call, abandon = _kernels.call, _kernels.abandon
changed, changes, is_recording = _kernels.changed, _kernels.changes, _kernels.is_recording
all_finite = _kernels.all_finite


class Repeated:
    """One call of a layer, whose results land each time where those of the first time are.

    Args:
        function: `Layer.forward` or `Layer.backward`.
        tape: of the call, which a forward pass begins anew.
        outer: the tape around it; None: of a backward pass.

    >>> repeated = Repeated(lambda x: 2 * x)
    >>> x = np.ones(2)
    >>> y = repeated(x)
    >>> x[...] = 3
    >>> repeated(x) is y, y.tolist()
    (True, [6.0, 6.0])
    """

    __slots__ = ("function", "tape", "outer", "first", "is_first")

    def __init__(self, function: Callable[..., Any], tape: Tape | None = None,
                 outer: Tape | None = None) -> None:
        self.function, self.tape, self.outer = function, tape, outer
        self.first, self.is_first = None, True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.tape is not None and self.outer is not None:
            self.tape.begin(self.outer)
            if not self.is_first and self.tape.version is not None:
                self.tape.version = object()        # the weights may be others now
        made = self.function(*args, **kwargs)
        if self.is_first:
            self.first, self.is_first = made, False
            return made
        for to, part in zip(flatten(self.first), flatten(made)):
            if part is not to:
                np.copyto(to, part)
        return self.first


def blend(rule: str, y: Array, x: Array) -> None:
    """``y[...] = x`` ("copy"), ``y += x`` ("add") or ``y *= x`` ("multiply") by a kernel, of views of one
    shape that are no views of each other; by NumPy where there is no kernel for their axes or their dtypes.

    >>> y = np.zeros((2, 3))
    >>> blend("copy", y[:, 1:], np.ones((2, 2)))
    >>> blend("add", y, y[::-1].copy())
    >>> y.tolist()
    [[0.0, 2.0, 2.0], [0.0, 2.0, 2.0]]
    """
    if x.dtype != y.dtype or x.dtype.kind != "f" or not _kernels.blend(rule, y, x):
        call(_blend_in_numpy, rule, y, x)


def _blend_in_numpy(rule: str, y: Array, x: Array) -> None:
    if rule == "copy":
        np.copyto(y, x)
    else:
        (np.add if rule == "add" else np.multiply)(y, x, y)


_NOTHING = object()


def set_attribute(thing: Any, name: str, value: Any) -> None:
    """``thing.name = value``, after which no program made before runs again, unless nothing is another now:
    a new attribute, the same value, one of the names in ``thing.passive``."""
    held = vars(thing).get(name, _NOTHING)
    object.__setattr__(thing, name, value)
    is_new = held is _NOTHING and not hasattr(type(thing), name)
    if not (is_new or held is value or name in thing.passive):
        changed()


def is_of_tdfast(layer: Any) -> bool:
    """Whether a layer's passes are those of its class, which is one of this package."""
    return type(layer).__module__.startswith("tdfast.") and "forward" not in vars(layer)
