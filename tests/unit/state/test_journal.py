"""The journal of this run: what is written, and what happens when it cannot be written."""

from __future__ import annotations

import logging
import os
import resource
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import (
    TransientError,
)
from kaiwo.jobs import RANGE, Crc, Mark, Transfer
from kaiwo.state.state import State
from tests.support.faulty import (
    FaultyOpener,
    FaultyStore,
    content,
    fails,
    left,
    plan_of,
)
from tests.unit.state.killed_runs import (
    DEAD,
    NOW,
    SIZE,
    after,
    believed,
    big,
    journal,
    journals,
    killed,
    lines,
    transfer,
)


def test_the_format_is_the_one_that_is_documented(tmp_path: Path) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0, 3 * RANGE)
    data = content(SIZE)
    assert temporary == tmp_path / f".kaiwo-{DEAD}-0.part"
    assert lines(journal(tmp_path)) == [
        {"kaiwo-journal": 1},
        {"folder": "."},
        {
            "begin": 0,
            "target": "big",
            "temporary": f".kaiwo-{DEAD}-0.part",
            "origin": "faulty://host",
            "source": "faulty://bucket/big",
            "identity": [store.remote("big").etag, None, SIZE],
            "checksum": ["md5", store.remote("big").etag],
            "modified_ns": None,
            "variant": None,
        },
        {"part": [0, 0, RANGE], "crc64nvme": checksums.crc("crc64nvme", data[:RANGE])},
        {"part": [0, 3 * RANGE, 5], "crc64nvme": checksums.crc("crc64nvme", data[-5:])},
    ]


def test_what_is_in_place_or_given_up_is_ended(tmp_path: Path) -> None:
    store = big()
    each = transfer(tmp_path, store, DEAD)
    memory = State(None, DEAD)
    memory.begin(each)
    assert memory.can_resume(each)
    memory.end(each)
    assert not memory.can_resume(each)
    memory.note_marks([(each, 0, Mark(RANGE, Crc("crc32c", 1)))])
    memory.close()
    assert [line for line in lines(journal(tmp_path)) if "begin" not in line] == [
        {"kaiwo-journal": 1},
        {"end": 0},
    ]


