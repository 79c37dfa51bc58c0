"""What a process reads once for all its clients: read before a fork server forks for each run."""

from __future__ import annotations

import contextlib


def up() -> None:
    """Read the models of the SDK of S3, and the system's certificates."""
    from botocore.session import Session  # noqa: PLC0415 - not all that fork load it

    from kaiwo.errors import ConfigError  # noqa: PLC0415
    from kaiwo.net import certificates  # noqa: PLC0415
    from kaiwo.tasks import s3_session  # noqa: PLC0415

    session = s3_session.session_of(Session, None, named=True)
    keys = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "none")
    # Certificates are none of this: variables of these runs may name what no client accepts.
    session.create_client("s3", region_name="us-east-1", verify=False, **keys).close()
    with contextlib.suppress(ConfigError):
        certificates.context(None)
