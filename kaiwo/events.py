"""What a run tells its sinks, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from kaiwo.errors import KaiwoError
from kaiwo.objects import Item, Report


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan is closed: this many files and bytes may have to be read."""

    files: int
    bytes: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A large object is on its way; small ones are not announced."""

    source: str
    size: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """So many more object bytes have arrived (or, negative, have to be read again).

    Attributes:
        bytes: how many.
        source: of which object, when that was announced.
        kept: how many of them an earlier run had left, so that nobody sent them now.
    """

    bytes: int
    source: str | None = None
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """One object reached its final state."""

    item: Item


@dataclass(frozen=True, slots=True)
class Retried:
    """A request failed and will be repeated."""

    what: str
    error: KaiwoError
    attempt: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """Nothing happened for a moment; displays that follow the clock may refresh."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over."""

    report: Report


Event = Planned | Begun | Progressed | Settled | Retried | Ticked | Ended
