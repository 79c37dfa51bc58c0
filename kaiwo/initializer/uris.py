"""The URIs that KServe gives, as what kaiwo fetches.

s3://bucket/path             an object, else the folder of that name
gs://bucket/path             the same
hf://owner/repo[:revision]   a repository; kaiwo's own form (``@revision``) will do, too
https://ACCOUNT.blob.…/CONTAINER/PATH[?signature]
                             a blob, else the folder, in any of Azure's clouds, and in Azurite,
                             whose account is the first part of the path
https://host/file, http://   a file
file:///path                 copied
pvc://name/path              linked: the claim is mounted at /mnt/pvc
/mnt/pvc/path                the same, as older controllers write it
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from kaiwo import redact, units
from kaiwo.config import fetch_url
from kaiwo.errors import ConfigError
from kaiwo.initializer.variables import Variables
from kaiwo.tasks.fetch_request import HubUrl, ObjectUrl

#: Where the controller mounts a claim.
_CLAIMS = "/mnt/pvc"
_BLOBS = re.compile(r"([A-Za-z0-9-]+)\.(?:z[0-9]{1,2}\.)?blob\.(?:core|storage)\.[a-z0-9.-]+")
_SHARES = re.compile(r"[A-Za-z0-9-]+\.(?:z[0-9]{1,2}\.)?file\.(?:core|storage)\.[a-z0-9.-]+")
#: The account of Azurite, which is a part of its paths.
_AZURITE = "devstoreaccount1"
#: What KServe's own initializer fetches, and kaiwo does not.
_OF_KSERVE = ("hdfs", "webhdfs", "modelscope", "oci", "oci+native", "oci+fetch", "git")
_KNOWN = "s3://, gs://, hf://, https://, http://, file:// and pvc://"


class Remote(Struct, frozen=True):
    """A model that a service has.

    Attributes:
        url: what to fetch.
        fields: of the task type.
    """

    url: ObjectUrl
    fields: Mapping[str, Any]


def parse(uri: str, variables: Variables) -> Remote | str:  # noqa: PLR0911 - one for each scheme
    """What a URI asks for; a path of this machine is to be linked.

    Raises:
        ConfigError: kaiwo does not fetch it, or a variable cannot be used.
    """
    scheme, separator, rest = uri.partition("://")
    if uri.startswith("/"):
        return posixpath.normpath(uri)
    scheme = scheme.lower()
    if not separator or "@" in scheme:
        raise ConfigError(f"{units.printable(redact.no_url(uri))[:200]} is no URI: give {_KNOWN}")
    if scheme in _OF_KSERVE:
        raise _of_kserve(f"{scheme}://")
    match scheme:
        case "s3":
            return Remote(fetch_url.parse(uri, globs=False), variables.s3())
        case "gs":
            return Remote(fetch_url.parse(uri, globs=False), variables.gcs())
        case "hf":
            return Remote(_hub_url(uri, rest), variables.hub())
        case "pvc":
            return _claimed(rest)
        case "file":
            return Remote(fetch_url.parse(uri, globs=False), {})
        case "http" | "https":
            return _web(uri, variables)
    raise ConfigError(f"{_shown(scheme)}:// is not known: give {_KNOWN}")


def _hub_url(uri: str, rest: str) -> ObjectUrl:
    """A repository; KServe writes its revision after a colon."""
    repository, colon, revision = rest.partition(":")
    if not colon:
        return fetch_url.parse(uri, globs=False)
    if "@" in rest:
        raise ConfigError(f"{fetch_url.NO_USER_OF_HUB}; give hf://owner/repo[:revision]")
    url = fetch_url.parse(f"hf://{repository}", globs=False)
    if not isinstance(url, HubUrl) or url.path or url.revision:
        raise ConfigError("hf:// needs owner/repo[:revision]")
    return replace(url, revision=revision or None)


def _claimed(rest: str) -> str:
    """The path of what is on a claim."""
    name, _, path = rest.partition("/")
    if not name or ".." in path.split("/"):
        raise ConfigError("pvc:// needs the name of a claim, and a path that does not climb")
    return posixpath.normpath(f"{_CLAIMS}/{path}")


def _web(uri: str, variables: Variables) -> Remote:
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError(f"{_shown(uri)}: its host or port cannot be used") from None
    first = parts.path.strip("/").partition("/")[0]
    if (named := _BLOBS.fullmatch(host)) is not None:
        return _azure(parts, named[1], parts.path, f"{parts.scheme}://{parts.netloc}", variables)
    if first == _AZURITE:
        endpoint = f"{parts.scheme}://{parts.netloc}/{_AZURITE}"
        path = parts.path.lstrip("/").removeprefix(_AZURITE)
        return _azure(parts, _AZURITE, path, endpoint, variables)
    if _SHARES.fullmatch(host):
        raise _of_kserve("Azure's file shares")
    if parts.path.endswith(".git"):
        raise _of_kserve("git repositories")
    if not posixpath.basename(parts.path):
        raise ConfigError(f"{_shown(uri)} names no file")
    return Remote(fetch_url.parse(uri, globs=False), variables.web(host))


def _azure(
    parts: SplitResult, account: str, path: str, endpoint: str, variables: Variables
) -> Remote:
    container, _, key = path.lstrip("/").partition("/")
    if not container:
        raise ConfigError("the URI of a blob has the form https://ACCOUNT.blob…/CONTAINER/PATH")
    if parts.username is not None:
        raise ConfigError("the URI of a blob names no user and password ('@')")
    signature = parts.query if "sig=" in parts.query else ""
    fields = {
        **variables.azure(signature),
        "account_name": account,
        "endpoint_url": endpoint,
    }
    return Remote(ObjectUrl("azure-blob", container, key.strip("/")), fields)


def _of_kserve(what: str) -> ConfigError:
    return ConfigError(
        f"{what}: kaiwo does not fetch these; leave them to KServe's own initializer "
        "(supportedUriFormats of the ClusterStorageContainer)"
    )


def _shown(uri: str) -> str:
    return repr(units.printable(redact.text(uri))[:200])
