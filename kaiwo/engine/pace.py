"""How long small objects take at the moment, and how many fit into a batch.

quick objects    up to 64 of them and 1 MiB in a batch
slow objects     fewer in a batch
"""

from __future__ import annotations

from collections.abc import Sequence

from kaiwo.jobs import Outcome

BATCH_OBJECTS = 64
#: A batch should take this long: its outcomes arrive together.
BATCH_S = 0.1
#: The first batches hold one object, until it is known how long that takes.
FIRST_BATCH_OBJECTS = 1


class Pace:
    """How long a small object took lately."""

    def __init__(self) -> None:
        self._object_s: float | None = None

    def measure(self, outcomes: Sequence[Outcome]) -> None:
        """Take a batch's outcomes into account."""
        self._object_s = sum(each.seconds for each in outcomes) / len(outcomes)

    def batch_size(self, left: int, workers: int) -> int:
        """How many objects a batch may have when ``left`` objects remain for ``workers``."""
        longest = FIRST_BATCH_OBJECTS
        if self._object_s is not None:
            longest = min(BATCH_OBJECTS, max(1, int(BATCH_S / max(self._object_s, 1e-6))))
        return min(longest, -(-left // (2 * workers)))
