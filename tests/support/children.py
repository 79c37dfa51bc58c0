"""The command as a child that runs while the test does something else."""

import contextlib
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import clean_environment, configured

DEADLINE_S = 30.0


@dataclass
class Child:
    """A running command; its stderr is read line by line."""

    process: "subprocess.Popen[str]"
    lines: list[str]

    def line_with(self, word: str) -> str:
        """The next line of stderr with that word; fails when there is none in time."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            left_s = max(deadline - time.monotonic(), 0.0)
            if not select.select([self.process.stderr], [], [], left_s)[0]:
                break
            line = self.process.stderr.readline()
            if not line:
                break
            self.lines.append(line)
            if word in line:
                return line
        pytest.fail(f"no {word!r} in stderr:\n{''.join(self.lines)}")

    def end(self, timeout_s: float = DEADLINE_S) -> tuple[int, str, str]:
        """Exit code, stdout and the whole stderr."""
        stdout, rest = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, stdout, "".join(self.lines) + rest


@contextlib.contextmanager
def started(
    tmp_path: Path, *tasks: Mapping[str, Any], options: Sequence[str] = ()
) -> Iterator[Child]:
    """The command, running; killed when the block is left before it has ended."""
    command = [sys.executable, "-m", "kaiwo.downloader", configured(tmp_path, *tasks), *options]
    report = ["--report", str(tmp_path / "report.json")]
    environment = {"KAIWO_TERMINATION_LOG": str(tmp_path / "termination-log")}
    process = subprocess.Popen(
        [*command, *report],
        cwd=tmp_path,
        env=clean_environment(tmp_path) | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with process:
        try:
            yield Child(process, [])
        finally:
            process.kill()
