"""A worker that is not heard for half a minute: of Dask it has left, of others it is named."""

from __future__ import annotations

import pytest

from kaiwo.remote.silence import Hearing, Silence
from kaiwo.remote.watching import LOOK_S, SILENT_S, without_silent


class Scheduler:
    """What a scheduler says at each look."""

    def __init__(self, *addresses: str) -> None:
        self.heard = dict.fromkeys(addresses, 0)
        self.now_s = 100.0
        self.silence = Silence(LOOK_S)

    def look(self, *speaking: str, after_s: float = LOOK_S) -> set[str]:
        """Some have spoken; returns who is there."""
        self.now_s += after_s
        for each in speaking:
            self.heard[each] += 1
        said = {address: {"last_seen": count} for address, count in self.heard.items()}
        return set(without_silent(said, self.silence, self.now_s))


def test_who_is_silent_is_gone_and_comes_back_when_it_speaks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Scheduler("a", "b")
    found = [cluster.look("a") for _ in range(int(SILENT_S / LOOK_S) + 2)]
    assert found[-3:] == [{"a", "b"}, {"a"}, {"a"}]
    assert [each.message for each in caplog.records] == [
        "b has not been heard for 30 s: it counts as gone until it is"
    ]
    assert cluster.look("a", "b") == {"a", "b"}


def test_time_in_which_the_scheduler_says_nothing_does_not_count() -> None:
    cluster = Scheduler("a")
    cluster.look("a")
    assert cluster.look(after_s=1_000.0) == {"a"}
    assert cluster.look(after_s=SILENT_S - 2 * LOOK_S) == {"a"}


def test_of_many_each_is_heard_seldom() -> None:
    cluster = Scheduler(*map(str, range(1000)))
    for _ in range(int(2 * SILENT_S / LOOK_S)):
        assert len(cluster.look()) == 1000


def test_who_has_never_been_told_when_it_was_heard_is_there() -> None:
    silence = Silence(LOOK_S)
    for look in range(1000):
        assert set(without_silent({"a": {}}, silence, float(look))) == {"a"}


class Run:
    """What a run hears of the sites of an executor, which have five jobs that do not come back."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.hearing = Hearing(1.0)

    def look(self, seconds: int, busy: dict[str, int], *speaking: str, done: int = 0) -> None:
        """Look each second, when these have spoken, and so many jobs have come back."""
        for _ in range(seconds):
            self.now_s += 1.0
            for each in speaking:
                self.hearing.note(each)
            self.hearing.look(busy, 5, done, self.now_s)


def test_a_silent_site_with_jobs_is_named_once_until_it_speaks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run, busy = Run(), {"a": 2, "b": 3, "idle": 0}
    run.look(100, busy, "a")
    (warning,) = caplog.messages
    assert warning.startswith("worker b has said nothing for 30 s")
    assert "for 3 jobs that it had begun" in warning
    run.look(1, busy, "a", "b")
    run.look(29, busy, "a")
    assert len(caplog.messages) == 1
    run.look(1, busy, "a")
    assert len(caplog.messages) == 2


def test_jobs_that_nobody_begins_are_told_and_those_that_come_back_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run()
    for done in range(100):
        run.look(1, {}, done=done)
    assert not caplog.messages
    run.look(100, {}, done=99)
    (warning,) = caplog.messages
    assert warning.startswith("the executor has begun none of 5 jobs for 30 s")
