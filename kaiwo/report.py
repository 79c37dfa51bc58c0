"""The result for programs: the JSON report, and the pod's termination message."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from kaiwo import redact
from kaiwo.disk import discard, disk_error
from kaiwo.errors import DiskError, KaiwoError, exit_code_of, first_exit_code
from kaiwo.objects import Checksum, Item, Plan, Report, Transfer

VERSION = 1
#: Kubernetes cuts a termination message after so many bytes.
LONGEST_MESSAGE = 4096
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_VARIABLE = "KAIWO_TERMINATION_LOG"
logger = logging.getLogger(__name__)


def summary(report: Report) -> dict[str, Any]:
    """The report's counts, without its items."""
    counts = Counter(item.status for item in report.items)
    return {
        "version": VERSION,
        "ok": report.ok,
        "exit_code": report.exit_code,
        "seconds": round(report.seconds, 3),
        "files": len(report.items),
        "bytes": sum(item.bytes for item in report.items),
        "transferred_bytes": report.transferred_bytes,
        "downloaded": counts["downloaded"],
        "unchanged": counts["unchanged"],
        "resumed": counts["resumed"],
        "failed": counts["failed"],
    }


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """A plan: what would be fetched, what is in place, what cannot be planned."""
    items = [
        *(_planned(each, "check" if each.present else "download") for each in plan.transfers),
        *(_planned(each, "unchanged") for each in plan.unchanged),
        *(_item(item) for item in plan.missed),
    ]
    return {
        "version": VERSION,
        "ok": not plan.missed,
        "exit_code": plan_exit_code(plan),
        "files": len(plan.transfers) + len(plan.unchanged),
        "bytes": sum(each.object.size for each in (*plan.transfers, *plan.unchanged)),
        "items": items,
    }


def plan_exit_code(plan: Plan) -> int:
    """How a run of this plan would exit, as far as it is known beforehand."""
    return first_exit_code(item.error.exit_code for item in plan.missed if item.error is not None)


def _planned(transfer: Transfer, action: str) -> dict[str, Any]:
    return {
        "task": transfer.task,
        "source": transfer.source,
        "target": transfer.target,
        "action": action,
        "bytes": transfer.object.size,
        "etag": transfer.object.etag,
        "checksum": _checksum(transfer.object.checksum, verified=False),
    }


def failure(error: KaiwoError) -> Report:
    """The report of a run that an error ended before anything was begun."""
    return Report(exit_code_of(error), 0.0, error=error)


def as_json(report: Report) -> dict[str, Any]:
    """The whole report."""
    document = summary(report) | {"items": [_item(item) for item in report.items]}
    if report.error is not None:
        document["error"] = _error(report.error)
    return document


def _item(item: Item) -> dict[str, Any]:
    return {
        "task": item.task,
        "source": item.source,
        "target": item.target,
        "status": item.status,
        "bytes": item.bytes,
        "seconds": round(item.seconds, 3),
        "attempts": item.attempts,
        "etag": item.etag,
        "checksum": _checksum(item.checksum, verified=item.verified),
        "error": _error(item.error) if item.error is not None else None,
    }


def _checksum(checksum: Checksum | None, *, verified: bool) -> dict[str, Any] | None:
    if checksum is None:
        return None
    return {"algorithm": checksum.algorithm, "value": checksum.value, "verified": verified}


def _error(error: KaiwoError) -> dict[str, str]:
    return {"kind": error.kind, "message": redact.text(error.message)}


def deliver(report: Report, destination: str | None) -> None:
    """Write the JSON report where it was asked for, and the pod's termination message.

    Raises:
        DiskError: all went well, and only the report cannot be written.
    """
    write_termination_message(report)
    if destination is None:
        return
    try:
        _write(report, destination)
    except DiskError as error:
        if report.ok:
            raise
        logger.warning("%s", error.message)


def _write(report: Report, destination: str) -> None:
    text = json.dumps(as_json(report), indent=2) + "\n"
    if destination == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    temporary = f"{destination}.{os.getpid()}.part"
    try:
        Path(temporary).write_text(text, encoding="utf-8")
        os.replace(temporary, destination)
    except OSError as error:
        discard(temporary)
        raise disk_error(error, destination) from error


def termination_message(report: Report) -> str:
    """The counts and the first failures, in at most 4,096 bytes."""
    document = summary(report)
    failures = [_error(report.error)] if report.error is not None else []
    failures += [
        {"source": item.source, **_error(item.error)}
        for item in report.items
        if item.error is not None
    ]
    document["failures"] = []
    for failure in failures:
        document["failures"].append(failure)
        if len(json.dumps(document)) > LONGEST_MESSAGE:
            document["failures"].pop()
            break
    if failures and not document["failures"]:
        document["failures"] = [_cut(failures[0], LONGEST_MESSAGE - len(json.dumps(document)))]
    return json.dumps(document)


def _cut(failure: dict[str, str], budget: int) -> dict[str, str]:
    """The failure, its longest text cut until it takes no more than so many bytes of JSON."""
    failure = dict(failure)
    while len(json.dumps(failure)) > budget:
        longest = max(failure, key=lambda name: len(failure[name]))
        failure[longest] = failure[longest][: len(failure[longest]) * 3 // 4]
    return failure


def write_termination_message(report: Report) -> None:
    """In a pod, tell Kubernetes why; elsewhere do nothing."""
    path = os.environ.get(TERMINATION_VARIABLE)
    if path is None and os.path.exists(TERMINATION_LOG):
        path = TERMINATION_LOG
    if not path:
        return
    try:
        Path(path).write_text(termination_message(report), encoding="ascii")
    except OSError as error:
        logger.warning("cannot write the termination message: %s", error.strerror)
