"""Documents for other programs: replaced whole, so that no reader finds half of one.

What is no regular file (a pipe, ``/dev/null``) is written as it is, and never replaced.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable


def write(path: str, lines: Iterable[str]) -> None:
    """Replace a file by one with these lines, its mode as the umask has it.

    Raises:
        OSError: the file system refused; an older document is still there.
    """
    if not _replaceable(path):
        write_in_place(path, lines)
        return
    place = os.path.realpath(path)
    temporary = f"{place}.{os.getpid()}.part"
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.writelines(lines)
        os.replace(temporary, place)
    except BaseException:  # a signal's, too
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


def write_in_place(path: str, lines: Iterable[str]) -> None:
    """Write these lines into whatever stands there: a file that is mounted, a pipe.

    A pipe that nobody reads is an error: nothing waits for a reader.

    Raises:
        OSError: the file system refused.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.writelines(lines)


def _replaceable(path: str) -> bool:
    """Whether a file is there, or nothing."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True
