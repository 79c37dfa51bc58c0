'''The base of all sources: a provider's code says what a store does, the base does the rest.

A provider implements ``list``, ``stat``, ``read``, ``stream`` and ``map_error``. The base offers:

    translating       maps the errors of a block; messages begin with the operation and the URL
    to_kaiwo_error    the same for one error, where no block encloses the call
    list_pages        lists page by page; continues after a failed page
    read_chunks       yields the chunks of a range; maps the errors of each, and checks their number
    display_url       the URL of a key, for messages and reports

A whole provider, for a store with an SDK of three calls:

    from collections.abc import Iterator

    from kaiwo.errors import CredentialsError, KaiwoError, NotFoundError
    from kaiwo.objects import RemoteObject
    from kaiwo.protocols import PIECE
    from kaiwo.sources.answers import check_identity
    from kaiwo.sources.base import StoreSource
    from kaiwo.sources.paging import Page


    class ShelfSource(StoreSource):
        """The objects of one bucket of Shelf."""

        def __init__(self, client, url: str) -> None:
            super().__init__(url)
            self._client = client

        def list(self, prefix: str) -> Iterator[RemoteObject]:
            def pages(token: str) -> Iterator[Page]:
                while True:
                    with self.translating("listing", prefix):
                        entries, token = self._client.list(prefix, token)
                    files = [entry for entry in entries if not entry[0].endswith("/")]
                    yield [RemoteObject(key, size, etag) for key, size, etag in files], token
                    if not token:
                        return

            return iter(self.list_pages(prefix, pages))

        def stat(self, key: str) -> RemoteObject:
            with self.translating("looking up", key):
                size, etag = self._client.head(key)
            return RemoteObject(key, size, etag)

        def read(self, remote: RemoteObject, start: int, end: int) -> bytes:
            return b"".join(self.stream(remote, start, end))

        def stream(
            self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
        ) -> Iterator[bytes]:
            end = remote.size if end is None else end
            with self.translating("reading", remote.key):
                body, etag = self._client.get(remote.key, start, end)
                check_identity(etag, remote.etag, self.display_url(remote.key))
            with body:
                yield from self.read_chunks(lambda: body.read1(piece), remote, end - start)

        def map_error(self, error: Exception, what: str) -> KaiwoError | None:
            if isinstance(error, KeyError):
                return NotFoundError(f"{what}: not found; check the name")
            if isinstance(error, PermissionError):
                return CredentialsError(f"{what}: access is denied; check the credentials")
            return None

``kaiwo.testing.SourceSuite`` is the definition of a correct source.
'''

from __future__ import annotations

import contextlib
import os
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from kaiwo.errors import BugError, KaiwoError, TransientError
from kaiwo.net.failures import connection_error
from kaiwo.net.statuses import as_anonymous
from kaiwo.objects import RemoteObject
from kaiwo.protocols import PIECE, Buffer, Listed, Take
from kaiwo.sources.paging import Page, PagedListing
from kaiwo.sources.pieces import Taken
from kaiwo.sources.translation import Translation

#: obstore asks for credentials again after this time, if an SDK renews them.
CREDENTIALS_VALID_FOR = timedelta(minutes=1)
T = TypeVar("T", bound=Buffer)


