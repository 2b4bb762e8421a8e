"""What other programs cost: epochs on all threads and on one, while processes of our own are busy."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tdfast
from tdfast.bench import cases
from tdfast.bench.with_tdfast import Model

CASES = ("fit-small", "fit-medium")
BUSY = (0, 1, 3)
"""Processes that keep a processor busy."""

TURN = 0.3
TURNS = 16


def ratios(threads: Any, quick: bool = False) -> dict[str, float]:
    """{'fit-small alone': time on all threads over the time on one, 'fit-small beside 1': ..., ...}.

    One thread and all take turns of some tenths of a second, so that whatever else runs meets both; each
    ratio is the median of those of two turns on end. The busy processes have the same processors as this one.

    Args:
        threads: all of them.
        quick: two turns of one epoch.
    """
    found = {}
    for name in CASES:
        case = cases.BY_NAME[name]
        x, y = cases.data(case)
        model = Model(case, x, y, threads)
        epochs = 1 if quick else max(1, round(TURN / min(_epoch(model, 1, 1) for _ in range(2))))
        for others in BUSY:
            with busy(others):
                pairs = [(_epoch(model, epochs, 1), _epoch(model, epochs, threads))
                         for _ in range(1 if quick else TURNS)]
            found[f"{name} beside {others}" if others else f"{name} alone"] = statistics.median(
                several / one for one, several in pairs)
    return found


def _epoch(model: Any, epochs: int, threads: int) -> float:
    """The mean time of one, in seconds."""
    tdfast.set_num_threads(threads)
    start = time.perf_counter()
    model.fit(epochs)
    return (time.perf_counter() - start) / epochs


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but keep a processor busy."""
    code = "print(flush=True)\nwhile True: pass"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for process in processes:
            process.stdout.readline()
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()
