"""What came out: medians, ratios to the best peer, goals; kept as JSON, shown as Markdown."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.load import MEASURES, Goal, Load
from tests.bench.loads import LOADS
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
    best = {measure: _best(tools, names) for measure, names in MEASURES.items()}
    for name, tool in tools.items():
        if name in load.told:
            tool["told"] = " ".join(load.told[name])
        tool["to_best_peer"] = _ratios(tool, best["defaults" if load.told else "peers"])
        if load.told:
            tool["to_best_told"] = _ratios(tool, best["told"])
    reached = [_goal(goal, tools, best) for goal in load.goals]
    return {"what": load.what, "rounds": rounds, "tools": tools, "goals": reached}


def _best(tools: Mapping[str, Mapping[str, Any]], names: Collection[str]) -> dict[str, float]:
    """The least of each metric among these tools, where one has it."""
    found = [tools[name] for name in names if name in tools]
    return {
        m: min(tool[m] for tool in found if m in tool)
        for m in METRICS
        if any(m in tool for tool in found)
    }


def _ratios(tool: Mapping[str, Any], best: Mapping[str, float]) -> dict[str, float]:
    """What a tool has to the best, by metric."""
    return {m: round(tool[m] / best[m], 3) for m in METRICS if m in tool and best.get(m)}


def _goal(
    goal: Goal,
    tools: Mapping[str, Mapping[str, Any]],
    best: Mapping[str, Mapping[str, float]],
) -> Row:
    """A goal, and whether it is reached; None if there is no number to say so."""
    value: float | None = tools.get(goal.tool, {}).get(goal.metric)
    measure: float | None = 1.0
    if goal.of:
        measure = best.get(goal.of, tools.get(goal.of, {})).get(goal.metric)
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
rows name their engine, or `--max-workers`; `kaiwo-locked` has a lock, and asks for no listing.

The rows `wan-...` are lines as users have them: nginx waits 30 ms before each answer, and limits
each connection to 25 or 60 MB/s. kaiwo has its defaults there. s5cmd and rclone run twice: with
their defaults, and told what serves them best on that line (their row says what). `awscrt` is AWS's
adaptive client in a short program, without any setting; it counts among those told the best. boto3
is shown for comparison."""


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
    measures = {"to_best_peer": "x best peer"}
    if any("to_best_told" in tool for tool in one["tools"].values()):
        measures = {"to_best_peer": "x best at defaults", "to_best_told": "x best told"}
    columns = ["tool", "wall, s", *measures.values(), "CPU, s", *measures.values(), "peak, MiB"]
    lines = [
        f"## {name}: {one['what']}",
        "",
        f"Rounds: {one['rounds']}.",
        "",
        f"| {' | '.join(columns)} |",
        f"| --- |{' ---: |' * (len(columns) - 1)}",
    ]
    for tool, figures in one["tools"].items():
        shown = f"{tool} `{figures['told']}`" if "told" in figures else tool
        cells = [shown, figures["status"], *[""] * (len(columns) - 2)]
        if figures["status"] == OK:
            wall, cpu = (
                [f"{figures[metric]:.2f}", *(_cell(figures[of], metric) for of in measures)]
                for metric in ("wall_s", "cpu_s")
            )
            cells = [shown, *wall, *cpu, f"{figures['peak_mib']:.0f}"]
        lines.append("".join(f"| {cell} " if cell else "| " for cell in cells) + "|")
    lines.append("")
    return lines


def _cell(ratios: Mapping[str, float], metric: str) -> str:
    return f"{ratios[metric]:.2f}" if metric in ratios else ""


_NAMES = {"wall_s": "wall", "cpu_s": "CPU", "peak_mib": "peak"}
_MEASURES = {
    "": "",
    "peers": " of the best peer",
    "defaults": " of the best peer at its defaults",
    "told": " of the best peer told the best",
}


def goals(one: Row) -> list[str]:
    """The goals of one row, a line each."""
    return ["{0}: {2} {1}".format(*_goal_cells(goal)).rstrip() for goal in one["goals"]]


def _goal_cells(goal: Mapping[str, Any]) -> tuple[str, str, str]:
    """What is wanted, what is, and whether that is enough."""
    unit = "" if goal["of"] else " MiB"
    of = _MEASURES.get(goal["of"], f" of {goal['of']}")
    got = "" if goal["got"] is None else f"{goal['got']:.4g}{unit}"
    said = {True: "reached", False: "**not reached**", None: "not measured"}[goal["reached"]]
    return f"{goal['tool']}: {_NAMES[goal['metric']]} at most {goal['most']:g}{unit}{of}", got, said
