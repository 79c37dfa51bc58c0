"""What S3 states about an object, in its listing and in a HEAD: above all its checksum.

- The etag of most objects is their md5. The etag of an upload in parts is the md5 of the md5s of
  its parts, with their number after a dash. kaiwo computes it if the length of the first part (a
  HEAD with ``partNumber=1`` states it) adds up to that number.
- The etag of an object that is encrypted with a KMS key, or with a key of the client, looks like
  an md5 and is none. Only a HEAD tells.
- ``x-amz-checksum-*`` of an upload in parts may be a checksum of checksums (``COMPOSITE``), or
  end in a dash and a number; it is not used. crc64nvme is always a checksum of the whole object.

obstore shows no headers, and the SDK takes half a second of processor time to load for the one
request that a large object is worth. So awscrt signs that request, whose checksums kaiwo needs
anyway, and kaiwo's own client sends it. If it fails for any reason, the SDK asks instead. A
redirect is a failure, too: the signature is for one host.

See docs/decisions/0019, 0020 and 0021.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.errors import UnfinishedError
from kaiwo.net.settings import NetworkSettings
from kaiwo.net.statuses import RefusedError
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.sources.answers import http_date_ns, plain_etag, seconds_ns, strong_etag

if TYPE_CHECKING:
    from kaiwo.net.client import Client

_MD5 = re.compile(r"[0-9A-Fa-f]{32}")
#: Headers that say how an etag was made.
_OF_ETAG = re.compile(
    r"x-[a-z]+-(server-side-encryption(?:-customer-algorithm)?|object-type)", re.ASCII
)
_OF_NOTHING = checksums.of_bytes("md5", b"")
_STATED = ("crc64nvme", "crc32c", "sha256", "sha1", "crc32")


class HeadRequest(Struct, frozen=True):
    """What the HEAD requests for the objects of one bucket have in common.

    Attributes:
        base: address of the bucket, without a slash at its end.
        region: to sign for.
        keys: gives access key, secret key and session token; None for anonymous requests.
        ca_bundle: path of certificates to trust, or None for the system's.
        requester_pays: the requester accepts the cost.
        network: timeouts.
    """

    base: str
    region: str
    keys: Callable[[], tuple[str, str, str | None]] | None
    ca_bundle: str | None
    requester_pays: bool
    network: NetworkSettings

    def headers(self, url: str) -> Mapping[str, str]:
        """The headers of a request, signed."""
        headers = {"host": urlsplit(url).netloc, "x-amz-checksum-mode": "ENABLED"}
        if self.requester_pays:
            headers["x-amz-request-payer"] = "requester"
        return headers if self.keys is None else self._sign(url, headers, self.keys())

    def _sign(
        self, url: str, headers: Mapping[str, str], keys: tuple[str, str, str | None]
    ) -> dict[str, str]:
        from awscrt import auth, http  # noqa: PLC0415 - native code

        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        request = http.HttpRequest("HEAD", path, http.HttpHeaders(list(headers.items())))
        config = auth.AwsSigningConfig(
            algorithm=auth.AwsSigningAlgorithm.V4,
            signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=auth.AwsCredentialsProvider.new_static(*keys),
            region=self.region,
            service="s3",
            use_double_uri_encode=False,
            should_normalize_uri_path=False,
            signed_body_value=auth.AwsSignedBodyValue.UNSIGNED_PAYLOAD,
            signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        )
        auth.aws_sign_request(request, config).result(self.network.stall_timeout_s)
        return dict(request.headers)


class Head:
    """Sends signed HEAD requests for the objects of one bucket. Called from many threads at once.

    Args:
        request: what they have in common.
    """

    def __init__(self, request: HeadRequest) -> None:
        self._request = request
        self._client: Client | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections: requests that are under way fail."""
        with self._lock:
            self._is_closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def __call__(self, key: str) -> RemoteObject:
        """The object of that key, or any exception; the SDK is asked then."""
        return self._parse(key, self._fetch(key))

    def pin(self, key: str) -> RemoteObject:
        """The same with its version."""
        headers = self._fetch(key)
        return replace(self._parse(key, headers), version=version_of(headers))

    def _parse(self, key: str, headers: Mapping[str, str]) -> RemoteObject:
        if is_length_of_head(headers.get("content-length", ""), headers.get("etag")):
            raise ValueError("the length may be that of the HEAD itself")
        return parse_head_with_parts(key, headers, lambda: self._fetch(key, "?partNumber=1"))

    def _fetch(self, key: str, query: str = "") -> Mapping[str, str]:
        """The headers of the answer, by their names in lower case."""
        url = f"{self._request.base}/{quote(key, safe='/~')}{query}"
        headers = self._request.headers(url)
        with self._open().request("HEAD", url, headers, follows=lambda _: False) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            if answer.redirect_target is not None:
                raise RefusedError(answer.status, "", found, url)
            return found

    def _open(self) -> Client:
        """The client, made by the first request: many runs send none."""
        from kaiwo.net import certificates  # noqa: PLC0415
        from kaiwo.net.client import Client  # noqa: PLC0415

        with self._lock:
            if self._is_closed:
                raise UnfinishedError("the source is closed")
            if self._client is None:
                trust = partial(certificates.context, self._request.ca_bundle)
                self._client = Client(self._request.network, trust)
            return self._client


