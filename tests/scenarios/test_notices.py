"""Mistakes that newcomers make: each gets a message that names it."""

from __future__ import annotations

import contextlib
import http.server
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import kaiwo
from kaiwo.config import document, loader
from kaiwo.errors import ConfigError
from tests import servers
from tests.support.command import clean_environment, tree
from tests.support.proxies import counting
from tests.support.stores import Store


class Refusing(http.server.BaseHTTPRequestHandler):
    """A web server that denies everything."""

    def do_GET(self) -> None:
        self.send_error(403)

    do_HEAD = do_GET  # noqa: N815 - as the library names it

    def log_message(self, *_: object) -> None:
        """Not a word."""


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_web_server_that_denies_is_no_missing_file(tmp_path: Path) -> None:
    with refusing() as address, pytest.raises(kaiwo.CredentialsError, match="403"):
        kaiwo.fetch(f"{address}/a.bin", tmp_path / "a.bin")


def test_a_web_server_that_is_not_there_is_no_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIWO_RETRIES", "0")
    monkeypatch.setenv("KAIWO_STARTUP_WAIT", "0")
    with pytest.raises(kaiwo.UnreachableError, match="connection refused"):
        kaiwo.fetch(f"http://127.0.0.1:{servers.free_port()}/a.bin", tmp_path / "a.bin")


def test_the_address_of_a_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{servers.free_port()}"
    task = {
        "type": "s3",
        "endpoint_url": address,
        "anonymous": True,
        "buckets": [{"name": "b", "items": [{"file": "k", "target_path": str(tmp_path / "k")}]}],
    }
    report = kaiwo.download({"download_items": [task]}, retries=0, startup_wait=0)
    assert report.items[0].error is not None
    assert f"at {address}: connection refused" in report.items[0].error.message


def test_a_file_is_put_into_a_folder_that_is_there(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"models/a.bin": b"a"})
    found = kaiwo.fetch(f"s3://{bucket}/models/a.bin", tmp_path, **s3.fields)
    assert (found, found.read_bytes()) == (tmp_path / "a.bin", b"a")


@pytest.mark.parametrize("url", [None, 3, "", "a/b", "s3:/b/x"])
def test_what_is_no_url_is_quoted(url: object) -> None:
    with pytest.raises(ConfigError, match="is not a URL"):
        kaiwo.fetch(url)  # type: ignore[call-overload]


def test_a_home_folder_is_meant_by_a_tilde(
    s3: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    bucket = s3.new_bucket({"a": b"a"})
    task = s3.task(bucket, [{"file": "a", "target_path": "~/models/a"}])
    assert kaiwo.download({"download_root": str(tmp_path), "download_items": [task]}).ok
    assert tree(tmp_path / "home" / "models") == {"a": b"a"}
    assert not (tmp_path / "~").exists()


def test_one_missing_file_of_a_repository_does_not_keep_back_the_others(
    hub: Store, tmp_path: Path
) -> None:
    hub.fill("notices/some", {"a.json": b"{}"})
    task = hub.task("notices/some", [], files=["a.json", "nope.json"], target_path="x")
    report = kaiwo.download({"download_root": str(tmp_path), "download_items": [task]})
    assert report.exit_code == 4
    assert tree(tmp_path / "x") == {"a.json": b"{}"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files: model.bin", "must be a list: write [one, two]"),
        ("allow_empty: perhaps", "must be true or false"),
    ],
)
def test_a_wrong_kind_of_value_is_told_in_words_of_yaml(text: str, message: str) -> None:
    whole = f"download_items:\n- type: hf\n  repo_id: a/b\n  {text}\n"
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        loader.build(document.parse(whole, "f.yaml"))


def test_a_terminal_is_whole_after_ctrl_c(s3: Store, tmp_path: Path) -> None:
    bucket = s3.new_bucket({"big": bytes(20 << 20)})
    with counting(s3, delay_s=30) as proxy:
        (slow,) = proxy.stores
        task = slow.task(bucket, [{"folder": "", "target_path": "x"}])
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"download_items": [task]}), encoding="utf-8")
        shown = _interrupted([sys.executable, "-m", "kaiwo.downloader", str(path)], tmp_path)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0
    assert "stopped by SIGINT" in shown
    assert tree(tmp_path / "x") == {}


def _interrupted(command: list[str], folder: Path) -> str:
    """What a terminal showed of a command that was interrupted once its bar was there."""
    ours, theirs = pty.openpty()
    environment = clean_environment(folder) | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    sent = False
    with contextlib.suppress(OSError):  # how the end of a terminal reads
        while piece := os.read(ours, 65_536):
            shown += piece
            if b"downloading" in shown and not sent:
                process.send_signal(signal.SIGINT)
                sent = True
    os.close(ours)
    assert process.wait(10) == 130
    return shown.decode(errors="replace")
