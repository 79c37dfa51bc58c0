"""From a plan to a report, on any executor: the one owner of a run's state.

    small objects   batches (``batches``); those of 1 to 8 MiB alone
    large ones      ranges, lazily, one object after the other (``large``); then one job that
                    checks and publishes

Largest first, over all tasks. Only this thread changes state, remembers what is in place and tells
the sink.

    a request fails         what is to be done, ``remedies`` decides: it is repeated after a delay
                            that the retry policy names, or its object is fetched in another way;
                            where the service asks for patience, all requests to it wait
    a service is down       after so many failures in a row the rest of its objects fail, too

An object that begins anew does so in a round of its own, with another temporary file: whatever
comes late of an earlier round is not looked at.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor

from msgspec import Struct
from msgspec.structs import replace

from kaiwo.engine import batches, running_digests
from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.large_object import Large, in_turns
from kaiwo.engine.recovery import Flight, Remedy, remedy
from kaiwo.engine.retry import RetryPolicy, used_up
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.engine.settlement import Ledger
from kaiwo.errors import (
    DeadlineError,
    DiskError,
    IntegrityError,
    KaiwoError,
    NotFoundError,
    PlaceholderError,
    ServiceError,
    TransientError,
    UnfinishedError,
    WrongBytesError,
)
from kaiwo.events import Planned, Progressed, Retried, Started, Ticked
from kaiwo.files import paths, temporary_files
from kaiwo.jobs import (
    RANGE,
    Batch,
    CheckExisting,
    FetchChecksum,
    Finish,
    HashPrefix,
    Job,
    Outcome,
    Plan,
    Range,
    Restat,
    Transfer,
    Whole,
)
from kaiwo.objects import Checksum, RemoteObject, Report, Status
from kaiwo.protocols import Sink
from kaiwo.state.state import State
from kaiwo.workers.jobs import run as run_job

#: Objects below this size are small: their requests cost more than their bytes.
SMALL = 1 << 20
#: A service is not taken to be down before so many objects have failed in a row.
LEAST_LOST = 8
logger = logging.getLogger(__name__)


class Rules(Struct, frozen=True):
    """How a plan is to be carried out.

    Attributes:
        workers: jobs in flight.
        policy: which failures are repeated, and when.
        verify: check checksums, not only sizes.
        fail_fast: end at the first object that fails.
        small_requests: requests for small objects in flight, besides those of the workers, where
            answers take long; None: the workers make them, too.
        until_s: the run's deadline, by the monotonic clock.
    """

    workers: int
    policy: RetryPolicy
    verify: bool = True
    fail_fast: bool = False
    small_requests: int | None = None
    until_s: float | None = None


def run(plan: Plan, executor: Executor, rules: Rules, state: State, sink: Sink) -> Report:
    """Carry out a plan; returns when every object is in place or has failed for good.

    Args:
        plan: what to do.
        executor: where the jobs run; it is not shut down.
        rules: how to do it.
        state: learns what is in place.
        sink: is told what happens.
    """
    return _Run(executor, rules, state, sink).carry_out(plan)


class _Run:
    def __init__(self, executor: Executor, rules: Rules, state: State, sink: Sink) -> None:
        self.rules = rules
        self.state = state
        self.sink = sink
        self.ledger = Ledger(sink)
        self.services = ServiceHealth(max(rules.workers, LEAST_LOST))
        self.pace = batches.Pace()
        self.digests = running_digests.RunningDigests()
        self.transfers: tuple[Transfer, ...] = ()
        self.begun: dict[int, Flight] = {}
        limits = {"": rules.workers, "held": 0}
        if rules.small_requests is not None:
            limits["small"] = min(batches.REQUESTS, rules.small_requests)
        self.dispatcher: Dispatcher[Job, tuple[Outcome, ...]] = Dispatcher(
            executor,
            limits,
            run_job,
            idle=self._idle,
            wanted=self._wanted,
            lane=self._lane,
            begins_s=self._begins_s,
        )

    def carry_out(self, plan: Plan) -> Report:
        """See ``run``."""
        self.transfers = plan.transfers
        sizes = [each.object.size for each in plan.transfers]
        present = [each.object.size for each in plan.transfers if each.present]
        self.sink.emit(
            Planned(len(sizes), sum(sizes), len(plan.unchanged), len(present), sum(present))
        )
        for item in plan.missed:
            self.ledger.add(item)
        for transfer in plan.unchanged:
            checksum = transfer.object.checksum
            verified = checksum is not None
            self.ledger.enter(transfer, "unchanged", checksum=checksum, verified=verified)
        self.state.note_folders(plan.transfers)
        self.dispatcher.feed(CheckExisting(each) for each in plan.transfers if each.present)
        self.dispatcher.feed(self._jobs([each for each in plan.transfers if not each.present]))
        try:
            if self.dispatcher.run(self._handle, self.rules.until_s):
                self._give_up(UnfinishedError("not attempted, because another object failed"))
            else:
                self._give_up(DeadlineError("the deadline passed before it was in place"))
        except BaseException:
            self._give_up(UnfinishedError("the run was stopped before it was in place"))
            raise
        finally:
            self.digests.close()
            self._clean()
        return self.ledger.report()

    # --- which jobs there are

    def _jobs(self, transfers: Sequence[Transfer]) -> Iterator[Job]:
        """The jobs of these transfers, in their order; each is made when there is room for it."""
        large = (each for each in transfers if each.object.size > RANGE)
        yield from in_turns(large, self._large, self._lags)
        others = [each for each in transfers if each.object.size <= RANGE]
        for batch in batches.cut(others, self.pace, self._sharing):
            if wanted := tuple([each for each in batch if self._current(each)]):
                yield Batch(wanted, self.rules.verify)

    def _sharing(self) -> int:
        """How many workers share the small objects."""
        return self.dispatcher.limits.get("small", self.rules.workers)

    def _lags(self, transfer: Transfer, start: int | None = None) -> bool:
        """Whether the running checksum is too far behind what was begun, or behind a range."""
        progress = self.begun.get(transfer.index)
        return progress is not None and progress.large is not None and progress.large.lags(start)

    def _large(self, transfer: Transfer) -> Iterator[Job]:
        """The jobs of a large object, as long as it is in this round."""
        if not self._current(transfer):
            return
        progress = self._begin(transfer)
        streams = transfer.object.stream_id is not None
        streams = streams or self.services.ignores_ranges(transfer.opener.origin)
        large = progress.large = Large(
            transfer,
            self.digests,
            verify=self.rules.verify,
            streams=streams,
            inspected=progress.large.inspected if progress.large else None,
        )
        self.sink.emit(Started(transfer.source, transfer.object.size))
        for job in large.begin():
            self.dispatcher.repeat(job, 0)
        if streams:
            yield large.whole()
            return
        try:
            self._prepare(transfer)
        except DiskError as error:
            self._fail(progress, error)
            return
        yield from self._ranges(large, large.ranges())

    def _ranges(self, large: Large, ranges: Iterable[Range]) -> Iterator[Job]:
        """The ranges, as long as the object is in this round."""
        for job in ranges:
            if not self._current(large.transfer):
                return
            yield job

    def _prepare(self, transfer: Transfer) -> None:
        """Have a temporary file for the ranges: what an earlier run left, or a new one."""
        self.state.begin(transfer)
        partial = transfer.partial
        # What cannot be written down stays where a further run finds it.
        taken = partial is not None and self.state.can_resume(transfer)
        if not (
            taken and partial and temporary_files.take_over(partial.temporary, transfer.temporary)
        ):
            temporary_files.create(transfer.temporary)

    def _begin(self, transfer: Transfer, seconds: float = 0.0) -> Flight:
        """Its progress; if there is none yet, it began so many seconds ago."""
        progress = self.begun.get(transfer.index)
        if progress is None:
            progress = Flight(transfer, time.monotonic() - seconds)
            self.begun[transfer.index] = progress
        return progress

    def _current(self, transfer: Transfer) -> bool:
        """The object is neither settled nor in a later round."""
        if transfer.index in self.ledger.settled:
            return False
        progress = self.begun.get(transfer.index)
        return progress is None or progress.transfer.round == transfer.round

    # --- what the dispatcher asks about a job

    def _wanted(self, job: Job) -> bool:
        if isinstance(job, Batch):
            return any(self._current(transfer) for transfer in job.transfers)
        return self._current(job.transfer)

    def _lane(self, job: Job) -> str:
        """Small objects do not wait for the workers, unless these are all that there may be."""
        if isinstance(job, Range):
            return "held" if not job.tries.count and self._lags(job.transfer, job.start) else ""
        small = isinstance(job, Batch) and job.transfers[0].object.size < SMALL
        return "small" if small and self.rules.small_requests is not None else ""

    def _begins_s(self, job: Job) -> float:
        """A service that asked for patience is left alone; these jobs ask none."""
        if isinstance(job, HashPrefix | Finish):
            return 0.0
        return self.services.quiet_until_s(_origin(job))

    # --- what became of them

    def _handle(self, job: Job, outcomes: tuple[Outcome, ...]) -> None:
        in_place = [each for each in outcomes if each.published or each.adopted]
        if in_place:
            self.state.remember(in_place)
        if isinstance(job, Batch) and job.transfers[0].object.size < SMALL:
            self._measure(outcomes)
        if any(_was_answered(job, each) for each in outcomes):
            self.services.answered(_origin(job))
        received = kept = 0
        for outcome in outcomes:
            self.ledger.transferred += outcome.bytes
            if not self._current(outcome.transfer):
                if isinstance(job, Whole):
                    temporary_files.discard(
                        outcome.transfer.temporary
                    )  # a stream makes its file itself
                continue
            progress = self._begin(outcome.transfer, outcome.seconds)
            if outcome.error is not None:
                self._failed(job, outcome.error, progress)
                continue
            # What has to be read once more is no progress.
            count = outcome.bytes + outcome.kept if outcome.agrees else 0
            if isinstance(job, Whole):
                count -= progress.received
            progress.received += count
            progress.kept += outcome.kept
            received += count
            kept += outcome.kept
            self._advance(job, outcome, progress)
        if received:
            self.sink.emit(Progressed(received, _named(job), kept))

    def _idle(self) -> None:
        for job in self.dispatcher.in_flight():
            if isinstance(job, Whole) and self._current(job.transfer):
                self._look_at(job.transfer)
        self.sink.emit(Ticked())

    def _look_at(self, transfer: Transfer) -> None:
        """How far a stream has come, its file alone tells while it lasts."""
        progress = self._begin(transfer)
        status = paths.regular_file(transfer.temporary)
        more = status.st_size - progress.received if status is not None else 0
        if more > 0:
            progress.received += more
            self.sink.emit(Progressed(more, transfer.source))

    def _measure(self, outcomes: Sequence[Outcome]) -> None:
        """Where answers take long, more requests have to be in flight."""
        if self.pace.measure(outcomes) and self.rules.small_requests is not None:
            self.dispatcher.limits["small"] = self.rules.small_requests

    def _advance(self, job: Job, outcome: Outcome, progress: Flight) -> None:
        if outcome.published or outcome.adopted:
            self._in_place(outcome, progress)
            return
        large = progress.large
        match job:
            case CheckExisting():
                self.dispatcher.feed(self._jobs([progress.transfer]))
            case Restat() if outcome.now is not None:
                self._begin_anew(progress, outcome.now)
            case Range() if large is not None:
                self._arrived(job, outcome, progress, large)
            case FetchChecksum() if large is not None:
                large.told(outcome)
            case HashPrefix() if large is not None:
                large.followed(job, outcome)
            case Whole() if large is not None:
                large.streamed(outcome)
            case _:
                pass
        if large is not None:
            self._go_on(large)

    def _arrived(self, job: Range, outcome: Outcome, progress: Flight, large: Large) -> None:
        try:
            crc, again = large.arrived(job, outcome)
        except IntegrityError as error:
            self._fail(progress, error)
            return
        if again is not None:
            progress.attempts += 1
            self.dispatcher.repeat(again, 0)
        elif not outcome.kept:
            self.state.note_range(job.transfer, job.start, job.end - job.start, crc)

    def _go_on(self, large: Large) -> None:
        """Let the running checksum follow, and finish the object when all is there."""
        if not self._current(large.transfer):
            return
        for job in large.next():
            if isinstance(job, HashPrefix):
                self.dispatcher.watch(job, self.digests.follow(job.transfer, job.end))
            else:
                self.dispatcher.repeat(job, 0)

    # --- what failed

    def _failed(self, job: Job, error: KaiwoError, progress: Flight) -> None:
        match remedy(job, error, progress, self.rules.policy.retries):
            case Remedy.STREAM:
                self._stream_instead(progress)
            case Remedy.LOOK_UP:
                self._look_up(progress, error)
            case Remedy.COMPARE if progress.large is not None:
                self._take_note(progress, error)
                self._recount(progress)
                self.dispatcher.feed(self._ranges(progress.large, progress.large.compared()))
            case Remedy.BEGIN_ANEW:
                self._take_note(progress, error)
                self._start_over(progress)
            case Remedy.REPEAT:
                self._retry(job, error, progress)
            case _:
                self._fail(progress, error)

    def _retry(self, job: Job, error: KaiwoError, progress: Flight) -> None:
        """The request once more, after a while; or the object has failed."""
        if isinstance(job, Batch):
            # The others of its batch are done.
            job = replace(job, transfers=(progress.transfer,))
        elif isinstance(job, Whole):
            temporary_files.discard(job.transfer.temporary)  # it begins anew
            self._recount(progress)
        again = self.rules.policy.again(job, error)
        if again is None:
            self._fail(progress, used_up(error, job.tries))
            if isinstance(error, TransientError):
                self._lost(job, error)
            return
        repeated, delay_s = again
        self.services.refused(_origin(job), error, delay_s)
        progress.attempts += 1
        self.sink.emit(Retried(progress.transfer.source, error, repeated.tries.count, delay_s))
        self.dispatcher.repeat(repeated, delay_s)

    def _lost(self, job: Job, error: KaiwoError) -> None:
        """An object used up its attempts: perhaps there is no hope for the others."""
        origin = _origin(job)
        since_s = job.tries.since_s if job.tries.count else time.monotonic()
        if not self.services.lost(origin, since_s):
            return
        text = f"not attempted any more, since nothing succeeds at {origin}: {error.message}"
        for transfer in self.transfers:
            if transfer.opener.origin == origin and transfer.index not in self.ledger.settled:
                self._fail(self._begin(transfer), ServiceError(text))

    def _stream_instead(self, progress: Flight) -> None:
        """Its service has no ranges: from now on, its objects come in single streams."""
        origin = progress.transfer.opener.origin
        if self.services.give_up_ranges(origin):
            logger.warning("%s ignores ranges: single streams from now on", origin)
        self._start_over(progress)

    def _look_up(self, progress: Flight, error: KaiwoError) -> None:
        """What was planned is no more: the object is fetched as it is now, once."""
        progress.replaced = True
        self._repeated(progress, error)
        self._next_round(progress)
        self.dispatcher.repeat(Restat(progress.transfer), 0)

    def _begin_anew(self, progress: Flight, now: RemoteObject) -> None:
        progress.large = None
        progress.wrong.clear()
        progress.transfer = replace(progress.transfer, object=now)
        self.dispatcher.feed(self._jobs([progress.transfer]))

    def _take_note(self, progress: Flight, error: KaiwoError) -> None:
        """Its bytes are wrong: in which way, and whether for the second time."""
        if isinstance(error, WrongBytesError):
            progress.anew = progress.anew or error.found in progress.wrong
            progress.wrong.add(error.found)
        else:
            progress.anew = True
        self._repeated(progress, error)

    def _repeated(self, progress: Flight, error: KaiwoError) -> None:
        progress.attempts += 1
        self.sink.emit(Retried(progress.transfer.source, error, 1, 0))

    def _start_over(self, progress: Flight) -> None:
        self._next_round(progress)
        self.dispatcher.feed(self._jobs([progress.transfer]))

    def _next_round(self, progress: Flight) -> None:
        """Forget what arrived, but not what was found out about the object."""
        before = progress.transfer
        self._drop(before)
        self.digests.forget(before)
        self._recount(progress)
        progress.transfer = replace(before, round=before.round + 1, partial=None)

    def _recount(self, progress: Flight) -> None:
        source = progress.transfer.source
        self.sink.emit(Progressed(-progress.received, source, -progress.kept))
        progress.received = progress.kept = 0

    # --- how it ended

    def _in_place(self, outcome: Outcome, progress: Flight) -> None:
        status: Status = "resumed" if progress.kept else "downloaded"
        if outcome.adopted:
            status = "unchanged"
        self._settle(progress, status, outcome.checksum, verified=outcome.verified)

    def _fail(self, progress: Flight, error: KaiwoError) -> None:
        if isinstance(error, PlaceholderError):
            logger.info("%s", error.message)
            self._forget(progress, error)
            self.ledger.leave_out(progress.transfer)
            return
        self._settle(progress, "failed", progress.transfer.object.checksum, error=error)
        if self.rules.fail_fast:
            self.dispatcher.abandon()

    def _settle(
        self,
        progress: Flight,
        status: Status,
        checksum: Checksum | None,
        *,
        verified: bool = False,
        error: KaiwoError | None = None,
    ) -> None:
        self._forget(progress, error)
        self.ledger.enter(
            progress.transfer,
            status,
            begun_s=progress.started_s,
            attempts=progress.attempts,
            checksum=checksum,
            verified=verified,
            error=error,
        )

    def _forget(self, progress: Flight, error: KaiwoError | None) -> None:
        """Nothing more is to be done about the object."""
        transfer = progress.transfer
        self.begun.pop(transfer.index, None)
        self.digests.forget(transfer)
        if transfer.object.size > RANGE:
            self._leave(progress, error)

    def _leave(self, progress: Flight, error: KaiwoError | None) -> None:
        """Leave of a large object what a later run can go on with, and nothing else."""
        transfer = progress.transfer
        if error is None or isinstance(error, IntegrityError | NotFoundError):
            self._drop(transfer)
        elif not (self.state.can_resume(transfer) and (progress.received or transfer.partial)):
            temporary_files.discard(transfer.temporary)
            self.state.end(transfer)

    def _drop(self, transfer: Transfer) -> None:
        """Leave nothing of this round, nor of an earlier run."""
        temporary_files.discard(transfer.temporary)
        if transfer.partial is not None:
            temporary_files.discard(transfer.partial.temporary)
        self.state.end(transfer)

    def _give_up(self, error: KaiwoError) -> None:
        """What --fail-fast, the deadline or a signal left undone is named too."""
        for transfer in self.transfers:
            if transfer.index in self.begun:
                self._fail(self.begun[transfer.index], error)
            elif transfer.index not in self.ledger.settled:
                self.ledger.enter(transfer, "failed", error=error)

    def _clean(self) -> None:
        """After a signal, remove what the jobs in flight had begun."""
        for job in self.dispatcher.in_flight():
            for transfer in job.transfers if isinstance(job, Batch) else ():
                temporary_files.discard(transfer.temporary)


def _origin(job: Job) -> str:
    """The service that a job asks."""
    transfer = job.transfers[0] if isinstance(job, Batch) else job.transfer
    return transfer.opener.origin


def _was_answered(job: Job, outcome: Outcome) -> bool:
    """Whether the service did what it was asked for; some jobs ask it nothing."""
    local = isinstance(job, CheckExisting | HashPrefix | Finish) or outcome.kept > 0
    return outcome.error is None and not local


def _named(job: Job) -> str | None:
    """The large object that a job is about."""
    return None if isinstance(job, Batch) else job.transfer.source
