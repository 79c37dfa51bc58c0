"""From a plan to a report: the order of jobs, the deadline, what is left, what is reported."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.unremembered import MOST_UNREMEMBERED
from kaiwo.errors import (
    BusyError,
    DeadlineError,
    NotFoundError,
    RangeIgnoredError,
    ServiceError,
    TransientError,
    WrongBytesError,
)
from kaiwo.events import Event, Planned, Progressed, Settled
from kaiwo.jobs import RANGE, Batch, CheckExisting, Finish, Outcome, Plan, Range, Whole
from kaiwo.objects import Checksum, Item, RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.state.state import State
from tests.support.bucket import keys
from tests.support.faulty import (
    LARGE,
    MIB,
    PATIENCE_S,
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    PatternOpener,
    PromptPolicy,
    RecordingSink,
    carry_out,
    content,
    fails,
    files,
    held_by,
    in_place,
    large,
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

# --- jobs -------------------------------------------------------------------------------------


def test_medium_objects_travel_alone_in_one_request(tmp_path: Path) -> None:
    executor = InlineExecutor()
    sizes = (MIB + 1, 3 * MIB, RANGE)
    store = FaultyStore({f"f{size}": content(size) for size in sizes})
    run_store(store, tmp_path, executor, workers=1)
    # How fast the line is, the first one shows: only then is less remembered of the others.
    assert [(job.start, job.end) for job in executor.of(Range)] == [(0, RANGE)]
    assert [len(job.transfers) for job in executor.of(Batch)] == [1, 1]
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
    # After a transient failure, a later run can use what has arrived.
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
    remote = replace(store.remote("big"), etag=etag, checksum=None)
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


def test_small_objects_that_come_together_are_remembered_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered: list[list[str]] = []
    remember = State.remember

    def note(state: State, outcomes: Iterable[Outcome]) -> None:
        found = list(outcomes)
        remembered.append([each.transfer.object.key for each in found])
        remember(state, found)

    monkeypatch.setattr(State, "remember", note)
    store = FaultyStore({f"{n:03}": b"%d" % n for n in range(300)})
    run = run_store(store, tmp_path, InlineExecutor(), workers=8)
    assert run.report.ok
    assert sorted(key for each in remembered for key in each) == sorted(store.objects)
    assert len(remembered) < 30
    # What is kept back is little, however long results keep coming.
    assert max(map(len, remembered)) < 2 * MOST_UNREMEMBERED


def test_what_is_in_place_is_remembered_though_the_run_is_interrupted(tmp_path: Path) -> None:
    class Interrupted(RecordingSink):
        def emit(self, event: Event) -> None:
            if isinstance(event, Settled):
                raise KeyboardInterrupt

    plan = plan_of(FaultyOpener(FaultyStore({"a": b"1"})), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, tmp_path, sink=Interrupted())
    assert held_by(State().manifest(str(tmp_path)), plan.transfers[0]) is not None
