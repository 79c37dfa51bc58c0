"""A service that is not up yet is waited for, in whatever way it does not answer."""

from __future__ import annotations

import contextlib
import http.server
from pathlib import Path

import pytest

import kaiwo
from kaiwo.tasks.base import Engine
from tests.servers import serving
from tests.support.broken_servers import closed
from tests.support.quirks_starting import WAYS, LatePipe, Treat, coming_up
from tests.support.stores import Store

ITEMS = [{"folder": "", "target_path": "."}]
#: Longer than the retries of a request take, which are none here.
ABSENT_S = 0.7
each_way = pytest.mark.parametrize("treat", WAYS.values(), ids=WAYS)


def downloaded(
    task: object, root: Path, engine: Engine = "auto", wait_s: float = 20
) -> kaiwo.Report:
    config = {"download_items": [task], "download_root": str(root)}
    return kaiwo.download(config, engine=engine, retries=0, startup_wait=wait_s, progress="none")


@pytest.fixture(params=["s3", "gcs", "azure"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Each object store in turn."""
    found: Store = request.getfixturevalue(request.param)
    return found


@each_way
def test_an_object_store_that_is_not_up_yet_is_waited_for(
    any_store: Store, engine: Engine, treat: Treat, tmp_path: Path
) -> None:
    bucket = any_store.new_bucket({"k": b"data"})
    with coming_up(any_store, treat, ABSENT_S) as store:
        assert downloaded(store.task(bucket, ITEMS), tmp_path, engine).ok
    assert (tmp_path / "k").read_bytes() == b"data"


@each_way
@pytest.mark.parametrize("files", [[], ["k"]], ids=["listed", "named"])
def test_a_hub_that_is_not_up_yet_is_waited_for(
    hub: Store, treat: Treat, files: list[str], tmp_path: Path
) -> None:
    hub.fill("acme/late", {"k": b"data"})
    with coming_up(hub, treat, ABSENT_S) as store:
        task = store.task("acme/late", []) | {"target_path": ".", "files": files}
        assert downloaded(task, tmp_path).ok
    assert (tmp_path / "k").read_bytes() == b"data"


@each_way
def test_a_web_server_that_is_not_up_yet_is_waited_for(treat: Treat, tmp_path: Path) -> None:
    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.send_header("ETag", '"a"')
            self.end_headers()
            self.wfile.write(b"data" if self.command == "GET" else b"")

        do_HEAD = do_GET  # noqa: N815 - the library's name

    with (
        serving.listening(Handler) as address,
        contextlib.closing(LatePipe(address, treat, ABSENT_S)) as pipe,
    ):
        item = {"file": f"http://127.0.0.1:{pipe.port}/k", "target_path": "k"}
        assert downloaded({"type": "url", "items": [item]}, tmp_path).ok
    assert (tmp_path / "k").read_bytes() == b"data"


def test_a_network_without_a_route_is_waited_for(engine: Engine, s3: Store, tmp_path: Path) -> None:
    # No connection to a multicast address can be made: ENETUNREACH.
    task = s3.task("b", ITEMS, endpoint_url="http://224.0.0.1:9")
    report = downloaded(task, tmp_path, engine, wait_s=1)
    (failed,) = report.items
    assert isinstance(failed.error, kaiwo.UnreachableError)
    assert report.seconds >= 1
    assert "unreachable" in failed.error.message


def test_a_service_of_credentials_that_is_not_up_yet_is_waited_for(
    engine: Engine, s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As that of a pod identity on a node that has just started.
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PROFILE", "WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", closed())
    task = s3.task("b", ITEMS, access_key_id=None, secret_key=None)
    (failed,) = downloaded(task, tmp_path, engine, wait_s=0).items
    assert isinstance(failed.error, kaiwo.UnreachableError)
    assert "signing in as" in failed.error.message
