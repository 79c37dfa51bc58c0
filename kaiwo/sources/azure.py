r"""Azure Blob Storage, through an adlfs filesystem's service client.

adlfs reads names as URLs (``?`` and ``\`` get mangled), sends no etag condition and takes a
missing container for an empty one; so kaiwo calls the service client that the filesystem made:
its credentials, its session, its event loop. The SDK's own repeats are off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from azure.core import MatchConditions
from azure.core import exceptions as azure
from fsspec.asyn import sync

from kaiwo import checksums
from kaiwo.errors import ConfigError, CredentialsError, KaiwoError, ServiceError
from kaiwo.network import Network, status_error, wire_error
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from kaiwo.sources.base import (
    StoreSource,
    check_answer,
    check_identity,
    plain_etag,
)
from kaiwo.sources.paged import Page

#: The SDK asks for so much in one request; kaiwo's ranges are shorter.
LONGEST_RANGE = 32 << 20


class AzureSource(StoreSource):
    """The blobs of one container.

    Args:
        filesystem: an adlfs filesystem of its own.
        container: its name.
        url: ``az://container/``.
        address: see ``StoreSource``.
        network: timeouts.
        ca_bundle: path of the certificates to trust, or None for the system's.
    """

    def __init__(
        self,
        filesystem: Any,
        container: str,
        url: str,
        address: str,
        network: Network,
        ca_bundle: str | None,
    ) -> None:
        super().__init__(url, address)
        self._filesystem = filesystem
        try:
            self._container = filesystem.service_client.get_container_client(container)
        except ValueError as error:
            raise ConfigError(f"{url}: not a possible container name") from error
        self._options: dict[str, Any] = {
            "retry_total": 0,
            "connection_timeout": network.connect_timeout_s,
            "read_timeout": network.stall_timeout_s,
        }
        if ca_bundle is not None:
            self._options["connection_verify"] = ca_bundle

    def close(self) -> None:
        """See ``protocols.Source``; the filesystem closes its client when it goes."""
        del self._filesystem, self._container

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return iter(self._all(prefix, partial(self._pages, prefix)))

    def _pages(self, prefix: str, marker: str) -> Iterator[Page]:
        """The pages of a listing from a marker on."""
        pages = self._container.list_blobs(
            # Metadata, because folders of a hierarchical namespace are told by it alone.
            name_starts_with=prefix, include=["metadata"], **self._options
        ).by_page(marker or None)  # fmt: skip
        while True:
            with self._doing("listing", prefix):
                page: list[Any] | None = sync(self._filesystem.loop, _next_page, pages)
            if page is None:
                return
            blobs = (each for each in page if not (each.name.endswith("/") or _is_folder(each)))
            yield list(map(_described, blobs)), pages.continuation_token or ""

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        with self._doing("looking up", key):
            blob = self._container.get_blob_client(key)
            return _described(
                sync(self._filesystem.loop, blob.get_blob_properties, **self._options)
            )

    def read(self, remote: RemoteObject, start: int, end: int) -> Buffer:
        """See ``protocols.Source``."""
        with self._doing("reading", remote.key):
            return sync(self._filesystem.loop, self._read, remote, start, end)  # type: ignore[no-any-return]

    async def _read(self, remote: RemoteObject, start: int, end: int) -> bytes:
        download = await self._download(remote, start, end)
        return await download.readall()  # type: ignore[no-any-return]

    def stream(self, remote: RemoteObject) -> Iterator[Buffer]:
        """See ``protocols.Source``."""
        chunks = self._chunks(remote)
        loop = self._filesystem.loop
        yield from self._drained(lambda: sync(loop, anext, chunks, b""), remote)

    async def _chunks(self, remote: RemoteObject) -> AsyncIterator[bytes]:
        download = await self._download(remote, 0, remote.size)
        async for chunk in download.chunks():
            yield chunk

    async def _download(self, remote: RemoteObject, start: int, end: int) -> Any:
        named = self._named(remote.key)

        def check(answer: Any) -> None:
            http = answer.http_response
            if http.status_code not in (200, 206):
                return  # an error, or the SDK's question whether the blob is empty
            if end - start <= LONGEST_RANGE:
                answered = http.headers.get("Content-Range")
                check_answer(http.status_code, answered, start, end, remote.size, named)
            # The SDK cuts what is longer into requests of its own, and checks their lengths.
            found = plain_etag(http.headers.get("ETag"))
            check_identity(found, remote.etag, named)

        options = dict(self._options)
        if remote.etag is not None:
            options["etag"] = f'"{remote.etag}"'
            options["match_condition"] = MatchConditions.IfNotModified
        if (start, end) != (0, remote.size):
            options |= {"offset": start, "length": end - start}
        blob = self._container.get_blob_client(remote.key)
        return await blob.download_blob(max_concurrency=1, raw_response_hook=check, **options)

    def _known(self, error: Exception, what: str) -> KaiwoError | None:
        if isinstance(error, azure.ClientAuthenticationError) and error.status_code is None:
            return CredentialsError(
                f"{what}: no usable credentials; give connection_string, account_key or "
                "sas_token, or anonymous: true for a public container"
            )
        if isinstance(error, azure.HttpResponseError) and error.status_code is not None:
            code = str(getattr(error, "error_code", None) or "").rpartition(".")[2]
            if code.isupper():  # StorageErrorCode's names; its values are what the service says
                code = str(getattr(getattr(error, "error_code", None), "value", code))
            headers = getattr(error.response, "headers", None)
            return status_error(int(error.status_code), what, code, headers)
        if isinstance(error, azure.AzureError):
            return wire_error(error, what)
        if isinstance(error, ValueError):
            return ServiceError(f"{what}: the answer is none of Azure's; check the endpoint")
        return None


async def _next_page(pages: Any) -> list[Any] | None:
    """The entries of the next page; None after the last."""
    page = await anext(pages, None)
    if page is None:
        return None
    return [entry async for entry in page]


def _is_folder(entry: Any) -> bool:
    return bool(entry.metadata) and str(entry.metadata.get("hdi_isfolder", "")).lower() == "true"


def _described(entry: Any) -> RemoteObject:
    """A blob as its properties state it."""
    md5 = checksums.from_base64(entry.content_settings.content_md5)
    etag = plain_etag(entry.etag)
    return RemoteObject(entry.name, entry.size, etag, checksum=checksums.best({"md5": md5}))
