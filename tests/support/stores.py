"""The stores of the tests behind one interface: fill a bucket, write a task, open a source."""

from __future__ import annotations

import dataclasses
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kaiwo.config.document import Document
from kaiwo.config.loader import build
from kaiwo.net.settings import NetworkSettings
from kaiwo.protocols import Opener
from kaiwo.tasks.base import Context, Engine
from tests import servers
from tests.servers import upload

_numbers = itertools.count()


@dataclass(frozen=True)
class Store:
    """A running server of one provider.

    Attributes:
        type: the task type.
        fields: of a task that reaches it.
        fill: stores objects in a bucket, which it makes.
    """

    type: str
    fields: Mapping[str, Any]
    fill: Callable[[str, Mapping[str, bytes]], None]
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def new_bucket(self, objects: Mapping[str, bytes] | None = None) -> str:
        """A bucket that no other test knows, with these objects."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        self.fill(name, objects or {})
        return name

    def task(
        self, bucket: str, items: Sequence[Mapping[str, Any]], **fields: Any
    ) -> dict[str, Any]:
        """A task of a configuration; fields that are None are left out."""
        given = {**self.fields, **fields}
        task: dict[str, Any] = {"type": self.type}
        task |= {name: value for name, value in given.items() if value is not None}
        if self.type == "hf":
            return task | {"repo_id": bucket}
        holder = "containers" if self.type == "azure-blob" else "buckets"
        return task | {holder: [{"name": bucket, "items": list(items)}]}

    def opener(self, bucket: str, engine: Engine = "auto") -> Opener:
        """Of a source for a bucket."""
        task = self.task(bucket, [{"folder": "", "target_path": "x"}])
        config = build(Document("test", {"download_items": [task]}), {})
        context = Context("/nowhere", NetworkSettings(stall_timeout_s=10), engine, lambda _: "test")
        (want,) = config.tasks[0].wants(context)
        return want.opener


@contextmanager
def _started(name: str, *args: str) -> Iterator[dict[str, str]]:
    """A server; where it cannot start: a failure in CI, a skip with its reason elsewhere."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(servers.start(name, *args))
        except servers.ServerFailed as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield server.settings


@contextmanager
def s3(*args: str, server: str = "moto") -> Iterator[Store]:
    """S3: moto, or rclone."""
    with _started(server, *args) as settings:
        fields = {
            name: settings[name]
            for name in ("endpoint_url", "access_key_id", "secret_key", "region")
        }
        yield Store("s3", fields, lambda b, o: upload.upload_s3(settings, b, o), settings)


@contextmanager
def gcs(*args: str, server: str = "gcs_standin") -> Iterator[Store]:
    """Google Cloud Storage, with a service account that its token endpoint knows."""
    with _started(server, *args) as settings:
        fields = {
            "endpoint_url": settings["endpoint_url"],
            "application_credentials_file": settings["service_account_file"],
            "project": settings["project"],
        }
        yield Store("gcs", fields, lambda b, o: upload.upload_gcs(settings, b, o), settings)


@contextmanager
def azure(*args: str) -> Iterator[Store]:
    """Azure Blob Storage."""
    with _started("azure", *args) as settings:
        fields = {"connection_string": settings["connection_string"]}
        yield Store(
            "azure-blob", fields, lambda b, o: upload.upload_azure(settings, b, o), settings
        )


@contextmanager
def hub(*args: str) -> Iterator[Store]:
    """A Hub, whose repositories are folders; a bucket is ``owner/name``."""
    with tempfile.TemporaryDirectory() as folder, _started("hub", f"--root={folder}", *args) as got:

        def fill(repository: str, objects: Mapping[str, bytes]) -> None:
            main = Path(folder, "models", repository.replace("/", "--"), "main")
            main.mkdir(parents=True, exist_ok=True)
            for key, data in objects.items():
                path = main / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

        fields = {"endpoint_url": got["endpoint_url"], "token": got["token"] or None}
        yield Store("hf", fields, fill, {**got, "root": folder})
