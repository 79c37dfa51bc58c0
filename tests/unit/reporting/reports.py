"""Reports, as runs make them."""

from __future__ import annotations

from typing import Any

from kaiwo.errors import KaiwoError, NotFoundError
from kaiwo.events import Progressed
from kaiwo.objects import Checksum, Item, Report

#: The fields of the contract, in their order.
COUNTS = [
    "version",
    "kaiwo_version",
    "started_at",
    "ended_at",
    "ok",
    "exit_code",
    "seconds",
    "files",
    "bytes",
    "transferred_bytes",
    "downloaded",
    "unchanged",
    "resumed",
    "failed",
]
MD5 = Checksum("md5", "0" * 32)


def came(count: int, source: str | None = None) -> Progressed:
    """Bytes came from the store; a negative number must be read again."""
    return Progressed(count, source, read=max(count, 0))


def item(number: int = 0, error: KaiwoError | None = None, **fields: Any) -> Item:
    status = "downloaded" if error is None else "failed"
    given: dict[str, Any] = {"status": status, "bytes": 10, **fields}
    return Item("task", f"s3://b/{number}", f"/t/{number}", error=error, **given)


def mixed() -> Report:
    return Report(
        4,
        12.34567,
        37,
        (
            item(0, seconds=1.23456, attempts=2, etag="e", checksum=MD5, verified=True),
            item(1, status="unchanged", checksum=MD5),
            item(2, status="resumed"),
            item(3, NotFoundError("gone; see https://user:hunter2@host/?sig=hunter2"), bytes=5),
        ),
        started_at_s=1_774_958_400.5,
    )
