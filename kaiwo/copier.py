"""The worker function that moves bytes: a job in, an outcome for each of its objects out.

    Batch    read, check in memory, write, rename; one small object after the other
    Range    read one range, write it where it belongs
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
from dataclasses import replace
from functools import partial

from kaiwo import checksums, disk
from kaiwo.errors import BugError, ChangedError, IntegrityError, KaiwoError, TransientError
from kaiwo.objects import (
    Batch,
    Checksum,
    Compare,
    Finish,
    Job,
    Outcome,
    Range,
    RemoteObject,
    Transfer,
    Whole,
)
from kaiwo.opened import source_of
from kaiwo.protocols import Buffer, Source


def move(job: Job) -> tuple[Outcome, ...]:
    """Do one job; the outcomes are in the order of its transfers."""
    match job:
        case Batch(transfers, verify):
            return tuple(_timed(each, partial(_small, verify=verify)) for each in transfers)
        case Range(transfer, start, end):
            return (_timed(transfer, partial(_range, start=start, end=end)),)
        case Whole(transfer):
            return (_timed(transfer, _whole),)
        case Finish(transfer, verify):
            return (_timed(transfer, partial(_finish, verify=verify)),)
        case Compare(transfer):
            return (_timed(transfer, _compare),)


def _timed(transfer: Transfer, step: Callable[[Transfer], Outcome]) -> Outcome:
    """The step's outcome with its duration; a failure becomes an outcome too."""
    start_s = time.monotonic()
    try:
        outcome = step(transfer)
    except KaiwoError as error:
        outcome = Outcome(transfer, error=error)
    except Exception as error:
        outcome = Outcome(transfer, error=_defect(transfer, error))
    return replace(outcome, seconds=time.monotonic() - start_s)


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
        raise source.classify(error) from error
    if len(data) != end - start:
        raise TransientError(
            f"reading {transfer.source}: {len(data)} bytes came instead of {end - start}"
        )
    return data


def _inspect(source: Source, key: str) -> RemoteObject:
    try:
        return source.inspect(key)
    except KaiwoError:
        raise
    except Exception as error:
        raise source.classify(error) from error


def _small(transfer: Transfer, *, verify: bool) -> Outcome:
    """Read, check in memory, write, rename."""
    source = source_of(transfer.opener)
    size = transfer.object.size
    data = _read(source, transfer, 0, size)
    checksum = None
    try:
        if verify:
            checksum = _verified(source, transfer, lambda name: checksums.of_bytes(name, data))
        disk.write_stream(transfer.temporary, (data,))
        return _published(transfer, size, checksum)
    except KaiwoError as error:
        disk.discard(transfer.temporary)
        return Outcome(transfer, bytes=size, error=error)


def _range(transfer: Transfer, *, start: int, end: int) -> Outcome:
    data = _read(source_of(transfer.opener), transfer, start, end)
    disk.write_range(transfer.temporary, data, start)
    return Outcome(transfer, bytes=end - start)


def _whole(transfer: Transfer) -> Outcome:
    source = source_of(transfer.opener)
    received = 0

    def counted() -> Iterator[Buffer]:
        nonlocal received
        for chunk in source.stream(transfer.object):
            received += len(chunk)
            yield chunk

    try:
        disk.write_stream(transfer.temporary, counted())
    except Exception as error:
        return Outcome(transfer, bytes=received, error=source.classify(error))
    if received == transfer.object.size:
        return Outcome(transfer, bytes=received)
    short = f"the stream ended after {received} of {transfer.object.size} bytes"
    cut = TransientError(f"reading {transfer.source}: {short}")
    return Outcome(transfer, bytes=received, error=cut)


def _finish(transfer: Transfer, *, verify: bool) -> Outcome:
    """The last look at a temporary file that has all its bytes, and the rename."""
    path, size = transfer.temporary, transfer.object.size
    status = disk.regular_file(path)
    if status is None or status.st_size != size:
        found = "nothing" if status is None else f"{status.st_size} bytes"
        raise IntegrityError(f"{transfer.source}: {size} bytes were written, {found} are there")
    checksum = None
    if verify:
        source = source_of(transfer.opener)
        checksum = _verified(source, transfer, partial(_hash_file, path=path, size=size))
    return _published(transfer, 0, checksum)


def _compare(transfer: Transfer) -> Outcome:
    """Adopt the file at the target if the store's checksum proves it, else say nothing."""
    remote = transfer.object
    if remote.checksum is None and remote.inspect_tells_more:
        remote = _inspect(source_of(transfer.opener), remote.key)
        _require_identity(transfer, remote)
    status = disk.regular_file(transfer.target)
    if remote.checksum is None or status is None or status.st_size != remote.size:
        return Outcome(transfer)
    actual = _hash_file(remote.checksum.algorithm, path=transfer.target, size=remote.size)
    if actual != remote.checksum:
        return Outcome(transfer)
    return Outcome(
        transfer, adopted=True, mtime_ns=status.st_mtime_ns, checksum=actual, verified=True
    )


def _hash_file(algorithm: str, *, path: str, size: int) -> Checksum | None:
    try:
        return checksums.of_file(algorithm, path, size)
    except OSError as error:
        raise disk.disk_error(error, path) from error


def _published(transfer: Transfer, count: int, checksum: Checksum | None) -> Outcome:
    mtime_ns = disk.publish(transfer)
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
    """The checksum that the bytes were found to have; None when the store states none.

    The listing's checksum is asked first. When it states none, or disagrees, the object itself
    is asked, where that may tell more: the etag of an encrypted S3 object looks like an md5 and
    is none.

    Raises:
        IntegrityError: the bytes are not those that the store states.
    """
    stated = transfer.object.checksum
    actual = compute(stated.algorithm) if stated else None
    if actual is not None and actual == stated:
        return actual
    if transfer.object.inspect_tells_more:
        remote = _inspect(source, transfer.object.key)
        _require_identity(transfer, remote)
        stated = remote.checksum
        actual = compute(stated.algorithm) if stated else None
    if actual is None or stated is None or actual == stated:
        return actual
    raise IntegrityError(
        f"{transfer.source}: {stated.algorithm} is {actual.value}, "
        f"but the store states {stated.value}"
    )


def _require_identity(transfer: Transfer, remote: RemoteObject) -> None:
    if remote.identity != transfer.object.identity:
        raise ChangedError(f"{transfer.source}: the object was replaced during its transfer")
