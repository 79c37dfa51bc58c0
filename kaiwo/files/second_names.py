"""A second name for bytes that have one: in the Hugging Face cache, a snapshot's file for a blob.

    symbolic link   what all programs expect there
    clone           a file that shares the blocks of the first until one of both is changed
    hard link       one file with two names
    copy            another file; it needs its room once more

The first that the file system has is made. Only an answer that means "not here" leads to the next
one. A full disk, a missing right or a stale handle is a failure, and the call is repeated.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sys

from kaiwo.files.repeat import PASSING, repeat

#: "This file system has no such names": EPERM of vfat and exFAT, EOPNOTSUPP of Azure Files, ENOSYS
#: and EINVAL of FUSE.
_NOT_HERE = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
#: A hard link may be refused for this one file, too.
_NOT_THIS = _NOT_HERE | {errno.EACCES, errno.EMLINK, errno.EXDEV}
#: A link needs almost no room and no other right than the file beside it, which was just made.
_PASSING = PASSING | {errno.EACCES, errno.EDQUOT, errno.ENOSPC}
#: ``FICLONE`` of linux/fs.h.
_CLONE = 0x40049409
_ROOM = {errno.ENOSPC, errno.EDQUOT}


def symlink(destination: str, path: str) -> bool:
    """Make a symbolic link; False if this file system has none.

    Args:
        destination: what the link holds.
        path: of the link; nothing is there.

    Raises:
        OSError: the file system refused.
    """
    try:
        repeat(lambda: os.symlink(destination, path), _PASSING)
    except FileExistsError:
        # The server made it, and its answer was lost.
        if os.readlink(path) != destination:
            raise
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return False
    return True


def share(source: str, path: str) -> bool:
    """Make a file of the same bytes that needs no room; False if this file system has none.

    Args:
        source: the file.
        path: of the other one; nothing is there.

    Raises:
        OSError: the file system refused.
    """
    return _clone(source, path) or _hard_link(source, path)


def copy(source: str, path: str, *, durable: bool) -> None:
    """Copy a file.

    Args:
        source: the file.
        path: of the copy; nothing is there.
        durable: its bytes must be on the disk itself.

    Raises:
        OSError: the file system refused; nothing is at that path.
    """
    try:
        with open(source, "rb") as file, open(path, "xb", opener=_opened) as other:
            shutil.copyfileobj(file, other, 1 << 20)
            other.flush()
            if durable:
                os.fsync(other.fileno())
    except BaseException:  # the exception of a signal, too
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _clone(source: str, path: str) -> bool:
    if sys.platform != "linux":
        return False
    with open(source, "rb") as file:
        try:
            with open(path, "xb", opener=_opened) as other:
                fcntl.ioctl(other.fileno(), _CLONE, file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(path)
            if error.errno in _ROOM:
                raise
            return False
    return True


def _hard_link(source: str, path: str) -> bool:
    try:
        repeat(lambda: os.link(source, path))
    except FileExistsError:
        # The server made it, and its answer was lost.
        if not os.path.samefile(source, path):
            raise
    except OSError as error:
        if error.errno not in _NOT_THIS:
            raise
        return False
    return True


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
