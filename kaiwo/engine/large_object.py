"""One large object under way: which ranges are to be read, and what they add up to.

    ranges of 8 MiB, lazily ─> received ranges ─> checksum ─┐
    the store, asked meanwhile ─────────> stated checksum ──┴─> Finish: compare, publish

What its checksum should be is asked while the first ranges arrive. A checksum that combines is
taken of each range on its way; any other follows the ranges through the page cache. A checksum of
each range is taken in any case, for the journal: a later run believes nothing else.

When the whole differs from what the store states, every range is read again and compared: a range
counts when two reads of it agree.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.engine.received_ranges import ReceivedRanges
from kaiwo.engine.running_digests import RunningDigests
from kaiwo.errors import IntegrityError
from kaiwo.jobs import (
    RANGE,
    FetchChecksum,
    Finish,
    HashPrefix,
    Outcome,
    Progress,
    Range,
    Transfer,
    Whole,
)
from kaiwo.objects import Checksum

#: A running checksum that is this far behind what it could read holds further ranges back: it needs
#: the processor, and the page cache has to keep what it has yet to read.
LAG = 16 * RANGE
#: The same for ranges that are far ahead of the first one that is missing.
MOST_AHEAD = 96 * RANGE
#: The checksum that the journal keeps of each range, where the store states none that combines.
JOURNALED = "crc64nvme"
#: A range is given up when no two of this many reads agree.
MOST_READS = 6


class Answer(Struct, frozen=True):
    """What a store stated when it was asked for an object's checksum."""

    checksum: Checksum | None


