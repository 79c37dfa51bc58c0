"""Files of JSON lines that other runs remove, or that are none."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaiwo.state.json_lines import Reader, header_of
from tests.support.waiting import wait_until

HEADER = header_of("journal", 1)


#: As another run does it, and again and again.
MAKES_AND_REMOVES = """
import os, sys
while True:
    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY))
    os.unlink(sys.argv[1])
"""


def test_a_file_that_its_run_removes_meanwhile_is_no_foreign_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "journal-1.jsonl")
    with subprocess.Popen([sys.executable, "-c", MAKES_AND_REMOVES, path]) as other:
        try:
            wait_until(lambda: os.path.exists(path))
            for _ in range(20_000):
                reader = Reader(path, HEADER)
                reader.read(lambda _: None)
                assert not reader.is_foreign, caplog.text
        finally:
            other.kill()


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a pipe"])
def test_what_is_no_regular_file_is_refused_and_nobody_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = tmp_path / "journal-1.jsonl"
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe")
        path = path if kind.startswith("link") else tmp_path / "pipe"
    reader = Reader(str(path), HEADER)
    with caplog.at_level(logging.WARNING):
        assert reader.read(lambda _: None)
    assert reader.is_foreign
    assert len(caplog.records) == 1
