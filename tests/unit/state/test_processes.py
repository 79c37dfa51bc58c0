"""Whether a process is still there, as another one can tell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kaiwo.state.processes import is_running, this_process
from tests.support.command import clean_environment


def test_a_proc_of_another_namespace_says_nothing(tmp_path: Path, container: Sequence[str]) -> None:
    code = (
        "from kaiwo.state.processes import *\n"
        "print(this_process().boot == '', is_running(this_process()))"
    )
    done = subprocess.run(
        [*container[:-1], sys.executable, "-c", code],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "None"]


def test_this_process_is_running_and_one_of_another_boot_is_unknown() -> None:
    here = this_process()
    assert is_running(here) is True
    assert is_running(type(here)("another", here.namespace, here.pid, here.start)) is None
    assert is_running(type(here)(here.boot, here.namespace, 2**70, 1)) is False
