"""A target's file system that takes files only from beginning to end: single streams go there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kaiwo.errors import DiskError, RandomWriteError
from kaiwo.files import temporary_files
from kaiwo.jobs import RANGE, Range, Whole
from tests.support.faulty import (
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    carry_out,
    content,
    plan_of,
)


def refuse_existing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """No file that exists can be opened for writing, unless it is emptied."""
    really_open = os.open

    def opened(path: str, flags: int, mode: int = 0o777, **more: int | None) -> int:
        folder = more.get("dir_fd")
        there = path if folder is None else f"/proc/self/fd/{folder}/{path}"
        is_new = flags & (os.O_TRUNC | os.O_EXCL)
        if flags & os.O_WRONLY and not is_new and os.path.isfile(there):
            raise OSError(number, os.strerror(number), path)
        return really_open(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.ESPIPE])
def test_objects_come_in_streams_from_the_first_refusal_on(
    monkeypatch: pytest.MonkeyPatch, number: int, tmp_path: Path
) -> None:
    objects = {
        "one": content(2 * RANGE + 1),
        "two": content(2 * RANGE),
        "small": b"data",
    }
    store, executor = FaultyStore(objects), InlineExecutor()
    refuse_existing(monkeypatch, number)
    ran = carry_out(plan_of(FaultyOpener(store), tmp_path), tmp_path, executor, workers=1)
    assert ran.report.ok, ran.report.items
    assert {each: (tmp_path / each).read_bytes() for each in objects} == objects
    assert len(executor.of(Range)) == 1
    assert [job.transfer.object.key for job in executor.of(Whole)] == ["two", "one"]
    assert not list(tmp_path.rglob("*.part"))
    assert {item.checksum.algorithm for item in ran.report.items if item.checksum} == {"md5"}


def test_a_full_disk_is_no_reason_for_streams(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refuse_existing(monkeypatch, errno.ENOSPC)
    path = str(tmp_path / "part")
    temporary_files.create(path)
    with pytest.raises(DiskError, match="cannot write") as caught:
        temporary_files.write_range(path, [b"x"], 0)
    assert not isinstance(caught.value, RandomWriteError)
