"""The costs around the work: import, first call, memory, installed size, allocations of a step."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from tdfast.bench import implementations
from tdfast.bench.race import Failed, Process

COSTS = {
    "import": "import of what a script needs, NumPy included",
    "first-call": "first fit of fit-blog beyond a steady one",
    "memory": "peak memory of a process that does fit-blog",
    "size": "installed, with what it requires, NumPy aside",
    "steady-step": "allocated by a steady step of fit-blog's model",
    "text-adapt": "TextVectorization learns a vocabulary from 100 MB of text (texts.py)",
    "text-call": "TextVectorization makes numbers of it",
    "contention": "time on all threads as a share of that on one, beside busy processes (contention.py)",
    "masked": "an epoch with a quarter of valid steps, as a share of the one with all (masked.py)",
}


def run(names: Any, contestants: Any, threads: Any, quick: bool = False, say: Any = print) -> Any:
    """{cost: {implementation: number}}: seconds or bytes.

    'numpy' has an import time too; 'steady-step' holds one number for each batch size, 'masked' one for
    each cell and padding and 'contention' one for each case and number of busy processes, of tdfast alone.
    """
    costs: dict[str, Any] = {name: {} for name in names}
    if "import" in names:
        costs["import"]["numpy"] = _import_time("import numpy", implementations.TDFAST, threads, quick)
    for one in contestants:
        if "import" in names:
            seconds = _import_time(one.statement, one, threads, quick)
            if seconds is None:
                say(f"import: {one.name} failed")
            else:
                costs["import"][one.name] = seconds
        if "size" in names:
            costs["size"][one.name] = one.installed_bytes()
        if "fit" in one.does and {"first-call", "memory"} & set(names):
            try:
                first, memory = _lean(one, threads, quick)
            except Failed as why:
                say(f"first-call, memory: {one.name} failed: {why}")
                continue
            if "first-call" in names:
                costs["first-call"][one.name] = first
            if "memory" in names:
                costs["memory"][one.name] = memory
    if "steady-step" in names:
        with Process(implementations.TDFAST, threads) as process:
            process.ask("load", module=implementations.TDFAST.module, case="fit-blog", threads=threads)
            costs["steady-step"] = {f"batch {b}": process.ask("allocations", batch=b)["bytes"]
                                    for b in (32, 128)}
    wanted = [name for name in ("text-adapt", "text-call") if name in names]
    if wanted:
        found = _texts(contestants, threads, quick, say)
        for name in wanted:
            costs[name] = {one: each[name.removeprefix("text-")] for one, each in found.items()}
    if "contention" in names:
        with Process(implementations.TDFAST, threads) as process:
            costs["contention"] = process.ask("contention", threads=threads, quick=quick)
    if "masked" in names:
        with Process(implementations.TDFAST, threads) as process:
            costs["masked"] = process.ask("masked", threads=threads, quick=quick)
    return costs


def _lean(one: Any, threads: Any, quick: Any) -> tuple[Any, ...]:
    """(first call's seconds beyond a steady one, peak memory) of a process that only loads and fits."""
    with Process(one, threads) as process:
        process.ask("load", module=one.module, case="fit-blog", threads=threads)
        first = process.ask("time", units=1)["seconds"]
        steady = min(process.ask("time", units=1)["seconds"] for _ in range(2 if quick else 20))
        return first - steady, process.ask("memory")["bytes"]


def _texts(contestants: Any, threads: Any, quick: Any, say: Any) -> Any:
    """{implementation: what `tdfast.bench.texts.seconds` gives}, of tdfast and of Keras on TensorFlow
    alone."""
    found: dict[str, Any] = {}
    takers = [one for one in contestants if one.name in ("tdfast", "keras-tensorflow")]
    if len(takers) < 2:
        say("text: Keras's layers of text need TensorFlow, which is not here or not asked for: tdfast alone")
    for one in takers:
        with Process(one, threads) as process:
            try:
                found[one.name] = process.ask("texts", limit=900.0, threads=threads, quick=quick,
                                              library="tdfast" if one.name == "tdfast" else "keras")
            except Failed as why:
                say(f"text: {one.name} failed and is left out: {why}")
    sums = {each["sum"] for each in found.values()}
    if len(sums) > 1:
        say(f"text: the numbers differ, so the times are not compared: {sums}")
        return {"tdfast": found["tdfast"]}
    return found


def _import_time(statement: Any, one: Any, threads: Any, quick: Any) -> Any:
    """The best of a few fresh processes, or None if none could."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    times = []
    for _ in range(1 if quick else 5):
        done = subprocess.run([sys.executable, "-c", code], env=implementations.environment(one, threads),
                              cwd=implementations.HOME, capture_output=True, text=True)
        if done.returncode == 0:
            times.append(float(done.stdout.split()[-1]))
    return min(times, default=None)
