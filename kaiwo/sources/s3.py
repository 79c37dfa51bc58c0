"""S3 and compatible stores, through the client of an s3fs filesystem.

``find`` and ``cat_file`` of s3fs send no ``If-Match``, accept a 206 with another range, strip
slashes from keys and keep listings. So kaiwo sends the requests one floor below, with the
filesystem's ``_call_s3``: it uses the filesystem's session, credentials, event loop and
requester-pays setting.

- The retries of s3fs and botocore are off: one attempt is one request.
- botocore's own checksum validation is off: it would hash each body in Python, and kaiwo checks
  whole objects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from kaiwo import environment
from kaiwo.errors import (
    ConfigError,
    CredentialsError,
    KaiwoError,
    NotAcceptedError,
)
from kaiwo.net.failures import chain, connection_error, wire_error
from kaiwo.net.statuses import GARBLED, garbled, redirect_error, status_error
from kaiwo.objects import RemoteObject
from kaiwo.protocols import PIECE, Listed
from kaiwo.sources.answers import (
    check_answer,
    check_etag_or_date,
    check_length,
    datetime_of,
    http_date_ns,
    stated_size,
)
from kaiwo.sources.folder_markers import (
    is_marker_by_headers,
    left_out,
    with_keys_below,
)
from kaiwo.sources.fsspec_async import AsyncSource
from kaiwo.sources.s3_head import is_size_wrong, parse_entry
from kaiwo.sources.s3_listing import S3Listing
from kaiwo.sources.s3_lookup import S3Lookup
from kaiwo.sources.s3_region import region_in
from kaiwo.workers.doubts import Questions, settled

#: Headers with the code of an answer to a HEAD.
_CODE_HEADERS = ("x-amz-error-code", "x-minio-error-code")
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.ProfileNotFound,
)
_WIRE = (
    boto.HTTPClientError,
    boto.IncompleteReadError,
    aiohttp.ClientError,
    ResponseParserError,
)
_SETTINGS = (
    boto.ConfigParseError,
    boto.EndpointProviderError,
    boto.InvalidConfigError,
    boto.InvalidDefaultsMode,
    boto.InvalidProxiesConfigError,
)


class S3Source(AsyncSource):
    """The objects of one bucket.

    Args:
        filesystem: an s3fs filesystem that no other source uses, without retries.
        bucket: its name.
        url: ``s3://bucket/``.
        address: see ``StoreSource``.
    """

    def __init__(self, filesystem: Any, bucket: str, url: str, address: str) -> None:
        super().__init__(url, address, is_anonymous=bool(filesystem.anon))
        self._filesystem = filesystem
        self._bucket = bucket
        self._lookup = S3Lookup(self, self._call)
        self._pages = S3Listing(self, self._call, _entry).pages
        self._questions = Questions()

    def close(self) -> None:
        """See ``protocols.Source``; the filesystem closes its session when it is deleted."""
        super().close()
        del self._filesystem

    def _call(self, method: str, **arguments: Any) -> Any:
        call = self._filesystem._call_s3  # noqa: SLF001 - see the module's docstring
        return self._run(call, method, Bucket=self._bucket, **arguments)

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return settled(*self.list_asking(prefix, lambda _: True), self.display_url(prefix))

    def list_asking(self, prefix: str, asks: Callable[[RemoteObject], bool]) -> Listed:
        """See ``protocols.Source``."""
        found = self.list_pages(prefix, partial(self._pages, prefix))
        folders = with_keys_below(found)
        doubtful = [
            remote
            for remote in found
            if (remote.key in folders or is_size_wrong(remote)) and asks(remote)
        ]
        return found, self._questions.ask(doubtful, found, self.stat)

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self._lookup.stat(key)

    def stat_by_reading(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self._lookup.stat_by_reading(key)

    def fetch_checksum(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self._lookup.fetch_checksum(key)

    def part_lengths(self, key: str, count: int) -> tuple[int, ...] | None:
        """See ``protocols.Source``."""
        return self._lookup.part_lengths(key, count)

    async def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        body = await self._body(remote, start, end)
        try:
            while chunk := await body.read(PIECE):
                yield chunk
        finally:
            body.close()

    async def _body(self, remote: RemoteObject, start: int, end: int) -> Any:
        """The body of a GET whose status, range and identity are right."""
        arguments: dict[str, Any] = {"Bucket": self._bucket, "Key": remote.key}
        if (start, end) != (0, remote.size):
            arguments["Range"] = f"bytes={start}-{end - 1}"
        if remote.unconditional:
            pass
        elif remote.etag is not None:
            arguments["IfMatch"] = f'"{remote.etag}"'
        elif remote.modified_ns is not None:
            arguments["IfUnmodifiedSince"] = datetime_of(remote.modified_ns)
        answer = await self._filesystem._call_s3("get_object", **arguments)  # noqa: SLF001
        try:
            stated = answer["ResponseMetadata"]
            status, modified = stated["HTTPStatusCode"], stated["HTTPHeaders"].get("last-modified")
            named, answered = self.display_url(remote.key), answer.get("ContentRange")
            check_answer(status, answered, start, end, remote.size, named)
            check_length(stated["HTTPHeaders"].get("content-length"), answered, remote, named)
            if is_marker_by_headers(remote.key, remote.size, stated["HTTPHeaders"]):
                raise left_out(named)
            check_etag_or_date(answer.get("ETag"), http_date_ns(modified), remote, named)
        except KaiwoError:
            answer["Body"].close()
            raise
        return answer["Body"]

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if (response := _response_of(error)) is not None:
            return _map_response(response, what)
        if isinstance(error, _NO_CREDENTIALS):
            if (found := connection_error(error, f"{what}: asking for credentials")) is not None:
                return found
            return CredentialsError(
                f"{what}: no usable credentials ({type(error).__name__}); give access_key_id and "
                "secret_key, or anonymous: true for a public bucket"
            )
        if isinstance(error, _WIRE) and not any(
            isinstance(each, FileNotFoundError) for each in chain(error)
        ):
            return wire_error(error, what)
        if (found := _map_setting(error, what)) is not None:
            return found
        return garbled(what, "S3") if isinstance(error, GARBLED) else None


def _entry(entry: Any) -> RemoteObject:
    """An object as an entry of a listing states it."""
    return parse_entry(
        entry["Key"], stated_size(entry["Size"]), entry.get("ETag"), entry.get("LastModified")
    )


def _map_setting(error: Exception, what: str) -> KaiwoError | None:
    """The error for a request that was not sent, because of a setting of the user or the pod."""
    if isinstance(error, boto.ParamValidationError | boto.InvalidRegionError):
        return ConfigError(f"{what}: not a valid bucket, key or region name")
    if isinstance(error, boto.NoRegionError):
        return ConfigError(f"{what}: no region is known; give region")
    if isinstance(error, boto.HTTPClientError):
        # The SDK says which file, and not which variable.
        named = environment.missing_file(environment.TRUST)
        return ConfigError(f"{what}: {named or 'the file of AWS_CA_BUNDLE does not exist'}")
    if isinstance(error, _SETTINGS):
        return ConfigError(
            f"{what}: the SDK cannot use its settings, in the environment or in its files "
            f"({type(error).__name__})"
        )
    return None


def _response_of(error: Exception) -> Any:
    """The answer that an error is about, as botocore keeps it; None without one."""
    # s3fs maps botocore's errors to Python's, and keeps them as the cause.
    cause = error.__cause__ if isinstance(error.__cause__, boto.ClientError) else error
    return cause.response if isinstance(cause, boto.ClientError) else None


def _status_and_code(response: Any) -> tuple[int, str]:
    """The status of an answer and the service's code; without one, botocore gives the status."""
    metadata = response.get("ResponseMetadata", {})
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(metadata.get("HTTPStatusCode") or (code if code.isdecimal() else 500))
    if code and not code.isdecimal():
        return status, code
    headers = metadata.get("HTTPHeaders", {})
    return status, next((headers[name] for name in _CODE_HEADERS if name in headers), "")


def _map_response(response: Any, what: str) -> KaiwoError:
    """The error for an answer of the service, by its code, else by its status."""
    status, code = _status_and_code(response)
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if status == 400 and not code and what.startswith("looking up"):  # noqa: PLR2004
        status = 403  # the answer to a HEAD has no body; the signature or the token is wrong
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's redirects
        return redirect_error(status, what, code, headers, region_in(response))
    found = status_error(status, what, code, headers)
    if status < 300 and isinstance(found, NotAcceptedError):  # noqa: PLR2004
        return garbled(found.message, "S3")  # an error inside a successful answer
    return found
