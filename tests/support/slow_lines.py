"""A slow line before a server: limits, a wait, few requests at once, and a record of what was sent.

    line = Line(rate=128_000, at_once=1, refusal=503)
    with line.before(store) as slow:
        ...  slow is the same store; line.sent, line.sent_by(time.time()), line.refused

The proxy reads an answer's body piece by piece from the server, and sends a piece when the line has
room for it. It does not send ahead: what is recorded as sent, a client that reads has received.
"""

from __future__ import annotations

import bisect
import contextlib
import http.client
import http.server
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from tests.servers import serving
from tests.servers.counting import asks_for_bytes
from tests.support.proxies import HOP_BY_HOP, KINDS, base_of, by_way_of
from tests.support.stores import Store

#: How a request too many is answered: a status, or a TCP reset without an answer.
Refusal = Literal[429, 503, "reset"]

#: A piece takes a connection this long, so that bytes come steadily.
_PIECE_S = 0.05
_LARGEST_PIECE = 1 << 16
_UPSTREAM_S = 60.0


class Pace:
    """Says when the next bytes may be sent; time without bytes is not made up for."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_s = 0.0

    def wait_s(self, size: int) -> float:
        """How long to wait until bytes have been carried that are handed over now."""
        if not self._rate:
            return 0.0
        with self._lock:
            now_s = time.monotonic()
            self._free_s = max(self._free_s, now_s) + size / self._rate
            return self._free_s - now_s


@dataclass
class Line:
    """A line, and what it carried.

    Attributes:
        rate: bytes per second of each connection; None is no limit.
        whole: bytes per second of all connections together.
        late_s: the wait before each answer.
        at_once: how many requests are served at once, of all kinds; None is any number. A
            connection that waits for its next request does not count, as with nginx's limits.
        refusal: the answer to the others.
        refused: how many these were.
        most: how many requests were in flight at once.
        requests: for objects' bytes that were served.
    """

    rate: float | None = None
    whole: float | None = None
    late_s: float = 0.0
    at_once: int | None = None
    refusal: Refusal = 503
    refused: int = field(default=0, init=False)
    most: int = field(default=0, init=False)
    requests: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.pace = Pace(self.whole)
        self._in_flight = 0
        self._times: list[float] = []
        self._totals: list[int] = []
        self._lock = threading.Lock()

    @property
    def sent(self) -> int:
        """The bytes of objects that were sent so far."""
        with self._lock:
            return self._totals[-1] if self._totals else 0

    @property
    def seconds(self) -> float:
        """From the first byte of an object that was sent until the last one so far."""
        with self._lock:
            return self._times[-1] - self._times[0] if self._times else 0.0

    @property
    def first_s(self) -> float | None:
        """When the first bytes of an object were sent, as ``time.time`` says it."""
        with self._lock:
            return self._times[0] if self._times else None

    def sent_by(self, moment: float) -> int:
        """The bytes of objects that had been sent at a time, as ``time.time`` says it."""
        with self._lock:
            at = bisect.bisect_right(self._times, moment)
            return self._totals[at - 1] if at else 0

    @contextlib.contextmanager
    def before(self, store: Store) -> Iterator[Store]:
        """The store by way of this line; a Hub's other host is behind it, too."""
        kind, base = KINDS[store.type], base_of(store)
        with contextlib.ExitStack() as stack:
            others = {}
            if lfs := store.settings.get("lfs_url"):
                others[lfs] = stack.enter_context(self.before_server(lfs, kind))
            yield by_way_of(store, stack.enter_context(self.before_server(base, kind, others)))

    @contextlib.contextmanager
    def before_server(
        self, url: str, kind: str = "", others: Mapping[str, str] | None = None
    ) -> Iterator[str]:
        """The address of a server by way of this line.

        Args:
            url: of the server.
            kind: of store, see ``tests.servers.counting``; without it every GET asks for bytes.
            others: where a redirect to another server leads instead.
        """

        class Handler(_Handler):
            line, upstream, store_kind = self, urlsplit(url).netloc, kind
            redirects, ending = others or {}, threading.Event()

        with serving.listening(Handler) as address:
            try:
                yield address
            finally:
                Handler.ending.set()

    def enter(self) -> bool:
        """Whether a request is served; then ``leave`` has to follow."""
        with self._lock:
            if self.at_once is not None and self._in_flight >= self.at_once:
                self.refused += 1
                return False
            self._in_flight += 1
            self.most = max(self.most, self._in_flight)
            return True

    def leave(self) -> None:
        """A request is answered."""
        with self._lock:
            self._in_flight -= 1

    def begin(self) -> None:
        """An object's bytes are going to be sent."""
        with self._lock:
            self.requests += 1

    def record(self, size: int) -> None:
        """These bytes of an object are sent."""
        with self._lock:
            self._times.append(time.time())
            self._totals.append((self._totals[-1] if self._totals else 0) + size)

    def piece(self) -> int:
        """The size of a piece."""
        rate = min((each for each in (self.rate, self.whole) if each), default=float("inf"))
        return max(1, int(min(_LARGEST_PIECE, rate * _PIECE_S)))


class _Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    line: Line
    upstream: str
    store_kind: str
    redirects: Mapping[str, str]
    ending: threading.Event

    def setup(self) -> None:
        # What waits in the server's buffer has not been carried.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST_PIECE)
        super().setup()
        self.pace = Pace(self.line.rate)

    def pass_on(self) -> None:
        if not self.line.enter():
            self._refuse()
            return
        with contextlib.ExitStack() as flight:
            flight.callback(self.line.leave)
            self._wait(self.line.late_s)
            connection = http.client.HTTPConnection(self.upstream, timeout=_UPSTREAM_S)
            with contextlib.closing(connection):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                self._answer(connection.getresponse(), flight)

    do_GET = do_HEAD = do_POST = pass_on  # noqa: N815 - the library's names

    def _answer(self, got: http.client.HTTPResponse, flight: contextlib.ExitStack) -> None:
        """Send an answer on, one piece behind: with its last piece, a client may ask again."""
        is_bytes = self._is_bytes(got)
        self.send_response(got.status)
        for name, value in got.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, self._led(value) if name == "Location" else value)
        if (length := got.headers.get("Content-Length")) is not None:
            self.send_header("Content-Length", length)
        elif self.command != "HEAD":
            self.send_header("Connection", "close")
        self.end_headers()
        if is_bytes:
            self.line.begin()
        piece = got.read(self.line.piece())
        while piece:
            following = got.read(self.line.piece())
            size = len(piece)
            self._wait(max(self.pace.wait_s(size), self.line.pace.wait_s(size)))
            if not following:
                flight.close()
            self.wfile.write(piece)
            if is_bytes:
                self.line.record(size)
            piece = following

    def _is_bytes(self, got: http.client.HTTPResponse) -> bool:
        asked = self.command == "GET" and got.status in (200, 206)
        kind = self.store_kind
        return asked and (not kind or asks_for_bytes(kind, "GET", self.path))

    def _wait(self, seconds: float) -> None:
        if seconds > 0 and self.ending.wait(seconds):
            raise ConnectionAbortedError

    def _led(self, location: str) -> str:
        for url, instead in self.redirects.items():
            if location.startswith(f"{url}/"):
                return instead + location.removeprefix(url)
        return location

    def _refuse(self) -> None:
        """What a request too many gets."""
        self.close_connection = True
        if self.line.refusal == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())
            return
        body = b"too many requests at once"
        self.send_response(self.line.refusal)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", f"{len(body)}")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
