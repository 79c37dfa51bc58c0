"""The command, killed while it downloads and run again: how much is fetched twice."""

from __future__ import annotations

import http.server
import json
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaiwo.jobs import RANGE
from tests.servers import serving
from tests.support.command import begun, tree
from tests.support.faulty import MIB, content
from tests.support.proxies import Answer, spoiling
from tests.support.stores import Store
from tests.support.waiting import wait_until

#: 13 ranges; the last one is short.
SIZE = 96 * MIB + 12_345
WORKERS = 3
#: Each run but the last is killed when it has recorded this many ranges more, in any order.
KILLS = (0, 2, 3)
OBJECTS = {
    "big": content(SIZE),
    **{f"small/{number}": content(2_000, number) for number in range(9)},
}


@dataclass
class Watch:
    """Stands between the command and the server, and counts the bytes of large answers."""

    fetched: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pass_by(self, length: int) -> None:
        """An answer of that length is about to be given."""
        if length >= MIB:
            with self._lock:
                self.fetched += length


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


def written_down(root: Path) -> int:
    """How many ranges of the large object the next run would fetch; -1: it has not started."""
    most = -1
    for path in root.glob(".kaiwo/journal-*.jsonl"):
        try:
            text = path.read_text()
        except FileNotFoundError:
            continue  # that run has ended
        if '"begin"' in text:
            most = max(most, len(set(re.findall(r'"part": \[\d+, (\d+),', text))))
    return most


def killed_until_done(folder: Path, config: Mapping[str, Any], chance: str) -> dict[str, Any]:
    """Run the command, killed each time but the last; the last one's report."""
    path, report, root = folder / "config.yaml", folder / "report.json", folder / "out"
    path.write_text(yaml.safe_dump({"download_root": str(root), **config}))
    words = [str(path), "--report", str(report), "--max-workers", str(WORKERS)]
    random_moments = random.Random(chance)
    for count in random_moments.sample(KILLS, len(KILLS)):
        enough = max(written_down(root), 0) + count
        with begun(words, folder) as child:
            wait_until(
                lambda: child.poll() is not None or written_down(root) >= enough,  # noqa: B023
                "the run writes nothing down",
            )
            # Anywhere in a range, and perhaps in one of the next.
            threading.Timer(random_moments.uniform(0, 0.03), child.kill).start()
            code = child.wait(30)
        assert code == -signal.SIGKILL, (folder / "errors").read_text()
        assert not (root / "in/big").exists()
    with begun(words, folder) as child:
        code = child.wait(60)
    assert code == 0, (folder / "errors").read_text()
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


def test_killed_again_and_again_it_goes_on_where_it_was(
    tmp_path: Path, store: Store, engine: str, bucket_of: Callable[[Store], str]
) -> None:
    watch = Watch()
    with bucket_by_way_of(store, bucket_of(store), watch, engine) as config:
        told = killed_until_done(tmp_path, config, f"{store.type} {engine}")
    require_resumed(tmp_path, watch, told)
    (big,) = (item for item in told["items"] if item["target"].endswith("/big"))
    # A blob that was uploaded in blocks has no checksum.
    assert (big["checksum"] or {"verified": store.type == "azure-blob"})["verified"]


def test_files_of_a_web_server_go_on_where_they_were(tmp_path: Path) -> None:
    watch = Watch()
    with urls_by_way_of(watch) as config:
        told = killed_until_done(tmp_path, config, "url")
    require_resumed(tmp_path, watch, told)
