"""The limits of a process, in children that have them."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ASK = "import os\nfrom kaiwo.files import process_limits\n"


def asked(limits: tuple[str, ...], program: str) -> str:
    """What a program prints that has these limits."""
    command = ["prlimit", *limits, sys.executable, "-c", _ASK + program]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("limits", "least", "most"),
    [
        (("--nofile=64:64", "--as=unlimited"), 8, 20),
        (("--nofile=28:28", "--as=unlimited"), 1, 1),
        (("--nofile=4096:4096", "--as=unlimited"), 1000, 2048),
        (("--nofile=4096:4096", f"--as={1 << 30}"), 2, 9),
        (("--nofile=4096:4096", f"--as={200 << 20}"), 1, 1),
    ],
)
def test_requests_need_files_and_space(limits: tuple[str, ...], least: int, most: int) -> None:
    assert least <= int(asked(limits, "print(process_limits.most_requests())")) <= most


@pytest.mark.parametrize(
    ("limits", "raised"),
    [("--nofile=64:512", 512), ("--nofile=64:64", 64)],
)
def test_the_limit_of_files_is_raised_as_far_as_it_may_be(limits: str, raised: int) -> None:
    program = "import resource; process_limits.raise_file_limit()\n"
    program += "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    assert int(asked((limits,), program)) == raised
