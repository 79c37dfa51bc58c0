"""The results as the tables of docs/reliability.md; the text around them is written by hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.behaviour import Behaviour
from tests.faults.catalogue import Case
from tests.faults.runs import OK, Outcome
from tests.faults.store_runs import Verdict
from tests.support.markdown import table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def faults(
    results: Mapping[str, Mapping[str, Outcome]], cases: Sequence[Case], origin: Mapping[str, Any]
) -> str:
    """The table of the faults, and a line that says what it was made with.

    Args:
        results: by the name of the fault and the name of the tool.
        cases: the faults, in the order of the rows.
        origin: as `tests.bench.machine.described` says it.
    """
    rows = [(case.title, *map(_cell, results[case.name].values())) for case in cases]
    return _with_origin("fault", list(results[cases[0].name]), rows, origin)


def stores(
    results: Mapping[str, Mapping[str, Verdict]],
    behaviours: Sequence[Behaviour],
    origin: Mapping[str, Any],
) -> str:
    """The same for stores that behave unusually."""
    rows = [(each.title, *map(words, results[each.name].values())) for each in behaviours]
    return _with_origin("behaviour", list(results[behaviours[0].name]), rows, origin)


def words(verdict: Verdict) -> str:
    """What a tool made of a behaviour, as a cell has it."""
    if verdict.code is None:
        return "hangs"
    if verdict.code == 0 and verdict.is_right:
        return "right"
    found = ", ".join(f"{count} {what}" for what, count in verdict.found.items())
    if verdict.code == 0:
        return f"**WRONG, exit 0** ({found})"
    # An error explains what is missing; it does not explain a wrong file under the final name.
    stays = {what: count for what, count in verdict.found.items() if what != "missing"}
    left = ", ".join(f"{count} {what}" for what, count in stays.items())
    return f"error: exit {verdict.code}" + (f" ({left})" if left else "")


def _with_origin(
    first: str, tools: Sequence[str], rows: Sequence[tuple[str, ...]], origin: Mapping[str, Any]
) -> str:
    machine, versions = origin["machine"], origin["versions"]
    named = ", ".join(f"{name} {versions[name]}" for name in versions if _is_of(name, tools))
    made = f"{origin['date']}, {machine['cores']} cores, {machine['system']}; {named}."
    return f"{table((first, *tools), rows)}\n\n{made}"


def _cell(outcome: Outcome) -> str:
    verdict = f"**{outcome.verdict}**" if outcome.lied else outcome.verdict
    seconds = "" if verdict == "hangs" else f"{outcome.seconds:.1f} s, "
    return f"{verdict} ({seconds}{outcome.gets})"


def _is_of(name: str, tools: Sequence[str]) -> bool:
    """Whether a version is worth telling: of a tool, or of an engine of kaiwo's."""
    return name == "obstore" or any(tool.partition("-")[0] == name for tool in tools)


def section(name: str) -> str:
    """The table of a section as the page has it now."""
    return _split(name)[1]


def put(name: str, text: str) -> None:
    """Write the table of a section."""
    before, _, after = _split(name)
    PAGE.write_text(f"{before}\n{text}\n\n{after}", encoding="utf-8")


def _split(name: str) -> tuple[str, str, str]:
    """The page before the table of a section, the table, and the page after it."""
    begin, end = f"<!-- table: {name} -->\n", "<!-- end of table -->"
    before, found, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    text, ended, after = rest.partition(end)
    if not (found and ended):
        sys.exit(f"{PAGE.name} has no place for the table of {name}")
    return before + begin, text, end + after


def fault_line(case: Case, tool: str, outcome: Outcome) -> str:
    """What whoever waits is told."""
    mark = " " if outcome.verdict == OK else "!"
    return f"{mark} {case.name:12} {tool:14} {outcome.seconds:5.1f} s {outcome.gets:4} GETs  " + (
        outcome.verdict
    )


def store_line(behaviour: Behaviour, tool: str, verdict: Verdict) -> str:
    """The same for a store that behaves unusually."""
    mark = " " if verdict.is_right else "!"
    return f"{mark} {behaviour.name:17} {tool:14} {verdict.seconds:5.1f} s  {words(verdict)}"
