"""Journals: what a killed run leaves, what a later one believes of it, and what it removes."""

from __future__ import annotations

import json
import logging
import os
import resource
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kaiwo import checksums, disk
from kaiwo.errors import (
    ChangedError,
    CredentialsError,
    IntegrityError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.events import Event, Progressed
from kaiwo.memory import Memory
from kaiwo.objects import RANGE, Crc, Plan, RemoteObject, Transfer
from tests.faulty import (
    FaultyOpener,
    FaultyStore,
    Ran,
    RecordingSink,
    carry_out,
    content,
    fails,
    files,
    in_place,
    left,
    plan_of,
    put,
    transfer_of,
)

SIZE = 3 * RANGE + 5
STARTS = (0, RANGE, 2 * RANGE, 3 * RANGE)
#: Tokens of runs: one that is dead, another, and the one that comes after them.
DEAD, DEAD_TOO, NOW = "dead01", "dead02", "ab12"


def big(algorithm: str | None = "md5", seed: int = 0) -> FaultyStore:
    """A store with one object of four ranges."""
    store = FaultyStore({"big": content(SIZE, seed)}, algorithm)
    store.stated["big"] = stated(algorithm, seed)
    return store


@cache
def stated(algorithm: str | None, seed: int) -> RemoteObject:
    """That object; its checksums need not be taken for each test."""
    return FaultyStore({"big": content(SIZE, seed)}, algorithm).remote("big")


def transfer(root: Path, store: FaultyStore, run: str, key: str = "big") -> Transfer:
    return transfer_of(FaultyOpener(store), store.remote(key), root, run=run)


def killed(
    root: Path,
    store: FaultyStore,
    *starts: int,
    run: str = DEAD,
    state_dir: str | None = None,
    change: Callable[[Transfer], Transfer] = lambda each: each,
) -> Path:
    """Leave what a run leaves that is killed with these ranges in its file; returns that file."""
    each = change(transfer(root, store, run))
    memory = Memory(state_dir, run)
    memory.open([each])
    memory.begin(each)
    disk.create(each.temporary)
    data = store.objects["big"]
    for start in starts:
        part = data[start : start + RANGE]
        disk.write_range(each.temporary, part, start)
        memory.part(each, start, len(part), Crc("crc64nvme", checksums.crc("crc64nvme", part)))
    memory.close()
    return Path(each.temporary)


def journal(root: Path, run: str = DEAD) -> Path:
    return root / ".kaiwo" / f"journal-{run}.jsonl"


def journals(root: Path) -> list[str]:
    """The runs whose journals are there."""
    found = root.glob(".kaiwo/journal-*.jsonl")
    return sorted(path.stem.removeprefix("journal-") for path in found)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def all_dead(_root: str, _run: str) -> bool:
    return True


def after(
    root: Path,
    store: FaultyStore,
    run: str = NOW,
    *,
    dead: Callable[[str, str], bool] = all_dead,
    **rules: Any,
) -> Ran:
    """What the command does next: plan, sweep, carry out, sweep."""
    memory = Memory(None, run)
    planned = []
    for each in plan_of(FaultyOpener(store), root).transfers:
        own = replace(each, run=run)
        planned.append(replace(own, remains=memory.remains(own)))
    memory.sweep(planned, dead)
    ran = carry_out(Plan(tuple(planned)), root, memory=memory, **rules)
    memory.sweep(planned, dead)
    return ran


def believed(root: Path, store: FaultyStore, each: Transfer | None = None) -> list[int] | None:
    """The starts of the ranges that a later run would look for; None: it begins anew."""
    remains = Memory(None, NOW).remains(each or transfer(root, store, NOW))
    return None if remains is None else sorted(remains.crcs)


# --- what is written --------------------------------------------------------------------------


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
        },
        {"part": [0, 0, RANGE], "crc64nvme": checksums.crc("crc64nvme", data[:RANGE])},
        {"part": [0, 3 * RANGE, 5], "crc64nvme": checksums.crc("crc64nvme", data[-5:])},
    ]


