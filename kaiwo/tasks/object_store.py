"""Task types with buckets: items in each bucket, and a choice between two engines.

A task type has one source. A service that obstore supports has a second
one, which is faster: ``auto`` takes it wherever obstore supports all fields of the task.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from kaiwo.errors import ConfigError
from kaiwo.jobs import Want
from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Source
from kaiwo.sources.translation import NotForObstoreError
from kaiwo.tasks.base import Context, Engine, Location, Task, TaskOpener
from kaiwo.tasks.fetch_request import FetchRequest
from kaiwo.tasks.items import (
    Bucket,
    FileItem,
    FolderItem,
    globs_not_meant,
    selected,
)
from kaiwo.tasks.targets import named_target, snapshot_target

logger = logging.getLogger(__name__)


class BucketTask(Task):
    """A task that names buckets and, in each, items.

    A subclass has ``type``, ``origin``, ``url`` and ``source``, and a field of the name that
    ``holder`` says: ``buckets: tuple[Bucket, ...]``.
    """

    #: What the service calls its buckets: the name of the field that holds them.
    holder: ClassVar[str] = "buckets"
    #: Fields that are credentials; ``anonymous`` excludes them.
    credentials: ClassVar[tuple[str, ...]] = ()

    anonymous: bool = Field(
        False, description="Public data: send no credentials, and do not look for any."
    )

    def fast_source(self, container: str, network: NetworkSettings) -> Source | None:  # noqa: ARG002
        """The source over obstore, with the same rights; None where the service has none.

        Raises:
            NotForObstoreError: obstore does not support this task.
        """
        return None

    def open(self, container: str, network: NetworkSettings, engine: Engine) -> Source:
        """The fast source where there is one, else the source over fsspec.

        Raises:
            ConfigError: obstore is asked for by name, and does not support this task.
        """
        named = f"{self.label}: {self.url(container)}"
        if type(self).fast_source is BucketTask.fast_source and engine != "obstore":
            return self.source(container, network)  # a service that is read in one way only
        if engine == "fsspec":
            logger.debug("%s is read through fsspec, as requested", named)
            return self.source(container, network)
        try:
            fast = self._fast_source(container, network)
        except NotForObstoreError as reason:
            if engine == "obstore":
                raise ConfigError(f"{named} cannot be read through obstore: {reason}") from reason
            logger.info("%s is read through fsspec: %s", named, reason)
            return self.source(container, network)
        if fast is not None:
            logger.debug("%s is read through obstore, which supports all its fields", named)
            return fast
        if engine == "obstore":
            raise ConfigError(f"{named} cannot be read through obstore: use --engine auto")
        return self.source(container, network)

    def _fast_source(self, container: str, network: NetworkSettings) -> Source | None:
        if self.client_certificate is not None:
            raise NotForObstoreError("obstore cannot show a client_certificate")
        return self.fast_source(container, network)

    def is_ambient(self) -> bool:
        """See ``Task``."""
        named = self.anonymous or any(self.given(name) for name in self.credentials)
        return not named and self.withheld() is None

    def withheld(self) -> str | None:
        """Which credentials of the environment the endpoint does not get, and what to do, if any.

        Tokens that the task does not name are for the provider's own hosts, and for the endpoint
        that the same environment names.
        """
        return None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """See ``Task``."""
        yield from super().contradictions()
        given = [name for name in self.credentials if self.given(name)]
        if self.anonymous and given:
            yield "anonymous", f"anonymous: true and {given[0]} exclude each other"

    def wants(self, context: Context) -> Iterator[Want]:
        """See ``Task``."""
        held: tuple[Bucket, ...] = getattr(self, self.holder)
        # What travels with every job should not carry the whole list of items.
        bare = self.model_copy(update={self.holder: ()})
        origin = self.origin
        if withheld := self.withheld():
            logger.info("%s: %s", self.label, withheld)
        for number, bucket in enumerate(held):
            opener = TaskOpener(bare, bucket.name, context.network, origin, context.engine)
            for index, item in enumerate(bucket.items):
                where = context.where((self.holder, number, "items", index))
                selection, placement = selected(item, context.download_root)
                yield Want(self.label, where, opener, selection, placement, item.allow_empty)

    def _items(self) -> Iterator[tuple[Location, Bucket, FolderItem | FileItem]]:
        held: tuple[Bucket, ...] = getattr(self, self.holder)
        for number, bucket in enumerate(held):
            for index, item in enumerate(bucket.items):
                yield (self.holder, number, "items", index), bucket, item

    def named_targets(self, download_root: str) -> Iterator[tuple[Location, str, str]]:
        """See ``Task``."""
        for location, bucket, item in self._items():
            target = named_target(item, download_root)
            if target is not None and isinstance(item, FileItem):
                source = self.url(bucket.name, item.file)
                yield (*location, "target_path"), source, target

    def snapshots(self, download_root: str) -> Iterator[tuple[Location, str]]:
        """See ``Task``."""
        for location, _, item in self._items():
            if (target := snapshot_target(item, download_root)) is not None:
                yield (*location, "target_path"), target

    def globs_not_meant(self) -> Iterator[tuple[Location, str, str]]:
        """See ``Task``."""
        for location, _, item in self._items():
            for inner, fault, hint in globs_not_meant(item):
                yield (*location, *inner), fault, hint

    @classmethod
    def fetch_fields(cls, request: FetchRequest) -> dict[str, Any]:
        """See ``Task``."""
        return {cls.holder: [{"name": request.url.container, "items": [request.item()]}]}
