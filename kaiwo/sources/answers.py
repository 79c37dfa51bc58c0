"""What an answer states of an object, and checks of it before its body is used."""

from __future__ import annotations

import email.utils
import math
import re
from datetime import UTC, datetime, timedelta

from kaiwo.errors import ChangedError, RangeIgnoredError, ServiceError, WrongRangeError
from kaiwo.objects import RemoteObject

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What each engine sends in a header as it came. Beyond ASCII, each encodes it differently.
_ETAG = re.compile(r"[ -~]+")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


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
    if content_range is None and (is_whole or status != 206):  # noqa: PLR2004 - partial content
        if is_whole:
            return  # no part was requested, so 206 says nothing
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


def check_length(
    length: str | None, content_range: str | None, planned: RemoteObject, named: str
) -> None:
    """Refuse the answer of a whole object that has another size than planned.

    Args:
        length: the header ``Content-Length``.
        content_range: the header ``Content-Range``; with it, the length is that of a range.
        planned: the object.
        named: the object, for messages.

    Raises:
        ChangedError: it has another size.
    """
    is_stated = content_range is None and length is not None and length.isdecimal()
    if is_stated and (length or "").lstrip("0") != (str(planned.size) if planned.size else ""):
        listed = f"{planned.size} bytes were listed"
        raise ChangedError(f"{named}: {listed}, the object has {length} now")


def check_identity(found: object, planned: object, named: str) -> bool:
    """Refuse an answer that states something else than planned; returns whether it was compared.

    None is unknown, and passes.

    Raises:
        ChangedError: the object was replaced.
    """
    if found is None or planned is None:
        return False
    if found != planned:
        raise ChangedError(f"{named}: the object was replaced since it was listed")
    return True


def check_etag_or_date(
    etag: str | None, modified_ns: int | None, planned: RemoteObject, named: str
) -> None:
    """Refuse an answer of another object: by its etag; without one, by its time of modification.

    Args:
        etag: as the answer states it, in its quotes.
        modified_ns: as the answer states it, see ``RemoteObject``.
        planned: the object.
        named: the object, for messages.

    Raises:
        ChangedError: the object was replaced.
    """
    if not check_identity(strong_etag(etag), planned.etag, named):
        check_identity(modified_ns, planned.modified_ns, named)


def require_size(size: int | None, named: str) -> int:
    """The size of an object that its server states.

    Raises:
        ServiceError: it states none, so nothing could be checked.
    """
    if size is None:
        raise ServiceError(f"{named}: the server does not state its size, so it cannot be checked")
    return size


def plain_etag(etag: str | None) -> str | None:
    """An etag without its quotes and its mark of weakness; None for what no header can hold.

    A listing may state anything, and a condition of a request repeats it.
    """
    plain = (etag or "").removeprefix("W/").strip('"')
    return plain if _ETAG.fullmatch(plain) else None


def strong_etag(etag: str | None) -> str | None:
    """An etag without its quotes; None for a weak one, which several versions may share."""
    return None if etag and etag.startswith("W/") else plain_etag(etag)


def seconds_ns(time: datetime | None) -> int | None:
    """A time in nanoseconds since 1970, to the second.

    Listings state parts of a second that the answer to a GET or a HEAD lacks.
    """
    if time is None:
        return None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return math.floor(aware.timestamp()) * 1_000_000_000


def datetime_of(time_ns: int) -> datetime:
    """A time in nanoseconds since 1970, for a condition of a request."""
    return _EPOCH + timedelta(microseconds=time_ns // 1_000)


def http_date_ns(value: str | None) -> int | None:
    """A date of an HTTP header in nanoseconds since 1970; None if it is missing or no date.

    Some servers write it as listings do (ISO 8601).
    """
    for read in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            return seconds_ns(read(value)) if value else None
        except (ValueError, TypeError, OverflowError):
            continue
    return None


def stated_size(value: object) -> int:
    """A size as a listing or a description states it: a whole number from 0.

    Raises:
        ValueError: it is missing, or something else.
    """
    text = str(value)
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("a size is no number")
    return int(text)
