"""An S3 server with faults that a test chooses.

    with faulty_s3(objects, Plan(cut, every(7))) as server:
        ...  server.url, server.counts

Without a plan it is a plain one: path-style addresses, one bucket, ListObjectsV2 with pages, HEAD,
GET with `Range` and `If-Match`, connections that are kept alive; any credentials do. A plan says
which GETs of objects are spoilt (`Hits`, asked with the GET's numbers) and how (`Spoil`, which
writes the answer). It runs in threads of this process, a hundred megabytes in a fraction of a
second, so a test reads its counts when the client is gone.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import functools
import hashlib
import http.server
import os
import re
import select
import socket
import socketserver
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from awscrt import checksums

from tests.servers import serving

BUCKET = "faults"
REGION = "us-east-1"
KEYS = {"access_key_id": "kaiwo-access-key", "secret_key": "kaiwo-secret-key"}

#: What an ETag is: of one upload; of an upload in parts, whose HEAD states a crc64nvme; not there.
Etags = Literal["md5", "parts", "none"]
#: See `Plan.following`.
Following = Literal["token", "marker", "circle"]
#: Key, first byte, and the byte after the last.
Span = tuple[str, int, int]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_MODIFIED_S = 1_700_000_000
_POLL_S = 0.05
_LARGE = 1 << 20
#: Several servers have the same objects: what is computed once is kept.
_REMEMBERED = 128
_OTHER = bytes(byte ^ 0xFF for byte in range(256))


@functools.lru_cache(_REMEMBERED)
def replacement(data: bytes) -> bytes:
    """What an object holds after it was replaced: as many bytes, none of them the same."""
    return data.translate(_OTHER)


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of an object.

    Attributes:
        data: its bytes.
        version: how often it was replaced.
        headers: what a GET or a HEAD tells of it.
        stated: what only a HEAD tells of it.
    """

    data: bytes
    version: int
    headers: Mapping[str, str]
    stated: Mapping[str, str]

    @property
    def etag(self) -> str | None:
        """With its quotes."""
        return self.headers.get("ETag")


@functools.lru_cache(_REMEMBERED)
def stored(data: bytes, etags: Etags, version: int = 0) -> Stored:
    """An object of these bytes."""
    date = email.utils.formatdate(_MODIFIED_S + version, usegmt=True)
    headers, stated = {"Last-Modified": date, "Accept-Ranges": "bytes"}, {}
    if etags == "md5":
        headers["ETag"] = f'"{hashlib.md5(data).hexdigest()}"'
    elif etags == "parts":
        middle = len(data) // 2
        halves = (hashlib.md5(half).digest() for half in (data[:middle], data[middle:]))
        headers["ETag"] = f'"{hashlib.md5(b"".join(halves)).hexdigest()}-2"'
        crc = checksums.crc64nvme(data).to_bytes(8, "big")
        stated["x-amz-checksum-crc64nvme"] = base64.b64encode(crc).decode()
        stated["x-amz-checksum-type"] = "FULL_OBJECT"
    return Stored(data, version, headers, stated)


@dataclass(frozen=True, slots=True)
class Get:
    """A request for an object's bytes, as a plan sees it.

    Attributes:
        key: of the object.
        object: as it was when the request came.
        start: the first byte that is asked for.
        end: the byte after the last.
        ranged: it has a `Range`.
        number: of all GETs, from 1.
        ranged_number: of all that have a `Range`; 0 if it has none.
        key_number: of all of this object.
    """

    key: str
    object: Stored
    start: int
    end: int
    ranged: bool
    number: int
    ranged_number: int
    key_number: int

    @property
    def span(self) -> Span:
        """What is asked for."""
        return self.key, self.start, self.end


Hits = Callable[[Get], bool]
Spoil = Callable[["Exchange", Get], None]


def never(_: Get) -> bool:
    """No GET."""
    return False


def always(_: Get) -> bool:
    """Every GET."""
    return True


def every(count: int) -> Hits:
    """Every Nth GET."""
    return lambda get: get.number % count == 0


def every_ranged(count: int) -> Hits:
    """Every Nth GET with a `Range`."""
    return lambda get: get.ranged and get.ranged_number % count == 0


