"""WebHDFS over a folder: as much of its protocol as reading needs, with a password.

A namenode redirects reads to a datanode; here both are one server.

    GET /webhdfs/v1/PATH?op=GETFILESTATUS|LISTSTATUS
    GET /webhdfs/v1/PATH?op=OPEN&offset=…&length=…     307 to ?op=DATA, which has the bytes
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from kaiwo.net.headers import basic
from tests.servers import serving

USER, PASSWORD = "me", "right-password"
_PREFIX = "/webhdfs/v1"


@contextlib.contextmanager
def webhdfs(root: Path) -> Iterator[str]:
    """Host and port of a server of a folder's files while the block runs."""

    class Handler(serving.Quiet, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            name = unquote(parts.path.removeprefix(_PREFIX))
            path, query = root / name.lstrip("/"), parse_qs(parts.query)
            if self.headers["Authorization"] != basic(USER, PASSWORD):
                return self.refuse(401, "SecurityException")
            if not path.exists():
                return self.refuse(404, "FileNotFoundException")
            operation = query["op"][0]
            if operation == "GETFILESTATUS":
                return self.answer({"FileStatus": status(path, "")})
            if operation == "LISTSTATUS":
                found = sorted(path.iterdir()) if path.is_dir() else [path]
                statuses = [status(each, each.name if path.is_dir() else "") for each in found]
                return self.answer({"FileStatuses": {"FileStatus": statuses}})
            if operation == "OPEN":
                again = urlencode({**{k: v[0] for k, v in query.items()}, "op": "DATA"})
                self.send_response(307)
                self.send_header("Location", f"http://{self.headers['Host']}{parts.path}?{again}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            data = path.read_bytes()[int(query.get("offset", ["0"])[0]) :]
            return self.send(200, data[: int(query.get("length", [str(len(data))])[0])])

        def refuse(self, code: int, name: str) -> None:
            error = {"RemoteException": {"exception": name, "message": f"no {PASSWORD}"}}
            self.send(code, json.dumps(error).encode())

        def answer(self, document: Any) -> None:
            self.send(200, json.dumps(document).encode())

        def send(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving.listening(Handler) as address:
        yield urlsplit(address).netloc


def status(path: Path, name: str) -> dict[str, Any]:
    """A file or folder, as the protocol describes it."""
    found = path.stat()
    return {
        "pathSuffix": name,
        "type": "DIRECTORY" if path.is_dir() else "FILE",
        "length": 0 if path.is_dir() else found.st_size,
        "modificationTime": found.st_mtime_ns // 1_000_000,
    }
