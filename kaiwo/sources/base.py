"""What all sources share: errors that name the operation, and the check of a range's answer."""

from __future__ import annotations

import logging
import os
import re
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from kaiwo.errors import (
    BugError,
    ChangedError,
    KaiwoError,
    RangeIgnoredError,
    WrongRangeError,
)
from kaiwo.net.failures import chain, connection_error
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.paging import Page, Paged

logger = logging.getLogger(__name__)
#: How much of a single stream is held at once.
STREAM_CHUNK = 1 << 20
#: Credentials that an SDK renews by itself, obstore asks for again after so long.
ASKED_AGAIN = timedelta(minutes=1)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class NotForObstoreError(Exception):
    """Why the fsspec source has to do it instead of obstore's, in words for the log."""


class StoreSource(ABC):
    """Base of the sources.

    Args:
        url: of the bucket, container or repository, ending in ``/``, without secrets.
        address: of the service, when it is not the provider's public one.
    """

    def __init__(self, url: str, address: str = "") -> None:
        self._url = url
        self._at = f" at {address}" if "://" in address else ""
        self._paged = Paged()

    @abstractmethod
    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""

    @abstractmethod
    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""

    def fetch_checksum(self, key: str) -> RemoteObject:
        """See ``protocols.Source``; most sources tell all they know at once."""
        return self.stat(key)

    @abstractmethod
    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""

    @abstractmethod
    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""

    @abstractmethod
    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """The kaiwo error for one of the SDK's own, or None."""

    def close(self) -> None:  # noqa: B027 - most sources have nothing to give back
        """See ``protocols.Source``."""

    def classify(self, error: Exception) -> KaiwoError:
        """See ``protocols.Source``."""
        if isinstance(error, KaiwoError):
            return error
        return self._classified(error, f"reading from {self._url}")

    def _classified(self, error: Exception, what: str) -> KaiwoError:
        found = self.map_error(error, what) or connection_error(error, what)
        return found or BugError(f"{what}: unforeseen {type(error).__name__}{_place(error)}")

    def translating(self, operation: str, key: str) -> _Doing:
        """Errors inside become kaiwo's, and begin with the operation and the object's URL."""
        return _Doing(self, operation, key)

    def to_kaiwo_error(self, error: Exception, operation: str, key: str) -> KaiwoError:
        """The kaiwo error for what the operation on that key ended with."""
        return self._classified(error, f"{operation} {self.display_url(key)}{self._at}")

    def read_chunks(self, next_chunk: Callable[[], bytes], remote: RemoteObject) -> Iterator[bytes]:
        """What the callable gives, one after the other, until it gives nothing."""
        while True:
            with self.translating("reading", remote.key):
                chunk = next_chunk()
            if not chunk:
                return
            yield chunk

    def list_pages(
        self, prefix: str, pages: Callable[[str], Iterator[Page]]
    ) -> Sequence[RemoteObject]:
        """Everything below a prefix, from where an earlier attempt was cut; see ``Paged.all``."""
        return self._paged.all(prefix, pages, self.display_url(prefix) + self._at)

    def display_url(self, key: str) -> str:
        """The URL of a key, without secrets."""
        return self._url + key


class _Doing:
    """See ``StoreSource.translating``; no generator, since every small object passes through it."""

    __slots__ = ("_key", "_operation", "_source")

    def __init__(self, source: StoreSource, operation: str, key: str) -> None:
        self._source = source
        self._operation = operation
        self._key = key

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, KaiwoError | NotForObstoreError):
            to_kaiwo_error = self._source.to_kaiwo_error(error, self._operation, self._key)
            causes = " from ".join(type(each).__name__ for each in chain(error))
            logger.debug("%s (%s)", to_kaiwo_error, causes)
            # What an SDK says may quote a request, and a chain of errors is shown whole.
            raise to_kaiwo_error from None


def _place(error: Exception) -> str:
    """Where an error was raised, for whoever has to find the defect."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def check_answer(
    status: int, content_range: str | None, start: int, end: int, size: int, named: str
) -> None:
    """Accept a successful answer to a request for a range, before its body is read.

    Args:
        status: 200 or 206.
        content_range: the header of that name.
        start: first byte that was asked for.
        end: the byte after the last.
        size: of the object.
        named: the object, for people.

    Raises:
        RangeIgnoredError: the whole object comes instead.
        ChangedError: the object has another length than was planned.
        WrongRangeError: another range comes.
    """
    whole = start == 0 and end == size
    if content_range is None and status != 206:  # noqa: PLR2004 - HTTP's partial content
        if whole:
            return
        raise RangeIgnoredError(f"{named}: the server ignores ranges")
    # Some servers (rclone's) send the right range under status 200: the header decides.
    match = _CONTENT_RANGE.fullmatch(content_range or "")
    if match is not None and match[3] not in ("*", str(size)):
        raise ChangedError(f"{named}: {size} bytes were listed, the object has {match[3]} now")
    if match is None or (int(match[1]), int(match[2]) + 1) != (start, end):
        raise WrongRangeError(
            f"{named}: bytes {start} to {end} were asked for, the server answers "
            f"{content_range or 'without Content-Range'}"
        )


def check_identity(found: str | None, planned: str | None, named: str) -> None:
    """Refuse an answer that carries another identity than was planned of the object named.

    Raises:
        ChangedError: the object was replaced.
    """
    if found is not None and planned is not None and found != planned:
        raise ChangedError(f"{named}: the object was replaced since it was listed")


def plain_etag(etag: str | None) -> str | None:
    """An etag without quotes and weakness mark."""
    if not etag:
        return None
    return etag.removeprefix("W/").strip('"') or None
