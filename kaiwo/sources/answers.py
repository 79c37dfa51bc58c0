"""Checks of an answer before its body is used: the range, the size and the identity."""

from __future__ import annotations

import re

from kaiwo.errors import ChangedError, RangeIgnoredError, ServiceError, WrongRangeError

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def check_answer(
    status: int, content_range: str | None, start: int, end: int, size: int, named: str
) -> None:
    """Accept the answer to a request for a range, before its body is read.

    Args:
        status: 200 or 206.
        content_range: the header ``Content-Range``.
        start: the first byte that was requested.
        end: the byte after the last one.
        size: of the object, as planned.
        named: the object, for messages.

    Raises:
        RangeIgnoredError: the answer is the whole object.
        ChangedError: the object has another size than planned.
        WrongRangeError: the answer is another range.
    """
    is_whole = start == 0 and end == size
    if content_range is None and status != 206:  # noqa: PLR2004 - HTTP's partial content
        if is_whole:
            return
        raise RangeIgnoredError(f"{named}: the server ignores ranges")
    # rclone's S3 server sends the right range under status 200: the header decides, not the status.
    match = _CONTENT_RANGE.fullmatch(content_range or "")
    if match is not None and match[3] not in ("*", str(size)):
        raise ChangedError(f"{named}: {size} bytes were listed, the object has {match[3]} now")
    if match is None or (int(match[1]), int(match[2]) + 1) != (start, end):
        raise WrongRangeError(
            f"{named}: bytes {start} to {end} were requested, the server answers "
            f"{content_range or 'without Content-Range'}"
        )


def check_identity(found: str | None, planned: str | None, named: str) -> None:
    """Refuse an answer with another identity than planned; None is unknown and passes.

    Raises:
        ChangedError: the object was replaced.
    """
    if found is not None and planned is not None and found != planned:
        raise ChangedError(f"{named}: the object was replaced since it was listed")


def require_size(size: int | None, named: str) -> int:
    """The size of an object that its server states.

    Raises:
        ServiceError: it states none, so nothing could be checked.
    """
    if size is None:
        raise ServiceError(f"{named}: the server does not state its size, so it cannot be checked")
    return size


def plain_etag(etag: str | None) -> str | None:
    """An etag without its quotes and its mark of weakness."""
    if not etag:
        return None
    return etag.removeprefix("W/").strip('"') or None
