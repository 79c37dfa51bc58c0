"""Publication: a rename, a link to a blob, and what is synchronised with the disk."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import DiskError
from kaiwo.files.publish import link, publish
from tests.unit.files.writing import transfer, write_range


def test_publishing_renames_and_tells_the_modification_time(tmp_path: Path) -> None:
    each = transfer(tmp_path)
    write_range(each.temporary, [b"new"], 0)
    inode = os.stat(each.temporary).st_ino
    mtime_ns = publish(each.temporary, each)
    status = os.stat(each.target)
    assert (status.st_ino, status.st_mtime_ns) == (inode, mtime_ns)
    assert os.listdir(os.path.dirname(each.target)) == ["a.bin"]


def test_publishing_replaces_a_file_whole_and_spares_who_reads_it(tmp_path: Path) -> None:
    each = transfer(tmp_path)
    write_range(each.temporary, [b"new"], 0)
    Path(each.target).write_bytes(b"what was there")
    with Path(each.target).open("rb") as reader:
        publish(each.temporary, each)
        assert reader.read() == b"what was there"
    assert Path(each.target).read_bytes() == b"new"


def test_publishing_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    each = transfer(tmp_path, "a")
    (tmp_path / "elsewhere").write_bytes(b"another's")
    (tmp_path / "a").symlink_to("elsewhere")
    write_range(each.temporary, [b"new"], 0)
    publish(each.temporary, each)
    assert (tmp_path / "elsewhere").read_bytes() == b"another's"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert not (tmp_path / "a").is_symlink()


def test_a_blob_holds_the_bytes_and_the_target_is_a_relative_link(tmp_path: Path) -> None:
    blob = str(tmp_path / "blobs" / "123")
    each = replace(transfer(tmp_path, "snapshots/c0/deep/a.bin"), blob=blob)
    write_range(each.temporary, [b"new"], 0)
    assert os.path.dirname(each.temporary) == str(tmp_path / "blobs")
    publish(each.temporary, each)
    assert os.readlink(each.target) == "../../../blobs/123"
    assert Path(each.target).read_bytes() == Path(blob).read_bytes() == b"new"
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    assert (moved / "snapshots/c0/deep/a.bin").read_bytes() == b"new"


@pytest.mark.parametrize("before", ["file", "link", "dangling"])
def test_a_link_replaces_what_is_there(tmp_path: Path, before: str) -> None:
    (tmp_path / "blob").write_bytes(b"new")
    (tmp_path / "other").write_bytes(b"other")
    target = tmp_path / "target"
    if before == "file":
        target.write_bytes(b"old")
    else:
        target.symlink_to("other" if before == "link" else "nowhere")
    link(replace(transfer(tmp_path, "target"), blob=str(tmp_path / "blob")))
    assert os.readlink(target) == "blob"
    assert (tmp_path / "other").read_bytes() == b"other"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blob", "other", "target"]


def test_a_link_that_cannot_be_put_there_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"new")
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="directory"):
        link(replace(transfer(tmp_path, "target"), blob=str(tmp_path / "blob")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blob", "target"]


def path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The renames and synchronisations that the kernel is asked for, in their order."""
    seen: list[tuple[str, str]] = []
    fsync, replace_, symlink = os.fsync, os.replace, os.symlink

    def syncing(descriptor: int) -> None:
        seen.append(("fsync", path_of(descriptor)))
        fsync(descriptor)

    def replacing(source: str, target: str, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen.append(("rename", f"{path_of(dst_dir_fd)}/{target}"))
        replace_(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def linking(source: str, target: str, dir_fd: int) -> None:
        seen.append(("link", f"{path_of(dir_fd)}/{target}"))
        symlink(source, target, dir_fd=dir_fd)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    monkeypatch.setattr(os, "symlink", linking)
    return seen


def test_a_durable_file_is_synchronised_before_its_rename_and_its_folders_after_it(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    root = tmp_path / "root"
    each = transfer(root, "new/er/a.bin")
    write_range(each.temporary, [b"new"], 0)
    publish(each.temporary, replace(each, durable=True))
    folders = [str(folder) for folder in (root / "new/er", root / "new", root, tmp_path)]
    assert calls[:2] == [("fsync", each.temporary), ("rename", each.target)]
    assert calls[2:6] == [("fsync", folder) for folder in folders]
    assert Path(each.target).read_bytes() == b"new"


def test_a_durable_link_has_its_folders_synchronised_as_its_blob_has(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    blob = f"{tmp_path}/blobs/1"
    each = replace(transfer(tmp_path, "snapshots/a"), blob=blob)
    write_range(each.temporary, [b"new"], 0)
    publish(each.temporary, replace(each, durable=True))
    steps = [step for step in calls if step[0] != "link"]  # it gets its name last
    assert steps[:2] == [("fsync", each.temporary), ("rename", blob)]
    last_name = calls.index(("rename", each.target))
    for folder in ("blobs", "snapshots"):
        assert calls.index(("fsync", f"{tmp_path}/{folder}")) > last_name
    assert calls.index(("fsync", str(tmp_path))) > last_name


def test_nothing_is_synchronised_unless_it_is_wanted(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    each = transfer(tmp_path)
    write_range(each.temporary, [b"new"], 0)
    publish(each.temporary, each)
    assert calls == [("rename", each.target)]


def test_what_cannot_be_synchronised_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    each = transfer(tmp_path)
    write_range(each.temporary, [b"new"], 0)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(DiskError, match=os.strerror(errno.EIO)):
        publish(each.temporary, replace(each, durable=True))
    assert not os.path.lexists(each.target)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES])
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_folder_that_cannot_be_synchronised_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    real_open, real_fsync, synced = os.open, os.fsync, []

    def opening(path: str, flags: int, *mode: int, dir_fd: int | None = None) -> int:
        # To find the way to a file, folders are opened in another way.
        if call == "open" and not flags & os.O_DIRECTORY and os.path.isdir(path):
            raise OSError(number, os.strerror(number))
        return real_open(path, flags, *mode, dir_fd=dir_fd)

    def syncing(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if call == "fsync" and is_folder:
            raise OSError(number, os.strerror(number))
        synced.append(is_folder)
        real_fsync(descriptor)

    each = transfer(tmp_path)
    write_range(each.temporary, [b"new"], 0)
    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "fsync", syncing)
    publish(each.temporary, replace(each, durable=True))
    assert Path(each.target).read_bytes() == b"new"
    assert synced == [False]


def test_a_folder_whose_synchronisation_fails_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def syncing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    each = transfer(tmp_path)
    write_range(each.temporary, [b"new"], 0)
    monkeypatch.setattr(os, "fsync", syncing)
    with pytest.raises(DiskError, match=os.strerror(errno.EIO)):
        publish(each.temporary, replace(each, durable=True))