class StoreSource(ABC):
    """Base of the sources; see the module's docstring for an example.

    ``list``, ``stat``, ``fetch_checksum``, ``read``, ``stream``, ``classify`` and ``close`` are
    those of ``protocols.Source``. A source is called from many threads at once.

    Args:
        url: of the bucket, container or repository; it ends in ``/`` and holds no secrets.
        address: of the service, if it is not the provider's public one.
        is_anonymous: requests have no credentials, as errors should say.
    """

    def __init__(self, url: str, address: str = "", *, is_anonymous: bool = False) -> None:
        self.is_anonymous = is_anonymous
        self._url = url
        self._at = f" at {address}" if "://" in address else ""
        self._listing = PagedListing()

    @abstractmethod
    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""

    def list_asking(self, prefix: str, asks: Callable[[RemoteObject], bool]) -> Listed:  # noqa: ARG002 - most listings leave no doubt
        """See ``protocols.Source``; most listings state what is a file."""
        return self.list(prefix), ()

    @abstractmethod
    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""

    def stat_by_reading(self, key: str) -> RemoteObject:
        """See ``protocols.Source``; most sources look up and read in the same way."""
        return self.stat(key)

    def fetch_checksum(self, key: str) -> RemoteObject:
        """See ``protocols.Source``; most sources state the checksum in ``stat``."""
        return self.stat(key)

    def part_lengths(self, key: str, count: int) -> tuple[int, ...] | None:  # noqa: ARG002 - most stores know no parts
        """See ``protocols.Source``."""
        return None

    @abstractmethod
    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""

    @abstractmethod
    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""

    def stream_into(
        self,
        remote: RemoteObject,
        start: int,
        end: int,
        piece: int,
        take: Take,  # noqa: ARG002 - what blocking calls read is in the right thread already
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        return self.stream(remote, start, end, piece)

    def close(self) -> None:  # noqa: B027 - most sources have nothing to give back
        """See ``protocols.Source``."""

    @abstractmethod
    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """The kaiwo error for one of the SDK's errors, or None if the provider does not know it.

        The base then looks for a connection failure among the causes; anything else is a bug.

        Args:
            error: as the SDK raised it; never a kaiwo error.
            what: the operation and the object's URL; the message begins with it. The message must
                not quote the SDK's own text, which may hold a secret or a signed URL.
        """

    def classify(self, error: Exception) -> KaiwoError:
        """See ``protocols.Source``."""
        if isinstance(error, KaiwoError):
            return error
        return self._map(error, f"reading from {self._url}")

    def translating(self, operation: str, key: str) -> Translation:
        """A block whose errors become kaiwo errors; kaiwo errors pass as they are.

        Args:
            operation: such as ``reading``; the message begins with it.
            key: of the object; empty for the bucket itself.
        """
        return Translation(self.to_kaiwo_error, operation, key)

    def to_kaiwo_error(self, error: Exception, operation: str, key: str) -> KaiwoError:
        """The kaiwo error for one error of an operation; see ``translating``."""
        return self._map(error, self.describe(operation, key))

    def describe(self, operation: str, key: str) -> str:
        """An operation, its object and the service, without secrets: messages begin with it."""
        return f"{operation} {self.display_url(key)}{self._at}"

    def read_chunks(
        self,
        next_chunk: Callable[[], T | bytes],
        remote: RemoteObject,
        length: int,
        taken: Taken | None = None,
    ) -> Iterator[T | bytes]:
        """Yield the chunks of a range, with the errors mapped.

        Args:
            next_chunk: gives the next chunk; empty at the end.
            remote: what is read.
            length: of the range; it does not count if the object's size is unknown.
            taken: what of it was taken where it arrived.

        Raises:
            TransientError: fewer or more bytes come.
        """
        came = 0
        while True:
            with self.translating("reading", remote.key):
                chunk = next_chunk()
                came += len(chunk)
                left = length - came - (taken.bytes if taken is not None else 0)
                if not remote.unsized and (left < 0 or (left and not chunk)):
                    raise wrong_length(self.describe("reading", remote.key), length - left, length)
            if not chunk:
                return
            yield chunk

    def read_pieces(
        self,
        pieces: Generator[T, None, None],
        remote: RemoteObject,
        length: int,
        taken: Taken | None = None,
    ) -> Iterator[T | bytes]:
        """As ``read_chunks``, of pieces whose connection is closed with their generator."""
        with contextlib.closing(pieces):
            yield from self.read_chunks(lambda: next(pieces, b""), remote, length, taken)

    def list_pages(
        self, prefix: str, pages: Callable[[str], Iterator[Page]]
    ) -> Sequence[RemoteObject]:
        """All objects below a prefix; a repeated call continues after the last good page.

        Args:
            prefix: what is listed.
            pages: yields the pages from a token on; from the first page for an empty token. A page
                is its objects and the token of the next page, which is empty after the last.

        Raises:
            TransientError: a page failed; the error says how many objects came before it.
        """
        return self._listing.list_all(prefix, pages, self.display_url(prefix) + self._at)

    def display_url(self, key: str) -> str:
        """The URL of a key for messages, without secrets."""
        return self._url + key

    def _map(self, error: Exception, what: str) -> KaiwoError:
        found = self.map_error(error, what) or connection_error(error, what)
        if found is None:
            return BugError(f"{what}: unforeseen {type(error).__name__}{_place(error)}")
        return as_anonymous(found) if self.is_anonymous else found


class OfferingSource(StoreSource):
    """Base of sources that read on an event loop, and offer bytes there to who may take them."""

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        return self._stream(remote, start, remote.size if end is None else end, piece, None)

    def stream_into(
        self, remote: RemoteObject, start: int, end: int, piece: int, take: Take
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        return self._stream(remote, start, end, piece, Taken(take))

    @abstractmethod
    def _stream(
        self, remote: RemoteObject, start: int, end: int, piece: int, taken: Taken | None
    ) -> Iterator[Buffer]:
        """The pieces of a range that are not taken; all of them where there is no ``taken``."""


def wrong_length(what: str, came: int, length: int) -> TransientError:
    """The error for a body that is not as long as what was requested.

    Args:
        what: the operation and its object; the message begins with it.
        came: bytes, at least.
        length: that was requested.
    """
    if came > length:
        return TransientError(f"{what}: the answer has more than the {length} requested bytes")
    return TransientError(f"{what}: the answer ended after {came} of {length} bytes")


def _place(error: Exception) -> str:
    """The line that raised an error, for whoever looks for the bug."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
