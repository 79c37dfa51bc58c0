"""Blocks in memory that other nodes ask for, and to which the node's own run has not come.

There is room for a few. The run takes them when it comes to them; until then, and where it never
does, one that nobody asks for any more makes room for the next one. It may come again: from those
that have it by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future

from msgspec import Struct

from kaiwo.replicas.blocks import Block

#: Bytes of them.
DEMANDED = 24 << 20
#: One is let go when it was not asked for so long; longer, if nobody has been given any of it.
IDLE_S, UNASKED_S = 0.5, 10.0


class _Demand(Struct):
    """A block, and how it is used."""

    asked: Future[bytes]
    size: int
    used_s: float
    is_given: bool = False


class Demands:
    """See the module. Whoever uses it holds the lock of its shelf.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[Block, _Demand] = {}
        self._let_go: set[Block] = set()

    def get(self, block: Block) -> Future[bytes] | None:
        """What is, or was, read; None if nothing is."""
        found = self._kept.get(block)
        return None if found is None else found.asked

    def data(self, block: Block) -> bytes | None:
        """What was read, to be given; None if it is not there."""
        found = self._kept.get(block)
        if found is None or not is_done(found.asked):
            return None
        found.used_s, found.is_given = self._clock(), True
        return found.asked.result()

    def add(self, block: Block, size: int, asked: Future[bytes]) -> None:
        """It is being read."""
        self._kept[block] = _Demand(asked, size, self._clock())

    def note_end(self, block: Block, asked: Future[bytes]) -> None:
        """It was read, or could not be."""
        found = self._kept.get(block)
        if found is None or found.asked is not asked:
            return
        found.used_s = self._clock()
        if not is_done(asked):
            del self._kept[block]

    def drop(self, block: Block) -> None:
        """The run has it."""
        self._kept.pop(block, None)

    def drop_all(self, number: int) -> None:
        """Nobody will have that object."""
        for block in [each for each in self._kept if each.number == number]:
            del self._kept[block]

    def make_room(self, size: int) -> list[tuple[Block, bytes]] | None:
        """Let blocks go until there is room; None: there is none now."""
        gone: list[tuple[Block, bytes]] = []
        left = sum(each.size for each in self._kept.values())
        for block, each in sorted(self._kept.items(), key=lambda pair: pair[1].used_s):
            if left + size <= DEMANDED:
                break
            if self._is_idle(each):
                left -= each.size
                gone.append((block, each.asked.result()))
                self._let_go.add(block)
                del self._kept[block]
        return gone if not left or left + size <= DEMANDED else None

    def _is_idle(self, each: _Demand) -> bool:
        idle_s = self._clock() - each.used_s
        return is_done(each.asked) and idle_s >= (IDLE_S if each.is_given else UNASKED_S)

    def was_let_go(self, block: Block) -> bool:
        """Whether it was here, so that others may have it."""
        return block in self._let_go


def is_done(asked: Future[bytes]) -> bool:
    """Whether what was read is there."""
    return asked.done() and not asked.cancelled() and asked.exception() is None
