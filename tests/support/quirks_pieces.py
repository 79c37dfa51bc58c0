"""Places whose bodies come part by part: each store by each engine, the Hub, and a web server.

with place.sending(lambda body: ...) as source: ...
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from kaiwo.net.settings import NetworkSettings
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Opener, Source
from kaiwo.tasks.base import Engine, TaskOpener
from kaiwo.tasks.url import UrlTask
from tests.servers import web
from tests.support.proxies import Answer, Spoil, spoiling
from tests.support.stores import Store

Parts = Generator[bytes, None, None]
#: Each provider, by each engine that it has.
PLACES = [
    *((name, engine) for name in ("s3", "gcs", "azure") for engine in ("fsspec", "obstore")),
    ("hub", "auto"),
    ("web", "auto"),
]
KEY = "held"
_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """A bucket with one object.

    Attributes:
        store: that has it.
        opener: of a source for the bucket, in the store that is given.
        remote: the object.
    """

    store: Store
    opener: Callable[[Store], Opener]
    remote: RemoteObject

    @contextlib.contextmanager
    def spoiled(self, spoil: Spoil, *, closes: bool = True) -> Iterator[Source]:
        """A source whose answers for the object's bytes are spoiled; the test may close it."""

        def only(method: str, path: str, answer: Answer) -> Answer:
            is_hit = method == "GET" and path.endswith(f"/{KEY}") and answer.status < 300
            return spoil(method, path, answer) if is_hit else answer

        with spoiling(self.store, only) as behind:
            source = self.opener(behind).open()
            try:
                yield source
            finally:
                if closes:
                    source.close()

    def sending(
        self, parts: Callable[[bytes], Parts], *, closes: bool = True
    ) -> contextlib.AbstractContextManager[Source]:
        """A source to which the object's bytes are sent so."""
        return self.spoiled(
            lambda _, __, answer: replace(answer, parts=parts(answer.body)), closes=closes
        )


def place_of(name: str, engine: Engine, data: bytes, request: pytest.FixtureRequest) -> Place:
    """A new bucket with one object of these bytes."""
    bucket = f"owner/pieces{next(_numbers)}"
    store: Store
    opener: Callable[[Store], Opener]
    if name == "web":
        store, opener = _of_web(request.getfixturevalue("tmp_path"), request), _web_opener
    else:
        store = request.getfixturevalue(name)
        bucket = bucket if name == "hub" else store.new_bucket()
        opener = partial(Store.opener, bucket=bucket, engine=engine)
    store.fill(bucket, {KEY: data})
    source = opener(store).open()
    try:
        (remote,) = source.list("")
    finally:
        source.close()
    return Place(store, opener, remote)


def _of_web(root: Path, request: pytest.FixtureRequest) -> Store:
    stack = contextlib.ExitStack()
    request.addfinalizer(stack.close)
    folder = root / "www"
    folder.mkdir()
    address = stack.enter_context(web.rclone(folder))

    def fill(_: str, objects: Mapping[str, bytes]) -> None:
        for key, data in objects.items():
            (folder / key).write_bytes(data)

    return Store("url", {"base": address}, fill, {"endpoint_url": address})


def _web_opener(store: Store) -> Opener:
    file = {"file": "http://host/a", "target_path": "a"}
    task = UrlTask.model_validate({"items": [file]})
    return TaskOpener(task, f"{store.fields['base']}/", NetworkSettings(), "url")
