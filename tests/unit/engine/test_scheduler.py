"""From a plan to a report: what is asked of the source, what is repeated, what is in place."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.engine.retry import RetryPolicy
from kaiwo.errors import (
    BugError,
    BusyError,
    CertificateError,
    ChangedError,
    ConfigError,
    CredentialsError,
    DeadlineError,
    DiskError,
    IntegrityError,
    KaiwoError,
    NotFoundError,
    RangeIgnoredError,
    ServiceError,
    TransientError,
    WrongBytesError,
)
from kaiwo.events import Planned, Progressed, Settled
from kaiwo.jobs import RANGE, Batch, CheckExisting, Finish, Plan, Range, Whole
from kaiwo.objects import Checksum, Item, RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.state.state import State
from kaiwo.workers.verify import WORTH_ASKING
from tests.support.faulty import (
    INSPECT,
    MIB,
    PATIENCE_S,
    STREAM,
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    PatternOpener,
    PromptPolicy,
    RecordingSink,
    Step,
    carry_out,
    content,
    fails,
    files,
    held_by,
    in_place,
    keys,
    left,
    plan_of,
    put,
    ranges_of,
    run_store,
    short,
    transfer_of,
    waits,
    wrong,
)

LARGE = 17 * MIB
PERMANENT = [
    BugError,
    CertificateError,
    ConfigError,
    CredentialsError,
    DiskError,
    NotFoundError,
    ServiceError,
]


def large(**others: bytes) -> FaultyStore:
    """A store with one object of three ranges, and others."""
    return FaultyStore({"big": content(LARGE), **others})


# --- jobs -------------------------------------------------------------------------------------


def test_medium_objects_travel_alone_in_one_request(tmp_path: Path) -> None:
    executor = InlineExecutor()
    sizes = (MIB + 1, 3 * MIB, RANGE)
    store = FaultyStore({f"f{size}": content(size) for size in sizes})
    run_store(store, tmp_path, executor)
    assert [len(job.transfers) for job in executor.of(Batch)] == [1, 1, 1]
    assert sorted(store.reads) == sorted((f"f{size}", 0, size) for size in sizes)
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("size", [RANGE + 1, 2 * RANGE, LARGE])
def test_large_objects_are_read_in_ranges_of_8_mebibytes(tmp_path: Path, size: int) -> None:
    executor = InlineExecutor()
    store = FaultyStore({"big": content(size)})
    run = run_store(store, tmp_path, executor)
    assert RANGE == 8 * MIB
    assert store.reads == [("big", start, end) for start, end in ranges_of(size)]
    assert len(executor.of(Finish)) == 1
    assert files(tmp_path) == store.objects
    assert run.item("big").attempts == 1


def test_jobs_are_made_in_the_order_of_the_plan(tmp_path: Path) -> None:
    executor = InlineExecutor()
    store = large(medium=content(2 * MIB), small=b"s", other=content(9 * MIB))
    run_store(store, tmp_path, executor, workers=1)
    assert [key for key, _, _ in store.reads] == ["big"] * 3 + ["other"] * 2 + ["medium", "small"]


def test_ranges_are_made_only_when_there_is_room(tmp_path: Path) -> None:
    executor = InlineExecutor()
    store = large()
    store.script("big", fails(NotFoundError("gone")))
    run_store(store, tmp_path, executor, workers=1)
    assert len(executor.of(Range)) == 1


def test_empty_objects_become_empty_files(tmp_path: Path) -> None:
    run = run_store(FaultyStore({"empty": b"", "folder/empty": b""}), tmp_path)
    assert run.report.ok
    assert files(tmp_path) == {"empty": b"", "folder/empty": b""}


def test_an_empty_plan_is_a_success(tmp_path: Path) -> None:
    run = carry_out(Plan(), tmp_path)
    assert (run.report.ok, run.report.items, run.sink.events) == (True, (), [Planned(0, 0, 0)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_never_more_reads_at_once_than_workers(tmp_path: Path, workers: int) -> None:
    store = large(**{f"f{number}": content(2 * MIB, number) for number in range(workers * 4 - 3)})
    together = threading.Barrier(workers)

    def meet(data: bytes) -> Buffer:
        together.wait(PATIENCE_S)
        return data

    for key in store.objects:
        store.always(key, meet)
    with ThreadPoolExecutor(16) as pool:
        run = run_store(store, tmp_path, pool, workers=workers)
    assert run.report.ok
    assert store.most_at_once == workers


@pytest.mark.parametrize("workers", [1, 3])
def test_the_workers_are_all_that_there_are_for_small_and_large_objects_together(
    tmp_path: Path, workers: int
) -> None:
    store = large(**{key: content(2_000, 5) for key in keys(60)})
    together = threading.Event()

    def meet(data: bytes) -> Buffer:
        if store.most_at_once == workers:
            together.set()
        assert together.wait(PATIENCE_S)
        return data

    for key in store.objects:
        store.always(key, meet)
    with ThreadPoolExecutor(16) as pool:
        run = run_store(store, tmp_path, pool, workers=workers)
    assert run.report.ok
    assert store.most_at_once == workers


def test_small_requests_do_not_take_the_place_of_ranges_nor_ranges_theirs(tmp_path: Path) -> None:
    store = FaultyStore({f"big{n}": content(LARGE, n) for n in range(2)}, "crc32c")
    store.objects |= dict.fromkeys(keys(40), b"0123456789")
    lock, together, ranges, most = threading.Lock(), threading.Barrier(2), 0, 0
    small_ones_went_by = threading.Event()

    def read_range(data: bytes) -> Buffer:
        nonlocal ranges, most
        with lock:
            ranges += 1
            most = max(most, ranges)
        together.wait(PATIENCE_S)
        with lock:
            ranges -= 1
        return data

    def go_by(data: bytes) -> Buffer:
        small_ones_went_by.set()
        return data

    for number in range(2):
        store.always(f"big{number}", read_range)
    store.script(("big1", 2 * RANGE), waits(small_ones_went_by))
    for key in keys(40):
        store.script(key, go_by)
    # Six ranges, of which the last does not meet another.
    store.script(("big1", RANGE), lambda data: data)
    with ThreadPoolExecutor(80) as pool:
        run = run_store(store, tmp_path, pool, workers=2, small_requests=64)
    assert run.report.ok
    assert most == 2


# --- repeats ----------------------------------------------------------------------------------


def test_only_the_range_that_failed_is_repeated(tmp_path: Path) -> None:
    store = large()
    store.script(("big", RANGE), fails(TransientError("reset")), times=2)
    run = run_store(store, tmp_path)
    assert store.reads_of("big") == {0: 1, RANGE: 3, 2 * RANGE: 1}
    assert files(tmp_path) == store.objects
    assert (run.report.exit_code, run.item("big").attempts) == (0, 3)
    assert [(each.attempt, each.what) for each in run.retried] == [
        (1, "faulty://bucket/big"),
        (2, "faulty://bucket/big"),
    ]


def test_only_the_object_of_a_batch_that_failed_is_repeated(tmp_path: Path) -> None:
    executor = InlineExecutor()
    names = list(keys(12))
    store = FaultyStore(dict.fromkeys(names, b"1"))
    store.script(names[4], fails(TransientError("reset")))
    run = run_store(store, tmp_path, executor, workers=1)
    expected = {name: 2 if name == names[4] else 1 for name in names}
    assert Counter(key for key, _, _ in store.reads) == expected
    held = [[each.object.key for each in job.transfers] for job in executor.of(Batch)]
    first, again = (batch for batch in held if names[4] in batch)
    assert (len(first) > 1, again) == (True, [names[4]])
    assert {item.target: item.attempts for item in run.report.items} == {
        str(tmp_path / key): count for key, count in expected.items()
    }


@pytest.mark.parametrize("retries", [0, 1, 5])
@pytest.mark.parametrize("key", ["small", "big"])
def test_retries_stop_at_the_limit_and_the_last_cause_is_named(
    tmp_path: Path, key: str, retries: int
) -> None:
    store = large(small=b"x")
    causes = [fails(TransientError(f"cause {number}")) for number in range(retries + 1)]
    store.script((key, 0), *causes)
    run = run_store(store, tmp_path, policy=PromptPolicy(retries))
    assert store.reads_of(key)[0] == retries + 1
    assert run.item(key).attempts == retries + 1
    last, first = f"cause {retries}", "the first failed with: cause 0"
    seconds = r"; attempt \d after \d+\.\d s, "
    told = f"{last}{seconds}{first}" if retries else last
    assert re.fullmatch(told, run.error(key).message)
    assert (run.item(key).status, run.report.exit_code) == ("failed", 5)
    assert key not in files(tmp_path)


def test_each_range_has_its_own_retries(tmp_path: Path) -> None:
    store = large()
    for start, _ in ranges_of(LARGE):
        store.script(("big", start), fails(TransientError("reset")), times=3)
    run = run_store(store, tmp_path, policy=PromptPolicy(3))
    assert run.report.ok
    assert run.item("big").attempts == 10


@pytest.mark.parametrize("key", ["small", "big"])
def test_a_short_body_is_repeated(tmp_path: Path, key: str) -> None:
    store = large(small=b"four")
    store.script(key, short, lambda data: data + b"!", lambda _: b"")
    run = run_store(store, tmp_path)
    assert run.report.ok
    assert len(run.retried) == 3
    assert files(tmp_path) == store.objects


def test_an_error_of_the_sdk_is_classified_by_the_source(tmp_path: Path) -> None:
    store = large(small=b"x")
    store.script("small", fails(ConnectionResetError("by peer")))
    store.script(("big", 0), fails(ConnectionResetError("by peer")))
    run = run_store(store, tmp_path)
    assert run.report.ok
    assert {each.error.message for each in run.retried} == {"faulty: ConnectionResetError"}


def test_a_repeat_waits_as_long_as_the_service_asks(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1"})
    store.script("a", fails(TransientError("429", 0.3)))
    run = run_store(store, tmp_path, policy=RetryPolicy())
    assert run.report.ok
    assert [each.delay_s for each in run.retried] == [0.3]
    assert run.report.seconds >= 0.3
    assert run.item("a").seconds >= 0.3


@pytest.mark.parametrize("kind", PERMANENT)
@pytest.mark.parametrize("key", ["small", "big"])
def test_permanent_errors_are_never_repeated(
    tmp_path: Path, kind: type[KaiwoError], key: str
) -> None:
    store = FaultyStore({"small": b"x", "big": content(RANGE + 1)})
    store.always(key, fails(kind("that is that")))
    run = run_store(store, tmp_path, workers=1)
    assert store.reads_of(key) == {0: 1}
    assert (run.error(key).message, run.item(key).attempts) == ("that is that", 1)
    assert run.report.exit_code == kind.exit_code
    assert run.retried == []
    assert set(files(tmp_path)) == {"small", "big"} - {key}


@pytest.mark.parametrize(
    "small_requests",
    [
        None,
        8,
    ],
)
def test_after_a_permanent_failure_no_range_of_the_object_is_begun(
    tmp_path: Path, small_requests: int | None
) -> None:
    store = FaultyStore({"big": content(5 * RANGE)})
    store.script(("big", 0), fails(CredentialsError("expired")))
    run_store(store, tmp_path, workers=1, small_requests=small_requests)
    assert store.reads_of("big") == {0: 1}


def test_after_a_permanent_failure_no_range_of_the_object_is_repeated(tmp_path: Path) -> None:
    store = FaultyStore({"big": content(2 * RANGE)})
    store.script(("big", 0), fails(TransientError("busy", 0.05)))
    store.script(("big", RANGE), fails(CredentialsError("expired")))
    run_store(store, tmp_path, policy=RetryPolicy(), workers=1)
    assert store.reads_of("big") == {0: 1, RANGE: 1}


# --- integrity --------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "reads"), [("small", 2), ("medium", 2), ("big", 3)])
def test_wrong_bytes_are_fetched_again(tmp_path: Path, key: str, reads: int) -> None:
    store = large(small=b"some", medium=content(2 * MIB))
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
    store = large(small=b"some", medium=content(2 * MIB))
    store.always((key, 0), wrong)
    run = run_store(store, tmp_path)
    assert store.reads_of(key)[0] == reads
    assert run.report.exit_code == 7
    assert type(run.error(key)) is WrongBytesError
    assert "md5" in run.error(key).message
    assert set(files(tmp_path)) == set(store.objects) - {key}


def xored(number: int) -> Step:
    """The first byte is another one for each number."""
    return lambda data: bytes([data[0] ^ number]) + data[1:]


@pytest.mark.parametrize("key", ["small", "medium"])
def test_bytes_that_are_wrong_in_another_way_each_time_are_read_again_as_often_as_failures(
    tmp_path: Path, key: str
) -> None:
    store = large(small=b"some", medium=content(2 * MIB))
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


@pytest.mark.parametrize(("size", "asked"), [(4, 0), (WORTH_ASKING - 1, 0), (WORTH_ASKING, 1)])
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
    planned = replace(store.remote("a"), unpinned=True)
    plan = Plan((transfer_of(FaultyOpener(store), planned, tmp_path),))
    assert carry_out(plan, tmp_path).report.ok
    assert store.inspections == ["a"]
    store.stated["a"] = replace(planned, etag="a newer one")
    assert carry_out(plan, tmp_path).item("a").etag == "a newer one"
    store.script(
        ("a", INSPECT), *(restated(store, replace(planned, etag=f"{n}")) for n in range(9))
    )
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


# --- failures of single objects ---------------------------------------------------------------


def test_one_failed_object_does_not_stop_the_others(tmp_path: Path) -> None:
    store = large(**{key: key.encode() for key in keys(100)})
    failing = {"big", *list(keys(100))[::10]}
    for key in failing:
        store.always(key, fails(NotFoundError(f"{key}: gone")))
    run = run_store(store, tmp_path)
    assert set(files(tmp_path)) == set(store.objects) - failing
    assert run.report.exit_code == 4
    assert run.report.count("failed") == len(failing)
    assert run.report.count("downloaded") == 101 - len(failing)


def test_several_kinds_of_failure_the_first_of_the_order_is_the_exit_code(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1", "b": b"2", "c": b"3"})
    store.always("a", fails(ServiceError("5")))
    store.always("b", fails(IntegrityError("7")))
    store.always("c", fails(DiskError("6")))
    assert run_store(store, tmp_path).report.exit_code == 6


@pytest.mark.parametrize("key", ["small", "big"])
def test_an_unforeseen_exception_fails_that_object_only(tmp_path: Path, key: str) -> None:
    store = large(small=b"x", other=b"y")
    store.always(key, fails(ZeroDivisionError("secret text")))
    run = run_store(store, tmp_path)
    assert run.report.exit_code == 1
    assert set(files(tmp_path)) == {"small", "big", "other"} - {key}
    assert isinstance(run.error(key), BugError)
    assert "ZeroDivisionError" in run.error(key).message
    assert "secret" not in run.error(key).message


def test_a_source_that_answers_with_nonsense_fails_that_object_only(tmp_path: Path) -> None:
    class Nonsense(bytes):
        def __len__(self) -> int:
            raise ZeroDivisionError("secret text")

    store = FaultyStore({"a": b"1", "b": b"2"})
    store.script("a", Nonsense)
    run = run_store(store, tmp_path)
    assert run.report.exit_code == 1
    assert files(tmp_path) == {"b": b"2"}
    assert "ZeroDivisionError" in run.error("a").message
    assert "secret" not in run.error("a").message


def test_a_source_that_cannot_be_opened_fails_its_own_objects(tmp_path: Path) -> None:
    closed, open_ = FaultyStore({"a": b"1", "b": b"2"}), FaultyStore({"c": b"3"})
    closed.open_faults = [CredentialsError("no such key file")] * 2
    plan = Plan(
        (
            *plan_of(FaultyOpener(closed), tmp_path).transfers,
            transfer_of(FaultyOpener(open_), open_.remote("c"), tmp_path, 2),
        )
    )
    run = carry_out(plan, tmp_path)
    assert (run.report.exit_code, files(tmp_path)) == (3, {"c": b"3"})


def test_a_folder_that_cannot_be_made_is_a_disk_error_of_that_object(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    store = FaultyStore({"file/below": b"1", "big": content(LARGE), "other": b"2"})
    run = run_store(store, tmp_path)
    assert run.report.exit_code == 6
    assert store.reads_of("file/below") == {0: 1}
    assert str(tmp_path / "file") in run.error("file/below").message
    assert set(files(tmp_path)) == {"file", "big", "other"}


def test_fail_fast_ends_at_the_first_failure_and_names_the_rest(tmp_path: Path) -> None:
    objects = {f"f{n}": content(2 * MIB, n) for n in range(6)} | {"big": content(LARGE)}
    store = FaultyStore(objects, "crc32c")
    plan = plan_of(FaultyOpener(store), tmp_path)
    third = plan.transfers[2].object.key
    store.always(third, fails(CredentialsError("expired")))
    run = carry_out(plan, tmp_path, workers=1, fail_fast=True)
    assert run.report.exit_code == 3
    assert len(run.report.items) == 7
    assert run.report.count("downloaded") == 2
    assert run.report.count("failed") == 5
    assert set(files(tmp_path)) == {transfer.object.key for transfer in plan.transfers[:2]}
    named = [item for item in run.report.items if "not attempted" in str(item.error)]
    assert len(named) == 4
    assert set(run.settled().values()) == {1}


def test_fail_fast_does_not_end_at_what_is_repeated(tmp_path: Path) -> None:
    store = large(small=b"x")
    store.script("small", fails(TransientError("reset")))
    store.script("big", wrong)
    assert run_store(store, tmp_path, fail_fast=True).report.ok


def test_fail_fast_ends_when_the_last_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    store = FaultyStore({"file/below": content(LARGE)})
    run = run_store(store, tmp_path, workers=1, fail_fast=True)
    assert run.report.exit_code == 6


def test_fail_fast_lets_what_is_running_end(tmp_path: Path) -> None:
    store = FaultyStore({"slow": content(2 * MIB), "bad": content(MIB + 1)})
    gate = threading.Event()

    class Opening(RecordingSink):
        def emit(self, event: object) -> None:
            if isinstance(event, Settled) and event.item.status == "failed":
                gate.set()

    store.script("slow", waits(gate))
    store.always("bad", fails(NotFoundError("gone")))
    with ThreadPoolExecutor(2) as pool:
        run = run_store(store, tmp_path, pool, workers=2, fail_fast=True, sink=Opening())
    assert run.report.exit_code == 4
    assert set(files(tmp_path)) == {"slow"}


# --- the deadline -----------------------------------------------------------------------------


def test_when_the_deadline_has_passed_nothing_is_attempted_and_all_is_named(tmp_path: Path) -> None:
    store = large(small=b"x", medium=content(2 * MIB))
    run = run_store(store, tmp_path, until_s=time.monotonic())
    assert (run.report.exit_code, store.reads, files(tmp_path)) == (8, [], {})
    assert {type(item.error) for item in run.report.items} == {DeadlineError}
    assert set(run.settled().values()) == {1}
    assert [item.attempts for item in run.report.items] == [0, 0, 0]


def test_a_deadline_that_is_not_reached_changes_nothing(tmp_path: Path) -> None:
    store = large(small=b"x")
    store.script("small", fails(TransientError("reset")))
    run = run_store(store, tmp_path, until_s=time.monotonic() + 3_600)
    assert (run.report.ok, files(tmp_path)) == (True, store.objects)


def test_at_the_deadline_what_is_in_flight_is_not_waited_for(tmp_path: Path) -> None:
    store = large(done=content(LARGE + 1, 2), small=b"x", medium=content(2 * MIB))
    store.algorithm = "crc32c"
    over = threading.Event()
    for where in (("big", RANGE), "medium", "small"):
        store.script(where, waits(over))
    until_s = time.monotonic() + 4
    with ThreadPoolExecutor(4) as pool:
        run = run_store(store, tmp_path, pool, workers=4, until_s=until_s)
        late_s = time.monotonic() - until_s
        temporaries, known = left(tmp_path), journals(tmp_path)
        over.set()
    assert 0 <= late_s < PATIENCE_S / 4
    assert run.report.exit_code == 8
    assert run.item("done").status == "downloaded"
    failed = [item for item in run.report.items if item.status == "failed"]
    assert {type(item.error) for item in failed} == {DeadlineError}
    assert len(failed) == 3
    # What has arrived of the large one is for the next run.
    assert (temporaries, known) == ([".kaiwo-0-1.part"], ["journal-0.jsonl"])


def test_at_the_deadline_a_repeat_is_not_waited_for(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"1"})
    store.script("a", fails(BusyError("503", 3_600.0)))
    begun_s = time.monotonic()
    run = run_store(store, tmp_path, until_s=begun_s + 0.3, policy=RetryPolicy())
    assert (run.report.exit_code, type(run.error("a"))) == (8, DeadlineError)
    assert 0.3 <= time.monotonic() - begun_s < PATIENCE_S


def test_of_several_kinds_of_failure_the_deadline_comes_before_the_service(tmp_path: Path) -> None:
    store = FaultyStore({"a": content(2 * MIB), "b": b"2"})
    store.script("a", fails(ServiceError("400")))
    store.script("b", fails(BusyError("503", 3_600.0)))
    run = run_store(store, tmp_path, until_s=time.monotonic() + 0.3, policy=RetryPolicy())
    assert run.report.exit_code == 8
    assert isinstance(run.error("a"), ServiceError)


# --- what is left behind ----------------------------------------------------------------------


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    store = large(good=b"1", bad=b"2", gone=content(LARGE, 2), broken=content(LARGE, 3))
    store.always("big", wrong)
    store.always("bad", wrong)
    store.script(("gone", RANGE), fails(NotFoundError("gone")))
    store.always(("broken", 2 * RANGE), fails(TransientError("reset")))
    run = run_store(store, tmp_path)
    assert run.report.exit_code == 4
    assert in_place(tmp_path) == {"good": b"1"}
    # Of what failed in passing, a later run can use what has arrived.
    assert [left(tmp_path), journals(tmp_path)] == [[".kaiwo-0-2.part"], ["journal-0.jsonl"]]
    assert {path.name for path in tmp_path.iterdir()} == {"good", ".kaiwo", *left(tmp_path)}


def journals(root: Path) -> list[str]:
    """The names of the journals that are there."""
    return sorted(path.name for path in root.glob(".kaiwo/journal-*"))


@pytest.mark.parametrize("etag", ["some", None])
def test_a_defect_leaves_what_a_later_run_can_go_on_with_and_nothing_else(
    tmp_path: Path, etag: str | None
) -> None:
    class BrokenSink(RecordingSink):
        def emit(self, event: object) -> None:
            if isinstance(event, Progressed):
                raise ZeroDivisionError
            self.events.append(event)  # type: ignore[arg-type]

    store = large()
    remote = replace(store.remote("big"), etag=etag)
    plan = Plan((transfer_of(FaultyOpener(store), remote, tmp_path),))
    with pytest.raises(ZeroDivisionError):
        carry_out(plan, tmp_path, sink=BrokenSink())
    assert left(tmp_path) == ([".kaiwo-0-0.part"] if etag else [])
    assert in_place(tmp_path) == {}


def test_the_executor_is_not_shut_down(tmp_path: Path) -> None:
    executor = InlineExecutor()
    run_store(FaultyStore({"a": b"1"}), tmp_path, executor)
    assert not executor.was_shut_down


def test_memory_holds_what_is_in_place_and_nothing_else(tmp_path: Path) -> None:
    store = large(good=b"1", bad=b"2", gone=content(LARGE, 2))
    store.always("bad", wrong)
    store.script(("gone", RANGE), fails(NotFoundError("gone")))
    plan = plan_of(FaultyOpener(store), tmp_path)
    carry_out(plan, tmp_path)
    memory = State().manifest(str(tmp_path))
    held = {each.object.key: held_by(memory, each) for each in plan.transfers}
    assert {key for key, record in held.items() if record} == {"big", "good"}
    assert all(record.checksum for record in held.values() if record)


@pytest.mark.parametrize("obstacle", ["folder", "file", "link"])
def test_memory_that_cannot_be_written_does_not_fail_the_run(tmp_path: Path, obstacle: str) -> None:
    state = tmp_path / ".kaiwo"
    if obstacle == "folder":
        (state / "manifest.jsonl").mkdir(parents=True)
    elif obstacle == "file":
        state.write_bytes(b"in the way")
    else:
        state.symlink_to("nowhere/at/all")
    run = run_store(FaultyStore({"a": b"1", "b": b"2"}), tmp_path)
    assert run.report.ok
    assert {"a": b"1", "b": b"2"}.items() <= files(tmp_path).items()


# --- the report and the events ----------------------------------------------------------------


def test_the_report_counts_every_object_once(tmp_path: Path) -> None:
    store = large(good=b"12", bad=b"3")
    store.always("bad", fails(NotFoundError("gone")))
    old = FaultyStore({"old": b"4567"})
    unchanged = transfer_of(FaultyOpener(old), old.remote("old"), tmp_path, 7)
    missed = Item("task", "faulty://empty/", "", "failed", 0, error=NotFoundError("none"))
    plan = plan_of(FaultyOpener(store), tmp_path, unchanged=[unchanged], missed=[missed])
    run = carry_out(plan, tmp_path)
    report = run.report
    assert len(report.items) == 5
    assert [report.count(s) for s in ("downloaded", "resumed", "unchanged", "failed")] == [
        2,
        0,
        1,
        2,
    ]
    assert report.transferred_bytes == LARGE + 2
    assert old.reads == []
    assert [event.item for event in run.sink.of(Settled)] == list(report.items)
    assert run.planned == Planned(3, LARGE + 3, 1)
    good, unread = run.item("good"), run.item("old")
    assert (good.task, good.source, good.bytes) == ("task", "faulty://bucket/good", 2)
    assert (good.etag, good.attempts, good.error) == (store.remote("good").etag, 1, None)
    assert (unread.status, unread.attempts, unread.verified) == ("unchanged", 0, True)


def test_progress_sums_to_the_bytes_of_what_is_in_place(tmp_path: Path) -> None:
    store = large(small=b"12", medium=content(2 * MIB))
    store.script(("big", RANGE), fails(TransientError("reset")), short, wrong)
    store.script("medium", wrong, fails(TransientError("reset")))
    run = run_store(store, tmp_path)
    assert run.report.ok
    assert run.sink.progressed == sum(map(len, store.objects.values()))


@pytest.mark.parametrize(("size", "bytes_read"), [(4, 8), (LARGE, 2 * LARGE + RANGE)])
def test_bytes_that_were_read_again_are_transferred_bytes_too(
    tmp_path: Path, size: int, bytes_read: int
) -> None:
    store = FaultyStore({"a": content(size)})
    store.script(("a", 0), wrong)
    run = run_store(store, tmp_path)
    assert run.report.transferred_bytes == bytes_read
    assert run.sink.progressed == size


def test_events_come_in_the_thread_of_the_caller(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        run = run_store(large(small=b"x"), tmp_path, pool)
    assert run.sink.threads == {threading.get_ident()}


# --- what is there already --------------------------------------------------------------------


def test_a_file_that_the_checksum_proves_is_adopted_without_reading(tmp_path: Path) -> None:
    store = large(small=b"12")
    plan = plan_of(FaultyOpener(store), tmp_path)
    for transfer in plan.transfers:
        put(transfer, store.objects[transfer.object.key])
    plan = Plan(tuple(replace(transfer, present=True) for transfer in plan.transfers))
    run = carry_out(plan, tmp_path)
    assert store.reads == []
    assert run.planned == Planned(2, LARGE + 2, 0, 2, LARGE + 2)
    assert run.report.count("unchanged") == 2
    assert all(item.verified for item in run.report.items)
    assert (run.report.transferred_bytes, run.sink.progressed) == (0, 0)
    memory = State().manifest(str(tmp_path))
    assert all(held_by(memory, transfer) for transfer in plan.transfers)


def test_a_file_of_the_right_size_with_other_bytes_is_replaced(tmp_path: Path) -> None:
    executor = InlineExecutor()
    store = large(small=b"12")
    plan = plan_of(FaultyOpener(store), tmp_path)
    for transfer in plan.transfers:
        put(transfer, bytes(wrong(store.objects[transfer.object.key])))
    run = carry_out(
        Plan(tuple(replace(transfer, present=True) for transfer in plan.transfers)),
        tmp_path,
        executor,
    )
    assert files(tmp_path) == store.objects
    assert run.report.count("downloaded") == 2
    assert [type(job) for job in executor.jobs[:2]] == [CheckExisting, CheckExisting]


def test_a_file_that_nothing_proves_is_replaced(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"new"})
    store.stated["a"] = RemoteObject("a", 3, "etag")
    transfer = transfer_of(FaultyOpener(store), store.remote("a"), tmp_path, present=True)
    put(transfer, b"old")
    assert carry_out(Plan((transfer,)), tmp_path).report.count("downloaded") == 1
    assert files(tmp_path) == {"a": b"new"}


def test_a_comparison_that_fails_in_passing_is_repeated(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"some"})
    remote = replace(store.remote("a"), checksum=None, checksum_on_request=True)
    transfer = transfer_of(FaultyOpener(store), remote, tmp_path, present=True)
    put(transfer, b"some")
    store.inspect_faults = [TransientError("503"), ConnectionResetError("by peer")]
    run = carry_out(Plan((transfer,)), tmp_path)
    assert (run.item("a").status, run.item("a").attempts, store.reads) == ("unchanged", 3, [])


# --- executors --------------------------------------------------------------------------------


@contextmanager
def _executor(kind: str) -> Iterator[Executor]:
    if kind == "inline":
        yield InlineExecutor()
    elif kind == "threads":
        with ThreadPoolExecutor(4) as threads:
            yield threads
    else:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
            yield processes


@pytest.mark.parametrize("kind", ["inline", "threads", "processes"])
def test_any_executor_will_do(tmp_path: Path, kind: str) -> None:
    once, root = tmp_path / "once", tmp_path / "out"
    once.mkdir()
    sizes = tuple((f"f{size}", size) for size in (0, 1, 5_000, MIB + 1, LARGE))
    opener = PatternOpener(sizes, str(once))
    store = FaultyStore({key: content(size) for key, size in sizes})
    transfers = tuple(
        transfer_of(opener, store.remote(key), root, index)
        for index, (key, _) in enumerate(reversed(sizes))
    )
    with _executor(kind) as executor:
        run = carry_out(Plan(transfers), root, executor)
        assert executor.submit(os.getpid).result(PATIENCE_S)
    assert run.report.ok
    assert files(root) == store.objects
    assert len(run.retried) == 7
    assert run.sink.progressed == sum(size for _, size in sizes)


def test_errors_come_back_from_processes_as_they_are(tmp_path: Path) -> None:
    opener = PatternOpener((("there", 10),))
    lying = RemoteObject("there", 10, checksum=Checksum("md5", "0" * 32))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        run = carry_out(Plan((transfer_of(opener, lying, tmp_path),)), tmp_path, pool)
    assert run.report.exit_code == 7
    assert type(run.error("there")) is WrongBytesError


def test_under_many_faults_everything_is_in_place_in_the_end(tmp_path: Path) -> None:
    chance = random.Random(7)
    store = large(**{key: content(chance.randrange(20_000), 3) for key in keys(400)})
    faults = (short, fails(TransientError("503")), fails(ConnectionResetError("by peer")))
    for key, data in store.objects.items():
        if data:
            steps = [chance.choice(faults) for _ in range(chance.randrange(4))]
            store.script(key, *steps, *([wrong] if chance.random() < 0.2 else []))
    with ThreadPoolExecutor(8) as pool:
        run = run_store(store, tmp_path, pool, workers=8, policy=PromptPolicy(5))
    assert run.report.ok
    assert files(tmp_path) == store.objects
    assert run.sink.progressed == sum(map(len, store.objects.values()))
    assert all(item.verified for item in run.report.items)
    assert set(run.settled().values()) == {1}


def test_the_first_job_of_each_kind_is_data(tmp_path: Path) -> None:
    executor = InlineExecutor()
    store = large(small=b"x", streamed=content(LARGE, 5))
    store.script(("streamed", 0), fails(RangeIgnoredError("200")))
    run_store(store, tmp_path, executor, workers=1)
    kinds = {type(job) for job in executor.jobs}
    assert kinds == {Batch, Range, Whole, Finish}
    assert all(job == replace(job) for job in executor.jobs)
