"""How much work the requests at one service do: measured in periods, comparable between them.

    work      how many connections' worth of bytes and answers arrive: each answer counts the time
              to the first byte, each byte its time at a connection's rate, both as they are while
              nothing is in the way; 8 unhindered requests do the work of 8
    period    from a change of the limit until each request has shown something twice, and two
              round trips; a period of doubt is four times as long

Work as one figure makes large and small objects comparable: where a run passes from large to small
objects, bytes a second fall, answers a second rise, and work stays. How long a period is depends on
what arrives, not on the clock: 0.1 s on a line with 30 ms, seconds where a piece takes seconds.
"""

from __future__ import annotations

import math
import random
from collections import deque

from msgspec import Struct
from msgspec.structs import replace

#: A period ends when each request in flight has shown something this often on average (a piece
#: counts once, the end of a request once more: it speaks for the whole request), ...
ARRIVALS = 2
#: ... and after this many round trips; answers come in bursts, one burst in each round trip.
ROUND_TRIPS = 2
#: A shorter period measures how the system schedules threads.
SHORTEST_S = 0.05
#: Success shows early. Failure needs this many times the evidence: TCP takes 6 to 8 round trips
#: until a new connection has its rate.
DOUBT = 4
#: A fleet that starts at once must not grow in step: periods are up to this much longer.
JITTER = 0.5
#: A line that has become worse is the normal line after some of these.
FORGET_S = 60.0
#: Latest figures of requests, of which the median counts.
FIGURES = 32


class Period(Struct):
    """What arrived in a part of the time with one limit. Times are in seconds.

    Attributes:
        opens_s: its first arrival from then on opens it.
        limit: requests that were allowed.
        opened_s: its first arrival, which is not counted; None before it.
        last_s: its last arrival.
        bytes: that arrived.
        requests: that ended.
        arrivals: how often something arrived.
        samples: numbers of requests in flight that were seen: how many, and their sum.
        in_flight_sum: see ``samples``.
    """

    opens_s: float
    limit: int
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
        return max(self.in_flight_sum, 1) / max(self.samples, 1)


class Figure:
    """One figure of requests: as it is lately, and as it is when nothing is in the way."""

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
        if not self._recent:
            return None
        values, middle = sorted(self._recent), (len(self._recent) - 1) / 2
        return (values[math.floor(middle)] + values[math.ceil(middle)]) / 2

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


class Work:
    """Measures one service.

    Args:
        jitter: where chance comes from.

    Attributes:
        machines: that do the work, each with as many requests as are allowed.
    """

    def __init__(self, jitter: random.Random) -> None:
        self._jitter = jitter
        self.machines = 1
        self.rates = Figure(higher_is_better=True)
        self.first_bytes = Figure(higher_is_better=False)
        #: What stands for the two figures before any request has told them.
        self._guessed_rate: float | None = None
        self._guessed_trip_s = 0.0
        self._began_s: float | None = None
        self.start_period(0.0, 1)

    @property
    def round_trip_s(self) -> float:
        """Seconds to the first byte, as far as is known; 0 before any byte."""
        return self.first_bytes.recent or self._guessed_trip_s

    # --- periods

    def start_period(self, now_s: float, limit: int, *, is_changed: bool = False) -> None:
        """Measure from now on; after a change, from when its requests bring something."""
        opens_s = now_s + self.round_trip_s if is_changed else now_s
        self._period = Period(opens_s, limit)
        self._seen: Period | None = None
        self._times = 1
        self._longer = self._jitter.uniform(1.0, 1.0 + JITTER)

    def arrived(self, now_s: float, count: int, requests: int, reports: int | None = None) -> None:
        """Bytes arrived, and requests ended; ``reports`` tell it, else each of them does."""
        if self._began_s is not None and not self._guessed_trip_s:
            self._guessed_trip_s = max(now_s - self._began_s, 1e-6)
        period = self._period
        if period.opened_s is not None:
            period.last_s = now_s
            period.bytes += count
            period.requests += requests
            period.arrivals += bool(count) + requests if reports is None else reports
            if self._seen is None and self._is_evidence():
                # What else arrives until the next look may be the rest of a burst.
                self._seen = replace(period)
        elif now_s >= period.opens_s:
            period.opened_s = period.last_s = now_s

    def look(self, now_s: float, in_flight: int) -> Period | None:
        """The period, once it says enough; ``in_flight`` are the requests in flight now."""
        if self._began_s is None and in_flight:
            self._began_s = now_s
        if self._period.opened_s is not None:
            self._period.samples += 1
            self._period.in_flight_sum += in_flight
        seen = self._seen
        if seen is not None:
            seen.samples, seen.in_flight_sum = self._period.samples, self._period.in_flight_sum
        return seen

    def look_longer(self) -> bool:
        """Wait for more evidence in this period; returns False when there is as much already."""
        if self._times == DOUBT:
            return False
        self._times = DOUBT
        self._seen = None
        return True

    def _is_evidence(self) -> bool:
        period = self._period
        if period.arrivals < self._times * ARRIVALS * period.limit * self.machines:
            return False
        shortest_s = max(ROUND_TRIPS * self.round_trip_s, SHORTEST_S) * self._longer
        return period.seconds >= self._times * shortest_s

    # --- work

    def learn(self, now_s: float, period: Period) -> None:
        """Take from a period what a request does when nothing is in the way."""
        self.first_bytes.update(now_s)
        self.rates.update(now_s)
        if self._guessed_rate is None:
            connections_s = period.in_flight * self.machines * period.seconds
            waited_s = period.requests * self._unhindered_s()
            if waited_s < connections_s / 2:
                self._guessed_rate = period.bytes / (connections_s - waited_s) or None

    def done(self, period: Period) -> float:
        """How many unhindered requests would do the work of the period."""
        busy_s = period.requests * self._unhindered_s()
        rate = self.rates.best or self._guessed_rate
        if rate is not None:
            busy_s += period.bytes / rate
        return max(busy_s, 1e-9) / max(period.seconds, 1e-9)

    def kept(self, period: Period) -> float:
        """Which part of an unhindered request's work each request does."""
        return self.done(period) / (period.in_flight * self.machines)

    def _unhindered_s(self) -> float:
        return self.first_bytes.best or self._guessed_trip_s