def test_what_is_in_place_or_given_up_is_ended(tmp_path: Path) -> None:
    store = big()
    each = transfer(tmp_path, store, DEAD)
    memory = Memory(None, DEAD)
    memory.begin(each)
    assert memory.holds(each)
    memory.end(each)
    assert not memory.holds(each)
    memory.part(each, 0, RANGE, Crc("crc32c", 1))
    memory.close()
    assert [line for line in lines(journal(tmp_path)) if "begin" not in line] == [
        {"kaiwo-journal": 1},
        {"end": 0},
    ]


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
    memory = Memory(None, DEAD)
    memory.open([linked, *plan.transfers[1:]])
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
        remains = Memory(str(state), NOW).remains(transfer(root, store, NOW))
        assert remains is not None
        assert remains.temporary == str(root / f".kaiwo-{DEAD}-0.part")
    assert Memory(None, NOW).remains(transfer(roots[0], store, NOW)) is None


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
        return replace(each, object=replace(each.object, etag=None))

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


# --- a journal that cannot be written ---------------------------------------------------------


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
    assert sum("could not go on from here" in each.message for each in caplog.records) == 1
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
    assert sum("could not go on from here" in each.message for each in caplog.records) == 1


# --- what is believed -------------------------------------------------------------------------


def test_a_line_that_was_written_in_part_is_no_promise(tmp_path: Path) -> None:
    memory, each = Memory(None, NOW), transfer(tmp_path, big(), NOW)
    memory.begin(each)
    assert memory.holds(each)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal(tmp_path, NOW).stat().st_size + 10, hard))
    try:
        memory.part(each, 0, RANGE, Crc("crc64nvme", 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not memory.holds(each)
    memory.close()


def test_a_later_run_looks_for_what_was_written_down(tmp_path: Path) -> None:
    store = big()
    killed(tmp_path, store, 2 * RANGE, 0, 3 * RANGE)
    assert believed(tmp_path, store) == [0, 2 * RANGE, 3 * RANGE]


def test_what_has_no_ranges_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    store = big()
    killed(tmp_path, store)
    assert believed(tmp_path, store) is None


def test_what_was_given_its_name_already_is_looked_for_where_it_may_be(tmp_path: Path) -> None:
    """By a run that was killed between the rename and the manifest's line."""
    store = big()
    killed(tmp_path, store, *STARTS).rename(tmp_path / "big")
    each = transfer(tmp_path, store, NOW)
    remains = Memory(None, NOW).remains(each, published=True)
    assert remains is not None
    assert sorted(remains.crcs) == [*STARTS]
    assert Memory(None, NOW).remains(each) is None


def _with(**changed: Any) -> Callable[[Transfer], Transfer]:
    return lambda each: replace(each, object=replace(each.object, **changed))


@pytest.mark.parametrize(
    "change",
    [
        _with(etag="another"),
        _with(etag=None, version="7"),
        _with(version="7"),
        _with(size=SIZE + 1),
        _with(key="other"),
        lambda each: replace(each, opener=FaultyOpener(big(), "faulty://elsewhere")),
        lambda each: replace(each, target=f"{each.target}2"),
        lambda each: replace(each, blob=f"{each.root}/blobs/etag"),
    ],
    ids=["etag", "no etag", "version", "size", "key", "origin", "target", "placement"],
)
def test_what_differs_in_anything_is_not_believed(
    tmp_path: Path, change: Callable[[Transfer], Transfer]
) -> None:
    store = big()
    killed(tmp_path, store, 0)
    assert believed(tmp_path, store) == [0]
    assert believed(tmp_path, store, change(transfer(tmp_path, store, NOW))) is None


def _edited(root: Path, edit: Callable[[list[Any]], Iterable[Any]]) -> None:
    path = journal(root)
    path.write_text("".join(json.dumps(line) + "\n" for line in edit(lines(path))))


def test_an_object_that_nothing_tells_from_another_is_not_believed(tmp_path: Path) -> None:
    """Whoever has written it down."""
    store = big()
    killed(tmp_path, store, 0)
    bare = {"identity": [None, None, SIZE]}
    _edited(tmp_path, lambda told: [each | bare if "begin" in each else each for each in told])
    assert believed(tmp_path, store, _with(etag=None)(transfer(tmp_path, store, NOW))) is None


@pytest.mark.parametrize("run", ["", "x", "DEAD", "0 1", "a" * 33, "[0-9]"])
def test_a_file_that_is_named_like_no_journal_of_a_run_is_let_alone(
    tmp_path: Path, run: str
) -> None:
    store = big()
    killed(tmp_path, store, 0)
    path = journal(tmp_path).rename(journal(tmp_path, run))
    memory = Memory(None, NOW)
    assert memory.remains(transfer(tmp_path, store, NOW)) is None
    memory.sweep([transfer(tmp_path, store, NOW)], all_dead)
    assert path.exists()


@pytest.mark.parametrize(
    "header",
    [
        {"kaiwo-journal": 2, "run": DEAD},
        {"kaiwo-journal": "1", "run": DEAD},
        {"kaiwo-journal": 1, "run": 7},
        {"kaiwo-manifest": 1},
        {"kaiwo-manifest": 1, "run": DEAD},
        [],
        None,
    ],
    ids=str,
)
def test_a_journal_of_another_kind_is_neither_believed_nor_touched(
    tmp_path: Path, header: Any
) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0)
    _edited(tmp_path, lambda old: [header, *old[1:]])
    text = journal(tmp_path).read_bytes()
    assert believed(tmp_path, store) is None
    assert after(tmp_path, store).report.ok
    assert journal(tmp_path).read_bytes() == text
    assert temporary.exists()


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, RANGE - 1),
        (0, RANGE + 1),
        (1, RANGE),
        (RANGE // 2, RANGE // 2),
        (3 * RANGE, RANGE),
        (3 * RANGE, 0),
        (4 * RANGE, 5 - RANGE),
        (8 * RANGE, RANGE),
        (-RANGE, RANGE),
        (10**30, RANGE),
        (0, -(10**30)),
    ],
)
def test_a_range_that_is_none_of_the_objects_is_not_believed(
    tmp_path: Path, start: int, length: int
) -> None:
    store = big()
    killed(tmp_path, store)
    _edited(tmp_path, lambda old: [*old, {"part": [0, start, length], "crc64nvme": 1}])
    assert believed(tmp_path, store) is None


