"""From a plan to a report, on any executor: one thread owns the state of a run.

    job feed ─> dispatcher ─> executor ─> outcomes ─┬─> in place: settlement, state
                    ▲                               ├─> more jobs of a large object
                    └────────── jobs ───────────────┴─> failed: recovery

Only this thread changes the state of flights, remembers what is in place, and emits events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

from kaiwo.engine import round_files
from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.file_systems import FileSystems
from kaiwo.engine.flight import Flight, Flights
from kaiwo.engine.job_feed import JobFeed, is_small, service
from kaiwo.engine.large_object import LargeObject
from kaiwo.engine.recovery import Recovery
from kaiwo.engine.rules import Rules
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.engine.settlement import Settlement
from kaiwo.errors import DeadlineError, IntegrityError, KaiwoError, UnfinishedError
from kaiwo.events import Planned, Progressed, Ticked
from kaiwo.files import paths
from kaiwo.jobs import (
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
    Whole,
)
from kaiwo.objects import Report
from kaiwo.protocols import Sink
from kaiwo.state.state import State
from kaiwo.workers.jobs import run as run_job


class Scheduler:
    """One run of a plan.

    Args:
        plan: what to do.
        executor: where the jobs run; it is not shut down.
        rules: how to do it.
        state: remembers what is in place and what is unfinished.
        sink: gets the events.
        health: what the listings learned of the services; this run learns more.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        rules: Rules,
        state: State,
        sink: Sink,
        health: ServiceHealth,
    ) -> None:
        self._plan = plan
        self._rules = rules
        self._state = state
        self._sink = sink
        self._flights = Flights()
        self._health = health
        file_systems = FileSystems()
        self._digests = RunningDigests()
        self._settlement = Settlement(
            self._flights, state, self._digests, sink, self._after_failure
        )
        self._feed = JobFeed(
            rules,
            self._flights,
            self._health,
            file_systems,
            self._digests,
            self._settlement,
            state,
            sink,
        )
        self._dispatcher: Dispatcher[Job, tuple[Outcome, ...]] = Dispatcher(
            executor,
            self._feed.limits,
            run_job,
            idle=self._idle,
            wanted=self._feed.is_wanted,
            lane=self._feed.lane,
            starts_s=self._feed.starts_s,
            most=rules.most_requests,
        )
        self._recovery = Recovery(
            plan.transfers,
            rules.policy,
            self._flights,
            self._health,
            file_systems,
            self._feed,
            self._dispatcher,
            self._settlement,
            self._digests,
            state,
            sink,
        )

    def run(self) -> Report:
        """Carry out the plan; returns when every object is in place or has failed for good."""
        transfers = self._plan.transfers
        self._sink.emit(_planned(self._plan))
        self._settlement.enter_plan(self._plan)
        self._state.note_folders(transfers)
        self._dispatcher.feed(self._feed.checks(transfers))
        self._dispatcher.feed(self._feed.jobs([each for each in transfers if not each.present]))
        left = UnfinishedError("the run was stopped before it was in place")
        try:
            if self._dispatcher.run(self._handle, self._rules.until_s):
                left = UnfinishedError("not attempted: another object failed")
            else:
                left = DeadlineError("the deadline passed before it was in place")
        except BaseException:
            # The outcomes of streams, which say what they read, will not arrive.
            self._settlement.transferred += sum(flight.received for flight in self._streams())
            raise
        finally:
            self._settlement.give_up(transfers, left)
            self._digests.close()
            self._discard_batches()
        return self.report()

    def report(self, error: KaiwoError | None = None) -> Report:
        """The run's report so far; ``error`` is what ended the run before all was done."""
        return self._settlement.report(error)

    def _after_failure(self) -> None:
        if self._rules.fail_fast:
            self._dispatcher.abandon()

    def _handle(self, job: Job, outcomes: tuple[Outcome, ...]) -> None:
        """Take the outcomes of a job: remember, count, continue."""
        in_place = [each for each in outcomes if each.published or each.adopted]
        if in_place:
            self._state.remember(in_place)
        if is_small(job):
            self._feed.measure(outcomes)
        if any(_was_answered(job, each) for each in outcomes):
            self._health.answered(service(job))
        received = kept = 0
        for outcome in outcomes:
            self._settlement.transferred += outcome.bytes
            if not self._flights.is_current(outcome.transfer):
                if isinstance(job, Whole):
                    # A stream makes its file itself, perhaps after its round has ended.
                    round_files.discard(outcome.transfer)
                continue
            flight = self._flights.get_or_start(outcome.transfer, outcome.seconds)
            if outcome.error is not None:
                self._health.failed(service(job), outcome.error)
                self._recovery.recover(job, outcome.error, flight)
                self._continue(flight.large)
                continue
            received += flight.count(job, outcome)
            kept += outcome.kept
            self._advance(job, outcome, flight)
        if received:
            source = None if isinstance(job, Batch) else job.transfer.source
            self._sink.emit(Progressed(received, source, kept))

    def _advance(self, job: Job, outcome: Outcome, flight: Flight) -> None:
        """A job of the object succeeded: settle it, or do what comes next."""
        if outcome.published or outcome.adopted:
            self._settlement.in_place(flight, outcome)
            return
        large = flight.large
        match job:
            case CheckExisting():
                self._dispatcher.feed(self._feed.jobs([flight.transfer]))
            case Restat() if outcome.now is not None:
                self._recovery.take_lookup(flight, outcome.now)
            case Range() if large is not None:
                self._take_range(job, outcome, flight, large)
            case FetchChecksum(_, guess) if guess is not None:
                self._recovery.take_parts(flight, outcome)
            case FetchChecksum() if large is not None:
                large.take_answer(outcome)
            case HashPrefix() if large is not None:
                large.take_digest(outcome)
            case Whole() if large is not None:
                large.take_stream(outcome)
                flight.transfer = large.transfer
            case _:
                pass
        self._continue(large)

    def _take_range(self, job: Range, outcome: Outcome, flight: Flight, large: LargeObject) -> None:
        try:
            crc, again = large.take_range(job, outcome)
        except IntegrityError as error:
            self._settlement.fail(flight, error)
            return
        if again is not None:
            flight.attempts += 1
            self._dispatcher.repeat(again, 0)
        elif not outcome.kept or outcome.copied:
            self._state.note_range(job.transfer, job.start, job.end - job.start, crc)

    def _continue(self, large: LargeObject | None) -> None:
        """Let the running checksum follow, and finish the object when all is there."""
        if large is None or not self._flights.is_current(large.transfer):
            return
        for job in large.next_jobs():
            if isinstance(job, HashPrefix):
                self._dispatcher.watch(job, self._digests.follow(job.transfer, job.end))
            else:
                self._dispatcher.repeat(job, 0)

    def _idle(self) -> None:
        for flight in self._streams():
            # While a stream lasts, its file alone says how far it is.
            status = paths.regular_file(flight.transfer.temporary)
            if more := flight.reach(status.st_size if status is not None else 0):
                self._sink.emit(Progressed(more, flight.transfer.source))
        self._sink.emit(Ticked())

    def _streams(self) -> Iterator[Flight]:
        """The objects of streams in flight."""
        for job in self._dispatcher.in_flight():
            if isinstance(job, Whole) and self._flights.is_current(job.transfer):
                yield self._flights.get_or_start(job.transfer)

    def _discard_batches(self) -> None:
        """After a signal, remove the temporary files of batches in flight."""
        for job in self._dispatcher.in_flight():
            for transfer in job.transfers if isinstance(job, Batch) else ():
                round_files.discard(transfer)


def _planned(plan: Plan) -> Planned:
    sizes: Sequence[int] = [each.object.size for each in plan.transfers]
    present = [each.object.size for each in plan.transfers if each.present]
    return Planned(len(sizes), sum(sizes), len(plan.unchanged), len(present), sum(present))


def _was_answered(job: Job, outcome: Outcome) -> bool:
    """Whether the service did what it was asked for; some jobs make no request."""
    local = isinstance(job, CheckExisting | HashPrefix | Finish) or outcome.kept > 0
    return outcome.error is None and not local
