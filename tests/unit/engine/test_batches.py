"""Small objects travel in batches: how long these are, and how many are in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiwo.engine import lines, pace
from kaiwo.engine.batches import BATCH_BYTES, cut
from kaiwo.engine.pace import BATCH_OBJECTS, Pace
from kaiwo.jobs import RANGE, Batch, Outcome, Transfer
from kaiwo.objects import RemoteObject
from tests.support.bucket import keys
from tests.support.faulty import (
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


def test_batches_begin_with_one_object_and_hold_64_when_these_are_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "BATCH_S", 1_000.0)
    executor = InlineExecutor()
    store = FaultyStore(dict.fromkeys(keys(300), b"0123456789"))
    run_store(store, tmp_path, executor, workers=1)
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
    run_store(store, tmp_path, executor, workers=1)
    assert lengths(executor) == [1] * 50


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_few_objects_are_shared_by_all_workers(tmp_path: Path, workers: int) -> None:
    executor = InlineExecutor()
    store = FaultyStore(dict.fromkeys(keys(50), b"0123456789"))
    run_store(store, tmp_path, executor, workers=workers)
    assert max(lengths(executor)) <= -(-50 // (2 * workers))
    assert sum(lengths(executor)) == 50


def test_a_batch_has_no_more_bytes_than_a_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "BATCH_S", 1_000.0)
    monkeypatch.setattr(lines, "AT_ONCE_S", 1_000.0)
    monkeypatch.setattr(lines, "BUSY_AT_ONCE_S", 1_000.0)
    executor = InlineExecutor()
    store = FaultyStore({f"f{number}": content(900 << 10, number) for number in range(60)})
    run_store(store, tmp_path, executor, workers=1)
    # The first one tells how fast the line is.
    assert lengths(executor)[:4] == [1, *[RANGE // (900 << 10)] * 3]
    assert files(tmp_path) == store.objects


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
    batches = list(cut(deque(objects), lambda _: True, known, lambda: workers))
    assert [each for batch in batches for each in batch] == objects
    for batch in batches:
        assert 1 <= len(batch) <= BATCH_OBJECTS
        assert len(batch) == 1 or sum(each.object.size for each in batch) <= BATCH_BYTES


def test_batches_that_travel_are_longer_and_few_objects_are_not_cut_into_many() -> None:
    near, far = Pace(), Pace(is_far=True)
    for each in (near, far):
        each.measure([Outcome(transfers([1])[0], seconds=0.01)])
    assert (near.batch_size(10_000, 8), far.batch_size(10_000, 8)) == (10, 100)
    assert (near.batch_size(64, 128), far.batch_size(64, 128)) == (1, 10)


def test_a_batch_is_made_when_it_is_asked_for() -> None:
    known = Pace()
    batches = cut(deque(transfers([1] * 300)), lambda _: True, known, lambda: 1)
    assert [len(next(batches)), len(next(batches))] == [1, 1]
    known.measure([Outcome(transfers([1])[0], seconds=0.01)])
    assert [len(next(batches)), len(next(batches))] == [10, 10]


def test_batches_end_before_the_first_object_that_comes_in_ranges() -> None:
    left = deque(transfers([1, 1, 5, 1]))
    assert sum(map(len, cut(left, lambda each: each.object.size < 5, Pace(), lambda: 1))) == 2
    assert [each.object.size for each in left] == [5, 1]


@pytest.mark.parametrize(
    ("object_s", "length"), [(0.0, 64), (0.001, 64), (0.002, 50), (0.02, 5), (0.3, 1)]
)
def test_a_batch_takes_about_a_tenth_of_a_second(object_s: float, length: int) -> None:
    assert pace_of(object_s).batch_size(10_000, 1) == length


def test_the_last_objects_are_shared_by_the_workers() -> None:
    assert [pace_of(0.0).batch_size(left, 8) for left in (2_000, 160, 16, 1)] == [64, 10, 1, 1]
