"""How a job is read, what comes in ranges, and what a refusal is charged to."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.engine.lines import LEAST_UNIT, LONGEST_PIECE, Lines
from kaiwo.engine.machines import Machines
from kaiwo.engine.request_budget import UNSAVED
from kaiwo.engine.retry import RetryPolicy
from kaiwo.engine.rules import Rules
from kaiwo.errors import BusyError, KaiwoError, NoAnswerError, StalledError, TransientError
from kaiwo.jobs import RANGE, Batch, Outcome, Progress, Range, Transfer
from kaiwo.objects import RemoteObject
from kaiwo.workers.progress import new_channel
from tests.support.faulty import PatternOpener, transfer_of

OPENER = PatternOpener(())
SERVICE = OPENER.service


def lines(
    workers: int | None = None,
    memory: int = 256 << 20,
    *,
    machines: Machines | None = None,
    bandwidth: int | None = None,
) -> Lines:
    rules = Rules(workers, RetryPolicy(), memory=memory, bandwidth=bandwidth)
    return Lines([SERVICE], rules, new_channel(), machines)


def of_size(size: int) -> Transfer:
    return transfer_of(OPENER, RemoteObject("a", size), Path("/nowhere"))


def a_range(start: int = 0) -> Range:
    return Range(of_size(10 * RANGE), start, start + RANGE, ("crc32c",))


def ended(known: Lines, job: Range, seconds: float) -> None:
    """A range came in that time."""
    known.begin(job, SERVICE)
    known.end(job, [Outcome(job.transfer, bytes=RANGE, seconds=seconds)], SERVICE, RANGE)


def test_a_connection_is_read_at_once_when_it_is_known_to_be_fast() -> None:
    known = lines(8)
    assert known.begin(a_range(), SERVICE).piece == LONGEST_PIECE
    ended(known, a_range(), 0.05)
    assert known.begin(a_range(), SERVICE).piece == 0


@pytest.mark.parametrize(
    ("workers", "seconds", "memory"),
    [(8, 3.0, 256 << 20), (16, 0.05, 256 << 20), (8, 0.05, 128 << 20)],
    ids=["slow", "many at once", "little memory"],
)
def test_in_pieces_otherwise(workers: int, seconds: float, memory: int) -> None:
    known = lines(workers, memory)
    ended(known, a_range(), seconds)
    assert 0 < known.begin(a_range(), SERVICE).piece <= min(LONGEST_PIECE, UNSAVED // workers)


def test_objects_come_in_ranges_when_a_second_does_not_bring_them() -> None:
    known = lines(8)
    assert known.is_remembered(of_size(RANGE + 1))
    assert not known.is_remembered(of_size(100_000))
    ended(known, a_range(), RANGE / 500_000)
    assert [known.is_remembered(of_size(size)) for size in (499_000, 501_000)] == [False, True]
    slow = lines(8)
    ended(slow, a_range(), RANGE / 1_000)
    assert not slow.is_remembered(of_size(LEAST_UNIT))


@pytest.mark.parametrize(
    ("rate", "workers", "most"),
    [
        (None, 8, 1 << 20),
        (1e6, 8, 1 << 20),
        (16e6, 8, 4_000_000),
        (1e9, 8, RANGE),
        (1e9, 32, 2 << 20),
    ],
    ids=["unknown", "slow", "faster", "fast", "many at once"],
)
def test_a_batch_has_no_more_bytes_than_are_read_at_once(
    rate: float | None, workers: int, most: int
) -> None:
    known = lines(workers, 1 << 30)
    if rate is not None:
        ended(known, a_range(), RANGE / rate)
    assert known.batch_bytes(SERVICE) == pytest.approx(most, rel=0.01)


def test_batches_that_travel_have_what_comes_in_a_second() -> None:
    known = lines(8, 1 << 30, machines=Machines(lambda: 2))
    ended(known, a_range(), RANGE / 2e6)
    assert known.batch_bytes(SERVICE) == pytest.approx(2_000_000, rel=0.01)


def test_how_long_a_small_object_takes_is_guessed_before_one_has_come() -> None:
    known = lines(8)
    assert known.pace(SERVICE).batch_size(10_000, 8) == 1
    job = a_range()
    known.begin(job, SERVICE)
    outcome = Outcome(job.transfer, bytes=RANGE, seconds=1.0, answer_s=0.02)
    known.end(job, [outcome], SERVICE, RANGE)
    assert known.pace(SERVICE).batch_size(10_000, 8) == 5
    known.end(Batch(()), [Outcome(job.transfer, seconds=0.05)], SERVICE, 0)
    known.end(job, [outcome], SERVICE, RANGE)
    assert known.pace(SERVICE).batch_size(10_000, 8) == 2


@pytest.mark.parametrize(
    ("job_s", "waiting"), [(None, 0), (3.0, 0), (0.4, 4), (0.1, 8)], ids=lambda each: f"{each}"
)
def test_machines_have_as_many_jobs_more_as_end_while_one_travels(
    job_s: float | None, waiting: int
) -> None:
    known = lines(8, machines=Machines(lambda: 3, are_ahead=True))
    if job_s is not None:
        ended(known, a_range(), job_s)
        known.step()
    assert (known.limits[SERVICE], known.requests(SERVICE)) == (24 + 3 * waiting, 24)
    assert known.begin(a_range(), SERVICE).abreast == 8
    assert known.begin(Batch((of_size(1),)), SERVICE).abreast == 8


@pytest.mark.parametrize(
    ("are_ahead", "bandwidth"), [(False, None), (True, 1 << 20)], ids=["executor", "limited"]
)
def test_no_job_waits_elsewhere(are_ahead: bool, bandwidth: int | None) -> None:
    machines = Machines(lambda: 3, are_ahead=are_ahead)
    known = lines(8, machines=machines, bandwidth=bandwidth)
    ended(known, a_range(), 0.1)
    known.step()
    assert known.limits[SERVICE] == known.requests(SERVICE)
    assert known.begin(a_range(), SERVICE).abreast == 0


@pytest.mark.parametrize("kind", [BusyError, NoAnswerError, StalledError])
def test_a_service_that_serves_others_gets_fewer_requests_and_nobody_is_charged(
    kind: type[KaiwoError],
) -> None:
    known = lines(8)
    jobs = [a_range(number * RANGE) for number in range(8)]
    for each in jobs:
        known.begin(each, SERVICE)
    known.note(Progress(jobs[0].transfer, bytes=1))
    for each in jobs[1:]:
        known.end(each, [Outcome(each.transfer, error=kind("no"))], SERVICE, 0)
        again = known.refused(each, kind("no"), SERVICE)
        assert again is not None
        assert again.tries.count == 0
    assert known.limits[SERVICE] < 8


def test_alone_or_while_nothing_comes_a_refusal_is_charged() -> None:
    known, error = lines(8), BusyError("no")
    job = a_range()
    known.begin(job, SERVICE)
    known.end(job, [Outcome(job.transfer, error=error)], SERVICE, 0)
    assert known.refused(job, error, SERVICE) is None
    known.begin(job, SERVICE)
    assert known.refused(a_range(RANGE), error, SERVICE) is None, "nothing has ever come"
    assert known.limits[SERVICE] == 8


def test_an_object_that_alone_is_refused_while_others_come_is_charged() -> None:
    known, error = lines(8), BusyError("poisoned")
    others = a_range()
    known.begin(others, SERVICE)
    known.note(Progress(others.transfer, bytes=1))
    first = known.refused(a_range(RANGE), error, SERVICE)
    assert first is not None
    assert known.refused(first, error, SERVICE) is not None, "no other has come since"
    second = known.refused(first, error, SERVICE)
    assert second is not None
    ended(known, a_range(2 * RANGE), 1.0)
    assert known.refused(second, error, SERVICE) is None


@pytest.mark.parametrize(("served", "are_charged"), [(20, True), (3, False)])
def test_objects_that_are_refused_each_time_do_not_hide_each_other(
    served: int, *, are_charged: bool
) -> None:
    known, error = lines(8), BusyError("poisoned, or one too many")
    others = a_range()
    known.begin(others, SERVICE)
    known.note(Progress(others.transfer, bytes=1))
    poisoned = [known.refused(a_range(at * RANGE), error, SERVICE) for at in (1, 2, 3)]
    for _ in range(served):
        ended(known, others, 1.0)
    again = [known.refused(each, error, SERVICE) for each in poisoned if each is not None]
    assert [each is None for each in again] == [are_charged] * 3


def test_other_failures_are_charged() -> None:
    known, others = lines(8), a_range()
    known.begin(others, SERVICE)
    known.note(Progress(others.transfer, bytes=1))
    assert known.refused(a_range(RANGE), TransientError("500"), SERVICE) is None


def test_a_given_number_of_workers_is_the_number_from_the_start() -> None:
    assert [lines(each).limits[SERVICE] for each in (3, 200, None)] == [3, 200, 8]


def test_services_share_what_memory_allows() -> None:
    rules = Rules(None, RetryPolicy(), memory=128 << 20)
    limits = Lines("abcd", rules, new_channel()).limits
    assert sum(limits[each] for each in "abcd") <= 17


def test_the_time_to_the_first_byte_is_known_before_a_request_ends() -> None:
    known, job = lines(), a_range()
    known.begin(job, SERVICE)
    known.note(Progress(job.transfer, bytes=1, answer_s=0.03))
    known.note(Progress(job.transfer, bytes=1))
    assert known._lines[SERVICE].limit.first_byte_s == 0.03  # noqa: SLF001 - growth goes by it


def test_a_small_object_that_takes_long_tells_that_its_line_is_slow() -> None:
    known, job = lines(8), Batch((of_size(100_000),))
    assert known.begin(job, SERVICE).piece > 0
    outcome = Outcome(job.transfers[0], bytes=100_000, seconds=1.1, answer_s=0.1)
    known.end(job, [outcome], SERVICE, 100_000)
    assert known.is_remembered(of_size(LEAST_UNIT + 1))


def test_small_objects_are_read_at_once_until_their_line_is_known_to_be_slow() -> None:
    known, small = lines(8), Batch((of_size(100_000),))
    assert known.begin(replace(small, transfers=(of_size(10_000),)), SERVICE).piece == 0
    ended(known, a_range(), RANGE / 50_000)
    assert known.begin(small, SERVICE).piece > 0
    assert known.begin(replace(small, transfers=(of_size(10),)), SERVICE).piece == 0
