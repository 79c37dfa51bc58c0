"""Are these the right bytes? Asked of what was read, and of what is at a target already."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import (
    BugError,
    ChangedError,
    KaiwoError,
    NotFoundError,
    TransientError,
    UnansweredError,
    WrongBytesError,
)
from kaiwo.files import hashing, temporary_files
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, root_of
from kaiwo.files.paths import regular_file
from kaiwo.files.publish import adopt, publish
from kaiwo.jobs import RANGE, Outcome, Transfer
from kaiwo.net.stand_ins import MOST_POINTER, pointer_kind
from kaiwo.objects import Checksum, RemoteObject, as_read, same_bytes
from kaiwo.protocols import Source
from kaiwo.workers import attempt
from kaiwo.workers.formats import fault_of_file, require_format
from kaiwo.workers.source_cache import open_source
from kaiwo.workers.threads import require_open

logger = logging.getLogger(__name__)
#: An object of this size or more is worth a request for a checksum that the listing did not state:
#: the request costs less than its bytes did. A smaller one is worth it if a checksum is known to
#: exist.
WORTH_ASKING = 1 << 20
#: An object of more parts is not asked for their lengths: each part is a request.
MOST_PARTS = 100


def require_unchanged(source: Source, transfer: Transfer) -> RemoteObject:
    """The object as its store states it now, with the best checksum.

    Raises:
        ChangedError: it is no longer the object that was planned.
    """
    remote = attempt.ask(source, source.fetch_checksum, transfer)
    is_known = not transfer.locked or transfer.required or same_bytes(remote, transfer.object)
    if not (is_known and _is_planned(remote, transfer.object)):
        raise ChangedError(f"{transfer.source}: the object was replaced during its transfer")
    return remote


def _is_planned(now: RemoteObject, planned: RemoteObject) -> bool:
    """Whether it may be the planned object still."""
    if any(same_bytes(now, each) is not False for each in (planned, as_read(planned))):
        return True
    # A checksum that was made of an etag may be wrong; that is what is being asked.
    return same_bytes(now, replace(planned, checksum=None)) is True


def fetch_checksum(transfer: Transfer, *, refuted: Checksum | None = None) -> Outcome:
    """Ask which checksum the store states of an object.

    Args:
        transfer: the object.
        refuted: a guess that its bytes refute, see ``checksums.is_guess``.
    """
    if refuted is not None:
        return _fetch_parts(transfer, refuted)
    # Without an answer, what the listing states is all that there is.
    now = _ask(open_source(transfer.opener), transfer) or transfer.object
    return Outcome(transfer, checksum=now.checksum)


def _fetch_parts(transfer: Transfer, guess: Checksum) -> Outcome:
    """Ask for the lengths of an object's parts; no checksum if they are not to be had."""
    count, lengths = checksums.count_parts(guess), None
    if count <= MOST_PARTS:
        try:
            lengths = open_source(transfer.opener).part_lengths(transfer.object.key, count)
        except TransientError as error:
            raise UnansweredError(error.message, error.retry_after_s) from None
    if lengths is None or sum(lengths) != transfer.object.size:
        return Outcome(transfer)
    return Outcome(transfer, checksum=checksums.of_lengths(guess, lengths))


def _ask(source: Source, transfer: Transfer, *, optional: bool = True) -> RemoteObject | None:
    """The object with the best checksum; None if the store does not answer that.

    It listed the object and sends its bytes: a refusal of this question is no failure.

    Args:
        source: of the object.
        transfer: the object.
        optional: its bytes are not known to be wrong.

    Raises:
        ChangedError: it is no longer the object that was planned.
        NotFoundError: it is gone.
        UnansweredError: the question failed in a way that often passes, and it is optional.
        TransientError: the same, and it is not.
    """
    try:
        return require_unchanged(source, transfer)
    except (ChangedError, NotFoundError, BugError):
        raise
    except TransientError as error:
        if not optional:
            raise
        raise UnansweredError(error.message, error.retry_after_s) from None
    except KaiwoError as error:
        logger.debug("%s: no checksum is known: %s", transfer.source, error.message)
        return None


def check_existing(transfer: Transfer) -> Outcome:
    """Adopt the file at the target if the store's checksum proves it; else do nothing.

    Where the store states no checksum, the ranges that an earlier run wrote and had no time to
    remember are proof enough.
    """
    remote = transfer.object
    if remote.checksum is None and remote.checksum_on_request:
        remote = _ask(open_source(transfer.opener), transfer) or remote
    for path, status in _candidates(transfer, remote.size).items():
        if status.st_size < MOST_POINTER and pointer_kind(
            temporary_files.read_range(path, 0, status.st_size)
        ):
            continue  # it is read again, and refused if it still is one
        stated = remote.checksum
        actual = _compared(remote, stated, partial(hash_file, path=path, size=remote.size))
        is_known = transfer.published and (path == transfer.target or not transfer.staged)
        is_known = is_known or actual is not None or _is_as_written(transfer, path)
        if not is_known or (actual and stated and not checksums.proves(actual, stated)):
            continue
        if stated is not None and actual is None:
            continue  # an unknown algorithm
        if actual is not None:
            require_format(transfer, path, status.st_size)
        elif transfer.check_format and fault_of_file(path, status.st_size):
            continue  # nothing proves that its source has these bytes
        mtime_ns = status.st_mtime_ns
        if path != transfer.target or transfer.staged:
            require_open()
            mtime_ns = adopt(transfer, path)
            now = regular_file(path)
            if now is None or now.st_mtime_ns != status.st_mtime_ns:
                continue  # what became the target is not what was hashed
        return Outcome(
            transfer,
            adopted=True,
            staged=transfer.staged and path != transfer.target,
            mtime_ns=mtime_ns,
            checksum=actual,
            verified=actual is not None,
        )
    return Outcome(transfer)


