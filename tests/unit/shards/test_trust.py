"""Where several machines may write into one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaiwo.shards import trust


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ext4", True),
        ("nfs4", True),
        ("lustre", True),
        ("fuse.juicefs", True),
        ("fuse.mountpoint-s3", False),
        ("fuse.s3fs", False),
        ("fuse", False),
        ("9p", False),
    ],
)
def test_the_type_of_the_file_system_decides(tmp_path: Path, kind: str, expected: bool) -> None:
    device = os.stat(tmp_path).st_dev
    table = tmp_path / "mountinfo"
    line = f"36 35 {os.major(device)}:{os.minor(device)} / {tmp_path} rw shared:1 - {kind} x rw\n"
    table.write_text(f"1 0 0:0 / / rw - proc proc rw\n{line}")
    assert trust.is_trusted(str(tmp_path), str(table)) is expected
    assert os.listdir(tmp_path) == ["mountinfo"]


def test_where_nothing_can_be_written_nothing_is_trusted() -> None:
    assert not trust.is_trusted("/proc/self/fd")
