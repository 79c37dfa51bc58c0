"""The result of a run as JSON, for programs.

{
  "version": 1, "kaiwo_version": …, "started_at": "2026-01-31T12:00:00.123Z", "ended_at": …,
  "ok": true, "exit_code": 0, … the counts …
  "shard": {"index": 0, "count": 3, "plan": …, "union_checked": true},    only of a shard
  "nodes": [{"address": …, "state": "complete", … , "error": null}, …],   only with --replicate
  "error": {"kind": …, "message": …},        only if an error or a signal ended the run
  "items": [
    {"task": …, "source": …, "target": …, "status": "downloaded", … , "error": null},
    …
  ]
}
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from kaiwo import redact, units
from kaiwo._version import __version__
from kaiwo.errors import DiskError, KaiwoError, exit_code_of
from kaiwo.files import documents
from kaiwo.files.disk_errors import disk_error
from kaiwo.objects import Checksum, Item, NodeOutcome, Report, ShardOutcome

VERSION = 1


def summary(report: Report) -> dict[str, Any]:
    """The report's counts, without its items."""
    counts = Counter(item.status for item in report.items)
    return {
        "version": VERSION,
        "kaiwo_version": __version__,
        "started_at": units.timestamp(report.started_at_s),
        "ended_at": units.timestamp(report.ended_at_s),
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
        **_shard(report.shard),
        **({"nodes": [*map(_node, report.nodes)]} if report.nodes else {}),
    }


def _shard(outcome: ShardOutcome | None) -> dict[str, Any]:
    """Which part of a plan a run was, if it was one."""
    if outcome is None:
        return {}
    shard = {
        "index": outcome.shard.index,
        "count": outcome.shard.count,
        "plan": outcome.plan,
        "union_checked": outcome.union_checked,
    }
    return {"shard": shard}


def _node(outcome: NodeOutcome) -> dict[str, Any]:
    """What became of a node."""
    error = outcome.error
    return {
        "address": outcome.address,
        "state": outcome.state,
        "root": outcome.root,
        "store_bytes": outcome.store_bytes,
        "peer_bytes": outcome.peer_bytes,
        "seconds": round(outcome.seconds, 3),
        "exit_code": outcome.exit_code,
        "error": None if error is None else error_as_json(error),
    }


def as_json(report: Report) -> dict[str, Any]:
    """The whole report."""
    return _head(report) | {"items": [_item(item) for item in report.items]}


def of_error(error: KaiwoError) -> dict[str, Any]:
    """What programs get in place of a result."""
    return {
        "version": VERSION,
        "kaiwo_version": __version__,
        "ok": False,
        "exit_code": exit_code_of(error),
        "error": error_as_json(error),
    }


def error_as_json(error: KaiwoError) -> dict[str, str]:
    """Kind and message of an error, without secrets."""
    return {"kind": error.kind, "message": redact.text(error.message)}


def require_folder(path: str | None) -> None:
    """Check before the run that its report can be written.

    Args:
        path: of the report; ``-`` and None need no folder.

    Raises:
        DiskError: the report's folder does not exist.
    """
    folder = os.path.dirname(path or "") or "."
    if path != "-" and not os.path.isdir(folder):
        raise DiskError(f"cannot write {path}: the folder {folder} does not exist; create it first")


def write(report: Report, path: str) -> None:
    """Write the report into a file, or to stdout if the path is ``-``.

    Raises:
        DiskError: it cannot be written.
    """
    try:
        if path == "-":
            sys.stdout.writelines(_lines(report))
            sys.stdout.flush()
        else:
            documents.write(path, _lines(report))
    except OSError as error:
        raise disk_error(error, "stdout" if path == "-" else path) from error


def _lines(report: Report) -> Iterator[str]:
    """The report as text, one item a line: the text of 100,000 items is never in memory."""
    head = json.dumps(_head(report), indent=2)
    yield head.removesuffix("\n}") + ',\n  "items": ['
    before = "\n    "
    for item in report.items:
        yield before + json.dumps(_item(item))
        before = ",\n    "
    yield "\n  ]\n}\n" if report.items else "]\n}\n"


def _head(report: Report) -> dict[str, Any]:
    error = {"error": error_as_json(report.error)} if report.error is not None else {}
    return summary(report) | error


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
        "checksum": checksum_as_json(item.checksum, verified=item.verified),
        "error": error_as_json(item.error) if item.error is not None else None,
    }


def checksum_as_json(checksum: Checksum | None, *, verified: bool) -> dict[str, Any] | None:
    """Algorithm and value, and whether the bytes were found to have it."""
    if checksum is None:
        return None
    return {"algorithm": checksum.algorithm, "value": checksum.value, "verified": verified}
