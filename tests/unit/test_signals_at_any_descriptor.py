"""The thread that watches for signals, in a process with more than 1024 open files."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.support.programs import run_program

PROGRAM = """
import resource, signal, time
from kaiwo.cli import signals
from kaiwo.errors import Interrupted

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
while os.open(os.devnull, os.O_RDONLY) <= 1024:
    pass
signals.watch(as_json=False)
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
except Interrupted:
    os.kill(os.getpid(), signal.SIGTERM)
    # Cleaning up hangs.
    while True:
        time.sleep(1)
"""


def test_a_second_signal_ends_it(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2048:
        pytest.skip("so many files cannot be opened here")
    done = run_program(PROGRAM, tmp_path)
    assert done.code == 143
    assert "at once: a second signal" in done.stderr
