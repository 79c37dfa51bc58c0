"""Shelf is a source: kaiwo's conformance suite, against a server that this file starts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from kaiwo_shelf import ShelfTask
from shelf_server import ShelfServer, serving

from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks.base import TaskOpener
from kaiwo.testing import Signing, SourceSuite, TestBucket

TOKEN, WRONG = "the-right-token", "some-wrong-token"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[ShelfServer]:
    """A server for all tests of this file."""
    with serving(TOKEN) as running:
        yield running


class TestShelf(SourceSuite):
    """What is not said here is as the suite expects it of a store."""

    checksums = ("sha256",)

    @pytest.fixture
    def bucket(self, server: ShelfServer, tmp_path: Path) -> TestBucket:
        """An empty bucket."""
        name = f"bucket-{next(_numbers)}"
        objects = server.buckets[name] = {}
        right, file = tmp_path / "right", tmp_path / "token"
        right.write_text(TOKEN)
        file.write_text(WRONG)

        def opener(bucket: str, token: Path = right, address: str = server.address) -> TaskOpener:
            fields = {"endpoint_url": f"http://{address}", "token_file": str(token)}
            item = {"folder": "", "target_path": "x"}
            shelves = [{"name": bucket, "items": [item]}]
            task = ShelfTask.model_validate({**fields, "shelves": shelves})
            return TaskOpener(task, bucket, NetworkSettings(stall_timeout_s=10), task.origin)

        return TestBucket(
            opener=opener(name),
            missing=opener("no-such-bucket"),
            put=objects.update,
            signing=Signing(opener(name, file), lambda: file.write_text(TOKEN), (TOKEN, WRONG)),
            server=server.address,
            through=lambda address: opener(name, address=address),
        )
