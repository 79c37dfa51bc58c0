"""Files of the web, through the session of fsspec's http filesystem: headers, proxy and trust.

Its ``info`` hides headers and why something failed, and its ``cat_file`` accepts whatever comes as
long as it is as long as the range; so the requests are made here, each once. What they answer is
checked like a store's: the range, the length, and what identifies the file.

    identity     its ETag, else its Last-Modified; and its query, but for what signs it
    checksum     Content-MD5, Repr-Digest, Digest, X-Goog-Hash: few servers state one
    encoding     none is asked for; what is encoded nevertheless is kept as it comes
    folders      a page with links is one; files are the links that lead below it, without a query
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import yarl
from fsspec.asyn import sync
from multidict import CIMultiDict, CIMultiDictProxy

from kaiwo import checksums, redact
from kaiwo.errors import (
    ChangedError,
    ConfigError,
    CredentialsError,
    KaiwoError,
    NotFoundError,
    ServiceError,
    TransientError,
)
from kaiwo.network import connection_error, status_error, wire_error
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.sources.base import STREAM_CHUNK, check_answer, check_identity, plain_etag
from kaiwo.sources.fsspec import FsspecSource
from kaiwo.sources.looped import LoopedSource
from kaiwo.urls import plain_name

#: Pages of links, one below the other: more is a server that answers every address with links.
DEEPEST = 64
#: So many files of a folder are looked up at once.
AT_ONCE = 32
#: What refuses a HEAD only: an address that was signed for a GET, a server that knows no HEAD.
_NO_HEAD = {400, 403, 405, 501}
_SIGNATURES = {"sig", "signature", "x-amz-signature", "x-goog-signature"}
#: Parameters of a signed address: they change while the file stays what it is.
_SIGNING = re.compile(
    r"x-(?:amz|goog)-.+|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id|"
    r"s[eprstv]|srt|spr|sig|sip|si|sk(?:oid|tid|[tesv])"
)
_TOKEN = re.compile(r"(?:\w+_)?token|hmac|jwt|api_?key")
_IS_ADDRESS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
#: Bytes of the checksums that headers state.
_LENGTHS = {"md5": 16, "sha256": 32, "crc32c": 4}
logger = logging.getLogger(__name__)


class _RefusedError(Exception):
    """An answer of 400 or more; arguments: its status and headers."""


class WebSource(LoopedSource, FsspecSource):
    """The files below one address.

    Args:
        filesystem: fsspec's of http, whose session does not unpack bodies.
        root: the address that keys are relative to.
        url: of that address, for people.
        options: the names of those that the user gave the filesystem.
    """

    def __init__(self, filesystem: Any, root: str, url: str, options: Collection[str]) -> None:
        super().__init__(filesystem, root, url)
        self._options = options
        self._said: set[str] = set()

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        with self._doing("listing", prefix):
            keys = sync(self._filesystem.loop, self._linked, prefix)
        for first in range(0, len(keys), AT_ONCE):
            yield from sync(self._filesystem.loop, self._looked_up, keys[first : first + AT_ONCE])

    async def _looked_up(self, keys: Sequence[str]) -> Sequence[RemoteObject]:
        return await asyncio.gather(*map(self._stat, keys))

    async def _linked(self, prefix: str) -> Sequence[str]:
        """The keys of all files below a folder that pages of links lead to."""
        found = {prefix}
        folders = [prefix]
        for folder in folders:  # which grows meanwhile
            if folder.count("/") - prefix.count("/") > DEEPEST:
                raise ServiceError(f"{self._named(prefix)}: its folders have no end")
            links = sorted({folder + link for link in await self._links(folder)} - found)
            found.update(links)
            folders += [link for link in links if link.endswith("/")]
        return sorted(link for link in found if link and not link.endswith("/"))

    async def _links(self, folder: str) -> Sequence[str]:
        """Where the page of a folder leads to below it, relative to it."""
        async with await self._answer("GET", folder) as answer:
            if answer.content_type != "text/html":
                return []
            page = await answer.text(errors="replace")
        base = answer.url if answer.url.raw_path.endswith("/") else answer.url / ""
        found = []
        for address in _Anchors.of(page):
            try:
                link = base.join(yarl.URL(address))
            except ValueError:
                continue
            is_below = link.host == base.host and link.raw_path.startswith(base.raw_path)
            if is_below and link.raw_path != base.raw_path and not link.raw_query_string:
                found.append(plain_name(link.raw_path[len(base.raw_path) :]))
        return found

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return sync(self._filesystem.loop, self._stat, key)  # type: ignore[no-any-return]

    async def _stat(self, key: str) -> RemoteObject:
        with self._doing("looking up", key):
            try:
                async with await self._answer("HEAD", key) as answer:
                    size = _length(answer.headers)
            except _RefusedError as refused:
                if refused.args[0] not in _NO_HEAD:
                    raise
                size = None
            if not size:  # there are servers that tell nothing in a HEAD, or that it is empty
                async with await self._answer("GET", key, {"Range": "bytes=0-0"}, 416) as answer:
                    size = 0 if answer.status == 416 else _length(answer.headers)  # noqa: PLR2004
                    answer.close()
        if size is None:
            raise ServiceError(
                f"{self._named(key)}: the server does not state its size, so it cannot be checked"
            )
        etag = plain_etag(answer.headers.get("ETag"))
        time = None if etag else answer.headers.get("Last-Modified")
        if not (etag or time):
            self._say_once("states neither ETag nor Last-Modified: that a file of the same size is "
                           "another one is not seen; --force fetches it anew")  # fmt: skip
        version = " ".join(filter(None, (time, _query_of(key)))) or None
        checksum = _checksum(answer.headers) if answer.status != 206 else None  # noqa: PLR2004
        return RemoteObject(key, size, etag, version, checksum, unpinned=True)

    async def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        whole = (start, end) == (0, remote.size)
        headers = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        async with await self._answer("GET", remote.key, headers) as answer:
            self._check(answer, remote, start, end)
            async for chunk in answer.content.iter_chunked(STREAM_CHUNK):
                yield chunk

    def _check(self, answer: Any, remote: RemoteObject, start: int, end: int) -> None:
        """Refuse an answer of another file, or of another range, before its body is read."""
        named, headers = self._named(remote.key), answer.headers
        content_range = headers.get("Content-Range")
        check_answer(answer.status, content_range, start, end, remote.size, named)
        if content_range is None and _length(headers) not in (None, remote.size):
            raise ChangedError(
                f"{named}: {remote.size} bytes were stated, the file has {_length(headers)} now"
            )
        if remote.etag is not None:
            check_identity(plain_etag(headers.get("ETag")), remote.etag, named)
        elif (time := headers.get("Last-Modified")) is not None:
            planned = (remote.version or "").removesuffix(_query_of(remote.key) or "").strip()
            check_identity(time, planned or None, named)

    async def _answer(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str] | None = None,
        foreseen: int | None = None,
    ) -> aiohttp.ClientResponse:
        """The answer to one request; its body is not read yet.

        Raises:
            _RefusedError: its status is 400 or more, and not the one that is foreseen.
        """
        filesystem = self._filesystem
        session = await filesystem.set_session()
        options = {"allow_redirects": True, **filesystem.kwargs, "raise_for_status": False}
        options["headers"] = CIMultiDict(options.get("headers") or {})
        options["headers"].update({"Accept-Encoding": "identity", **(headers or {})})
        address = self._address(key)
        answer: aiohttp.ClientResponse = await session.request(method, address, **options)
        if address.scheme == "https" and answer.url.scheme == "http":
            self._say_once(f"leads on from https to http, to {redact.url(str(answer.url))}")
        if answer.status >= 400 and answer.status != foreseen:  # noqa: PLR2004 - HTTP's errors
            answer.close()
            raise _RefusedError(answer.status, dict(answer.headers))
        return answer

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

    def _known(self, error: Exception, what: str) -> KaiwoError | None:
        if isinstance(error, _RefusedError):
            status, headers = error.args
            return _refused(status, headers, what)
        if isinstance(error, aiohttp.ClientError):
            return connection_error(error, what) or _told(error, what)
        if isinstance(error, TypeError | AttributeError | ValueError) and self._options:
            names = ", ".join(sorted(self._options))
            return ConfigError(f"{what}: the http filesystem does not take options ({names})")
        return super()._known(error, what)


class _Anchors(HTMLParser):
    """Collects what the links of a page lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    @classmethod
    def of(cls, page: str) -> list[str]:
        """The addresses, as they stand there."""
        parser = cls()
        parser.feed(page)
        return parser.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See ``HTMLParser``."""
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def _refused(status: int, headers: Mapping[str, str], what: str) -> KaiwoError:
    found = status_error(status, what, "", headers)
    if isinstance(found, NotFoundError):
        return NotFoundError(f"{what}: {status}: not there; check the URL")
    if isinstance(found, CredentialsError):
        return CredentialsError(
            f"{what}: {status}: access is refused; check the URL and its signature, or what "
            "options give (such as headers), and their rights"
        )
    return found


def _told(error: aiohttp.ClientError, what: str) -> KaiwoError:
    """The error for an exchange that went wrong above the connection."""
    match error:
        case aiohttp.TooManyRedirects():
            return ServiceError(f"{what}: it leads on and on, and perhaps back to where it was")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return ServiceError(f"{what}: it, or where it leads to, is no address of the web")
        case aiohttp.ClientResponseError():
            return TransientError(f"{what}: what the server answers is not HTTP")
    return wire_error(error, what)


def _length(headers: Mapping[str, str]) -> int | None:
    """Bytes of the whole file, if an answer states them."""
    stated = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length")
    return int(stated) if stated and stated.isdecimal() else None


def _query_of(key: str) -> str | None:
    """What of a query belongs to the file's identity, as a digest: it may hold a secret."""
    query = urlsplit(key).query
    if not query:
        return None
    pairs = parse_qsl(query, keep_blank_values=True)
    is_signed = any(name.lower() in _SIGNATURES for name, _ in pairs)
    left = [
        f"{name}={value}"
        for name, value in pairs
        if not _TOKEN.fullmatch(name.lower())
        and not (is_signed and _SIGNING.fullmatch(name.lower()))
    ]
    return hashlib.sha256("&".join(left).encode()).hexdigest()[:16] if left else None


def _checksum(headers: CIMultiDictProxy[str]) -> Checksum | None:
    """The best checksum that an answer with the whole file states."""
    told = [f"md5={headers.get('Content-MD5', '')}"]
    for name in ("X-Goog-Hash", "Digest", "Repr-Digest"):
        told += ",".join(headers.getall(name, [])).split(",")
    stated: dict[str, str | None] = {}
    for each in told:
        name, _, value = each.strip().partition("=")
        algorithm = name.lower().replace("sha-", "sha")
        digits = checksums.from_base64(value.strip(":"))
        if digits and len(digits) == 2 * _LENGTHS.get(algorithm, 0):
            stated[algorithm] = digits
    return checksums.best(stated)
