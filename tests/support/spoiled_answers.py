"""Sources that read from a server whose answers a test spoils, and the ways to read."""

from __future__ import annotations

import contextlib
import http
import pickle
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kaiwo.config.document import Document
from kaiwo.config.loader import build
from kaiwo.errors import (
    KaiwoError,
)
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Source
from kaiwo.tasks.base import Context, Engine
from tests.support.broken_servers import (
    SECRET,
    TIMEOUT_S,
    server,
)
from tests.support.faulty import PATIENCE_S

ITEMS = [{"folder": "", "target_path": "x"}]
BUCKETS = [{"name": "bucket", "items": ITEMS}]
TASKS: dict[str, dict[str, Any]] = {
    "s3": {
        "access_key_id": SECRET,
        "secret_key": SECRET,
        "region": "us-east-1",
        "buckets": BUCKETS,
    },
    "gcs": {"anonymous": True, "buckets": BUCKETS},
    "azure-blob": {
        "account_name": "account",
        "account_key": "aHVudGVyMg==",
        "containers": BUCKETS,
    },
    "hf": {"repo_id": "owner/repo", "token": SECRET, "target_path": "x"},
}
ENGINES: tuple[Engine, ...] = ("fsspec", "obstore")
STORES = ("s3", "gcs", "azure-blob")
#: What a server says, and nobody else is to hear.
THEIR_WORDS = "Serverwort9"


@contextlib.contextmanager
def source(
    type_: str, address: str, engine: Engine = "fsspec", ca_bundle: Path | None = None
) -> Iterator[Source]:
    """The source of a task that speaks to that address."""
    task = {"type": type_, "endpoint_url": address, **TASKS[type_]}
    if ca_bundle is not None:
        task["ca_bundle"] = str(ca_bundle)
    config = build(Document("test", {"download_items": [task]}), {})
    context = Context("/nowhere", NetworkSettings(TIMEOUT_S, TIMEOUT_S), engine, lambda _: "test")
    (want,) = config.tasks[0].wants(context)
    opened = want.opener.open()
    try:
        yield opened
    finally:
        opened.close()


each_type = pytest.mark.parametrize(
    ("type_", "engine"),
    [(type_, engine) for type_ in STORES for engine in ENGINES] + [("hf", "fsspec")],
)
each_store = pytest.mark.parametrize("type_", STORES)
each_engine = pytest.mark.parametrize("engine", ENGINES)

ETAG = "9e107d9d372bb6826bd81d3542a419d6"
SMALL = RemoteObject("small", 10, ETAG, "7")
BIG = RemoteObject("big", 3 << 20, ETAG, "7")
DATA = {remote.key: random.Random(1).randbytes(remote.size) for remote in (SMALL, BIG)}


@dataclass(frozen=True)
class Reading:
    """One way to ask for bytes: a range of an object, or all of it in a stream."""

    remote: RemoteObject
    start: int
    end: int
    streams: bool = False

    def of(self, opened: Source) -> bytes:
        """The bytes that come, or one of kaiwo's errors."""
        try:
            if self.streams:
                return b"".join(bytes(chunk) for chunk in opened.stream(self.remote))
            return bytes(opened.read(self.remote, self.start, self.end))
        except Exception as error:
            raise opened.classify(error) from None

    @property
    def expected(self) -> bytes:
        return DATA[self.remote.key][self.start : self.end]


READINGS = {
    "small object": Reading(SMALL, 0, SMALL.size),
    "small range": Reading(BIG, 100, 200),
    "large object": Reading(BIG, 0, BIG.size),
    "large range": Reading(BIG, 1 << 20, BIG.size),
    "stream": Reading(BIG, 0, BIG.size, streams=True),
}
RANGES = ("small range", "large range")
#: Through fsspec all of them take the same way but the stream.
WAYS: dict[Engine, tuple[str, ...]] = {
    "fsspec": ("small range", "stream"),
    "obstore": tuple(READINGS),
}