def md5_of(etag: str | None) -> Checksum | None:
    """The md5 that an etag is; None if the object was uploaded in parts."""
    return Checksum("md5", etag.lower()) if etag and _MD5.fullmatch(etag) else None


def parse_entry(
    key: str, size: int, etag: str | None, modified: datetime | None = None
) -> RemoteObject:
    """An object as an entry of a listing states it: its etag is a checksum, unless it has parts.

    The etag of an object with a single part is a checksum too, since the part's length is known.
    """
    strong = strong_etag(etag)
    plain = strong or plain_etag(etag)
    md5 = md5_of(plain)
    checksum = md5 or checksums.of_parts(plain, size, size)
    return RemoteObject(
        key,
        size,
        strong,
        None,
        checksum,
        modified_ns=seconds_ns(modified),
        checksum_on_request=True,
        multipart=md5 is None and checksums.is_of_parts(plain),
    )


def is_size_wrong(remote: RemoteObject) -> bool:
    """Whether a listing states size 0 and the md5 of something else."""
    return remote.size == 0 and remote.checksum not in (None, _OF_NOTHING)


def is_length_of_head(length: str, etag: str | None) -> bool:
    """Whether a length that a HEAD states may be that of its answer, which has no body."""
    return not length.lstrip("0") and md5_of(plain_etag(etag)) != _OF_NOTHING


def parse_head(key: str, headers: Mapping[str, str]) -> RemoteObject:
    """An object as the headers of its HEAD state it.

    Args:
        key: of the object.
        headers: of the HEAD; their names are in lower case.
    """
    etag = plain_etag(headers.get("etag"))
    stated: dict[str, str | None] = {}
    # Without a type, the checksum of an upload in parts is a checksum of checksums. Only crc64nvme
    # is always one of the whole. A checksum of checksums may end in a dash and the number of parts.
    parts = "-" in (etag or "")
    for algorithm in _STATED:
        value = headers.get(f"x-amz-checksum-{algorithm}", "")
        kind = "COMPOSITE" if parts and algorithm != "crc64nvme" else "FULL_OBJECT"
        if headers.get("x-amz-checksum-type", kind).upper() == "FULL_OBJECT" and "-" not in value:
            stated[algorithm] = value
    if _has_plain_etag(headers) and (md5 := md5_of(etag)):
        stated["md5"] = md5.value
    return RemoteObject(
        key,
        int(headers["content-length"]),
        strong_etag(headers.get("etag")),
        None,
        checksums.best(stated),
        modified_ns=http_date_ns(headers.get("last-modified")),
    )


def version_of(headers: Mapping[str, str]) -> str | None:
    """The version that a HEAD states; a bucket without versions states none, or ``null``."""
    version = headers.get("x-amz-version-id", "")
    return version if version not in ("", "null") else None


def parse_head_with_parts(
    key: str, headers: Mapping[str, str], fetch_first_part: Callable[[], Mapping[str, str]]
) -> RemoteObject:
    """An object as its HEAD states it; without a better checksum, the etag of an upload in parts.

    Args:
        key: of the object.
        headers: of its HEAD; their names are in lower case.
        fetch_first_part: asks for the headers of its first part.
    """
    remote = parse_head(key, headers)
    etag = plain_etag(headers.get("etag")) or ""
    if remote.checksum is not None or "-" not in etag or not _has_plain_etag(headers):
        return remote
    length = remote.size
    if not etag.endswith("-1"):
        length = int(fetch_first_part().get("content-length", 0))
    return replace(remote, checksum=checksums.of_parts(etag, remote.size, length))


def _has_plain_etag(headers: Mapping[str, str]) -> bool:
    """Whether the etag is made of the bytes.

    It is not if a key of KMS or of the client encrypts them. Of an object that grew by appending,
    some services make an etag that looks like an md5. Each service has its own prefix (``x-oss-``).
    """
    for name, value in headers.items():
        stated = _OF_ETAG.fullmatch(name)
        if stated is None or not value:
            continue
        if stated[1] == "server-side-encryption" and value.upper() == "AES256":
            continue
        if stated[1] == "object-type" and value.lower() != "appendable":
            continue
        return False
    return True
