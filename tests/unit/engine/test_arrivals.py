"""Bytes that are reported while a job is under way are counted once."""

from __future__ import annotations

from pathlib import Path

from kaiwo.engine.arrivals import Arrivals, Unreported
from kaiwo.jobs import FetchChecksum, HashPrefix, Job, Outcome, Progress, Range
from kaiwo.objects import RemoteObject
from tests.support.faulty import PatternOpener, transfer_of

TRANSFER = transfer_of(PatternOpener(()), RemoteObject("a", 100), Path("/nowhere"))
RANGE = Range(TRANSFER, 0, 100, ("crc32c",))


def test_what_was_reported_is_not_counted_again_at_the_end() -> None:
    arrivals = Arrivals()
    arrivals.begin(RANGE)
    assert arrivals.add(Progress(TRANSFER, 0, bytes=30, kept=10))
    assert arrivals.end(RANGE, Outcome(TRANSFER, bytes=90, kept=10)) == Unreported(60, 0, 40)
    assert not arrivals.add(Progress(TRANSFER, 0, bytes=10))


def test_another_job_of_the_object_ends_no_reports() -> None:
    others: list[Job] = [FetchChecksum(TRANSFER), HashPrefix(TRANSFER, 10)]
    for other in others:
        arrivals = Arrivals()
        arrivals.begin(RANGE)
        arrivals.begin(other)
        arrivals.end(other, Outcome(TRANSFER))
        assert arrivals.add(Progress(TRANSFER, 0, bytes=30)), other
        assert arrivals.end(RANGE, Outcome(TRANSFER, bytes=100)) == Unreported(70, 0, 30)
