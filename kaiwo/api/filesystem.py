"""``kaiwo::`` before a URL of fsspec: a file is fetched whole, verified, and opened from a cache.

    fsspec.open("kaiwo::s3://bucket/key", s3={"endpoint_url": "http://localhost:9000"})
    pandas.read_csv("kaiwo::gs://bucket/table.csv", storage_options={"token": "anon"})

fsspec finds the class by the entry point ``kaiwo`` in the group ``fsspec.specs``. Listings and
sizes are those of the filesystem behind it; only the bytes of files come through kaiwo. At each
open, kaiwo asks the store what the object is: one that was replaced is fetched again, another costs
no byte.

Only whole files are read. Of a large file of which a program needs a part (the footer of a Parquet
file), the filesystem without ``kaiwo::`` reads less.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
from collections.abc import Mapping
from typing import Any, BinaryIO

from fsspec.implementations.cached import WholeFileCacheFileSystem

from kaiwo import units
from kaiwo.api.cache_folder import CacheFolder
from kaiwo.api.cached_files import CachedFiles
from kaiwo.api.fsspec_options import fields_of
from kaiwo.errors import ConfigError
from kaiwo.files.placement import absolute

#: Options of a call that only say how a filesystem reads, writes or shows it.
_WITHOUT_MEANING = {
    "autocommit", "batch_size", "block_size", "cache_options", "cache_type", "callback",
    "compression", "fill_cache", "max_concurrency", "size",
}  # fmt: skip
DEFAULT_LIMIT = "50Gi"


class KaiwoFileSystem(WholeFileCacheFileSystem):  # type: ignore[misc]
    """Reads whole files, fetched and verified by kaiwo; see the module's docstring.

    Args:
        target_protocol: of the filesystem behind it; fsspec takes it from the URL.
        target_options: its options, named as in s3fs, gcsfs, adlfs and others.
        cache_storage: the cache folder. Default: ``kaiwo`` in ``XDG_CACHE_HOME`` or ``~/.cache``.
        cache_limit: how much the folder may hold: bytes, or ``50Gi``. What was opened longest ago
            is removed first; a larger file is refused.
        progress: ``none``, or what ``kaiwo.fetch`` takes.
        fo: the path that fsspec takes from a chain of URLs; not needed.
        options: more options of the filesystem behind it.

    Raises:
        ConfigError: an option is wrong, or kaiwo cannot read as it says.
    """

    protocol = "kaiwo"
    local_file = True

    def __init__(
        self,
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        cache_storage: str | os.PathLike[str] | None = None,
        cache_limit: int | str = DEFAULT_LIMIT,
        progress: str = "none",
        fo: str | None = None,  # noqa: ARG002 - fsspec gives it
        **options: Any,
    ) -> None:
        if target_protocol is None:
            raise ConfigError("kaiwo:: needs a URL behind it: kaiwo::s3://bucket/key")
        own = {each: options.pop(each) for each in ("skip_instance_cache",) if each in options}
        target_options = {**(target_options or {}), **options}
        folder = absolute(os.fspath(cache_storage or default_folder()))
        super().__init__(
            target_protocol=target_protocol,
            target_options=target_options,
            cache_storage=folder,
            expiry_time=0,
            **own,
        )
        # fsspec's own configuration may have added some.
        given = {**self.fs.storage_options, **target_options}
        fields = fields_of(target_protocol, given)
        self.files = CachedFiles(
            CacheFolder(folder, _limit(cache_limit)), fields, progress, self._url
        )

    def __getattribute__(self, item: str) -> Any:
        # The base hands everything that it does not know to the filesystem behind it.
        if item in _OWN:
            return object.__getattribute__(self, item)
        return super().__getattribute__(item)

    def _url(self, path: str) -> str:
        """The URL of a path of the filesystem behind it."""
        host = self.kwargs.get("host")
        if host is None:
            return str(self.fs.unstrip_protocol(path))
        # Filesystems of one host leave it out of their paths.
        port = f":{self.kwargs['port']}" if self.kwargs.get("port") else ""
        return f"{self.target_protocol}://{host}{port}/{path.lstrip('/')}"

    def _open(self, path: str, mode: str = "rb", **options: Any) -> BinaryIO:
        _require_no_meaning(options)
        if mode != "rb":
            raise io.UnsupportedOperation("kaiwo:: reads only: write without kaiwo::")
        return self.files.open([self._strip_protocol(path)])[0]

    def open_many(self, open_files: Any, **_: Any) -> list[Any]:
        """Open several files, all fetched in one run."""
        if "r" not in open_files.mode:
            raise io.UnsupportedOperation("kaiwo:: reads only: write without kaiwo::")
        files = self.files.open([self._strip_protocol(each.path) for each in open_files])
        if "b" in open_files.mode and not any(each.compression for each in open_files):
            return files
        for file in files:
            file.close()
        # fsspec decompresses and decodes, and closes all that it opens for that.
        return [each.__enter__() for each in open_files]

    def _check_file(self, path: str) -> str:
        """The path of the file in the cache, where it is now."""
        with self.files.open([self._strip_protocol(path)])[0] as file:
            return str(file.name)

    def cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,  # noqa: ARG002 - nothing is far away
        on_error: str = "return",  # noqa: ARG002 - they are all there, or none
        **options: Any,
    ) -> list[bytes]:
        """Ranges of files; all ranges of a file are of one state of it."""
        _require_no_meaning(options)
        names = [*dict.fromkeys(paths)]
        with contextlib.ExitStack() as stack:
            opened = self.files.open([self._strip_protocol(each) for each in names])
            files = {
                name: stack.enter_context(file) for name, file in zip(names, opened, strict=True)
            }
            count = len(paths)
            starts = starts if isinstance(starts, list) else [starts] * count
            ends = ends if isinstance(ends, list) else [ends] * count
            return [
                _range(files[path], *limits)
                for path, *limits in zip(paths, starts, ends, strict=True)
            ]

    def get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        """Copy a file out of the cache."""
        _require_no_meaning(options)
        if self.fs.isdir(rpath):
            os.makedirs(lpath, exist_ok=True)
            return
        with self._open(rpath) as source, open(lpath, "wb") as copy:
            shutil.copyfileobj(source, copy)

    def info(self, path: str, **options: Any) -> Any:
        """What the filesystem behind it says."""
        return self.fs.info(path, **options)

    def exists(self, path: str, **options: Any) -> bool:
        """What the filesystem behind it says."""
        return bool(self.fs.exists(path, **options))

    def isfile(self, path: str) -> bool:
        """What the filesystem behind it says."""
        return bool(self.fs.isfile(path))

    def isdir(self, path: str) -> bool:
        """What the filesystem behind it says."""
        return bool(self.fs.isdir(path))

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> Any:
        return await asyncio.to_thread(self.cat_file, path, start, end, **options)

    async def _cat_ranges(self, *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(self.cat_ranges, *args, **options)

    async def _get_file(self, rpath: str, lpath: str, **options: Any) -> None:
        await asyncio.to_thread(self.get_file, rpath, lpath, **options)


def _require_no_meaning(options: Mapping[str, Any]) -> None:
    """Return if the options of one call do not say what is read, as ``version_id`` does.

    Raises:
        ConfigError: they may say so.
    """
    for name, value in options.items():
        if name not in _WITHOUT_MEANING and value is not None:
            raise ConfigError(
                f"kaiwo:: does not know the option {name} of a single file; open it without kaiwo::"
            )


def _range(file: BinaryIO, start: int | None, end: int | None) -> bytes:
    """A part of a file, as a slice names it."""
    first, after, _ = slice(start, end).indices(os.fstat(file.fileno()).st_size)
    file.seek(first)
    return file.read(max(after - first, 0))


_OWN = {"_get_file", "_url", "get_file"}


def _limit(limit: int | str) -> int:
    """The size in bytes."""
    found = units.rate(str(limit))
    if not found:
        raise ConfigError("cache_limit must be bytes, such as 50Gi or 200M")
    return found


def default_folder() -> str:
    """The cache folder, by the XDG Base Directory Specification."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return os.path.join(base if os.path.isabs(base) else "~/.cache", "kaiwo")
