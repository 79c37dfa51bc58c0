"""Parts of requests and answers: replies, refusals, queries, what is wanted, faults."""

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from aiohttp import web

from tests.servers.hub.repositories import KINDS, Content

XET_TOKEN = "xet-read-token"
VERBS = {"revision", "tree", "paths-info", XET_TOKEN}
WAYS_TO_BYTES = {"resolve", XET_TOKEN}
RANGE = re.compile(r"bytes=(\d*)-(\d*)")
EXPANDED_PAGE_SIZE = 50
NO_HEADERS: Mapping[str, str] = {}
NO_ID = "0" * 24


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: all of `body`, or the part of it in the half-open range `span`."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Path
    span: tuple[int, int]

    @classmethod
    def of(
        cls, body: str, headers: Mapping[str, str], status: int = 200, media: str = "text/plain"
    ) -> "Reply":
        named = {"Content-Type": f"{media}; charset=utf-8", **headers}
        return cls(status, named, body.encode(), (0, len(body.encode())))

    @classmethod
    def of_json(cls, told: object, headers: Mapping[str, str] = NO_HEADERS) -> "Reply":
        return cls.of(json.dumps(told), headers, media="application/json")

    @classmethod
    def of_content(cls, content: Content, asked: str | None, headers: Mapping[str, str]) -> "Reply":
        """The bytes asked for by a Range header; a malformed one is ignored (RFC 9110, 14.2)."""
        size = content.size
        named = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        match = RANGE.fullmatch(asked or "")
        first, last = match.groups() if match else ("", "")
        if not first and not last:
            return cls(200, named, content.kept, (0, size))
        if first:
            start, end = int(first), min(int(last) + 1, size) if last else size
            if last and int(last) < start:
                return cls(200, named, content.kept, (0, size))
        else:
            start, end = max(size - int(last), 0), size
        if start >= size:
            return cls.of("", {"Content-Range": f"bytes */{size}"}, 416)
        named["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return cls(206, named, content.kept, (start, end))


class Refusal(Exception):  # noqa: N818 - it is an answer
    """An error answer, with the two headers that huggingface_hub tells errors by."""

    def __init__(
        self, status: int, message: str, code: str = "", headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        super().__init__(status, message, code)
        self.status, self.message = status, " ".join(message.split())
        self.headers = {"X-Error-Message": self.message, **headers}
        if code:
            self.headers["X-Error-Code"] = code
        if status == 401:
            realm = 'Bearer realm="Authentication required", charset="UTF-8"'
            self.headers["WWW-Authenticate"] = realm

    def reply(self, *, as_json: bool) -> Reply:
        if as_json:
            body = json.dumps({"error": self.message})
            return Reply.of(body, self.headers, self.status, "application/json")
        return Reply.of(self.message, self.headers, self.status)


def storage_error(status: int, code: str, message: str) -> Reply:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply.of(text, {}, status, "application/xml")


def is_true(value: str) -> bool:
    return value.lower() in {"true", "1"}


class Query:
    """The query of a URL or the fields of a form."""

    def __init__(self, text: str) -> None:
        self._values = parse_qs(text)

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def one(self, name: str) -> str:
        return self._values.get(name, [""])[0]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a path of the hub asks for: `path` is the file, or the folder of a tree."""

    kind: str
    repo: str
    verb: str
    revision: str
    path: str

    @classmethod
    def of(cls, raw_path: str) -> "Wanted":
        """Reads a path that is still percent-encoded; Refusal 404 where it means nothing."""
        segments = raw_path.strip("/").split("/")
        if segments[0] == "api" and len(segments) > 2 and segments[1] in KINDS:
            kind, rest = segments[1], segments[2:]
            is_one_word = len(rest) > 2 and rest[1] in VERBS and rest[2] not in VERBS
            words = 1 if is_one_word else 2
            verb, revision, *path = [*rest[words:], "revision", "main"][: max(len(rest) - words, 2)]
        else:
            kind = segments.pop(0) if segments[0] in ("datasets", "spaces") else "models"
            words = next((at for at in (1, 2) if segments[at : at + 1] == ["resolve"]), 0)
            if not words or len(segments) < words + 3:
                raise Refusal(404, "Sorry, we can't find the page you are looking for.")
            rest = segments
            verb, revision, *path = segments[words:]
        if verb not in (*VERBS, "resolve"):
            raise Refusal(404, "Sorry, we can't find the page you are looking for.")
        repo = "/".join(rest[:words])
        return cls(kind, repo, verb, unquote(revision), unquote("/".join(path)))


@dataclass(slots=True)
class Fault:
    """What becomes of the next `times` requests that match, after the first `after` of them."""

    match: re.Pattern[str]
    action: str
    times: int
    after: int
    seconds: float
    method: str | None
    until_s: float = math.inf

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Fault":
        action = told["action"]
        if not re.fullmatch(
            r"status:\d{3}(:[\w-]+=[^:]*)*|expire|truncate|reset|stall|flip", action
        ):
            raise ValueError(action)
        times, after = told.get("times", 1), told.get("after", 0)
        seconds, method = told.get("seconds", math.inf), told.get("method")
        return cls(re.compile(told["match"]), action, times, after, seconds, method)

    def meets(self, request: web.BaseRequest) -> bool:
        is_for_it = (
            self.times > 0
            and time.monotonic() < self.until_s
            and self.method in (None, request.method)
        )
        return is_for_it and self.match.search(request.raw_path) is not None
