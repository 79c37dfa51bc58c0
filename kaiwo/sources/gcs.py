"""Google Cloud Storage, through the session and the credentials of a gcsfs filesystem.

gcsfs repeats failed requests for up to half a minute (401 included), and its ``cat_file`` hides
headers. So kaiwo sends the requests of the JSON interface itself, on the filesystem's session,
once each.

- Media is requested with ``Accept-Encoding: gzip`` and not unpacked. Objects stored with
  ``Content-Encoding: gzip`` then arrive as they are stored, which is what size and checksum
  describe. Without that header the service unpacks them on the way and ignores ranges.
- A generation that was deleted answers 404: the object was replaced or removed.
- google-auth waits up to two minutes for a new token; here the timeout is the run's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import yarl
from gcsfs.retry import HttpError, NonRetryableError
from google.auth.exceptions import GoogleAuthError, TransportError

from kaiwo import checksums
from kaiwo.errors import (
    ChangedError,
    ContainerMissingError,
    CredentialsError,
    KaiwoError,
    NoAnswerError,
    TransientError,
)
from kaiwo.net import proxies
from kaiwo.net.codes import code_in
from kaiwo.net.failures import connection_error, wire_error
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
from kaiwo.sources.base import CREDENTIALS_VALID_FOR
from kaiwo.sources.folder_markers import is_marker, not_a_file
from kaiwo.sources.fsspec_async import AsyncSource
from kaiwo.sources.gcs_listing import GcsListing

_FIELDS = "name,size,etag,generation,md5Hash,crc32c,timeCreated,contentType"


class GcsSource(AsyncSource):
    """The objects of one bucket.

    Args:
        filesystem: a gcsfs filesystem that no other source uses; its session unpacks no bodies.
        bucket: its name.
        url: ``gs://bucket/``.
        address: see ``StoreSource``.
        timeout_s: a request for a token fails when no byte arrives for this long.
        ssl: a TLS context with what the task trusts, or None for the system's.
        token_trust: path of the certificates that the token service is verified by; None for those
            that the SDK brings along.
    """

    def __init__(
        self,
        filesystem: Any,
        bucket: str,
        url: str,
        address: str,
        timeout_s: float,
        ssl: Any = None,
        token_trust: str | None = None,
    ) -> None:
        is_anonymous = filesystem.credentials.credentials is None
        super().__init__(url, address, is_anonymous=is_anonymous)
        self._filesystem = filesystem
        self._objects = f"b/{quote(bucket, safe='')}/o"
        self._pages = GcsListing(self, self._page, _parse_listed).pages
        self._ssl = {} if ssl is None else {"ssl": ssl}
        if not self.is_anonymous:
            credentials = filesystem.credentials.credentials
            credentials.refresh = partial(_refresh, credentials.refresh, timeout_s, token_trust)

    def close(self) -> None:
        """See ``protocols.Source``; the filesystem closes its session when it is deleted."""
        super().close()
        del self._filesystem

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return iter(self.list_pages(prefix, partial(self._pages, prefix)))

    def _page(self, parameters: dict[str, str]) -> dict[str, Any]:
        try:
            parameters["fields"] = f"kind,nextPageToken,items({_FIELDS})"
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
        # The token may have to be renewed, which blocks.
        return self._media_chunks(remote, start, end, self._headers())

    async def _media_chunks(
        self, remote: RemoteObject, start: int, end: int, headers: dict[str, str]
    ) -> AsyncIterator[bytes]:
        answer = await self._media(remote, start, end, headers)
        async with answer:
            async for chunk in answer.content.iter_chunked(PIECE):
                yield chunk

    async def _media(
        self, remote: RemoteObject, start: int, end: int, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        headers = {**headers, "Accept-Encoding": "gzip"}
        if (start, end) != (0, remote.size):
            headers["Range"] = f"bytes={start}-{end - 1}"
        parameters = {"alt": "media"}
        if remote.version is not None:
            parameters["generation"] = remote.version
        try:
            answer = await self._get(f"download/storage/v1/{self._object(remote.key)}",
                                     parameters, headers)  # fmt: skip
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
        headers = {**self._headers(), "Accept-Encoding": "identity"}
        return self._run(self._get_json, f"storage/v1/{path}", parameters, headers)

    async def _get_json(
        self, path: str, parameters: dict[str, str], headers: dict[str, str]
    ) -> dict[str, Any]:
        answer = await self._get(path, parameters, headers)
        async with answer:
            body: dict[str, Any] = json.loads(await answer.read())
            return body

    async def _get(
        self, path: str, parameters: dict[str, str], headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        """One GET that brings what was asked for; its body is not read yet.

        Redirects are refused: the service has none, and a token would go with them.
        """
        filesystem = self._filesystem
        session = await filesystem._set_session()  # noqa: SLF001 - see the module's docstring
        query = filesystem._get_params(parameters)  # noqa: SLF001 - adds userProject
        url = yarl.URL(f"{filesystem._location}/{path}", encoded=True)  # noqa: SLF001
        url = url.with_query(query)
        answer: aiohttp.ClientResponse = await session.get(
            url,
            headers=headers,
            allow_redirects=False,
            proxy=proxies.url_for(str(url)),
            **self._ssl,
        )
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        async with answer:
            code = code_in(await answer.read())
            raise RefusedError(answer.status, code, dict(answer.headers), str(answer.url))

    def _object(self, key: str) -> str:
        return f"{self._objects}/{quote(key, safe='')}"

    def token(self) -> dict[str, Any]:
        """The current token in obstore's form; gcsfs renews it in time."""
        headers = {name.lower(): value for name, value in self._headers().items()}
        token = headers["authorization"].removeprefix("Bearer ")
        return {"token": token, "expires_at": datetime.now(UTC) + CREDENTIALS_VALID_FOR}

    def _headers(self) -> dict[str, str]:
        # In the worker's thread: renewing a token must not block the event loop.
        return dict(self._filesystem._get_headers({}))  # noqa: SLF001

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, RefusedError):
            return refusal_error(error, what)
        if isinstance(error, aiohttp.ClientError):
            return wire_error(error, what)
        if isinstance(error, json.JSONDecodeError):
            return TransientError(f"{what}: the answer is not JSON")
        if isinstance(error, GARBLED):
            return garbled(what, "GCS")
        return _map_token_error(error, what)


