"""When a failed request is repeated."""

from __future__ import annotations

import random
import re
import time

import pytest

from kaiwo.engine.retry import (
    LONGEST_DELAY_S,
    LONGEST_DELAY_WHILE_UNREACHABLE_S,
    RetryPolicy,
    used_up,
)
from kaiwo.errors import (
    BugError,
    BusyError,
    CertificateError,
    ChangedError,
    ConfigError,
    CredentialsError,
    DiskError,
    IntegrityError,
    KaiwoError,
    NoAnswerError,
    NotFoundError,
    RangeIgnoredError,
    ServiceError,
    TransientError,
    UnavailableError,
    UnreachableError,
    WrongBytesError,
)
from kaiwo.jobs import Batch, Job, Tries

PERMANENT = (
    BugError,
    CertificateError,
    ChangedError,
    ConfigError,
    CredentialsError,
    DiskError,
    IntegrityError,
    KaiwoError,
    NotFoundError,
    ServiceError,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    random.seed(1)


@pytest.mark.parametrize("kind", PERMANENT)
def test_permanent_errors_are_never_repeated(kind: type[KaiwoError]) -> None:
    assert RetryPolicy().delay_s(kind("no"), 0, 0) is None


@pytest.mark.parametrize("kind", [TransientError, UnreachableError, RangeIgnoredError])
def test_transient_errors_are_repeated_as_often_as_the_policy_says(
    kind: type[TransientError],
) -> None:
    policy = RetryPolicy(retries=3, startup_wait_s=0)
    delays = [policy.delay_s(kind("no"), attempt, 1.0) for attempt in range(5)]
    assert [delay is not None for delay in delays] == [True, True, True, False, False]


def test_no_retries_mean_one_attempt() -> None:
    assert RetryPolicy(retries=0).delay_s(TransientError("no"), 0, 0) is None


def test_delays_double_with_jitter_up_to_a_limit() -> None:
    policy = RetryPolicy(retries=1_000)
    for attempt in range(1_000):
        longest = min(LONGEST_DELAY_S, 0.25 * 2.0**attempt)
        delay = policy.delay_s(TransientError("no"), attempt, 0)
        assert delay is not None
        assert longest / 2 <= delay <= longest


def test_the_repeats_of_a_request_outlast_a_service_that_is_busy_for_20_s() -> None:
    policy = RetryPolicy()
    for _ in range(100):
        answers = (policy.delay_s(BusyError("429"), each, 0) for each in range(6))
        delays = [each for each in answers if each is not None]
        assert len(delays) == policy.retries
        assert delays[0] <= 0.25
        assert 20 < sum(delays) < 45


def test_two_pods_do_not_return_together() -> None:
    policy = RetryPolicy()
    assert len({policy.delay_s(TransientError("no"), 3, 0) for _ in range(50)}) > 40


def test_a_delay_is_never_shorter_than_the_service_asks_for() -> None:
    policy = RetryPolicy()
    assert policy.delay_s(TransientError("busy", 7.5), 0, 0) == 7.5
    assert policy.delay_s(TransientError("busy", 120), 4, 0) == 120
    later = policy.delay_s(TransientError("busy", 0), 4, 0)
    assert later is not None
    assert later >= 2


def test_the_wish_of_a_service_does_not_add_attempts() -> None:
    assert RetryPolicy(retries=2).delay_s(TransientError("busy", 1), 2, 0) is None


def test_a_service_that_is_not_up_is_asked_until_the_wait_is_over() -> None:
    policy = RetryPolicy(retries=0, startup_wait_s=30)
    error = UnreachableError("refused")
    assert policy.delay_s(error, 40, 29.9) is not None
    assert policy.delay_s(error, 40, 30) is None
    assert policy.delay_s(TransientError("reset"), 0, 1) is None


@pytest.mark.parametrize("kind", [NoAnswerError, UnavailableError])
def test_before_its_first_answer_a_service_may_not_be_up(kind: type[TransientError]) -> None:
    policy = RetryPolicy(retries=0, startup_wait_s=30)
    error = kind("reset, or 502 to 504")
    assert policy.delay_s(error, 40, 29.9, has_answered=False) is not None
    assert policy.delay_s(error, 40, 30, has_answered=False) is None
    assert policy.delay_s(error, 0, 1, has_answered=True) is None


def test_before_its_first_answer_other_failures_have_their_retries_only() -> None:
    policy = RetryPolicy(retries=1, startup_wait_s=30)
    for error in (TransientError("500, or no answer in time"), BusyError("429")):
        assert policy.delay_s(error, 0, 1, has_answered=False) is not None
        assert policy.delay_s(error, 1, 1, has_answered=False) is None


def test_a_service_that_may_be_busy_is_not_asked_often() -> None:
    policy = RetryPolicy(startup_wait_s=3_600)
    delay = policy.delay_s(UnavailableError("503"), 10, 10, has_answered=False)
    assert delay is not None
    assert delay >= LONGEST_DELAY_S / 2


def test_a_service_that_is_not_up_is_asked_often() -> None:
    policy = RetryPolicy(startup_wait_s=3_600)
    for attempt in range(100):
        delay = policy.delay_s(UnreachableError("refused"), attempt, 10)
        assert delay is not None
        assert delay <= LONGEST_DELAY_WHILE_UNREACHABLE_S


def test_the_last_look_is_when_the_wait_is_over() -> None:
    policy = RetryPolicy(retries=0, startup_wait_s=30)
    clock, attempt = 0.0, 0
    while (delay := policy.delay_s(UnreachableError("refused"), attempt, clock)) is not None:
        clock, attempt = clock + delay, attempt + 1
    assert 30 <= clock < 30.1
    assert attempt < 60


def test_a_service_that_never_comes_up_still_has_its_retries() -> None:
    policy = RetryPolicy(retries=5, startup_wait_s=0)
    delays = [policy.delay_s(UnreachableError("refused"), attempt, 99) for attempt in range(6)]
    assert [delay is None for delay in delays] == [False] * 5 + [True]


def test_a_repeat_remembers_how_its_request_has_fared() -> None:
    policy, before_s = RetryPolicy(retries=3), time.monotonic()
    job: Job = Batch(())
    for number in range(3):
        again = policy.again(job, TransientError(f"cause {number}"))
        assert again is not None
        job, delay_s = again
        assert (job.tries.count, job.tries.first) == (number + 1, "cause 0")
        assert before_s <= job.tries.since_s <= time.monotonic()
        assert delay_s > 0
    assert policy.again(job, TransientError("cause 3")) is None


def test_what_is_final_is_not_repeated_however_new_it_is() -> None:
    assert RetryPolicy().again(Batch(()), NotFoundError("gone")) is None


def test_a_service_is_waited_for_from_its_first_failure_on() -> None:
    policy = RetryPolicy(retries=0, startup_wait_s=30)
    now_s = time.monotonic()
    for since_s, waits in ((now_s - 20, True), (now_s - 31, False)):
        job = Batch((), tries=Tries(9, since_s, "refused"))
        assert (policy.again(job, UnreachableError("refused")) is not None) == waits


def test_an_error_that_was_met_at_once_is_told_as_it_is() -> None:
    error = TransientError("reset")
    assert used_up(error, Tries()) is error


def test_the_last_error_tells_the_attempts_the_time_and_the_first_cause() -> None:
    tries = Tries(2, time.monotonic() - 1.5, "timed out")
    error = used_up(TransientError("reset", 7.0), tries)
    told = r"reset; attempt 3 after 1\.[5-9] s, the first failed with: timed out"
    assert re.fullmatch(told, error.message)
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 7.0


def test_a_cause_that_is_the_same_each_time_is_told_once() -> None:
    error = used_up(
        WrongBytesError("md5 differs", "abc"), Tries(1, time.monotonic(), "md5 differs")
    )
    assert re.fullmatch(r"md5 differs; attempt 2 after 0\.\d s", error.message)
    assert isinstance(error, WrongBytesError)
    assert error.found == "abc"
