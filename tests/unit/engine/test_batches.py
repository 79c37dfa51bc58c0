"""Small objects travel in batches: how long these are, and how many are in flight."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiwo.engine import pace
from kaiwo.engine.batches import BATCH_BYTES, cut
from kaiwo.engine.pace import BATCH_OBJECTS, Pace
from kaiwo.jobs import Batch, Outcome, Transfer
from kaiwo.objects import RemoteObject
from kaiwo.protocols import Buffer
from tests.support.bucket import keys
from tests.support.faulty import (
    PATIENCE_S,
    FaultyStore,
    InlineExecutor,
    PatternOpener,
    content,
    files,
    run_store,
    transfer_of,
)


def lengths(executor: InlineExecutor) -> list[int]:
    """How many objects each batch held, in the order of submission."""
    return [len(job.transfers) for job in executor.of(Batch)]


@pytest.mark.parametrize(
    "limits",
    [
        {"small_requests": 1},
        {"small_requests": None},
    ],
    ids=["requests of their own", "workers only"],
)
def test_batches_begin_with_one_object_and_hold_64_when_these_are_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int | None]
) -> None:
    monkeypatch.setattr(pace, "BATCH_S", 1_000.0)
    executor = InlineExecutor()
    store = FaultyStore(dict.fromkeys(keys(300), b"0123456789"))
    run_store(store, tmp_path, executor, workers=1, **limits)
    assert BATCH_OBJECTS == 64
    assert (lengths(executor)[0], max(lengths(executor))) == (1, 64)
    assert sum(lengths(executor)) == 300
    assert files(tmp_path) == store.objects


def test_objects_that_take_long_travel_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "BATCH_S", 0.0)
    executor = InlineExecutor()
    store = FaultyStore(dict.fromkeys(keys(50), b"0123456789"))
    run_store(store, tmp_path, executor, workers=1, small_requests=1)
    assert lengths(executor) == [1] * 50


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_few_objects_are_shared_by_all_workers(tmp_path: Path, workers: int) -> None:
    executor = InlineExecutor()
    store = FaultyStore(dict.fromkeys(keys(50), b"0123456789"))
    run_store(store, tmp_path, executor, workers=workers)
    assert max(lengths(executor)) <= -(-50 // (2 * workers))
    assert sum(lengths(executor)) == 50


@pytest.mark.parametrize(("size", "most"), [(300 << 10, 3), (BATCH_BYTES // 4, 4)])
def test_a_batch_holds_at_most_a_mebibyte(tmp_path: Path, size: int, most: int) -> None:
    executor = InlineExecutor()
    store = FaultyStore({f"f{number}": content(size, number) for number in range(40)})
    run_store(store, tmp_path, executor, workers=1)
    assert lengths(executor)[1:5] == [most] * 4
    assert sum(lengths(executor)) == 40


@pytest.mark.parametrize(("idle", "most"), [(-1_000.0, 64), (2.0, 8)], ids=["idle", "busy"])
def test_64_small_requests_are_in_flight_where_answers_take_long_and_the_processor_idles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: float, most: int
) -> None:
    monkeypatch.setattr(pace, "IDLE", idle)
    monkeypatch.setattr(pace, "SLOW_S", 0.0)
    monkeypatch.setattr(pace, "MEASURE_S", 0.0)
    store = FaultyStore(dict.fromkeys(keys(400), b"0123456789"))
    together = threading.Event()

    def meet(data: bytes) -> Buffer:
        # The first 8 requests have to come back, until it is known how long they take.
        if store.most_at_once == most:
            together.set()
        assert len(store.reads) <= 80 or together.wait(PATIENCE_S)
        return data

    for key in store.objects:
        store.always(key, meet)
    with ThreadPoolExecutor(80) as pool:
        run = run_store(store, tmp_path, pool, workers=2, small_requests=64)
    assert run.report.ok
    assert store.most_at_once == most


def test_quick_answers_need_no_more_than_8_small_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "IDLE", -1_000.0)
    monkeypatch.setattr(pace, "SLOW_S", 1_000.0)
    store = FaultyStore(dict.fromkeys(keys(400), b"0123456789"))
    with ThreadPoolExecutor(80) as pool:
        assert run_store(store, tmp_path, pool, workers=2, small_requests=64).report.ok
    assert store.most_at_once <= 8


# --- how they are cut -------------------------------------------------------------------------


def transfers(sizes: Sequence[int]) -> list[Transfer]:
    """Objects of these sizes; none is read."""
    opener = PatternOpener(())
    return [
        transfer_of(opener, RemoteObject(f"f{index}", size), "/nowhere", index)
        for index, size in enumerate(sizes)
    ]


def pace_of(object_s: float) -> Pace:
    """What is known when the objects of the last batch took so long."""
    known = Pace()
    known.measure([Outcome(each, seconds=object_s) for each in transfers([1, 2])])
    return known


@given(
    st.lists(st.integers(0, BATCH_BYTES + 9) | st.integers(0, 99), max_size=200),
    st.integers(1, 9),
    st.none() | st.floats(0, 1),
)
def test_every_object_is_in_one_batch_in_its_order_and_no_batch_is_empty_or_too_long(
    sizes: list[int], workers: int, object_s: float | None
) -> None:
    objects = transfers(sizes)
    known = Pace() if object_s is None else pace_of(object_s)
    batches = list(cut(objects, known, lambda: workers))
    assert [each for batch in batches for each in batch] == objects
    for batch in batches:
        assert 1 <= len(batch) <= BATCH_OBJECTS
        assert len(batch) == 1 or sum(each.object.size for each in batch) <= BATCH_BYTES


def test_a_batch_is_made_when_it_is_asked_for() -> None:
    known = Pace()
    batches = cut(transfers([1] * 300), known, lambda: 1)
    assert [len(next(batches)), len(next(batches))] == [1, 1]
    known.measure([Outcome(transfers([1])[0], seconds=0.01)])
    # One object is collected already when the batch before it is handed out.
    assert [len(next(batches)), len(next(batches))] == [10, 10]


@pytest.mark.parametrize(
    ("object_s", "length"), [(0.0, 64), (0.001, 64), (0.002, 50), (0.02, 5), (0.3, 1)]
)
def test_a_batch_takes_about_a_tenth_of_a_second(object_s: float, length: int) -> None:
    assert pace_of(object_s).batch_size(10_000, 1) == length


def test_the_last_objects_are_shared_by_the_workers() -> None:
    assert [pace_of(0.0).batch_size(left, 8) for left in (2_000, 160, 16, 1)] == [64, 10, 1, 1]
