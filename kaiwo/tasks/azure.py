"""Azure Blob Storage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.loading import loading
from kaiwo.net import certificates
from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Source
from kaiwo.sources.identity import Identity
from kaiwo.sources.translation import NotForObstoreError
from kaiwo.tasks import azure_identity, azure_settings
from kaiwo.tasks.azure_identity import Asked
from kaiwo.tasks.azure_settings import AzureSettings
from kaiwo.tasks.connection_strings import address_of, fields_of
from kaiwo.tasks.fields import Account, Endpoint, Secret, Text, require_account
from kaiwo.tasks.items import Bucket
from kaiwo.tasks.kept import Kept
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.secrets import SecretFile, content_digest

if TYPE_CHECKING:
    from kaiwo.sources.obstore.source import ObstoreSource

#: Hosts of Azure's storage in its clouds, which may have a token that the task does not name.
_OWN_HOSTS = (
    ".core.windows.net", ".core.chinacloudapi.cn", ".core.usgovcloudapi.net", ".core.cloudapi.de",
    ".storage.azure.net",
)  # fmt: skip


class AzureTask(BucketTask):
    """Blobs of an Azure storage account. Without credentials, the SDK looks for them."""

    holder = "containers"
    credentials = (
        *("connection_string", "account_key", "sas_token"),
        *("client_secret", "principal_certificate"),
    )

    type: Literal["azure-blob"] = Field("azure-blob", description="The task type.")
    connection_string: Secret | None = Field(
        None, description="Connection string of the storage account."
    )
    connection_string_file: SecretFile | None = Field(
        None, description="File with the connection string."
    )
    account_name: Account | None = Field(None, description="Name of the storage account.")
    account_name_file: SecretFile | None = Field(None, description="File with the account's name.")
    account_key: Secret | None = Field(None, description="Key of the storage account.")
    account_key_file: SecretFile | None = Field(None, description="File with the account's key.")
    sas_token: Secret | None = Field(None, description="Shared access signature (SAS).")
    sas_token_file: SecretFile | None = Field(
        None, description="File with the shared access signature."
    )
    tenant_id: Text | None = Field(
        None, description="Tenant ID of a service principal or of a workload identity."
    )
    client_id: Text | None = Field(
        None,
        description="Client ID of a service principal, of a workload identity, or of a managed "
        "identity.",
    )
    client_secret: Secret | None = Field(None, description="Secret of a service principal.")
    client_secret_file: SecretFile | None = Field(
        None, description="File with the service principal's secret."
    )
    principal_certificate: Secret | None = Field(
        None,
        description="Certificate of a service principal and its RSA key, in PEM form, instead of "
        "``client_secret``.",
    )
    principal_certificate_file: SecretFile | None = Field(
        None, description="File with the service principal's certificate and key."
    )
    endpoint_url: Endpoint | None = Field(
        None,
        description="Address of the blob service. Default: the account's public address, in the "
        "cloud of ``AZURE_AUTHORITY_HOST``.",
    )
    containers: tuple[Bucket, ...] = Field(
        min_length=1, description="Containers, with their items."
    )

    _kept: Kept = PrivateAttr(default_factory=Kept)

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
        for name in ("client_secret", "principal_certificate"):
            if self.given(name) and not (self.tenant_id and self.client_id):
                yield self.as_given(name), f"{name} needs tenant_id and client_id"

    @property
    def origin(self) -> str:
        """See ``Task``."""
        with contextlib.suppress(ConfigError):  # who opens the source gets it
            endpoint, _ = address_of(fields_of(self._connection()[0]))
            if endpoint:
                return redact.url(endpoint)
        return "azure"

    def url(self, container: str, key: str = "") -> str:
        """See ``Task``."""
        return f"az://{container}/{key}"

    def source(self, container: str, network: NetworkSettings) -> Source:
        """See ``Task``."""
        return self._source(container, network, self.settings(network))

    def _source(self, container: str, network: NetworkSettings, found: AzureSettings) -> Source:
        with loading():
            from kaiwo.sources.azure import AzureSource  # noqa: PLC0415 - only runs that use it

        filesystem, url = azure_settings.filesystem(found), self.url(container)
        trust = certificates.chosen(self.ca_bundle, self.client_certificate, self.client_key)
        return AzureSource(filesystem, container, url, self.origin, network, trust, found.describe)

    def fast_source(self, container: str, network: NetworkSettings) -> ObstoreSource:
        """See ``BucketTask``."""
        with loading():
            from obstore.store import AzureStore  # noqa: PLC0415 - native code

            from kaiwo.sources.obstore.source import ObstoreSource  # noqa: PLC0415
            from kaiwo.sources.obstore.store import Provider, connect  # noqa: PLC0415

        found = self.settings(network)
        endpoint, account = address_of(found.fields)
        if found.identity is not None and not str(endpoint).startswith("https://"):
            raise NotForObstoreError("there are no credentials that obstore can use")
        give = found.credentials()
        config = {
            "account_name": account,
            "endpoint": str(endpoint).rstrip("/"),
            "use_emulator": False,
            "use_fabric_endpoint": False,
        }
        provider = None if give is None else Provider(give, found.identity)
        stays = found.is_signed and not _is_own(str(endpoint))
        trusted = self.ca_bundle
        store = connect(AzureStore, container, config, provider, network, trusted, stays=stays)
        return ObstoreSource(
            store,
            self.url(container),
            self.origin,
            pin="etag",
            # Its listing states no Content-MD5, so each blob would need a request.
            lists=False,
            fallback=partial(self._source, container, network, found),
            signer=found.describe,
        )

    def settings(self, network: NetworkSettings) -> AzureSettings:
        """How to reach the account and as whom.

        Raises:
            ConfigError: what the task or the environment gives cannot be used, or names no account.
        """
        is_anonymous = self.anonymous or self.withheld() is not None
        connection, place = self._connection()
        azure_settings.require_usable(connection, place)
        proven = azure_settings.is_proven(connection)
        identity = None
        if not (is_anonymous or proven or self.given("connection_string")):
            identity = self._kept.get(self.secrets_digest(), lambda: self._find_identity(network))
        return AzureSettings(connection, place, identity, is_anonymous)

    def _connection(self) -> tuple[str, str]:
        """The connection string, given or made of the fields, and what gives it."""
        if (connection := self.secret("connection_string")) is not None:
            return azure_settings.cleaned(connection), self.as_given("connection_string")
        account = self.secret("account_name")
        if account is None and self.endpoint_url is None:
            found = azure_settings.of_environment()
            if found is None:
                raise ConfigError(
                    "no account; give connection_string, or account_name with account_key or "
                    "sas_token"
                )
            return found
        if account is not None:
            require_account(account, self.as_given("account_name"))
        key, signature = self.secret("account_key"), self.secret("sas_token")
        made = azure_settings.connection_of(self.endpoint_url, account, key, signature)
        of_task = (name for name in ("account_key", "sas_token") if self.given(name))
        place = next(of_task, "account_name" if account else "endpoint_url")
        return made, self.as_given(place) if place != "endpoint_url" else place

    def _find_identity(self, network: NetworkSettings) -> Identity:
        trust = certificates.file(self.ca_bundle, and_system=True)
        asked = Asked(self.tenant_id or "", self.client_id or "", network, trust)
        if (secret := self.secret("client_secret")) is not None:
            return azure_identity.of_secret(asked, secret, self.as_given("client_secret"))
        if (certificate := self.secret("principal_certificate")) is not None:
            place = self.as_given("principal_certificate")
            return azure_identity.of_certificate(asked, certificate, place)
        return azure_identity.of_environment(asked)

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``; files of the environment may change as well."""
        own = super().secrets_digest()
        if self.anonymous or any(self.given(name) for name in self.credentials):
            return own
        return own + b"".join(map(content_digest, azure_identity.files()))

    def withheld(self) -> str | None:
        """See ``BucketTask``; who names an identity by ``client_id`` names its token."""
        named = self.anonymous or any(self.given(name) for name in (*self.credentials, "client_id"))
        if named or self.endpoint_url is None:
            return None
        endpoint = self.endpoint_url.rstrip("/")
        if endpoint.startswith("http://") or _is_own(endpoint):
            return None  # no token is sent over plain HTTP, see ``azure_settings``
        return (
            f"Azure credentials of the environment are not sent to {redact.url(endpoint)}; give "
            "client_id if they are meant for it, or sas_token_file or account_key_file, or "
            "anonymous: true"
        )


def _is_own(endpoint: str) -> bool:
    """Whether an endpoint is at a host of Azure."""
    return (urlsplit(endpoint).hostname or "").endswith(_OWN_HOSTS)