def test_a_range_that_grows_for_long_has_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaiwo.state.journal.MOST_LINES", 10)
    each = transfer(tmp_path, big(), DEAD)
    memory = State(None, DEAD)
    memory.begin(each)
    Path(each.temporary).touch()
    for end in range(1, 1001):
        for start in (0, RANGE):
            memory.note_marks([(each, start, Mark(start + end, Crc("crc32c", end)))])
    found = lines(journal(tmp_path, DEAD))
    assert len(found) < 20
    partial = State(None, NOW).partial_download(each)
    assert partial is not None
    grown = {start: Mark(start + 1000, Crc("crc32c", 1000)) for start in (0, RANGE)}
    assert partial.marks == grown
    assert partial.bytes == 2000


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_its_owner_may_read_it(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        killed(tmp_path, big(), 0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(journal(tmp_path).stat().st_mode) == 0o600


def test_folders_of_targets_and_of_blobs_are_written_down_once(tmp_path: Path) -> None:
    store = FaultyStore({"a/x": b"1", "a/y": b"2", "b/z": b"3"})
    plan = plan_of(FaultyOpener(store), tmp_path)
    linked = replace(plan.transfers[0], blob=str(tmp_path / "blobs" / "etag"))
    memory = State(None, DEAD)
    memory.note_folders([linked, *plan.transfers[1:]])
    memory.close()
    folders = [line["folder"] for line in lines(journal(tmp_path))[1:]]
    assert sorted(folders) == ["a", "b", "blobs"]


def test_a_state_folder_elsewhere_keeps_the_journals_of_roots_apart(tmp_path: Path) -> None:
    store, state = big(), tmp_path / "state"
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        killed(root, store, 0, state_dir=str(state))
        assert {path.name for path in root.iterdir()} == {f".kaiwo-{DEAD}-0.part"}
    assert len(list(state.glob(f"journal-{DEAD}-*.jsonl"))) == 2
    for root in roots:
        partial = State(str(state), NOW).partial_download(transfer(root, store, NOW))
        assert partial is not None
        assert partial.temporary == str(root / f".kaiwo-{DEAD}-0.part")
    assert State(None, NOW).partial_download(transfer(roots[0], store, NOW)) is None


def test_a_name_that_is_no_unicode_is_gone_on_with(tmp_path: Path) -> None:
    store = big()
    name = os.fsdecode(b"latin-\xf1/\xff")

    def elsewhere(each: Transfer) -> Transfer:
        return replace(each, target=f"{tmp_path}/{name}")

    killed(tmp_path, store, RANGE, change=elsewhere)
    each = elsewhere(transfer(tmp_path, store, NOW))
    assert believed(tmp_path, store, each) == [RANGE]


def test_an_object_that_nothing_tells_from_another_is_not_written_down(tmp_path: Path) -> None:
    def bare(each: Transfer) -> Transfer:
        return replace(each, object=replace(each.object, etag=None, checksum=None))

    store = big()
    killed(tmp_path, store, 0, change=bare)
    assert not any("begin" in line or "part" in line for line in lines(journal(tmp_path)))
    assert believed(tmp_path, store, bare(transfer(tmp_path, store, NOW))) is None


def test_a_run_that_ended_leaves_no_journal_unless_something_is_unfinished(tmp_path: Path) -> None:
    store = big()
    after(tmp_path, store)
    assert (journals(tmp_path), left(tmp_path)) == ([], [])
    (tmp_path / "big").unlink()
    store.always(("big", 2 * RANGE), fails(TransientError("reset")))
    run = after(tmp_path, store)
    assert run.report.exit_code == 5
    assert (journals(tmp_path), left(tmp_path)) == ([NOW], [f".kaiwo-{NOW}-0.part"])
    assert believed(tmp_path, store) is None, "a run does not go on with its own"


@pytest.mark.parametrize("obstacle", ["a folder", "a link", "a file for its folder"])
@pytest.mark.parametrize("fails_too", [False, True])
def test_a_journal_that_cannot_be_written_is_one_warning_and_nothing_is_left_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, obstacle: str, *, fails_too: bool
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.write_bytes(b"somebody's")
    root.mkdir()
    if obstacle == "a file for its folder":
        (root / ".kaiwo").write_bytes(b"in the way")
    else:
        journal(root, NOW).parent.mkdir()
        if obstacle == "a link":
            journal(root, NOW).symlink_to(outside)
        else:
            journal(root, NOW).mkdir()
    store = big()
    if fails_too:
        store.always(("big", 2 * RANGE), fails(TransientError("reset")))
    with caplog.at_level(logging.WARNING):
        run = after(root, store)
    assert run.report.exit_code == (5 if fails_too else 0)
    assert left(root) == []
    assert sum("the next one cannot resume it" in each.message for each in caplog.records) == 1
    assert outside.read_bytes() == b"somebody's"


@pytest.mark.parametrize("room", [0, 7, 19, 100, 300, 450])
def test_a_disk_that_fills_up_under_the_journal_does_not_fail_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    # What a full disk does to it, a limit of file sizes does too, and only to it: it is begun as
    # a file that is almost as long as the limit.
    limit = SIZE + RANGE
    journal(tmp_path, NOW).parent.mkdir()
    journal(tmp_path, NOW).touch()
    os.truncate(journal(tmp_path, NOW), limit - room)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with caplog.at_level(logging.WARNING):
            run = after(tmp_path, big())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (run.report.ok, left(tmp_path)) == (True, [])
    assert sum("the next one cannot resume it" in each.message for each in caplog.records) == 1


def test_a_line_that_was_written_in_part_is_no_promise(tmp_path: Path) -> None:
    state, each = State(None, NOW), transfer(tmp_path, big(), NOW)
    state.begin(each)
    assert state.can_resume(each)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal(tmp_path, NOW).stat().st_size + 10, hard))
    try:
        state.note_marks([(each, 0, Mark(RANGE, Crc("crc64nvme", 1)))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not state.can_resume(each)
    state.close()
