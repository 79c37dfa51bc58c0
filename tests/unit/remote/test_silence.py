"""A worker that its scheduler has not heard for half a minute has left."""

from __future__ import annotations

import pytest

from kaiwo.remote.watching import LOOK_S, SILENT_S, Silence


class Scheduler:
    """What a scheduler says at each look."""

    def __init__(self, *addresses: str) -> None:
        self.heard = dict.fromkeys(addresses, 0)
        self.now_s = 100.0
        self.silence = Silence()

    def look(self, *speaking: str, after_s: float = LOOK_S) -> set[str]:
        """Some have spoken; returns who is there."""
        self.now_s += after_s
        for each in speaking:
            self.heard[each] += 1
        said = {address: {"last_seen": count} for address, count in self.heard.items()}
        return set(self.silence.without_silent(said, self.now_s))


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
    silence = Silence()
    for look in range(1000):
        assert set(silence.without_silent({"a": {}}, float(look))) == {"a"}
