"""A place that asked to be left alone is, for as long as it asked."""

from __future__ import annotations

import time

import pytest

from kaiwo.net.patience import Patience


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; a test sets it."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.usefixtures("clock")
def test_a_place_that_asked_for_nothing_may_be_asked() -> None:
    assert Patience().left_s("here") == 0


def test_a_wait_passes(clock: list[float]) -> None:
    waits = Patience()
    waits.asked("here", 5)
    assert waits.left_s("here") == 5
    clock[0] += 3
    assert waits.left_s("here") == 2
    clock[0] += 3
    assert waits.left_s("here") == 0


@pytest.mark.usefixtures("clock")
def test_each_place_has_its_wait() -> None:
    waits = Patience()
    waits.asked(("https", "host", None), 5)
    assert waits.left_s(("http", "host", None)) == 0


def test_of_several_waits_the_longest_counts(clock: list[float]) -> None:
    waits = Patience()
    for wait_s in (5.0, 60.0, 1.0):
        waits.asked("here", wait_s)
    assert waits.left_s("here") == 60
    clock[0] += 58
    waits.asked("here", 4)
    assert waits.left_s("here") == 4
