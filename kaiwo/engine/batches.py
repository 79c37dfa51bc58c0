"""Small objects travel in batches that take about a tenth of a second.

One job reads, checks and publishes all objects of a batch. How many that are depends on the pace;
and when few objects are left, all workers share them, so that none is idle while another has many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kaiwo.engine.pace import Pace
from kaiwo.jobs import Transfer

#: Objects below this size are small: their requests cost more than their bytes.
SMALL = 1 << 20
BATCH_BYTES = 1 << 20


def cut(
    transfers: Sequence[Transfer], pace: Pace, workers: Callable[[], int]
) -> Iterator[tuple[Transfer, ...]]:
    """The batches, in the order of the transfers; each is made when it is asked for.

    Args:
        transfers: objects, none of them large.
        pace: how long they take.
        workers: how many workers share them now.
    """
    batch: list[Transfer] = []
    size = 0
    for position, transfer in enumerate(transfers):
        length = transfer.object.size
        left = len(transfers) - position + len(batch)
        full = size + length > BATCH_BYTES or len(batch) >= pace.batch_size(left, workers())
        if batch and full:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(transfer)
        size += length
    if batch:
        yield tuple(batch)
