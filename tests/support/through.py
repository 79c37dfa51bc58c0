"""Any store behind something else on localhost, and everything read through it."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kaiwo.tasks.base import Engine
from tests.support.engines import everything
from tests.support.stores import Store
from tests.support.tls_pipe import Pipe


@dataclass(frozen=True)
class TLS:
    """TLS of a server on localhost.

    Attributes:
        bundle: path of its authority's certificate.
        context: of the server.
    """

    bundle: str
    context: ssl.SSLContext


def through(store: Store, scheme: str, port: int) -> dict[str, Any]:
    """The fields of a task that asks a store at a port of localhost."""
    address = f"{scheme}://localhost:{port}"
    if store.type != "azure-blob":
        return {"endpoint_url": address}
    own: dict[str, Any] = {name: store.settings[name] for name in ("account_name", "account_key")}
    path = store.settings["account_name"]
    return own | {"connection_string": None, "endpoint_url": f"{address}/{path}"}


@contextlib.contextmanager
def tls_pipe(store: Store, tls: TLS) -> Iterator[int]:
    """The port where a store is asked by TLS."""
    with contextlib.closing(Pipe(store.settings["endpoint_url"], tls=tls.context)) as pipe:
        yield pipe.port


def filled(store: Store, objects: Mapping[str, bytes]) -> str:
    """A bucket, or a repository of the Hub, with these objects."""
    if store.type != "hf":
        return store.new_bucket(objects)
    store.fill("acme/through", objects)
    return "acme/through"


def read_all(store: Store, bucket: str, engine: Engine, **fields: Any) -> dict[str, bytes]:
    """Everything in a bucket; the Hub has one engine."""
    own = {"target_path": "."} if store.type == "hf" else {}
    changed = replace(store, fields={**store.fields, **own, **fields})
    source = changed.opener(bucket, engine).open()
    try:
        return everything(source)
    finally:
        source.close()
