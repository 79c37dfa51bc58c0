"""The seams of kaiwo: what the engine asks of a source, and what it reports to a sink.

The engine imports these and never a source, a task or an SDK. A provider implements ``Source``
(``kaiwo.testing.SourceSuite`` is the definition of a correct one) and an ``Opener`` that makes
it; a display implements ``Sink``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from kaiwo.errors import KaiwoError
from kaiwo.events import Event
from kaiwo.objects import Answer, Place, RemoteObject

Buffer = bytes | bytearray | memoryview
#: Bytes of a stream that are handed on at once, unless another size is asked for.
PIECE = 1 << 20
#: Takes bytes where they arrive; False: they and all that follow are handed to who waits for them.
#: Two empty buffers may come first: when the request goes out, and when its answer has come. What a
#: source loads before and after is no latency of its line.
Take = Callable[[Buffer], bool]
#: The objects of a listing, and what was answered about those that are doubtful.
Listed = tuple[Iterable[RemoteObject], tuple[Answer, ...]]


class Source(Protocol):
    """Where bytes come from. Called from many threads at once."""

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """Every file below ``prefix`` (empty, or ending in ``/``): flat, paged, never cached.

        Placeholders (keys ending in ``/``) and directories are left out. A missing bucket
        raises; an empty prefix of an existing bucket yields nothing.
        """
        ...

    def list_asking(self, prefix: str, asks: Callable[[RemoteObject], bool]) -> Listed:
        """What ``list`` finds, as it is listed; answers say what is no file, or has another size.

        The store is asked only about objects for which ``asks`` is true.
        """
        ...

    def stat(self, key: str) -> RemoteObject:
        """The object of that key, as ``list`` would describe it or better."""
        ...

    def stat_by_reading(self, key: str) -> RemoteObject:
        """The object of that key, as the answer to a read states it; without any condition.

        Some services state other etags there than in their listings.
        """
        ...

    def fetch_checksum(self, key: str) -> RemoteObject:
        """The object of that key, with the best checksum that its store states."""
        ...

    def pin(self, key: str) -> RemoteObject:
        """The object of that key, with its version where it has one, and its best checksum."""
        ...

    def part_lengths(self, key: str, count: int) -> tuple[int, ...] | None:
        """The lengths of the parts in which the object was uploaded; None if nobody can tell."""
        ...

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """Exactly ``end - start`` bytes of exactly this object, or an error.

        A replaced object raises ChangedError, and a server that answers with anything but the
        range RangeIgnoredError. A body that is cut raises TransientError or comes back short,
        which the engine refuses in the same way; bytes that are not the object's never come.
        """
        ...

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
    ) -> Iterator[Buffer]:
        """The bytes of a range as they arrive: what ``read`` gives, from one request.

        A slow connection gives small pieces soon, a fast one full pieces. The request is sent when
        the first piece is asked for; errors are those of ``read``, and the pieces that came before
        one are right. An iterator that is closed early closes its connection.

        Args:
            remote: the object.
            start: the first byte.
            end: the byte after the last one; None: the whole object in a request without a range,
                for servers that ignore ranges and objects of unknown size.
            piece: no piece has more bytes.
        """
        ...

    def stream_into(
        self, remote: RemoteObject, start: int, end: int, piece: int, take: Take
    ) -> Iterator[Buffer]:
        """As ``stream``, without a change of thread for what is taken where it arrives.

        Args:
            remote: the object.
            start: the first byte.
            end: the byte after the last one.
            piece: no piece has more bytes.
            take: may be given bytes, in order, in the thread that reads them. What it does not
                take is yielded.
        """
        ...

    def classify(self, error: Exception) -> KaiwoError:
        """The kaiwo error for an error of this source; its message names no secret.

        A kaiwo error is returned as it is.
        """
        ...

    def close(self) -> None:
        """Close connections. The source is not used afterwards."""
        ...


class Opener(Protocol):
    """A picklable, hashable description of a source; a worker opens it once."""

    @property
    def origin(self) -> str:
        """What tells two sources of the same URL apart: it is remembered with each file."""
        ...

    @property
    def service(self) -> str:
        """The service that it asks: what a run learns about it counts for all its objects."""
        ...

    @property
    def ambient(self) -> str:
        """The identity, where the task does not name it; empty where it does, or needs none.

        What a run learns about an identity counts for all that use it.
        """
        return ""

    def open(self) -> Source:
        """Resolve credentials and connect."""
        ...

    def secrets_digest(self) -> bytes:
        """A digest of the secret files that ``open`` reads; it changes when they do."""
        ...

    def url(self, key: str, version: str | None = None) -> str:
        """The object's URL without secrets; with the version, where a URL can name one."""
        ...


class Placement(Protocol):
    """Decides, without touching the disk, where an object goes."""

    @property
    def root(self) -> str:
        """The folder that all of its targets are below, and that has their state."""
        ...

    def place(self, remote: RemoteObject) -> Place:
        """Where the object goes.

        Raises:
            UnsafeNameError: its key may not be a path.
        """
        ...


class Sink(Protocol):
    """Gets the events of a run, in the scheduler's thread."""

    def emit(self, event: Event) -> None:
        """Must return at once and never raise."""
        ...
