"""What is under way in this thread: users' functions whose steps are recorded, and calls within their code.

`tdfast.engine.derivatives` does the recording; this module is what others ask, and imports little.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from tdfast.engine.structure import flatten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.engine.tape import Record, Tape
    from tdfast.engine.variable import Variable

_here = threading.local()


class Frame:
    """One call of a user's function, within which ops and layers are called.

    Args:
        trace: the `tdfast.engine.derivatives.Trace` that records it; None: nothing is recorded.
        training: what layers called within are told, unless the call says it.
        closed: whether outer frames do not see what happens in here, since whoever opened the frame gives
            them the derivative as a whole.
        record, tape: a `Record` whose tapes serve the layers called within, and the tape on which it lies.
            None: tapes are made anew.
    """

    def __init__(self, trace: Any = None, training: bool | None = None, closed: bool = False,
                 record: Record | None = None, tape: Tape | None = None) -> None:
        self.trace, self.training, self.closed = trace, training, closed
        self.record, self.tape = record, tape
        self.losses: list[Any] = []
        """What `add_loss` was given, and the penalties of layers called within."""
        self.inner_losses: list[Any] = []
        """What `add_loss` was given within layers whose own backward pass has its derivative: numbers."""
        self._masks: dict[int, Any] = {}
        self._tapes = 0

    def __enter__(self) -> Frame:
        _frames().append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        frames = _frames()
        while frames.pop() is not self:
            pass

    # ---------------------------------------------------------------- masks of the values within
    def set_mask(self, value: Any, mask: Any) -> None:
        """Remember the mask of a value."""
        if mask is not None:
            self._masks[id(value)] = value, mask

    def mask_of(self, value: Any) -> Any:
        """The mask that a value has got, or None."""
        return self._masks.get(id(value), (None, None))[1]

    # ---------------------------------------------------------------- tapes of the layers within
    def next_tape(self) -> Any:
        """A tape for the next call of a layer, at its beginning."""
        from tdfast.engine.tape import Tape

        if self.record is None:
            return Tape(keep=self.trace is not None)
        self._tapes += 1
        tapes = self.record.tapes
        if len(tapes) < self._tapes:
            tapes.append(Tape())
        tape = tapes[self._tapes - 1]
        tape.begin(self.tape)
        return tape


@contextlib.contextmanager
def graph_being_made() -> Iterator[None]:
    """For the block, a model's call runs once for all: what differs from call to call is refused."""
    before, _here.makes_graph = makes_graph(), True
    try:
        yield
    finally:
        _here.makes_graph = before


def makes_graph() -> bool:
    """Whether a model's call runs once for all."""
    return getattr(_here, "makes_graph", False)


def refuse_in_graph(what: str) -> None:
    """Raise a ValueError where a model's call runs once for all."""
    if makes_graph():
        raise ValueError(f"{what} would be the same in every step of a model whose call runs once for all")


def _frames() -> list[Frame]:
    try:
        return _here.frames
    except AttributeError:
        _here.frames = []
        return _here.frames


def innermost() -> Frame | None:
    """The frame of the call that is under way in this thread; None if there is none."""
    frames = _frames()
    return frames[-1] if frames else None


def traces() -> list[Any]:
    """The traces that record what happens now, the innermost first."""
    found = []
    for frame in reversed(_frames()):
        if frame.trace is not None:
            found.append(frame.trace)
        if frame.closed:
            break
    return found


def is_recorded(value: Any) -> bool:
    """Whether a value is a `tdfast.engine.derivatives.Traced`, asked without importing that."""
    return getattr(type(value), "is_recorded", False)


def level() -> int:
    """How many frames there are, which tells the values of one trace from those of another."""
    return len(_frames())


def value_of(variable: Variable) -> Any:
    """A variable's array, or what stands for it in the innermost trace that heeds it."""
    if _frames():
        for trace in traces():
            if trace.heeds(variable):
                return trace.of(variable)
    return variable.value


def add_losses(values: Any) -> bool:
    """Give losses to the call that is under way; False if there is none."""
    frame = innermost()
    if frame is None:
        return False
    frame.losses += flatten(values)
    return True
