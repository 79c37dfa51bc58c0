"""Ctrl-C where people type: in a REPL on a terminal, and in a notebook's kernel."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import clean_environment
from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store

PATIENCE_S = 60.0
CTRL_C = b"\x03"
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def asked() -> threading.Event:
    """Is set when bytes were asked for."""
    return threading.Event()


@pytest.fixture
def held(s3: Store, asked: threading.Event) -> Iterator[Store]:
    """A store that sends no bytes of an object before the test is over."""
    ended = threading.Event()

    def hold(method: str, path: str, answer: Answer) -> Answer:
        if method == "GET" and path.endswith("/held"):
            asked.set()
            ended.wait(PATIENCE_S)
        return answer

    with spoiling(s3, hold) as store:
        yield store
        ended.set()


def call(store: Store) -> str:
    """The call of a fetch that never ends."""
    fields = {name: value for name, value in store.fields.items() if value is not None}
    url = f"s3://{store.new_bucket({'held': bytes(3 << 20)})}/held"
    return f"kaiwo.fetch({url!r}, **{fields!r})"


class Terminal:
    """A program on a terminal, at which somebody types."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        self.shown = ""
        self._ours = ours
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=env,
            # Its own terminal: Ctrl-C becomes a signal to it.
            start_new_session=True,
            preexec_fn=lambda: _take_terminal(theirs),  # noqa: PLW1509 - it takes no lock
        )
        os.close(theirs)

    def type(self, text: bytes) -> None:
        os.write(self._ours, text)

    def read_until(self, wanted: str, since: int = 0) -> int:
        """Read until this is shown; returns where it ends."""
        deadline_s = time.monotonic() + PATIENCE_S
        while wanted not in self.shown[since:]:
            assert time.monotonic() < deadline_s, self.shown
            if select.select([self._ours], [], [], 1.0)[0]:
                self.shown += os.read(self._ours, 65_536).decode(errors="replace")
        return self.shown.index(wanted, since) + len(wanted)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


def _take_terminal(descriptor: int) -> None:
    import fcntl  # noqa: PLC0415 - in the child
    import termios  # noqa: PLC0415

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def test_a_repl_is_as_before_after_ctrl_c(
    held: Store, asked: threading.Event, tmp_path: Path
) -> None:
    env = clean_environment(tmp_path) | {
        "TERM": "xterm",
        "COLUMNS": "200",
        "PYTHON_BASIC_REPL": "1",
    }
    with contextlib.closing(Terminal([sys.executable, "-q", "-i"], tmp_path, env)) as repl:
        at = repl.read_until(">>> ")
        repl.type(b"import kaiwo, threading\n")
        at = repl.read_until(">>> ", at)
        repl.type(call(held).encode() + b"\n")
        at = repl.read_until(HIDDEN, at)
        assert asked.wait(PATIENCE_S)
        repl.type(CTRL_C)
        at = repl.read_until("KeyboardInterrupt", at)
        at = repl.read_until(">>> ", at)
        assert repl.shown.rindex(SHOWN) > repl.shown.rindex(HIDDEN)
        repl.type(b"[t.name for t in threading.enumerate() if t.name.startswith('kaiwo')]\n")
        # What was typed is shown, too.
        at = repl.read_until("('kaiwo')]", at)
        at = repl.read_until(">>> ", at)
        assert "[]" in repl.shown[repl.shown.rindex("('kaiwo')]") + 10 :]
        start_s = time.monotonic()
        repl.type(b"exit()\n")
        assert repl.process.wait(PATIENCE_S) == 0
        assert time.monotonic() - start_s < 10.0


@pytest.mark.skipif(
    importlib.util.find_spec("ipykernel") is None, reason="ipykernel is not installed"
)
def test_a_kernel_is_as_before_after_an_interrupt(
    held: Store, asked: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_client.manager import KernelManager  # noqa: PLC0415

    monkeypatch.chdir(tmp_path)
    manager = KernelManager()
    manager.start_kernel(env=dict(os.environ))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(PATIENCE_S)
        cell = client.execute(f"import kaiwo\n{call(held)}")
        assert asked.wait(PATIENCE_S)
        manager.interrupt_kernel()
        answer = client.get_shell_msg(timeout=PATIENCE_S)
        while answer["parent_header"]["msg_id"] != cell:  # it was asked whether it is ready
            answer = client.get_shell_msg(timeout=PATIENCE_S)
        assert answer["content"]["ename"] == "KeyboardInterrupt"
        left = "[t.name for t in __import__('threading').enumerate() if t.name[:5] == 'kaiwo']"
        deadline_s = time.monotonic() + PATIENCE_S
        # After an error, a kernel refuses for a moment what is asked of it.
        while answer["content"]["status"] != "ok":
            assert time.monotonic() < deadline_s
            client.execute("pass", user_expressions={"left": left})
            answer = client.get_shell_msg(timeout=PATIENCE_S)
        shown = answer["content"]["user_expressions"]["left"]["data"]["text/plain"]
        assert shown == "[]"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
