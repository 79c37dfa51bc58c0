"""Which bytes of a plan are whose: the same for each shard that has the same plan.

    whole objects   the largest first, each to the shard that has least so far
    divisible ones  in the order of the plan, as one line of bytes: it fills the shards up to one
                    level, the first shard first

So at most ``shards - 1`` objects are cut, each where a range of the engine ends. Only integers are
compared, so that all machines come to the same result.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from kaiwo.jobs import RANGE

#: Each object costs as much as these bytes, however small it is.
OVERHEAD = 64 << 10
#: Start and end.
Bytes = tuple[int, int]


class Weighed(Struct, frozen=True, gc=False):
    """An object of a plan.

    Attributes:
        size: the bytes that are to be fetched of it.
        is_divisible: several shards may bring parts of it.
    """

    size: int
    is_divisible: bool = False


class Split(Struct, frozen=True):
    """Which objects are whose, by their places in the plan.

    Attributes:
        owners: of each object, its shard.
        cut: of the objects that several shards have, the bytes of each shard; their owner is the
            first of these shards.
    """

    owners: Sequence[int]
    cut: dict[int, dict[int, Bytes]]

    def part(self, index: int, shard: int) -> Bytes | None:
        """What a shard has of an object that is cut; None for one that is not cut, or not its."""
        return self.cut.get(index, {}).get(shard)

    def is_whole(self, index: int, shard: int) -> bool:
        """Whether the shard has all of that object."""
        return self.owners[index] == shard and index not in self.cut


def split(objects: Sequence[Weighed], shards: int) -> Split:
    """Divide a plan.

    Args:
        objects: in the order of the plan.
        shards: how many there are.
    """
    owners = [0] * len(objects)
    loads = [0] * shards
    least = [(0, shard) for shard in range(shards)]
    whole = [index for index, each in enumerate(objects) if not each.is_divisible]
    for index in sorted(whole, key=lambda index: (-objects[index].size, index)):
        load, shard = heapq.heappop(least)
        owners[index] = shard
        loads[shard] = load + objects[index].size + OVERHEAD
        heapq.heappush(least, (loads[shard], shard))
    divisible = [index for index, each in enumerate(objects) if each.is_divisible]
    cut: dict[int, dict[int, Bytes]] = {}
    room = _room(loads, sum(objects[index].size for index in divisible))
    for index, shares in _filled(((index, objects[index].size) for index in divisible), room):
        owners[index] = next(iter(shares))
        if len(shares) > 1:
            cut[index] = shares
    return Split(owners, cut)


def _room(loads: Sequence[int], total: int) -> list[int]:
    """What each shard gets of these bytes, so that all of them have as much as possible alike."""
    level, left, below = 0, total, 0
    for below, load in enumerate(sorted(loads)):
        needed = (load - level) * below
        if needed > left:
            break
        level, left = load, left - needed
    else:
        below = len(loads)
    level += left // below
    room = [max(level - load, 0) for load in loads]
    spare = total - sum(room)
    for shard, _ in enumerate(room):
        if spare and loads[shard] <= level:
            room[shard] += 1
            spare -= 1
    return room


def _filled(
    objects: Iterable[tuple[int, int]], room: Sequence[int]
) -> Iterator[tuple[int, dict[int, Bytes]]]:
    """The bytes of each object that each shard gets, one shard after the other.

    Args:
        objects: number and size of each, in their order.
        room: of each shard.
    """
    ends: list[int] = []
    for each in room:
        ends.append(each + (ends[-1] if ends else 0))
    shard, before = 0, 0
    for index, size in objects:
        shares: dict[int, Bytes] = {}
        start = 0
        while start < size or not shares:
            is_last = shard == len(ends) - 1
            end = size if is_last else min(_nearest(ends[shard] - before), size)
            if end > start or (is_last and not shares):
                shares[shard] = start, end
                start = end
            if start < size:
                shard += 1
        before += size
        yield index, shares


def _nearest(offset: int) -> int:
    """The end of a range that is nearest to that offset."""
    return max((offset + RANGE // 2) // RANGE * RANGE, 0)
