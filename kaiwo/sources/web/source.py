"""Files of the web, through the session of fsspec's http filesystem: headers, proxy and trust.

Its ``info`` hides headers and why something failed, and its ``cat_file`` accepts whatever comes as
long as it is as long as the range; so the requests are made here, each once. What they answer is
checked like a store's: the range, the length, and what identifies the file.

    identity     its ETag, else its Last-Modified; and its query, but for what signs it
    checksum     Content-MD5, Repr-Digest, Digest, X-Goog-Hash: few servers state one
    encoding     none is asked for; what is encoded nevertheless is kept as it comes
    folders      a page with links is one; files are the links that lead below it, without a query
    redirects    are followed here, so that what the user gives for one host goes to no other
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yarl
from fsspec.asyn import sync
from multidict import CIMultiDict

from kaiwo import redact
from kaiwo.errors import (
    ChangedError,
    ConfigError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.net.failures import connection_error, wire_error
from kaiwo.net.statuses import RefusedError, status_error
from kaiwo.objects import RemoteObject
from kaiwo.sources.answers import check_answer, check_identity, plain_etag
from kaiwo.sources.base import STREAM_CHUNK
from kaiwo.sources.fsspec import FsspecSource
from kaiwo.sources.fsspec_async import LoopedSource
from kaiwo.sources.paging import Page
from kaiwo.sources.web.headers import checksum_of, length_of, query_of
from kaiwo.sources.web.links import Links, place_of

#: Pages of links, one below the other: more is a server that answers every address with links.
DEEPEST = 64
#: So many files of a folder are looked up at once.
AT_ONCE = 32
MOST_REDIRECTS = 10
_REDIRECTS = {301, 302, 303, 307, 308}
#: What a HEAD is refused with as a GET would be. Else it may be the HEAD: an address that was
#: signed for a GET, a server that knows no HEAD.
_HEAD_COUNTS = {401, 407, 410, 429, 503}
#: Options of the way to a server; the others may be secrets.
_OF_THE_WAY = {"proxy", "proxy_auth", "proxy_headers", "ssl", "timeout"}
#: An ETag of so many letters is another one for another file of the server, whatever the query.
TELLING = 12
_IS_ADDRESS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
logger = logging.getLogger(__name__)


class _NowhereError(Exception):
    """A way that ends at no file; the argument says where it leads."""


class _FolderError(NotFoundError):
    """There is the page of a folder where a file was looked for."""


class WebSource(LoopedSource, FsspecSource):
    """The files below one address.

    Args:
        filesystem: fsspec's of http.
        root: the address that keys are relative to.
        url: of that address, for people.
        options: the names of those that the user gave the filesystem.
        session_options: of a session for other hosts, without anything of the user's.
    """

    def __init__(
        self,
        filesystem: Any,
        root: str,
        url: str,
        options: Collection[str],
        session_options: Mapping[str, Any],
    ) -> None:
        super().__init__(filesystem, root, url)
        self._options = options
        self._session_options = session_options
        self._elsewhere: aiohttp.ClientSession | None = None
        self._said: set[str] = set()

    def close(self) -> None:
        """See ``protocols.Source``; the filesystem closes its session when it goes."""
        if self._elsewhere is not None:
            sync(self._filesystem.loop, self._elsewhere.close)
        super().close()

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return iter(self.list_pages(prefix, partial(self._pages, prefix)))

    def _pages(self, prefix: str, last: str) -> Iterator[Page]:
        """The files that pages of links lead to, some at a time, from those after a key on."""
        with self.translating("listing", prefix):
            links = sync(self._filesystem.loop, self._links_below, prefix)
        left = [link for link in links if link > last]
        for first in range(0, len(left), AT_ONCE):
            some = left[first : first + AT_ONCE]
            yield sync(self._filesystem.loop, self._looked_up, some), some[-1]

    async def _looked_up(self, keys: Sequence[str]) -> Sequence[RemoteObject]:
        """The files of these keys; below those of them that are folders, all files."""
        found = await asyncio.gather(*map(self._stat, keys), return_exceptions=True)
        files: list[RemoteObject] = []
        for key, each in zip(keys, found, strict=True):
            if isinstance(each, _FolderError):
                files += await self._looked_up(await self._links_below(f"{key}/"))
            elif isinstance(each, BaseException):
                raise each
            else:
                files.append(each)
        return files

    async def _links_below(self, prefix: str) -> Sequence[str]:
        """The keys of all files below a folder that pages of links lead to, in their order."""
        found = {prefix}
        folders = [prefix]
        for folder in folders:  # which grows meanwhile
            if folder.count("/") - prefix.count("/") > DEEPEST:
                raise ServiceError(f"{self.display_url(prefix)}: its folders have no end")
            links = sorted({folder + link for link in await self._links(folder)} - found)
            found.update(links)
            folders += [link for link in links if link.endswith("/")]
        return sorted(link for link in found if link and not link.endswith("/"))

    async def _links(self, folder: str) -> Sequence[str]:
        """Where the page of a folder leads to below it, relative to it."""
        async with await self._answer("GET", folder, auto_decompress=True) as answer:
            if answer.content_type != "text/html":
                return []
            page = Links(await answer.text(errors="replace"))
            sized = {"Content-Length", "Transfer-Encoding"} & answer.headers.keys()
        if not (sized or page.is_closed):
            raise TransientError(f"listing {self.display_url(folder)}: the page of links is cut")
        return page.below(answer.url)

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return sync(self._filesystem.loop, self._stat, key)  # type: ignore[no-any-return]

    async def _stat(self, key: str) -> RemoteObject:
        with self.translating("looking up", key):
            headers = await self._headers(key)
        size = length_of(headers)
        if size is None:
            raise ServiceError(
                f"{self.display_url(key)}: the server does not state its size, "
                "so it cannot be checked"
            )
        etag = plain_etag(headers.get("ETag"))
        time = None if etag else headers.get("Last-Modified")
        if not (etag or time):
            self._say_once("states neither ETag nor Last-Modified: that a file of the same size is "
                           "another one is not seen; --force fetches it anew")  # fmt: skip
        query = None if etag and len(etag) >= TELLING else query_of(key)
        version = " ".join(filter(None, (time, query))) or None
        return RemoteObject(key, size, etag, version, checksum_of(headers), unpinned=True)

    async def _headers(self, key: str) -> CIMultiDict[str]:
        """What tells of a file: the headers of a HEAD, and of a GET where that tells too little.

        Raises:
            NotFoundError: the address leads to the page of a folder.
        """
        told = CIMultiDict[str]()
        try:
            async with await self._answer("HEAD", key) as answer:
                self._refuse_folder(key, answer)
                told.update(answer.headers)
        except RefusedError as refused:
            if refused.status in _HEAD_COUNTS:
                raise
        if length_of(told) and told.keys() & {"ETag", "Last-Modified"}:
            return told
        # There are servers that answer a HEAD with nothing, or with the length of nothing.
        async with await self._answer("GET", key, {"Range": "bytes=0-0"}, foreseen=416) as answer:
            self._refuse_folder(key, answer)
            more = CIMultiDict(answer.headers)
            if answer.status == 416:  # noqa: PLR2004 - there is no first byte
                more["Content-Length"] = "0"
            if answer.status != 200:  # noqa: PLR2004 - this is of the part
                more.pop("Content-MD5", None)
            told.update(more)
            answer.close()
        return told

    def _refuse_folder(self, key: str, answer: aiohttp.ClientResponse) -> None:
        leads_to_folder = answer.url.path.endswith("/") and answer.content_type == "text/html"
        if leads_to_folder and not urlsplit(key).path.endswith("/"):
            raise _FolderError(f"{self.display_url(key)}: a folder, not a file; end it with '/'")

    async def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        whole = (start, end) == (0, remote.size)
        headers = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        async with await self._answer("GET", remote.key, headers) as answer:
            self._check(answer, remote, start, end)
            async for chunk in answer.content.iter_chunked(STREAM_CHUNK):
                yield chunk

    def _check(self, answer: Any, remote: RemoteObject, start: int, end: int) -> None:
        """Refuse an answer of another file, or of another range, before its body is read."""
        named, headers = self.display_url(remote.key), answer.headers
        content_range = headers.get("Content-Range")
        check_answer(answer.status, content_range, start, end, remote.size, named)
        if content_range is None and length_of(headers) not in (None, remote.size):
            raise ChangedError(
                f"{named}: {remote.size} bytes were stated, the file has {length_of(headers)} now"
            )
        if remote.etag is not None:
            check_identity(plain_etag(headers.get("ETag")), remote.etag, named)
        elif (time := headers.get("Last-Modified")) is not None:
            planned = (remote.version or "").removesuffix(query_of(remote.key) or "").strip()
            check_identity(time, planned or None, named)

    async def _answer(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str] | None = None,
        *,
        foreseen: int = 200,
        auto_decompress: bool = False,
    ) -> aiohttp.ClientResponse:
        """The answer to a request, wherever that leads; its body is not read yet.

        Raises:
            RefusedError: its status is neither 200 nor 206, nor the one that is foreseen.
        """
        first = address = self._address(key)
        for _ in range(MOST_REDIRECTS):
            session, options = await self._given_for(first, address)
            options["headers"].update({"Accept-Encoding": "identity", **(headers or {})})
            answer = await session.request(
                method, address, **options, auto_decompress=auto_decompress
            )
            leads_to = answer.headers.get("Location") if answer.status in _REDIRECTS else None
            if leads_to is None:
                if answer.status not in (200, 206, foreseen):
                    answer.close()
                    raise RefusedError(answer.status, "", dict(answer.headers))
                return answer
            answer.release()
            is_encoded = _IS_ADDRESS.fullmatch(leads_to) is not None
            address = address.join(yarl.URL(leads_to, encoded=is_encoded))
            if address.scheme not in ("http", "https"):
                raise _NowhereError("to what is no address of the web")
            if first.scheme == "https" and address.scheme == "http":
                self._say_once(f"leads on from https to http, to {redact.url(str(address))}")
        raise _NowhereError("on and on, and perhaps back to where it was")

    async def _given_for(
        self, first: yarl.URL, address: yarl.URL
    ) -> tuple[aiohttp.ClientSession, dict[str, Any]]:
        """The session for an address, and its options: headers and rights are for the first."""
        given = self._filesystem.kwargs
        fixed = {"allow_redirects": False, "raise_for_status": False}
        is_first = place_of(address) == place_of(first)
        if is_first and address.scheme in (first.scheme, "https"):
            headers = CIMultiDict(given.get("headers") or {})
            return await self._filesystem.set_session(), {**given, **fixed, "headers": headers}
        if self._elsewhere is None:
            self._elsewhere = aiohttp.ClientSession(**self._session_options)
        options = {name: value for name, value in given.items() if name in _OF_THE_WAY}
        return self._elsewhere, {**options, **fixed, "headers": CIMultiDict[str]()}

    def _address(self, key: str) -> yarl.URL:
        """What is asked for: as it was given, unless it has letters that no address has."""
        address = self._path(key)
        if _IS_ADDRESS.fullmatch(address):
            return yarl.URL(address, encoded=True)
        return self._filesystem.encode_url(address)  # type: ignore[no-any-return]

    def _say_once(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            logger.warning("%s %s", self._url, what)

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, RefusedError):
            return _refused(error, what)
        if isinstance(error, _NowhereError):
            return ServiceError(f"{what}: it leads {error}")
        if isinstance(error, aiohttp.ClientError):
            return connection_error(error, what) or _told(error, what)
        if isinstance(error, TypeError | AttributeError | ValueError) and self._options:
            names = ", ".join(sorted(self._options))
            return ConfigError(f"{what}: the http filesystem cannot use these options ({names})")
        return super().map_error(error, what)


def _refused(refused: RefusedError, what: str) -> KaiwoError:
    status = refused.status
    found = status_error(status, what, refused.code, refused.headers)
    if isinstance(found, NotFoundError):
        return NotFoundError(f"{what}: {status}: not there; check the URL")
    if isinstance(found, CredentialsError):
        return CredentialsError(
            f"{what}: {status}: access is refused; check the URL and its signature, or what "
            "options give (such as headers), and their rights"
        )
    if status < 400:  # noqa: PLR2004 - HTTP's errors
        return ServiceError(f"{what}: {status}: what the server answers is not the file")
    return found


def _told(error: aiohttp.ClientError, what: str) -> KaiwoError:
    """The error for an exchange that went wrong above the connection."""
    match error:
        case aiohttp.InvalidURL():
            return ServiceError(f"{what}: it, or where it leads to, is no address of the web")
        case aiohttp.ClientResponseError():
            return TransientError(f"{what}: what the server answers is not HTTP")
    return wire_error(error, what)