@pytest.mark.parametrize("value", ["1", 1.5, None, [1]], ids=str)
@pytest.mark.parametrize("field", ["number", "start", "length", "crc64nvme"])
def test_a_part_with_a_field_of_another_type_says_nothing(
    tmp_path: Path, field: str, value: Any
) -> None:
    store = big()
    killed(tmp_path, store, RANGE)
    fields = {"number": 0, "start": 0, "length": RANGE, "crc64nvme": 1} | {field: value}
    part = {"part": [fields["number"], fields["start"], fields["length"]]}
    _edited(tmp_path, lambda old: [*old, part | {"crc64nvme": fields["crc64nvme"]}])
    assert believed(tmp_path, store) == [RANGE]


def test_the_last_word_on_a_range_counts_and_what_is_ended_is_not_there(tmp_path: Path) -> None:
    store = big()
    killed(tmp_path, store, 0)
    _edited(tmp_path, lambda old: [*old, {"part": [0, 0, RANGE], "crc32c": 7}])
    remains = Memory(None, NOW).remains(transfer(tmp_path, store, NOW))
    assert remains is not None
    assert remains.crcs == {0: Crc("crc32c", 7)}
    _edited(tmp_path, lambda old: [*old, {"end": 0}, {"part": [0, RANGE, RANGE], "crc32c": 7}])
    assert believed(tmp_path, store) is None


def test_torn_at_any_byte_the_whole_lines_count(tmp_path: Path) -> None:
    store = big()
    killed(tmp_path, store, *STARTS)
    text = journal(tmp_path).read_bytes()
    ends = [number for number, byte in enumerate(text) if byte == ord("\n")]
    for cut in range(len(text)):
        journal(tmp_path).write_bytes(text[:cut])
        # A line is whole without its end, too.
        whole = sum(end <= cut for end in ends) - 3
        expected = list(STARTS[:whole]) if whole > 0 else None
        assert believed(tmp_path, store) == expected, cut


