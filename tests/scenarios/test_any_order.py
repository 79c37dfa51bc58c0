"""A store, a disk and a configuration change in any order, and the guarantees hold.

A state machine: hypothesis chooses the steps. A step changes the store, the disk or the
configuration, or is a run: to its end, killed, beside another one, or while the store changes.
After each run, all of ``tests.support.guarantees`` and ``tests.support.reports`` has to hold.

By default there are a few short stories, always the same ones. With ``KAIWO_TRIALS=long`` there are
many long ones, and different ones each time; hypothesis shortens one that fails.

Bytes that are corrupted in a file that keeps its size and its modification time are not among the
steps: to find those without reading every file is not promised.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.support.crashing import Death
from tests.support.guarantees import Step, faults
from tests.support.model import (
    CONFLICTING,
    HOSTILE,
    ITEMS,
    KEYS,
    LARGE,
    MEDIUM,
    ROOTS,
    Config,
    Objects,
)
from tests.support.own_files import STATE, is_temporary
from tests.support.proxies import Answer, flipped
from tests.support.reports import plan_faults, report_faults
from tests.support.snapshots import File, Snapshot
from tests.support.stores import Store
from tests.support.trials_length import LONG, examples
from tests.support.world import LIVES, Ran, World, worlds

SETTINGS = settings(
    examples(6),
    stateful_step_count=20 if LONG else 8,
    phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
    report_multiple_bugs=False,
)

# --- what there is to choose from ----------------------------------------------------------------

#: Items that conflict with others come less often.
OFTEN = [name for name in ITEMS for _ in range(1 if name in CONFLICTING else 5)]
CONFIGS = st.builds(
    Config,
    items=st.lists(st.sampled_from(OFTEN), min_size=1, max_size=3, unique=True).map(tuple),
    force=st.sampled_from((False, False, False, True)),
    verify=st.sampled_from(("checksum", "size")),
    workers=st.sampled_from((1, 2, 4)),
    engine=st.sampled_from(("obstore", "obstore", "fsspec")),
)
#: None: the size that the object had.
NEW_SIZES = st.one_of(st.none(), st.sampled_from((0, 9, 5_000, MEDIUM, LARGE, LARGE + 10_000)))
#: Which of the keys or targets that the configuration could want, in their order.
SOME = st.sets(st.integers(0, len(KEYS) - 1), min_size=1, max_size=4)
#: A run dies at any step (some runs have only few), or at one of a kind.
KINDS = ("pwrite", "write", "os.rename", "os.remove", "os.mkdir")
STEPS = st.one_of(st.integers(1, 12), st.integers(1, 60))
DEATHS = st.one_of(
    st.builds(Death, STEPS, st.booleans()),
    st.builds(Death, st.integers(1, 5), st.booleans(), among=st.sampled_from(KINDS)),
    # A run that is asked to end carries out the whole step.
    st.builds(Death, STEPS, number=st.just(signal.SIGTERM)),
)
ENDINGS = st.one_of(st.just(LIVES), DEATHS)
#: What follows a change: mostly a run; it may be none.
NEXT = st.one_of(st.just(LIVES), st.just(LIVES), DEATHS, st.none())


def corrupt(path: Path) -> None:
    """Another first byte."""
    data, status = path.read_bytes(), path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in data[:1]) + data[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def grow(path: Path) -> None:
    """One byte more."""
    path.write_bytes(path.read_bytes() + b"\n")


def touch(path: Path) -> None:
    """Another modification time, and nothing else."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 10**9))


def link(path: Path) -> None:
    """A link to a file outside the target roots."""
    path.unlink()
    tree = next(folder for folder in path.parents if (folder / "note").exists())
    path.symlink_to(os.path.relpath(tree / "note", path.parent))


#: What somebody may do to a target.
DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "corrupted": corrupt,
    "grown": grow,
    "touched": touch,
    "deleted": Path.unlink,
    "replaced by a link": link,
}
#: What of kaiwo's state, or of a root, may get lost.
LOSSES = ("end of the manifest", "manifest", "state", "root")


def flip(answer: Answer) -> Answer:
    """Another last byte, if there is one."""
    return flipped(answer) if answer.body else answer


