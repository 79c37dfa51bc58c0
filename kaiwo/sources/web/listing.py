"""The files of a folder: those that its pages of links lead to, each looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
#: Folders of a listing whose addresses have no slash: they are found only by reading their pages.
MOST_WITHOUT_SLASH = 10_000


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
        #: The folder that is listed, and what was found below it.
        self._listed = ""
        self._seen: set[str] = set()
        self._without_slash = 0

    def pages(self, prefix: str, last: str) -> Iterator[Page]:
        """The files below a folder, some at a time; the token is the last key.

        Args:
            prefix: the key of the folder.
            last: the key after which to continue; empty for all.
        """
        self._listed = prefix
        found = self._find(prefix)
        left = [key for key in found.keys if key > last]
        for first in range(0, len(left), AT_ONCE):
            some = left[first : first + AT_ONCE]
            yield self._look_up_all(found._replace(keys=some)), some[-1]

    def _look_up_all(self, found: Found) -> list[RemoteObject]:
        """The files of these keys; for a key that is a folder, all files below it."""
        files, folders = self._look_up_each(found)
        while folders:
            # The last one first: folders without end reach their limit before they multiply.
            files_below, folders_below = self._look_up_each(self._find_below(folders.pop()))
            files += files_below
            folders += folders_below
        return sorted(files, key=lambda remote: remote.key)

    def _look_up_each(self, found: Found) -> tuple[list[RemoteObject], list[str]]:
        """The files of these keys, and the keys that are folders."""
        if not found.keys:
            return [], []
        with WorkerThreads(min(AT_ONCE, len(found.keys)), "kaiwo-look-up") as threads:
            looked_up = [threads.submit(self._look_up, key) for key in found.keys]
        files: list[RemoteObject] = []
        folders: list[str] = []
        for key, each in zip(found.keys, looked_up, strict=True):
            try:
                files.append(each.result())
            except FolderError:
                folders.append(key)
            except NotFoundError:
                if key not in found.doubtful:
                    raise
        return files, folders

    def _find_below(self, key: str) -> Found:
        """What is found only below a folder whose address has no slash.

        Raises:
            ServiceError: the listing has too many of them.
        """
        self._without_slash += 1
        if self._without_slash > MOST_WITHOUT_SLASH:
            raise ServiceError(
                f"{self._describe(self._listed)}: more than {MOST_WITHOUT_SLASH} of its pages "
                "without an extension are folders; list the folders below it one by one"
            )
        return self._find(f"{key}/")

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
        """The files below a folder that were not found yet, by the pages of it and its folders."""
        get = partial(self._client.request, "GET")
        found = find_keys(get, self._address_of, self._describe, prefix, self._listed)
        if found.left_out:
            self._leave_out(prefix, found.left_out)
        fresh = [key for key in found.keys if key not in self._seen]
        self._seen.update(fresh)
        return found._replace(keys=fresh)

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
