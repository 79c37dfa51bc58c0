"""Repeats that are due and may not start before others; what is done before waiting for them."""

from __future__ import annotations

import time

import pytest

from kaiwo.engine.dispatcher import Dispatcher
from tests.support.faulty import PATIENCE_S, InlineExecutor


def same(job: int) -> int:
    return job


@pytest.mark.parametrize("delay_s", [0.0, 0.05])
def test_a_repeat_that_waits_for_another_repeat_does_not_hold_it_back(delay_s: float) -> None:
    # As a range waits while its object is looked up, whose request is repeated as well.
    limits = {"odd": 0, "even": 1}
    executor = InlineExecutor()
    dispatcher = Dispatcher(executor, limits, same, lane=lambda job: ("even", "odd")[job % 2])
    dispatcher.repeat(1, 0)
    dispatcher.repeat(2, delay_s)

    def handle(job: int, _: int) -> None:
        limits["odd"] = 1 if job == 2 else limits["odd"]

    assert dispatcher.run(handle, time.monotonic() + PATIENCE_S)
    assert executor.jobs == [2, 1]


def test_it_says_when_it_has_caught_up_before_it_waits_for_a_result_or_a_repeat() -> None:
    executor, said = InlineExecutor(), []
    handled: list[int] = []
    dispatcher: Dispatcher[int, int] = Dispatcher(
        executor, 4, same, caught_up=lambda: said.append(tuple(handled))
    )

    def handle(job: int, _: int) -> None:
        handled.append(job)
        if job == 1:
            dispatcher.repeat(9, 0.05)

    dispatcher.feed(range(4))
    dispatcher.run(handle)
    # The four come together, and are handled before anything is waited for.
    assert said[0] == (0, 1, 2, 3)
    assert handled == [0, 1, 2, 3, 9]
