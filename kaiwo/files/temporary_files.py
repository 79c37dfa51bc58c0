"""Temporary files: an object's bytes are written there, beside its target.

Modes follow the umask, so that the application's user can read what an init container of another
user fetched. What others may write by these modes, they may write only after it was published: who
opened a file before its bytes were checked could change them afterwards. A link at a temporary name
is never followed, and a file that has another name is not written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterable, Sequence

from kaiwo.errors import DiskError, PassingDiskError, RandomWriteError
from kaiwo.files import modes
from kaiwo.files.disk_errors import NO_RANDOM_WRITES, disk_error
from kaiwo.files.folders import Root, in_folder, open_new
from kaiwo.files.repeat import PASSING, repeat
from kaiwo.protocols import Buffer

#: The kernel lets one thread at a time write to a file; the others burn processor time while they
#: wait (2 GiB by 8 threads: 2 to 7 s of it). A wait for one of these locks costs nothing.
_WRITE_LOCKS = [threading.Lock() for _ in range(16)]


def _renew_locks() -> None:
    """A forked child must not wait for a thread of its parent."""
    _WRITE_LOCKS[:] = [threading.Lock() for _ in _WRITE_LOCKS]


os.register_at_fork(after_in_child=_renew_locks)


def create(path: str, root: Root | None = None) -> None:
    """Make an empty temporary file, and its folder.

    Raises:
        DiskError: the file system refused.
    """
    try:
        repeat(lambda: os.close(_new(path, root)))
    except OSError as error:
        raise disk_error(error, path) from error


def write_range(path: str, parts: Sequence[Buffer], offset: int, root: Root | None = None) -> None:
    """Write parts of a range, one after the other, into a temporary file that ``create`` has made.

    The file is closed each time: network file systems report then that they could not store it.

    Raises:
        RandomWriteError: the file system takes no ranges; a stream may succeed.
        DiskError: the file system refused.
    """
    try:
        repeat(lambda: _write_parts(path, parts, offset, root))
    except OSError as error:
        raise _of_range(error, path, parts) from error


def write_range_once(
    path: str, parts: Sequence[Buffer], offset: int, root: Root | None = None
) -> None:
    """As ``write_range``, without waiting for what passes.

    Raises:
        PassingDiskError: the file system failed in a way that often passes.
        RandomWriteError: the file system takes no ranges; a stream may succeed.
        DiskError: the file system refused.
    """
    try:
        _write_parts(path, parts, offset, root)
    except OSError as error:
        raise _maybe_passing(error, _of_range(error, path, parts)) from error


def _write_parts(path: str, parts: Sequence[Buffer], offset: int, root: Root | None) -> None:
    # The file is not made here: a late worker must not bring back one that was removed.
    descriptor = _open(path, os.O_WRONLY, root)
    try:
        require_own(os.fstat(descriptor))
        with _WRITE_LOCKS[hash(path) % len(_WRITE_LOCKS)]:
            at = offset
            for part in parts:
                _write_all(descriptor, part, at)
                at += len(part)
    finally:
        os.close(descriptor)


def _of_range(error: OSError, path: str, parts: Sequence[Buffer]) -> DiskError:
    if error.errno in NO_RANDOM_WRITES:
        folder, reason = os.path.dirname(path), error.strerror
        return RandomWriteError(f"cannot write ranges of files in {folder}: {reason}")
    return disk_error(error, path, sum(map(len, parts)))


def write_stream(path: str, chunks: Iterable[Buffer], root: Root | None = None) -> int:
    """Write a temporary file from its beginning; returns the number of bytes that came.

    Errors of the iterator pass through unchanged.

    Raises:
        PassingDiskError: the file system failed in a way that often passes. What came before may be
            lost: network file systems report late that they could not store it.
        DiskError: the file system refused.
    """
    try:
        descriptor = repeat(lambda: _new(path, root))
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
    return _maybe_passing(error, disk_error(error, path, size))


def _maybe_passing(error: OSError, found: DiskError) -> DiskError:
    return PassingDiskError(found.message) if error.errno in PASSING else found


def write_small(path: str, data: Buffer, root: Root | None = None) -> os.stat_result:
    """Write a whole temporary file at once; returns its status.

    Raises:
        DiskError: the file system refused.
    """

    def write(mode: int) -> os.stat_result:
        descriptor = open_new(path, root, mode, make=True)
        try:
            _write_all(descriptor, data, 0)
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    def attempt() -> os.stat_result:
        mode = modes.of_temporary(path, root)
        status = write(mode)
        return write(modes.PRIVATE) if modes.is_too_wide(path, root, mode, status) else status

    try:
        return repeat(attempt)
    except OSError as error:
        raise disk_error(error, path, len(data)) from error


def status_of(path: str, root: Root | None = None) -> os.stat_result:
    """The status of a temporary file that is complete.

    Of the open file: of a path, a network file system remembers for seconds how large it was before
    other machines wrote there, and asks its server when it is opened.

    Raises:
        OSError: there is none, or it is not this run's alone.
    """

    def look() -> os.stat_result:
        descriptor = _open(path, os.O_RDONLY | os.O_NOFOLLOW, root)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)

    status = repeat(look)
    require_own(status)
    return status


def require_own(status: os.stat_result) -> None:
    """It must be a file, and have no other name; raises OSError."""
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ELOOP, "kaiwo's temporary file was replaced by something else")
    if status.st_nlink > 1:
        raise OSError(errno.EMLINK, "somebody has given kaiwo's temporary file another name")


def read_range(path: str, offset: int, length: int, root: Root | None = None) -> bytes:
    """The bytes of a range; fewer where the file ends, none where there is no file.

    Args:
        path: of the file; without a root, links are followed.
        offset: of the range.
        length: of the range.
        root: of a temporary file.
    """

    def attempt() -> bytes:
        descriptor = _open(path, os.O_RDONLY, root)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    try:
        return repeat(attempt)
    except OSError:
        return b""


def discard(path: str, root: Root | None = None) -> None:
    """Remove a temporary file, if it is there."""
    with contextlib.suppress(OSError):
        in_folder(path, root, lambda folder, name: os.unlink(name, dir_fd=folder))


def _new(path: str, root: Root | None) -> int:
    """Open a new temporary file for writing, and make its folder if that is missing."""
    mode = modes.of_temporary(path, root)
    descriptor = open_new(path, root, mode, make=True)
    if not modes.is_too_wide(path, root, mode, os.fstat(descriptor)):
        return descriptor
    os.close(descriptor)
    return open_new(path, root, modes.PRIVATE, make=True)


def _open(path: str, flags: int, root: Root | None) -> int:
    """Open a file; a link at its name is followed only for reading, without a root."""
    flags |= os.O_CLOEXEC
    if root is not None or flags & os.O_WRONLY:
        flags |= os.O_NOFOLLOW
    flags |= os.O_NONBLOCK  # nobody waits for the other end of a pipe
    return in_folder(path, root, lambda folder, name: os.open(name, flags, dir_fd=folder))


def _write_all(descriptor: int, data: Buffer, offset: int) -> None:
    """Write every byte; pwrite may write fewer than it gets."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        data = memoryview(data)[written:]
        offset += written
        written = os.pwrite(descriptor, data, offset)
