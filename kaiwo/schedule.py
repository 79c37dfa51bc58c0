"""From a plan to a report, on any executor: the one owner of a run's state.

    small objects   batches of at most 64 objects and 1 MiB: one job reads, checks, publishes;
                    fewer when there are few, so that all workers have some
    larger ones     up to 8 MiB: a batch of one
    large ones      ranges of 8 MiB, lazily, one object after the other; then one job that
                    checks and publishes

Largest first, over all tasks. A failed request alone is repeated, after a delay that the retry
policy names; a checksum that differs sends the whole object round once more. Only this thread
changes state, remembers what is in place and tells the sink.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from kaiwo import disk
from kaiwo.copier import move
from kaiwo.dispatch import Dispatcher
from kaiwo.errors import (
    ChangedError,
    DiskError,
    IntegrityError,
    KaiwoError,
    RangeIgnoredError,
    first_exit_code,
)
from kaiwo.events import Planned, Progressed, Retried, Settled, Ticked
from kaiwo.journal import Memory
from kaiwo.objects import (
    Batch,
    Compare,
    Finish,
    Item,
    Job,
    Outcome,
    Plan,
    Range,
    Report,
    Status,
    Transfer,
    Whole,
)
from kaiwo.protocols import Sink
from kaiwo.retry import RetryPolicy

RANGE = 8 << 20
BATCH_BYTES = 1 << 20
BATCH_OBJECTS = 64
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """How a plan is to be carried out.

    Attributes:
        workers: jobs in flight.
        policy: which failures are repeated, and when.
        verify: check checksums, not only sizes.
        fail_fast: end at the first object that fails.
    """

    workers: int
    policy: RetryPolicy
    verify: bool = True
    fail_fast: bool = False


def run(plan: Plan, executor: Executor, rules: Rules, memory: Memory, sink: Sink) -> Report:
    """Carry out a plan; returns when every object is in place or has failed for good.

    Args:
        plan: what to do.
        executor: where the jobs run; it is not shut down.
        rules: how to do it.
        memory: is told what is in place.
        sink: is told what happens.
    """
    return _Run(executor, rules, memory, sink).carry_out(plan)


@dataclass
class _Progress:
    """A transfer that has begun and is not settled."""

    started_s: float
    attempts: int = 1
    received: int = 0
    ranges_left: int = 0
    single_stream: bool = False
    again: bool = False


@dataclass
class _Run:
    executor: Executor
    rules: Rules
    memory: Memory
    sink: Sink
    items: list[Item] = field(default_factory=list)
    begun: dict[int, _Progress] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    without_ranges: set[str] = field(default_factory=set)
    transferred: int = 0

    def carry_out(self, plan: Plan) -> Report:
        """See ``run``."""
        start_s = time.monotonic()
        self.dispatcher: Dispatcher[Job, tuple[Outcome, ...]] = Dispatcher(
            self.executor,
            self.rules.workers,
            move,
            idle=lambda: self.sink.emit(Ticked()),
            wanted=self._wanted,
        )
        size = sum(each.object.size for each in plan.transfers)
        self.sink.emit(Planned(len(plan.transfers), size, len(plan.unchanged)))
        for item in plan.missed:
            self.items.append(item)
            self.sink.emit(Settled(item))
        for transfer in plan.unchanged:
            self._unchanged(transfer)
        self.dispatcher.feed(Compare(each) for each in plan.transfers if each.present)
        self.dispatcher.feed(self._jobs([each for each in plan.transfers if not each.present]))
        try:
            self.dispatcher.run(self._handle)
        finally:
            self._clean(plan.transfers)
        self._give_up([each for each in plan.transfers if each.index not in self.settled])
        codes = [item.error.exit_code for item in self.items if item.error is not None]
        seconds = time.monotonic() - start_s
        return Report(first_exit_code(codes), seconds, self.transferred, tuple(self.items))

    def _jobs(self, transfers: Sequence[Transfer]) -> Iterator[Job]:
        """The jobs of these transfers, in their order; each is made when there is room for it."""
        small: list[Transfer] = []
        size = 0
        for position, transfer in enumerate(transfers):
            length = transfer.object.size
            if length > RANGE:
                yield from self._ranges(transfer)
                continue
            # What is left is shared: the last batches are short, so that no worker idles while
            # another has many objects before it.
            share = -(-(len(transfers) - position + len(small)) // (2 * self.rules.workers))
            longest = min(BATCH_OBJECTS, share)
            if small and (size + length > BATCH_BYTES or len(small) >= longest):
                yield Batch(tuple(small), self.rules.verify)
                small, size = [], 0
            small.append(transfer)
            size += length
        if small:
            yield Batch(tuple(small), self.rules.verify)

    def _ranges(self, transfer: Transfer) -> Iterator[Job]:
        progress = self._begin(transfer)
        if progress.single_stream or transfer.opener.origin in self.without_ranges:
            progress.single_stream = True
            yield Whole(transfer)
            return
        try:
            disk.create(transfer.temporary)
        except DiskError as error:
            self._fail(transfer, progress, error)
            return
        size = transfer.object.size
        progress.ranges_left = -(-size // RANGE)
        for start in range(0, size, RANGE):
            if progress.single_stream or transfer.index in self.settled:
                return
            yield Range(transfer, start, min(start + RANGE, size))

    def _wanted(self, job: Job) -> bool:
        """Not a range of an object that has failed, or that comes in a stream now."""
        if isinstance(job, Batch):
            return True
        index = job.transfer.index
        if index in self.settled:
            return False
        streams = index in self.begun and self.begun[index].single_stream
        return not (isinstance(job, Range) and streams)

    def _begin(self, transfer: Transfer) -> _Progress:
        return self.begun.setdefault(transfer.index, _Progress(time.monotonic()))

    def _handle(self, job: Job, outcomes: tuple[Outcome, ...]) -> None:
        for outcome in outcomes:
            self.transferred += outcome.bytes
            if outcome.transfer.index in self.settled:
                continue
            progress = self._begin(outcome.transfer)
            if isinstance(job, Range) and progress.single_stream:
                continue
            if outcome.error is not None:
                self._failed(job, outcome, outcome.error, progress)
                continue
            progress.received += outcome.bytes
            if outcome.bytes:
                self.sink.emit(Progressed(outcome.bytes))
            self._advance(job, outcome, progress)

    def _advance(self, job: Job, outcome: Outcome, progress: _Progress) -> None:
        transfer = outcome.transfer
        if outcome.published or outcome.adopted:
            self._in_place(outcome, progress)
        elif isinstance(job, Compare):
            self.dispatcher.feed(self._jobs([transfer]))
        elif isinstance(job, Whole):
            self.dispatcher.repeat(Finish(transfer, self.rules.verify), 0)
        elif isinstance(job, Range):
            progress.ranges_left -= 1
            if progress.ranges_left == 0:
                self.dispatcher.repeat(Finish(transfer, self.rules.verify), 0)

    def _failed(self, job: Job, outcome: Outcome, error: KaiwoError, progress: _Progress) -> None:
        transfer = outcome.transfer
        if isinstance(error, RangeIgnoredError) and isinstance(job, Range):
            self._stream_instead(transfer, progress)
            return
        differs = isinstance(error, IntegrityError) and not isinstance(error, ChangedError)
        if differs and not progress.again:
            progress.again = True
            progress.attempts += 1
            self.sink.emit(Retried(transfer.source, error, 1, 0))
            self._start_over(transfer, progress)
            return
        again = self.rules.policy.again(self._alone(job, transfer), error)
        if again is None:
            self._fail(transfer, progress, error)
            return
        progress.attempts += 1
        self.sink.emit(Retried(transfer.source, error, again[0].attempt, again[1]))
        self.dispatcher.repeat(*again)

    def _alone(self, job: Job, transfer: Transfer) -> Job:
        """The job for this object only: the others of its batch are done."""
        return replace(job, transfers=(transfer,)) if isinstance(job, Batch) else job

    def _fail(self, transfer: Transfer, progress: _Progress, error: KaiwoError) -> None:
        self._settle(self._item(transfer, "failed", progress, error=error), transfer)
        if self.rules.fail_fast:
            self.dispatcher.abandon()

    def _stream_instead(self, transfer: Transfer, progress: _Progress) -> None:
        """Its service ignores ranges: from now on, its objects come in single streams."""
        origin = transfer.opener.origin
        if origin not in self.without_ranges:
            self.without_ranges.add(origin)
            logger.warning("%s ignores ranges: single streams from now on", origin)
        progress.single_stream = True
        self._start_over(transfer, progress)

    def _start_over(self, transfer: Transfer, progress: _Progress) -> None:
        disk.discard(transfer.temporary)
        self.sink.emit(Progressed(-progress.received))
        progress.received = 0
        self.dispatcher.feed(self._jobs([transfer]))

    def _in_place(self, outcome: Outcome, progress: _Progress) -> None:
        transfer = outcome.transfer
        status: Status = "unchanged" if outcome.adopted else "downloaded"
        self.memory.of(transfer.root).remember(outcome)
        item = self._item(transfer, status, progress, outcome)
        self._settle(item, transfer)

    def _unchanged(self, transfer: Transfer) -> None:
        item = self._item(transfer, "unchanged")
        self._settle(replace(item, verified=item.checksum is not None), transfer)

    def _item(
        self,
        transfer: Transfer,
        status: Status,
        progress: _Progress | None = None,
        outcome: Outcome | None = None,
        error: KaiwoError | None = None,
    ) -> Item:
        seconds = time.monotonic() - progress.started_s if progress else 0.0
        if outcome is not None:
            seconds = max(seconds, outcome.seconds)
        return Item(
            task=transfer.task,
            source=transfer.source,
            target=transfer.target,
            status=status,
            bytes=transfer.object.size,
            seconds=seconds,
            attempts=progress.attempts if progress else 0,
            etag=transfer.object.etag,
            checksum=outcome.checksum if outcome else transfer.object.checksum,
            verified=outcome.verified if outcome else False,
            error=error,
        )

    def _settle(self, item: Item, transfer: Transfer) -> None:
        self.items.append(item)
        self.settled.add(transfer.index)
        self.begun.pop(transfer.index, None)
        self.sink.emit(Settled(item))

    def _give_up(self, transfers: Iterable[Transfer]) -> None:
        """What --fail-fast left undone is named too."""
        error = KaiwoError("not attempted, because another object failed")
        for transfer in transfers:
            self._settle(self._item(transfer, "failed", error=error), transfer)

    def _clean(self, transfers: Iterable[Transfer]) -> None:
        """Remove what no target was made of; after a signal, of what is in flight too."""
        for transfer in transfers:
            if transfer.object.size > RANGE:
                disk.discard(transfer.temporary)
        for job in self.dispatcher.in_flight():
            for transfer in job.transfers if isinstance(job, Batch) else ():
                disk.discard(transfer.temporary)
