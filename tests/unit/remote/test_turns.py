"""So many jobs of a service have their turn at once, in the order in which they came."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from kaiwo.remote.turns import Turns
from tests.support.waiting import wait_until

PATIENCE_S = 10.0


class Jobs:
    """Jobs in threads, each of which has its turn until it may end.

    Attributes:
        begun: numbers of those that have had their turn, in order.
    """

    def __init__(self) -> None:
        self.turns, self.over = Turns(), threading.Event()
        self.begun: list[int] = []
        self._may_end = [threading.Event() for _ in range(9)]
        self._threads: list[threading.Thread] = []

    def come(self, number: int, most: int) -> None:
        """A job comes, and waits for its turn."""
        waiting = len(self.turns.waiting) + len(self.begun)
        thread = threading.Thread(target=self._work, args=(number, most), daemon=True)
        thread.start()
        self._threads.append(thread)
        wait_until(lambda: len(self.turns.waiting) + len(self.begun) > waiting, "it is not there")

    def _work(self, number: int, most: int) -> None:
        with self.turns.one(most, self.over):
            self.begun.append(number)
            self._may_end[number].wait(PATIENCE_S)

    def end(self, number: int) -> None:
        """A job ends."""
        self._may_end[number].set()

    def close(self) -> None:
        """All of them end."""
        for each in self._may_end:
            each.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    with contextlib.closing(Jobs()) as found:
        yield found


def test_they_have_their_turn_in_order_and_no_more_at_once_than_are_allowed(jobs: Jobs) -> None:
    for number in range(5):
        jobs.come(number, 2)
    assert sorted(jobs.begun) == [0, 1]
    jobs.end(0)
    wait_until(lambda: 2 in jobs.begun, "it is nobody's turn")
    assert 3 not in jobs.begun


def test_what_the_last_that_came_says_is_how_many_there_may_be(jobs: Jobs) -> None:
    for number in range(3):
        jobs.come(number, 1)
    jobs.come(3, 3)
    wait_until(lambda: len(jobs.begun) == 3, "no more have their turn")
    jobs.come(4, 1)
    jobs.end(0)
    jobs.end(1)
    wait_until(lambda: jobs.turns.taken == 1, "they have not ended")
    assert sorted(jobs.begun) == [0, 1, 2]


def test_nobody_waits_when_the_run_is_over(jobs: Jobs) -> None:
    for number in range(3):
        jobs.come(number, 1)
    jobs.over.set()
    wait_until(lambda: sorted(jobs.begun) == [0, 1, 2], "somebody waits")
