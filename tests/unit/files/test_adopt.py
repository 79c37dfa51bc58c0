"""What is in place already is adopted as it is: a link is made only where one is missing.

And what an earlier attempt has left is in the way of neither a link nor a temporary file.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.files import publish, temporary_files
from kaiwo.jobs import Transfer
from kaiwo.objects import RemoteObject
from tests.support.faulty import PatternOpener, transfer_of


@pytest.fixture
def adopted(tmp_path: Path) -> Transfer:
    """A transfer whose target is a link to a blob."""
    (tmp_path / "blobs").mkdir()
    each = transfer_of(PatternOpener(()), RemoteObject("a", 5), tmp_path)
    return replace(each, blob=str(tmp_path / "blobs" / "1"))


def test_a_link_to_the_blob_stays_the_same_link(adopted: Transfer, tmp_path: Path) -> None:
    (tmp_path / "blobs" / "1").write_bytes(b"bytes")
    target = tmp_path / "a"
    target.symlink_to("blobs/1")
    before = target.lstat()
    publish.adopt(adopted, str(adopted.blob))
    assert (target.lstat().st_ino, target.lstat().st_ctime_ns) == (
        before.st_ino,
        before.st_ctime_ns,
    )


@pytest.mark.parametrize("before", ["nothing", "file", "dangling link", "another link"])
def test_anything_else_becomes_a_link_to_the_blob(
    adopted: Transfer, tmp_path: Path, before: str
) -> None:
    (tmp_path / "blobs" / "1").write_bytes(b"bytes")
    target = tmp_path / "a"
    if before == "file":
        target.write_bytes(b"other")
    elif before != "nothing":
        (tmp_path / "blobs" / "2").write_bytes(b"other")
        target.symlink_to("blobs/2" if before == "another link" else "blobs/3")
    publish.adopt(adopted, str(adopted.blob))
    assert target.readlink() == Path("blobs/1")


def test_a_file_without_a_blob_behind_it_stays_a_file(adopted: Transfer, tmp_path: Path) -> None:
    """As on a file system without links."""
    target = tmp_path / "a"
    target.write_bytes(b"bytes")
    publish.adopt(adopted, str(adopted.blob))
    assert (target.is_symlink(), target.read_bytes()) == (False, b"bytes")


def test_a_link_that_an_earlier_attempt_left_is_in_nobodys_way(
    adopted: Transfer, tmp_path: Path
) -> None:
    """It would look like a file system without links."""
    (tmp_path / "blobs" / "1").write_bytes(b"bytes")
    (tmp_path / f"{Path(adopted.temporary).stem}.link").symlink_to("elsewhere")
    publish.link(adopted)
    assert (tmp_path / "a").readlink() == Path("blobs/1")
    assert (tmp_path / "blobs" / "1").read_bytes() == b"bytes"
    assert sorted(os.listdir(tmp_path)) == ["a", "blobs"]


def test_where_there_are_no_links_the_bytes_themselves_go_there(
    adopted: Transfer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    (tmp_path / "blobs" / "1").write_bytes(b"bytes")
    monkeypatch.setattr(os, "symlink", refuse)
    publish.link(adopted)
    target = tmp_path / "a"
    assert (target.is_symlink(), target.read_bytes()) == (False, b"bytes")


def test_a_temporary_file_begins_empty(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"of an earlier attempt")
    temporary_files.create(str(tmp_path / "part"))
    assert (tmp_path / "part").read_bytes() == b""
