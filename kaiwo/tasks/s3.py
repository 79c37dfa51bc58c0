"""S3 and what speaks its language: AWS, MinIO, Ceph, Cloudflare R2 and others."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kaiwo import redact
from kaiwo.errors import ConfigError, CredentialsError
from kaiwo.network import Network, header_token
from kaiwo.protocols import Source
from kaiwo.tasks.base import ObjectStoreTask, require_endpoint
from kaiwo.tasks.items import Bucket, Secret, Text


class S3Task(ObjectStoreTask):
    """Objects of an S3 service. Without credentials, the SDK's own chain is used."""

    credentials = ("access_key_id", "secret_key", "session_token", "profile")

    type: Literal["s3"] = "s3"
    endpoint_url: Text | None = None
    """Address of the service; AWS when it is left out."""
    endpoint_url_file: Text | None = None
    """File that holds it."""
    access_key_id: Secret | None = None
    """Access key."""
    access_key_id_file: Text | None = None
    """File that holds it."""
    secret_key: Secret | None = None
    """Secret key."""
    secret_key_file: Text | None = None
    """File that holds it."""
    session_token: Secret | None = None
    """Token of temporary credentials."""
    session_token_file: Text | None = None
    """File that holds it."""
    region: Text | None = None
    """Region of the buckets."""
    profile: Text | None = None
    """Profile of the SDK's configuration."""
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    """Bucket in the path or in the host name."""
    requester_pays: bool = False
    """Accept the cost of requests."""
    buckets: tuple[Bucket, ...] = Field(min_length=1)
    """What is wanted."""

    @model_validator(mode="after")
    def _whole_key(self) -> Self:
        if self.given("access_key_id") != self.given("secret_key"):
            raise PydanticCustomError("key", "access_key_id and secret_key belong together")
        if self.given("session_token") and not self.given("access_key_id"):
            raise PydanticCustomError("key", "session_token needs access_key_id and secret_key")
        if self.profile is not None and self.given("access_key_id"):
            raise PydanticCustomError("key", "profile and access_key_id exclude each other")
        return self

    @property
    def origin(self) -> str:
        """See ``Task``."""
        endpoint = self.secret("endpoint_url")
        return redact.url(endpoint) if endpoint else "s3"

    def url(self, container: str, key: str = "") -> str:
        """See ``Task``."""
        return f"s3://{container}/{key}"

    def source(self, container: str, network: Network) -> Source:
        """See ``Task``."""
        from kaiwo.sources.s3 import S3Source  # noqa: PLC0415 - only runs that use S3 load it

        filesystem, url = self.filesystem(network), self.url(container)
        return S3Source(filesystem, container, url, self.origin)

    def filesystem(self, network: Network) -> Any:
        """An s3fs filesystem of its own session, which repeats nothing by itself."""
        import s3fs  # noqa: PLC0415 - only runs that use S3 load it

        token = self.secret("session_token")
        endpoint = self.secret("endpoint_url")
        filesystem = s3fs.S3FileSystem(
            anon=self.anonymous,
            endpoint_url=require_endpoint(endpoint) if endpoint else None,
            key=self.secret("access_key_id"),
            secret=self.secret("secret_key"),
            token=None if token is None else header_token(token, "session_token"),
            requester_pays=self.requester_pays,
            session=self._session(),
            client_kwargs={"region_name": self.region, "verify": self.ca_bundle},
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
            },
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        filesystem.retries = 1
        return filesystem

    def _session(self) -> Any:
        """The SDK's session, once its shared files are known to be usable."""
        from aiobotocore.session import AioSession  # noqa: PLC0415
        from botocore.exceptions import ConfigParseError, ProfileNotFound  # noqa: PLC0415

        session = AioSession(profile=self.profile)
        try:
            session.get_scoped_config()
        except ConfigParseError as error:
            raise ConfigError(
                "the SDK's configuration is malformed (AWS_CONFIG_FILE, "
                "AWS_SHARED_CREDENTIALS_FILE)"
            ) from error
        except ProfileNotFound as error:
            if self.anonymous or self.given("access_key_id"):
                # AWS_PROFILE names it; the task says itself who asks.
                return AioSession(session_vars={"profile": (None, None, None, None)})
            name = self.profile or "that AWS_PROFILE names"
            raise CredentialsError(
                f"the profile {name} is not in the SDK's configuration (AWS_CONFIG_FILE, "
                "AWS_SHARED_CREDENTIALS_FILE)"
            ) from error
        return session
