"""Large objects: checksums that are taken while the ranges arrive."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.engine import large_object, running_digests
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.errors import (
    ChangedError,
    CredentialsError,
    KaiwoError,
    LostError,
    NotFoundError,
    RangeIgnoredError,
    ServiceError,
    TransientError,
    WrongBytesError,
)
from kaiwo.events import Event, Progressed, Settled
from kaiwo.files import hashing
from kaiwo.files.folders import Root
from kaiwo.jobs import RANGE, FetchChecksum, HashPrefix, Outcome, Plan, Transfer, Whole
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.protocols import Buffer
from tests.support.faulty import (
    INSPECT,
    LARGE,
    MIB,
    PATIENCE_S,
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    PromptPolicy,
    RecordingSink,
    carry_out,
    content,
    fails,
    files,
    in_place,
    large,
    left,
    plan_of,
    ranges_of,
    run_store,
    transfer_of,
    waits,
    wrong,
)

COMBINABLE = ["crc32c", "crc64nvme"]

FOLLOWING = ["md5", "sha256", "git-sha1"]


def no_second_read(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the test fail when kaiwo takes a checksum of a file."""

    def refuse(*_: object) -> None:
        raise AssertionError("the file was read")

    for name in names:
        owner = hashing if hasattr(hashing, name) else checksums
        monkeypatch.setattr(owner, name, refuse)


def inspected(store: FaultyStore, root: Path) -> Plan:
    """A plan of the one object, whose checksum only an inspection tells."""
    (key,) = store.objects
    planned = replace(store.remote(key), checksum=None, checksum_on_request=True)
    return Plan((transfer_of(FaultyOpener(store), planned, root),))


@pytest.mark.parametrize("algorithm", COMBINABLE)
def test_a_checksum_that_combines_is_verified_without_reading_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    no_second_read(monkeypatch, "of_file", "follow")
    store = FaultyStore({"big": content(LARGE)}, algorithm)
    run = run_store(store, tmp_path)
    assert (run.report.ok, run.item("big").verified) == (True, True)
    assert run.item("big").checksum == store.remote("big").checksum
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("algorithm", COMBINABLE)
def test_a_checksum_that_combines_and_is_told_last_is_verified_without_reading_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    no_second_read(monkeypatch, "of_file", "follow")
    store = FaultyStore({"big": content(LARGE)}, algorithm)
    told = told_when_all_is_read(store)
    with ThreadPoolExecutor(4) as pool:
        run = carry_out(inspected(store, tmp_path), tmp_path, pool, sink=told)
    assert (run.report.ok, run.item("big").verified) == (True, True)
    assert store.inspections == ["big"]
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("algorithm", FOLLOWING)
def test_a_checksum_that_follows_and_is_told_last_is_verified_and_the_file_not_hashed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    no_second_read(monkeypatch, "of_file")
    store = FaultyStore({"big": content(LARGE)}, algorithm)
    told = told_when_all_is_read(store)
    with ThreadPoolExecutor(4) as pool:
        run = carry_out(inspected(store, tmp_path), tmp_path, pool, sink=told)
    assert (run.report.ok, run.item("big").verified) == (True, True)
    assert files(tmp_path) == store.objects


def told_when_all_is_read(store: FaultyStore) -> RecordingSink:
    """A sink of a run in which the inspection is answered when all bytes have arrived."""
    arrived = threading.Event()
    (key,) = store.objects
    store.script((key, INSPECT), waits(arrived))

    class Opening(RecordingSink):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if self.progressed == len(store.objects[key]):
                arrived.set()

    return Opening()


@pytest.mark.parametrize("algorithm", COMBINABLE + FOLLOWING)
def test_ranges_that_arrive_last_first_are_verified_on_their_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    no_second_read(monkeypatch, "of_file")
    store = FaultyStore({"big": content(LARGE)}, algorithm)
    arrived = [threading.Event() for _ in ranges_of(LARGE)]

    class Opening(RecordingSink):
        def emit(self, event: Event) -> None:
            super().emit(event)
            count = len(self.of(Progressed))
            if 0 < count < len(arrived):
                arrived[count].set()

    arrived[0].set()
    for number, (start, _) in enumerate(reversed(ranges_of(LARGE))):
        store.script(("big", start), waits(arrived[number]))
    with ThreadPoolExecutor(3) as pool:
        run = run_store(store, tmp_path, pool, workers=3, sink=Opening())
    assert (run.report.ok, run.item("big").verified) == (True, True)
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("told", ["by the listing", "by an inspection"])
@pytest.mark.parametrize("algorithm", COMBINABLE + FOLLOWING)
@pytest.mark.parametrize("number", range(3))
def test_a_flipped_byte_in_any_range_is_found_each_time_and_nothing_is_published(
    tmp_path: Path, algorithm: str, number: int, told: str
) -> None:
    store = FaultyStore({"big": content(LARGE)}, algorithm)
    store.always(("big", number * RANGE), wrong)
    listed = told == "by the listing"
    plan = plan_of(FaultyOpener(store), tmp_path) if listed else inspected(store, tmp_path)
    run = carry_out(plan, tmp_path)
    assert (run.report.exit_code, type(run.error("big"))) == (7, WrongBytesError)
    assert algorithm in run.error("big").message
    # Each range as planned, compared, and once more in a new round.
    assert store.reads_of("big") == dict.fromkeys((0, RANGE, 2 * RANGE), 3)
    assert len(store.inspections) == (0 if listed else 1), "asked once for both rounds"
    assert files(tmp_path) == {}
    assert run.sink.progressed == LARGE


