"""Objects that are replaced while they are fetched: never a mixture, and fetched once more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kaiwo.errors import (
    ChangedError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
    RangeIgnoredError,
    ServiceError,
    TransientError,
)
from kaiwo.events import Event, Settled
from kaiwo.jobs import RANGE, Plan, Range, Restat, Whole
from kaiwo.objects import same_bytes
from kaiwo.protocols import Buffer
from kaiwo.state.state import State
from tests.support.faulty import (
    INSPECT,
    MIB,
    PATIENCE_S,
    STAT,
    STREAM,
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    PromptPolicy,
    RecordingSink,
    Step,
    carry_out,
    content,
    fails,
    files,
    held_by,
    in_place,
    left,
    plan_of,
    put,
    run_store,
    transfer_of,
    wrong,
)

LARGE = 17 * MIB
OLD, NEW = content(LARGE), content(LARGE, 1)


def pinned(data: bytes = OLD, algorithm: str | None = "md5") -> FaultyStore:
    """A store that reads no other identity than the one that was asked for."""
    return FaultyStore({"a": data}, algorithm, pinned=True)


def replaces(store: FaultyStore, data: bytes, key: str = "a") -> Step:
    """The object is another one from now on, and the read finds that out."""

    def step(_: bytes) -> Buffer:
        store.objects[key] = data
        raise ChangedError("412")

    return step


def journals(root: Path) -> list[Path]:
    return list(root.glob(".kaiwo/journal-*"))


@contextmanager
def executor_of(kind: str) -> Iterator[Executor]:
    if kind == "inline":
        yield InlineExecutor()
    else:
        with ThreadPoolExecutor(4) as pool:
            yield pool


SIZES = [0, 4, RANGE, RANGE + 1]


@pytest.mark.parametrize("kind", ["inline", "threads"])
@pytest.mark.parametrize("after", SIZES)
@pytest.mark.parametrize("before", SIZES)
def test_an_object_of_any_size_that_becomes_one_of_any_size_is_fetched_as_it_is_now(
    tmp_path: Path, before: int, after: int, kind: str
) -> None:
    store, new = pinned(content(before)), content(after, 1)
    store.script(("a", 0), replaces(store, new))
    with executor_of(kind) as executor:
        run = run_store(store, tmp_path, executor)
    assert (run.report.ok, files(tmp_path)) == (True, {"a": new})
    item = run.item("a")
    assert (item.status, item.bytes, item.verified) == ("downloaded", after, True)
    assert (item.etag, item.attempts) == (store.remote("a").etag, 2)
    assert store.stats == ["a"]
    assert [type(each.error) for each in run.retried] == [ChangedError]
    assert run.sink.progressed == after
    assert journals(tmp_path) == []


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("algorithm", ["md5", "crc32c", None])
def test_replaced_at_any_range_nothing_of_the_old_object_is_in_the_file(
    tmp_path: Path, number: int, algorithm: str | None
) -> None:
    store = pinned(algorithm=algorithm)
    store.script(("a", number * RANGE), replaces(store, NEW))
    with ThreadPoolExecutor(3) as pool:
        run = run_store(store, tmp_path, pool, workers=3)
    assert (run.report.ok, files(tmp_path)) == (True, {"a": NEW})
    assert store.stats == ["a"], "however many ranges find it out"


@pytest.mark.parametrize("way", ["stream", "inspection", "comparison", "unpinned"])
def test_whoever_finds_it_replaced_it_is_fetched_anew(tmp_path: Path, way: str) -> None:
    store = pinned()
    planned = store.remote("a")
    transfer = transfer_of(FaultyOpener(store), planned, tmp_path)
    match way:
        case "stream":
            store.script(("a", 0), fails(RangeIgnoredError("200")))
            store.script(("a", STREAM), replaces(store, NEW))
        case "inspection":
            transfer = replace(transfer, object=replace(planned, checksum_on_request=True))
            store.script(("a", INSPECT), replaces(store, NEW))
        case "comparison":
            put(transfer, OLD)
            doubtful = replace(planned, checksum=None, checksum_on_request=True)
            transfer = replace(transfer, object=doubtful, present=True)
            store.script(("a", INSPECT), replaces(store, NEW))
        case "unpinned":
            store.pinned = False
            transfer = replace(transfer, object=replace(planned, unpinned=True))
            store.script(("a", INSPECT), replaces(store, NEW))
    run = carry_out(Plan((transfer,)), tmp_path)
    assert (run.report.ok, files(tmp_path)) == (True, {"a": NEW})
    assert (run.item("a").status, store.stats) == ("downloaded", ["a"])


@pytest.mark.parametrize("size", [4, LARGE])
def test_replaced_a_second_time_it_is_an_integrity_error_and_nothing_is_left(
    tmp_path: Path, size: int
) -> None:
    # Its store states a digest of its own: so it is known that its bytes changed.
    store = pinned(content(size), "crc32c")
    store.script(("a", 0), replaces(store, content(size, 1)), replaces(store, content(size, 2)))
    run = run_store(store, tmp_path)
    assert (run.report.exit_code, type(run.error("a"))) == (7, ChangedError)
    # Looked up twice: a service may also state other etags in a HEAD than in the answer to a GET.
    assert (store.stats, files(tmp_path), journals(tmp_path)) == (["a", "a"], {}, [])


@pytest.mark.parametrize("algorithm", ["md5", None])
@pytest.mark.parametrize("size", [4, LARGE])
def test_replaced_a_second_time_by_its_etag_alone_it_is_read_by_one_request(
    tmp_path: Path, size: int, algorithm: str | None
) -> None:
    # The etag may be another one for each server behind an address; an md5 that is the etag, too.
    last = content(size, 2)
    store = pinned(content(size), algorithm)
    store.script(("a", 0), replaces(store, content(size, 1)), replaces(store, last))
    run = run_store(store, tmp_path)
    assert (run.report.ok, files(tmp_path)) == (True, {"a": last})
    item = run.item("a")
    assert (item.etag, item.checksum, item.verified) == (None, None, False)
    assert store.streams == (["a"] if size > RANGE else [])
    assert (run.sink.progressed, journals(tmp_path)) == (size, [])


@pytest.mark.parametrize("size", [4, LARGE])
def test_replaced_for_ever_it_is_an_integrity_error(tmp_path: Path, size: int) -> None:
    sizes = iter(range(size + 1, size + 100))

    def changes(_: bytes) -> Buffer:
        store.objects["a"] = content(next(sizes))
        raise ChangedError("it has another size now")

    store = pinned(content(size), None)
    for where in (0, STREAM):
        store.always(("a", where), changes)
    run = run_store(store, tmp_path)
    assert (run.report.exit_code, type(run.error("a"))) == (7, ChangedError)
    assert (files(tmp_path), journals(tmp_path)) == ({}, [])


@pytest.mark.parametrize("size", [4, LARGE])
def test_an_object_that_is_gone_is_missing_and_nothing_is_left(tmp_path: Path, size: int) -> None:
    store = pinned(content(size))

    def removed(_: bytes) -> Buffer:
        del store.objects["a"]
        raise ChangedError("412")

    plan = plan_of(FaultyOpener(store), tmp_path)
    store.script(("a", size // RANGE * RANGE), removed)
    run = carry_out(plan, tmp_path, workers=1)
    assert (run.report.exit_code, type(run.error("a"))) == (4, NotFoundError)
    assert (files(tmp_path), journals(tmp_path)) == ({}, [])


@pytest.mark.parametrize("size", [4, LARGE])
def test_the_old_file_is_there_until_the_new_one_is(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(b"what was there before")
    store = pinned(content(size), "crc32c")
    store.script(("a", 0), replaces(store, NEW), replaces(store, OLD))
    assert run_store(store, tmp_path).report.exit_code == 7
    assert (tmp_path / "a").read_bytes() == b"what was there before"


@pytest.mark.parametrize("size", [4, LARGE])
def test_a_look_that_fails_in_passing_is_repeated(tmp_path: Path, size: int) -> None:
    executor = InlineExecutor()
    store = pinned(content(size))
    store.script(("a", 0), replaces(store, NEW))
    store.script(("a", STAT), fails(TransientError("503")), fails(ConnectionResetError("peer")))
    run = run_store(store, tmp_path, executor)
    assert (run.report.ok, files(tmp_path)) == (True, {"a": NEW})
    assert [job.tries.count for job in executor.of(Restat)] == [0, 1, 2]
    assert run.item("a").attempts == 4


@pytest.mark.parametrize("size", [4, LARGE])
def test_a_look_that_finds_it_replaced_forgets_no_job_that_waits_for_it(
    tmp_path: Path, size: int
) -> None:
    data = content(size)
    store = FaultyStore({"a": data}, "md5")
    store.script(("a", 0), fails(ChangedError("412")))
    store.script(("a", STAT), fails(ChangedError("416")))
    run = run_store(store, tmp_path)
    assert (run.report.exit_code, files(tmp_path)) == (0, {"a": data})
    assert store.stats == ["a", "a"]


@pytest.mark.parametrize("kind", [CredentialsError, ServiceError, NotFoundError])
def test_a_look_that_fails_for_good_is_the_failure_of_the_object(
    tmp_path: Path, kind: type[KaiwoError]
) -> None:
    store = pinned()
    store.script(("a", RANGE), replaces(store, NEW))
    store.script(("a", STAT), fails(kind("that is that")))
    run = run_store(store, tmp_path)
    assert run.report.exit_code == kind.exit_code
    assert run.error("a").message == "that is that"
    assert (files(tmp_path), journals(tmp_path)) == ({}, [])


def test_a_look_that_goes_on_failing_tells_the_attempts(tmp_path: Path) -> None:
    store = pinned()
    store.script(("a", RANGE), replaces(store, NEW))
    store.always(("a", STAT), fails(TransientError("503")))
    run = run_store(store, tmp_path, policy=PromptPolicy(2))
    assert run.report.exit_code == 5
    assert run.error("a").message.startswith("503; attempt 3 after ")
    assert (files(tmp_path), journals(tmp_path)) == ({}, [])


def test_the_others_of_its_batch_are_not_disturbed(tmp_path: Path) -> None:
    store = FaultyStore({key: key.encode() for key in "abcdefgh"}, pinned=True)
    store.script("c", replaces(store, b"another", "c"))
    run = run_store(store, tmp_path, workers=1)
    assert files(tmp_path) == store.objects
    assert sum(store.reads_of("c").values()) == 2
    assert all(sum(store.reads_of(key).values()) == 1 for key in "abdefgh")
    assert run.report.count("downloaded") == 8


def test_the_new_object_is_the_one_that_is_remembered(tmp_path: Path) -> None:
    store = pinned()
    old = plan_of(FaultyOpener(store), tmp_path).transfers[0]
    store.script(("a", 0), replaces(store, NEW))
    run_store(store, tmp_path)
    new = replace(old, object=store.remote("a"))
    manifest = State().manifest(str(tmp_path))
    record = held_by(manifest, new)
    assert record is not None
    assert (same_bytes(record.object, old.object), record.etag) == (False, new.object.etag)


@pytest.mark.parametrize("size", [4, LARGE])
def test_faults_of_the_new_object_are_absorbed_as_those_of_any_other(
    tmp_path: Path, size: int
) -> None:
    store, new = pinned(content(size)), content(size, 1)
    reset = fails(TransientError("reset"))
    store.script(("a", 0), reset, replaces(store, new), reset, wrong, reset)
    run = run_store(store, tmp_path)
    assert (run.report.ok, run.item("a").verified, files(tmp_path)) == (True, True, {"a": new})


def junk(_: bytes) -> Buffer:
    return b"oops"


def test_wrong_bytes_of_the_old_object_say_nothing_about_the_new_one(tmp_path: Path) -> None:
    store = pinned(b"some")
    store.script("a", wrong, replaces(store, b"new!"), wrong, wrong)
    run = run_store(store, tmp_path)
    assert run.report.exit_code == 7
    assert sum(store.reads_of("a").values()) == 4
    # A page of an error, for one object as for the other.
    store.script("a", junk, replaces(store, b"some"), junk)
    assert run_store(store, tmp_path).report.ok


# --- what comes late --------------------------------------------------------------------------


class Opening(RecordingSink):
    """Sets an event when something settles."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self.gate = gate

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Settled):
            self.gate.set()


