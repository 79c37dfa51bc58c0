"""The checksum of a small object, taken as it passes: no mark of it will be noted."""

from __future__ import annotations

from kaiwo import checksums
from kaiwo.jobs import RANGE
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer, Take
from kaiwo.replicas.node import Node
from kaiwo.replicas.stored import CHECK


class Passing:
    """A range that passes; of a large object, nothing is taken.

    Args:
        node: notes it.
        number: of the object.
        remote: the object.
        start: of what passes.
        end: of that.
    """

    def __init__(self, node: Node, number: int, remote: RemoteObject, start: int, end: int) -> None:
        self._node, self._number = node, number
        self._is_whole = not start and end == remote.size <= RANGE
        self._crc = 0

    def add(self, chunk: Buffer) -> None:
        """The next bytes."""
        if self._is_whole:
            self._crc = checksums.crc(CHECK, chunk, self._crc)

    def taking(self, take: Take) -> Take:
        """What takes bytes, and has them counted here."""

        def taken(chunk: Buffer) -> bool:
            if not take(chunk):
                return False
            self.add(chunk)
            return True

        return taken

    def end(self) -> None:
        """All of it has passed."""
        if self._is_whole:
            self._node.shelf.note_crc(self._number, self._crc)
