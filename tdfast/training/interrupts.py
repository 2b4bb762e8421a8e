"""Ctrl-C during training: a step ends before it takes effect."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupts:
    """Ctrl-C during a step takes effect right after it, so that an update is whole or not begun.

    A handler of the program's own stays as it is. One of another `Interrupts` does not: it belongs to a fit
    around this one, or to one that another signal's handler ended before it could put the old one back.
    """

    def __enter__(self) -> Interrupts:
        self.holding, self.pending, self.old = True, False, None
        if threading.current_thread() is threading.main_thread():
            old = signal.getsignal(signal.SIGINT)
            if old is signal.default_int_handler or isinstance(getattr(old, "__self__", None), Interrupts):
                self.old = old
                signal.signal(signal.SIGINT, self._handle)
        self.holding = False
        return self

    def __exit__(self, *error: Any) -> None:
        self.holding = True             # until the handler is back
        if self.old is not None:
            signal.signal(signal.SIGINT, self.old)
        if self.pending:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: Any) -> None:
        if self.holding and not self.pending:
            self.pending = True
        else:
            raise KeyboardInterrupt

    def held(self) -> _Held:
        """For the block, Ctrl-C waits; the second one does not."""
        return _Held(self)


class _Held:
    """The block of `Interrupts.held`: a class, since a generator costs more, and each step enters one."""

    __slots__ = ("interrupts",)

    def __init__(self, interrupts: Interrupts) -> None:
        self.interrupts = interrupts

    def __enter__(self) -> None:
        self.interrupts.holding = True

    def __exit__(self, kind: Any, *error: Any) -> None:
        interrupts = self.interrupts
        interrupts.holding = False
        if kind is None and interrupts.pending:
            interrupts.pending = False
            raise KeyboardInterrupt
