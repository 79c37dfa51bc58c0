"""What a killed run leaves, and what the next run does with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from kaiwo import checksums
from kaiwo.files import temporary_files
from kaiwo.jobs import RANGE, Crc, Mark, Plan, Transfer
from kaiwo.objects import RemoteObject
from kaiwo.state.state import State
from tests.support.faulty import (
    FaultyOpener,
    FaultyStore,
    Ran,
    carry_out,
    content,
    plan_of,
    transfer_of,
)

SIZE = 3 * RANGE + 5


STARTS = (0, RANGE, 2 * RANGE, 3 * RANGE)


#: Tokens of runs: one that is dead, another, and the one that comes after them.
DEAD, DEAD_TOO, NOW = "dead01", "dead02", "ab12"


def big(algorithm: str | None = "md5", seed: int = 0) -> FaultyStore:
    """A store with one object of four ranges."""
    store = FaultyStore({"big": content(SIZE, seed)}, algorithm)
    store.stated["big"] = stated(algorithm, seed)
    return store


@cache
def stated(algorithm: str | None, seed: int) -> RemoteObject:
    """That object; its checksums need not be taken for each test."""
    return FaultyStore({"big": content(SIZE, seed)}, algorithm).remote("big")


def transfer(root: Path, store: FaultyStore, run: str, key: str = "big") -> Transfer:
    return transfer_of(FaultyOpener(store), store.remote(key), root, run=run)


def killed(
    root: Path,
    store: FaultyStore,
    *starts: int,
    run: str = DEAD,
    state_dir: str | None = None,
    change: Callable[[Transfer], Transfer] = lambda each: each,
) -> Path:
    """Leave what a run leaves that is killed with these ranges in its file; returns that file."""
    each = change(transfer(root, store, run))
    memory = State(state_dir, run)
    memory.note_folders([each])
    memory.begin(each)
    temporary_files.create(each.temporary)
    data = store.objects["big"]
    for start in starts:
        part = data[start : start + RANGE]
        temporary_files.write_range(each.temporary, [part], start)
        crc = Crc("crc64nvme", checksums.crc("crc64nvme", part))
        memory.note_marks([(each, start, Mark(start + len(part), crc))])
    memory.close()
    return Path(each.temporary)


def journal(root: Path, run: str = DEAD) -> Path:
    return root / ".kaiwo" / f"journal-{run}.jsonl"


def journals(root: Path) -> list[str]:
    """The runs whose journals are there."""
    found = root.glob(".kaiwo/journal-*.jsonl")
    return sorted(path.stem.removeprefix("journal-") for path in found)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def all_dead(_root: str, _run: str) -> bool:
    return True


def after(
    root: Path,
    store: FaultyStore,
    run: str = NOW,
    *,
    dead: Callable[[str, str], bool] = all_dead,
    **rules: Any,
) -> Ran:
    """What the command does next: plan, sweep, carry out, sweep."""
    memory = State(None, run)
    planned = []
    for each in plan_of(FaultyOpener(store), root).transfers:
        own = replace(each, run=run)
        planned.append(replace(own, partial=memory.partial_download(own)))
    memory.sweep(planned, dead)
    ran = carry_out(Plan(tuple(planned)), root, memory=memory, **rules)
    memory.sweep(planned, dead)
    return ran


def believed(root: Path, store: FaultyStore, each: Transfer | None = None) -> list[int] | None:
    """The starts of the ranges that a later run would look for; None: it begins anew."""
    partial = State(None, NOW).partial_download(each or transfer(root, store, NOW))
    return None if partial is None else sorted(partial.marks)


def edited(root: Path, edit: Callable[[list[Any]], Iterable[Any]]) -> None:
    """Change the lines of the dead run's journal."""
    path = journal(root)
    path.write_text("".join(json.dumps(line) + "\n" for line in edit(lines(path))))
