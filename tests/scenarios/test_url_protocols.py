"""Task type ``url``: other protocols of fsspec, over servers that speak them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.github import GithubFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

import kaiwo
from kaiwo.suite.relay import relay
from tests.servers import serving
from tests.servers.ftp import PASSWORD, USER, ftp
from tests.servers.sftp import sftp
from tests.servers.webhdfs import webhdfs
from tests.support.command import tree

Serve = Callable[[Path], AbstractContextManager[str]]
SERVERS: dict[str, Serve] = {"sftp": sftp, "ftp": ftp, "webhdfs": webhdfs}
DATA = {"a/one.csv": b"one", "a/deep/two.csv": b"two", "a/three.txt": b"three", "b": b"bee"}
WRONG = "wrong-password"
OLD_S = 1_700_000_000


@pytest.fixture(params=SERVERS, scope="module")
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Path]]:
    """Scheme, host and port of a server, and its folder."""
    root = tmp_path_factory.mktemp("served")
    for key, data in DATA.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (OLD_S, OLD_S))  # a date of just now identifies nothing
    with SERVERS[request.param](root) as address:
        yield request.param, address, root


@pytest.fixture
def run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., kaiwo.Report]:
    """Runs a ``url`` task; what is said has no password in it."""
    caplog.set_level(logging.DEBUG, "kaiwo")

    def run(*items: dict[str, str], workers: int = 8, **fields: Any) -> kaiwo.Report:
        task = {"type": "url", "items": items, **fields}
        config: dict[str, Any] = {"download_root": str(tmp_path / "out"), "download_items": [task]}
        config |= {"retries": 0, "startup_wait": 0, "max_workers": workers}
        report = kaiwo.download(config, progress="none")
        shown = json.dumps(report.to_dict()) + caplog.text + repr(report.failed)
        assert not [each for each in (PASSWORD, WRONG, f"{USER}:") if each in shown]
        return report

    return run


def said(report: kaiwo.Report) -> str:
    """Why the first object failed."""
    error = report.failed[0].error
    assert error is not None
    return error.message


def url_of(scheme: str, address: str, password: str = PASSWORD) -> str:
    return f"{scheme}://{USER}:{password}@{address}"


def test_folders_globs_and_files_arrive_and_a_second_run_reads_nothing(
    served: tuple[str, str, Path], run: Callable[..., kaiwo.Report], tmp_path: Path
) -> None:
    scheme, address, _ = served
    url = url_of(scheme, address)
    items = (
        {"folder": f"{url}/a", "glob": "**/*.csv", "target_path": "tables"},
        {"file": f"{url}/b", "target_path": "some/"},
    )
    first = run(*items)
    assert first.exit_code == 0, first.to_dict()
    there = {"tables/one.csv": b"one", "tables/deep/two.csv": b"two", "some/b": b"bee"}
    assert tree(tmp_path / "out") == there
    second = run(*items).to_dict()
    assert (second["unchanged"], second["transferred_bytes"]) == (3, 0)


@pytest.mark.parametrize(
    ("password", "path", "code"),
    [(WRONG, "b", 3), (PASSWORD, "no-such-file", 4), (PASSWORD, "no-such-folder/c", 4)],
)
def test_what_is_refused_or_missing_has_its_exit_code(
    served: tuple[str, str, Path],
    run: Callable[..., kaiwo.Report],
    password: str,
    path: str,
    code: int,
) -> None:
    scheme, address, _ = served
    url = url_of(scheme, address, password)
    report = run({"file": f"{url}/{path}", "target_path": "x"})
    assert report.exit_code == code, report.to_dict()
    assert f"{scheme}://{address}/{path}" in said(report)


def test_a_host_that_is_down_is_a_service_that_cannot_be_reached(
    served: tuple[str, str, Path], run: Callable[..., kaiwo.Report]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = "{}:{}".format(*closed.getsockname())
    report = run({"file": f"{url_of(served[0], address)}/b", "target_path": "x"})
    assert report.exit_code == 5
    assert report.to_dict()["items"][0]["error"]["kind"] == "unreachable"


def test_a_large_file_resumes_after_its_connections_broke(
    served: tuple[str, str, Path], run: Callable[..., kaiwo.Report], tmp_path: Path
) -> None:
    scheme, address, root = served
    if scheme == "ftp":
        pytest.skip("its transfers do not go through the relay")
    data = random.Random(3).randbytes(24_000_000)
    (root / "large.bin").write_bytes(data)
    os.utime(root / "large.bin", (OLD_S, OLD_S))
    with relay(address) as line:
        item = {"file": f"{url_of(scheme, line.address)}/large.bin", "target_path": "large.bin"}
        line.cut("reset", 12_000_000)
        assert run(item, workers=1).exit_code == 5
        line.mend()
        report = run(item, workers=1).to_dict()
    assert (report["exit_code"], report["resumed"]) == (0, 1)
    assert report["transferred_bytes"] < 20_000_000
    assert (tmp_path / "out" / "large.bin").read_bytes() == data


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The API of GitHub, with one repository ``org/repo`` and its branch ``main``."""
    trees = {
        "main": [entry("a", "tree"), entry("b", data=b"bee")],
        entry("a", "tree")["sha"]: [entry("one.csv", data=b"one")],
    }
    files = {"b": b"bee", "a/one.csv": b"one"}

    class Api(serving.Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, kind, _, name = urlsplit(self.path).path.split("/", 3)
            found = {"tree": trees.get(name)}
            if kind == "contents":
                found = {"content": base64.b64encode(files[name]).decode()}  # type: ignore[dict-item]
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving.listening(Api) as address:
        monkeypatch.setattr(GithubFileSystem, "url", f"{address}/trees/x/{{sha}}")
        monkeypatch.setattr(GithubFileSystem, "content_url", f"{address}/contents/x/{{path}}")
        yield


def entry(name: str, kind: str = "blob", data: bytes = b"") -> dict[str, Any]:
    digest = hashlib.sha1(name.encode() + data, usedforsecurity=False).hexdigest()
    return {"path": name, "mode": "", "type": kind, "size": len(data), "sha": digest}


def test_a_repository_of_github_gives_folders_and_files(
    github: None, run: Callable[..., kaiwo.Report], tmp_path: Path
) -> None:
    items = (
        {"folder": "github://org:repo@main/", "glob": "**/*.csv", "target_path": "tables"},
        {"file": "github://org:repo@main/b", "target_path": "b"},
    )
    assert run(*items).exit_code == 0
    assert tree(tmp_path / "out") == {"tables/a/one.csv": b"one", "b": b"bee"}
    second = run(*items).to_dict()
    assert (second["unchanged"], second["transferred_bytes"]) == (2, 0)


class InMemory(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files in memory, under another protocol."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return f"/{path.removeprefix(f'{cls.protocol}://').strip('/')}"


class Swapping(InMemory):
    """A file is replaced by another of the same size while it is read for the first time."""

    protocol = "swapping"
    opened = 0

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        file = super()._open(path, mode, **options)
        if mode == "rb":
            Swapping.opened += 1
            if Swapping.opened == 1:
                old = io.BytesIO(file.getvalue())
                self.pipe_file(path, b"n" * old.getbuffer().nbytes)
                return old
        return file

    cat_file = AbstractFileSystem.cat_file


class NamesOnly(InMemory):
    """Gives files, and lists no folder."""

    protocol = "names-only"

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Swapping, NamesOnly):
        monkeypatch.setitem(known_implementations, kind.protocol, {"class": "of this file"})
        fsspec.register_implementation(kind.protocol, kind, clobber=True)
        monkeypatch.setattr(kind, "store", {})
        monkeypatch.setattr(kind, "pseudo_dirs", [""])
    monkeypatch.setattr(Swapping, "opened", 0)


def test_a_file_that_is_replaced_while_it_is_read_is_never_a_mixture(
    registered: None, run: Callable[..., kaiwo.Report], tmp_path: Path
) -> None:
    Swapping().pipe_file("/a", b"o" * 3_000_000)
    report = run({"file": "swapping://a", "target_path": "a"})
    assert Swapping.opened > 1
    assert report.exit_code == 0, report.to_dict()
    assert (tmp_path / "out" / "a").read_bytes() == b"n" * 3_000_000


def test_a_protocol_that_cannot_list_gives_files_and_says_so_of_folders(
    registered: None, run: Callable[..., kaiwo.Report], tmp_path: Path
) -> None:
    NamesOnly().pipe_file("/a/b", b"data")
    assert run({"file": "names-only://a/b", "target_path": "b"}).exit_code == 0
    assert tree(tmp_path / "out") == {"b": b"data"}
    report = run({"folder": "names-only://a", "target_path": "folder"})
    assert report.exit_code == 2
    assert "this protocol cannot list a folder; name each file" in said(report)


def test_a_link_to_a_file_is_a_file_and_one_to_a_folder_is_left_out_with_a_warning(
    run: Callable[..., kaiwo.Report], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "real").write_bytes(b"real")
    (source / "link").symlink_to("deep/real")
    (source / "loop").symlink_to(".")
    (source / "nothing").symlink_to("no-such-file")
    assert run({"folder": f"file://{source}", "target_path": "."}).exit_code == 0
    assert tree(tmp_path / "out") == {"deep/real": b"real", "link": b"real"}
    (warning,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warning.startswith("left out: links to folders, or to nothing")
    assert f"file://{source}/loop" in warning
    assert f"file://{source}/nothing" in warning


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(
    registered: None, run: Callable[..., kaiwo.Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    Swapping().pipe({"/a/b": b"data", "/a/deep/c": b"data"})
    listed = Swapping.ls

    def ls(self: Any, path: str, detail: bool = True, **options: Any) -> Any:
        if path.endswith("deep"):
            raise ConnectionResetError(104, "reset")
        return listed(self, path, detail, **options)

    monkeypatch.setattr(Swapping, "ls", ls)
    assert run({"folder": "swapping://a", "target_path": "."}).exit_code == 5


def test_a_package_that_is_missing_is_named(run: Callable[..., kaiwo.Report]) -> None:
    report = run({"file": "smb://host/share/a", "target_path": "a"})
    assert report.exit_code == 2
    assert "smbprotocol" in said(report)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"username: {USER}\npassword: [{WRONG}", "options_file holds neither YAML nor JSON"),
        (f"- {WRONG}", "options_file does not hold a mapping"),
        (WRONG, "options_file does not hold a mapping"),
        (f"pasword: {WRONG}", "does not accept the options that are given (pasword)"),
    ],
)
def test_options_that_are_wrong_are_said_to_be_without_their_values(
    served: tuple[str, str, Path],
    run: Callable[..., kaiwo.Report],
    tmp_path: Path,
    text: str,
    fault: str,
) -> None:
    scheme, address, _ = served
    if text.startswith("pasword") and scheme != "sftp":
        pytest.skip("this filesystem takes any option")
    (tmp_path / "options").write_text(text)
    item = {"file": f"{scheme}://{address}/b", "target_path": "b"}
    report = run(item, options_file=str(tmp_path / "options"))
    assert report.exit_code == 2
    assert fault in said(report)
