"""The figures that README.md and docs/performance.md begin with, from the results themselves."""

from __future__ import annotations

import json
from typing import Any

from tests.bench.load import MEASURES
from tests.servers import ROOT
from tests.support.markdown import read, table

BENCHMARK = "docs/benchmark.json"
RELIABILITY = "docs/reliability.md"
#: The rows that stand for the others, each with what it is in words.
ROWS = {
    "hub": "a repository of the Hub with one file of 400 MB",
    "small": "5,000 objects of 4 kB",
}


def numbers() -> str:
    """Three numbers beside those of the other tools, and where kaiwo is not the fastest."""
    rows = [(what, *_beside(name), f"row `{name}`") for name, what in ROWS.items()]
    lied = _exit_0_and_wrong()
    stores = (
        f"{_stores()} stores that behave unusually: on how many it ended with exit code 0, and "
        "files were wrong or missing"
    )
    others = ", ".join(f"{tool} {count}" for tool, count in lied.items() if tool != "kaiwo")
    rows.append((stores, str(lied["kaiwo"]), others, "[reliability](docs/reliability.md)"))
    shown = table(("what", "kaiwo", "others", "from"), rows)
    return f"{shown}\n\n{_slower()}"


def headline() -> str:
    """One number, as a sentence."""
    ours, others = _beside("hub")
    return f"**{ours}** for {ROWS['hub']} (row `hub`); {others}.\n\n{_slower()}"


def _rows() -> dict[str, dict[str, Any]]:
    document: dict[str, dict[str, Any]] = json.loads(read(ROOT / BENCHMARK))
    return document["rows"]


def _beside(name: str) -> tuple[str, str]:
    """Wall time of kaiwo, and of the best other tool."""
    tools = _rows()[name]["tools"]
    peers = [tool for tool in MEASURES["peers"] if "wall_s" in tools.get(tool, {})]
    wall_s, best = min((tools[tool]["wall_s"], tool) for tool in peers)
    name = "hf download" if best == "hf" else best
    return f"{tools['kaiwo']['wall_s']:.2f} s", f"{name} {wall_s:.2f} s"


def _slower() -> str:
    """The rows in which kaiwo takes longer than the best other tool, and how much."""
    ratios = {
        name: row["tools"].get("kaiwo", {}).get("to_best_peer", {}).get("wall_s", 0)
        for name, row in _rows().items()
    }
    slower = [f"`{name}` {ratio:.2f}" for name, ratio in ratios.items() if ratio > 1.0]
    return (
        "Rows in which kaiwo takes longer than the best other tool, as multiples of its time: "
        f"{', '.join(slower)}."
    )


def _verdicts() -> list[list[str]]:
    """The table of stores: its head, and its rows."""
    _, _, after = read(ROOT / RELIABILITY).partition("<!-- table: stores -->\n")
    lines = [line for line in after.partition("<!--")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def _stores() -> int:
    return len(_verdicts()) - 2


def _exit_0_and_wrong() -> dict[str, int]:
    """How often a tool said that all is well, and it was not; both engines of kaiwo are one."""
    (_, *tools), _, *rows = _verdicts()
    counts: dict[str, int] = {}
    for at, tool in enumerate(tools, start=1):
        name = tool.partition("-")[0]
        counts[name] = counts.get(name, 0) + sum("exit 0" in row[at] for row in rows)
    return counts
