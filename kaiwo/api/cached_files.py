"""Files behind a filesystem, fetched where they are not in the cache as they are now."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from kaiwo import environment
from kaiwo.api.cache_folder import CacheFolder
from kaiwo.api.fetch_fields import OF_FSSPEC
from kaiwo.api.fetch_order import order_of_requests, paths_of
from kaiwo.api.run import carry_out
from kaiwo.config import fetch_url
from kaiwo.errors import CredentialsError, NotFoundError
from kaiwo.net import proxies
from kaiwo.reporting.displays import program_sink
from kaiwo.tasks.fetch_request import FetchRequest

#: Another process may remove a file of the cache before it is opened.
_ATTEMPTS = 5


class CachedFiles:
    """The files behind a filesystem, each fetched where it is not in the cache as it is now.

    Args:
        cache: where they are.
        fields: of the tasks that fetch them.
        progress: see ``kaiwo.fetch``.
        url_of: the URL of a path.
    """

    def __init__(
        self,
        cache: CacheFolder,
        fields: dict[str, Any],
        progress: str,
        url_of: Callable[[str], str],
    ) -> None:
        self._cache = cache
        self._fields = fields
        self._progress = progress
        self._url_of = url_of

    def open(self, paths: Sequence[str]) -> list[BinaryIO]:
        """Open files as they are in their store now.

        Raises:
            FileNotFoundError: there is no such object.
            PermissionError: access is refused.
            KaiwoError: it cannot be fetched for another reason.
        """
        urls = [self._url_of(path) for path in paths]
        for attempt in range(_ATTEMPTS):
            files: list[BinaryIO] = []
            try:
                places, is_new = self._fetched(urls)
                for path, place in zip(paths, places, strict=True):
                    files.append(_opened(self._cache, str(place), path))
            except _RemovedError:
                for file in files:
                    file.close()
                if attempt + 1 == _ATTEMPTS:
                    raise
            else:
                if is_new:  # other processes may have fetched some at the same time
                    self._cache.trim({str(file.name) for file in files})
                return files
        raise AssertionError("not reached")

    def _fetched(self, urls: Sequence[str]) -> tuple[list[Path], bool]:
        """The paths of the files, and whether any was fetched."""
        try:
            with environment.cleaned(proxies.canonical):
                requests = [self._readings(url) for url in urls]
                asked = order_of_requests(requests, self._fields, {"fail_fast": True}, OF_FSSPEC)
                sink = program_sink(self._progress)
                done = carry_out(asked.order, sink, self._cache.make_room, raises=True)
            return paths_of(asked.outcomes(done)), done.report.transferred_bytes > 0
        # Programs that read through fsspec know the errors of Python.
        except NotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, error.message) from error
        except CredentialsError as error:
            raise PermissionError(errno.EACCES, error.message) from error

    def _readings(self, url: str) -> list[FetchRequest]:
        """What a URL may mean; here, no folder."""
        parsed = fetch_url.parse(url, globs=False)
        if parsed.is_folder:
            raise IsADirectoryError(errno.EISDIR, "kaiwo:: opens files", url)
        endpoint, account = self._fields.get("endpoint_url"), self._fields.get("account_name")
        place = self._cache.place((str(endpoint), str(account), url))
        urls = [parsed, parsed.other_reading()]
        return [FetchRequest(each, place, is_file=True) for each in urls if each is not None]


class _RemovedError(FileNotFoundError):
    """A file of the cache is gone."""


def _opened(cache: CacheFolder, place: str, path: str) -> BinaryIO:
    try:
        file = cache.open(place)
    except FileNotFoundError as error:
        raise _RemovedError(*error.args, place) from error
    file.original = path  # type: ignore[attr-defined] # fsspec tells the compression by it
    return file
