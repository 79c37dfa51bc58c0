"""The worker function that moves bytes: a job in, an outcome for each of its objects out.

    Batch    read small objects and check them in memory, one after the other; then write and
             rename them
    Inspect  ask which checksum a large object has
    LookUp   ask what an object is that is no more what was planned
    Range    read one range, take its checksum, write it where it belongs; or find there what an
             earlier run wrote; or read it once more and compare
    Whole    read in one stream, for servers that ignore ranges
    Finish   size, checksum, rename, once all ranges are there
    Compare  hash what is at the target already

It runs in any thread or process: jobs are data, and sources are opened where they are used.
Errors come back inside outcomes, already classified; an exception that leaves ``move`` is a
defect.

Invariants: the target's name never holds partial or unverified bytes; what was read is exactly
what was asked for, of the identity that was planned.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial

from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import (
    BugError,
    ChangedError,
    CredentialsError,
    IntegrityError,
    KaiwoError,
    TransientError,
    WrongBytesError,
)
from kaiwo.files import temporary_files
from kaiwo.jobs import (
    RANGE,
    Batch,
    Compare,
    Finish,
    Inspect,
    Job,
    LookUp,
    Outcome,
    Range,
    Transfer,
    Whole,
)
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.protocols import Buffer, Source
from kaiwo.workers.source_cache import current, renew, source_of

#: An object of so many bytes is asked for a checksum that the listing did not state: the request
#: costs less than its bytes did. A smaller one is asked if it is known to have one.
WORTH_ASKING = 1 << 20


def move(job: Job) -> tuple[Outcome, ...]:
    """Do one job; the outcomes are in the order of its transfers."""
    if isinstance(job, Batch):
        return _small(job)
    return (_timed(job.transfer, _step(job)),)


def _small(job: Batch) -> tuple[Outcome, ...]:
    """First all are read, and then all are written.

    Each of the five calls that write a file lets go of the interpreter's lock, though it is over
    in microseconds; with requests in between, those who wait for the lock are woken each time, in
    vain: 117 µs for an object of 4 kB instead of 76.
    """
    fetched = [_fetched(each, verify=job.verify) for each in job.transfers]
    return tuple([_put(*each) for each in fetched])


def _fetched(transfer: Transfer, *, verify: bool) -> tuple[Outcome, Buffer]:
    """The bytes of a small object, checked in memory, and how that went."""
    data: Buffer = b""

    def read(transfer: Transfer) -> Outcome:
        nonlocal data
        source, size = source_of(transfer.opener), transfer.object.size
        data = _read(source, transfer, 0, size)
        checksum = None
        try:
            if verify:
                checksum = _verified(source, transfer, lambda name: checksums.of_bytes(name, data))
            if transfer.object.unpinned:
                _asked(source, transfer)
        except KaiwoError as error:
            return Outcome(transfer, bytes=size, error=error)
        return Outcome(transfer, bytes=size, checksum=checksum)

    return _timed(transfer, read), data


def _put(fetched: Outcome, data: Buffer) -> Outcome:
    """Write and rename what was read."""
    if fetched.error is not None:
        return fetched

    def write(transfer: Transfer) -> Outcome:
        temporary, size = transfer.temporary, transfer.object.size
        try:
            temporary_files.write_small(temporary, data)
            return _published(temporary, transfer, size, fetched.checksum)
        except KaiwoError as error:
            temporary_files.discard(temporary)
            return Outcome(transfer, bytes=size, error=error)

    written = _timed(fetched.transfer, write)
    return replace(written, seconds=fetched.seconds + written.seconds)


def _step(job: Job) -> Callable[[Transfer], Outcome]:
    match job:
        case Inspect():
            return _inspect
        case LookUp():
            return _look_up
        case Range():
            return partial(_range, job=job)
        case Whole(_, check):
            return partial(_whole, check=check)
        case Finish(_, stated, found):
            return partial(_finish, stated=stated, found=found)
        case Compare():
            return _compare
        case _:
            raise TypeError(type(job))


def _timed(transfer: Transfer, step: Callable[[Transfer], Outcome]) -> Outcome:
    """The step's outcome with its duration.

    Credentials that are refused may have been replaced since the source was opened: then it is
    opened anew, and the step is done once more.
    """
    start_s = time.monotonic()
    used = current(transfer.opener)
    outcome = _tried(transfer, step)
    if isinstance(outcome.error, CredentialsError) and renew(transfer.opener, used):
        outcome = _tried(transfer, step)
    return replace(outcome, seconds=time.monotonic() - start_s)


def _tried(transfer: Transfer, step: Callable[[Transfer], Outcome]) -> Outcome:
    """The step's outcome; a failure becomes an outcome too."""
    try:
        return step(transfer)
    except KaiwoError as error:
        return Outcome(transfer, error=error)
    except Exception as error:
        return Outcome(transfer, error=_defect(transfer, error))


