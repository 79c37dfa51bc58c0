"""Large objects: ranges into a temporary file, or one stream; then a last check and the rename."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial

from kaiwo import checksums
from kaiwo.errors import DiskError, IntegrityError, KaiwoError, PassingDiskError, TransientError
from kaiwo.files import temporary_files
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import root_of
from kaiwo.jobs import RANGE, Crc, Mark, Outcome, Progress, Range, Transfer
from kaiwo.net.stand_ins import MOST_DOCUMENT
from kaiwo.objects import Checksum, as_read
from kaiwo.protocols import Buffer
from kaiwo.workers.disk_waits import disk_waits
from kaiwo.workers.item_checksums import require_item_checksum
from kaiwo.workers.reading import Arrived, Pace, Reading, Timer, arriving, watched
from kaiwo.workers.source_cache import open_source
from kaiwo.workers.stand_ins import require_file
from kaiwo.workers.threads import require_open
from kaiwo.workers.verify import hash_file, published, require_same, require_unchanged

#: What an earlier run wrote is read back in steps of this size.
_STEP = 1 << 20


class _Written:
    """How far a range is written, and the checksums of what is.

    Bytes are taken in the thread that reads them, until that thread would wait for the disk, and
    from then on in the thread of the job.

    Args:
        job: the range.
        how: it is read.

    Attributes:
        received: bytes that came.
        end: what comes before is in the file.
        crcs: the checksums of that.
        timer: knows when the answer came.
    """

    def __init__(self, job: Range, how: Reading) -> None:
        self._job = job
        self._how = how
        self.timer = Timer()
        self._root = root_of(job.transfer)
        self._lock = threading.Lock()
        self._is_for_thread = False
        self.received = 0
        #: Bytes that are written and not reported.
        self._unreported = 0
        self.end = job.reached or job.start
        self.crcs = job.crcs or (0,) * len(job.checks)
        #: What has arrived since then, and its checksums.
        self._pending: list[Buffer] = []
        self._arrived = 0
        self._next_crcs = self.crcs

    def take_at_once(self, data: Buffer) -> bool:
        """Take bytes that follow, in any thread; False if ``take`` must, in the job's thread.

        Raises:
            DiskError: the file system refused.
        """
        with self._lock:
            if self._is_for_thread or disk_waits.are_long():
                self._is_for_thread = True
                return False
            self._take(data, self._write_once)
            return True

    def take(self, data: Buffer) -> None:
        """Take bytes that follow.

        Raises:
            DiskError: the file system refused.
        """
        self._take(data, self.write)

    def to_thread(self) -> None:
        """From now on, nothing is taken in another thread than the job's."""
        with self._lock:
            self._is_for_thread = True

    def _take(self, data: Buffer, write: Callable[[], object]) -> None:
        if not data:
            self.timer.begin()
            return
        if self._how.piece:  # at once, the last byte comes with the first
            self.timer.came()
        self.received += len(data)
        self._next_crcs = crcs_after(self._job.checks, data, self._next_crcs)
        self._pending.append(data)
        self._arrived += len(data)
        is_due = self.timer.is_due()
        if self._arrived >= self._how.piece or is_due:
            write()
        if (self._unreported >= self._how.unreported or is_due) and self.end < self._job.end:
            self.report()

    def _write_once(self) -> None:
        """Write what waits; after an error that may pass, the job's thread tries again."""
        try:
            with disk_waits.measured():
                self._write(repeats=False)
        except PassingDiskError:
            self._is_for_thread = True

    def write(self) -> None:
        """Write what waits.

        Raises:
            DiskError: the file system refused.
        """
        self._write(repeats=True)

    def _write(self, *, repeats: bool) -> None:
        path = self._job.transfer.temporary
        write = temporary_files.write_range if repeats else temporary_files.write_range_once
        write(path, self._pending, self.end, self._root)
        self._unreported += self._arrived
        self.skip(self._arrived, self._next_crcs)

    def report(self, kept: int = 0) -> None:
        """Report what was written since the last time, and what was found in the file."""
        job, count = self._job, self._unreported
        self._unreported = 0
        mark = Mark(self.end, Crc(job.checks[0], self.crcs[0]))
        untold_s = self.timer.untold_s()
        self._how.report(Progress(job.transfer, job.start, count, kept, mark, untold_s))

    def skip(self, count: int, crcs: tuple[int, ...]) -> None:
        """These bytes are in the file."""
        self.end += count
        self.crcs = self._next_crcs = crcs
        self._pending, self._arrived = [], 0


def crcs_after(checks: tuple[str, ...], data: Buffer, before: tuple[int, ...]) -> tuple[int, ...]:
    """Checksums that are continued by these bytes."""
    return tuple(
        checksums.crc(algorithm, data, crc) for algorithm, crc in zip(checks, before, strict=True)
    )


