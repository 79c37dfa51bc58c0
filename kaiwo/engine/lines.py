"""The lines to the services of a run: how many requests are in flight, and how each is read.

    measured       bytes as they arrive, time to the first byte, rate of each connection
    requests       as many as the line and the service bear, see ``request_limit``
    reading        at once where a connection is fast and requests are few, else in pieces
    unit           what a connection brings in a second is worth remembering: a larger object comes
                   in ranges, which a later run resumes; smaller ones come in batches

What is not remembered yet of all requests in flight, and what they hold in memory, is limited, see
``request_budget``. With ``--max-bandwidth``, they are few and small, see ``bandwidth_share``.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from kaiwo.engine import bandwidth_share, request_budget
from kaiwo.engine.batches import BATCH_BYTES
from kaiwo.engine.flight import size_of
from kaiwo.engine.line import Line
from kaiwo.engine.machines import Machines, ahead
from kaiwo.engine.pace import FAR_S, Pace
from kaiwo.engine.request_budget import UNSAVED
from kaiwo.engine.request_limit import FIRST, MOST, Change, RequestLimit
from kaiwo.engine.retry import is_for_itself
from kaiwo.engine.rules import MOST_LOCAL, Rules
from kaiwo.engine.usage import Processor
from kaiwo.errors import BusyError, KaiwoError, NoAnswerError, StalledError
from kaiwo.jobs import RANGE, BringingJob, Job, Outcome, Progress, Range, Transfer
from kaiwo.workers.bandwidth import new_bandwidth
from kaiwo.workers.progress import Channel
from kaiwo.workers.reading import Reading

#: What a request needs that is read at once, for each of its bytes (8 of 8 MiB: 204 MiB in all).
COPIES = 1.5
#: A piece is at most this large: larger ones save nothing.
LONGEST_PIECE = 1 << 20
#: So much is written before it is reported: many reports show soon what a line brings.
REPORTED = 1 << 20
#: A request that takes less than this is read at once: while this process is busy, and is itself
#: what a connection waits for; and otherwise.
BUSY_AT_ONCE_S, AT_ONCE_S = 0.5, 0.25
#: An object that takes longer than this comes in ranges.
REMEMBERED_S = 1.0
#: No object below this size comes in ranges: its second request would cost more than its bytes.
LEAST_UNIT = 128 << 10
#: While no rate is known, objects of this size, which may tell it, come in pieces.
LEAST_TOLD = 64 << 10
#: A connection creeps below this part of the rate of the others.
CREEPING = 1 / 20
#: A service that has sent something in this time serves others.
SERVES_S = 5.0
#: How often the limits are considered.
STEP_S = 0.02
#: Lanes of the dispatcher besides those of the services: jobs that ask no service, and ranges that
#: have to wait.
LOCAL, WAITING = "", "waiting"
logger = logging.getLogger(__name__)
JobT = TypeVar("JobT", bound=Job)


class Lines:
    """The lines of a run.

    Args:
        services: that the run asks.
        rules: how the plan is carried out.
        channel: where workers report what arrives.
        machines: that share the work, each with these limits; None: this process alone.

    Attributes:
        limits: how many jobs of each lane may be under way; the dispatcher follows it.
    """

    def __init__(
        self,
        services: Iterable[str],
        rules: Rules,
        channel: Channel,
        machines: Machines | None = None,
    ) -> None:
        self._is_far = machines is not None
        self._machines = machines or Machines(lambda: 1)
        most, first = (MOST, FIRST) if rules.workers is None else (rules.workers, rules.workers)
        self._bandwidth = None if rules.bandwidth is None else new_bandwidth(rules.bandwidth)
        if self._bandwidth is not None:
            first = min(first, bandwidth_share.first_requests(self._bandwidth.rate))
        self._unused = None if self._bandwidth is None else bandwidth_share.unused(self._bandwidth)
        # Of a limited bandwidth, each job that is under way has a part: none waits.
        self._are_ahead = self._machines.are_ahead and self._bandwidth is None
        self._processor = Processor()
        # Of other machines, only how many they are is known.
        least = self._processor.requests if rules.workers is None and not self._is_far else first
        self._lines = {
            each: Line(RequestLimit(most, first, least=least), is_far=self._is_far)
            for each in services
        }
        self._channel = channel
        self._count = max(self._machines.count(), 1)
        self._memory = rules.memory
        self._by_peers = rules.by_peers
        self._most = rules.requests
        self.limits = {LOCAL: MOST_LOCAL, WAITING: 0}
        self._share()
        self._stepped_s = 0.0
        self._at_once_s = AT_ONCE_S

    def end_run(self) -> None:
        """The run is over."""
        if self._bandwidth is not None:
            self._bandwidth.end()

    def requests(self, service: str) -> int:
        """How many requests a service may have now, from all machines together."""
        return self._shares[service] * self._count

    def pace(self, service: str) -> Pace:
        """How long small objects of a service take."""
        return self._lines[service].pace

    def is_remembered(self, transfer: Transfer) -> bool:
        """Whether the object comes in ranges, so that a later run can resume it."""
        remote = transfer.object
        if remote.size > RANGE or remote.unsized or transfer.partial is not None:
            return True
        rate = self._connection_rate(self._lines[transfer.opener.service])
        least = BATCH_BYTES if rate is None else max(int(rate * REMEMBERED_S), LEAST_UNIT)
        return remote.size > least

    def batch_bytes(self, service: str) -> int:
        """How many bytes of small objects a request brings at most.

        What is read at once; of a batch that travels, what comes in the time that it may take.
        """
        rate = self._connection_rate(self._lines[service]) or 0.0
        most_s = FAR_S if self._is_far else self._at_once_s
        return max(int(min(rate * most_s, self._at_once, RANGE)), BATCH_BYTES)

    def _connection_rate(self, line: Line) -> float | None:
        """Bytes a second of a connection, as far as is known: what the limit leaves at most."""
        rate = line.rate
        if self._bandwidth is None:
            return rate
        share = self._bandwidth.rate / self._total
        return share if rate is None else min(rate, share)

    def _share(self) -> None:
        """Divide what there is between the requests of all services."""
        wanted = {each: line.limit.limit for each, line in self._lines.items()}
        shares = self._shares = request_budget.shares(wanted, self._most)
        for each, share in shares.items():
            self.limits[each] = (share + self._ahead(each)) * self._count
        on_each = max(sum(shares.values()), 1)
        total = self._total = on_each * self._count
        #: How much of a request is in memory before it is written, and is written before it is
        #: reported; and how much may come at once, by what a kill may cost and memory allows.
        most = request_budget.piece_size(self._memory, on_each, self._count)
        self._piece = min(most, LONGEST_PIECE)
        by_memory = (self._memory - request_budget.BASE) / COPIES / on_each
        self._at_once = min(UNSAVED / total, by_memory)
        if self._bandwidth is not None:
            most = bandwidth_share.piece_size(self._bandwidth.rate, total)
            self._piece = min(self._piece, most)
            self._at_once = min(self._at_once, self._piece)
        self._unreported = max(min(UNSAVED // total, REPORTED), self._piece)

    def _ahead(self, service: str) -> int:
        """How many jobs of a service wait on a machine until it may read them."""
        if not self._are_ahead:
            return 0
        return ahead(self._shares[service], self._lines[service].job_s)

    def _on_each(self, service: str, line: Line) -> int:
        """How many requests a machine has in flight, those that wait there not counted."""
        return line.in_flight // self._count - self._ahead(service)

    def begin(self, job: Job, service: str) -> Reading:
        """A request starts; returns how it is read."""
        line = self._lines[service]
        if isinstance(job, BringingJob):
            line.in_flight += 1
        rate, size = self._connection_rate(line), size_of(job)
        is_quick = size < LEAST_TOLD if rate is None else size <= rate * self._at_once_s
        abreast = self._shares[service] if self._are_ahead else 0
        if is_quick and size <= self._at_once:
            return Reading(channel=self._channel, bandwidth=self._bandwidth, abreast=abreast)
        request = 0
        if self._bandwidth is not None and isinstance(job, Range):
            answer_s = line.limit.first_byte_s or 0.0
            request = bandwidth_share.request_size(self._bandwidth.rate, self._total, answer_s)
        return Reading(
            self._piece,
            0.0 if rate is None or self._by_peers else rate * CREEPING,
            self._channel,
            self._bandwidth,
            request,
            self._unreported,
            abreast,
        )

    def note(self, progress: Progress) -> None:
        """Bytes arrived."""
        line = self._lines[progress.transfer.opener.service]
        line.limit.note(time.monotonic(), first_byte_s=progress.answer_s or None)
        if progress.bytes:
            line.arrived(progress.bytes)

    def end(self, job: Job, outcomes: Sequence[Outcome], service: str, arrived: int) -> None:
        """A request has ended.

        Args:
            job: the request.
            outcomes: what it brought.
            service: that it asked.
            arrived: bytes that were not reported while it was under way.
        """
        if isinstance(job, BringingJob):
            self._lines[service].end(job, outcomes, arrived)

    def refused(self, job: JobT, error: KaiwoError, service: str) -> JobT | None:
        """A request failed: the job again if that is because there were too many at once.

        A service that refuses some requests while it serves others gets fewer; the request is not
        charged. It is charged when it was alone, and when it was refused twice while nearly all
        others succeeded: then it is not their number.
        """
        line = self._lines[service]
        is_refusal = isinstance(error, BusyError | NoAnswerError | StalledError)
        serves_others = line.in_flight and line.arrived_s > time.monotonic() - SERVES_S
        if not (is_refusal and serves_others):
            return None
        if is_for_itself(job.tries, line.refusals, line.successes):
            return None
        line.refusals += 1
        self._take(service, line.limit.refused(time.monotonic()))
        return replace(job, tries=replace(job.tries, refused=(line.refusals, line.successes)))

    def step(self) -> None:
        """Consider the limits, if it is time."""
        now_s = time.monotonic()
        if now_s - self._stepped_s < STEP_S:
            return
        self._stepped_s = now_s
        count = max(self._machines.count(), 1)
        if count != self._count or self._are_ahead:
            self._count = count
            self._share()
        has_begun = any(each.arrived_s > -math.inf for each in self._lines.values())
        is_busy = self._processor.is_busy(now_s, has_begun=has_begun)
        self._at_once_s = BUSY_AT_ONCE_S if is_busy else AT_ONCE_S
        is_held_back = False
        if self._unused is not None:
            self._unused.look(now_s)
            is_held_back = bandwidth_share.is_full(self._unused)
        for service, line in self._lines.items():
            line.rate = line.limit.connection_rate
            change = line.limit.step(
                now_s,
                self._on_each(service, line),
                machines=self._count,
                is_busy=is_busy,
                is_held_back=is_held_back,
            )
            self._take(service, change)

    def _take(self, service: str, change: Change | None) -> None:
        if change is not None:
            self._share()
            text = "%s: %d requests at once instead of %d: %s"
            logger.debug(text, service, change.after, change.before, change.why)
