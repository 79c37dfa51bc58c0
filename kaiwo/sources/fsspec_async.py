"""Sources that read bytes by coroutines, on the event loop of an fsspec filesystem."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fsspec.asyn import sync

from kaiwo.errors import TransientError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.base import StoreSource


class AsyncSource(StoreSource):
    """Base of such a source; it keeps its filesystem in ``_filesystem``."""

    _filesystem: Any

    @abstractmethod
    def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        """The chunks of a range; called in the worker's thread, iterated on the event loop.

        An answer to another range is refused before its body is read.
        """

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self.translating("reading", remote.key):
            chunks, named = self._chunks(remote, start, end), self.display_url(remote.key)
            return sync(self._filesystem.loop, gather_body, chunks, end - start, named)  # type: ignore[no-any-return]

    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        with self.translating("reading", remote.key):
            chunks = self._chunks(remote, 0, remote.size)
        loop = self._filesystem.loop
        yield from self.read_chunks(lambda: sync(loop, anext, chunks, b""), remote)


async def gather_body(chunks: AsyncIterator[bytes], size: int, named: str) -> memoryview:
    """The chunks of a body in one buffer, without a list of chunks and a second copy.

    Args:
        chunks: of the body.
        size: of the body; a shorter one comes back short.
        named: the object, for messages.

    Raises:
        TransientError: the body has more than ``size`` bytes.
    """
    buffer = memoryview(bytearray(size))
    at = 0
    async for chunk in chunks:
        if at + len(chunk) > size:
            raise TransientError(f"{named}: the answer has more than the {size} requested bytes")
        buffer[at : at + len(chunk)] = chunk
        at += len(chunk)
    return buffer[:at]
