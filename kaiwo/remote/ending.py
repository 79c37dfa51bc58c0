"""The end of a run that is in another process.

Whether the run goes on is looked up when it is asked, unless that was done a moment ago: so a
process that was stopped for an hour publishes nothing when it wakes up.
"""

from __future__ import annotations

import threading
import time

from kaiwo.remote.meeting import SILENT_S, read_beat
from kaiwo.state.sharing import root_of_state

#: What is known of the end is no older than that.
LOOK_S = 0.05
#: Who waits for the end looks so often.
STEP_S = 0.1


class EndElsewhere:
    """The end of a run in another process; as ``threading.Event``.

    Args:
        folder: where the run says that it goes on.

    Attributes:
        requests: how many all its workers have, as far as is known.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._root = root_of_state(folder)
        self._ended = threading.Event()
        self._looked_s = self._heard_s = time.monotonic()
        self._count = -1
        self.requests = 0

    def is_set(self) -> bool:
        """Whether the run is over."""
        if not self._ended.is_set() and time.monotonic() - self._looked_s >= LOOK_S:
            self._look()
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run is over, or for these seconds; returns whether it is."""
        until_s = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left_s = STEP_S if until_s is None else min(until_s - time.monotonic(), STEP_S)
            if left_s <= 0:
                return False
            self._ended.wait(left_s)
        return True

    def _look(self) -> None:
        now_s = self._looked_s = time.monotonic()
        try:
            beat = read_beat(self._folder, self._root)
        except OSError:
            pass  # a file system that fails for a moment is no end
        else:
            if beat is None:
                self._ended.set()
                return
            if beat.count != self._count:
                self._count, self._heard_s, self.requests = beat.count, now_s, beat.requests
        if now_s - self._heard_s >= SILENT_S:
            self._ended.set()
