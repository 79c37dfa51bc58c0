"""When another number of requests that brought nothing may be tried again: later each time."""

from __future__ import annotations

import random

#: After a failed attempt; twice as long after each further one. The first is short, because the
#: judgement may have been wrong; the longest makes attempts rare, and follows a day's changes.
WAIT_S = 2.0
LONGEST_WAIT_S = 240.0


class Wait:
    """When something that failed may be tried again: later after each failure."""

    def __init__(self, jitter: random.Random) -> None:
        self._jitter = jitter
        self.failures = 0
        self.until_s = 0.0

    def failed(self, now_s: float) -> None:
        """It failed again."""
        wait_s = min(WAIT_S * 2**self.failures, LONGEST_WAIT_S)
        self.until_s = now_s + wait_s * self._jitter.uniform(0.75, 1.25)
        self.failures += 1

    def succeeded(self) -> None:
        """It may go on at once. One success that was chance does not make failures frequent."""
        self.failures = max(self.failures - 1, 0)
        self.until_s = 0.0
