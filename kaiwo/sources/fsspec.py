"""Any other fsspec filesystem, by the methods that all of them have.

What such a filesystem tells of a file differs: an etag, a modification time, or only a size.
Whatever there is serves as identity. It cannot be part of a request, so it is asked again before
publication (``unpinned``); and as no such filesystem states a checksum, the bytes are
checked by their count.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
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
from kaiwo.sources.answers import plain_etag
from kaiwo.sources.base import STREAM_CHUNK, StoreSource

_ETAGS = ("ETag", "etag", "e_tag")
#: Errors of Python's own that filesystems raise, and what they are here.
_FAMILIAR: tuple[tuple[tuple[type[Exception], ...], type[KaiwoError], str], ...] = (
    (
        (FileNotFoundError, IsADirectoryError, NotADirectoryError),
        NotFoundError,
        "not there; check the name",
    ),
    ((PermissionError,), CredentialsError, "access is denied"),
    ((NotImplementedError, ImportError), ServiceError, "this filesystem cannot do that"),
)
_TIMES = ("mtime", "last_modified", "LastModified", "modified", "created")


class FsspecSource(StoreSource):
    """The files below one path of a filesystem.

    Args:
        filesystem: any fsspec filesystem.
        root: the path that keys are relative to.
        url: of that path, for people.
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
                if info.get("size") is None:  # some tell it of a single file only
                    yield self.stat(prefix + relative)
                else:
                    yield self._described(prefix + relative, info)

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        with self.translating("looking up", key):
            info = self._filesystem.info(self._path(key))
        if info.get("type", "file") != "file":
            raise NotFoundError(f"{self.display_url(key)}: a folder, not a file")
        return self._described(key, info)

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

    def _described(self, key: str, info: dict[str, Any]) -> RemoteObject:
        """A file as its filesystem's ``info`` states it.

        Raises:
            ServiceError: its size is not known beforehand.
        """
        size = info.get("size")
        if size is None:
            raise ServiceError(
                f"{self.display_url(key)}: the server does not state its size, "
                "so it cannot be checked"
            )
        etag = next((str(info[name]) for name in _ETAGS if info.get(name)), None)
        time = next((str(info[name]) for name in _TIMES if info.get(name)), None)
        return RemoteObject(key, int(size), plain_etag(etag), time, unpinned=True)

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        # A filesystem may call everything "not found"; what it was raised from tells more.
        if (found := connection_error(error, what)) is not None:
            return found
        statuses = (getattr(cause, "status", None) for cause in chain(error))
        if (status := next((each for each in statuses if isinstance(each, int)), None)) is not None:
            return status_error(status, what)
        for kinds, found_as, text in _FAMILIAR:
            if isinstance(error, kinds):
                return found_as(f"{what}: {text}")
        if any(each.__name__ == "ClientError" for each in type(error).__mro__):
            return wire_error(error, what)  # aiohttp's, which other filesystems need not have
        return None
