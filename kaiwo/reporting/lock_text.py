"""How what is there differs from a lock; and what a verification found. For people and programs.

{"version": 1, "ok": false, "exit_code": 7, "objects": 3,
 "changes": [{"url": …, "change": "changed", "bytes": 12, "bytes_now": 13, "why": "size"}, …]}

{"version": 1, "ok": false, "exit_code": 7, "against": "kaiwo.lock", "files": 3, "bytes": 24,
 "failed": [{"target": …, "error": {"kind": …, "message": …}}, …],
 "extra": [path, …], "unproven": [path, …]}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from kaiwo import redact, units
from kaiwo.locks.differences import Change, Differences
from kaiwo.locks.lock_file import Lock
from kaiwo.objects import Item, Report
from kaiwo.reporting.json_report import error_as_json

VERSION = 1
_SIGNS = {"added": "+", "gone": "-", "changed": "~"}


def kind_of(change: Change) -> str:
    """``added``, ``gone`` or ``changed``."""
    if change.before is None:
        return "added"
    return "gone" if change.after is None else "changed"


def written(lock: Lock, path: str) -> str:
    """What a lock has, in a line."""
    entries = [each for locked in lock.items for each in locked.entries]
    size = units.size(sum(each.size or 0 for each in entries))
    weak = sum(each.weak for each in entries)
    text = f"{units.printable(path)}: {units.count(len(entries), 'object')}, {size}"
    if weak:
        text += f"; {weak} without a checksum (weak; --hash sha256 reads them)"
    return text


def lines(found: Differences) -> Iterator[str]:
    """A line for each difference, then the totals."""
    for change in found.changes:
        kind = kind_of(change)
        yield f"{_SIGNS[kind]} {units.printable(change.url)}  {_sizes(change)}"
    counts = Counter(map(kind_of, found.changes))
    if not counts:
        yield f"{units.count(found.objects, 'object')} as in the lock"
        return
    yield ", ".join(f"{counts[kind]} {kind}" for kind in _SIGNS if counts[kind])


def _sizes(change: Change) -> str:
    before, after = (
        None if each is None else units.size(each) for each in (change.before, change.after)
    )
    if before is None or after is None:
        return f"({before or after})"
    sizes = before if before == after else f"{before} -> {after}"
    return f"({change.why}, {sizes})" if change.why != "size" else f"({sizes})"


def as_json(found: Differences) -> str:
    """The same for programs."""
    changes = [
        {
            "url": redact.text(each.url),
            "change": kind_of(each),
            "bytes": each.before,
            "bytes_now": each.after,
            "why": each.why or None,
        }
        for each in found.changes
    ]
    code = 7 if changes else 0
    head = {"version": VERSION, "ok": not changes, "exit_code": code, "objects": found.objects}
    return json.dumps(head | {"changes": changes}, indent=2)


def verified(
    report: Report, extra: Sequence[str], unproven: Sequence[str], against: str | None
) -> Iterator[str]:
    """What a verification found, in lines; failures have theirs in the log."""
    right = report.count("unchanged")
    size = units.size(sum(each.bytes for each in report.items if each.status == "unchanged"))
    by = units.printable(against) if against else "what kaiwo published (no lock file)"
    for path in extra:
        yield f"extra: {units.printable(path)}"
    for path in unproven:
        yield f"size only: {units.printable(path)}"
    yield f"{units.count(right, 'file')}, {size} as in {by}"
    if failed := report.count("failed"):
        yield f"{failed} missing or different"
    if extra:
        yield f"{len(extra)} extra"


def verified_as_json(
    report: Report, extra: Sequence[str], unproven: Sequence[str], against: str | None
) -> str:
    """The same for programs."""
    document = {
        "version": VERSION,
        "ok": report.ok,
        "exit_code": report.exit_code,
        "against": against,
        "files": len(report.items),
        "bytes": sum(each.bytes for each in report.items),
        "failed": [_failed(each) for each in report.items if each.status == "failed"],
        "extra": list(extra),
        "unproven": list(unproven),
    }
    return json.dumps(document, indent=2)


def _failed(item: Item) -> dict[str, object]:
    error = None if item.error is None else error_as_json(item.error)
    return {"target": item.target, "source": redact.text(item.source), "error": error}
