"""Counts of a run, what follows from them, and how they read."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct, field

from kaiwo import units
from kaiwo.events import Event, Planned, Progressed, Retried, Settled, Started

#: So many large objects are followed at once; more than this are never on their way.
MOST_FOLLOWED = 1_000


class Way(Struct):
    """How far a large object has come."""

    source: str
    size: int
    begun_s: float
    bytes: int = 0

    @property
    def percent(self) -> int:
        """Whole percents of its bytes that are there."""
        return min(max(100 * self.bytes // max(self.size, 1), 0), 100)


class Counters(Struct):
    """Counts of a run."""

    clock: Callable[[], float] = time.monotonic
    started_s: float = 0.0
    files: int = 0
    bytes: int = 0
    files_done: int = 0
    bytes_done: int = 0
    failed: int = 0
    retries: int = 0
    #: Bytes that arrived since the plan was closed, without those that have to be read again.
    received: int = 0
    #: Large objects that are on their way, in the order in which they were begun.
    ways: dict[str, Way] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take an event into account."""
        match event:
            case Planned(files, size):
                self.files, self.bytes = files, size
                self.started_s = self.clock()
            case Started(source, size):
                if source not in self.ways and len(self.ways) < MOST_FOLLOWED:
                    self.ways[source] = Way(source, size, self.clock())
            case Progressed(count, source, kept):
                self.bytes_done += count
                self.received += count - kept
                if source in self.ways:
                    self.ways[source].bytes += count
            case Settled(item):
                self.ways.pop(item.source, None)
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
        """Since the plan was closed."""
        return self.clock() - self.started_s

    @property
    def rate(self) -> float:
        """Bytes per second since the plan was closed."""
        return self.received / max(self.seconds, 1e-3)

    @property
    def left_s(self) -> float | None:
        """Seconds left at that rate, or None before it is known."""
        return (self.bytes - self.bytes_done) / self.rate if self.rate > 0 else None

    @property
    def slowest(self) -> Way | None:
        """Of the large objects on their way, the one that has been so for longest."""
        return next(iter(self.ways.values()), None)


def line(tally: Counters) -> str:
    """Files, bytes, rate and time left, in one line."""
    parts = [
        f"{tally.files_done} of {tally.files} files",
        f"{units.size(tally.bytes_done)} of {units.size(tally.bytes)}",
        f"{units.size(tally.rate)}/s",
    ]
    if tally.left_s is not None:
        parts.append(f"{units.duration(tally.left_s)} left")
    if tally.retries:
        parts.append(units.count(tally.retries, "retry", "retries"))
    return ", ".join(parts)


def slowest(tally: Counters) -> str:
    """The large object that takes longest, as the end of a line; empty when there is none."""
    way = tally.slowest
    if way is None:
        return ""
    since = units.duration(tally.clock() - way.begun_s)
    return f", slowest {way.source} {way.percent} % after {since}"
