"""Counts of a run, computed from its events, and the rate and time left that follow from them.

The rate is that of the last seconds: a line that became slow, or stands still, is shown as that.
What an earlier run left, and what was found in place, is done and no rate.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct, field

from kaiwo.events import Event, Planned, Progressed, Retried, Settled, Started

#: At most this many large objects are followed; a run has far fewer in progress at a time.
MOST_FOLLOWED = 1_000
#: The rate is taken over this time, from counts that are noted this often.
RATE_OVER_S, NOTED_EVERY_S = 10.0, 0.5


class ObjectProgress(Struct):
    """The progress of one large object."""

    source: str
    size: int
    started_s: float
    bytes: int = 0

    @property
    def percent(self) -> int:
        """Whole percents of its bytes that have arrived."""
        return min(max(100 * self.bytes // max(self.size, 1), 0), 100)


class Counters(Struct):
    """Counts of a run, up to the last event.

    Attributes:
        clock: monotonic seconds.
        started_s: when the plan was complete, by the clock.
        files: planned, without those that were known to be in place.
        bytes: the size of these files.
        files_done: how many of them reached their final state, failures included.
        bytes_done: how many of the bytes arrived, or were there already.
        failed: how many files failed.
        retries: how many requests were repeated.
        received: bytes that came from the store since the plan was complete.
        in_progress: the large objects that have started and not ended, oldest first.
    """

    clock: Callable[[], float] = time.monotonic
    started_s: float = 0.0
    files: int = 0
    bytes: int = 0
    files_done: int = 0
    bytes_done: int = 0
    failed: int = 0
    retries: int = 0
    received: int = 0
    _noted: deque[tuple[float, int]] = field(default_factory=deque)
    in_progress: dict[str, ObjectProgress] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take an event into account."""
        self._note()
        match event:
            case Planned(files, size):
                self.files, self.bytes = files, size
                self.started_s = self.clock()
                self._noted = deque([(self.started_s, self.received)])
            case Started(source, size):
                # An object that restarts keeps the time of its first start.
                if source not in self.in_progress and len(self.in_progress) < MOST_FOLLOWED:
                    self.in_progress[source] = ObjectProgress(source, size, self.clock())
            case Progressed(count, source, _, read):
                self.bytes_done += count
                # The length of some objects is not known before their end.
                self.bytes = max(self.bytes, self.bytes_done)
                self.received += read
                if source in self.in_progress:
                    self.in_progress[source].bytes += count
            case Settled(item):
                self.in_progress.pop(item.source, None)
                if item.attempts:
                    self.files_done += 1
                    self.failed += item.status == "failed"
                    if item.status == "unchanged":
                        self.bytes_done += item.bytes
            case Retried():
                self.retries += 1
            case _:
                pass

    @property
    def seconds(self) -> float:
        """Seconds since the plan was complete."""
        return self.clock() - self.started_s

    @property
    def rate(self) -> float:
        """Bytes per second over the last seconds, or since the plan was complete."""
        now_s = self.clock()
        while len(self._noted) > 1 and self._noted[1][0] <= now_s - RATE_OVER_S:
            self._noted.popleft()
        since_s, before = self._noted[0] if self._noted else (self.started_s, 0)
        return max(self.received - before, 0) / max(now_s - since_s, 1e-3)

    @property
    def mean_rate(self) -> float:
        """Bytes per second since the plan was complete."""
        return max(self.received, 0) / max(self.seconds, 1e-3)

    @property
    def left_s(self) -> float | None:
        """Seconds left at that rate, or None before the first byte."""
        return (self.bytes - self.bytes_done) / self.rate if self.rate > 0 else None

    @property
    def slowest(self) -> ObjectProgress | None:
        """The large object in progress that started first."""
        return next(iter(self.in_progress.values()), None)

    def _note(self) -> None:
        """Keep the count as it is now, if the last one that was kept is old enough."""
        now_s = self.clock()
        if self._noted and now_s - self._noted[-1][0] >= NOTED_EVERY_S:
            self._noted.append((now_s, self.received))
