"""Servers of files: that of Python (no ranges, no ETag), and rclone's (ranges).

Both tell when a file was changed, to the second, and show folders as pages of links.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.servers import serving

_SERVES = re.compile(rf"(http://{re.escape(serving.HOST)}:\d+)")


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


@contextlib.contextmanager
def rclone(path: Path) -> Iterator[str]:
    """The address of a folder's files while the block runs."""
    program = str(Path(sys.executable).with_name("rclone"))
    command = [program, "serve", "http", str(path), f"--addr={serving.HOST}:0"]
    env = {name: value for name, value in os.environ.items() if "RCLONE" not in name}
    env["RCLONE_CONFIG"] = os.devnull
    with serving.child([*command, "--dir-cache-time=0"], _SERVES, cwd=path, env=env) as match:
        yield match[1]
