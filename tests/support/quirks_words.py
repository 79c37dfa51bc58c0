"""Refusals and redirects as object stores word them; each makes a ``Spoil`` of a proxy."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field

from tests.support.proxies import Answer, Spoil

#: What a service says, and no message of kaiwo may quote.
THEIR_WORDS = "Serverwort9"


def refusal(path: str, status: int, code: str, **elements: str) -> Answer:
    """An answer that refuses with a code, where each service has it.

    Args:
        path: of the request; tells the JSON interface of GCS from others.
        status: of HTTP.
        code: of the service.
        elements: of the body in XML, besides.
    """
    if path.startswith(("/storage/v1/", "/download/storage/")):
        reason = {"reason": code, "message": THEIR_WORDS}
        error = {"code": status, "message": THEIR_WORDS, "errors": [reason]}
        return Answer(status, {"Content-Type": "application/json"}, _json({"error": error}))
    given = {"Code": code, "Message": THEIR_WORDS, **elements}
    inside = "".join(f"<{name}>{text}</{name}>" for name, text in given.items())
    headers = {"Content-Type": "application/xml", "x-ms-error-code": code}
    return Answer(status, headers, f"<Error>{inside}</Error>".encode())


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


@dataclass
class Seen:
    """The requests that a proxy saw."""

    lines: list[str] = field(default_factory=list)

    def count(self) -> int:
        """How many since the last call."""
        found = len(self.lines)
        self.lines.clear()
        return found


def seen_by(spoil: Spoil, seen: Seen) -> Spoil:
    """The same, and each request is noted."""

    def noting(method: str, path: str, answer: Answer) -> Answer:
        seen.lines.append(f"{method} {path}")
        return spoil(method, path, answer)

    return noting


def refuses_all(status: int, code: str) -> Spoil:
    """Every request."""
    return lambda _method, path, _answer: refusal(path, status, code)


def refuses_in_json(status: int, content: object) -> Spoil:
    """Every request, in words that are not those of S3."""
    return lambda _method, _path, _answer: Answer(
        status, {"Content-Type": "application/json"}, _json(content)
    )


def refuses_first(count: int, status: int, code: str) -> Spoil:
    """This many requests; all later ones are answered."""
    numbers = itertools.count()

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        return refusal(path, status, code) if next(numbers) < count else answer

    return spoil


def has_region(region: str, status: int, code: str, *, in_header: bool, in_body: bool) -> Spoil:
    """A service of one region, which refuses what is signed for another and names its own."""

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        if f"/{region}/s3/" in answer.asked.get("Authorization", ""):
            return answer
        refused = refusal(path, status, code, **({"Region": region} if in_body else {}))
        header = {"x-amz-bucket-region": region} if in_header else {}
        return Answer(status, {**refused.headers, **header}, refused.body)

    return spoil


def redirects_all(status: int, code: str, **headers: str) -> Spoil:
    """Every request, with these headers; ``_`` in a name is a dash."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        body = refusal(path, status, code).body if code else b""
        return Answer(status, {"Content-Type": "application/xml", **named}, body)

    return spoil
