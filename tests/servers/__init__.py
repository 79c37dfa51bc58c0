"""Real storage servers on loopback, each a script in a child process.

`start(name)` runs `python -m tests.servers.NAME` from the root of this repository and waits for
the one line of JSON that every script prints once it serves: its settings. A script lives until
SIGTERM or until its stdin closes, and the only holder of the other end is this process: when a
test run is killed, its servers end by themselves (see `serving`).
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
"""The root of this repository."""

_STDERR_TAIL = 4_000
_END_S = 15.0


class ServerFailed(Exception):  # noqa: N818 - reads as what happened
    """A server did not come up; the message ends with the last of what it wrote to stderr."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that serves: what its script printed, and the script's process."""

    settings: dict[str, str]
    process: subprocess.Popen[bytes]


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def start(name: str, *args: str, deadline_s: float = 60.0) -> Iterator[Server]:
    """Run `tests.servers.NAME` with these arguments until the block is left.

    Raises ServerFailed when the script ends, or is not serving after `deadline_s`. On exit the
    script and the processes that it started have ended.
    """
    command = [sys.executable, "-m", f"{__name__}.{name}", *args]
    with tempfile.TemporaryFile() as errors:
        # A separate session: Ctrl-C in the terminal reaches the tests, which then end it here.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            yield Server(_settings(name, process, errors, deadline_s), process)
        finally:
            _end(process)


def _settings(
    name: str, process: subprocess.Popen[bytes], errors: IO[bytes], deadline_s: float
) -> dict[str, str]:
    """The settings in the script's first line of output, or ServerFailed."""
    assert process.stdout is not None
    deadline = time.monotonic() + deadline_s
    line = b""
    while not line.endswith(b"\n"):
        left_s = max(deadline - time.monotonic(), 0.0)
        if not select.select([process.stdout], [], [], left_s)[0]:
            raise ServerFailed(_failure(name, f"does not serve after {deadline_s:g} s", errors))
        piece = os.read(process.stdout.fileno(), 4096)
        if not piece:
            code = process.wait()
            raise ServerFailed(_failure(name, f"ended with code {code} before it served", errors))
        line += piece
    settings: dict[str, str] = json.loads(line)
    return settings


def _failure(name: str, what: str, errors: IO[bytes]) -> str:
    """What happened to the server, and the tail of its stderr."""
    errors.seek(max(errors.seek(0, 2) - _STDERR_TAIL, 0))
    tail = errors.read().decode(errors="replace").strip()
    return f"server {name!r} {what}; its stderr ends:\n{tail or '(nothing)'}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the script in good order, or by force when it does not go."""
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
