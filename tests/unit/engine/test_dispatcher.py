"""Jobs on an executor: how many at once, in which order, and what becomes of failures."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pytest

from kaiwo.engine.dispatcher import MOST_ASIDE, Dispatcher
from tests.support.faulty import PATIENCE_S, InlineExecutor
from tests.support.waiting import wait_until

T = TypeVar("T")


def same(job: int) -> int:
    return job


def inline(
    work: Callable[[int], int] = same, window: int = 1
) -> tuple[Dispatcher[int, int], InlineExecutor]:
    executor = InlineExecutor()
    return Dispatcher(executor, window, work), executor


class HeldExecutor(InlineExecutor):
    """Finishes nothing until it is told to."""

    def submit(self, _: Callable[..., T], /, *args: Any, **__: Any) -> Future[T]:
        future: Future[T] = Future()
        self.jobs.append(args[0])
        self.futures.append(future)
        return future


def test_every_result_is_handed_over_with_its_job() -> None:
    dispatcher, _ = inline(lambda job: job * 10, window=3)
    dispatcher.feed(range(10))
    handled: list[tuple[int, int]] = []
    dispatcher.run(lambda job, result: handled.append((job, result)))
    assert sorted(handled) == [(job, job * 10) for job in range(10)]


def test_nothing_to_do_ends_at_once() -> None:
    dispatcher, executor = inline()
    dispatcher.feed([])
    dispatcher.run(lambda *_: pytest.fail("there was no job"))
    assert executor.jobs == []


def test_the_window_is_filled_and_never_exceeded() -> None:
    window, at_once, most = 3, 0, 0
    lock, together = threading.Lock(), threading.Barrier(window)

    def work(job: int) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        together.wait(PATIENCE_S)
        with lock:
            at_once -= 1
        return job

    with ThreadPoolExecutor(16) as pool:
        dispatcher = Dispatcher(pool, window, work)
        dispatcher.feed(range(window * 10))
        dispatcher.run(lambda *_: None)
    assert most == window


def test_feeds_are_taken_in_their_order() -> None:
    dispatcher, executor = inline()
    dispatcher.feed([1, 2])
    dispatcher.feed([])
    dispatcher.feed(iter([3, 4]))
    dispatcher.run(lambda *_: None)
    assert executor.jobs == [1, 2, 3, 4]


def test_what_is_fed_while_running_comes_last() -> None:
    dispatcher, executor = inline()
    dispatcher.feed([1, 2, 3])

    def handle(job: int, _: int) -> None:
        if job == 1:
            dispatcher.feed([9])

    dispatcher.run(handle)
    assert executor.jobs == [1, 2, 3, 9]


def test_feeds_are_read_only_when_there_is_room() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(100):
            taken.append(job)
            yield job

    dispatcher, _ = inline(window=2)
    dispatcher.feed(jobs())
    assert taken == []
    lead: list[int] = []
    dispatcher.run(lambda job, _: lead.append(len(taken) - job))
    assert len(lead) == 100
    assert max(lead) <= 2


def test_a_repeat_that_is_due_comes_before_what_is_fed() -> None:
    dispatcher, executor = inline()
    dispatcher.feed([1, 2, 3])

    def handle(job: int, _: int) -> None:
        if job == 1:
            dispatcher.repeat(7, 0)

    dispatcher.run(handle)
    assert executor.jobs == [1, 7, 2, 3]


def test_a_repeat_that_is_not_due_does_not_hold_up_the_others() -> None:
    dispatcher, executor = inline()
    dispatcher.repeat(7, 0.05)
    dispatcher.feed([1, 2, 3])
    dispatcher.run(lambda *_: None)
    assert executor.jobs == [1, 2, 3, 7]


def test_repeats_run_by_their_due_time_and_not_earlier() -> None:
    began: dict[int, float] = {}

    def work(job: int) -> int:
        began[job] = time.monotonic()
        return job

    dispatcher, executor = inline(work, window=4)
    start = time.monotonic()
    dispatcher.repeat(3, 0.12)
    dispatcher.repeat(1, 0.02)
    dispatcher.repeat(2, 0.07)
    dispatcher.run(lambda *_: None)
    assert executor.jobs == [1, 2, 3]
    assert all(began[job] - start >= due for job, due in ((1, 0.02), (2, 0.07), (3, 0.12)))


def test_repeats_that_are_due_together_keep_their_order() -> None:
    dispatcher, executor = inline()
    for job in (5, 3, 4):
        dispatcher.repeat(job, 0)
    dispatcher.run(lambda *_: None)
    assert executor.jobs == [5, 3, 4]


def test_a_repeat_is_run_on_time_while_another_job_is_busy() -> None:
    repeated = threading.Event()

    def work(job: int) -> int:
        if job == 0:
            assert repeated.wait(PATIENCE_S)
        else:
            repeated.set()
        return job

    with ThreadPoolExecutor(2) as pool:
        dispatcher = Dispatcher(pool, 2, work)
        dispatcher.feed([0])
        dispatcher.repeat(1, 0.01)
        order: list[int] = []
        dispatcher.run(lambda job, _: order.append(job))
    assert sorted(order) == [0, 1]


def test_abandon_forgets_feeds_and_repeats() -> None:
    dispatcher, executor = inline()
    dispatcher.feed(range(10))
    dispatcher.repeat(99, 3_600)

    def handle(job: int, _: int) -> None:
        if job == 2:
            dispatcher.abandon()

    dispatcher.run(handle)
    assert executor.jobs == [0, 1, 2]


def test_after_abandon_what_is_running_still_comes_back_and_what_waits_does_not() -> None:
    executor = HeldExecutor()
    dispatcher = Dispatcher(executor, 3, same)
    dispatcher.feed(range(10))
    handled: list[int] = []

    def handle(job: int, _: int) -> None:
        handled.append(job)
        if job == 0:
            dispatcher.abandon()
            executor.futures[1].set_result(1)

    def finish_the_first() -> None:
        wait_until(lambda: len(executor.futures) == 3, "the window is not filled")
        assert executor.futures[1].set_running_or_notify_cancel()
        executor.futures[0].set_result(0)

    other = threading.Thread(target=finish_the_first)
    other.start()
    dispatcher.run(handle)
    other.join()
    assert handled == [0, 1]
    assert executor.jobs == [0, 1, 2]
    assert executor.futures[2].cancelled()


def test_an_exception_of_the_work_passes_through() -> None:
    def work(job: int) -> int:
        raise ZeroDivisionError(job)

    dispatcher, _ = inline(work)
    dispatcher.feed([1])
    with pytest.raises(ZeroDivisionError):
        dispatcher.run(lambda *_: None)


def test_an_exception_of_the_handler_passes_through() -> None:
    def handle(job: int, _: int) -> None:
        raise ZeroDivisionError(job)

    dispatcher, _ = inline()
    dispatcher.feed([1])
    with pytest.raises(ZeroDivisionError):
        dispatcher.run(handle)


def test_an_exception_of_a_feed_passes_through() -> None:
    dispatcher, _ = inline()
    dispatcher.feed(1 // (2 - job) for job in range(5))
    with pytest.raises(ZeroDivisionError):
        dispatcher.run(lambda *_: None)


def test_idle_is_called_while_nothing_comes_back() -> None:
    called = threading.Event()

    def work(job: int) -> int:
        assert called.wait(PATIENCE_S)
        return job

    with ThreadPoolExecutor(1) as pool:
        dispatcher = Dispatcher(pool, 1, work, idle=called.set)
        dispatcher.feed([1])
        dispatcher.run(lambda *_: None)
    assert called.is_set()


def test_idle_is_called_while_a_repeat_is_waited_for() -> None:
    executor = InlineExecutor()
    ticks: list[int] = []
    dispatcher = Dispatcher(executor, 1, same, idle=lambda: ticks.append(len(executor.jobs)))
    dispatcher.repeat(1, 0.7)
    dispatcher.run(lambda *_: None)
    assert ticks[:1] == [0]


def test_results_are_handled_in_the_thread_that_runs() -> None:
    threads: set[int] = set()
    with ThreadPoolExecutor(4) as pool:
        dispatcher = Dispatcher(pool, 4, same)
        dispatcher.feed(range(50))
        dispatcher.run(lambda *_: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


def test_the_executor_is_not_shut_down() -> None:
    dispatcher, executor = inline()
    dispatcher.feed([1])
    dispatcher.run(lambda *_: None)
    assert not executor.was_shut_down


# --- lanes ------------------------------------------------------------------------------------


def parity(job: int) -> str:
    return "odd" if job % 2 else "even"


def begun(executor: HeldExecutor, number: int) -> bool:
    return len(executor.futures) > number


def test_each_lane_has_a_window_of_its_own() -> None:
    executor = HeldExecutor()
    dispatcher = Dispatcher(executor, {"odd": 1, "even": 3}, same, lane=parity)
    dispatcher.feed([0, 2, 1, 4, 6, 3])
    most: Counter[str] = Counter()

    def finish() -> None:
        wait_until(lambda: len(executor.futures) == 4, "the windows are not filled")
        assert executor.jobs == [0, 2, 1, 4]
        for number in range(6):
            wait_until(partial(begun, executor, number), "it stands still")
            busy = Counter(
                parity(job)
                for job, future in zip(executor.jobs, executor.futures, strict=False)
                if not future.done()
            )
            for lane, count in busy.items():
                most[lane] = max(most[lane], count)
            executor.futures[number].set_result(executor.jobs[number])

    other = threading.Thread(target=finish)
    other.start()
    handled: list[int] = []
    dispatcher.run(lambda job, _: handled.append(job))
    other.join()
    assert sorted(handled) == [0, 1, 2, 3, 4, 6]
    assert (most["odd"], most["even"]) == (1, 3)


def test_what_comes_after_a_job_whose_lane_is_full_keeps_its_place() -> None:
    executor = HeldExecutor()
    dispatcher = Dispatcher(executor, {"odd": 1, "even": 1}, same, lane=parity)
    dispatcher.feed([1, 3, 2])
    seen: list[list[int]] = []

    def finish() -> None:
        for number in range(3):
            wait_until(partial(begun, executor, number), "it stands still")
            seen.append(list(executor.jobs))
            executor.futures[number].set_result(0)

    other = threading.Thread(target=finish)
    other.start()
    dispatcher.run(lambda *_: None)
    other.join()
    assert seen[0] == [1], "3 waits for 1, and 2 behind it"
    assert executor.jobs == [1, 3, 2]


def test_a_limit_may_be_raised_while_jobs_run() -> None:
    window = 4
    together = threading.Barrier(window)

    def work(job: int) -> int:
        if job > 1:
            together.wait(PATIENCE_S)
        return job

    def handle(job: int, _: int) -> None:
        if job == 0:
            limits[""] = window

    limits = {"": 1}
    with ThreadPoolExecutor(16) as pool:
        dispatcher = Dispatcher(pool, limits, work)
        dispatcher.feed(range(2 + 2 * window))
        dispatcher.run(handle)


def test_abandon_forgets_the_job_that_waits_for_its_lane() -> None:
    executor = HeldExecutor()
    dispatcher = Dispatcher(executor, {"odd": 1, "even": 1}, same, lane=parity)
    dispatcher.feed([1, 3, 2])

    def finish() -> None:
        wait_until(lambda: len(executor.futures) == 1, "nothing was begun")
        executor.futures[0].set_result(1)

    other = threading.Thread(target=finish)
    other.start()
    dispatcher.run(lambda *_: dispatcher.abandon())
    other.join()
    assert executor.jobs == [1]


# --- work that another executor does ------------------------------------------------------------


def test_a_watched_future_is_handed_over_and_takes_no_room() -> None:
    elsewhere: Future[int] = Future()
    dispatcher, executor = inline(window=1)
    dispatcher.feed([1, 2])
    dispatcher.watch(7, elsewhere)
    handled: list[tuple[int, int]] = []

    def handle(job: int, result: int) -> None:
        handled.append((job, result))
        if job == 2:
            elsewhere.set_result(70)

    dispatcher.run(handle)
    assert handled == [(1, 1), (2, 2), (7, 70)]
    assert executor.jobs == [1, 2]


def test_a_watched_future_that_is_done_already_is_handed_over() -> None:
    elsewhere: Future[int] = Future()
    elsewhere.set_result(70)
    dispatcher, _ = inline()
    dispatcher.watch(7, elsewhere)
    handled: list[tuple[int, int]] = []
    dispatcher.run(lambda job, result: handled.append((job, result)))
    assert handled == [(7, 70)]


def test_an_exception_of_a_watched_future_passes_through() -> None:
    elsewhere: Future[int] = Future()
    elsewhere.set_exception(ZeroDivisionError())
    dispatcher, _ = inline()
    dispatcher.watch(7, elsewhere)
    with pytest.raises(ZeroDivisionError):
        dispatcher.run(lambda *_: None)


def test_after_abandon_a_watched_future_that_has_not_begun_is_dropped() -> None:
    waiting: Future[int] = Future()
    running: Future[int] = Future()
    assert running.set_running_or_notify_cancel()
    dispatcher, _ = inline()
    dispatcher.feed([1])
    dispatcher.watch(7, waiting)
    dispatcher.watch(8, running)
    handled: list[int] = []

    def handle(job: int, _: int) -> None:
        handled.append(job)
        if job == 1:
            assert sorted(dispatcher.in_flight()) == [7, 8]
            dispatcher.abandon()
            running.set_result(80)

    dispatcher.run(handle)
    assert handled == [1, 8]
    assert waiting.cancelled()


# --- until when -------------------------------------------------------------------------------


def test_it_says_that_all_jobs_are_done() -> None:
    dispatcher, _ = inline()
    dispatcher.feed([1, 2])
    assert dispatcher.run(lambda *_: None, time.monotonic() + 60)
    assert dispatcher.run(lambda *_: None)


def test_at_the_deadline_it_returns_whatever_is_in_flight() -> None:
    executor = HeldExecutor()
    dispatcher: Dispatcher[int, int] = Dispatcher(executor, 2, same)
    dispatcher.feed([1, 2, 3])
    until_s = time.monotonic() + 0.2
    assert not dispatcher.run(lambda *_: pytest.fail("nothing has come back"), until_s)
    assert until_s <= time.monotonic() < until_s + PATIENCE_S / 4
    assert sorted(dispatcher.in_flight()) == [1, 2]


def test_at_the_deadline_a_repeat_is_not_waited_for() -> None:
    dispatcher, executor = inline()
    dispatcher.repeat(1, 3_600)
    until_s = time.monotonic() + 0.2
    assert not dispatcher.run(lambda *_: None, until_s)
    assert until_s <= time.monotonic() < until_s + PATIENCE_S / 4
    assert executor.jobs == []


def test_after_the_deadline_nothing_is_begun() -> None:
    dispatcher, executor = inline()
    dispatcher.feed([1])
    assert not dispatcher.run(lambda *_: None, time.monotonic())
    assert executor.jobs == []


def test_what_is_in_flight_can_be_told_at_any_time() -> None:
    dispatcher, _ = inline(window=3)
    dispatcher.feed([1, 2, 3])
    told: list[list[int]] = []
    dispatcher.run(lambda *_: told.append(sorted(dispatcher.in_flight())))
    assert told == [[2, 3], [3], []]


# --- jobs that are to begin later -------------------------------------------------------------


class Quiet:
    """Says of some jobs that they are not to begin before a time; anything else begins at once."""

    def __init__(self, *jobs: int, for_s: float) -> None:
        self.jobs = set(jobs)
        self.until_s = time.monotonic() + for_s
        self.begun_s: dict[int, float] = {}

    def begins_s(self, job: int) -> float:
        return self.until_s if job in self.jobs else 0.0

    def work(self, job: int) -> int:
        self.begun_s[job] = time.monotonic()
        return job


def test_a_job_that_is_to_begin_later_lets_those_after_it_go_first() -> None:
    quiet, executor = Quiet(1, 2, for_s=0.3), InlineExecutor()
    dispatcher = Dispatcher(executor, 1, quiet.work, starts_s=quiet.begins_s)
    dispatcher.feed([1, 2, 3, 4])
    assert dispatcher.run(lambda *_: None)
    assert executor.jobs == [3, 4, 1, 2]
    assert min(quiet.begun_s[1], quiet.begun_s[2]) >= quiet.until_s
    assert max(quiet.begun_s[3], quiet.begun_s[4]) < quiet.until_s


def test_a_repeat_that_is_due_waits_when_it_is_to_begin_later() -> None:
    quiet, executor = Quiet(1, for_s=0.3), InlineExecutor()
    dispatcher = Dispatcher(executor, 1, quiet.work, starts_s=quiet.begins_s)
    dispatcher.repeat(1, 0)
    dispatcher.repeat(2, 0)
    dispatcher.feed([3])
    assert dispatcher.run(lambda *_: None)
    assert executor.jobs == [2, 3, 1]
    assert quiet.begun_s[1] >= quiet.until_s


def test_a_time_that_is_put_off_meanwhile_is_asked_for_again() -> None:
    quiet, executor = Quiet(1, for_s=0.2), InlineExecutor()
    dispatcher = Dispatcher(executor, 1, quiet.work, starts_s=quiet.begins_s)
    dispatcher.feed([1, 2])

    def handle(job: int, _: int) -> None:
        if job == 2:
            quiet.until_s += 0.3

    assert dispatcher.run(handle)
    assert quiet.begun_s[1] >= quiet.until_s


def test_not_all_of_a_long_feed_is_put_aside() -> None:
    taken: list[int] = []
    quiet, executor = Quiet(*range(1, MOST_ASIDE * 3), for_s=0.3), InlineExecutor()

    def jobs() -> Iterator[int]:
        for job in range(1, MOST_ASIDE * 3):
            taken.append(job)
            most.append(len(taken) - len(executor.jobs))
            yield job

    most: list[int] = []
    dispatcher = Dispatcher(executor, 4, quiet.work, starts_s=quiet.begins_s)
    dispatcher.feed(jobs())
    assert dispatcher.run(lambda *_: None)
    assert sorted(executor.jobs) == list(range(1, MOST_ASIDE * 3))
    assert max(most) <= MOST_ASIDE + 2
    assert min(quiet.begun_s.values()) >= quiet.until_s


# --- jobs that are not wanted any more --------------------------------------------------------


def test_what_is_not_wanted_any_more_when_its_turn_comes_is_dropped() -> None:
    unwanted: set[int] = set()
    executor = InlineExecutor()
    dispatcher = Dispatcher(executor, 1, same, wanted=lambda job: job not in unwanted)
    dispatcher.repeat(7, 0.1)
    dispatcher.repeat(8, 0.1)
    dispatcher.feed([1])
    assert dispatcher.run(lambda *_: unwanted.add(7))
    assert executor.jobs == [1, 8]


def test_there_are_never_more_jobs_of_all_lanes_than_allowed() -> None:
    executor = HeldExecutor()
    dispatcher: Dispatcher[int, int] = Dispatcher(
        executor, {"even": 5, "odd": 5}, same, lane=lambda job: ("even", "odd")[job % 2], most=3
    )
    dispatcher.feed(range(10))
    assert not dispatcher.run(lambda *_: None, time.monotonic() + 0.01)
    assert len(executor.jobs) == 3


def test_a_job_that_met_a_limit_leaves_as_many_as_are_under_way() -> None:
    executor, could_be_fewer = HeldExecutor(), []
    dispatcher: Dispatcher[int, int] = Dispatcher(executor, 4, same)
    dispatcher.feed(range(10))

    def handle(job: int, _: int) -> None:
        could_be_fewer.append(dispatcher.narrow())
        if job < 4:
            dispatcher.repeat(job + 100, 0)

    assert not dispatcher.run(handle, time.monotonic() + 0.01)
    for future in executor.futures[:3]:
        future.set_result(0)
    assert not dispatcher.run(handle, time.monotonic() + 0.01)
    assert (could_be_fewer, len(executor.jobs)) == ([True, True, True], 4)
    executor.futures[3].set_result(0)
    assert not dispatcher.run(handle, time.monotonic() + 0.01)
    assert (could_be_fewer[3:], len(executor.jobs)) == ([False], 5)
