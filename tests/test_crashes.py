"""Killed at any step, run again: the right bytes, nothing left behind, little fetched twice.

By default a sample of the steps, from a fixed seed; with ``KAIWO_CRASHES=all`` every one of them,
for both engines, which takes some minutes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import queue
import random
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaiwo.objects import RANGE
from kaiwo.tasks.base import Engine
from tests import crashing
from tests.conftest import clean_environment
from tests.crashing import Death, Order
from tests.faulty import MIB, content
from tests.servers.faulty_s3 import BUCKET, Counts, FaultyS3, Plan, Span, faulty_s3

ALL = os.environ.get("KAIWO_CRASHES") == "all"
#: Trials at once.
AT_ONCE = 2
SEED = 20

#: Their etags are their md5.
PLAIN = {f"tiny-{number}": content(50 + number) for number in range(4)}
PLAIN |= {"empty": b"", "deep/er/tiny": content(9), "two": content(2 * MIB)}
PLAIN |= {"large": content(2 * RANGE + MIB)}
#: Uploaded in parts: no listing tells their checksums.
IN_PARTS = {"tiny": content(77), "two": content(2 * MIB + 1), "large": content(RANGE + MIB)}
OBJECTS = PLAIN | {f"parts/{key}": data for key, data in IN_PARTS.items()}
SIZE = sum(len(data) for data in OBJECTS.values())
FOLDERS = {"deep", "deep/er", "parts"}

Run = Callable[[Order], int]


@dataclass(frozen=True)
class Stage:
    """A folder, and the servers of what is to come there.

    Attributes:
        home: holds all of it.
        servers: of objects with an md5, and of those without.
        options: of each run.
        workers: among them.
    """

    home: Path
    servers: tuple[FaultyS3, FaultyS3]
    options: tuple[str, ...]
    workers: int

    @property
    def out(self) -> Path:
        return self.home / "out"

    def order(self, death: Death = Death()) -> Order:
        """A run."""
        arguments = [str(self.home / "config.yaml"), *self.options]
        environment = clean_environment(self.home) | {"AWS_EC2_METADATA_DISABLED": "true"}
        return Order(arguments, environment, str(self.home), str(self.out), death)

    @property
    def steps(self) -> list[str]:
        """Of the last run."""
        return (self.home / "steps").read_text().splitlines()

    @property
    def errors(self) -> str:
        """What the last run said."""
        return (self.home / "errors").read_text()

    @property
    def ranges(self) -> Counter[tuple[int, Span]]:
        """How often which bytes of which server were requested."""
        counts = (server.counts.ranges for server in self.servers)
        return Counter(
            {(at, span): many for at, each in enumerate(counts) for span, many in each.items()}
        )

    @property
    def heads(self) -> int:
        return sum(server.counts.heads for server in self.servers)


@contextlib.contextmanager
def staged(home: Path, engine: Engine, workers: int) -> Iterator[Stage]:
    """Servers with all objects, and nothing fetched yet."""
    home.mkdir()
    with faulty_s3(PLAIN) as plain, faulty_s3(IN_PARTS, Plan(etags="parts")) as in_parts:
        tasks = [
            {"type": "s3", **server.settings(), "buckets": [{"name": BUCKET, "items": [item]}]}
            for server, item in (
                (plain, {"folder": "", "target_path": "."}),
                (in_parts, {"folder": "", "target_path": "parts"}),
            )
        ]
        config = {"download_root": str(home / "out"), "download_items": tasks}
        (home / "config.yaml").write_text(yaml.safe_dump(config))
        options = ("--engine", engine, "--max-workers", str(workers))
        yield Stage(home, (plain, in_parts), options, workers)


def size_of(spans: Mapping[tuple[int, Span], int]) -> int:
    """The bytes of these requests."""
    return sum(many * (end - start) for (_, (_, start, end)), many in spans.items())


def there(root: Path) -> dict[str, bytes | None]:
    """All that is below a folder: files, and folders as None."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
    return {name: None if path.is_dir() else path.read_bytes() for name, path in found.items()}


def faults_of(root: Path, expected: Mapping[str, bytes | None]) -> Iterator[str]:
    """What is there and should not be, and what should be there and is not."""
    found = there(root)
    state = {name for name in found if ".kaiwo" in name.split("/")}
    if state != {".kaiwo", ".kaiwo/manifest.jsonl"}:
        yield f"kaiwo's own folder holds {sorted(state)}"
    for name in sorted(found.keys() - expected.keys() - state):
        yield f"{name} is left behind"
    for name, data in expected.items():
        if name not in found:
            yield f"{name} is missing"
        elif found[name] != data:
            yield f"{name} is wrong"


EXPECTED: Mapping[str, bytes | None] = {**OBJECTS, **dict.fromkeys(FOLDERS)}


