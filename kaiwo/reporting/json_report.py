"""The result for programs: the JSON report, and the pod's termination message."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from kaiwo import redact
from kaiwo.errors import DiskError, KaiwoError, exit_code_of, first_exit_code
from kaiwo.events import Event, Planned, Progressed, Settled
from kaiwo.files import documents
from kaiwo.files.disk_errors import disk_error
from kaiwo.jobs import Plan, Transfer
from kaiwo.objects import Checksum, Item, Report

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


class Settlements:
    """A sink that keeps what was settled: the report of a run whose own was not to be had.

    ``fetch`` may run twice, for a file and then for a folder: the last run counts.
    """

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._items: list[Item] = []
        self._transferred = 0

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        match event:
            case Planned():
                self._items.clear()
                self._transferred = 0
            case Settled(item):
                self._items.append(item)
            case Progressed(count, _, kept) if count > 0:
                self._transferred += count - kept
            case _:
                pass

    def until(self, error: KaiwoError | None) -> Report:
        """What was done until that error ended the run; until its good end, if there is none."""
        seconds = time.monotonic() - self._start_s
        code = 0 if error is None else exit_code_of(error)
        return Report(code, seconds, self._transferred, tuple(self._items), error)


def as_json(report: Report) -> dict[str, Any]:
    """The whole report."""
    error = {"error": _error(report.error)} if report.error is not None else {}
    return summary(report) | error | {"items": [_item(item) for item in report.items]}


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


def require_folder(destination: str | None) -> None:
    """Find out before the run whether its report will have a place.

    Raises:
        DiskError: there is no such folder.
    """
    folder = os.path.dirname(destination or "") or "."
    if destination != "-" and not os.path.isdir(folder):
        raise DiskError(f"cannot write {destination}: there is no folder {folder}; make it first")


def deliver(report: Report, destination: str | None) -> None:
    """Write the pod's termination message, and the JSON report where it was asked for.

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
            code = exit_code_of(error)
            write_termination_message(replace(report, exit_code=code, error=error))
            raise
        logger.warning("%s", error.message)


def _write(report: Report, destination: str) -> None:
    try:
        if destination == "-":
            sys.stdout.writelines(_lines(report))
            sys.stdout.flush()
        else:
            documents.write(destination, _lines(report))
    except OSError as error:
        raise disk_error(error, "stdout" if destination == "-" else destination) from error


def _lines(report: Report) -> Iterator[str]:
    """The report as text, an item a line: 100,000 of them take no memory, and little time."""
    error = {"error": _error(report.error)} if report.error is not None else {}
    head = json.dumps(summary(report) | error, indent=2)
    yield head.removesuffix("\n}") + ',\n  "items": ['
    before = "\n    "
    for item in report.items:
        yield before + json.dumps(_item(item))
        before = ",\n    "
    yield "\n  ]\n}\n" if report.items else "]\n}\n"


def termination_message(report: Report) -> str:
    """The counts and the first failures, in at most 4,096 bytes (it is ASCII)."""
    document = summary(report)
    document["failures"] = []
    for failure in _failures(report):
        document["failures"].append(failure)
        if len(json.dumps(document)) <= LONGEST_MESSAGE:
            continue
        document["failures"].pop()
        if not document["failures"]:
            budget = LONGEST_MESSAGE - len(json.dumps(document))
            document["failures"].append(_cut(failure, budget))
        break
    return json.dumps(document)


def _failures(report: Report) -> Iterator[dict[str, str]]:
    """What ended the run, then the objects that failed."""
    if report.error is not None:
        yield _error(report.error)
    for item in report.items:
        if item.error is not None and item.error is not report.error:
            yield {"source": item.source, **_error(item.error)}


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
        # In a pod it is mounted: a file that cannot be replaced.
        documents.write_in_place(path, [termination_message(report)])
    except OSError as error:
        logger.warning("cannot write the termination message: %s", error.strerror)
