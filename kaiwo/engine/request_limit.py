"""How many requests for object bytes may be in flight at one service: the line decides.

    work           how many connections' worth of bytes and answers arrive: each answer counts the
                   time to the first byte, each byte its time at a connection's rate, both as they
                   are while nothing is in the way; 8 unhindered requests do the work of 8
    period         from a change until each request has shown something twice, and two round trips
    growth         after each period twice as many, while each request does its work
    judgement      what more requests brought: less than 0.3 of their share is too little, and they
                   are taken back; the next attempt waits, longer each time, and is smaller
    others came    each request does much less than it once did: no growth; if half as many do the
                   same work, half as many
    refusal        (429, 503, reset) half as many, at once, then slowly more; where a number was
                   refused, more are tried seldom

Work as one figure makes large and small objects comparable: where a run passes from large to small
objects, bytes a second fall, answers a second rise, and work stays. Growth is judged by the run's
own work alone. A rival's loss cannot be seen, but its growth can: it slows each of our connections.
So growth needs both, more work and connections that keep their rate.

No clock, thread or input here: the caller gives the time, and logs each ``Change``.
"""

from __future__ import annotations

import random
from collections import deque
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

MOST = 64
FIRST = 8
#: Growth is too little below this part of its share: twice as many have to bring 1.3 times the work.
WORTH = 0.3
#: Where a request does less than this part of the work that it once did, others use the line: no
#: growth. Below the second part it is tried whether fewer requests do the same work. Between them
#: nothing changes, so that noise changes nothing.
KEPT = 0.7
LOST = 0.55
#: A period ends when each request in flight has shown something this often on average (a piece
#: counts once, the end of a request once more: it speaks for the whole request), ...
ARRIVALS = 2
#: ... and after this many round trips; answers come in bursts, one burst in each round trip.
ROUND_TRIPS = 2
#: A shorter period measures how the system schedules threads.
SHORTEST_S = 0.05
#: Success shows early. Failure needs this many times the evidence: new connections start slowly.
DOUBT = 3
#: A fleet that starts at once must not grow in step: periods are up to this much longer.
JITTER = 0.5
#: Below this part of the limit in flight, the run has nothing to send: such a period says nothing.
USED = 0.75
#: Above this part of it, requests of before the change are still in flight.
DRAINED = 1.25
#: After a failed attempt; twice as long after each further one. The first is short, because the
#: judgement may have been wrong; the longest makes attempts rare, and still follows a day's changes.
WAIT_S = 2.0
LONGEST_WAIT_S = 240.0
#: A line that has become worse is the normal line after some of these.
FORGET_S = 60.0
#: Latest figures of requests, of which the median counts.
FIGURES = 32


class Change(Struct, frozen=True):
    """The limit was changed.

    Attributes:
        before: requests that were allowed.
        after: requests that are allowed now.
        why: in plain words, for the log.
    """

    before: int
    after: int
    why: str


class Period(Struct):
    """What arrived in a part of the time with one limit. Times are in seconds.

    Attributes:
        since_s: when the limit was set, or the period before ended.
        opened_s: its first arrival, which is not counted; None before it.
        last_s: its last arrival.
        bytes: that arrived.
        requests: that ended.
        arrivals: how often something arrived.
        samples: numbers of requests in flight that were seen: how many, and their sum.
        in_flight_sum: see ``samples``.
    """

    since_s: float
    opened_s: float | None = None
    last_s: float = 0.0
    bytes: int = 0
    requests: int = 0
    arrivals: int = 0
    samples: int = 0
    in_flight_sum: int = 0

    @property
    def seconds(self) -> float:
        """How long it is."""
        return 0.0 if self.opened_s is None else self.last_s - self.opened_s

    @property
    def in_flight(self) -> float:
        """Requests in flight on average."""
        return self.in_flight_sum / max(self.samples, 1)


class Trial(Struct, frozen=True):
    """Another limit, not judged yet, and what there was before it."""

    limit: int
    period: Period
    is_cautious: bool


class Figure:
    """One figure of requests: as it is lately, and as it is when nothing is in the way.

    Args:
        better: of two values the better one.
    """

    def __init__(self, *, higher_is_better: bool) -> None:
        self._recent: deque[float] = deque(maxlen=FIGURES)
        self._higher = higher_is_better
        self._updated_s = 0.0
        #: The best median of all; it follows slowly where the line has become worse.
        self.best: float | None = None

    def add(self, value: float) -> None:
        """A request's figure."""
        self._recent.append(value)

    @property
    def recent(self) -> float | None:
        """The median of the latest requests; None before the first."""
        return median(self._recent) if self._recent else None

    def update(self, now_s: float) -> None:
        """Compare the recent ones with the best."""
        passed_s, self._updated_s = now_s - self._updated_s, now_s
        recent = self.recent
        if recent is None:
            return
        if self.best is None or (recent > self.best) == self._higher:
            self.best = recent
        else:
            self.best += (recent - self.best) * min(passed_s / FORGET_S, 1.0)


