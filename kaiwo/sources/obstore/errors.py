"""What obstore's errors mean.

They are text, which is taken apart here and never passed on, since it quotes addresses and whatever
the server said.
"""

from __future__ import annotations

import re
from enum import Enum

from kaiwo.errors import (
    ChangedError,
    KaiwoError,
    NotFoundError,
    TransientError,
    UnreachableError,
    WrongRangeError,
)
from kaiwo.net.failures import too_many_files
from kaiwo.net.statuses import status_error

#: In the description of an error that follows its text, where names are quoted and on one line.
_STATUS = re.compile(r"^\s*status: (\d{3}),$", re.MULTILINE)
_KIND = re.compile(r"^\s*kind: (\w+),$", re.MULTILINE)
_CODE = re.compile(r"<Code>(\w+)</Code>")
_NO_LISTING = re.compile(r"^\s*source: InvalidListResponse", re.MULTILINE)
_RANGES = re.compile(r"^    source: (NotPartial|NoContentRange|ParseContentRange)\b", re.MULTILINE)
_OTHER_RANGE = re.compile(r"^    source: UnexpectedRange", re.MULTILINE)
_HEADERS = re.compile(r"^\s*(source: )?Missing(ContentLength|LastModified|Etag)", re.MULTILINE)
_SETTINGS = re.compile(r"^\s*(inner: BareRedirect|kind: Builder),", re.MULTILINE)
#: Method not allowed, not implemented: an emulator of GCS that speaks JSON only.
_NOT_SPOKEN = re.compile(r"^\s*status: (405|501),$", re.MULTILINE)
#: What a Retry-After may come with.
_PASSING = re.compile(r"^\s*status: (429|5\d\d),$", re.MULTILINE)
_TLS = re.compile(r"^\s*error: Invalid(Certificate|Message)\(", re.MULTILINE)


class FallbackReason(Enum):
    """Why the fsspec source may succeed where obstore did not."""

    RANGES = "the service answers ranges oddly"
    CONNECTION = "obstore does not get through to the service"
    LANGUAGE = "the service does not speak obstore's language"
    ANSWER = "the answer is not what obstore asks for"
    PATIENCE = "the answer may say how long to wait"


def fallback_reason(text: str) -> FallbackReason | None:
    """Whether the fsspec source may succeed where obstore ended with that text, and why."""
    if _RANGES.search(text):
        return FallbackReason.RANGES
    if _SETTINGS.search(text) or _TLS.search(text):
        # OpenSSL takes certificates that rustls refuses, and tells what is no TLS at all; and the
        # SDK finds a bucket's region.
        return FallbackReason.CONNECTION
    if _NOT_SPOKEN.search(text):
        return FallbackReason.LANGUAGE
    if _HEADERS.search(text) or _NO_LISTING.search(text):
        return FallbackReason.ANSWER
    if _PASSING.search(text):
        return FallbackReason.PATIENCE
    return None


def error_of(text: str, what: str, *, by_version: bool) -> KaiwoError:
    """The error that a text stands for.

    Args:
        text: of obstore's error.
        what: what was tried, for people.
        by_version: requests name the version of the object that they are for.
    """
    if _OTHER_RANGE.search(text):
        return WrongRangeError(f"{what}: another range came than was asked for")
    status = _STATUS.search(text)
    if status is None:
        return _wire_error(text, what)
    return _answered(int(status[1]), text, what, by_version=by_version)


def _answered(status: int, text: str, what: str, *, by_version: bool) -> KaiwoError:
    """The error for an answer of the service."""
    code = _CODE.search(text)
    if status == 400 and not code and what.startswith("looking up"):  # noqa: PLR2004
        status = 403  # S3's answer to a HEAD: about the signature or the token
    found = status_error(status, what, code[1] if code else "")
    if isinstance(found, NotFoundError) and by_version and what.startswith("reading"):
        return ChangedError(f"{what}: the object was replaced or removed since it was listed")
    return found


def _wire_error(text: str, what: str) -> KaiwoError:
    """The error for a request that got no whole answer."""
    if "Too many open files" in text:
        return too_many_files(what)
    kinds = _KIND.findall(text)
    if "Connect" in kinds:
        if '"dns error"' in text:
            return UnreachableError(f"{what}: the host name is unknown")
        if "ConnectionRefused" in kinds:
            return UnreachableError(f"{what}: connection refused (is the service up?)")
        return TransientError(f"{what}: no connection")
    if "Timeout" in kinds:
        return TransientError(f"{what}: no answer in time")
    return TransientError(f"{what}: the connection was cut")
