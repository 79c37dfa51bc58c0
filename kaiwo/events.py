"""What a run tells its sinks, as frozen data."""

from __future__ import annotations

from msgspec import Struct

from kaiwo.errors import KaiwoError
from kaiwo.objects import Item, Report


class Planned(Struct, frozen=True):
    """The plan is closed.

    Attributes:
        files: how many may have to be fetched.
        bytes: of these files.
        unchanged: how many more are known to be in place.
        present: how many of the files are there in the right size, and are checked first.
        present_bytes: of those that are there.
    """

    files: int
    bytes: int
    unchanged: int
    present: int = 0
    present_bytes: int = 0


class Started(Struct, frozen=True):
    """A large object is on its way; small ones are not announced."""

    source: str
    size: int


class Progressed(Struct, frozen=True):
    """So many more object bytes have arrived (or, negative, have to be read again).

    Attributes:
        bytes: how many.
        source: of which object, when that was announced.
        kept: how many of them an earlier run had left, so that nobody sent them now.
    """

    bytes: int
    source: str | None = None
    kept: int = 0


class Settled(Struct, frozen=True):
    """One object reached its final state."""

    item: Item


class Retried(Struct, frozen=True):
    """A request failed and will be repeated."""

    what: str
    error: KaiwoError
    attempt: int
    delay_s: float


class Ticked(Struct, frozen=True):
    """Nothing happened for a moment; displays that follow the clock may refresh."""


class Ended(Struct, frozen=True):
    """The run is over."""

    report: Report


Event = Planned | Started | Progressed | Settled | Retried | Ticked | Ended
