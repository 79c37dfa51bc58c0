"""The manifest: what it holds, and what it survives."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pickle
import stat
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.jobs import Transfer
from kaiwo.objects import Answer, Checksum, RemoteObject, same_bytes
from kaiwo.protocols import Opener
from kaiwo.state.folder import manifest_path
from kaiwo.state.manifest import Manifest
from kaiwo.state.records import sealed
from kaiwo.state.state import State
from tests.support.faulty import (
    PATIENCE_S,
    FaultyOpener,
    FaultyStore,
    PatternOpener,
    held_by,
    put,
    transfer_of,
)

OPENER = PatternOpener((), None)


def transfer(root: Path, key: str = "a.bin", opener: Opener = OPENER) -> Transfer:
    remote = RemoteObject(key, len(key.encode()), f"etag of {key}", "7", Checksum("md5", "0" * 32))
    return transfer_of(opener, remote, root)


def remember(root: Path, *transfers: Transfer, state_dir: str | None = None) -> None:
    manifest = Manifest(str(root), state_dir)
    for each in transfers:
        manifest.remember([put(each, each.object.key.encode())])
    manifest.close()


def held(root: Path, transfers: Sequence[Transfer], state_dir: str | None = None) -> list[bool]:
    manifest = Manifest(str(root), state_dir)
    found = [held_by(manifest, each) is not None for each in transfers]
    manifest.close()
    return found


def path_of(root: Path) -> Path:
    return Path(manifest_path(str(root)))


def test_what_is_remembered_is_held_by_the_next_run(tmp_path: Path) -> None:
    each = transfer(tmp_path, "deep/ñ 日本 [red].bin")
    remember(tmp_path, each)
    record = held_by(Manifest(str(tmp_path)), each)
    assert record is not None
    assert (record.origin, record.source) == (OPENER.origin, each.source)
    assert same_bytes(record.object, each.object)
    assert record.checksum == each.object.checksum
    assert record.mtime_ns == os.stat(each.target).st_mtime_ns


def test_a_name_that_is_no_unicode_is_held_too(tmp_path: Path) -> None:
    target = transfer(tmp_path)
    each = replace(target, target=str(tmp_path) + "/" + os.fsdecode(b"latin-\xf1"))
    remember(tmp_path, each)
    assert held(tmp_path, [each]) == [True]


def test_an_unverified_file_is_held_without_a_checksum(tmp_path: Path) -> None:
    each = transfer(tmp_path)
    manifest = Manifest(str(tmp_path))
    manifest.remember([replace(put(each, b"a.bin"), verified=False)])
    manifest.close()
    record = held_by(Manifest(str(tmp_path)), each)
    assert record is not None
    assert record.checksum is None


def test_an_object_without_etag_version_and_checksum_is_held(tmp_path: Path) -> None:
    each = replace(transfer(tmp_path), object=RemoteObject("a.bin", 5))
    remember(tmp_path, each)
    assert held(tmp_path, [each]) == [True]


def test_the_last_record_of_a_target_counts(tmp_path: Path) -> None:
    old = transfer(tmp_path)
    new = replace(old, object=replace(old.object, etag="another"))
    remember(tmp_path, old)
    remember(tmp_path, new)
    record = held_by(Manifest(str(tmp_path)), old)
    assert record is not None
    assert record.etag == "another"


def test_without_a_manifest_nothing_is_held_and_nothing_is_made(tmp_path: Path) -> None:
    assert held(tmp_path, [transfer(tmp_path)]) == [False]
    assert list(tmp_path.iterdir()) == []


def test_the_format_is_the_one_that_is_documented(tmp_path: Path) -> None:
    each = transfer(tmp_path, "deep/a.bin")
    remember(tmp_path, each)
    assert path_of(tmp_path) == tmp_path / ".kaiwo" / "manifest.jsonl"
    header, line = map(json.loads, path_of(tmp_path).read_text().splitlines())
    assert header == {"kaiwo-manifest": 1}
    before = path_of(tmp_path).read_bytes().splitlines()[1].partition(b', "crc32"')[0]
    assert line == {
        "target": "deep/a.bin",
        "origin": OPENER.origin,
        "source": "pattern://bucket/deep/a.bin",
        "size": 10,
        "etag": "etag of deep/a.bin",
        "version": "7",
        "mtime_ns": os.stat(each.target).st_mtime_ns,
        "checksum": ["md5", "0" * 32],
        "modified_ns": None,
        "variant": None,
        "checked": True,
        "crc32": f"{zlib.crc32(before):08x}",
    }


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_only_its_owner_may_read_it(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        remember(tmp_path, transfer(tmp_path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path_of(tmp_path).stat().st_mode) == 0o600


def test_a_state_folder_elsewhere_keeps_roots_apart_and_clean(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    first, second = transfer(tmp_path / "1"), transfer(tmp_path / "2")
    remember(tmp_path / "1", first, state_dir=state)
    assert held(tmp_path / "1", [first], state) == [True]
    assert held(tmp_path / "2", [second], state) == [False]
    assert not (tmp_path / "1" / ".kaiwo").exists()


def test_memory_reads_each_manifest_once_and_gives_it_back(tmp_path: Path) -> None:
    memory = State()
    manifest = memory.manifest(str(tmp_path))
    manifest.remember([put(transfer(tmp_path), b"a.bin")])
    assert memory.manifest(str(tmp_path)) is manifest
    open_files = len(os.listdir("/proc/self/fd"))
    memory.close()
    assert len(os.listdir("/proc/self/fd")) == open_files - 1


def test_several_are_remembered_in_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfers = [transfer(tmp_path, f"f{number}") for number in range(20)]
    outcomes = [put(each, each.object.key.encode()) for each in transfers]
    manifest, written, write = Manifest(str(tmp_path)), [], os.write
    manifest.remember(outcomes[:1])

    def noted(descriptor: int, data: bytes) -> int:
        written.append(data)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", noted)
    manifest.remember(iter(outcomes[1:]))
    manifest.close()
    (lines,) = written
    assert lines.count(b"\n") == 19
    assert all(held(tmp_path, transfers))


def test_memory_sorts_what_it_is_told_by_roots(tmp_path: Path) -> None:
    roots = [tmp_path / "1", tmp_path / "2"]
    transfers = [transfer(roots[number % 2], f"f{number}") for number in range(9)]
    memory = State()
    memory.remember(put(each, each.object.key.encode()) for each in transfers)
    memory.close()
    for number, root in enumerate(roots):
        own = transfers[number::2]
        assert held(root, own) == [True] * len(own)
        assert len(path_of(root).read_text().splitlines()) == 1 + len(own)


# --- what is not held -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    ["origin", "source", "longer", "touched", "removed", "folder"],
)
def test_what_differs_in_anything_is_not_held(tmp_path: Path, change: str) -> None:
    each = transfer(tmp_path)
    remember(tmp_path, each)
    assert held(tmp_path, [each]) == [True]
    path, remote = Path(each.target), each.object
    match change:
        case "origin":
            each = replace(each, opener=dataclasses.replace(OPENER, origin="pattern://another"))
        case "source":
            each = replace(each, object=replace(remote, key="another/a.bin"))
        case "longer":
            status = path.stat()
            path.write_bytes(b"a.bin and more")
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        case "touched":
            os.utime(path, ns=(1, 1))
        case "removed":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
    assert held(tmp_path, [each]) == [False]


# --- what it survives -------------------------------------------------------------------------


def test_torn_at_any_byte_it_holds_the_whole_lines_and_goes_on(tmp_path: Path) -> None:
    transfers = [transfer(tmp_path, key) for key in ("a", "deep/b", "ñ")]
    later = transfer(tmp_path, "later")
    remember(tmp_path, *transfers)
    whole = path_of(tmp_path).read_bytes()
    ends = [end + 1 for end, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[0], len(whole)):
        path_of(tmp_path).write_bytes(whole[:cut])
        # A line that lacks only its end is as good as whole.
        expected = [cut >= end - 1 for end in ends[1:]]
        assert held(tmp_path, transfers) == expected, cut
        remember(tmp_path, later)
        assert held(tmp_path, [*transfers, later]) == [*expected, True], cut


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_torn_in_its_first_line_it_is_begun_anew(tmp_path: Path, cut: int) -> None:
    # Killed, or out of space, between making the file and writing its first line.
    each = transfer(tmp_path)
    remember(tmp_path, each)
    path_of(tmp_path).write_bytes(path_of(tmp_path).read_bytes()[:cut])
    assert held(tmp_path, [each]) == [False]
    remember(tmp_path, each)
    assert held(tmp_path, [each]) == [True]


GARBAGE = {
    "empty": b"",
    "zeros": b"\0" * 100,
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe\x80",
    "no object": b'["target"]',
    "a number": b"17",
    "null": b"null",
    "NaN": b"NaN",
    "no field": b"{}",
    "wrong type": b'{"target": 1, "origin": 2, "source": 3, "size": "4"}',
    "long number": b"1" * 10_000,
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "long": b'{"target": "' + b"x" * 1_000_000 + b'"}',
    "a header": b'{"kaiwo-manifest": 1}',
    "a later header": b'{"kaiwo-manifest": 2}',
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_lines_of_garbage_are_skipped(tmp_path: Path, garbage: bytes) -> None:
    first, second = transfer(tmp_path, "first"), transfer(tmp_path, "second")
    remember(tmp_path, first)
    with path_of(tmp_path).open("ab") as file:
        file.write(garbage + b"\n")
    remember(tmp_path, second)
    assert held(tmp_path, [first, second]) == [True, True]


@pytest.mark.parametrize("field", ["target", "origin", "source", "size", "etag", "mtime_ns"])
def test_a_record_with_a_field_of_another_type_is_skipped(tmp_path: Path, field: str) -> None:
    each = transfer(tmp_path)
    remember(tmp_path, each)
    header, line = path_of(tmp_path).read_text().splitlines()
    document = json.loads(line) | {field: {"not": "this"}}
    del document["crc32"]
    path_of(tmp_path).write_bytes(f"{header}\n".encode() + sealed(json.dumps(document).encode()))
    assert held(tmp_path, [each]) == [False]


def test_a_line_of_which_any_byte_is_another_is_skipped(tmp_path: Path) -> None:
    each, other = transfer(tmp_path), transfer(tmp_path, "b.bin")
    remember(tmp_path, each, other)
    header, line, last = path_of(tmp_path).read_bytes().splitlines(keepends=True)
    for number in range(len(line) - 1):
        damaged = line[:number] + bytes([line[number] ^ 1]) + line[number + 1 :]
        path_of(tmp_path).write_bytes(header + damaged + last)
        assert held(tmp_path, [each, other]) == [False, True], damaged


def test_a_field_that_a_later_kaiwo_adds_does_no_harm(tmp_path: Path) -> None:
    each = transfer(tmp_path)
    remember(tmp_path, each)
    header, line = path_of(tmp_path).read_text().splitlines()
    document = json.loads(line) | {"new": [1, 2, 3]}
    del document["crc32"]
    path_of(tmp_path).write_bytes(f"{header}\n".encode() + sealed(json.dumps(document).encode()))
    assert held(tmp_path, [each]) == [True]


@pytest.mark.parametrize(
    "header", ['{"kaiwo-manifest": 2}', '{"kaiwo-manifest": 1, "more": 1}', "something else", "[]"]
)
def test_another_version_is_neither_believed_nor_touched(
    tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    each = transfer(tmp_path)
    remember(tmp_path, each)
    _, line = path_of(tmp_path).read_text().splitlines()
    foreign = f"{header}\n{line}\n"
    path_of(tmp_path).write_text(foreign)
    with caplog.at_level(logging.WARNING, "kaiwo"):
        assert held(tmp_path, [each]) == [False]
    assert str(path_of(tmp_path)) in caplog.text
    remember(tmp_path, each)
    assert path_of(tmp_path).read_text() == foreign


def test_a_manifest_that_cannot_be_read_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path_of(tmp_path).mkdir(parents=True)
    each = transfer(tmp_path)
    with caplog.at_level(logging.WARNING, "kaiwo"):
        assert held(tmp_path, [each]) == [False]
    assert str(path_of(tmp_path)) in caplog.text


def test_a_state_folder_that_cannot_be_made_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = Manifest(str(tmp_path))
    (tmp_path / ".kaiwo").write_bytes(b"in the way")
    with caplog.at_level(logging.WARNING, "kaiwo"):
        for _ in range(3):
            manifest.remember([put(transfer(tmp_path), b"a.bin")])
    (message,) = caplog.messages
    assert "manifest.jsonl" in message


def test_no_secret_of_the_source_is_in_it(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"secret bytes"})
    opener = FaultyOpener(store)
    each = transfer_of(opener, store.remote("a"), tmp_path)
    remember(tmp_path, each)
    assert b"secret" not in path_of(tmp_path).read_bytes()


# --- two at once ------------------------------------------------------------------------------


def _write(root: str, name: str, count: int) -> None:
    manifest = Manifest(root)
    for number in range(count):
        each = transfer(Path(root), f"{name}{number}")
        manifest.remember([put(each, each.object.key.encode())])
    manifest.close()


def test_two_writers_in_turn_do_not_lose_a_line(tmp_path: Path) -> None:
    first, second = Manifest(str(tmp_path)), Manifest(str(tmp_path))
    transfers = [transfer(tmp_path, f"f{number}") for number in range(10)]
    for number, each in enumerate(transfers):
        (first, second)[number % 2].remember([put(each, each.object.key.encode())])
    first.close()
    second.close()
    assert held(tmp_path, transfers) == [True] * 10


def test_writers_that_begin_together_do_not_lose_a_line(tmp_path: Path) -> None:
    names = "abcdefgh"
    together = threading.Barrier(len(names))

    def write(root: Path, key: str) -> None:
        manifest, each = Manifest(str(root)), transfer(root, key)
        outcome = put(each, key.encode())
        together.wait(PATIENCE_S)
        manifest.remember([outcome])
        manifest.close()

    # They meet where the file is made; what a race does there shows in some of the rounds only.
    with ThreadPoolExecutor(len(names)) as pool:
        for number in range(150):
            root = tmp_path / str(number)
            for done in [pool.submit(write, root, key) for key in names]:
                done.result(PATIENCE_S)
            assert all(held(root, [transfer(root, key) for key in names]))


def test_two_processes_at_once_do_not_lose_a_line(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(_write, str(tmp_path), name, 300) for name in "ab"]:
            done.result(60)
    transfers = [transfer(tmp_path, f"{name}{number}") for name in "ab" for number in range(300)]
    assert all(held(tmp_path, transfers))


def test_a_writer_goes_on_after_another_was_killed_in_its_line(tmp_path: Path) -> None:
    first, second = Manifest(str(tmp_path)), Manifest(str(tmp_path))
    transfers = [transfer(tmp_path, f"f{number}") for number in range(4)]
    for number in (0, 1):
        (first, second)[number].remember([put(transfers[number], b"f0")])
    first.close()
    with path_of(tmp_path).open("ab") as file:
        file.write(b'{"target": "torn')
    for number in (2, 3):
        second.remember([put(transfers[number], b"f0")])
    second.close()
    assert held(tmp_path, transfers)[::3] == [True, True]


# --- reading on -------------------------------------------------------------------------------


def test_a_refresh_finds_what_another_run_appended_and_reads_only_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (transfer(tmp_path, key) for key in ("first", "second", "third"))
    remember(tmp_path, first)
    manifest, parsed = Manifest(str(tmp_path)), []
    real = zlib.crc32

    def counted(line: bytes) -> int:
        parsed.append(line)
        return real(line)

    remember(tmp_path, second, third)
    monkeypatch.setattr(zlib, "crc32", counted)
    assert manifest.refresh()
    assert len(parsed) == 2
    assert None not in [held_by(manifest, each) for each in (first, second, third)]
    assert not manifest.refresh()
    assert len(parsed) == 2


def test_a_refresh_without_a_manifest_or_without_news_changes_nothing(tmp_path: Path) -> None:
    manifest = Manifest(str(tmp_path))
    assert not manifest.refresh()
    remember(tmp_path, transfer(tmp_path))
    assert manifest.refresh()
    assert not manifest.refresh()
    with path_of(tmp_path).open("ab") as file:
        file.write(path_of(tmp_path).read_bytes().splitlines(keepends=True)[1])
    assert not manifest.refresh(), "the same record, once more"
    assert held_by(manifest, transfer(tmp_path)) is not None


def test_a_refresh_takes_a_line_whose_end_came_later(tmp_path: Path) -> None:
    first, second = transfer(tmp_path, "first"), transfer(tmp_path, "second")
    remember(tmp_path, first)
    begun = path_of(tmp_path).stat().st_size
    remember(tmp_path, second)
    whole = path_of(tmp_path).read_bytes()
    for cut in range(begun, len(whole)):
        path_of(tmp_path).write_bytes(whole[:cut])
        manifest = Manifest(str(tmp_path))
        with path_of(tmp_path).open("ab") as file:
            file.write(whole[cut:])
        # A line that lacks only its end is as good as whole.
        assert manifest.refresh() == (cut < len(whole) - 1), cut
        assert held_by(manifest, second) is not None


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_a_refresh_goes_behind_a_first_line_that_was_torn(tmp_path: Path, cut: int) -> None:
    each = transfer(tmp_path)
    remember(tmp_path, each)
    path_of(tmp_path).write_bytes(path_of(tmp_path).read_bytes()[:cut])
    manifest = Manifest(str(tmp_path))
    assert held_by(manifest, each) is None
    remember(tmp_path, each)
    assert manifest.refresh()
    assert held_by(manifest, each) is not None


@pytest.mark.parametrize("way", ["shorter", "replaced", "removed"])
def test_a_refresh_of_another_file_reads_it_from_its_beginning(tmp_path: Path, way: str) -> None:
    kept, gone = transfer(tmp_path, "kept"), transfer(tmp_path, "gone")
    remember(tmp_path, kept)
    shorter = path_of(tmp_path).read_bytes()
    remember(tmp_path, gone)
    manifest = Manifest(str(tmp_path))
    match way:
        case "shorter":
            os.truncate(path_of(tmp_path), len(shorter))
        case "replaced":
            # As long as the one before it.
            other = path_of(tmp_path).with_name("other")
            padding = path_of(tmp_path).stat().st_size - len(shorter) - 1
            other.write_bytes(shorter + b"x" * padding + b"\n")
            other.replace(path_of(tmp_path))
        case "removed":
            path_of(tmp_path).unlink()
    assert manifest.refresh()
    assert held_by(manifest, gone) is None
    assert (held_by(manifest, kept) is None) == (way == "removed")
    assert not manifest.refresh()
    # What is remembered from now on goes into the file that is there.
    manifest.remember([put(gone, b"gone")])
    manifest.close()
    assert held(tmp_path, [kept, gone]) == [way != "removed", True]


def test_a_manifest_of_another_version_stays_ignored_and_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_text('{"kaiwo-manifest": 2}\n')
    manifest = Manifest(str(tmp_path))
    with path_of(tmp_path).open("a") as file:
        file.write("more\n")
    assert not manifest.refresh()
    assert len(caplog.messages) == 1


def test_a_refreshed_state_says_whether_another_run_put_anything_in_place(tmp_path: Path) -> None:
    roots = [tmp_path / "1", tmp_path / "2"]
    each = transfer(roots[1])
    memory = State()
    known = [memory.manifest(str(root)) for root in roots]
    assert not memory.refresh()
    remember(roots[1], each)
    assert memory.refresh()
    assert [memory.manifest(str(root)) for root in roots] == known
    assert held_by(memory.manifest(str(roots[1])), each) is not None
    assert not memory.refresh()


def test_answers_about_doubtful_objects_are_lines_that_no_file_has(tmp_path: Path) -> None:
    each = transfer(tmp_path, "deep/a")
    placeholder = Answer(RemoteObject("deep/b", 0, "etag", modified_ns=1), is_placeholder=True)
    file = Answer(RemoteObject("deep/a", 7, None, modified_ns=2))
    remember(tmp_path, each)
    manifest = Manifest(str(tmp_path))
    manifest.remember_answer(f"{tmp_path}/deep/b", OPENER, placeholder)
    manifest.remember_answer(f"{tmp_path}/deep/a", OPENER, file)
    before = path_of(tmp_path).read_bytes()
    manifest.remember_answer(f"{tmp_path}/deep/a", OPENER, file)
    assert path_of(tmp_path).read_bytes() == before, "what is known is written again"
    for unsure in (replace(file, is_lasting=False), Answer(RemoteObject("deep/c", 0))):
        manifest.remember_answer(f"{tmp_path}/deep/c", OPENER, unsure)
    manifest.close()
    lines = [json.loads(line) for line in before.splitlines()[2:]]
    assert [line["target"] for line in lines] == ["deep/b/", "deep/a/"]
    assert [line["source"][-1] for line in lines] == ["/", "a"]

    later = Manifest(str(tmp_path))
    assert later.answers(OPENER.origin, OPENER.url("")) == (placeholder, file)
    assert later.answers("elsewhere", OPENER.url("")) == ()
    assert pickle.loads(pickle.dumps(later.answers(OPENER.origin, OPENER.url(""))))
    assert held_by(later, each) is not None


def test_what_was_published_is_no_placeholder_any_more(tmp_path: Path) -> None:
    each = transfer(tmp_path)
    manifest = Manifest(str(tmp_path))
    manifest.remember_answer(each.target, OPENER, Answer(each.object, is_placeholder=True))
    assert len(manifest.answers(OPENER.origin, OPENER.url(""))) == 1
    manifest.remember([put(each, b"a.bin")])
    manifest.close()
    assert Manifest(str(tmp_path)).answers(OPENER.origin, OPENER.url("")) == ()
