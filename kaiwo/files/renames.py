"""A rename whose answer may be lost.

A network file system sends a request again when no answer comes. The server has renamed the file by
then, and answers that there is none: ENOENT. So after a failure it is looked whether it happened.
"""

from __future__ import annotations

import errno
import os

from kaiwo.files.repeat import PASSING, repeat

_PERHAPS_DONE = PASSING | {errno.ENOENT}


def rename(source: str, target: str) -> None:
    """Rename a file, and replace what is at the target; raises OSError."""
    before = os.lstat(source)

    def attempt() -> None:
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno not in _PERHAPS_DONE or not _is_done(source, target, before):
                raise

    repeat(attempt)


def _is_done(source: str, target: str, before: os.stat_result) -> bool:
    """Whether the file that was at the source is at the target now."""
    if os.path.lexists(source):
        return False
    try:
        now = os.lstat(target)
    except OSError:
        return False
    is_same = (now.st_dev, now.st_ino) == (before.st_dev, before.st_ino)
    # Some mounts number their files anew each time.
    return is_same or (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
