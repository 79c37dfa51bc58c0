"""What proxies do to HTTP: the right bytes come, or the reason is said."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

import kaiwo
from kaiwo.errors import CredentialsError
from kaiwo.jobs import RANGE
from tests.support import quirks_http as quirks
from tests.support.broken_servers import server
from tests.support.command import tree
from tests.support.proxies import Spoil, spoiling
from tests.support.stores import Store

LARGE = random.Random(1).randbytes(RANGE + 1000)
FILES = {"config.json": b"{}" * 100, "empty": b"", "weights.bin": LARGE}


@pytest.mark.parametrize("spoil", [quirks.gzipped, quirks.called_gzipped, quirks.called_nothing])
def test_an_encoding_is_judged_by_the_bytes(hub: Store, tmp_path: Path, spoil: Spoil) -> None:
    hub.fill("acme/encoded", FILES)
    with spoiling(hub, spoil) as store:
        report = kaiwo.download(
            {
                "download_root": str(tmp_path / "out"),
                "download_items": [store.task("acme/encoded", (), target_path=".")],
                "retries": 0,
            }
        )
    assert report.exit_code == 0, report.items
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    def treat(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 407 Password\r\nContent-Length: 0\r\n\r\n")

    with server(treat) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
        with pytest.raises(CredentialsError, match="the proxy refuses its user and password"):
            kaiwo.fetch(f"{scheme}://host.invalid/a", tmp_path / "a")
