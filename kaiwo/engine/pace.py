"""How long small objects take at the moment: how many fit into a batch, and how many requests help.

quick objects    up to 64 of them and 1 MiB in a batch
slow objects     fewer in a batch
slow answers     that leave the processor idle: more requests in flight help
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from kaiwo.jobs import Outcome

BATCH_OBJECTS = 64
#: A batch should take this long: its outcomes arrive together.
BATCH_S = 0.1
#: The first batches hold one object, until it is known how long that takes.
FIRST_BATCH_OBJECTS = 1
#: How often the load is measured. Where answers take long, each period at 8 requests is lost.
MEASURE_S = 0.03
#: This many requests for small objects saturate the interpreter. More help only where an answer
#: takes at least ``SLOW_S`` and the processor is idle for at least this share of the time.
REQUESTS = 8
SLOW_S = 0.005
IDLE = 0.5


class Pace:
    """How long a small object took lately."""

    def __init__(self) -> None:
        self._object_s: float | None = None
        #: Clock and processor time at the last measurement.
        self._measured_s = time.monotonic(), time.process_time()

    def measure(self, outcomes: Sequence[Outcome]) -> bool:
        """Take a batch's outcomes into account; returns whether more requests would help."""
        self._object_s = sum(each.seconds for each in outcomes) / len(outcomes)
        now_s, worked_s = time.monotonic(), time.process_time()
        passed_s = now_s - self._measured_s[0]
        if passed_s < MEASURE_S:
            return False
        idle = worked_s - self._measured_s[1] < (1 - IDLE) * passed_s
        self._measured_s = now_s, worked_s
        return self._object_s > SLOW_S and idle

    def batch_size(self, left: int, workers: int) -> int:
        """How many objects a batch may have when ``left`` objects remain for ``workers``."""
        longest = FIRST_BATCH_OBJECTS
        if self._object_s is not None:
            longest = min(BATCH_OBJECTS, max(1, int(BATCH_S / max(self._object_s, 1e-6))))
        return min(longest, -(-left // (2 * workers)))
