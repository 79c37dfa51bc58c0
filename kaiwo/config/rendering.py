"""Diagnostics for people and for programs.

    config.yaml:6:5: download_items[0].secret_kye: unknown key 'secret_kye'
      |
    6 |     secret_kye: ***
      |     ^^^^^^^^^^
      = help: did you mean 'secret_key'?

Nothing is wrapped: a line can be copied and searched as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from kaiwo import redact, units
from kaiwo.config.diagnostics import Diagnostic

_BOLD, _RED, _YELLOW, _BLUE = "1", "1;31", "1;33", "1;34"


def rendered(diagnostics: Iterable[Diagnostic], *, colour: bool = False) -> str:
    """All diagnostics, each with its line of the file and a mark under the field."""
    return "\n".join(_one(each, colour=colour) for each in diagnostics)


def counted(diagnostics: Sequence[Diagnostic], files: int) -> str:
    """How many there are: ``2 errors and 1 warning in 3 files``."""
    found = Counter(each.severity for each in diagnostics)
    counts = (units.count(found[each], each) for each in ("error", "warning") if found[each])
    return f"{' and '.join(counts) or 'no errors'} in {units.count(files, 'file')}"


def as_json(diagnostics: Sequence[Diagnostic], files: int) -> dict[str, Any]:
    """All diagnostics as data for JSON."""
    found = Counter(each.severity for each in diagnostics)
    return {
        "version": 1,
        "ok": not found["error"],
        "files": files,
        "errors": found["error"],
        "warnings": found["warning"],
        "diagnostics": [
            {
                "severity": each.severity,
                "file": each.place.source,
                "line": each.place.line,
                "column": each.place.column,
                "field": redact.text(each.place.field) or None,
                "problem": redact.text(each.problem),
                "hint": each.hint and redact.text(each.hint),
            }
            for each in diagnostics
        ],
    }


def _one(diagnostic: Diagnostic, *, colour: bool) -> str:
    def painted(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text

    mark = _RED if diagnostic.severity == "error" else _YELLOW
    place, head = str(diagnostic.place), units.printable(redact.text(diagnostic.headline))
    is_whole = head.startswith(place)
    lines = [painted(place, _BOLD) + head.removeprefix(place) if is_whole else head]
    excerpt, number = diagnostic.place.excerpt, str(diagnostic.place.line or "")
    margin = " " * len(number)
    if excerpt is not None:
        edge = painted(f"{margin} |", _BLUE)
        line = f"{painted(f'{number} |', _BLUE)} {excerpt.line}".rstrip()
        under = " " * excerpt.start + painted("^" * excerpt.width, mark)
        lines += [edge, line, f"{edge} {under}"]
    if diagnostic.hint is not None:
        hint = units.printable(redact.text(diagnostic.hint))
        lines.append(f"{painted(f'{margin} =', _BLUE)} help: {hint}")
    return "\n".join(lines)
