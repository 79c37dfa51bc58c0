"""Connection strings of Azure storage accounts: ``Name=value;Name=value``."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

_PUBLIC_SUFFIX = "core.windows.net"
#: The field with a signature, in lower case.
SIGNATURE = "sharedaccesssignature"


def public_address(account: str, suffix: str = _PUBLIC_SUFFIX) -> str:
    """The address of an account's blob service."""
    return f"https://{account}.blob.{suffix}"


def address_of(fields: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Address of the blob service and name of the account; None for what is not given."""
    account = fields.get("accountname")
    suffix = fields.get("endpointsuffix", _PUBLIC_SUFFIX)
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
