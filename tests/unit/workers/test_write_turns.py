"""Tiny files are written by one thread at a time, unless writing waits for a disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaiwo.jobs import Batch
from kaiwo.workers import small, write_turns
from kaiwo.workers.disk_waits import DiskWaits
from kaiwo.workers.jobs import run
from kaiwo.workers.write_turns import TINY, WriteTurns
from tests.support.faulty import FaultyOpener, FaultyStore, content, transfer_of

PATIENCE_S = 30.0


@pytest.fixture
def in_vain(monkeypatch: pytest.MonkeyPatch) -> list[DiskWaits]:
    """Those that were waited for too long, each as often as that was found."""
    found: list[DiskWaits] = []
    note = DiskWaits.found_long

    def found_long(waits: DiskWaits) -> None:
        found.append(waits)
        note(waits)

    monkeypatch.setattr(DiskWaits, "found_long", found_long)
    return found


@contextmanager
def held(turns: WriteTurns) -> Iterator[None]:
    """As long as the block takes, another thread has the turn."""
    has_begun, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.turn(1, 1):
            has_begun.set()
            assert may_end.wait(PATIENCE_S)

    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(hold)
        assert has_begun.wait(PATIENCE_S)
        try:
            yield
        finally:
            may_end.set()
            holding.result(PATIENCE_S)


def test_one_thread_at_a_time_has_the_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_turns, "_LONGEST_TURN_S", PATIENCE_S)
    monkeypatch.setattr(DiskWaits, "are_long", lambda _: False)
    turns, inside, most = WriteTurns(), [], []

    def write(number: int) -> None:
        for _ in range(50):
            with turns.turn(1, TINY):
                inside.append(number)
                (tmp_path / f"{number}").write_bytes(b"as others could write, too")
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    assert most == [1] * 400


def test_larger_files_are_written_at_once(in_vain: list[DiskWaits]) -> None:
    turns = WriteTurns()
    with held(turns), turns.turn(2, 2 * TINY + 1):
        assert in_vain == []


def test_behind_a_turn_that_does_not_end_all_write_at_once(in_vain: list[DiskWaits]) -> None:
    turns = WriteTurns()
    with held(turns):
        for _ in range(100):
            with turns.turn(1, 1):
                assert len(in_vain) == 1


def test_where_writing_takes_most_of_the_time_all_write_at_once(
    in_vain: list[DiskWaits], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = WriteTurns()
    with held(turns):
        monkeypatch.setattr(DiskWaits, "are_long", lambda _: True)
        with turns.turn(1, 1):
            assert in_vain == []


def test_after_a_failure_the_turn_is_free(in_vain: list[DiskWaits]) -> None:
    turns = WriteTurns()
    with pytest.raises(OSError, match="no room"), turns.turn(1, 1):
        raise OSError("no room")
    with turns.turn(1, 1):
        assert in_vain == []


def test_a_forked_child_waits_for_no_thread_of_its_parent(in_vain: list[DiskWaits]) -> None:
    turns = write_turns.write_turns
    with held(turns):
        child = os.fork()
        if not child:
            with turns.turn(1, 1):
                os._exit(len(in_vain))
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_batch_is_written_in_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[int, int, list[bool]]] = []

    @contextmanager
    def turn(count: int, size: int) -> Iterator[None]:
        turns.append((count, size, [Path(each.target).exists() for each in batch.transfers]))
        yield

    monkeypatch.setattr(write_turns.write_turns, "turn", turn)
    store = FaultyStore({"a": content(700_000), "b": content(700_000), "c": content(10)})
    opener = FaultyOpener(store)
    batch = Batch(tuple(transfer_of(opener, store.remote(key), tmp_path / key) for key in "abc"))
    outcomes = run(batch)
    assert [each.error for each in outcomes] == [None] * 3
    assert turns == [(2, 1_400_000, [False] * 3), (1, 10, [True, True, False])]
    assert small.HELD < 1_400_000
