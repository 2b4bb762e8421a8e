"""Tape: where a forward pass leaves what the backward pass needs, in memory that serves again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import runtime
from tdfast.engine.structure import flatten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike

    from tdfast.engine.layer import Layer
    from tdfast.engine.types import Array, Arrays, Sizes


class Tape:
    """What one pass leaves for the next: a record per layer call, in the order of the calls.

    ``y = layer.forward(x, tape)`` pushes a record, ``dx = layer.backward(dy, tape)`` pops it. The
    buffers of a record outlive the pass and serve again when the same shapes come back, so a steady
    step allocates nothing.

    Args:
        keep: True when a backward pass follows. False is inference: layers leave nothing on the
            tape and only borrow their buffers from it.
        version: stands for the weights' values. While a tape's version is the same object, layers may
            reuse what they packed from their weights; None: pack them in every pass.

    Attributes:
        bare: the layers that leave their activation out, see `tdfast.training.logits`.
    """

    __slots__ = ("keep", "version", "bare", "records", "position", "packers")

    def __init__(self, keep: bool = True, version: Any = None) -> None:
        self.keep = keep
        self.version = version
        self.bare = ()
        self.records: list[Any] = []
        self.position = 0
        self.packers: dict[Any, Any] = {}
        """The id of an array of weights -> the record that holds what this pass packed from it; tapes within
        share it."""

    def rewind(self) -> None:
        """Start a new forward pass; buffers stay."""
        self.position = 0
        if self.packers:
            self.packers.clear()

    def push(self, layer: Layer) -> Record:
        """The record of this call of ``layer``."""
        i = self.position
        self.position = i + 1
        records = self.records
        if i < len(records) and records[i].layer is layer:
            return records[i]
        del records[i:]
        record = Record(layer)
        records.append(record)
        return record

    def peek(self, layer: Layer) -> Record:
        """The record of a layer whose inner layers' calls, pushed after its own, are not yet undone."""
        i = self.position - 1
        while self.records[i].layer is not layer:
            i -= 1
        return self.records[i]

    def pop(self, layer: Layer) -> Record:
        """The record of the last call not yet undone, which must be ``layer``'s."""
        self.position -= 1
        record = self.records[self.position]
        if record.layer is not layer:
            raise RuntimeError(
                f"backward of layer '{layer.name}' does not follow its forward: the tape holds "
                f"'{record.layer.name}' there. Call backward in the reverse order of forward."
            )
        return record

    def begin(self, outer: Tape) -> None:
        """Start a pass that is a part of another tape's."""
        self.keep, self.version, self.bare, self.position = outer.keep, outer.version, outer.bare, 0
        self.packers = outer.packers

    def records_from(self, start: int = 0) -> Iterator[Any]:
        """The records of the pass so far, from that place on, each followed by those of the calls within
        it."""
        for record in self.records[start : self.position]:
            yield record
            for inner in record.tapes:
                yield from inner.records_from()

    def redirect_of(self, y: Any) -> Any:
        """The `Redirect` by which whoever made ``y`` can write its next result elsewhere; None if nobody
        can."""
        address = y.__array_interface__["data"][0]
        for record in reversed(list(self.records_from())):
            redirect = record.redirect_of(y, address)
            if redirect is not None:
                return redirect
        return None


class Redirect:
    """Sends what a record writes to one of its buffers to another array, so that it need not be copied."""

    __slots__ = ("record", "name", "shape", "rows", "key")

    def __init__(self, record: Record, name: str, shape: Sizes, rows: int) -> None:
        self.record = record
        self.name = name
        self.shape = shape
        self.rows = rows
        self.key: Any = None

    def to(self, array: Any) -> None:
        """Let the record write to ``array``, which has other rows but the same number of values a row."""
        self.end()
        first, uneven = divmod(self.shape[0] * len(array), self.rows)
        if not uneven:
            self.key = (self.name, (first, *self.shape[1:]))
            self.record._views[self.key] = array.reshape(self.key[1])

    def end(self) -> None:
        """The record has its own memory again."""
        if self.key is not None:
            self.record._views.pop(self.key, None)
            self.key = None


