"""What a run reports to its sinks while it is at work, as frozen data.

Joined      the run is one of several that carry out one plan
Planned     the plan is complete; once more, where a service could not be reached at first
Started     a large object starts
Progressed  bytes arrived
Retried     a request failed and will be repeated
Settled     an object reached its final state
Ticked      nothing happened for a moment
Ended       the last event of a run, however the run ends
"""

from __future__ import annotations

from msgspec import Struct

from kaiwo.errors import KaiwoError
from kaiwo.objects import Item, Report


class Joined(Struct, frozen=True):
    """The run is one of several that carry out one plan.

    Attributes:
        shard: which one, as ``0/3``.
    """

    shard: str


class Planned(Struct, frozen=True):
    """The plan is complete.

    Attributes:
        files: how many may have to be fetched.
        bytes: the size of these files.
        unchanged: how many other files are known to be in place.
        present: how many of ``files`` exist in the right size, and are checked first.
        present_bytes: the size of those.
        kept_bytes: of the others, what earlier runs have left of them.
    """

    files: int
    bytes: int
    unchanged: int
    present: int = 0
    present_bytes: int = 0
    kept_bytes: int = 0


class Started(Struct, frozen=True):
    """A large object starts, or restarts; small objects send no such event."""

    source: str
    size: int


class Progressed(Struct, frozen=True):
    """Object bytes are done; a negative number of them must be read again.

    Attributes:
        bytes: how many.
        source: the large object that they belong to; None for small objects.
        kept: how many of them come from an earlier run's file and not from the store.
        read: bytes that came from the store, those that must be read again included.
    """

    bytes: int
    source: str | None = None
    kept: int = 0
    read: int = 0


class Settled(Struct, frozen=True):
    """One object reached its final state."""

    item: Item


class Retried(Struct, frozen=True):
    """A request failed and will be repeated.

    Attributes:
        what: URL of the object.
        error: why the request failed.
        attempt: how many attempts were made so far.
        delay_s: how long the run waits before the next one.
        waits_s: how long it keeps trying a service that is not up; 0 if it has answered.
    """

    what: str
    error: KaiwoError
    attempt: int
    delay_s: float
    waits_s: float = 0.0


class Ticked(Struct, frozen=True):
    """Nothing happened for a moment; displays that follow the clock may refresh."""


class Ended(Struct, frozen=True):
    """The run is over.

    Attributes:
        report: all items that were settled; ``error`` is what ended the run early, if anything.
    """

    report: Report


Event = Joined | Planned | Started | Progressed | Settled | Retried | Ticked | Ended
