"""What a run learns of a service: it wants patience, it is down, it has no ranges."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.service_health import LONGEST_QUIET_S, ServiceHealth
from kaiwo.errors import (
    BusyError,
    CredentialsError,
    DiskError,
    KaiwoError,
    NoAnswerError,
    NotFoundError,
    RangeIgnoredError,
    ServiceError,
    TransientError,
    UnavailableError,
    UnreachableError,
    WrongRangeError,
)
from kaiwo.jobs import Plan, Transfer
from kaiwo.protocols import Buffer
from tests.support.faulty import (
    MIB,
    STREAM,
    FaultyOpener,
    FaultyStore,
    PromptPolicy,
    Ran,
    Step,
    carry_out,
    content,
    fails,
    files,
    plan_of,
    run_store,
    transfer_of,
)

HERE, THERE = "faulty://here", "faulty://there"
LARGE = 17 * MIB


# --- what is learned --------------------------------------------------------------------------


def test_what_ignores_ranges_is_news_once_and_for_its_origin_only() -> None:
    services = ServiceHealth(3)
    assert not services.ignores_ranges(HERE)
    assert [services.give_up_ranges(HERE), services.give_up_ranges(HERE)] == [True, False]
    assert (services.ignores_ranges(HERE), services.ignores_ranges(THERE)) == (True, False)


@pytest.mark.parametrize(
    ("error", "quiet_s"),
    [
        (BusyError("503"), LONGEST_QUIET_S),
        (BusyError("429", 9.0), 16.0),
        (TransientError("500", 0.0), 16.0),
        (TransientError("reset"), None),
        (UnreachableError("refused"), None),
        (NotFoundError("gone"), None),
    ],
)
def test_only_who_asks_for_patience_is_let_alone(error: KaiwoError, quiet_s: float | None) -> None:
    services, before_s = ServiceHealth(3), time.monotonic()
    services.refused(HERE, error, 16.0)
    assert services.quiet_until_s(THERE) == 0.0
    if quiet_s is not None:
        assert before_s + quiet_s <= services.quiet_until_s(HERE) <= time.monotonic() + quiet_s
    else:
        assert services.quiet_until_s(HERE) == 0.0


def test_the_longest_wish_counts() -> None:
    services, before_s = ServiceHealth(3), time.monotonic()
    for delay_s in (1.0, 60.0, 2.0):
        services.refused(HERE, BusyError("503", delay_s), delay_s)
    assert services.quiet_until_s(HERE) >= before_s + 60.0


def test_so_many_lost_in_a_row_and_a_service_is_down() -> None:
    services, since_s = ServiceHealth(3), time.monotonic()
    assert [services.lost(HERE, since_s) for _ in range(4)] == [False, False, True, True]
    assert not services.lost(THERE, since_s)


def test_one_answer_and_they_are_counted_anew() -> None:
    services, since_s = ServiceHealth(2), time.monotonic()
    assert not services.lost(HERE, since_s)
    services.answered(HERE)
    # Those that began to fail before that answer do not tell that nothing succeeds.
    assert not any(services.lost(HERE, since_s) for _ in range(5))
    later_s = time.monotonic()
    assert [services.lost(HERE, later_s), services.lost(HERE, later_s)] == [False, True]


@pytest.mark.parametrize(
    ("error", "has_answered"),
    [
        (NotFoundError("404"), True),
        (CredentialsError("403"), True),
        (ServiceError("405"), True),
        (TransientError("no answer in time"), False),
        (NoAnswerError("reset"), False),
        (UnreachableError("refused"), False),
        (UnavailableError("503"), False),
        (BusyError("503 SlowDown"), True),
        (DiskError("no space"), False),
    ],
)
def test_a_service_has_answered_once_it_says_more_than_a_gateway_can(
    error: KaiwoError, *, has_answered: bool
) -> None:
    services = ServiceHealth(3)
    services.failed(HERE, error)
    assert services.has_answered(HERE) == has_answered
    services.answered(HERE)
    assert (services.has_answered(HERE), services.has_answered(THERE)) == (True, False)


# --- patience ---------------------------------------------------------------------------------


def both(here: FaultyStore, there: FaultyStore, root: Path) -> Plan:
    """A plan over two services."""
    first = plan_of(FaultyOpener(here, HERE), root).transfers
    second = FaultyOpener(there, THERE)
    others: tuple[Transfer, ...] = tuple(
        transfer_of(second, there.remote(key), root, len(first) + number)
        for number, key in enumerate(there.objects)
    )
    return Plan((*first, *others))


def clocked(times: list[float], *steps: Step) -> Callable[[bytes], Buffer]:
    """Notes when each read comes; the first reads meet these steps."""
    left, lock = list(steps), threading.Lock()

    def step(data: bytes) -> Buffer:
        with lock:
            times.append(time.monotonic())
            now = left.pop(0) if left else None
        return data if now is None else now(data)

    return step


@pytest.mark.parametrize("error", [BusyError("503", 0.4), TransientError("500", 0.4)])
def test_where_one_request_is_asked_to_wait_all_to_that_service_do_and_no_other(
    tmp_path: Path, error: KaiwoError
) -> None:
    here = FaultyStore({f"a{number}": content(2 * MIB, number) for number in range(6)})
    there = FaultyStore({f"b{number}": content(2 * MIB, number) for number in range(6)})
    times_here: list[float] = []
    times_there: list[float] = []
    asks = clocked(times_here, fails(error))
    notes = clocked(times_there)
    for key in here.objects:
        here.always(key, asks)
    for key in there.objects:
        there.always(key, notes)
    run = carry_out(both(here, there, tmp_path), tmp_path, workers=1, policy=RetryPolicy(3))
    assert (run.report.ok, files(tmp_path)) == (True, here.objects | there.objects)
    assert len(times_here) == 7
    assert min(times_here[1:]) >= times_here[0] + 0.4
    assert max(times_there) < times_here[0] + 0.4, "they were fetched meanwhile"
    assert sum(item.attempts for item in run.report.items) == 13


class LatePolicy(RetryPolicy, frozen=True):
    """Retries after seconds, which is later than anything else on a busy machine too."""

    def delay_s(self, *args: Any, **named: Any) -> float | None:
        delay_s = super().delay_s(*args, **named)
        return None if delay_s is None else 3.0


def test_what_fails_without_a_word_about_patience_holds_nobody_back(tmp_path: Path) -> None:
    store = FaultyStore({f"a{number}": content(2 * MIB, number) for number in range(6)})
    store.script("a0", fails(TransientError("reset")))
    run = run_store(store, tmp_path, workers=1, policy=LatePolicy(3))
    assert run.report.ok
    # The retry waits, and is the last.
    assert [key for key, _, _ in store.reads] == [*store.objects, "a0"]


def test_a_service_that_asks_for_patience_again_and_again_is_given_it(tmp_path: Path) -> None:
    store = FaultyStore({"big": content(LARGE), "small": b"1"})
    store.script(("big", 0), fails(BusyError("429", 0.05)), times=3)
    store.script("small", fails(BusyError("503")))
    with ThreadPoolExecutor(4) as pool:
        run = run_store(store, tmp_path, pool, policy=RetryPolicy(3))
    assert (run.report.ok, files(tmp_path)) == (True, store.objects)
    assert run.item("big").attempts == 4


# --- a service that is down -------------------------------------------------------------------


def untried(run: Ran) -> int:
    """How many objects failed without an attempt."""
    return sum("not attempted: nothing succeeds" in str(item.error) for item in run.report.items)


def failing(count: int, size: int = 2 * MIB, error: KaiwoError | None = None) -> FaultyStore:
    """A store none of whose objects is to be had."""
    store = FaultyStore({f"a{number:03}": content(size) for number in range(count)})
    for key in store.objects:
        store.always(key, fails(error or TransientError("500")))
    return store


@pytest.mark.parametrize(("workers", "lost"), [(1, 8), (8, 8), (11, 11)])
def test_after_so_many_failures_in_a_row_as_there_are_workers_the_rest_is_not_attempted(
    tmp_path: Path, workers: int, lost: int
) -> None:
    store = failing(40)
    run = run_store(store, tmp_path, workers=workers, policy=PromptPolicy(2))
    assert run.report.exit_code == 5
    assert untried(run) == 40 - lost
    assert len(store.reads) <= 3 * lost + workers, "but for those that were begun"
    assert set(run.settled().values()) == {1}
    told = next(str(item.error) for item in run.report.items if "any more" in str(item.error))
    assert "faulty://host" in told
    assert "500" in told
    assert files(tmp_path) == {}


def test_objects_of_one_range_each_and_of_many_are_not_attempted_any_more(tmp_path: Path) -> None:
    store = failing(6, LARGE)
    store.objects |= {f"small{number}": b"1" for number in range(90)}
    for key in store.objects:
        store.always(key, fails(TransientError("500")))
    with ThreadPoolExecutor(4) as pool:
        run = run_store(store, tmp_path, pool, workers=4, policy=PromptPolicy(1))
    assert len(run.report.items) == 96
    assert untried(run) == 96 - 8
    assert files(tmp_path) == {}


def test_other_services_go_on(tmp_path: Path) -> None:
    here, there = failing(20), FaultyStore({f"b{number}": b"1" for number in range(50)})
    run = carry_out(both(here, there, tmp_path), tmp_path, workers=2, policy=PromptPolicy(1))
    assert untried(run) == 12
    assert files(tmp_path) == there.objects


def test_while_something_succeeds_everything_is_attempted(tmp_path: Path) -> None:
    store = failing(30)
    # Each read of a good object comes between those of two bad ones.
    for number in range(30):
        store.objects[f"a{number:03}x"] = content(2 * MIB)
    store.objects = dict(sorted(store.objects.items()))
    run = run_store(store, tmp_path, workers=1, policy=PromptPolicy(1))
    assert (run.report.count("downloaded"), untried(run)) == (30, 0)


@pytest.mark.parametrize(
    "error", [NotFoundError("gone"), CredentialsError("no"), ServiceError("x")]
)
def test_only_what_used_up_its_attempts_says_that_a_service_is_down(
    tmp_path: Path, error: KaiwoError
) -> None:
    run = run_store(failing(30, error=error), tmp_path, workers=1)
    assert untried(run) == 0


def test_with_no_retries_a_service_that_is_down_is_found_out_too(tmp_path: Path) -> None:
    run = run_store(failing(30), tmp_path, workers=2, policy=PromptPolicy(0))
    assert untried(run) == 22


# --- ranges that are not those that were asked for --------------------------------------------


def test_three_wrong_ranges_and_the_object_comes_in_a_stream(tmp_path: Path) -> None:
    store = FaultyStore({"big": content(LARGE), "other": content(LARGE - 1)})
    store.always(("big", 0), fails(WrongRangeError("bytes 1-9")))
    run = run_store(store, tmp_path, workers=1)
    assert (run.report.ok, files(tmp_path)) == (True, store.objects)
    assert store.reads_of("big")[0] == 3
    assert sorted(store.streams) == ["big", "other"]
    assert run.item("big").verified
    assert run.sink.progressed == 2 * LARGE - 1


def test_one_or_two_wrong_ranges_are_repeated(tmp_path: Path) -> None:
    store = FaultyStore({"big": content(LARGE)})
    for start in (0, 16 * MIB):
        store.script(("big", start), fails(WrongRangeError("bytes 1-9")), times=2)
    run = run_store(store, tmp_path)
    assert (run.report.ok, store.streams, run.item("big").attempts) == (True, [], 5)


@pytest.mark.parametrize("kind", [WrongRangeError, RangeIgnoredError])
@pytest.mark.parametrize("size", [4, 2 * MIB, LARGE])
def test_a_source_that_says_so_of_everything_is_named_as_the_cause(
    tmp_path: Path, size: int, kind: type[TransientError]
) -> None:
    store = FaultyStore({"a": content(size)})
    store.always("a", fails(kind("not what was asked for")))
    store.always(("a", STREAM), fails(kind("not what was asked for")))
    run = run_store(store, tmp_path, policy=PromptPolicy(5))
    assert run.report.exit_code == 5
    assert run.error("a").message.startswith("not what was asked for; attempt 6 after ")
    assert files(tmp_path) == {}
