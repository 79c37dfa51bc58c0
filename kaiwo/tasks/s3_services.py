"""Services that speak S3: what to write for each, and what follows from an endpoint's host.

A field that is given always counts. Of what is not given, only that is taken from the host which
the service documents: a region that is part of the name, or the one addressing style that it has.
It goes before the environment's region, which is most often that of AWS.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

Style = Literal["auto", "path", "virtual"]
_NAME = r"[a-z0-9-]+"


class Service(Struct, frozen=True):
    """One service.

    Attributes:
        name: of the service.
        endpoint: what to write; capitals stand for what the user puts there.
        host: a pattern of its hosts, whose group ``region`` is the region; empty if any may be.
        region: that all of its hosts have, if they have one.
        style: the addressing style to use; ``auto`` is the path at an endpoint.
        note: what else to know.
    """

    name: str
    endpoint: str
    host: str = ""
    region: str = ""
    style: Style = "auto"
    note: str = ""


class Known(Struct, frozen=True):
    """What an endpoint's host says of its service.

    Attributes:
        region: to sign for; None if nothing says it.
        style: the addressing style; ``auto`` if either will do.
    """

    region: str | None = None
    style: Style = "auto"


SERVICES = (
    Service(
        "MinIO", "http://HOST:9000",
        note="Any region will do, unless the server was given one (`MINIO_REGION`).",
    ),
    Service(
        "Ceph (RADOS Gateway)", "https://HOST",
        note="Any region will do. `addressing_style: virtual` needs `rgw_dns_name` at the gateway.",
    ),
    Service(
        "Cloudflare R2", "https://ACCOUNT.r2.cloudflarestorage.com",
        r"[0-9a-f]+(\.(eu|fedramp))?\.r2\.cloudflarestorage\.com", "auto",
        note="With a jurisdiction: `https://ACCOUNT.eu.r2.cloudflarestorage.com`.",
    ),
    Service(
        "Backblaze B2", "https://s3.REGION.backblazeb2.com",
        rf"s3\.(?P<region>{_NAME})\.backblazeb2\.com",
        note="The bucket's page names the endpoint.",
    ),
    Service(
        "Wasabi", "https://s3.REGION.wasabisys.com",
        rf"s3\.(?P<region>{_NAME})\.wasabisys\.com",
        note="`https://s3.wasabisys.com` is that of `us-east-1`.",
    ),
    Service(
        "DigitalOcean Spaces", "https://REGION.digitaloceanspaces.com",
        rf"(?P<region>{_NAME})\.digitaloceanspaces\.com",
    ),
    Service(
        "Oracle Cloud (OCI)", "https://NAMESPACE.compat.objectstorage.REGION.oraclecloud.com",
        rf"{_NAME}\.compat\.objectstorage\.(?P<region>{_NAME})\.oraclecloud\.com",
        note="The keys are customer secret keys.",
    ),
    Service(
        "Alibaba Cloud OSS", "https://s3.oss-REGION.aliyuncs.com",
        rf"(s3\.)?oss-(?P<region>{_NAME}?)(-internal)?\.aliyuncs\.com", style="virtual",
        note="The path is refused (`SecondLevelDomainForbidden`). Inside the cloud: "
        "`https://s3.oss-REGION-internal.aliyuncs.com`.",
    ),
    Service(
        "Tencent Cloud COS", "https://cos.REGION.myqcloud.com",
        rf"cos\.(?P<region>{_NAME})\.myqcloud\.com", style="virtual",
        note="New buckets refuse the path. A bucket's name ends in the account's number.",
    ),
    Service(
        "Hugging Face storage buckets", "https://s3.hf.co/NAMESPACE",
        r"s3\.hf\.co", "us-east-1", "path",
        note="The namespace is a user or an organisation; the keys are made of an access token.",
    ),
    Service(
        "Supabase Storage", "https://PROJECT.storage.supabase.co/storage/v1/s3", style="path",
        note="Give `region`: that of the project.",
    ),
    Service(
        "Google Cloud Storage (XML API)", "https://storage.googleapis.com",
        r"storage\.googleapis\.com", "auto",
        note="With HMAC keys; type `gcs` verifies more.",
    ),
)  # fmt: skip
#: Of a service whose hosts are all but one named by their region.
_ONE_HOST = {"s3.wasabisys.com": "us-east-1"}
#: Words that stand where a region does, and are none.
_NO_REGION = {"accelerate", "accelerate-overseas"}


def known(endpoint: str | None, region: str | None = None, style: str = "auto") -> Known:
    """What counts at an endpoint: what is given, else what its host says.

    Args:
        endpoint: the address; None for AWS.
        region: that is given.
        style: that is given; ``auto`` leaves it open.
    """
    found = _of_host((urlsplit(endpoint).hostname or "") if endpoint else "")
    given: Style = "path" if style == "path" else "virtual" if style == "virtual" else found.style
    return Known(region or found.region, given)


def _of_host(host: str) -> Known:
    if host in _ONE_HOST:
        return Known(_ONE_HOST[host])
    for service in SERVICES:
        match = re.fullmatch(service.host, host) if service.host and host else None
        if match is not None:
            named = match.groupdict().get("region") or service.region
            return Known(None if named in {"", *_NO_REGION} else named, service.style)
    return Known()
