"""From a plan to a report, on any executor: the one owner of a run's state.

    small objects   batches of at most 64 objects and 1 MiB: one job reads, checks, publishes;
                    fewer when they are slow or few, so that all workers have some
    larger ones     up to 8 MiB: a batch of one
    large ones      ranges of 8 MiB, lazily, one object after the other; then one job that
                    checks and publishes

Largest first, over all tasks. A failed request alone is repeated, after a delay that the retry
policy names; a checksum that differs sends the whole object round once more. Only this thread
changes state, remembers what is in place and tells the sink.

What a large object's checksum is to be is asked while its first ranges arrive. One that combines
is taken of each range on its way; any other follows the ranges through the page cache.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from kaiwo import checksums, digests, disk
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
    Checksum,
    Compare,
    Finish,
    Follow,
    Inspect,
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
from kaiwo.parts import Parts
from kaiwo.protocols import Sink
from kaiwo.retry import RetryPolicy

RANGE = 8 << 20
#: Objects below this size are small: their requests cost more than their bytes.
SMALL = 1 << 20
BATCH_BYTES = 1 << 20
BATCH_OBJECTS = 64
#: A running checksum that is so far behind its ranges holds further ones back: it needs the
#: processor, and the page cache what it has yet to read.
LAG = 16 * RANGE
#: A batch is meant to take so long: its outcomes come together.
BATCH_S = 0.1
#: The first batches are short, until it is known how long an object takes.
FIRST_BATCH_OBJECTS = 4
#: So many requests for small objects saturate the interpreter; more are of use only where an
#: answer takes so long, and leaves the processor idle for so much of the time.
SMALL_REQUESTS = 8
SLOW_S = 0.005
IDLE = 0.5
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """How a plan is to be carried out.

    Attributes:
        workers: jobs in flight.
        policy: which failures are repeated, and when.
        verify: check checksums, not only sizes.
        fail_fast: end at the first object that fails.
        small_requests: requests for small objects in flight, besides those of the workers, where
            answers take long; None: the workers make them, too.
    """

    workers: int
    policy: RetryPolicy
    verify: bool = True
    fail_fast: bool = False
    small_requests: int | None = None


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
    single_stream: bool = False
    streaming: bool = False
    round: int = 0
    #: It goes round once more, because its checksum differed.
    again: bool = False
    parts: Parts | None = None
    #: What its checksum should be, as far as is known; being asked for; known for good.
    stated: Checksum | None = None
    asking: bool = False
    asked: bool = False
    #: Combinable checksums that the next ranges are to take.
    checks: tuple[str, ...] = ()
    #: A running checksum follows the ranges: how far it has come, where the next of them begins,
    #: and whether it is on its way.
    follows: bool = False
    followed: int = 0
    reached: int = 0
    stepping: bool = False
    found: Checksum | None = None
    finishing: bool = False

    def start_over(self) -> None:
        """Forget what arrived, but not what was found out."""
        self.round += 1
        self.received = self.followed = self.reached = 0
        self.parts = self.found = None
        self.follows = self.stepping = self.finishing = False


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
    digests: digests.Digests = field(default_factory=digests.Digests)
    transferred: int = 0
    #: Seconds for a small object, lately.
    pace_s: float | None = None
    #: Clock and processor time when the load was last looked at.
    looked_s: tuple[float, float] = (0.0, 0.0)

    def carry_out(self, plan: Plan) -> Report:
        """See ``run``."""
        start_s = time.monotonic()
        self.looked_s = start_s, time.process_time()
        limits = {"": self.rules.workers, "held": 0}
        if self.rules.small_requests is not None:
            limits["small"] = min(SMALL_REQUESTS, self.rules.small_requests)
        self.dispatcher: Dispatcher[Job, tuple[Outcome, ...]] = Dispatcher(
            self.executor,
            limits,
            move,
            idle=lambda: self.sink.emit(Ticked()),
            wanted=self._wanted,
            lane=self._lane,
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
            self.digests.close()
            self._clean(plan.transfers)
        self._give_up([each for each in plan.transfers if each.index not in self.settled])
        codes = [item.error.exit_code for item in self.items if item.error is not None]
        seconds = time.monotonic() - start_s
        return Report(first_exit_code(codes), seconds, self.transferred, tuple(self.items))

    # --- which jobs there are

    def _jobs(self, transfers: Sequence[Transfer]) -> Iterator[Job]:
        """The jobs of these transfers, in their order; each is made when there is room for it."""
        small: list[Transfer] = []
        size = 0
        large = [each for each in transfers if each.object.size > RANGE]
        yield from self._interleaved(large)
        others = [each for each in transfers if each.object.size <= RANGE]
        for position, transfer in enumerate(others):
            length = transfer.object.size
            left = len(others) - position + len(small)
            if small and (size + length > BATCH_BYTES or len(small) >= self._longest_batch(left)):
                yield Batch(tuple(small), self.rules.verify)
                small, size = [], 0
            small.append(transfer)
            size += length
        if small:
            yield Batch(tuple(small), self.rules.verify)

    def _longest_batch(self, left: int) -> int:
        """How many objects a batch may have when so many are left."""
        longest = FIRST_BATCH_OBJECTS
        if self.pace_s is not None:
            longest = min(BATCH_OBJECTS, max(1, int(BATCH_S / max(self.pace_s, 1e-6))))
        # What is left is shared: the last batches are short, so that no worker idles while
        # another has many objects before it.
        workers = self.dispatcher.limits.get("small", self.rules.workers)
        return min(longest, -(-left // (2 * workers)))

    def _interleaved(self, transfers: Iterable[Transfer]) -> Iterator[Job]:
        """The jobs of large objects, one after the other; but another's while one lags."""
        coming = iter(transfers)
        active: list[tuple[Transfer, Iterator[Job]]] = []
        while True:
            ready = next((each for each in active if not self._lags(each[0])), None)
            if ready is None and len(active) < digests.THREADS:
                for transfer in coming:
                    ready = transfer, self._large(transfer)
                    active.append(ready)
                    break
            # All lag: the next of the first is held until it does not.
            ready = ready or next(iter(active), None)
            if ready is None:
                return
            for job in ready[1]:
                yield job
                break
            else:
                active.remove(ready)

    def _lags(self, transfer: Transfer, start: int | None = None) -> bool:
        """Whether the running checksum is too far behind what was begun, or behind a range."""
        progress = self.begun.get(transfer.index)
        if progress is None or not progress.follows:
            return False
        return (progress.reached if start is None else start) - progress.followed > LAG

    def _lane(self, job: Job) -> str:
        """Small objects do not wait for the workers, unless these are all that there may be."""
        if isinstance(job, Range):
            return "held" if job.attempt == 0 and self._lags(job.transfer, job.start) else ""
        small = isinstance(job, Batch) and job.transfers[0].object.size < SMALL
        return "small" if small and self.rules.small_requests is not None else ""

    def _large(self, transfer: Transfer) -> Iterator[Job]:
        progress = self._begin(transfer)
        if transfer.opener.origin in self.without_ranges:
            progress.single_stream = True
        self._ask(transfer, progress)
        if progress.single_stream:
            yield Whole(transfer, progress.stated.algorithm if progress.stated else None)
            return
        try:
            disk.create(transfer.temporary)
        except DiskError as error:
            self._fail(transfer, progress, error)
            return
        size = transfer.object.size
        progress.parts = Parts(size, RANGE)
        for start in range(0, size, RANGE):
            if progress.single_stream or transfer.index in self.settled:
                return
            progress.reached = start + RANGE
            yield Range(transfer, start, min(start + RANGE, size), progress.checks)

    def _ask(self, transfer: Transfer, progress: _Progress) -> None:
        """Find out what the checksum should be; until then, take all that combine."""
        if progress.asking:
            return
        if progress.asked or not self.rules.verify:
            self._choose_check(transfer, progress)
            return
        progress.stated = transfer.object.checksum
        if transfer.object.inspect_tells_more:
            progress.asking = True
            progress.checks = tuple(checksums.COMBINABLE)
            self.dispatcher.repeat(Inspect(transfer), 0)
            return
        self._choose_check(transfer, progress)

    def _choose_check(self, transfer: Transfer, progress: _Progress) -> None:
        """It is known what the checksum should be, so it is known how to take it."""
        progress.asking, progress.asked = False, True
        progress.checks = ()
        if progress.stated is None:
            return
        algorithm = progress.stated.algorithm
        if checksums.combinable(algorithm):
            progress.checks = (algorithm,)
        elif not progress.single_stream:
            progress.follows = self.digests.begin(transfer, algorithm)

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

    # --- what became of them

    def _handle(self, job: Job, outcomes: tuple[Outcome, ...]) -> None:
        in_place = [each for each in outcomes if each.published or each.adopted]
        if in_place:
            self.memory.remember(in_place)
        if isinstance(job, Batch) and job.transfers[0].object.size < SMALL:
            self._measure(outcomes)
        received = 0
        for outcome in outcomes:
            self.transferred += outcome.bytes
            if outcome.transfer.index in self.settled:
                continue
            progress = self._begin(outcome.transfer)
            if isinstance(job, Range) and progress.single_stream:
                self._drained(outcome.transfer, progress)
                continue
            if isinstance(job, Follow) and job.round != progress.round:
                continue
            if outcome.error is not None:
                self._failed(job, outcome, outcome.error, progress)
                continue
            progress.received += outcome.bytes
            received += outcome.bytes
            self._advance(job, outcome, progress)
        if received:
            self.sink.emit(Progressed(received))

    def _measure(self, outcomes: Sequence[Outcome]) -> None:
        """Where answers take long, more requests have to be in flight."""
        self.pace_s = sum(each.seconds for each in outcomes) / len(outcomes)
        now_s, worked_s = time.monotonic(), time.process_time()
        passed_s = now_s - self.looked_s[0]
        if passed_s < BATCH_S or self.rules.small_requests is None:
            return
        idle = worked_s - self.looked_s[1] < (1 - IDLE) * passed_s
        self.looked_s = now_s, worked_s
        if self.pace_s > SLOW_S and idle:
            self.dispatcher.limits["small"] = self.rules.small_requests

    def _advance(self, job: Job, outcome: Outcome, progress: _Progress) -> None:
        transfer = outcome.transfer
        if outcome.published or outcome.adopted:
            self._in_place(outcome, progress)
            return
        match job:
            case Compare():
                self.dispatcher.feed(self._jobs([transfer]))
                return
            case Inspect():
                progress.stated = outcome.checksum
                self._choose_check(transfer, progress)
            case Range(_, start, _, checks) if progress.parts is not None:
                progress.parts.add(start, dict(zip(checks, outcome.crcs, strict=True)))
            case Follow(_, end, _):
                progress.stepping = False
                progress.followed, progress.found = end, outcome.checksum
            case Whole():
                progress.found = outcome.checksum
            case _:
                pass
        self._go_on(transfer, progress)

    def _go_on(self, transfer: Transfer, progress: _Progress) -> None:
        """Let the running checksum follow, and finish the object when all is there."""
        parts = progress.parts
        frontier = parts.frontier if parts is not None else progress.received
        if progress.follows and not progress.stepping and progress.followed < frontier:
            progress.stepping = True
            step = self.digests.follow(transfer, frontier)
            self.dispatcher.watch(Follow(transfer, frontier, progress.round), step)
        waits = progress.asking or progress.stepping or progress.finishing
        if waits or frontier < transfer.object.size:
            return
        progress.finishing = True
        if progress.checks and parts is not None:
            progress.found = parts.checksum(progress.checks[0])
        self.dispatcher.repeat(Finish(transfer, progress.stated, progress.found), 0)

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
        self._forget(transfer, progress)
        self._drained(transfer, progress)

    def _drained(self, transfer: Transfer, progress: _Progress) -> None:
        """Begin the stream, once no range can write into its file any more."""
        index = transfer.index
        late = (
            job
            for job in self.dispatcher.in_flight()
            if isinstance(job, Range) and job.transfer.index == index
        )
        if not progress.streaming and next(late, None) is None:
            progress.streaming = True
            self.dispatcher.feed(self._jobs([transfer]))

    def _start_over(self, transfer: Transfer, progress: _Progress) -> None:
        self._forget(transfer, progress)
        self.dispatcher.feed(self._jobs([transfer]))

    def _forget(self, transfer: Transfer, progress: _Progress) -> None:
        disk.discard(transfer.temporary)
        self.sink.emit(Progressed(-progress.received))
        self.digests.forget(transfer)
        progress.start_over()

    def _in_place(self, outcome: Outcome, progress: _Progress) -> None:
        transfer = outcome.transfer
        status: Status = "unchanged" if outcome.adopted else "downloaded"
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
        self.digests.forget(transfer)
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
