"""A session of S3's SDK, and what its configuration says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from kaiwo.errors import ConfigError, CredentialsError
from kaiwo.loading import loading
from kaiwo.net import certificates
from kaiwo.net.settings import NetworkSettings

if TYPE_CHECKING:
    from kaiwo.tasks.s3_identity import Identity

#: The SDK's name for the address of STS that belongs to no region.
ANYWHERE = "aws-global"


def session_of(kind: Callable[..., Any], profile: str | None, *, named: bool) -> Any:
    """A session of the SDK; its shared files are usable.

    Args:
        kind: botocore's class, or aiobotocore's.
        profile: the task's profile.
        named: the task gives the credentials, so that the environment's profile does not matter.

    Raises:
        ConfigError: the SDK's files are malformed.
        CredentialsError: the profile is not in these files.
    """
    with loading():
        from botocore.exceptions import ConfigParseError, ProfileNotFound  # noqa: PLC0415

    session = _with_shared_models(kind(profile=profile))
    try:
        session.get_scoped_config()
    except ConfigParseError:
        raise ConfigError(
            "the SDK's configuration is malformed (AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE)"
        ) from None
    except ProfileNotFound:
        if named:
            # AWS_PROFILE names it.
            without: dict[str, Any] = {"profile": (None, None, None, None)}
            return _with_shared_models(kind(session_vars=without))
        name = profile or "that AWS_PROFILE names"
        raise CredentialsError(
            f"the profile {name} is not in the SDK's configuration (AWS_CONFIG_FILE, "
            "AWS_SHARED_CREDENTIALS_FILE)"
        ) from None
    return session


def _with_shared_models(session: Any) -> Any:
    """The session, which parses the SDK's models of services once in a process, not once in each.

    They are most of what a client costs: 0.2 s of processor time become 0.03 in a second run.
    """
    session.lazy_register_component(
        "data_loader", lambda: _models(session.get_config_variable("data_path"))
    )
    return session


@cache
def _models(folders: str | None) -> Any:
    """The SDK's reader of its models; it remembers what it has parsed."""
    with loading():
        from botocore.loaders import create_loader  # noqa: PLC0415

    return create_loader(folders)


def trusted(session: Any, ca_bundle: str | None) -> str | None:
    """The certificates to trust: the task's, else the SDK's; None for those of any SDK.

    The session trusts them too when it asks for credentials, beside the system's.

    Raises:
        ConfigError: they cannot be used.
    """
    ca_bundle = ca_bundle or session.get_config_variable("ca_bundle") or None
    session.set_config_variable("ca_bundle", certificates.file(ca_bundle, and_system=True) or True)
    return ca_bundle


def for_identity(
    profile: str | None, region: str | None, ca_bundle: str | None, network: NetworkSettings
) -> Any:
    """A session that asks identity services, and no S3.

    Args:
        profile: the task's.
        region: of the task, if it is one of AWS; the SDK's own goes first.
        ca_bundle: the task's.
        network: timeouts; kaiwo itself repeats requests.
    """
    with loading():
        from botocore.config import Config  # noqa: PLC0415
        from botocore.session import Session  # noqa: PLC0415

    session = session_of(Session, profile, named=False)
    trusted(session, ca_bundle)
    # Other SDKs read AWS_REGION. A store that is not AWS's may have any region.
    named = session.get_config_variable("region") or os.environ.get("AWS_REGION")
    session.set_config_variable("region", named or region or ANYWHERE)
    session.set_default_client_config(
        Config(
            connect_timeout=network.connect_timeout_s,
            read_timeout=network.stall_timeout_s,
            retries={"total_max_attempts": 1, "mode": "legacy"},
            user_agent_extra="kaiwo",
        )
    )
    return session


def provide(session: Any, identity: Identity) -> None:
    """Let a session of aiobotocore sign with an identity, instead of what its chain finds."""
    with loading():
        from aiobotocore.credentials import AioCredentials  # noqa: PLC0415

    class Shared(AioCredentials):  # type: ignore[misc]
        """Asks the identity, in another thread where that takes a request."""

        def __init__(self) -> None:
            super().__init__("", "", method="kaiwo")

        async def get_frozen_credentials(self) -> Any:
            return identity.held() or await asyncio.to_thread(identity.ask)

    class Chain:
        async def load_credentials(self) -> Any:
            return Shared()

    session.register_component("credential_provider", Chain())


def endpoint_of(session: Any, endpoint: str | None) -> str | None:
    """The address of the service: the task's, else that of the SDK's configuration, if any."""
    with loading():
        from botocore.configprovider import ConfiguredEndpointProvider  # noqa: PLC0415

    if endpoint or session.get_config_variable("ignore_configured_endpoint_urls"):
        return endpoint
    scoped = session.get_scoped_config()
    found: str | None = ConfiguredEndpointProvider(session.full_config, scoped, "s3").provide()
    return found


def accept_any_bucket(session: Any) -> None:
    """Let the SDK send any bucket's name: AWS's rules for names are not those of other services.

    Ceph has ``tenant:bucket``.
    """
    with loading():
        from botocore.handlers import validate_bucket_name  # noqa: PLC0415

    session.unregister("before-parameter-build.s3", validate_bucket_name)
