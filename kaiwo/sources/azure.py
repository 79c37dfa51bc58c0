r"""Azure Blob Storage, through the service client of an adlfs filesystem.

adlfs reads names as URLs (``?`` and ``\`` get lost), sends no etag condition, and takes a missing
container for an empty one. So kaiwo calls the service client that the filesystem made: its
credentials, its session, its event loop. The SDK's retries are off.

Requests go through the client's pipeline, which signs them. Blobs do not come through its
downloader, which unpacks bodies with a ``Content-Encoding``, repeats and waits by itself, and does
not accept a server that ignores ranges.

- ``azure_answers`` reads what listings and look-ups state. Listings request metadata, which marks
  the folders of a hierarchical namespace.
- Azure cannot begin a listing after a name. So kaiwo asks at the end for the first entry of the
  last page alone: the answer must name a marker. This costs one more request for each listing.
- An archived blob is a service error with a hint, not a failed checksum.
"""

from __future__ import annotations

import email.utils
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from azure.core import exceptions as azure
from azure.core.rest import HttpRequest

from kaiwo.errors import ConfigError, KaiwoError, ServiceError
from kaiwo.net import proxies
from kaiwo.net.codes import code_in
from kaiwo.net.failures import wire_error
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import GARBLED, RefusedError, garbled, refusal_error
from kaiwo.objects import RemoteObject
from kaiwo.sources.answers import (
    check_answer,
    check_etag_or_date,
    check_length,
    datetime_of,
    http_date_ns,
)
from kaiwo.sources.azure_answers import (
    is_marker_by_headers,
    listing_url,
    parse_blob,
    parse_page,
)
from kaiwo.sources.azure_tokens import map_token_error
from kaiwo.sources.folder_markers import not_a_file
from kaiwo.sources.fsspec_async import AsyncSource
from kaiwo.sources.identity import TokenError
from kaiwo.sources.paging import Page


