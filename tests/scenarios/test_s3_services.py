"""Services that speak S3, known by their hosts: which address is asked, and what is signed for.

Their hosts are asked by plain HTTP through a proxy, which stands for them: it gives one object.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import kaiwo
from kaiwo.tasks.base import Engine
from kaiwo.tasks.s3_services import SERVICES, known
from tests.servers import serving

DATA = b"some data"
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/s3/")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, loopback_only: None) -> Iterator[set[tuple[str, str]]]:
    """Addresses that are asked, and the region that the request is signed for."""
    seen: set[tuple[str, str]] = set()

    class Proxy(serving.Quiet, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            scope = _SCOPE.search(self.headers["Authorization"] or "")
            seen.add((f"{parts.netloc}{parts.path}", scope[1] if scope else ""))
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.send_header("ETag", f'"{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}"')
            self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(DATA)

        do_HEAD = do_GET  # noqa: N815 - its name

    with serving.listening(Proxy) as address:
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")  # as a cluster of AWS sets it
        yield seen


def fetched(tmp_path: Path, endpoint: str, engine: Engine, **fields: Any) -> None:
    task = {
        "type": "s3",
        "endpoint_url": endpoint,
        "access_key_id": "id",
        "secret_key": "secret",
        "buckets": [{"name": "books-1", "items": [{"file": "k", "target_path": "k"}]}],
        **fields,
    }
    config = {"download_root": str(tmp_path), "download_items": [task], "engine": engine}
    report = kaiwo.download(config, progress="none", retries=0, startup_wait=0)
    assert report.exit_code == 0, report.failed
    assert (tmp_path / "k").read_bytes() == DATA


@pytest.mark.parametrize(
    ("endpoint", "address", "region"),
    [
        ("abc123.r2.cloudflarestorage.com", "abc123.r2.cloudflarestorage.com/books-1/k", "auto"),
        ("s3.us-west-004.backblazeb2.com", "s3.us-west-004.backblazeb2.com/books-1/k",
         "us-west-004"),
        ("s3.oss-cn-hangzhou.aliyuncs.com", "books-1.s3.oss-cn-hangzhou.aliyuncs.com/k",
         "cn-hangzhou"),
        ("s3.hf.co/somebody", "s3.hf.co/somebody/books-1/k", "us-east-1"),
        ("minio.example", "minio.example/books-1/k", "eu-west-1"),
    ],
)  # fmt: skip
def test_both_engines_ask_and_sign_as_the_host_says(
    asked: set[tuple[str, str]],
    tmp_path: Path,
    engine: Engine,
    endpoint: str,
    address: str,
    region: str,
) -> None:
    fetched(tmp_path, f"http://{endpoint}", engine)
    assert asked == {(address, region)}


def test_what_is_given_counts_more_than_the_host(
    asked: set[tuple[str, str]], tmp_path: Path, engine: Engine
) -> None:
    given = {"region": "cn-mine", "addressing_style": "path"}
    fetched(tmp_path, "http://s3.oss-cn-hangzhou.aliyuncs.com", engine, **given)
    assert asked == {("s3.oss-cn-hangzhou.aliyuncs.com/books-1/k", "cn-mine")}


@pytest.mark.parametrize("service", SERVICES, ids=[each.name for each in SERVICES])
def test_what_the_table_says_to_write_is_known_by_its_host(service: Any) -> None:
    parts = urlsplit(service.endpoint.replace("ACCOUNT", "0af1").replace("REGION", "xy-east-1"))
    found = known(f"https://{parts.netloc.lower()}{parts.path}")
    if service.host:
        assert found.region == (service.region or "xy-east-1")
        assert found.style == service.style
    else:
        assert found == known("https://anything.example")


@pytest.mark.parametrize(
    ("endpoint", "region", "style"),
    [
        ("https://s3.wasabisys.com", "us-east-1", "auto"),
        ("https://oss-cn-beijing-internal.aliyuncs.com", "cn-beijing", "virtual"),
        ("https://s3.oss-accelerate.aliyuncs.com", None, "virtual"),
        ("https://0af1.eu.r2.cloudflarestorage.com", "auto", "auto"),
        # Names that only look like theirs, and one with the bucket in it.
        ("https://s3.us-west-004.backblazeb2.com.evil.example", None, "auto"),
        ("https://books.s3.oss-cn-hangzhou.aliyuncs.com", None, "auto"),
        ("https://nyc3.cdn.digitaloceanspaces.com", None, "auto"),
        (None, None, "auto"),
    ],
)
def test_only_whole_hosts_are_known(endpoint: str | None, region: str | None, style: str) -> None:
    assert (known(endpoint).region, known(endpoint).style) == (region, style)
