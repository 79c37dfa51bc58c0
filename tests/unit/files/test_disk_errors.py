"""Disk errors: what the file system refuses, by which numbers, and what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaiwo.errors import DiskError
from kaiwo.files import temporary_files
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.publish import publish
from tests.support.volumes import Volume, volume
from tests.unit.files.writing import refused, transfer, write_range


def test_what_a_network_file_system_tells_when_a_file_is_closed_is_a_disk_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def failing(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    path = str(tmp_path / "part")
    temporary_files.create(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "close", failing)
        for write in (
            lambda: temporary_files.write_range(path, [b"12"], 0),
            lambda: temporary_files.write_stream(path, [b"1", b"2"]),
            lambda: temporary_files.write_small(path, b"12"),
        ):
            message = refused(errno.EDQUOT, path, write)
            assert "2 bytes were to be written" in message
            assert "quota" in message


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Volume]:
    """A file system of 64 KiB."""
    with volume(tmp_path / "tiny", "size=64k,nr_inodes=10") as made:
        yield made


def test_a_full_disk_says_so_and_what_to_do(tiny: Volume) -> None:
    path = str(tiny.seen / "part")
    for write in (
        lambda: write_range(path, [bytes(100_000)], 0),
        lambda: temporary_files.write_stream(path, [bytes(10_000)] * 10),
        lambda: temporary_files.write_small(path, bytes(100_000)),
    ):
        message = refused(errno.ENOSPC, path, write)
        assert "bytes were to be written" in message
        assert "; 0 bytes and " in message
        assert "free some space" in message
        temporary_files.discard(path)


def test_a_disk_without_inodes_says_so(tiny: Volume) -> None:
    paths = [str(tiny.seen / f"part{number}") for number in range(10)]
    for path in paths[:9]:
        temporary_files.write_stream(path, [])
    message = refused(errno.ENOSPC, paths[9], lambda: temporary_files.write_stream(paths[9], []))
    assert " and 0 inodes are free there" in message


def test_a_read_only_disk_says_so_and_what_to_do(tiny: Volume) -> None:
    each = transfer(tiny.seen, "a")
    write_range(each.temporary, [b"new"], 0)
    tiny.remount("ro")
    path = str(tiny.seen / "part")
    assert "writable" in refused(errno.EROFS, path, lambda: write_range(path, [b"x"], 0))
    assert "writable" in refused(errno.EROFS, each.target, lambda: publish(each.temporary, each))


_TOO_LARGE = """
import resource, sys
from kaiwo.files import temporary_files
from kaiwo.errors import DiskError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
temporary_files.create(sys.argv[1])
for write in (
    lambda path: temporary_files.write_range(path, [bytes(2000)], 0),
    lambda path: temporary_files.write_stream(path, [bytes(600)] * 3),
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
from kaiwo.files import temporary_files
from kaiwo.errors import DiskError
temporary_files.create(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for write in (temporary_files.create, lambda path: temporary_files.write_range(path, [b"x"], 0)):
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
from kaiwo.files import temporary_files
from kaiwo.errors import DiskError
for write in (temporary_files.create, lambda path: temporary_files.write_stream(path, [b"x"])):
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
    message = refused(errno.ENOTDIR, path, lambda: write_range(path, [b"x"], 0))
    assert "a file is where a folder is needed" in message


def test_a_file_where_a_folder_has_to_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = str(tmp_path / "file" / "deep" / "part")
    message = refused(errno.ENOTDIR, path, lambda: temporary_files.write_stream(path, [b"x"]))
    assert "a file is where a folder is needed" in message


def test_a_link_to_nowhere_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere/at/all")
    path = str(tmp_path / "link" / "part")
    with pytest.raises(DiskError):
        write_range(path, [b"x"], 0)


def test_a_folder_where_the_file_should_go(tmp_path: Path) -> None:
    each = transfer(tmp_path, "a")
    (tmp_path / "a").mkdir()
    write_range(each.temporary, [b"new"], 0)
    message = refused(errno.EISDIR, each.target, lambda: publish(each.temporary, each))
    assert "a folder is where the file should go" in message
    assert Path(each.temporary).read_bytes() == b"new"


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 300))
    message = refused(errno.ENAMETOOLONG, path, lambda: write_range(path, [b"x"], 0))
    assert "shorter" in message


def test_publishing_what_is_not_there_is_a_disk_error(tmp_path: Path) -> None:
    each = transfer(tmp_path, "a")
    refused(errno.ENOENT, each.target, lambda: publish(each.temporary, each))


def test_an_error_without_a_number_still_has_a_reason() -> None:
    assert disk_error(OSError("odd"), "/a").message == "cannot write /a: OSError"
