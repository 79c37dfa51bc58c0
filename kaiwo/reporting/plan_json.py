"""A plan as JSON, for programs: every item has the same fields.

{
  "version": 1, "kaiwo_version": …, "ok": true, "exit_code": 0, "files": 2, "bytes": 8,
  "totals": {"fetch": {"files": 1, "bytes": 3}, "resume": …, "check": …, "unchanged": …,
             "failed": …, "bytes_to_fetch": 3, "bytes_in_place": 5},
  "file_systems": [{"folder": …, "bytes_needed": …, "bytes_free": …, "is_enough": true, …}],
  "conflicts": [],                   why nothing would be done, if targets conflict
  "removals": [],                    task, target and bytes of what ``prune`` would remove
  "switches": [],                    task, target and ``gone`` of snapshots that may change
  "error": null,                     kind and message of what would end the run
  "items": [
    {"task": …, "source": …, "target": …, "action": "fetch", "bytes": 3, "bytes_to_fetch": 3,
     "etag": …, "checksum": …, "error": null},
    …
  ]
}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

from msgspec import to_builtins

from kaiwo import redact
from kaiwo._version import __version__
from kaiwo.errors import UnsafeNameError
from kaiwo.planning.decision import Action, Decision, Planned
from kaiwo.reporting.json_report import checksum_as_json, error_as_json

VERSION = 1


def lines(decision: Decision) -> Iterator[str]:
    """The document, one item a line."""
    head = json.dumps(_head(decision), indent=2)
    yield head.removesuffix("\n}") + ',\n  "items": ['
    before = "    "
    text = ""
    for each in decision.planned():
        if text:
            yield f"{before}{text},"
        text = json.dumps(_item(each))
    if text:
        yield before + text
    yield "  ]\n}"


def totals(decision: Decision) -> dict[str, Any]:
    """Files and bytes of each action; what is to come, and what is there."""
    found: dict[str, Any] = {each: {"files": 0, "bytes": 0} for each in get_args(Action)}
    to_fetch = in_place = 0
    for each in decision.planned():
        size = each.bytes or 0
        found[each.action]["files"] += 1
        found[each.action]["bytes"] += size
        to_fetch += each.bytes_to_fetch or 0
        in_place += size if each.action == "unchanged" else 0
    return found | {"bytes_to_fetch": to_fetch, "bytes_in_place": in_place}


def _head(decision: Decision) -> dict[str, Any]:
    error, plan = decision.error, decision.plan
    planned = (*plan.transfers, *plan.unchanged)
    offenders = error.offenders if isinstance(error, UnsafeNameError) else ()
    return {
        "version": VERSION,
        "kaiwo_version": __version__,
        "ok": decision.exit_code == 0,
        "exit_code": decision.exit_code,
        "files": len(planned),
        "bytes": sum(each.object.size for each in planned),
        "totals": totals(decision),
        "file_systems": [to_builtins(each) for each in decision.rooms],
        "conflicts": [redact.text(each) for each in offenders],
        "removals": [
            {"task": each.task, "target": each.target, "bytes": each.record.size}
            for each in decision.stale
        ],
        "switches": [
            {"task": each.task, "target": each.target, "gone": [*each.gone]}
            for each in decision.switches
            if each.is_whole
        ],
        "error": None if error is None else error_as_json(error),
    }


def _item(planned: Planned) -> dict[str, Any]:
    transfer = planned.transfer
    error = planned.item.error if planned.item is not None else None
    remote = None if transfer is None else transfer.object
    return {
        "task": planned.task,
        "source": planned.source,
        "target": planned.target,
        "action": planned.action,
        "bytes": planned.bytes,
        "bytes_to_fetch": planned.bytes_to_fetch,
        "etag": remote and remote.etag,
        "checksum": checksum_as_json(transfer.expected, verified=False) if transfer else None,
        "error": None if error is None else error_as_json(error),
    }
