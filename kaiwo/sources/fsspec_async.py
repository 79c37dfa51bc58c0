"""Sources whose bytes come by coroutines, on the event loop of an fsspec filesystem."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fsspec.asyn import sync

from kaiwo.errors import TransientError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.base import StoreSource


class LoopedSource(StoreSource):
    """Base of such a source; its filesystem is ``_filesystem``."""

    _filesystem: Any

    @abstractmethod
    def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of a range, as they come; called in the worker's thread, and run on the loop.

        An answer that is not that of the range is refused before its body is read.
        """

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self.translating("reading", remote.key):
            chunks, named = self._chunks(remote, start, end), self.display_url(remote.key)
            return sync(self._filesystem.loop, gathered, chunks, end - start, named)  # type: ignore[no-any-return]

    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        with self.translating("reading", remote.key):
            chunks = self._chunks(remote, 0, remote.size)
        loop = self._filesystem.loop
        yield from self.read_chunks(lambda: sync(loop, anext, chunks, b""), remote)


async def gathered(chunks: AsyncIterator[bytes], size: int, named: str) -> memoryview:
    """A body in one buffer that is made for it: no list of chunks, and no second copy.

    What is short comes back short; TransientError for more than ``size`` bytes of what is named.
    """
    buffer = memoryview(bytearray(size))
    at = 0
    async for chunk in chunks:
        if at + len(chunk) > size:
            raise TransientError(f"{named}: more than the {size} bytes came that were asked for")
        buffer[at : at + len(chunk)] = chunk
        at += len(chunk)
    return buffer[:at]