@pytest.mark.parametrize(
    "garbage",
    [b"\0\n", b"\xff\xfe\n", b"[" * 9_999 + b"\n", b"9" * 9_999 + b"\n", b'{"part": 1}\n'],
)
def test_lines_of_garbage_are_skipped(tmp_path: Path, garbage: bytes) -> None:
    store = big()
    killed(tmp_path, store, *STARTS)
    header, *rest = journal(tmp_path).read_bytes().splitlines(keepends=True)
    journal(tmp_path).write_bytes(header + b"".join(garbage + line for line in rest) + garbage)
    assert believed(tmp_path, store) == list(STARTS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", "/big"),
        ("target", "x/../big"),
        ("target", "big\0"),
        ("target", "\ud800"),
        ("target", 7),
        ("temporary", "/etc/passwd"),
        ("temporary", "../.kaiwo-dead01-0.part"),
        ("temporary", "sub/../.kaiwo-dead01-0.part"),
        ("temporary", "sub/.kaiwo-dead01-0.part"),
        ("temporary", ".kaiwo-other-0.part"),
        ("temporary", ".kaiwo-dead01-0.link"),
        ("temporary", ".kaiwo-dead01-\ud800.part"),
        ("temporary", ".kaiwo-dead01-\0.part"),
        ("temporary", "precious"),
        ("temporary", None),
        ("origin", None),
        ("source", 1),
        ("identity", ["e", None]),
        ("identity", ["e", None, str(SIZE)]),
        ("identity", "e"),
    ],
)
def test_an_entry_that_is_not_as_kaiwo_writes_them_is_not_believed(
    tmp_path: Path, field: str, value: Any
) -> None:
    store = big()
    killed(tmp_path, store, 0)
    (tmp_path / "precious").write_bytes(b"kept")
    _edited(
        tmp_path, lambda old: [{**line, field: value} if field in line else line for line in old]
    )
    assert believed(tmp_path, store) is None
    assert after(tmp_path, store).report.ok
    assert in_place(tmp_path) == {**store.objects, "precious": b"kept"}


def test_a_journal_that_cannot_be_read_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal(tmp_path).mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert after(tmp_path, big()).report.ok
    assert "going on without it" in caplog.text


