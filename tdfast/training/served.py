"""Predictions of small batches of one shape, again and again: prepared once, and then only run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.program import Program, all_finite, is_of_tdfast
from tdfast.engine.structure import flatten
from tdfast.runtime import aligned
from tdfast.training.prediction import for_these_weights, is_stateful

if TYPE_CHECKING:
    from tdfast.engine.types import Array
    from tdfast.training.lock import ModelLock, Reader

SMALL = 2**16
"""Bytes of an input up to which the Python of a prediction counts."""

SHAPES = 8
"""Shapes of inputs that are told apart."""

TRIES = 4
"""How often a prediction of one shape is recorded without a second run, as when a layer changes each time."""


class Served:
    """The predictions that a model makes for small inputs it has seen the like of.

    Args:
        model: a model with one input.
        lock: its `tdfast.training.lock.ModelLock`.
    """

    def __init__(self, model: Any, lock: ModelLock) -> None:
        self._model, self._lock = model, lock
        self._dtypes: dict[Any, Any] = {}       # (shape, dtype, training) -> the dtype of the model's input
        self._tries: dict[Any, int] = {}

    def saw(self, x: Any, into: Any, training: bool | None = False) -> None:
        """A prediction of ``x``, as an array of the dtype ``into``, has been made the long way."""
        if type(x) is not np.ndarray or x.nbytes > SMALL or not x.size:
            return
        if x.dtype != into and not x.dtype.kind == into.kind == "f":
            return
        key = x.shape, x.dtype, training
        if self._tries.get(key, 0) <= TRIES and is_of_tdfast(self._model) and not is_stateful(self._model):
            if len(self._dtypes) == SHAPES:
                self._dtypes.clear()
                self._tries.clear()
            self._dtypes[key] = into

    def outputs(self, x: Any, check_finite: bool = False, training: bool | None = False) -> Any:
        """The output for an array, or a list of several; None: it is one to predict the long way.

        Args:
            check_finite: whether an array with NaN or infinity is one of those.
            training: False, or None, as in a call of the model.
        """
        if type(x) is not np.ndarray:
            return None
        key = x.shape, x.dtype, training
        into = self._dtypes.get(key)
        if into is None:
            return None
        reader, done = self._lock.borrow(), False
        try:
            with self._lock.gate:
                pass
            with reader.lock:
                made = self._run(reader, key, into, x, check_finite)
            done = True
            return made
        finally:
            self._lock.give_back(reader, done)

    def _run(self, reader: Reader, key: Any, into: Any, x: Array, check_finite: bool) -> Any:
        found = reader.prepared.get(key)
        if found is not None and found[0].ready:
            self._tries[key] = 0
        else:
            found = self._record(reader, key, into)
            if found is None:
                return None
        program, room, ys = found
        np.copyto(room, x)
        if check_finite and not all_finite(room):
            return None
        if program.has_functions:
            with kernel_arithmetic():
                done = program.run()
        else:
            done = program.run()
        if not done:                # another thread has changed something since
            return None
        return ys[0].copy() if len(ys) == 1 else [y.copy() for y in ys]

    def _record(self, reader: Reader, key: Any, into: Any) -> Any:
        """(the program, the array that it reads, those that it leaves the outputs in); None: there is
        none."""
        self._tries[key] = self._tries.get(key, 0) + 1
        room, program = aligned(key[0], into), Program()
        room[...] = 0
        tape = for_these_weights(reader.memory)
        with kernel_arithmetic(), program:
            ys = flatten(self._model.forward(room, tape, training=key[2]))
        if not program.ready or self._tries[key] > TRIES:
            self._dtypes.pop(key, None)         # another thread may have done so
            return None
        if len(reader.prepared) == SHAPES:
            reader.prepared.clear()
        reader.prepared[key] = program, room, ys
        return reader.prepared[key]
