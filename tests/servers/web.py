"""The server of files that comes with Python: no ranges, no ETag, folders as pages of links."""

from __future__ import annotations

import contextlib
import functools
import http.server
from collections.abc import Iterator
from pathlib import Path

from tests.servers import serving


class Quiet:
    """A handler that answers, and keeps it to itself."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Requests are not logged."""


class _Files(Quiet, http.server.SimpleHTTPRequestHandler):
    """The files of a folder."""


@contextlib.contextmanager
def listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address where a handler answers while the block runs."""
    server = http.server.ThreadingHTTPServer((serving.HOST, 0), handler)
    with serving.in_thread(server):
        yield f"http://{serving.HOST}:{server.server_port}"


def folder(path: Path) -> contextlib.AbstractContextManager[str]:
    """The address of a folder's files while the block runs."""
    return listening(functools.partial(_Files, directory=str(path)))  # type: ignore[arg-type]
