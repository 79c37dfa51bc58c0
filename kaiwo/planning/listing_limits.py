"""How many listings and look-ups may run at once at each service.

A listing is mostly a wait for answers, so several of them cost hardly more time than one.

    success    one more
    refusal    (429, 503, reset) by a service that has answered: half as many, once for all that
               were under way; from then on one more for each few rounds of successes only, so that
               a number that was refused is tried seldom

A refusal is charged to nobody while others are under way, unless the same listing is refused twice
while nearly all others succeed. See docs/decisions/0050.

Each service has its limit: one that is slow does not hold back the others.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.engine.request_limit import FIRST, MOST
from kaiwo.engine.retry import FIRST_DELAY_S, is_for_itself
from kaiwo.errors import (
    BusyError,
    KaiwoError,
    NoAnswerError,
    StalledError,
    TransientError,
    UnreachableError,
)
from kaiwo.jobs import ListJob

#: After a refusal: this number of rounds must succeed for one more.
SLOWLY = 4


class _Seen(Struct):
    """What a service did.

    Attributes:
        refusals: listings that it refused.
        successes: listings that succeeded.
        lately: those since the limit changed.
        reductions: how often the limit was reduced.
    """

    refusals: int = 0
    successes: int = 0
    lately: int = 0
    reductions: int = 0


class ListingLimits:
    """The limits of a run's services.

    Args:
        services: that are asked.
        workers: as many at once from the start, and never more; None: as many as the services bear.

    Attributes:
        limits: how many may run at once, by service; the dispatcher follows it.
    """

    def __init__(self, services: Iterable[str], workers: int | None) -> None:
        first, self._most = (FIRST, MOST) if workers is None else (workers, workers)
        self.limits = dict.fromkeys(services, first)
        self._seen = {service: _Seen() for service in self.limits}
        #: The reductions of its service when a listing started, by its number.
        self._started: dict[int, int] = {}

    def start(self, job: ListJob) -> None:
        """A listing starts."""
        self._started[job.number] = self._seen[job.want.opener.service].reductions

    def succeeded(self, service: str) -> None:
        """A listing was answered."""
        seen = self._seen[service]
        seen.successes += 1
        seen.lately += 1
        if not seen.refusals or seen.lately >= SLOWLY * self.limits[service]:
            seen.lately = 0
            self.limits[service] = min(self.limits[service] + 1, self._most)

    def refused(
        self, job: ListJob, error: KaiwoError, *, has_answered: bool, others: int
    ) -> tuple[ListJob, float] | None:
        """A listing failed: if there were too many at once, the job again, which is not charged.

        Returns the job and the seconds until then, as ``RetryPolicy.again`` does.

        Args:
            job: the listing.
            error: what it ended with.
            has_answered: the service has answered a request of this run.
            others: listings of the same service that are under way.
        """
        is_refusal = isinstance(error, BusyError | NoAnswerError | StalledError)
        # A service that cannot be reached is not up, however many ask it.
        if not (has_answered and is_refusal) or isinstance(error, UnreachableError):
            return None
        service = job.want.opener.service
        seen = self._seen[service]
        if not others or is_for_itself(job.tries, seen.refusals, seen.successes):
            return None
        seen.refusals += 1
        seen.lately = 0
        if self._started.get(job.number) == seen.reductions:
            seen.reductions += 1
            self.limits[service] = max(self.limits[service] // 2, 1)
        tries = replace(job.tries, refused=(seen.refusals, seen.successes))
        asked_s = error.retry_after_s if isinstance(error, TransientError) else None
        return replace(job, tries=tries), max(asked_s or 0.0, FIRST_DELAY_S)
