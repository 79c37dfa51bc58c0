"""How a plan is to be carried out."""

from __future__ import annotations

from msgspec import Struct

from kaiwo.engine.retry import RetryPolicy


class Rules(Struct, frozen=True):
    """The options of a run that the engine follows.

    Attributes:
        workers: jobs in flight.
        policy: which failures are retried, and when.
        verify: check checksums, not only sizes.
        fail_fast: stop at the first object that fails.
        small_requests: requests for small objects in flight, in addition to those of the workers,
            where answers take long; None: the workers make them too.
        until_s: the run's deadline, by the monotonic clock.
        most_requests: requests of all kinds in flight, as the limits of this process allow; None
            where there are no limits.
    """

    workers: int
    policy: RetryPolicy
    verify: bool = True
    fail_fast: bool = False
    small_requests: int | None = None
    until_s: float | None = None
    most_requests: int | None = None
