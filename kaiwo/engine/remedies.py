"""What to do about a failure, decided by what is known of its object.

    ranges are ignored      single streams from now on, for all objects of the service
    no writes at an offset  the same, for all targets on the file system
    the object is replaced  it is looked up, and fetched as it is now, once; if it is the object
                            that was planned, the service does not keep conditions: it is read
                            without them, and what its answers state is compared
    it is replaced again    unless its version or its own checksum proves that, its servers may
                            state other etags and dates of the same bytes: one request reads it
                            from start to end, whose answer is all that counts
    a checksum differs      its ranges are read again and compared; when the same wrong checksum
                            comes out once more, the whole object is fetched again, once; if that
                            checksum was guessed from the etag of an upload in parts, the lengths of
                            the parts are asked for; without them it proves nothing
    the item's checksum     the same, until the same bytes came twice, or they are those that the
    differs                 store states
    anything else           the retry policy decides: the request alone is retried after a delay, or
                            the object has failed, as at once does one without its format's header

``Recovery`` does what is decided.
"""

from __future__ import annotations

from enum import Enum, auto

from kaiwo.engine.flight import Flight
from kaiwo.errors import (
    ChangedError,
    FormatError,
    IntegrityError,
    KaiwoError,
    NotAcceptedError,
    RandomWriteError,
    RangeIgnoredError,
    WrongBytesError,
    WrongRangeError,
)
from kaiwo.jobs import Batch, Job, Range, Restat, Whole

#: A service that answers this often with another range than was asked for has no ranges.
MOST_WRONG_RANGES = 3
#: An object is looked up at most this often: once because it was replaced, once because a HEAD
#: states another etag, once because a GET does.
MOST_LOOKUPS = 3


class Remedy(Enum):
    """What to do; the retry policy decides whether ``RETRY`` is a retry or a final failure."""

    STREAM = auto()
    RESTAT = auto()
    IN_ONE = auto()
    READ_RANGES_AGAIN = auto()
    START_AGAIN = auto()
    ASK_PARTS = auto()
    RETRY = auto()
    GIVE_UP = auto()


#: Nothing that has arrived of the object counts.
_FROM_THE_START = (Remedy.STREAM, Remedy.IN_ONE, Remedy.READ_RANGES_AGAIN, Remedy.START_AGAIN)


def decide(job: Job, error: KaiwoError, flight: Flight, retries: int) -> Remedy:
    """What to do about the failure of a job.

    Args:
        job: what was tried.
        error: how that ended.
        flight: how its object fared until now.
        retries: how often bytes that are wrong in another way each time are read again.
    """
    remedy = _of_object(job, error, flight, retries)
    if flight.transfer.part is not None and remedy in _FROM_THE_START:
        return Remedy.GIVE_UP  # other runs have written into its file
    return remedy


def _of_object(job: Job, error: KaiwoError, flight: Flight, retries: int) -> Remedy:
    match error:
        case RangeIgnoredError() | RandomWriteError() if isinstance(job, Range):
            return Remedy.STREAM
        case WrongRangeError() if isinstance(job, Range | Restat) and flight.large is not None:
            enough = job.tries.count + 1 >= MOST_WRONG_RANGES
            return Remedy.STREAM if enough else Remedy.RETRY
        case ChangedError() | NotAcceptedError():
            return _of_another(job, error, flight)
        case WrongBytesError():
            return _of_wrong_bytes(error, flight, retries)
        case IntegrityError() if not (flight.refetched or isinstance(error, FormatError)):
            return Remedy.START_AGAIN
        case _:
            return Remedy.RETRY


def _of_another(job: Job, error: KaiwoError, flight: Flight) -> Remedy:
    """It is another object than planned, or its condition was refused."""
    if flight.in_one:
        return Remedy.RETRY
    if isinstance(error, ChangedError):
        if flight.lookups < MOST_LOOKUPS:
            return Remedy.RESTAT
        is_final = isinstance(job, Restat) or flight.transfer.object.silent_reads
        if flight.transfer.is_fixed:
            return Remedy.GIVE_UP  # what its answer states would take its place
        return Remedy.RETRY if is_final else Remedy.IN_ONE
    is_read = isinstance(job, Range | Whole | Batch)
    is_bound = is_read and not flight.lookups and not flight.transfer.object.unpinned
    return Remedy.RESTAT if is_bound else Remedy.RETRY


def _of_wrong_bytes(error: WrongBytesError, flight: Flight, retries: int) -> Remedy:
    seen_before = error.found in flight.wrong
    if error.certain or (seen_before and flight.transfer.required is not None):
        return Remedy.GIVE_UP
    if seen_before and error.guessed:
        return Remedy.ASK_PARTS
    in_ranges = flight.large is not None and not flight.large.streams
    if len(flight.wrong) > retries or (seen_before and (flight.refetched or not in_ranges)):
        return Remedy.GIVE_UP
    return Remedy.READ_RANGES_AGAIN if in_ranges and not seen_before else Remedy.START_AGAIN
