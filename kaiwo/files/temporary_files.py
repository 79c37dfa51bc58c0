"""Files: written beside their targets, published by rename, errors with path and reason.

Only ``publish`` makes bytes visible under a target's name. Modes follow the umask, so that
the application's user can read what an init container of another user fetched.

Durable means: after ``publish`` the bytes, the name and the folders above it outlast a loss of
power. The file is synchronised before the rename, the folders up to the root after it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import stat
import threading
from collections.abc import Iterable, Iterator

from kaiwo.errors import DiskError
from kaiwo.jobs import Transfer
from kaiwo.protocols import Buffer

#: The kernel lets one thread at a time write to a file, and the others burn processor time until
#: it is their turn (2 GiB by 8 threads: 2 to 7 s of it). Waiting here costs nothing.
_WRITING = tuple(threading.Lock() for _ in range(16))
logger = logging.getLogger(__name__)
_HINTS = {
    errno.ENOSPC: "free some space or give the volume more",
    errno.EDQUOT: "the quota is used up; ask for more, or choose another target",
    errno.EFBIG: "raise ulimit -f, or choose a file system that takes files of that size",
    errno.EROFS: "mount the volume writable, or choose another target",
    errno.EACCES: "give this user the right to write there",
    errno.EPERM: "give this user the right to write there",
    errno.EMFILE: "raise the limit of open files, or use fewer workers",
    errno.ENFILE: "the machine has too many open files",
    errno.ENAMETOOLONG: "choose a shorter target",
    errno.ENOTDIR: "a file is where a folder is needed",
    errno.EISDIR: "a folder is where the file should go",
    errno.ENOTEMPTY: "a folder is where the file should go",
}


def disk_error(error: OSError, path: str, size: int | None = None) -> DiskError:
    """What the file system refused, where, by which numbers, and what to do.

    Args:
        error: what it said.
        path: of what was to be written.
        size: bytes that were to be written there.
    """
    number = error.errno or 0
    reason = error.strerror or type(error).__name__
    folder, name = os.path.split(path)
    where = f"in {folder}" if name.startswith(".kaiwo-") else path
    details = [*_numbers(number, path, size), *([_HINTS[number]] if number in _HINTS else ())]
    why = f" ({'; '.join(details)})" if details else ""
    return DiskError(f"cannot write {where}: {reason}{why}")


def _numbers(number: int, path: str, size: int | None) -> Iterator[str]:
    """What was needed, and what there is."""
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and size is not None:
        yield f"{size:,} bytes were to be written"
    if number == errno.ENOSPC:
        with contextlib.suppress(OSError):
            folder = os.path.dirname(os.path.abspath(path))
            while not os.path.isdir(folder):
                folder = os.path.dirname(folder)
            there = os.statvfs(folder)
            inodes = f" and {there.f_favail:,} inodes" if there.f_files else ""
            yield f"{there.f_bavail * there.f_frsize:,} bytes{inodes} are free there"
    if number == errno.EMFILE:
        yield f"the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,}"


def _open_for_writing(path: str, flags: int) -> int:
    """Open a temporary file, making its folder when it is not there yet."""
    flags |= os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


def _write_all(descriptor: int, data: Buffer, offset: int) -> None:
    """Write every byte; pwrite may take fewer than it is given."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        data = memoryview(data)[written:]
        offset += written
        written = os.pwrite(descriptor, data, offset)


def create(path: str) -> None:
    """Make an empty temporary file, and its folder.

    Raises:
        DiskError: the file system refused.
    """
    try:
        os.close(_open_for_writing(path, os.O_TRUNC))
    except OSError as error:
        raise disk_error(error, path) from error


