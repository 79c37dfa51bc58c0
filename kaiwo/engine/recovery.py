"""What is to be done about a failure: decided here, carried out by the scheduler.

ranges are ignored      single streams from now on, for all objects of the service
the object is replaced  it is looked up and fetched as it is now, once
a checksum differs      its ranges are read again and compared; when the same wrong one comes
out once more, the whole is fetched anew, once
something else passes   the request alone is repeated
all else                the object has failed
"""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct, field

from kaiwo.engine.large_object import Large
from kaiwo.errors import (
    ChangedError,
    IntegrityError,
    KaiwoError,
    RangeIgnoredError,
    WrongBytesError,
    WrongRangeError,
)
from kaiwo.jobs import Job, Range, Transfer

#: A service that answers so many times with another range than was asked for has no ranges.
MOST_WRONG_RANGES = 3


class Remedy(Enum):
    """What is to be done."""

    STREAM = auto()
    LOOK_UP = auto()
    COMPARE = auto()
    BEGIN_ANEW = auto()
    REPEAT = auto()
    GIVE_UP = auto()


class Flight(Struct):
    """An object that has begun and is not settled; its transfer is that of its latest round.

    Attributes:
        transfer: the object.
        started_s: when it began, by the monotonic clock.
        attempts: how often it was tried.
        received: bytes of this round, as the display has them.
        kept: of these, what an earlier run left.
        replaced: it was looked up anew.
        wrong: checksums that were found and are wrong.
        anew: it was fetched anew because of that.
        large: its ranges, if it is a large one.
    """

    transfer: Transfer
    started_s: float
    attempts: int = 1
    received: int = 0
    kept: int = 0
    replaced: bool = False
    wrong: set[str] = field(default_factory=set)
    anew: bool = False
    large: Large | None = None


def remedy(job: Job, error: KaiwoError, so_far: Flight, retries: int) -> Remedy:
    """What is to be done about the failure of a job.

    Args:
        job: what was tried.
        error: how that ended.
        so_far: how its object has fared until now.
        retries: how often bytes that are wrong in another way each time are read again.
    """
    match error:
        case RangeIgnoredError() if isinstance(job, Range):
            return Remedy.STREAM
        case WrongRangeError() if isinstance(job, Range):
            enough = job.tries.count + 1 >= MOST_WRONG_RANGES
            return Remedy.STREAM if enough else Remedy.REPEAT
        case ChangedError():
            return Remedy.REPEAT if so_far.replaced else Remedy.LOOK_UP
        case WrongBytesError():
            return _of_wrong_bytes(error.found, so_far, retries)
        case IntegrityError() if not so_far.anew:
            return Remedy.BEGIN_ANEW
        case _:
            return Remedy.REPEAT


def _of_wrong_bytes(found: str, so_far: Flight, retries: int) -> Remedy:
    seen_before = found in so_far.wrong
    in_ranges = so_far.large is not None and not so_far.large.streams
    if len(so_far.wrong) > retries or (seen_before and (so_far.anew or not in_ranges)):
        return Remedy.GIVE_UP
    return Remedy.COMPARE if in_ranges and not seen_before else Remedy.BEGIN_ANEW
