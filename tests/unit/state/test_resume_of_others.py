"""What another user left is resumed without writing to that user's files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaiwo.errors import DiskError
from kaiwo.files import temporary_files
from kaiwo.files.folders import resolved
from kaiwo.jobs import RANGE
from tests.support.faulty import content, in_place, left, run_store
from tests.unit.state.killed_runs import SIZE, STARTS, after, big, killed


@pytest.fixture
def mask() -> Iterator[None]:
    """Members of the group may write what this user makes."""
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.mark.parametrize("kind", ["another's", "writable by others"])
def test_ranges_of_a_file_that_others_may_write_are_copied(tmp_path: Path, kind: str) -> None:
    store = big()
    old = killed(tmp_path, store, 0, RANGE)
    if kind == "another's":
        if os.geteuid() != 0:
            pytest.skip("only root may give a file away")
        os.chown(old, 1201, -1)
    else:
        old.chmod(0o664)
    inode = old.stat().st_ino
    run = after(tmp_path, store)
    assert (run.report.ok, run.item("big").status) == (True, "resumed")
    read = store.reads_of("big")
    assert all(read.get(start, 0) == (start > RANGE) for start in STARTS)
    assert in_place(tmp_path)["big"] == content(SIZE)
    assert (tmp_path / "big").stat().st_ino != inode
    assert left(tmp_path) == []


def test_ones_own_file_is_taken_over_as_it_is(tmp_path: Path) -> None:
    store = big()
    inode = killed(tmp_path, store, 0, RANGE).stat().st_ino
    assert after(tmp_path, store).report.ok
    assert (tmp_path / "big").stat().st_ino == inode


@pytest.mark.usefixtures("mask")
def test_others_may_write_a_file_only_after_it_was_published(tmp_path: Path) -> None:
    root, path = resolved(str(tmp_path)), str(tmp_path / "sub/part")
    temporary_files.create(path, root)
    temporary_files.write_range(path, [b"x"], 0, root)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    temporary_files.write_stream(path, [b"x"], root)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    temporary_files.write_small(path, b"x", root)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644
    store = big()
    store.objects["small"] = b"1"
    assert run_store(store, tmp_path).report.ok
    for name in ("big", "small"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o664


def test_a_file_with_another_name_is_neither_written_nor_published(tmp_path: Path) -> None:
    root, path = resolved(str(tmp_path)), str(tmp_path / "part")
    temporary_files.create(path, root)
    os.link(path, tmp_path / "theirs")
    with pytest.raises(DiskError, match="another name"):
        temporary_files.write_range(path, [b"x"], 0, root)
    with pytest.raises(OSError, match="another name"):
        temporary_files.status_of(path, root)
