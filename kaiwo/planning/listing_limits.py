"""How many listings and look-ups may run at once at each service.

A listing is mostly a wait for answers, so several of them cost hardly more time than one.

    success    one more
    refusal    (429, 503, reset) by a service that has answered others: one fewer. So as many are
               left as were served at once. From then on there is one more for each round of
               successes only

Each service has its limit: one that is slow does not hold back the others.
"""

from __future__ import annotations

from collections.abc import Iterable

from kaiwo.engine.request_limit import FIRST, MOST
from kaiwo.errors import BusyError, KaiwoError, NoAnswerError, StalledError, UnreachableError


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
        #: Successes since the last change, of services that have refused something.
        self._successes: dict[str, int] = {}

    def succeeded(self, service: str) -> None:
        """A listing was answered."""
        limit = self.limits[service]
        if service in self._successes:
            self._successes[service] += 1
            if self._successes[service] < limit:
                return
            self._successes[service] = 0
        self.limits[service] = min(limit + 1, self._most)

    def failed(self, service: str, error: KaiwoError, *, has_answered: bool) -> None:
        """A listing failed, perhaps because there were too many.

        Args:
            service: that was asked.
            error: what the listing ended with.
            has_answered: the service has answered a request of this run.
        """
        is_refusal = isinstance(error, BusyError | NoAnswerError | StalledError)
        # A service that cannot be reached is not up, however many ask it.
        if has_answered and is_refusal and not isinstance(error, UnreachableError):
            self._successes[service] = 0
            self.limits[service] = max(self.limits[service] - 1, 1)
