"""Reads bytes through obstore; every request is bound to the planned identity.

Objects below 1 MiB are read by obstore's synchronous call, ranges by the asynchronous call on an
event loop in a separate thread: the first costs less for each request, the second less for each
byte (the synchronous call wakes a Python thread for every TLS record). Where no thread can be
started, all reads are synchronous.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any, Literal

import obstore

from kaiwo.errors import ChangedError, UnfinishedError
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.answers import check_etag_or_date, check_identity, datetime_of, seconds_ns
from kaiwo.sources.folder_markers import is_marker, left_out
from kaiwo.sources.obstore.collecting import Collecting
from kaiwo.sources.pieces import Taken, cut
from kaiwo.sources.s3_head import is_length_of_head
from kaiwo.sources.translation import NotForObstoreError

if TYPE_CHECKING:
    from kaiwo.sources.obstore.event_loop import EventLoop

#: From this size on, a read is asynchronous; below, the request costs more than its bytes.
LARGE = 1 << 20
#: The part of an object's identity that a request can be bound to.
Pin = Literal["etag", "version"]


class PinnedReader:
    """Reads the objects of one store. Called from many threads at once.

    Args:
        store: a store of obstore.
        pin: what requests are bound to.
    """

    def __init__(self, store: Any, pin: Pin) -> None:
        self._store = store
        self._pin = pin
        self._lock = threading.Lock()
        self._loop: EventLoop | None = None
        self._has_no_thread = False
        self._is_closed = False
        self._collecting = Collecting()

    def close(self) -> None:
        """Cancel the calls that are under way, and refuse all others."""
        with self._lock:
            self._is_closed = True
            loop = self._loop
        if loop is not None:
            loop.close()

    def read(self, remote: RemoteObject, start: int, end: int, named: str) -> Buffer:
        """The bytes of a range.

        Raises:
            ChangedError: the object is not the planned one.
            PlaceholderError: it only marks a folder.
            BaseError: an error of obstore.
        """
        options = self._options(remote, start, end)
        loop = self._open_loop() if end - start >= LARGE else None
        if loop is None:
            return memoryview(self._get(remote, options, named).bytes())
        return loop.run(self._read_async(remote, options, named))

    def stream(
        self,
        remote: RemoteObject,
        start: int,
        end: int,
        piece: int,
        named: str,
        taken: Taken | None,
    ) -> Generator[Buffer, None, None]:
        """The pieces of a range, whose answer has come and is the right one; see ``read``.

        Args:
            remote: the object.
            start: the first byte.
            end: the byte after the last one.
            piece: no piece has more bytes.
            named: the object, for messages.
            taken: is offered the bytes where they arrive.
        """
        from kaiwo.sources.gathering import arriving  # noqa: PLC0415 - asyncio is slow to load

        options = self._options(remote, start, end)
        loop = self._open_loop()
        if taken is not None:
            taken.begin()
        if loop is None:
            answer = self._get(remote, options, named)
        else:
            answer = loop.run(self._get_async(remote, options, named))
        if taken is not None:
            taken.begin()
        collected = min(self._collecting.next_bytes(), piece)
        measured = self._collecting.measuring(end - start)
        chunks = answer.stream(collected)
        if loop is None:
            return cut(map(measured, chunks), piece)
        return arriving(_each(chunks, measured), piece, loop.submit, taken)

    async def _read_async(self, remote: RemoteObject, options: Any, named: str) -> Buffer:
        answer = await self._get_async(remote, options, named)
        return memoryview(await answer.bytes_async())

    def _get(self, remote: RemoteObject, options: Any, named: str) -> Any:
        answer = obstore.get(self._store, remote.key, options=options)
        self._check(answer, remote, named)
        return answer

    async def _get_async(self, remote: RemoteObject, options: Any, named: str) -> Any:
        answer = await obstore.get_async(self._store, remote.key, options=options)
        self._check(answer, remote, named)
        return answer

    def _open_loop(self) -> EventLoop | None:
        """The event loop; None where no thread can be started for it."""
        with self._lock:
            if self._is_closed:
                raise UnfinishedError("the source is closed")
            if self._loop is None and not self._has_no_thread:
                from kaiwo.sources.obstore.event_loop import EventLoop  # noqa: PLC0415 - slow to load

                try:
                    self._loop = EventLoop("kaiwo-obstore")
                except RuntimeError:
                    self._has_no_thread = True
            return self._loop

    def _options(self, remote: RemoteObject, start: int, end: int) -> Any:
        """What binds a request to the planned identity, and to its range."""
        options: dict[str, Any] = {}
        if remote.version is not None and not (self._pin == "version" and remote.unconditional):
            options["version"] = remote.version
        if remote.unconditional:
            pass
        elif self._pin == "etag" and remote.etag is not None:
            options["if_match"] = f'"{remote.etag}"'
        elif self._pin == "etag" and remote.modified_ns is not None:
            options["if_unmodified_since"] = datetime_of(remote.modified_ns)
        if (start, end) != (0, remote.size):
            options["range"] = (start, end)
        return options

    def _check(self, answer: Any, remote: RemoteObject, named: str) -> None:
        """Refuse an answer of another object, or of a marker, before its body is read."""
        meta = answer.meta
        if not remote.size and is_marker(remote.key, meta["size"], *marker_attributes(answer)):
            raise left_out(named)
        if meta["size"] != remote.size:
            raise ChangedError(
                f"{named}: {remote.size} bytes were listed, the object has {meta['size']} now"
            )
        if self._pin == "etag":
            modified_ns = seconds_ns(meta["last_modified"])
            check_etag_or_date(meta["e_tag"], modified_ns, remote, named)
        else:
            check_identity(meta["version"], remote.version, named)


def marker_attributes(answer: Any) -> tuple[str | None, dict[str, str]]:
    """Content type and metadata of an answer, as ``is_marker`` takes them."""
    attributes = dict(answer.attributes)
    return attributes.pop("Content-Type", None), attributes


def require_length(meta: Any) -> None:
    """Refuse what may be the length of the answer to a HEAD, which has no body.

    Raises:
        NotForObstoreError: the fsspec source finds the length of the object.
    """
    if is_length_of_head(f"{meta['size']}", meta["e_tag"]):
        raise NotForObstoreError("the length may be that of the HEAD itself")


async def _each(chunks: Any, call: Callable[[Buffer], Buffer]) -> AsyncIterator[Buffer]:
    """The chunks of a body as that call gives them back."""
    try:
        async for chunk in chunks:
            yield call(chunk)
    finally:
        # The traceback of the error that ends this keeps what it finds, and with it the connection.
        del chunks
