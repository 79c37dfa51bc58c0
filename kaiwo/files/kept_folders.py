"""Folders that stay open while a run lasts: the next small file in one of them costs no walk.

A folder that was moved away stays open, too: ``publish`` looks whether a file is at its path.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections.abc import Iterator

#: At most this number of folders stay open, and at most this part of the files that may be open.
MOST_KEPT, PART_KEPT = 256, 32
#: At most this number of folders has the mode of its new files noted.
_MOST_MODES = 4096


class Folder:
    """An open folder; it is closed when nothing refers to it.

    Args:
        descriptor: of the folder.
    """

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


#: The real path of a root, and the path of a folder below it.
Key = tuple[str, str]


class _KeptFolders:
    """The folders that stay open: the ones that were opened last.

    Attributes:
        modes: of new files in some folders, see ``modes.py``.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A forked child must not wait for a thread of its parent, nor have its run."""
        self.runs = 0
        self.lock = threading.Lock()
        self.folders: dict[Key, Folder] = {}
        self.modes: dict[Key, int] = {}

    def find(self, key: Key) -> Folder | None:
        """A folder that is open."""
        return self.folders.get(key)

    def add(self, key: Key, folder: Folder) -> None:
        """Let it stay open while a run lasts."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = MOST_KEPT if limit < 0 else min(MOST_KEPT, limit // PART_KEPT)
        with self.lock:
            if not self.runs:
                return
            self.folders[key] = folder
            while len(self.folders) > most:
                del self.folders[next(iter(self.folders))]

    def note_mode(self, key: Key, mode: int) -> None:
        """Note the mode of a new file while a run lasts."""
        if not self.runs or self.modes.get(key) == mode:
            return
        if len(self.modes) >= _MOST_MODES:
            self.modes = {}
        self.modes[key] = mode

    def clear(self) -> None:
        """Keep none of them."""
        with self.lock:
            self.folders = {}
            self.modes = {}


kept = _KeptFolders()
os.register_at_fork(after_in_child=kept.renew)


@contextlib.contextmanager
def kept_open() -> Iterator[None]:
    """Meanwhile folders stay open. Afterwards none does: it would keep a volume from going."""
    with kept.lock:
        kept.runs += 1
    try:
        yield
    finally:
        with kept.lock:
            kept.runs -= 1
        kept.clear()
