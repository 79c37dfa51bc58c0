"""A folder below the root is replaced by a link while a run is at work: nothing is written there.

The plan is closed by then. Whoever may write in one folder of the root could let a run of root
write anywhere.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kaiwo.errors import DiskError
from kaiwo.files.kept_folders import kept_open
from kaiwo.jobs import RANGE, Plan
from kaiwo.objects import Place, RemoteObject
from kaiwo.state.state import State
from kaiwo.workers.threads import WorkerThreads
from tests.support.faulty import (
    STREAM,
    FaultyStore,
    Ran,
    carry_out,
    content,
    in_place,
)
from tests.support.planning import planned, want

LARGE = content(2 * RANGE + 5)


@dataclass
class Swapped:
    """A folder, and what is put in its place.

    Attributes:
        folder: of the root.
        away: where it goes.
        outside: what the link leads to.
    """

    folder: Path
    away: Path
    outside: Path

    def out(self) -> None:
        """The link is there."""
        if self.folder.is_dir() and not self.folder.is_symlink():
            self.folder.rename(self.away)
        if not self.folder.is_symlink():
            self.folder.symlink_to(self.outside)

    def back(self) -> None:
        """The folder is there."""
        if self.folder.is_symlink():
            self.folder.unlink()
        if self.away.exists():
            self.away.rename(self.folder)


@pytest.fixture
def swapped(tmp_path: Path) -> Iterator[Swapped]:
    (tmp_path / "outside").mkdir()
    yield Swapped(tmp_path / "root/sub", tmp_path / "away", tmp_path / "outside")
    assert os.listdir(tmp_path / "outside") == []


@dataclass(frozen=True)
class InCache:
    """Links below ``snapshots``, bytes below ``blobs``."""

    root: str

    def place(self, remote: RemoteObject) -> Place:
        """See ``protocols.Placement``."""
        name = remote.key.replace("/", "-")
        return Place(f"{self.root}/snapshots/{remote.key}", self.root, f"{self.root}/blobs/{name}")


def of(store: FaultyStore, root: Path, *, cached: bool = False) -> Plan:
    return planned([want(store, root, placement=InCache(str(root)) if cached else None)])


def run(plan: Plan, root: Path, workers: int = 4) -> Ran:
    threads = WorkerThreads(workers, "test")
    try:
        with kept_open():
            return carry_out(plan, root, threads, workers=workers)
    finally:
        threads.shutdown()


def then(action: Callable[[], None]) -> Callable[[bytes], bytes]:
    """A step of a store's script that does this before the bytes come."""

    def step(data: bytes) -> bytes:
        action()
        return data

    return step


def require_refused(ran: Ran, *keys: str) -> None:
    assert ran.report.exit_code == 6
    for item in ran.report.items:
        key = os.path.relpath(item.target, ran.root)
        assert item.status == ("failed" if key in keys else "downloaded"), item
    for key in keys:
        error = ran.error(key)
        assert isinstance(error, DiskError)
        assert "leads out of" in error.message or "was replaced" in error.message


def test_while_a_small_object_is_read(tmp_path: Path, swapped: Swapped) -> None:
    store = FaultyStore({"sub/a": b"1", "b": b"2"})
    store.script("sub/a", then(swapped.out), times=9)
    require_refused(run(of(store, tmp_path / "root"), tmp_path / "root"), "sub/a")


@pytest.mark.parametrize("start", [0, RANGE, 2 * RANGE])
def test_while_a_range_is_read(tmp_path: Path, swapped: Swapped, start: int) -> None:
    store = FaultyStore({"sub/a": LARGE, "b": b"2"})
    store.script(("sub/a", start), then(swapped.out))
    require_refused(run(of(store, tmp_path / "root"), tmp_path / "root", 1), "sub/a")


def test_while_a_stream_is_read(tmp_path: Path, swapped: Swapped) -> None:
    store = FaultyStore({"sub/a": LARGE, "b": b"2"}, None)
    store.stated["sub/a"] = RemoteObject("sub/a", len(LARGE))
    store.script(("sub/a", STREAM), then(swapped.out), times=9)
    require_refused(run(of(store, tmp_path / "root"), tmp_path / "root", 1), "sub/a")


@pytest.mark.parametrize("name", ["blobs", "snapshots"])
@pytest.mark.parametrize("data", [b"1", LARGE], ids=["small", "large"])
def test_while_a_file_of_a_cache_is_read(
    tmp_path: Path, swapped: Swapped, name: str, data: bytes
) -> None:
    swapped.folder = tmp_path / "root" / name
    store = FaultyStore({"a": data})
    where = "a" if len(data) == 1 else ("a", RANGE)
    store.script(where, then(swapped.out), times=9)
    ran = run(of(store, tmp_path / "root", cached=True), tmp_path / "root", 1)
    require_refused(ran, "snapshots/a")


@pytest.mark.parametrize("start", [None, RANGE])
def test_the_root_itself(tmp_path: Path, swapped: Swapped, start: int | None) -> None:
    swapped.folder = tmp_path / "root"
    store = FaultyStore({"sub/a": b"1" if start is None else LARGE})
    store.script("sub/a" if start is None else ("sub/a", start), then(swapped.out), times=9)
    ran = run(of(store, tmp_path / "root"), tmp_path / "root", 1)
    assert ran.report.exit_code == 6


def exchange(one: Path, other: Path) -> None:
    """Each gets the other's name, at one moment."""
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    call = ctypes.CDLL(None, use_errno=True).renameat2
    if call(here, os.fsencode(one), here, os.fsencode(other), both):
        raise OSError(ctypes.get_errno(), "renameat2")


def test_between_two_folders_all_the_time(tmp_path: Path, swapped: Swapped) -> None:
    names = [f"sub/{number % 3}/{number}" for number in range(300)]
    store = FaultyStore({name: name.encode() for name in names})
    plan = of(store, tmp_path / "root")
    for number in range(3):
        (swapped.folder / f"{number}").mkdir(parents=True)
        (swapped.outside / f"{number}").mkdir()
    swapped.away.symlink_to(swapped.outside)
    ended = threading.Event()

    def swapping() -> None:
        while not ended.is_set():
            exchange(swapped.folder, swapped.away)

    thread = threading.Thread(target=swapping)
    thread.start()
    try:
        ran = run(plan, tmp_path / "root", 8)
    finally:
        ended.set()
        thread.join()
        if swapped.folder.is_symlink():
            exchange(swapped.folder, swapped.away)
    assert ran.report.exit_code in (0, 6)
    for number in range(3):
        assert os.listdir(swapped.outside / f"{number}") == []
        (swapped.outside / f"{number}").rmdir()
    found = in_place(tmp_path / "root")
    for item in ran.report.items:
        key = os.path.relpath(item.target, tmp_path / "root")
        if item.status == "downloaded":
            assert found[key] == key.encode()
        else:
            assert isinstance(item.error, DiskError), item


# --- the state ------------------------------------------------------------------------------------


def test_the_folder_of_the_state(tmp_path: Path, swapped: Swapped) -> None:
    root = tmp_path / "root"
    swapped.folder = root / ".kaiwo"
    store = FaultyStore({"a": LARGE, "b": b"2"})
    store.script(("a", 0), then(swapped.out))
    memory = State()
    plan = planned([want(store, root)], memory)
    ran = carry_out(plan, root, memory=memory, workers=1)
    # The files are what counts; the next run checks them.
    assert ran.report.exit_code == 0
    memory.compact(lambda _: True)
    state = State()
    state.sweep(plan.transfers, lambda *_: True)
    state.close()