def opens(gate: threading.Event, step: Step = lambda data: data) -> Step:
    """Sets an event, and goes on."""

    def opening(data: bytes) -> Buffer:
        gate.set()
        return step(data)

    return opening


def after(gate: threading.Event, step: Step) -> Step:
    """Goes on when the event is set."""

    def waiting(data: bytes) -> Buffer:
        assert gate.wait(PATIENCE_S)
        return step(data)

    return waiting


@pytest.mark.parametrize("new", [NEW, b"small", b""], ids=["large", "small", "empty"])
@pytest.mark.parametrize("when", ["while it is looked up", "in the new round", "at the end"])
def test_a_range_of_the_old_object_that_arrives_late_does_not_reach_the_new_file(
    tmp_path: Path, when: str, new: bytes
) -> None:
    store, begun, gate = pinned(), threading.Event(), threading.Event()
    store.script(("a", RANGE), after(begun, replaces(store, new)))
    in_round = (opens(gate),) if when == "in the new round" else ()
    store.script(("a", 0), opens(begun, after(gate, lambda _: OLD[:RANGE])), *in_round)
    if when == "while it is looked up":
        store.script(("a", STAT), opens(gate))
    sink = Opening(gate) if when == "at the end" else RecordingSink()
    with ThreadPoolExecutor(4) as pool:
        run = run_store(store, tmp_path, pool, workers=4, sink=sink)
    assert (run.report.ok, files(tmp_path)) == (True, {"a": new})
    assert run.item("a").attempts == 2
    assert run.sink.progressed == len(new)
    assert journals(tmp_path) == []