def _refresh(
    refresh: Callable[[Any], None], timeout_s: float, trust: str | None, request: Any
) -> None:
    """Renew a token.

    Args:
        refresh: of the credentials.
        timeout_s: without one, google-auth waits for two minutes.
        trust: path of the certificates to trust, or None for those that the SDK brings along.
        request: sends google-auth's requests.
    """
    request.session.trust_env = False  # proxies and certificates are given here
    options: dict[str, Any] = {"timeout": timeout_s} | ({} if trust is None else {"verify": trust})

    def ask(url: str, **others: Any) -> Any:
        proxy = proxies.url_for(url)
        of_all = None if proxy is None else {"http": proxy, "https": proxy}
        return request(url, **{**others, **options, "proxies": of_all})

    refresh(ask)


def _map_token_error(error: Exception, what: str) -> KaiwoError | None:
    """The kaiwo error for a token that was not issued; gcsfs wraps google-auth's errors."""
    if isinstance(error, TransportError):
        return wire_error(error, what)
    if not isinstance(error, HttpError | NonRetryableError | GoogleAuthError):
        return None
    if (found := connection_error(error, f"{what}: asking for a token")) is not None:
        return found
    if getattr(error.__cause__, "retryable", False):
        return NoAnswerError(f"{what}: the token service fails")
    return CredentialsError(
        f"{what}: no token was issued for these credentials; check the service account's key, "
        "or give anonymous: true for a public bucket"
    )


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
