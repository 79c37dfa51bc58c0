"""Wrong bytes in a large object: its ranges are read again, until two reads agree."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiwo.engine.large_object import MOST_READS
from kaiwo.errors import (
    ChangedError,
    IntegrityError,
    NotFoundError,
    RangeIgnoredError,
    TransientError,
    WrongBytesError,
    WrongRangeError,
)
from kaiwo.events import Event
from kaiwo.jobs import RANGE, Finish, Range
from kaiwo.protocols import Buffer
from tests.support.faulty import (
    LARGE,
    STREAM,
    FaultyStore,
    InlineExecutor,
    PromptPolicy,
    RecordingSink,
    Step,
    content,
    fails,
    files,
    in_place,
    large,
    left,
    run_store,
    wrong,
    xored,
)
from tests.support.trials_length import examples

# --- ranges that are read again ---------------------------------------------------------------


def right(data: bytes) -> Buffer:
    return data


def reset(_: bytes) -> Buffer:
    raise TransientError("reset")


@pytest.mark.parametrize("algorithm", ["md5", "crc32c", "git-sha1"])
@pytest.mark.parametrize("count", range(1, 5))
def test_a_range_that_is_another_so_many_times_counts_when_two_reads_of_it_agree(
    tmp_path: Path, count: int, algorithm: str
) -> None:
    store = FaultyStore({"big": content(LARGE)}, algorithm)
    store.script(("big", RANGE), *(xored(number) for number in range(1, count + 1)))
    run = run_store(store, tmp_path)
    assert (run.report.ok, run.item("big").verified) == (True, True)
    assert store.reads_of("big") == {0: 2, RANGE: count + 2, 2 * RANGE: 2}
    assert (files(tmp_path), run.sink.progressed) == (store.objects, LARGE)
    assert run.item("big").attempts == 2 + count


@pytest.mark.parametrize("count", [5, 6, 98])
def test_a_range_of_which_no_two_reads_agree_is_an_integrity_error_of_its_own(
    tmp_path: Path, count: int
) -> None:
    store = large(other=b"1")
    store.script(("big", RANGE), *(xored(number) for number in range(1, count + 1)))
    run = run_store(store, tmp_path, workers=1)
    assert (run.report.exit_code, type(run.error("big"))) == (7, IntegrityError)
    assert f"bytes {RANGE} to {2 * RANGE}" in run.error("big").message
    assert store.reads_of("big")[RANGE] == MOST_READS == 6
    assert files(tmp_path) == {"other": b"1"}


def test_a_read_may_agree_with_any_that_came_before(tmp_path: Path) -> None:
    store = large()
    store.script(("big", RANGE), xored(1), right, xored(2), right)
    run = run_store(store, tmp_path)
    assert (run.report.ok, store.reads_of("big")[RANGE]) == (True, 4)
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("start", [0, RANGE, 2 * RANGE])
def test_a_range_that_was_wrong_twice_alike_is_right_when_the_whole_is_fetched_once_more(
    tmp_path: Path, start: int
) -> None:
    executor = InlineExecutor()
    store = large()
    store.script(("big", start), wrong, wrong)
    run = run_store(store, tmp_path, executor)
    assert (run.report.ok, files(tmp_path)) == (True, store.objects)
    assert store.reads_of("big") == dict.fromkeys((0, RANGE, 2 * RANGE), 3)
    rounds = [(job.transfer.round, bool(job.seen)) for job in executor.of(Range)]
    assert rounds == [(0, False)] * 3 + [(0, True)] * 3 + [(1, False)] * 3
    assert [job.transfer.round for job in executor.of(Finish)] == [0, 0, 1]


@pytest.mark.parametrize("retries", [0, 2])
def test_a_whole_that_is_wrong_in_another_way_each_time_is_compared_as_often_as_failures(
    tmp_path: Path, retries: int
) -> None:
    store = large()
    twice = [step for number in range(2, 50) for step in (xored(number), xored(number))]
    store.script(("big", 0), xored(1), *twice)
    run = run_store(store, tmp_path, policy=PromptPolicy(retries))
    assert (run.report.exit_code, type(run.error("big"))) == (7, WrongBytesError)
    assert store.reads_of("big")[0] == 1 + 2 * (retries + 1)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("fault", [reset, lambda data: data[:-1], lambda data: data + b"!"])
def test_failures_in_passing_while_ranges_are_compared_are_repeated(
    tmp_path: Path, fault: Step
) -> None:
    store = large()
    store.script(("big", RANGE), wrong, fault, fault, right, fault, right)
    run = run_store(store, tmp_path, policy=PromptPolicy(3))
    assert (run.report.ok, files(tmp_path)) == (True, store.objects)
    assert store.reads_of("big")[RANGE] == 6
    assert run.sink.progressed == LARGE


def test_where_ranges_are_ignored_while_they_are_compared_a_stream_is_the_whole(
    tmp_path: Path,
) -> None:
    store = large()
    store.script(("big", 0), wrong, fails(RangeIgnoredError("200")))
    run = run_store(store, tmp_path)
    assert (run.report.ok, files(tmp_path)) == (True, store.objects)
    assert store.streams == ["big"]


def test_an_object_that_is_replaced_while_its_ranges_are_compared_is_fetched_anew(
    tmp_path: Path,
) -> None:
    store = FaultyStore({"big": content(LARGE)}, pinned=True)

    def replaced(_: bytes) -> Buffer:
        store.objects["big"] = content(LARGE, 1)
        raise ChangedError("412")

    store.script(("big", RANGE), wrong, replaced, wrong)
    run = run_store(store, tmp_path)
    assert (run.report.ok, files(tmp_path)) == (True, {"big": content(LARGE, 1)})


@pytest.mark.parametrize("algorithm", ["md5", "crc64nvme"])
def test_ranges_are_compared_by_several_workers_at_once(tmp_path: Path, algorithm: str) -> None:
    store = FaultyStore({f"big{n}": content(LARGE, n) for n in range(3)}, algorithm)
    for key in store.objects:
        store.script((key, 0), xored(1), xored(2))
        store.script((key, RANGE), xored(3))
    with ThreadPoolExecutor(4) as pool:
        run = run_store(store, tmp_path, pool, workers=4)
    assert (run.report.ok, files(tmp_path)) == (True, store.objects)
    assert run.sink.progressed == 3 * LARGE


@pytest.mark.parametrize("times", [1, 2])
def test_a_file_that_is_cut_before_the_end_is_fetched_once_more(tmp_path: Path, times: int) -> None:
    class Cutting(RecordingSink):
        """Somebody cuts the file when all of it is there."""

        def emit(self, event: Event) -> None:
            super().emit(event)
            for name in left(tmp_path) if self.progressed == LARGE else []:
                if name not in cut and len(cut) < times:
                    cut.append(name)
                    (tmp_path / name).write_bytes(b"")

    cut: list[str] = []
    store = FaultyStore({"big": content(LARGE)}, "crc32c")
    run = run_store(store, tmp_path, sink=Cutting())
    assert len(cut) == times
    if times == 1:
        assert (run.report.ok, files(tmp_path)) == (True, store.objects)
    else:
        assert (run.report.exit_code, files(tmp_path)) == (7, {})
        assert "has 0 bytes" in run.error("big").message


# --- any faults ------------------------------------------------------------------------------


_FAULTS: dict[str, Step] = {
    "right": right,
    "reset": reset,
    "short": lambda data: data[:-1],
    "wrong": wrong,
    "wrong otherwise": xored(7),
    "another range": fails(WrongRangeError("bytes 1-9")),
    "no ranges": fails(RangeIgnoredError("200")),
    "replaced": fails(ChangedError("412")),
    "gone": fails(NotFoundError("gone")),
    "a defect": fails(ZeroDivisionError("secret")),
}

_scripts = st.lists(st.sampled_from(sorted(_FAULTS)), max_size=5)


@given(
    st.sampled_from([4, RANGE, RANGE + 1, 2 * RANGE + 1]),
    st.sampled_from(["md5", "crc32c", None]),
    st.lists(_scripts, min_size=4, max_size=4),
    st.integers(1, 3),
)
@examples(60)
def test_whatever_happens_the_run_ends_and_a_file_is_the_whole_of_one_object(
    size: int, algorithm: str | None, scripts: list[list[str]], workers: int
) -> None:
    store = FaultyStore({"a": content(size)}, algorithm, pinned=True)
    for place, script in zip((0, RANGE, 2 * RANGE, STREAM), scripts, strict=True):
        store.script(("a", place), *(_FAULTS[name] for name in script))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        run = run_store(store, Path(folder), pool, workers=workers, policy=PromptPolicy(2))
        found = in_place(Path(folder))
        kept = left(Path(folder))
    assert len(run.report.items) == 1
    told = {name for script in scripts for name in script}
    if run.report.ok:
        assert run.sink.progressed == size
        assert kept == []
        if algorithm is not None or not told & {"wrong", "wrong otherwise"}:
            assert found == store.objects
        else:
            assert {name: len(data) for name, data in found.items()} == {"a": size}
    else:
        assert found == {}
        assert len(kept) <= 1
        assert run.report.exit_code in {1, 4, 5, 7}
