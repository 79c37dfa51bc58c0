"""How small objects travel: in batches that take about a tenth of a second.

few objects     shared by all workers, so that none idles while another has many before it
quick ones      up to 64 objects and 1 MiB: one job reads, checks and publishes them all
slow ones       fewer in a batch; and where answers take long and leave the processor idle,
                more requests in flight
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from kaiwo.jobs import Outcome, Transfer

BATCH_BYTES = 1 << 20
BATCH_OBJECTS = 64
#: A batch is meant to take so long: its outcomes come together.
BATCH_S = 0.1
#: The first batches hold one object, until it is known how long that takes.
FIRST_BATCH_OBJECTS = 1
#: The load is looked at so often: where answers take long, each look at 8 requests is a lost one.
LOOK_S = 0.03
#: So many requests for small objects saturate the interpreter; more are of use only where an
#: answer takes so long, and leaves the processor idle for so much of the time.
REQUESTS = 8
SLOW_S = 0.005
IDLE = 0.5


class Pace:
    """How long small objects take, lately."""

    def __init__(self) -> None:
        self._object_s: float | None = None
        #: Clock and processor time when the load was last looked at.
        self._looked_s = time.monotonic(), time.process_time()

    def measure(self, outcomes: Sequence[Outcome]) -> bool:
        """Take a batch's outcomes into account; True where more requests would be of use."""
        self._object_s = sum(each.seconds for each in outcomes) / len(outcomes)
        now_s, worked_s = time.monotonic(), time.process_time()
        passed_s = now_s - self._looked_s[0]
        if passed_s < LOOK_S:
            return False
        idle = worked_s - self._looked_s[1] < (1 - IDLE) * passed_s
        self._looked_s = now_s, worked_s
        return self._object_s > SLOW_S and idle

    def longest(self, left: int, workers: int) -> int:
        """How many objects a batch may have when so many are left for so many workers."""
        longest = FIRST_BATCH_OBJECTS
        if self._object_s is not None:
            longest = min(BATCH_OBJECTS, max(1, int(BATCH_S / max(self._object_s, 1e-6))))
        return min(longest, -(-left // (2 * workers)))


def cut(
    transfers: Sequence[Transfer], pace: Pace, workers: Callable[[], int]
) -> Iterator[tuple[Transfer, ...]]:
    """The batches, in the order of the transfers; each is made when it is asked for.

    Args:
        transfers: objects, none of them large.
        pace: how long they take.
        workers: how many share them, now.
    """
    batch: list[Transfer] = []
    size = 0
    for position, transfer in enumerate(transfers):
        length = transfer.object.size
        left = len(transfers) - position + len(batch)
        full = size + length > BATCH_BYTES or len(batch) >= pace.longest(left, workers())
        if batch and full:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(transfer)
        size += length
    if batch:
        yield tuple(batch)
