"""The fsspec filesystem of an S3 task: s3fs, with a session of the SDK that kaiwo prepares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import s3fs
from aiobotocore.session import AioSession

from kaiwo.net import certificates
from kaiwo.net.settings import NetworkSettings
from kaiwo.sources import s3_answers, s3_region
from kaiwo.sources.s3_redirects import RedirectingSession
from kaiwo.tasks import s3_services, s3_session
from kaiwo.tasks.fields import require_endpoint

if TYPE_CHECKING:
    from kaiwo.tasks.s3 import S3Task
    from kaiwo.tasks.s3_identity import Identity


def connect(
    task: S3Task,
    endpoint: str | None,
    keys: tuple[str | None, str | None, str | None],
    identity: Identity | None,
    customer_key: bytes | None,
    network: NetworkSettings,
) -> Any:
    """A filesystem with a separate session, which repeats no request by itself.

    Args:
        task: its other fields.
        endpoint: the task's.
        keys: access key, secret key and session token of the task, if it gives them.
        identity: who signs in, if these keys do not say it.
        customer_key: of objects that are encrypted with a key of the customer.
        network: how connections behave.
    """
    session = s3_session.session_of(
        AioSession, task.profile, named=task.anonymous or task.given("access_key_id")
    )
    found = s3_session.endpoint_of(session, endpoint)
    by_host = s3_services.known(found, task.region, task.addressing_style)
    if found is not None:
        require_endpoint(found)  # the SDK's configuration may name it
        s3_session.accept_any_bucket(session)
    ca_bundle = s3_session.trusted(session, task.ca_bundle)
    if identity is not None:
        s3_session.provide(session, identity)
    s3_region.register(session)
    s3_answers.register(session)
    key, secret, token = keys
    encryption = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": customer_key}
    filesystem = s3fs.S3FileSystem(
        anon=task.anonymous,
        endpoint_url=endpoint,
        key=key,
        secret=secret,
        token=token,
        requester_pays=task.requester_pays,
        session=session,
        s3_additional_kwargs=encryption if customer_key else {},
        client_kwargs={
            "region_name": by_host.region,
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
            "s3": {"addressing_style": by_host.style},
            "user_agent_extra": "kaiwo",
            "http_session_cls": RedirectingSession,
            "client_cert": task.client_files(),
        },
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    filesystem.retries = 1
    return filesystem
