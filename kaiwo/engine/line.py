"""The line to one service: what its requests have shown of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from kaiwo.engine.pace import Pace
from kaiwo.engine.request_limit import RequestLimit
from kaiwo.jobs import Batch, BringingJob, Outcome

#: A body has a rate if it is of this size, or if it took this long.
LEAST_BODY, LEAST_BODY_S = 256 << 10, 0.2
#: Of about this many jobs, it counts how long they took.
LATELY = 8


class Line:
    """The line to one service.

    Args:
        limit: how many requests may be in flight.
        is_far: jobs travel to other processes.

    Attributes:
        in_flight: requests for object bytes that are under way.
        pace: how long small objects take.
        refusals: requests that were refused while others were served.
        successes: jobs that succeeded.
        arrived_s: when something last arrived, by the monotonic clock.
        rate: bytes a second of a connection, as it was known at the last step.
        job_s: how long a job took lately; None before the first.
    """

    def __init__(self, limit: RequestLimit, *, is_far: bool) -> None:
        self.limit = limit
        self.is_far = is_far
        self.in_flight = 0
        self.pace = Pace(is_far=is_far)
        self.refusals = self.successes = 0
        self.arrived_s = -math.inf
        self.rate: float | None = None
        self.job_s: float | None = None

    def arrived(self, size: int, requests: int = 0) -> None:
        """Bytes arrived, or requests ended."""
        self.arrived_s = time.monotonic()
        # A batch that has travelled says at once what it did in a second.
        reports = 1 if self.is_far else None
        self.limit.note(self.arrived_s, bytes=size, requests=requests, reports=reports)

    def end(self, job: BringingJob, outcomes: Sequence[Outcome], arrived: int) -> None:
        """A request has ended.

        Args:
            job: the request.
            outcomes: what it brought.
            arrived: bytes that were not reported while it was under way.
        """
        self.in_flight -= 1
        self._took(sum(each.seconds for each in outcomes))
        succeeded = [each for each in outcomes if each.error is None and each.bytes]
        for each in succeeded:
            answer_s, rate = each.answer_s, None
            body_s = each.seconds - answer_s
            if each.bytes >= LEAST_BODY or (answer_s and body_s >= LEAST_BODY_S):
                rate = each.bytes / max(body_s, 1e-6)
            elif not answer_s:
                answer_s = each.seconds  # its body took no time
            self.limit.note(time.monotonic(), first_byte_s=answer_s or None, connection_rate=rate)
        if self.rate is None:
            self.rate = self.limit.connection_rate
        self.successes += bool(succeeded)
        if arrived or succeeded:
            self.arrived(arrived, len(succeeded))
        if isinstance(job, Batch):
            self.pace.measure(outcomes)
        else:
            self.pace.guess(self.limit.first_byte_s)

    def _took(self, seconds: float) -> None:
        """A job has ended that took so long."""
        self.job_s = seconds if self.job_s is None else self.job_s + (seconds - self.job_s) / LATELY
