"""What is left, how fast it comes, and which files are slow."""

from __future__ import annotations

from kaiwo.errors import NotFoundError
from kaiwo.events import Planned, Progressed, Settled, Started
from kaiwo.reporting.counters import Counters
from kaiwo.reporting.progress_text import narrowing, progress_line
from tests.unit.reporting.reports import came, item

FAILED = NotFoundError("reading s3://b/k: 404: not there")


def test_the_slowest_takes_longest_at_its_rate_of_the_last_seconds() -> None:
    now_s = 100.0
    counters = Counters(lambda: now_s)
    for number in range(5):
        counters.add(Started(f"s3://b/{number}", 10_000))
    for _ in range(30):
        now_s += 1
        for number in range(5):
            counters.add(came(10 + 10 * number, f"s3://b/{number}"))
    assert [each.source for each in counters.slowest] == ["s3://b/0", "s3://b/1", "s3://b/2"]
    for _ in range(30):  # one of them stands still
        now_s += 1
        for number in range(4):
            counters.add(came(10 + 10 * number, f"s3://b/{number}"))
    names = [each.source for each in counters.slowest]
    assert "s3://b/4" in names


def test_what_is_left_of_a_file_that_failed_is_not_waited_for() -> None:
    now_s = 100.0
    counters = Counters(lambda: now_s)
    counters.add(Planned(2, 20, 0))
    now_s += 1
    counters.add(came(10))
    counters.add(Settled(item(error=FAILED, attempts=1)))
    assert (counters.rate, counters.left_s, counters.failed) == (10, 0, 1)


def test_what_was_there_is_checking_and_no_speed() -> None:
    now_s = 100.0
    counters = Counters(lambda: now_s)
    counters.add(Planned(1, 3_000, 0))
    now_s += 1
    counters.add(Progressed(2_000, "s3://b/k", kept=2_000))
    assert progress_line(counters) == "0 of 1 files, 2.0 KiB of 2.9 KiB, checking"
    assert narrowing(counters)[0].startswith("checking: ")
    counters.add(came(100))
    assert narrowing(counters)[0].startswith("downloading: ")
    assert (counters.checked, counters.received, counters.rate) == (2_000, 100, 100)
