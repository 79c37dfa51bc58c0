"""Limits of the process (``ulimit``): fewer requests at once, and the run succeeds."""

from __future__ import annotations

import random
import resource
from pathlib import Path

import pytest
import yaml

import kaiwo
from kaiwo.tasks.base import Engine
from tests.support.command import downloading, tree
from tests.support.stores import Store

OBJECTS = {f"{number}": b"%d" % number for number in range(150)}
OBJECTS["large"] = random.Random(17).randbytes(20 << 20)


@pytest.mark.parametrize(
    "limit", ["--nofile=64:64", "--nofile=40:40", f"--as={700 << 20}"], ids=["64", "40", "as"]
)
def test_a_limited_run_has_fewer_requests_and_succeeds(
    s3: Store, engine: Engine, limit: str, tmp_path: Path
) -> None:
    task = s3.task(s3.new_bucket(OBJECTS), [{"folder": "", "target_path": "."}])
    config = yaml.safe_dump({"download_root": str(tmp_path / "out"), "download_items": [task]})
    done = downloading(config, tmp_path, "--engine", engine, inside=("prlimit", limit))
    assert done.code == 0, done.stderr
    assert "at once: the limits of this process" in done.stderr
    assert "failed" not in done.stderr
    assert tree(tmp_path / "out") == OBJECTS


def test_the_command_raises_the_limit_of_files_by_itself(s3: Store, tmp_path: Path) -> None:
    task = s3.task(s3.new_bucket({"k": b"data"}), [{"folder": "", "target_path": "."}])
    config = yaml.safe_dump({"download_root": str(tmp_path / "out"), "download_items": [task]})
    done = downloading(config, tmp_path, inside=("prlimit", "--nofile=64:4096"))
    assert done.code == 0, done.stderr
    assert "limits of this process" not in done.stderr


def test_a_library_call_leaves_the_limit_of_the_program(s3: Store, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    task = s3.task(s3.new_bucket({"k": b"data"}), [{"folder": "", "target_path": str(tmp_path)}])
    kaiwo.download({"download_items": [task]})
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
