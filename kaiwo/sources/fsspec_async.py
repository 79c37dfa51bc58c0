"""Sources that read bytes by coroutines, on the event loop of an fsspec filesystem."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from kaiwo.errors import UnfinishedError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.base import OfferingSource, wrong_length
from kaiwo.sources.gathering import arriving
from kaiwo.sources.pieces import Taken

T = TypeVar("T")


class AsyncSource(OfferingSource):
    """Base of such a source; it keeps its filesystem in ``_filesystem``."""

    _filesystem: Any

    def __init__(self, url: str, address: str = "", *, is_anonymous: bool = False) -> None:
        super().__init__(url, address, is_anonymous=is_anonymous)
        # A thread that holds it may collect garbage, which cancels a call.
        self._lock = threading.RLock()
        #: Calls that a thread waits for; None once the source is closed.
        self._under_way: set[Future[Any]] | None = set()

    def close(self) -> None:
        """See ``protocols.Source``; calls that are under way are cancelled."""
        with self._lock:
            calls, self._under_way = self._under_way, None
        for call in calls or ():
            call.cancel()
        super().close()

    def _run(self, call: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """The result of an asynchronous call, on the event loop of the filesystem.

        Unlike fsspec's own ``sync``, it ends when the source is closed.

        Raises:
            UnfinishedError: the source is closed, or was closed meanwhile.
        """

        async def called() -> T:
            return await call(*args, **kwargs)

        try:
            return self._submit(called()).result()
        except CancelledError:
            raise UnfinishedError("the source was closed") from None

    def _submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a call on the event loop of the filesystem; ``close`` cancels it.

        Raises:
            UnfinishedError: the source is closed.
        """
        with self._lock:
            if self._under_way is None:
                call.close()
                raise UnfinishedError("the source is closed")
            future = asyncio.run_coroutine_threadsafe(call, self._filesystem.loop)
            self._under_way.add(future)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, call: Future[Any]) -> None:
        with self._lock:
            if self._under_way is not None:
                self._under_way.discard(call)

    @abstractmethod
    def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        """The chunks of a range as they come; called in the worker's thread, iterated on the loop.

        An answer to another range is refused before its body is read.
        """

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self.translating("reading", remote.key):
            chunks, named = self._chunks(remote, start, end), self.display_url(remote.key)
            return self._run(gather_body, chunks, end - start, named)

    def _stream(
        self, remote: RemoteObject, start: int, end: int, piece: int, taken: Taken | None
    ) -> Iterator[Buffer]:
        with self.translating("reading", remote.key):
            chunks = self._chunks(remote, start, end)
        pieces = arriving(chunks, piece, self._submit, taken)
        yield from self.read_pieces(pieces, remote, end - start, taken)


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
            raise wrong_length(named, at + len(chunk), size)
        buffer[at : at + len(chunk)] = chunk
        at += len(chunk)
    return buffer[:at]
