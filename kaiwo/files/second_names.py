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
import stat
import sys
from typing import BinaryIO

from kaiwo.files import modes
from kaiwo.files.folders import Root, in_folder, open_new
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


def symlink(destination: str, path: str, root: Root | None = None) -> bool:
    """Make a symbolic link; False if this file system has none.

    Args:
        destination: what the link holds.
        path: of the link; nothing is there.
        root: see ``folders.py``.

    Raises:
        OSError: the file system refused.
    """

    def attempt(folder: int | None, name: str) -> None:
        try:
            os.symlink(destination, name, dir_fd=folder)
        except FileExistsError:
            # The server made it, and its answer was lost.
            if os.readlink(name, dir_fd=folder) != destination:
                raise

    try:
        repeat(lambda: in_folder(path, root, attempt), _PASSING)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return False
    return True


def share(source: str, path: str, root: Root | None = None) -> bool:
    """Make a file of the same bytes that needs no room; False if this file system has none.

    Args:
        source: the file.
        path: of the other one; nothing is there.
        root: of both, see ``folders.py``.

    Raises:
        OSError: the file system refused.
    """
    return _clone(source, path, root) or _hard_link(source, path, root)


def give(source: str, path: str, root: Root | None = None, *, durable: bool) -> None:
    """Make a file of the same bytes and the same time, in whichever way the file system has.

    A hard link comes first: it takes no room, and its time is that of the file.

    Args:
        source: the file.
        path: of the other one; nothing is there.
        root: of both, see ``folders.py``.
        durable: its bytes must be on the disk itself.

    Raises:
        OSError: the file system refused.
    """
    if _hard_link(source, path, root):
        return
    if not _clone(source, path, root):
        copy(source, path, root, durable=durable)
    with _reading(source, root) as file, _reading(path, root) as other:
        status = os.fstat(file.fileno())
        os.fchmod(other.fileno(), stat.S_IMODE(status.st_mode))
        os.utime(other.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))


def copy(source: str, path: str, root: Root | None = None, *, durable: bool) -> None:
    """Copy a file.

    Args:
        source: the file.
        path: of the copy; nothing is there.
        root: of both, see ``folders.py``.
        durable: its bytes must be on the disk itself.

    Raises:
        OSError: the file system refused; nothing is at that path.
    """
    try:
        with _reading(source, root) as file, _writing(path, root) as other:
            shutil.copyfileobj(file, other, 1 << 20)
            other.flush()
            if durable:
                os.fsync(other.fileno())
    except BaseException:  # the exception of a signal, too
        _discard(path, root)
        raise


def _clone(source: str, path: str, root: Root | None) -> bool:
    if sys.platform != "linux":
        return False
    with _reading(source, root) as file:
        try:
            with _writing(path, root) as other:
                fcntl.ioctl(other.fileno(), _CLONE, file.fileno())
        except OSError as error:
            _discard(path, root)
            if error.errno in _ROOM:
                raise
            return False
    return True


def _hard_link(source: str, path: str, root: Root | None) -> bool:
    def link(folder: int | None, name: str) -> None:
        def link_to(other_folder: int | None, other: str) -> None:
            try:
                os.link(name, other, src_dir_fd=folder, dst_dir_fd=other_folder)
            except FileExistsError:
                # The server made it, and its answer was lost.
                one = os.stat(name, dir_fd=folder)
                if not os.path.samestat(one, os.stat(other, dir_fd=other_folder)):
                    raise

        in_folder(path, root, link_to)

    try:
        repeat(lambda: in_folder(source, root, link))
    except OSError as error:
        if error.errno not in _NOT_THIS:
            raise
        return False
    return True


def _reading(path: str, root: Root | None) -> BinaryIO:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(
        in_folder(path, root, lambda folder, name: os.open(name, flags, dir_fd=folder)), "rb"
    )


def _writing(path: str, root: Root | None) -> BinaryIO:
    return os.fdopen(open_new(path, root, modes.PRIVATE), "wb")


def _discard(path: str, root: Root | None) -> None:
    with contextlib.suppress(OSError):
        in_folder(path, root, lambda folder, name: os.unlink(name, dir_fd=folder))
