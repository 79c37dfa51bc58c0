"""How much of its time something was used lately: the processor, the line under a limit."""

from __future__ import annotations

import time
from collections.abc import Callable


class Usage:
    """How fast a count of seconds grows, measured over the last while.

    Args:
        count: seconds so far.
        every_s: how long it is measured.

    Attributes:
        lately: seconds a second; None before the first while is over.
    """

    def __init__(self, count: Callable[[], float], every_s: float) -> None:
        self.lately: float | None = None
        self._count = count
        self._every_s = every_s
        self._at = time.monotonic(), count()

    def look(self, now_s: float) -> None:
        """Measure again, if it is time."""
        since_s, before = self._at
        if now_s - since_s >= self._every_s:
            counted = self._count()
            self.lately = (counted - before) / (now_s - since_s)
            self._at = now_s, counted
