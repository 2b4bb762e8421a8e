"""Which calls on one model may run at the same time, in several Python threads."""

import contextlib
import os
import threading
import weakref

IDLE = 4
"""Seats that wait for the next prediction; each keeps its buffers."""


class Traffic:
    """Keeps the calls on one model out of one another's way.

    - Calls that change the model's own records (`alone`: compile, fit, evaluate, train_on_batch, test_on_batch) run
      one at a time. A second one in another thread is refused, and does not wait: waiting could last for ever.
    - Predictions (`reading`) run side by side, each in a seat of its own.
    - Changes of the weights (`writing`: one update, set_weights) happen while no prediction reads them, so that
      a prediction sees the weights of one moment.

    Only a thread's own calls may nest. Everything is given back when its frame is gone, even where Ctrl-C falls
    between two lines: by the locks' own ``with``, or as the token of `alone` dies. A forked child starts free.

    Args:
        make: makes the working memory of a seat.
    """

    def __init__(self, make):
        self._make = make
        self._start()
        _everywhere.add(self)

    def _start(self):
        self._entry = threading.Lock()
        self._holder = None         # weak, to the token of the call that is alone
        self._gate = threading.RLock()
        self._seats = []            # all of them; a seat is in here before it is taken
        self._idle = []

    def __reduce__(self):
        return Traffic, (self._make,)

    @contextlib.contextmanager
    def alone(self, what):
        """For the block, no other thread is in such a block.

        Raises:
            RuntimeError: naming the call that is there.
        """
        token = _Token(what)
        with self._entry:
            there = self._holder and self._holder()
            if there is None:
                self._holder = weakref.ref(token)
        if there is not None and there.thread is not token.thread:
            raise RuntimeError(
                f"{what}: {there.what} of this model is at work in thread '{there.thread.name}', and one at a time can "
                "be. Wait for it, or give each thread a model of its own. predict may run beside it at any time."
            )
        try:
            yield
        finally:
            if there is None:
                self._holder = None

    @contextlib.contextmanager
    def seat(self):
        """A seat of this call's own, with ``memory``; weights are read within `read`."""
        try:
            seat = self._idle.pop()
        except IndexError:
            seat = _Seat(self._make())
            self._seats.append(seat)
        done = False
        try:
            yield seat
            done = True
        finally:
            # What an error left half-way is not used again.
            if done and len(self._idle) < IDLE and seat in self._seats:
                self._idle.append(seat)
            elif seat in self._seats:
                self._seats.remove(seat)

    @contextlib.contextmanager
    def reading(self):
        """A seat, and for the whole block the weights of one moment."""
        with self.seat() as seat, self.read(seat):
            yield seat

    @contextlib.contextmanager
    def read(self, seat):
        """For the block, the weights of one moment."""
        with self._gate:
            pass                    # a change that is under way ends, and one that waits comes first
        with seat.lock:
            yield

    @contextlib.contextmanager
    def writing(self):
        """For the block, nobody reads the weights. (A seat that comes meanwhile waits at the gate.)"""
        with self._gate, _all_held([seat.lock for seat in self._seats]):
            yield


@contextlib.contextmanager
def _all_held(locks):
    # By the locks' own `with`, one in another: an ExitStack can be interrupted between a lock and its note of it.
    if not locks:
        yield
        return
    with locks[0], _all_held(locks[1:]):
        yield


class _Seat:
    """What one prediction at a time needs."""

    __slots__ = ("memory", "lock")

    def __init__(self, memory):
        self.memory, self.lock = memory, threading.RLock()


class _Token:
    __slots__ = ("what", "thread", "__weakref__")

    def __init__(self, what):
        self.what, self.thread = what, threading.current_thread()


_everywhere = weakref.WeakSet()


def _in_child():
    # The other threads, which may have held a lock, are not in the child.
    for traffic in list(_everywhere):
        traffic._start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
