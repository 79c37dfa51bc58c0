"""Which of a worker's jobs read now: it has some more, which wait here until others end.

A job that is sent when another one has come back would leave a connection unused for as long as
both travel, which are tens of milliseconds on Dask.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from kaiwo.workers.threads import Ending

#: Who waits looks so often whether the run goes on.
LOOK_S = 0.1


class Turns:
    """The turns of the jobs that ask one service, in the order in which they came.

    Attributes:
        taken: how many have their turn.
        waiting: those that do not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._most = self.taken = 0
        self.waiting: deque[threading.Event] = deque()

    @contextlib.contextmanager
    def one(self, most: int, end: Ending) -> Iterator[None]:
        """Inside the block it is this thread's turn, or the run is over.

        Args:
            most: how many have their turn at once, from now on.
            end: of the run.
        """
        turn = threading.Event()
        with self._lock:
            self._most = most
            self.waiting.append(turn)
            self._call()
        try:
            while not turn.wait(LOOK_S) and not end.is_set():
                pass
            yield
        finally:
            with self._lock:
                if turn.is_set():
                    self.taken -= 1
                else:
                    self.waiting.remove(turn)
                self._call()

    def _call(self) -> None:
        while self.waiting and self.taken < self._most:
            self.taken += 1
            self.waiting.popleft().set()
