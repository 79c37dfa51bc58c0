"""Parts of requests and answers: errors, queries, fields, preconditions, ranges, bodies."""

import email.parser
import email.utils
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from aiohttp import web

from tests.servers.gcs_standin.objects import Bucket

RANGE = re.compile(r"bytes=(\d*)-(\d*)")
CONTENT_RANGE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+|\*)")
FIELD = re.compile(r"(\w+)(?:\(([^)]*)\)|/(\w+))?")


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An error answer: `reason` is JSON's word for it, `code` XML's."""

    def __init__(self, status: int, reason: str, code: str, message: str) -> None:
        super().__init__(status, reason, code, message)
        self.status, self.reason, self.code, self.message = status, reason, code, message

    def response(self, *, as_xml: bool, as_text: bool) -> web.Response:
        challenge = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'}
        headers = challenge if self.status == 401 else {}
        if self.status == 304:
            return web.Response(status=304)
        if as_xml:
            text = (
                f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message></Error>"
            )
            return answer_xml(text, self.status, headers)
        if as_text:
            return web.Response(status=self.status, text=self.message, headers=headers)
        what = {"message": self.message, "domain": "global", "reason": self.reason}
        error = {"code": self.status, "message": self.message, "errors": [what]}
        return web.json_response({"error": error}, status=self.status, headers=headers)


def answer_xml(
    text: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.Response(
        status=status,
        text=f"<?xml version='1.0' encoding='UTF-8'?>{text}",
        content_type="application/xml",
        headers=headers,
    )


def no_bucket() -> Refusal:
    return Refusal(404, "notFound", "NoSuchBucket", "The specified bucket does not exist.")


def invalid(message: str) -> Refusal:
    return Refusal(400, "invalid", "InvalidArgument", message)


def not_allowed() -> Refusal:
    message = "The specified method is not allowed against this resource."
    return Refusal(405, "methodNotAllowed", "MethodNotAllowed", message)


def described(bucket: Bucket) -> dict[str, Any]:
    """A bucket as the JSON interface tells it."""
    return {
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "metageneration": "1",
        "location": "US",
        "storageClass": "STANDARD",
        "versioning": {"enabled": bucket.versioning},
    }


class Query:
    """The query of a URL, or a form; a name that is missing is empty."""

    def __init__(self, text: str) -> None:
        self._values = dict(parse_qsl(text, keep_blank_values=True))

    def __getitem__(self, name: str) -> str:
        return self._values.get(name, "")

    def number(self, name: str) -> int | None:
        if not self[name]:
            return None
        if not self[name].isdecimal():
            raise invalid(f"Invalid argument: {name}")
        return int(self[name])


def selected(told: Mapping[str, Any], fields: str) -> dict[str, Any]:
    """The fields that were asked for: `name,items(name,size)`, `items/name`; all by default."""
    found: dict[str, Any] = {}
    for name, inner, one in FIELD.findall(fields):
        if name in told:
            value, below = told[name], (inner or one).split(",")
            if isinstance(value, list) and below != [""]:
                value = [{key: each[key] for key in below if key in each} for each in value]
            found[name] = value
    return found if fields else dict(told)


def check_preconditions(request: web.BaseRequest, query: Query, generation: int, etag: str) -> None:
    """Refuses with 412, or 304; `generation` is 0 and `etag` empty where there is no object."""
    matches = query["ifGenerationMatch"] or request.headers.get("x-goog-if-generation-match")
    if matches and matches != str(generation):
        raise failed_precondition()
    if "If-Match" in request.headers and not names(request.headers["If-Match"], etag):
        raise failed_precondition()
    if names(request.headers.get("If-None-Match", ""), etag):
        raise Refusal(304, "notModified", "NotModified", "Not Modified")


def names(condition: str, etag: str) -> bool:
    """Whether the value of a conditional header names this etag."""
    listed = [each.strip().removeprefix("W/").strip('"') for each in condition.split(",")]
    return bool(etag) and ("*" in listed or etag.strip('"') in listed)


def failed_precondition() -> Refusal:
    message = "At least one of the pre-conditions you specified did not hold."
    return Refusal(412, "conditionNotMet", "PreconditionFailed", message)


def span(asked: str, size: int) -> tuple[int, int] | None:
    """The half-open range that a Range header asks for; None for a malformed one or none."""
    match = RANGE.fullmatch(asked)
    first, last = match.groups() if match else ("", "")
    if first and last and int(last) < int(first):
        return None
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
    elif last:
        start, end = max(size - int(last), 0), size
    else:
        return None
    if start >= size or start == end:
        message = "The requested range cannot be satisfied."
        raise Refusal(416, "requestedRangeNotSatisfiable", "InvalidRange", message)
    return start, end


async def read(request: web.BaseRequest) -> bytes:
    """A whole body, of any size; `request.read` has a limit."""
    return b"".join([piece async for piece in request.content.iter_any()])


def parts(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The metadata and the bytes of a multipart/related body."""
    head = email.parser.HeaderParser().parsestr(f"Content-Type: {content_type}\r\n\r\n")
    boundary = b"--" + str(head.get_param("boundary")).encode()
    first, _, rest = body.removeprefix(boundary).partition(b"\r\n" + boundary)
    second = rest[: rest.rfind(b"\r\n" + boundary)]
    metadata = json.loads(first.partition(b"\r\n\r\n")[2])
    named, _, data = second.partition(b"\r\n\r\n")
    media = email.parser.BytesHeaderParser().parsebytes(named.lstrip(b"\r\n"))
    return {"contentType": media["Content-Type"], **metadata}, data
