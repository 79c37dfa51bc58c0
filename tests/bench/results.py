"""What came out: medians, ratios to the best peer, goals; kept as JSON, shown as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.loads import LOADS, PEERS, Goal, Load
from tests.bench.rounds import OK, Result

METRICS = ("wall_s", "cpu_s", "peak_mib")
COMMAND = "make bench"

Row = dict[str, Any]


def row(load: Load, rounds: int, results: Mapping[str, Result]) -> Row:
    """A row of the JSON."""
    tools: dict[str, dict[str, Any]] = {}
    for name, result in results.items():
        tools[name] = {"status": result.status}
        if result.status == OK:
            tools[name] |= {m: round(median(r[m] for r in result.runs), 4) for m in METRICS}
        tools[name]["runs"] = [{m: round(r[m], 4) for m in METRICS} for r in result.runs]
    best = {m: _best(tools, m) for m in METRICS}
    for tool in tools.values():
        ratios = {m: tool[m] / b for m in METRICS if m in tool and (b := best[m])}
        tool["to_best_peer"] = {m: round(value, 3) for m, value in ratios.items()}
    reached = [_goal(goal, tools, best) for goal in load.goals]
    return {"what": load.what, "rounds": rounds, "tools": tools, "goals": reached}


def _best(tools: Mapping[str, Mapping[str, Any]], metric: str) -> float | None:
    """Of the peers."""
    values = [tools[name][metric] for name in PEERS if metric in tools.get(name, ())]
    return min(values, default=None)


def _goal(
    goal: Goal, tools: Mapping[str, Mapping[str, Any]], best: Mapping[str, float | None]
) -> Row:
    """A goal, and whether it is reached; None if there is no number to say so."""
    value: float | None = tools.get(goal.tool, {}).get(goal.metric)
    measure: float | None = 1.0
    if goal.of:
        measure = (
            best[goal.metric] if goal.of == "peers" else tools.get(goal.of, {}).get(goal.metric)
        )
    got = round(value / measure, 3) if value is not None and measure else None
    return {
        "tool": goal.tool,
        "metric": goal.metric,
        "of": goal.of,
        "most": goal.most,
        "got": got,
        "reached": None if got is None else got <= goal.most,
    }


def keep(folder: Path, origin: Row, rows: Mapping[str, Row]) -> Row:
    """Write benchmark.json and benchmark.md; rows of earlier runs stay. Returns all of it.

    Args:
        folder: for the files.
        origin: when and on what the rows were measured; each keeps it, as they may differ.
        rows: by the name of their load.
    """
    path = folder / "benchmark.json"
    kept: Row = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else {}
    kept |= {name: {**origin, **one} for name, one in rows.items()}
    ordered = {load.name: kept[load.name] for load in LOADS if load.name in kept}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"command": COMMAND, "rows": ordered}, indent=1)
    path.write_text(f"{text}\n", encoding="utf-8")
    (folder / "benchmark.md").write_text(markdown(ordered), encoding="utf-8")
    return ordered


def markdown(rows: Mapping[str, Row]) -> str:
    """All of it: what was measured, the goals, and a table for each row."""
    lines = [*_HEAD.format(command=COMMAND).splitlines(), ""]
    for origin, names in _origins(rows).items():
        lines += [f"Rows {', '.join(names)}: {origin}.", ""]
    lines += ["## Goals", "", "| row | goal | got | |", "| --- | --- | ---: | --- |"]
    for name, one in rows.items():
        lines += [f"| {name} | {' | '.join(_goal_cells(goal))} |" for goal in one["goals"]]
    lines.append("")
    for name, one in rows.items():
        lines += table(name, one)
    return "\n".join(lines).rstrip() + "\n"


_HEAD = """\
# Benchmark

![Wall time and CPU relative to the best peer](benchmark.svg)

`{command}` writes this file, `benchmark.json` and the picture; CONTRIBUTING.md says what it needs.
Every number is the median of whole processes, from their start to their end. The tools take turns,
round after round; after each run every file is compared with what was served, and a tool that ended
with anything else has no number. The server is nginx on the same machine, the files are in memory,
so that neither disk nor network decides; right before each run, as much memory as it takes has been
in use, since a virtual machine may have to ask its host for more. CPU is user and system time of
all processes of the tool, peak the memory of its largest process. The best peer is the best of
s5cmd, rclone, boto3 and s3fs, for each column by itself, and of the Hub `hf download`; curl is told
all names, checks nothing, and shows what a client could do. `kaiwo` is kaiwo as it comes; its other
rows name their engine, or `--max-workers`."""


def _origins(rows: Mapping[str, Row]) -> dict[str, list[str]]:
    """Which rows were measured when and on what."""
    found: dict[str, list[str]] = {}
    for name, one in rows.items():
        machine = one["machine"]
        versions = ", ".join(f"{tool} {version}" for tool, version in one["versions"].items())
        text = (
            f"{one['date']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
            f" {machine['system']}, Python {machine['python']}, served by {one['server']};"
            f" {versions}"
        )
        found.setdefault(text, []).append(name)
    return found


def table(name: str, one: Row) -> list[str]:
    """The table of one row, and its goals."""
    lines = [
        f"## {name}: {one['what']}",
        "",
        f"Rounds: {one['rounds']}.",
        "",
        "| tool | wall, s | x best peer | CPU, s | x best peer | peak, MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for tool, figures in one["tools"].items():
        if figures["status"] != OK:
            lines.append(f"| {tool} | {figures['status']} | | | | |")
            continue
        ratio = {m: f"{value:.2f}" for m, value in figures["to_best_peer"].items()}
        lines.append(
            f"| {tool} | {figures['wall_s']:.2f} | {ratio.get('wall_s', '')} |"
            f" {figures['cpu_s']:.2f} | {ratio.get('cpu_s', '')} | {figures['peak_mib']:.0f} |"
        )
    lines.append("")
    return lines


_NAMES = {"wall_s": "wall", "cpu_s": "CPU", "peak_mib": "peak"}


def goals(one: Row) -> list[str]:
    """The goals of one row, a line each."""
    return ["{0}: {2} {1}".format(*_goal_cells(goal)).rstrip() for goal in one["goals"]]


def _goal_cells(goal: Mapping[str, Any]) -> tuple[str, str, str]:
    """What is wanted, what is, and whether that is enough."""
    unit = "" if goal["of"] else " MiB"
    of = {"peers": " of the best peer", "": ""}.get(goal["of"], f" of {goal['of']}")
    got = "" if goal["got"] is None else f"{goal['got']:.4g}{unit}"
    said = {True: "reached", False: "**not reached**", None: "not measured"}[goal["reached"]]
    return f"{goal['tool']}: {_NAMES[goal['metric']]} at most {goal['most']:g}{unit}{of}", got, said
