"""Killed and evicted at random moments: what is asked of the store again, and what is left."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaiwo.jobs import RANGE
from kaiwo.tasks.base import Engine
from tests.servers import faulty_s3
from tests.servers.faulty_s3 import BUCKET
from tests.support.command import begun, tree
from tests.support.faulty import MIB
from tests.support.fork_server import Running
from tests.support.proxies import counting
from tests.support.stores import Store
from tests.support.trials_length import LONG

PATIENCE_S = 120.0
PROMISED_S = 5.0
DEFAULT_WORKERS = 8
SMALL = 1_000_000


@functools.cache
def objects(large: int, size: int, small: int) -> Mapping[str, bytes]:
    """Large objects of that size, and small ones; all share the same bytes in memory."""
    data = random.Random(size).randbytes(size)
    named = {f"large-{number}": data for number in range(large)}
    return named | {f"small/{number:03}": data[-SMALL:] for number in range(small)}


@pytest.fixture(scope="module", autouse=True)
def _afterwards_no_bytes_are_kept() -> Iterator[None]:
    yield
    objects.cache_clear()
    faulty_s3.stored.cache_clear()


@dataclass(frozen=True)
class Place:
    """Where a task comes from.

    Attributes:
        task: of a configuration.
        stored: the objects.
        asked: how many bytes were asked for so far.
        root: whose state it is in, below the folder of the run.
        most_at_once: requests for ranges that it answered at the same time.
    """

    task: Mapping[str, Any]
    stored: Mapping[str, bytes]
    asked: Callable[[], int]
    root: str = "."
    most_at_once: Callable[[], int] = lambda: 0

    @property
    def size(self) -> int:
        return sum(len(data) for data in self.stored.values())


@contextlib.contextmanager
def in_s3(stored: Mapping[str, bytes]) -> Iterator[Place]:
    """A local server, which is fast."""
    with faulty_s3.faulty_s3(stored) as server:
        bucket = {"name": BUCKET, "items": [{"folder": "", "target_path": "."}]}
        task = {"type": "s3", **server.settings(), "buckets": [bucket]}
        ranges = server.counts.ranges

        def asked() -> int:
            return sum(many * (end - start) for (_, start, end), many in list(ranges.items()))

        yield Place(task, stored, asked, most_at_once=lambda: server.counts.most_at_once)


@contextlib.contextmanager
def in_store(
    store: Store, stored: Mapping[str, bytes], root: str = ".", **fields: Any
) -> Iterator[Place]:
    """A store of another provider, by way of a proxy that counts."""
    bucket = store.new_bucket(stored)
    with counting(store) as way:
        task = way.stores[0].task(bucket, [{"folder": "", "target_path": "."}], **fields)

        def asked() -> int:
            with urllib.request.urlopen(way.stats) as answer:
                return sum(_length(entry, stored) for entry in json.load(answer)["log"])

        yield Place(task, stored, asked, root.format(bucket=bucket))


def _length(entry: Mapping[str, Any], stored: Mapping[str, bytes]) -> int:
    """How many bytes of an object a request asks for; none, if it is no GET of one."""
    if entry["range"] and "/resolve/" in entry["line"]:
        return 0  # it is told where the range is
    if entry["range"]:
        start, _, end = entry["range"].removeprefix("bytes=").partition("-")
        return int(end) + 1 - int(start)
    asks = entry["line"].startswith("GET ")
    path = entry["line"].partition("?")[0].replace("%2F", "/")
    is_media = "/o/" not in path or "alt=media" in entry["line"]
    return next(
        (len(stored[key]) for key in stored if asks and is_media and path.endswith(f"/{key}")), 0
    )


@dataclass(frozen=True)
class Command:
    """What is run, again and again."""

    home: Path
    place: Place
    options: Sequence[str]

    @property
    def out(self) -> Path:
        return self.home / "out"

    @property
    def root(self) -> Path:
        """Where the state is."""
        return self.out / self.place.root

    @property
    def report(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads((self.home / "report.json").read_text())
        return found

    @property
    def errors(self) -> str:
        """What it said."""
        return (self.home / "errors").read_text()

    @contextlib.contextmanager
    def running(self) -> Iterator[Running]:
        """As long as the block takes."""
        config = {"download_root": str(self.out), "download_items": [dict(self.place.task)]}
        (self.home / "config.yaml").write_text(yaml.safe_dump(config))
        words = ["config.yaml", "--report", "report.json", *self.options]
        with begun(words, self.home) as run:
            yield run

    def stopped(self, amount: int, number: signal.Signals) -> int:
        """Send that signal once this amount was requested in all, and some of it by this run.

        By then there is something to resume. Returns the exit code.
        """
        amount = max(amount, self.place.asked() + 1)
        with self.running() as process:
            pause, deadline_s = threading.Event(), time.monotonic() + PATIENCE_S
            while self.place.asked() < amount or not any(unfinished(self.root).values()):
                assert process.poll() is None, self.errors
                assert time.monotonic() < deadline_s, "it asks for nothing"
                pause.wait(0.002)
            process.send_signal(number)
            return process.wait(PROMISED_S)

    def finished(self) -> None:
        """Run to the end."""
        with self.running() as process:
            code = process.wait(PATIENCE_S)
        assert code == 0, self.errors


def moments(size: int, count: int, seed: int) -> list[int]:
    """Amounts of bytes asked for, while the large ones are on their way."""
    chance = random.Random(seed)
    return [int(0.8 * size * (number + chance.random()) / count) for number in range(count)]


def amount_of_large(place: Place) -> int:
    return sum(len(data) for data in place.stored.values() if len(data) > RANGE)


def bound(place: Place, stops: int, workers: int | None) -> int:
    """How many bytes may be asked for in all. By default, requests may become more."""
    requests = workers or max(DEFAULT_WORKERS, place.most_at_once())
    return place.size + stops * requests * RANGE


def options(engine: Engine, workers: int | None) -> list[str]:
    given = [] if workers is None else ["--max-workers", str(workers)]
    return ["--engine", engine, *given]


def unfinished(out: Path) -> dict[str, int]:
    """The temporary files that journals name, and of how many ranges these tell."""
    found: Counter[str] = Counter()
    for journal in out.glob(".kaiwo/journal-*.jsonl"):
        begun: dict[int, Counter[str]] = {}
        for line in journal.read_text().splitlines(keepends=True):
            told = json.loads(line) if line.endswith("\n") else {}
            if "begin" in told:
                begun[told["begin"]] = Counter({told["temporary"]: 0})
            elif "part" in told:
                begun[told["part"][0]].update(list(begun[told["part"][0]]))
            elif "end" in told:
                begun.pop(told["end"], None)
        for each in begun.values():
            found.update(each)
    return {name: many for name, many in found.items() if (out / name).exists()}


def left(out: Path) -> list[str]:
    """Temporary files."""
    return sorted(path.relative_to(out).as_posix() for path in out.rglob(".kaiwo-*"))


def targets(command: Command) -> Path:
    """Where files go."""
    return command.out


def snapshot(command: Command) -> Path:
    """Where the Hub's cache shows the files of a commit."""
    return next((command.root / "snapshots").iterdir())


