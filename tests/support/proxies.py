"""What tests put between kaiwo and a server: a proxy that counts, and one that spoils answers."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import urllib.request
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from tests import servers
from tests.servers import serving
from tests.support.stores import Store

#: What the counting proxy calls a type of task.
KINDS = {"s3": "s3", "gcs": "gcs", "azure-blob": "azure", "hf": "hub"}
#: Headers that a proxy does not pass on.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


def base_of(store: Store) -> str:
    """A store's address without a path."""
    parts = urlsplit(store.settings["endpoint_url"])
    return f"{parts.scheme}://{parts.netloc}"


def by_way_of(store: Store, address: str) -> Store:
    """The same store at another address; its buckets are still filled directly."""
    base = base_of(store)
    fields = {
        name: value.replace(base, address) if isinstance(value, str) else value
        for name, value in store.fields.items()
    }
    return replace(store, fields=fields)


@dataclass(frozen=True)
class Counts:
    """What passed a counting proxy.

    Attributes:
        methods: requests of each method.
        gets: requests for object bytes.
        most: how many of these were in flight at once.
        lines: method, path and query of every request, in their order.
    """

    methods: Mapping[str, int]
    gets: int
    most: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Counting:
    """Stores by way of a counting proxy.

    Attributes:
        stores: in the order in which they were given.
        stats: the address of the counts.
    """

    stores: tuple[Store, ...]
    stats: str

    def counts(self) -> Counts:
        """Since the start or the last reset."""
        with urllib.request.urlopen(self.stats) as answer:
            told: dict[str, Any] = json.load(answer)
        lines = tuple(entry["line"] for entry in told["log"])
        return Counts(told["requests"], told["object_gets"], told["max_in_flight"], lines)

    def reset(self, wanted: int = 0) -> None:
        """Set all counts to zero.

        Args:
            wanted: no answer with object bytes comes before that many are in flight at once.
        """
        address = f"{self.stats.removesuffix('stats')}reset?wanted={wanted}"
        with urllib.request.urlopen(urllib.request.Request(address, method="POST")):
            pass


@contextlib.contextmanager
def counting(*stores: Store, delay_s: float = 0.0) -> Iterator[Counting]:
    """These stores, each of another type, by way of one counting proxy."""
    upstreams = {KINDS[store.type]: base_of(store) for store in stores}
    if "hub" in upstreams:
        (lfs,) = (store.settings["lfs_url"] for store in stores if store.type == "hf")
        upstreams["lfs:hub"] = lfs
    args = [f"--upstream={name}={url}" for name, url in upstreams.items()]
    with servers.start("counting", *args, f"--delay-s={delay_s}") as server:
        named = server.settings
        ways = (by_way_of(store, named[KINDS[store.type]]) for store in stores)
        yield Counting(tuple(ways), named["stats"])


@dataclass(frozen=True)
class Answer:
    """A server's answer, as a proxy passes it on.

    Attributes:
        status: as HTTP has it.
        headers: those that a proxy passes on.
        body: all of it.
        asked: the headers of the request.
        has_length: ``Content-Length`` is sent in the answer to a HEAD.
        query: of the request.
        parts: the body as it is sent, part by part; after fewer bytes, the connection is cut.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked: Mapping[str, str] = field(default_factory=dict)
    has_length: bool = True
    query: str = ""
    parts: Generator[bytes, None, None] | None = None


#: Method, decoded path without query, and the server's answer; returns the answer to give.
Spoil = Callable[[str, str, Answer], Answer]


@contextlib.contextmanager
def spoiling(
    store: Store,
    spoil: Spoil,
    asking: Callable[[str], str] = lambda target: target,
    ignored: Collection[str] = (),
) -> Iterator[Store]:
    """The store by way of a proxy that hands every answer to ``spoil`` first.

    Args:
        store: the store behind the proxy.
        spoil: see ``Spoil``.
        asking: path and query that the proxy asks for, instead of those that it was asked for.
        ignored: headers of requests that the store never sees, in lower case.
    """
    upstream = urlsplit(base_of(store)).netloc

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            connection = http.client.HTTPConnection(upstream, timeout=30)
            with contextlib.closing(connection):
                headers = dict(self.headers.items())
                body, target = self.rfile.read(length), asking(self.path)
                sent = {k: v for k, v in headers.items() if k.lower() not in ignored}
                connection.request(self.command, target, body, sent)
                got = connection.getresponse()
                kept = {k: v for k, v in got.getheaders() if k.lower() not in HOP_BY_HOP}
                length_of_head = got.headers.get("Content-Length", "0")
                query = urlsplit(self.path).query
                answer = Answer(got.status, kept, got.read(), headers, query=query)
            answer = spoil(self.command, unquote(urlsplit(self.path).path), answer)
            is_head = self.command == "HEAD"
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.has_length:
                size = length_of_head if is_head else f"{len(answer.body)}"
                self.send_header("Content-Length", size)
            self.end_headers()
            if answer.parts is not None:
                with contextlib.closing(answer.parts) as parts:
                    self.close_connection = True
                    for part in parts:
                        self.wfile.write(part)
            elif not is_head:
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_POST = pass_on  # noqa: N815 - the library's names

    with serving.listening(Handler) as address:
        yield by_way_of(store, address)


def refused(status: int, code: str) -> Answer:
    """S3's answer to a request that it does not carry out."""
    body = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    return Answer(status, {"Content-Type": "application/xml"}, body.encode())


def flipped(answer: Answer) -> Answer:
    """The same answer with another last byte."""
    return replace(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 0xFF]))