class Record:
    """The buffers and notes of one layer call. Layers set further attributes as they need."""

    if TYPE_CHECKING:                   # a layer puts what it likes there

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    MAX_VIEWS = 256
    losses: Any = None
    """What the call of a layer gave to `Layer.add_loss`, until its backward pass."""
    added = 0.0
    """What the call of a layer gave to `Layer.add_loss`."""

    def __init__(self, layer: Layer | None) -> None:
        self.layer = layer
        self.version: Any = None
        self.tapes: list[Any] = []
        """Those of the calls within this one, for layers that hold a graph."""
        self.outputs: dict[Any, Any] = {}
        """Those of calls within this one that give several: which call -> a list."""
        self.activities: dict[Any, Any] = {}
        """Calls of inner layers with an activity_regularizer: which call -> (layer, its output or "
        "several)."""
        self.rows = 0
        """How many rows the activities' penalties are averaged over."""
        self._views: dict[Any, Any] = {}
        self._memory: dict[Any, Any] = {}

    def buffer(self, name: Any, shape: Sizes, dtype: DTypeLike) -> Array:
        """An uninitialised, 64-byte aligned array; the same memory each time the name comes back."""
        key = (name, shape)
        view = self._views.get(key)
        if view is not None and view.dtype == dtype:
            return view
        dtype = np.dtype(dtype)
        need = math.prod(shape) * dtype.itemsize
        memory = self._memory.get(name)
        if memory is None or memory.size < need or len(self._views) > self.MAX_VIEWS:
            if memory is None or memory.size < need:
                self._memory[name] = memory = runtime.aligned(need, np.uint8)
            self._views = {k: v for k, v in self._views.items() if k[0] != name}
        view = memory[:need].view(dtype).reshape(shape)
        self._views[key] = view
        return view

    def redirect_of(self, y: Any, address: int) -> Redirect | None:
        """A `Redirect` of the buffer that ``y``, at ``address``, is a view of; None if it is none."""
        for (name, shape), view in self._views.items():
            if view.size == y.size and shape and view.__array_interface__["data"][0] == address:
                return Redirect(self, name, shape, len(y))
        return None

    def begin_tapes(self, n: int, outer: Tape) -> list[Any]:
        """The tapes of the first n calls within this one, at their beginning."""
        tapes = self.tapes
        if len(tapes) < n:
            tapes.extend(Tape() for _ in range(n - len(tapes)))
        for tape in tapes:
            tape.begin(outer)
        return tapes

    def note_activity(self, layer: Layer, y: Any, call: int = 0) -> None:
        """Remember the output of an inner layer's call if the layer has an activity_regularizer."""
        if layer.activity_regularizer is not None:
            self.activities[call], self.rows = (layer, y), len(flatten(y)[0])
        elif self.activities:
            self.activities.pop(call, None)

    def add_activity_gradient(self, dy: Arrays, call: int = 0) -> Array:
        """dy, the gradient of that output, with its activity_regularizer's part."""
        if call not in self.activities:
            return dy
        layer, y = self.activities[call]
        for d, part in zip(flatten(dy), flatten(y)):
            np.add(d, layer.activity_regularizer.gradient(part) / self.rows, out=d, casting="same_kind")
        return dy

    def activity_penalty(self) -> Any:
        """The sum of the activity regularizers' penalties."""
        return self.added + sum(float(layer.activity_regularizer(part)) / self.rows
                                for layer, y in self.activities.values() for part in flatten(y))

    def packed_weights(self, tape: Tape, weights: Any, shape: Sizes, dtype: DTypeLike) -> tuple[Any, ...]:
        """(memory for what a layer packs from an array of weights, whether it holds that already).

        A layer that is called again in one pass finds what its first call packed.
        """
        owner = tape.packers.setdefault(id(weights), self)
        packed = owner.buffer("packed", shape, dtype)
        if owner is not self or (tape.version is not None and self.version is tape.version):
            return packed, True
        self.version = tape.version
        return packed, False
