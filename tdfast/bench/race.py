"""One case: start a worker for each implementation, check that their work is equal, alternate rounds."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from typing import Any

import numpy as np

from tdfast.bench import implementations

# Largest difference allowed in outputs, in the loss of an epoch and in the outputs after it, as a share of
# the largest number of tdfast's own.
TOLERANCE = 1e-4
FIRST_LIMIT = 180.0     # seconds that a worker may take for one answer; then it is ended


class Failed(Exception):
    """A worker could not do what it was asked."""


class Process:
    """A worker process: `ask` sends a command and waits for its answer.

    It is stopped (SIGSTOP) between its rounds, so that no thread of it spins while another is timed.
    """

    def __init__(self, implementation: Any, threads: Any) -> None:
        self.implementation = implementation
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tdfast.bench.worker"], cwd=implementations.HOME, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log, text=True, env=implementations.environment(implementation, threads))

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        self._signal("SIGCONT")
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._log):
            try:
                file.close()
            except BrokenPipeError:
                pass

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self._process.poll() is None:
            os.kill(self._process.pid, getattr(signal, name))

    def ask(self, do: Any, limit: Any = FIRST_LIMIT, **arguments: Any) -> Any:
        """The answer to one command.

        Raises:
            Failed: if it took longer than ``limit`` seconds, ended, or answered with an error.
        """
        self._signal("SIGCONT")
        timer = threading.Timer(limit, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            late = not timer.is_alive()
            timer.cancel()
        if not line:
            if late:
                raise Failed(f"no answer to '{do}' within {limit:.0f} s")
            self._process.wait()
            self._log.seek(0)
            last = (self._log.read().strip().splitlines() or ["no message"])[-1]
            raise Failed(f"ended with code {self._process.returncode}: {last[:200]}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        self._signal("SIGSTOP")
        return answer


def compare(name: str, want: Any, got: Any) -> Any:
    """What differs between tdfast's and a peer's results of the same weights; empty where they agree.

    Args:
        name: of the peer, for the text.
        want, got: dicts with some of 'loss' (of an epoch in the order of the rows), 'outputs' and 'trained
            outputs' (after that epoch).
    """
    problems = []
    for key in want:
        if key not in got:
            continue
        a, b = np.asarray(want[key], float), np.asarray(got[key], float)
        if a.shape != b.shape:
            problems.append(f"{name}: {key} of shape {b.shape}, tdfast {a.shape}")
            continue
        largest = max(np.abs(a).max(), 1e-30)
        off = np.abs(a - b).max() / largest
        if not off <= TOLERANCE:  # NaN is a difference too
            problems.append(
                f"{name}: {key} differ from tdfast's by {off:.1e} of the largest, allowed {TOLERANCE:.0e}"
            )
    return problems


def run(case: Any, contestants: Any, threads: Any, quick: bool = False, say: Any = print) -> dict[str, Any]:
    """Time one case.

    Args:
        case: what.
        contestants: implementations, tdfast first.
        threads: for each of them.
        quick: two rounds of one unit, to see that all works.
        say: called with a line of text for everything that the tables cannot hold.

    Returns:
        {'status': 'timed', 'refused' or 'not available', 'why': ..., 'results': {name: {...}}}.
    """
    contestants = [one for one in contestants if case.does in one.does]
    with tempfile.TemporaryDirectory() as folder, _Group() as group:
        shown, results = {}, {}
        for one in contestants:
            process = group.add(Process(one, threads))
            try:
                answer = process.ask("load", module=one.module, case=case.name, threads=threads)
                if "not_available" in answer and one.name != "tdfast":
                    say(f"{case.name}: {one.name} is left out: {answer['not_available']}")
                    group.drop(process)
                    continue
                if "not_available" in answer:
                    return {"status": "not available", "why": answer["not_available"], "results": {}}
                answer = process.ask("first", folder=folder)
                shown[one.name] = {key: np.load(value) if isinstance(value, str) else value
                                   for key, value in answer["shown"].items()}
                results[one.name] = {"first": answer["seconds"], "samples": []}
                if len(shown) > 1:
                    problems = compare(one.name, shown["tdfast"], shown[one.name])
                    if problems:
                        return {"status": "refused", "why": "; ".join(problems), "results": {}}
            except Failed as why:
                if one.name == "tdfast":
                    return {"status": "failed", "why": f"tdfast: {why}", "results": {}}
                say(f"{case.name}: {one.name} failed and is left out: {why}")
                group.drop(process)
                results.pop(one.name, None)
        _rounds(case, group, results, quick, say)
        for process in group.processes:
            if results.get(process.implementation.name, {}).get("samples"):
                results[process.implementation.name]["memory"] = process.ask("memory")["bytes"]
    results = {name: one for name, one in results.items() if one["samples"]}
    if "tdfast" not in results:
        return {"status": "failed", "why": "tdfast was not timed", "results": {}}
    ours = results["tdfast"]
    for one in results.values():
        one["best"], one["median"] = min(one["samples"]), statistics.median(one["samples"])
    for one in results.values():
        one["ratio"] = one["best"] / ours["best"]
        one["median_ratio"] = one["median"] / ours["median"]
    return {"status": "timed", "why": "", "results": results}


def _rounds(case: Any, group: Any, results: Any, quick: Any, say: Any) -> None:
    """Fill in the samples: in each round every implementation has its turn; slow ones stop after a while."""
    rounds, target, budget = (2, 0.0, 0.0) if quick else (9, 0.2, 6.0)
    units: dict[str, Any] = {}
    spent: dict[str, Any] = {}
    for turn in range(rounds):
        for process in list(group.processes):
            name = process.implementation.name
            if turn >= 2 and spent[name] > budget and not quick:
                continue
            try:
                if turn == 0:
                    if not quick:
                        process.ask("time", units=1)
                    one = process.ask("time", units=1)["seconds"]
                    units[name] = max(1, min(100_000, round(target / one)))
                    spent[name] = 0.0
                seconds = process.ask("time", units=units[name])["seconds"]
            except Failed as why:
                say(f"{case.name}: {name} failed and is left out: {why}")
                results[name]["samples"] = []
                group.drop(process)
                continue
            results[name]["samples"].append(seconds)
            results[name]["units"] = units[name]
            spent[name] += seconds * units[name]


class _Group:
    """Processes that all end with the case."""

    def __init__(self) -> None:
        self.processes: list[Any] = []

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        for process in list(self.processes):
            self.drop(process)

    def add(self, process: Any) -> Any:
        self.processes.append(process)
        return process

    def drop(self, process: Any) -> None:
        self.processes.remove(process)
        process.__exit__()
