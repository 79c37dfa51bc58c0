"""Failures of a file system that pass are repeated; a rename that happened is no failure."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo.errors import DiskError, PassingDiskError, RangeIgnoredError
from kaiwo.files import documents, inherited_files, repeat, temporary_files
from kaiwo.files.paths import regular_file
from kaiwo.files.publish import publish
from kaiwo.files.renames import rename
from kaiwo.state.json_lines import Appender, Reader, header_of
from kaiwo.workers.verify import hash_file
from tests.support.faulty import LARGE, content, fails, files, large, run_store
from tests.unit.files.writing import transfer, write_range

NUMBERS = [errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO]


@pytest.fixture(autouse=True)
def _hopeful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No earlier failure counts."""
    monkeypatch.setattr(repeat, "patience", repeat.Patience())


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lets the next call of the system fail, before it did anything or after."""

    def once(name: str, number: int, *, after: bool = False, module: Any = os) -> list[str]:
        real, seen = getattr(module, name), []

        def failing(*arguments: Any, **options: Any) -> Any:
            seen.append(name)
            if len(seen) > 1:
                return real(*arguments, **options)
            if after:
                real(*arguments, **options)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(module, name, failing)
        return seen

    return once


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("call", ["open", "pwrite", "replace", "stat"])
def test_what_fails_once_arrives(
    tmp_path: Path, once: Callable[..., list[str]], number: int, call: str
) -> None:
    each = transfer(tmp_path)
    (tmp_path / "deep/er").mkdir(parents=True)
    seen = once(call, number)
    temporary_files.write_small(each.temporary, b"new")
    publish(each.temporary, each)
    assert len(seen) > 1
    assert Path(each.target).read_bytes() == b"new"
    assert os.listdir(tmp_path / "deep/er") == ["a.bin"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("call", ["open", "pwrite", "close"])
def test_a_range_is_written_again(
    tmp_path: Path, once: Callable[..., list[str]], number: int, call: str
) -> None:
    path = str(tmp_path / "part")
    temporary_files.create(path)
    seen = once(call, number, after=call == "close")
    write_range(path, [b"range"], 3)
    assert len(seen) > 1
    assert Path(path).read_bytes() == b"\0\0\0range"


@pytest.mark.parametrize("call", ["pwrite", "close"])
def test_a_stream_cannot_be_written_again_and_comes_once_more(
    tmp_path: Path, once: Callable[..., list[str]], call: str
) -> None:
    once(call, errno.EIO, after=call == "close")
    with pytest.raises(PassingDiskError, match=os.strerror(errno.EIO)):
        temporary_files.write_stream(str(tmp_path / "part"), [b"a", b"b"])


def test_an_object_whose_stream_met_such_a_failure_is_fetched(
    tmp_path: Path, once: Callable[..., list[str]]
) -> None:
    store = large()
    store.script(("big", 0), fails(RangeIgnoredError("200")))
    seen = once("pwrite", errno.ESTALE)
    result = run_store(store, tmp_path)
    assert len(seen) > 1
    assert result.report.exit_code == 0
    assert files(tmp_path) == {"big": content(LARGE)}


@pytest.mark.parametrize("number", [errno.ENOENT, *NUMBERS])
def test_a_rename_that_happened_is_no_failure(
    tmp_path: Path, once: Callable[..., list[str]], number: int
) -> None:
    (tmp_path / "old").write_bytes(b"new")
    (tmp_path / "new").write_bytes(b"what was there")
    once("replace", number, after=True)
    rename(str(tmp_path / "old"), str(tmp_path / "new"))
    assert (tmp_path / "new").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["new"]


def test_a_rename_of_what_somebody_removed_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def removing(source: str, target: str, **folders: int | None) -> None:
        os.unlink(source)
        real(source, target, **folders)

    (tmp_path / "old").write_bytes(b"new")
    (tmp_path / "new").write_bytes(b"what was there")
    monkeypatch.setattr(os, "replace", removing)
    with pytest.raises(FileNotFoundError):
        rename(str(tmp_path / "old"), str(tmp_path / "new"))
    assert (tmp_path / "new").read_bytes() == b"what was there"


def test_a_document_and_an_earlier_runs_file_are_renamed_so(
    tmp_path: Path, once: Callable[..., list[str]]
) -> None:
    once("replace", errno.ENOENT, after=True)
    documents.write(str(tmp_path / "report"), ["text"])
    assert (tmp_path / "report").read_text() == "text"
    (tmp_path / "old").write_bytes(b"begun")
    once("replace", errno.ENOENT, after=True)
    assert inherited_files.take_over(str(tmp_path / "old"), str(tmp_path / "new"))


def test_what_is_there_is_found_in_spite_of_such_a_failure(
    tmp_path: Path, once: Callable[..., list[str]]
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"bytes")
    once("stat", errno.ESTALE)
    assert regular_file(str(path)) is not None


def test_a_file_is_hashed_in_spite_of_such_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data, real = tmp_path / "a", content(3 << 20), open
    failed: list[object] = []

    def opening(*arguments: Any, **options: Any) -> Any:
        if len(failed) < 2:
            failed.append(arguments)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(*arguments, **options)

    path.write_bytes(data)
    monkeypatch.setattr("builtins.open", opening)
    found = hash_file("md5", path=str(path), size=len(data))
    assert found is not None
    assert found.value == hashlib.md5(data).hexdigest()


def test_an_io_error_of_fsync_is_never_repeated(
    tmp_path: Path, once: Callable[..., list[str]]
) -> None:
    """The kernel forgets what it could not store: the next call says that all is well."""
    each = transfer(tmp_path)
    temporary_files.write_small(each.temporary, b"new")
    seen = once("fsync", errno.EIO)
    with pytest.raises(DiskError):
        publish(each.temporary, replace(each, durable=True))
    assert len(seen) == 1


def test_a_volume_that_does_not_recover_costs_its_pauses_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", failing)
    # Pauses, not the time: a busy machine takes longer for the files themselves.
    pauses_s: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses_s.append)
    for number in range(100):
        with pytest.raises(DiskError):
            temporary_files.write_small(str(tmp_path / f"{number}"), b"x")
    assert pauses_s == [*repeat.PAUSES_S]


# --- the state ----------------------------------------------------------------------------------

HEADER = header_of("test", 1)


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Appender]:
    appender = Appender(str(tmp_path / "lines"), HEADER, "nothing")
    yield appender
    appender.close()


def read(path: Path) -> list[bytes]:
    found: list[bytes] = []
    assert Reader(str(path), HEADER).read(found.append)
    return found


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("call", ["open", "write"])
def test_a_line_is_appended_in_spite_of_such_a_failure(
    tmp_path: Path, once: Callable[..., list[str]], lines: Appender, number: int, call: str
) -> None:
    lines.append(b"first\n")
    if call == "open":
        lines.close()
    once(call, number)
    lines.append(b"second\n")
    assert not lines.has_failed
    assert read(tmp_path / "lines") == [b"first\n", b"second\n"]


def test_a_write_that_is_cut_short_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Appender
) -> None:
    lines.append(b"first\n")
    real, sizes = os.write, iter([4])
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[: next(sizes, None)]))
    lines.append(b"second\nthird\n")
    assert not lines.has_failed
    assert read(tmp_path / "lines") == [b"first\n", b"seco\n", b"second\n", b"third\n"]


def test_a_header_that_is_cut_short_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: Appender
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:4]))
    lines.append(b"first\n")
    assert lines.has_failed
    assert read(tmp_path / "lines") == []


def test_lines_are_read_once_in_spite_of_such_a_failure(
    tmp_path: Path, once: Callable[..., list[str]], lines: Appender
) -> None:
    lines.append(b"first\nsecond\n")
    once("fstat", errno.ESTALE)
    assert read(tmp_path / "lines") == [b"first\n", b"second\n"]
