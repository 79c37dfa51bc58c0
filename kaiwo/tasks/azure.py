"""Azure Blob Storage."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from kaiwo import redact
from kaiwo.errors import ConfigError, CredentialsError
from kaiwo.loading import loading
from kaiwo.net import certificates
from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Source
from kaiwo.sources.translation import NotForObstoreError
from kaiwo.tasks.connection_strings import (
    SIGNATURE,
    address_of,
    fields_of,
    public_address,
    without_signature,
)
from kaiwo.tasks.fields import Endpoint, Secret, Text, require_endpoint
from kaiwo.tasks.items import Bucket
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.secrets import SecretFile

if TYPE_CHECKING:
    from kaiwo.sources.obstore.source import ObstoreSource

#: Hosts of Azure's storage in its clouds, which may have a token that the task does not name.
_OWN_HOSTS = (
    ".core.windows.net", ".core.chinacloudapi.cn", ".core.usgovcloudapi.net", ".core.cloudapi.de",
    ".storage.azure.net",
)  # fmt: skip
_SCOPE = "https://storage.azure.com/.default"


class AzureTask(BucketTask):
    """Blobs of an Azure storage account. Without credentials, the SDK looks for them."""

    holder = "containers"
    credentials = ("connection_string", "account_key", "sas_token", "client_secret")

    type: Literal["azure-blob"] = Field("azure-blob", description="The task type.")
    connection_string: Secret | None = Field(
        None, description="Connection string of the storage account."
    )
    connection_string_file: SecretFile | None = Field(
        None, description="File with the connection string."
    )
    account_name: Text | None = Field(None, description="Name of the storage account.")
    account_name_file: SecretFile | None = Field(None, description="File with the account's name.")
    account_key: Secret | None = Field(None, description="Key of the storage account.")
    account_key_file: SecretFile | None = Field(None, description="File with the account's key.")
    sas_token: Secret | None = Field(None, description="Shared access signature (SAS).")
    sas_token_file: SecretFile | None = Field(
        None, description="File with the shared access signature."
    )
    tenant_id: Text | None = Field(None, description="Tenant ID of a service principal.")
    client_id: Text | None = Field(None, description="Client ID of a service principal.")
    client_secret: Secret | None = Field(None, description="Secret of a service principal.")
    client_secret_file: SecretFile | None = Field(
        None, description="File with the service principal's secret."
    )
    endpoint_url: Endpoint | None = Field(
        None, description="Address of the blob service. Default: the account's public address."
    )
    containers: tuple[Bucket, ...] = Field(
        min_length=1, description="Containers, with their items."
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """See ``Task``."""
        yield from super().contradictions()
        ways = [name for name in self.credentials if self.given(name)]
        if len(ways) > 1:
            yield self.as_given(ways[1]), f"{ways[0]} and {ways[1]} exclude each other"
        elif self.given("connection_string"):
            if self.given("account_name"):
                name = self.as_given("account_name")
                yield name, "account_name is part of the connection_string"
            if self.endpoint_url is not None:
                yield "endpoint_url", "endpoint_url is part of the connection_string"
        elif self.given("account_key") and not self.given("account_name"):
            yield self.as_given("account_key"), "account_key needs account_name"
        elif (ways or self.anonymous) and not (self.given("account_name") or self.endpoint_url):
            name = self.as_given(ways[0]) if ways else "anonymous"
            yield name, "account_name or endpoint_url is missing"
        if self.given("client_secret") and not (self.tenant_id and self.client_id):
            yield self.as_given("client_secret"), "client_secret needs tenant_id and client_id"

    @property
    def origin(self) -> str:
        """See ``Task``."""
        if self.given("connection_string"):
            endpoint, _ = address_of(fields_of(self._connection() or ""))
            return redact.url(endpoint) if endpoint else "azure"
        if self.given("account_name") or self.endpoint_url:
            return redact.url(self._endpoint())
        return "azure"

    def url(self, container: str, key: str = "") -> str:
        """See ``Task``."""
        return f"az://{container}/{key}"

    def source(self, container: str, network: NetworkSettings) -> Source:
        """See ``Task``."""
        with loading():
            from kaiwo.sources.azure import AzureSource  # noqa: PLC0415 - only runs that use it

        filesystem, url = self.filesystem(), self.url(container)
        trust = certificates.chosen(self.ca_bundle, self.client_certificate, self.client_key)
        return AzureSource(filesystem, container, url, self.origin, network, trust)

    def object_store(self, container: str, network: NetworkSettings) -> Any:
        """The store of obstore, with the same rights as the filesystem.

        Raises:
            NotForObstoreError: obstore does not support this task.
        """
        with loading():
            from obstore.store import AzureStore  # noqa: PLC0415 - native code

            from kaiwo.sources.obstore.store import Provider, connect  # noqa: PLC0415

        fields = fields_of(self._connection() or "")
        endpoint, account = address_of(fields)
        if not (endpoint and account):
            raise NotForObstoreError("only the SDK can find the account and its address")
        provider = None if self._is_anonymous() else Provider(self._granted(fields, endpoint))
        config = {
            "account_name": account,
            "endpoint": endpoint.rstrip("/"),
            "use_emulator": False,
            "use_fabric_endpoint": False,
        }
        return connect(AzureStore, container, config, provider, network, self.ca_bundle)

    def fast_source(self, container: str, network: NetworkSettings) -> ObstoreSource:
        """See ``BucketTask``."""
        with loading():
            from kaiwo.sources.obstore.source import ObstoreSource  # noqa: PLC0415

        return ObstoreSource(
            self.object_store(container, network),
            self.url(container),
            self.origin,
            pin="etag",
            # Its listing states no Content-MD5, so each blob would need a request.
            lists=False,
            fallback=partial(self.source, container, network),
            is_anonymous=self._is_anonymous(),
        )

    def _granted(self, fields: Mapping[str, str], endpoint: str) -> Callable[[], dict[str, Any]]:
        """A function that gives the credentials in obstore's form.

        Raises:
            NotForObstoreError: only the SDK can find them.
        """
        if key := fields.get("accountkey"):
            return lambda: {"access_key": key, "expires_at": None}
        if sas := fields.get(SIGNATURE):
            return lambda: {"sas_token": sas.removeprefix("?"), "expires_at": None}
        if not self._signs_in() or not endpoint.startswith("https://"):
            raise NotForObstoreError("there are no credentials that obstore can use")
        with loading():
            from azure import identity  # noqa: PLC0415

        credential = self._credential(identity)

        def token() -> dict[str, Any]:
            given = credential.get_token(_SCOPE)
            return {
                "token": given.token,
                "expires_at": datetime.fromtimestamp(given.expires_on, UTC),
            }

        return token

    def filesystem(self) -> Any:
        """An adlfs filesystem with a separate client.

        adlfs takes every missing argument from the environment, and prefers these. So it gets a
        connection string whenever the task names an account or an address.
        """
        with loading():
            import adlfs  # noqa: PLC0415 - only runs that use Azure load it

        connection = self._connection()
        fields = fields_of(connection or "")
        key, signature = fields.get("accountkey", ""), fields.get(SIGNATURE, "")
        try:
            base64.b64decode(key, validate=True)
            filesystem = adlfs.AzureBlobFileSystem(
                connection_string=without_signature(connection) if signature else connection,
                anon=self._is_anonymous(),
                skip_instance_cache=True,
                use_listings_cache=False,
            )
        except ValueError:
            # Its message may quote the connection string.
            given = "the account's key or address is malformed" if connection else "no account"
            raise ConfigError(
                f"{given}; give connection_string, or account_name with account_key or sas_token"
            ) from None
        if signature and not key:
            with loading():
                from azure.core.credentials import AzureSasCredential  # noqa: PLC0415
                from azure.storage.blob.aio import BlobServiceClient  # noqa: PLC0415

            # In a connection string, the SDK takes a signature with an unknown field for a key.
            filesystem.service_client = BlobServiceClient(
                str(address_of(fields)[0]), credential=AzureSasCredential(signature.strip())
            )
        elif connection is not None and self._signs_in():
            if self._endpoint().startswith("http://"):
                raise CredentialsError(
                    "no token is sent over http://; give account_name with account_key, sas_token, "
                    "an https:// endpoint, or anonymous: true for a public container"
                )
            with loading():
                from azure.identity import aio  # noqa: PLC0415
                from azure.storage.blob.aio import BlobServiceClient  # noqa: PLC0415

            filesystem.credential = self._credential(aio)
            filesystem.service_client = BlobServiceClient(
                self._endpoint(), credential=filesystem.credential
            )
        return filesystem

    def _connection(self) -> str | None:
        """The connection string, given or made of the fields; None where neither is there."""
        if (connection := self.secret("connection_string")) is not None:
            # Secrets are often stored with line breaks or spaces.
            parts = [part.strip() for part in connection.split(";")]
            return ";".join(part for part in parts if part)
        if not (self.given("account_name") or self.endpoint_url):
            return None
        parts = [f"BlobEndpoint={self._endpoint()}"]
        if (key := self.secret("account_key")) is not None:
            parts += [f"AccountName={self.secret('account_name')}", f"AccountKey={key}"]
        if (sas := self.secret("sas_token")) is not None:
            parts.append(f"SharedAccessSignature={sas.strip().removeprefix('?')}")
        return ";".join(parts)

    def _endpoint(self) -> str:
        if self.endpoint_url is not None:
            return require_endpoint(self.endpoint_url).rstrip("/")
        return public_address(str(self.secret("account_name")))

    def _signs_in(self) -> bool:
        """Whether a token of Microsoft Entra is needed: there is neither key nor signature."""
        own = ("connection_string", "account_key", "sas_token")
        return not self._is_anonymous() and not any(self.given(name) for name in own)

    def _is_anonymous(self) -> bool:
        return self.anonymous or self.withheld() is not None

    def withheld(self) -> str | None:
        """See ``BucketTask``; who names an identity by ``client_id`` names its token."""
        named = self.anonymous or any(self.given(name) for name in (*self.credentials, "client_id"))
        if named or self.endpoint_url is None:
            return None
        endpoint = self._endpoint()
        host = urlsplit(endpoint).hostname or ""
        if endpoint.startswith("http://") or host.endswith(_OWN_HOSTS):
            return None  # no token is sent over plain HTTP, see ``filesystem``
        return (
            f"Azure credentials of the environment are not sent to {redact.url(endpoint)}; give "
            "client_id if they are meant for it, or sas_token_file or account_key_file, or "
            "anonymous: true"
        )

    def _credential(self, identity: Any) -> Any:
        """The principal's credential, from the SDK's module for threads or for event loops."""
        trust = certificates.file(self.ca_bundle, and_system=True)
        options: dict[str, Any] = {} if trust is None else {"connection_verify": trust}
        if (secret := self.secret("client_secret")) is not None:
            try:
                return identity.ClientSecretCredential(
                    str(self.tenant_id), str(self.client_id), secret, retry_total=0, **options
                )
            except ValueError:
                raise ConfigError("tenant_id or AZURE_AUTHORITY_HOST is invalid") from None
        return identity.DefaultAzureCredential(managed_identity_client_id=self.client_id, **options)