@pytest.mark.parametrize("algorithm", COMBINABLE + FOLLOWING)
def test_a_byte_that_is_flipped_once_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    no_second_read(monkeypatch, "of_file")
    store = FaultyStore({"big": content(LARGE)}, algorithm)
    store.script(("big", RANGE), wrong)
    run = run_store(store, tmp_path)
    assert (run.report.ok, run.item("big").verified, run.item("big").attempts) == (True, True, 3)
    assert store.reads_of("big") == {0: 2, RANGE: 3, 2 * RANGE: 2}
    assert files(tmp_path) == store.objects


def test_an_inspection_that_finds_nothing_fails_the_object(tmp_path: Path) -> None:
    store = FaultyStore({"big": content(LARGE)})
    store.inspect_faults = [NotFoundError("no checksum for you")]
    run = carry_out(inspected(store, tmp_path), tmp_path)
    assert run.report.exit_code == 4
    assert run.error("big").message == "no checksum for you"
    assert (run.retried, store.inspections, in_place(tmp_path)) == ([], ["big"], {})
    assert left(tmp_path) == []


@pytest.mark.parametrize("error", [ServiceError, CredentialsError])
@pytest.mark.parametrize("size", [2 * MIB, LARGE])
def test_an_inspection_that_is_refused_leaves_the_object_unverified(
    tmp_path: Path, error: type[KaiwoError], size: int
) -> None:
    store = FaultyStore({"big": content(size)})
    store.inspect_faults = [error("no checksum for you")]
    run = carry_out(inspected(store, tmp_path), tmp_path)
    assert (run.report.ok, run.item("big").verified, files(tmp_path)) == (
        True,
        False,
        store.objects,
    )
    assert (run.retried, store.inspections) == ([], ["big"])


@pytest.mark.parametrize("error", [ServiceError, TransientError])
@pytest.mark.parametrize("size", [4, 2 * MIB, LARGE])
def test_an_inspection_that_fails_leaves_what_the_listing_states(
    tmp_path: Path, error: type[KaiwoError], size: int
) -> None:
    store = FaultyStore({"right": content(size), "wrong": content(size)})
    for key in store.objects:
        store.stated[key] = replace(store.remote(key), checksum_on_request=True)
    store.always(("wrong", 0), wrong)
    store.inspect_faults = [error("no checksum for you") for _ in range(99)]
    run = run_store(store, tmp_path, policy=PromptPolicy(2))
    assert run.report.exit_code in (5, 7)
    assert run.item("right").verified
    assert files(tmp_path) == {"right": content(size)}


