"""What some S3 services state of an object, and what others do not: spoilt answers, to be combined.

with spoiling(s3, combined(no_listed_etags, head_without_length)) as store: ...
"""

from __future__ import annotations

import email.utils
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from tests.support.proxies import Answer, Spoil, flipped, refused

_ETAG = re.compile(rb"<ETag>.*?</ETag>", re.DOTALL)
_DATE = re.compile(rb"<LastModified>.*?</LastModified>", re.DOTALL)
_ENTRY = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_OF_NOTHING = hashlib.md5(b"").hexdigest()
_MD5 = re.compile(rb"(?<=&quot;)[0-9a-f]{32}(?=&quot;)|(?<=\")[0-9a-f]{32}(?=\")")


def combined(*spoils: Spoil) -> Spoil:
    """All of these, one after the other."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        for each in spoils:
            answer = each(method, path, answer)
        return answer

    return spoil


def _is_listing(answer: Answer) -> bool:
    return b"<ListBucketResult" in answer.body


def _in_listings(change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(method: str, path: str, answer: Answer) -> Answer:
        return replace(answer, body=change(answer.body)) if _is_listing(answer) else answer

    return spoil


def without_header(*names: str) -> Spoil:
    """Answers of objects lack these headers."""
    unwanted = {name.lower() for name in names}

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in unwanted}
        return replace(answer, headers=kept)

    return spoil


def with_header(name: str, value: Callable[[str], str] | str, *methods: str) -> Spoil:
    """Answers of objects have another value in this header."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        found = {k: v for k, v in answer.headers.items() if k.lower() == name.lower()}
        if answer.status >= 300 or (methods and method not in methods) or _is_listing(answer):
            return answer
        before = next(iter(found.values()), "")
        kept = {k: v for k, v in answer.headers.items() if k not in found}
        return replace(answer, headers=kept | {name: value(before) if callable(value) else value})

    return spoil


#: The listing states no etags.
no_listed_etags = _in_listings(lambda body: _ETAG.sub(b"", body))
#: The listing states other etags than everything else.
other_listed_etags = _in_listings(
    lambda body: _ETAG.sub(lambda tag: tag[0].replace(b"ETag>", b"ETag>x", 1), body)
)
#: The listing states size 0 for everything.
listed_empty = _in_listings(lambda body: re.sub(rb"<Size>\d+</Size>", b"<Size>0</Size>", body))
#: Etags are md5 in upper case, everywhere.
upper_listed = _in_listings(lambda body: _MD5.sub(lambda found: found[0].upper(), body))
upper_etags = combined(upper_listed, with_header("ETag", str.upper))
#: Etags look like md5, and are none.
no_md5 = combined(
    _in_listings(lambda body: _MD5.sub(lambda found: found[0][::-1], body)),
    with_header("ETag", lambda etag: etag[::-1]),
)
#: There are no etags at all.
no_etags = combined(no_listed_etags, without_header("etag"))
#: Every etag ends in ``-1``, as if there had been an upload in one part.
dashed_etags = combined(
    _in_listings(lambda body: _MD5.sub(lambda found: found[0] + b"-1", body)),
    with_header("ETag", lambda etag: etag.rstrip('"') + '-1"'),
)
no_dates = combined(
    # A listing without dates is one that the fast engine cannot read.
    _in_listings(lambda body: _DATE.sub(b"", body)),
    without_header("last-modified"),
)


def dated(seconds: Mapping[bytes, int], otherwise: int | None) -> Spoil:
    """Each version of an object has this date, in seconds since 1970, by its bytes.

    Others have the second date, or, without one, what the server states.

    The versions are told by their etags: to be combined before what removes these.
    """
    by_etag = {hashlib.md5(data).hexdigest(): moment for data, moment in seconds.items()}

    def moment_of(text: str) -> datetime | None:
        found = (moment for etag, moment in by_etag.items() if etag in text)
        moment = next(found, otherwise)
        return None if moment is None else datetime.fromtimestamp(moment, UTC)

    def in_entry(found: re.Match[bytes]) -> bytes:
        if (moment := moment_of(found[0].decode())) is None:
            return found[0]
        date = moment.strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()
        return _DATE.sub(b"<LastModified>" + date + b"</LastModified>", found[0])

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if _is_listing(answer):
            return replace(answer, body=_ENTRY.sub(in_entry, answer.body))
        if (moment := moment_of(json.dumps(dict(answer.headers)))) is None:
            return answer
        date = email.utils.format_datetime(moment, usegmt=True)
        return with_header("Last-Modified", date)(method, path, answer)

    return spoil


def of_empty_objects(spoil: Spoil) -> Spoil:
    """The same, for a HEAD of an empty object alone."""

    def only(method: str, path: str, answer: Answer) -> Answer:
        stated = {name.lower(): value for name, value in answer.headers.items()}
        is_empty = method == "HEAD" and stated.get("etag", "").strip('"') == _OF_NOTHING
        return spoil(method, path, answer) if is_empty else answer

    return only


def never_matching(method: str, path: str, answer: Answer) -> Answer:
    """Each condition fails, also on the etag that the service states itself."""
    has_condition = "if-match" in {name.lower() for name in answer.asked}
    return refused(412, "PreconditionFailed") if has_condition else answer


def flipping(key: str) -> Spoil:
    """The last byte of this object is another, in each answer that has it."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        is_hit = method == "GET" and path.endswith(f"/{key}") and answer.body
        return flipped(answer) if is_hit else answer

    return spoil


def head_without_length(method: str, path: str, answer: Answer) -> Answer:
    """A HEAD states no length."""
    return replace(answer, has_length=method != "HEAD")


def all_206(method: str, path: str, answer: Answer) -> Answer:
    """Each answer with a whole object has the status of one with a part."""
    is_whole = method == "GET" and answer.status == 200 and not _is_listing(answer)
    return replace(answer, status=206) if is_whole else answer


def head_of_no_bytes(method: str, path: str, answer: Answer) -> Answer:
    """A HEAD states the length of its own body."""
    if method != "HEAD":
        return answer
    return replace(answer, headers={**answer.headers, "Content-Length": "0"}, has_length=False)


def total_of_range(method: str, path: str, answer: Answer) -> Answer:
    """A range states its own length as that of the object."""
    total = f"/{len(answer.body)}"
    changed = {
        name: re.sub(r"/\d+$", total, value) if name.lower() == "content-range" else value
        for name, value in answer.headers.items()
    }
    return replace(answer, headers=changed)


def head_refused(status: int, code: str = "MethodNotAllowed") -> Spoil:
    """Every HEAD of an object is refused."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        return refused(status, code) if method == "HEAD" and path.count("/") > 1 else answer

    return spoil


def refusing_question(status: int, name: str) -> Spoil:
    """A HEAD is refused that asks for this besides: a header, or a parameter of its query."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        asked = {header.lower() for header in answer.asked} | {
            part.partition("=")[0] for part in answer.query.split("&")
        }
        is_asked = method == "HEAD" and name in asked
        return refused(status, "NotImplemented") if is_asked else answer

    return spoil


def with_headers(headers: Mapping[str, str]) -> Spoil:
    """Answers of objects have these headers besides; each character is a byte."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if _is_listing(answer) or answer.status >= 300:
            return answer
        return replace(answer, headers=dict(answer.headers) | dict(headers))

    return spoil