@pytest.mark.parametrize(
    "error",
    [ChangedError("412, too"), NotFoundError("gone"), TransientError("reset"), ZeroDivisionError()],
)
def test_a_failure_of_the_old_object_that_arrives_late_is_none_of_the_new_one(
    tmp_path: Path, error: Exception
) -> None:
    store, begun, gate = pinned(), threading.Event(), threading.Event()
    store.script(("a", RANGE), after(begun, replaces(store, NEW)))
    store.script(("a", 0), opens(begun, after(gate, fails(error))), opens(gate))
    with ThreadPoolExecutor(4) as pool:
        run = run_store(store, tmp_path, pool, workers=4)
    assert (run.report.ok, files(tmp_path)) == (True, {"a": NEW})
    assert (run.item("a").attempts, len(run.retried), store.stats) == (2, 1, ["a"])


def test_a_range_that_waits_for_its_repeat_when_the_object_is_replaced_is_not_repeated(
    tmp_path: Path,
) -> None:
    executor = InlineExecutor()
    store = pinned()
    store.script(("a", 0), fails(TransientError("reset")))
    store.script(("a", RANGE), replaces(store, NEW))

    class Later(PromptPolicy, frozen=True):
        def delay_s(self, *args: Any, **named: Any) -> float | None:
            return None if super().delay_s(*args, **named) is None else 0.2

    run = run_store(store, tmp_path, executor, workers=1, policy=Later(3))
    assert (run.report.ok, files(tmp_path)) == (True, {"a": NEW})
    first_round = [job for job in executor.of(Range) if job.transfer.round == 0]
    assert [job.start for job in first_round] == [0, RANGE]


