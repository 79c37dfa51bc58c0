"""From a plan to a report, on any executor: one thread owns the state of a run.

    job feed ─> dispatcher ─> executor ─┬─> progress: what is written is remembered
                    ▲                   └─> outcomes ─┬─> in place: settlement, state
                    │                                 ├─> more jobs of a large object
                    └──────────── jobs ───────────────┴─> failed: recovery

Only this thread changes the state of flights, remembers what is in place, and emits events.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial

from kaiwo.engine import round_files
from kaiwo.engine.counting import Counting
from kaiwo.engine.dispatcher import Dispatcher
from kaiwo.engine.file_systems import FileSystems
from kaiwo.engine.flight import Flight, Flights, continued
from kaiwo.engine.job_feed import JobFeed, by_service, service
from kaiwo.engine.large_object import LargeObject
from kaiwo.engine.lines import Lines
from kaiwo.engine.machines import Machines
from kaiwo.engine.marks import Marks
from kaiwo.engine.recovery import Recovery
from kaiwo.engine.restarts import Restarts
from kaiwo.engine.rules import Rules
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.engine.settlement import Settlement
from kaiwo.engine.unremembered import Unremembered
from kaiwo.errors import DeadlineError, IntegrityError, KaiwoError, LostError, UnfinishedError
from kaiwo.events import Planned, Ticked
from kaiwo.jobs import (
    Batch,
    CheckExisting,
    FetchChecksum,
    HashPrefix,
    Job,
    LocalJob,
    Outcome,
    Plan,
    Progress,
    Range,
    Restat,
    Whole,
)
from kaiwo.objects import Report
from kaiwo.protocols import Sink
from kaiwo.state.state import State
from kaiwo.workers.jobs import run as run_job
from kaiwo.workers.progress import listen, new_channel


class Scheduler:
    """One run of a plan.

    Args:
        plan: what to do.
        executor: where the jobs run; it is not shut down.
        rules: how to do it.
        state: remembers what is in place and what is unfinished.
        sink: gets the events.
        health: what the listings learned of the services; this run learns more.
        machines: that share the work; None: jobs run in this process.
    """

    def __init__(
        self,
        plan: Plan,
        executor: Executor,
        rules: Rules,
        state: State,
        sink: Sink,
        health: ServiceHealth,
        machines: Machines | None = None,
    ) -> None:
        self._plan, self._rules, self._state = plan, rules, state
        self._sink = sink
        self._flights = Flights()
        self._health = health
        file_systems = FileSystems()
        self._digests = RunningDigests()
        self._channel = new_channel()
        services = {each.opener.service for each in plan.transfers}
        self._lines = Lines(services, rules, self._channel, machines)
        self._marks = Marks(state)
        self._unremembered = Unremembered(state)
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
            self._lines,
            sink,
        )
        self._counting = Counting(self._flights, self._settlement, sink)
        self._dispatcher: Dispatcher[Job, tuple[Outcome, ...]] = Dispatcher(
            executor,
            self._lines.limits,
            run_job,
            begin=self._begin,
            idle=self._idle,
            caught_up=self._unremembered.remember_soon,
            wanted=self._feed.is_wanted,
            lane=self._feed.lane,
            starts_s=self._feed.starts_s,
            # Of machines, each has its own limits.
            most=rules.ceiling if machines is None else None,
        )
        self._restarts = Restarts(self._feed, self._dispatcher, self._digests, state, sink)
        self._recovery = Recovery(
            plan.transfers,
            rules.policy,
            self._health,
            file_systems,
            self._lines,
            self._restarts,
            self._dispatcher,
            self._settlement,
            sink,
        )

    def run(self) -> Report:
        """Carry out the plan; returns when every object is in place or has failed for good."""
        transfers = self._plan.transfers
        self._sink.emit(_planned(self._plan))
        self._settlement.enter_plan(self._plan)
        self._state.note_folders(transfers)
        self._dispatcher.feed(self._feed.checks(transfers))
        for asked, wanted in by_service(each for each in transfers if not each.present).items():
            self._dispatcher.feed(self._feed.jobs(wanted), asked)
        left = UnfinishedError("the run was stopped before it was in place")
        try:
            with listen(self._channel, self._hear):
                if self._dispatcher.run(self._handle, self._rules.until_s):
                    left = UnfinishedError("not attempted: another object failed")
                else:
                    left = DeadlineError("the deadline passed before it was in place")
        finally:
            self._unremembered.remember()
            self._marks.note()
            self._settlement.give_up(transfers, left)
            self._digests.close()
            self._lines.end_run()
            self._discard_batches()
        return self.report()

    def report(self, error: KaiwoError | None = None) -> Report:
        """The run's report so far; ``error`` is what ended the run before all was done."""
        return self._settlement.report(error)

    def _after_failure(self) -> None:
        if self._rules.fail_fast:
            self._dispatcher.abandon()

    def _begin(self, job: Job) -> tuple[object, ...]:
        """A job starts; what its worker is given besides."""
        if isinstance(job, LocalJob):
            return ()
        self._counting.begin(job)
        return (self._lines.begin(job, service(job)),)

    def _hear(self, progress: Progress) -> None:
        """A worker reports, in its own thread."""
        self._dispatcher.call(partial(self._take_progress, progress))

    def _take_progress(self, progress: Progress) -> None:
        self._lines.note(progress)
        self._lines.step()
        large = self._counting.take_progress(progress)
        if large is not None and progress.mark is not None:
            self._marks.reach(progress, progress.mark)
            self._continue(large)

    def _handle(self, job: Job, outcomes: tuple[Outcome, ...]) -> None:
        """Take the outcomes of a job: remember, count, continue."""
        self._unremembered.add(job, outcomes)
        asked = service(job)
        if any(_was_answered(job, each) for each in outcomes):
            self._health.answered(asked)
            self._health.allowed(outcomes[0].transfer.opener)
        read, flights = self._counting.take(job, outcomes)
        self._lines.end(job, outcomes, asked, read)
        self._lines.step()
        for outcome, flight in zip(outcomes, flights, strict=True):
            if flight is not None and self._flights.is_current(outcome.transfer):
                self._take_outcome(job, outcome, flight)

    def _take_outcome(self, job: Job, outcome: Outcome, flight: Flight) -> None:
        """Take what became of one object of a job."""
        if isinstance(job, Range) and flight.large is not None and outcome.crcs:
            self._marks.end(job, outcome)
            job = continued(job, outcome)
        if outcome.error is None:
            self._advance(job, outcome, flight)
            return
        if isinstance(outcome.error, LostError):
            self._recovery.send_elsewhere(job, flight)
            return
        self._health.failed(service(job), outcome.error)
        self._recovery.recover(job, outcome.error, flight)
        self._continue(flight.large)

    def _advance(self, job: Job, outcome: Outcome, flight: Flight) -> None:
        """A job of the object succeeded: settle it, or do what comes next."""
        if outcome.published or outcome.adopted:
            self._settlement.in_place(flight, outcome)
            return
        large = flight.large
        match job:
            case CheckExisting():
                self._restarts.feed(flight)
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
            again = large.take_range(job, outcome)
        except IntegrityError as error:
            self._settlement.fail(flight, error)
            return
        if again is not None:
            flight.attempts += 1
            self._dispatcher.repeat(again, 0)
        elif large.is_part_there:
            self._settlement.in_place(flight, outcome)

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
        self._unremembered.remember()
        self._lines.step()
        self._marks.note()
        self._sink.emit(Ticked())

    def _discard_batches(self) -> None:
        """After a signal, remove the temporary files of batches in flight."""
        for job in self._dispatcher.in_flight():
            for transfer in job.transfers if isinstance(job, Batch) else ():
                round_files.discard(transfer)


def _planned(plan: Plan) -> Planned:
    sizes: Sequence[int] = [each.length for each in plan.transfers]
    present = [each.object.size for each in plan.transfers if each.present]
    kept = sum(each.kept_bytes for each in plan.transfers)
    return Planned(len(sizes), sum(sizes), len(plan.unchanged), len(present), sum(present), kept)


def _was_answered(job: Job, outcome: Outcome) -> bool:
    """Whether the service did what it was asked for; some jobs make no request."""
    return outcome.error is None and not (isinstance(job, LocalJob) or outcome.kept > 0)
