"""How a node comes by a block; see ``node`` for who is asked.

What other nodes answer is checked like any answer: each part by its checksum, the object as a whole
by the engine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from kaiwo import checksums
from kaiwo.errors import KaiwoError, TransientError
from kaiwo.objects import RemoteObject, as_read
from kaiwo.protocols import PIECE, Buffer, Source, Take
from kaiwo.replicas.blocks import Block, length_of
from kaiwo.replicas.node import Node, NotHereError
from kaiwo.replicas.shelf import Has
from kaiwo.workers.threads import require_open

#: Another node is asked for so much at once.
ASKED = 1 << 20
_LOOKS_S = 0.5


@dataclass(frozen=True, slots=True)
class _Part:
    """What the engine asks for of a block, up to a byte, and how it takes that."""

    block: Block
    remote: RemoteObject
    end: int
    piece: int
    take: Take | None

    def of(self, data: Buffer, start: int) -> Iterator[Buffer]:
        """From that byte on, of all bytes of the block."""
        first = self.block.start
        return _cut(memoryview(data)[start - first : self.end - first], self.piece)


class BlockReader:
    """Reads blocks of one source.

    Args:
        store: where the bytes are.
        node: this one.
    """

    def __init__(self, store: Source, node: Node) -> None:
        self._store = store
        self._node = node
        self._is_checked = True

    def read(
        self,
        block: Block,
        remote: RemoteObject,
        start: int,
        end: int,
        piece: int,
        take: Take | None,
    ) -> Iterator[Buffer]:
        """A range within a block, by whoever has it."""
        node, at, asked = self._node, start, _Part(block, remote, end, piece, take)
        if node.is_doubted(block.number):
            yield from self.of_store(remote, start, end, piece, take)
            return
        if node.is_repeated(block.number) and (data := self._of_shelf(block)) is not None:
            yield from asked.of(data, start)
            return
        for owner in node.members.owners(block):
            if at == end or owner == node.members.own:
                break
            for part in self._of_peer(owner, block, at, end, piece, waits=True):
                at += len(part)
                yield part
        if at < end:
            yield from self._own(asked, at)

    def _of_shelf(self, block: Block) -> Buffer | None:
        """What came for another target; None if nothing did.

        It waits while the store is read for that one, which waits for nobody.
        """
        shelf = self._node.shelf
        while shelf.is_read_now(block):
            require_open()
            news = threading.Event()
            shelf.when_changed(block, news.set)
            if shelf.is_read_now(block):
                news.wait(_LOOKS_S)
            shelf.forget(block, news.set)
        return shelf.read(block) if shelf.has(block) is Has.HERE else None

    def _own(self, part: _Part, start: int) -> Iterator[Buffer]:
        """A range of a block that this node is to have from the store."""
        node, block = self._node, part.block
        if node.shelf.was_let_go(block) and (data := node.shelf.read(block)) is not None:
            yield from part.of(data, start)
            return
        for chunk in self._of_others(block, start, part.end, part.piece):
            start += len(chunk)
            yield chunk
        if start == part.end:
            return
        with node.shelf.reading(block) as demanded:
            if demanded is not None and (data := _result(demanded)) is not None:
                node.shelf.take(block, data)
                yield from part.of(data, start)
            elif node.is_repeated(block.number):
                yield from self._kept(part, start)
            else:
                yield from self.of_store(part.remote, start, part.end, part.piece, part.take)

    def _kept(self, part: _Part, start: int) -> Iterator[Buffer]:
        """A range from the store, which is in memory for other targets until it is written."""
        chunks: list[bytes] = []
        take = part.take and not_taken
        for chunk in self.of_store(part.remote, start, part.end, part.piece, take):
            chunks.append(bytes(chunk))
            yield chunk
        data = b"".join(chunks)
        if len(data) == length_of(part.remote.size, part.block):
            self._node.shelf.take(part.block, data)

    def bring(self, block: Block, remote: RemoteObject, url: str) -> bytes:
        """All of a block that this node owns, for another one that asks for it.

        Raises:
            KaiwoError: it cannot be had now.
        """
        start, end = block.start, block.start + length_of(remote.size, block)
        parts = [*self._of_others(block, start, end, PIECE)]
        start += sum(map(len, parts))
        if start < end:
            parts += self._brought(remote, start, end)
        data = b"".join(parts)
        if len(data) != length_of(remote.size, block):
            raise TransientError(f"a block of {url}: got {len(data)} bytes")
        if self._is_checked and _is_wrong(remote, data):
            # Once more, before all nodes get it. The same again: it is the checksum that is wrong,
            # such as the etag of an encrypted object, and so are those of others.
            again = b"".join(self._brought(remote, 0, remote.size))
            self._is_checked = again != data
            return again if len(again) == len(data) else data
        return data

    def _brought(self, remote: RemoteObject, start: int, end: int) -> list[Buffer]:
        try:
            # In pieces: who waits for it sees that it comes.
            return [*self.of_store(as_read(remote), start, end, PIECE, not_taken)]
        except Exception as error:
            raise self._store.classify(error) from None

    def _of_others(self, block: Block, start: int, end: int, piece: int) -> Iterator[Buffer]:
        """What others have of a block of which all, or the beginning, was at some node."""
        if self._node.members.is_first_owner(block) and not self._node.shelf.was_let_go(block):
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

    def of_store(
        self, remote: RemoteObject, start: int, end: int, piece: int, take: Take | None
    ) -> Iterator[Buffer]:
        """A range, from the store."""
        node = self._node
        if take is None:
            data = self._store.read(remote, start, end)
            node.count(store=len(data))
            yield data
            return

        def counted(chunk: Buffer) -> bool:
            if not take(chunk):
                return False
            node.count(store=len(chunk))
            return True

        for chunk in self._store.stream_into(remote, start, end, piece, counted):
            node.count(store=len(chunk))
            yield chunk


def _result(demanded: Future[bytes]) -> bytes | None:
    """What was read on demand; None if that failed. It is being read, so it ends."""
    try:
        return demanded.result()
    except (KaiwoError, CancelledError):
        return None


def _is_wrong(remote: RemoteObject, data: bytes) -> bool:
    """Whether these are not the bytes of an object, as far as they can be checked at once."""
    stated = remote.checksum
    if len(data) != remote.size or stated is None or remote.may_be_pointer:
        return False
    found = None if checksums.is_guess(stated) else checksums.of_bytes(stated.algorithm, data)
    return found is not None and found != stated


def not_taken(_: Buffer) -> bool:
    """Takes no bytes, see ``protocols.Take``."""
    return False


def _cut(data: memoryview, piece: int) -> Iterator[Buffer]:
    for start in range(0, len(data), piece):
        yield data[start : start + piece]
