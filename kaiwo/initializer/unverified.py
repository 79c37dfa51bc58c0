"""S3 without verified certificates: KServe's ``S3_VERIFY_SSL=0``, which counts here alone.

It is no field and no option: no configuration can name this class, for no table of task types has
it. So ``kaiwo download`` and ``kaiwo.fetch`` verify in any environment.

Who is on the way to the store can then read the keys' signatures and give other bytes, with other
checksums: what arrives is whole, but whose it is, nobody knows.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Opener
from kaiwo.sources.obstore.source import ObstoreSource
from kaiwo.sources.translation import NotForObstoreError
from kaiwo.tasks.base import TaskOpener
from kaiwo.tasks.s3 import S3Task

logger = logging.getLogger(__name__)


class UnverifiedS3Task(S3Task):
    """An S3 task that takes any certificate of its service, and goes through s3fs alone."""

    def fast_source(self, container: str, network: NetworkSettings) -> ObstoreSource:  # noqa: ARG002
        """See ``BucketTask``."""
        raise NotForObstoreError("S3_VERIFY_SSL switches verification off")

    def filesystem(self, network: NetworkSettings) -> Any:
        """See ``S3Task``; it has not connected yet."""
        made = super().filesystem(network)
        made.client_kwargs["verify"] = False
        return made


def unverified(opener: Opener) -> Opener:
    """The same opener, for a source that does not verify."""
    if not isinstance(opener, TaskOpener) or not isinstance(opener.task, S3Task):
        raise TypeError("only S3 is read without verification")
    task = opener.task
    fields = {name: getattr(task, name) for name in S3Task.model_fields}
    return dataclasses.replace(opener, task=UnverifiedS3Task.model_construct(**fields))


def warn() -> None:
    """Say what the switch means."""
    logger.warning(
        "S3_VERIFY_SSL: the certificates of S3 services are not verified: anybody on the way can "
        "read the requests and give other files; give the service's certificate by AWS_CA_BUNDLE"
    )
