"""Writing in the thread that reads stops for a while where it takes most of its time."""

from __future__ import annotations

import pytest

from kaiwo.workers import disk_waits as waits


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(waits, "time", found)
    return found


def write(on: waits.DiskWaits, clock: Clock, took_s: float, pause_s: float, times: int) -> None:
    for _ in range(times):
        with on.measured():
            clock.now_s += took_s
        clock.now_s += pause_s


def test_a_local_disk_is_written_at_once(clock: Clock) -> None:
    on = waits.DiskWaits()
    write(on, clock, 0.001, 0.002, times=2_000)
    assert not on.are_long()


def test_a_server_that_lets_wait_is_waited_for_by_others_and_tried_again(clock: Clock) -> None:
    on = waits.DiskWaits()
    write(on, clock, 0.006, 0.0001, times=200)
    assert on.are_long()
    clock.now_s += 10
    assert not on.are_long()


def test_one_long_wait_is_enough(clock: Clock) -> None:
    on = waits.DiskWaits()
    write(on, clock, 0.001, 0.002, times=200)
    write(on, clock, 5.0, 0.0, times=1)
    assert on.are_long()


def test_a_single_write_after_a_pause_says_nothing(clock: Clock) -> None:
    on = waits.DiskWaits()
    write(on, clock, 0.4, 60.0, times=3)
    assert not on.are_long()
