"""What a node knows of a run: its objects, the other nodes, and what it has itself.

Who brings a block, in this order:

    1  it was here once, and is read again: something was wrong with it     the store
    2  this node owns it, and has read it for another one already           memory
    3  this node owns it                                                    the store
    4  the same, since its owner is gone: another node may have it          that node, or the store
    5  another node owns it                                                 that node
    6  nobody who owns it answers, or has brought it in time                the store

No wait lasts for ever. A node waits for another one only while that one reads the block from the
store, and something comes from there; or while bytes come there at all; or for ``PATIENCE_S``.
After that it reads from the store itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from kaiwo.jobs import Mark, Transfer
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer, Opener
from kaiwo.replicas.blocks import Block
from kaiwo.replicas.members import Members
from kaiwo.replicas.shelf import Shelf

#: An owner to which nothing comes is waited for so long.
PATIENCE_S = 10.0


class NotHereError(Exception):
    """Another node does not give a block.

    Args:
        why: it is not to be asked for others, either; empty: it is.
    """

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why


class Peers(Protocol):
    """Asks other nodes."""

    def ask(self, node: str, block: Block, start: int, end: int, *, waits: bool) -> Buffer:
        """Bytes of a block, from its first one counted.

        Args:
            node: that is asked.
            block: of which object.
            start: the first byte.
            end: the byte after the last one.
            waits: until it is there; else it is there, or not.

        Raises:
            NotHereError: that node does not give it.
            UnfinishedError: the run is over.
        """
        ...


class Brought(Struct):
    """Bytes of objects that came.

    Attributes:
        store: from the store.
        peers: from other nodes.
    """

    store: int = 0
    peers: int = 0


class Node:
    """One node of a run.

    Args:
        members: all nodes.
        peers: asks the others.

    Attributes:
        objects: of the plan, each with what opens its source.
        shelf: what it has.
        brought: what came.
    """

    def __init__(self, members: Members, peers: Peers) -> None:
        self.members = members
        self.peers = peers
        self.brought = Brought()
        self._lock = threading.Lock()
        self.objects: Sequence[tuple[Opener, RemoteObject]] = ()
        self._numbers: dict[tuple[Opener, str], int] = {}
        self._had: set[Block] = set()
        self.shelf = Shelf(lambda number: self.objects[number][1].size)

    def know(self, objects: Iterable[tuple[Opener, RemoteObject]]) -> None:
        """These are the objects of the plan, in the order that all nodes have."""
        self.objects = tuple(objects)
        for number, (opener, remote) in enumerate(self.objects):
            self._numbers.setdefault((opener, remote.key), number)

    def number_of(self, opener: Opener, key: str) -> int | None:
        """Which object of the plan that is; None if it is none."""
        return self._numbers.get((opener, key))

    def had_before(self, block: Block) -> bool:
        """Whether all of a block came before."""
        return block in self._had

    def note_had(self, block: Block) -> None:
        """All of a block came."""
        self._had.add(block)

    @property
    def progress(self) -> int:
        """Changes while bytes come."""
        return self.brought.store + self.brought.peers

    def count(self, *, store: int = 0, peers: int = 0) -> None:
        """Bytes came."""
        with self._lock:
            self.brought.store += store
            self.brought.peers += peers

    # --- what its run says

    def note_marks(self, marks: Iterable[tuple[Transfer, int, Mark]]) -> None:
        """See ``State.note_marks``."""
        for transfer, start, mark in marks:
            number = self.number_of(transfer.opener, transfer.object.key)
            if number is not None:
                self.shelf.note(number, transfer, start, mark)

    def settle(self, transfer: Transfer, *, is_there: bool, is_proven: bool = False) -> None:
        """An object is in place, or cannot be had; see ``Shelf.publish``."""
        number = self.number_of(transfer.opener, transfer.object.key)
        if number is None:
            return
        if is_there:
            self.shelf.publish(number, transfer, is_proven=is_proven)
        else:
            self.shelf.fail(number)