def test_what_is_no_file_is_neither_read_as_a_journal_nor_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A device, or a pipe, at which a run would wait for ever."""
    path = journal(tmp_path)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/null")
    memory, each = Memory(None, NOW), transfer(tmp_path, big(), NOW)
    with caplog.at_level(logging.WARNING):
        memory.sweep([each], all_dead)
    assert f"{path} is no file" in caplog.text
    assert path.is_symlink()


def test_names_that_are_patterns_elsewhere_are_names(tmp_path: Path) -> None:
    root, store = tmp_path / "[a]*?", big()
    killed(root, store, 0)
    assert believed(root, store) == [0]


# --- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "crc32c", "crc64nvme", None])
@pytest.mark.parametrize("there", [(0,), (RANGE, 3 * RANGE), (0, RANGE, 2 * RANGE), STARTS])
def test_only_what_is_not_there_is_read(
    tmp_path: Path, there: tuple[int, ...], algorithm: str | None
) -> None:
    store = big(algorithm)
    killed(tmp_path, store, *there)
    run = after(tmp_path, store)
    assert set(store.reads_of("big")) == set(STARTS) - set(there)
    assert files(tmp_path) == store.objects
    item = run.item("big")
    assert (item.status, item.verified, item.attempts) == ("resumed", algorithm is not None, 1)
    kept = sum(min(RANGE, SIZE - start) for start in there)
    assert run.report.transferred_bytes == SIZE - kept
    assert run.sink.progressed == SIZE
    assert journals(tmp_path) == []


def test_with_verify_size_what_is_there_is_proven_all_the_same(tmp_path: Path) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0, RANGE)
    with temporary.open("r+b") as file:
        file.write(b"other")
    run = after(tmp_path, store, verify=False)
    assert (run.report.ok, run.item("big").status) == (True, "resumed")
    assert RANGE not in store.reads_of("big")
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("way", ["another byte", "cut", "cut to nothing", "longer"])
def test_a_range_that_is_not_found_in_the_file_is_read(tmp_path: Path, way: str) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0, RANGE, 2 * RANGE)
    with temporary.open("r+b") as file:
        match way:
            case "another byte":
                file.seek(RANGE + 17)
                file.write(bytes([content(SIZE)[RANGE + 17] ^ 1]))
            case "longer":
                file.seek(SIZE + 9)
                file.write(b"more")
            case _:
                file.truncate(RANGE + 17 if way == "cut" else 0)
    run = after(tmp_path, store)
    assert run.report.ok
    assert files(tmp_path) == store.objects
    expected = {
        "another byte": {RANGE: 1, 3 * RANGE: 1},
        "cut": {RANGE: 1, 2 * RANGE: 1, 3 * RANGE: 1},
        "cut to nothing": dict.fromkeys(STARTS, 1),
        # Found out at the end; begun anew.
        "longer": {0: 1, RANGE: 1, 2 * RANGE: 1, 3 * RANGE: 2},
    }
    assert store.reads_of("big") == expected[way]
    assert (run.item("big").status == "resumed") == (way in ("another byte", "cut"))
    assert (left(tmp_path), journals(tmp_path)) == ([], [])


@pytest.mark.parametrize("kind", ["missing", "link", "hard link", "folder", "pipe"])
def test_a_temporary_file_that_is_no_plain_file_of_its_own_is_not_gone_on_with(
    tmp_path: Path, kind: str
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    store = big()
    temporary = killed(root, store, 0, RANGE)
    other = bytes(len(content(SIZE)))
    outside.write_bytes(other)
    temporary.unlink()
    match kind:
        case "link":
            temporary.symlink_to(outside)
        case "hard link":
            temporary.hardlink_to(outside)
        case "folder":
            (temporary / "below").mkdir(parents=True)
        case "pipe":
            os.mkfifo(temporary)
    run = after(root, store)
    assert (run.report.ok, run.item("big").status) == (True, "downloaded")
    assert store.reads_of("big") == dict.fromkeys(STARTS, 1)
    assert in_place(root)["big"] == content(SIZE)
    assert not (root / "big").is_symlink()
    assert outside.read_bytes() == other
    # It is nothing that this run goes on with, so the next one removes it.
    Memory(None, "cc").sweep([transfer(root, store, "cc")], all_dead)
    assert kind == "folder" or left(root) == []


def test_wrong_bytes_that_an_earlier_run_stored_are_found_and_read_again(tmp_path: Path) -> None:
    # Its checksum proves a range to be what was read, and not what the store has.
    store = big()
    wrong = FaultyStore({"big": b"\0" * 5 + content(SIZE)[5:]})
    wrong.stated["big"] = store.remote("big")
    killed(tmp_path, wrong, 0, RANGE)
    run = after(tmp_path, store)
    assert (run.report.ok, run.item("big").verified) == (True, True)
    assert files(tmp_path) == store.objects
    assert store.reads_of("big") == {0: 2, RANGE: 1, 2 * RANGE: 2, 3 * RANGE: 2}


def test_an_object_that_was_replaced_since_then_is_begun_anew(tmp_path: Path) -> None:
    killed(tmp_path, big(), 0, RANGE)
    store = big(seed=5)
    run = after(tmp_path, store)
    assert (run.item("big").status, files(tmp_path)) == ("downloaded", store.objects)
    assert (left(tmp_path), journals(tmp_path)) == ([], [])


def test_an_object_that_is_replaced_while_it_is_gone_on_with_is_begun_anew(tmp_path: Path) -> None:
    store = FaultyStore({"big": content(SIZE)}, pinned=True)
    killed(tmp_path, store, 0, RANGE)

    def replaced(_: bytes) -> bytes:
        store.objects["big"] = content(SIZE, 5)
        raise ChangedError("412")

    store.script(("big", 2 * RANGE), replaced)
    run = after(tmp_path, store)
    assert (run.item("big").status, files(tmp_path)) == ("downloaded", {"big": content(SIZE, 5)})
    assert (left(tmp_path), journals(tmp_path)) == ([], [])


class Killed(BaseException):
    """As sudden as a signal."""


class Killing(RecordingSink):
    """Ends the run when so many events of progress were told."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def emit(self, event: Event) -> None:
        super().emit(event)
        if len(self.of(Progressed)) >= self.count:
            raise Killed


def test_a_chain_of_killed_runs_reads_each_range_once(tmp_path: Path) -> None:
    store = big()
    for number in range(3):
        with pytest.raises(Killed):
            after(tmp_path, store, f"dead{number}", workers=1, sink=Killing(number + 1))
        assert len(left(tmp_path)) == 1
    run = after(tmp_path, store)
    assert (run.item("big").status, files(tmp_path)) == ("resumed", store.objects)
    assert store.reads_of("big") == dict.fromkeys(STARTS, 1)
    assert journals(tmp_path) == []