@pytest.mark.parametrize("size", [2 * MIB, LARGE])
def test_an_inspection_that_fails_too_often_leaves_the_object_unverified(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = FaultyStore({"big": content(size)})
    store.inspect_faults = [TransientError("503") for _ in range(4)]
    run = carry_out(inspected(store, tmp_path), tmp_path, policy=PromptPolicy(3))
    assert (run.report.ok, run.item("big").verified, files(tmp_path)) == (
        True,
        False,
        store.objects,
    )
    assert len(store.inspections) == 4
    assert "its checksum is not known" in caplog.text


def test_an_object_that_was_replaced_when_it_is_inspected_is_fetched_anew(tmp_path: Path) -> None:
    store = FaultyStore({"big": content(LARGE)}, "crc32c")
    plan = inspected(store, tmp_path)
    store.objects["big"] = content(LARGE, 1)
    store.stated["big"] = replace(store.remote("big"), etag="a newer one")
    told = told_when_all_is_read(store)
    with ThreadPoolExecutor(4) as pool:
        run = carry_out(plan, tmp_path, pool, sink=told)
    assert (run.report.ok, run.item("big").etag) == (True, "a newer one")
    assert [type(each.error) for each in run.retried] == [ChangedError]
    assert store.reads_of("big") == dict.fromkeys((0, RANGE, 2 * RANGE), 2)
    assert files(tmp_path) == store.objects


def test_with_verify_size_nothing_is_asked_and_only_the_ranges_checksums_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = InlineExecutor()
    store = large(small=b"some", medium=content(2 * MIB), streamed=content(LARGE, 3))
    store.script(("streamed", 0), fails(RangeIgnoredError("200")))
    plan = plan_of(FaultyOpener(store), tmp_path)
    asking = tuple(
        replace(each, object=replace(each.object, checksum_on_request=True))
        for each in plan.transfers
    )
    no_second_read(monkeypatch, "of_file", "follow", "of_bytes", "hasher", "combined")
    run = carry_out(Plan(asking), tmp_path, executor, verify=False)
    assert run.report.ok, run.report.items
    assert (store.inspections, executor.of(FetchChecksum), executor.of(HashPrefix)) == ([], [], [])
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("way", ["small", "ranges", "stream", "inspected"])
def test_an_algorithm_that_is_not_known_proves_nothing(tmp_path: Path, way: str) -> None:
    size = 4 if way == "small" else LARGE
    store = FaultyStore({"a": content(size)})
    store.stated["a"] = replace(store.remote("a"), checksum=Checksum("sha3", "0" * 32))
    if way == "stream":
        store.script(("a", 0), fails(RangeIgnoredError("200")))
    opener = FaultyOpener(store)
    plan = inspected(store, tmp_path) if way == "inspected" else plan_of(opener, tmp_path)
    run = carry_out(plan, tmp_path)
    assert (run.report.ok, run.item("a").verified) == (True, False)
    assert files(tmp_path) == store.objects


@pytest.mark.parametrize("algorithm", [*COMBINABLE, *FOLLOWING])
def test_a_stream_is_verified_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    no_second_read(monkeypatch, "of_file", "follow")
    store = FaultyStore({"big": content(LARGE)}, algorithm)
    store.script(("big", 0), fails(RangeIgnoredError("200")))
    run = run_store(store, tmp_path, workers=1)
    assert (run.report.ok, run.item("big").verified) == (True, True)
    assert store.streams == ["big"]


def test_a_stream_tells_how_far_it_has_come_and_begins_from_nothing_when_it_is_cut(
    tmp_path: Path,
) -> None:
    seen = threading.Event()

    class Cut(FaultyStore):
        def stream(self, remote: RemoteObject, *limits: Any, **named: Any) -> Iterator[Buffer]:
            coming = super().stream(remote, *limits, **named)
            if self.streams:
                yield from coming
                return
            yield from itertools.islice(coming, 5)
            seen.wait(PATIENCE_S)
            raise TransientError("reset")

    class Seeing(RecordingSink):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if self.progressed == 5 * MIB:
                seen.set()

    store = Cut({"big": content(LARGE)})
    store.script(("big", 0), fails(RangeIgnoredError("200")))
    with ThreadPoolExecutor(1) as pool:
        run = run_store(store, tmp_path, pool, workers=1, sink=Seeing())
    assert run.report.ok, run.error("big")
    assert seen.is_set(), "while the stream lasted"
    assert [told.bytes for told in run.sink.of(Progressed) if told.bytes < 0] == [-5 * MIB]
    assert run.sink.progressed == LARGE
    assert run.report.transferred_bytes == 5 * MIB + LARGE
    assert files(tmp_path) == store.objects


class LosingAStream(InlineExecutor):
    """The worker of the first stream is gone."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        job = args[0]
        if not isinstance(job, Whole) or self.of(Whole):
            return super().submit(fn, *args, **kwargs)
        self.jobs.append(job)
        future: Future[Any] = Future()
        future.set_result((Outcome(job.transfer, error=LostError("gone")),))
        return future


def test_the_stream_of_a_lost_worker_is_made_again_beside_what_that_may_write(
    tmp_path: Path,
) -> None:
    store, executor = FaultyStore({"a": content(LARGE)}, "crc32c"), LosingAStream()
    store.script(("a", 0), fails(RangeIgnoredError("200")))
    # What the store answers meanwhile is of the stream that was lost.
    run = carry_out(inspected(store, tmp_path), tmp_path, executor, workers=8)
    assert (run.report.ok, run.item("a").verified) == (True, True)
    first, second = executor.of(Whole)
    assert first.transfer.temporary != second.transfer.temporary
    assert files(tmp_path) == store.objects


def hold_checksums(
    monkeypatch: pytest.MonkeyPatch,
    began: threading.Semaphore | None = None,
    most_s: float = PATIENCE_S,
) -> threading.Event:
    """Let running checksums wait for an event, which is returned.

    Args:
        monkeypatch: of the test.
        began: is released by each checksum before it waits.
        most_s: a checksum that waits longer fails.
    """
    gate, follow = threading.Event(), hashing.follow

    def late(running: checksums.Hasher, path: str, start: int, end: int, root: Root) -> None:
        if began is not None:
            began.release()
        assert gate.wait(most_s), "what opens the gate waits for the checksum"
        follow(running, path, start, end, root)

    monkeypatch.setattr(hashing, "follow", late)
    return gate


def test_a_checksum_that_falls_behind_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = hold_checksums(monkeypatch)

    class Opening(RecordingSink):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if self.progressed == 2 * LARGE and not gate.is_set():
                assert self.of(Settled) == []
                gate.set()

    store = large(other=content(LARGE, 2))
    run = run_store(store, tmp_path, sink=Opening())
    assert (run.report.ok, files(tmp_path)) == (True, store.objects)
    assert all(item.verified for item in run.report.items)


def test_another_object_goes_on_while_the_checksum_of_one_lags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = hold_checksums(monkeypatch, most_s=3.0)

    class Opening(RecordingSink):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if any(each.item.target.endswith("other") for each in self.of(Settled)):
                gate.set()

    def refuse(_: bytes) -> Buffer:
        assert gate.is_set(), "the checksum is two ranges behind"
        return content(5 * RANGE)[4 * RANGE :]

    monkeypatch.setattr(running_digests, "THREADS", 2)
    monkeypatch.setattr(large_object, "LAG", 2 * RANGE)
    store = FaultyStore({"big": content(5 * RANGE)})
    store.script(("big", 4 * RANGE), refuse)
    other = FaultyStore({"other": content(RANGE + 1)}, "crc32c")
    second = transfer_of(FaultyOpener(other), other.remote("other"), tmp_path, 1)
    plan = Plan((*plan_of(FaultyOpener(store), tmp_path).transfers, second))
    run = carry_out(plan, tmp_path, workers=2, sink=Opening())
    assert run.report.ok, run.report.items
    assert files(tmp_path) == store.objects | other.objects


def test_fail_fast_lets_a_running_checksum_end_and_drops_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = threading.Semaphore(0)
    gate = hold_checksums(monkeypatch, began)

    class Opening(RecordingSink):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if isinstance(event, Settled) and event.item.error is not None:
                gate.set()

    def fail(_: bytes) -> Buffer:
        assert all(began.acquire(timeout=PATIENCE_S) for _ in range(2)), "both threads are busy"
        raise NotFoundError("gone")

    monkeypatch.setattr(running_digests, "THREADS", 2)
    store = FaultyStore({f"big{number}": content(LARGE, number) for number in range(3)})
    store.objects["bad"] = b"1"
    store.always("bad", fail)
    run = run_store(store, tmp_path, workers=1, fail_fast=True, sink=Opening())
    assert run.report.exit_code == 4
    assert set(run.settled().values()) == {1}
    assert len(run.report.items) == 4
    assert run.error("big2").message.startswith("not attempted")
    assert set(in_place(tmp_path)) <= {"big0", "big1"}


def test_a_range_of_wrong_bytes_that_arrives_after_the_stream_is_not_published(
    tmp_path: Path,
) -> None:
    streamed = threading.Event()

    class Store(FaultyStore):
        def stream(self, remote: RemoteObject, *limits: Any, **named: Any) -> Iterator[Buffer]:
            yield from super().stream(remote, *limits, **named)
            streamed.set()
            assert wait(executor.futures[:1], PATIENCE_S).done

    def late_and_wrong(data: bytes) -> Buffer:
        assert streamed.wait(PATIENCE_S)
        return wrong(data)

    store = Store({"big": content(LARGE)})
    store.script(("big", 0), late_and_wrong)
    store.always(("big", RANGE), fails(RangeIgnoredError("200")))
    store.always(("big", 2 * RANGE), fails(RangeIgnoredError("200")))
    with ThreadPoolExecutor(3) as pool:
        executor = InlineExecutor(pool)
        run = run_store(store, tmp_path, executor, workers=3)
    assert run.report.ok
    assert files(tmp_path) == store.objects


def test_a_running_checksum_of_ranges_does_not_disturb_the_stream_that_replaces_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = hold_checksums(monkeypatch)

    def ignore(_: bytes) -> Buffer:
        raise RangeIgnoredError("200")

    class Opening(RecordingSink):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if isinstance(event, Progressed) and event.bytes < 0:
                gate.set()
                wait(steps, PATIENCE_S)

    steps: list[Future[tuple[Outcome, ...]]] = []
    begin = RunningDigests.follow

    def noted(own: RunningDigests, transfer: Transfer, end: int) -> Future[tuple[Outcome, ...]]:
        steps.append(begin(own, transfer, end))
        return steps[-1]

    monkeypatch.setattr(RunningDigests, "follow", noted)
    store = large()
    store.always(("big", RANGE), ignore)
    run = run_store(store, tmp_path, workers=1, sink=Opening())
    assert run.report.ok, run.error("big")
    assert (len(steps), files(tmp_path)) == (1, store.objects)
