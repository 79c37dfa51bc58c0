"""Any other fsspec filesystem, by the methods that all of them have.

What such a filesystem states about a file differs: an etag, a modification time, or only a size.
It cannot be part of a request, so the object is looked up
again before publication (``unpinned``). No such filesystem states a checksum, so the bytes are
checked by their number.

``url_to_fs`` is not used: it reads ``::`` as a chain of filesystems.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from kaiwo import redact
from kaiwo.errors import (
    CredentialsError,
    KaiwoError,
    NotFoundError,
    ServiceError,
)
from kaiwo.net.failures import chain, connection_error, wire_error
from kaiwo.net.statuses import status_error
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.answers import http_date_ns, require_size, seconds_ns, strong_etag
from kaiwo.sources.base import STREAM_CHUNK, StoreSource

_ETAGS = ("ETag", "etag", "e_tag")
#: Python's errors that filesystems raise, and their kaiwo errors.
_PYTHON_ERRORS: tuple[tuple[tuple[type[Exception], ...], type[KaiwoError], str], ...] = (
    (
        (FileNotFoundError, IsADirectoryError, NotADirectoryError),
        NotFoundError,
        "not found; check the name",
    ),
    ((NotImplementedError, ImportError), ServiceError, "this filesystem cannot do that"),
)
_TIMES = ("mtime", "last_modified", "LastModified", "modified", "created")


class FsspecSource(StoreSource):
    """The files below one path of a filesystem.

    Args:
        filesystem: any fsspec filesystem.
        root: the path that keys are relative to.
        url: of that path, for messages.
    """

    def __init__(self, filesystem: Any, root: str, url: str) -> None:
        super().__init__(url)
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def close(self) -> None:
        """See ``protocols.Source``."""
        del self._filesystem

    def display_url(self, key: str) -> str:
        """See ``StoreSource``."""
        return redact.url(self._url + key)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        with self.translating("listing", prefix):
            base = self._filesystem._strip_protocol(self._path(prefix)).rstrip("/")  # noqa: SLF001
            found = self._filesystem.find(base, detail=True, withdirs=False)
        for path, info in found.items():
            relative = posixpath.relpath(path, base) if path != base else ""
            if relative and info.get("type", "file") == "file" and not path.endswith("/"):
                if info.get("size") is None:  # some state it for a single file only
                    yield self.stat(prefix + relative)
                else:
                    yield self._parse_info(prefix + relative, info)

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        with self.translating("looking up", key):
            info = self._filesystem.info(self._path(key))
        if info.get("type", "file") != "file":
            raise NotFoundError(f"{self.display_url(key)}: a folder, not a file")
        return self._parse_info(key, info)

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self.translating("reading", remote.key):
            whole = (start, end) == (0, remote.size)
            limits = {} if whole else {"start": start, "end": end}
            data: bytes = self._filesystem.cat_file(self._path(remote.key), **limits)
            return data

    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        with (
            self.translating("reading", remote.key),
            self._filesystem.open(self._path(remote.key), "rb", block_size=0) as file,
        ):
            while chunk := file.read(STREAM_CHUNK):
                yield chunk

    def _parse_info(self, key: str, info: dict[str, Any]) -> RemoteObject:
        """A file as its filesystem's ``info`` states it.

        Raises:
            ServiceError: it states no size.
        """
        size = require_size(info.get("size"), self.display_url(key))
        etag = next((str(info[name]) for name in _ETAGS if info.get(name)), None)
        time = next((info[name] for name in _TIMES if info.get(name)), None)
        return RemoteObject(
            key,
            int(size),
            strong_etag(etag),
            modified_ns=_time_ns(time),
            unpinned=True,
            silent_reads=True,
        )

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, PermissionError):  # of the filesystem; a network refuses so, too
            return CredentialsError(f"{what}: access is denied")
        # A filesystem may call every failure "not found"; the cause says more.
        if (found := connection_error(error, what)) is not None:
            return found
        statuses = (getattr(cause, "status", None) for cause in chain(error))
        if (status := next((each for each in statuses if isinstance(each, int)), None)) is not None:
            return status_error(status, what)
        for kinds, kaiwo_kind, text in _PYTHON_ERRORS:
            if isinstance(error, kinds):
                return kaiwo_kind(f"{what}: {text}")
        if any(each.__name__ == "ClientError" for each in type(error).__mro__):
            return wire_error(error, what)  # aiohttp's; aiohttp may not be installed
        return None


def _time_ns(time: object) -> int | None:
    """A time as filesystems state it, in nanoseconds since 1970: seconds, a datetime, or text."""
    if isinstance(time, int | float):
        return round(time * 1_000_000) * 1_000
    if isinstance(time, str):
        try:
            return _time_ns(datetime.fromisoformat(time))
        except ValueError:
            return http_date_ns(time)
    if not isinstance(time, datetime):
        return None
    seconds = seconds_ns(time)
    return None if seconds is None else seconds + time.microsecond * 1_000
