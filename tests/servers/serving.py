"""The life of a server script: come up, print the settings, wait for the end, clean up.

A server is a context manager that yields its settings; `run` prints them as one line of JSON and
keeps the script alive until SIGTERM, Ctrl-C or, where stdin is a pipe, its end. Each of these
becomes a SystemExit in the main thread, so the same `with` blocks clean up in every case, also
while the server is still coming up. A program that a script starts (`child`) ends with the script:
by a signal in the ordinary case, by the kernel (Linux) when the script is killed. When the program
ends by itself, the script ends too.
"""

import contextlib
import ctypes
import http.server
import json
import os
import queue
import re
import select
import signal
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

HOST = "127.0.0.1"

_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_POLL_S = 1.0
_GRACE_S = 5.0


def run(server: AbstractContextManager[Mapping[str, str]]) -> None:
    """Serve, having printed the settings as the only line on stdout, until a signal ends it."""
    # What libraries print goes to stderr: stdout carries the settings and nothing else.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)
        for number in _ENDINGS:
            signal.signal(number, _end)
        if _stdin_is_a_pipe():
            threading.Thread(target=_end_with_stdin, args=(os.getppid(),), daemon=True).start()
        with server as settings:
            answer.write(json.dumps(dict(settings)) + "\n")
            answer.flush()
            threading.Event().wait()


def _end(_number: int, _frame: FrameType | None) -> None:
    """Leave every open `with`; a second signal must not interrupt the cleaning up."""
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def _stdin_is_a_pipe() -> bool:
    """Whether somebody holds the other end. A terminal and /dev/null say nothing about that."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _end_with_stdin(parent: int) -> None:
    """End the script when the pipe closes, or when a stray copy of it outlives the parent."""
    while os.getppid() == parent:
        if select.select([0], [], [], _POLL_S)[0] and not os.read(0, 4096):
            break
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def in_thread(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve from a thread while the block runs. The socket listens already."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet:
    """A handler that answers, and keeps it to itself."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Requests are not logged."""


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # a client may open that many connections at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the client has hung up
            super().handle_error(request, client_address)


@contextlib.contextmanager
def listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address where a handler answers while the block runs."""
    server = Listener((HOST, 0), handler)
    with in_thread(server):
        yield f"http://{HOST}:{server.server_port}"


@contextlib.contextmanager
def child(
    command: Sequence[str],
    says: re.Pattern[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    deadline_s: float = 45.0,
) -> Iterator[re.Match[str]]:
    """Run a server program and yield the match of `says` in its output, its word that it serves.

    Letting the program choose its port and say which it took leaves no moment in which another
    process can take it. Its output goes to our stderr.
    """
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        preexec_fn=_death_with_parent(),  # noqa: PLW1509 - one system call, prepared before the fork
    )
    said: queue.SimpleQueue[re.Match[str]] = queue.SimpleQueue()
    ending = threading.Event()
    threading.Thread(target=_follow, args=(process, says, said, ending), daemon=True).start()
    try:
        try:
            match = said.get(timeout=deadline_s)
        except queue.Empty:
            message = f"{Path(command[0]).name} does not serve after {deadline_s:g} s"
            raise SystemExit(message) from None
        yield match
    finally:
        ending.set()
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _follow(
    process: subprocess.Popen[str],
    says: re.Pattern[str],
    said: queue.SimpleQueue[re.Match[str]],
    ending: threading.Event,
) -> None:
    """Copy the program's output, report the match, and end the script when the program dies."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            sys.stderr.write(line)
            sys.stderr.flush()
            if match := says.search(line):
                said.put(match)
    code = process.wait()
    if not ending.is_set():
        sys.stderr.write(f"{process.args!r} ended by itself with code {code}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGTERM)


def _death_with_parent() -> Callable[[], object] | None:
    """What a new process must do so that the kernel kills it when its parent is killed."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
