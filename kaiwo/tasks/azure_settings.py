"""How to reach an Azure storage account and as whom: resolved here, for both engines alike.

    connection_string (+ _file)           address, and a key or a signature
    account_name, endpoint_url            the address; with account_key or sas_token, or an identity
    AZURE_STORAGE_CONNECTION_STRING       of the environment, where the task names no account;
    AZURE_STORAGE_ACCOUNT_NAME            with ..._ACCOUNT_KEY, ..._SAS_TOKEN, or an identity

See ``azure_identity`` for identities.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from kaiwo.errors import ConfigError, CredentialsError
from kaiwo.loading import loading
from kaiwo.sources.identity import Identity
from kaiwo.sources.translation import NOBODY, NotForObstoreError
from kaiwo.tasks.connection_strings import (
    SIGNATURE,
    address_of,
    blob_address,
    fields_of,
    public_address,
    without_signature,
)
from kaiwo.tasks.fields import require_account, require_endpoint

_STORAGE = "AZURE_STORAGE_"
#: Fields of a connection string that prove who it is, and what they are called.
_PROOFS = {"accountkey": "account key", SIGNATURE: "signature"}


class AzureSettings(Struct, frozen=True):
    """How to reach a storage account and as whom.

    Attributes:
        connection: a connection string.
        place: what gives the key or the signature, for messages.
        identity: whose tokens are sent, where there is neither key nor signature; None: nobody's.
        is_anonymous: nothing is sent.
    """

    connection: str
    place: str
    identity: Identity | None
    is_anonymous: bool

    def __repr__(self) -> str:
        """Without the connection string."""
        return f"AzureSettings({self.place!r}, is_anonymous={self.is_anonymous})"

    @property
    def fields(self) -> Mapping[str, str]:
        """Of the connection string, by their names in lower case."""
        return fields_of(self.connection)

    @property
    def is_signed(self) -> bool:
        """Whether a signature is part of each address."""
        return not self.is_anonymous and bool(self.fields.get(SIGNATURE))

    def describe(self) -> str:
        """Who signs in, for messages; see ``StoreSource``."""
        if self.is_anonymous:
            return NOBODY
        if self.identity is not None:
            return self.identity.name
        proof = next((said for name, said in _PROOFS.items() if self.fields.get(name)), "")
        return f"the {proof} of {self.place}" if proof else ""

    def credentials(self) -> Any:
        """The credentials in obstore's form; None for nobody's."""
        fields = self.fields
        if self.is_anonymous:
            return None
        if key := fields.get("accountkey"):
            return lambda: {"access_key": key, "expires_at": None}
        if signature := fields.get(SIGNATURE):
            given = signature.strip().removeprefix("?")
            return lambda: {"sas_token": given, "expires_at": None}
        if self.identity is None:
            raise NotForObstoreError("there are no credentials that obstore can use")
        return self.identity.for_obstore


def cleaned(connection: str) -> str:
    """A connection string without the line breaks and spaces that secrets are stored with."""
    parts = [part.strip() for part in connection.split(";")]
    return ";".join(part for part in parts if part)


def connection_of(
    endpoint: str | None, account: str | None, key: str | None, signature: str | None
) -> str:
    """The connection string that fields make."""
    address = public_address(str(account))
    if endpoint:
        address = blob_address(require_endpoint(endpoint).rstrip("/"))
    parts = [f"BlobEndpoint={address}"]
    if key is not None:
        parts += [f"AccountName={account}", f"AccountKey={key}"]
    if signature is not None:
        parts.append(f"SharedAccessSignature={signature.strip().removeprefix('?')}")
    return ";".join(parts)


def is_proven(connection: str) -> bool:
    """Whether a connection string says who it is."""
    fields = fields_of(connection)
    return any(fields.get(name) for name in _PROOFS)


def of_environment() -> tuple[str, str] | None:
    """The connection string of the environment, and what gives its key or signature.

    Raises:
        ConfigError: it names what can be no account.
    """
    if connection := os.environ.get(f"{_STORAGE}CONNECTION_STRING"):
        return cleaned(connection), f"{_STORAGE}CONNECTION_STRING"
    account = os.environ.get(f"{_STORAGE}ACCOUNT_NAME")
    if not account:
        return None
    require_account(account, f"{_STORAGE}ACCOUNT_NAME")
    key = os.environ.get(f"{_STORAGE}ACCOUNT_KEY") or None
    signature = None if key else os.environ.get(f"{_STORAGE}SAS_TOKEN") or None
    place = f"{_STORAGE}ACCOUNT_KEY" if key else f"{_STORAGE}SAS_TOKEN"
    return connection_of(None, account, key, signature), place


def require_usable(connection: str, place: str) -> str:
    """A connection string whose address and key can be used.

    Raises:
        ConfigError: they cannot; the message quotes nothing of it.
    """
    fields = fields_of(connection)
    endpoint, account = address_of(fields)
    if not fields.get("blobendpoint") and account:
        require_account(account, place)
    with contextlib.suppress(ValueError):
        base64.b64decode(fields.get("accountkey", ""), validate=True)
        if endpoint is not None:
            require_endpoint(endpoint)
            return connection
    raise ConfigError(
        f"{place}: the account's key or address is malformed; give connection_string, or "
        "account_name with account_key or sas_token"
    )


def filesystem(settings: AzureSettings) -> Any:
    """An adlfs filesystem with a separate client.

    adlfs takes every missing argument from the environment, and prefers these. So it gets a
    connection string in any case.

    Raises:
        ConfigError: the SDK takes the connection string for malformed.
        CredentialsError: a token would go over plain HTTP.
    """
    with loading():
        import adlfs  # noqa: PLC0415 - only runs that use Azure load it

    fields = settings.fields
    signature = "" if settings.is_anonymous else fields.get(SIGNATURE, "")
    try:
        made = adlfs.AzureBlobFileSystem(
            connection_string=without_signature(settings.connection),
            anon=settings.is_anonymous,
            skip_instance_cache=True,
            use_listings_cache=False,
        )
    except ValueError:
        # Its message may quote the connection string.
        raise ConfigError(
            f"{settings.place}: the account's key or address is malformed; give connection_string, "
            "or account_name with account_key or sas_token"
        ) from None
    if fields.get("accountkey") or not (signature or settings.identity):
        return made
    with loading():
        from azure.core.credentials import AzureSasCredential  # noqa: PLC0415
        from azure.storage.blob.aio import BlobServiceClient  # noqa: PLC0415

        from kaiwo.sources.azure_tokens import BearerPolicy  # noqa: PLC0415

    endpoint = str(address_of(fields)[0])
    if signature:
        # In a connection string, the SDK takes a signature with an unknown field for a key.
        credential = AzureSasCredential(signature.strip().removeprefix("?"))
        made.service_client = BlobServiceClient(endpoint, credential=credential)
        return made
    if endpoint.startswith("http://"):
        raise CredentialsError(
            "no token is sent over http://; give account_name with account_key, sas_token, an "
            "https:// endpoint, or anonymous: true for a public container"
        )
    policies: Any = [BearerPolicy(settings.identity)] if settings.identity else []
    made.service_client = BlobServiceClient(endpoint, _additional_pipeline_policies=policies)
    return made
