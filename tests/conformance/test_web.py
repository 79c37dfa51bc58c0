"""A server of files is a source, as far as its pages of links name them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks.base import TaskOpener
from kaiwo.tasks.url import UrlTask
from kaiwo.testing import Signing, SourceSuite, TestBucket
from tests.servers import web

PASSWORD, WRONG = "right-password", "wrong-password"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a folder, and the folder."""
    root = tmp_path_factory.mktemp("www")
    with web.rclone(root, "me", PASSWORD) as address:
        yield address, root


class TestWeb(SourceSuite):
    #: What an address would take for something else keeps its escapes.
    unstorable_names = (
        "percent%20sign%.txt",
        "hash#sign.txt",
        "question?mark=1&two.txt",
        "folder with space/nested%/file+.txt",
    )
    listing_size = 300
    knows_folders = True
    has_placeholders = False

    @pytest.fixture
    def bucket(self, served: tuple[str, Path], tmp_path: Path) -> TestBucket:
        address, root = served
        folder = root / str(next(_numbers))
        folder.mkdir()
        times = itertools.count(1_700_000_000)

        def put(objects: Mapping[str, bytes]) -> None:
            for key, data in objects.items():
                path = folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                os.utime(path, (time_s := next(times), time_s))

        def opener(name: str, at: str = address, options: Path | None = None) -> TaskOpener:
            fields = {"options_file": str(options or written(tmp_path / "right", PASSWORD))}
            item = {"file": "http://host/a", "target_path": "a"}
            task = UrlTask.model_validate({"items": [item], **fields})
            return TaskOpener(task, f"{at}/{name}/", NetworkSettings(), "url")

        file = written(tmp_path / "options", WRONG)
        return TestBucket(
            opener=opener(folder.name),
            missing=opener("nowhere"),
            put=put,
            signing=Signing(
                opener(folder.name, options=file),
                lambda: written(file, PASSWORD),
                (PASSWORD, WRONG),
            ),
            server=address.removeprefix("http://"),
            through=lambda other: opener(folder.name, f"http://{other}"),
        )


def written(file: Path, password: str) -> Path:
    """The file, with options that sign in."""
    file.write_text(json.dumps({"auth": ["me", password]}))
    return file
