"""Files of web servers, through the session of fsspec's http filesystem: headers, proxy and trust.

``info`` of that filesystem hides headers and the reason of a failure, and ``cat_file`` accepts
any body that is as long as the range. So kaiwo sends the requests here, once each, and checks the
answers like a store's: range, length and identity.

    identity     ETag, else Last-Modified; and the query, as a digest, without the parameters that
                 sign the address (they change while the file stays the same)
    checksum     Content-MD5, Repr-Digest, Digest, X-Goog-Hash: few servers state one
    encoding     identity is requested; an encoded body is stored as it arrives
    condition    no ``If-Match``: servers with weak ETags refuse it always
    length       where none is stated, the file comes in one stream to its end (``unsized``)
    folders      pages of links, see ``links``
    redirects    followed here, so that what the user gives for one host goes to no other

- fsspec finds links by a pattern, in text too, and goes from page to page without the slash.
  kaiwo uses Python's own HTML parser; a page that is cut is an error.

See docs/decisions/0032.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yarl
from fsspec.asyn import sync

from kaiwo.errors import ChangedError, ConfigError, KaiwoError, ServiceError, StandInError
from kaiwo.net.statuses import RefusedError
from kaiwo.objects import RemoteObject
from kaiwo.sources.answers import (
    check_answer,
    check_etag_or_date,
    check_length,
    http_date_ns,
    strong_etag,
)
from kaiwo.sources.base import STREAM_CHUNK
from kaiwo.sources.fsspec import FsspecSource
from kaiwo.sources.fsspec_async import AsyncSource
from kaiwo.sources.paging import Page
from kaiwo.sources.web.client import WebClient
from kaiwo.sources.web.errors import FolderError, RedirectError, map_client_error, map_refusal
from kaiwo.sources.web.folders import read_folder
from kaiwo.sources.web.headers import (
    NO_END,
    has_end,
    query_digest,
    stated_checksum,
    stated_size,
)
from kaiwo.sources.web.look_up import fetch_headers
from kaiwo.sources.web.pages import is_page, may_be_page

#: Folders below each other; deeper is a server that answers every address with links.
DEEPEST = 64
#: Files of a folder that are looked up at once.
AT_ONCE = 32
#: An ETag of at least this length differs between the files of a server, with any query.
LONG_ETAG = 12


class WebSource(AsyncSource, FsspecSource):
    """The files below one address.

    Args:
        filesystem: fsspec's http filesystem.
        root: the address that keys are relative to.
        url: of that address, for messages.
        options: the names of the options that the user gave the filesystem.
        session_options: of a session for other hosts, with nothing of the user's.
        target_name: that the user gives the only file; empty if files keep their names.
        allow_partial: a folder may have links that cannot be followed.
    """

    def __init__(
        self,
        filesystem: Any,
        root: str,
        url: str,
        options: Collection[str],
        session_options: Mapping[str, Any],
        target_name: str = "",
        *,
        allow_partial: bool = False,
    ) -> None:
        super().__init__(filesystem, root, url)
        self._target_name = target_name
        #: Files that have another size in a GET than in a HEAD.
        self._contradicted: set[str] = set()
        self._allow_partial = allow_partial
        self._options = options
        self._client = WebClient(filesystem, url, session_options)

    def close(self) -> None:
        """See ``protocols.Source``; the filesystem closes its session when it is deleted."""
        other, loop = self._client.other_session, self._filesystem.loop
        del self._client
        super().close()
        # After the calls that use it.
        if other is not None:
            sync(loop, other.close)

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return iter(self.list_pages(prefix, partial(self._pages, prefix)))

    def _pages(self, prefix: str, last: str) -> Iterator[Page]:
        """The files that pages of links lead to, some at a time; the token is the last key."""
        with self.translating("listing", prefix):
            links = self._run(self._find_links, prefix)
        left = [link for link in links if link > last]
        for first in range(0, len(left), AT_ONCE):
            some = left[first : first + AT_ONCE]
            yield self._run(self._look_up_all, some), some[-1]

    async def _look_up_all(self, keys: Sequence[str]) -> Sequence[RemoteObject]:
        """The files of these keys; for a key that is a folder, all files below it."""
        found = await asyncio.gather(*map(self._stat, keys), return_exceptions=True)
        files: list[RemoteObject] = []
        for key, each in zip(keys, found, strict=True):
            if isinstance(each, FolderError):
                files += await self._look_up_all(await self._find_links(f"{key}/"))
            elif isinstance(each, BaseException):
                raise each
            else:
                files.append(each)
        return files

    async def _find_links(self, prefix: str) -> Sequence[str]:
        """The keys of all files below a folder, sorted, by the pages of it and its folders."""
        found = {prefix}
        folders, left_out = [prefix], 0
        for folder in folders:  # the list grows meanwhile
            if folder.count("/") - prefix.count("/") > DEEPEST:
                raise ServiceError(f"{self.display_url(prefix)}: its folders have no end")
            names, unnamed = await self._read_links(folder)
            left_out += unnamed
            links = sorted({folder + name for name in names} - found)
            found.update(links)
            folders += [link for link in links if link.endswith("/")]
        if left_out:
            self._leave_out(prefix, left_out)
        return sorted(link for link in found if link and not link.endswith("/"))

    def _leave_out(self, prefix: str, count: int) -> None:
        """Some links have queries that may name files, and no names for them.

        Raises:
            ServiceError: the item does not allow that.
        """
        text = f"{count} links of its pages may be files, but their queries give them no names"
        if not self._allow_partial:
            raise ServiceError(
                f"listing {self.display_url(prefix)}: {text}; name the files that you want, or "
                "give allow_partial: true to go without them"
            )
        self._client.warn_once(f"is not complete: {text}; they are left out (allow_partial)")

    async def _read_links(self, folder: str) -> tuple[set[str], int]:
        """The keys that a folder's pages lead to, relative to it, and how many links have none."""

        def get(address: yarl.URL) -> Awaitable[aiohttp.ClientResponse]:
            return self._client.request("GET", address, auto_decompress=True)

        first = self._client.parse(self._path(folder))
        found = await read_folder(get, first, f"listing {self.display_url(folder)}")
        return (set(), 0) if found is None else (found.names(), found.left_out())

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self._run(self._stat, key)

    async def _stat(self, key: str) -> RemoteObject:
        with self.translating("looking up", key):
            send = partial(self._request_file, key)
            headers = await fetch_headers(send, believes_head=key not in self._contradicted)
        size = stated_size(headers)
        etag = strong_etag(headers.get("ETag"))
        return RemoteObject(
            key,
            size or 0,
            etag,
            None,
            stated_checksum(headers),
            modified_ns=http_date_ns(headers.get("Last-Modified")),
            variant=None if etag and len(etag) >= LONG_ETAG else query_digest(key),
            unsized=size is None,
            unpinned=True,
        )

    async def _request_file(
        self, key: str, method: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """The answer for a file; there may be no first byte of it.

        Raises:
            FolderError: the address is the page of a folder.
        """
        answer = await self._request(method, key, headers, expected=416)
        try:
            self._refuse_folder(key, answer)
        except FolderError:
            answer.close()
            raise
        return answer

    def _refuse_folder(self, key: str, answer: aiohttp.ClientResponse) -> None:
        is_folder = answer.url.path.endswith("/") and answer.content_type == "text/html"
        if is_folder and not urlsplit(key).path.endswith("/"):
            raise FolderError(f"{self.display_url(key)}: a folder, not a file; end it with '/'")

    async def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        whole = (start, end) == (0, remote.size)
        headers = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        async with await self._request("GET", remote.key, headers) as answer:
            first = await self._refuse_page(answer, remote.key) if start == 0 else b""
            self._check(answer, remote, start, end)
            if first:
                yield first
            async for chunk in answer.content.iter_chunked(STREAM_CHUNK):
                yield chunk

    async def _refuse_page(self, answer: aiohttp.ClientResponse, key: str) -> bytes:
        """Refuse a page in place of a file; the bytes of the body that were read for that.

        Raises:
            StandInError: it is a page.
        """
        names = (urlsplit(key).path.rpartition("/")[2], self._target_name)
        if may_be_page(names):
            return b""
        found, first = await is_page(answer)
        if found:
            raise StandInError(
                f"{self.display_url(key)}: a page of HTML came, not the file; the server may ask "
                "to sign in: open the address in a browser, and check the address and the "
                "credentials in options (such as headers); if the page is what you want, give "
                "target_path a name that ends in .html"
            )
        return first

    def _check(self, answer: Any, remote: RemoteObject, start: int, end: int) -> None:
        """Refuse an answer of another file or another range, before its body is read."""
        named, headers = self.display_url(remote.key), answer.headers
        content_range = headers.get("Content-Range")
        modified_ns = http_date_ns(headers.get("Last-Modified"))
        if remote.unsized:
            if not has_end(answer.status, headers, named):
                self._client.warn_once(NO_END)
            check_etag_or_date(headers.get("ETag"), modified_ns, remote, named)
            return
        try:
            check_answer(answer.status, content_range, start, end, remote.size, named)
            check_length(headers.get("Content-Length"), content_range, remote, named)
        except ChangedError:
            # An error with status 200 states nothing that identifies the file. Without an ETag and
            # a date in the HEAD, a GET has stated the size.
            etag = strong_etag(headers.get("ETag"))
            is_dated = modified_ns is not None and remote.modified_ns in (None, modified_ns)
            if etag == remote.etag and (etag is not None or is_dated):
                self._contradicted.add(remote.key)
            raise
        check_etag_or_date(headers.get("ETag"), modified_ns, remote, named)

    async def _request(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str] | None = None,
        *,
        expected: int = 200,
        auto_decompress: bool = False,
    ) -> aiohttp.ClientResponse:
        """The answer for a key; see ``WebClient.request``."""
        address = self._client.parse(self._path(key))
        return await self._client.request(
            method, address, headers, expected=expected, auto_decompress=auto_decompress
        )

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, RefusedError):
            return map_refusal(error, what)
        if isinstance(error, RedirectError):
            return ServiceError(f"{what}: {error}")
        if isinstance(error, aiohttp.ClientError):
            return map_client_error(error, what)
        if isinstance(error, TypeError | AttributeError | ValueError) and self._options:
            names = ", ".join(sorted(self._options))
            return ConfigError(f"{what}: the http filesystem cannot use these options ({names})")
        return super().map_error(error, what)
