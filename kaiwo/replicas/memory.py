"""Blocks in memory that were in use lately."""

from __future__ import annotations

from collections import OrderedDict

from kaiwo.replicas.blocks import Block

#: Bytes of them; at least one is kept.
HELD = 24 << 20


class Memory:
    """See the module. Whoever uses it holds the lock of its shelf."""

    def __init__(self) -> None:
        self._held: OrderedDict[Block, bytes] = OrderedDict()
        self._bytes = 0

    def __contains__(self, block: Block) -> bool:
        return block in self._held

    def get(self, block: Block) -> bytes | None:
        """A block, which is in use now; None if it is not there."""
        data = self._held.get(block)
        if data is not None:
            self._held.move_to_end(block)
        return data

    def hold(self, block: Block, data: bytes) -> None:
        """Keep a block for a while."""
        self._bytes += len(data) - len(self._held.pop(block, b""))
        self._held[block] = data
        while self._bytes > HELD and len(self._held) > 1:
            self._bytes -= len(self._held.popitem(last=False)[1])

    def drop_all(self, number: int) -> None:
        """Let all blocks of an object go."""
        for block in [each for each in self._held if each.number == number]:
            self._bytes -= len(self._held.pop(block))