class AzureSource(AsyncSource):
    """The blobs of one container.

    Args:
        filesystem: an adlfs filesystem that no other source uses.
        container: its name.
        url: ``az://container/``.
        address: see ``StoreSource``.
        network: timeouts.
        ssl: a TLS context with what the task trusts, or None for the system's.
        signer: see ``StoreSource``.
    """

    def __init__(
        self,
        filesystem: Any,
        container: str,
        url: str,
        address: str,
        network: NetworkSettings,
        ssl: Any = None,
        signer: Callable[[], str] = str,
    ) -> None:
        super().__init__(url, address, signer)
        self._filesystem = filesystem
        try:
            self._container = filesystem.service_client.get_container_client(container)
        except ValueError as error:
            raise ConfigError(f"{url}: not a valid container name") from error
        self._options: dict[str, Any] = {
            "retry_total": 0,
            # After a redirect, the SDK would sign for the other host, and repeat as it likes.
            "permit_redirects": False,
            "connection_timeout": network.connect_timeout_s,
            "read_timeout": network.stall_timeout_s,
        }
        # Both are aiohttp's options, which the SDK passes on. The SDK would make a TLS context for
        # each request, and reads the environment's proxies by other rules.
        self._options["proxy"] = proxies.url_for(self._container.url)
        if ssl is not None:
            self._options["ssl"] = ssl
        transport = filesystem.service_client._pipeline._transport  # noqa: SLF001
        transport._use_env_settings = False  # noqa: SLF001 - adlfs makes the client without it

    def close(self) -> None:
        """See ``protocols.Source``; the filesystem closes its client when it is deleted."""
        super().close()
        del self._filesystem, self._container

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return iter(self.list_pages(prefix, partial(self._pages, prefix)))

    def _pages(self, prefix: str, marker: str) -> Iterator[Page]:
        """The pages of a listing from a marker on."""
        while True:
            with self.translating("listing", prefix):
                page, following = self._page(prefix, marker)
                if not following and len(page) > 1:
                    self._check_end(prefix, marker)
                found = [each for each in page if each is not None and not each.key.endswith("/")]
            yield found, following
            if not following:
                return
            marker = following

    def _check_end(self, prefix: str, marker: str) -> None:
        """Check that the service names markers, without which every page looks like the last.

        Args:
            prefix: what is listed.
            marker: of the last page, which has more than one entry.

        Raises:
            ServiceError: a page with the first of these entries alone names no marker.
        """
        page, following = self._page(prefix, marker, maxresults="1")
        if len(page) == 1 and not following:
            raise ServiceError(
                f"{self.describe('listing', prefix)}: the service does not say where the next "
                "page begins"
            )

    def _page(
        self, prefix: str, marker: str, **parameters: str
    ) -> tuple[Sequence[RemoteObject | None], str]:
        """The entries of a page, and the marker of the next one."""
        asked = {"prefix": prefix, "marker": marker, **parameters}
        answer = self._run(self._ask, "GET", listing_url(self._container.url, asked))
        return parse_page(answer.content)

    async def _ask(self, method: str, url: str) -> Any:
        """The answer to a request, with its whole body."""
        answer = await self._send(self._container, HttpRequest(method, url), stream=False)
        if answer.status_code != HTTPStatus.OK:
            raise _refused(answer, answer.content)
        return answer

    async def _send(self, client: Any, request: HttpRequest, *, stream: bool) -> Any:
        """The answer to a request that the SDK's client signs."""
        request.headers.update({"Accept": "application/xml", "x-ms-version": client.api_version})
        ran = await client._pipeline.run(request, stream=stream, **self._options)  # noqa: SLF001
        return ran.http_response

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        with self.translating("looking up", key):
            blob = self._container.get_blob_client(key)
            answer = self._run(self._ask, "HEAD", blob.url)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            if is_marker_by_headers(key, headers):
                raise not_a_file(self.describe("looking up", key))
            return parse_blob(key, headers)

    def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        return self._read_blob(self._container.get_blob_client(remote.key), remote, start, end)

    async def _read_blob(
        self, blob: Any, remote: RemoteObject, start: int, end: int
    ) -> AsyncIterator[bytes]:
        headers: dict[str, str] = {}
        if remote.unconditional:
            pass
        elif remote.etag is not None:
            headers["If-Match"] = f'"{remote.etag}"'
        elif remote.modified_ns is not None:
            time = datetime_of(remote.modified_ns)
            headers["If-Unmodified-Since"] = email.utils.format_datetime(time, usegmt=True)
        if (start, end) != (0, remote.size):
            headers["x-ms-range"] = f"bytes={start}-{end - 1}"
        answer = await self._send(blob, HttpRequest("GET", blob.url, headers=headers), stream=True)
        async with answer:
            if answer.status_code not in (200, 206):
                raise _refused(answer, await _start_of(answer))
            named, answered = self.display_url(remote.key), answer.headers.get("Content-Range")
            check_answer(answer.status_code, answered, start, end, remote.size, named)
            check_length(answer.headers.get("Content-Length"), answered, remote, named)
            etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
            check_etag_or_date(etag, http_date_ns(modified), remote, named)
            async for chunk in answer.iter_raw():
                yield chunk

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if isinstance(error, RefusedError):
            return refusal_error(error, what)
        if isinstance(error, TokenError):
            return map_token_error(error, what)
        if isinstance(error, azure.HttpResponseError) and error.status_code is not None:
            return _map_response(error, what)
        if isinstance(error, azure.AzureError):
            return wire_error(error, what)
        if isinstance(error, GARBLED):
            return garbled(what, "Azure")
        return None


def _refused(answer: Any, body: bytes) -> RefusedError:
    """The error for an answer that is no success."""
    code = answer.headers.get("x-ms-error-code") or code_in(body)
    return RefusedError(answer.status_code, code, dict(answer.headers), answer.request.url)


async def _start_of(answer: Any) -> bytes:
    """The first piece of a body."""
    return await anext(answer.iter_raw(), b"")


def _map_response(error: azure.HttpResponseError, what: str) -> KaiwoError:
    """The error for an answer of the service, as the SDK reports it."""
    status = int(error.status_code or 0)
    code = getattr(error, "error_code", None) or ""
    code = str(getattr(code, "value", code))  # the codes that the SDK knows are an enumeration
    if status < 300:  # noqa: PLR2004 - a success that the SDK cannot read
        return garbled(what, "Azure")
    headers = getattr(error.response, "headers", None) or {}
    address = getattr(getattr(error.response, "request", None), "url", "")
    return refusal_error(RefusedError(status, code, headers, address), what)
