"""A limit of this process is met: fewer requests at once, and no failure."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kaiwo.errors import KaiwoError, LimitError
from kaiwo.jobs import RANGE
from kaiwo.protocols import Buffer
from kaiwo.workers.threads import WorkerThreads
from tests.support.faulty import (
    PATIENCE_S,
    FaultyOpener,
    FaultyStore,
    carry_out,
    content,
    fails,
    plan_of,
)

#: At most this many reads at once are possible.
ALLOWED = 3


def limited(store: FaultyStore) -> None:
    """Have the store refuse reads beyond the limit, and hold those within it until it was met."""
    slots, was_met = threading.Semaphore(ALLOWED), threading.Event()

    def step(data: bytes) -> Buffer:
        if not slots.acquire(blocking=False):
            was_met.set()
            raise LimitError("too many open files")
        try:
            assert was_met.wait(PATIENCE_S)
            return data
        finally:
            slots.release()

    for key in store.objects:
        store.always(key, step)


@pytest.mark.parametrize(
    "objects",
    [
        {f"{number}": content(10, number) for number in range(40)},
        {"large": content(12 * RANGE + 5)},
    ],
    ids=["small", "large"],
)
def test_requests_beyond_a_limit_are_made_again_with_fewer_at_once(
    objects: dict[str, bytes], tmp_path: Path
) -> None:
    store, threads = FaultyStore(objects), WorkerThreads(8, "limited")
    limited(store)
    ran = carry_out(plan_of(FaultyOpener(store), tmp_path), tmp_path, threads, workers=8)
    threads.shutdown()
    assert {item.status for item in ran.report.items} == {"downloaded"}
    for key, data in objects.items():
        assert (tmp_path / key).read_bytes() == data


@pytest.mark.parametrize("size", [10, 2 * RANGE])
def test_a_limit_that_is_met_by_a_single_request_is_a_failure(size: int, tmp_path: Path) -> None:
    store = FaultyStore({"k": content(size)})
    store.always("k", fails(LimitError("too many open files")))
    ran = carry_out(plan_of(FaultyOpener(store), tmp_path), tmp_path, workers=1)
    error: KaiwoError = ran.error("k")
    assert (type(error), error.exit_code) == (LimitError, 6)
    assert list(tmp_path.glob(".kaiwo-*")) == []
