"""Temporary files: ranges in any order, streams, and an earlier run's file."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaiwo.errors import DiskError
from kaiwo.files import inherited_files, temporary_files
from kaiwo.files.publish import publish
from kaiwo.jobs import Transfer
from tests.support.faulty import MIB, content, ranges_of
from tests.unit.files.writing import transfer, write_range


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    before = os.umask(0o022)

    def set_to(mask: int) -> None:
        os.umask(mask)

    yield set_to
    os.umask(before)


def test_ranges_may_be_written_in_any_order(tmp_path: Path) -> None:
    data, path = content(17 * MIB + 5), str(tmp_path / "part")
    ranges = ranges_of(len(data))
    random.Random(3).shuffle(ranges)
    assert ranges != sorted(ranges)
    for start, end in ranges:
        write_range(path, [memoryview(data)[start:end]], start)
    assert Path(path).read_bytes() == data


def test_a_range_leaves_the_rest_of_the_file_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "part")
    write_range(path, [b"0123456789"], 0)
    write_range(path, [bytearray(b"ab")], 4)
    write_range(path, [b""], 7)
    assert Path(path).read_bytes() == b"0123ab6789"


def test_folders_are_made_when_the_first_byte_comes(tmp_path: Path) -> None:
    write_range(str(tmp_path / "a/b/part"), [b"x"], 0)
    assert temporary_files.write_stream(str(tmp_path / "c/d/part"), [b"x"]) == 1
    assert (tmp_path / "a/b/part").read_bytes() == (tmp_path / "c/d/part").read_bytes() == b"x"


def test_a_stream_replaces_what_an_earlier_one_left(tmp_path: Path) -> None:
    path = str(tmp_path / "part")
    assert temporary_files.write_stream(path, [b"a longer", b" beginning"]) == 18
    assert temporary_files.write_stream(path, [b"new", memoryview(b""), bytearray(b"er")]) == 5
    assert Path(path).read_bytes() == b"newer"
    assert temporary_files.write_stream(path, []) == 0
    assert Path(path).read_bytes() == b""


@pytest.mark.parametrize("error", [ConnectionResetError("by peer"), ZeroDivisionError()])
def test_errors_of_the_stream_itself_pass_through(tmp_path: Path, error: Exception) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"some"
        raise error

    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(type(error)):
        temporary_files.write_stream(str(tmp_path / "part"), chunks())
    assert len(os.listdir("/proc/self/fd")) == open_files


@pytest.mark.parametrize("there", [b"mine", None])
def test_a_link_at_a_temporary_name_is_not_followed(tmp_path: Path, there: bytes | None) -> None:
    victim = tmp_path / "victim"
    if there is not None:
        victim.write_bytes(there)
    (tmp_path / "part").symlink_to(victim)
    with pytest.raises(DiskError):
        write_range(str(tmp_path / "part"), [b"x"], 0)
    with pytest.raises(DiskError):
        temporary_files.write_stream(str(tmp_path / "part"), [b"x"])
    with pytest.raises(DiskError):
        temporary_files.write_small(str(tmp_path / "part"), b"x")
    assert (victim.read_bytes() if victim.exists() else None) == there


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_modes_follow_the_umask(tmp_path: Path, umask: Callable[[int], None], mask: int) -> None:
    umask(mask)
    for number, write in enumerate((_by_range, _by_stream, _at_once)):
        each = transfer(tmp_path / str(number))
        write(each)
        publish(each.temporary, each)
        assert mode(each.target) == 0o666 & ~mask
        assert mode(os.path.dirname(each.target)) == 0o777 & ~mask


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
@pytest.mark.parametrize("bits", [0o700, 0o755, 0o777, 0o2775, 0o1777])
def test_modes_follow_the_umask_whatever_the_folders_bits(
    tmp_path: Path, umask: Callable[[int], None], mask: int, bits: int
) -> None:
    umask(mask)
    folder = tmp_path / "there"
    folder.mkdir()
    folder.chmod(bits)
    for number, write in enumerate((_by_range, _by_stream, _at_once)):
        each = transfer(folder, f"{number}")
        write(each)
        publish(each.temporary, each)
        assert mode(each.target) == 0o666 & ~mask
    assert mode(folder) == bits


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EIO])
@pytest.mark.parametrize("mask", [0o002, 0o022])
def test_where_nobody_may_change_modes_files_arrive_with_those_of_their_temporary_files(
    tmp_path: Path,
    umask: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    mask: int,
    number: int,
) -> None:
    """As on a share, or for root where the server takes it for nobody; EIO passes."""
    left = [number] if number == errno.EIO else [number] * 9
    real = os.fchmod

    def refusing(descriptor: int, mode: int) -> None:
        if left:
            raise OSError(left.pop(), "refused")
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", refusing)
    umask(mask)
    for each, write in enumerate((_by_range, _by_stream, _at_once)):
        one = transfer(tmp_path / str(each))
        write(one)
        publish(one.temporary, one)
        assert mode(one.target) == (0o666 & ~mask if number == errno.EIO else 0o644)


def _by_range(each: Transfer) -> None:
    write_range(each.temporary, [b"new"], 0)


def _by_stream(each: Transfer) -> None:
    temporary_files.write_stream(each.temporary, [b"new"])


def _at_once(each: Transfer) -> None:
    temporary_files.write_small(each.temporary, b"new")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("data", [b"", b"new", content(MIB)], ids=["empty", "few", "many"])
def test_a_small_file_is_written_at_once_and_anew(
    tmp_path: Path, data: bytes, kind: type[bytes | bytearray | memoryview]
) -> None:
    path = tmp_path / "deep" / "part"
    for before in (None, b"what was there" + data):
        if before is not None:
            path.write_bytes(before)
        temporary_files.write_small(str(path), kind(data))
        assert path.read_bytes() == data


@pytest.mark.parametrize("most", [1, 1_000])
def test_what_the_file_system_takes_in_pieces_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    data, pwrite = content(3 * most + 2), os.pwrite

    def some(descriptor: int, data: bytes | memoryview, offset: int) -> int:
        return pwrite(descriptor, data[:most], offset)

    monkeypatch.setattr(os, "pwrite", some)
    path = tmp_path / "part"
    temporary_files.write_small(str(path), data)
    assert path.read_bytes() == data
    temporary_files.write_range(str(path), [data], 2)
    assert path.read_bytes() == data[:2] + data
    temporary_files.write_stream(str(path), [data, memoryview(data)])
    assert path.read_bytes() == data + data


def test_an_earlier_runs_file_gets_this_runs_name(tmp_path: Path) -> None:
    old, new = tmp_path / ".kaiwo-1-0.part", tmp_path / ".kaiwo-2-0.part"
    old.write_bytes(b"begun")
    inode = old.stat().st_ino
    assert inherited_files.take_over(str(old), str(new))
    assert os.listdir(tmp_path) == [new.name]
    assert (new.stat().st_ino, new.read_bytes()) == (inode, b"begun")


@pytest.mark.parametrize(
    "kind", ["nothing", "folder", "link", "dangling", "pipe", "shared", "file"]
)
def test_anything_else_is_left_where_it_is(tmp_path: Path, kind: str) -> None:
    old, new, victim = tmp_path / "old", tmp_path / "new", tmp_path / "victim"
    victim.write_bytes(b"another's")
    if kind == "folder":
        old.mkdir()
    elif kind == "link":
        old.symlink_to(victim)
    elif kind == "dangling":
        old.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(old)
    elif kind == "shared":
        os.link(victim, old)
    elif kind == "file":  # in a folder that is not there
        old.write_bytes(b"begun")
        new = tmp_path / "gone" / "new"
    before = sorted(os.listdir(tmp_path))
    assert not inherited_files.take_over(str(old), str(new))
    assert sorted(os.listdir(tmp_path)) == before
    assert victim.read_bytes() == b"another's"


def test_discarding_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"x")
    temporary_files.discard(str(path))
    temporary_files.discard(str(path))
    assert not path.exists()


def test_the_size_is_that_of_the_file_and_not_what_a_mount_remembers_of_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    remembered = os.stat(path)
    path.write_bytes(b"by another machine")
    monkeypatch.setattr(os, "stat", lambda *_, **__: remembered)
    assert temporary_files.status_of(str(path)).st_size == 18
