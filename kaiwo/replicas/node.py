"""What a node knows of a run: its objects, the other nodes, and what it has itself.

Who brings a block, in this order:

    1  bytes of its object were wrong                                       the store
    2  it came for another target of the same object                        its file, or memory
    3  this node owns it, and has read it for another one already           memory
    4  this node owns it                                                    the store
    5  the same, since its owner is gone: another node may have it          that node, or the store
    6  another node owns it                                                 that node
    7  nobody who owns it answers, or has brought it in time                the store

No wait lasts for ever. A node waits for another one only while that one reads the block from the
store, and something comes from there; or while bytes come there at all; or for ``PATIENCE_S``.
After that it reads from the store itself.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from kaiwo.jobs import Mark, Transfer
from kaiwo.objects import Checksum, RemoteObject, as_read, same_bytes
from kaiwo.protocols import Buffer, Opener
from kaiwo.replicas.blocks import Block, identity_of
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
        self._numbers: dict[tuple[Opener, tuple[object, ...]], int | None] = {}
        #: How many targets of an object are not settled yet.
        self._left: Counter[int] = Counter()
        self._repeated: frozenset[int] = frozenset()
        self._doubted: set[int] = set()
        self.shelf = Shelf(lambda number: self.objects[number][1].size)

    def know(self, objects: Iterable[tuple[Opener, RemoteObject]]) -> None:
        """These are the objects of the plan, in the order that all nodes have."""
        self.objects = tuple(objects)
        for number, (opener, remote) in enumerate(self.objects):
            names = [(opener, identity_of(each)) for each in (remote, as_read(remote))]
            first = self._numbers.setdefault(names[0], number)
            second = self._numbers.setdefault(names[1], first)
            if first is None or first != second or self._is_other(first, remote):
                # Only their checksums tell them apart: nothing of them is shared.
                self._numbers.update(dict.fromkeys(names))
        found = (self.number_of(*each) for each in self.objects)
        self._left = Counter(each for each in found if each is not None)
        self._repeated = frozenset(number for number, count in self._left.items() if count > 1)

    def _is_other(self, number: int, remote: RemoteObject) -> bool:
        return same_bytes(self.objects[number][1], remote) is False

    def number_of(self, opener: Opener, remote: RemoteObject) -> int | None:
        """Which object of the plan that is; None if it is none, or not shared."""
        return self._numbers.get((opener, identity_of(remote)))

    def is_repeated(self, number: int) -> bool:
        """Whether an object goes to several targets."""
        return number in self._repeated

    def is_doubted(self, number: int) -> bool:
        """Whether bytes of an object were wrong."""
        return number in self._doubted

    @property
    def progress(self) -> int:
        """Changes while bytes come, or a file is hashed that others wait for."""
        return self.brought.store + self.brought.peers + self.shelf.hashed

    def count(self, *, store: int = 0, peers: int = 0) -> None:
        """Bytes came."""
        with self._lock:
            self.brought.store += store
            self.brought.peers += peers

    def reads(self, transfer: Transfer) -> bool:
        """Whether this node has a small object from the store."""
        number = self.number_of(transfer.opener, transfer.object)
        return number is None or self.members.owners(Block(number, 0))[0] == self.members.own

    # --- what its run says

    def note_marks(self, marks: Iterable[tuple[Transfer, int, Mark]]) -> None:
        """See ``State.note_marks``."""
        for transfer, start, mark in marks:
            number = self.number_of(transfer.opener, transfer.object)
            if number is not None:
                self.shelf.note(number, transfer, start, mark)

    def doubt(self, source: str) -> None:
        """The bytes that came of the object with that URL are wrong."""
        for number in self._by_source.get(source, ()):
            self._doubted.add(number)
            self.shelf.drop(number)

    @functools.cached_property
    def _by_source(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for opener, remote in self.objects:
            if (number := self.number_of(opener, remote)) is not None:
                found.setdefault(opener.url(remote.key, remote.version), set()).add(number)
        return found

    def settle(
        self, transfer: Transfer, *, is_there: bool, verified: Checksum | None = None
    ) -> None:
        """An object is in place, or cannot be had; see ``Shelf.publish``."""
        number = self.number_of(transfer.opener, transfer.object)
        if number is None:
            return
        if is_there:
            self.shelf.publish(number, transfer, verified=verified)
        self._left[number] -= 1
        if not is_there and not self._left[number]:
            self.shelf.fail(number)