class AnyOrder(RuleBasedStateMachine):
    """A story about one bucket, one tree, and the runs between them."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.bucket = world.bucket
        self.config = Config()
        #: Temporary files whose journals the test took away.
        self.orphans: frozenset[str] = frozenset()
        #: What a run wanted that ended well, if nothing has changed since.
        self.settled: object = None

    @initialize(config=CONFIGS)
    def begin(self, config: Config) -> None:
        self.world.begin()
        self.config = config

    # --- runs

    def after(self, before: Snapshot, had: Objects, *runs: Ran, spoilt: bool = False) -> Step:
        """What these runs have made of what there was."""
        settled = self.settled is not None and self.settled == runs[0].config.wish
        disk, has = self.world.disk(), dict(self.bucket.objects)
        return Step(runs, self.world.tree, before, disk, had, has, self.orphans, settled, spoilt)

    def check(self, step: Step) -> None:
        """Everything has to hold."""
        found = [*faults(step), *report_faults(step), *self.world.strangers()]
        assert not found, "\n".join([*found, *(run.errors for run in step.runs)])
        wishes = {run.config.wish for run in step.runs}
        well = len(wishes) == 1 and all(run.code == 0 for run in step.runs)
        self.settled = wishes.pop() if well and step.had == step.has else None

    @rule(death=ENDINGS, plan=st.booleans(), again=st.booleans())
    def run(self, death: Death, plan: bool, again: bool) -> None:
        """Run to the end, or to a step that may be too far; perhaps once more when all is done."""
        before, had = self.world.disk(), dict(self.bucket.objects)
        if plan:
            planned = self.after(before, had, self.world.run(self.config, plan=True))
            assert not (found := list(plan_faults(planned))), "\n".join(found)
        step = self.after(before, had, self.world.run(self.config, death))
        self.check(step)
        if again and self.settled is not None:
            second = self.world.run(replace(self.config, force=False))
            self.check(self.after(step.after, had, second))

    @rule(other=st.one_of(st.none(), CONFIGS), death=ENDINGS)
    def run_two_at_once(self, other: Config | None, death: Death) -> None:
        """The same twice, or something else beside it; the first may die."""
        before, had = self.world.disk(), dict(self.bucket.objects)
        runs = self.world.run_both(self.config, death, other or self.config)
        self.check(self.after(before, had, *runs))

    @rule(at=st.integers(1, 6), key=st.sampled_from(KEYS), size=st.one_of(st.just(-1), NEW_SIZES))
    def run_while_the_store_changes(self, at: int, key: str, size: int | None) -> None:
        """Between two answers with bytes, an object is replaced, or deleted (-1)."""
        before, had = self.world.disk(), dict(self.bucket.objects)

        def change(answer: Answer) -> Answer:
            if size == -1:
                self.bucket.delete(key)
            else:
                self.put(key, size)
            return answer

        self.check(self.after(before, had, self.world.run(self.config, meanwhile=(at, change))))

    @rule(at=st.integers(1, 6))
    def run_with_wrong_bytes(self, at: int) -> None:
        """An answer with bytes has another last byte than the store sent."""
        # By its size alone, nothing tells that.
        config = replace(self.config, verify="checksum")
        before, had = self.world.disk(), dict(self.bucket.objects)
        run = self.world.run(config, meanwhile=(at, flip))
        self.check(self.after(before, had, run, spoilt=True))

    @rule(trap=st.sampled_from(("hostile key", "out/all", "out/deep", "out/some")), death=ENDINGS)
    def run_into_a_trap(self, trap: str, death: Death) -> None:
        """A key that leads outside, or a link that does in the place of a folder; for one run."""
        self.settled = None
        place, aside = self.world.tree / trap, self.world.base / "aside"
        if trap == "hostile key":
            self.bucket.put(HOSTILE, 9)
            self.follow(death)
            self.bucket.delete(HOSTILE)
        elif place.is_dir():
            place.rename(aside)
            place.symlink_to("../beside")
            self.follow(death)
            place.unlink()
            aside.rename(place)
            # The run found no file that a journal names there, and has forgotten those.
            self.orphans |= self.temporaries(trap)
        self.settled = None

    # --- what happens between them

    def follow(self, death: Death | None) -> None:
        """A run follows what happened, if any does."""
        if death is not None:
            self.run(death, plan=False, again=False)

    def keys(self, some: AbstractSet[int]) -> list[str]:
        """Some of the keys that the configuration could want."""
        places = [ITEMS[name].place for name in self.config.items]
        keys = [key for key in KEYS if any(place(key) for place in places)]
        return sorted({keys[number % len(keys)] for number in some})

    def paths(self, some: AbstractSet[int]) -> dict[Path, str]:
        """Some of the targets that the configuration could want, and their keys."""
        places = [ITEMS[name].place for name in self.config.items]
        found = {target: key for place in places for key in KEYS if (target := place(key))}
        targets = sorted(found)
        chosen = sorted({targets[number % len(targets)] for number in some})
        return {self.world.tree / target: found[target] for target in chosen}

    def put(self, key: str, size: int | None, *, in_parts: bool = False) -> None:
        """The object has other bytes: of this size, or of the size that it had."""
        known = self.bucket.versions[key][-1].data
        self.bucket.put(key, len(known) if size is None else size, in_parts=in_parts)

    def temporaries(self, folder: str) -> frozenset[str]:
        """Those below a folder."""
        names = filter(is_temporary, self.world.disk())
        return frozenset(name for name in names if name.startswith(f"{folder}/"))

    @rule(config=CONFIGS, then=NEXT)
    def change_the_configuration(self, config: Config, then: Death | None) -> None:
        self.config = config
        self.follow(then)

    @rule(some=SOME, size=NEW_SIZES, in_parts=st.booleans(), then=NEXT)
    def replace_objects(
        self, some: AbstractSet[int], size: int | None, in_parts: bool, then: Death | None
    ) -> None:
        """Those that were deleted are there again."""
        self.settled = None
        for key in self.keys(some):
            self.put(key, size, in_parts=in_parts)
        self.follow(then)

    @rule(some=SOME, then=NEXT)
    def delete_objects(self, some: AbstractSet[int], then: Death | None) -> None:
        self.settled = None
        for key in self.keys(some):
            self.bucket.delete(key)
        self.follow(then)

    @rule(some=SOME, how=st.sampled_from(list(DAMAGES)), then=NEXT)
    def damage_files(self, some: AbstractSet[int], how: str, then: Death | None) -> None:
        """Somebody does something to those that are there."""
        self.settled = None
        for path in self.paths(some):
            if path.is_file() and not path.is_symlink():
                DAMAGES[how](path)
        self.follow(then)

    @rule(some=SOME, age=st.integers(0, 2), then=NEXT)
    def copy_by_hand(self, some: AbstractSet[int], age: int, then: Death | None) -> None:
        """Another tool puts versions of the right objects there: the newest, or older ones."""
        self.settled = None
        for path, key in self.paths(some).items():
            if path.is_dir() or any(folder.is_file() for folder in path.parents):
                continue
            versions = self.bucket.versions[key]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(versions[max(0, len(versions) - 1 - age)].data)
        self.follow(then)

    @rule(root=st.sampled_from(ROOTS), what=st.sampled_from(LOSSES), then=NEXT)
    def lose(self, root: str, what: str, then: Death | None) -> None:
        """The manifest is torn or gone, or all of kaiwo's state, or all of the root."""
        self.settled = None
        folder = self.world.tree / root
        manifest = folder / STATE / "manifest.jsonl"
        if what == "root":
            shutil.rmtree(folder, ignore_errors=True)
        elif what == "state":
            shutil.rmtree(folder / STATE, ignore_errors=True)
            self.orphans |= self.temporaries(root)
        elif what == "end of the manifest" and manifest.exists():
            os.truncate(manifest, manifest.stat().st_size * 2 // 3)
        else:
            manifest.unlink(missing_ok=True)
        self.follow(then)


@pytest.fixture(scope="module")
def world(s3: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds(tmp_path_factory.mktemp("any-order"), s3) as world:
        yield world


def test_what_came_by_its_size_alone_is_verified_by_the_next_run(world: World) -> None:
    world.begin()
    world.bucket.delete("deep/c.bin")
    world.bucket.put("deep/er/large.bin", LARGE, in_parts=True)
    config = Config(("bins",), verify="size")
    by_size = world.run(config, meanwhile=(1, flip))
    verified = world.run(replace(config, verify="checksum"))
    found = world.disk()["out/some/er/large.bin"]
    assert (by_size.code, verified.code) == (0, 0)
    assert isinstance(found, File)
    assert found.data == world.bucket.objects["deep/er/large.bin"].data


@pytest.mark.parametrize(("engine", "verify"), [("obstore", "size"), ("fsspec", "checksum")])
def test_in_one_order_of_all_steps_the_guarantees_hold(
    world: World, engine: Literal["obstore", "fsspec"], verify: Literal["size", "checksum"]
) -> None:
    story = AnyOrder(world)
    story.begin(Config(("all", "one"), verify=verify, engine=engine))
    # First in the middle of a large object, then of a small one.
    story.run(Death(2, half=True, among="pwrite"), plan=True, again=False)
    story.run(Death(4, half=True, among="pwrite"), plan=False, again=False)
    story.run(LIVES, plan=True, again=True)
    story.replace_objects({1, 4}, None, in_parts=True, then=LIVES)
    story.replace_objects({2, 6}, LARGE, in_parts=False, then=Death(8, among="write"))
    story.damage_files({0, 2, 7}, "corrupted", then=Death(30, number=signal.SIGTERM))
    story.run_two_at_once(None, LIVES)
    story.damage_files({1, 2, 3, 4}, "truncated", then=None)
    story.run_while_the_store_changes(2, "deep/er/large.bin", None)
    story.lose("out", "root", then=None)
    story.run_with_wrong_bytes(1)
    story.copy_by_hand({0, 1}, 0, then=None)
    story.copy_by_hand({2, 5}, 1, then=LIVES)
    story.delete_objects({0, 3}, then=LIVES)
    story.lose("out", "manifest", then=LIVES)
    story.run_into_a_trap("out/all", LIVES)
    story.run_into_a_trap("hostile key", LIVES)
    story.change_the_configuration(Config(("bins", "elsewhere"), engine=engine), then=LIVES)


def test_in_any_order_of_steps_the_guarantees_hold(world: World) -> None:
    class Story(AnyOrder):
        def __init__(self) -> None:
            super().__init__(world)

    run_state_machine_as_test(Story, settings=SETTINGS)
