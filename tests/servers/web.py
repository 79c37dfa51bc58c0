"""Servers of files: Python's (no ranges, no ETag), rclone's (ranges), one that a test controls.

The first two tell when a file was changed, to the second, and show folders as pages of links. The
third has pages that answer as a test wants.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import serving

_SERVES = re.compile(rf"(http://{re.escape(serving.HOST)}:\d+)")

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class _Files(serving.Quiet, http.server.SimpleHTTPRequestHandler):
    """The files of a folder."""


def files_of(path: Path) -> type[http.server.BaseHTTPRequestHandler]:
    """The handler that serves a folder's files."""
    return functools.partial(_Files, directory=str(path))  # type: ignore[return-value]


def folder(path: Path) -> contextlib.AbstractContextManager[str]:
    """The address of a folder's files while the block runs."""
    return serving.listening(files_of(path))


@contextlib.contextmanager
def rclone(path: Path, user: str = "", password: str = "") -> Iterator[str]:
    """The address of a folder's files while the block runs; with a user, for that one alone."""
    program = str(Path(sys.executable).with_name("rclone"))
    command = [program, "serve", "http", str(path), f"--addr={serving.HOST}:0"]
    command += [f"--user={user}", f"--pass={password}"] if user else []
    env = {name: value for name, value in os.environ.items() if "RCLONE" not in name}
    env["RCLONE_CONFIG"] = os.devnull
    with serving.child([*command, "--dir-cache-time=0"], _SERVES, cwd=path, env=env) as match:
        yield match[1]


@dataclass
class Page:
    """What is at one address.

    Attributes:
        body: its bytes.
        headers: besides its length.
        ranges: a `Range` is followed.
        head: the status of a HEAD.
        status: of everything else.
        sized: its length is stated.
        redirect: it is elsewhere.
        fails: the number of first requests that are answered with 503.
    """

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    head: int = 200
    status: int = 200
    sized: bool = True
    redirect: str = ""
    fails: int = 0

    def answer(self, method: str, asked: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a method and a `Range`."""
        if self.redirect:
            return 302, {"Location": self.redirect, "Content-Length": "0"}, b""
        status = self.head if method == "HEAD" else self.status
        if self.fails:
            self.fails -= 1
            status = 503
        headers, body = dict(self.headers), self.body
        match = _RANGE.fullmatch(asked)
        if match and self.ranges and status == 200:
            first, last = int(match[1]), min(int(match[2]), len(body) - 1)
            status = 206 if body else 416
            if body:
                headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            body = body[first : last + 1]
        if self.sized:
            headers["Content-Length"] = str(len(body))
        else:
            headers["Connection"] = "close"
        return status, headers, b"" if method == "HEAD" else body


@dataclass
class Site:
    """The pages of a server, by path and query, and what it was asked.

    Attributes:
        at: its address.
        pages: may be changed at any time.
        asked: method, path and headers of each request.
    """

    at: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """A server without pages, which answers while the block runs."""
    found = Site()

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.asked.append((self.command, self.path, dict(self.headers)))
            page = found.pages.get(self.path) or Page(status=404, head=404)
            status, headers, body = page.answer(self.command, self.headers.get("Range", ""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

    with serving.listening(Handler) as found.at:
        yield found
