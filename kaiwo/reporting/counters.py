"""Counts of a run, computed from its events, and the rate and time left that follow from them.

The rate is that of the last seconds: a line that became slow, or stands still, is shown as that.
What an earlier run left, and what was found in place, is done, checked, and no rate. What belongs
to a file that failed is not waited for.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct, field

from kaiwo.errors import UnfinishedError
from kaiwo.events import Event, Joined, Planned, Progressed, Retried, Settled, Started
from kaiwo.objects import Item

#: At most this many large objects are followed; a run has far fewer in progress at a time.
MOST_FOLLOWED = 1_000
#: The names of this many are shown.
MOST_NAMED = 3
#: The rate is taken over this time, from counts that are noted this often.
RATE_OVER_S, NOTED_EVERY_S = 10.0, 0.5


class ObjectProgress(Struct):
    """The progress of one large object.

    Attributes:
        source: its URL.
        size: of the object.
        started_s: when it started, by the clock.
        bytes: that are done.
        read: bytes that came from the store.
    """

    source: str
    size: int
    started_s: float
    bytes: int = 0
    read: int = 0
    #: When the rate's time began and how much had been read then, now and before.
    _since: tuple[float, int] | None = None
    _before: tuple[float, int] | None = None

    def add(self, done: int, read: int, now_s: float) -> None:
        """Bytes arrived."""
        since = self._since or (self.started_s, 0)
        if now_s - since[0] >= RATE_OVER_S:
            self._before, self._since = since, (now_s, self.read)
        self.bytes += done
        self.read += read

    @property
    def percent(self) -> int:
        """Whole percents of its bytes that have arrived."""
        return min(max(100 * self.bytes // max(self.size, 1), 0), 100)

    def left_s(self, now_s: float) -> float:
        """Seconds left at its rate of the last seconds; infinite while nothing arrives."""
        since_s, before = self._before or (self.started_s, 0)
        rate = (self.read - before) / max(now_s - since_s, 1e-3)
        return max(self.size - self.bytes, 0) / rate if rate > 0 else math.inf


class Counters(Struct):
    """Counts of a run, up to the last event.

    Attributes:
        clock: monotonic seconds.
        started_s: when the plan was complete, by the clock.
        files: planned, without those that were known to be in place.
        bytes: the size of these files.
        files_done: how many of them reached their final state, failures included; those that a run
            did not get to have none.
        bytes_done: how many of the bytes arrived, or were there already.
        failed: how many files failed.
        retries: how many requests were repeated.
        received: bytes that came from the store since the plan was complete.
        checked: bytes that were there: an earlier run left them, or they were found in place.
        lost: bytes of failed files that are not done, and will not be.
        shard: which shard of a plan the run is; empty: it is none.
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
    checked: int = 0
    lost: int = 0
    shard: str = ""
    #: When, and what had been received and checked by then.
    _noted: deque[tuple[float, int, int]] = field(default_factory=deque)
    in_progress: dict[str, ObjectProgress] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take an event into account."""
        self._note()
        match event:
            case Planned(files, size):
                # A second plan is that of services that could not be reached before.
                self.files += files
                self.bytes += size
                if not self._noted:
                    self.started_s = self.clock()
                    self._noted.append((self.started_s, self.received, self.checked))
            case Started(source, size):
                # An object that restarts keeps the time of its first start.
                if source not in self.in_progress and len(self.in_progress) < MOST_FOLLOWED:
                    self.in_progress[source] = ObjectProgress(source, size, self.clock())
            case Progressed(count, source, kept, read):
                self.bytes_done += count
                # The length of some objects is not known before their end.
                self.bytes = max(self.bytes, self.bytes_done)
                self.received += read
                self.checked += kept
                if source in self.in_progress:
                    self.in_progress[source].add(count, read, self.clock())
            case Settled(item):
                self._settle(item)
            case Retried():
                self.retries += 1
            case Joined(shard):
                self.shard = shard
            case _:
                pass

    def _settle(self, item: Item) -> None:
        large = self.in_progress.pop(item.source, None)
        if isinstance(item.error, UnfinishedError):
            return  # the run has ended before
        if item.attempts:
            self.files_done += 1
            self.failed += item.status == "failed"
            if item.status == "unchanged":
                self.bytes_done += item.bytes
                self.checked += item.bytes
            elif item.status == "failed":
                self.lost += max(item.bytes - (large.bytes if large else 0), 0)

    @property
    def seconds(self) -> float:
        """Seconds since the plan was complete."""
        return self.clock() - self.started_s

    @property
    def rate(self) -> float:
        """Bytes per second over the last seconds, or since the plan was complete."""
        since_s, received, _ = self._earlier()
        return max(self.received - received, 0) / max(self.clock() - since_s, 1e-3)

    @property
    def is_checking(self) -> bool:
        """In the last seconds nothing arrived, and something that was there was checked."""
        _, received, checked = self._earlier()
        return self.received <= received and self.checked > checked

    @property
    def mean_rate(self) -> float:
        """Bytes per second since the plan was complete."""
        return max(self.received, 0) / max(self.seconds, 1e-3)

    @property
    def left_s(self) -> float | None:
        """Seconds left at that rate, or None while nothing arrives."""
        left, rate = self.bytes - self.bytes_done - self.lost, self.rate
        return max(left, 0) / rate if rate > 0 else None

    @property
    def slowest(self) -> list[ObjectProgress]:
        """The large objects in progress that take longest at their rates, the longest first."""
        now_s = self.clock()
        large = self.in_progress.values()
        return heapq.nlargest(MOST_NAMED, large, key=lambda each: each.left_s(now_s))

    def _earlier(self) -> tuple[float, int, int]:
        """When the last seconds began, and what had been received and checked by then."""
        now_s = self.clock()
        while len(self._noted) > 1 and self._noted[1][0] <= now_s - RATE_OVER_S:
            self._noted.popleft()
        return self._noted[0] if self._noted else (self.started_s, 0, 0)

    def _note(self) -> None:
        """Keep the count as it is now, if the last one that was kept is old enough."""
        now_s = self.clock()
        if self._noted and now_s - self._noted[-1][0] >= NOTED_EVERY_S:
            self._noted.append((now_s, self.received, self.checked))