def for_seconds(seconds: float) -> Hits:
    """All GETs from the first one on, for so long."""
    begun_s: list[float] = []

    def hits(_: Get) -> bool:
        now_s = time.monotonic()
        begun_s.append(now_s)
        return now_s < begun_s[0] + seconds

    return hits


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes wrong.

    Attributes:
        spoil: answers the GETs that are hit.
        hits: which these are.
        replaces: after which GETs the object is replaced; these get the old bytes still.
        down_s: seconds before the server listens; until then its port refuses connections.
        failing_listings: the number of first listings that are answered with 500.
        no_listing: the first page of a listing, of all that are asked for, that is another
            document, and the first after it that is none.
        flaky_pages: each page of a listing is answered with 500 when it is first asked for.
        following: what leads to the page after: a token; nothing, where only a `marker` is known,
            as in S3's first version; or a token that leads to the second page, always.
        etags: what ETags are.
    """

    spoil: Spoil | None = None
    hits: Hits = never
    replaces: Hits = never
    down_s: float = 0.0
    failing_listings: int = 0
    no_listing: range = range(0)
    flaky_pages: bool = False
    following: Following = "token"
    etags: Etags = "md5"


@dataclass
class Counts:
    """What happened so far.

    Attributes:
        requests: of any kind.
        listings: pages of listings that were asked for.
        heads: HEAD requests for objects.
        ranges: how often the bytes of each range were asked for.
        spoilt: the GETs that the plan hit.
        replaced: the GETs after which the plan replaced their objects.
        most_at_once: answers of more than a mebibyte, at the moment when they were most.
    """

    requests: int = 0
    listings: int = 0
    heads: int = 0
    ranges: Counter[Span] = field(default_factory=Counter)
    spoilt: list[Get] = field(default_factory=list)
    replaced: list[Get] = field(default_factory=list)
    most_at_once: int = 0

    @property
    def gets(self) -> int:
        """Requests for bytes."""
        return self.ranges.total()


# --- how an answer is spoilt ------------------------------------------------------------------


def reset(exchange: Exchange, get: Get) -> None:
    """Half of the body, and a TCP reset."""
    exchange.answer(get, upto=0.5)
    exchange.reset()


def cut(exchange: Exchange, get: Get) -> None:
    """Half of the body, and the connection's orderly end."""
    exchange.answer(get, upto=0.5)
    exchange.close_connection = True


def stall(exchange: Exchange, get: Get) -> None:
    """Half of the body, and nothing more while the client waits."""
    exchange.answer(get, upto=0.5)
    exchange.wait()


def refuse(status: int, code: str, headers: Mapping[str, str] | None = None) -> Spoil:
    """An error instead of the body."""
    return lambda exchange, _: exchange.refuse(status, code, headers)


def ignore_range(exchange: Exchange, get: Get) -> None:
    """The whole object under status 200, for any `Range`."""
    exchange.answer(replace(get, start=0, end=len(get.object.data), ranged=False))


def shift_range(exchange: Exchange, get: Get) -> None:
    """A range as long as the one asked for, but another; the headers say which."""
    by = -1 if get.start > 0 else 1
    end = min(get.end + by, len(get.object.data))
    exchange.answer(replace(get, start=get.start + by, end=end))


def hide_size(exchange: Exchange, get: Get) -> None:
    """The right range, without the length of the object (RFC 9110, 14.4)."""
    exchange.answer(get, hide_size=True)


def flip_byte(exchange: Exchange, get: Get) -> None:
    """One wrong byte, another one each time: two bad reads of the same bytes differ."""
    body = bytearray(get.object.data[get.start : get.end])
    body[get.number * 7919 % len(body)] ^= 0xFF
    exchange.answer(get, body=body)


# --- the server -------------------------------------------------------------------------------