def _defect(transfer: Transfer, error: Exception) -> BugError:
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(where.filename)}:{where.lineno}"
    return BugError(f"{transfer.source}: unforeseen {type(error).__name__} at {place}")


def _read(source: Source, transfer: Transfer, start: int, end: int) -> Buffer:
    """The range, or a classified error; never more or fewer bytes."""
    try:
        data = source.read(transfer.object, start, end)
    except KaiwoError:
        raise
    except Exception as error:
        raise source.classify(error) from None  # a chain is printed whole, an SDK's text and all
    if len(data) != end - start:
        raise TransientError(
            f"reading {transfer.source}: {len(data)} bytes came instead of {end - start}"
        )
    return data


def _told(source: Source, ask: Callable[[str], RemoteObject], transfer: Transfer) -> RemoteObject:
    """What the source says of the object now, or a classified error."""
    try:
        return ask(transfer.object.key)
    except KaiwoError:
        raise
    except Exception as error:
        raise source.classify(error) from None  # a chain is printed whole, an SDK's text and all


def _asked(source: Source, transfer: Transfer) -> RemoteObject:
    """The object as its store states it now; an error if it is not the planned one any more."""
    remote = _told(source, source.inspect, transfer)
    if remote.identity != transfer.object.identity:
        raise ChangedError(f"{transfer.source}: the object was replaced during its transfer")
    return remote


def _inspect(transfer: Transfer) -> Outcome:
    remote = _asked(source_of(transfer.opener), transfer)
    return Outcome(transfer, checksum=remote.checksum)


def _look_up(transfer: Transfer) -> Outcome:
    source = source_of(transfer.opener)
    return Outcome(transfer, now=_told(source, source.stat, transfer))


def _range(transfer: Transfer, *, job: Range) -> Outcome:
    path, start, length = transfer.temporary, job.start, job.end - job.start

    def crcs(data: Buffer) -> tuple[int, ...]:
        return tuple(checksums.crc(algorithm, data) for algorithm in job.checks)

    if job.known is not None:
        there = temporary_files.read_range(path, start, length)
        if checksums.crc(job.known.algorithm, there) == job.known.value:
            return Outcome(transfer, kept=length, crcs=crcs(there))
    data = _read(source_of(transfer.opener), transfer, start, job.end)
    found = crcs(data)
    agrees = not job.seen or found[0] in job.seen
    # What is in the file already need not be written once more.
    if agrees and found[:1] != job.seen[:1]:
        temporary_files.write_range(path, data, start)
    return Outcome(transfer, bytes=length, crcs=found, agrees=agrees)


def _whole(transfer: Transfer, *, check: str | None) -> Outcome:
    source = source_of(transfer.opener)
    size = transfer.object.size
    running = checksums.hasher(check, size) if check else None
    received = 0

    def counted() -> Iterator[Buffer]:
        nonlocal received
        for chunk in source.stream(transfer.object):
            received += len(chunk)
            if running is not None:
                running.update(chunk)
            yield chunk

    try:
        temporary_files.write_stream(transfer.temporary, counted())
    except Exception as error:
        return Outcome(transfer, bytes=received, error=source.classify(error))
    if received != size:
        short = f"the stream ended after {received} of {size} bytes"
        cut = TransientError(f"reading {transfer.source}: {short}")
        return Outcome(transfer, bytes=received, error=cut)
    found = Checksum(check, running.hexdigest()) if check and running is not None else None
    return Outcome(transfer, bytes=received, checksum=found)


