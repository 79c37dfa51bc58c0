"""A server that speaks Shelf's protocol, with the objects in memory.

``python shelf_server.py`` runs one with a few objects, and prints its address.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 500


class ShelfServer(ThreadingHTTPServer):
    """Listens from its construction on.

    Attributes:
        buckets: the objects of each bucket by their keys.
        token: that a reader must have; empty: everybody may read.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, token: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, bytes]] = {}
        self.token = token

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that break are what the suite is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ShelfServer

    def do_GET(self) -> None:
        """Answer a listing, or with an object's bytes."""
        parts = urlsplit(self.path)
        name, slash, key = parts.path.removeprefix("/").partition("/")
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            return self._refuse(401)
        bucket = self.server.buckets.get(unquote(name))
        if bucket is None:
            return self._refuse(404)
        if not slash:
            query = parse_qs(parts.query, keep_blank_values=True)
            return self._list(bucket, query["prefix"][0], query["after"][0])
        data = bucket.get(unquote(key))
        return self._refuse(404) if data is None else self._give(data)

    do_HEAD = do_GET

    def _list(self, bucket: dict[str, bytes], prefix: str, after: str) -> None:
        keys = sorted(key for key in list(bucket) if key.startswith(prefix) and key > after)
        page = keys[:PAGE]
        entries = [{"key": key, "size": len(bucket[key]), **_digests(bucket[key])} for key in page]
        following = page[-1] if len(keys) > PAGE else ""
        body = json.dumps({"objects": entries, "next": following}).encode()
        self._answer(200, body, {"Content-Type": "application/json"})

    def _give(self, data: bytes) -> None:
        digests = _digests(data)
        headers = {"ETag": f'"{digests["etag"]}"', "X-Sha256": digests["sha256"]}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        if wanted is None:
            return self._answer(200, data, headers)
        start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
        if start >= len(data):
            return self._refuse(416)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return self._answer(206, data[start:end], headers)

    def _refuse(self, status: int) -> None:
        self._answer(status, b"", {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def _digests(data: bytes) -> dict[str, str]:
    digest = hashlib.sha256(data).hexdigest()
    return {"etag": digest[:16], "sha256": digest}


@contextlib.contextmanager
def serving(token: str = "") -> Iterator[ShelfServer]:
    """A server while the block runs.

    Args:
        token: see ``ShelfServer``.
    """
    with ShelfServer(token) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with serving() as running:
        running.buckets["books"] = {"a/one.txt": b"one\n", "a/two.txt": b"two\n"}
        print(f"http://{running.address}")
        threading.Event().wait()
