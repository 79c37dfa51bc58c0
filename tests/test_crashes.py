"""Killed at any step, run again: the right bytes, nothing left behind, little fetched twice.

By default a sample of the steps, from a fixed seed; with ``KAIWO_CRASHES=all`` every one of them,
for both engines, which takes some minutes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from kaiwo.objects import RANGE
from kaiwo.tasks.base import Engine
from tests import crashing
from tests.conftest import clean_environment
from tests.crashing import Death, Order
from tests.faulty import MIB, content
from tests.servers.faulty_s3 import BUCKET, FaultyS3, Plan, Span, faulty_s3

ALL = os.environ.get("KAIWO_CRASHES") == "all"
#: Trials at once.
AT_ONCE = 2
SEED = 20
LIVES = Death()
#: Words in paths that tell one kind of step from another.
KINDS = ("claims", "journal", "manifest", ".part", "parts/")

#: Their etags are their md5.
PLAIN = {f"tiny-{number}": content(50 + number) for number in range(4)}
PLAIN |= {"empty": b"", "deep/er/tiny": content(9), "two": content(2 * MIB)}
PLAIN |= {"large": content(2 * RANGE + MIB)}
#: Uploaded in parts: no listing tells their checksums.
IN_PARTS = {"tiny": content(77), "two": content(2 * MIB + 1), "large": content(RANGE + MIB)}
OBJECTS = PLAIN | {f"parts/{key}": data for key, data in IN_PARTS.items()}
EXPECTED: Mapping[str, bytes | None] = {**OBJECTS, **dict.fromkeys(("deep", "deep/er", "parts"))}
SIZE = sum(len(data) for data in OBJECTS.values())

Run = Callable[[Order], int]
#: For bytes: the number of the server, and which.
Request = tuple[int, Span]


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

    def order(self, death: Death = LIVES) -> Order:
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
    def requests(self) -> Counter[Request]:
        """How often which bytes were asked for."""
        counts = [server.counts.ranges for server in self.servers]
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


def size_of(requests: Mapping[Request, int]) -> int:
    """The bytes that were asked for."""
    return sum(many * (end - start) for (_, (_, start, end)), many in requests.items())


def written_down(root: Path) -> Iterator[Request]:
    """The ranges that the journals know of; a torn line says nothing."""
    for journal in root.glob(".kaiwo/journal-*.jsonl"):
        keys: dict[int, str] = {}
        for line in journal.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                told = json.loads(line)
                if "begin" in told:
                    keys[told["begin"]] = told["target"]
                elif "part" in told:
                    number, start, length = told["part"]
                    key = keys[number]
                    span = key.removeprefix("parts/"), start, start + length
                    yield int(key.startswith("parts/")), span


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


@dataclass
class Trial:
    """Runs that die, one after the other, and then two that live; and what is wrong then."""

    stage: Stage
    run: Run
    killed: int = 0
    story: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    #: What is written down, and how often it had been asked for by then.
    kept: dict[Request, int] = field(default_factory=dict)

    def of(self, deaths: Iterable[Death]) -> list[str]:
        """What is wrong, after the story."""
        for death in deaths:
            self.die(death)
        self.live()
        self.again()
        return [f"{'; '.join(self.story)}: {fault}" for fault in self.faults]

    def die(self, death: Death) -> None:
        """Run to that step; one that is not reached is none."""
        code = self.run(self.stage.order(death))
        steps = self.stage.steps
        if code == -signal.SIGKILL:
            self.killed += 1
            self.story.append(f"{'half-way in' if death.half else 'before'} {steps[-1]!r}")
            requests = self.stage.requests
            for span in written_down(self.stage.out):
                self.kept.setdefault(span, requests[span])
        elif code or death.step <= len(steps):
            self.faults.append(f"exit {code} at {death}: {self.stage.errors}")

    def live(self) -> None:
        """Run to the end."""
        code = self.run(self.stage.order())
        if code:
            self.faults.append(f"exit {code}: {self.stage.errors}")
        self.faults += faults_of(self.stage.out, EXPECTED)
        requests, most = self.stage.requests, self.killed * self.stage.workers
        if size_of(requests) > SIZE + most * RANGE:
            self.faults.append(f"{size_of(requests):,} bytes were asked for, of {SIZE:,}")
        # Each was under way when a run died; none is larger than a range.
        repeated = {span: many - 1 for span, many in requests.items() if many > 1}
        if sum(repeated.values()) > most:
            self.faults.append(f"asked for again: {repeated}")
        lost = [span for span, many in self.kept.items() if requests[span] > many]
        if lost:
            self.faults.append(f"written down, and asked for again: {lost}")

    def again(self) -> None:
        """One more run finds everything in place."""
        requests, heads = self.stage.requests, self.stage.heads
        code = self.run(self.stage.order())
        done = f"(0 downloaded, {len(OBJECTS)} unchanged)"
        if code or done not in self.stage.errors:
            self.faults.append(f"the run after it, exit {code}: {self.stage.errors}")
        left = faults_of(self.stage.out, EXPECTED)
        self.faults += [f"still, {each}" for each in left]
        if self.stage.requests != requests:
            self.faults.append(f"the run after it asked for {self.stage.requests - requests}")
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


#: How runs die, one after the other.
Deaths = tuple[Death, ...]
Trials = Callable[[Engine, int, Iterable[Deaths]], str]


@pytest.fixture
def trials(runs: queue.SimpleQueue[Run], tmp_path: Path) -> Trials:
    """Makes trials, each with other deaths; says what went wrong."""

    def one(engine: Engine, workers: int, number: int, deaths: Deaths) -> list[str]:
        home, run = tmp_path / f"{number}", runs.get()
        try:
            with staged(home, engine, workers) as stage:
                return Trial(stage, run).of(deaths)
        finally:
            runs.put(run)
            shutil.rmtree(home, ignore_errors=True)

    def all_of(engine: Engine, workers: int, lots: Iterable[Deaths]) -> str:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            begun = [
                pool.submit(one, engine, workers, number, deaths)
                for number, deaths in enumerate(lots)
            ]
            return "\n".join(itertools.chain.from_iterable(each.result() for each in begun))

    return all_of


Steps = Mapping[Engine, Sequence[str]]


@pytest.fixture(scope="module")
def steps(runs: queue.SimpleQueue[Run], tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """Those of a run with one worker that nobody kills."""
    found: dict[Engine, list[str]] = {}
    run = runs.get()
    engines: tuple[Engine, ...] = ("fsspec", "obstore")
    for engine in engines:
        with staged(tmp_path_factory.mktemp(engine) / "x", engine, 1) as stage:
            assert run(stage.order()) == 0, stage.errors
            assert list(faults_of(stage.out, EXPECTED)) == []
            assert stage.requests.total() == len(stage.requests)
            assert size_of(stage.requests) == SIZE
            found[engine] = stage.steps
    runs.put(run)
    return found


def ways(steps: Sequence[str]) -> Iterator[tuple[str, Death]]:
    """Each way to die in a run of these steps, and of which kind it is."""
    for number, step in enumerate(steps, 1):
        event, _, path = step.partition(" ")
        kind = " ".join([event, *(word for word in KINDS if word in path)])
        yield f"before {kind}", Death(number)
        if event in {"open", "write", "pwrite"}:
            yield f"half-way in {kind}", Death(number, half=True)


def one_of_each_kind(steps: Sequence[str], chance: random.Random) -> list[Death]:
    """All ways to die, if all are to be tried; else one of each kind."""
    if ALL:
        return [death for _, death in ways(steps)]
    kinds: dict[str, list[Death]] = {}
    for kind, death in ways(steps):
        kinds.setdefault(kind, []).append(death)
    return [chance.choice(each) for each in kinds.values()]


def test_killed_at_any_step_the_next_run_goes_on(trials: Trials, steps: Steps) -> None:
    deaths = one_of_each_kind(steps["obstore"], random.Random(SEED))
    faults = trials("obstore", 1, [(death,) for death in deaths])
    assert not faults, faults


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_step_the_other_engine_goes_on_too(
    trials: Trials, steps: Steps, workers: int
) -> None:
    chance = random.Random(SEED + workers)
    deaths = one_of_each_kind(steps["fsspec"], chance)
    if not ALL:
        deaths = chance.sample(deaths, 4)
    faults = trials("fsspec", workers, [(death,) for death in deaths])
    assert not faults, faults


def test_killed_while_it_takes_over_what_a_killed_run_left_the_next_one_goes_on(
    trials: Trials, steps: Steps
) -> None:
    chance = random.Random(SEED)
    writes = [at for at, step in enumerate(steps["obstore"], 1) if step.startswith("pwrite")]
    first = Death(writes[2])
    # The later runs get their own chance to die until they have written something themselves.
    early = list(itertools.takewhile(lambda way: way[1].step <= writes[0], ways(steps["obstore"])))
    chains = [(first, second, chance.choice(early)[1]) for _, second in early]
    if not ALL:
        chains = chance.sample(chains, 6)
    faults = trials("obstore", 1, chains)
    assert not faults, faults


# --- what happens to it between two runs ------------------------------------------------------


def flip_a_bit(path: Path, share: float = 0.5) -> None:
    """One bit, so far into the file."""
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * share))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def temporary(out: Path) -> Path:
    (found,) = out.rglob(".kaiwo-*.part")
    return found


def journal(out: Path) -> Path:
    (found,) = out.glob(".kaiwo/journal-*.jsonl")
    return found


def flip_a_bit_of_the_first_range(out: Path) -> None:
    flip_a_bit(temporary(out), 0.2)


def flip_a_bit_of_the_journal(out: Path) -> None:
    flip_a_bit(journal(out), 0.9)


def flip_a_bit_of_the_journals_head(out: Path) -> None:
    flip_a_bit(journal(out), 0.0)


def flip_a_bit_of_the_manifest(out: Path) -> None:
    flip_a_bit(out / ".kaiwo" / "manifest.jsonl", 0.9)


def cut_the_temporary_file(out: Path) -> None:
    os.truncate(temporary(out), RANGE + 1)


def delete_the_temporary_file(out: Path) -> None:
    temporary(out).unlink()


def delete_the_journal(out: Path) -> None:
    journal(out).unlink()


def delete_the_manifest(out: Path) -> None:
    (out / ".kaiwo" / "manifest.jsonl").unlink()


def delete_all_state(out: Path) -> None:
    shutil.rmtree(out / ".kaiwo")


def flip_a_bit_of_a_target(out: Path) -> None:
    before = (out / "large").stat()
    flip_a_bit(out / "large")
    # Any tool that writes changes the time; a disk that rots does not, and nobody would see that.
    assert (out / "large").stat().st_mtime_ns != before.st_mtime_ns


#: What is done to what a run left that died with two ranges written down, and how many bytes at
#: most are asked for again because of that.
HARM: dict[Callable[[Path], None], int] = {
    flip_a_bit_of_the_first_range: RANGE,
    flip_a_bit_of_the_journal: RANGE,
    flip_a_bit_of_the_journals_head: 2 * RANGE,
    cut_the_temporary_file: RANGE,
    delete_the_temporary_file: 2 * RANGE,
    delete_the_journal: 2 * RANGE,
    delete_all_state: 2 * RANGE,
}
#: The same, of one that died later, with the large ones in place.
LATER: dict[Callable[[Path], None], int] = {
    flip_a_bit_of_the_manifest: 0,
    delete_the_manifest: 0,
    flip_a_bit_of_a_target: 2 * RANGE + MIB,
    delete_all_state: 0,
}
#: Nothing tells whose a temporary file is that no journal names: it may be that of a run at work.
ORPHANED = {delete_the_journal, delete_all_state, flip_a_bit_of_the_journals_head}
HARMS = [*((2, *each) for each in HARM.items()), *((6, *each) for each in LATER.items())]


@pytest.mark.parametrize(
    ("writes", "harm", "cost"), HARMS, ids=lambda each: getattr(each, "__name__", str(each))
)
def test_what_is_spoilt_between_two_runs_is_fetched_again_and_no_more(
    runs: queue.SimpleQueue[Run],
    steps: Steps,
    tmp_path: Path,
    writes: int,
    harm: Callable[[Path], None],
    cost: int,
) -> None:
    pwrites = [at for at, step in enumerate(steps["obstore"], 1) if step.startswith("pwrite")]
    run = runs.get()
    with staged(tmp_path / "home", "obstore", 1) as stage:
        assert run(stage.order(Death(pwrites[writes]))) == -signal.SIGKILL
        harm(stage.out)
        assert run(stage.order()) == 0, stage.errors
        orphans = [] if harm not in ORPHANED else [each.name for each in stage.out.rglob(".kaiwo-*")]
        assert {name: data for name, data in there(stage.out).items() if name in EXPECTED} == EXPECTED
        left = there(stage.out).keys() - EXPECTED.keys() - {".kaiwo", ".kaiwo/manifest.jsonl"}
        # What was under way at the death is asked for again, too.
        assert size_of(stage.requests) <= SIZE + RANGE + cost
        assert run(stage.order()) == 0
        assert f"(0 downloaded, {len(OBJECTS)} unchanged)" in stage.errors
    runs.put(run)
    print(orphans, left)
