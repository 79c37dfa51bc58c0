"""Small objects travel in batches that take about a tenth of a second.

One job reads, checks and publishes all objects of a batch. How many that are depends on the pace;
and when few objects are left, all workers share them, so that none is idle while another has many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from kaiwo.engine.pace import Pace
from kaiwo.jobs import Transfer

#: A batch may have this many bytes on any line.
BATCH_BYTES = 1 << 20


def cut(
    transfers: deque[Transfer],
    is_wanted: Callable[[Transfer], bool],
    pace: Pace,
    workers: Callable[[], int],
    most_bytes: Callable[[], int] = lambda: BATCH_BYTES,
) -> Iterator[tuple[Transfer, ...]]:
    """The next batches, in the order of the transfers; each is made when it is asked for.

    Args:
        transfers: objects; those of a batch are taken from it.
        is_wanted: whether an object comes in a batch; the first that does not ends them.
        pace: how long they take.
        workers: how many workers share them now.
        most_bytes: how many bytes a batch may have now; one object may have more.
    """
    while transfers and is_wanted(transfers[0]):
        most, size = pace.batch_size(len(transfers), workers()), 0
        limit = most_bytes()
        batch: list[Transfer] = []
        while transfers and is_wanted(transfers[0]):
            size += transfers[0].object.size
            if batch and (size > limit or len(batch) >= most):
                break
            batch.append(transfers.popleft())
        yield tuple(batch)
