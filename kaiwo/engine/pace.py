"""How long small objects take at the moment, and how many fit into a batch.

quick objects    up to 64 of them and 1 MiB in a batch
slow objects     fewer in a batch
far away         more in a batch, which costs a journey: up to 256, in a second; and when few are
                 left, none is shorter than a batch of this process
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
        self._is_far = is_far

    def measure(self, outcomes: Sequence[Outcome]) -> None:
        """Take a batch's outcomes into account."""
        self._object_s = sum(each.seconds for each in outcomes) / len(outcomes)

    def guess(self, object_s: float | None) -> None:
        """What is known before any small object has come: how long an answer took."""
        if self._object_s is None:
            self._object_s = object_s

    def batch_size(self, left: int, workers: int) -> int:
        """How many objects a batch may have when ``left`` objects remain for ``workers``."""
        if self._object_s is None:
            return FIRST_BATCH_OBJECTS
        share = -(-left // (2 * workers))
        if self._is_far:
            share = max(share, self._in(BATCH_S, BATCH_OBJECTS))
            return min(share, self._in(FAR_S, FAR_OBJECTS))
        return min(share, self._in(BATCH_S, BATCH_OBJECTS))

    def _in(self, seconds: float, most: int) -> int:
        """How many objects that time is enough for; at least 1."""
        return min(most, max(1, int(seconds / max(self._object_s or 0.0, 1e-6))))
