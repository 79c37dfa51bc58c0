"""Modes of files: what others may write, they may write only after it was published.

A published file has the mode that any new file gets: by the umask, or by the default access list of
its folder. A temporary file has the same without the right to write for others. Where the file
system lets nobody change modes (shares, mounts for one user), it stays so: the file is in place.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat

from kaiwo.files.folders import Root, in_folder, open_folder
from kaiwo.files.kept_folders import Key, kept
from kaiwo.files.repeat import repeat

#: Of a file that is published, less the umask.
_USUAL = 0o666
#: Of a temporary file where the usual mode would let others write.
PRIVATE = 0o644
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
#: How file systems say that they do not change modes; or that the owner is another one, to them.
_NO_MODES = {
    errno.EACCES,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
}
logger = logging.getLogger(__name__)


def of_temporary(path: str, root: Root | None) -> int:
    """With which mode to make a temporary file: the usual one until it is known to be too wide."""
    if root is None:
        return _USUAL
    known = kept.modes.get(_key(path, root), 0)
    return PRIVATE if known & OTHERS_WRITE else _USUAL


def is_too_wide(path: str, root: Root | None, mode: int, status: os.stat_result) -> bool:
    """Whether a temporary file must be made again, with ``PRIVATE``: others may write it.

    Some file systems give all files one mode; there it may stay.

    Args:
        path: of the file.
        root: see ``folders.py``.
        mode: that it was made with.
        status: of the file.
    """
    if mode == PRIVATE:
        return False
    found = status.st_mode
    if root is not None:
        kept.note_mode(_key(path, root), found & 0o7777)
    return found & OTHERS_WRITE != 0


def publish_mode(path: str, root: Root, temporary: os.stat_result) -> None:
    """Give a file that was just published what others may write.

    Args:
        path: of the file.
        root: see ``folders.py``.
        temporary: the status of the file before it was published.

    Raises:
        OSError: the file system refused.
    """
    usual = kept.modes.get(_key(path, root))
    if usual is None:
        folder = open_folder(path[: path.rfind("/")] or "/", root)
        usual = _of_new_file(folder.descriptor)
        kept.note_mode(_key(path, root), usual)
    own = stat.S_IMODE(temporary.st_mode)
    if not usual & ~own & OTHERS_WRITE:
        return
    try:
        repeat(lambda: _allow(path, root, temporary, own | usual & OTHERS_WRITE))
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        logger.debug("others may not write %s: its mode stays: %s", path, error.strerror)


def _allow(path: str, root: Root, temporary: os.stat_result, mode: int) -> None:
    """Change the mode of a file, if it is the one that was published; raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = in_folder(path, root, lambda folder, name: os.open(name, flags, dir_fd=folder))
    try:
        if os.path.samestat(os.fstat(descriptor), temporary):
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _key(path: str, root: Root) -> Key:
    return root.real or root.path, path[: path.rfind("/")]


def _of_new_file(folder: int) -> int:
    """The mode of a new file in that open folder."""
    nameless: int | None = getattr(os, "O_TMPFILE", None)  # Linux alone has such files
    if nameless is not None:
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | nameless | os.O_CLOEXEC
            descriptor = os.open(".", flags, _USUAL, dir_fd=folder)
            try:
                return stat.S_IMODE(os.fstat(descriptor).st_mode)
            finally:
                os.close(descriptor)
    return _USUAL & ~_umask()


def _umask() -> int:
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    # For a moment, new files of other threads are their owner's alone.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
