"""A service that cannot be reached does not hold up what comes from the others."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kaiwo
from kaiwo.api import rounds
from kaiwo.errors import IntegrityError, UnfinishedError, UnsafeNameError
from kaiwo.events import Event, Planned, Settled
from kaiwo.reporting.counters import Counters
from tests.servers import serving, web
from tests.support.command import tree


class Waking:
    """A server that is not up before it is told to be; its port is taken from the beginning."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._socket = stack.enter_context(socket.socket())
        self._socket.bind((serving.HOST, 0))
        self._folder, self._stack = folder, stack
        self.address = f"http://{serving.HOST}:{self._socket.getsockname()[1]}"

    def wake(self) -> None:
        """Answer from now on."""
        server = serving.Listener((serving.HOST, 0), web.files_of(self._folder), False)
        server.socket.close()
        server.socket = self._socket
        server.server_activate()
        self._stack.enter_context(serving.in_thread(server))


class Watching:
    """A sink that does something when the first file is settled."""

    def __init__(self, first: Callable[[], None]) -> None:
        self._first: Callable[[], None] | None = first
        self.counters, self.plans, self.settled = Counters(), 0, list[str]()

    def emit(self, event: Event) -> None:
        """See ``protocols.Sink``."""
        self.counters.add(event)
        self.plans += isinstance(event, Planned)
        if isinstance(event, Settled):
            self.settled.append(event.item.source)
            first, self._first = self._first, None
            if first is not None:
                first()


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Waking]]:
    """One that answers, and one that does not yet."""
    monkeypatch.setattr(rounds, "UNREACHED_S", 0.2)
    for name, data in (("here/a", b"aaa"), ("there/b", b"bbbbb")):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(data)
        os.utime(path, (10**9, 10**9))
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(web.folder(tmp_path / "here"))
        yield here, Waking(tmp_path / "there", stack)


def _config(tmp_path: Path, here: str, there: Waking, target: str = "b") -> dict[str, Any]:
    # The one that cannot be reached comes first.
    items = [(f"{there.address}/b", target), (f"{here}/a", "a")]
    tasks = [{"type": "url", "items": [{"file": url, "target_path": path}]} for url, path in items]
    return {"download_root": str(tmp_path / "out"), "download_items": tasks}


def test_what_can_be_fetched_is_fetched_first(
    tmp_path: Path, hosts: tuple[str, Waking], caplog: pytest.LogCaptureFixture
) -> None:
    here, there = hosts
    caplog.set_level(logging.WARNING)

    def first() -> None:
        assert tree(tmp_path / "out") == {"a": b"aaa"}
        there.wake()

    sink = Watching(first)
    report = kaiwo.download(_config(tmp_path, here, there), sink=sink, startup_wait=20)
    assert (report.exit_code, report.count("downloaded")) == (0, 2)
    assert tree(tmp_path / "out") == {"a": b"aaa", "b": b"bbbbb"}
    counters = sink.counters
    assert (sink.plans, counters.files, counters.files_done, counters.bytes_done) == (2, 2, 2, 8)
    assert f"{there.address} cannot be reached yet; all else is fetched first" in caplog.text
    again = kaiwo.download(_config(tmp_path, here, there))
    assert (again.exit_code, again.transferred_bytes, len(again.items)) == (0, 0, 2)


def test_one_that_never_answers_fails_and_is_named(
    tmp_path: Path, hosts: tuple[str, Waking]
) -> None:
    here, there = hosts
    sink = Watching(lambda: None)
    report = kaiwo.download(_config(tmp_path, here, there), sink=sink, startup_wait=1.5, retries=0)
    assert report.exit_code == 5
    assert [item.source for item in report.failed] == [f"{there.address}/b"]
    assert sink.settled == [f"{here}/a", f"{there.address}/b"]
    assert report.seconds >= 1.5
    assert tree(tmp_path / "out") == {"a": b"aaa"}


def test_with_fail_fast_a_failure_ends_the_wait(tmp_path: Path, hosts: tuple[str, Waking]) -> None:
    here, there = hosts
    config = _config(tmp_path, here, there)
    config["download_items"][1]["items"][0]["checksum"] = f"sha256:{'0' * 64}"
    report = kaiwo.download(config, sink=Watching(there.wake), fail_fast=True, startup_wait=20)
    errors = {item.source: item.error for item in report.failed}
    assert report.exit_code == 7
    assert isinstance(errors[f"{here}/a"], IntegrityError)
    assert isinstance(errors[f"{there.address}/b"], UnfinishedError)
    assert tree(tmp_path / "out") == {}


def test_fetch_returns_the_paths_in_the_order_of_the_urls(
    tmp_path: Path, hosts: tuple[str, Waking]
) -> None:
    here, there = hosts
    urls = [f"{there.address}/b", f"{here}/a"]
    paths = kaiwo.fetch(urls, tmp_path / "out", sink=Watching(there.wake))
    assert [path.name for path in paths] == ["b", "a"]
    assert [path.read_bytes() for path in paths] == [b"bbbbb", b"aaa"]


def test_its_files_get_no_target_that_is_taken(tmp_path: Path, hosts: tuple[str, Waking]) -> None:
    here, there = hosts
    config = _config(tmp_path, here, there)
    config["download_items"][0]["items"] = [{"folder": f"{there.address}/", "target_path": "."}]
    config["download_items"][1]["items"][0]["target_path"] = "b"
    with pytest.raises(UnsafeNameError, match="have this target"):
        kaiwo.download(config, sink=Watching(there.wake), startup_wait=20)
    assert tree(tmp_path / "out") == {"b": b"aaa"}