def require_resumed(
    command: Command,
    stops: int,
    workers: int | None,
    *,
    at_least: int = 0,
    folder: Callable[[Command], Path] = targets,
) -> None:
    """Run to the end, then again: what was there is resumed, all is right, nothing is left.

    Args:
        command: it was stopped before.
        stops: how often.
        workers: among which a stop may lose ranges.
        at_least: this many bytes have to be asked for in all.
        folder: where the objects are in the end.
    """
    place = command.place
    to_resume = sum(ranges > 0 for ranges in unfinished(command.root).values())
    command.finished()
    asked = place.asked()
    assert at_least <= asked <= bound(place, stops, workers)
    assert command.report["resumed"] == to_resume >= 1
    assert tree(folder(command)) == place.stored
    assert left(command.out) == []
    command.finished()
    assert place.asked() == asked


FEW: list[tuple[Engine, int | None]] = [("obstore", None), ("fsspec", 4)]
MORE: list[tuple[Engine, int | None]] = [("obstore", 4), ("fsspec", None)]


@pytest.mark.parametrize(("engine", "workers"), FEW + MORE * LONG)
def test_killed_five_times_at_any_moment_it_goes_on_where_it_was(
    tmp_path: Path, engine: Engine, workers: int | None
) -> None:
    with in_s3(objects(2, 150 * MIB, 100)) as place:
        command = Command(tmp_path, place, options(engine, workers))
        for amount in moments(amount_of_large(place), 5, seed=5):
            assert command.stopped(amount, signal.SIGKILL) == -signal.SIGKILL
        require_resumed(command, 5, workers)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("provider", ["gcs", "azure"])
def test_other_stores_are_gone_on_with_too(
    request: pytest.FixtureRequest, tmp_path: Path, provider: str, number: signal.Signals
) -> None:
    store: Store = request.getfixturevalue(provider)
    with in_store(store, objects(1, 80 * MIB, 20)) as place:
        command = Command(tmp_path, place, options("auto", 1))
        for amount in moments(amount_of_large(place), 3, seed=number):
            command.stopped(amount, number)
        require_resumed(command, 3, 1, at_least=place.size)


@pytest.mark.parametrize("cached", [False, True])
def test_a_file_of_the_hub_is_gone_on_with_in_a_folder_as_in_the_cache(
    hub: Store, tmp_path: Path, cached: bool
) -> None:
    fields = {"cache_dir": str(tmp_path / "out")} if cached else {"target_path": "."}
    root = "models--{bucket}" if cached else "."
    with in_store(hub, objects(1, 96 * MIB, 5), root, **fields) as place:
        command = Command(tmp_path, place, options("auto", 2))
        for amount in moments(amount_of_large(place), 5, seed=6):
            assert command.stopped(amount, signal.SIGKILL) == -signal.SIGKILL
        assert sum(ranges > 0 for ranges in unfinished(command.root).values()) == 1
        folder = snapshot if cached else targets
        require_resumed(command, 5, 2, at_least=place.size, folder=folder)


@pytest.mark.parametrize(("engine", "workers"), FEW + MORE * LONG)
def test_evicted_it_ends_in_time_and_leaves_what_the_next_run_goes_on_with(
    tmp_path: Path, engine: Engine, workers: int | None
) -> None:
    with in_s3(objects(2, 150 * MIB, 100)) as place:
        command = Command(tmp_path, place, options(engine, workers))
        for amount in moments(amount_of_large(place), 4, seed=8):
            assert command.stopped(amount, signal.SIGTERM) == 128 + signal.SIGTERM
            # What is left is what a journal names, and no small object is among it.
            assert left(command.out) == sorted(unfinished(command.out))
            assert not (command.out / ".kaiwo" / "claims").exists()
        require_resumed(command, 4, workers)
