"""The arguments, and the order of things."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from tdfast.bench import cases, costs, implementations, race, report


def parser() -> Any:
    """Every choice on the command line."""
    p = argparse.ArgumentParser(
        prog="python -m tdfast.bench",
        description="Time tdfast beside whichever peers are installed, each in a process of its own.")
    p.add_argument("case", nargs="*", help="what to time (see --list); all of it by default")
    p.add_argument("--peers", metavar="NAMES", default=",".join(one.name for one in implementations.PEERS),
                   help="separated by commas; '' for none. Default: %(default)s")
    p.add_argument("--threads", type=int, default=None,
                   help="for each implementation; default: one a processor")
    p.add_argument("--json", metavar="FILE", help="write all numbers there too")
    p.add_argument("--markdown", action="store_true", help="print the tables for a README")
    p.add_argument("--write", metavar="FILE",
                   help="put these tables into a page, in the place of those of an earlier run")
    p.add_argument("--quick", action="store_true",
                   help="two rounds of one unit: shows that it works, no more")
    p.add_argument("--list", action="store_true", help="print the cases and stop")
    return p


def main(arguments: Any = None) -> int:
    """Returns 0; 1 if a case was refused or failed."""
    p = parser()
    args = p.parse_args(arguments)
    if args.list:
        for case in cases.CASES:
            print(f"{case.name:16s} {case.title}")
        for name, title in costs.COSTS.items():
            print(f"{name:16s} {title}")
        return 0
    known = [*cases.BY_NAME, *costs.COSTS]
    for name in args.case:
        if name not in known:
            p.error(f"there is no case '{name}'. The cases are: {', '.join(known)}.")
    peers = [name.strip() for name in args.peers.split(",") if name.strip()]
    for name in peers:
        if name not in implementations.BY_NAME or name == "tdfast":
            names = ", ".join(one.name for one in implementations.PEERS)
            p.error(f"there is no peer '{name}'. The peers are: {names}.")
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = processors if args.threads is None else args.threads
    if threads < 1:
        p.error(f"--threads must be at least 1, got {threads}.")
    if args.write:
        page = Path(args.write).read_text(encoding="utf8")
        if report.BEGIN not in page or report.END not in page:
            p.error(f"{args.write} needs the lines '{report.BEGIN}' and '{report.END}'.")
    try:
        result = run(args.case or known, peers, threads, args.quick)
    except race.Failed as why:
        print(f"tdfast.bench: {why}", file=sys.stderr)
        return 1
    print()
    print(report.markdown(result) if args.markdown else report.text(result))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    if args.write:
        Path(args.write).write_text(report.inserted(page, result), encoding="utf8")
    return int(any(one["status"] in ("refused", "failed") for one in result["cases"].values()))


def run(names: Any, peers: Any, threads: Any, quick: bool = False) -> Any:
    """All numbers of one run, as a dict that JSON can hold. Prints a line on stderr as each case is done."""

    def say(line: Any) -> None:
        print(line, file=sys.stderr, flush=True)

    contestants, missing = [implementations.TDFAST], {}
    for name in peers:
        lacking = implementations.BY_NAME[name].missing()
        if lacking:
            missing[name] = f"not installed (needs {', '.join(lacking)})"
            say(f"{name}: {missing[name]}")
        else:
            contestants.append(implementations.BY_NAME[name])
    result = {**report.machine(threads), "quick": quick, "missing": missing,
              "versions": {one.name: one.version() for one in contestants}}
    chosen = [case for case in cases.CASES if case.name in names]
    result["peak"] = _peak(contestants, threads) if chosen else {}
    peak = max(result["peak"].values(), default=None)
    result["cases"] = {}
    for case in chosen:
        one = race.run(case, contestants, threads, quick, say)
        one.update(title=case.title, unit=case.unit, operations=cases.operations(case))
        one["floor"] = one["operations"] / peak
        if one["results"]:
            one["share_of_peak"] = one["floor"] / one["results"]["tdfast"]["best"]
        result["cases"][case.name] = one
        say(report.line(case.name, one))
    wanted = [name for name in costs.COSTS if name in names]
    result["costs"] = costs.run(wanted, contestants, threads, quick, say) if wanted else {}
    return result


def _peak(contestants: Any, threads: Any) -> Any:
    """{'tdfast': operations a second of a large product, 'torch': the same where it is installed}."""
    found = {}
    for one in contestants:
        if one.name in ("tdfast", "torch"):
            with race.Process(one, threads) as process:
                found[one.name] = process.ask("peak", module=one.module, threads=threads)["operations"]
    return found