def _finish(transfer: Transfer, *, stated: Checksum | None, found: Checksum | None) -> Outcome:
    """The last look at a temporary file that has all its bytes, and the rename."""
    path, size = transfer.temporary, transfer.object.size
    status = temporary_files.regular_file(path)
    if status is None or status.st_size != size:
        there = "nothing" if status is None else f"{status.st_size} bytes"
        raise IntegrityError(f"{transfer.source}: {size} bytes were written, {there} are there")
    if stated is not None:
        if found is None or found.algorithm != stated.algorithm:
            found = _hash_file(stated.algorithm, path=path, size=size)
        _require_same(transfer, found, stated)
    if transfer.object.unpinned:
        _asked(source_of(transfer.opener), transfer)
    return _published(path, transfer, 0, found if stated else None)


def _compare(transfer: Transfer) -> Outcome:
    """Adopt what is there if the store's checksum proves it, else say nothing.

    Where it states none, what an earlier run wrote and had no time to remember is proof enough.
    """
    remote = transfer.object
    if remote.checksum is None and remote.inspect_tells_more:
        remote = _asked(source_of(transfer.opener), transfer)
    path = transfer.target
    if transfer.blob is not None and temporary_files.regular_file(transfer.blob) is not None:
        path = transfer.blob
    status = temporary_files.regular_file(path)
    if status is None or status.st_size != remote.size:
        return Outcome(transfer)
    actual = None
    if remote.checksum is not None:
        actual = _hash_file(remote.checksum.algorithm, path=path, size=remote.size)
    if actual != remote.checksum or (actual is None and not _is_as_written(transfer, path)):
        return Outcome(transfer)
    temporary_files.adopt(transfer)
    return Outcome(
        transfer,
        adopted=True,
        mtime_ns=status.st_mtime_ns,
        checksum=actual,
        verified=actual is not None,
    )


def _is_as_written(transfer: Transfer, path: str) -> bool:
    """Whether the file holds, range by range, what an earlier run had journaled."""
    size, remains = transfer.object.size, transfer.remains
    for start in range(0, size, RANGE):
        crc = remains.crcs.get(start) if remains else None
        data = temporary_files.read_range(path, start, min(RANGE, size - start))
        if crc is None or checksums.crc(crc.algorithm, data) != crc.value:
            return False
    return remains is not None


def _hash_file(algorithm: str, *, path: str, size: int) -> Checksum | None:
    try:
        return checksums.of_file(algorithm, path, size)
    except OSError as error:
        raise temporary_files.disk_error(error, path) from error


def _published(
    temporary: str, transfer: Transfer, count: int, checksum: Checksum | None
) -> Outcome:
    mtime_ns = temporary_files.publish(temporary, transfer)
    return Outcome(
        transfer,
        bytes=count,
        published=True,
        mtime_ns=mtime_ns,
        checksum=checksum or transfer.object.checksum,
        verified=checksum is not None,
    )


def _verified(
    source: Source, transfer: Transfer, compute: Callable[[str], Checksum | None]
) -> Checksum | None:
    """The checksum that a small object's bytes were found to have; None when none is stated.

    The listing's checksum is asked first. When it disagrees, the object itself is asked, where that
    may tell more: the etag of an encrypted S3 object looks like an md5 and is none. When it states
    none, an object that is worth the request is asked, too.

    Raises:
        WrongBytesError: the bytes are not those that the store states.
    """
    planned = transfer.object
    stated = planned.checksum
    actual = compute(stated.algorithm) if stated else None
    if actual is not None and actual == stated:
        return actual
    worth_asking = stated is not None or planned.size >= WORTH_ASKING or planned.in_parts
    if planned.inspect_tells_more and worth_asking:
        stated = _asked(source, transfer).checksum
        actual = compute(stated.algorithm) if stated else None
    if stated is not None:
        _require_same(transfer, actual, stated)
    return actual


def _require_same(transfer: Transfer, found: Checksum | None, stated: Checksum) -> None:
    """Refuse other bytes than the store states; an unknown algorithm proves nothing."""
    if found is not None and found != stated:
        raise WrongBytesError(
            f"{transfer.source}: {stated.algorithm} is {found.value}, "
            f"but the store states {stated.value}",
            found.value,
        )
