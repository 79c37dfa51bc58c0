"""Does what ``remedies`` decides; a limit of this process is fewer requests at once.

When object after object fails at a service, the rest of its objects fail too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from msgspec.structs import replace

from kaiwo.engine import locked, round_files, statements
from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.file_systems import FileSystems
from kaiwo.engine.flight import Flight, alone, is_outdated, updated
from kaiwo.engine.job_feed import service
from kaiwo.engine.lines import Lines
from kaiwo.engine.remedies import Remedy, decide
from kaiwo.engine.restarts import Restarts
from kaiwo.engine.retry import FIRST_DELAY_S, LIMIT_DELAY_S, RetryPolicy, used_up
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.engine.settlement import Settlement
from kaiwo.errors import (
    ChangedError,
    KaiwoError,
    LimitError,
    RandomWriteError,
    TransientError,
    UnansweredError,
    WrongBytesError,
)
from kaiwo.events import Retried
from kaiwo.jobs import (
    Batch,
    CheckExisting,
    FetchChecksum,
    Finish,
    Job,
    Outcome,
    Restat,
    Transfer,
    Tries,
    Whole,
)
from kaiwo.objects import RemoteObject, as_read
from kaiwo.protocols import Sink

logger = logging.getLogger(__name__)


class Recovery:
    """Does what is decided.

    Args:
        transfers: all objects of the run.
        policy: which failures are retried, and when.
        health: what is known of the services.
        file_systems: what is known of the targets' file systems.
        lines: how many requests are in flight at each service.
        restarts: starts an object again.
        dispatcher: runs jobs.
        settlement: where an object goes that has failed.
        sink: gets an event for each retry.
    """

    def __init__(
        self,
        transfers: Sequence[Transfer],
        policy: RetryPolicy,
        health: ServiceHealth,
        file_systems: FileSystems,
        lines: Lines,
        restarts: Restarts,
        dispatcher: Dispatcher[Job, tuple[Outcome, ...]],
        settlement: Settlement,
        sink: Sink,
    ) -> None:
        self._transfers = transfers
        self._policy = policy
        self._health = health
        self._file_systems = file_systems
        self._lines = lines
        self._restarts = restarts
        self._dispatcher = dispatcher
        self._settlement = settlement
        self._sink = sink

    def recover(self, job: Job, error: KaiwoError, flight: Flight) -> None:
        """A job of the object failed: decide what to do, and do it."""
        if flight.left is not None and not isinstance(job, Restat):
            flight.left.append(job)
            return
        if isinstance(error, ChangedError) and is_outdated(job, flight):
            self._dispatcher.repeat(updated(job, flight), 0)
            return
        if isinstance(error, LimitError) and self._dispatcher.narrow():
            self._discard_stream(job)
            self._repeat(alone(job, flight), error, flight, LIMIT_DELAY_S)
            return
        match decide(job, error, flight, self._policy.retries):
            case Remedy.STREAM:
                self._stream_instead(flight, error)
            case Remedy.RESTAT:
                self._look_up(job, flight, error)
            case Remedy.IN_ONE:
                self._report_attempt(flight, error)
                self._restarts.again_as(flight, statements.in_one_request(flight, self._health))
            case Remedy.READ_RANGES_AGAIN | Remedy.START_AGAIN as remedy:
                self._note_wrong_bytes(flight, error)
                is_compared = remedy is Remedy.READ_RANGES_AGAIN
                (self._restarts.compared if is_compared else self._restarts.again)(flight)
            case Remedy.ASK_PARTS:
                self._ask_parts(job, flight)
            case Remedy.RETRY:
                self._retry(job, error, flight)
            case _:
                self._settlement.fail(flight, error)

    def send_elsewhere(self, job: Job, flight: Flight) -> None:
        """The worker of a job is gone; neither the object nor its service had a part in that.

        It may live, and write: what is made again as a whole gets another temporary file, and what
        is in the file of ranges counts when all of it was hashed.
        """
        if isinstance(job, Batch | Whole):
            round_files.discard(flight.transfer)
            flight.next_round(flight.transfer.run)
            job = updated(job, flight)
            if flight.large is not None:
                flight.large.transfer = flight.transfer
                for question in flight.large.questions():
                    self._dispatcher.repeat(question, 0)
        elif flight.large is not None:
            flight.large.doubt()
        tries = replace(job.tries, lost=job.tries.lost + 1)
        self._dispatcher.repeat(replace(job, tries=tries), 0)

    def take_lookup(self, flight: Flight, now: RemoteObject) -> None:
        """The object was looked up: fetch it as it is now, or continue with it."""
        if (changed := locked.replacement(flight.transfer, now)) is not None:
            self._settlement.fail(flight, changed)
            return
        left, flight.left = flight.left or [], None
        flight.agreed = statements.agreed(flight.agreed or flight.transfer.object, as_read(now))
        if now.read_as is not None or flight.transfer.part is not None:
            self._continue_as(flight, now, left)
            return
        try:
            self._restarts.again_as(flight, statements.next_object(flight, now, self._health))
        except ChangedError as error:
            self._settlement.fail(flight, error)

    def _continue_as(self, flight: Flight, now: RemoteObject, left: Sequence[Job]) -> None:
        """It is the same object by other words; what has arrived of it stays."""
        asked, is_unconditional = flight.transfer.opener.service, as_read(now).unconditional
        if is_unconditional and self._health.give_up_conditions(asked):
            text = "does not keep conditions: kaiwo compares what its answers state"
            logger.warning("%s %s", asked, text)
        if now.checksum is None and not is_unconditional:
            # Only the date says that it is the same: what has arrived may be older.
            if flight.transfer.part is None:
                self._restarts.again_as(flight, now)
            else:
                self._settlement.fail(flight, locked.differs(flight.transfer))
            return
        flight.transfer = replace(flight.transfer, object=now)
        if flight.large is not None:
            flight.large.transfer = flight.transfer
        for job in left:
            self._dispatcher.repeat(updated(job, flight), 0)

    def _ask_parts(self, job: Job, flight: Flight) -> None:
        """The same bytes came twice, so the checksum that was guessed may be wrong."""
        stated = job.stated if isinstance(job, Finish) else flight.transfer.object.checksum
        if stated is not None:
            self._dispatcher.repeat(FetchChecksum(flight.transfer, stated), 0)

    def take_parts(self, flight: Flight, outcome: Outcome) -> None:
        """The real checksum of an upload in parts, or none: check the bytes by that."""
        remote = flight.transfer.object
        known = replace(remote, checksum=outcome.checksum, checksum_on_request=False)
        flight.transfer = replace(flight.transfer, object=known)
        if outcome.checksum is None:
            text = "its checksum is unknown: it was uploaded in parts of unknown lengths"
            logger.warning("%s: %s", flight.transfer.source, text)
        if flight.large is None:
            self._restarts.reset_counts(flight)
            self._restarts.feed(flight)
            return
        flight.large.transfer = flight.transfer
        flight.large.check_again(outcome)

    def _retry(self, job: Job, error: KaiwoError, flight: Flight) -> None:
        """Make the request again after a delay, or fail the object."""
        self._discard_stream(job)
        job = alone(job, flight)
        if (crowded := self._lines.refused(job, error, service(job))) is not None:
            asked_s = error.retry_after_s if isinstance(error, TransientError) else None
            self._repeat(crowded, error, flight, max(asked_s or 0.0, FIRST_DELAY_S))
            return
        asked = service(job)
        again = self._policy.again(
            job,
            error,
            has_answered=self._health.has_answered(asked),
            is_new=self._health.is_new(flight.transfer.opener),
        )
        if again is None and isinstance(error, UnansweredError):
            self._publish_unverified(job, error, flight)
            return
        if again is None:
            if isinstance(job, Restat):
                self._restarts.forget(flight)  # what has arrived may be of an object that is gone
            self._settlement.fail(flight, used_up(error, job.tries))
            if isinstance(error, TransientError):
                self._fail_service(job, error)
            return
        repeated, delay_s = again
        self._health.refused(asked, error, delay_s)
        self._repeat(repeated, error, flight, delay_s)

    def _discard_stream(self, job: Job) -> None:
        """A stream starts at its first byte: what it brought is of no use, now or later."""
        if isinstance(job, Whole):
            round_files.discard(job.transfer)

    def _repeat(self, job: Job, error: KaiwoError, flight: Flight, delay_s: float) -> None:
        self._report_attempt(flight, error, job.tries.count, delay_s)
        self._dispatcher.repeat(job, delay_s)

    def _publish_unverified(self, job: Job, error: KaiwoError, flight: Flight) -> None:
        """All is here but the answer to the question for a checksum, which may always fail."""
        logger.warning("%s: its checksum is not known: %s", flight.transfer.source, error.message)
        match job:
            case Batch():
                self._dispatcher.repeat(replace(job, verify=False, tries=Tries()), 0)
            case CheckExisting():
                self._restarts.feed(flight)
            case FetchChecksum(_, guess) if guess is not None:
                self.take_parts(flight, Outcome(flight.transfer))
            case _ if flight.large is not None:
                listed = flight.transfer.object.checksum
                flight.large.take_answer(Outcome(flight.transfer, checksum=listed))
            case _:
                pass

    def _fail_service(self, job: Job, error: KaiwoError) -> None:
        """An object used up its attempts: if its service is down, the others fail too."""
        failing = service(job)
        since_s = job.tries.since_s if job.tries.count else time.monotonic()
        if not self._health.lost(failing, since_s):
            return
        text = f"not attempted: nothing succeeds at {failing} any more: {error.message}"
        left = [each for each in self._transfers if each.opener.service == failing]
        self._settlement.fail_all(left, TransientError(text))

    def _stream_instead(self, flight: Flight, error: KaiwoError) -> None:
        """Service or file system have no ranges: single streams from now on."""
        asked = flight.transfer.opener.service
        if isinstance(error, RandomWriteError):
            if self._file_systems.note_sequential(flight.transfer):
                logger.info("%s: single streams to this file system from now on", error.message)
        elif self._health.give_up_ranges(asked):
            logger.warning("%s ignores ranges: single streams from now on", asked)
        self._restarts.again(flight)

    def _look_up(self, job: Job, flight: Flight, error: KaiwoError) -> None:
        """The planned object may be gone: ask what it is now."""
        flight.lookups += 1
        if flight.left is None:  # else a look failed, for which others wait
            flight.left = [job]
        self._discard_stream(job)
        self._report_attempt(flight, error)
        self._dispatcher.repeat(Restat(flight.transfer), 0)

    def _note_wrong_bytes(self, flight: Flight, error: KaiwoError) -> None:
        """Remember in which way the bytes are wrong, and whether for the second time."""
        if isinstance(error, WrongBytesError):
            flight.refetched = flight.refetched or error.found in flight.wrong
            flight.wrong.add(error.found)
        else:
            flight.refetched = True
        self._report_attempt(flight, error)

    def _report_attempt(
        self, flight: Flight, error: KaiwoError, attempt: int = 1, delay_s: float = 0
    ) -> None:
        flight.attempts += 1
        self._sink.emit(Retried(flight.transfer.source, error, attempt, delay_s))
