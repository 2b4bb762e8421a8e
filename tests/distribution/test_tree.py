"""The sums of shards: the same bits for any number of processes, and every number of shards."""

import numpy as np
import pytest

from tdfast.distribution import in_process, tree


def plain_tree(arrays):
    """The same sum, by levels."""
    while len(arrays) > 1:
        arrays = [arrays[i] + arrays[i + 1] if i + 1 < len(arrays) else arrays[i]
                  for i in range(0, len(arrays), 2)]
    return arrays[0]


def numbers(shards, n, dtype):
    rng = np.random.default_rng(shards)
    return (rng.normal(size=(shards, n)) * 10.0 ** rng.integers(-4, 4, (shards, 1))).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shards", range(1, 18))
def test_one_process_adds_the_tree(shards, dtype):
    arrays = numbers(shards, 7, dtype)
    total = tree.TreeSum(shards)
    for shard, array in enumerate(arrays):
        total.add(shard, array)
    ((_, _, whole),) = total.pieces
    assert whole.tobytes() == plain_tree(list(arrays)).tobytes()
    assert np.array_equal(arrays, numbers(shards, 7, dtype)), "what is added is only read"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 13])
@pytest.mark.parametrize("shards", [13, 16, 21])
@pytest.mark.parametrize("n", [0, 1, 5, 100])
def test_processes_add_the_same_tree(shards, size, n):
    arrays = numbers(shards, n, "float32")

    def process(engine):
        runs, total = tree.every_run(engine, shards), tree.TreeSum(shards)
        for shard in runs[engine.rank]:
            total.add(shard, arrays[shard])
        few = tree.TreeSum(shards)
        for shard in runs[engine.rank]:
            few.add(shard, arrays[shard])
        out = np.empty(n, "float32")
        tree.summed(engine, shards, runs, total, out)
        return out.tobytes(), tree.summed_small(engine, shards, runs, few).tobytes()

    want = plain_tree(list(arrays)).tobytes()
    assert in_process.run(size, process) == [(want, want)] * size


def test_the_order_matters():
    """Else the tests above would say nothing."""
    arrays = numbers(16, 100, "float32")
    assert plain_tree(list(arrays)).tobytes() != arrays.sum(0).tobytes()


def test_a_process_keeps_few_pieces():
    for shards in (8, 16, 1000):
        for size in range(1, 9):
            for rank in range(size):
                pieces = tree.places(shards, tree.run_of(shards, size, rank))
                assert len(pieces) <= 2 * np.log2(shards)


def test_rooms_are_used_again():
    rooms = []
    for _ in range(3):
        total = tree.TreeSum(8, rooms)
        for shard in range(8):
            total.add(shard, np.ones(4, "float32"))
        total.end()
    assert len(rooms) <= 4
