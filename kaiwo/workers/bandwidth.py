"""``--max-bandwidth``: the object bytes of all worker threads of a process keep to one rate.

    bytes arrived ─> they take their time on a clock that all threads share ─> the thread that read
                     them waits until that time has passed, and only then reads on

So a thread waits between two reads and never inside one: no timeout of a connection runs meanwhile.
What is not used is lost, but for ``SAVED_S``: after a pause, no burst follows.

A limit is a name and a rate: it travels to any worker. The first worker of a process that waits
makes the clock. Where the workers are several processes, each has a share of the rate, by the
requests that it has; in the scheduler's process, the clock then only counts.
"""

from __future__ import annotations

import os
import secrets
import threading
import time

from msgspec import Struct

from kaiwo.workers.threads import pause

#: So much time that was not used can be made up for.
SAVED_S = 0.1
#: A shorter wait is left to the next bytes: it would cost more than it is long.
SHORTEST_S = 0.002


class Pacer:
    """The clock of one limit. Called from many threads at once.

    Args:
        rate: bytes a second.
        now_s: the time, by any clock that never goes back.
    """

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        #: Until then, the line is taken.
        self._taken_s = now_s
        self._unused_s = 0.0

    def take(self, size: int, now_s: float) -> float:
        """Bytes arrived; returns for how many seconds nothing more may be read by this thread."""
        with self._lock:
            self._forget_unused(now_s)
            self._taken_s += size / self._rate
            return max(self._taken_s - now_s, 0.0)

    def change(self, rate: float, now_s: float) -> None:
        """From now on, it is this many bytes a second."""
        with self._lock:
            owed_s = max(self._taken_s - now_s, 0.0)
            self._taken_s += owed_s * (self._rate / rate - 1)
            self._rate = rate

    def unused_s(self, now_s: float) -> float:
        """For how many seconds until now the line could have carried more."""
        with self._lock:
            self._forget_unused(now_s)
            return self._unused_s

    def _forget_unused(self, now_s: float) -> None:
        unused_s = now_s - SAVED_S - self._taken_s
        if unused_s > 0:
            self._unused_s += unused_s
            self._taken_s += unused_s


_pacers: dict[str, Pacer] = {}


class Bandwidth(Struct, frozen=True):
    """The limit of a run; picklable.

    Attributes:
        name: of the clock.
        rate: bytes a second.
    """

    name: str
    rate: int

    def wait(self, size: int) -> float:
        """Wait after bytes were read; returns for how many seconds.

        Raises:
            UnfinishedError: the run ended meanwhile.
        """
        wait_s = self._pacer.take(size, time.monotonic())
        if wait_s < SHORTEST_S:
            return 0.0
        pause(wait_s)
        return wait_s

    def note(self, size: int) -> None:
        """Bytes were read in another process, which waited."""
        self._pacer.take(size, time.monotonic())

    def take_share(self, part: float) -> None:
        """This process may read that part of what the limit allows; more than 0, at most 1."""
        self._pacer.change(self.rate * part, time.monotonic())

    def unused_s(self) -> float:
        """For how many seconds so far this process could have read more."""
        return self._pacer.unused_s(time.monotonic())

    def end(self) -> None:
        """The run is over: forget its clock."""
        _pacers.pop(self.name, None)

    @property
    def _pacer(self) -> Pacer:
        found = _pacers.get(self.name)
        return found or _pacers.setdefault(self.name, Pacer(self.rate, time.monotonic()))


def new_bandwidth(rate: int) -> Bandwidth:
    """A limit that nobody has used yet."""
    return Bandwidth(secrets.token_hex(8), rate)


# A thread of the parent may hold a lock that nobody would release in the child.
os.register_at_fork(after_in_child=_pacers.clear)
