"""Masks in the graph: which steps count, and how recurrent nodes, which know lengths alone, leave out the
others."""

from __future__ import annotations

from typing import Any

import numpy as np


class Mask:
    """Booleans (batch, time, ...), True at steps that count, as a value of the graph.

    A recurrent node takes lengths, so a mask with holes is brought to the front first (`compact`) and the
    node's outputs go back to their places (`expand`). A value that several layers ask for is made once.

    Args:
        graph: a `Graph`.
        valid: the value's name.
        rank: how many axes it has.
        lengths: steps of each row, int32 (batch,), where the steps that count are known to be the first.
    """

    def __init__(self, graph: Any, valid: Any, rank: int, lengths: Any = None) -> None:
        self.graph, self.valid, self.rank, self._lengths = graph, valid, rank, lengths
        self.right = lengths is not None
        self.used = False
        self._made: dict[Any, Any] = {}

    @classmethod
    def of_lengths(cls, graph: Any, lengths: Any, x: Any) -> Any:
        """The mask of the first ``lengths`` steps of x."""
        steps = steps_of(graph, x)
        return cls(graph, graph.node("Less", steps, graph.add_axis(graph.cast(lengths, np.int64), 1)), 2,
                   lengths)

    def changed(self, change: Any) -> Any:
        """The mask that ``change(value, number of its axes)`` makes of this one."""
        self.used = True
        return Mask(self.graph, change(self.valid, self.rank), self.rank)

    def _once(self, what: str, make: Any) -> Any:
        self.used = True
        if what not in self._made:
            self._made[what] = make()
        return self._made[what]

    @property
    def counts(self) -> Any:
        """The mask as 0 and 1, int64."""
        return self._once("counts", lambda: self.graph.cast(self.valid, np.int64))

    @property
    def lengths(self) -> Any:
        """How many steps of each row count, int32 (batch,)."""
        if self._lengths is None:
            total = self.graph.reduce("ReduceSum", self.counts, [1], keepdims=False)
            self._lengths = self.graph.cast(total, np.int32)
        return self._lengths

    @property
    def some(self) -> Any:
        """Whether a row has a step that counts, (batch, 1)."""
        g = self.graph
        return self._once("some", lambda: g.add_axis(g.node("Greater", self.lengths, g.constant(np.int32(0))),
                                                     1))

    @property
    def each(self) -> Any:
        """The mask with one axis more, that of the features."""
        return self._once("each", lambda: self.graph.add_axis(self.valid, -1))

    @property
    def front(self) -> Any:
        """True at a row's first steps, as many as count, with an axis for the features."""
        g = self.graph
        if self.right:
            return self.each

        def make() -> Any:
            lengths = g.add_axis(g.cast(self.lengths, np.int64), 1)
            return g.add_axis(g.node("Less", steps_of(g, self.valid), lengths), -1)

        return self._once("front", make)

    def compact(self, x: Any) -> Any:
        """x (batch, time, features) with each row's steps that count brought to the front."""
        g = self.graph

        def order() -> Any:
            steps = steps_of(g, self.valid)
            # Descending: those that count in their order, then the others.
            keys = g.node("Sub", g.node("Mul", self.counts, g.sizes(self.valid, 1, 2)), steps)
            return g.add_axis(g.node("TopK", keys, g.sizes(self.valid, 1, 2), outputs=(True, True),
                                     axis=1)[1], -1)

        return x if self.right else g.node("GatherND", x, self._once("order", order), batch_dims=1)

    def expand(self, y: Any, reverse: Any, zeros: Any) -> Any:
        """Outputs y of the compact steps (0 after them) at the places of all steps, in the order of time.

        A step that does not count repeats the output of the step run before it, 0 if there is none.

        Args:
            y: (batch, time, units).
            reverse: the steps were run from the last to the first.
            zeros: give 0 at steps that do not count instead.
        """
        g = self.graph
        if zeros and self.right:
            return y

        def places() -> Any:
            # A forward step before the first that counts gets place -1, the last: that is 0, since one is
            # missing.
            seen = g.node("CumSum", self.counts, g.constant(np.int64(1)))
            return g.add_axis(g.node("Sub", seen, self.counts if reverse else g.integers(1)), -1)

        y = g.node("GatherND", y, self._once(f"places {reverse}", places), batch_dims=1)
        return g.node("Where", self.each, y, g.number(0)) if zeros else y

    def at_end(self, first: Any) -> Any:
        """The mask of the last step, or of the first, (batch, 1)."""
        g = self.graph
        return self._once(f"end {first}", lambda: g.node("Gather", self.valid, g.integers(0 if first else -1),
                                                         axis=1))


def steps_of(graph: Any, x: Any) -> Any:
    """0, 1, ... for the time axis of x."""
    size = graph.node("Squeeze", graph.sizes(x, 1, 2))
    return graph.node("Range", graph.constant(np.int64(0)), size, graph.constant(np.int64(1)))
