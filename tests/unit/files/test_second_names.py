"""A snapshot's file and its blob where few kinds of links exist: no bytes are moved away."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import DiskError
from kaiwo.files import publish, second_names, temporary_files
from kaiwo.jobs import Transfer
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.workers.verify import check_existing
from tests.support.faulty import PatternOpener, transfer_of

MD5 = Checksum("md5", "4b3a6218bb3e3a7303e8a171a60fcf92")  # of b"bytes"


def cached(root: Path, key: str = "a", index: int = 0) -> Transfer:
    """A file of a snapshot; all share one blob."""
    remote = RemoteObject(f"snapshots/{key}", 5, "1", checksum=MD5)
    each = transfer_of(PatternOpener(()), remote, root)
    return replace(each, index=index, blob=str(root / "blobs" / "1"))


def published(each: Transfer) -> int:
    temporary_files.write_small(each.temporary, b"bytes")
    return publish.publish(each.temporary, each)


Refuse = Callable[..., list[str]]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Lets calls of the system fail: always, or for the first ``times``."""

    def refuse(name: str, number: int, times: int = 1 << 30) -> list[str]:
        real = getattr(os, name)
        failed: list[str] = []

        def refusing(*arguments: object, **options: object) -> object:
            if len(failed) < times:
                failed.append(name)
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, refusing)
        return failed

    return refuse


UNSUPPORTED = [errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS]


@pytest.mark.parametrize("number", UNSUPPORTED)
@pytest.mark.parametrize("has_hard_links", [True, False])
def test_a_blob_that_an_older_snapshot_shares_stays(
    tmp_path: Path, refuse: Refuse, number: int, has_hard_links: bool
) -> None:
    old = tmp_path / "snapshots" / "old"
    old.parent.mkdir()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_bytes(b"bytes")
    old.symlink_to("../blobs/1")
    refuse("symlink", number)
    if not has_hard_links:
        refuse("link", number)
    outcome = check_existing(replace(cached(tmp_path, "new"), present=True))
    new = tmp_path / "snapshots" / "new"
    assert outcome.adopted
    assert outcome.mtime_ns == new.stat().st_mtime_ns
    assert not new.is_symlink()
    assert old.read_bytes() == new.read_bytes() == b"bytes"
    published(cached(tmp_path, "third"))
    assert old.read_bytes() == (tmp_path / "snapshots/third").read_bytes() == b"bytes"
    assert sorted(os.listdir(tmp_path / "snapshots")) == ["new", "old", "third"]
    assert os.listdir(tmp_path / "blobs") == ["1"]


@pytest.mark.parametrize("has_hard_links", [True, False])
def test_equal_files_of_one_repository_all_arrive(
    tmp_path: Path, refuse: Refuse, has_hard_links: bool
) -> None:
    refuse("symlink", errno.EOPNOTSUPP)
    if not has_hard_links:
        refuse("link", errno.EOPNOTSUPP)
    failed: list[BaseException] = []

    def publishing(number: int) -> None:
        try:
            for each in range(20):
                published(cached(tmp_path, f"{number}-{each}", number * 20 + each))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=publishing, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    files = list((tmp_path / "snapshots").iterdir())
    assert len(files) == 80
    assert all(path.read_bytes() == b"bytes" for path in files)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EACCES, errno.EIO, errno.EINTR]
)
@pytest.mark.parametrize("way", [published, publish.link])
def test_a_failure_that_passes_is_no_answer_that_there_are_no_links(
    tmp_path: Path, refuse: Refuse, number: int, way: Callable[[Transfer], object]
) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_bytes(b"bytes")
    failed = refuse("symlink", number, times=2)
    way(cached(tmp_path))
    assert len(failed) == 2
    assert (tmp_path / "snapshots/a").readlink() == Path("../blobs/1")


def test_a_failure_that_stays_is_a_disk_error_and_the_bytes_stay_for_the_next_attempt(
    tmp_path: Path, refuse: Refuse
) -> None:
    failed = refuse("symlink", errno.ESTALE)
    each = cached(tmp_path)
    with pytest.raises(DiskError, match=os.strerror(errno.ESTALE)):
        published(each)
    assert 2 < len(failed) < 10
    assert Path(each.temporary).read_bytes() == b"bytes"
    assert not os.path.lexists(each.target)


def test_a_link_whose_answer_was_lost_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symlink = os.symlink

    def repeated_by_the_client(destination: str, path: str, dir_fd: int) -> None:
        symlink(destination, path, dir_fd=dir_fd)
        symlink(destination, path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "symlink", repeated_by_the_client)
    published(cached(tmp_path))
    assert (tmp_path / "snapshots/a").readlink() == Path("../blobs/1")


def test_files_themselves_where_no_symbolic_links_are_wanted(tmp_path: Path) -> None:
    each = replace(cached(tmp_path), symlinks=False)
    published(each)
    assert not (tmp_path / "snapshots/a").is_symlink()
    assert (tmp_path / "snapshots/a").read_bytes() == b"bytes"
    (tmp_path / "snapshots/a").unlink()
    publish.link(each)
    assert not (tmp_path / "snapshots/a").is_symlink()
    assert (tmp_path / "snapshots/a").read_bytes() == b"bytes"


def test_a_file_that_is_right_is_not_replaced_by_a_link(tmp_path: Path) -> None:
    """On a volume without links, it was published like that."""
    each = cached(tmp_path)
    for path in (Path(each.target), Path(str(each.blob))):
        path.parent.mkdir()
        path.write_bytes(b"bytes")
    before = os.lstat(each.target)
    assert check_existing(replace(each, present=True)).adopted
    assert os.lstat(each.target) == before


def test_a_copy_that_cannot_be_finished_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a").write_bytes(b"bytes")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        second_names.copy(str(tmp_path / "a"), str(tmp_path / "b"), durable=False)
    assert os.listdir(tmp_path) == ["a"]
