"""A source that reads what this node owns from the store, and has the rest from the other nodes.

See ``node`` for who is asked. What other nodes answer is checked like any answer: each part by its
checksum, the object as a whole by the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

from kaiwo.errors import KaiwoError, TransientError
from kaiwo.objects import RemoteObject, as_read
from kaiwo.protocols import PIECE, Buffer, Listed, Opener, Source, Take
from kaiwo.replicas.blocks import Block, cut, is_divided, length_of
from kaiwo.replicas.node import Node, NotHereError
from kaiwo.replicas.passing import Passing
from kaiwo.workers.threads import require_open

#: Another node is asked for so much at once.
ASKED = 1 << 20


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
            for part in self._of_block(block, remote, first, stop, PIECE, None)
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
        yield from self.stream_into(remote, start, end or 0, piece, _not_taken)

    def stream_into(
        self, remote: RemoteObject, start: int, end: int, piece: int, take: Take
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        number = self._number_of(remote)
        if number is None:
            yield from self._of_store(remote, start, end, piece, take)
            return
        passing = Passing(self._node, number, remote, start, end)
        for block, first, stop in cut(number, start, end):
            for chunk in self._of_block(block, remote, first, stop, piece, passing.taking(take)):
                passing.add(chunk)
                yield chunk
        passing.end()

    def _number_of(self, remote: RemoteObject) -> int | None:
        """Which object of the plan it is; None where each node reads it itself."""
        return self._node.number_of(self._opener, remote.key) if is_divided(remote) else None

    def _of_block(
        self,
        block: Block,
        remote: RemoteObject,
        start: int,
        end: int,
        piece: int,
        take: Take | None,
    ) -> Iterator[Buffer]:
        """A range within a block, by whoever has it."""
        node, at = self._node, start
        if node.had_before(block):
            yield from self._of_store(remote, start, end, piece, take)
            return
        for owner in node.members.owners(block):
            if at == end or owner == node.members.own:
                break
            for part in self._of_peer(owner, block, at, end, piece, waits=True):
                at += len(part)
                yield part
        if at < end:
            yield from self._own(block, remote, at, end, piece, take)
        node.note_had(block)

    def _own(
        self,
        block: Block,
        remote: RemoteObject,
        start: int,
        end: int,
        piece: int,
        take: Take | None,
    ) -> Iterator[Buffer]:
        """A range of a block that this node is to have from the store."""
        node = self._node
        for part in self._of_others(block, start, end, piece):
            start += len(part)
            yield part
        if start == end:
            return
        with node.shelf.reading(block) as demanded:
            if demanded is not None and (data := _result(demanded)) is not None:
                node.shelf.take(block, data)
                yield from _cut(memoryview(data)[start - block.start : end - block.start], piece)
            else:
                yield from self._of_store(remote, start, end, piece, take)

    def bring(self, block: Block, remote: RemoteObject) -> bytes:
        """All of a block that this node owns, for another one that asks for it.

        Raises:
            KaiwoError: it cannot be had now.
        """
        start, end = block.start, block.start + length_of(remote.size, block)
        parts = [*self._of_others(block, start, end, PIECE)]
        start += sum(map(len, parts))
        if start < end:
            try:
                # In pieces: who waits for it sees that it comes.
                parts += self._of_store(as_read(remote), start, end, PIECE, _not_taken)
            except Exception as error:
                raise self.classify(error) from None
        data = b"".join(parts)
        if len(data) != length_of(remote.size, block):
            raise TransientError(f"reading {self._opener.url(remote.key)}: got {len(data)} bytes")
        return data

    def _of_others(self, block: Block, start: int, end: int, piece: int) -> Iterator[Buffer]:
        """What others have of a block whose first owner is gone: all of it, or its beginning."""
        if self._node.members.is_first_owner(block):
            return
        for other in self._node.members.others():
            for part in self._of_peer(other, block, start, end, piece, waits=False):
                start += len(part)
                yield part
            if start == end:
                return

    def _of_peer(
        self, peer: str, block: Block, start: int, end: int, piece: int, *, waits: bool
    ) -> Iterator[Buffer]:
        """What another node gives of a range within a block: all of it, or its beginning."""
        step = max(min(piece, ASKED), ASKED // 4)
        while start < end:
            require_open()
            stop = min(start + step, end)
            try:
                data = self._node.peers.ask(
                    peer, block, start - block.start, stop - block.start, waits=waits
                )
            except NotHereError as error:
                if error.why:
                    self._node.members.avoid(peer, error.why)
                return
            self._node.count(peers=len(data))
            start = stop
            yield data

    def _of_store(
        self, remote: RemoteObject, start: int, end: int, piece: int, take: Take | None
    ) -> Iterator[Buffer]:
        """A range, from the store."""
        node = self._node
        if take is None:
            data = self.store.read(remote, start, end)
            node.count(store=len(data))
            yield data
            return

        def counted(chunk: Buffer) -> bool:
            if not take(chunk):
                return False
            node.count(store=len(chunk))
            return True

        for chunk in self.store.stream_into(remote, start, end, piece, counted):
            node.count(store=len(chunk))
            yield chunk


def _result(demanded: Future[bytes]) -> bytes | None:
    """What was read on demand; None if that failed. It is being read, so it ends."""
    try:
        return demanded.result()
    except (KaiwoError, CancelledError):
        return None


def _not_taken(_: Buffer) -> bool:
    return False


def _cut(data: memoryview, piece: int) -> Iterator[Buffer]:
    for start in range(0, len(data), piece):
        yield data[start : start + piece]
