"""Shelf, a store of objects over HTTP: the task type ``shelf`` and URLs ``shelf://bucket/key``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kaiwo import redact
from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Source
from kaiwo.tasks.fields import Endpoint, Secret
from kaiwo.tasks.items import Bucket
from kaiwo.tasks.object_store import BucketTask
from kaiwo.tasks.secrets import SecretFile


class ShelfTask(BucketTask):
    """Objects of a Shelf."""

    schemes = ("shelf",)
    holder = "shelves"
    credentials = ("token",)

    type: Literal["shelf"] = Field("shelf", description="The task type.")
    endpoint_url: Endpoint = Field(description="Address of the service.")
    token: Secret | None = Field(None, description="The token of a reader.")
    token_file: SecretFile | None = Field(None, description="File with the token.")
    shelves: tuple[Bucket, ...] = Field(min_length=1, description="Shelves, with their items.")

    @property
    def origin(self) -> str:
        """See ``Task``."""
        return redact.url(self.endpoint_url.rstrip("/"))

    def url(self, container: str, key: str = "") -> str:
        """See ``Task``."""
        return f"shelf://{container}/{key}"

    def source(self, container: str, network: NetworkSettings) -> Source:
        """See ``Task``."""
        from kaiwo_shelf.source import ShelfSource  # noqa: PLC0415 - only runs that use it load it

        address, token = self.endpoint_url.rstrip("/"), self.secret("token")
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        client = self.http_client(network, address, headers)
        return ShelfSource(client, address, self.url(container), container)
