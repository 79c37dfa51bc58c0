"""Any other fsspec filesystem, by the methods that all of them have.

What such a filesystem states about a file differs: an etag, a modification time, or only a size.
It cannot be part of a request, so the object is looked up
again before publication (``unpinned``). No such filesystem states a checksum, so the bytes are
checked by their number.

``url_to_fs`` is not used: it reads ``::`` as a chain of filesystems.
"""

from __future__ import annotations

import contextlib
import posixpath
import time
from collections.abc import Callable, Iterator
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
from kaiwo.protocols import PIECE, Buffer
from kaiwo.sources.answers import http_date_ns, require_size, seconds_ns, strong_etag
from kaiwo.sources.base import StoreSource

#: A block should take this long; the first one has this size.
_BLOCK_S, _FIRST_BLOCK = 0.25, 1 << 16
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

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``; a range comes in several reads: not all files can seek."""
        end = remote.size if end is None else end
        path, at = self._path(remote.key), start

        def read_block(size: int) -> bytes:
            nonlocal at
            if at == end:
                return b""
            block: bytes = self._filesystem.cat_file(path, start=at, end=min(at + size, end))
            at += len(block)
            return block

        with self.translating("reading", remote.key), contextlib.ExitStack() as stack:
            read = read_block
            if (start, end) == (0, remote.size):
                read = stack.enter_context(self._filesystem.open(path, "rb", block_size=0)).read
            blocks = in_blocks(read, piece)
            yield from self.read_chunks(lambda: next(blocks, b""), remote, end - start)

    def _parse_info(self, key: str, info: dict[str, Any]) -> RemoteObject:
        """A file as its filesystem's ``info`` states it.

        Raises:
            ServiceError: it states no size.
        """
        size = require_size(info.get("size"), self.display_url(key))
        etag = next((str(info[name]) for name in _ETAGS if info.get(name)), None)
        stated = next((info[name] for name in _TIMES if info.get(name)), None)
        return RemoteObject(
            key,
            int(size),
            strong_etag(etag),
            modified_ns=_time_ns(stated),
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


def in_blocks(read: Callable[[int], bytes], most: int) -> Iterator[bytes]:
    """All that a blocking read gives, in blocks that take about ``_BLOCK_S`` each."""
    size = min(_FIRST_BLOCK, most)
    while True:
        start_s = time.monotonic()
        block = read(size)
        if not block:
            return
        took_s = time.monotonic() - start_s
        yield block
        if took_s < _BLOCK_S / 2:
            size = min(2 * size, most)
        elif took_s > 2 * _BLOCK_S:
            size = max(size // 2, 1 << 10)


def _time_ns(value: object) -> int | None:
    """A time as filesystems state it, in nanoseconds since 1970: seconds, a datetime, or text."""
    if isinstance(value, int | float):
        return round(value * 1_000_000) * 1_000
    if isinstance(value, str):
        try:
            return _time_ns(datetime.fromisoformat(value))
        except ValueError:
            return http_date_ns(value)
    if not isinstance(value, datetime):
        return None
    seconds = seconds_ns(value)
    return None if seconds is None else seconds + value.microsecond * 1_000
