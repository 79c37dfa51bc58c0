"""Both engines over one bucket: how a source is opened, and everything read through it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kaiwo.objects import same_bytes
from kaiwo.protocols import Source
from kaiwo.sources.obstore.source import ObstoreSource
from kaiwo.tasks.base import Engine
from tests.support.command import Run
from tests.support.stores import Store

ALL = [{"folder": "", "target_path": "."}]
CANARY = "Kanarienvogel8"
ENGINES: tuple[Engine, ...] = ("fsspec", "obstore")
QUICK = ("--startup-wait", "0", "--retries", "0")
#: Nobody listens there; where a chain of credentials could look for a pod's metadata.
NOWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "GCE_METADATA_HOST": "127.0.0.1:1",
    "GCE_METADATA_IP": "127.0.0.1:1",
    "NO_GCE_CHECK": "true",
}
CLOSED = "http://127.0.0.1:1"
#: How the variables of each begin.
OF_PROVIDERS = {"s3": "AWS", "gcs": "GOOGLE", "azure": "AZURE"}
BIG = random.Random(1).randbytes(3 << 20)
OBJECTS = {"k": b"data", "d/b c": b"more", "big": BIG}

each_engine = pytest.mark.parametrize("engine", ENGINES)


def chosen(done: Run) -> list[str]:
    """The lines that name the engine of a task or a folder."""
    return [line for line in done.stderr.splitlines() if "through " in line]


@contextlib.contextmanager
def opened(store: Store, bucket: str, engine: Engine, **fields: Any) -> Iterator[Source]:
    """A source of a bucket; it is obstore's where that is asked for."""
    store = replace(store, fields={**store.fields, **fields})
    source = store.opener(bucket, engine).open()
    assert isinstance(source, ObstoreSource) == (engine == "obstore")
    try:
        yield source
    finally:
        source.close()


def everything(source: Source) -> dict[str, bytes]:
    """Every object, listed, looked up, and read in all ways."""
    found = {}
    for remote in source.list(""):
        assert same_bytes(source.stat(remote.key), remote)
        data = bytes(source.read(remote, 0, remote.size))
        assert b"".join(bytes(chunk) for chunk in source.stream(remote)) == data
        assert bytes(source.read(remote, 1, remote.size)) == data[1:]
        found[remote.key] = data
    return found


def blob_endpoint(store: Store) -> str:
    """Where the connection string of a store says that it is."""
    parts = dict(part.partition("=")[::2] for part in store.fields["connection_string"].split(";"))
    return str(parts["BlobEndpoint"])