@dataclass
class Reply:
    """What an honest server answers; a test makes it another."""

    status: int
    headers: dict[str, str]
    body: bytes
    method: str

    def sent(self) -> bytes:
        reason = http.HTTPStatus(self.status).phrase
        lines = [f"HTTP/1.1 {self.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        head = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
        return head if self.method == "HEAD" else head + self.body


def reply(request: str) -> Reply:
    """To a request for one of the objects, or a part of it."""
    line, _, rest = request.partition("\r\n")
    method, target, _ = line.split(" ")
    data = DATA["small" if "small" in target else "big"]
    wanted = re.search(r"^(?:x-ms-)?range: bytes=(\d+)-(\d+)", rest, re.MULTILINE | re.IGNORECASE)
    headers = {
        "ETag": f'"{ETAG}"',
        "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT",
        "Content-Type": "application/octet-stream",
        "X-Goog-Generation": "7",
        "x-ms-blob-type": "BlockBlob",
    }
    body, status = data, 200
    if wanted:
        start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
        body, status = data[start:end], 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Reply(status, headers | {"Content-Length": str(len(body))}, body, method)


def replies(spoil: Callable[[Reply], None] = lambda _: None) -> Callable[[socket.socket], None]:
    """A server that answers honestly but for what is made of its answers."""

    def treat(connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65_536)
            if not piece:
                return
            received += piece
        answer = reply(received.decode("latin-1"))
        spoil(answer)
        connection.sendall(answer.sent())

    return treat


def refuses(status: int) -> Callable[[Reply], None]:
    """With words of the service's own in every place where they may stand."""

    def spoil(answer: Reply) -> None:
        xml = f"<?xml version='1.0'?><Error><Message>{THEIR_WORDS}</Message></Error>"
        answer.status, answer.body = status, xml.encode()
        answer.headers = {
            "Content-Type": "application/xml",
            "Content-Length": str(len(answer.body)),
            "X-Reason": THEIR_WORDS,
        }

    return spoil


def cut_short(answer: Reply) -> None:
    answer.body = answer.body[: len(answer.body) // 2]


def shifted(answer: Reply) -> None:
    if "Content-Range" in answer.headers:
        first, _, last = answer.headers["Content-Range"].removeprefix("bytes ").partition("-")
        last, _, size = last.partition("/")
        answer.headers["Content-Range"] = f"bytes {int(first) + 1}-{int(last) + 1}/{size}"


def unnamed(answer: Reply) -> None:
    answer.headers.pop("Content-Range", None)


def whole(answer: Reply) -> None:
    answer.status, answer.body = 200, DATA["big"]
    answer.headers["Content-Length"] = str(len(answer.body))
    unnamed(answer)


def without_etag(answer: Reply) -> None:
    del answer.headers["ETag"]


def shorter(answer: Reply) -> None:
    answer.body = answer.body[: len(answer.body) // 2]
    answer.headers["Content-Length"] = str(len(answer.body))


def another(answer: Reply) -> None:
    answer.headers |= {"ETag": '"another"', "X-Goog-Generation": "8"}


def stalls_at_once(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.settimeout(2 * TIMEOUT_S)
    connection.recv(65_536)


def stalls_in_the_body(connection: socket.socket) -> None:
    replies(cut_short)(connection)
    connection.settimeout(2 * TIMEOUT_S)
    connection.recv(65_536)


def resets_half_way(connection: socket.socket) -> None:
    replies(cut_short)(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def failed(
    reading: Reading,
    type_: str,
    engine: Engine,
    treat: Callable[[socket.socket], None],
) -> KaiwoError:
    """The error in which a reading ends; it shows nothing that it must not."""
    with server(treat) as address, source(type_, address, engine) as opened:
        start_s = time.monotonic()
        with pytest.raises(KaiwoError) as caught:
            reading.of(opened)
        # The SDK of Azure repeats a body by itself; nothing waits for minutes.
        assert time.monotonic() - start_s < PATIENCE_S
    message = caught.value.message
    assert SECRET not in message
    assert THEIR_WORDS not in message
    assert reading.remote.key in message
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    return caught.value


each_way = pytest.mark.parametrize(
    ("engine", "way"), [(engine, way) for engine in ENGINES for way in WAYS[engine]]
)
each_range = pytest.mark.parametrize("way", RANGES)
