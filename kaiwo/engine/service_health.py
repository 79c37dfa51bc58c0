"""What a run learns of each service: that it ignores ranges, wants patience, or is down.

A service that answers 429 or 503, or names a time to come back, is meant to be left alone by the
whole run, not by the one request that it told. And where nothing succeeds any more while object
after object uses up its attempts, the rest would only take its time to fail likewise.
"""

from __future__ import annotations

import time
from collections import defaultdict

from msgspec import Struct

from kaiwo.errors import BusyError, KaiwoError, TransientError


class _Service(Struct):
    """Times are those of the monotonic clock."""

    ignores_ranges: bool = False
    quiet_until_s: float = 0.0
    answered_s: float = 0.0
    lost: int = 0


class ServiceHealth:
    """All services of a run, by their origins.

    Args:
        patience: so many objects may fail in a row before a service is taken to be down.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._services: defaultdict[str, _Service] = defaultdict(_Service)

    def ignores_ranges(self, origin: str) -> bool:
        """Whether its objects come in single streams."""
        return self._services[origin].ignores_ranges

    def give_up_ranges(self, origin: str) -> bool:
        """It ignores them; False when that is no news."""
        news = not self._services[origin].ignores_ranges
        self._services[origin].ignores_ranges = True
        return news

    def answered(self, origin: str) -> None:
        """A request succeeded."""
        service = self._services[origin]
        service.answered_s = time.monotonic()
        service.lost = 0

    def refused(self, origin: str, error: KaiwoError, delay_s: float) -> None:
        """A request failed, and is repeated after a delay: perhaps all should wait so long."""
        asked = isinstance(error, TransientError) and error.retry_after_s is not None
        if asked or isinstance(error, BusyError):
            service = self._services[origin]
            service.quiet_until_s = max(service.quiet_until_s, time.monotonic() + delay_s)

    def quiet_until_s(self, origin: str) -> float:
        """No request is to begin before."""
        return self._services[origin].quiet_until_s

    def lost(self, origin: str, since_s: float) -> bool:
        """An object used up its attempts, since then; True when the service is down for good."""
        service = self._services[origin]
        if service.answered_s < since_s:
            service.lost += 1
        return service.lost >= self._patience