class LargeObject:
    """A large object in one of its rounds.

    Args:
        transfer: the object.
        digests: where checksums that do not combine follow the ranges.
        verify: check its checksum, not only its size.
        streams: it comes in a single stream.
        answer: what the store stated when it was asked for its checksum, if it was asked.
    """

    def __init__(
        self,
        transfer: Transfer,
        digests: RunningDigests,
        *,
        verify: bool,
        streams: bool,
        answer: Answer | None = None,
    ) -> None:
        self.transfer = transfer
        self.streams = streams
        #: What the store answered, for a further round.
        self.answer = answer
        self._digests = digests
        self._verify = verify
        self._received = self._nothing_received()
        self._streamed = False
        #: What its checksum should be, as far as is known, and whether that is being asked.
        self._stated = answer.checksum if answer else transfer.expected
        self._asking = False
        #: Combinable checksums that the next ranges are to take.
        self._checks: tuple[str, ...] = (JOURNALED,)
        #: A running checksum follows the ranges; a step of it is under way.
        self._follows = False
        self._stepping = False
        #: Where the last range ends that was handed out.
        self._reached = 0
        self._found: Checksum | None = None
        self._finishing = False
        #: Its file may have other bytes than those that were checked on their way.
        self._is_doubted = False

    def _nothing_received(self) -> ReceivedRanges:
        start, end = self.transfer.part or (0, self.transfer.object.size)
        return ReceivedRanges(start, end, RANGE)

    # --- which jobs there are

    def questions(self) -> Iterator[FetchChecksum]:
        """What to ask, once, before it is known what the checksum should be.

        To be called before any range is handed out.
        """
        if self.transfer.part is not None:
            self._stated = None  # only the whole has a checksum
        elif self.transfer.required is not None:
            self._stated = self.transfer.required
        elif not self._verify:
            self._stated = None
        elif self.answer is None and self.transfer.object.checksum_on_request:
            self._asking = True
            self._checks = tuple(checksums.COMBINABLE)
            return iter((FetchChecksum(self.transfer),))
        self._choose_checks()
        return iter(())

    def _choose_checks(self) -> None:
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
        """The job that reads all of it in a single stream."""
        return Whole(self.transfer, self._stated.algorithm if self._stated else None)

    def ranges(self) -> Iterator[Range]:
        """Each of its ranges; those that an earlier run wrote carry their checksum."""
        partial = self.transfer.partial
        known = partial.marks if partial else {}
        for start, end in self._received.limits():
            self._reached = end
            yield Range(self.transfer, start, end, self._checks, known.get(start))

    def ranges_again(self) -> Iterator[Range]:
        """Each of its ranges again, to be compared with the first read."""
        before = self._received
        self._received = self._nothing_received()
        self._reached = 0
        self._found, self._finishing = None, False
        self._choose_checks()
        for start, end in self._received.limits():
            self._reached = end
            crc = before.crc(start, self._checks[0])
            seen = () if crc is None else (crc,)
            yield Range(self.transfer, start, end, self._checks, seen=seen)

    def lags(self, start: int | None = None) -> bool:
        """Whether the running checksum is too far behind.

        Args:
            start: of a range; None: behind the last range that was handed out.
        """
        if not self._follows:
            return False
        reached = self._reached if start is None else start
        behind = self._digests.end(self.transfer)
        return self._received.frontier - behind > LAG or reached - behind > MOST_AHEAD

    # --- what became of them

    def take_answer(self, outcome: Outcome) -> None:
        """The store was asked for the checksum."""
        self.answer = Answer(outcome.checksum)
        self._stated = outcome.checksum
        self._choose_checks()

    def check_again(self, outcome: Outcome) -> None:
        """All is there, but it should have another checksum than was thought."""
        self._found, self._finishing, self._follows = None, False, False
        self.take_answer(outcome)

    def take_progress(self, progress: Progress) -> None:
        """A range is in the file, as far as its worker says."""
        if progress.mark is not None:
            self._received.reach(progress.start, progress.mark.end)

    @property
    def is_part_there(self) -> bool:
        """It is a part of an object, and all of that is in the file."""
        return self.transfer.part is not None and self._received.complete

    def take_range(self, job: Range, outcome: Outcome) -> Range | None:
        """A range was read; returns the job that reads it again, if need be.

        Raises:
            IntegrityError: it differs on every read.
        """
        if outcome.agrees:
            self._received.add(job.start, dict(zip(job.checks, outcome.crcs, strict=True)))
            return None
        if len(job.seen) + 1 >= MOST_READS:
            raise IntegrityError(
                f"{self.transfer.source}: bytes {job.start} to {job.end} differ on every read"
            )
        return replace(job, seen=(*job.seen, outcome.crcs[0]), reached=0, crcs=(), known=None)

    def take_stream(self, outcome: Outcome) -> None:
        """All of it arrived in a stream."""
        self._streamed, self._found = True, outcome.checksum
        remote = self.transfer.object
        if remote.unsized:
            self.transfer = replace(self.transfer, object=replace(remote, size=outcome.bytes))

    def doubt(self) -> None:
        """Somebody else may have written into its file: at the end, all of it is hashed."""
        self._is_doubted = True

    def take_digest(self, outcome: Outcome) -> None:
        """The running checksum made a step."""
        self._stepping, self._found = False, outcome.checksum

    def next_jobs(self) -> Iterator[HashPrefix | Finish]:
        """What can be done now: a step of the running checksum, or the last check."""
        size = self.transfer.object.size
        if self.transfer.part is not None:
            return  # the run that finds all parts finishes it
        if self.transfer.object.unsized and not self._streamed:
            return  # its size is not known
        frontier = size if self._streamed else self._received.frontier
        if self._follows and not self._stepping and self._digests.end(self.transfer) < frontier:
            self._stepping = True
            yield HashPrefix(self.transfer, frontier)
        if self._asking or self._stepping or self._finishing or frontier < size:
            return
        self._finishing = True
        stated = self._stated
        if stated is not None and checksums.combinable(stated.algorithm) and not self.streams:
            self._found = self._received.checksum(stated.algorithm)
        yield Finish(self.transfer, stated, None if self._is_doubted else self._found)
