"""Repeats that are due, and may not start before others."""

from __future__ import annotations

import time

import pytest

from kaiwo.engine.dispatcher import Dispatcher
from tests.support.faulty import PATIENCE_S, InlineExecutor


@pytest.mark.parametrize("delay_s", [0.0, 0.05])
def test_a_repeat_that_waits_for_another_repeat_does_not_hold_it_back(delay_s: float) -> None:
    # As a range waits while its object is looked up, whose request is repeated as well.
    limits = {"odd": 0, "even": 1}
    executor = InlineExecutor()

    def same(job: int) -> int:
        return job

    dispatcher = Dispatcher(executor, limits, same, lane=lambda job: ("even", "odd")[job % 2])
    dispatcher.repeat(1, 0)
    dispatcher.repeat(2, delay_s)

    def handle(job: int, _: int) -> None:
        limits["odd"] = 1 if job == 2 else limits["odd"]

    assert dispatcher.run(handle, time.monotonic() + PATIENCE_S)
    assert executor.jobs == [2, 1]