@dataclass
class Trial:
    """Runs that die, one after the other, and then one that lives; and what is wrong then."""

    stage: Stage
    run: Run
    killed: int = 0
    story: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def of(self, deaths: Iterable[Death]) -> list[str]:
        """What is wrong, after the story."""
        for death in deaths:
            self.die(death)
        self.live()
        self.again()
        return [f"{'; '.join(self.story)}: {fault}" for fault in self.faults]

    def die(self, death: Death) -> None:
        code = self.run(self.stage.order(death))
        steps = self.stage.steps
        if code == -9:
            self.killed += 1
            self.story.append(f"{'half-way in' if death.half else 'before'} {steps[-1]!r}")
        elif code or death.step <= len(steps):
            self.faults.append(f"exit {code} at {death}: {self.stage.errors}")

    def live(self) -> None:
        """Run to the end."""
        code = self.run(self.stage.order())
        if code:
            self.faults.append(f"exit {code}: {self.stage.errors}")
        self.faults += faults_of(self.stage.out, EXPECTED)
        ranges, most = self.stage.ranges, self.killed * self.stage.workers
        if size_of(ranges) > SIZE + most * RANGE:
            self.faults.append(f"{size_of(ranges):,} bytes were requested of {SIZE:,}")
        # Each of them was under way at a death; none is larger than a range.
        repeated = {span: many - 1 for (_, span), many in ranges.items() if many > 1}
        if sum(repeated.values()) > most:
            self.faults.append(f"requested again: {repeated}")

    def again(self) -> None:
        """One more run finds everything in place."""
        ranges, heads = self.stage.ranges, self.stage.heads
        code = self.run(self.stage.order())
        done = f"(0 downloaded, {len(OBJECTS)} unchanged)"
        if code or done not in self.stage.errors:
            self.faults.append(f"the run after it, exit {code}: {self.stage.errors}")
        self.faults += [f"after another run, {fault}" for fault in faults_of(self.stage.out, EXPECTED)]
        if self.stage.ranges != ranges:
            self.faults.append(f"the run after it requested {self.stage.ranges - ranges}")
        # The fast engine looks at an empty object: its listing does not tell it from a placeholder.
        if self.stage.heads > heads + 1:
            self.faults.append("the run after it asked for objects one by one")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[queue.SimpleQueue[Run]]:
    """What carries out orders, one for each trial at once."""
    free: queue.SimpleQueue[Run] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        environment = clean_environment(tmp_path_factory.mktemp("home"))
        for _ in range(AT_ONCE):
            free.put(stack.enter_context(crashing.commands(environment)))
        yield free


Trials = Callable[[Engine, int, Iterable[Sequence[Death]]], list[str]]


@pytest.fixture
def trials(runs: queue.SimpleQueue[Run], tmp_path: Path) -> Trials:
    """Makes trials, each with other deaths; says what went wrong."""

    def one(engine: Engine, workers: int, number: int, deaths: Sequence[Death]) -> list[str]:
        home, run = tmp_path / f"{number}", runs.get()
        try:
            with staged(home, engine, workers) as stage:
                return Trial(stage, run).of(deaths)
        finally:
            runs.put(run)
            shutil.rmtree(home, ignore_errors=True)

    def all_of(engine: Engine, workers: int, lots: Iterable[Sequence[Death]]) -> list[str]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            begun = [
                pool.submit(one, engine, workers, number, deaths)
                for number, deaths in enumerate(lots)
            ]
            return list(itertools.chain.from_iterable(each.result() for each in begun))

    return all_of


@pytest.fixture(scope="module")
def steps(
    runs: queue.SimpleQueue[Run], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[Engine, list[str]]:
    """Those of a run with one worker that nobody kills."""
    found: dict[Engine, list[str]] = {}
    run = runs.get()
    engines: tuple[Engine, ...] = ("fsspec", "obstore")
    for engine in engines:
        with staged(tmp_path_factory.mktemp(engine) / "x", engine, 1) as stage:
            assert run(stage.order()) == 0, stage.errors
            assert list(faults_of(stage.out, EXPECTED)) == []
            assert stage.ranges.total() == len(stage.ranges)
            assert size_of(stage.ranges) == SIZE
            found[engine] = stage.steps
    runs.put(run)
    return found


def deaths(count: int) -> list[Death]:
    """Each way to die in a run of so many steps, and a few more."""
    return [Death(step, half) for step in range(1, count + 4) for half in (False, True)]


def some(lots: list[Sequence[Death]], count: int) -> list[Sequence[Death]]:
    """So many of them, unless all are to be tried."""
    return lots if ALL else random.Random(SEED).sample(lots, count)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_step_the_next_run_goes_on(
    trials: Trials, steps: Mapping[Engine, list[str]], engine: Engine, workers: int
) -> None:
    lots: list[Sequence[Death]] = [(death,) for death in deaths(len(steps[engine]))]
    faults = trials(engine, workers, some(lots, 8 if engine == "obstore" else 5))
    assert not faults, "\n".join(faults)
