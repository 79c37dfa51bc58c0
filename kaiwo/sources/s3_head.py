"""What S3 tells of an object, in its listing and in the headers of a HEAD: above all, its checksum.

obstore shows no headers, and the SDK takes half a second of processor time to load for the one
request that a large object is worth. So that request is signed by awscrt, whose checksums are
needed anyway, and sent by the standard library. Whatever goes wrong here is left to the SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.objects import Checksum, RemoteObject
from kaiwo.sources.answers import plain_etag

_MD5 = re.compile(r"[0-9a-f]{32}")
_STATED = ("crc64nvme", "crc32c", "sha256", "sha1", "crc32")


class Head(Struct, frozen=True):
    """Sends signed HEAD requests for the objects of one bucket.

    Attributes:
        base: address of the bucket, without a slash at its end.
        region: to sign for.
        keys: gives access key, secret key and session token; None for anonymous requests.
        ca_bundle: path of certificates to trust, or None for the system's.
        requester_pays: accept the cost.
        timeout_s: without a byte.
    """

    base: str
    region: str
    keys: Callable[[], tuple[str, str, str | None]] | None
    ca_bundle: str | None
    requester_pays: bool
    timeout_s: float

    def __call__(self, key: str) -> RemoteObject:
        """The object of that key; any exception where it cannot be had this way."""
        return completed(key, self._ask(key), lambda: self._ask(key, "?partNumber=1"))

    def _ask(self, key: str, query: str = "") -> dict[str, str]:
        """The headers of the answer, by their names in lower case."""
        import ssl  # noqa: PLC0415 - many runs send none
        import urllib.request  # noqa: PLC0415

        url = f"{self.base}/{quote(key, safe='/~')}{query}"
        headers = {"host": urlsplit(url).netloc, "x-amz-checksum-mode": "ENABLED"}
        if self.requester_pays:
            headers["x-amz-request-payer"] = "requester"
        if self.keys is not None:
            headers = self._signed(url, headers, self.keys())
        trust = ssl.create_default_context(cafile=self.ca_bundle) if url[:6] == "https:" else None
        request = urllib.request.Request(url, headers=headers, method="HEAD")  # noqa: S310 - http
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust))
        with opener.open(request, timeout=self.timeout_s) as answer:
            return {name.lower(): value for name, value in answer.headers.items()}

    def _signed(
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
        auth.aws_sign_request(request, config).result(self.timeout_s)
        return dict(request.headers)


def md5_of(etag: str | None) -> Checksum | None:
    """The md5 that the etag of most objects of S3 is: of those that were not uploaded in parts."""
    return Checksum("md5", etag) if etag and _MD5.fullmatch(etag) else None


def listed(key: str, size: int, etag: str | None) -> RemoteObject:
    """An object as the listing of S3 states it: its etag tells a checksum, unless it has parts.

    A single part has the object's length, so that it needs no question.
    """
    etag = plain_etag(etag)
    md5 = md5_of(etag)
    checksum = md5 or checksums.of_parts(etag, size, size)
    multipart = md5 is None and checksums.is_of_parts(etag)
    return RemoteObject(
        key, size, etag, checksum=checksum, checksum_on_request=True, multipart=multipart
    )


def described(key: str, headers: Mapping[str, str]) -> RemoteObject:
    """An object as the headers of its HEAD state it.

    Args:
        key: its key.
        headers: by their names in lower case.
    """
    etag = plain_etag(headers.get("etag"))
    stated: dict[str, str | None] = {}
    # Where the type is not told, what an upload in parts has is a checksum of checksums: all but
    # crc64nvme, which is of the whole always. A dash counts the parts of such a one.
    parts = "-" in (etag or "")
    for algorithm in _STATED:
        value = headers.get(f"x-amz-checksum-{algorithm}", "")
        kind = "COMPOSITE" if parts and algorithm != "crc64nvme" else "FULL_OBJECT"
        if headers.get("x-amz-checksum-type", kind) == "FULL_OBJECT" and "-" not in value:
            stated[algorithm] = checksums.from_base64(value)
    if _has_plain_etag(headers) and (md5 := md5_of(etag)):
        stated["md5"] = md5.value
    size = int(headers["content-length"])
    return RemoteObject(key, size, etag, checksum=checksums.best(stated))


def completed(
    key: str, headers: Mapping[str, str], first_part: Callable[[], Mapping[str, str]]
) -> RemoteObject:
    """The same; of an upload in parts that states nothing better, its etag is the checksum.

    Args:
        key: its key.
        headers: of its HEAD, by their names in lower case.
        first_part: asks for the headers of its first part.
    """
    remote = described(key, headers)
    etag = remote.etag or ""
    if remote.checksum is not None or "-" not in etag or not _has_plain_etag(headers):
        return remote
    length = remote.size
    if not etag.endswith("-1"):
        length = int(first_part().get("content-length", 0))
    return replace(remote, checksum=checksums.of_parts(etag, remote.size, length))


def _has_plain_etag(headers: Mapping[str, str]) -> bool:
    """Whether the etag comes from the bytes: not if a key of KMS or of the client encrypts them."""
    encryption = headers.get("x-amz-server-side-encryption") or "AES256"
    customer = headers.get("x-amz-server-side-encryption-customer-algorithm")
    return encryption == "AES256" and not customer
