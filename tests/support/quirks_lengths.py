"""Pages of a server whose HEAD and GET state different lengths and encodings."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field

from tests.servers.web import Page

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Encoding(Page):
    """A page whose HEAD may be that of the encoded body, or the other way round.

    Attributes:
        head_length: of the HEAD; None states none.
        head_encoded: the HEAD states ``Content-Encoding``.
        get_encoded: the body is encoded.
        chunked: its length is not stated.
        end: the last chunk comes.
    """

    head_length: int | None = None
    head_encoded: bool = False
    get_encoded: bool = False
    chunked: bool = False
    end: bool = True
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})

    def answer(self, method: str, asked: str) -> Reply:
        del asked
        headers, body = dict(self.headers), self.body
        if method == "HEAD":
            if self.head_length is not None:
                headers["Content-Length"] = str(self.head_length)
            if self.head_encoded:
                headers["Content-Encoding"] = "gzip"
            return 200, headers, b""
        if self.get_encoded:
            body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        if not self.chunked:
            return 200, {**headers, "Content-Length": str(len(body))}, body
        headers["Transfer-Encoding"] = "chunked"
        return 200, headers, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@dataclass
class Closing(Page):
    """A page whose answers end with the connection; each GET has its own body.

    Attributes:
        bodies: of one GET after the other; the last one stays.
        head_length: of the HEAD; None states none.
    """

    bodies: list[bytes] = field(default_factory=list)
    head_length: int | None = None

    def answer(self, method: str, asked: str) -> Reply:
        del asked
        headers = {**self.headers, "Connection": "close"}
        if method == "HEAD":
            length = {} if self.head_length is None else {"Content-Length": str(self.head_length)}
            return 200, headers | length, b""
        return 200, headers, self.bodies[0] if len(self.bodies) == 1 else self.bodies.pop(0)
