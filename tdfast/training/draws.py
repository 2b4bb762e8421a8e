"""Draws: random layers whose numbers do not depend on which process computes a shard."""

from __future__ import annotations

from typing import Any

from tdfast import random
from tdfast.engine.pickling import seeds_of


class Draws:
    """The random layers of a model, whose numbers in a shard depend on the step and the shard alone.

    Args:
        layers: all layers.
    """

    def __init__(self, layers: Any) -> None:
        self._seeds = seeds_of(layers)
        self._base: list[Any] = []

    def begin(self) -> None:
        """Before the first shard of a step."""
        self._base = [tuple(map(int, seed.state)) for seed in self._seeds]

    def of_shard(self, shard: int) -> None:
        """Before the forward pass of a shard."""
        for seed, (start, count) in zip(self._seeds, self._base):
            mixed = _mixed(_mixed(start << 32 | count) ^ (shard + 1))
            seed.state[:] = mixed >> 32, mixed & random.UINT32

    def end(self) -> None:
        """After the last one: each has drawn once, however many shards this process has."""
        for seed, (start, count) in zip(self._seeds, self._base):
            seed.state[:] = start, (count + 1) & random.UINT32


def _mixed(x: int) -> int:
    """A whole number of 64 bits from another one, each bit of which depends on all of the other's.

    SplitMix64, by Steele, Lea and Flood 2014.
    """
    most = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & most
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & most
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & most
    return x ^ x >> 31