def test_a_run_that_is_killed_before_anything_arrives_leaves_what_it_took_over(
    tmp_path: Path,
) -> None:
    store = big()
    killed(tmp_path, store, 0, RANGE, run="dead9")
    for number in range(9, 0, -1):
        # Its name may sort before or after those of the runs before it.
        with pytest.raises(Killed):
            after(tmp_path, store, f"dead{number - 1}", workers=1, sink=Killing(1))
    run = after(tmp_path, store)
    assert run.item("big").status == "resumed"
    assert store.reads_of("big") == {2 * RANGE: 1, 3 * RANGE: 1}


@pytest.mark.parametrize("gone", [DEAD, DEAD_TOO])
def test_of_two_journals_the_one_counts_whose_file_is_there(tmp_path: Path, gone: str) -> None:
    # Killed between the line that says what is taken over, and the new name for the file.
    store = big()
    paths = {run: killed(tmp_path, store, 0, RANGE, run=run) for run in (DEAD, DEAD_TOO)}
    paths[gone].unlink()
    run = after(tmp_path, store)
    assert run.item("big").status == "resumed"
    assert set(store.reads_of("big")) == {2 * RANGE, 3 * RANGE}
    assert (left(tmp_path), journals(tmp_path)) == ([], [])


@pytest.mark.parametrize("most", [DEAD, DEAD_TOO])
def test_of_two_files_the_one_with_most_of_it_counts_and_the_other_is_removed(
    tmp_path: Path, most: str
) -> None:
    store = big()
    for run in (DEAD, DEAD_TOO):
        killed(tmp_path, store, *((0, RANGE, 2 * RANGE) if run == most else (3 * RANGE,)), run=run)
    ran = after(tmp_path, store)
    assert ran.item("big").status == "resumed"
    assert set(store.reads_of("big")) == {3 * RANGE}
    assert (left(tmp_path), journals(tmp_path)) == ([], [])


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (TransientError("reset"), True),
        (ServiceError("400"), True),
        (CredentialsError("expired"), True),
        (ZeroDivisionError("a defect"), True),
        (NotFoundError("gone"), False),
        (IntegrityError("of another length"), False),
    ],
)
@pytest.mark.parametrize("start", [0, 2 * RANGE])
def test_what_an_earlier_run_left_outlasts_failures_that_say_nothing_about_it(
    tmp_path: Path, error: Exception, start: int, *, is_kept: bool
) -> None:
    store = big()
    there = {RANGE, 2 * RANGE, 3 * RANGE} - {start}
    killed(tmp_path, store, *there)
    store.script(("big", start), fails(error), times=4)
    run = after(tmp_path, store, run="dead03", workers=1)
    assert not run.report.ok
    assert len(left(tmp_path)) == is_kept
    store.script(("big", start))
    store.reads.clear()
    assert after(tmp_path, store).report.ok
    assert bool(there & set(store.reads_of("big"))) == (not is_kept)
    assert (left(tmp_path), journals(tmp_path)) == ([], [])


def test_what_an_earlier_run_left_outlasts_a_run_whose_journal_cannot_be_written(
    tmp_path: Path,
) -> None:
    store = big()
    killed(tmp_path, store, 0, RANGE)
    journal(tmp_path, "ab11").mkdir()
    store.script(("big", 2 * RANGE), fails(CredentialsError("expired")))
    assert after(tmp_path, store, "ab11").report.exit_code == 3
    store.reads.clear()
    assert after(tmp_path, store).item("big").status == "resumed"


@pytest.mark.parametrize("way", ["deadline", "fail-fast"])
def test_what_is_not_even_begun_is_left_for_the_next_run(tmp_path: Path, way: str) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0, RANGE)
    if way == "deadline":
        run = after(tmp_path, store, until_s=0.0)
    else:
        store.objects["bigger"] = content(SIZE + 1)
        store.always("bigger", fails(NotFoundError("gone")))
        run = after(tmp_path, store, fail_fast=True, workers=1)
    assert (run.report.ok, temporary.exists(), journals(tmp_path)) == (False, True, [DEAD])


