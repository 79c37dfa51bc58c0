"""The files of a folder: those that its pages of links lead to, each looked up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from kaiwo.errors import NotFoundError, ServiceError
from kaiwo.objects import RemoteObject
from kaiwo.sources.paging import Page
from kaiwo.sources.web.client import WebClient
from kaiwo.sources.web.errors import FolderError
from kaiwo.sources.web.folders import Found, find_keys, read_folder
from kaiwo.workers.threads import WorkerThreads

#: Files of a folder that are looked up at once.
AT_ONCE = 32


class WebListing:
    """Lists folders of one source.

    Args:
        client: sends the requests.
        address_of: the address of a key.
        describe: the same for messages.
        stat: looks a file up, and says whether it may be a folder.
        allow_partial: a folder may have links that cannot be followed.
    """

    def __init__(
        self,
        client: WebClient,
        address_of: Callable[[str], str],
        describe: Callable[[str], str],
        stat: Callable[[str], tuple[RemoteObject, bool]],
        allow_partial: bool,
    ) -> None:
        self._client = client
        self._address_of = address_of
        self._describe = describe
        self._stat = stat
        self._allow_partial = allow_partial

    def pages(self, prefix: str, last: str) -> Iterator[Page]:
        """The files below a folder, some at a time; the token is the last key.

        Args:
            prefix: the key of the folder.
            last: the key after which to continue; empty for all.
        """
        found = self._find(prefix)
        left = [key for key in found.keys if key > last]
        for first in range(0, len(left), AT_ONCE):
            some = left[first : first + AT_ONCE]
            yield self._look_up_all(some, found.doubtful), some[-1]

    def _look_up_all(
        self, keys: Sequence[str], doubtful: Collection[str]
    ) -> Sequence[RemoteObject]:
        """The files of these keys; for a key that is a folder, all files below it."""
        with WorkerThreads(min(AT_ONCE, len(keys)), "kaiwo-look-up") as threads:
            looked_up = [threads.submit(self._look_up, key) for key in keys]
        files: list[RemoteObject] = []
        for key, each in zip(keys, looked_up, strict=True):
            try:
                files.append(each.result())
            except FolderError:
                found = self._find(f"{key}/")
                files += self._look_up_all(found.keys, found.doubtful)
            except NotFoundError:
                if key not in doubtful:
                    raise
        return files

    def _look_up(self, key: str) -> RemoteObject:
        """The file of a key.

        Raises:
            FolderError: its page leads to files below it, though its address has no slash.
        """
        remote, may_be_folder = self._stat(key)
        if may_be_folder:
            what = f"listing {self._describe(key)}"
            page = read_folder(partial(self._client.request, "GET"), self._address_of(key), what)
            if page is not None and page.names():
                raise FolderError(f"{self._describe(key)}: a folder, not a file")
        return remote

    def _find(self, prefix: str) -> Found:
        """All files below a folder, by the pages of it and its folders."""
        get = partial(self._client.request, "GET")
        found = find_keys(get, self._address_of, self._describe, prefix)
        if found.left_out:
            self._leave_out(prefix, found.left_out)
        return found

    def _leave_out(self, prefix: str, count: int) -> None:
        """Some links have queries that name no file, or lead to no page of links.

        Raises:
            ServiceError: the item does not allow that.
        """
        text = (
            f"{count} links of its pages may be files, but their queries give them no names, or "
            "no page of links is at such a folder"
        )
        if not self._allow_partial:
            raise ServiceError(
                f"listing {self._describe(prefix)}: {text}; name the files that you want, or "
                "give allow_partial: true to go without them"
            )
        self._client.warn_once(f"is not complete: {text}; they are left out (allow_partial)")
