"""One core for threads that pass the interpreter's lock to each other."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kaiwo.affinity import one_core
from kaiwo.objects import Batch
from kaiwo.protocols import Buffer
from tests.faulty import PATIENCE_S, FaultyStore, InlineExecutor, run_store

linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux has this")


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Whatever happens, this thread is where it was."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if before is not None:
        assert os.sched_getaffinity(0) == before


@linux
def test_within_there_is_one_core_and_afterwards_all_again() -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        (core,) = os.sched_getaffinity(0)
        assert core in before
    assert os.sched_getaffinity(0) == before


@linux
def test_after_an_error_all_cores_are_there_again() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), one_core():
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before


@linux
def test_within_itself_it_changes_nothing() -> None:
    with one_core():
        (core,) = os.sched_getaffinity(0)
        with one_core():
            assert os.sched_getaffinity(0) == {core}
        assert os.sched_getaffinity(0) == {core}


@linux
def test_all_threads_choose_the_same_core_and_other_threads_keep_theirs() -> None:
    together = threading.Barrier(4)
    before = os.sched_getaffinity(0)

    def chosen() -> set[int]:
        with one_core():
            together.wait(PATIENCE_S)
            return os.sched_getaffinity(0)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(chosen) for _ in range(4)]
        cores = [future.result(PATIENCE_S) for future in futures]
        assert os.sched_getaffinity(0) == before
    assert len({tuple(core) for core in cores}) == 1


@pytest.mark.parametrize("missing", ["the platform lacks it", "the kernel refuses it"])
def test_where_it_cannot_be_chosen_the_work_is_done_anyway(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "the platform lacks it":
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    else:

        def refuse(*_: object) -> None:
            raise PermissionError("not here")

        monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    done = []
    with one_core():
        done.append(1)
    with pytest.raises(ZeroDivisionError), one_core():
        raise ZeroDivisionError
    monkeypatch.undo()
    assert done == [1]


@linux
def test_a_batch_of_several_runs_on_one_core_and_a_single_object_on_any(tmp_path: Path) -> None:
    store = FaultyStore({f"f{number}": b"12" for number in range(12)} | {"alone": bytes(2 << 20)})
    cores: list[set[int]] = []

    def look(data: bytes) -> Buffer:
        cores.append(os.sched_getaffinity(0))
        return data

    for key in store.objects:
        store.always(key, look)
    before = os.sched_getaffinity(0)
    executor = InlineExecutor()
    assert run_store(store, tmp_path, executor, workers=1).report.ok
    together = [len(job.transfers) for job in executor.of(Batch)]
    assert {1} < set(together)
    looked = iter(cores)
    for number in together:
        seen = [next(looked) for _ in range(number)]
        assert all(len(each) == 1 for each in seen) if number > 1 else seen == [before]
    assert os.sched_getaffinity(0) == before
