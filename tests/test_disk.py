"""Files: ranges in any order, publication by rename, and what the file system refuses."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo import disk
from kaiwo.errors import DiskError
from kaiwo.objects import RemoteObject, Transfer
from tests.faulty import MIB, PatternOpener, content, ranges_of, transfer_of
from tests.volumes import Volume, volume


def write_range(path: str, data: bytes | bytearray | memoryview, offset: int) -> None:
    """As a run does it: the file is made once, then its ranges come."""
    if not os.path.exists(path):
        disk.create(path)
    disk.write_range(path, data, offset)


OPENER = PatternOpener(())


def transfer(root: Path, key: str = "deep/er/a.bin") -> Transfer:
    return transfer_of(OPENER, RemoteObject(key, 3), root)


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    before = os.umask(0o022)

    def set_to(mask: int) -> None:
        os.umask(mask)

    yield set_to
    os.umask(before)


# --- writing ----------------------------------------------------------------------------------


def test_ranges_may_be_written_in_any_order(tmp_path: Path) -> None:
    data, path = content(17 * MIB + 5), str(tmp_path / "part")
    ranges = ranges_of(len(data))
    random.Random(3).shuffle(ranges)
    assert ranges != sorted(ranges)
    for start, end in ranges:
        write_range(path, memoryview(data)[start:end], start)
    assert Path(path).read_bytes() == data


def test_a_range_leaves_the_rest_of_the_file_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "part")
    write_range(path, b"0123456789", 0)
    write_range(path, bytearray(b"ab"), 4)
    write_range(path, b"", 7)
    assert Path(path).read_bytes() == b"0123ab6789"


def test_folders_are_made_when_the_first_byte_comes(tmp_path: Path) -> None:
    write_range(str(tmp_path / "a/b/part"), b"x", 0)
    assert disk.write_stream(str(tmp_path / "c/d/part"), [b"x"]) == 1
    assert (tmp_path / "a/b/part").read_bytes() == (tmp_path / "c/d/part").read_bytes() == b"x"


def test_a_stream_replaces_what_an_earlier_one_left(tmp_path: Path) -> None:
    path = str(tmp_path / "part")
    assert disk.write_stream(path, [b"a longer", b" beginning"]) == 18
    assert disk.write_stream(path, [b"new", memoryview(b""), bytearray(b"er")]) == 5
    assert Path(path).read_bytes() == b"newer"
    assert disk.write_stream(path, []) == 0
    assert Path(path).read_bytes() == b""


@pytest.mark.parametrize("error", [ConnectionResetError("by peer"), ZeroDivisionError()])
def test_errors_of_the_stream_itself_pass_through(tmp_path: Path, error: Exception) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"some"
        raise error

    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(type(error)):
        disk.write_stream(str(tmp_path / "part"), chunks())
    assert len(os.listdir("/proc/self/fd")) == open_files


@pytest.mark.parametrize("there", [b"mine", None])
def test_a_link_at_a_temporary_name_is_not_followed(tmp_path: Path, there: bytes | None) -> None:
    victim = tmp_path / "victim"
    if there is not None:
        victim.write_bytes(there)
    (tmp_path / "part").symlink_to(victim)
    with pytest.raises(DiskError):
        write_range(str(tmp_path / "part"), b"x", 0)
    with pytest.raises(DiskError):
        disk.write_stream(str(tmp_path / "part"), [b"x"])
    with pytest.raises(DiskError):
        disk.write_small(str(tmp_path / "part"), b"x")
    assert (victim.read_bytes() if victim.exists() else None) == there


# --- publishing -------------------------------------------------------------------------------


def test_publishing_renames_and_tells_the_modification_time(tmp_path: Path) -> None:
    each = transfer(tmp_path)
    write_range(each.temporary, b"new", 0)
    inode = os.stat(each.temporary).st_ino
    mtime_ns = disk.publish(each.temporary, each)
    status = os.stat(each.target)
    assert (status.st_ino, status.st_mtime_ns) == (inode, mtime_ns)
    assert os.listdir(os.path.dirname(each.target)) == ["a.bin"]


def test_publishing_replaces_a_file_whole_and_spares_who_reads_it(tmp_path: Path) -> None:
    each = transfer(tmp_path)
    write_range(each.temporary, b"new", 0)
    Path(each.target).write_bytes(b"what was there")
    with Path(each.target).open("rb") as reader:
        disk.publish(each.temporary, each)
        assert reader.read() == b"what was there"
    assert Path(each.target).read_bytes() == b"new"


def test_publishing_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    each = transfer(tmp_path, "a")
    (tmp_path / "elsewhere").write_bytes(b"another's")
    (tmp_path / "a").symlink_to("elsewhere")
    write_range(each.temporary, b"new", 0)
    disk.publish(each.temporary, each)
    assert (tmp_path / "elsewhere").read_bytes() == b"another's"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert not (tmp_path / "a").is_symlink()


def test_a_blob_holds_the_bytes_and_the_target_is_a_relative_link(tmp_path: Path) -> None:
    blob = str(tmp_path / "blobs" / "123")
    each = replace(transfer(tmp_path, "snapshots/c0/deep/a.bin"), blob=blob)
    write_range(each.temporary, b"new", 0)
    assert os.path.dirname(each.temporary) == str(tmp_path / "blobs")
    disk.publish(each.temporary, each)
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
    disk.link(replace(transfer(tmp_path, "target"), blob=str(tmp_path / "blob")))
    assert os.readlink(target) == "blob"
    assert (tmp_path / "other").read_bytes() == b"other"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blob", "other", "target"]


def test_a_link_that_cannot_be_put_there_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"new")
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="directory"):
        disk.link(replace(transfer(tmp_path, "target"), blob=str(tmp_path / "blob")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blob", "target"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_modes_follow_the_umask(tmp_path: Path, umask: Callable[[int], None], mask: int) -> None:
    umask(mask)
    for number, write in enumerate((_by_range, _by_stream, _at_once)):
        each = transfer(tmp_path / str(number))
        write(each)
        disk.publish(each.temporary, each)
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
        disk.publish(each.temporary, each)
        assert mode(each.target) == 0o666 & ~mask
    assert mode(folder) == bits


def _by_range(each: Transfer) -> None:
    write_range(each.temporary, b"new", 0)


def _by_stream(each: Transfer) -> None:
    disk.write_stream(each.temporary, [b"new"])


def _at_once(each: Transfer) -> None:
    disk.write_small(each.temporary, b"new")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("data", [b"", b"new", content(MIB)], ids=["empty", "few", "many"])
def test_a_small_file_is_written_at_once_and_anew(
    tmp_path: Path, data: bytes, kind: type[bytes | bytearray | memoryview]
) -> None:
    path = tmp_path / "deep" / "part"
    for before in (None, b"what was there" + data):
        if before is not None:
            path.write_bytes(before)
        disk.write_small(str(path), kind(data))
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
    disk.write_small(str(path), data)
    assert path.read_bytes() == data
    disk.write_range(str(path), data, 2)
    assert path.read_bytes() == data[:2] + data
    disk.write_stream(str(path), [data, memoryview(data)])
    assert path.read_bytes() == data + data


# --- what an earlier run left -----------------------------------------------------------------


def test_an_earlier_runs_file_gets_this_runs_name(tmp_path: Path) -> None:
    old, new = tmp_path / ".kaiwo-1-0.part", tmp_path / ".kaiwo-2-0.part"
    old.write_bytes(b"begun")
    inode = old.stat().st_ino
    assert disk.take_over(str(old), str(new))
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
    assert not disk.take_over(str(old), str(new))
    assert sorted(os.listdir(tmp_path)) == before
    assert victim.read_bytes() == b"another's"


# --- durability -------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The renames and synchronisations that the kernel is asked for, in their order."""
    seen: list[tuple[str, str]] = []
    fsync, replace_, symlink = os.fsync, os.replace, os.symlink

    def syncing(descriptor: int) -> None:
        seen.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def replacing(source: str, target: str) -> None:
        seen.append(("rename", target))
        replace_(source, target)

    def linking(source: str, target: str) -> None:
        seen.append(("link", target))
        symlink(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    monkeypatch.setattr(os, "symlink", linking)
    return seen


def test_a_durable_file_is_synchronised_before_its_rename_and_its_folders_after_it(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    root = tmp_path / "root"
    each = transfer(root, "new/er/a.bin")
    write_range(each.temporary, b"new", 0)
    disk.publish(each.temporary, replace(each, durable=True))
    folders = [str(folder) for folder in (root / "new/er", root / "new", root, tmp_path)]
    assert calls[:2] == [("fsync", each.temporary), ("rename", each.target)]
    assert calls[2:6] == [("fsync", folder) for folder in folders]
    assert Path(each.target).read_bytes() == b"new"


def test_a_durable_link_has_its_folders_synchronised_as_its_blob_has(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    blob = f"{tmp_path}/blobs/1"
    each = replace(transfer(tmp_path, "snapshots/a"), blob=blob)
    write_range(each.temporary, b"new", 0)
    disk.publish(each.temporary, replace(each, durable=True))
    assert calls[:2] == [("fsync", each.temporary), ("rename", blob)]
    last_name = calls.index(("rename", each.target))
    for folder in ("blobs", "snapshots"):
        assert calls.index(("fsync", f"{tmp_path}/{folder}")) > last_name
    assert calls.index(("fsync", str(tmp_path))) > last_name


def test_nothing_is_synchronised_unless_it_is_wanted(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    each = transfer(tmp_path)
    write_range(each.temporary, b"new", 0)
    disk.publish(each.temporary, each)
    assert calls == [("rename", each.target)]


def test_what_cannot_be_synchronised_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    each = transfer(tmp_path)
    write_range(each.temporary, b"new", 0)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(DiskError, match=os.strerror(errno.EIO)):
        disk.publish(each.temporary, replace(each, durable=True))
    assert not os.path.lexists(each.target)


def test_what_a_network_file_system_tells_when_a_file_is_closed_is_a_disk_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def failing(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    path = str(tmp_path / "part")
    disk.create(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "close", failing)
        for write in (
            lambda: disk.write_range(path, b"12", 0),
            lambda: disk.write_stream(path, [b"1", b"2"]),
            lambda: disk.write_small(path, b"12"),
        ):
            message = refused(errno.EDQUOT, path, write)
            assert "2 bytes were to be written" in message
            assert "quota" in message


# --- looking ----------------------------------------------------------------------------------


def test_only_a_regular_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = {name: disk.regular_file(str(tmp_path / name)) for name in os.listdir(tmp_path)}
    assert {name for name, status in found.items() if status} == {"file", "link"}
    assert disk.regular_file(str(tmp_path / "file" / "below")) is None
    assert disk.regular_file(str(tmp_path / "nothing")) is None


def test_discarding_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"x")
    disk.discard(str(path))
    disk.discard(str(path))
    assert not path.exists()


# --- errors -----------------------------------------------------------------------------------


def refused(number: int, path: str | Path, action: Callable[[], object]) -> str:
    """The message of the disk error that the action has to end with."""
    with pytest.raises(DiskError) as caught:
        action()
    message = caught.value.message
    assert message.startswith(f"cannot write {path}: {os.strerror(number)}")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == number
    return message


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Volume]:
    """A file system of 64 KiB."""
    with volume(tmp_path / "tiny", "size=64k,nr_inodes=10") as made:
        yield made


def test_a_full_disk_says_so_and_what_to_do(tiny: Volume) -> None:
    path = str(tiny.seen / "part")
    for write in (
        lambda: write_range(path, bytes(100_000), 0),
        lambda: disk.write_stream(path, [bytes(10_000)] * 10),
        lambda: disk.write_small(path, bytes(100_000)),
    ):
        message = refused(errno.ENOSPC, path, write)
        assert "bytes were to be written" in message
        assert "; 0 bytes and " in message
        assert "free some space" in message
        disk.discard(path)


def test_a_disk_without_inodes_says_so(tiny: Volume) -> None:
    paths = [str(tiny.seen / f"part{number}") for number in range(10)]
    for path in paths[:9]:
        disk.write_stream(path, [])
    message = refused(errno.ENOSPC, paths[9], lambda: disk.write_stream(paths[9], []))
    assert " and 0 inodes are free there" in message


def test_a_read_only_disk_says_so_and_what_to_do(tiny: Volume) -> None:
    each = transfer(tiny.seen, "a")
    write_range(each.temporary, b"new", 0)
    tiny.remount("ro")
    path = str(tiny.seen / "part")
    assert "writable" in refused(errno.EROFS, path, lambda: write_range(path, b"x", 0))
    assert "writable" in refused(
        errno.EROFS, each.target, lambda: disk.publish(each.temporary, each)
    )


_TOO_LARGE = """
import resource, sys
from kaiwo import disk
from kaiwo.errors import DiskError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
disk.create(sys.argv[1])
for write in (
    lambda path: disk.write_range(path, bytes(2000), 0),
    lambda path: disk.write_stream(path, [bytes(600)] * 3),
):
    try:
        write(sys.argv[1])
    except DiskError as error:
        print(error.exit_code, error.message)
"""


def test_a_file_that_grows_too_large_is_a_disk_error(tmp_path: Path) -> None:
    path = str(tmp_path / "part")
    command = [sys.executable, "-c", _TOO_LARGE, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    reason = f"6 cannot write {path}: {os.strerror(errno.EFBIG)}"
    for line, size in zip(done.stdout.splitlines(), ("2,000", "600"), strict=True):
        assert line.startswith(f"{reason} ({size} bytes were to be written; ")
        assert "ulimit -f" in line
    assert os.path.getsize(path) == 1_000


_TOO_MANY = """
import os, resource, sys
from kaiwo import disk
from kaiwo.errors import DiskError
disk.create(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for write in (disk.create, lambda path: disk.write_range(path, b"x", 0)):
    try:
        write(sys.argv[1])
    except DiskError as error:
        print(error.exit_code, error.message)
"""


def test_too_many_open_files_are_told_with_their_limit(tmp_path: Path) -> None:
    path = str(tmp_path / "part")
    command = [sys.executable, "-c", _TOO_MANY, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count(f"6 cannot write {path}: {os.strerror(errno.EMFILE)} (") == 2
    assert done.stdout.count("the limit is 50; raise the limit of open files") == 2


_NOT_MINE = """
import sys
from kaiwo import disk
from kaiwo.errors import DiskError
for write in (disk.create, lambda path: disk.write_stream(path, [b"x"])):
    try:
        write(sys.argv[1])
    except DiskError as error:
        print(error.exit_code, error.message)
"""


def test_a_folder_of_another_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    path = str(folder / "part")
    # Root without its right to overlook permissions is like anybody.
    lost = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    command = [*(lost if os.geteuid() == 0 else ()), sys.executable, "-c", _NOT_MINE, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    reason = f"6 cannot write {path}: {os.strerror(errno.EACCES)}"
    assert done.stdout == f"{reason} (give this user the right to write there)\n" * 2


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = str(tmp_path / "file" / "part")
    message = refused(errno.ENOTDIR, path, lambda: write_range(path, b"x", 0))
    assert "a file is where a folder is needed" in message


def test_a_file_where_a_folder_has_to_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = str(tmp_path / "file" / "deep" / "part")
    message = refused(errno.ENOTDIR, path, lambda: disk.write_stream(path, [b"x"]))
    assert "a file is where a folder is needed" in message


def test_a_link_to_nowhere_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere/at/all")
    path = str(tmp_path / "link" / "part")
    with pytest.raises(DiskError):
        write_range(path, b"x", 0)


def test_a_folder_where_the_file_should_go(tmp_path: Path) -> None:
    each = transfer(tmp_path, "a")
    (tmp_path / "a").mkdir()
    write_range(each.temporary, b"new", 0)
    message = refused(errno.EISDIR, each.target, lambda: disk.publish(each.temporary, each))
    assert "a folder is where the file should go" in message
    assert Path(each.temporary).read_bytes() == b"new"


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 300))
    message = refused(errno.ENAMETOOLONG, path, lambda: write_range(path, b"x", 0))
    assert "shorter" in message


def test_publishing_what_is_not_there_is_a_disk_error(tmp_path: Path) -> None:
    each = transfer(tmp_path, "a")
    refused(errno.ENOENT, each.target, lambda: disk.publish(each.temporary, each))


def test_an_error_without_a_number_still_has_a_reason() -> None:
    assert disk.disk_error(OSError("odd"), "/a").message == "cannot write /a: OSError"
