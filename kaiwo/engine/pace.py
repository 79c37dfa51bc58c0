"""How long small objects take at the moment, and how many fit into a batch.

quick objects    up to 64 of them and 1 MiB in a batch
slow objects     fewer in a batch
far away         more in a batch, which costs a journey: up to 256, in a second
"""

from __future__ import annotations

from collections.abc import Sequence

from kaiwo.jobs import Outcome

BATCH_OBJECTS = 64
#: A batch should take this long: its outcomes arrive together.
BATCH_S = 0.1
#: The same for batches that travel to other processes.
FAR_OBJECTS, FAR_S = 256, 1.0
#: The first batches hold one object, until it is known how long that takes.
FIRST_BATCH_OBJECTS = 1


class Pace:
    """How long a small object took lately.

    Args:
        is_far: batches travel to other processes.
    """

    def __init__(self, *, is_far: bool = False) -> None:
        self._object_s: float | None = None
        self._most, self._batch_s = BATCH_OBJECTS, BATCH_S
        if is_far:
            self._most, self._batch_s = FAR_OBJECTS, FAR_S

    def measure(self, outcomes: Sequence[Outcome]) -> None:
        """Take a batch's outcomes into account."""
        self._object_s = sum(each.seconds for each in outcomes) / len(outcomes)

    def batch_size(self, left: int, workers: int) -> int:
        """How many objects a batch may have when ``left`` objects remain for ``workers``."""
        longest = FIRST_BATCH_OBJECTS
        if self._object_s is not None:
            longest = min(self._most, max(1, int(self._batch_s / max(self._object_s, 1e-6))))
        return min(longest, -(-left // (2 * workers)))
