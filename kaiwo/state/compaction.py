"""A file of JSON lines loses the lines that later ones have replaced.

    1. find the last line of each key, and copy these lines to a new file, as they are
    2. rename the new file
    3. append what other runs have appended to the old one since then

A run that has the old file open sees that it was replaced, and opens the new one (``Appender``).
Lines that this version does not know stay; lines that are torn go.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Hashable

from kaiwo.files.renames import rename
from kaiwo.state.sharing import share_file


def compact(path: str, header: bytes, key_of: Callable[[bytes], Hashable | None]) -> bool:
    """Replace the file by a shorter one; False if it is not of that kind.

    Args:
        path: of the file.
        header: its first line.
        key_of: of lines with equal keys, the last one counts; None for a line that is torn.

    Raises:
        OSError: the file system refused; the file is as it was.
    """
    temporary = f"{path}.{secrets.token_hex(4)}.part"
    last: dict[Hashable, int] = {}
    with open(path, "rb") as old:
        if old.readline() != header:
            return False
        end = len(header)
        for line in old:
            if not line.endswith(b"\n"):
                break  # another run is writing it
            if (key := key_of(line)) is not None:
                last[key] = end
            end += len(line)
        try:
            with open(temporary, "xb", opener=_private) as new:
                share_file(new.fileno(), path)
                new.write(header)
                for start in sorted(last.values()):
                    old.seek(start)
                    new.write(old.readline())
                new.flush()
                os.fsync(new.fileno())
            rename(temporary, path)
        except BaseException:  # the exception of a signal, too
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        old.seek(end)
        if rest := old.read():
            with open(path, "ab", buffering=0) as file:
                file.write(rest)
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
