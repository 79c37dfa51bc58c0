"""Calls in threads, also where no thread can be started."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kaiwo.workers.threads import LEFT_TO_OTHERS, WorkerThreads
from tests.support.waiting import wait_until

PATIENCE_S = 30


@contextmanager
def at_most(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """The system refuses to start more than this number of threads."""
    start, started = threading.Thread.start, 0

    def limited(thread: threading.Thread) -> None:
        nonlocal started
        if started >= number:
            raise RuntimeError("can't start new thread")
        started += 1
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", limited)
        yield


def of(name: str) -> int:
    return sum(each.name.startswith(name) for each in threading.enumerate())


def test_calls_run_side_by_side_and_results_come_back() -> None:
    together = threading.Barrier(4)
    threads = WorkerThreads(4, "side")
    futures = [threads.submit(lambda n: (together.wait(PATIENCE_S), n)[1], n) for n in range(4)]
    assert [each.result(PATIENCE_S) for each in futures] == [0, 1, 2, 3]
    assert of("side") == 4
    threads.shutdown()
    assert of("side") == 0


def test_a_thread_that_is_free_is_taken_before_one_is_started() -> None:
    threads = WorkerThreads(8, "free")
    for number in range(20):
        assert threads.submit(abs, -number).result(PATIENCE_S) == number
    assert of("free") == 1
    threads.shutdown()


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_threads_that_cannot_be_started_are_fewer_threads(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    threads = WorkerThreads(8, "few")
    with at_most(monkeypatch, number):
        futures = [threads.submit(abs, -each) for each in range(100)]
        assert [each.result(PATIENCE_S) for each in futures] == list(range(100))
    threads.shutdown()


def test_a_few_threads_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, go_on = WorkerThreads(8, "left"), threading.Event()
    with at_most(monkeypatch, 5):
        futures = [threads.submit(go_on.wait, PATIENCE_S) for _ in range(8)]
        assert of("left") == 5
        go_on.set()
        assert all(each.result(PATIENCE_S) for each in futures)
        wait_until(lambda: of("left") == 5 - LEFT_TO_OTHERS)
        assert threads.submit(abs, -1).result(PATIENCE_S) == 1
    threads.shutdown()


def test_an_exception_belongs_to_its_call() -> None:
    threads = WorkerThreads(1, "fails")
    with pytest.raises(ValueError, match="invalid literal"):
        threads.submit(int, "x").result(PATIENCE_S)
    assert threads.submit(abs, -1).result(PATIENCE_S) == 1
    threads.shutdown()


def test_calls_that_wait_are_cancelled_and_none_is_taken_afterwards() -> None:
    threads, go_on = WorkerThreads(1, "closed"), threading.Event()
    running, waiting = threads.submit(go_on.wait, PATIENCE_S), threads.submit(abs, -1)
    wait_until(running.running)
    threads.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError):
        threads.submit(abs, -1)
    go_on.set()
    assert running.result(PATIENCE_S)
    wait_until(lambda: of("closed") == 0)


def test_a_program_ends_though_its_daemon_thread_still_uses_threads() -> None:
    program = """
import threading, time
from kaiwo.workers.threads import WorkerThreads
threads = WorkerThreads(2, "x")
def use():
    threads.submit(abs, 1).result()
    begun.set()
    time.sleep(60)
begun = threading.Event()
threading.Thread(target=use, daemon=True).start()
begun.wait()
last = threads.submit(lambda: (time.sleep(0.3), print("ended", flush=True)))
while not last.running():
    pass
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")
