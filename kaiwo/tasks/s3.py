"""Amazon S3 and compatible stores: MinIO, Ceph, Cloudflare R2 and others."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from kaiwo import redact
from kaiwo.errors import ConfigError
from kaiwo.loading import loading
from kaiwo.net.headers import header_token
from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Source
from kaiwo.sources.translation import NOBODY, NotForObstoreError
from kaiwo.tasks import customer_key
from kaiwo.tasks.customer_key import require_key
from kaiwo.tasks.fields import Endpoint, RoleArn, Secret, Text, require_endpoint
from kaiwo.tasks.items import Bucket
from kaiwo.tasks.kept import Kept
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.secrets import SecretFile

if TYPE_CHECKING:
    from kaiwo.sources.obstore.source import ObstoreSource
    from kaiwo.tasks.s3_identity import Identity
    from kaiwo.tasks.s3_settings import Credentials, S3Settings


class S3Task(BucketTask):
    """Objects of an S3 service. Without credentials, the SDK looks for them."""

    credentials = ("access_key_id", "secret_key", "session_token", "profile")

    type: Literal["s3"] = Field("s3", description="The task type.")
    endpoint_url: Endpoint | None = Field(None, description="Address of the service. Default: AWS.")
    endpoint_url_file: SecretFile | None = Field(None, description="File with the address.")
    access_key_id: Secret | None = Field(None, description="Access key ID.")
    access_key_id_file: SecretFile | None = Field(None, description="File with the access key ID.")
    secret_key: Secret | None = Field(None, description="Secret key.")
    secret_key_file: SecretFile | None = Field(None, description="File with the secret key.")
    session_token: Secret | None = Field(
        None, description="Session token of temporary credentials."
    )
    session_token_file: SecretFile | None = Field(None, description="File with the session token.")
    region: Text | None = Field(
        None,
        description="Region of the buckets. Default: that in the endpoint's host name, else the "
        "SDK's.",
    )
    profile: Text | None = Field(None, description="Profile in the SDK's configuration files.")
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto",
        description="Where the bucket's name goes: into the path or into the host name. ``auto``: "
        "into the path at an endpoint, unless its service is known to refuse that.",
    )
    role_arn: RoleArn | None = Field(
        None, description="Role to assume with these credentials, or with those that are found."
    )
    external_id: Text | None = Field(
        None, description="External ID that the role's owner asks for."
    )
    role_session_name: Text | None = Field(
        None, description="Name of the session in the logs of the role's owner."
    )
    customer_key: Annotated[Secret, AfterValidator(require_key)] | None = Field(
        None,
        description="Key of objects that are encrypted with a key of the customer (SSE-C): base64 "
        "of 32 bytes, or 32 characters.",
    )
    customer_key_file: SecretFile | None = Field(
        None, description="File with that key, which may be 32 bytes as they are."
    )
    requester_pays: bool = Field(False, description="Pay for the requests (requester pays).")
    buckets: tuple[Bucket, ...] = Field(min_length=1, description="Buckets, with their items.")
    _identity_kept: Kept = PrivateAttr(default_factory=Kept)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """See ``Task``."""
        yield from super().contradictions()
        if self.given("access_key_id") != self.given("secret_key"):
            given = "access_key_id" if self.given("access_key_id") else "secret_key"
            yield self.as_given(given), "access_key_id and secret_key belong together"
        elif self.given("session_token") and not self.given("access_key_id"):
            name = self.as_given("session_token")
            yield name, "session_token needs access_key_id and secret_key"
        if self.profile is not None and self.given("access_key_id"):
            yield "profile", "profile and access_key_id exclude each other"
        if self.anonymous and self.role_arn is not None:
            yield "anonymous", "anonymous: true and role_arn exclude each other"
        for name in ("external_id", "role_session_name"):
            if getattr(self, name) is not None and self.role_arn is None:
                yield name, f"{name} needs role_arn"

    @property
    def origin(self) -> str:
        """See ``Task``."""
        endpoint = self.secret("endpoint_url")
        return redact.url(endpoint) if endpoint else "s3"

    def url(self, container: str, key: str = "") -> str:
        """See ``Task``."""
        return f"s3://{container}/{key}"

    def source(self, container: str, network: NetworkSettings) -> Source:
        """See ``Task``."""
        with loading():
            from kaiwo.sources.s3 import S3Source  # noqa: PLC0415 - only runs that use S3 load it

        filesystem, url = self.filesystem(network), self.url(container)
        return S3Source(
            filesystem,
            container,
            url,
            self.origin,
            self._signer(network),
            has_own_key=self.given("customer_key"),
        )

    def object_store(
        self, container: str, network: NetworkSettings, found: S3Settings | None = None
    ) -> Any:
        """The store of obstore, with the same rights as the filesystem.

        Args:
            container: the bucket.
            network: how connections behave.
            found: the settings, where they are resolved already.

        Raises:
            NotForObstoreError: obstore does not support this task.
        """
        with loading():
            from obstore.store import S3Store  # noqa: PLC0415 - native code

            from kaiwo.sources.obstore.store import Provider, connect  # noqa: PLC0415
            from kaiwo.tasks import s3_settings  # noqa: PLC0415

        found = found or self._settings(network)
        provider = found.credentials and Provider(found.credentials)
        config = {
            **s3_settings.address(found, container, self.addressing_style),
            "region": found.region,
            "request_payer": self.requester_pays,
            "s3_express": False,
        }
        bucket = s3_settings.encoded(container)
        # AWS redirects to its own hosts; keys that the SDK finds may be temporary.
        has_token = self.given("session_token") or self._identity(network) is not None
        stays = found.endpoint is not None and has_token
        return connect(S3Store, bucket, config, provider, network, found.ca_bundle, stays=stays)

    def fast_source(self, container: str, network: NetworkSettings) -> ObstoreSource:
        """See ``BucketTask``."""
        with loading():
            from kaiwo.sources.obstore.source import ObstoreSource  # noqa: PLC0415
            from kaiwo.sources.s3_head import Head, HeadRequest  # noqa: PLC0415
            from kaiwo.tasks import s3_settings  # noqa: PLC0415

        if self.given("customer_key"):
            raise NotForObstoreError("obstore would show customer_key to the host of a redirect")
        found = self._settings(network)
        request = HeadRequest(
            s3_settings.base(found, container, self.addressing_style),
            found.region,
            found.credentials and (lambda: s3_settings.plain_keys(found)),
            found.ca_bundle,
            self.requester_pays,
            network,
        )
        return ObstoreSource(
            self.object_store(container, network, found),
            self.url(container),
            self.origin,
            pin="etag",
            lists=True,
            fallback=partial(self.source, container, network),
            look=Head(request),
            signer=self._signer(network),
        )

    def _settings(self, network: NetworkSettings) -> S3Settings:
        from kaiwo.tasks import s3_settings  # noqa: PLC0415

        endpoint = self.secret("endpoint_url")
        endpoint = require_endpoint(endpoint) if endpoint else None
        identity = self._identity(network)
        credentials = self._keys if self.given("access_key_id") else None
        credentials = credentials if identity is None else identity.give
        of_task = (endpoint, self.region, self.ca_bundle, credentials)
        named = self.anonymous or self.given("access_key_id")
        if named and not self.role_arn and not s3_settings.has_shared_files():
            return s3_settings.from_environment(*of_task)
        with loading():
            from botocore.session import Session  # noqa: PLC0415 - only where it finds more

            from kaiwo.tasks import s3_session  # noqa: PLC0415 - as above

        session = s3_session.session_of(Session, self.profile, named=named)
        return s3_settings.from_sdk(session, *of_task)

    def _identity(self, network: NetworkSettings) -> Identity | None:
        """Who signs in, of this task's buckets and both engines; None if its keys say it."""
        if self.anonymous or (self.given("access_key_id") and self.role_arn is None):
            return None
        with loading():
            from kaiwo.tasks import s3_identity, s3_session, s3_settings  # noqa: PLC0415

        def find() -> Identity:
            region = self.region if self.region and s3_settings.is_of_aws(self.region) else None
            session = s3_session.for_identity(self.profile, region, self.ca_bundle, network)
            role = self.role_arn and s3_identity.Role(
                self.role_arn, self.external_id, self.role_session_name
            )
            keys = self._plain_keys() if self.given("access_key_id") else None
            return s3_identity.Identity(session, keys, role or None)

        found: Identity = self._identity_kept.get(self.secrets_digest(), find)
        return found

    def _signer(self, network: NetworkSettings) -> Callable[[], str]:
        """Says who signs in."""
        identity = self._identity(network)
        key = f", with {self.as_given('customer_key')}" if self.given("customer_key") else ""

        def say() -> str:
            if identity is not None:
                return identity.describe() + key
            given = NOBODY if self.anonymous else f"{self.as_given('access_key_id')} of the task"
            return given + key

        return say

    def unreadable_secrets(self) -> Iterator[tuple[str, str]]:
        """See ``SecretFields``; the file of ``customer_key`` need not be text."""
        name = "customer_key_file"
        yield from (each for each in super().unreadable_secrets() if each[0] != name)
        try:
            customer_key.key_of(self.customer_key, self.customer_key_file)
        except ConfigError as error:
            yield name, error.message

    def secrets_digest(self) -> bytes:
        """See ``protocols.Opener``; the files of the SDK's chain are renewed as well."""
        digest = hashlib.sha256(super().secrets_digest())
        if self.customer_key_file is not None:
            with contextlib.suppress(ConfigError):
                digest.update(customer_key.content_of(self.customer_key_file))
        if not self.anonymous and not self.given("access_key_id"):
            from kaiwo.tasks import s3_settings  # noqa: PLC0415

            token = os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", "")
            for path in (*s3_settings.shared_files(), token):
                with contextlib.suppress(OSError), open(path, "rb") as file:
                    digest.update(file.read())
        return digest.digest()

    def _plain_keys(self) -> tuple[str, str, str | None]:
        """The task's keys, whose text a header can hold."""
        key, secret = self._header("access_key_id"), self.secret("secret_key")
        return str(key), str(secret), self._header("session_token")

    def _keys(self) -> Credentials:
        """The task's keys, in obstore's form."""
        from kaiwo.tasks import s3_settings  # noqa: PLC0415

        return s3_settings.keys(*self._plain_keys())

    def _header(self, name: str) -> str | None:
        """A secret that goes into a header."""
        value = self.secret(name)
        return None if value is None else header_token(value, name)

    def filesystem(self, network: NetworkSettings) -> Any:
        """An s3fs filesystem with a separate session, which repeats no request by itself."""
        with loading():
            from kaiwo.tasks import s3_filesystem  # noqa: PLC0415 - only runs that use it load it

        identity = self._identity(network)
        is_given = identity is None and self.given("access_key_id")
        endpoint = self.secret("endpoint_url")
        return s3_filesystem.connect(
            self,
            require_endpoint(endpoint) if endpoint else None,
            self._plain_keys() if is_given else (None, None, None),
            identity,
            customer_key.key_of(self.customer_key, self.customer_key_file),
            network,
        )
