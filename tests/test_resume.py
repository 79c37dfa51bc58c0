"""The command, killed while it downloads and run again until all is there: what is fetched twice."""

from __future__ import annotations

import http.server
import json
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaiwo.objects import RANGE
from tests.conftest import clean_environment, tree
from tests.faulty import MIB, content
from tests.proxies import Answer, spoiling
from tests.servers import serving
from tests.stores import Store

#: 13 ranges, the last of which is short.
SIZE = 96 * MIB + 12_345
WORKERS = 3
#: Each run but the last is killed when it has asked for so many ranges, in some order. The
#: longest of them has written some down by then: a worker asks for its next range after that.
KILLS = (1, 2, WORKERS + 1)
OBJECTS = {
    "big": content(SIZE),
    **{f"small/{number}": content(2_000, number) for number in range(9)},
}


@dataclass
class Watch:
    """Stands between the command and the server: counts bytes, and kills.

    Attributes:
        fetched: bytes of large answers.
        ranges: large answers since the last run began.
        limit: the run is killed when it gets that many; None: it is not.
    """

    chance: random.Random
    fetched: int = 0
    ranges: int = 0
    limit: int | None = None
    _child: subprocess.Popen[str] | None = None
    _started: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pass_by(self, length: int) -> None:
        """An answer of that length is about to be given."""
        if length < MIB:
            return
        with self._lock:
            self.fetched += length
            self.ranges += 1
            is_last = self.ranges == self.limit
        if is_last:
            assert self._started.wait(30)
            assert self._child is not None
            # Anywhere in a range, and perhaps in one of the next.
            threading.Timer(self.chance.uniform(0, 0.03), self._child.kill).start()

    def run(self, command: list[str], folder: Path, limit: int | None) -> tuple[int, str]:
        """Exit code and log of one run of the command."""
        self.ranges, self.limit = 0, limit
        self._started.clear()
        self._child = subprocess.Popen(
            command,
            cwd=folder,
            env=clean_environment(folder) | {"AWS_EC2_METADATA_DISABLED": "true"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.set()
        _, log = self._child.communicate(timeout=60)
        return self._child.returncode, log


@contextmanager
def files_over_http(objects: Mapping[str, bytes], watch: Watch) -> Iterator[str]:
    """A server of files with etags and ranges."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            data = objects[self.path.lstrip("/")]
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            start, end = (int(wanted[1]), int(wanted[2]) + 1) if wanted else (0, len(data))
            body = data[start:end]
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{len(data)}"')
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
            self.end_headers()
            if self.command == "GET":
                watch.pass_by(len(body))
                self.wfile.write(body)

        do_GET = do_HEAD = answer  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Requests are not logged."""

    class Listener(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Connections that break are what the test is about."""

    listener = Listener((serving.HOST, 0), Handler)
    with serving.in_thread(listener):
        yield f"http://{serving.HOST}:{listener.server_port}"


@contextmanager
def bucket_by_way_of(
    store: Store, bucket: str, watch: Watch, engine: str
) -> Iterator[dict[str, Any]]:
    """A task for the whole bucket, by way of the watch."""

    def spoil(method: str, _: str, answer: Answer) -> Answer:
        if method == "GET" and answer.status in (200, 206):
            watch.pass_by(len(answer.body))
        return answer

    with spoiling(store, spoil) as watched:
        yield {
            "engine": engine,
            "download_items": [watched.task(bucket, [{"folder": "", "target_path": "in"}])],
        }


@contextmanager
def urls_by_way_of(watch: Watch) -> Iterator[dict[str, Any]]:
    """A task for the same files, each by its URL."""
    with files_over_http(OBJECTS, watch) as base:
        items = [{"file": f"{base}/{key}", "target_path": f"in/{key}"} for key in OBJECTS]
        yield {"download_items": [{"type": "url", "items": items}]}


@pytest.fixture(scope="module")
def bucket_of() -> Callable[[Store], str]:
    """A store's bucket with the objects, which is filled once."""
    known: dict[str, str] = {}

    def bucket(store: Store) -> str:
        if store.type not in known:
            known[store.type] = store.new_bucket(OBJECTS)
        return known[store.type]

    return bucket


def killed_until_done(folder: Path, config: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """Run the command, killed each time but the last; the last one's report."""
    path, report = folder / "config.yaml", folder / "report.json"
    path.write_text(yaml.safe_dump({"download_root": str(folder / "out"), **config}))
    command = [sys.executable, "-m", "kaiwo.downloader", str(path), "--report", str(report)]
    command += ["--max-workers", str(WORKERS)]
    for limit in watch.chance.sample(KILLS, len(KILLS)):
        code, log = watch.run(command, folder, limit)
        assert code == -signal.SIGKILL, log
        assert not (folder / "out/in/big").exists()
    code, log = watch.run(command, folder, None)
    assert code == 0, log
    told: dict[str, Any] = json.loads(report.read_text())
    return told


def require_resumed(folder: Path, watch: Watch, told: Mapping[str, Any]) -> None:
    """All is there, little was fetched twice, nothing is left."""
    root = folder / "out"
    assert tree(root) == {f"in/{key}": data for key, data in OBJECTS.items()}
    statuses = {Path(item["target"]).name: item["status"] for item in told["items"]}
    assert statuses["big"] == "resumed"
    assert (told["ok"], told["resumed"], told["failed"]) == (True, 1, 0)
    assert SIZE <= watch.fetched <= SIZE + len(KILLS) * WORKERS * RANGE
    states = {path.relative_to(root).parts[0] for path in root.rglob(".kaiwo*")}
    assert states <= {".kaiwo", "in"}
    names = [path.name for path in root.rglob("*") if path.name.startswith(".kaiwo")]
    assert names == [".kaiwo"]
    assert [path.name for path in (root / ".kaiwo").iterdir()] == ["manifest.jsonl"]


def watching(name: str) -> Watch:
    """A watch whose chances are the same each time."""
    return Watch(random.Random(name))


def test_killed_again_and_again_it_goes_on_where_it_was(
    tmp_path: Path, store: Store, engine: str, bucket_of: Callable[[Store], str]
) -> None:
    watch = watching(f"{store.type} {engine}")
    with bucket_by_way_of(store, bucket_of(store), watch, engine) as config:
        told = killed_until_done(tmp_path, config, watch)
    require_resumed(tmp_path, watch, told)
    (big,) = (item for item in told["items"] if item["target"].endswith("/big"))
    assert big["checksum"]["verified"] is True


def test_files_of_a_web_server_go_on_where_they_were(tmp_path: Path) -> None:
    watch = watching("url")
    with urls_by_way_of(watch) as config:
        told = killed_until_done(tmp_path, config, watch)
    require_resumed(tmp_path, watch, told)
