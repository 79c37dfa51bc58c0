"""What the file system refuses becomes a ``DiskError``: where, why, by how much, what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator

from kaiwo import own_names
from kaiwo.errors import DiskError, LimitError

_HINTS = {
    errno.ENOSPC: "free some space or give the volume more",
    errno.EDQUOT: "the quota is used up; ask for more, or choose another target",
    errno.EFBIG: "raise ulimit -f, or choose a file system that takes files of that size",
    errno.EROFS: "mount the volume writable, or choose another target",
    errno.EACCES: "give this user the right to write there",
    errno.EPERM: "give this user the right to write there",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the machine has too many open files",
    errno.ENOSYS: "this file system cannot do that; choose another target",
    errno.EOPNOTSUPP: "this file system cannot do that; choose another target",
    errno.ENAMETOOLONG: "choose a shorter target",
    errno.ENOTDIR: "a file is where a folder is needed",
    errno.EISDIR: "a folder is where the file should go",
    errno.ENOTEMPTY: "a folder is where the file should go",
}
_READING_HINTS = {
    errno.EACCES: "give this user the right to read it",
    errno.EPERM: "give this user the right to read it",
    errno.EMFILE: _HINTS[errno.EMFILE],
    errno.ENFILE: _HINTS[errno.ENFILE],
}

#: How mounts of object stores refuse to open a file that exists for writing, or to write at an
#: offset. Of a file that was made a moment ago, it is not about rights.
NO_RANDOM_WRITES = {
    errno.EACCES,
    errno.EBADF,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.ESPIPE,
}


def disk_error(
    error: OSError, path: str, size: int | None = None, *, reading: bool = False
) -> DiskError:
    """The error to raise when the file system refused to write, or to read.

    Args:
        error: the operating system's error.
        path: the file that was to be written.
        size: the bytes that were to be written there.
        reading: it was to be read.
    """
    number = error.errno or 0
    reason = error.strerror or type(error).__name__
    folder, name = os.path.split(path)
    where = f"in {folder}" if own_names.is_temporary(name) else path
    hint = (_READING_HINTS if reading else _HINTS).get(number)
    details = [*_numbers(number, path, size), *([hint] if hint else ())]
    why = f" ({'; '.join(details)})" if details else ""
    kind = LimitError if number in (errno.EMFILE, errno.ENFILE) else DiskError
    return kind(f"cannot {'read' if reading else 'write'} {where}: {reason}{why}")


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
