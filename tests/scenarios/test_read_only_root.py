"""A container with a read-only root: only the target can be written, and nothing else needs to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.support.command import downloading, tree
from tests.support.faulty import MIB
from tests.support.stores import Store

OBJECTS = {"a": b"1", "sub/big": b"2" * (9 * MIB)}
#: Makes every mount of a separate namespace read-only but that of one folder.
ONLY = """
mount --bind "$0" "$0"
for place in $(cut -d' ' -f5 /proc/self/mountinfo | sort -u); do
    case $place in "$0" | /proc | /proc/* | /dev | /dev/*) ;; *)
        mount -o remount,bind,ro "$place" 2>/dev/null ;;
    esac
done
cd / && ! touch "$1" 2>/dev/null && shift && exec "$@"
"""
NO_HOME = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}


@pytest.mark.parametrize(("engine", "env"), [("fsspec", NO_HOME), ("obstore", {})])
def test_a_download_writes_nothing_beside_its_target(
    s3: Store, hub: Store, tmp_path: Path, engine: str, env: Mapping[str, str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make all mounts read-only")
    folder = tmp_path / "writable"
    folder.mkdir()
    hub.fill("acme/read-only", OBJECTS)
    # A folder of certificates becomes one file for SDKs that take a path.
    certificates = {"ca_bundle": "/etc/ssl/certs"} if os.path.isdir("/etc/ssl/certs") else {}
    items = [{"folder": "", "target_path": "s3"}]
    tasks = [
        s3.task(s3.new_bucket(OBJECTS), items, **certificates),
        hub.task("acme/read-only", (), target_path="hub"),
        hub.task("acme/read-only", (), cache_dir=str(folder / "cache")),
    ]
    text = yaml.safe_dump({"download_root": str(folder), "download_items": tasks})
    inside = ("unshare", "-m", "sh", "-c", ONLY, str(folder), str(tmp_path / "refused"))
    for unchanged in (0, 3 * len(OBJECTS)):
        report = ("--report", str(folder / "report.json"), "--engine", engine)
        done = downloading(text, tmp_path, *report, inside=inside, env=env)
        assert done.code == 0, done.stderr
        assert "WARNING" not in done.stderr
        assert yaml.safe_load((folder / "report.json").read_text())["unchanged"] == unchanged
    for name in ("s3", "hub"):
        assert tree(folder / name) == OBJECTS
