"""How much of its time something was used lately: the processor, the line under a limit."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from kaiwo.files import process_limits

#: How long the processor's use is measured, and how many such times count: at the beginning, and
#: between two bursts, it is used less than by more requests.
LOAD_S, LOOKS = 0.05, 4
#: Above this part of the processors, more requests only take them from others: half of the work of
#: a request is the kernel's and the server's.
BUSY = 0.55


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

    def look(self, now_s: float) -> float | None:
        """Measure again, if it is time; returns what was measured now."""
        since_s, before = self._at
        if now_s - since_s < self._every_s:
            return None
        counted = self._count()
        self.lately = (counted - before) / (now_s - since_s)
        self._at = now_s, counted
        return self.lately


class Processor:
    """How much of the processor this process uses, since bytes arrive.

    Attributes:
        requests: that number keeps it busy; more would get in each other's way.
    """

    def __init__(self) -> None:
        processors = process_limits.processors()
        self.requests = math.ceil(processors) + 1
        self._most = BUSY * processors
        self._used: Usage | None = None
        self._lately: deque[float] = deque(maxlen=LOOKS)

    def is_busy(self, now_s: float, *, has_begun: bool) -> bool | None:
        """Whether it is used fully, so that more requests would only slow this process down.

        Args:
            now_s: the time of the monotonic clock.
            has_begun: bytes have arrived; before, its use says nothing.

        Returns:
            None as long as that is not known.
        """
        if self._used is None:
            self._used = Usage(time.process_time, LOAD_S) if has_begun else None
            return None
        if (used := self._used.look(now_s)) is not None:
            self._lately.append(used)
        return max(self._lately) > self._most if self._lately else None
