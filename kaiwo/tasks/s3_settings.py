"""The settings of an S3 task, resolved by the SDK's rules.

Region, address, certificates and credentials come from the task, else from the environment, else
from the SDK's shared files and its credential chain. Where there are no such files, and the task
gives the keys, the SDK would find nothing more, so it is not loaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from kaiwo.net.headers import header_token
from kaiwo.sources.translation import NotForObstoreError
from kaiwo.tasks.fields import require_endpoint
from kaiwo.tasks.s3_services import known

_SHARED_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
#: obstore always takes these from the environment, and the SDK does not.
_STRAY = re.compile(r"AWS_(SERVER_SIDE_ENCRYPTION|SSE_.*)", re.IGNORECASE)
_ELSEWHERE = ("use_fips_endpoint", "use_dualstack_endpoint")
#: AWS's names of buckets; those of old buckets in us-east-1 have capitals and underscores.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
#: Names that can be part of a host name.
_HOST_PART = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

Credentials = Mapping[str, str | datetime | None]


class S3Settings(Struct, frozen=True):
    """How to reach S3 and as whom.

    Attributes:
        endpoint: address of the service; None for AWS.
        region: the region to sign for.
        ca_bundle: path of the certificates to trust; None for those of any SDK.
        credentials: gives the credentials in obstore's form; None for anonymous requests.
    """

    endpoint: str | None
    region: str
    ca_bundle: str | None
    credentials: Callable[[], Credentials] | None


def is_of_aws(region: str) -> bool:
    """Whether it can be a region of AWS whose addresses are those of most of its regions."""
    return re.fullmatch(r"(af|ap|ca|eu|il|me|mx|sa|us)-[a-z-]+-\d", region) is not None


def has_shared_files() -> bool:
    """Whether the SDK's shared files exist."""
    return any(os.path.exists(path) for path in shared_files())


def shared_files() -> tuple[str, ...]:
    """Where the SDK's shared files are, if they exist."""
    paths = (os.environ.get(name, usual) for name, usual in _SHARED_FILES.items())
    return tuple(map(os.path.expanduser, paths))


def from_environment(
    endpoint: str | None,
    region: str | None,
    ca_bundle: str | None,
    credentials: Callable[[], Credentials] | None,
) -> S3Settings:
    """The task's settings, completed by the SDK's variables.

    Raises:
        NotForObstoreError: only the SDK can find the rest.
    """
    environment = os.environ
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        endpoint = (
            endpoint
            or environment.get("AWS_ENDPOINT_URL_S3")
            or environment.get("AWS_ENDPOINT_URL")
        )
    ca_bundle = ca_bundle or environment.get("AWS_CA_BUNDLE")
    elsewhere = [name for name in _ELSEWHERE if environment.get(f"AWS_{name.upper()}")]
    region = known(endpoint, region).region or environment.get("AWS_DEFAULT_REGION")
    return _expressible(endpoint, region, ca_bundle, credentials, elsewhere)


def from_sdk(
    session: Any,
    endpoint: str | None,
    region: str | None,
    ca_bundle: str | None,
    credentials: Callable[[], Credentials] | None,
) -> S3Settings:
    """The task's settings, completed by a session of the SDK.

    Args:
        session: botocore's.
        endpoint: the task's.
        region: the task's.
        ca_bundle: the task's.
        credentials: see ``S3Settings``.

    Raises:
        NotForObstoreError: obstore cannot do what the SDK is configured to do.
    """
    from kaiwo.tasks import s3_session  # noqa: PLC0415 - with the SDK only

    scoped = session.get_scoped_config()
    endpoint = s3_session.endpoint_of(session, endpoint)
    region = known(endpoint, region).region or session.get_config_variable("region")
    ca_bundle = s3_session.trusted(session, ca_bundle)
    elsewhere = [name for name in _ELSEWHERE if session.get_config_variable(name)]
    elsewhere += [name for name in scoped.get("s3", ()) if name.startswith("use_")]
    return _expressible(endpoint, region, ca_bundle, credentials, elsewhere)


def _expressible(
    endpoint: str | None,
    region: str | None,
    ca_bundle: str | None,
    credentials: Callable[[], Credentials] | None,
    elsewhere: list[str],
) -> S3Settings:
    if stray := [name for name in os.environ if _STRAY.fullmatch(name)]:
        raise NotForObstoreError(f"{stray[0]} is set, and obstore would obey it")
    if endpoint:
        require_endpoint(endpoint)
    else:
        if elsewhere:
            raise NotForObstoreError(f"the SDK's setting {elsewhere[0]} chooses the address")
        if region is None:
            raise NotForObstoreError("no region is given; the SDK looks the bucket's up")
        if not is_of_aws(region):
            raise NotForObstoreError(f"only the SDK knows the addresses of region {region}")
    return S3Settings(endpoint or None, region or "us-east-1", ca_bundle, credentials)


def keys(key: str, secret: str, token: str | None) -> dict[str, str | datetime | None]:
    """Keys in obstore's form.

    Raises:
        ConfigError: a header cannot hold them; obstore would end the process.
    """
    return {
        "access_key_id": header_token(key, "access_key_id"),
        "secret_access_key": secret,
        "token": None if token is None else header_token(token, "session_token"),
        "expires_at": None,
    }


def address(found: S3Settings, bucket: str, style: str) -> dict[str, Any]:
    """The settings of obstore for a bucket's address, by the SDK's rules.

    The bucket's name goes into the path at a given endpoint, unless the style says otherwise, and
    into the host name at AWS where that is possible.

    Raises:
        NotForObstoreError: only the SDK can find it.
    """
    is_arn, is_directory = bucket.startswith("arn:"), bucket.endswith("--x-s3")
    is_at_aws, style = found.endpoint is None, known(found.endpoint, style=style).style
    if is_arn or is_directory or (is_at_aws and not _BUCKET.fullmatch(bucket)):
        raise NotForObstoreError("only the SDK supports this bucket name")
    virtual = style == "virtual" or (style == "auto" and is_at_aws and "." not in bucket)
    virtual = virtual and _HOST_PART.fullmatch(bucket) is not None
    endpoint = (found.endpoint or f"https://s3.{found.region}.amazonaws.com").rstrip("/")
    if virtual:
        scheme, _, host = endpoint.partition("://")
        endpoint = f"{scheme}://{bucket}.{host}"
    return {
        "endpoint": endpoint,
        # This name has precedence over others, which may be in the environment.
        "aws_endpoint_url_s3": endpoint,
        "virtual_hosted_style_request": virtual,
    }


def base(found: S3Settings, bucket: str, style: str) -> str:
    """The address of a bucket, without the slash before a key; see ``address``."""
    config = address(found, bucket, style)
    endpoint: str = config["endpoint"]
    if config["virtual_hosted_style_request"]:
        return endpoint
    return f"{endpoint}/{encoded(bucket)}"


def encoded(bucket: str) -> str:
    """A bucket's name as a segment of a path, encoded as the SDK does it.

    Services compute the signature from the name that they have encoded again.
    """
    return quote(bucket, safe="")


def plain_keys(found: S3Settings) -> tuple[str, str, str | None]:
    """Access key, secret key and session token; ``found`` must have credentials."""
    given = found.credentials() if found.credentials else {}
    token = given["token"]
    return (
        str(given["access_key_id"]),
        str(given["secret_access_key"]),
        None if token is None else str(token),
    )
