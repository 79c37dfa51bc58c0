"""Runs a command on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.servers import ROOT


def on_a_terminal(
    command: Sequence[str], folder: Path, *, columns: int = 200, term: str = "xterm"
) -> str:
    """What the command shows on a terminal of that kind, with that many columns."""
    ours, theirs = pty.openpty()
    environment = {
        "PATH": os.environ["PATH"],
        "TERM": term,
        "COLUMNS": str(columns),
        "HOME": str(folder),
    }
    environment["PYTHONPATH"] = str(ROOT)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            shown += os.read(ours, 65_536)
        except OSError:  # the terminal's other end is closed: the child is gone
            break
    os.close(ours)
    child.wait(10)
    return shown.decode(errors="replace")
