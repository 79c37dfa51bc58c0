"""Whether a thread that writes for many connections would wait too long for the disk.

One that reads writes what it reads; another one writes small files (``write_turns``). A write to a
local disk ends in memory: it takes a third of that thread's time at most (1 GiB in 2 s). A write to
a network volume waits for its server; many threads can wait for that at once. So when writing takes
most of that thread's time, the threads of the jobs write for a while.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

#: Of a time of this length, at most this share may be writing; else others write for a while.
_WITHIN_S, _MOST, _ELSEWHERE_S = 0.5, 0.75, 2.0


class DiskWaits:
    """How long writing took lately.

    Args:
        elsewhere_s: for how long others write, once it took too long.
    """

    def __init__(self, elsewhere_s: float = _ELSEWHERE_S) -> None:
        self._elsewhere_s = elsewhere_s
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

    def found_long(self) -> None:
        """A write takes too long, and has not ended."""
        self._until_s = time.monotonic() + self._elsewhere_s

    def _note(self, now_s: float, took_s: float) -> None:
        self._written_s += took_s
        passed_s = now_s - self._since_s
        if passed_s < _WITHIN_S:
            return
        if self._written_s >= _MOST * passed_s:
            self._until_s = now_s + self._elsewhere_s
        self._since_s, self._written_s = now_s, 0.0


disk_waits = DiskWaits()
