"""Large objects: ranges into a temporary file, or one stream; then a last check and the rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from kaiwo import checksums
from kaiwo.errors import DiskError, IntegrityError, PassingDiskError, TransientError
from kaiwo.files import temporary_files
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import root_of
from kaiwo.jobs import Outcome, Range, Transfer
from kaiwo.net.stand_ins import MOST_POINTER
from kaiwo.objects import Checksum, as_read
from kaiwo.protocols import Buffer
from kaiwo.workers import attempt
from kaiwo.workers.source_cache import open_source
from kaiwo.workers.stand_ins import require_file
from kaiwo.workers.threads import require_open
from kaiwo.workers.verify import hash_file, published, require_same, require_unchanged


def read_range(transfer: Transfer, *, job: Range) -> Outcome:
    """Read one range and write it where it belongs.

    What an earlier run wrote there counts when its checksum is found in the file. If that file is
    not this run's to write, the range is copied from it. A range that is read again to be compared
    is written only if it agrees with an earlier read.
    """
    path, start, length = transfer.temporary, job.start, job.end - job.start
    root = root_of(transfer)

    def crcs(data: Buffer) -> tuple[int, ...]:
        return tuple(checksums.crc(algorithm, data) for algorithm in job.checks)

    for place in _places(transfer) if job.known is not None else ():
        there = temporary_files.read_range(place, start, length, root)
        if job.known is None or checksums.crc(job.known.algorithm, there) != job.known.value:
            continue
        if place != path:
            temporary_files.write_range(path, there, start, root)
        return Outcome(transfer, kept=length, copied=place != path, crcs=crcs(there))
    data = attempt.read(open_source(transfer.opener), transfer, start, job.end)
    found = crcs(data)
    agrees = not job.seen or found[0] in job.seen
    # What is in the file already need not be written again.
    if agrees and found[:1] != job.seen[:1]:
        temporary_files.write_range(path, data, start, root)
    return Outcome(transfer, bytes=length, crcs=found, agrees=agrees)


def _places(transfer: Transfer) -> tuple[str, ...]:
    """Where a range may be that an earlier run wrote."""
    partial = transfer.partial
    return (transfer.temporary,) if partial is None else (transfer.temporary, partial.temporary)


def read_stream(transfer: Transfer, *, check: str | None) -> Outcome:
    """Read the whole object in one stream: servers that ignore ranges, and Xet.

    Args:
        transfer: the object.
        check: the checksum to take on the way, if any.
    """
    source = open_source(transfer.opener)
    size = transfer.object.size
    running = checksums.hasher(check, size) if check else None
    received = 0

    def counted() -> Iterator[Buffer]:
        nonlocal received
        for chunk in source.stream(as_read(transfer.object)):
            require_open()
            received += len(chunk)
            if running is not None:
                running.update(chunk)
            yield chunk

    require_open()
    try:
        temporary_files.write_stream(transfer.temporary, counted(), root_of(transfer))
    except Exception as error:
        return Outcome(transfer, bytes=received, error=source.classify(error))
    if received != size and not transfer.object.unsized:
        short = f"the stream ended after {received} of {size} bytes"
        cut = TransientError(f"reading {transfer.source}: {short}")
        return Outcome(transfer, bytes=received, error=cut)
    found = Checksum(check, running.hexdigest()) if check and running is not None else None
    return Outcome(transfer, bytes=received, checksum=found)


def finish(transfer: Transfer, *, stated: Checksum | None, found: Checksum | None) -> Outcome:
    """Check and publish a temporary file that has all its bytes.

    Args:
        transfer: the object.
        stated: what its checksum should be, if that is known.
        found: what it was found to be while the bytes arrived, if it was taken.
    """
    path, size, root = transfer.temporary, transfer.object.size, root_of(transfer)
    status = _status(transfer)
    if status is None or status.st_size != size:
        there = "nothing" if status is None else f"{status.st_size} bytes"
        raise IntegrityError(
            f"{transfer.source}: {size} bytes were written, but the temporary file has {there}"
        )
    if transfer.object.unsized and size < MOST_POINTER:
        require_file(transfer, temporary_files.read_range(path, 0, size, root))
    hashed = partial(hash_file, path=path, size=size, root=root)
    if stated is not None:
        if found is None or found.algorithm != stated.algorithm:
            found = hashed(stated.algorithm)
        if transfer.object.may_be_pointer:
            found = checksums.proven(stated, found, hashed)
        require_same(transfer, found, stated)
    if transfer.object.unpinned:
        require_unchanged(open_source(transfer.opener), transfer)
    try:
        return published(path, transfer, 0, found if stated else None, status)
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
