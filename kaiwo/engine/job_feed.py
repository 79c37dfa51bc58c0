"""Which jobs there are, and which of them may start now.

    large objects   ranges, lazily, one object after the other, largest first; another object's
                    ranges while the checksum of one lags behind
    small objects   batches; those above 1 MiB alone

An object is large if it has several ranges, or if its line is so slow that what has arrived of it
must be remembered.

Each job is made when there is room for it, so that 100,000 objects need no memory for jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from kaiwo.engine import batches, round_files, running_digests
from kaiwo.engine.file_systems import FileSystems
from kaiwo.engine.flight import Flights
from kaiwo.engine.large_object import LargeObject
from kaiwo.engine.lines import LOCAL, WAITING, Lines
from kaiwo.engine.rules import Rules
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.engine.service_health import ServiceHealth
from kaiwo.engine.settlement import Settlement
from kaiwo.errors import DiskError, RangeIgnoredError
from kaiwo.events import Started
from kaiwo.jobs import (
    Batch,
    CheckExisting,
    Finish,
    HashPrefix,
    Job,
    LocalJob,
    Range,
    Transfer,
)
from kaiwo.objects import ReadAs, is_identified
from kaiwo.protocols import Sink
from kaiwo.state.state import State


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
        lines: how many requests are in flight, and which objects come in ranges.
        sink: gets an event for each large object that starts.
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
        lines: Lines,
        sink: Sink,
    ) -> None:
        self._rules = rules
        self._flights = flights
        self._health = health
        self._file_systems = file_systems
        self._digests = digests
        self._settlement = settlement
        self._state = state
        self._lines = lines
        self._sink = sink

    # --- which jobs there are

    def checks(self, transfers: Iterable[Transfer]) -> Iterator[Job]:
        """A job for each object of which a file is at the target already."""
        return (CheckExisting(each) for each in transfers if each.present)

    def jobs(self, transfers: Sequence[Transfer]) -> Iterator[Job]:
        """The jobs that fetch these objects of one service, in their order, largest first."""
        left = deque(transfers)
        while left:
            yield from in_turns(self._large(left), self._large_jobs, self._lags)
            yield from self._batches(left)

    def _large(self, left: deque[Transfer]) -> Iterator[Transfer]:
        """The next objects that come in ranges."""
        while left and self._lines.is_remembered(left[0]):
            yield left.popleft()

    def _batches(self, left: deque[Transfer]) -> Iterator[Batch]:
        """The next objects that come in batches."""
        if not left:
            return
        asked, lines = left[0].opener.service, self._lines
        small = batches.cut(
            left,
            lambda each: not lines.is_remembered(each),
            lines.pace(asked),
            lambda: lines.requests(asked),
            lambda: lines.batch_bytes(asked),
        )
        for batch in small:
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
        if streams and transfer.part is not None:
            self._settlement.fail(flight, RangeIgnoredError(_no_parts(transfer)))
            return
        large = flight.large = LargeObject(
            transfer,
            self._digests,
            verify=self._rules.verify,
            streams=streams,
            answer=flight.large.answer if flight.large else None,
        )
        self._sink.emit(Started(transfer.source, transfer.length))
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
        """Its service, or another one of the dispatcher's lanes."""
        if isinstance(job, LocalJob):
            return LOCAL
        if isinstance(job, Range) and (
            (not job.tries.count and self._lags(job.transfer, job.start))
            or self._is_looked_up(job.transfer)
        ):
            return WAITING
        return service(job)

    def starts_s(self, job: Job) -> float:
        """When it may start: a busy service is left alone; some jobs make no request."""
        if isinstance(job, HashPrefix | Finish):
            return 0.0
        return self._health.quiet_until_s(service(job))


def _no_parts(transfer: Transfer) -> str:
    start, end = transfer.part or (0, 0)
    return (
        f"{transfer.source}: bytes {start} to {end} cannot be read or written alone, as its plan "
        "wants it: its service ignores ranges, or its file system takes none; leave --shard out"
    )


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


def service(job: Job) -> str:
    """The service that a job asks."""
    transfer = job.transfers[0] if isinstance(job, Batch) else job.transfer
    return transfer.opener.service


def by_service(transfers: Iterable[Transfer]) -> dict[str, list[Transfer]]:
    """The transfers of each service, in their order."""
    found: dict[str, list[Transfer]] = {}
    for each in transfers:
        found.setdefault(each.opener.service, []).append(each)
    return found
