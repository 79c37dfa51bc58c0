"""Files whose length a server does not state: one stream, to its end."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.errors import ServiceError
from kaiwo.jobs import RANGE
from tests.servers import serving
from tests.support.command import clean_environment, configured
from tests.support.faulty import content


@contextmanager
def unsized(data: bytes, *, chunked: bool, cut: bool = False, **headers: str) -> Iterator[str]:
    """The address of a file, sent in chunks or until the connection is closed."""

    class Handler(serving.Quiet, http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("X", "x")))
            self.send_header("Connection", "close")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            for start in range(0, len(data), 1 << 20):
                piece = data[start : start + (1 << 20)]
                frame = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
                self.wfile.write(frame)
            if chunked and not cut:
                self.wfile.write(b"0\r\n\r\n")

    with serving.listening(Handler) as address:
        yield f"{address}/a.bin"


def of_web(address: str) -> dict[str, Any]:
    return {"type": "url", "items": [{"file": address, "target_path": "a.bin"}]}


def downloaded(address: str, root: Path) -> kaiwo.Report:
    config = {"download_items": [of_web(address)], "download_root": str(root)}
    return kaiwo.download(config, retries=1, startup_wait=0, progress="none")


@pytest.mark.parametrize("size", [0, 1_000, RANGE + 1_000])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "closed"])
def test_a_file_of_unknown_length_comes_to_its_end(
    size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, *, chunked: bool
) -> None:
    data = content(size)
    with unsized(data, chunked=chunked, ETag='"abc"') as address:
        report = downloaded(address, tmp_path)
        assert (report.ok, (tmp_path / "a.bin").read_bytes()) == (True, data)
        assert [(item.bytes, item.status) for item in report.items] == [(size, "downloaded")]
        assert "the length of 1 objects is not stated" in caplog.text
        # Only a chunk of no bytes says that all is there.
        assert ("only a checksum could show" in caplog.text) == (not chunked)
        again = downloaded(address, tmp_path)
    assert [(item.bytes, item.status) for item in again.items] == [(size, "unchanged")]


def test_a_file_of_which_nothing_is_stated_is_fetched_by_each_run(tmp_path: Path) -> None:
    with unsized(b"data", chunked=True) as address:
        for _ in range(2):
            (item,) = downloaded(address, tmp_path).items
            assert (item.status, item.bytes) == ("downloaded", 4)


@pytest.mark.parametrize("size", [1_000, RANGE + 1_000])
def test_a_file_in_chunks_that_is_cut_is_a_failure(size: int, tmp_path: Path) -> None:
    with unsized(content(size), chunked=True, cut=True) as address:
        report = downloaded(address, tmp_path)
    assert (report.exit_code, list(tmp_path.glob("*"))) == (5, [])


def test_a_checksum_shows_that_a_file_of_unknown_length_is_complete(tmp_path: Path) -> None:
    data = content(5_000)
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    with unsized(data, chunked=False, Repr_Digest=f"sha-256=:{digest}:") as address:
        (item,) = downloaded(address, tmp_path).items
    assert item.verified
    with unsized(data[:-1], chunked=False, Repr_Digest=f"sha-256=:{digest}:") as address:
        report = downloaded(address, tmp_path / "cut")
    assert report.exit_code == 7


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [0, 1_000, 3 << 20])
def test_what_is_encoded_on_the_way_is_decoded(tmp_path: Path, encoding: str, size: int) -> None:
    data = content(size)
    packed = (gzip if encoding == "gzip" else zlib).compress(data)
    with unsized(packed, chunked=True, ETag='W/"abc"', Content_Encoding=encoding) as address:
        assert kaiwo.fetch(address, tmp_path / "a.bin").read_bytes() == data
        # A file that is a .gz itself is stated so by some servers.
        assert kaiwo.fetch(address, tmp_path / "a.csv.gz").read_bytes() == packed
        assert kaiwo.fetch(address, tmp_path / "a.tgz").read_bytes() == packed


def test_an_encoding_that_kaiwo_cannot_decode_is_said(tmp_path: Path) -> None:
    with (
        unsized(b"\x0b\x02", chunked=True, Content_Encoding="br") as address,
        pytest.raises(ServiceError, match="br-encoded although identity was requested"),
    ):
        kaiwo.fetch(address, tmp_path / "a.bin")


def test_a_pointer_of_unknown_length_is_refused(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 5\n" % (b"a" * 64)
    with unsized(pointer, chunked=True) as address:
        report = downloaded(address, tmp_path)
    assert report.exit_code == 7
    assert "pointer" in str(report.items[0].error)


def test_a_plan_states_no_number_for_it(tmp_path: Path) -> None:
    with unsized(b"data", chunked=True) as address:
        path = configured(tmp_path, of_web(address))
        done = subprocess.run(
            [sys.executable, "-m", "kaiwo", "plan", path, "--json"],
            env=clean_environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    (item,) = json.loads(done.stdout)["items"]
    assert (item["action"], item["bytes"]) == ("fetch", None)
