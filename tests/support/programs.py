"""Other people's programs that use kaiwo: a text, run as a child, with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import clean_environment

#: Begins every program: what it was given, and the threads that are left.
HEAD = """\
import faulthandler, json, os, sys, threading
# Says where it hangs, before the test ends it.
faulthandler.dump_traceback_later({dump_s}, exit=True)
given = json.loads(sys.argv[1])

def own_threads():
    return sorted(each.name for each in threading.enumerate() if each.name.startswith("kaiwo"))
"""


@dataclass(frozen=True)
class Ended:
    """What a program left behind."""

    code: int
    stdout: str
    stderr: str


def run_program(
    text: str,
    home: Path,
    timeout_s: float = 40.0,
    env: Mapping[str, str] | None = None,
    **given: Any,
) -> Ended:
    """Run a program to its end; it and its children are killed at the deadline, and the test fails.

    Args:
        text: of the program, which finds ``given`` as a mapping of that name.
        home: its working directory and home.
        timeout_s: when it must have ended.
        env: variables besides those of a clean environment.
        given: what the program gets.
    """
    whole = HEAD.format(dump_s=timeout_s - 5) + text
    # In files: a child that was forked and hangs would keep a pipe open.
    with (
        open(home / "stdout", "w+", encoding="utf-8") as stdout,
        open(home / "stderr", "w+", encoding="utf-8") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", whole, json.dumps(given)],
            cwd=home,
            env=clean_environment(home) | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        ) as process,
    ):
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the program did not end:\n{(home / 'stderr').read_text()}")
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing of it is left
                os.killpg(process.pid, signal.SIGKILL)
    return Ended(code, (home / "stdout").read_text(), (home / "stderr").read_text())
