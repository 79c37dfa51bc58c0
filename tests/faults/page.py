"""The results as the table of docs/reliability.md; the text around it is written there, by hand."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.catalogue import Case
from tests.faults.runs import OK, Outcome
from tests.reference import table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"

_BEGIN, _END = "<!-- table: faults -->\n", "<!-- end of table -->"


def written(
    results: Mapping[str, Mapping[str, Outcome]], cases: Sequence[Case], origin: Mapping[str, Any]
) -> str:
    """The table, and a line that says what it was made with.

    Args:
        results: by the name of the fault and the name of the tool.
        cases: the faults, in the order of the rows.
        origin: as `tests.bench.machine.described` says it.
    """
    tools = list(next(iter(results.values())))
    rows = [(case.title, *(_cell(results[case.name][tool]) for tool in tools)) for case in cases]
    machine = origin["machine"]
    versions = origin["versions"]
    named = ", ".join(f"{name} {versions[name]}" for name in versions if _is_of(name, tools))
    made = f"{origin['date']}, {machine['cores']} cores, {machine['system']}; {named}."
    return f"{table(('fault', *tools), rows)}\n\n{made}"


def _cell(outcome: Outcome) -> str:
    verdict = f"**{outcome.verdict}**" if outcome.lied else outcome.verdict
    seconds = "" if verdict == "hangs" else f"{outcome.seconds:.1f} s, "
    return f"{verdict} ({seconds}{outcome.gets})"


def _is_of(name: str, tools: Sequence[str]) -> bool:
    """Whether a version is worth telling: of a tool, or of an engine of kaiwo's."""
    return name == "obstore" or any(tool.partition("-")[0] == name for tool in tools)


def put(text: str) -> None:
    """Write the table between the marks of the page."""
    page = PAGE.read_text(encoding="utf-8")
    pattern = re.escape(_BEGIN) + ".*?" + re.escape(_END)
    filled, count = re.subn(pattern, lambda _: f"{_BEGIN}\n{text}\n\n{_END}", page, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{PAGE.name} has {count} places for the table")
    PAGE.write_text(filled, encoding="utf-8")


def line(case: Case, tool: str, outcome: Outcome) -> str:
    """What whoever waits is told."""
    mark = " " if outcome.verdict == OK else "!"
    return f"{mark} {case.name:12} {tool:14} {outcome.seconds:5.1f} s {outcome.gets:4} GETs  " + (
        outcome.verdict
    )
