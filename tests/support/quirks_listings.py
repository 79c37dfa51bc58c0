"""Behaviours of services that list in an unusual way; each is a function from answer to answer."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs

from tests.support.proxies import Answer, Spoil, refused

Quirk = Callable[[Answer], Answer]


def in_listings(*quirks: Quirk) -> Spoil:
    """These behaviours one after the other, in the answers to listings of S3."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        # The path of a listing is the bucket.
        if method == "GET" and "/" not in path.strip("/"):
            for quirk in quirks:
                answer = quirk(answer)
        return answer

    return spoil


def pages_of(size: int, *ignored: str) -> Callable[[str], str]:
    """Ask S3 for pages of that many keys, without some parameters; see ``spoiling``."""

    def asking(target: str) -> str:
        path, separator, query = target.partition("?")
        if separator and "/" not in path.strip("/"):
            kept = [each for each in query.split("&") if each.partition("=")[0] not in ignored]
            return "&".join([f"{path}?max-keys={size}", *kept])
        return target

    return asking


def element(name: str, text: str | None, as_name: str | None = None) -> Quirk:
    """An element holds another text, has another name, or is missing (None)."""

    def quirk(answer: Answer) -> Answer:
        shown = as_name or name
        new = b"" if text is None else f"<{shown}>{text}</{shown}>".encode()
        body = re.sub(rf"<{name}>[^<]*</{name}>".encode(), new, answer.body)
        return replace(answer, body=body)

    return quirk


def dated(text: str) -> Quirk:
    """Every object has this date."""
    return element("LastModified", text)


def gzipped(answer: Answer) -> Answer:
    """The page comes gzip-encoded, although identity was asked for."""
    headers = {**answer.headers, "Content-Encoding": "gzip"}
    return replace(answer, headers=headers, body=gzip.compress(answer.body))


def after_an_empty_line(answer: Answer) -> Answer:
    """The page begins with an empty line."""
    return replace(answer, body=b"\r\n" + answer.body)


def without_tokens(answer: Answer) -> Answer:
    """No page says where the next one begins."""
    for name in ("NextContinuationToken", "NextMarker"):
        answer = element(name, None)(answer)
    return answer


def first_version_only(status: int, code: str) -> Quirk:
    """Listings of the second version are refused."""

    def quirk(answer: Answer) -> Answer:
        return refused(status, code) if "list-type" in parse_qs(answer.query) else answer

    return quirk


def in_every_listing(*quirks: Quirk) -> Spoil:
    """These behaviours in the answers to listings of GCS, Azure and the Hub."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        is_listing = path.endswith("/o") or "/tree/" in path or "comp=list" in answer.query
        if method == "GET" and is_listing:
            for quirk in quirks:
                answer = quirk(answer)
        return answer

    return spoil


def without_json_field(name: str) -> Quirk:
    """A field of a JSON object is missing."""

    def quirk(answer: Answer) -> Answer:
        content = json.loads(answer.body)
        content.pop(name, None)
        return replace(answer, body=json.dumps(content).encode())

    return quirk


def header(name: str, change: Callable[[str], str | None]) -> Quirk:
    """A header has another value, or is missing (None)."""

    def quirk(answer: Answer) -> Answer:
        kept = {}
        for key, value in answer.headers.items():
            new = change(value) if key.lower() == name.lower() else value
            if new is not None:
                kept[key] = new
        return replace(answer, headers=kept)

    return quirk
