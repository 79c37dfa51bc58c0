"""Other machines that do the jobs of a run, each with as many requests as one has alone."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

#: A job that is sent when another one has come back leaves a connection unused for as long as both
#: travel. So a machine has as many besides those that it reads as end there in this time. More
#: would wait at a machine that is late, at the end, while others have nothing to do.
AHEAD_S = 0.2


class Machines(Struct, frozen=True):
    """The machines that share the work.

    Attributes:
        count: how many there are now.
        are_ahead: each is given more jobs than it may read at once, and lets the rest wait there.
    """

    count: Callable[[], int]
    are_ahead: bool = False


def ahead(requests: int, job_s: float | None) -> int:
    """How many jobs wait on a machine that is ahead.

    Args:
        requests: that it has.
        job_s: how long a job takes; None: that is not known.
    """
    if job_s is None:
        return 0
    return min(int(requests * AHEAD_S / max(job_s, 1e-6)), requests)
