"""Temporary files that other runs have written: taken over by this one, or shared with them.

A file is believed to be kaiwo's only if nobody but this user can write it. Its bytes are not
believed at all: each range counts when its checksum is found in the file.
"""

from __future__ import annotations

import logging
import os

from kaiwo import own_names
from kaiwo.errors import DiskError
from kaiwo.files import modes
from kaiwo.files.disk_errors import disk_error
from kaiwo.files.folders import Root, in_folder, open_new
from kaiwo.files.renames import rename
from kaiwo.files.repeat import repeat
from kaiwo.files.temporary_files import discard, require_own, status_of

logger = logging.getLogger(__name__)


def join(path: str, run: str, root: Root | None = None) -> None:
    """Have a temporary file that several runs write ranges into: make it, unless it is there.

    Args:
        path: of the file.
        run: the token of this run.
        root: see ``folders.py``.

    Raises:
        DiskError: the file system refused, or what is there is not this user's alone.
    """
    mode = modes.of_temporary(path, root)

    def make(folder: int | None, name: str) -> bool:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, mode & ~modes.OTHERS_WRITE, dir_fd=folder))
        except FileExistsError:
            return False
        return True

    try:
        is_new = repeat(lambda: in_folder(path, root, make, make=True))
    except OSError as error:
        raise disk_error(error, path) from error
    if not (is_new or is_own(path, root, run)):
        raise DiskError(
            f"cannot write {path}: other shards write into it as another user; run all shards of "
            "a plan as one user"
        )


def is_own(path: str, root: Root | None = None, run: str = "") -> bool:
    """Whether an earlier run's temporary file may become this run's: nobody else can write it.

    It must be a regular file with no other name: what a link leads to, or what others share, must
    not be written. It must have the owner of new files, and no more writers than new files have.
    Some file systems give all files one owner and one mode; a new file shows that.

    Args:
        path: of the temporary file.
        root: see ``folders.py``.
        run: the token of this run, where others may ask the same of that file.
    """
    folder, name = os.path.split(path)
    name = own_names.look_part_name(run) if run else own_names.link_name(name)
    beside = os.path.join(folder, name)
    try:
        old = status_of(path, root)
        descriptor = open_new(beside, root, modes.PRIVATE)
        try:
            new = os.fstat(descriptor)
        finally:
            os.close(descriptor)
            discard(beside, root)
    except OSError as error:
        logger.debug("%s is not taken over: %s", path, error.strerror)
        return False
    return old.st_uid == new.st_uid and not old.st_mode & ~new.st_mode & modes.OTHERS_WRITE


def take_over(old_temporary: str, temporary: str, root: Root | None = None) -> bool:
    """Rename an earlier run's temporary file to this run's; False if that is not possible."""
    try:
        require_own(status_of(old_temporary, root))
        rename(old_temporary, temporary, root)
    except OSError as error:
        logger.debug("%s is not taken over: %s", old_temporary, error.strerror)
        return False
    return True
