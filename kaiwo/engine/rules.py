"""How a plan is to be carried out."""

from __future__ import annotations

from msgspec import Struct

from kaiwo.engine.request_budget import memory_budget, most_requests
from kaiwo.engine.retry import RetryPolicy

#: Jobs that ask no service run at once at most this often: they need the processor and the disk.
MOST_LOCAL = 8


class Rules(Struct, frozen=True):
    """The options of a run that the engine follows.

    Attributes:
        workers: jobs in flight; None: as many as help.
        policy: which failures are retried, and when.
        verify: check checksums, not only sizes.
        fail_fast: stop at the first object that fails.
        until_s: the run's deadline, by the monotonic clock.
        memory: bytes that the run may use.
        most_requests: requests of all kinds in flight, as the limits of this process allow; None
            where there are no limits.
        bandwidth: bytes a second of the run; None: as many as come.
        by_peers: some bytes come from other nodes, after a wait and then fast: the rate of one
            connection says nothing about the others.
    """

    workers: int | None
    policy: RetryPolicy
    verify: bool = True
    fail_fast: bool = False
    until_s: float | None = None
    memory: int = memory_budget(None)
    most_requests: int | None = None
    bandwidth: int | None = None
    by_peers: bool = False

    @property
    def ceiling(self) -> int | None:
        """How many jobs of all kinds may be under way, if that is limited."""
        limits = [each for each in (self.workers, self.most_requests) if each is not None]
        return min(limits, default=None)

    @property
    def requests(self) -> int:
        """How many requests may be in flight at all services together."""
        wanted = most_requests(self.memory) if self.workers is None else self.workers
        return min(wanted, self.most_requests or wanted)

    @property
    def threads(self) -> int:
        """How many jobs may be under way at most."""
        return self.ceiling or self.requests + MOST_LOCAL