class Wait:
    """When something that failed may be tried again: later after each failure."""

    def __init__(self, jitter: random.Random) -> None:
        self._jitter = jitter
        self.failures = 0
        self.until_s = 0.0

    def failed(self, now_s: float) -> None:
        """It failed again."""
        wait_s = min(WAIT_S * 2**self.failures, LONGEST_WAIT_S)
        self.until_s = now_s + wait_s * self._jitter.uniform(0.75, 1.25)
        self.failures += 1

    def reset(self) -> None:
        """It succeeded."""
        self.failures = 0
        self.until_s = 0.0


class RequestLimit:
    """The limit of one service.

    Args:
        most: the highest limit.
        first: the limit at the beginning; only refusals lead below it.
        jitter: where chance comes from.

    Attributes:
        limit: requests that may be in flight now.
    """

    def __init__(
        self, most: int = MOST, first: int = FIRST, jitter: random.Random | None = None
    ) -> None:
        self._jitter = jitter or random.Random()  # noqa: S311 - no secret
        self._most = max(most, 1)
        self._first = max(min(first, most), 1)
        self.limit = self._first
        self._rates = Figure(higher_is_better=True)
        self._first_bytes = Figure(higher_is_better=False)
        #: What stands for the two figures before any request has told them.
        self._guessed_rate: float | None = None
        self._guessed_trip_s = 0.0
        self._began_s: float | None = None
        self._start_period(0.0)
        self._trial: Trial | None = None
        self._raise = Wait(self._jitter)
        self._lower = Wait(self._jitter)
        #: The lowest limit that was refused lately; refusals of one burst count once.
        self._refused_at: int | None = None
        self._refused = Wait(self._jitter)
        self._calm_s = 0.0

    @property
    def connection_rate(self) -> float | None:
        """Bytes a second of a body, the median of the latest; None before any is known."""
        return self._rates.recent

    @property
    def first_byte_s(self) -> float | None:
        """Seconds to the first byte, the median of the latest; None before any is known."""
        return self._first_bytes.recent

    # --- what the caller reports

    def note(
        self,
        now_s: float,
        *,
        bytes: int = 0,  # noqa: A002 - the field's word
        requests: int = 0,
        first_byte_s: float | None = None,
        connection_rate: float | None = None,
    ) -> None:
        """Something arrived.

        Args:
            now_s: the time, by any clock that never goes back.
            bytes: that arrived now.
            requests: that ended now, with all their bytes.
            first_byte_s: how long a request took to its first byte; best reported at that byte,
                or with the request's end.
            connection_rate: bytes a second of a request's body, at its end, where the body was long
                enough to have a rate (256 KiB).
        """
        if first_byte_s is not None:
            self._first_bytes.add(first_byte_s)
        if connection_rate is not None:
            self._rates.add(connection_rate)
        if not bytes and not requests:
            return
        if self._began_s is not None and not self._guessed_trip_s:
            self._guessed_trip_s = max(now_s - self._began_s, 1e-6)
        period = self._period
        if period.opened_s is not None:
            period.last_s = now_s
            period.bytes += bytes
            period.requests += requests
            period.arrivals += bool(bytes) + requests
            if self._seen is None and self._is_evidence():
                # What else arrives until the next step may be the rest of a burst.
                self._seen = replace(period)
        elif now_s >= period.since_s + (self._round_trip_s() if self._trial else 0.0):
            # What the change has brought arrives from now on.
            period.opened_s = period.last_s = now_s

    def refused(self, now_s: float) -> Change | None:
        """The service refused a request, with 429, 503 or a reset, while it served others."""
        if now_s < self._calm_s:
            return None
        refused, trial = self.limit, self._trial
        near = self._refused_at is not None and abs(refused - self._refused_at) <= leeway(refused)
        if not near:
            self._refused.reset()
        self._refused.failed(now_s)
        self._refused_at = refused
        self._calm_s = now_s + max(self._round_trip_s(), SHORTEST_S)
        self._trial = None
        # One more than before was too much: as many as before are known to be served.
        after = trial.limit if trial and trial.is_cautious else max(refused // 2, 1)
        return self._set(now_s, after, f"{refused} requests at once were refused")

    def step(self, now_s: float, in_flight: int, *, is_busy: bool = False) -> Change | None:
        """Judge what there is to judge; to be called 10 times a second, or more often.

        Args:
            now_s: the time.
            in_flight: requests in flight now.
            is_busy: this process cannot do more: its share of the processor is used up.
        """
        if self._began_s is None:
            if not in_flight:
                return None
            self._began_s = now_s
        period = self._period
        if in_flight > DRAINED * self.limit:
            self._start_period(now_s)
            return None
        if period.opened_s is not None:
            period.samples += 1
            period.in_flight_sum += in_flight
        seen = self._seen
        if seen is None:
            return None
        seen.samples, seen.in_flight_sum = period.samples, period.in_flight_sum
        if seen.in_flight < USED * self.limit:
            self._start_period(now_s)
            return None
        self._learn(now_s, seen)
        if self._trial is not None:
            return self._judge(now_s, seen, self._trial, is_busy=is_busy)
        return self._try_another(now_s, seen, is_busy=is_busy)

    # --- periods

    def _start_period(self, now_s: float) -> None:
        self._period = Period(now_s)
        self._seen: Period | None = None
        self._times = 1
        self._longer = self._jitter.uniform(1.0, 1.0 + JITTER)

    def _is_evidence(self) -> bool:
        """Whether the period says enough."""
        if self._period.arrivals < self._times * ARRIVALS * self.limit:
            return False
        shortest_s = max(ROUND_TRIPS * self._round_trip_s(), SHORTEST_S) * self._longer
        return self._period.seconds >= self._times * shortest_s

    def _look_longer(self) -> bool:
        """Wait for more evidence in this period; returns False when there is as much already."""
        if self._times == DOUBT:
            return False
        self._times = DOUBT
        self._seen = None
        return True

    def _round_trip_s(self) -> float:
        return self._first_bytes.recent or self._guessed_trip_s

    def _learn(self, now_s: float, period: Period) -> None:
        """Take what a request does when nothing is in the way."""
        self._first_bytes.update(now_s)
        self._rates.update(now_s)
        if self._guessed_rate is None:
            connections_s = period.in_flight * period.seconds
            waited_s = period.requests * (self._first_bytes.best or self._guessed_trip_s)
            if waited_s < connections_s / 2:
                self._guessed_rate = period.bytes / (connections_s - waited_s) or None

    def _work(self, period: Period) -> float:
        """How many unhindered requests would do the work of the period."""
        busy_s = period.requests * (self._first_bytes.best or self._guessed_trip_s)
        rate = self._rates.best or self._guessed_rate
        if rate is not None:
            busy_s += period.bytes / rate
        return max(busy_s, 1e-9) / max(period.seconds, 1e-9)

    # --- decisions

    def _judge(self, now_s: float, period: Period, trial: Trial, *, is_busy: bool) -> Change | None:
        """Keep the other limit, or take it back, or wait for more evidence."""
        ratio = self._work(period) / self._work(trial.period)
        is_enough = ratio >= 1 + WORTH * (period.in_flight / trial.period.in_flight - 1)
        is_growth = self.limit > trial.limit
        if is_growth and (is_enough or trial.is_cautious):
            self._trial = None
            self._raise.reset()
            if self._refused_at and self.limit > self._refused_at + leeway(self._refused_at):
                self._refused_at = None
            return self._try_another(now_s, period, is_busy=is_busy)
        if self._look_longer():
            return None
        self._trial = None
        if is_enough:
            # Fewer do the same work.
            self._raise.failed(now_s)
            self._start_period(now_s)
            return None
        (self._raise if is_growth else self._lower).failed(now_s)
        return self._set(now_s, trial.limit, f"{self.limit} requests did {ratio:.1f} x the work")

    def _try_another(self, now_s: float, period: Period, *, is_busy: bool) -> Change | None:
        """Allow more requests, or fewer, if there is a reason."""
        kept = self._work(period) / period.in_flight
        if kept < LOST and self.limit > self._first and now_s >= self._lower.until_s:
            if self._look_longer():
                return None
            fewer = max(self.limit // 2, self._first)
            return self._set(now_s, fewer, "each request has become slow", tried=period)
        if kept >= KEPT and not is_busy and now_s >= self._raise.until_s:
            more = self._more(now_s)
            if more > self.limit:
                return self._set(now_s, more, "each request does its work", tried=period)
        self._start_period(now_s)
        return None

    def _more(self, now_s: float) -> int:
        """How many requests come next."""
        if self._refused_at is None:
            factor = 1.5 if self._raise.failures else 2.0
            return min(max(int(self.limit * factor), self.limit + 1), self._most)
        more = min(self.limit + max(self.limit // 8, 1), self._most)
        if more < self._refused_at:
            return more
        is_allowed = self.limit >= self._refused_at - 1 and now_s >= self._refused.until_s
        return self.limit + 1 if is_allowed else max(self._refused_at - 1, self.limit)

    def _set(
        self, now_s: float, limit: int, why: str, *, tried: Period | None = None
    ) -> Change | None:
        """Set the limit; ``tried`` is what to compare with, if it is to be judged."""
        before, self.limit = self.limit, limit
        if tried is not None:
            self._trial = Trial(before, tried, self._refused_at is not None)
        self._start_period(now_s)
        return Change(before, limit, why) if limit != before else None


def leeway(limit: int) -> int:
    """Limits that differ by this many are the same limit for a service."""
    return max(limit // 4, 1)
