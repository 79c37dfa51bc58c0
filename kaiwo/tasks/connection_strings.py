"""Connection strings of Azure storage accounts (``Name=value;Name=value``), and their addresses."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_PUBLIC_SUFFIX = "core.windows.net"
#: Of the clouds whose authority the environment names.
_SUFFIXES = {
    "login.microsoftonline.us": "core.usgovcloudapi.net",
    "login.chinacloudapi.cn": "core.chinacloudapi.cn",
    "login.partner.microsoftonline.cn": "core.chinacloudapi.cn",
}
#: The other service of an account with a hierarchical namespace, which does not speak of blobs.
_OTHER_SERVICE = re.compile(r"^(https?://[^./@:]+)\.dfs\.(core\.[a-z.]+)(?=[:/]|$)", re.IGNORECASE)
#: The field with a signature, in lower case.
SIGNATURE = "sharedaccesssignature"


def public_address(account: str, suffix: str | None = None) -> str:
    """The address of an account's blob service; in the environment's cloud, if no suffix is given.

    AKS sets ``AZURE_AUTHORITY_HOST`` in the pods of each cloud.
    """
    if suffix is None:
        named = os.environ.get("AZURE_AUTHORITY_HOST", "")
        host = urlsplit(named if "://" in named else f"https://{named}").hostname or ""
        suffix = _SUFFIXES.get(host, _PUBLIC_SUFFIX)
    return f"https://{account}.blob.{suffix}"


def blob_address(endpoint: str) -> str:
    """The address of the blob service, where that of the other service (``dfs``) is given."""
    return _OTHER_SERVICE.sub(r"\1.blob.\2", endpoint)


def address_of(fields: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Address of the blob service and name of the account; None for what is not given."""
    account = fields.get("accountname")
    suffix = fields.get("endpointsuffix")
    endpoint = fields.get("blobendpoint") or (account and public_address(account, suffix))
    if endpoint and not account:
        # http://host/account of emulators, https://account.blob... of the service
        parts = urlsplit(endpoint)
        account = parts.path.strip("/") or (parts.hostname or "").partition(".")[0]
    return endpoint, account


def without_signature(connection: str | None) -> str:
    """A connection string without its signature."""
    parts = (connection or "").split(";")
    return ";".join(part for part in parts if part.partition("=")[0].lower() != SIGNATURE)


def fields_of(connection: str) -> dict[str, str]:
    """The fields of a connection string, by their names in lower case."""
    pairs = (part.partition("=") for part in connection.split(";"))
    return {name.strip().lower(): value for name, _, value in pairs}