def test_each_round_has_a_temporary_file_of_its_own(tmp_path: Path) -> None:
    executor = InlineExecutor()
    store = pinned()
    store.script(("a", RANGE), replaces(store, NEW))
    run_store(store, tmp_path, executor)
    names = {Path(job.transfer.temporary).name for job in executor.of(Range)}
    assert names == {".kaiwo-0-0.part", ".kaiwo-0-0.1.part"}


def test_a_stream_that_begins_when_its_object_has_failed_leaves_nothing(tmp_path: Path) -> None:
    failed = threading.Event()

    class Tardy(InlineExecutor):
        """Does at once what it is given; but the stream of "a" begins when that has failed."""

        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            job = args[0]
            if not isinstance(job, Whole) or job.transfer.object.key != "a":
                return super().submit(fn, *args, **kwargs)
            tardy.append(job)
            return pool.submit(lambda: fn(*args) if failed.wait(PATIENCE_S) else None)

    tardy: list[Whole] = []
    store = pinned()
    store.objects["first"] = content(LARGE + 1)
    store.script(("first", 0), fails(RangeIgnoredError("200")))
    store.script(("a", INSPECT), opens(failed, fails(NotFoundError("gone"))))
    first, second = plan_of(FaultyOpener(store), tmp_path).transfers
    second = replace(second, object=replace(second.object, checksum_on_request=True))
    with ThreadPoolExecutor(1) as pool:
        run = carry_out(Plan((first, second)), tmp_path, Tardy(), workers=2)
    assert (len(tardy), run.report.exit_code, set(in_place(tmp_path))) == (1, 4, {"first"})
    assert left(tmp_path) == []
