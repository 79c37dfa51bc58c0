"""What a tool is asked for, and what a tool is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import hub
from tests.bench.buckets import Bucket
from tests.bench.load import Action
from tests.bench.nginx import Endpoint

KEYS = {"access_key_id": "kaiwo-access-key", "secret_key": "kaiwo-secret-key"}
REGION = "us-east-1"

Commands = list[list[str]]


@dataclass(frozen=True)
class Order:
    """What a tool is asked for.

    Attributes:
        action: what to do with the buckets.
        buckets: all of them over TLS, or none.
        endpoint: where they are.
        target: the folder for the objects.
        work: a folder for the tool's own files.
        told: options for the tool, of a load that has some for it.
    """

    action: Action
    buckets: tuple[Bucket, ...]
    endpoint: Endpoint
    target: Path
    work: Path
    told: tuple[str, ...] = ()

    @property
    def tls(self) -> bool:
        """Whether the server has to be reached over TLS."""
        return any(bucket.tls for bucket in self.buckets)

    @property
    def url(self) -> str:
        """Of the server."""
        return self.endpoint.tls if self.tls else self.endpoint.plain

    @property
    def bundle(self) -> str:
        """The file of the certificate to trust; empty without TLS."""
        return str(self.endpoint.bundle) if self.tls else ""

    def folder(self, bucket: Bucket) -> Path:
        """Where the objects of a bucket belong."""
        top = self.target / hub.SNAPSHOT if self.action is Action.CACHE else self.target
        return top / bucket.name


@dataclass(frozen=True)
class Tool:
    """A tool.

    Attributes:
        name: in the results.
        program: the file to run; None if it is not installed.
        commands: what to run, one after the other.
        env: what it needs in the environment, besides what all get.
        before: what is done first, and not measured.
    """

    name: str
    program: str | None
    commands: Callable[[str, Order], Commands]
    env: Callable[[Order], dict[str, str]] = lambda _: {}
    before: Callable[[Order], None] = lambda _: None


def environment(tool: Tool, order: Order) -> dict[str, str]:
    """All of it: nothing of the user's configuration reaches a tool."""
    home = order.work / "home"
    home.mkdir(exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "NO_PROXY": "*",
        **tool.env(order),
    }