class Exchange(http.server.BaseHTTPRequestHandler):
    """A connection; what spoils an answer writes it by these methods."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyS3

    def do_GET(self) -> None:
        """A listing, or an object."""
        key, query = self._asked()
        if key is None:
            self.refuse(404, "NoSuchBucket")
        elif not key:
            self._list(query)
        elif (found := self.server.get(key, self.headers.get("Range"))) is None:
            self.refuse(404, "NoSuchKey")
        else:
            get, spoil = found
            condition = self.headers.get("If-Match", "*")
            if condition not in ("*", get.object.etag):
                self.refuse(412, "PreconditionFailed")
            elif get.start >= get.end and get.ranged:
                self.refuse(416, "InvalidRange")
            elif spoil is not None:
                spoil(self, get)
            else:
                self.answer(get)

    def do_HEAD(self) -> None:
        """The bucket, or an object."""
        key, _ = self._asked()
        found = self.server.head(key) if key else None
        if found is not None:
            length = {"Content-Length": f"{len(found.data)}"}
            self._begin(200, {**found.headers, **found.stated, **length})
        else:
            self._begin(200 if key == "" else 404, {"Content-Length": "0"})

    def answer(
        self,
        get: Get,
        *,
        upto: float = 1.0,
        body: bytes | bytearray | None = None,
        hide_size: bool = False,
    ) -> None:
        """The bytes of a GET, or others of its length.

        Args:
            get: what is asked for.
            upto: only so much of them.
            body: others.
            hide_size: leave open how long the object is.
        """
        headers = {**get.object.headers, "Content-Length": f"{get.end - get.start}"}
        if get.ranged:
            of = "*" if hide_size else len(get.object.data)
            headers["Content-Range"] = f"bytes {get.start}-{get.end - 1}/{of}"
        self._begin(206 if get.ranged else 200, headers)
        whole = memoryview(get.object.data)[get.start : get.end] if body is None else body
        with self.server.answering(get):
            self.wfile.write(memoryview(whole)[: int(len(whole) * upto)])

    def refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        """An error, as S3 words it."""
        text = f"<Error><Code>{code}</Code><Message>{HTTPStatus(status).phrase}</Message></Error>"
        self._document(status, text, headers)

    def reset(self) -> None:
        """End the connection at once."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    def wait(self) -> None:
        """Return when the client ends the connection, or the server has to."""
        self.close_connection = True
        while not self.server.ending.is_set():
            if select.select([self.connection], [], [], _POLL_S)[0]:
                return

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Requests are counted, not logged."""

    def _asked(self) -> tuple[str | None, dict[str, str]]:
        """The key, which is empty for the bucket, or None for another bucket; and the query."""
        self.server.count_request()
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
        return key if bucket == BUCKET else None, dict(parse_qsl(parts.query))

    def _list(self, query: Mapping[str, str]) -> None:
        page = self.server.page(query)
        if page is None:
            self.refuse(500, "InternalError")
        else:
            self._document(200, page)

    def _document(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
        told = {"Content-Type": "application/xml", "Content-Length": f"{len(body)}"}
        self._begin(status, {**told, **(headers or {})})
        self.wfile.write(body)

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


class FaultyS3(socketserver.ThreadingTCPServer):
    """The objects, the counts, and what the plan does; listens when `server_activate` is called.

    Attributes:
        counts: so far.
        ending: set when the server has to end.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512
    timeout = _POLL_S

    def __init__(self, objects: Mapping[str, bytes], plan: Plan, page_size: int) -> None:
        super().__init__((serving.HOST, 0), Exchange, bind_and_activate=False)
        self.server_bind()
        self.counts = Counts()
        self.ending = threading.Event()
        self._plan = plan
        self._page_size = page_size
        self._lock = threading.Lock()
        self._of_key = Counter[str]()
        self._ranged = 0
        self._answers = 0
        self._asked_pages: dict[str, int] = {}
        self._token = ""
        self._objects = {key: stored(data, plan.etags) for key, data in objects.items()}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{serving.HOST}:{self.server_address[1]}"

    def settings(self) -> dict[str, str]:
        """Those of a client."""
        return {"endpoint_url": self.url, "region": REGION, **KEYS}

    def serve(self) -> None:
        """Listen, once the time is there, until the end."""
        self.ending.wait(self._plan.down_s)
        self.server_activate()
        while not self.ending.is_set():
            self.handle_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def count_request(self) -> None:
        """One more."""
        with self._lock:
            self.counts.requests += 1

    def head(self, key: str) -> Stored | None:
        """The object as it is now."""
        with self._lock:
            self.counts.heads += 1
            return self._objects.get(key)

    def get(self, key: str, asked: str | None) -> tuple[Get, Spoil | None] | None:
        """A GET that is counted, and what spoils it; None where there is no such object."""
        with self._lock:
            found = self._objects.get(key)
            if found is None:
                return None
            span = _span(asked, len(found.data))
            start, end = span or (0, len(found.data))
            self.counts.ranges[key, start, end] += 1
            self._of_key[key] += 1
            self._ranged += span is not None
            numbers = self.counts.gets, self._ranged if span else 0, self._of_key[key]
            get = Get(key, found, start, end, span is not None, *numbers)
            if self._plan.replaces(get):
                self.counts.replaced.append(get)
                self._replace(key, found)
            if self._plan.spoil is None or not self._plan.hits(get):
                return get, None
            self.counts.spoilt.append(get)
            return get, self._plan.spoil

    @contextlib.contextmanager
    def answering(self, get: Get) -> Iterator[None]:
        """While its answer is sent."""
        is_large = get.end - get.start > _LARGE
        with self._lock:
            self._answers += is_large
            self.counts.most_at_once = max(self.counts.most_at_once, self._answers)
        try:
            yield
        finally:
            with self._lock:
                self._answers -= is_large

    def _replace(self, key: str, old: Stored) -> None:
        new = stored(replacement(old.data), self._plan.etags, old.version + 1)
        self._objects[key] = new

    def page(self, query: Mapping[str, str]) -> str | None:
        """A page of a listing, or what comes under status 200 in its place; None for a failure."""
        after = query.get("continuation-token") or query.get("start-after", "")
        if self._plan.following == "marker":
            after = query.get("marker", "")
        with self._lock:
            self.counts.listings += 1
            if self.counts.listings <= self._plan.failing_listings:
                return None
            if self.counts.listings in self._plan.no_listing:
                return "<html><body>Sign in here.</body></html>"
            is_first = (
                self._asked_pages.setdefault(after, self.counts.listings) == self.counts.listings
            )
            if self._plan.flaky_pages and is_first:
                return None
            objects = dict(self._objects)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        entries: dict[str, Stored | None] = {}
        for key in sorted(each for each in objects if each.startswith(prefix)):
            folder, found, _ = key[len(prefix) :].partition(delimiter or "\0")
            is_folder = bool(delimiter and found)
            entries[prefix + folder + delimiter if is_folder else key] = (
                None if is_folder else objects[key]
            )
        left = [name for name in entries if name > after]
        shown = left[: min(int(query.get("max-keys", "1000")), self._page_size)]
        more = len(shown) < len(left) or self._plan.following == "circle"
        encode = quote if query.get("encoding-type") == "url" else escape
        lines = [
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
            f"<Name>{BUCKET}</Name><Prefix>{encode(prefix)}</Prefix>",
            f"<KeyCount>{len(shown)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>",
        ]
        if encode is quote:
            lines.append("<EncodingType>url</EncodingType>")
        if self._plan.following == "circle" and not delimiter:
            self._token = self._token or shown[-1]
            lines.append(f"<NextContinuationToken>{escape(self._token)}</NextContinuationToken>")
        elif more and self._plan.following == "token":
            lines.append(f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>")
        lines += [_entry(encode(name), entries[name]) for name in shown]
        return "\n".join([*lines, "</ListBucketResult>"])


def _entry(name: str, found: Stored | None) -> str:
    """An object or a folder of a listing."""
    if found is None:
        return f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
    modified = email.utils.parsedate_to_datetime(found.headers["Last-Modified"])
    etag = f"<ETag>{escape(found.etag)}</ETag>" if found.etag else ""
    return (
        f"<Contents><Key>{name}</Key><Size>{len(found.data)}</Size>{etag}"
        f"<LastModified>{modified:%Y-%m-%dT%H:%M:%S}.000Z</LastModified>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def _span(asked: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of what a `Range` asks for; None without one, or when it must be ignored."""
    match = _RANGE.fullmatch(asked or "")
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(size - int(match[2]), 0), size
    return int(match[1]), min(int(match[2]) + 1, size) if match[2] else size


@contextlib.contextmanager
def faulty_s3(
    objects: Mapping[str, bytes], plan: Plan | None = None, *, page_size: int = 20
) -> Iterator[FaultyS3]:
    """Serve these objects from threads while the block runs."""
    server = FaultyS3(objects, plan or Plan(), page_size)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        thread.join()
        server.server_close()
