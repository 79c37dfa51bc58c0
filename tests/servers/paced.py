"""S3 of a folder's files, with a rate for each connection, or for all of them together.

The kernel paces each connection (``SO_MAX_PACING_RATE``), from its first byte on: the server needs
almost no processor. nginx's ``limit_rate`` lets the bytes of a second pass first, which is a whole
range. It looks at no signature, and counts what it sends (``/-/sent``). The ETag of a small object
is its md5; that of a large one says nothing about its bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import http.server
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.servers import serving

#: Linux: bytes a second of a socket.
_MAX_PACING_RATE = 47
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_PAGE = 1000
#: So much is handed to the kernel at once.
_STEP = 1 << 18
_SMALL = 1 << 20


class _Line:
    """The line of all connections together, and what it carried."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_s = 0.0
        self.sent = 0
        self.requests = 0

    def carry(self, size: int) -> None:
        """Wait until there is room for these bytes."""
        with self._lock:
            self.sent += size
            if not self._rate:
                return
            now_s = time.monotonic()
            self._free_s = max(self._free_s, now_s) + size / self._rate
            wait_s = self._free_s - now_s
        time.sleep(wait_s)


class _Bucket(serving.Quiet, http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    keys: list[str]
    rate: int
    line: _Line

    def setup(self) -> None:
        super().setup()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.rate:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STEP)
            self.request.setsockopt(socket.SOL_SOCKET, _MAX_PACING_RATE, self.rate)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        key = unquote(parts.path).removeprefix("/bucket").lstrip("/")
        if parts.path == "/-/sent":
            said = {"sent": self.line.sent, "requests": self.line.requests}
            self._answer(json.dumps(said).encode(), "application/json")
        elif not key:
            self._answer(self._listed(parse_qs(parts.query)), "application/xml")
        else:
            self._send(self.folder / key)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amz-bucket-region", "us-east-1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _listed(self, query: Mapping[str, list[str]]) -> bytes:
        if "location" in query or self.path.endswith("?location"):
            return b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'
        prefix = query.get("prefix", [""])[0]
        first = int(query.get("continuation-token", ["0"])[0])
        after = query.get("start-after", [""])[0]
        keys = [each for each in self.keys if each.startswith(prefix) and each > after]
        page = keys[first : first + _PAGE]
        more = first + _PAGE < len(keys)
        token = f"<NextContinuationToken>{first + _PAGE}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<MaxKeys>{_PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            + "".join(map(self._entry, page))
            + "</ListBucketResult>"
        ).encode()

    def _entry(self, key: str) -> str:
        size = (self.folder / key).stat().st_size
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z"
            f"</LastModified><ETag>&quot;{_etag(self.folder / key)}&quot;</ETag><Size>{size}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )

    def _send(self, path: Path) -> None:
        try:
            size = path.stat().st_size
        except OSError:
            self.send_error(404)
            return
        start, end = 0, size
        if asked := _RANGE.fullmatch(self.headers.get("Range", "")):
            start, end = int(asked[1]), min(int(asked[2]) + 1, size)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - start))
        self.send_header("ETag", f'"{_etag(path)}"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command == "HEAD":
            return
        self.line.requests += 1
        self.wfile.flush()
        with path.open("rb") as file:
            while start < end:
                step = min(_STEP, end - start)
                self.line.carry(step)
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, step)


@functools.cache
def _etag(path: Path) -> str:
    if path.stat().st_size > _SMALL:
        return f"v-{path.name}"
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@contextlib.contextmanager
def paced(folder: Path, rate: int = 0, whole: int = 0) -> Iterator[dict[str, str]]:
    """Serve a folder as the bucket ``bucket``.

    Args:
        folder: of the files.
        rate: bytes a second of each connection; 0: no limit.
        whole: of all of them together; 0: no limit.
    """
    files = (path for path in folder.rglob("*") if path.is_file())

    class Handler(_Bucket):
        line = _Line(whole)

    Handler.folder, Handler.rate = folder, rate
    Handler.keys = sorted(path.relative_to(folder).as_posix() for path in files)
    with serving.listening(Handler) as address:
        yield {"endpoint_url": address}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--whole", type=int, default=0)
    given = parser.parse_args()
    serving.run(paced(given.folder.resolve(), given.rate, given.whole))