# --- what is swept ----------------------------------------------------------------------------


def test_leftovers_of_small_objects_are_removed_and_with_them_the_journal(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1", "sub/b": b"2"})
    plan = plan_of(FaultyOpener(store), tmp_path)
    memory = Memory(None, DEAD)
    memory.open(plan.transfers)
    memory.close()
    names = (f".kaiwo-{DEAD}-0.part", f"sub/.kaiwo-{DEAD}-1f.part", f"sub/.kaiwo-{DEAD}-1.2.part")
    kept = (".kaiwo-ffff-0.part", f".kaiwo-{DEAD}0-0.part", f"kaiwo-{DEAD}-0.part", "sub/x.part")
    (tmp_path / "sub").mkdir()
    for name in (*names, *kept):
        (tmp_path / name).write_bytes(b"leftover")
    assert after(tmp_path, store).report.ok
    assert files(tmp_path) == {**store.objects, **dict.fromkeys(kept, b"leftover")}
    assert journals(tmp_path) == []


def test_what_belongs_to_a_run_that_is_alive_is_let_alone(tmp_path: Path) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0)
    small = tmp_path / f".kaiwo-{DEAD}-7.part"
    small.write_bytes(b"on its way")
    asked: list[tuple[str, str]] = []

    def dead(root: str, run: str) -> bool:
        asked.append((root, run))
        return False

    other = FaultyStore({"other": b"1"})
    assert after(tmp_path, other, dead=dead).report.ok
    assert set(asked) == {(str(tmp_path), DEAD)}
    assert temporary.exists()
    assert small.exists()
    assert journals(tmp_path) == [DEAD]


def test_targets_that_are_not_this_runs_affair_keep_their_files(tmp_path: Path) -> None:
    store = big()
    temporary = killed(tmp_path, store, 0, RANGE)
    small = tmp_path / f".kaiwo-{DEAD}-7.part"
    small.write_bytes(b"of nobody")
    other = FaultyStore({"other": b"1"})
    assert after(tmp_path, other).report.ok
    assert (temporary.exists(), small.exists(), journals(tmp_path)) == (True, False, [DEAD])
    assert after(tmp_path, store).item("big").status == "resumed"
    assert (left(tmp_path), journals(tmp_path)) == ([], [])


def test_what_was_published_before_the_kill_leaves_only_a_journal_to_remove(tmp_path: Path) -> None:
    store = big()
    temporary = killed(tmp_path, store, *STARTS)
    temporary.rename(tmp_path / "big")
    other = FaultyStore({"other": b"1"})
    assert after(tmp_path, other).report.ok
    assert (journals(tmp_path), set(in_place(tmp_path))) == ([], {"big", "other"})


@pytest.mark.parametrize("text", ["", '{"kaiwo-jou', '{"kaiwo-journal": 1'])
def test_a_journal_that_was_torn_in_its_first_line_is_removed(tmp_path: Path, text: str) -> None:
    journal(tmp_path).parent.mkdir()
    journal(tmp_path).write_text(text)
    assert after(tmp_path, FaultyStore({"a": b"1"})).report.ok
    assert journals(tmp_path) == []


def test_a_link_in_the_folder_is_removed_and_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.write_bytes(b"somebody's")
    store = big()
    killed(root, store, 0)
    (root / f".kaiwo-{DEAD}-9.part").symlink_to(outside)
    assert after(root, store).report.ok
    assert left(root) == []
    assert outside.read_bytes() == b"somebody's"


def test_what_another_run_did_meanwhile_is_seen_when_it_is_looked_at_anew(tmp_path: Path) -> None:
    store = big()
    each, memory = transfer(tmp_path, store, NOW), Memory(None, NOW)
    assert memory.remains(each) is None
    killed(tmp_path, store, 0)
    put(each, b"")
    assert memory.remains(each) is None
    memory.forget()
    assert memory.remains(each) is not None
    memory.close()


# --- hostile journals -------------------------------------------------------------------------

