"""How many requests for object bytes may be in flight at one service: the line decides.

    growth     after each period (see ``request_work``) twice as many
    judgement  what the change brought. More requests stay if they brought at least 0.3 of their
               share of work, and each request still does its part. Otherwise they are taken back;
               the next attempt is smaller, and waits, longer after each failure
    others     each request does much less than it once did: half as many, if these do the same work
    processor  where it is used up by tiny objects: half as many, if these do no less work
    refusal    (429, 503, reset) half as many, at once, then slowly more; where a number was refused
               it is tried again seldom

How many there must be is known only by trying: the rate of one connection does not tell whether its
own limit or a full line holds it back. A rival's loss cannot be seen at all, but its growth can: it
slows each of our connections. Who only looked at the own gain would always gain by more requests
than the rivals have. So growth needs both, more work and connections that keep their part. The part
is less for few requests than for many: who has few may have some more, so that nobody starves
beside those who came earlier.

No clock, thread or input here: the caller gives the time, and logs each ``Change``.
"""

from __future__ import annotations

import random

from msgspec import Struct

from kaiwo.engine.request_work import SHORTEST_S, Period, Work
from kaiwo.engine.waits import Wait

MOST = 64
FIRST = 8
#: Growth is too little below this part of its share: twice as many must bring 1.3 times the work,
#: half as many must not cost more than 0.15 of it.
WORTH = 0.3
#: Requests that bring less are tiny: their threads wait for each other more than for the line.
#: Fewer of them do the same if they do this much of the work.
TINY, SAME = 64 << 10, 0.97
#: The part of its work that each request must keep, the more requests the more: 0.4 with twice the
#: first number, 0.6 with 4 times, 0.7 with 8 times.
KEPT = 0.8
#: Below this part, fewer requests are tried. Between the two nothing changes: noise is no reason.
LOST = 0.55
#: Below this part of the limit in flight, the run has nothing to send: such a period says nothing.
USED = 0.75
#: Above this part of it, requests of before the change are still in flight.
DRAINED = 1.25
#: How much more is tried: at first, and after a failure.
FACTOR = 2.0
SMALLER_FACTOR = 1.5
#: After refusals: one more for each 8 that are allowed.
SLOWLY = 8


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


class Trial(Struct, frozen=True):
    """Another limit, not judged yet.

    Attributes:
        limit: what the limit was.
        period: what there was with it.
        is_cautious: the service refused requests lately; what counts is that it does not now.
    """

    limit: int
    period: Period
    is_cautious: bool


