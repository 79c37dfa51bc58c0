"""Wrong bytes, other objects, servers that ignore ranges: nothing of these is published."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.errors import (
    ChangedError,
    RangeIgnoredError,
    TransientError,
    WrongBytesError,
)
from kaiwo.jobs import RANGE, Plan
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.workers.verify import WORTH_ASKING
from tests.support.bucket import keys
from tests.support.faulty import (
    INSPECT,
    LARGE,
    PATIENCE_S,
    STREAM,
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    PromptPolicy,
    Step,
    carry_out,
    content,
    fails,
    files,
    large,
    plan_of,
    ranges_of,
    run_store,
    short,
    transfer_of,
    waits,
    wrong,
    xored,
)

# --- integrity --------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "reads"), [("small", 2), ("medium", 2), ("big", 3)])
def test_wrong_bytes_are_fetched_again(tmp_path: Path, key: str, reads: int) -> None:
    store = large(small=b"some", medium=content(200_000))
    store.script((key, 0), wrong)
    run = run_store(store, tmp_path)
    assert files(tmp_path) == store.objects
    assert store.reads_of(key)[0] == reads, "a range counts when two reads of it agree"
    assert (run.report.ok, run.item(key).attempts, run.item(key).verified) == (True, reads, True)
    (retry,) = run.retried
    assert isinstance(retry.error, WrongBytesError)


@pytest.mark.parametrize(("key", "reads"), [("small", 2), ("medium", 2), ("big", 3)])
def test_the_same_wrong_bytes_again_are_an_integrity_error_and_nothing_is_there(
    tmp_path: Path, key: str, reads: int
) -> None:
    # Of a large object: the ranges, the ranges compared, the whole once more.
    store = large(small=b"some", medium=content(200_000))
    store.always((key, 0), wrong)
    run = run_store(store, tmp_path)
    assert store.reads_of(key)[0] == reads
    assert run.report.exit_code == 7
    assert type(run.error(key)) is WrongBytesError
    assert "md5" in run.error(key).message
    assert set(files(tmp_path)) == set(store.objects) - {key}


@pytest.mark.parametrize("key", ["small", "medium"])
def test_bytes_that_are_wrong_in_another_way_each_time_are_read_again_as_often_as_failures(
    tmp_path: Path, key: str
) -> None:
    store = large(small=b"some", medium=content(200_000))
    store.script((key, 0), *(xored(number) for number in range(1, 4)))
    run = run_store(store, tmp_path, policy=PromptPolicy(3))
    assert (run.report.ok, run.item(key).attempts) == (True, 4)
    assert files(tmp_path) == store.objects
    store.script((key, 0), *(xored(number) for number in range(1, 9)))
    store.reads.clear()
    again = run_store(store, tmp_path / "again", policy=PromptPolicy(3))
    assert (again.report.exit_code, type(again.error(key))) == (7, WrongBytesError)
    assert store.reads_of(key)[0] == 5, "the first, three repeats, and one for the comparison"


def test_wrong_bytes_among_failures_in_passing_do_not_use_up_the_attempts_of_these(
    tmp_path: Path,
) -> None:
    reset = fails(TransientError("reset"))
    store = FaultyStore({"a": b"some"})
    store.script("a", reset, reset, wrong, reset, reset)
    run = run_store(store, tmp_path, policy=PromptPolicy(2))
    assert (run.report.ok, run.item("a").attempts, files(tmp_path)) == (True, 6, {"a": b"some"})


def test_one_object_of_a_batch_with_wrong_bytes_is_read_again_alone(tmp_path: Path) -> None:
    executor = InlineExecutor()
    names = list(keys(12))
    store = FaultyStore(dict.fromkeys(names, b"1"))
    store.script(names[1], wrong)
    run = run_store(store, tmp_path, executor, workers=1)
    expected = {name: 2 if name == names[1] else 1 for name in names}
    assert Counter(key for key, _, _ in store.reads) == expected
    assert (run.report.ok, files(tmp_path)) == (True, store.objects)


@pytest.mark.parametrize("key", ["small", "big"])
def test_wrong_bytes_do_not_replace_what_is_there(tmp_path: Path, key: str) -> None:
    store = large(small=b"some")
    (tmp_path / key).write_bytes(b"what was there before")
    store.always((key, 0), wrong)
    run_store(store, tmp_path)
    assert (tmp_path / key).read_bytes() == b"what was there before"


def test_with_verify_size_bytes_are_only_counted(tmp_path: Path) -> None:
    store = large(small=b"some")
    store.always("small", wrong)
    store.script(("big", RANGE), wrong)
    run = run_store(store, tmp_path, verify=False)
    assert run.report.ok
    assert not any(item.verified for item in run.report.items)


def test_without_a_stated_checksum_the_item_says_that_nothing_was_verified(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"some"})
    store.stated["a"] = RemoteObject("a", 4)
    run = run_store(store, tmp_path)
    assert (run.report.ok, run.item("a").verified, run.item("a").checksum) == (True, False, None)


@pytest.mark.parametrize("size", [4, LARGE])
def test_an_etag_that_looks_like_a_checksum_and_is_none_is_asked_about(
    tmp_path: Path, size: int
) -> None:
    # An S3 object under KMS: 32 hexadecimal digits that are not the md5.
    store = FaultyStore({"a": content(size)})
    right = store.remote("a")
    encrypted = replace(right, checksum=Checksum("md5", "0" * 32), checksum_on_request=True)
    plan = Plan((transfer_of(FaultyOpener(store), encrypted, tmp_path),))
    run = carry_out(plan, tmp_path)
    assert (run.report.ok, run.item("a").verified) == (True, True)
    assert run.item("a").checksum == right.checksum
    assert store.inspections == ["a"]
    assert run.retried == []


@pytest.mark.parametrize("size", [4, LARGE])
def test_an_object_that_is_another_when_asked_again_is_fetched_as_it_is_now(
    tmp_path: Path, size: int
) -> None:
    store = FaultyStore({"a": content(size)})
    doubtful = Checksum("md5", "0" * 32)
    planned = RemoteObject("a", size, "the old one", None, doubtful, checksum_on_request=True)
    run = carry_out(Plan((transfer_of(FaultyOpener(store), planned, tmp_path),)), tmp_path)
    assert (run.report.ok, run.item("a").etag) == (True, store.remote("a").etag)
    assert (run.item("a").verified, run.item("a").attempts) == (True, 2)
    assert (store.stats, files(tmp_path)) == (["a"], store.objects)
    assert [type(each.error) for each in run.retried] == [ChangedError]


def test_an_inspection_that_fails_in_passing_is_repeated_without_reading_a_large_object_again(
    tmp_path: Path,
) -> None:
    store = large()
    planned = replace(store.remote("big"), checksum=None, checksum_on_request=True)
    store.inspect_faults = [ConnectionResetError("by peer"), TransientError("503")]
    run = carry_out(Plan((transfer_of(FaultyOpener(store), planned, tmp_path),)), tmp_path)
    assert run.report.ok
    assert len(store.reads) == 3
    assert store.inspections == ["big"] * 3


@pytest.mark.parametrize(("size", "asked"), [(4, 0), (200_000, 0), (WORTH_ASKING, 1)])
def test_only_an_object_that_is_worth_the_request_is_asked_for_a_checksum(
    tmp_path: Path, size: int, asked: int
) -> None:
    store = FaultyStore({"a": content(size)})
    planned = replace(store.remote("a"), checksum=None, checksum_on_request=True)
    run = carry_out(Plan((transfer_of(FaultyOpener(store), planned, tmp_path),)), tmp_path)
    assert run.report.ok
    assert (len(store.inspections), run.item("a").verified) == (asked, bool(asked))


@pytest.mark.parametrize("size", [4, LARGE])
def test_an_identity_that_no_request_is_bound_to_is_asked_for_again(
    tmp_path: Path, size: int
) -> None:
    store = FaultyStore({"a": content(size)})
    planned = replace(store.remote("a"), unpinned=True, silent_reads=True)
    plan = Plan((transfer_of(FaultyOpener(store), planned, tmp_path),))
    assert carry_out(plan, tmp_path).report.ok
    assert store.inspections == ["a"]
    newer = replace(planned, checksum=None)
    store.stated["a"] = replace(newer, etag="a newer one")
    assert carry_out(plan, tmp_path).item("a").etag == "a newer one"
    store.script(("a", INSPECT), *(restated(store, replace(newer, etag=f"{n}")) for n in range(9)))
    again = carry_out(plan, tmp_path)
    assert (again.report.exit_code, type(again.error("a"))) == (7, ChangedError)
    assert files(tmp_path) == store.objects, "the older one is in place"


def restated(store: FaultyStore, remote: RemoteObject) -> Step:
    """From now on the store says that the object is this one."""

    def step(data: bytes) -> Buffer:
        store.stated[remote.key] = remote
        return data

    return step


# --- servers that ignore ranges ---------------------------------------------------------------


def test_where_ranges_are_ignored_all_objects_of_that_origin_come_in_streams(
    tmp_path: Path,
) -> None:
    store = FaultyStore({key: content(LARGE, seed) for seed, key in enumerate("abc")})
    for key in store.objects:
        store.always(key, fails(RangeIgnoredError("200")))
        store.script((key, STREAM), lambda data: data)
    other = FaultyStore({"elsewhere": content(LARGE - 1)})
    first = plan_of(FaultyOpener(store), tmp_path).transfers
    elsewhere = transfer_of(
        FaultyOpener(other, "faulty://other"), other.remote("elsewhere"), tmp_path, 9
    )
    run = carry_out(Plan((*first, elsewhere)), tmp_path, workers=1)
    assert run.report.ok
    assert files(tmp_path) == store.objects | other.objects
    assert sorted(store.streams) == ["a", "b", "c"]
    assert [key for key, _, _ in store.reads] == ["a"]
    assert (len(other.reads), other.streams) == (3, [])


def test_ignored_ranges_count_as_no_failure_of_the_object(tmp_path: Path) -> None:
    store = large()
    for start, _ in ranges_of(LARGE):
        store.always(("big", start), fails(RangeIgnoredError("200")))
    run = run_store(store, tmp_path, policy=PromptPolicy(0))
    assert (run.report.ok, run.item("big").verified) == (True, True)
    assert run.sink.progressed == LARGE


def test_objects_that_fit_in_one_request_are_not_streamed(tmp_path: Path) -> None:
    store = large(small=b"x", medium=content(RANGE))
    store.script(("big", 0), fails(RangeIgnoredError("200")))
    assert run_store(store, tmp_path).report.ok
    assert store.streams == ["big"]


@pytest.mark.parametrize("fault", [fails(TransientError("reset")), short])
def test_a_stream_that_breaks_off_is_repeated(tmp_path: Path, fault: Step) -> None:
    store = large()
    store.script(("big", 0), fails(RangeIgnoredError("200")))
    store.script(("big", STREAM), fault, times=2)
    run = run_store(store, tmp_path, workers=1)
    assert run.report.ok
    assert store.streams == ["big"] * 3
    assert files(tmp_path) == store.objects
    assert run.sink.progressed == LARGE


def test_a_stream_of_wrong_bytes_is_fetched_again_once(tmp_path: Path) -> None:
    store = large()
    store.script(("big", 0), fails(RangeIgnoredError("200")))
    store.script(("big", STREAM), wrong)
    run = run_store(store, tmp_path)
    assert run.report.ok
    assert store.streams == ["big"] * 2
    store.always(("big", 0), fails(RangeIgnoredError("200")))
    store.always(("big", STREAM), wrong)
    again = run_store(store, tmp_path / "again")
    assert (again.report.exit_code, files(tmp_path / "again")) == (7, {})


@pytest.mark.parametrize("key", ["small", "big"])
def test_a_source_that_always_says_that_ranges_are_ignored_is_named_as_the_cause(
    tmp_path: Path, key: str
) -> None:
    # No source should; but an object must not be dropped in silence if one does.
    store = large(small=b"x")
    store.always(key, fails(RangeIgnoredError("200 for a range")))
    store.always((key, STREAM), fails(RangeIgnoredError("200 for a range")))
    run = run_store(store, tmp_path)
    assert run.report.exit_code == 5
    assert run.error(key).message.startswith("200 for a range; attempt 4 after ")


def test_a_range_that_arrives_after_the_stream_began_does_not_count(tmp_path: Path) -> None:
    store, began = large(), threading.Event()
    store.script(("big", 0), waits(began))
    store.always(("big", RANGE), fails(RangeIgnoredError("200")))
    store.always(("big", 2 * RANGE), fails(RangeIgnoredError("200")))
    with ThreadPoolExecutor(3) as pool:
        executor = InlineExecutor(pool)

        def stream(data: bytes) -> Buffer:
            began.set()
            assert wait(executor.futures[:1], PATIENCE_S).done
            return data

        store.script(("big", STREAM), stream)
        run = run_store(store, tmp_path, executor, workers=3)
    assert run.report.ok
    assert files(tmp_path) == store.objects
    assert run.sink.progressed == LARGE