def read_range(transfer: Transfer, *, job: Range, how: Reading) -> Outcome:
    """Read one range and write it where it belongs; after a failure, what was written stays.

    What an earlier run wrote there counts when its checksum is found in the file. If that file is
    not this run's to write, it is copied from there. A range that is read again to be compared
    counts if it agrees with an earlier read.
    """
    written = _Written(job, how)
    kept = _take_over(job, written) if job.known is not None else 0
    if written.end == job.end:
        return Outcome(transfer, kept=kept, reached=job.end, crcs=written.crcs)
    if kept:
        written.report(kept)
    error: KaiwoError | None = None
    try:
        source = open_source(transfer.opener)
        start, end = written.end, job.end
        for chunk in arriving(source, transfer, start, end, how, written.take_at_once):
            written.take(chunk)
        written.write()
    except KaiwoError as failure:
        error = failure
        written.to_thread()
        if not isinstance(failure, DiskError):
            with contextlib.suppress(DiskError):
                written.write()
        if isinstance(failure, TransientError) and written.received:
            failure.reached = written.end
    return Outcome(
        transfer,
        bytes=written.received,
        answer_s=written.timer.answer_s,
        kept=kept,
        reached=written.end,
        crcs=written.crcs,
        agrees=error is not None or not job.seen or written.crcs[0] in job.seen,
        error=error,
    )


def _take_over(job: Range, written: _Written) -> int:
    """Find what an earlier run wrote, in its file or in this run's; returns how many bytes.

    What is in a file that others may write is copied, and what was copied is checked.
    """
    transfer, mark = job.transfer, job.known
    if mark is None or mark.end <= written.end:
        return 0
    root, path = root_of(transfer), transfer.temporary
    partial = transfer.partial
    for place in (path,) if partial is None else (path, partial.temporary):
        crcs: tuple[int, ...] = (0,) * (1 + len(job.checks))
        at = job.start
        while at < mark.end:
            require_open()
            data = temporary_files.read_range(place, at, min(_STEP, mark.end - at), root)
            if not data:
                break
            if place != path:
                temporary_files.write_range(path, [data], at, root)
            crcs = crcs_after((mark.crc.algorithm, *job.checks), data, crcs)
            at += len(data)
        if at == mark.end and crcs[0] == mark.crc.value:
            written.skip(mark.end - written.end, crcs[1:])
            return mark.end - job.start
    return 0


def read_stream(transfer: Transfer, *, check: str | None, how: Reading) -> Outcome:
    """Read the whole object in one stream: servers that ignore ranges, and Xet.

    Args:
        transfer: the object.
        check: the checksum to take on the way, if any.
        how: what has arrived is reported.
    """
    source = open_source(transfer.opener)
    size = transfer.object.size
    running = checksums.hasher(check, size) if check else None
    arrived = Arrived(transfer, how)

    def counted() -> Iterator[Buffer]:
        chunks = watched(source.stream(as_read(transfer.object)), Pace(transfer, how))
        with contextlib.closing(chunks):
            for chunk in chunks:
                arrived.add(len(chunk))
                if running is not None:
                    running.update(chunk)
                yield chunk
                arrived.report()

    require_open()
    try:
        temporary_files.write_stream(transfer.temporary, counted(), root_of(transfer))
    except Exception as error:
        return Outcome(transfer, bytes=arrived.bytes, error=source.classify(error))
    if arrived.bytes != size and not transfer.object.unsized:
        short = f"the stream ended after {arrived.bytes} of {size} bytes"
        cut = TransientError(f"reading {transfer.source}: {short}")
        return Outcome(transfer, bytes=arrived.bytes, error=cut)
    found = Checksum(check, running.hexdigest()) if check and running is not None else None
    return Outcome(transfer, bytes=arrived.bytes, answer_s=arrived.answer_s, checksum=found)


def finish(transfer: Transfer, *, stated: Checksum | None, found: Checksum | None) -> Outcome:
    """Check and publish a temporary file that has all its bytes.

    Args:
        transfer: the object.
        stated: what its checksum should be, if that is known.
        found: what it was found to be while the bytes arrived, if it was taken.
    """
    path, size, root = transfer.temporary, transfer.object.size, root_of(transfer)
    if (status := _status(transfer)) is None or status.st_size != size:
        there = "nothing" if status is None else f"{status.st_size} bytes"
        raise IntegrityError(
            f"{transfer.source}: {size} bytes were written, but the temporary file has {there}"
        )
    hashed = partial(hash_file, path=path, size=size, root=root)
    if stated is not None and (found is None or found.algorithm != stated.algorithm):
        found = hashed(stated.algorithm)
    is_proven = found is not None and found == transfer.required
    if not is_proven and (transfer.object.unsized or size <= RANGE):  # it might come in a batch
        start = temporary_files.read_range(path, 0, min(size, MOST_DOCUMENT), root)
        require_file(transfer, start)
    require_item_checksum(transfer, found, hashed)
    if stated is not None and transfer.required is None:
        if transfer.object.may_be_pointer:
            found = checksums.proven(stated, found, hashed)
        require_same(transfer, found, stated)
    if transfer.object.unpinned:
        require_unchanged(open_source(transfer.opener), transfer)
    try:
        wanted = hashed("sha256") if transfer.hashed else None
        return published(path, transfer, 0, found if stated else None, status, wanted)
    except PassingDiskError as error:
        # The temporary file is gone: nothing is left to try again with.
        raise DiskError(error.message) from error


def _status(transfer: Transfer) -> os.stat_result | None:
    """The status of the temporary file; None if there is none."""
    try:
        return temporary_files.status_of(transfer.temporary, root_of(transfer))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_error(error, transfer.temporary) from error
