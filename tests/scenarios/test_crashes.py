"""Killed at any step and run again: the right bytes, nothing left behind, little fetched twice.

By default a sample of the steps, from a fixed seed; in ``make trials`` every one of them, for both
engines, which takes some minutes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import queue
import random
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kaiwo.jobs import RANGE
from kaiwo.tasks.base import Engine
from tests.support import crashing
from tests.support.command import clean_environment
from tests.support.crashing import BEGINNING, Death
from tests.support.faulty import MIB
from tests.support.stores import Store
from tests.support.trials import (
    EXPECTED,
    OBJECTS,
    PLAIN,
    SIZE,
    STATE,
    Run,
    Stage,
    Trial,
    in_hub,
    in_s3,
    there,
)
from tests.support.trials_length import LONG

#: Trials at once.
AT_ONCE = 2
SEED = 20
#: Words in paths that tell one kind of step from another.
KINDS = ("claims", "journal", "manifest", ".part", ".link", "parts/", "blobs", "refs")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[queue.SimpleQueue[Run]]:
    """Functions that carry out orders, one for each trial at a time."""
    free: queue.SimpleQueue[Run] = queue.SimpleQueue()
    with contextlib.ExitStack() as stack:
        environment = clean_environment(tmp_path_factory.mktemp("home"))
        for _ in range(AT_ONCE):
            free.put(stack.enter_context(crashing.commands(environment)))
        yield free


@contextlib.contextmanager
def lent(runs: queue.SimpleQueue[Run]) -> Iterator[Run]:
    """One of them."""
    run = runs.get()
    try:
        yield run
    finally:
        runs.put(run)


#: Sets a stage in a folder that is to be made.
Setting = Callable[[Path], AbstractContextManager[Stage]]
#: How runs die, one after the other.
Deaths = tuple[Death, ...]
Trials = Callable[..., str]


@pytest.fixture
def trials(runs: queue.SimpleQueue[Run], tmp_path: Path) -> Trials:
    """Makes trials, each with other deaths; says what went wrong."""

    def one(setting: Setting, number: int, deaths: Deaths) -> list[str]:
        home = tmp_path / f"{number}"
        with lent(runs) as run, setting(home) as stage:
            found = Trial(stage, run).of(deaths)
        shutil.rmtree(home)
        return found

    def all_of(setting: Setting, lots: Iterable[Deaths], at_once: int = AT_ONCE) -> str:
        with ThreadPoolExecutor(at_once) as pool:
            begun = [pool.submit(one, setting, at, deaths) for at, deaths in enumerate(lots)]
            return "\n".join(itertools.chain.from_iterable(each.result() for each in begun))

    return all_of


def s3_by(engine: Engine, workers: int = 1) -> Setting:
    return functools.partial(in_s3, engine=engine, workers=workers)


@pytest.fixture(scope="module")
def steps(
    runs: queue.SimpleQueue[Run], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[Engine, Sequence[str]]:
    """Those of a run with one worker that nobody kills."""
    found: dict[Engine, Sequence[str]] = {}
    engines: tuple[Engine, ...] = ("fsspec", "obstore")
    for engine in engines:
        setting = s3_by(engine)
        with setting(tmp_path_factory.mktemp(engine) / "x") as stage, lent(runs) as run:
            assert Trial(stage, run).of([]) == []
            assert stage.asked().size == SIZE
            shutil.rmtree(stage.root)
            assert run(stage.order()) == 0
            found[engine] = stage.steps
    return found


Steps = Mapping[Engine, Sequence[str]]


def ways(steps: Sequence[str]) -> Iterator[tuple[str, Death]]:
    """Each way to die in a run of these steps, and its kind."""
    for number, step in enumerate(steps, 1):
        event, _, path = step.partition(" ")
        kind = " ".join([event, *(word for word in KINDS if word in path)])
        yield f"before {kind}", Death(number)
        if event in {"open", "write", "pwrite"}:
            yield f"half-way in {kind}", Death(number, half=True)


def one_of_each_kind(steps: Sequence[str], chance: random.Random) -> list[Deaths]:
    """All ways to die, if all are to be tried; else one of each kind."""
    kinds: dict[str, list[Deaths]] = {}
    for kind, death in ways(steps):
        kinds.setdefault(kind, []).append((death,))
    return [death for each in kinds.values() for death in (each if LONG else [chance.choice(each)])]


def test_killed_at_any_step_the_next_run_goes_on(trials: Trials, steps: Steps) -> None:
    deaths = one_of_each_kind(steps["obstore"], random.Random(SEED))
    faults = trials(s3_by("obstore"), deaths)
    assert not faults, faults


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_step_the_other_engine_goes_on_too(
    trials: Trials, steps: Steps, workers: int
) -> None:
    chance = random.Random(SEED + workers)
    deaths = one_of_each_kind(steps["fsspec"], chance)
    faults = trials(s3_by("fsspec", workers), deaths if LONG else chance.sample(deaths, 4))
    assert not faults, faults


def test_killed_while_it_takes_over_what_a_killed_run_left_the_next_one_goes_on(
    trials: Trials, steps: Steps
) -> None:
    chance = random.Random(SEED)
    writes = [at for at, step in enumerate(steps["obstore"], 1) if step.startswith(BEGINNING)]
    first = Death(writes[2])
    # All that a later run does before its first write.
    early = [way for _, way in ways(steps["obstore"]) if way.step <= writes[0]]
    chains = [(first, second, chance.choice(early)) for second in early]
    faults = trials(s3_by("obstore"), chains if LONG else chance.sample(chains, 6))
    assert not faults, faults


def test_asked_to_end_at_any_step_it_leaves_what_the_next_run_can_use_and_nothing_else(
    trials: Trials, steps: Steps
) -> None:
    chance = random.Random(SEED)
    deaths = [
        (replace(death, number=signal.SIGTERM),)
        for (death,) in one_of_each_kind(steps["obstore"], chance)
        if not death.half
    ]
    faults = trials(s3_by("obstore"), deaths)
    assert not faults, faults


def test_killed_before_it_remembers_what_nothing_proves_the_next_run_believes_its_journal(
    trials: Trials, steps: Steps
) -> None:
    published = next(
        at
        for at, step in enumerate(steps["obstore"], 1)
        if step.startswith("os.rename") and step.endswith("/large")
    )
    setting = functools.partial(in_s3, engine="obstore", workers=1, proven=False)
    faults = trials(setting, [(Death(published + 1),)])
    assert not faults, faults


def test_killed_at_any_step_the_cache_of_the_hub_is_as_it_should_be(
    runs: queue.SimpleQueue[Run], trials: Trials, hub: Store, tmp_path: Path
) -> None:
    with in_hub(tmp_path / "whole", hub, {}) as stage, lent(runs) as run:
        assert run(stage.order()) == 0, stage.errors
        found = there(stage.root)
        expected = {name: data for name, data in found.items() if name not in STATE}
        (commit,) = (stage.root / "snapshots").iterdir()
        assert {key: (commit / key).read_bytes() for key in OBJECTS} == OBJECTS
        assert stage.asked().size == SIZE
        deaths = one_of_each_kind(stage.steps, random.Random(SEED))
    setting = functools.partial(in_hub, hub=hub, expected=expected)
    # One after the other: it is one Hub that counts.
    faults = trials(setting, deaths if LONG else deaths[::2], at_once=1)
    assert not faults, faults


# --- what happens to it between two runs ------------------------------------------------------


@dataclass(frozen=True)
class Harm:
    """Something that happens between two runs.

    Attributes:
        what: in words.
        writes: the first run dies after it has begun to write this many ranges and small objects:
            when two ranges of a large object are recorded, or when the large ones are in place.
        do: it, to the folder.
        cost: at most this many bytes are requested again because of it.
        left: what stays behind. A temporary file that no journal names may belong to a running
            process.
    """

    what: str
    writes: int
    do: Callable[[Path], object]
    cost: int
    left: tuple[str, ...] = ()


def only(root: Path, pattern: str) -> Path:
    """The file that there is one of."""
    (found,) = root.rglob(pattern)
    return found


def flip(root: Path, pattern: str, share: float) -> None:
    """Flip a bit, so far into a file."""
    path = only(root, pattern)
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 1
    path.write_bytes(data)


#: The ranges of both large objects, and between them all that the first service has besides.
LATE = 5 + len(PLAIN) - 1
PART, JOURNAL, MANIFEST = ".kaiwo-*.part", "journal-*.jsonl", "manifest.jsonl"
HARMS = (
    Harm("a bit of a range", 2, lambda out: flip(out, PART, 0.2), RANGE),
    Harm("a bit of the journal", 2, lambda out: flip(out, JOURNAL, 0.9), RANGE),
    Harm("its first bit", 2, lambda out: flip(out, JOURNAL, 0), 2 * RANGE, (PART, JOURNAL)),
    Harm("a range cut off", 2, lambda out: os.truncate(only(out, PART), RANGE + 1), RANGE),
    Harm("the file gone", 2, lambda out: only(out, PART).unlink(), 2 * RANGE),
    Harm("the journal gone", 2, lambda out: only(out, JOURNAL).unlink(), 2 * RANGE, (PART,)),
    Harm("all state gone", 2, lambda out: shutil.rmtree(out / ".kaiwo"), 2 * RANGE, (PART,)),
    Harm("a bit of the manifest", LATE, lambda out: flip(out, MANIFEST, 0.9), 0),
    Harm("the manifest gone", LATE, lambda out: only(out, MANIFEST).unlink(), 0),
    Harm("all state gone later", LATE, lambda out: shutil.rmtree(out / ".kaiwo"), 0, (PART,)),
    Harm("a bit of a target", LATE, lambda out: flip(out, "two", 0.5), 2 * MIB),
)


#: A digest follows its object in a separate thread, and may come in late on a busy machine: the
#: object is not in place then, and the run is made again.
TRIES = 20


@contextlib.contextmanager
def killed(runs: queue.SimpleQueue[Run], home: Path, harm: Harm) -> Iterator[tuple[Stage, Run]]:
    """A stage whose run was killed at the moment that a harm supposes."""
    # Counted by themselves: what the scheduler writes comes in between, sooner or later.
    death = Death(harm.writes + 1, among=BEGINNING)
    supposed = () if harm.writes < LATE else ("large", "parts/large")
    for attempt in range(TRIES):
        with in_s3(home / f"{attempt}", "obstore", 1) as stage, lent(runs) as run:
            assert run(stage.order(death)) == -signal.SIGKILL
            if all((stage.root / name).exists() for name in supposed):
                yield stage, run
                return
    pytest.fail(f"{supposed} were never in place when it died")


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.what)
def test_what_is_spoilt_between_two_runs_is_fetched_again_and_no_more(
    runs: queue.SimpleQueue[Run], tmp_path: Path, harm: Harm
) -> None:
    with killed(runs, tmp_path, harm) as (stage, run):
        parts = {start: None for key, start, _ in stage.written_down() if key == "large"}
        assert [*parts] == [start * RANGE for start in range(min(harm.writes, 3))]
        harm.do(stage.root)
        left = {path for each in harm.left for path in stage.root.rglob(each)}
        names = {path.relative_to(stage.root).as_posix() for path in left}
        assert run(stage.order()) == 0, stage.errors
        # What was in flight at the death is requested again, too.
        assert stage.asked().size <= SIZE + RANGE + harm.cost
        assert there(stage.root).keys() == {*EXPECTED, *STATE, *names}
        assert {name: there(stage.root)[name] for name in EXPECTED} == EXPECTED
        assert run(stage.order()) == 0
        assert f"(0 downloaded, {len(OBJECTS)} unchanged)" in stage.errors