def write_range(path: str, data: Buffer, offset: int) -> None:
    """Put one range into a temporary file that was made by ``create``.

    It is not made here: a worker that comes late must not bring back what was cleaned away.

    Raises:
        DiskError: the file system refused.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            with _WRITING[hash(path) % len(_WRITING)]:
                _write_all(descriptor, data, offset)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise disk_error(error, path, len(data)) from error


def take_over(old_temporary: str, temporary: str) -> bool:
    """Give an earlier run's temporary file the name of this run's; False when that cannot be.

    It has to be a regular file with this one name: what a link leads to, or what others share, is
    not to be written.
    """
    try:
        status = os.lstat(old_temporary)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            return False
        os.rename(old_temporary, temporary)
    except OSError as error:
        logger.debug("%s is not taken over: %s", old_temporary, error.strerror)
        return False
    return True


def read_range(path: str, offset: int, length: int) -> bytes:
    """What a temporary file holds there: fewer bytes where it ends, none where there is no file."""
    try:
        with open(path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), length, offset)
    except OSError:
        return b""


def write_stream(path: str, chunks: Iterable[Buffer]) -> int:
    """Write a temporary file anew from its beginning, and return how many bytes came.

    Errors of the iterator pass through as they are.

    Raises:
        DiskError: the file system refused.
    """
    try:
        descriptor = _open_for_writing(path, os.O_TRUNC)
    except OSError as error:
        raise disk_error(error, path) from error
    offset = 0
    try:
        for chunk in chunks:
            try:
                _write_all(descriptor, chunk, offset)
            except OSError as error:
                raise disk_error(error, path, len(chunk)) from error
            offset += len(chunk)
    except BaseException:
        os.close(descriptor)
        raise
    try:
        os.close(descriptor)
    except OSError as error:  # network file systems tell here what they could not keep
        raise disk_error(error, path, offset) from error
    return offset


def write_small(path: str, data: Buffer) -> None:
    """Write a temporary file anew, all of it at once.

    Raises:
        DiskError: the file system refused.
    """
    write_stream(path, (data,))


def publish(temporary: str, transfer: Transfer) -> int:
    """Rename the temporary file to its final name; returns its modification time in ns.

    With a blob, the bytes go there and the target becomes a relative link to it.

    Args:
        temporary: complete and verified.
        transfer: says where it goes, and whether it has to outlast a loss of power.

    Raises:
        DiskError: the file system refused; the temporary file is left for the next attempt.
    """
    final = transfer.blob or transfer.target
    try:
        if transfer.durable:
            _sync(temporary)
        os.replace(temporary, final)
        if transfer.blob is not None:
            link(transfer)
        if transfer.durable:
            for place in {final, transfer.target}:
                _sync_folders(place, transfer.root)
        return os.stat(transfer.target).st_mtime_ns
    except OSError as error:
        raise disk_error(error, transfer.target) from error


def _sync(path: str) -> None:
    """Have a file's bytes, or a folder's names, on the disk itself; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders(place: str, root: str) -> None:
    """Have the names of a file and of all folders above it on the disk; raises OSError.

    Which of them are new is not known here; one that is not costs next to nothing.
    """
    folder = os.path.dirname(place)
    while len(folder) >= len(root):
        _sync(folder)
        if folder == "/":
            return
        folder = os.path.dirname(folder)
    # Further up are folders of others; those that this run had to make can be read.
    with contextlib.suppress(OSError):
        while folder != "/":
            _sync(folder)
            folder = os.path.dirname(folder)


def adopt(transfer: Transfer) -> None:
    """Let the target be what is there already: a link, where the bytes are those of a blob.

    Raises:
        DiskError: the file system refused.
    """
    target, blob = transfer.target, transfer.blob
    if blob is None or not os.path.exists(blob):
        return
    try:
        if not (os.path.exists(target) and os.path.samefile(target, blob)):
            link(transfer)
    except OSError as error:
        raise disk_error(error, target) from error


def link(transfer: Transfer) -> None:
    """Make the target a relative link to its blob, replacing what is there; raises OSError."""
    blob, target = transfer.blob or transfer.target, transfer.target
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    name = os.path.basename(transfer.temporary).removesuffix(".part")
    temporary = os.path.join(folder, f"{name}.link")
    discard(temporary)
    try:
        os.symlink(os.path.relpath(blob, folder), temporary)
    except OSError:
        # No links on this file system: the bytes themselves go there, as the Hub's library does.
        os.replace(blob, target)
        return
    try:
        os.replace(temporary, target)
    except OSError:
        discard(temporary)
        raise


def discard(path: str) -> None:
    """Remove a temporary file, if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def regular_file(path: str) -> os.stat_result | None:
    """The status of the regular file at that path (links followed), or None."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
