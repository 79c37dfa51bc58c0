"""A later run resumes what a killed run left: it reads only what is not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiwo.errors import (
    ChangedError,
    CredentialsError,
    IntegrityError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.events import Event, Progressed
from kaiwo.jobs import RANGE
from kaiwo.state.state import State
from tests.support.faulty import (
    FaultyStore,
    RecordingSink,
    content,
    fails,
    files,
    in_place,
    left,
)
from tests.support.trials_length import examples
from tests.unit.state.killed_runs import (
    DEAD,
    DEAD_TOO,
    SIZE,
    STARTS,
    after,
    all_dead,
    big,
    journal,
    journals,
    killed,
    transfer,
)


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
    State(None, "cc").sweep([transfer(root, store, "cc")], all_dead)
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


def test_a_chain_of_killed_runs_begins_each_range_once(tmp_path: Path) -> None:
    store = big()
    for number in range(3):
        with pytest.raises(Killed):
            after(tmp_path, store, f"dead{number}", workers=1, sink=Killing(number + 1))
        assert len(left(tmp_path)) == 1
    run = after(tmp_path, store)
    assert (run.item("big").status, files(tmp_path)) == ("resumed", store.objects)
    # Each kill costs what was not noted of the one range that was under way.
    assert sum(end - start for _, start, end in store.reads) <= SIZE + 3 * RANGE
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


@given(
    st.dictionaries(st.sampled_from(STARTS), st.booleans()),
    st.sampled_from([None, *STARTS]),
    st.integers(1, 4),
)
@examples(25)
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
