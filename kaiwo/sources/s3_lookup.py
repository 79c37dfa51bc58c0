"""What S3 states of one object: by a HEAD; where that is refused or incomplete, by a GET.

Some services refuse a HEAD that listed and readable objects would answer (403, 405, 501), state no
length in it, or 0, or refuse what kaiwo asks besides
(``x-amz-checksum-mode``, ``partNumber``). A GET of the first byte tells size, etag and date, and
says why an object is refused: the answer to a HEAD has no body. Where the object was listed, 404 is
such a refusal, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from kaiwo.errors import (
    BusyError,
    CredentialsError,
    KaiwoError,
    NotAcceptedError,
    NotFoundError,
    TransientError,
)
from kaiwo.objects import RemoteObject
from kaiwo.sources.base import StoreSource
from kaiwo.sources.folder_markers import is_marker_by_headers, not_a_file
from kaiwo.sources.s3_head import (
    is_length_of_head,
    parse_head,
    parse_head_with_parts,
    version_of,
)

logger = logging.getLogger(__name__)
Headers = Mapping[str, str]


class S3Lookup:
    """Looks objects up.

    Args:
        source: maps errors.
        call: calls a method of the SDK's client, with its arguments.
    """

    def __init__(self, source: StoreSource, call: Callable[..., Any]) -> None:
        self._source = source
        self._call = call
        self._mode = {"ChecksumMode": "ENABLED"}

    def stat(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        headers = self._headers(key)
        found = parse_head(key, headers)
        if is_marker_by_headers(key, found.size, headers):
            raise not_a_file(self._source.describe("looking up", key))
        return found

    def stat_by_reading(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return parse_head(key, self._first_byte(key))

    def fetch_checksum(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        return self._with_checksum(key, self._headers(key, is_listed=True))

    def pin(self, key: str) -> RemoteObject:
        """See ``protocols.Source``."""
        headers = self._headers(key, is_listed=True)
        return replace(self._with_checksum(key, headers), version=version_of(headers))

    def _with_checksum(self, key: str, headers: Headers) -> RemoteObject:
        return parse_head_with_parts(key, headers, lambda: self.part(key, 1))

    def part_lengths(self, key: str, count: int) -> tuple[int, ...] | None:
        """See ``protocols.Source``; a service that knows no parts answers with the whole object."""
        lengths = []
        for number in range(1, count + 1):
            headers = self.part(key, number)
            length = headers.get("content-length", "")
            parts = headers.get("x-amz-mp-parts-count", str(count) if count > 1 else "")
            if not length.isdecimal() or parts != str(count):
                return None
            lengths.append(int(length))
        return tuple(lengths)

    def part(self, key: str, number: int) -> Headers:
        """The headers of a part; none if the service knows no parts."""
        try:
            return self._head(key, PartNumber=number)
        except TransientError:
            raise
        except KaiwoError as error:
            logger.debug("%s", error.message)
            return {}

    def _headers(self, key: str, *, is_listed: bool = False) -> Headers:
        """What a HEAD states, or else a GET."""
        try:
            headers = self._head(key)
        except BusyError:
            raise
        except KaiwoError as error:
            if isinstance(error, NotFoundError) and not is_listed:
                raise
            logger.debug("%s", error.message)
            read = self._first_byte(key)
            return self._again(key, read) if isinstance(error, CredentialsError) else read
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return {**headers, **self._first_byte(key)}
        is_doubtful = is_length_of_head(length, headers.get("etag"))
        if is_doubtful and not is_marker_by_headers(key, 0, headers):
            return self._with_length(key, headers)
        return headers

    def _with_length(self, key: str, headers: Headers) -> Headers:
        """The headers of a HEAD, with the length that a GET states; as they are where it fails."""
        try:
            return {**headers, **self._first_byte(key)}
        except TransientError:
            raise
        except KaiwoError as error:
            logger.debug("%s", error.message)
            return headers

    def _again(self, key: str, read: Headers) -> Headers:
        """What a HEAD states now: the SDK may have learned the region by reading."""
        try:
            return {**read, **self._head(key)}
        except KaiwoError:
            return read

    def _head(self, key: str, **arguments: Any) -> Headers:
        try:
            return self._request("head_object", key, **self._mode, **arguments)
        except NotAcceptedError:
            if not self._mode:
                raise
            answer = self._request("head_object", key, **arguments)
            self._mode = {}  # it is the question for checksums that the service refuses
            return answer

    def _first_byte(self, key: str) -> Headers:
        """What the answer to a GET of the first byte states: length, etag and date."""
        headers = self._request("get_object", key, Range="bytes=0-0")
        whole = headers.get("content-range", "").rpartition("/")[2]
        return {
            "content-length": whole or headers["content-length"],
            "etag": headers.get("etag", ""),
            "last-modified": headers.get("last-modified", ""),
        }

    def _request(self, method: str, key: str, **arguments: Any) -> Headers:
        with self._source.translating("looking up", key):
            try:
                answer = self._call(method, Key=key, **arguments)
            except Exception as error:
                empty = _of_empty_object(error)
                if empty is None:
                    raise
                return empty
            if "Body" in answer:
                answer["Body"].close()
        headers: Headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return headers


def _of_empty_object(error: Exception) -> Headers | None:
    """The headers of an answer that there is no first byte, if that is what failed."""
    cause = error.__cause__ or error
    answer: Any = getattr(cause, "response", None)
    stated = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    if stated.get("HTTPStatusCode") != 416:  # noqa: PLR2004 - the range is beyond the end
        return None
    return {**stated.get("HTTPHeaders", {}), "content-range": "bytes */0"}
