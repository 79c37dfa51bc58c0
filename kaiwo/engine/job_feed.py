"""Which jobs there are, and which of them may start now.

    small objects   batches; those of 1 to 8 MiB alone
    large objects   ranges, lazily, one object after the other, largest first; another object's
                    ranges while the checksum of one lags behind

Each job is made when there is room for it, so that 100,000 objects need no memory for jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from kaiwo.engine import batches, round_files, running_digests
from kaiwo.engine.file_systems import FileSystems
from kaiwo.engine.flight import Flights
from kaiwo.engine.large_object import LargeObject
from kaiwo.engine.pace import REQUESTS, Pace
from kaiwo.engine.rules import Rules
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.engine.settlement import Settlement
from kaiwo.errors import DiskError
from kaiwo.events import Started
from kaiwo.jobs import (
    Batch,
    CheckExisting,
    Finish,
    HashPrefix,
    Job,
    Outcome,
    Range,
    Transfer,
)
from kaiwo.objects import ReadAs, is_identified
from kaiwo.protocols import Sink
from kaiwo.state.state import State

#: Lanes of the dispatcher: of the workers, of small objects, and of ranges that have to wait.
WORKERS, SMALL, WAITING = "", "small", "waiting"


class JobFeed:
    """Makes the jobs of a run, and says what the dispatcher has to know of each.

    Args:
        rules: how the plan is carried out.
        flights: the objects under way.
        health: what is known of the services.
        file_systems: what is known of the targets' file systems.
        digests: running checksums of large objects.
        settlement: where an object goes that cannot start.
        state: has the journals.
        sink: gets an event for each large object that starts.

    Attributes:
        limits: how many jobs of each lane may be under way; the dispatcher follows it.
    """

    def __init__(
        self,
        rules: Rules,
        flights: Flights,
        health: ServiceHealth,
        file_systems: FileSystems,
        digests: RunningDigests,
        settlement: Settlement,
        state: State,
        sink: Sink,
    ) -> None:
        self._rules = rules
        self._flights = flights
        self._health = health
        self._file_systems = file_systems
        self._digests = digests
        self._settlement = settlement
        self._state = state
        self._sink = sink
        self._pace = Pace()
        self.limits = {WORKERS: rules.workers, WAITING: 0}
        if rules.small_requests is not None:
            self.limits[SMALL] = min(REQUESTS, rules.small_requests)

    # --- which jobs there are

    def checks(self, transfers: Iterable[Transfer]) -> Iterator[Job]:
        """A job for each object of which a file is at the target already."""
        return (CheckExisting(each) for each in transfers if each.present)

    def jobs(self, transfers: Sequence[Transfer]) -> Iterator[Job]:
        """The jobs that fetch these objects, in their order."""
        large = (each for each in transfers if each.is_large)
        yield from in_turns(large, self._large_jobs, self._lags)
        others = [each for each in transfers if not each.is_large]
        for batch in batches.cut(others, self._pace, self._sharing):
            if current := tuple(map(self._bound, filter(self._flights.is_current, batch))):
                yield Batch(current, self._rules.verify)

    def _bound(self, transfer: Transfer) -> Transfer:
        """A small object, which comes in one read, without conditions that its service breaks."""
        remote = transfer.object
        if remote.read_as or not self._health.ignores_conditions(transfer.opener.service):
            return transfer
        return replace(transfer, object=replace(remote, read_as=ReadAs(conditional=False)))

    def while_current(self, jobs: Iterable[Range]) -> Iterator[Range]:
        """The ranges of one object, as long as it is in this round."""
        for job in jobs:
            if not self._flights.is_current(job.transfer):
                return
            yield job

    def _large_jobs(self, transfer: Transfer) -> Iterator[Job]:
        if not self._flights.is_current(transfer):
            return
        flight = self._flights.get_or_start(transfer)
        # Ranges of an object of which nothing but the size is stated may be of several versions.
        remote, by = transfer.object, transfer.object.read_as
        streams = remote.stream_id is not None or remote.unsized or not is_identified(remote)
        streams = streams or (by is not None and by.in_one)
        streams = streams or self._health.ignores_ranges(transfer.opener.service)
        streams = streams or self._file_systems.is_sequential(transfer)
        large = flight.large = LargeObject(
            transfer,
            self._digests,
            verify=self._rules.verify,
            streams=streams,
            answer=flight.large.answer if flight.large else None,
        )
        self._sink.emit(Started(transfer.source, transfer.object.size))
        questions = large.questions()
        if not streams:
            try:
                round_files.prepare(transfer, self._state)
            except DiskError as error:
                self._settlement.fail(flight, error)
                return
        for job in (large.whole(),) if streams else self.while_current(large.ranges()):
            yield job
            # Asked beside the first range, which is the slower answer.
            yield from questions

    def _sharing(self) -> int:
        """How many workers share the small objects."""
        return self.limits.get(SMALL, self._rules.workers)

    def _lags(self, transfer: Transfer, start: int | None = None) -> bool:
        """Whether the running checksum is too far behind; see ``LargeObject.lags``."""
        flight = self._flights.find(transfer)
        return flight is not None and flight.large is not None and flight.large.lags(start)

    def _is_looked_up(self, transfer: Transfer) -> bool:
        """Whether it is not known yet if the object was replaced."""
        flight = self._flights.find(transfer)
        return flight is not None and flight.left is not None

    # --- what the dispatcher has to know of a job

    def is_wanted(self, job: Job) -> bool:
        """Whether any of its objects is in this round still."""
        if isinstance(job, Batch):
            return any(self._flights.is_current(transfer) for transfer in job.transfers)
        return self._flights.is_current(job.transfer)

    def lane(self, job: Job) -> str:
        """A limit besides the workers' for small objects, unless all requests are limited together.

        They come after all ranges that have been fed before them.
        """
        if isinstance(job, Range):
            waits = not job.tries.count and self._lags(job.transfer, job.start)
            return WAITING if waits or self._is_looked_up(job.transfer) else WORKERS
        return SMALL if is_small(job) and SMALL in self.limits else WORKERS

    def starts_s(self, job: Job) -> float:
        """When it may start: a busy service is left alone; some jobs make no request."""
        if isinstance(job, HashPrefix | Finish):
            return 0.0
        return self._health.quiet_until_s(service(job))

    # --- how fast small objects are

    def measure(self, outcomes: Sequence[Outcome]) -> None:
        """Take the pace of small objects; where answers take long, allow more requests."""
        if self._pace.measure(outcomes) and self._rules.small_requests is not None:
            self.limits[SMALL] = self._rules.small_requests


def in_turns(
    transfers: Iterable[Transfer],
    jobs: Callable[[Transfer], Iterator[Job]],
    lags: Callable[[Transfer], bool],
) -> Iterator[Job]:
    """The jobs of one object after the other; another object's while the checksum of one lags.

    Args:
        transfers: the objects.
        jobs: of an object, lazily.
        lags: whether its running checksum is too far behind.
    """
    coming = iter(transfers)
    active: list[tuple[Transfer, Iterator[Job]]] = []
    while True:
        ready = next((each for each in active if not lags(each[0])), None)
        if ready is None and len(active) < running_digests.THREADS:
            transfer = next(coming, None)
            if transfer is not None:
                ready = transfer, jobs(transfer)
                active.append(ready)
        # All lag: the next job of the first waits until it does not.
        ready = ready or next(iter(active), None)
        if ready is None:
            return
        job = next(ready[1], None)
        if job is None:
            active.remove(ready)
        else:
            yield job


def is_small(job: Job) -> bool:
    """Whether it is a batch of small objects."""
    return isinstance(job, Batch) and job.transfers[0].object.size < batches.SMALL


def service(job: Job) -> str:
    """The service that a job asks."""
    transfer = job.transfers[0] if isinstance(job, Batch) else job.transfer
    return transfer.opener.service
