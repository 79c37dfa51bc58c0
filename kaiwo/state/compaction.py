"""A file of JSON lines loses the lines that later ones have replaced.

    1. find the last line of each key, and copy these lines to a new file, as they are
    2. rename the new file
    3. append what other runs have appended to the old one since then

A run that has the old file open sees that it was replaced, and opens the new one (``Appender``).
Lines that this version does not know stay; lines that are torn go.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Hashable

from kaiwo.files.folders import in_folder, open_new
from kaiwo.files.renames import rename
from kaiwo.files.temporary_files import discard
from kaiwo.state.sharing import root_of_state, share_file


def compact(path: str, header: bytes, key_of: Callable[[bytes], Hashable | None]) -> bool:
    """Replace the file by a shorter one; False if it is not of that kind.

    Args:
        path: of the file.
        header: its first line.
        key_of: of lines with equal keys, the last one counts; None for a line that is torn.

    Raises:
        OSError: the file system refused; the file is as it was.
    """
    temporary, root = f"{path}.{secrets.token_hex(4)}.part", root_of_state(os.path.dirname(path))
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
            with os.fdopen(open_new(temporary, root, 0o600), "wb") as new:
                share_file(new.fileno(), root)
                new.write(header)
                for start in sorted(last.values()):
                    old.seek(start)
                    new.write(old.readline())
                new.flush()
                os.fsync(new.fileno())
            rename(temporary, path, root)
        except BaseException:  # the exception of a signal, too
            discard(temporary, root)
            raise
        old.seek(end)
        if rest := old.read():
            with os.fdopen(in_folder(path, root, _open_to_append), "ab", buffering=0) as file:
                file.write(rest)
    return True


def _open_to_append(folder: int | None, name: str) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(name, flags, dir_fd=folder)