def _candidates(transfer: Transfer, size: int) -> dict[str, os.stat_result]:
    """Where the bytes may be: at the target, and at its blob if that is another file."""
    places = (transfer.target,) if transfer.blob is None else (transfer.target, transfer.blob)
    found: dict[tuple[int, int], tuple[str, os.stat_result]] = {}
    for path in places:
        status = regular_file(path)
        if status is not None and status.st_size == size:
            found.setdefault((status.st_dev, status.st_ino), (path, status))
    return dict(found.values())


def _is_as_written(transfer: Transfer, path: str) -> bool:
    """Whether the file holds, range by range, what the journal of an earlier run says."""
    size, partial = transfer.object.size, transfer.partial
    for start in range(0, size, RANGE):
        mark = partial.marks.get(start) if partial else None
        if mark is None or mark.end < min(start + RANGE, size):
            return False
        data = temporary_files.read_range(path, start, mark.end - start)
        if checksums.crc(mark.crc.algorithm, data) != mark.crc.value:
            return False
    return partial is not None


def hash_file(algorithm: str, *, path: str, size: int, root: Root | None = None) -> Checksum | None:
    """The checksum of a file of that size; None for an unknown algorithm.

    Args:
        algorithm: its name.
        path: of the file.
        size: of the file.
        root: of a temporary file, see ``folders.py``.

    Raises:
        DiskError: the file cannot be read.
    """
    try:
        return hashing.of_file(algorithm, path, size, require_open, root)
    except OSError as error:
        raise disk_error(error, path, reading=True) from error


def verified(
    source: Source, transfer: Transfer, compute: Callable[[str], Checksum | None]
) -> Checksum | None:
    """The checksum that a small object's bytes have; None when none is stated.

    The listing's checksum is compared first. When it disagrees, the object itself is asked where
    that may help: the etag of an encrypted S3 object looks like an md5 and is none. When the
    listing states none, an object that is worth the request is asked too.

    Raises:
        WrongBytesError: the bytes are not those that the store states.
    """
    planned = transfer.object
    stated = planned.checksum
    actual = _compared(planned, stated, compute)
    if actual is not None and stated is not None and checksums.proves(actual, stated):
        return actual
    worth_asking = stated is not None or planned.size >= WORTH_ASKING or planned.multipart
    if planned.checksum_on_request and worth_asking:
        now = _ask(source, transfer, optional=stated is None)
        if now is not None and now.checksum != stated:
            stated = now.checksum
            actual = _compared(planned, stated, compute)
    if stated is not None:
        require_same(transfer, actual, stated)
    return actual


def _compared(
    remote: RemoteObject, stated: Checksum | None, compute: Callable[[str], Checksum | None]
) -> Checksum | None:
    """The checksum of bytes by the algorithm of the stated one, see ``checksums.proven``."""
    found = compute(stated.algorithm) if stated is not None else None
    if stated is None or not remote.may_be_pointer:
        return found
    return checksums.proven(stated, found, compute)


def require_same(transfer: Transfer, found: Checksum | None, stated: Checksum) -> None:
    """Refuse other bytes than the store states; an unknown algorithm proves nothing.

    Raises:
        WrongBytesError: the checksums differ.
    """
    if found is not None and not checksums.proves(found, stated):
        raise WrongBytesError(
            f"{transfer.source}: {stated.algorithm} is {found.value}, "
            f"but the store states {stated.value}",
            found.value,
            checksums.is_guess(stated),
        )


def published(
    temporary: str,
    transfer: Transfer,
    count: int,
    checksum: Checksum | None,
    written: os.stat_result,
    digest: Checksum | None = None,
) -> Outcome:
    """Rename the temporary file to its target.

    Args:
        temporary: path of the complete file.
        transfer: the object.
        count: bytes that were read in this job.
        checksum: what the bytes were verified by, if anything.
        written: the status of the complete file.
        digest: see ``Outcome``.

    Raises:
        DiskError: the file system refused.
        FormatError: see ``require_format``.
        UnfinishedError: the run is over.
    """
    require_format(transfer, temporary, written.st_size, root_of(transfer))
    require_open()
    mtime_ns = publish(temporary, transfer, written)
    return Outcome(
        transfer,
        bytes=count,
        published=True,
        staged=transfer.staged,
        mtime_ns=mtime_ns,
        checksum=checksum or transfer.object.checksum,
        verified=checksum is not None,
        digest=digest,
    )
