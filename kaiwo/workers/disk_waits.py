"""Whether a thread that reads for many connections would wait too long for the disk.

Such a thread writes what it reads. A write to a local disk ends in memory: it takes a third of that
thread's time at most (1 GiB in 2 s). A write to a network volume waits for its server; many threads
can wait for that at once. So when writing takes most of that thread's time, the threads of the jobs
write for a while.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

#: Of a time of this length, at most this share may be writing; else others write for a while.
_WITHIN_S, _MOST, _ELSEWHERE_S = 0.5, 0.75, 2.0


class DiskWaits:
    """How long writing took lately."""

    def __init__(self) -> None:
        self._since_s = self._written_s = 0.0
        self._until_s = 0.0

    def are_long(self) -> bool:
        """Whether other threads are to write now."""
        return time.monotonic() < self._until_s

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """A block that writes, and may wait for a disk."""
        start_s = time.monotonic()
        try:
            yield
        finally:
            now_s = time.monotonic()
            self._note(now_s, now_s - start_s)

    def _note(self, now_s: float, took_s: float) -> None:
        self._written_s += took_s
        passed_s = now_s - self._since_s
        if passed_s < _WITHIN_S:
            return
        if self._written_s >= _MOST * passed_s:
            self._until_s = now_s + _ELSEWHERE_S
        self._since_s, self._written_s = now_s, 0.0


disk_waits = DiskWaits()
