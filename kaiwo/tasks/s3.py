"""Amazon S3 and compatible stores: MinIO, Ceph, Cloudflare R2 and others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kaiwo import redact
from kaiwo.loading import loading
from kaiwo.net import certificates
from kaiwo.net.headers import header_token
from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Source
from kaiwo.tasks.fields import Endpoint, Secret, Text, require_endpoint
from kaiwo.tasks.items import Bucket
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.secrets import SecretFile

if TYPE_CHECKING:
    from kaiwo.sources.obstore.source import ObstoreSource
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
    region: Text | None = Field(None, description="Region of the buckets.")
    profile: Text | None = Field(None, description="Profile in the SDK's configuration files.")
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto", description="Where the bucket's name goes: into the path or into the host name."
    )
    requester_pays: bool = Field(False, description="Pay for the requests (requester pays).")
    buckets: tuple[Bucket, ...] = Field(min_length=1, description="Buckets, with their items.")

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
        return S3Source(filesystem, container, url, self.origin)

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

        found = found or self._settings()
        provider = found.credentials and Provider(found.credentials)
        config = {
            **s3_settings.address(found, container, self.addressing_style),
            "region": found.region,
            "request_payer": self.requester_pays,
            "s3_express": False,
        }
        bucket = s3_settings.encoded(container)
        return connect(S3Store, bucket, config, provider, network, found.ca_bundle)

    def fast_source(self, container: str, network: NetworkSettings) -> ObstoreSource:
        """See ``BucketTask``."""
        with loading():
            from kaiwo.sources.obstore.source import ObstoreSource  # noqa: PLC0415
            from kaiwo.sources.s3_head import Head, HeadRequest  # noqa: PLC0415
            from kaiwo.tasks import s3_settings  # noqa: PLC0415

        found = self._settings()
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
            is_anonymous=found.credentials is None,
        )

    def _settings(self) -> S3Settings:
        from kaiwo.tasks import s3_settings  # noqa: PLC0415

        endpoint = self.secret("endpoint_url")
        endpoint = require_endpoint(endpoint) if endpoint else None
        credentials = self._keys if self.given("access_key_id") else None
        of_task = (endpoint, self.region, self.ca_bundle, credentials)
        named = self.anonymous or credentials is not None
        if named and not s3_settings.has_shared_files():
            return s3_settings.from_environment(*of_task)
        with loading():
            from botocore.session import Session  # noqa: PLC0415 - only where it finds more

            from kaiwo.tasks import s3_session  # noqa: PLC0415 - as above

        session = s3_session.session_of(Session, self.profile, named=named)
        return s3_settings.from_sdk(session, *of_task, anonymous=self.anonymous)

    def _keys(self) -> Credentials:
        """The task's keys, in obstore's form."""
        from kaiwo.tasks import s3_settings  # noqa: PLC0415

        key, secret = self.secret("access_key_id"), self.secret("secret_key")
        return s3_settings.keys(str(key), str(secret), self.secret("session_token"))

    def _header(self, name: str) -> str | None:
        """A secret that goes into a header."""
        value = self.secret(name)
        return None if value is None else header_token(value, name)

    def filesystem(self, network: NetworkSettings) -> Any:
        """An s3fs filesystem with a separate session, which repeats no request by itself."""
        with loading():
            import s3fs  # noqa: PLC0415 - only runs that use it load it
            from aiobotocore.session import AioSession  # noqa: PLC0415

            from kaiwo.sources import s3_answers, s3_region  # noqa: PLC0415
            from kaiwo.sources.s3_redirects import RedirectingSession  # noqa: PLC0415
            from kaiwo.tasks import s3_session  # noqa: PLC0415

        named = self.anonymous or self.given("access_key_id")
        endpoint = self.secret("endpoint_url")
        endpoint = require_endpoint(endpoint) if endpoint else None
        session = s3_session.session_of(AioSession, self.profile, named=named)
        if s3_session.endpoint_of(session, endpoint):
            s3_session.accept_any_bucket(session)
        ca_bundle = s3_session.trusted(session, self.ca_bundle)
        s3_region.register(session)
        s3_answers.register(session)
        filesystem = s3fs.S3FileSystem(
            anon=self.anonymous,
            endpoint_url=endpoint,
            key=self._header("access_key_id"),
            secret=self.secret("secret_key"),
            token=self._header("session_token"),
            requester_pays=self.requester_pays,
            session=session,
            client_kwargs={
                "region_name": self.region,
                # True and not None, with which an empty setting would switch verification off.
                "verify": certificates.file(ca_bundle) or True,
            },
            config_kwargs={
                "connect_timeout": network.connect_timeout_s,
                "read_timeout": network.stall_timeout_s,
                "max_pool_connections": network.connections,
                "retries": {"total_max_attempts": 1, "mode": "legacy"},
                # kaiwo checks whole objects itself; the SDK would hash each body in Python.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
                "s3": {"addressing_style": self.addressing_style},
                "user_agent_extra": "kaiwo",
                "http_session_cls": RedirectingSession,
                "client_cert": self.client_files(),
            },
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        filesystem.retries = 1
        return filesystem