class RequestLimit:
    """The limit of one service.

    Args:
        most: the highest limit.
        first: the limit at the beginning; only refusals and a busy processor lead below it.
        jitter: where chance comes from.
        least: that number keeps the processor busy; more would get in each other's way.

    Attributes:
        limit: requests that may be in flight now.
    """

    def __init__(
        self,
        most: int = MOST,
        first: int = FIRST,
        jitter: random.Random | None = None,
        least: int = FIRST,
    ) -> None:
        self._jitter = jitter or random.Random()  # noqa: S311 - no secret
        self._most = max(most, 1)
        self._first = max(min(first, most), 1)
        self._least = least
        self.limit = self._first
        self._work = Work(self._jitter)
        self._work.start_period(0.0, self.limit)
        self._trial: Trial | None = None
        self._raise = Wait(self._jitter)
        self._lower = Wait(self._jitter)
        #: The lowest limit that was refused lately.
        self._refused_at: int | None = None
        self._refused = Wait(self._jitter)
        #: Refusals until then answer requests of before the last change.
        self._calm_s = 0.0

    @property
    def connection_rate(self) -> float | None:
        """Bytes a second of a body, the median of the latest; None before any is known."""
        return self._work.rates.recent

    @property
    def first_byte_s(self) -> float | None:
        """Seconds to the first byte, the median of the latest; None before any is known."""
        return self._work.first_bytes.recent

    # --- what the caller reports

    def note(
        self,
        now_s: float,
        *,
        bytes: int = 0,  # noqa: A002 - the field's word
        requests: int = 0,
        reports: int | None = None,
        first_byte_s: float | None = None,
        connection_rate: float | None = None,
    ) -> None:
        """Something arrived.

        Args:
            now_s: the time, by any clock that never goes back.
            bytes: that arrived now.
            requests: that ended now, with all their bytes.
            reports: that say so, where it is not one of each.
            first_byte_s: how long a request took to its first byte; best reported at that byte,
                or with the request's end.
            connection_rate: bytes a second of a request's body, at its end, where the body was long
                enough to have a rate (256 KiB).
        """
        if first_byte_s is not None:
            self._work.first_bytes.add(first_byte_s)
        if connection_rate is not None:
            self._work.rates.add(connection_rate)
        if bytes or requests:
            self._work.arrived(now_s, bytes, requests, reports)

    def refused(self, now_s: float) -> Change | None:
        """The service refused a request, with 429, 503 or a reset, while it served others."""
        if now_s < self._calm_s:
            return None
        self._calm_s = now_s + max(self._work.round_trip_s, SHORTEST_S)
        refused, trial = self.limit, self._trial
        if refused == 1:
            # It serves nobody at the moment: that says nothing about numbers.
            return None
        if self._refused_at is None or abs(refused - self._refused_at) > leeway(refused):
            self._refused = Wait(self._jitter)
        self._refused.failed(now_s)
        self._refused_at = refused
        self._trial = None
        # Slightly more were too much: as many as before are known to be served.
        after = trial.limit if trial and trial.is_cautious else refused // 2
        return self._set(now_s, after, f"{refused} requests at once were refused")

    def step(
        self,
        now_s: float,
        in_flight: int,
        *,
        machines: int = 1,
        is_busy: bool | None = False,
        is_held_back: bool = False,
    ) -> Change | None:
        """Judge what there is to judge; to be called 10 times a second, or more often.

        Args:
            now_s: the time.
            in_flight: requests in flight now, on each machine.
            machines: that share the work; what arrives is the work of all.
            is_busy: this process's share of the processor is used up; None: that is not known.
            is_held_back: the run may not do more: its bandwidth is used up. What arrives then says
                nothing about the line, and these requests are enough.
        """
        self._work.machines = machines
        if is_held_back:
            self._trial = None
        if is_held_back or in_flight > DRAINED * self.limit:
            self._work.start_period(now_s, self.limit)
            return None
        period = self._work.look(now_s, in_flight)
        if period is None:
            return None
        if period.in_flight < USED * self.limit:
            self._work.start_period(now_s, self.limit)
            return None
        self._work.learn(now_s, period)
        if self._trial is not None:
            return self._judge(now_s, period, self._trial, is_busy=is_busy)
        return self._try_another(now_s, period, is_busy=is_busy)

    # --- decisions

    def _judge(
        self, now_s: float, period: Period, trial: Trial, *, is_busy: bool | None
    ) -> Change | None:
        """Keep the other limit, or take it back, or wait for more evidence."""
        ratio = self._work.done(period) / self._work.done(trial.period)
        least = 1 + WORTH * (period.in_flight / trial.period.in_flight - 1)
        is_growth = self.limit > trial.limit
        is_less = self.limit < min(trial.limit, self._first)
        is_enough = ratio >= (SAME if is_less else least)
        # A busy process slows its own connections: that takes from nobody.
        is_kept = is_busy is not False or self._work.kept(period) >= self._must_keep(self.limit)
        if is_growth and (trial.is_cautious or (is_enough and is_kept)):
            self._trial = None
            self._raise.succeeded()
            if self._refused_at and self.limit > self._refused_at + leeway(self._refused_at):
                self._refused_at = None
            return self._try_another(now_s, period, is_busy=is_busy)
        # Nothing that is new has to get going, where there are fewer.
        if not is_less and self._work.look_longer():
            return None
        self._trial = None
        if is_enough and not is_growth:
            # Fewer do the same work.
            self._raise.failed(now_s)
            self._work.start_period(now_s, self.limit)
            return None
        (self._raise if is_growth else self._lower).failed(now_s)
        return self._set(now_s, trial.limit, f"{self.limit} requests did {ratio:.1f} x the work")

    def _try_another(self, now_s: float, period: Period, *, is_busy: bool | None) -> Change | None:
        """Allow more requests, or fewer, if there is a reason."""
        kept = self._work.kept(period)
        if kept < LOST and self.limit > self._first and now_s >= self._lower.until_s:
            if self._work.look_longer():
                return None
            fewer = max(self.limit // 2, self._first)
            return self._set(now_s, fewer, "each request has become slow", tried=period)
        is_above = self._least < self.limit <= self._first and now_s >= self._lower.until_s
        if is_busy and is_above and period.bytes < TINY * period.requests:
            fewer = max(self.limit // 2, self._least)
            return self._set(now_s, fewer, "the processor is used up", tried=period)
        if is_busy is False and now_s >= self._raise.until_s:
            more = self._more(now_s)
            if more > self.limit and kept >= self._must_keep(more):
                return self._set(now_s, more, "each request does its work", tried=period)
        self._work.start_period(now_s, self.limit)
        return None

    def _must_keep(self, limit: int) -> float:
        return KEPT * (1 - self._first / limit)

    def _more(self, now_s: float) -> int:
        """How many requests come next."""
        if self._refused_at is None:
            factor = SMALLER_FACTOR if self._raise.failures else FACTOR
            return min(max(int(self.limit * factor), self.limit + 1), self._most)
        more = min(self.limit + max(self.limit // SLOWLY, 1), self._most)
        if more < self._refused_at:
            return more
        if self.limit < self._refused_at - 1:
            return self._refused_at - 1
        return min(self.limit + 1, self._most) if now_s >= self._refused.until_s else self.limit

    def _set(
        self, now_s: float, limit: int, why: str, *, tried: Period | None = None
    ) -> Change | None:
        """Set the limit; ``tried`` is what to compare with, if it is to be judged."""
        before, self.limit = self.limit, limit
        if tried is not None:
            self._trial = Trial(before, tried, self._refused_at is not None)
        self._work.start_period(now_s, limit, is_changed=True)
        return Change(before, limit, why) if limit != before else None


def leeway(limit: int) -> int:
    """Limits that differ by this many are the same limit for a service."""
    return max(limit // 4, 1)
