"""A source that reads what this node owns from the store, and has the rest from the other nodes.

See ``node`` for who is asked, and ``reading`` for how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kaiwo.errors import KaiwoError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import PIECE, Buffer, Listed, Opener, Source, Take
from kaiwo.replicas.blocks import Block, cut, is_divided
from kaiwo.replicas.node import Node
from kaiwo.replicas.passing import Passing
from kaiwo.replicas.reading import BlockReader, not_taken


@dataclass(frozen=True, slots=True)
class SharedOpener:
    """Opens a source that shares what it reads with other nodes."""

    inner: Opener
    #: Another run of the same worker has another one, and closes its own sources alone.
    node: Node = field(repr=False)

    @property
    def origin(self) -> str:
        """See ``protocols.Opener``."""
        return self.inner.origin

    @property
    def service(self) -> str:
        """See ``protocols.Opener``."""
        return self.inner.service

    @property
    def ambient(self) -> str:
        """See ``protocols.Opener``."""
        return self.inner.ambient

    def open(self) -> Source:
        """See ``protocols.Opener``."""
        return SharedSource(self.inner.open(), self, self.node)

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``."""
        return self.inner.secrets_digest()

    def url(self, key: str, version: str | None = None) -> str:
        """See ``protocols.Opener``."""
        return self.inner.url(key, version)


class SharedSource:
    """See the module.

    Args:
        store: where the bytes are.
        opener: of this source.
        node: this one.
    """

    def __init__(self, store: Source, opener: Opener, node: Node) -> None:
        self.store = store
        self._opener = opener
        self._node = node
        self._blocks = BlockReader(store, node)

    # --- what needs no bytes of objects

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return self.store.list(prefix)

    def list_asking(self, prefix: str, asks: Callable[[RemoteObject], bool]) -> Listed:
        """See ``protocols.Source``."""
        return self.store.list_asking(prefix, asks)

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self.store.stat(key)

    def stat_by_reading(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self.store.stat_by_reading(key)

    def fetch_checksum(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self.store.fetch_checksum(key)

    def pin(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self.store.pin(key)

    def part_lengths(self, key: str, count: int) -> tuple[int, ...] | None:
        """See ``protocols.Source``."""
        return self.store.part_lengths(key, count)

    def classify(self, error: Exception) -> KaiwoError:
        """See ``protocols.Source``."""
        return self.store.classify(error)

    def close(self) -> None:
        """See ``protocols.Source``."""
        self.store.close()

    # --- bytes

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        number = self._number_of(remote)
        if number is None:
            data = self.store.read(remote, start, end)
            self._node.count(store=len(data))
            return data
        parts = [
            part
            for block, first, stop in cut(number, start, end)
            for part in self._blocks.read(block, remote, first, stop, PIECE, None)
        ]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        passing = Passing(self._node, number, remote, start, end)
        passing.add(data)
        passing.end()
        return data

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        number = None if end is None else self._number_of(remote)
        if number is None:
            for chunk in self.store.stream(remote, start, end, piece):
                self._node.count(store=len(chunk))
                yield chunk
            return
        yield from self.stream_into(remote, start, end or 0, piece, not_taken)

    def stream_into(
        self, remote: RemoteObject, start: int, end: int, piece: int, take: Take
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        number = self._number_of(remote)
        if number is None:
            yield from self._blocks.of_store(remote, start, end, piece, take)
            return
        passing = Passing(self._node, number, remote, start, end)
        for block, first, stop in cut(number, start, end):
            for chunk in self._blocks.read(block, remote, first, stop, piece, passing.taking(take)):
                passing.add(chunk)
                yield chunk
        passing.end()

    def _number_of(self, remote: RemoteObject) -> int | None:
        """Which object of the plan it is; None where each node reads it itself."""
        return self._node.number_of(self._opener, remote) if is_divided(remote) else None

    def bring(self, block: Block, remote: RemoteObject) -> bytes:
        """All of a block that this node owns, for another one that asks for it.

        Raises:
            KaiwoError: it cannot be had now.
        """
        return self._blocks.bring(block, remote, self._opener.url(remote.key))
