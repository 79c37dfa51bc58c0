"""Filesystems of fsspec are sources, over servers that speak their protocols."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest

from kaiwo.net.settings import NetworkSettings
from kaiwo.tasks.base import TaskOpener
from kaiwo.tasks.url import UrlTask
from kaiwo.testing import Signing, SourceSuite, TestBucket
from tests.servers.ftp import PASSWORD, USER, ftp
from tests.servers.sftp import sftp
from tests.servers.webhdfs import webhdfs

WRONG = "wrong-password"
_numbers = itertools.count()


def opener(url: str, options: Path | None = None) -> TaskOpener:
    """Of a source for what is below a URL."""
    fields = {} if options is None else {"options_file": str(options)}
    item = {"file": "file:///a", "target_path": "a"}
    task = UrlTask.model_validate({"items": [item], **fields})
    return TaskOpener(task, url, NetworkSettings(stall_timeout_s=10), "url")


def into(folder: Path) -> Callable[[Mapping[str, bytes]], None]:
    """Stores objects as files, each with another date."""
    times = itertools.count(1_700_000_000)

    def put(objects: Mapping[str, bytes]) -> None:
        for key, data in objects.items():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (time_s := next(times), time_s))

    return put


@pytest.fixture(scope="class")
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Host and port of the server of a class, and its folder."""
    root = tmp_path_factory.mktemp("served")
    with request.cls.serve(root) as address:
        yield address, root


class Files(SourceSuite):
    """Files in folders."""

    knows_folders = True
    has_placeholders = False
    listing_size = 60


class Served(Files):
    """Files of a server, which asks for a password."""

    scheme: ClassVar[str]
    #: The server, see ``served``.
    serve: ClassVar[Any]
    user: ClassVar[str] = "username"

    @pytest.fixture
    def bucket(self, served: tuple[str, Path], tmp_path: Path) -> TestBucket:
        """A folder of the server."""
        address, root = served
        folder = root / str(next(_numbers))
        folder.mkdir()
        right, file = tmp_path / "right", tmp_path / "options"
        for path, password in ((right, PASSWORD), (file, WRONG)):
            # One in YAML, one in JSON.
            path.write_text(f"{self.user}: {USER}\npassword: {password}\n")

        def renew() -> None:
            file.write_text(json.dumps({self.user: USER, "password": PASSWORD}))

        url = f"{self.scheme}://{address}/{folder.name}/"
        return TestBucket(
            opener=opener(url, right),
            missing=opener(f"{self.scheme}://{address}/no-such-folder/", right),
            put=into(folder),
            signing=Signing(opener(url, file), renew, (PASSWORD, WRONG)),
            server=address,
            through=lambda other: opener(f"{self.scheme}://{other}/{folder.name}/", right),
        )


class TestSftp(Served):
    scheme = "sftp"
    serve = staticmethod(sftp)


class TestFtp(Served):
    scheme = "ftp"
    serve = staticmethod(ftp)
    #: The transfer has another connection, which does not go through the relay.
    has_address = False


class TestWebHdfs(Served):
    scheme = "webhdfs"
    serve = staticmethod(webhdfs)
    user = "user"


class Local(Files):
    asks_who_reads = False
    has_address = False


class TestLocalFiles(Local):
    @pytest.fixture
    def bucket(self, tmp_path: Path) -> TestBucket:
        nowhere = opener(f"file://{tmp_path}/no-such-folder/")
        return TestBucket(opener(f"file://{tmp_path}/"), nowhere, into(tmp_path))


class TestMemory(Local):
    @pytest.fixture
    def bucket(self) -> TestBucket:
        name = f"bucket-{next(_numbers)}"

        def put(objects: Mapping[str, bytes]) -> None:
            for key, data in objects.items():
                fsspec.filesystem("memory").pipe_file(f"/{name}/{key}", data)

        return TestBucket(opener(f"memory://{name}/"), opener(f"memory://{name}-no/"), put)
