"""What other threads say to the dispatcher arrives, and a wait for it ends in time."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kaiwo.engine.inbox import Inbox

#: Shorter than the steps before a wait, so that it is over when the wait begins.
NO_TIME_S = 1e-6
PATIENCE_S = 30.0


def test_a_wait_ends_though_its_time_is_over_before_it_begins() -> None:
    found: list[str | None] = []

    def look() -> None:
        for _ in range(3000):
            inbox = Inbox[str]()
            found.append(inbox.get(NO_TIME_S))
            inbox.put("a")
            found.extend((inbox.get(NO_TIME_S), inbox.get(NO_TIME_S), inbox.get(-1.0)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "a wait that does not end"
    assert found == [None, "a", None, None] * 3000


def test_all_that_threads_say_arrives_in_their_order() -> None:
    inbox = Inbox[tuple[int, int]]()

    def say(speaker: int) -> None:
        for number in range(2000):
            inbox.put((speaker, number))

    with ThreadPoolExecutor(4) as threads:
        said = [threads.submit(say, speaker) for speaker in range(4)]
        heard = [inbox.get(PATIENCE_S) for _ in range(8000)]
        assert all(each.result() is None for each in said)
    for speaker in range(4):
        assert [each[1] for each in heard if each and each[0] == speaker] == list(range(2000))
    assert inbox.is_empty()


def test_a_signals_exception_ends_a_wait() -> None:
    def ring(_number: int, _frame: object) -> None:
        raise InterruptedError

    inbox, before = Inbox[str](), signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        begun_s = time.monotonic()
        with pytest.raises(InterruptedError):
            inbox.get(PATIENCE_S)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begun_s < PATIENCE_S
    inbox.put("a")
    assert inbox.get(PATIENCE_S) == "a"
