"""How many listings may run at once follows what a service bears."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from kaiwo.engine.request_limit import FIRST, MOST
from kaiwo.engine.retry import FIRST_DELAY_S
from kaiwo.errors import (
    BusyError,
    CredentialsError,
    KaiwoError,
    NoAnswerError,
    StalledError,
    TransientError,
    UnreachableError,
)
from kaiwo.jobs import ListJob
from kaiwo.planning.listing_limits import SLOWLY, ListingLimits
from tests.support.faulty import FaultyStore
from tests.support.planning import listed, want


@pytest.fixture
def job(tmp_path: Path) -> ListJob:
    return ListJob(0, want(FaultyStore(), tmp_path))


@pytest.fixture
def service(job: ListJob) -> str:
    return job.want.opener.service


def refuse(limits: ListingLimits, job: ListJob, times: int = 1) -> ListJob:
    """Some listings that are under way at once are refused."""
    for number in range(times):
        limits.start(replace(job, number=number))
    for number in range(times):
        again = limits.refused(
            replace(job, number=number), BusyError("x"), has_answered=True, others=1
        )
        assert again is not None
        job = again[0]
    return job


def test_each_success_allows_one_more_up_to_the_most() -> None:
    limits = ListingLimits(["one", "two"], None)
    for _ in range(3):
        limits.succeeded("one")
    assert limits.limits == {"one": FIRST + 3, "two": FIRST}
    for _ in range(MOST):
        limits.succeeded("one")
    assert limits.limits == {"one": MOST, "two": FIRST}


def test_the_number_that_the_user_gave_is_the_most() -> None:
    limits = ListingLimits(["one"], 3)
    limits.succeeded("one")
    assert limits.limits == {"one": 3}


def test_what_is_refused_at_once_halves_the_number_once(job: ListJob, service: str) -> None:
    limits = ListingLimits([service], None)
    refuse(limits, job, FIRST)
    assert limits.limits == {service: FIRST // 2}
    for _ in range(6):
        refuse(limits, job, 2)
    assert limits.limits == {service: 1}


def test_after_a_refusal_some_rounds_allow_one_more(job: ListJob, service: str) -> None:
    limits = ListingLimits([service], 4)
    refuse(limits, job)
    reached = []
    for _ in range(40):
        limits.succeeded(service)
        reached.append(limits.limits[service])
    assert Counter(reached) == {2: SLOWLY * 2 - 1, 3: SLOWLY * 3, 4: 40 - SLOWLY * 5 + 1}


@pytest.mark.parametrize("error", [BusyError("x"), NoAnswerError("x"), StalledError("x")])
def test_a_refusal_beside_others_is_not_charged(
    job: ListJob, service: str, error: KaiwoError
) -> None:
    limits = ListingLimits([service], None)
    again = limits.refused(job, error, has_answered=True, others=1)
    assert again is not None
    assert (again[0].tries.count, again[1]) == (0, FIRST_DELAY_S)


def test_the_time_that_a_service_asks_for_is_kept(job: ListJob, service: str) -> None:
    limits = ListingLimits([service], None)
    again = limits.refused(job, BusyError("x", 7.0), has_answered=True, others=1)
    assert again is not None
    assert again[1] == 7.0


@pytest.mark.parametrize(
    ("error", "has_answered", "others"),
    [
        (UnreachableError("x"), True, 1),
        (NoAnswerError("x"), False, 1),
        (TransientError("x"), True, 1),
        (CredentialsError("x"), True, 1),
        (BusyError("x"), True, 0),
    ],
)
def test_other_failures_are_not_for_their_number(
    job: ListJob, service: str, error: KaiwoError, has_answered: bool, others: int
) -> None:
    limits = ListingLimits([service], None)
    assert limits.refused(job, error, has_answered=has_answered, others=others) is None
    assert limits.limits == {service: FIRST}


def test_a_listing_that_alone_is_refused_while_others_succeed_is_charged(
    job: ListJob, service: str
) -> None:
    limits = ListingLimits([service], None)
    refused = refuse(limits, job)
    limits.succeeded(service)
    assert limits.refused(refused, BusyError("x"), has_answered=True, others=1) is None
    refuse(limits, job)
    refuse(limits, refused)


def test_listings_that_are_refused_each_time_do_not_hide_each_other(
    job: ListJob, service: str
) -> None:
    limits = ListingLimits([service], None)
    poisoned = [refuse(limits, job) for _ in range(3)]
    for _ in range(20):
        limits.succeeded(service)
    for each in poisoned:
        assert limits.refused(each, BusyError("x"), has_answered=True, others=1) is None


def test_a_service_that_refuses_everything_is_given_up(tmp_path: Path) -> None:
    store = FaultyStore({"a": b"x"})
    store.list_faults = [BusyError("busy") for _ in range(1000)]
    wants = [want(store, tmp_path) for _ in range(6)]
    with ThreadPoolExecutor(8) as pool:
        listing, _ = listed(wants, pool, retries=2)
    assert [type(error) for _, error in listing.failed] == [BusyError] * len(wants)
    # Each was tried three times, and some besides while others were under way.
    assert len(wants) * 3 <= 1000 - len(store.list_faults) <= len(wants) * 6
