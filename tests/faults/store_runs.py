"""One tool against one store that behaves unusually, and what is in the target afterwards."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from tests.bench.buckets import Bucket
from tests.bench.load import Action
from tests.bench.nginx import Endpoint
from tests.bench.orders import Order, Tool, environment
from tests.faults.behaviour import Behaviour
from tests.faults.runs import exit_code
from tests.support.bucket import upload_in_parts
from tests.support.command import tree
from tests.support.proxies import Answer, Spoil, spoiling
from tests.support.quirks_folders import put_object
from tests.support.quirks_objects import combined
from tests.support.stores import Store

#: What a tool is told besides. The benchmark names a version of listings to rclone; its own choice
#: for a server that it does not know is another.
_OPTIONS = {"rclone": ("--s3-list-version=0",)}


@dataclass(frozen=True)
class Served:
    """A store that behaves so.

    Attributes:
        store: as clients reach it.
        bucket: the name of the bucket for clients.
        behind: the same bucket without the proxy.
        behind_name: its name there.
        behaviour: how the store behaves.
    """

    store: Store
    bucket: str
    behind: Store
    behind_name: str
    behaviour: Behaviour

    def replace(self) -> None:
        """Store again what is to be replaced before a second run."""
        self.behind.fill(self.behind_name, self.behaviour.replaced)


@contextlib.contextmanager
def served(behind: Store, behaviour: Behaviour) -> Iterator[Served]:
    """A bucket with the objects of a behaviour, by way of a proxy that behaves so.

    Args:
        behind: a plain store.
        behaviour: how it is to seem.
    """
    name = behind.new_bucket(
        {key: data for key, data in behaviour.objects.items() if key not in behaviour.parts}
    )
    for key, lengths in behaviour.parts.items():
        upload_in_parts(behind, name, key, behaviour.objects[key], lengths)
    for key, content_type in behaviour.markers.items():
        put_object(behind, name, key, content_type)

    def asking(target: str) -> str:
        path, question, query = target.partition("?")
        bucket, slash, key = path.removeprefix("/").partition("/")
        if behaviour.bucket and unquote(bucket) == behaviour.bucket:
            bucket = name
        return behaviour.asking(f"/{bucket}{slash}{key}{question}{query}")

    spoil = combined(_replacing(behind, name, behaviour.on_the_way), behaviour.spoil())
    with spoiling(behind, spoil, asking, behaviour.ignored) as by_way:
        yield Served(by_way, behaviour.bucket or name, behind, name, behaviour)


def _replacing(behind: Store, bucket: str, on_the_way: Mapping[str, bytes]) -> Spoil:
    """The first GET of each of these objects gets the old bytes, and no other does."""
    waiting = dict(on_the_way)

    def spoil(method: str, path: str, answer: Answer) -> Answer:
        key = path.removeprefix("/").partition("/")[2]
        if method == "GET" and key in waiting:
            with contextlib.suppress(KeyError):  # another thread of the proxy was first
                behind.fill(bucket, {key: waiting.pop(key)})
        return answer

    return spoil


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a tool made of a behaviour.

    Attributes:
        code: its exit code; None for a process that had to be ended.
        found: how many files are missing, have other bytes, or are no objects.
        is_right: the right files, and the right kind of exit code.
        seconds: from the start to the end of all its runs.
    """

    code: int | None
    found: Mapping[str, int]
    is_right: bool
    seconds: float = 0.0

    @classmethod
    def of(cls, behaviour: Behaviour, code: int | None, folder: Path, seconds: float = 0.0) -> Self:
        """Compare what is in the target with what is to be there."""
        wanted, there = behaviour.wanted(is_success=code == 0), tree(folder)
        found = Counter[str]()
        for key, allowed in wanted.items():
            if key not in there:
                found["missing"] += 1
            elif there[key] not in allowed:
                found["with other bytes"] += 1
        found["too many"] = len(there.keys() - wanted.keys())
        return cls(code, +found, code == behaviour.code and not +found, seconds)


def run(tool: Tool, behaviour: Behaviour, behind: Store, work: Path) -> Verdict:
    """Fetch all objects with a tool that is installed; where some are replaced, twice.

    Args:
        tool: which.
        behaviour: of the store.
        behind: the plain store behind it.
        work: an empty folder.
    """
    with served(behind, behaviour) as place:
        bucket = Bucket(place.bucket, len(behaviour.objects), 0)
        endpoint = Endpoint(place.store.fields["endpoint_url"])
        order = Order(Action.COPY, (bucket,), endpoint, work / "target", work)
        folder = order.folder(bucket)
        folder.mkdir(parents=True)
        start_s = time.monotonic()
        code = _run_once(tool, order)
        if behaviour.replaced and code == 0:
            # Dates have a second's grain: the new one has to be later than the files.
            time.sleep(1)
            place.replace()
            code = _run_once(tool, replace(order, action=Action.AGAIN))
        return Verdict.of(behaviour, code, folder, time.monotonic() - start_s)


def _run_once(tool: Tool, order: Order) -> int | None:
    assert tool.program is not None
    (command,) = tool.commands(tool.program, order)
    options = _OPTIONS.get(tool.name, ())
    return exit_code([*command, *options], environment(tool, order), order.work)
