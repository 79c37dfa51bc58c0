"""What a failure costs: the object or the run, now or after repeats."""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kaiwo.engine.retry import RetryPolicy
from kaiwo.errors import (
    BugError,
    CertificateError,
    ConfigError,
    CredentialsError,
    DiskError,
    IntegrityError,
    KaiwoError,
    NotFoundError,
    RangeIgnoredError,
    ServiceError,
    TransientError,
)
from kaiwo.events import Settled
from kaiwo.jobs import RANGE, Batch, Plan
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from tests.support.bucket import keys
from tests.support.faulty import (
    LARGE,
    MIB,
    FaultyOpener,
    FaultyStore,
    InlineExecutor,
    PromptPolicy,
    RecordingSink,
    carry_out,
    content,
    fails,
    files,
    large,
    left,
    plan_of,
    ranges_of,
    run_store,
    short,
    transfer_of,
    waits,
    wrong,
)
from tests.support.waiting import wait_until

PERMANENT = [
    BugError,
    CertificateError,
    ConfigError,
    CredentialsError,
    DiskError,
    NotFoundError,
    ServiceError,
]


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


def test_after_a_permanent_failure_no_range_of_the_object_is_begun(tmp_path: Path) -> None:
    store = FaultyStore({"big": content(5 * RANGE)})
    store.script(("big", 0), fails(CredentialsError("expired")))
    run_store(store, tmp_path, workers=1)
    assert store.reads_of("big") == {0: 1}


def test_after_a_permanent_failure_no_range_of_the_object_is_repeated(tmp_path: Path) -> None:
    store = FaultyStore({"big": content(2 * RANGE)})
    store.script(("big", 0), fails(TransientError("busy", 0.05)))
    store.script(("big", RANGE), fails(CredentialsError("expired")))
    run_store(store, tmp_path, policy=RetryPolicy(), workers=1)
    assert store.reads_of("big") == {0: 1, RANGE: 1}


@pytest.mark.parametrize("kind", PERMANENT)
def test_what_has_arrived_stays_only_where_a_later_run_can_succeed(
    tmp_path: Path, kind: type[KaiwoError]
) -> None:
    store = FaultyStore({"big": content(3 * RANGE)})
    store.script(("big", 2 * RANGE), fails(kind("that is that")))
    assert run_store(store, tmp_path, workers=1).error("big").message == "that is that"
    assert bool(left(tmp_path)) == (kind is not NotFoundError)


def test_a_stream_that_fails_for_good_takes_back_what_it_had_brought(tmp_path: Path) -> None:
    class Cut(FaultyStore):
        def stream(self, remote: RemoteObject, *limits: Any, **named: Any) -> Iterator[Buffer]:
            yield from itertools.islice(super().stream(remote, *limits, **named), 3)
            wait_until(lambda: sink.progressed > 0)
            raise TransientError("cut")

    sink = RecordingSink()
    store = Cut({"big": content(2 * RANGE)})
    store.script(("big", 0), fails(RangeIgnoredError("200")))
    with ThreadPoolExecutor(1) as threads:
        rules: dict[str, Any] = {"workers": 1, "sink": sink, "policy": PromptPolicy(0)}
        run = run_store(store, tmp_path, threads, **rules)
    assert run.error("big").exit_code == 5
    assert (run.sink.progressed, left(tmp_path)) == (0, [])


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
    objects = {f"f{n}": content(5 * MIB, n) for n in range(6)} | {"big": content(LARGE)}
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
