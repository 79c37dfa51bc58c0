"""One large object on its way: which ranges are to be read, and what they add up to.

    ranges of 8 MiB, lazily ─> parts ─> checksum ─┐
    the store, asked meanwhile ─> stated checksum ─┴─> Finish: compare, publish

What its checksum is to be is asked while the first ranges arrive. One that combines is taken of
each range on its way; any other follows the ranges through the page cache. A checksum of each
range is taken in any case, for the journal: a later run believes nothing else.

When the whole differs from what the store states, every range is read once more and compared: one
counts when two reads of it agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.engine import running_digests
from kaiwo.engine.parts import Parts
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.errors import IntegrityError
from kaiwo.jobs import (
    RANGE,
    Crc,
    FetchChecksum,
    Finish,
    HashPrefix,
    Job,
    Outcome,
    Range,
    Transfer,
    Whole,
)
from kaiwo.objects import Checksum

#: A running checksum that is so far behind its ranges holds further ones back: it needs the
#: processor, and the page cache what it has yet to read.
LAG = 16 * RANGE
#: What the journal keeps of each range, where the store states nothing that combines.
JOURNALED = "crc64nvme"
#: A range of which no two of so many reads agree is not to be had.
MOST_READS = 6


class Inspected(Struct, frozen=True):
    """The answer of a store that was asked for an object's checksum."""

    checksum: Checksum | None


class Large:
    """A large object in one of its rounds.

    Args:
        transfer: the object.
        following: where checksums that do not combine follow it.
        verify: check its checksum, not only its size.
        streams: its service ignores ranges.
        inspected: the store was asked for its checksum, and this is what it stated, if anything.
    """

    def __init__(
        self,
        transfer: Transfer,
        following: RunningDigests,
        *,
        verify: bool,
        streams: bool,
        inspected: Inspected | None = None,
    ) -> None:
        self.transfer = transfer
        self.streams = streams
        self._digests = following
        self._verify = verify
        self._parts = Parts(transfer.object.size, RANGE)
        self._streamed = False
        #: What its checksum should be, as far as is known; being asked for.
        self._stated = inspected.checksum if inspected else transfer.object.checksum
        #: What the store answered, for a further round.
        self.inspected = inspected
        self._asking = False
        #: Combinable checksums that the next ranges are to take.
        self._checks: tuple[str, ...] = (JOURNALED,)
        #: A running checksum follows: how far it has come, where the last range ends that was
        #: begun, and whether a step is on its way.
        self._follows = False
        self._followed = 0
        self._reached = 0
        self._stepping = False
        self._found: Checksum | None = None
        self._finishing = False

    # --- which jobs there are

    def begin(self) -> Iterator[FetchChecksum]:
        """What has to be asked, once, before it is known what the checksum should be."""
        if not self._verify:
            self._stated = None
        elif self.inspected is None and self.transfer.object.checksum_on_request:
            self._asking = True
            self._checks = tuple(checksums.COMBINABLE)
            yield FetchChecksum(self.transfer)
            return
        self._choose_check()

    def _choose_check(self) -> None:
        """It is known what the checksum should be, so it is known how to take it."""
        self._asking = False
        self._checks = (JOURNALED,)
        if self._stated is None:
            return
        algorithm = self._stated.algorithm
        if checksums.combinable(algorithm):
            self._checks = (algorithm,)
        elif not self.streams:
            self._follows = self._digests.begin(self.transfer, algorithm)

    def whole(self) -> Whole:
        """All of it in a single stream."""
        return Whole(self.transfer, self._stated.algorithm if self._stated else None)

    def ranges(self) -> Iterator[Range]:
        """Each of its ranges, perhaps known from an earlier run."""
        partial = self.transfer.partial
        known = partial.crcs if partial else {}
        for start, end in self._parts.limits():
            self._reached = end
            yield Range(self.transfer, start, end, self._checks, known.get(start))

    def compared(self) -> Iterator[Range]:
        """Each of its ranges once more, to be compared with what came before."""
        before, self._parts = self._parts, Parts(self.transfer.object.size, RANGE)
        self._followed = self._reached = 0
        self._found, self._finishing = None, False
        self._choose_check()
        for start, end in self._parts.limits():
            self._reached = end
            crc = before.crc(start, self._checks[0])
            seen = () if crc is None else (crc,)
            yield Range(self.transfer, start, end, self._checks, seen=seen)

    def lags(self, start: int | None = None) -> bool:
        """Whether the running checksum is too far behind what was begun, or behind a range."""
        return self._follows and (self._reached if start is None else start) - self._followed > LAG

    # --- what became of them

    def told(self, outcome: Outcome) -> None:
        """It is known what the store states."""
        self.inspected = Inspected(outcome.checksum)
        self._stated = outcome.checksum
        self._choose_check()

    def arrived(self, job: Range, outcome: Outcome) -> tuple[Crc, Range | None]:
        """A range is in the file; its checksum, or the job that reads it once more.

        Raises:
            IntegrityError: it is another one each time that it is read.
        """
        crc = Crc(job.checks[0], outcome.crcs[0])
        if outcome.agrees:
            self._parts.add(job.start, dict(zip(job.checks, outcome.crcs, strict=True)))
            return crc, None
        if len(job.seen) + 1 >= MOST_READS:
            raise IntegrityError(
                f"{self.transfer.source}: bytes {job.start} to {job.end} are different ones each "
                "time that they are read"
            )
        return crc, replace(job, seen=(*job.seen, crc.value))

    def streamed(self, outcome: Outcome) -> None:
        """All of it came in a stream."""
        self._streamed, self._found = True, outcome.checksum

    def followed(self, job: HashPrefix, outcome: Outcome) -> None:
        """The running checksum has come so far."""
        self._stepping = False
        self._followed, self._found = job.end, outcome.checksum

    def next(self) -> Iterator[HashPrefix | Finish]:
        """What can be done now: let the running checksum follow, or finish."""
        size = self.transfer.object.size
        frontier = size if self._streamed else self._parts.frontier
        if self._follows and not self._stepping and self._followed < frontier:
            self._stepping = True
            yield HashPrefix(self.transfer, frontier)
        if self._asking or self._stepping or self._finishing or frontier < size:
            return
        self._finishing = True
        stated = self._stated
        if stated is not None and checksums.combinable(stated.algorithm) and not self.streams:
            self._found = self._parts.checksum(stated.algorithm)
        yield Finish(self.transfer, stated, self._found)


def in_turns(
    transfers: Iterable[Transfer],
    jobs: Callable[[Transfer], Iterator[Job]],
    lags: Callable[[Transfer], bool],
) -> Iterator[Job]:
    """The jobs of one object after the other; but another's while the checksum of one lags.

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
            for transfer in coming:
                ready = transfer, jobs(transfer)
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
