"""How long a service asked to be left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable


class Patience:
    """Remembers for each place until when no request may be sent. Called from many threads at once.

    A place is what asks: an origin, or a source.
    """

    def __init__(self) -> None:
        #: By the monotonic clock.
        self._until_s: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def asked(self, place: Hashable, wait_s: float) -> None:
        """The place asked to be left alone for this long; of several waits, the longest counts."""
        until_s = time.monotonic() + wait_s
        with self._lock:
            self._until_s[place] = max(self._until_s.get(place, 0.0), until_s)

    def until_s(self, place: Hashable) -> float:
        """When the wait ends, by the monotonic clock; 0 if the place never asked for one."""
        with self._lock:
            return self._until_s.get(place, 0.0)

    def left_s(self, place: Hashable) -> float:
        """Seconds that are left of the wait; 0 if the place may be asked now."""
        return max(self.until_s(place) - time.monotonic(), 0.0)
