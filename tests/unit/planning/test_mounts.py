"""Volumes that are mounted at several places."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaiwo.planning.mounts import twins

TABLE = """\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 8:2 / {top}/a rw - ext4 /dev/sdb rw
23 21 8:2 /sub\\040folder {top}/b rw - ext4 /dev/sdb rw
24 21 8:3 / {top}/c rw - ext4 /dev/sdc rw
"""


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Says that b is a folder of a, and c another volume; b is a link, for there is no mount."""
    (tmp_path / "a" / "sub folder" / "deep").mkdir(parents=True)
    (tmp_path / "b").symlink_to("a/sub folder")
    (tmp_path / "c" / "sub folder").mkdir(parents=True)
    path = tmp_path / "mountinfo"
    path.write_text(TABLE.format(top=tmp_path))
    return str(path)


def test_folders_of_one_device_are_one_by_their_place_there(tmp_path: Path, table: str) -> None:
    top = str(tmp_path)
    for below in ("", "/deep", "/missing", "/deep/missing/too"):
        folders = [f"{top}/a/sub folder{below}", f"{top}/b{below}", f"{top}/c/sub folder{below}"]
        assert twins([f"{top}/a", *folders, top], table) == {folders[1]: folders[0]}


def test_what_the_table_says_is_looked_at(tmp_path: Path, table: str) -> None:
    """That mount may be hidden below another one."""
    (tmp_path / "b").unlink()
    (tmp_path / "b").mkdir()
    assert twins([f"{tmp_path}/a/sub folder", f"{tmp_path}/b"], table) == {}


def test_where_there_is_no_table_nothing_is_found(tmp_path: Path, table: str) -> None:
    assert twins([f"{tmp_path}/a/sub folder", f"{tmp_path}/b"], f"{table}.none") == {}


MOUNTED = """
import subprocess, sys
from kaiwo.planning.mounts import twins
top = sys.argv[1]
subprocess.run(["mount", "--bind", f"{top}/a/x y", f"{top}/b"], check=True)
print(twins([f"{top}/a/x y/new", f"{top}/b/new", f"{top}/a/b"]))
"""


def test_a_real_mount_is_found(tmp_path: Path) -> None:
    (tmp_path / "a" / "x y").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    words = ["unshare", "-m" if os.geteuid() == 0 else "-rm", sys.executable, "-c", MOUNTED]
    done = subprocess.run([*words, str(tmp_path)], capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout.strip() == str({f"{tmp_path}/b/new": f"{tmp_path}/a/x y/new"}), done.stderr
