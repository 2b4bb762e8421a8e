"""Which calls on one model may run at the same time, in several Python threads."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tdfast.engine.tape import Tape
    from tdfast.engine.types import Array

IDLE = 4
"""Readers that wait for the next prediction; each keeps its buffers."""


class ModelLock:
    """Keeps the calls on one model out of one another's way.

    - Calls that change the model's own records (`exclusive`: compile, fit, evaluate, train_on_batch,
      test_on_batch) run one at a time. A second one in another thread is refused, and does not wait: waiting
      could last for ever.
    - Predictions (`reading`) run side by side, each in a `Reader` of its own.
    - Changes of the weights (`writing`: one update, set_weights) happen while no prediction reads them, so
      that a prediction sees the weights of one moment.

    Only a thread's own calls may nest. Locks are held by their own ``with`` alone, which no signal can come
    between, and the token of `exclusive` is known by a weak reference: Ctrl-C leaves nothing taken. A forked
    child starts free.

    Args:
        make: makes the working memory of a reader.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._start()
        _everywhere.add(self)

    def _start(self) -> None:
        self._entry = threading.Lock()
        self._holder: Any = None         # weak, to the token of the call that is alone
        self.gate = threading.RLock()
        self._readers: list[Any] = []          # all of them; a reader is in here before it is taken
        self._idle: list[Any] = []

    def __reduce__(self) -> Any:
        return ModelLock, (self._make,)

    # ---------------------------------------------------------------- one at a time
    def exclusive(self, what: str) -> _Token | None:
        """A token: while it lives, or until `free`, no other thread gets one. None for a call within such a
        call.

        Raises:
            RuntimeError: naming the call that is there.
        """
        me = threading.get_ident()
        token = _Token(what, me)
        with self._entry:
            there = self._holder and self._holder()
            if there is None:
                self._holder = weakref.ref(token)
                return token
        if there.thread == me:
            return None
        names = [thread.name for thread in threading.enumerate() if thread.ident == there.thread]
        raise RuntimeError(
            f"{what}: {there.what} of this model is at work in thread '{(names or ['?'])[0]}', and one at a "
            "time can "
            "be. Wait for it, or give each thread a model of its own. predict may run beside it at any time."
        )

    def at_work(self) -> Any:
        """What the call is that has a token now, or None."""
        there = self._holder and self._holder()
        return there and there.what

    def free(self, token: _Token | None) -> None:
        """The call with this token has ended."""
        if token is not None:
            self._holder = None

    # ---------------------------------------------------------------- side by side
    def borrow(self) -> Reader:
        """A reader for one call, for `give_back` in the end. Read weights with its ``lock``, once past the
        ``gate``."""
        try:
            return self._idle.pop()
        except IndexError:
            reader = Reader(self._make())
            self._readers.append(reader)
            return reader

    def give_back(self, reader: Reader, done: bool) -> None:
        """Give a reader back; what an error left half-way (not ``done``) is not used again."""
        if done and len(self._idle) < IDLE and reader in self._readers:
            self._idle.append(reader)
        elif reader in self._readers:
            self._readers.remove(reader)

    @contextlib.contextmanager
    def reader(self) -> Iterator[Any]:
        """A reader for the block."""
        reader, done = self.borrow(), False
        try:
            yield reader
            done = True
        finally:
            self.give_back(reader, done)

    @contextlib.contextmanager
    def read(self, reader: Reader) -> Iterator[Any]:
        """For the block, the weights of one moment."""
        with self.gate:
            pass                    # a change that is under way ends, and one that waits comes first
        with reader.lock:
            yield

    @contextlib.contextmanager
    def reading(self) -> Iterator[Any]:
        """A reader, and the weights of one moment, for the block."""
        reader, done = self.borrow(), False
        try:
            with self.gate:
                pass
            with reader.lock:
                yield reader
            done = True
        finally:
            self.give_back(reader, done)

    def read_by(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Array | list[Array]:
        """What ``function`` returns, which sees the weights of one moment: `reading` without a generator's
        price."""
        reader, done = self.borrow(), False
        try:
            with self.gate:
                pass
            with reader.lock:
                result = function(*args, **kwargs)
            done = True
            return result
        finally:
            self.give_back(reader, done)

    # ---------------------------------------------------------------- changes
    def _others(self) -> Any:
        # Behind the gate: a context in which no reader reads.
        readers = self._readers
        if len(readers) < 2:
            return readers[0].lock if readers else _NOBODY
        return _all_held([reader.lock for reader in readers])

    def changed_by(self, function: Callable[..., Any]) -> None:
        """Call ``function`` while nobody reads the weights: `writing` without a generator's price."""
        with self.gate, self._others():
            function()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Any]:
        """For the block, nobody reads the weights. (Who comes meanwhile waits at the gate.)"""
        with self.gate, self._others():
            yield


_NOBODY = contextlib.nullcontext()


@contextlib.contextmanager
def _all_held(locks: Sequence[Any]) -> Iterator[Any]:
    if not locks:
        yield
        return
    with locks[0], _all_held(locks[1:]):
        yield


class Reader:
    """What one prediction at a time needs: memory, and a lock that says that weights are being read."""

    __slots__ = ("memory", "lock", "prepared")

    def __init__(self, memory: Tape) -> None:
        self.memory, self.lock = memory, threading.RLock()
        self.prepared: dict[Any, Any] = {}
        """The predictions of `tdfast.training.served` that run in this memory."""


class _Token:
    __slots__ = ("what", "thread", "__weakref__")

    def __init__(self, what: str, thread: int) -> None:
        self.what, self.thread = what, thread


_everywhere: weakref.WeakSet[Any] = weakref.WeakSet()


def _in_child() -> None:
    # The other threads, which may have held a lock, are not in the child.
    for lock in list(_everywhere):
        lock._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
