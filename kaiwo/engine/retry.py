"""When a failed request is retried: a pure function of the error, the attempts and the clock.

Nobody sleeps here. The scheduler submits the job again when the delay is over.
"""

from __future__ import annotations

import random
import time
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.errors import (
    BusyError,
    KaiwoError,
    NoAnswerError,
    NotAllowedYetError,
    PassingDiskError,
    TransientError,
    UnavailableError,
    UnreachableError,
)
from kaiwo.jobs import BundleJob, Job, ListJob, PinJob, Tries

JobT = TypeVar("JobT", ListJob, PinJob, BundleJob, Job)

FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 20.0
#: How many times as long as the one before each delay is. A service that is busy may stay so for
#: 20 s, which the repeats of a request outlast together.
GROWTH, GROWTH_WHILE_BUSY = 2.0, 4.0
#: A service that is not up yet is asked at least this often, so that little time is lost.
LONGEST_DELAY_WHILE_UNREACHABLE_S = 2.0
#: A job that is refused again is refused for itself where more than this many others succeeded
#: meanwhile for each other one that was refused: too many at once would have hit them, too.
SERVED = 4
#: After a limit of this process was met, something ends before the request is made again.
LIMIT_DELAY_S = 0.1


class RetryPolicy(Struct, frozen=True):
    """How persistent a run is.

    Attributes:
        retries: retries of one request after its first failure.
        startup_wait_s: keep retrying a service that is not up for at least this long, however many
            retries that takes. Not up: no connection can be made; or it has never answered, and
            connections are closed, or a gateway answers in its place (502 to 504). The same for
            an identity that is new: it has never succeeded, and the task does not name it.
    """

    retries: int = 5
    startup_wait_s: float = 30.0

    def again(
        self, job: JobT, error: KaiwoError, *, has_answered: bool = True, is_new: bool = False
    ) -> tuple[JobT, float] | None:
        """The job for its next attempt and the seconds until then, or None: the error is final.

        Args:
            job: what failed.
            error: what the attempt ended with.
            has_answered: the service has answered a request of this run.
            is_new: the identity may not be known to the service yet.
        """
        now_s, tries = time.monotonic(), job.tries
        reached = error.reached if isinstance(error, TransientError) else 0
        if not tries.count or reached > tries.reached:
            tries = Tries(0, now_s, error.message, reached)
        failing_for_s = now_s - tries.since_s
        delay_s = self.delay_s(
            error, tries.count, failing_for_s, has_answered=has_answered, is_new=is_new
        )
        if delay_s is None:
            return None
        return replace(job, tries=replace(tries, count=tries.count + 1)), delay_s

    def waits_s(self, error: KaiwoError, *, has_answered: bool, is_new: bool = False) -> float:
        """How long such a failure is repeated at least; 0 if only the number of repeats counts."""
        is_not_up = _is_not_up(error, has_answered=has_answered, is_new=is_new)
        return self.startup_wait_s if is_not_up else 0.0

    def delay_s(
        self,
        error: KaiwoError,
        attempt: int,
        failing_for_s: float,
        *,
        has_answered: bool = True,
        is_new: bool = False,
    ) -> float | None:
        """Seconds until the next attempt, or None when the error is final.

        Args:
            error: what the attempt ended with.
            attempt: repeats so far, 0 after the first failure.
            failing_for_s: seconds since the first failure of this request.
            has_answered: see ``again``.
            is_new: see ``again``.
        """
        is_not_up = _is_not_up(error, has_answered=has_answered, is_new=is_new)
        waits_for_start = is_not_up and failing_for_s < self.startup_wait_s
        passes = isinstance(error, TransientError | PassingDiskError) and attempt < self.retries
        if not passes and not waits_for_start:
            return None
        # A gateway that says 503 may be busy: it is not asked more often than others that are.
        is_asked_often = is_not_up and not isinstance(error, BusyError)
        longest_s = LONGEST_DELAY_WHILE_UNREACHABLE_S if is_asked_often else LONGEST_DELAY_S
        growth = GROWTH_WHILE_BUSY if isinstance(error, BusyError) and not is_not_up else GROWTH
        # Full jitter above a floor: many pods that failed together must not return together.
        backoff_s = min(longest_s, FIRST_DELAY_S * growth ** min(attempt, 16))
        delay_s = backoff_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not cryptography
        if waits_for_start:
            # The last retry is made when the wait is over, not a backoff later.
            delay_s = min(delay_s, max(self.startup_wait_s - failing_for_s, 0.01))
        asked_s = error.retry_after_s if isinstance(error, TransientError) else None
        return max(delay_s, asked_s or 0.0)


def _is_not_up(error: KaiwoError, *, has_answered: bool, is_new: bool) -> bool:
    """See ``RetryPolicy.startup_wait_s``."""
    if isinstance(error, NotAllowedYetError):
        return is_new
    return isinstance(error, UnreachableError if has_answered else NoAnswerError | UnavailableError)


def used_up(error: KaiwoError, tries: Tries) -> KaiwoError:
    """The error that a request ended with for good, with its attempts and its first failure."""
    if not tries.count:
        return error
    passed_s = time.monotonic() - tries.since_s
    text = f"{error.message}; attempt {tries.count + 1} after {passed_s:.1f} s"
    if tries.first != error.message:
        text += f", the first failed with: {tries.first}"
    return type(error)(text, *error.args[1:])


def is_for_itself(tries: Tries, refusals: int, successes: int) -> bool:
    """Whether a job that is refused once more, uncharged before, is not refused for their number.

    Args:
        tries: of the job.
        refusals: of its service so far that were not charged.
        successes: of its service so far.
    """
    if tries.refused is None:
        return False
    others, served = refusals - tries.refused[0], successes - tries.refused[1]
    return served > SERVED * others
