"""What is divided among the nodes: blocks, on a fixed grid, each with an owner.

A block is a range of 8 MiB of an object, as the engine reads it; a small object is one block. All
nodes have the same objects in the same order, so a number says which object it is.

Owners are found by rendezvous hashing: when a node is gone, its blocks go to all others alike, and
no other block changes its owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kaiwo.jobs import RANGE
from kaiwo.objects import RemoteObject, is_identified


class Block(NamedTuple):
    """A part of an object.

    Attributes:
        number: of the object in the plan.
        part: which block of the object it is.
    """

    number: int
    part: int

    @property
    def start(self) -> int:
        """Its first byte in the object."""
        return self.part * RANGE


def is_divided(remote: RemoteObject) -> bool:
    """Whether parts of an object that came by several nodes are of one object for sure."""
    by = remote.read_as
    is_whole = remote.stream_id is not None or remote.unsized or (by is not None and by.in_one)
    return bool(remote.size) and not is_whole and is_identified(remote)


def identity_of(remote: RemoteObject) -> tuple[object, ...]:
    """What tells an object from all others of its source, other versions of its key included.

    Questions for an object may state fractions of a second of its time where listings do not.
    """
    states, modified = (remote.version, remote.etag), remote.modified_ns
    if states != (None, None) and modified is not None:
        modified //= 1_000_000_000
    only = remote.checksum if (*states, modified) == (None, None, None) else None
    return remote.key, remote.variant, remote.size, *states, modified, only


def length_of(size: int, block: Block) -> int:
    """How many bytes a block of an object of this size has."""
    return max(min(RANGE, size - block.start), 0)


def cut(number: int, start: int, end: int) -> Iterator[tuple[Block, int, int]]:
    """A range of an object, by its blocks: each with the part of the range that is in it."""
    while start < end:
        block = Block(number, start // RANGE)
        stop = min(block.start + RANGE, end)
        yield block, start, stop
        start = stop


def ranked(block: Block, nodes: Iterable[str]) -> list[str]:
    """The nodes in the order in which they own a block."""

    def weight(node: str) -> bytes:
        text = f"{block.number}/{block.part}/{node}"
        return hashlib.blake2b(text.encode(), digest_size=8, usedforsecurity=False).digest()

    return sorted(nodes, key=weight)
