"""S3 and compatible stores, through the client of an s3fs filesystem.

``find`` and ``cat_file`` of s3fs send no ``If-Match``, accept a 206 with another range, strip
slashes from keys and keep listings. So kaiwo sends the requests one floor below, with the
filesystem's ``_call_s3``: it uses the filesystem's session, credentials, event loop and
requester-pays setting.

- The retries of s3fs and botocore are off: one attempt is one request.
- A service that knows only the first version of listings names no token, and perhaps no marker.
  Then the last key of a page is the marker of the next.
- The SDK takes an empty body, or a document that is no listing, for a last page. kaiwo asks
  again.
- botocore's own checksum validation is off: it would hash each body in Python, and kaiwo checks
  whole objects.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from typing import Any

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync

from kaiwo.errors import (
    ConfigError,
    CredentialsError,
    KaiwoError,
    ServiceError,
    TransientError,
)
from kaiwo.net.failures import chain, wire_error
from kaiwo.net.statuses import garbled, redirect_error, status_error
from kaiwo.objects import RemoteObject
from kaiwo.sources.answers import check_answer, check_identity, plain_etag
from kaiwo.sources.base import STREAM_CHUNK
from kaiwo.sources.fsspec_async import AsyncSource
from kaiwo.sources.paging import Page
from kaiwo.sources.s3_head import parse_entry, parse_head, parse_head_with_parts
from kaiwo.sources.s3_region import region_in

logger = logging.getLogger(__name__)
#: Begins the token of a page that is requested by the first version of S3's listings.
_MARKER = "key>"
#: The answer to a listing has at least one of these, from any service.
_LISTING = {"Contents", "IsTruncated", "KeyCount", "MaxKeys", "Name"}
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
        super().__init__(url, address)
        self._filesystem = filesystem
        self._bucket = bucket

    def close(self) -> None:
        """See ``protocols.Source``; the filesystem closes its session when it is deleted."""
        del self._filesystem

    def _call(self, method: str, **arguments: Any) -> Any:
        call = self._filesystem._call_s3  # noqa: SLF001 - see the module's docstring
        return sync(self._filesystem.loop, call, method, Bucket=self._bucket, **arguments)

    def list(self, prefix: str) -> Iterator[RemoteObject]:
        """See ``protocols.Source``."""
        return iter(self.list_pages(prefix, partial(self._pages, prefix)))

    def _pages(self, prefix: str, token: str) -> Iterator[Page]:
        """The pages of a listing from a token on."""
        while True:
            with self.translating("listing", prefix):
                page = self._page(prefix, token)
            entries = page.get("Contents", ())
            token = _next_token(page)
            if page.get("IsTruncated") and not token:
                raise ServiceError(
                    f"listing {self._url}{prefix}{self._at}: the service does not say "
                    "where the next page begins"
                )
            yield (
                [
                    parse_entry(entry["Key"], entry["Size"], entry.get("ETag"))
                    for entry in entries
                    if not entry["Key"].endswith("/")
                ],
                token,
            )
            if not token:
                return

    def _page(self, prefix: str, token: str) -> Any:
        if token.startswith(_MARKER):
            page = self._call("list_objects", Prefix=prefix, Marker=token[len(_MARKER) :])
        else:
            arguments = {"ContinuationToken": token} if token else {}
            page = self._call("list_objects_v2", Prefix=prefix, **arguments)
        if not _LISTING & page.keys():
            # An empty body, or a document of another kind; the SDK takes it for a last page.
            raise TransientError(
                f"listing {self._url}{prefix}{self._at}: the answer is not a listing"
            )
        return page

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return parse_head(key, self._head(key))

    def fetch_checksum(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return parse_head_with_parts(key, self._head(key), lambda: self._first_part(key))

    def _head(self, key: str, **arguments: Any) -> Mapping[str, str]:
        ask = partial(self._call, "head_object", Key=key, ChecksumMode="ENABLED", **arguments)
        with self.translating("looking up", key):
            try:
                head = ask()
            except Exception as error:
                if arguments or not _is_refused_without_code(error):
                    raise
                self._ask_why(key)
                head = ask()  # the SDK may have learned the region
        headers: Mapping[str, str] = head["ResponseMetadata"]["HTTPHeaders"]
        return headers

    def _ask_why(self, key: str) -> None:
        """Ask for a byte: the answer to a HEAD has no body, so it does not say why it is refused.

        Raises:
            Exception: of the SDK, if the service refuses that too and gives a code.
        """
        try:
            self._call("get_object", Key=key, Range="bytes=0-0")["Body"].close()
        except Exception as error:
            if not _is_refused_without_code(error) and "InvalidRange" not in str(error):
                raise

    def _first_part(self, key: str) -> Mapping[str, str]:
        """The headers of the first part; none if the service knows no parts."""
        try:
            return self._head(key, PartNumber=1)
        except TransientError:
            raise
        except KaiwoError as error:
            logger.debug("%s", error.message)
            return {}

    async def _chunks(self, remote: RemoteObject, start: int, end: int) -> AsyncIterator[bytes]:
        body = await self._body(remote, start, end)
        try:
            while chunk := await body.read(STREAM_CHUNK):
                yield chunk
        finally:
            body.close()

    async def _body(self, remote: RemoteObject, start: int, end: int) -> Any:
        """The body of a GET whose status, range and identity are right."""
        arguments: dict[str, Any] = {"Bucket": self._bucket, "Key": remote.key}
        if (start, end) != (0, remote.size):
            arguments["Range"] = f"bytes={start}-{end - 1}"
        if remote.etag is not None:
            arguments["IfMatch"] = f'"{remote.etag}"'
        answer = await self._filesystem._call_s3("get_object", **arguments)  # noqa: SLF001
        try:
            status = answer["ResponseMetadata"]["HTTPStatusCode"]
            named, answered = self.display_url(remote.key), answer.get("ContentRange")
            check_answer(status, answered, start, end, remote.size, named)
            check_identity(plain_etag(answer.get("ETag")), remote.etag, named)
        except KaiwoError:
            answer["Body"].close()
            raise
        return answer["Body"]

    def map_error(self, error: Exception, what: str) -> KaiwoError | None:
        """See ``StoreSource``."""
        if (response := _response_of(error)) is not None:
            return _map_response(response, what)
        if isinstance(error, KeyError):
            return garbled(what, "S3")
        if isinstance(error, _NO_CREDENTIALS):
            return CredentialsError(
                f"{what}: no usable credentials ({type(error).__name__}); give access_key_id and "
                "secret_key, or anonymous: true for a public bucket"
            )
        if isinstance(error, _WIRE) and not any(
            isinstance(each, FileNotFoundError) for each in chain(error)
        ):
            return wire_error(error, what)
        return _map_setting(error, what)


def _next_token(page: Any) -> str:
    """The token of the page after this one; empty after the last."""
    if not page.get("IsTruncated"):
        return ""
    if token := page.get("NextContinuationToken"):
        return str(token)
    entries = page.get("Contents", ())
    marker = page.get("NextMarker") or (entries[-1]["Key"] if entries else "")
    return _MARKER + marker if marker else ""


def _map_setting(error: Exception, what: str) -> KaiwoError | None:
    """The error for a request that was not sent, because of a setting of the user or the pod."""
    if isinstance(error, boto.ParamValidationError | boto.InvalidRegionError):
        return ConfigError(f"{what}: not a valid bucket, key or region name")
    if isinstance(error, boto.NoRegionError):
        return ConfigError(f"{what}: no region is known; give region")
    if isinstance(error, boto.HTTPClientError):
        return ConfigError(f"{what}: the file that AWS_CA_BUNDLE names does not exist")
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


def _is_refused_without_code(error: Exception) -> bool:
    response = _response_of(error)
    return response is not None and _status_and_code(response) in ((400, ""), (403, ""))


def _map_response(response: Any, what: str) -> KaiwoError:
    """The error for an answer of the service, by its code, else by its status."""
    status, code = _status_and_code(response)
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if status == 400 and not code and what.startswith("looking up"):  # noqa: PLR2004
        status = 403  # the answer to a HEAD has no body; the signature or the token is wrong
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's redirects
        return redirect_error(status, what, code, headers, region_in(response))
    found = status_error(status, what, code, headers)
    if status < 300 and type(found) is ServiceError:  # noqa: PLR2004
        return garbled(found.message, "S3")  # an error inside a successful answer
    return found
