"""What a run learns about each service: it has answered, ignores ranges, is busy, or is down.

And about each identity that no task names: whether it has succeeded.

A service that answers 429 or 503, or names a time to come back, is left alone by the whole run, not
only by the request that it refused. A service that has not answered yet may not be up: listings and
reads wait for it alike, see ``RetryPolicy``. And where object after object uses up its attempts and
nothing succeeds in between, the rest of the objects fail at once instead of failing slowly.
"""

from __future__ import annotations

import time
from collections import defaultdict

from msgspec import Struct

from kaiwo.errors import (
    BusyError,
    CredentialsError,
    IntegrityError,
    KaiwoError,
    NotFoundError,
    ServiceError,
    TransientError,
    UnavailableError,
)
from kaiwo.net.patience import Patience
from kaiwo.protocols import Opener

#: Errors that say what a service answered; a transient one may be that of a gateway.
_ANSWERS = (CredentialsError, IntegrityError, NotFoundError, ServiceError)
#: A service is not taken to be down before this many objects have failed in a row.
LEAST_LOST = 8
#: A busy service that names no time is left alone for at most this long: what it refused may be a
#: single object, and all others wait.
LONGEST_QUIET_S = 4.0


class _Service(Struct):
    """What is known of one service; times are those of the monotonic clock."""

    has_answered: bool = False
    ignores_ranges: bool = False
    ignores_conditions: bool = False
    identifies_nothing: bool = False
    answered_s: float = 0.0
    lost: int = 0


class ServiceHealth:
    """All services of a run, by their names, see ``protocols.Opener``.

    Args:
        most_lost: how many objects in a row may fail before a service is taken to be down.
    """

    def __init__(self, most_lost: int) -> None:
        self._most_lost = most_lost
        self._patience = Patience()
        self._services: defaultdict[str, _Service] = defaultdict(_Service)
        #: By which a request succeeded, and their identities (``protocols.Opener.ambient``).
        self._openers: set[Opener] = set()
        self._allowed: set[str] = set()

    def ignores_ranges(self, service: str) -> bool:
        """Whether its objects come in single streams."""
        return self._services[service].ignores_ranges

    def give_up_ranges(self, service: str) -> bool:
        """It ignores ranges; returns False when that was known."""
        news = not self._services[service].ignores_ranges
        self._services[service].ignores_ranges = True
        return news

    def ignores_conditions(self, service: str) -> bool:
        """Whether requests that are bound to an object fail, though it is the object."""
        return self._services[service].ignores_conditions

    def give_up_conditions(self, service: str) -> bool:
        """It does not keep conditions; returns False when that was known."""
        news = not self._services[service].ignores_conditions
        self._services[service].ignores_conditions = True
        return news

    def give_up_identity(self, service: str) -> bool:
        """Its answers state other etags and dates each time; returns False when that was known."""
        news = not self._services[service].identifies_nothing
        self._services[service].identifies_nothing = True
        return news

    def answered(self, service: str) -> None:
        """A request succeeded."""
        found = self._services[service]
        found.has_answered = True
        found.answered_s = time.monotonic()
        found.lost = 0

    def has_answered(self, service: str) -> bool:
        """Whether it has answered any request of this run."""
        return self._services[service].has_answered

    def allowed(self, opener: Opener) -> None:
        """A request by that opener's identity succeeded."""
        if opener not in self._openers:
            self._openers.add(opener)
            self._allowed.add(opener.ambient)

    def is_new(self, opener: Opener) -> bool:
        """Whether its identity is of the environment, and has not succeeded in this run."""
        ambient = opener.ambient
        return bool(ambient) and ambient not in self._allowed

    def failed(self, service: str, error: KaiwoError) -> None:
        """A request failed; the failure may be the answer of the service."""
        is_busy = isinstance(error, BusyError) and not isinstance(error, UnavailableError)
        is_final = isinstance(error, _ANSWERS) and not isinstance(error, TransientError)
        if is_busy or is_final:
            self._services[service].has_answered = True

    def refused(self, service: str, error: KaiwoError, delay_s: float) -> None:
        """A request failed and is retried after a delay; a busy service is left alone meanwhile."""
        asked = isinstance(error, TransientError) and error.retry_after_s is not None
        if asked:
            self._patience.asked(service, delay_s)
        elif isinstance(error, BusyError):
            self._patience.asked(service, min(delay_s, LONGEST_QUIET_S))

    def quiet_until_s(self, service: str) -> float:
        """No request may start before that time of the monotonic clock."""
        return self._patience.until_s(service)

    def lost(self, service: str, since_s: float) -> bool:
        """An object used up its attempts since then; returns whether the service is down."""
        found = self._services[service]
        if found.answered_s < since_s:
            found.lost += 1
        return found.lost >= self._most_lost
