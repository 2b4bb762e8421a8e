"""Tables of a run, for people and for a README, and the machine it ran on."""

from __future__ import annotations

import datetime
import platform
from typing import Any

from tdfast.bench import costs, implementations

BEGIN, END = "<!-- tables of python -m tdfast.bench --write -->", "<!-- end of the tables -->"
OWN = ("steady-step", "masked", "contention")
"""Costs of tdfast alone: lines below the tables."""


def machine(threads: Any) -> dict[str, Any]:
    """Where and when: processor, instruction set, Python, NumPy, date, threads."""
    from tdfast import runtime

    config = runtime.config()
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "processor": config["processor"], "isa": config["isa"], "platform": platform.platform(),
            "python": config["python"], "numpy": config["numpy"], "threads": threads}


def duration(seconds: Any) -> Any:
    """Three digits and a unit: '4.70 ms'."""
    for unit, size in (("s ", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size or unit == "us":
            return f"{seconds / size:.3g} {unit}".replace("e+03", "000")


def size(count: Any) -> Any:
    """'12.3 MiB' and the like."""
    for unit, unit_size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= unit_size:
            return (
                f"{count / unit_size:.3g} {unit}"
                if count < 1000 * unit_size
                else f"{count / unit_size:.0f} {unit}"
            )
    return f"{count:.0f} B"


def line(name: str, one: Any) -> Any:
    """A case that is done, on one line."""
    if one["status"] != "timed":
        return f"{name}: {one['status']}: {one['why']}"
    results = one["results"]
    ours = results["tdfast"]
    parts = [f"tdfast {duration(ours['best']).strip()} ({one['share_of_peak']:.0%} of peak)"]
    parts += [f"{peer} {r['best'] / ours['best']:.2f}x" for peer, r in results.items() if peer != "tdfast"]
    return f"{name}: " + ", ".join(parts)


def head(result: Any) -> Any:
    """The lines over the tables."""
    lines = [
        f"{result['processor']}, {result['isa']}, {result['threads']} thread(s) for each; {result['date']}",
        f"{result['platform']}, Python {result['python']}, NumPy {result['numpy']}",
    ]
    lines += [f"{_label(name)}: {version}" for name, version in result["versions"].items()]
    lines += [f"{_label(name)}: {why}" for name, why in result["missing"].items()]
    if result["peak"]:
        best = max(result["peak"], key=result["peak"].get)
        lines.append(
            f"fp32 peak: {result['peak'][best] / 1e9:.0f} GFLOP/s, measured: {_label(best)}'s large products"
        )
    if result["quick"]:
        lines.append("--quick: shows that everything runs; the times mean nothing.")
    return lines


def tables(result: Any) -> Any:
    """[(title, header, rows)] of all tables that the run has numbers for."""
    peers = [name for name in result["versions"] if name != "tdfast"]
    out = []
    timed = {name: one for name, one in result["cases"].items() if one["status"] == "timed"}

    def table(title: Any, key: Any, ratio_key: Any = None, share: bool = False) -> None:
        rows = []
        for name, one in timed.items():
            row = [name, duration(one["results"]["tdfast"][key])]
            if share:
                row.append(f"{one['share_of_peak']:.0%}")
            for peer in peers:
                r = one["results"].get(peer)
                ratio = "" if not r or not ratio_key else f" {r[ratio_key]:5.3g}x"
                row.append(duration(r[key]) + ratio if r else "-")
            rows.append(row)
        if rows:
            out.append((title, ["case", "tdfast", *(["peak"] if share else []), *map(_label, peers)], rows))

    table("Best time of one unit; each peer's ratio to tdfast; tdfast's share of the fp32 peak",
          "best", "ratio", share=True)
    table("Median", "median", "median_ratio")
    table("First call in a new process", "first")
    rows = []
    for name, values in result["costs"].items():
        if name not in OWN:
            show = duration if name in ("import", "first-call", "text-adapt", "text-call") else size
            cells = [show(values[one]) if one in values else "-" for one in ("tdfast", *peers)]
            rows.append([name, *cells])
    if rows:
        out.append(("Costs around the work", ["cost", "tdfast", *map(_label, peers)], rows))
    return out


def notes(result: Any) -> Any:
    """What stands below the tables."""
    lines = [f"{name}: {one['status']}: {one['why']}"
             for name, one in result["cases"].items() if one["status"] != "timed"]
    found = result["costs"]
    lines += [f"{name}: {costs.COSTS[name]}" for name in found if name not in OWN]
    if "numpy" in found.get("import", {}):
        lines.append(f"import numpy alone: {duration(found['import']['numpy']).strip()}")
    if "steady-step" in found:
        each = ", ".join(f"{batch}: {size(count)}" for batch, count in found["steady-step"].items())
        lines.append(f"steady-step: {costs.COSTS['steady-step']}: {each}")
    for name in ("masked", "contention"):
        if name in found:
            each = ", ".join(f"{what} {share:.0%}" for what, share in found[name].items())
            lines.append(f"{name}: {costs.COSTS[name]}: {each}")
    return lines


def text(result: Any) -> Any:
    """For a terminal of 110 columns."""
    blocks = ["\n".join(head(result))]
    for title, header, rows in tables(result):
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = ["  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                           for i, (cell, w) in enumerate(zip(row, widths))) for row in [header, *rows]]
        blocks.append("\n".join([title, *lines]))
    if notes(result):
        blocks.append("\n".join(notes(result)))
    return "\n\n".join(blocks)


def markdown(result: Any) -> Any:
    """For a README."""
    blocks = ["  \n".join(head(result))]
    for title, header, rows in tables(result):
        lines = [f"| {' | '.join(' '.join(cell.split()) for cell in row)} |"
                 for row in [header, ["---"] + ["---:"] * (len(header) - 1), *rows]]
        blocks.append("\n".join([f"{title}:", "", *lines]))
    if notes(result):
        blocks.append("\n".join(f"- {one}" for one in notes(result)))
    return "\n\n".join(blocks)


def inserted(page: str, result: Any) -> str:
    """The text of a page with the tables of this run between its lines BEGIN and END."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{markdown(result)}\n\n{end}{after}"


def _label(name: str) -> Any:
    return implementations.BY_NAME[name].label
