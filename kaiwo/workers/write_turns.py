"""Tiny files are written by one thread at a time, as long as none waits for a disk.

Each of the calls that write a file releases the interpreter's lock for microseconds, and wakes
another thread that waits for it: an object of 10 kB costs 20 changes of thread where 64 write, and
15 where one does. Files on a network volume wait for its server, and many can wait at once. So when
writing takes most of the time, or a turn does not end, all write at once for a while.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from kaiwo.workers.disk_waits import DiskWaits

#: Larger files take longer than a change of thread; several processors write them at once.
TINY = 64 << 10
#: After a wait, all write at once for this long. Until that is found again, half a second is lost.
_AT_ONCE_S = 60.0
#: A turn that lasts longer waits for a disk, perhaps for ever.
_LONGEST_TURN_S = 0.1


class WriteTurns:
    """Whose turn it is. Used by many threads."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Nobody has the turn: a forked child must not wait for a thread of its parent."""
        self._lock = threading.Lock()
        self._waits = DiskWaits(_AT_ONCE_S)

    @contextlib.contextmanager
    def turn(self, count: int, size: int) -> Iterator[None]:
        """A block that writes files.

        Args:
            count: how many, at least one.
            size: of all of them, in bytes.
        """
        lock, waits = self._lock, self._waits
        if size > count * TINY or waits.are_long():
            yield
        elif lock.acquire(timeout=_LONGEST_TURN_S):
            try:
                with waits.measured():
                    yield
            finally:
                lock.release()
        else:
            waits.found_long()
            yield


write_turns = WriteTurns()
os.register_at_fork(after_in_child=write_turns.renew)
