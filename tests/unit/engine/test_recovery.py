"""What is to be done about a failure, decided without doing it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kaiwo.engine.flight import Flight
from kaiwo.engine.large_object import LargeObject
from kaiwo.engine.remedies import MOST_LOOKUPS, MOST_WRONG_RANGES, Remedy, decide
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.errors import (
    ChangedError,
    CredentialsError,
    IntegrityError,
    KaiwoError,
    RangeIgnoredError,
    TransientError,
    WrongBytesError,
    WrongRangeError,
)
from kaiwo.jobs import RANGE, Batch, Finish, Range, Restat, Tries, Whole
from kaiwo.objects import RemoteObject
from tests.support.faulty import PatternOpener, transfer_of

RETRIES = 5
SMALL = transfer_of(PatternOpener(()), RemoteObject("small", 9), "/nowhere")
BIG = transfer_of(PatternOpener(()), RemoteObject("big", 3 * RANGE), "/nowhere")
A_RANGE = Range(BIG, 0, RANGE, ("crc64nvme",))
WRONG = WrongBytesError("other bytes", "a")


def underway(*, streams: bool | None = None) -> Flight:
    """An object without failures so far: small, or large in ranges or in a stream."""
    if streams is None:
        return Flight(SMALL, 0.0)
    return Flight(BIG, 0.0, large=LargeObject(BIG, RunningDigests(), verify=True, streams=streams))


def test_ranges_that_are_ignored_lead_to_streams() -> None:
    assert decide(A_RANGE, RangeIgnoredError("200"), underway(streams=False), RETRIES) is (
        Remedy.STREAM
    )


def test_other_ranges_than_were_asked_for_lead_to_streams_when_they_come_again_and_again() -> None:
    found = [
        decide(
            replace(A_RANGE, tries=Tries(count)), WrongRangeError("206"), underway(streams=False), 9
        )
        for count in range(MOST_WRONG_RANGES)
    ]
    assert found == [*[Remedy.RETRY] * (MOST_WRONG_RANGES - 1), Remedy.STREAM]


def test_an_object_that_was_replaced_is_looked_up_a_few_times() -> None:
    so_far = underway()
    for so_far.lookups in range(MOST_LOOKUPS):
        assert decide(Batch((SMALL,)), ChangedError("412"), so_far, RETRIES) is Remedy.RESTAT
    so_far.lookups = MOST_LOOKUPS
    assert decide(Batch((SMALL,)), ChangedError("412"), so_far, RETRIES) is Remedy.IN_ONE
    assert decide(Restat(SMALL), ChangedError("412"), so_far, RETRIES) is Remedy.RETRY
    so_far.in_one = True
    assert decide(Batch((SMALL,)), ChangedError("412"), so_far, RETRIES) is Remedy.RETRY


@pytest.mark.parametrize(
    ("streams", "known", "anew", "expected"),
    [
        (False, set(), False, Remedy.READ_RANGES_AGAIN),
        (False, {"another"}, False, Remedy.READ_RANGES_AGAIN),
        (False, {"a"}, False, Remedy.START_AGAIN),
        (False, {"a"}, True, Remedy.GIVE_UP),
        (True, set(), False, Remedy.START_AGAIN),
        (True, {"a"}, False, Remedy.GIVE_UP),
        (None, set(), False, Remedy.START_AGAIN),
        (None, {"another"}, False, Remedy.START_AGAIN),
        (None, {"a"}, False, Remedy.GIVE_UP),
        (None, set("bcdefg"), False, Remedy.GIVE_UP),
    ],
)
def test_wrong_bytes_are_read_again_until_they_are_wrong_in_the_same_way(
    streams: bool | None, known: set[str], anew: bool, expected: Remedy
) -> None:
    so_far = underway(streams=streams)
    so_far.wrong, so_far.refetched = known, anew
    assert decide(Finish(so_far.transfer), WRONG, so_far, RETRIES) is expected


def test_an_object_whose_file_is_not_what_was_written_begins_anew_once() -> None:
    so_far = underway(streams=False)
    assert decide(Finish(BIG), IntegrityError("short"), so_far, RETRIES) is Remedy.START_AGAIN
    so_far.refetched = True
    assert decide(Finish(BIG), IntegrityError("short"), so_far, RETRIES) is Remedy.RETRY


@pytest.mark.parametrize("error", [TransientError("503"), CredentialsError("403")])
def test_all_else_is_left_to_the_retry_policy(error: KaiwoError) -> None:
    for job in (A_RANGE, Batch((SMALL,)), Whole(BIG)):
        assert decide(job, error, underway(streams=False), RETRIES) is Remedy.RETRY
