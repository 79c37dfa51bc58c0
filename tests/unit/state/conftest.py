"""Fixtures of several tests of claims."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kaiwo.state.claim_files import Targets
from tests.support.command import clean_environment
from tests.unit.state.holders import HOLDER, MIDDLE, UNSHARE, Child, Holding


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Holding]:
    """Starts children that take targets; they end with the test."""
    children: list[Child] = []

    def start(
        wanted: Targets, run: str = MIDDLE, touch_s: float = 0.05, prefix: Sequence[str] = ()
    ) -> Child:
        told = {
            "targets": {folder: sorted(own) for folder, own in wanted.items()},
            "run": run,
            "timing": {"touch_s": touch_s, "silence_s": 0.8, "look_s": [0.01, 0.05]},
        }
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", HOLDER, json.dumps(told)],
            env=clean_environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(Child(process))
        assert children[-1].says() == "began"
        return children[-1]

    yield start
    for child in children:
        with contextlib.suppress(OSError):
            child.process.kill()
        with child.process:
            pass


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder of claims that is not there yet."""
    return str(tmp_path / "root" / ".kaiwo" / "claims")


@pytest.fixture
def container() -> Sequence[str]:
    """What a command is begun with to be process 1 of a namespace of its own."""
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no pid namespaces here: {done.stderr.strip()}")
    return UNSHARE
