"""What to do about a failure: decided by ``decide``, done by ``Recovery``.

    ranges are ignored      single streams from now on, for all objects of the service
    no writes at an offset  the same, for all targets on the file system
    the object is replaced  it is asked for again and fetched as it is now, once
    a checksum differs      its ranges are read again and compared; when the same wrong checksum
                            comes out once more, the whole object is fetched again, once
    a limit of this process fewer requests at once; the request is made again when one has ended
    anything else           the retry policy decides: the request alone is retried after a delay, or
                            the object has failed

When object after object fails at a service, the rest of its objects fail too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from enum import Enum, auto

from msgspec.structs import replace

from kaiwo.engine import round_files
from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.file_systems import FileSystems
from kaiwo.engine.flight import Flight, Flights
from kaiwo.engine.job_feed import JobFeed, origin
from kaiwo.engine.retry import LIMIT_DELAY_S, RetryPolicy, used_up
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.engine.settlement import Settlement
from kaiwo.errors import (
    ChangedError,
    IntegrityError,
    KaiwoError,
    LimitError,
    RandomWriteError,
    RangeIgnoredError,
    TransientError,
    WrongBytesError,
    WrongRangeError,
)
from kaiwo.events import Progressed, Retried
from kaiwo.files import temporary_files
from kaiwo.jobs import Batch, Job, Outcome, Range, Restat, Transfer, Whole
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Sink
from kaiwo.state.state import State

#: A service that answers this often with another range than was asked for has no ranges.
MOST_WRONG_RANGES = 3
logger = logging.getLogger(__name__)


class Remedy(Enum):
    """What to do; the retry policy decides whether ``RETRY`` is a retry or a final failure."""

    STREAM = auto()
    RESTAT = auto()
    READ_RANGES_AGAIN = auto()
    START_AGAIN = auto()
    RETRY = auto()
    GIVE_UP = auto()


def decide(job: Job, error: KaiwoError, flight: Flight, retries: int) -> Remedy:
    """What to do about the failure of a job.

    Args:
        job: what was tried.
        error: how that ended.
        flight: how its object fared until now.
        retries: how often bytes that are wrong in another way each time are read again.
    """
    match error:
        case RangeIgnoredError() | RandomWriteError() if isinstance(job, Range):
            return Remedy.STREAM
        case WrongRangeError() if isinstance(job, Range):
            enough = job.tries.count + 1 >= MOST_WRONG_RANGES
            return Remedy.STREAM if enough else Remedy.RETRY
        case ChangedError():
            return Remedy.RETRY if flight.replaced else Remedy.RESTAT
        case WrongBytesError():
            return _of_wrong_bytes(error.found, flight, retries)
        case IntegrityError() if not flight.refetched:
            return Remedy.START_AGAIN
        case _:
            return Remedy.RETRY


def _of_wrong_bytes(found: str, flight: Flight, retries: int) -> Remedy:
    seen_before = found in flight.wrong
    in_ranges = flight.large is not None and not flight.large.streams
    if len(flight.wrong) > retries or (seen_before and (flight.refetched or not in_ranges)):
        return Remedy.GIVE_UP
    return Remedy.READ_RANGES_AGAIN if in_ranges and not seen_before else Remedy.START_AGAIN


class Recovery:
    """Does what is decided.

    Args:
        transfers: all objects of the run.
        policy: which failures are retried, and when.
        flights: the objects under way.
        health: what is known of the services.
        file_systems: what is known of the targets' file systems.
        feed: makes the jobs of an object that starts again.
        dispatcher: runs jobs.
        settlement: where an object goes that has failed.
        digests: running checksums.
        state: has the journals.
        sink: gets an event for each retry, and for bytes that have to be read again.
    """

    def __init__(
        self,
        transfers: Sequence[Transfer],
        policy: RetryPolicy,
        flights: Flights,
        health: ServiceHealth,
        file_systems: FileSystems,
        feed: JobFeed,
        dispatcher: Dispatcher[Job, tuple[Outcome, ...]],
        settlement: Settlement,
        digests: RunningDigests,
        state: State,
        sink: Sink,
    ) -> None:
        self._transfers = transfers
        self._policy = policy
        self._flights = flights
        self._health = health
        self._file_systems = file_systems
        self._feed = feed
        self._dispatcher = dispatcher
        self._settlement = settlement
        self._digests = digests
        self._state = state
        self._sink = sink

    def recover(self, job: Job, error: KaiwoError, flight: Flight) -> None:
        """A job of the object failed: decide what to do, and do it."""
        if isinstance(error, LimitError) and self._dispatcher.narrow():
            self._repeat(_alone(job, flight), error, flight, LIMIT_DELAY_S)
            return
        match decide(job, error, flight, self._policy.retries):
            case Remedy.STREAM:
                self._stream_instead(flight, error)
            case Remedy.RESTAT:
                self._restat(flight, error)
            case Remedy.READ_RANGES_AGAIN if flight.large is not None:
                self._note_wrong_bytes(flight, error)
                self._reset_counts(flight)
                self._dispatcher.feed(self._feed.while_current(flight.large.ranges_again()))
            case Remedy.START_AGAIN:
                self._note_wrong_bytes(flight, error)
                self._start_again(flight)
            case Remedy.RETRY:
                self._retry(job, error, flight)
            case _:
                self._settlement.fail(flight, error)

    def fetch_replaced(self, flight: Flight, now: RemoteObject) -> None:
        """The object was replaced and asked for again: fetch it as it is now."""
        flight.large = None
        flight.wrong.clear()
        flight.transfer = replace(flight.transfer, object=now)
        self._dispatcher.feed(self._feed.jobs([flight.transfer]))

    def _retry(self, job: Job, error: KaiwoError, flight: Flight) -> None:
        """Make the request again after a delay, or fail the object."""
        job = _alone(job, flight)
        again = self._policy.again(job, error)
        if again is None:
            self._settlement.fail(flight, used_up(error, job.tries))
            if isinstance(error, TransientError):
                self._fail_service(job, error)
            return
        repeated, delay_s = again
        self._health.refused(origin(job), error, delay_s)
        self._repeat(repeated, error, flight, delay_s)

    def _repeat(self, job: Job, error: KaiwoError, flight: Flight, delay_s: float) -> None:
        if isinstance(job, Whole):
            temporary_files.discard(job.transfer.temporary)  # a stream starts at its first byte
            self._reset_counts(flight)
        flight.attempts += 1
        self._sink.emit(Retried(flight.transfer.source, error, job.tries.count, delay_s))
        self._dispatcher.repeat(job, delay_s)

    def _fail_service(self, job: Job, error: KaiwoError) -> None:
        """An object used up its attempts: if its service is down, the others fail too."""
        service = origin(job)
        since_s = job.tries.since_s if job.tries.count else time.monotonic()
        if not self._health.lost(service, since_s):
            return
        text = f"not attempted: nothing succeeds at {service} any more: {error.message}"
        for transfer in self._transfers:
            if transfer.opener.origin == service and not self._flights.is_settled(transfer):
                self._settlement.fail(self._flights.get_or_start(transfer), TransientError(text))

    def _stream_instead(self, flight: Flight, error: KaiwoError) -> None:
        """Service or file system have no ranges: single streams from now on."""
        service = flight.transfer.opener.origin
        if isinstance(error, RandomWriteError):
            if self._file_systems.note_sequential(flight.transfer):
                logger.info("%s: single streams to this file system from now on", error.message)
        elif self._health.give_up_ranges(service):
            logger.warning("%s ignores ranges: single streams from now on", service)
        self._start_again(flight)

    def _restat(self, flight: Flight, error: KaiwoError) -> None:
        """The planned object is gone: ask what it is now."""
        flight.replaced = True
        self._report_attempt(flight, error)
        self._next_round(flight)
        self._dispatcher.repeat(Restat(flight.transfer), 0)

    def _note_wrong_bytes(self, flight: Flight, error: KaiwoError) -> None:
        """Remember in which way the bytes are wrong, and whether for the second time."""
        if isinstance(error, WrongBytesError):
            flight.refetched = flight.refetched or error.found in flight.wrong
            flight.wrong.add(error.found)
        else:
            flight.refetched = True
        self._report_attempt(flight, error)

    def _report_attempt(self, flight: Flight, error: KaiwoError) -> None:
        flight.attempts += 1
        self._sink.emit(Retried(flight.transfer.source, error, 1, 0))

    def _start_again(self, flight: Flight) -> None:
        self._next_round(flight)
        self._dispatcher.feed(self._feed.jobs([flight.transfer]))

    def _next_round(self, flight: Flight) -> None:
        """Forget what arrived, but not what was learned of the object."""
        round_files.drop(flight.transfer, self._state)
        self._digests.forget(flight.transfer)
        self._reset_counts(flight)
        flight.next_round()

    def _reset_counts(self, flight: Flight) -> None:
        received, kept = flight.reset_counts()
        self._sink.emit(Progressed(-received, flight.transfer.source, -kept))


def _alone(job: Job, flight: Flight) -> Job:
    """The job for this object only: the other objects of its batch are done."""
    return replace(job, transfers=(flight.transfer,)) if isinstance(job, Batch) else job
