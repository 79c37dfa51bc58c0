"""What has to be true after every run; each fault is named in a sentence.

    outside      nothing outside the target roots has changed
    targets      a target holds what it held, or a whole object of those that a run had to put there
    endings      the exit code is the right one; after a good one, all that was wanted is in place;
                 after a refusal, nothing has changed
    leftovers    what came to its end leaves nothing but what another configuration can resume
    reads        nothing is read that is in place; where nothing has changed, nothing is asked for
    reports      see ``tests.support.reports``

All is judged by what was there before: the disk by a snapshot, the store by the test's own list. So
a target that was damaged before may stay so until a run ends well, and no run may damage another.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.model import (
    ROOTS,
    Objects,
    Version,
    Wanted,
    exit_code,
    folders,
    is_right,
    wanted,
)
from tests.support.own_files import is_of_runs, is_own, is_temporary, unfinished
from tests.support.snapshots import File, Folder, Snapshot
from tests.support.world import Ran

KILLED, TERMINATED = -signal.SIGKILL, 128 + signal.SIGTERM
#: Exit codes of runs that did all they could.
COMPLETED = (0, 4)


@dataclass(frozen=True)
class Step:
    """One run, or two at once, and what there was before and after.

    Attributes:
        runs: in the order in which they were begun.
        tree: absolute path of what the snapshots show.
        before: the disk.
        after: the disk.
        had: the store's objects before.
        has: the store's objects after.
        orphans: temporary files whose journals were taken away.
        settled: a run that wants the same has ended well, and nothing has changed since.
        spoilt: some bytes came as others than those of the store.
    """

    runs: Sequence[Ran]
    tree: Path
    before: Snapshot
    after: Snapshot
    had: Objects
    has: Objects
    orphans: frozenset[str] = frozenset()
    settled: bool = False
    spoilt: bool = False

    @cached_property
    def wants(self) -> list[Wanted]:
        """What each of the runs wants: a plan is made before anything changes."""
        return [wanted(run.config, self.had) for run in self.runs]

    @cached_property
    def contested(self) -> bool:
        """Two runs want different things at one place, so that each may be in the other's way."""
        if len(self.runs) == 1:
            return False
        one, other = (want.keys for want in self.wants)
        both = {**one, **other}
        clash = any(one.get(place, key) != key for place, key in other.items())
        return clash or any(folder in both for place in both for folder in folders(place))

    @property
    def calm(self) -> bool:
        """Nothing needs to be read twice."""
        return self.had == self.has and not self.spoilt

    def versions(self, key: str) -> list[Version]:
        """What the object was during the step."""
        return [objects[key] for objects in (self.had, self.has) if key in objects]


def faults(step: Step) -> Iterator[str]:
    """All that is wrong with the disk, the exit codes and the reads."""
    yield from _outside(step)
    yield from _targets(step)
    yield from _leftovers(step)
    for run, want in zip(step.runs, step.wants, strict=True):
        yield from _ending(step, run, want)
    if step.calm:
        yield from _reads(step)


def _outside(step: Step) -> Iterator[str]:
    for name in step.before.keys() | step.after.keys():
        root = name.partition("/")[0]
        if root not in ROOTS and step.before.get(name) != step.after.get(name):
            yield f"{name}, which is outside, has changed"


def _targets(step: Step) -> Iterator[str]:
    allowed: dict[str, set[bytes]] = {}
    for want in step.wants:
        for place, key in want.keys.items():
            allowed.setdefault(place, set()).update(each.data for each in step.versions(key))
    needed = {folder for place in allowed for folder in folders(place)}
    for name in step.before.keys() | step.after.keys():
        before, after = step.before.get(name), step.after.get(name)
        if before == after or name.partition("/")[0] not in ROOTS or is_own(name):
            continue
        if after is None:
            yield f"{name} is lost"
        elif isinstance(after, File) and name in allowed:
            same = isinstance(before, File) and before.data == after.data
            if not same and after.data not in allowed[name]:
                yield f"{name} holds {len(after.data)} bytes that are no version of the object"
        elif not (before is None and isinstance(after, Folder) and name in needed):
            yield f"{name} has changed, and no run had to do so"


def _leftovers(step: Step) -> Iterator[str]:
    if any(run.code not in COMPLETED for run in step.runs):
        return
    targets = {place for want in step.wants for place in want.keys}
    roots = {place.partition("/")[0] for place in targets}
    kept = set()
    for journal, parts in unfinished(step.after).items():
        others = {part for part, target in parts.items() if target not in targets}
        kept |= others | ({journal} if others else set())
    for name in step.after.keys() - kept - step.orphans:
        if name.partition("/")[0] in roots and (is_temporary(name) or is_of_runs(name)):
            yield f"{name} is left behind"


def _ending(step: Step, run: Ran, want: Wanted) -> Iterator[str]:
    codes = {exit_code(want, step.before)}
    if run.death.step:
        codes.add(KILLED if run.death.number == signal.SIGKILL else TERMINATED)
    if step.had.keys() - step.has.keys():
        codes.add(4)
    if step.contested:
        codes |= {0, 2, 4, 6}
    if run.code not in codes:
        yield f"exit code {run.code} instead of {codes}"
    if run.code == 2 and len(step.runs) == 1 and step.after != step.before:
        yield "something has changed, though the plan was refused"
    if run.code not in COMPLETED or step.contested:
        return
    for place, key in want.keys.items():
        found, versions = step.after.get(place), step.versions(key)
        is_gone = run.code == 4 and key not in step.has
        in_place = isinstance(found, File) and found.data in [each.data for each in versions]
        if not in_place and not is_gone:
            yield f"{place} is not what the store has, after exit code {run.code}"


def _reads(step: Step) -> Iterator[str]:
    run, want = step.runs[0], step.wants[0]
    alone = len(step.runs) == 1
    if not alone and (run.config != step.runs[1].config or run.config.force or run.death.step):
        return
    needed = Counter[str]()
    for place, key in want.keys.items():
        if run.config.force or not is_right(place, want, step.had, step.before):
            needed[key] += len(step.had[key].data)
    read = sum((each.read for each in step.runs), Counter[str]())
    if excess := read - needed:
        yield f"read in vain or twice: {dict(excess)}"
    if step.settled and alone and not run.config.force:
        empty = {key for key, each in step.had.items() if not each.data}
        # A file item is one request; the fast engine's listing takes an empty object for a folder.
        if looked_at := run.looked_at - want.named - empty:
            yield f"asked for, though nothing had changed: {looked_at}"
