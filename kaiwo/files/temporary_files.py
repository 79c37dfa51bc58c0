"""Temporary files: an object's bytes are written there, beside its target.

Modes follow the umask, so that the application's user can read what an init container of another
user fetched. A link at a temporary name is never followed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
from collections.abc import Iterable

from kaiwo.errors import DiskError, PassingDiskError, RandomWriteError
from kaiwo.files.disk_errors import NO_RANDOM_WRITES, disk_error
from kaiwo.files.renames import rename
from kaiwo.files.repeat import PASSING, repeat
from kaiwo.protocols import Buffer

#: The kernel lets one thread at a time write to a file; the others burn processor time while they
#: wait (2 GiB by 8 threads: 2 to 7 s of it). A wait for one of these locks costs nothing.
_WRITE_LOCKS = [threading.Lock() for _ in range(16)]
logger = logging.getLogger(__name__)


def _renew_locks() -> None:
    """A forked child must not wait for a thread of its parent."""
    _WRITE_LOCKS[:] = [threading.Lock() for _ in _WRITE_LOCKS]


os.register_at_fork(after_in_child=_renew_locks)


def create(path: str) -> None:
    """Make an empty temporary file, and its folder.

    Raises:
        DiskError: the file system refused.
    """
    try:
        repeat(lambda: os.close(_open_for_writing(path, os.O_TRUNC)))
    except OSError as error:
        raise disk_error(error, path) from error


def write_range(path: str, data: Buffer, offset: int) -> None:
    """Write one range into a temporary file that ``create`` has made.

    Raises:
        RandomWriteError: the file system takes no ranges; a stream may succeed.
        DiskError: the file system refused.
    """

    def attempt() -> None:
        # The file is not made here: a late worker must not bring back one that was removed.
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            with _WRITE_LOCKS[hash(path) % len(_WRITE_LOCKS)]:
                _write_all(descriptor, data, offset)
        finally:
            os.close(descriptor)

    try:
        repeat(attempt)
    except OSError as error:
        if error.errno in NO_RANDOM_WRITES:
            folder, reason = os.path.dirname(path), error.strerror
            raise RandomWriteError(f"cannot write ranges of files in {folder}: {reason}") from error
        raise disk_error(error, path, len(data)) from error


def write_stream(path: str, chunks: Iterable[Buffer]) -> int:
    """Write a temporary file from its beginning; returns the number of bytes that came.

    Errors of the iterator pass through unchanged.

    Raises:
        PassingDiskError: the file system failed in a way that often passes. What came before may be
            lost: network file systems report late that they could not store it.
        DiskError: the file system refused.
    """
    try:
        descriptor = repeat(lambda: _open_for_writing(path, os.O_TRUNC))
    except OSError as error:
        raise disk_error(error, path) from error
    offset = 0
    try:
        for chunk in chunks:
            try:
                _write_all(descriptor, chunk, offset)
            except OSError as error:
                raise _of_stream(error, path, len(chunk)) from error
            offset += len(chunk)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    try:
        os.close(descriptor)
    except OSError as error:
        raise _of_stream(error, path, offset) from error
    return offset


def _of_stream(error: OSError, path: str, size: int) -> DiskError:
    found = disk_error(error, path, size)
    return PassingDiskError(found.message) if error.errno in PASSING else found


def write_small(path: str, data: Buffer) -> None:
    """Write a whole temporary file at once.

    Raises:
        DiskError: the file system refused.
    """

    def attempt() -> None:
        descriptor = _open_for_writing(path, os.O_TRUNC)
        try:
            _write_all(descriptor, data, 0)
        finally:
            os.close(descriptor)

    try:
        repeat(attempt)
    except OSError as error:
        raise disk_error(error, path, len(data)) from error


def read_range(path: str, offset: int, length: int) -> bytes:
    """The bytes of a range; fewer where the file ends, none where there is no file."""

    def attempt() -> bytes:
        with open(path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), length, offset)

    try:
        return repeat(attempt)
    except OSError:
        return b""


def take_over(old_temporary: str, temporary: str) -> bool:
    """Rename an earlier run's temporary file to this run's; False if that is not possible.

    It must be a regular file with no other name: what a link leads to, or what others share, must
    not be written.
    """
    try:
        status = os.lstat(old_temporary)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            return False
        rename(old_temporary, temporary)
    except OSError as error:
        logger.debug("%s is not taken over: %s", old_temporary, error.strerror)
        return False
    return True


def discard(path: str) -> None:
    """Remove a temporary file, if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def _open_for_writing(path: str, flags: int) -> int:
    """Open a temporary file, and make its folder if that is missing."""
    flags |= os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


def _write_all(descriptor: int, data: Buffer, offset: int) -> None:
    """Write every byte; pwrite may write fewer than it gets."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        data = memoryview(data)[written:]
        offset += written
        written = os.pwrite(descriptor, data, offset)