_names = st.sampled_from(
    [
        "big",
        ".",
        "",
        "/",
        "..",
        "../outside",
        "../outside/.kaiwo-dead01-0.part",
        "a/../../outside",
        "sub",
        "sub/.kaiwo-dead01-0.part",
        "precious",
        ".kaiwo",
        ".kaiwo/manifest.jsonl",
        ".kaiwo-dead01-0.part",
        ".kaiwo-dead01-\udcff.part",
        ".kaiwo-dead01-\ud800.part",
        "\ud800",
        "\0",
        "x" * 300,
        "x/" * 3_000,
    ]
)
_numbers = st.sampled_from([0, 1, -1, RANGE, -RANGE, 5, SIZE, 2**63, 10**40, -(10**40)])
_values = st.none() | st.booleans() | _numbers | _names | st.floats() | st.text(max_size=9)
_anything = st.recursive(
    _values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)
_identities = st.tuples(_values, _values, _values) | st.just((big().remote("big").etag, None, SIZE))
_documents = st.one_of(
    _anything,
    st.fixed_dictionaries({"folder": _names | _anything}),
    st.fixed_dictionaries(
        {
            "begin": _numbers | _values,
            "target": _names | _values,
            "temporary": _names | _values,
            "origin": st.just("faulty://host") | _values,
            "source": st.just("faulty://bucket/big") | _values,
            "identity": _identities,
        }
    ),
    st.fixed_dictionaries(
        {"part": st.lists(_numbers | _values, min_size=2, max_size=4), "crc64nvme": _numbers}
    ),
    st.fixed_dictionaries({"end": _numbers | _values}),
)


def _begin(**fields: Any) -> Mapping[str, Any]:
    identity = [big().remote("big").etag, None, SIZE]
    where = {"origin": "faulty://host", "source": "faulty://bucket/big", "identity": identity}
    names = {"target": "big", "temporary": f".kaiwo-{DEAD}-0.part"}
    return {"begin": 0, **names, **where, **fields}


@given(st.lists(_documents, max_size=8))
@example([_begin(temporary=".kaiwo-dead01-\ud800.part"), {"part": [0, 0, RANGE], "crc32c": 1}])
@example([{"folder": "\ud800"}])
@example([{"folder": "x/" * 3_000}])
@example([_begin(target="other", temporary="../outside/.kaiwo-dead01-0.part")])
@example([_begin(), {"part": [0, -RANGE, RANGE], "crc64nvme": 1}])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_journal_says_nothing_but_temporary_files_of_its_run_is_touched(
    documents: list[Any],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, outside = Path(folder, "root"), Path(folder, "outside")
        for place in (root, root / "sub", outside):
            place.mkdir()
            (place / "precious").write_bytes(b"kept")
            (place / f".kaiwo-{DEAD}-0.part").write_bytes(b"perhaps")
            (place / ".kaiwo-dead-1.part").write_bytes(b"kept")
        journal(root).parent.mkdir()
        text = [{"kaiwo-journal": 1}, *documents]
        journal(root).write_text("".join(json.dumps(each) + "\n" for each in text))
        before = _everything(Path(folder))
        assert after(root, big("crc32c")).report.ok
        assert (root / "big").read_bytes() == content(SIZE)
        gone = before - _everything(Path(folder))
    own = {f"root/.kaiwo-{DEAD}-0.part", f"root/sub/.kaiwo-{DEAD}-0.part"}
    assert gone <= own | {f"root/.kaiwo/journal-{DEAD}.jsonl"}


def _everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@given(
    st.dictionaries(st.sampled_from(STARTS), st.booleans()),
    st.sampled_from([None, *STARTS]),
    st.integers(1, 4),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_was_there_the_bytes_are_right_and_no_right_range_is_read(
    found: Mapping[int, bool], failing: int | None, workers: int
) -> None:
    store = big("crc32c")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        temporary = killed(root, store, *found)
        with temporary.open("r+b") as file:
            for start in (start for start, right in found.items() if not right):
                file.seek(start)
                file.write(bytes([content(SIZE)[start] ^ 1]))
        if failing is not None:
            store.script(("big", failing), fails(TransientError("reset")), times=2)
        run = after(root, store, workers=workers)
        assert files(root) == store.objects
    right = {start for start, is_right in found.items() if is_right}
    assert set(store.reads_of("big")) == set(STARTS) - right
    assert run.item("big").status == ("resumed" if right else "downloaded")
    assert run.sink.progressed == SIZE
