"""How many listings may run at once follows what a service bears."""

from __future__ import annotations

import pytest

from kaiwo.engine.request_limit import FIRST, MOST
from kaiwo.errors import (
    BusyError,
    CredentialsError,
    KaiwoError,
    NoAnswerError,
    StalledError,
    TransientError,
    UnreachableError,
)
from kaiwo.planning.listing_limits import ListingLimits


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


@pytest.mark.parametrize("error", [BusyError("x"), NoAnswerError("x"), StalledError("x")])
def test_as_many_are_left_as_were_not_refused(error: KaiwoError) -> None:
    limits = ListingLimits(["one"], None)
    for _ in range(6):
        limits.failed("one", error, has_answered=True)
    assert limits.limits == {"one": FIRST - 6}
    for _ in range(6):
        limits.failed("one", error, has_answered=True)
    assert limits.limits == {"one": 1}


def test_after_a_refusal_a_whole_round_allows_one_more() -> None:
    limits = ListingLimits(["one"], 8)
    for _ in range(5):
        limits.failed("one", BusyError("x"), has_answered=True)
    reached = []
    for _ in range(12):
        limits.succeeded("one")
        reached.append(limits.limits["one"])
    assert reached == [3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 5, 6]


@pytest.mark.parametrize(
    ("error", "has_answered"),
    [
        (UnreachableError("x"), True),
        (NoAnswerError("x"), False),
        (TransientError("x"), True),
        (CredentialsError("x"), True),
    ],
)
def test_other_failures_are_not_for_their_number(error: KaiwoError, has_answered: bool) -> None:
    limits = ListingLimits(["one"], None)
    limits.failed("one", error, has_answered=has_answered)
    assert limits.limits == {"one": FIRST}
