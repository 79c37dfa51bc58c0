"""Google Cloud Storage, through the session of a gcsfs filesystem.

gcsfs repeats failed requests for up to half a minute (401 included), and its ``cat_file`` hides
headers. So kaiwo sends the requests of the JSON interface itself, on the filesystem's session,
once each.

- Media is requested with ``Accept-Encoding: gzip`` and not unpacked. Objects stored with
  ``Content-Encoding: gzip`` then arrive as they are stored, which is what size and checksum
  describe. Without that header the service unpacks them on the way and ignores ranges.
- A generation that was deleted answers 404: the object was replaced or removed.
- A token that is refused before its end is replaced once, and the request is sent again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import yarl

from kaiwo import checksums
from kaiwo.errors import (
    ChangedError,
    ContainerMissingError,
    KaiwoError,
    TransientError,
)
from kaiwo.net import encodings, proxies
from kaiwo.net.codes import code_in
from kaiwo.net.failures import wire_error
from kaiwo.net.statuses import GARBLED, RefusedError, garbled, refusal_error
from kaiwo.objects import RemoteObject
from kaiwo.protocols import PIECE
from kaiwo.sources.answers import (
    check_answer,
    check_identity,
    check_length,
    seconds_ns,
    stated_size,
    strong_etag,
)
from kaiwo.sources.folder_markers import is_marker, not_a_file
from kaiwo.sources.fsspec_async import AsyncSource
from kaiwo.sources.gcs_listing import GcsListing
from kaiwo.sources.gcs_tokens import map_token_error
from kaiwo.sources.identity import Identity, TokenError
from kaiwo.sources.translation import NOBODY

_FIELDS = "name,size,etag,generation,md5Hash,crc32c,timeCreated,contentType"


class GcsSource(AsyncSource):
    """The objects of one bucket.

    Args:
        filesystem: a gcsfs filesystem that no other source uses; its session unpacks no bodies.
        bucket: its name.
        url: ``gs://bucket/``.
        address: see ``StoreSource``.
        identity: whose tokens are sent; None: nobody's.
        payer: the project that pays for the requests; None: the bucket's.
        ssl: a TLS context with what the task trusts, or None for the system's.
    """

    def __init__(
        self,
        filesystem: Any,
        bucket: str,
        url: str,
        address: str,
        identity: Identity | None = None,
        payer: str | None = None,
        ssl: Any = None,
    ) -> None:
        super().__init__(url, address, (lambda: NOBODY) if identity is None else identity.describe)
        self._filesystem = filesystem
        self._objects = f"b/{quote(bucket, safe='')}/o"
        self._pages = GcsListing(self, self._page, _parse_listed).pages
        self._ssl = {} if ssl is None else {"ssl": ssl}
        self._identity = identity
        self._payer = {} if payer is None else {"userProject": payer}

    def close(self) -> None:
        """See ``protocols.Source``; the filesystem closes its session when it is deleted."""
        super().close()
        del self._filesystem

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return iter(self.list_pages(prefix, partial(self._pages, prefix)))

    def _page(self, parameters: dict[str, str]) -> dict[str, Any]:
        try:
            parameters["fields"] = f"kind,nextPageToken,prefixes,items({_FIELDS})"
            return self._json(self._objects, parameters)
        except RefusedError as error:
            if error.status == 404:  # noqa: PLR2004 - an empty bucket is listed
                raise ContainerMissingError(f"{self._url}: the bucket does not exist") from None
            raise

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        with self.translating("looking up", key):
            entry = self._json(self._object(key), {"fields": _FIELDS})
            if _is_marker(entry):
                raise not_a_file(self.describe("looking up", key))
            return _parse_object(entry)

    def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        # To ask for a token blocks.
        return self._media_chunks(remote, start, end, self._token())

    async def _media_chunks(
        self, remote: RemoteObject, start: int, end: int, token: str | None
    ) -> AsyncIterator[bytes]:
        answer = await self._media(remote, start, end, token)
        async with answer:
            async for chunk in answer.content.iter_chunked(PIECE):
                yield chunk

    async def _media(
        self, remote: RemoteObject, start: int, end: int, token: str | None
    ) -> aiohttp.ClientResponse:
        headers = {"Accept-Encoding": "gzip"}
        if (start, end) != (0, remote.size):
            headers["Range"] = f"bytes={start}-{end - 1}"
        parameters = {"alt": "media"}
        if remote.version is not None:
            parameters["generation"] = remote.version
        try:
            path = f"download/storage/v1/{self._object(remote.key)}"
            answer = await self._get(path, parameters, headers, token)
        except RefusedError as error:
            if error.status == 404 and remote.version is not None:  # noqa: PLR2004
                raise ChangedError(
                    f"{self._url}{remote.key}: the object was replaced or removed since it was "
                    "listed"
                ) from None
            raise
        try:
            named, answered = self.display_url(remote.key), answer.headers.get("Content-Range")
            check_answer(answer.status, answered, start, end, remote.size, named)
            check_length(answer.headers.get("Content-Length"), answered, remote, named)
            check_identity(answer.headers.get("X-Goog-Generation"), remote.version, named)
        except KaiwoError:
            answer.close()
            raise
        return answer

    def _json(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        return self._run(self._get_json, f"storage/v1/{path}", parameters, self._token())

    async def _get_json(
        self, path: str, parameters: dict[str, str], token: str | None
    ) -> dict[str, Any]:
        answer = await self._get(path, parameters, {"Accept-Encoding": "identity"}, token)
        async with answer:
            stated = answer.headers.getall("Content-Encoding", ())
            plain = encodings.plain(await answer.read(), stated)
            body: dict[str, Any] = json.loads(plain)
            return body

    async def _get(
        self,
        path: str,
        parameters: dict[str, str],
        headers: dict[str, str],
        token: str | None,
    ) -> aiohttp.ClientResponse:
        """One GET that brings what was asked for; its body is not read yet.

        Redirects are refused: the service has none, and a token would go with them.
        """
        try:
            return await self._get_as(token, path, parameters, headers)
        except RefusedError as refused:
            if refused.status != HTTPStatus.UNAUTHORIZED or token is None:
                raise
            # In a thread: to ask for a token blocks.
            token = await asyncio.to_thread(self._token_instead_of, token)
            if token is None:
                raise
        return await self._get_as(token, path, parameters, headers)

    async def _get_as(
        self, token: str | None, path: str, parameters: dict[str, str], headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        filesystem = self._filesystem
        session = await filesystem._set_session()  # noqa: SLF001 - see the module's docstring
        url = yarl.URL(f"{filesystem._location}/{path}", encoded=True)  # noqa: SLF001
        url = url.with_query({**parameters, **self._payer})
        sent = {**filesystem._get_headers({}), **headers}  # noqa: SLF001 - the user agent
        answer: aiohttp.ClientResponse = await session.get(
            url,
            headers=sent if token is None else {**sent, **self._authorization(token)},
            allow_redirects=False,
            proxy=proxies.url_for(str(url)),
            **self._ssl,
        )
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        async with answer:
            code = code_in(await answer.read())
            raise RefusedError(answer.status, code, dict(answer.headers), str(answer.url))

    def _authorization(self, token: str) -> dict[str, str]:
        """The headers that say who asks, and whose project it is counted for."""
        found = {"Authorization": f"Bearer {token}"}
        if self._identity is not None and self._identity.project and not self._payer:
            found["x-goog-user-project"] = self._identity.project
        return found

    def _token(self) -> str | None:
        """The token of the moment; in the worker's thread, because it blocks."""
        return None if self._identity is None else self._identity.token().value

    def _token_instead_of(self, refused: str) -> str | None:
        """The token after one that was refused; None if there is no other."""
        if self._identity is None or not self._identity.replace(refused):
            return None
        return self._identity.token().value

    def _object(self, key: str) -> str:
        return f"{self._objects}/{quote(key, safe='')}"

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, RefusedError):
            return refusal_error(error, what)
        if isinstance(error, TokenError):
            return map_token_error(error, what)
        if isinstance(error, aiohttp.ClientError):
            return wire_error(error, what)
        if isinstance(error, json.JSONDecodeError):
            return TransientError(f"{what}: the answer is not JSON")
        if isinstance(error, GARBLED):
            return garbled(what, "GCS")
        return None


def _is_marker(entry: Mapping[str, Any]) -> bool:
    return is_marker(entry["name"], stated_size(entry["size"]), entry.get("contentType"))


def _parse_listed(entry: Mapping[str, Any]) -> RemoteObject | None:
    return None if _is_marker(entry) else _parse_object(entry)


def _parse_object(entry: Mapping[str, Any]) -> RemoteObject:
    """An object as its resource states it."""
    stated = {"crc32c": entry.get("crc32c"), "md5": entry.get("md5Hash")}
    generation = entry.get("generation")
    return RemoteObject(
        entry["name"],
        stated_size(entry["size"]),
        strong_etag(entry.get("etag")),
        str(generation) if generation is not None else None,
        checksums.best(stated),
        modified_ns=_time_ns(entry.get("timeCreated")),
        # A request can be bound to nothing but the generation.
        unpinned=generation is None,
    )


def _time_ns(value: object) -> int | None:
    """The time at which a generation was made; None if it is missing or not a time."""
    try:
        return seconds_ns(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except ValueError:
        return None
