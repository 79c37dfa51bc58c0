"""Any other fsspec filesystem, by the methods that all of them have.

What such a filesystem states about a file differs: an etag, a modification time, or only a size.
It cannot be part of a request, so the object is looked up
again before publication (``unpinned``). No such filesystem states a checksum, so the bytes are
checked by their number.

- ``url_to_fs`` is not used: it reads ``::`` as a chain of filesystems.
- Nor is ``find`` where a folder is listed: it leaves out what it cannot list, without a word.
- Links to files are files. Links to folders are left out, with a warning: they may lead in circles.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from fsspec.asyn import AsyncFileSystem

from kaiwo import redact, units
from kaiwo.errors import ConfigError, CredentialsError, KaiwoError, NotFoundError
from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import RemoteObject
from kaiwo.protocols import PIECE, Buffer
from kaiwo.sources.answers import http_date_ns, require_size, seconds_ns, strong_etag
from kaiwo.sources.base import StoreSource
from kaiwo.sources.fsspec_errors import filesystem_error
from kaiwo.sources.fsspec_pool import FilesystemPool, limit_waits
from kaiwo.sources.fsspec_reading import BrokenOffError, Read, opened

logger = logging.getLogger(__name__)
#: A block should take this long; the first one has this size.
_BLOCK_S, _FIRST_BLOCK = 0.25, 1 << 16
#: A git blob is what its digest says.
_ETAGS = ("ETag", "etag", "e_tag", "sha")
_TIMES = ("mtime", "last_modified", "LastModified", "modified", "modify", "created")
#: WebHDFS states milliseconds, MLSD of FTP the digits of a date.
_TIME_MS, _MLSD = "modificationTime", "%Y%m%d%H%M%S"
#: At most this many links are named in a log line.
_MOST_NAMED = 3
Info = dict[str, Any]


class FsspecSource(StoreSource):
    """The files below one path of a filesystem.

    Args:
        make: makes the filesystem; more than once, see ``FilesystemPool``.
        root: the path that keys are relative to.
        url: of that path, for messages.
        network: how connections behave.
    """

    def __init__(
        self, make: Callable[[], Any], root: str, url: str, network: NetworkSettings
    ) -> None:
        super().__init__(url)
        self._pool = FilesystemPool(lambda: limit_waits(make(), network), _is_answer)
        # Some filesystems have no slash at the beginning of their paths.
        self._root = root if root.endswith("/") or not root else f"{root}/"

    def close(self) -> None:
        """See ``protocols.Source``."""
        self._pool.close()

    def display_url(self, key: str) -> str:
        """See ``StoreSource``."""
        return redact.url(self._url + key)

    def _path(self, key: str) -> str:
        return f"{self._root}{key}"

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        with self.translating("listing", prefix), self._pool.lend() as filesystem:
            filesystem.invalidate_cache()
            base = filesystem._strip_protocol(self._path(prefix)).rstrip("/")  # noqa: SLF001
            if _lists_flat(filesystem):
                infos = list(filesystem.find(base, detail=True, withdirs=False).values())
            else:
                infos = list(self._walk(filesystem, base, prefix))
            left_out: list[str] = []
            found = [self._listed(filesystem, info, base, prefix, left_out) for info in infos]
        if left_out:
            self._warn_of_links(left_out)
        return iter([each for each in found if each is not None])

    def _warn_of_links(self, keys: Sequence[str]) -> None:
        names = ", ".join(units.printable(self.display_url(key)) for key in keys[:_MOST_NAMED])
        more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
        text = "left out: links to folders, or to nothing; ask for what they lead to: %s%s"
        logger.warning(text, names, more)

    def _walk(self, filesystem: Any, base: str, prefix: str) -> Iterator[Info]:
        """All that is below a folder and no folder."""
        folders, root = [base], True
        while folders:
            folder = folders.pop()
            try:
                infos = filesystem.ls(folder or self._root, detail=True)
            except NotImplementedError:
                raise ConfigError(
                    f"{self.describe('listing', prefix)}: this protocol cannot list a folder; name "
                    "each file (file: URL)"
                ) from None
            for info in infos:
                info["name"] = filesystem._strip_protocol(info["name"])  # noqa: SLF001
                if info["name"].rstrip("/") == folder:
                    if root and info.get("type", "file") != "directory":
                        raise NotFoundError(f"{self.display_url(prefix)}: a file, not a folder")
                elif info.get("type") == "directory":
                    folders.append(info["name"].rstrip("/"))
                else:
                    yield info
            root = False

    def _listed(
        self, filesystem: Any, info: Info, base: str, prefix: str, left_out: MutableSequence[str]
    ) -> RemoteObject | None:
        """A file of a listing; None for what is none. A link to no file is noted."""
        path = info["name"]
        relative = path.removeprefix(base).lstrip("/")
        if not relative or path.endswith("/"):
            return None
        key = prefix + relative
        is_link = bool(info.get("islink")) or info.get("type") == "link"
        # A listing describes the link, and some state the size of a single file only.
        if is_link or (info.get("type", "file") == "file" and info.get("size") is None):
            try:
                info = filesystem.info(path)
            except FileNotFoundError:
                info = {"type": "nothing"}
        if info.get("type", "file") == "file":
            return self._parse_info(key, info)
        if is_link:
            left_out.append(key)
        return None

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        with self.translating("looking up", key), self._pool.lend() as filesystem:
            filesystem.invalidate_cache()
            info = filesystem.info(self._path(key))
        if info.get("type", "file") != "file":
            raise NotFoundError(f"{self.display_url(key)}: a folder, not a file")
        return self._parse_info(key, info)

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        return b"".join(self.stream(remote, start, end))

    def stream(
        self, remote: RemoteObject, start: int = 0, end: int | None = None, piece: int = PIECE
    ) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        end = remote.size if end is None else end
        with self.translating("reading", remote.key), self._opened(remote, start, end) as read:
            blocks = in_blocks(read, piece)
            yield from self.read_chunks(lambda: next(blocks, b""), remote, end - start)

    @contextmanager
    def _opened(self, remote: RemoteObject, start: int, end: int) -> Iterator[Read]:
        is_whole, path = (start, end) == (0, remote.size), self._path(remote.key)
        with suppress(BrokenOffError), ExitStack() as stack:
            filesystem = stack.enter_context(self._pool.lend())
            yield stack.enter_context(opened(filesystem, path, start, end, is_whole=is_whole))

    def _parse_info(self, key: str, info: dict[str, Any]) -> RemoteObject:
        """A file as its filesystem's ``info`` states it.

        Raises:
            ServiceError: it states no size.
        """
        size = require_size(info.get("size"), self.display_url(key))
        etag = next((str(info[name]) for name in _ETAGS if info.get(name)), None)
        stated = next((info[name] for name in _TIMES if info.get(name)), None)
        if stated is None and isinstance(milliseconds := info.get(_TIME_MS), int):
            stated = milliseconds / 1_000
        return RemoteObject(
            key,
            int(size),
            strong_etag(etag),
            modified_ns=_time_ns(stated),
            unpinned=True,
            silent_reads=True,
        )

    def map_error(self, error: Exception, what: str) -> KaiwoError:
        """See ``StoreSource``."""
        return filesystem_error(error, what)


def _lists_flat(filesystem: Any) -> bool:
    """Whether a filesystem lists all that is below a folder in a way that its service has."""
    own = getattr(type(filesystem), "_find", None)
    return own is not None and own is not AsyncFileSystem._find  # noqa: SLF001 - what others replace


def _is_answer(error: Exception) -> bool:
    """Whether an error is what the server answered, after which its connection is as before."""
    return isinstance(filesystem_error(error, ""), NotFoundError | CredentialsError)


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
        with suppress(ValueError):
            return _time_ns(datetime.strptime(value.partition(".")[0], _MLSD).replace(tzinfo=UTC))
        with suppress(ValueError):
            return _time_ns(datetime.fromisoformat(value))
        return http_date_ns(value)
    if not isinstance(value, datetime):
        return None
    seconds = seconds_ns(value)
    return None if seconds is None else seconds + value.microsecond * 1_000
