"""The results as a picture; the only part that needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_COLOURS = {
    "kaiwo": "#e8590c",
    "s5cmd": "#4c6ef5",
    "rclone": "#74a4e8",
    "boto3": "#8a94a0",
    "s3fs": "#b4bcc6",
    "awscrt": "#40a88a",
    "hf": "#f2c037",
}
_TOLD = "#f783ac"
"""Of the marks for peers that are told the best."""

_INK = "#7d8590"
"""Of all text and lines: read on white and on black."""

_LEFT = 1 / 16
"""Where the bars start; their scale is one of ratios and has no zero."""

_PANELS = {"wall_s": "wall", "cpu_s": "CPU"}
_STYLE: Any = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "font.size": 9,
    # text stays text, and the same results make the same file
    "svg.fonttype": "none",
    "svg.hashsalt": "kaiwo",
}


def draw(rows: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write an SVG: bars of time and CPU, relative to the best peer of the row.

    On lines as users have them, the bars of the peers are those at their defaults, and a mark shows
    what each reaches when it is told the best.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 1.2 + 0.62 * len(rows)), layout="constrained")
        panels = figure.subplots(1, len(_PANELS), sharey=True, squeeze=False)[0]
        for panel, metric in zip(panels, _PANELS, strict=True):
            _bars(panel, rows, metric)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
        figure.savefig(path, transparent=True, metadata={"Date": None})
    # matplotlib ends its lines of numbers with a space
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.split("\n")), encoding="utf-8")


def _bars(panel: Axes, rows: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    """One panel: a group of bars for each row, kaiwo's on top; curl, the limit, is a line."""
    height = 0.8 / len(_COLOURS)
    largest = 1.0
    marks: dict[float, float] = {}
    for at, (tool, colour) in enumerate(_COLOURS.items()):
        offset = (at - len(_COLOURS) / 2 + 0.5) * height
        ratios = _ratios(rows, f"{tool}-defaults", metric) | _ratios(rows, tool, metric)
        places = [number + offset for number in ratios]
        panel.barh(places, list(ratios.values()), height * 0.92, color=colour, label=tool)
        told = _ratios(rows, f"{tool}-told", metric)
        marks |= {number + offset: ratio for number, ratio in told.items()}
        largest = max(largest, *ratios.values(), *told.values(), 1.0)
    if marks:
        places, told_best = list(marks), list(marks.values())
        panel.plot(told_best, places, "D", color=_TOLD, markersize=3, label="told the best")
    limits = _ratios(rows, "curl", metric)
    panel.vlines(
        list(limits.values()),
        [number - 0.42 for number in limits],
        [number + 0.42 for number in limits],
        colors=_INK,
        linestyles="dotted",
        label="curl",
        zorder=3,
    )
    panel.set_xscale("log", base=2)
    panel.set_xlim(_LEFT, largest * 1.2)
    panel.axvline(1, color=_INK, linewidth=1)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    panel.set_xlabel(f"{_PANELS[metric]} / best peer (shorter is better)")
    panel.set_yticks(range(len(rows)), list(rows))
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)
    panel.set_facecolor("none")
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _ratios(rows: Mapping[str, Mapping[str, Any]], tool: str, metric: str) -> dict[int, float]:
    """Of one tool to the best peer, by the number of the row."""
    found = {}
    for number, row in enumerate(rows.values()):
        ratio = row["tools"].get(tool, {}).get("to_best_peer", {}).get(metric)
        if ratio is not None:
            found[number] = ratio
    return found
